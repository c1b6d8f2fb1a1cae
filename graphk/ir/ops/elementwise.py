"""Elementwise ops: arithmetic, comparisons, transcendental functions, select, cast.

In: tensors that broadcast like numpy's, of one dtype after promotion.  Out: a tensor of the broadcast
shape.  What always holds: `scalar` is the loop body for any target, written with the scalar table's
functions (`s`); `ref` is numpy's own function, the independent oracle.
"""
from __future__ import annotations

import math
from typing import Any, Callable

import numpy as np

from graphk.ir.node import Node
from graphk.ir.opdef import (NodeLike, OpDef, as_node, broadcast_shapes, coerce, elementwise,
                             register, unbroadcast)
from graphk.ir.types import FLOATS, TensorType, require

Samples = Callable[[np.random.Generator], list[tuple[list[np.ndarray], dict[str, Any]]]]


def reals(lo: float, hi: float, n: int = 1) -> Samples:
    """n operands of uniform numbers, once of one shape and once broadcast."""
    def make_samples(rng: np.random.Generator) -> list[tuple[list[np.ndarray], dict[str, Any]]]:
        broadcast: list[tuple[int, ...]] = [(4, 1, 3), (2, 1), (3,)]
        shapes: list[list[tuple[int, ...]]] = [[(3, 5)] * n, [(7,)] * n, broadcast[:n] if n > 1 else [()]]
        return [([rng.uniform(lo, hi, s).astype("float32") for s in ss], {}) for ss in shapes]
    return make_samples


def bools(n: int) -> Samples:
    def make_samples(rng: np.random.Generator) -> list[tuple[list[np.ndarray], dict[str, Any]]]:
        return [([rng.integers(0, 2, (4, 5)).astype(bool) for _ in range(n)], {})]
    return make_samples


def _bfloat16(x: np.ndarray) -> np.ndarray:
    """Eight bits of the mantissa are kept, of subnormal numbers as many as reach 2**-133."""
    with np.errstate(all="ignore"):
        exponent = np.maximum(np.frexp(np.where(np.isfinite(x), x, 0))[1], -125)
        unit = np.ldexp(1.0, exponent - 8)
        return np.where(np.isfinite(x), np.rint(x.astype(np.float64) / unit) * unit, x).astype(x.dtype)


# ------------------------------------------------------------------ arithmetic
add: OpDef = elementwise("add", ref=np.add, scalar=lambda s, x, y: s.add(x, y), dtype="number",
                  vjp=lambda g, z, x, y: [g, g], samples=reals(-3, 3, 2))
sub: OpDef = elementwise("sub", ref=np.subtract, scalar=lambda s, x, y: s.sub(x, y), dtype="number",
                  vjp=lambda g, z, x, y: [g, neg(g)], samples=reals(-3, 3, 2))
mul: OpDef = elementwise("mul", ref=np.multiply, scalar=lambda s, x, y: s.mul(x, y), dtype="number",
                  vjp=lambda g, z, x, y: [mul(g, y), mul(g, x)], samples=reals(-3, 3, 2))
div: OpDef = elementwise("div", ref=np.true_divide, scalar=lambda s, x, y: s.div(x, y), dtype="floating",
                  vjp=lambda g, z, x, y: [div(g, y), neg(div(mul(g, z), y))], samples=reals(0.5, 3, 2))
floordiv: OpDef = elementwise("floordiv", ref=np.floor_divide, scalar=lambda s, x, y: s.floordiv(x, y), dtype="number",
                       samples=reals(0.5, 3, 2))
mod: OpDef = elementwise("mod", ref=np.mod, scalar=lambda s, x, y: s.mod(x, y), dtype="number",
                  vjp=lambda g, z, x, y: [g, neg(mul(g, floordiv(x, y)))], samples=reals(0.5, 3, 2))
