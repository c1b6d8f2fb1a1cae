"""What numpy's functions do with a symbolic tensor, and what users may give for numbers.

In: a call of a numpy function with a tensor among its arguments.  Out: what the tensor's own operator gives, so that
`array + tensor` and `np.add(array, tensor)` are tensors, or a TypeError that names the function of `K`.
What always holds: no tensor is ever turned into an array of objects.
"""
from __future__ import annotations

from typing import Any, Callable

import numpy as np

_OPERATORS = {"add": "add", "subtract": "sub", "multiply": "mul", "divide": "truediv", "true_divide": "truediv",
              "floor_divide": "floordiv", "remainder": "mod", "power": "pow", "matmul": "matmul", "less": "lt",
              "less_equal": "le", "greater": "gt", "greater_equal": "ge"}
_MIRRORED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
_IN_K = {"absolute": "abs", "power": "pow", "isclose": "equal", "logical_and": "all", "logical_or": "any"}


def numpy_call(ufunc: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any], symbolic: type,
               no_value: Callable[[str], TypeError]) -> Any:
    """The result of a numpy function one of whose `inputs` is of the class `symbolic`."""
    name = ufunc.__name__
    if method == "__call__" and not options and len(inputs) == 2:
        a, b = inputs
        if name in ("equal", "not_equal"):                  # tensors are equal by identity
            return (a is b) == (name == "equal")
        if name in _OPERATORS:
            own = _OPERATORS[name]
            if isinstance(a, symbolic):
                return getattr(a, f"__{own}__")(b)
            return getattr(b, f"__{_MIRRORED.get(own, 'r' + own)}__")(a)
    raise no_value(f"Use functions of K (K.{_IN_K.get(name, name)}), not of numpy: cannot compute numpy.{name} of")


def numbers(value: Any, dtype: Any, what: str) -> np.ndarray:
    """`value` as an array of `dtype`; ValueError or TypeError naming `what` if it does not hold numbers."""
    try:
        return np.asarray(value, dtype=dtype)
    except (TypeError, ValueError) as e:
        raise type(e)(f"{what} was given {value!r:.80}; expected numbers: an array, a list whose rows are of one "
                      f"length, "
                      f"or one number ({e}).") from None
