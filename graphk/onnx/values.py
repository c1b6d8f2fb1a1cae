"""What operators of an imported graph compute with.

In: nodes, arrays that are known now, and arrays of dims (what Shape gives).  Out: the same in the form that an operator
needs.  What always holds: a value is a `Node`, or an array; an array of Python objects holds dims, some of them open.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Sequence, Union

import numpy as np

from graphk.ir.dims import Dim, DimExpr, dim_max
from graphk.ir.node import Node
from graphk.ir.opdef import const
from graphk.ir.ops import shape as sh
from graphk.ir.types import FLOATS

Value = Union[Node, np.ndarray]
LIMIT = 1 << 28                     # elements of an array that a graph may ask for by numbers alone
AT_ONCE = 1 << 24                   # elements of one that is made while the graph is read
_TEXT = 1000                        # letters of a dim: a graph of a few nodes can make polynomials of any length


@dataclass
class Call:
    """One node of the imported graph.

    op: its operator; inputs: the operands' values, None for those left out; attributes; outputs: how many results are
    asked for (and named); opset; run: computes a body, given as in the description, on values by name.
    """
    op: str
    inputs: list[Value | None]
    attributes: dict[str, Any]
    outputs: list[str]
    opset: int
    run: Callable[[dict[str, Any], dict[str, Value]], list[Value]] = field(repr=False)

    def has(self, at: int) -> bool:
        """Whether the operand is given."""
        return at < len(self.inputs) and self.inputs[at] is not None

    def node(self, at: int = 0) -> Node:
        """An operand as a node."""
        if not self.has(at):
            raise ValueError(f"it lacks its operand number {at}")
        return as_value(self.inputs[at])

    def nodes(self) -> list[Node]:
        """All operands as nodes."""
        return [self.node(i) for i in range(len(self.inputs))]

    def attr(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    def setting(self, name: str, at: int, default: Any = None) -> Any:
        """What newer opsets give as an operand and older ones as an attribute: a list, or a number."""
        if name in self.attributes:
            return self.attributes[name]
        if not self.has(at):
            return default
        return self.known(at).tolist()

    def known(self, at: int) -> np.ndarray:
        """An operand that must be known before anything is computed."""
        value = self.inputs[at]
        if not isinstance(value, np.ndarray):
            raise NotImplementedError(f"its operand number {at} is computed from data; graphk needs it as a constant, "
                                      "or made of shapes")
        return value

    def refuse(self, what: str) -> NotImplementedError:
        """The error for what graphk does not do."""
        return NotImplementedError(f"{what} is not supported")


def as_value(x: Any) -> Node:
    """A value as a node."""
    if isinstance(x, Node):
        return x
    if x.dtype != object:
        return const(x)
    if x.ndim == 0:
        return sh.dim_value(x.item())
    flat = [sh.reshape(sh.dim_value(d), shape=(1,)) for d in x.reshape(-1)]
    return sh.reshape(sh.concat(*flat, axis=0), shape=x.shape)


def as_dims(values: Any) -> list[Dim]:
    """Dims of a list of numbers and dims."""
    out: list[Dim] = [d if isinstance(d, DimExpr) else int(d) for d in np.asarray(values, object).reshape(-1)]
    return out


def dims_array(values: Sequence[Dim]) -> np.ndarray:
    """A vector of dims: of integers if all are known."""
    if all(isinstance(v, int) for v in values):
        return np.array(values, np.int64)
    out = np.empty(len(values), object)
    out[:] = list(values)
    return out


def tidy(x: Any) -> np.ndarray:
    """An array of objects as one of integers, if they all are; ValueError for dims beyond all reason."""
    x = np.asarray(x)
    if x.dtype == object and any(len(str(v)) > _TEXT for v in x.reshape(-1)):
        raise ValueError("it computes a dimension from shapes that takes more than a page to write down")
    if x.dtype == object and all(isinstance(v, (int, np.integer)) for v in x.reshape(-1)):
        return x.astype(np.int64)
    return x


def affordable(shape: Sequence[Dim], limit: int = LIMIT) -> tuple[Dim, ...]:
    """`shape`; ValueError if it is negative, or larger than a graph of a few bytes should ask for."""
    total = 1
    for d in shape:
        if isinstance(d, int):
            if d < 0:
                raise ValueError(f"the shape ({', '.join(map(str, shape))}) has a negative extent")
            total *= max(d, 1)
        else:
            total *= max(1, *(abs(factor) for _, factor in d.terms))
    if total > limit:
        raise ValueError(f"it asks for an array of shape ({', '.join(map(str, shape))}), more than {limit} numbers")
    return tuple(shape)


def axis_of(axis: int, ndim: int) -> int:
    """An axis counted from the front."""
    if not -ndim <= axis < max(ndim, 1):
        raise ValueError(f"axis {axis} of a tensor of {ndim} axes")
    return axis % max(ndim, 1)


def is_float(x: Node) -> bool:
    """Whether it holds floats."""
    return x.dtype in FLOATS


# ------------------------------------------------------------------ arithmetic of dims
_PAIRS: dict[str, Any] = {
    "Add": lambda a, b: a + b, "Sub": lambda a, b: a - b, "Mul": lambda a, b: a * b, "Div": lambda a, b: a // b,
    "Mod": lambda a, b: a - (a // b) * b, "Max": dim_max, "Equal": lambda a, b: a == b}


def of_dims(call: Call) -> np.ndarray | None:
    """The result of an operator on arrays of dims; None if dims have no such operator, and become numbers first."""
    xs: list[Any] = call.inputs
    if call.op in _PAIRS and len(xs) == 2:
        return tidy(np.vectorize(_PAIRS[call.op], otypes=[bool if call.op == "Equal" else object])(*xs))
    if call.op == "Where":
        return tidy(np.where(xs[0], np.asarray(xs[1], object), np.asarray(xs[2], object)))
    if call.op == "Gather":
        return tidy(np.take(xs[0], xs[1], axis=call.attr("axis", 0)))
    if call.op == "Concat":
        return tidy(np.concatenate([np.asarray(x, object) for x in xs], axis=call.attr("axis", 0)))
    if call.op in ("Identity", "Cast") and call.attr("to", 7) in (6, 7):
        return tidy(xs[0])
    if call.op in ("Squeeze", "Unsqueeze", "Reshape"):
        shape = {"Squeeze": (), "Unsqueeze": (1,)}.get(call.op) if xs[0].size == 1 else None
        if call.op == "Reshape":
            shape = tuple(call.known(1).tolist())
        return xs[0].reshape(shape) if shape is not None else None
    if call.op == "Slice":
        starts, ends, axes, steps = (call.setting(k, i + 1) for i, k in enumerate(("starts", "ends", "axes", "steps")))
        if len(starts) == 1 and (axes or [0]) in ([0], [-1]):
            return tidy(xs[0][starts[0]:ends[0]:(steps or [1])[0]])
    if call.op == "ReduceProd" and xs[0].ndim == 1:
        out: Any = 1
        for d in xs[0]:
            out = out * d
        return tidy(np.array([out] if call.attr("keepdims", 1) else out, object))
    return None


__all__ = ["AT_ONCE", "Call", "LIMIT", "Value", "affordable", "as_dims", "as_value", "axis_of", "dims_array",
           "is_float", "of_dims", "tidy"]