# Where y is 0 the power is constant in x; the exponent 0 in place of -1 keeps 0 * inf out of its gradient at x = 0.
pow: OpDef = elementwise("pow", ref=np.power, scalar=lambda s, x, y: s.pow(x, y), dtype="floating",
                  vjp=lambda g, z, x, y: [mul(g, mul(y, pow(x, select(eq(y, 0.0), y, sub(y, 1.0))))),
                                          mul(g, mul(z, log(select(gt(x, 0.0), x, 1.0))))],
                  samples=reals(0.3, 3, 2))
neg: OpDef = elementwise("neg", ref=np.negative, scalar=lambda s, x: s.neg(x), dtype="number",
                  vjp=lambda g, y, x: [neg(g)], samples=reals(-3, 3))
abs: OpDef = elementwise("abs", ref=np.abs, scalar=lambda s, x: s.abs(x), dtype="number",
                  vjp=lambda g, y, x: [mul(g, sign(x))], samples=reals(0.1, 3))
sign: OpDef = elementwise("sign", ref=np.sign, scalar=lambda s, x: s.sign(x), dtype="number", samples=reals(-3, 3))
max: OpDef = elementwise("max", ref=np.maximum, scalar=lambda s, x, y: s.max(x, y), dtype="number",
                  vjp=lambda g, z, x, y: [select(ge(x, y), g, 0.0), select(lt(x, y), g, 0.0)],
                  samples=reals(-3, 3, 2))
min: OpDef = elementwise("min", ref=np.minimum, scalar=lambda s, x, y: s.min(x, y), dtype="number",
                  vjp=lambda g, z, x, y: [select(le(x, y), g, 0.0), select(gt(x, y), g, 0.0)],
                  samples=reals(-3, 3, 2))
square: OpDef = elementwise("square", ref=np.square, scalar=lambda s, x: s.mul(x, x), dtype="number",
                     vjp=lambda g, y, x: [mul(g, mul(x, 2.0))], samples=reals(-3, 3))

# ------------------------------------------------------------------ roots, exponentials, logarithms
sqrt: OpDef = elementwise("sqrt", ref=np.sqrt, scalar=lambda s, x: s.sqrt(x), dtype="floating",
                   vjp=lambda g, y, x: [div(mul(g, 0.5), y)], samples=reals(0.1, 9))
rsqrt: OpDef = elementwise("rsqrt", ref=lambda x: 1 / np.sqrt(x), scalar=lambda s, x: s.rsqrt(x), dtype="floating",
                    vjp=lambda g, y, x: [mul(mul(g, -0.5), div(y, x))], samples=reals(0.1, 9))
exp: OpDef = elementwise("exp", ref=np.exp, scalar=lambda s, x: s.exp(x), dtype="floating",
                  vjp=lambda g, y, x: [mul(g, y)], samples=reals(-5, 5))
expm1: OpDef = elementwise("expm1", ref=np.expm1, scalar=lambda s, x: s.expm1(x), dtype="floating",
                    vjp=lambda g, y, x: [mul(g, add(y, 1.0))], samples=reals(-2, 2))
log: OpDef = elementwise("log", ref=np.log, scalar=lambda s, x: s.log(x), dtype="floating",
                  vjp=lambda g, y, x: [div(g, x)], samples=reals(0.1, 9))
log1p: OpDef = elementwise("log1p", ref=np.log1p, scalar=lambda s, x: s.log1p(x), dtype="floating",
                    vjp=lambda g, y, x: [div(g, add(x, 1.0))], samples=reals(-0.5, 3))

# ------------------------------------------------------------------ activations and the like
tanh: OpDef = elementwise("tanh", ref=np.tanh, scalar=lambda s, x: s.tanh(x), dtype="floating",
                   vjp=lambda g, y, x: [mul(g, sub(1.0, mul(y, y)))], samples=reals(-4, 4))
sigmoid: OpDef = elementwise("sigmoid", ref=lambda x: np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))),
                                                        np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x)))),
                      scalar=lambda s, x: s.sigmoid(x), dtype="floating",
                      vjp=lambda g, y, x: [mul(g, mul(y, sub(1.0, y)))], samples=reals(-8, 8))
