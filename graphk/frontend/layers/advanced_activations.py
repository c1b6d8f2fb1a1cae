"""Activations with parameters, as layers.

In: tensors.  Out: the same shape.  What always holds: masks are passed on.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend import activations
from graphk.frontend import backend as K
from graphk.frontend.engine.base_layer import InputSpec, Layer
from graphk.frontend.layers.settings import add_kernel, adopt, described, settings_of
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.generic_utils import to_list


class _Elementwise(Layer):
    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class LeakyReLU(_Elementwise):
    """x above 0, alpha x below.

    >>> K.eval(LeakyReLU(.5)(K.variable([[-2., 1.]]))).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(self, alpha: float = 0.3, **kwargs: Any):
        super().__init__(**kwargs)
        self.alpha = float(alpha)

    def call(self, inputs: Tensor) -> Tensor:
        return K.relu(inputs, alpha=self.alpha)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": float(self.alpha)}


class _WithParameters(_Elementwise):
    """Parameters of the sample's shape, shared along `shared_axes`."""

    def __init__(self, shared_axes: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.shared_axes = None if shared_axes is None else to_list(shared_axes, allow_tuple=True)

    def _parameter_shape(self, input_shape: Any) -> tuple[int, ...]:
        """The shape of each parameter; inputs must have these sizes from then on."""
        shape, shared = list(input_shape[1:]), set(self.shared_axes or [])
        if not all(1 <= axis <= len(shape) for axis in shared):
            raise ValueError(f"The layer {self.name} has shared_axes={self.shared_axes}, but its input has the shape "
                             f"{tuple(input_shape)}; axes count from 1, after the batch axis.")
        for axis in shared:
            shape[axis - 1] = 1
        if None in shape:
            raise ValueError(
                f"The layer {self.name} needs the sizes of all axes but the batch; received {input_shape}. Share "
                f"open axes with shared_axes."
            )
        self.input_spec = InputSpec(ndim=len(input_shape),
                                    axes={i: input_shape[i] for i in range(1, len(input_shape)) if i not in shared})
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shared_axes": self.shared_axes}


class PReLU(_WithParameters):
    """x above 0, alpha x below, with a learned alpha of the sample's shape (He et al., 2015).

    shared_axes: axes (from 1) along which alpha is shared.

    >>> K.eval(PReLU('ones')(K.variable([[-2., 1.]]))).tolist()
    [[-2.0, 1.0]]
    """

    def __init__(self, alpha_initializer: Any = "zeros", alpha_regularizer: Any = None, alpha_constraint: Any = None,
                 shared_axes: Any = None, **kwargs: Any):
        super().__init__(shared_axes, **kwargs)
        adopt(self, alpha_initializer=alpha_initializer, alpha_regularizer=alpha_regularizer,
              alpha_constraint=alpha_constraint)

    def build(self, input_shape: Any) -> None:
        self.alpha = add_kernel(self, "alpha", self._parameter_shape(input_shape))
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        return K.relu(inputs) - self.alpha * K.relu(-inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **described(self, *settings_of("alpha"))}


class ELU(_Elementwise):
    """x above 0, alpha (exp(x) - 1) below.

    >>> K.eval(ELU()(K.variable([[0., 1.]]))).tolist()
    [[0.0, 1.0]]
    """

    def __init__(self, alpha: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.alpha = float(alpha)

    def call(self, inputs: Tensor) -> Tensor:
        return K.elu(inputs, self.alpha)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": float(self.alpha)}


class ThresholdedReLU(_Elementwise):
    """x above theta, 0 below.

    >>> K.eval(ThresholdedReLU(1.)(K.variable([[.5, 1.5]]))).tolist()
    [[0.0, 1.5]]
    """

    def __init__(self, theta: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.theta = float(theta)

    def call(self, inputs: Tensor) -> Tensor:
        return inputs * K.cast(K.greater(inputs, self.theta), K.floatx())

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "theta": float(self.theta)}


class Softmax(_Elementwise):
    """exp(x) over its sum along `axis`.

    >>> K.eval(Softmax()(K.variable([[1., 1.]]))).tolist()
    [[0.5, 0.5]]
    """

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Tensor) -> Tensor:
        return activations.softmax(inputs, axis=self.axis)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class ReLU(_Elementwise):
    """max_value above it, x above `threshold`, negative_slope * (x - threshold) below.

    >>> K.eval(ReLU(max_value=3., negative_slope=.5)(K.variable([[-2., 1., 4.]]))).tolist()
    [[-1.0, 1.0, 3.0]]
    """

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ):
        super().__init__(**kwargs)
        if max_value is not None and max_value < 0.:
            raise ValueError("max_value of Relu layer cannot be negative value: " + str(max_value))
        if negative_slope < 0.:
            raise ValueError("negative_slope of Relu layer cannot be negative value: " + str(negative_slope))
        self.max_value = None if max_value is None else float(max_value)
        self.negative_slope, self.threshold = float(negative_slope), float(threshold)

    def call(self, inputs: Tensor) -> Tensor:
        return K.relu(inputs, alpha=self.negative_slope, max_value=self.max_value, threshold=self.threshold)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "max_value": self.max_value, "negative_slope": self.negative_slope,
                "threshold": self.threshold}
