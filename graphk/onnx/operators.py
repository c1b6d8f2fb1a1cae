"""ONNX's operators on numbers and shapes, as ops of the graph.

In: a `Call`.  Out: its result, or a list of them.  What always holds: `OPERATORS` is one table by name; an operator
means what the opset of the file says, where opsets differ; what is left out of an operator is refused by name.
"""
from __future__ import annotations

import math
from typing import Any, Callable

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.tensor import Tensor
from graphk.ir.dims import Dim, dim_max, floordiv, product
from graphk.ir.node import Node
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops import nn
from graphk.ir.ops import reduce as red
from graphk.ir.ops import shape as sh
from graphk.ir.ops.contract import dot
from graphk.ir.opdef import const
from graphk.onnx.reading import unpacked
from graphk.onnx.values import Call, Value, affordable, as_dims, as_value, axis_of, dims_array, is_float

Operator = Callable[[Call], Any]
FAR = 10 ** 8                       # places as far as this mean the end of an axis of open size
# ONNX's numbers of the types that graphk has.
TYPES = {1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
         11: "float64", 12: "uint32"}


# ------------------------------------------------------------------ elementwise
def _unary(op: Callable[[Node], Node]) -> Operator:
    return lambda c: op(c.node())


def _binary(op: Callable[[Node, Node], Node]) -> Operator:
    return lambda c: op(c.node(0), c.node(1))


def _variadic(op: Callable[[Node, Node], Node]) -> Operator:
    def operator(c: Call) -> Node:
        first, *rest = c.nodes()
        for x in rest:
            first = op(first, x)
        return first
    return operator


def _div(c: Call) -> Node:
    """Integers round towards zero."""
    a, b = c.nodes()
    if is_float(a):
        return ew.div(a, b)
    size = ew.floordiv(ew.abs(a), ew.abs(b))
    return ew.select(ew.ne(ew.lt(a, 0), ew.lt(b, 0)), ew.neg(size), size)


def _mod(c: Call) -> Node:
    a, b = c.nodes()
    if not c.attr("fmod"):
        return ew.mod(a, b)
    size = ew.mod(ew.abs(a), ew.abs(b))             # C's remainder has the sign of the dividend
    return ew.select(ew.lt(a, 0), ew.neg(size), size)


def _pow(c: Call) -> Node:
    a, b = c.nodes()
    out = ew.pow(ew.cast(a, "float32") if not is_float(a) else a, ew.cast(b, a.dtype if is_float(a) else "float32"))
    return ew.cast(out, a.dtype)


def _clip(c: Call) -> Node:
    x = c.node()
    for at, (name, limit) in enumerate((("min", ew.max), ("max", ew.min)), 1):
        if name in c.attributes:
            x = limit(x, float(c.attr(name)))
        elif c.has(at):
            x = limit(x, c.node(at))
    return x


def _prelu(c: Call) -> Node:
    x, slope = c.nodes()
    return ew.select(ew.lt(x, 0.0), ew.mul(x, slope), x)


def _scaled(x: Node, alpha: float, beta: float) -> Node:
    return ew.add(ew.mul(x, alpha), beta)


def _clipped(x: Node) -> Node:
    return ew.clip(x, 0.0, 1.0)


def _elu(x: Node, alpha: float) -> Node:
    return ew.select(ew.lt(x, 0.0), ew.mul(ew.expm1(ew.min(x, 0.0)), alpha), x)


def _gelu(c: Call) -> Node:
    x = c.node()
    if c.attr("approximate", "none") == "tanh":
        inner = ew.mul(ew.add(x, ew.mul(ew.mul(ew.mul(x, x), x), .044715)), math.sqrt(2 / math.pi))
        return ew.mul(ew.mul(x, .5), ew.add(ew.tanh(inner), 1.0))
    return ew.mul(ew.mul(x, .5), ew.add(ew.erf(ew.mul(x, 1 / math.sqrt(2))), 1.0))


