"""What each op of the graph is in ONNX.

In: a node and the writer that holds its operands' values.  Out: the name of its value.  What always holds: `RULES` is
the whole table; an op that is neither in it nor made of ops that are is refused by name.
"""
from __future__ import annotations

from typing import Any, Callable

import numpy as np

from graphk.ir.node import Node
from graphk.ir.ops.contract import free_axes
from graphk.ir.types import FLOATS
from graphk.onnx.writer import Writer

Rule = Callable[[Writer, Node], Any]


def args(w: Writer, node: Node) -> list[str]:
    """The values of the operands."""
    return [w.values[i] for i in node.inputs]


def one(node: Node, value: Any) -> np.ndarray:
    """A number of the type of the node's operand."""
    return np.array(value, node.inputs[0].dtype)


# ------------------------------------------------------------------ elementwise
# ONNX's operators of the same meaning
DIRECT = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "neg": "Neg", "abs": "Abs",
          "sign": "Sign", "max": "Max", "min": "Min", "sqrt": "Sqrt", "exp": "Exp", "log": "Log", "tanh": "Tanh",
          "sigmoid": "Sigmoid", "softplus": "Softplus", "erf": "Erf", "sin": "Sin", "cos": "Cos", "floor": "Floor",
          "ceil": "Ceil", "round": "Round", "eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater",
          "ge": "GreaterOrEqual", "and": "And", "or": "Or", "not": "Not", "is_nan": "IsNaN", "is_inf": "IsInf",
          "select": "Where"}


def _floordiv(w: Writer, node: Node) -> str:
    a, b = args(w, node)
    return str(w.emit("Floor", [w.emit("Div", [a, b])])) if node.dtype in FLOATS else w.floordiv(a, b)


def _mod(w: Writer, node: Node) -> str:
    a, b = args(w, node)
    if node.dtype not in FLOATS:
        return str(w.emit("Mod", [a, b]))
    return str(w.emit("Sub", [a, w.emit("Mul", [w.emit("Floor", [w.emit("Div", [a, b])]), b])]))


def _expm1(w: Writer, node: Node) -> str:
    """tanh(x/2) · (exp(x) + 1), which is exact near 0, where exp(x) - 1 is not."""
    x, = args(w, node)
    half = w.emit("Mul", [x, w.constant(one(node, .5))])
    return str(w.emit("Mul", [w.emit("Tanh", [half]), w.emit("Add", [w.emit("Exp", [x]), w.constant(one(node, 1))])]))


def _relu(w: Writer, node: Node) -> str:
    if node.dtype in FLOATS:
        return str(w.emit("Relu", args(w, node)))
    return str(w.emit("Max", [*args(w, node), w.constant(one(node, 0))]))


def _cast(w: Writer, node: Node) -> str:
    return w.cast(args(w, node)[0], node.dtype)


def _same(w: Writer, node: Node) -> str:
    return args(w, node)[0]


def _straight_through(w: Writer, node: Node) -> str:
    return _expanded(w, args(w, node)[0], node.inputs[0], node)


# ------------------------------------------------------------------ shapes
def _reshape(w: Writer, node: Node) -> str:
    return w.reshape(args(w, node)[0], node.inputs[0].shape, node.shape)


def _expanded(w: Writer, value: str, x: Node, node: Node) -> str:
    """Repeated to the shape of `node`: where extents agree, a 1 says so without computing them."""
    lead = node.ndim - x.ndim
    wanted = [1 if i >= lead and x.shape[i - lead] == d else d for i, d in enumerate(node.shape)]
    if all(isinstance(d, int) and d == 1 for d in wanted) and lead == 0:
        return value
    return str(w.emit("Expand", [value, w.dims(wanted)]))


def _broadcast(w: Writer, node: Node) -> str:
    return _expanded(w, args(w, node)[0], node.inputs[0], node)


def _transpose(w: Writer, node: Node) -> str:
    return w.transpose(args(w, node)[0], node.attr("perm"))


def _slice(w: Writer, node: Node) -> str:
    x, = node.inputs
    starts, sizes, steps = (node.attr(k) for k in ("starts", "sizes", "steps"))
    axes = [i for i in range(x.ndim) if (starts[i], sizes[i], steps[i]) != (0, x.shape[i], 1)]
    return w.slice(args(w, node)[0], axes, *([v[i] for i in axes] for v in (starts, sizes, steps)))


def _embed(w: Writer, node: Node) -> str:
    """Zeros between the elements of an axis come from a new axis behind it; then those around."""
    (x,), value = node.inputs, args(w, node)[0]
    starts, steps, room = list(node.attr("starts")), node.attr("steps"), node.attr("shape")
    shape = list(x.shape)
    back = [i for i, s in enumerate(steps) if s < 0]
    value = w.slice(value, back, [shape[i] - 1 for i in back], [shape[i] for i in back], [-1] * len(back))
    for i in back:
        starts[i] = starts[i] + steps[i] * (shape[i] - 1)
    for i, step in enumerate(map(abs, steps)):
        if step > 1:
            apart = [*shape[:i + 1], 1, *shape[i + 1:]]
            value = w.reshape(value, shape, apart)
            value = w.pad(value, [0] * len(apart), [step - 1 if j == i + 1 else 0 for j in range(len(apart))])
            wide = [*shape[:i], shape[i] * step, *shape[i + 1:]]
            apart[i + 1] = step
            value = w.slice(w.reshape(value, apart, wide), [i], [0], [wide[i] - (step - 1)], [1])
            shape = [*shape[:i], wide[i] - (step - 1), *shape[i + 1:]]
    return w.pad(value, starts, [r - a - d for r, a, d in zip(room, starts, shape)])


