"""Operations on tensors as layers, which functional models of tf.keras 2.4 on and Keras 3 hold.

In: a name of the table, what it computes with.  Out: a tensor.  What always holds: nothing but what the table names is
computed.
"""
from __future__ import annotations

from typing import Any, Callable

from graphk.frontend import activations
from graphk.frontend import backend as K
from graphk.frontend.engine.base_layer import Layer
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.generic_utils import has_arg, to_list


def _matmul(x: Tensor, y: Tensor) -> Tensor:
    return K.dot(x, y) if K.ndim(y) == 2 else K.batch_dot(x, y)


def _at(x: Tensor, at: list[Any]) -> Tensor:
    """x[at]: numbers, '...', None for a new axis, {start, stop, step}."""
    return x[tuple(slice(p["start"], p["stop"], p["step"]) if isinstance(p, dict) else ... if p == "..." else p
                   for p in at)]


OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y, "subtract": lambda x, y: x - y, "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y, "pow": lambda x, y: x ** y, "negative": lambda x: -x, "matmul": _matmul,
    "maximum": lambda x, y: K.maximum(x, y), "minimum": lambda x, y: K.minimum(x, y), "getitem": _at,
    "exp": lambda x: K.exp(x), "log": lambda x: K.log(x), "sqrt": lambda x: K.sqrt(x), "square": lambda x: K.square(x),
    "abs": lambda x: K.abs(x), "rsqrt": lambda x: 1. / K.sqrt(x), "relu": lambda x: K.relu(x),
    "relu6": activations.relu6, "sigmoid": activations.sigmoid, "tanh": activations.tanh, "silu": activations.swish,
    "gelu": activations.gelu, "softplus": activations.softplus, "elu": lambda x: K.elu(x),
    "softmax": lambda x, axis=-1: K.softmax(x, axis), "clip": lambda x, low, high: K.clip(x, low, high),
    "mean": lambda x, axis=None, keepdims=False: K.mean(x, axis, keepdims),
    "sum": lambda x, axis=None, keepdims=False: K.sum(x, axis, keepdims),
    "max": lambda x, axis=None, keepdims=False: K.max(x, axis, keepdims),
    "min": lambda x, axis=None, keepdims=False: K.min(x, axis, keepdims),
    "concatenate": lambda xs, axis=-1: K.concatenate(xs, axis), "stack": lambda xs, axis=0: K.stack(xs, axis),
    "reshape": lambda x, shape: K.reshape(x, shape), "transpose": lambda x, axes: K.permute_dimensions(x, axes),
    "expanddims": lambda x, axis: K.expand_dims(x, axis), "cast": lambda x, dtype: K.cast(x, dtype),
    "squeeze": lambda x, axis: K.squeeze(x, axis[0] if isinstance(axis, list) and len(axis) == 1 else axis),
    "l2normalize": lambda x, axis=None: K.l2_normalize(x, axis)}


def _filled(argument: Any, tensors: list[Tensor]) -> Any:
    if isinstance(argument, dict):
        return tensors[argument["tensor"]]
    if isinstance(argument, list):
        return [_filled(a, tensors) for a in argument] if any(isinstance(a, dict) for a in argument) \
            else K.constant(argument)
    return argument


class Operation(Layer):
    """An operation by its name.

    arguments: numbers, and `{"tensor": i}` for the tensors that the layer is called on; settings: other arguments.

    >>> K.eval(Operation("subtract", [1., {"tensor": 0}])(K.constant([[2.]]))).tolist()
    [[-1.0]]
    """

    def __init__(self, operation: str, arguments: list[Any], settings: dict[str, Any] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.operation, self.arguments, self.settings = operation, arguments, dict(settings or {})
        function = OPERATIONS.get(operation)
        if function is None:
            raise ValueError(f"The layer {self.name} computes `{operation}`, which is none of {', '.join(OPERATIONS)}.")
        unknown = [key for key in self.settings if not has_arg(function, key)]
        if unknown:
            raise ValueError(f"The layer {self.name} computes `{operation}` with {unknown[0]}="
                             f"{self.settings[unknown[0]]!r:.80}, which graphk's does not take.")

    def call(self, inputs: Any) -> Tensor:
        tensors = to_list(inputs, allow_tuple=True)
        result: Tensor = OPERATIONS[self.operation](*[_filled(a, tensors) for a in self.arguments], **self.settings)
        return result

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "operation": self.operation, "arguments": self.arguments,
                "settings": self.settings}


__all__ = ["OPERATIONS", "Operation"]
