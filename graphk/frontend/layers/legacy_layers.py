"""Layers of Keras 1 that Keras 2 keeps in `legacy.layers`: MaxoutDense and Highway.

In: (samples, features).  Out: (samples, output_dim), or the shape of the input.  What always holds: arguments and
configs have Keras 1's names (`init`, `W_regularizer`, `bias`, …).
"""
from __future__ import annotations

from typing import Any

from graphk.frontend import activations, constraints, initializers, regularizers
from graphk.frontend import backend as K
from graphk.frontend.engine.base_layer import InputSpec, Layer
from graphk.frontend.tensor import Tensor


class _Legacy(Layer):
    """Weights W and b with Keras 1's arguments."""

    def __init__(self, init: Any, weights: Any, W_regularizer: Any, b_regularizer: Any, activity_regularizer: Any,
                 W_constraint: Any, b_constraint: Any, bias: bool, input_dim: int | None, kwargs: dict[str, Any]):
        if input_dim:
            kwargs["input_shape"] = (input_dim,)
        super().__init__(**kwargs)
        self.init = initializers.get(init)
        self.W_regularizer, self.b_regularizer = regularizers.get(W_regularizer), regularizers.get(b_regularizer)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.W_constraint, self.b_constraint = constraints.get(W_constraint), constraints.get(b_constraint)
        self.bias, self.input_dim = bias, input_dim
        self.initial_weights = weights
        self.input_spec = InputSpec(ndim=2)

    def _width(self, input_shape: Any) -> int:
        """The number of features, which the input spec then asks for."""
        if input_shape[-1] is None:
            raise ValueError(f"The last dimension of the inputs to {self.name} should be defined. Found `None` in "
                             f"{tuple(input_shape)}.")
        self.input_spec = InputSpec(dtype=K.floatx(), shape=(None, input_shape[-1]))
        return input_shape[-1]

    def _weight(self, name: str, shape: tuple[int, ...]) -> Any:
        return self.add_weight(name, shape, initializer=self.init, regularizer=self.W_regularizer,
                               constraint=self.W_constraint)

    def _bias(self, name: str, shape: tuple[int, ...], first: str = "zeros") -> Any:
        return self.add_weight(name, shape, initializer=first, regularizer=self.b_regularizer,
                               constraint=self.b_constraint) if self.bias else None

    def _done(self) -> None:
        if self.initial_weights is not None:
            self.set_weights(self.initial_weights)
            self.initial_weights = None
        self.built = True

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "init": initializers.serialize(self.init),
                "W_regularizer": regularizers.serialize(self.W_regularizer),
                "b_regularizer": regularizers.serialize(self.b_regularizer),
                "activity_regularizer": regularizers.serialize(self.activity_regularizer),
                "W_constraint": constraints.serialize(self.W_constraint),
                "b_constraint": constraints.serialize(self.b_constraint),
                "bias": self.bias, "input_dim": self.input_dim}


class MaxoutDense(_Legacy):
    """The largest of `nb_feature` linear maps of the input, for each output (Goodfellow et al., 2013).

    Weights: W (nb_feature, features, output_dim), b (nb_feature, output_dim).

    >>> from graphk.layers import Input
    >>> MaxoutDense(3, nb_feature=2)(Input((5,))).shape
    (None, 3)
    """

    def __init__(self, output_dim: int, nb_feature: int = 4, init: Any = "glorot_uniform", weights: Any = None,
                 W_regularizer: Any = None, b_regularizer: Any = None, activity_regularizer: Any = None,
                 W_constraint: Any = None, b_constraint: Any = None, bias: bool = True, input_dim: int | None = None,
                 **kwargs: Any):
        super().__init__(init, weights, W_regularizer, b_regularizer, activity_regularizer, W_constraint,
                         b_constraint, bias, input_dim, kwargs)
        self.output_dim, self.nb_feature = output_dim, nb_feature

    def build(self, input_shape: Any) -> None:
        self.W = self._weight("W", (self.nb_feature, self._width(input_shape), self.output_dim))
        self.b = self._bias("b", (self.nb_feature, self.output_dim))
        self._done()

    def call(self, inputs: Tensor) -> Tensor:
        out = K.dot(inputs, self.W)                        # (samples, nb_feature, output_dim)
        return K.max(out if self.b is None else out + self.b, axis=1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "output_dim": self.output_dim, "nb_feature": self.nb_feature}


class Highway(_Legacy):
    """t · activation(x W + b) + (1 - t) · x, where t = sigmoid(x W_carry + b_carry) (Srivastava et al., 2015).

    Weights: W, W_carry (features, features), b, b_carry (features,); b_carry starts as ones.

    >>> from graphk.layers import Input
    >>> Highway(activation='tanh')(Input((5,))).shape
    (None, 5)
    """

    def __init__(self, init: Any = "glorot_uniform", activation: Any = None, weights: Any = None,
                 W_regularizer: Any = None, b_regularizer: Any = None, activity_regularizer: Any = None,
                 W_constraint: Any = None, b_constraint: Any = None, bias: bool = True, input_dim: int | None = None,
                 **kwargs: Any):
        kwargs.pop("transform_bias", None)                 # Keras 1's; Keras 2 drops it, too
        super().__init__(init, weights, W_regularizer, b_regularizer, activity_regularizer, W_constraint,
                         b_constraint, bias, input_dim, kwargs)
        self.activation = activations.get(activation)

    def build(self, input_shape: Any) -> None:
        width = self._width(input_shape)
        self.W = self._weight("W", (width, width))
        self.W_carry = self.add_weight("W_carry", (width, width), initializer=self.init)
        self.b = self._bias("b", (width,))
        self.b_carry = self.add_weight("b_carry", (width,), initializer="ones") if self.bias else None
        self._done()

    def call(self, inputs: Tensor) -> Tensor:
        carry, made = K.dot(inputs, self.W_carry), K.dot(inputs, self.W)
        if self.bias:
            carry, made = carry + self.b_carry, made + self.b
        t = K.sigmoid(carry)
        return self.activation(made) * t + (1. - t) * inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


__all__ = ["MaxoutDense", "Highway"]