def _concat(w: Writer, node: Node) -> str:
    return str(w.emit("Concat", args(w, node), axis=node.attr("axis")))


def _gather(w: Writer, node: Node) -> str:
    return str(w.emit("Gather", args(w, node), axis=0))


def _iota(w: Writer, node: Node) -> str:
    size, dtype = node.attr("size"), node.dtype
    if isinstance(size, int):
        return w.constant(np.arange(size, dtype=dtype))
    whole = w.emit("Range", [w.scalar(0), w.scalar(size), w.scalar(1)])
    return whole if dtype == "int64" else w.cast(whole, dtype)


def _dim(w: Writer, node: Node) -> str:
    return w.scalar(node.attr("size"), node.dtype)


def _windows(w: Writer, node: Node) -> str:
    """Each axis by a table of places; the places' axes then move behind the last window's."""
    value, shape = args(w, node)[0], node.shape
    axes, sizes, strides, dilations = (node.attr(k) for k in ("axes", "sizes", "strides", "dilations"))
    at = 0
    for a, k, s, d in zip(axes, sizes, strides, dilations):
        count, places = shape[a], np.arange(k, dtype=np.int64) * d
        if isinstance(count, int):
            table = w.constant(np.arange(count, dtype=np.int64)[:, None] * s + places)
        else:
            steps = w.emit("Range", [w.scalar(0), w.scalar(count * s), w.scalar(s)])
            table = w.emit("Add", [w.emit("Unsqueeze", [steps, w.ints([1])]), w.constant(places)])
        value = w.emit("Gather", [value, table], axis=a + at)
        at += 1
    order = [i for i in range(node.ndim) if i not in {a + j + 1 for j, a in enumerate(axes)}]
    split = axes[-1] + 1
    places_at = [a + j + 1 for j, a in enumerate(axes)]
    return w.transpose(value, [*order[:split], *places_at, *order[split:]])


# ------------------------------------------------------------------ contractions and reductions
def _dot(w: Writer, node: Node) -> str:
    a, b = node.inputs
    (ca, cb), (ba, bb) = node.attr("contract"), node.attr("batch")
    n = len(ba)
    plain = len(ca) == 1 and ca[0] == a.ndim - 1 and ba == bb == tuple(range(n)) and cb[0] == n and b.ndim == n + 2
    if plain and a.ndim >= 2 and (n == 0 or a.ndim == n + 2):
        return str(w.emit("MatMul", args(w, node)))
    letters = iter("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    of_a, of_b = [next(letters) for _ in range(a.ndim)], [next(letters) for _ in range(b.ndim)]
    for i, j in (*zip(ca, cb), *zip(ba, bb)):
        of_b[j] = of_a[i]
    out = [of_a[i] for i in (*ba, *free_axes(a.ndim, ca, ba))] + [of_b[j] for j in free_axes(b.ndim, cb, bb)]
    return str(w.emit("Einsum", args(w, node), equation=f"{''.join(of_a)},{''.join(of_b)}->{''.join(out)}"))


def _reduction(op: str) -> Rule:
    return lambda w, node: w.reduce(op, args(w, node)[0], node.attr("axes"), node.attr("keepdims"))


def _truth(op: str) -> Rule:
    """any and all, of numbers: there are no such reductions of bools."""
    def rule(w: Writer, node: Node) -> str:
        number = w.cast(args(w, node)[0], "int32")
        return w.cast(w.reduce(op, number, node.attr("axes"), node.attr("keepdims")), "bool")
    return rule


def _arg(op: str) -> Rule:
    return lambda w, node: w.emit(op, args(w, node), axis=node.attr("axis"), keepdims=0)


def _along(op: str) -> Rule:
    return lambda w, node: w.emit(op, args(w, node), axis=node.attr("axis"))


def _const(w: Writer, node: Node) -> str:
    return w.constant(node.attr("value").array, name=f"{w.layer}/const" if node.t.size != 1 and w.layer else "const")


def _item(w: Writer, node: Node) -> str:
    return str(w.values[node.inputs[0]][node.attr("index")])


def _direct(op: str) -> Rule:
    return lambda w, node: w.emit(op, args(w, node))


RULES: dict[str, Rule] = {
    **{name: _direct(op) for name, op in DIRECT.items()},
    "floordiv": _floordiv, "mod": _mod, "expm1": _expm1, "relu": _relu, "cast": _cast,
    "square": lambda w, node: w.emit("Mul", args(w, node) * 2),
    "rsqrt": lambda w, node: w.emit("Reciprocal", [w.emit("Sqrt", args(w, node))]),
    "log1p": lambda w, node: w.emit("Log", [w.emit("Add", [*args(w, node), w.constant(one(node, 1))])]),
    "ne": lambda w, node: w.emit("Not", [w.emit("Equal", args(w, node))]),
    "stop_gradient": _same, "watch": _same, "straight_through": _straight_through,
    "reshape": _reshape, "broadcast": _broadcast, "transpose": _transpose, "slice": _slice, "embed": _embed,
    "concat": _concat, "gather": _gather, "iota": _iota, "dim": _dim, "windows": _windows, "dot": _dot,
    "sum": _reduction("ReduceSum"), "prod": _reduction("ReduceProd"), "reduce_max": _reduction("ReduceMax"),
    "reduce_min": _reduction("ReduceMin"), "mean": _reduction("ReduceMean"), "any": _truth("ReduceMax"),
    "all": _truth("ReduceMin"), "argmax": _arg("ArgMax"), "argmin": _arg("ArgMin"),
    "softmax": _along("Softmax"), "log_softmax": _along("LogSoftmax"), "const": _const, "item": _item}

__all__ = ["RULES", "Rule", "args"]
