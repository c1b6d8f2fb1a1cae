"""Layers that Keras got after 2.3, read from newer files: what their models compute.

In: tensors.  Out: tensors.  What always holds: names and order of the weights are those of the files; what such a layer
would have learned from data by `adapt` comes from the file.  `graphk.layers` has none of them, since Keras 2.2 has not.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend import backend as K
from graphk.frontend.engine.base_layer import Layer
from graphk.frontend.layers import arguments
from graphk.frontend.layers.convolutional import _ConvTranspose
from graphk.frontend.layers.operations import Operation
from graphk.frontend.layers.settings import add_kernel, adopt, described, settings_of
from graphk.frontend.tensor import Tensor, node_of
from graphk.frontend.utils.generic_utils import to_list


class _OfSameShape(Layer):
    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


def _numbers(x: Tensor) -> Tensor:
    """Integers, as images are, as floats."""
    return x if "float" in x.dtype else K.cast(x, K.floatx())


def _spread(value: Any, x: Tensor, axes: list[int]) -> Any:
    """A value with the sizes of `axes`, to be computed with x."""
    return value if value is None else K.reshape(value, [x.shape[i] if i in axes else 1 for i in range(x.ndim)])


class Rescaling(_OfSameShape):
    """scale * x + offset.

    >>> K.eval(Rescaling(.5, 1.)(K.constant([[2., 4.]]))).tolist()
    [[2.0, 3.0]]
    """

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale, self.offset = scale, offset

    def call(self, inputs: Tensor) -> Tensor:
        return _numbers(inputs) * K.constant(self.scale) + K.constant(self.offset)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale, "offset": self.offset}


class Normalization(_OfSameShape):
    """(x - mean) / sqrt(variance), by statistics along `axis`.

    mean, variance: the statistics; None if they are weights (mean, variance, count); invert: x * sqrt(variance) + mean.

    >>> K.eval(Normalization(mean=1., variance=4.)(K.constant([[3., 5.]]))).tolist()
    [[1.0, 2.0]]
    """

    def __init__(self, axis: Any = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis
        self.input_mean, self.input_variance, self.invert = mean, variance, invert

    def build(self, input_shape: Any) -> None:
        axes = [] if self.axis is None else to_list(self.axis, allow_tuple=True)
        self._axes = sorted(a % len(input_shape) for a in axes)
        shape = tuple(input_shape[a] for a in self._axes)
        if self.input_mean is None:
            self.mean = self.add_weight("mean", shape, initializer="zeros", trainable=False)
            self.variance = self.add_weight("variance", shape, initializer="ones", trainable=False)
            self.count = self.add_weight("count", (), "int64", "zeros", trainable=False)
        else:
            self.mean, self.variance = (K.zeros(shape) + K.constant(v) for v in (self.input_mean, self.input_variance))
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        x = _numbers(inputs)
        mean, variance = _spread(self.mean, x, self._axes), _spread(self.variance, x, self._axes)
        deviation = K.maximum(K.sqrt(variance), K.epsilon())
        return x * deviation + mean if self.invert else (x - mean) / deviation

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis, "mean": self.input_mean, "variance": self.input_variance,
                "invert": self.invert}


class _Scaled(_OfSameShape):
    """What is normalized, times gamma, plus beta; both have the sizes of `axes`."""

    def __init__(self, epsilon: float = 1e-3, center: bool = True, scale: bool = True, beta_initializer: Any = "zeros",
                 gamma_initializer: Any = "ones", beta_regularizer: Any = None, gamma_regularizer: Any = None,
                 beta_constraint: Any = None, gamma_constraint: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.epsilon, self.center, self.scale = arguments.number(self, "epsilon", epsilon), center, scale
        adopt(self, beta_initializer=beta_initializer, gamma_initializer=gamma_initializer,
              beta_regularizer=beta_regularizer, gamma_regularizer=gamma_regularizer, beta_constraint=beta_constraint,
              gamma_constraint=gamma_constraint)

    def _make(self, input_shape: Any, axes: Any) -> None:
        self._axes = sorted(a % len(input_shape) for a in to_list(axes, allow_tuple=True))
        shape = tuple(input_shape[a] for a in self._axes)
        if None in shape:
            raise ValueError(f"The layer {self.name} normalizes the axes {self._axes}, whose sizes must be known; "
                             f"received an input of shape {tuple(input_shape)}.")
        self.gamma = add_kernel(self, "gamma", shape) if self.scale else None
        self.beta = add_kernel(self, "beta", shape) if self.center else None
        self.built = True

    def _scaled(self, x: Tensor) -> Tensor:
        gamma, beta = _spread(self.gamma, x, self._axes), _spread(self.beta, x, self._axes)
        x = x if gamma is None else x * gamma
        return x if beta is None else x + beta

    def _normed(self, x: Tensor, axes: list[int]) -> Tensor:
        return (x - K.mean(x, axes, keepdims=True)) / K.sqrt(K.var(x, axes, keepdims=True) + self.epsilon)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon, "center": self.center, "scale": self.scale,
                **described(self, *settings_of("beta"), *settings_of("gamma"))}


class LayerNormalization(_Scaled):
    """Each sample by its own mean and variance along `axis` (Ba et al., 2016).

    >>> K.eval(LayerNormalization(epsilon=0.)(K.constant([[1., 3.]]))).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(self, axis: Any = -1, epsilon: float = 1e-3, **kwargs: Any):
        super().__init__(epsilon, **kwargs)
        self.axis = axis

    def build(self, input_shape: Any) -> None:
        self._make(input_shape, self.axis)

    def call(self, inputs: Tensor) -> Tensor:
        return self._scaled(self._normed(inputs, self._axes))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class GroupNormalization(_Scaled):
    """Each sample by the means and variances of groups of channels (Wu and He, 2018).

    groups: how many, -1 for one per channel; the channels are the last axis.

    >>> K.eval(GroupNormalization(2, epsilon=0.)(K.constant([[1., 3., 5., 9.]]))).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """

    def __init__(self, groups: int = 32, axis: int = -1, epsilon: float = 1e-3, **kwargs: Any):
        super().__init__(epsilon, **kwargs)
        self.groups, self.axis = groups, axis

    def build(self, input_shape: Any) -> None:
        channels = input_shape[-1]
        if self.axis not in (-1, len(input_shape) - 1) or not channels or channels % abs(self.groups or 1):
            raise ValueError(f"The layer {self.name} normalizes {self.groups} groups along axis {self.axis}; expected "
                             f"the last axis, whose size the groups divide. Its input is of shape "
                             f"{tuple(input_shape)}.")
        self._make(input_shape, [-1])

    def call(self, inputs: Tensor) -> Tensor:
        channels = inputs.shape[-1]
        groups = channels if self.groups == -1 else self.groups
        shape = node_of(inputs).shape
        apart = K.reshape(inputs, (*shape[:-1], groups, channels // groups))
        return self._scaled(K.reshape(self._normed(apart, [*range(1, inputs.ndim - 1), inputs.ndim]), shape))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "groups": self.groups, "axis": self.axis}


class UnitNormalization(_OfSameShape):
    """x over its length along `axis`.

    >>> K.eval(UnitNormalization()(K.constant([[3., 4.]]))).round(1).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """

    def __init__(self, axis: Any = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Tensor) -> Tensor:
        length = K.sum(K.square(inputs), self.axis, keepdims=True)
        return inputs / K.sqrt(K.maximum(length, 1e-12))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class Conv1DTranspose(_ConvTranspose):
    """A transposed convolution of sequences.

    >>> Conv1DTranspose(8, 3, strides=2, padding='same')(K.placeholder((None, 4, 3))).shape
    (None, 8, 8)
    """
    rank = 1

    def __init__(self, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "valid",
                 output_padding: Any = None, data_format: str | None = None, dilation_rate: Any = 1,
                 activation: Any = None, use_bias: bool = True, **kwargs: Any):
        super().__init__(filters, kernel_size, strides, padding, output_padding, data_format,
                         dilation_rate=dilation_rate, activation=activation, use_bias=use_bias, **kwargs)

    def _convolve(self, inputs: Tensor) -> Tensor:
        at = 1 if self.data_format == "channels_last" else 2                      # an axis of height 1
        shape = list(self.compute_output_shape(node_of(inputs).shape))
        shape.insert(at, 1)
        out = K.conv2d_transpose(K.expand_dims(inputs, at), K.expand_dims(self.kernel, 0), shape, (1, *self.strides),
                                 self.padding, self.data_format, (1, *self.dilation_rate))
        return K.squeeze(out, at)


class _DotProduct(Layer):
    """Values, averaged by how well their keys fit queries: called on [query, value] or [query, value, key]."""

    def __init__(self, use_scale: bool = False, dropout: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.use_scale, self.dropout = use_scale, dropout

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        raise NotImplementedError(f"Layer {self.name}: {type(self).__name__} must define `_scores`.")

    def call(self, inputs: Any, training: Any = None) -> Tensor:
        query, value = inputs[0], inputs[1]
        weights = K.softmax(self._scores(query, inputs[2] if len(inputs) > 2 else value))
        if self.dropout:
            weights = K.in_train_phase(lambda: K.dropout(weights, self.dropout), weights, training=training)
        return K.batch_dot(weights, value)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[0][:-1], input_shape[1][-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "use_scale": self.use_scale, "dropout": self.dropout}


class Attention(_DotProduct):
    """Attention by products of queries and keys (Luong et al., 2015); score_mode: 'dot' or 'concat'."""

    def __init__(self, use_scale: bool = False, score_mode: str = "dot", dropout: float = 0.0, **kwargs: Any):
        super().__init__(use_scale, dropout, **kwargs)
        self.score_mode = score_mode
        if score_mode not in ("dot", "concat"):
            raise ValueError(f"Layer {self.name}: `score_mode` is 'dot' or 'concat'; received {score_mode!r}.")

    def build(self, input_shape: Any) -> None:
        names = ["scale"] * bool(self.use_scale) + ["concat_score_weight"] * (self.score_mode == "concat")
        self._own = {n: self.add_weight(n, (), initializer="ones") for n in names}
        self.built = True

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        scale = self._own.get("scale")
        if self.score_mode == "dot":
            found = K.batch_dot(query, key, axes=(2, 2))
            return found if scale is None else found * scale
        both = K.expand_dims(query, 2) + K.expand_dims(key, 1)
        return self._own["concat_score_weight"] * K.sum(K.tanh(both if scale is None else both * scale), -1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "score_mode": self.score_mode}


class AdditiveAttention(_DotProduct):
    """Attention by tanh of queries plus keys (Bahdanau et al., 2015)."""

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **kwargs: Any):
        super().__init__(use_scale, dropout, **kwargs)

    def build(self, input_shape: Any) -> None:
        self._scale = self.add_weight("scale", (input_shape[0][-1],), initializer="glorot_uniform") \
            if self.use_scale else None
        self.built = True

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        both = K.tanh(K.expand_dims(query, 2) + K.expand_dims(key, 1))
        return K.sum(both if self._scale is None else both * self._scale, -1)


NEWER: dict[str, type[Layer]] = {cls.__name__: cls for cls in (
    Rescaling, Normalization, LayerNormalization, GroupNormalization, UnitNormalization, Conv1DTranspose, Attention,
    AdditiveAttention, Operation)}

__all__ = ["NEWER"]