softplus: OpDef = elementwise("softplus", ref=lambda x: np.logaddexp(np.zeros_like(x), x), dtype="floating",
                       scalar=lambda s, x: s.add(s.max(x, 0.0), s.log1p(s.exp(s.neg(s.abs(x))))),
                       vjp=lambda g, y, x: [mul(g, sigmoid(x))], samples=reals(-30, 30))
relu: OpDef = elementwise("relu", ref=lambda x: np.maximum(x, 0), scalar=lambda s, x: s.max(x, 0.0), dtype="number",
                   vjp=lambda g, y, x: [select(gt(y, 0.0), g, 0.0)], samples=reals(-3, 3))
erf: OpDef = elementwise("erf", ref=lambda x: np.vectorize(math.erf, otypes=[x.dtype])(x), dtype="floating",
                  scalar=lambda s, x: s.erf(x), samples=reals(-3, 3),
                  vjp=lambda g, y, x: [mul(g, mul(2 / math.sqrt(math.pi), exp(neg(mul(x, x)))))])
sin: OpDef = elementwise("sin", ref=np.sin, scalar=lambda s, x: s.sin(x), dtype="floating",
                  vjp=lambda g, y, x: [mul(g, cos(x))], samples=reals(-6, 6))
cos: OpDef = elementwise("cos", ref=np.cos, scalar=lambda s, x: s.cos(x), dtype="floating",
                  vjp=lambda g, y, x: [neg(mul(g, sin(x)))], samples=reals(-6, 6))
floor: OpDef = elementwise("floor", ref=np.floor, scalar=lambda s, x: s.floor(x), dtype="floating",
                     samples=reals(-3, 3))
ceil: OpDef = elementwise("ceil", ref=np.ceil, scalar=lambda s, x: s.ceil(x), dtype="floating", samples=reals(-3, 3))
round: OpDef = elementwise("round", ref=np.rint, scalar=lambda s, x: s.round(x), dtype="floating", samples=reals(-3, 3))
round_bf16: OpDef = elementwise(
    "round_bf16", ref=_bfloat16, scalar=lambda s, x: s.round_bf16(x), dtype="float32", samples=reals(-3, 3),
    doc="float32 rounded to what bfloat16 holds, a tie to the even number; infinities and NaN stay.")

# ------------------------------------------------------------------ comparisons and logic
eq: OpDef = elementwise("eq", ref=np.equal, scalar=lambda s, x, y: s.eq(x, y), result="bool", samples=reals(-3, 3, 2))
ne: OpDef = elementwise("ne", ref=np.not_equal, scalar=lambda s, x, y: s.ne(x, y), result="bool",
                        samples=reals(-3, 3, 2))


def _ordering(name: str, ref: Any) -> OpDef:
    """A comparison that bools have no order for."""
    return elementwise(name, ref=ref, scalar=lambda s, x, y: getattr(s, name)(x, y), result="bool", dtype="number",
                       casts=False, samples=reals(-3, 3, 2))


lt: OpDef = _ordering("lt", np.less)
le: OpDef = _ordering("le", np.less_equal)
gt: OpDef = _ordering("gt", np.greater)
ge: OpDef = _ordering("ge", np.greater_equal)
logical_and: OpDef = elementwise("and", ref=np.logical_and, scalar=lambda s, x, y: getattr(s, "and")(x, y),
                          dtype="bool", samples=bools(2))
logical_or: OpDef = elementwise("or", ref=np.logical_or, scalar=lambda s, x, y: getattr(s, "or")(x, y),
                         dtype="bool", samples=bools(2))
logical_not: OpDef = elementwise("not", ref=np.logical_not, scalar=lambda s, x: getattr(s, "not")(x),
                          dtype="bool", samples=bools(1))
is_nan: OpDef = elementwise("is_nan", ref=np.isnan, scalar=lambda s, x: s.is_nan(x), dtype="floating", result="bool",
                     samples=reals(-3, 3))
