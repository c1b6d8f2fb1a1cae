"""Core layers: Dense, Activation, Dropout, reshaping, Masking; Lambda is at home in `lambda_layer`.

In: tensors (samples, …).  Out: tensors.  What always holds: the batch axis stays first and its size open.
"""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from graphk.frontend import activations, regularizers
from graphk.frontend import backend as K
from graphk.frontend.engine.base_layer import InputSpec, Layer, plain_shape
from graphk.frontend.layers.arguments import fraction, number, size
from graphk.frontend.layers.lambda_layer import Lambda               # noqa: F401
from graphk.frontend.layers.settings import add_kernel, adopt, described, settings_of
from graphk.frontend.tensor import Tensor


class Masking(Layer):
    """Marks timesteps whose features all equal `mask_value` as missing, and sets them to 0.

    >>> K.eval(Masking()(K.variable([[[1., 2.], [0., 0.]]]))._keras_mask).tolist()
    [[True, False]]
    """

    def __init__(self, mask_value: float = 0., **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.mask_value = number(self, "mask_value", mask_value)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """(samples, time): whether any feature differs from the mask value."""
        return K.any(K.not_equal(inputs, self.mask_value), axis=-1)

    def call(self, inputs: Tensor) -> Tensor:
        return inputs * K.cast(K.any(K.not_equal(inputs, self.mask_value), axis=-1, keepdims=True), K.dtype(inputs))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mask_value": self.mask_value}


class Dropout(Layer):
    """In training sets a fraction `rate` of inputs to 0 and scales the others by 1 / (1 - rate).

    noise_shape: shape of the mask, None entries as in the input; seed: makes the mask repeatable.

    >>> K.eval(Dropout(.5)(K.variable([[1., 2.]]))).tolist()                     # the test phase
    [[1.0, 2.0]]
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = fraction(self, "rate", rate)
        self.noise_shape, self.seed = noise_shape, seed
        self.supports_masking = True

    def _get_noise_shape(self, inputs: Tensor) -> Any:
        if self.noise_shape is None:
            return None
        dims = K.shape(inputs)
        return tuple(dims[i] if d is None else d for i, d in enumerate(self.noise_shape))

    def call(self, inputs: Tensor, training: Any = None) -> Tensor:
        if not 0. < self.rate < 1.:
            return inputs

        def dropped() -> Tensor:
            return K.dropout(inputs, self.rate, self._get_noise_shape(inputs), seed=self.seed)
        return K.in_train_phase(dropped, inputs, training=training)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "noise_shape": self.noise_shape, "seed": self.seed}


class _SpatialDropout(Dropout):
    """Dropout of whole feature maps."""

    def __init__(self, rate: float, ndim: int, data_format: str | None = None, **kwargs: Any):
        super().__init__(rate, **kwargs)
        self.data_format = K.normalize_data_format(data_format) if ndim > 3 else "channels_last"
        self.input_spec = InputSpec(ndim=ndim)

    def _get_noise_shape(self, inputs: Tensor) -> Any:
        dims = K.shape(inputs)
        keep = {0, 1 if self.data_format == "channels_first" else inputs.ndim - 1}
        return tuple(dims[i] if i in keep else 1 for i in range(inputs.ndim))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {**config, "data_format": self.data_format} if self.input_spec.ndim > 3 else config


class SpatialDropout1D(_SpatialDropout):
    """Drops whole channels of (samples, time, channels).

    >>> SpatialDropout1D(.5)(K.placeholder((None, 5, 3))).shape
    (None, 5, 3)
    """

    def __init__(self, rate: float, **kwargs: Any):
        super().__init__(rate, 3, None, **kwargs)


class SpatialDropout2D(_SpatialDropout):
    """Drops whole feature maps of images.

    >>> SpatialDropout2D(.5)(K.placeholder((None, 5, 5, 3))).shape
    (None, 5, 5, 3)
    """

    def __init__(self, rate: float, data_format: str | None = None, **kwargs: Any):
        super().__init__(rate, 4, data_format, **kwargs)


class SpatialDropout3D(_SpatialDropout):
    """Drops whole feature maps of volumes.

    >>> SpatialDropout3D(.5)(K.placeholder((None, 5, 5, 5, 3))).shape
    (None, 5, 5, 5, 3)
    """

    def __init__(self, rate: float, data_format: str | None = None, **kwargs: Any):
        super().__init__(rate, 5, data_format, **kwargs)


class Activation(Layer):
    """Applies an activation function, given by name or as a function of tensors.

    >>> K.eval(Activation('relu')(K.variable([[-1., 2.]]))).tolist()
    [[0.0, 2.0]]
    """

    def __init__(self, activation: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.activation = activations.get(activation)

    def call(self, inputs: Tensor) -> Tensor:
        return self.activation(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


class Reshape(Layer):
    """Reshapes each sample to `target_shape`; one entry may be -1.

    >>> from graphk.layers import Input
    >>> Reshape((2, -1))(Input((6,))).shape
    (None, 2, 3)
    """

    def __init__(self, target_shape: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        if not np.iterable(target_shape) or not all(isinstance(d, (int, np.integer)) for d in target_shape):
            raise ValueError(f"Reshape layer {self.name}: `target_shape` must be a tuple of integers, one of which may "
                             f"be -1, without the batch axis; received {target_shape!r}.")
        self.target_shape = plain_shape(target_shape)

    def compute_output_shape(self, input_shape: Any) -> Any:
        if None in input_shape[1:]:
            return (input_shape[0],) + tuple(s if s != -1 else None for s in self.target_shape)
        total, known = int(np.prod(input_shape[1:])), 1
        unknown = [i for i, d in enumerate(self.target_shape) if d < 0]
        for d in self.target_shape:
            known *= d if d >= 0 else 1
        if len(unknown) > 1:
            raise ValueError(f"Can only specify one unknown dimension. Received: {self.target_shape}")
        if (unknown and (known == 0 or total % known)) or (not unknown and total != known):
            raise ValueError(f"total size of new array must be unchanged: the layer {self.name} reshapes samples of "
                             f"shape {tuple(input_shape[1:])} to {self.target_shape}")
        return (input_shape[0],) + tuple(total // known if d < 0 else d for d in self.target_shape)

    def call(self, inputs: Tensor) -> Tensor:
        self.compute_output_shape(K.int_shape(inputs))
        rest = self.target_shape
        if -1 in rest and None not in inputs.shape[1:]:
            rest = self.compute_output_shape(inputs.shape)[1:]
        return K.reshape(inputs, (K.shape(inputs)[0],) + tuple(rest))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_shape": self.target_shape}


class Permute(Layer):
    """Axes of each sample in another order; `dims` counts from 1.

    >>> Permute((2, 1))(K.placeholder((None, 5, 3))).shape
    (None, 3, 5)
    """

    def __init__(self, dims: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.dims = tuple(dims) if isinstance(dims, (list, tuple)) else (dims,)
        if set(self.dims) != set(range(1, len(self.dims) + 1)):
            raise ValueError(f"Invalid permutation `dims` for Permute Layer: {dims!r}. The set of indices in `dims` "
                             "must be consecutive and start from 1, as in Permute((2, 1)).")
        self.input_spec = InputSpec(ndim=len(self.dims) + 1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0],) + tuple(input_shape[d] for d in self.dims)

    def call(self, inputs: Tensor) -> Tensor:
        return K.permute_dimensions(inputs, (0,) + self.dims)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dims": self.dims}


class Flatten(Layer):
    """(samples, …) to (samples, -1).  data_format 'channels_first' moves channels last before.

    >>> Flatten()(K.placeholder((None, 5, 5, 3))).shape
    (None, 75)
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.input_spec = InputSpec(min_ndim=3)
        self.data_format = K.normalize_data_format(data_format)

    def compute_output_shape(self, input_shape: Any) -> Any:
        if not all(input_shape[1:]):
            raise ValueError('The shape of the input to "Flatten" is not fully defined (got '
                             f'{tuple(input_shape[1:])}). Make sure to pass a complete "input_shape" or '
                             '"batch_input_shape" argument to the first layer in your model.')
        return (input_shape[0], int(np.prod(input_shape[1:])))

    def call(self, inputs: Tensor) -> Tensor:
        if self.data_format == "channels_first" and 1 < inputs.ndim:
            inputs = K.permute_dimensions(inputs, (0, *range(2, inputs.ndim), 1))
        return K.batch_flatten(inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class RepeatVector(Layer):
    """(samples, features) to (samples, n, features).

    >>> RepeatVector(4)(K.placeholder((None, 3))).shape
    (None, 4, 3)
    """

    def __init__(self, n: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.n = size(self, "n", n)
        self.input_spec = InputSpec(ndim=2)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.n, input_shape[1])

    def call(self, inputs: Tensor) -> Tensor:
        return K.repeat(inputs, self.n)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}


class Dense(Layer):
    """activation(x · kernel + bias) along the last axis.

    units: size of the output's last axis; kernel: (input_dim, units); bias: (units,).

    >>> from graphk.layers import Input
    >>> Dense(4, activation='relu')(Input((3,))).shape
    (None, 4)
    """

    activation: Any
    bias: Any

    def __init__(self, units: int, activation: Any = None, use_bias: bool = True,
                 kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
                 kernel_regularizer: Any = None, bias_regularizer: Any = None, activity_regularizer: Any = None,
                 kernel_constraint: Any = None, bias_constraint: Any = None, **kwargs: Any):
        if "input_shape" not in kwargs and "input_dim" in kwargs:
            kwargs["input_shape"] = (kwargs.pop("input_dim"),)
        super().__init__(**kwargs)
        self.units = size(self, "units", units)
        self.use_bias = use_bias
        adopt(self, activation=activation, kernel_initializer=kernel_initializer, bias_initializer=bias_initializer,
              kernel_regularizer=kernel_regularizer, bias_regularizer=bias_regularizer,
              activity_regularizer=activity_regularizer, kernel_constraint=kernel_constraint,
              bias_constraint=bias_constraint)
        self.input_spec = InputSpec(min_ndim=2)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        dim = input_shape[-1]
        if dim is None:
            raise ValueError(
                f"The last dimension of the inputs to the layer {self.name} should be defined. Found `None` in "
                f"{input_shape}. Give Input (or `input_shape`) a size there, or reduce that axis first."
            )
        self.kernel = add_kernel(self, "kernel", (dim, self.units))
        self.bias = add_kernel(self, "bias", (self.units,)) if self.use_bias else None
        self.input_spec = InputSpec(min_ndim=2, axes={-1: dim})
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        out = K.dot(inputs, self.kernel)
        if self.use_bias:
            out = K.bias_add(out, self.bias, data_format="channels_last")
        return self.activation(out)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape[:-1]) + (self.units,)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "use_bias": self.use_bias,
                **described(self, "activation", "activity_regularizer", *settings_of("kernel", "bias"))}


class ActivityRegularization(Layer):
    """Passes its input on and adds an L1 and L2 penalty of it to the loss.

    >>> len(ActivityRegularization(l2=.1)(K.placeholder((None, 3)))._keras_history[0].losses)
    1
    """

    def __init__(self, l1: float = 0., l2: float = 0., **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.l1, self.l2 = l1, l2
        self.activity_regularizer = regularizers.L1L2(l1=l1, l2=l2)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "l1": self.l1, "l2": self.l2}