def _cast(c: Call) -> Node:
    if c.attr("to") not in TYPES:
        raise c.refuse(f"ONNX's type number {c.attr('to')}")
    return ew.cast(c.node(), TYPES[c.attr("to")])


def _softmax(op: Callable[[Node, int], Node]) -> Operator:
    """Before opset 13 the axes from `axis` on are one."""
    def operator(c: Call) -> Node:
        x = c.node()
        if c.opset >= 13:
            return op(x, axis_of(c.attr("axis", -1), x.ndim))
        at = axis_of(c.attr("axis", 1), x.ndim)
        flat = sh.reshape(x, shape=(*x.shape[:at], product(x.shape[at:])))
        return sh.reshape(op(flat, at), shape=x.shape)
    return operator


def _mean(c: Call) -> Node:
    return ew.div(_variadic(ew.add)(c), float(len(c.inputs)))


def _sum_of(c: Call) -> Node:
    return _variadic(ew.add)(c)


# ------------------------------------------------------------------ reductions
def _number(x: Node) -> Node:
    return ew.cast(x, "int32") if x.dtype == "bool" else x


def _reduction(op: Callable[..., Node], before: Callable[[Node], Node] = lambda x: x,
               after: Callable[[Node], Node] = lambda x: x) -> Operator:
    def operator(c: Call) -> Node:
        x, axes = c.node(), c.setting("axes", 1)
        if not axes and c.attr("noop_with_empty_axes"):
            return x
        chosen = [axis_of(a, x.ndim) for a in axes] if axes else None
        made = after(op(before(_number(x)), axes=chosen, keepdims=bool(c.attr("keepdims", 1))))
        return ew.cast(made, "bool") if x.dtype == "bool" else made
    return operator


def _arg(op: Callable[..., Node]) -> Operator:
    def operator(c: Call) -> Node:
        x = c.node()
        if c.attr("select_last_index"):
            raise c.refuse("select_last_index")
        axis = axis_of(c.attr("axis", 0), x.ndim)
        out = op(x, axis=axis)
        return sh.reshape(out, shape=(*x.shape[:axis], 1, *x.shape[axis + 1:])) if c.attr("keepdims", 1) else out
    return operator


def _cumsum(c: Call) -> Node:
    x, axis = c.node(), axis_of(int(np.asarray(c.known(1)).item()), c.node().ndim)
    back = tuple(-1 if i == axis else 1 for i in range(x.ndim))

    def turned(n: Node) -> Node:
        return sh.slice_op(n, starts=tuple(d - 1 if s < 0 else 0 for d, s in zip(n.shape, back)), sizes=n.shape,
                           steps=back) if c.attr("reverse") else n
    out = K.cumsum(Tensor(turned(x)), axis).node
    return turned(ew.sub(out, turned(x)) if c.attr("exclusive") else out)


# ------------------------------------------------------------------ products
def _matmul(a: Node, b: Node) -> Node:
    """numpy's: vectors are rows or columns, leading axes broadcast."""
    if a.ndim == 1 or b.ndim == 1:
        return dot(a, b, contract=((a.ndim - 1,), (max(b.ndim - 2, 0),)))
    if b.ndim == 2:
        return dot(a, b, contract=((a.ndim - 1,), (0,)))
    lead = max(a.ndim, b.ndim) - 2

    def spread(n: Node, other: Node) -> Node:
        shape = (1,) * (lead + 2 - n.ndim) + n.shape
        far = (1,) * (lead + 2 - other.ndim) + other.shape
        whole = tuple(f if d == 1 else d for d, f in zip(shape[:lead], far[:lead])) + shape[lead:]
        return sh.broadcast_to(sh.reshape(n, shape=shape), whole)
    x, y, same = spread(a, b), spread(b, a), tuple(range(lead))
    return dot(x, y, contract=((lead + 1,), (lead,)), batch=(same, same))


