"""Reductions: sum, prod, max, min, any, all along axes; argmax and argmin; mean and variance.

In: a tensor, `axes` (None: all) and `keepdims`.  Out: the combined elements.  What always holds: a
primitive reduction is a monoid (`scalar` = identity, combine), so a target may split and reorder it;
results do not depend on the number of threads because the split is fixed by the extents.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from graphk.ir.dims import product
from graphk.ir.node import Node
from graphk.ir.opdef import (OpDef, NodeLike, as_node, check_axes, composite, normalize_axes, reduction,
                             reduced_shape, register)
from graphk.ir.ops.elementwise import cast, div, eq, mul, select, square, sub
from graphk.ir.ops.shape import broadcast_to, dim_value, reshape
from graphk.ir.types import TensorType, require


def _samples(rng: np.random.Generator) -> list[tuple[list[np.ndarray], dict[str, Any]]]:
    x = rng.uniform(0.5, 1.5, (4, 5, 6)).astype("float32")
    return [([x], {"axes": a, "keepdims": k}) for a in ((0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2))
            for k in (False, True)]


def _bool_samples(rng: np.random.Generator) -> list[tuple[list[np.ndarray], dict[str, Any]]]:
    return [([rng.integers(0, 2, (3, 4)).astype(bool)], {"axes": a, "keepdims": False}) for a in ((0,), (1,), (0, 1))]


def spread(g: Node, x: Node, axes: tuple[int, ...]) -> Node:
    """A reduced tensor brought back to the shape of `x`, repeated along `axes`."""
    return broadcast_to(reshape(g, shape=reduced_shape(x.shape, axes, True)), shape=x.shape)


def _sum_vjp(g: Node, y: Node, x: Node, axes: tuple[int, ...], keepdims: bool) -> list[Node | None]:
    return [spread(g, x, axes)]


def _prod_vjp(g: Node, y: Node, x: Node, axes: tuple[int, ...], keepdims: bool) -> list[Node | None]:
    """g · product of the others: y / x, unless zeros are among the factors (then only a lone zero has a gradient)."""
    zero = eq(x, 0.0)
    safe = select(zero, 1.0, x)
    others = div(spread(prod(safe, axes=axes, keepdims=True), x, axes), safe)
    zeros = spread(sum_(cast(zero, x.dtype), axes=axes, keepdims=True), x, axes)
    return [mul(spread(g, x, axes), select(eq(sub(zeros, cast(zero, x.dtype)), 0.0), others, 0.0))]


def _extreme_vjp(g: Node, y: Node, x: Node, axes: tuple[int, ...], keepdims: bool) -> list[Node | None]:
    """Shared equally among the elements that attain the extreme (TensorFlow's rule)."""
    hit = cast(eq(x, spread(y, x, axes)), x.dtype)
    share = div(hit, spread(sum_(hit, axes=axes, keepdims=True), x, axes))
    return [mul(spread(g, x, axes), share)]


def _along(fn: Any) -> Any:
    return lambda x, axes, keepdims: np.asarray(fn(x, axis=axes, keepdims=keepdims), dtype=x.dtype)


def _extreme(fn: Any, worst: float) -> Any:
    """numpy's extreme, and the identity where there is nothing to choose from: numpy raises there."""
    def ref(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> Any:
        if x.size:
            return fn(x, axis=axis, keepdims=keepdims)
        bounds = np.iinfo(x.dtype) if x.dtype.kind in "iu" else None
        start: Any = worst if bounds is None else bounds.min if worst < 0 else bounds.max
        return fn(x, axis=axis, keepdims=keepdims, initial=start)
    return _along(ref)


sum_: OpDef = reduction("sum", ref=_along(np.sum), scalar=(0, "add"), vjp=_sum_vjp, samples=_samples)
prod: OpDef = reduction("prod", ref=_along(np.prod), scalar=(1, "mul"), vjp=_prod_vjp, samples=_samples)
max_: OpDef = reduction("reduce_max", ref=_extreme(np.max, -np.inf), scalar=("lowest", "max"), vjp=_extreme_vjp,
                        samples=_samples)
min_: OpDef = reduction("reduce_min", ref=_extreme(np.min, np.inf), scalar=("highest", "min"), vjp=_extreme_vjp,
                        samples=_samples)
any_: OpDef = reduction("any", ref=_along(np.any), scalar=(False, "or"), dtype="bool", samples=_bool_samples)
all_: OpDef = reduction("all", ref=_along(np.all), scalar=(True, "and"), dtype="bool", samples=_bool_samples)


# ------------------------------------------------------------------ arg max / min along one axis
def _arg_prepare(x: NodeLike, axis: int = -1) -> tuple[tuple[Node, ...], dict[str, Any]]:
    node = as_node(x)
    return (node,), {"axis": normalize_axes(axis, node.ndim)[0]}


def _arg_infer(t: TensorType, axis: int) -> TensorType:
    require("the search for an extreme element", "number", t)
    check_axes(f"the search for an extreme element of {t}", (axis,), t.ndim)
    return TensorType("int64", reduced_shape(t.shape, (axis,), False))


def _arg_samples(rng: np.random.Generator) -> list[tuple[list[np.ndarray], dict[str, Any]]]:
    x = rng.integers(0, 6, (3, 7, 5)).astype("float32")
    return [([x], {"axis": a}) for a in (0, 1, 2)]


ARG_MAX: Any = ("arg", "gt")               # the comparison by which an index replaces the best one so far
ARG_MIN: Any = ("arg", "lt")
argmax: OpDef = register(OpDef("argmax", "reduction", _arg_infer, ref=lambda x, axis: np.argmax(x, axis), vjp="zero",
                        scalar=ARG_MAX, prepare=_arg_prepare, samples=_arg_samples,
                        doc="Index of the first largest element along one axis (int64)."))
argmin: OpDef = register(OpDef("argmin", "reduction", _arg_infer, ref=lambda x, axis: np.argmin(x, axis), vjp="zero",
                        scalar=ARG_MIN, prepare=_arg_prepare, samples=_arg_samples,
                        doc="Index of the first smallest element along one axis (int64)."))


# ------------------------------------------------------------------ composites
def count(x: Node, axes: tuple[int, ...], dtype: str) -> Node:
    """How many elements `axes` of `x` hold, as a scalar of `dtype`."""
    return dim_value(product([x.shape[a] for a in axes]), dtype)


def _mean(x: Node, axes: tuple[int, ...], keepdims: bool) -> Node:
    return div(sum_(x, axes=axes, keepdims=keepdims), count(x, axes, x.dtype))


def _variance(x: Node, axes: tuple[int, ...], keepdims: bool) -> Node:
    centred = sub(x, _mean(x, axes, True))
    return _mean(square(centred), axes, keepdims)


def _variance_vjp(g: Node, y: Node, x: Node, axes: tuple[int, ...], keepdims: bool) -> list[Node | None]:
    """2 (x - mean) / count · g: what would flow through the mean adds up to nothing."""
    each = div(mul(g, 2.0), count(x, axes, x.dtype))
    return [mul(spread(each, x, axes), sub(x, _mean(x, axes, True)))]


def _mean_ref(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> Any:
    """numpy's mean without its warning where there is nothing to average (NaN, as compiled)."""
    return np.sum(x, axis=axis, keepdims=keepdims) / np.prod([x.shape[a] for a in axis], dtype=x.dtype)


def _variance_ref(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> Any:
    return _mean_ref(np.square(x - _mean_ref(x, axis, True)), axis, keepdims)


mean_op: OpDef = composite("mean", _mean, dtype="floating", ref=_along(_mean_ref), samples=_samples,
                         doc="The arithmetic mean along axes.")
variance_op: OpDef = composite("variance", _variance, dtype="floating", ref=_along(_variance_ref), samples=_samples,
                        vjp=_variance_vjp, doc="The biased variance along axes (two passes: exact for large means).")


def floating(x: NodeLike) -> Node:
    """`x` if it holds floats, else as float32."""
    node = as_node(x)
    return node if node.t.is_float else cast(node, "float32")


def mean(x: NodeLike, axes: Any = None, keepdims: bool = False) -> Node:
    """The mean along `axes`; integers and bools give float32."""
    node = floating(x)
    return mean_op(node, axes=normalize_axes(axes, node.ndim), keepdims=bool(keepdims))


def variance(x: NodeLike, axes: Any = None, keepdims: bool = False) -> Node:
    """The biased variance along `axes`."""
    node = floating(x)
    return variance_op(node, axes=normalize_axes(axes, node.ndim), keepdims=bool(keepdims))
