"""Activation functions by name.

In: tensors.  Out: tensors.  What always holds: `get` takes a name, a function, a config or None (identity).
"""
from __future__ import annotations

import math
import warnings
from typing import Any, Callable

from graphk.frontend import backend as K
from graphk.frontend.tensor import Tensor, node_of
from graphk.frontend.utils.families import members
from graphk.frontend.utils.generic_utils import deserialize_keras_object, lookup
from graphk.ir.ops import elementwise as ew


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """exp(x) over its sum along `axis`; ValueError for a tensor of one axis."""
    if K.ndim(x) < 2:
        raise ValueError("Cannot apply softmax to a tensor that is 1D. Received input: " + str(x))
    return K.softmax(x, axis=axis)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x above 0, alpha * (exp(x) - 1) below (Clevert et al., 2015)."""
    return K.elu(x, alpha)


def selu(x: Tensor) -> Tensor:
    """Scaled ELU (Klambauer et al., "Self-Normalizing Neural Networks", 2017)."""
    return K.elu(x, 1.6732632423543772848170429916717) * 1.0507009873554804934193349852946


def softplus(x: Tensor) -> Tensor:
    """log(exp(x) + 1)."""
    return K.softplus(x)


def softsign(x: Tensor) -> Tensor:
    """x / (|x| + 1)."""
    return K.softsign(x)


def relu(x: Tensor, alpha: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Tensor:
    """Rectifier with optional leak, ceiling and threshold."""
    return K.relu(x, alpha=alpha, max_value=max_value, threshold=threshold)


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return K.tanh(x)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return K.sigmoid(x)


def hard_sigmoid(x: Tensor) -> Tensor:
    """clip(0.2 x + 0.5, 0, 1)."""
    return K.hard_sigmoid(x)


def swish(x: Tensor) -> Tensor:
    """x sigmoid(x), of tf.keras and Keras 3."""
    return x * K.sigmoid(x)


def relu6(x: Tensor) -> Tensor:
    """min(max(x, 0), 6), of Keras 3."""
    return K.relu(x, max_value=6.)


def gelu(x: Tensor) -> Tensor:
    """x times the normal distribution's share below x, of tf.keras and Keras 3."""
    return x * .5 * (1. + Tensor(ew.erf(node_of(x * math.sqrt(.5)))))


def mish(x: Tensor) -> Tensor:
    """x tanh(softplus(x)), of tf.keras and Keras 3."""
    return x * K.tanh(K.softplus(x))


def hard_silu(x: Tensor) -> Tensor:
    """x max(0, min(1, x/6 + 1/2)), of Keras 3, also called hard_swish."""
    return x * hard_sigmoid_3(x)


def hard_sigmoid_3(x: Tensor) -> Tensor:
    """max(0, min(1, x/6 + 1/2)): what Keras 3 calls hard_sigmoid, in models that it wrote."""
    return K.clip(x / 6. + .5, 0., 1.)


def exponential(x: Tensor) -> Tensor:
    """exp(x)."""
    return K.exp(x)


def linear(x: Tensor) -> Tensor:
    """x."""
    return x


def serialize(activation: Callable[..., Any]) -> str:
    """The name of an activation function."""
    return activation.__name__


def deserialize(name: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The activation function called `name`; ValueError if there is none."""
    table = members(_TABLE, globals())
    layer = _LAYERS.get(name.lower()) if isinstance(name, str) else None
    if layer and lookup(str(name), table, custom_objects) is None:
        raise ValueError(f"Unknown activation function:{name}. It has weights or arguments, so it is a layer of its "
                         f"own: add {layer}() after this one.")
    return deserialize_keras_object(name, module_objects=table, custom_objects=custom_objects,
                                    printable_module_name="activation function")


def get(identifier: Any) -> Callable[..., Any]:
    """The activation for a name, function, config or None (identity).

    >>> get("relu").__name__
    'relu'
    """
    from graphk.frontend.engine.base_layer import Layer
    if identifier is None:
        return linear
    if isinstance(identifier, (str, dict)):
        return deserialize(identifier)
    if isinstance(identifier, type) and issubclass(identifier, Layer):
        name = identifier.__name__
        raise ValueError(f"The layer class {name} is no activation function. Add {name}() as a layer of its own, after "
                         "this one.")
    if callable(identifier):
        if isinstance(identifier, Layer):
            warnings.warn(
                f"Do not pass a layer instance (such as {identifier.__class__.__name__}) as the activation "
                "argument of another layer. "
                "Instead, advanced activation layers should be used just like any other layer in a model.",
                stacklevel=3,
            )
        return identifier
    raise ValueError(f"Could not interpret activation function identifier: {str(identifier)[:200]} (a "
                     f"{type(identifier).__name__}). Expected a name ({', '.join(_TABLE)}) or a function.")


_LAYERS = {name.lower(): name for name in ("LeakyReLU", "PReLU", "ThresholdedReLU")}
_TABLE = {
    f.__name__: f
    for f in (softmax, elu, selu, softplus, softsign, relu, tanh, sigmoid, hard_sigmoid,
              hard_sigmoid_3, swish, relu6, gelu, mish, hard_silu, exponential, linear)
}