def _gemm(c: Call) -> Node:
    a, b = c.node(0), c.node(1)
    out = dot(a, b, contract=((0 if c.attr("transA") else 1,), (1 if c.attr("transB") else 0,)))
    alpha, beta = c.attr("alpha", 1.), c.attr("beta", 1.)
    out = out if alpha == 1 else ew.mul(out, float(alpha))
    if not c.has(2):
        return out
    return ew.add(out, c.node(2) if beta == 1 else ew.mul(c.node(2), float(beta)))


def _einsum(c: Call) -> Node:
    text = c.attr("equation").replace(" ", "")
    given, _, out = text.partition("->")
    terms, xs = given.split(","), c.nodes()
    if "->" not in text:
        out = "".join(sorted(ch for ch in set(given) if given.count(ch) == 1 and ch.isalpha()))
    fits = len(terms) == len(xs) and all(len(set(t)) == len(t) == x.ndim for t, x in zip(terms, xs))
    if "." in text or not fits or not set(out) <= set(given):
        raise c.refuse(f"the equation {text!r}")
    have, x = terms[0], xs[0]
    for i, y in enumerate(xs[1:], 1):
        have, x = _product(have, x, terms[i], y, set(out).union(*terms[i + 1:]))
    have, x = _summed(have, x, set(out))
    return sh.transpose(x, perm=tuple(have.index(ch) for ch in out))


def _summed(have: str, x: Node, keep: set[str]) -> tuple[str, Node]:
    lost = [i for i, ch in enumerate(have) if ch not in keep]
    return "".join(ch for ch in have if ch in keep), red.sum_(x, axes=lost) if lost else x


def _product(a: str, x: Node, b: str, y: Node, keep: set[str]) -> tuple[str, Node]:
    """The product of two terms, summed over the letters that nothing needs any more."""
    a, x = _summed(a, x, keep | set(b))
    b, y = _summed(b, y, keep | set(a))
    both = [ch for ch in a if ch in b]
    batch, over = [ch for ch in both if ch in keep], [ch for ch in both if ch not in keep]
    made = dot(x, y, contract=(tuple(map(a.index, over)), tuple(map(b.index, over))),
               batch=(tuple(map(a.index, batch)), tuple(map(b.index, batch))))
    return "".join([*batch, *(ch for ch in a if ch not in both), *(ch for ch in b if ch not in both)]), made


# ------------------------------------------------------------------ shapes
def _shape(c: Call) -> np.ndarray:
    dims = list(c.node().shape)
    return dims_array(dims[c.attr("start", 0):c.attr("end")])


def _reshape(c: Call) -> Node:
    x, want = c.node(), as_dims(c.setting("shape", 1, []) if "shape" in c.attributes else c.known(1))
    if not c.attr("allowzero"):
        want = [x.shape[i] if isinstance(d, int) and d == 0 else d for i, d in enumerate(want)]
    return sh.reshape(x, shape=tuple(want))


def _flatten(c: Call) -> Node:
    x = c.node()
    at = c.attr("axis", 1)
    at = at + x.ndim if at < 0 else at
    return sh.reshape(x, shape=(product(x.shape[:at]), product(x.shape[at:])))


def _squeeze(c: Call) -> Node:
    x, axes = c.node(), c.setting("axes", 1)
    gone = {axis_of(a, x.ndim) for a in axes} if axes else {i for i, d in enumerate(x.shape) if d == 1}
    return sh.reshape(x, shape=tuple(d for i, d in enumerate(x.shape) if i not in gone))


def _unsqueeze(c: Call) -> Node:
    x, axes = c.node(), c.setting("axes", 1, [])
    rank = x.ndim + len(axes)
    new, rest = {axis_of(a, rank) for a in axes}, iter(x.shape)
    return sh.reshape(x, shape=tuple(1 if i in new else next(rest) for i in range(rank)))


def _transpose(c: Call) -> Node:
    return sh.transpose(c.node(), perm=c.attr("perm"))


def _concat(c: Call) -> Node:
    return sh.concat(*c.nodes(), axis=c.attr("axis", 1))