is_inf: OpDef = elementwise("is_inf", ref=np.isinf, scalar=lambda s, x: s.is_inf(x), dtype="floating", result="bool",
                     samples=reals(-3, 3))
stop_gradient: OpDef = elementwise("stop_gradient", ref=lambda x: x, scalar=lambda s, x: x, samples=reals(-3, 3),
                            doc="The operand itself; no gradient passes.")
straight_through: OpDef = elementwise(
    "straight_through", ref=lambda x, path: np.broadcast_arrays(x, path)[0], scalar=lambda s, x, path: x,
    vjp=lambda g, y, x, path: [None, g], doc="The first operand; its gradient goes to the second, and nowhere else.")


# ------------------------------------------------------------------ select and cast: mixed operand dtypes
def _select_prepare(c: NodeLike, x: NodeLike, y: NodeLike) -> tuple[tuple[Node, ...], dict[str, Any]]:
    cond = as_node(c)
    if cond.dtype != "bool":
        cond = ne(cond, 0)
    return (cond, *coerce((x, y))), {}


def _select_infer(c: TensorType, x: TensorType, y: TensorType) -> TensorType:
    require("`select`", "bool", c)
    require("`select`", "any", x, y)
    return TensorType(x.dtype, broadcast_shapes([c.shape, x.shape, y.shape]))


def _select_vjp(g: Node, z: Node, c: Node, x: Node, y: Node) -> list[Node | None]:
    return [None, unbroadcast(select(c, g, 0.0), x), unbroadcast(select(c, 0.0, g), y)]


def _select_samples(rng: np.random.Generator) -> list[tuple[list[np.ndarray], dict[str, Any]]]:
    def f(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype("float32")
    return [([rng.integers(0, 2, (3, 4)).astype(bool), f(3, 4), f(3, 4)], {}),
            ([rng.integers(0, 2, (3, 1)).astype(bool), f(3, 4), f(4)], {})]


select: OpDef = register(OpDef("select", "elementwise", _select_infer, ref=np.where, vjp=_select_vjp,
                        scalar=lambda s, c, x, y: s.select(c, x, y), prepare=_select_prepare,
                        samples=_select_samples, doc="`x` where the condition holds, else `y`."))


def _cast_ref(x: np.ndarray, dtype: str) -> np.ndarray:
    return x.astype(dtype)


def _cast_vjp(g: Node, y: Node, x: Node, dtype: str) -> list[Node | None]:
    return [cast(g, dtype=x.dtype) if x.dtype in FLOATS and dtype in FLOATS else None]


cast_op: OpDef = register(OpDef("cast", "elementwise", lambda t, dtype: TensorType(dtype, t.shape), ref=_cast_ref,
                         vjp=_cast_vjp, scalar=lambda s, x, dtype: s.cast(x, dtype),
                         samples=lambda rng: [([rng.uniform(-3, 3, (4, 3)).astype("float32")], {"dtype": d})
                                              for d in ("float64", "int32", "bool", "float16", "int8")],
                         doc="The operand in another dtype (floats to ints truncate; to bool: != 0)."))


def cast(x: NodeLike, dtype: str) -> Node:
    """`x` as `dtype`; `x` itself if it is that already."""
    node = as_node(x)
    return node if node.dtype == dtype else cast_op(node, dtype=dtype)


def clip(x: NodeLike, lo: NodeLike, hi: NodeLike) -> Node:
    """`x` limited to [lo, hi]: `min(max(x, lo), hi)`."""
    return min(max(x, lo), hi)


def zeros_like(x: Node) -> Node:
    """A zero that broadcasts: the gradient of nothing."""
    from graphk.ir.opdef import const
    from graphk.ir.ops.shape import broadcast_to
    return broadcast_to(const(0, x.dtype), shape=x.shape)


def ones_like(x: Node) -> Node:
    from graphk.ir.opdef import const
    from graphk.ir.ops.shape import broadcast_to
    return broadcast_to(const(1, x.dtype), shape=x.shape)