def _expand(c: Call) -> Node:
    x, want = c.node(), as_dims(c.known(1))
    shape = (1,) * (len(want) - x.ndim) + x.shape
    want = [*[1] * (len(shape) - len(want)), *want]
    return sh.broadcast_to(x, affordable([d if isinstance(w, int) and w == 1 else w for d, w in zip(shape, want)]))


def _tile(c: Call) -> Node:
    x, times = c.node(), as_dims(c.known(1))
    affordable([d * t for d, t in zip(x.shape, times)])
    apart = tuple(v for d in x.shape for v in (1, d))
    spread = tuple(v for d, t in zip(x.shape, times) for v in (t, d))
    return sh.reshape(sh.broadcast_to(sh.reshape(x, shape=apart), spread),
                      shape=tuple(d * t for d, t in zip(x.shape, times)))


def _constant_of_shape(c: Call) -> Node:
    shape, value = affordable(as_dims(c.known(0))), c.attr("value")
    fill = unpacked(value).reshape(()) if value is not None else np.zeros((), np.float32)
    return sh.broadcast_to(const(fill), shape)


def _range(c: Call) -> Node:
    start, limit, step = (c.inputs[i] for i in range(3))
    values: list[Any] = [v.item() if isinstance(v, np.ndarray) else None for v in (start, limit, step)]
    if any(v is None for v in values) or not isinstance(values[2], int):
        raise c.refuse("a range whose ends are computed from data, or whose step is no integer,")
    a, b, s = values
    size = floordiv(b - a + (s - (1 if s > 0 else -1)), s)
    size = max(size, 0) if isinstance(size, int) else size
    affordable([size])
    dtype = start.dtype.name if isinstance(start, np.ndarray) and start.dtype != object else "int64"
    return ew.add(ew.mul(sh.iota(size, dtype), const(s, dtype)), as_value(dims_array([a]).reshape(())))


def _clamped(at: Any, d: Dim) -> Dim:
    """A place counted from the front; an open axis is taken to be long enough for the places named in it."""
    if not isinstance(at, int):
        return at
    if at < 0:
        return 0 if at <= -FAR else dim_max(d + at, 0) if isinstance(d, int) else d + at
    return min(at, d) if isinstance(d, int) else d if at >= FAR else at


def _slice(c: Call) -> Node:
    x = c.node()
    starts, ends, axes, steps = (c.setting(k, i + 1) for i, k in enumerate(("starts", "ends", "axes", "steps")))
    a, n, s = [0] * x.ndim, list(x.shape), [1] * x.ndim
    for i, axis in enumerate(axes if axes is not None else range(len(starts))):
        axis, step = axis_of(axis, x.ndim), (steps or [1] * len(starts))[i]
        if step == 0:
            raise ValueError("a step of 0")
        a[axis], n[axis], s[axis] = _walk(x.shape[axis], starts[i], ends[i], step)
    return sh.slice_op(x, starts=tuple(a), sizes=tuple(n), steps=tuple(s))


def _walk(d: Dim, start: Any, end: Any, step: int) -> tuple[Any, Any, int]:
    """(first place, how many, step) along an axis of extent `d`."""
    if isinstance(d, int) and isinstance(start, int) and isinstance(end, int):
        places = range(*slice(start, end, step).indices(d)) if step > 0 or end >= -d else range(
            min(start if start >= 0 else start + d, d - 1), -1, step)
        return (places[0] if places else 0), len(places), step
    if step < 0:
        at_end = start in (-1, d - 1) or isinstance(start, int) and start >= FAR
        if not at_end or not (isinstance(end, int) and end <= -FAR):
            raise NotImplementedError("walking backwards over a part of an axis of open size is not supported")
        return d - 1, floordiv(d + (-step - 1), -step), step
    first, last = _clamped(start, d), _clamped(end, d)
    return first, floordiv(last - first + (step - 1), step), step


def _split(c: Call) -> list[Node]:
    x = c.node()
    axis = axis_of(c.attr("axis", 0), x.ndim)
    sizes, parts = c.setting("split", 1), len(c.outputs)
    if sizes is None:
        whole = x.shape[axis]
        if not isinstance(whole, int):
            raise c.refuse("splitting an axis of open size into equal parts")
        each = -(-whole // parts)
        sizes = [min(each, whole - i * each) for i in range(parts)]
    out, at = [], 0
    for size in sizes:
        out.append(sh.slice_axis(x, axis, at, size))
        at += size
    return out


def _gather(c: Call) -> Node:
    x, i = c.node(0), c.node(1)
    axis = axis_of(c.attr("axis", 0), x.ndim)
    i = ew.select(ew.lt(i, 0), ew.add(i, sh.dim_value(x.shape[axis], i.dtype)), i)
    front = sh.transpose(x, perm=(axis, *(a for a in range(x.ndim) if a != axis)))
    out = sh.gather(front, i)
    order = [*range(i.ndim, i.ndim + axis), *range(i.ndim), *range(i.ndim + axis, out.ndim)]
    return sh.transpose(out, perm=tuple(order))


def _one_hot(c: Call) -> Node:
    i, depth = c.node(0), int(np.asarray(c.known(1)).reshape(()).item())
    off, on = (float(v) for v in c.known(2))
    affordable([depth])
    i = ew.cast(i, "int64")
    hot = nn.one_hot(ew.select(ew.lt(i, 0), ew.add(i, depth), i), depth, "float32")
    axis = axis_of(c.attr("axis", -1), hot.ndim)
    order = list(range(hot.ndim - 1))
    order.insert(axis, hot.ndim - 1)
    values = ew.add(ew.mul(sh.transpose(hot, perm=tuple(order)), on - off), off)
    return ew.cast(values, c.known(2).dtype.name)


def _depth_to_space(c: Call) -> Node:
    x, b = c.node(), c.attr("blocksize")
    n, ch, h, w = x.shape
    dcr = c.attr("mode", "DCR") == "DCR"
    apart = (n, b, b, floordiv(ch, b * b), h, w) if dcr else (n, floordiv(ch, b * b), b, b, h, w)
    moved = sh.transpose(sh.reshape(x, shape=apart), perm=(0, 3, 4, 1, 5, 2) if dcr else (0, 1, 4, 2, 5, 3))
    return sh.reshape(moved, shape=(n, floordiv(ch, b * b), h * b, w * b))


def _space_to_depth(c: Call) -> Node:
    x, b = c.node(), c.attr("blocksize")
    if c.attr("mode", "DCR") != "DCR":
        raise c.refuse(f"the mode {c.attr('mode')!r}")
    n, ch, h, w = x.shape
    apart = sh.reshape(x, shape=(n, ch, floordiv(h, b), b, floordiv(w, b), b))
    return sh.reshape(sh.transpose(apart, perm=(0, 3, 5, 1, 2, 4)), shape=(n, ch * b * b, floordiv(h, b),
                                                                            floordiv(w, b)))


def _identity(c: Call) -> Value:
    value = c.inputs[0]
    assert value is not None
    return value


def _dropout(c: Call) -> list[Node]:
    """Nothing is dropped."""
    if c.has(2) and c.known(2).any():
        raise c.refuse("dropout in training mode")
    return [c.node(), sh.broadcast_to(const(True), c.node().shape)]


def _is_inf(c: Call) -> Node:
    x = c.node()
    found = ew.is_inf(x)
    for name, other in (("detect_positive", ew.gt), ("detect_negative", ew.lt)):
        found = found if c.attr(name, 1) else ew.logical_and(found, ew.logical_not(other(x, 0.0)))
    return found


_UNARY: dict[str, Callable[[Node], Node]] = {
    "Abs": ew.abs, "Neg": ew.neg, "Sign": ew.sign, "Sqrt": ew.sqrt, "Exp": ew.exp, "Log": ew.log, "Tanh": ew.tanh,
    "Sigmoid": ew.sigmoid, "Softplus": ew.softplus, "Relu": ew.relu, "Erf": ew.erf, "Sin": ew.sin, "Cos": ew.cos,
    "Floor": ew.floor, "Ceil": ew.ceil, "Round": ew.round, "Not": ew.logical_not, "IsNaN": ew.is_nan,
    "Reciprocal": lambda x: ew.div(1.0, x), "Tan": lambda x: ew.div(ew.sin(x), ew.cos(x)),
    "Softsign": lambda x: ew.div(x, ew.add(ew.abs(x), 1.0)),
    "HardSwish": lambda x: ew.mul(x, _clipped(_scaled(x, 1 / 6, .5))),
    "Mish": lambda x: ew.mul(x, ew.tanh(ew.softplus(x)))}
_BINARY: dict[str, Callable[[Node, Node], Node]] = {
    "Add": ew.add, "Sub": ew.sub, "Mul": ew.mul, "And": ew.logical_and, "Or": ew.logical_or, "Xor": ew.ne,
    "Equal": ew.eq, "Less": ew.lt, "LessOrEqual": ew.le, "Greater": ew.gt, "GreaterOrEqual": ew.ge, "MatMul": _matmul}
OPERATORS: dict[str, Operator] = {
    **{name: _unary(op) for name, op in _UNARY.items()}, **{name: _binary(op) for name, op in _BINARY.items()},
    "Max": _variadic(ew.max), "Min": _variadic(ew.min), "Sum": _sum_of, "Mean": _mean, "Div": _div, "Mod": _mod,
    "Pow": _pow, "IsInf": _is_inf, "Clip": _clip, "PRelu": _prelu, "Gelu": _gelu, "Cast": _cast,
    "LeakyRelu": lambda c: ew.select(ew.lt(c.node(), 0.0), ew.mul(c.node(), float(c.attr("alpha", .01))), c.node()),
    "Elu": lambda c: _elu(c.node(), c.attr("alpha", 1.)),
    "Selu": lambda c: ew.mul(_elu(c.node(), c.attr("alpha", 1.6732632)), float(c.attr("gamma", 1.0507010))),
    "ThresholdedRelu": lambda c: ew.select(ew.gt(c.node(), float(c.attr("alpha", 1.))), c.node(), 0.0),
    "HardSigmoid": lambda c: _clipped(_scaled(c.node(), float(c.attr("alpha", .2)), float(c.attr("beta", .5)))),
    "Where": lambda c: ew.select(*c.nodes()), "Softmax": _softmax(nn.softmax), "LogSoftmax": _softmax(nn.log_softmax),
    "ReduceSum": _reduction(red.sum_), "ReduceMean": _reduction(red.mean), "ReduceMax": _reduction(red.max_),
    "ReduceMin": _reduction(red.min_), "ReduceProd": _reduction(red.prod), "ReduceLogSumExp": _reduction(nn.logsumexp),
    "ReduceL1": _reduction(red.sum_, ew.abs), "ReduceL2": _reduction(red.sum_, ew.square, ew.sqrt),
    "ReduceSumSquare": _reduction(red.sum_, ew.square), "ReduceLogSum": _reduction(red.sum_, after=ew.log),
    "ArgMax": _arg(red.argmax), "ArgMin": _arg(red.argmin), "CumSum": _cumsum, "Gemm": _gemm, "Einsum": _einsum,
    "Shape": _shape, "Size": lambda c: dims_array([product(c.node().shape)]).reshape(()), "Reshape": _reshape,
    "Flatten": _flatten, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Transpose": _transpose, "Concat": _concat,
    "Expand": _expand, "Tile": _tile, "ConstantOfShape": _constant_of_shape, "Range": _range, "Slice": _slice,
    "Split": _split, "Gather": _gather, "OneHot": _one_hot, "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth, "Identity": _identity, "Dropout": _dropout}

__all__ = ["OPERATORS", "Operator"]
