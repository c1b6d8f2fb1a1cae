"""Composites of neural networks: softmax, log-softmax, log-sum-exp, one-hot.

In: tensors and an axis.  Out: the same value as their `expand` in primitives.  What always holds: a
composite has no gradient or code of its own; it exists so that dumps read well and simplify can see
through it (log(softmax(x)) becomes log_softmax(x)).
"""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from graphk.ir.dims import Dim
from graphk.ir.node import Node
from graphk.ir.opdef import NodeLike, OpDef, as_node, composite, normalize_axes, reduced_shape
from graphk.ir.ops.elementwise import add, cast, div, eq, exp, is_inf, log, select, stop_gradient, sub
from graphk.ir.ops.reduce import floating, max_, sum_
from graphk.ir.ops.shape import iota, reshape
from graphk.ir.types import NARROW


def _softmax(x: Node, axis: int) -> Node:
    e = exp(sub(x, stop_gradient(max_(x, axes=axis, keepdims=True))))
    return div(e, sum_(e, axes=axis, keepdims=True))


def _log_softmax(x: Node, axis: int) -> Node:
    centred = sub(x, stop_gradient(max_(x, axes=axis, keepdims=True)))
    return sub(centred, log(sum_(exp(centred), axes=axis, keepdims=True)))


def _logsumexp(x: Node, axes: tuple[int, ...], keepdims: bool) -> Node:
    """Where the largest element is infinite it is the result, and no gradient passes: inf - inf would be NaN."""
    top = stop_gradient(max_(x, axes=axes, keepdims=True))
    centred = select(is_inf(top), 0.0, sub(x, top))
    out = add(log(sum_(exp(centred), axes=axes, keepdims=True)), top)
    return out if keepdims else reshape(out, shape=reduced_shape(x.shape, axes, False))


def _softmax_ref(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True, initial=-np.inf))
    return e / e.sum(axis, keepdims=True)


def _lse_ref(x: np.ndarray, axes: int | tuple[int, ...], keepdims: bool) -> np.ndarray:
    total: Any = np.logaddexp.reduce         # its annotation knows no bool variable as `keepdims`
    return np.asarray(total(x, axis=axes, keepdims=keepdims), x.dtype)


def _samples(rng: np.random.Generator) -> list[tuple[list[np.ndarray], dict[str, Any]]]:
    x = rng.uniform(-5, 5, (3, 4, 6)).astype("float32")
    return [([x], {"axis": a}) for a in (2, 1)]


softmax_op: OpDef = composite("softmax", _softmax, dtype="floating", ref=_softmax_ref, samples=_samples)
log_softmax_op: OpDef = composite("log_softmax", _log_softmax, dtype="floating", samples=_samples,
                           ref=lambda x, axis: x - _lse_ref(x, axis, True))
logsumexp_op: OpDef = composite("logsumexp", _logsumexp, dtype="floating", ref=_lse_ref,
                         samples=lambda rng: [(a, {"axes": axes, "keepdims": False}) for (a, _), axes
                                              in zip(_samples(rng) * 2, ((2,), (1,), (0, 2), (0, 1, 2)))])


def _axis(node: Node, axis: int) -> int:
    return normalize_axes(axis, node.ndim)[0]


def softmax(x: NodeLike, axis: int = -1) -> Node:
    """exp(x) / sum(exp(x)) along an axis, safe for large x."""
    node = floating(x)
    return softmax_op(node, axis=_axis(node, axis))


def log_softmax(x: NodeLike, axis: int = -1) -> Node:
    node = floating(x)
    return log_softmax_op(node, axis=_axis(node, axis))


def logsumexp(x: NodeLike, axes: int | Sequence[int] | None = -1, keepdims: bool = False) -> Node:
    """log(sum(exp(x))) over axes (None: all), without overflow."""
    node = floating(x)
    return logsumexp_op(node, axes=normalize_axes(axes, node.ndim), keepdims=bool(keepdims))


def _one_hot(idx: Node, depth: Dim, dtype: str) -> Node:
    if idx.dtype == "bool" or idx.dtype in NARROW:             # too narrow to count to `depth`
        idx = cast(idx, "int32")
    return cast(eq(reshape(idx, shape=idx.shape + (1,)), iota(depth, idx.dtype)), dtype)


one_hot_op: OpDef = composite("one_hot", _one_hot, ref=lambda idx, depth, dtype: (
    np.asarray(idx)[..., None] == np.arange(depth)).astype(dtype),
    samples=lambda rng: [([rng.integers(0, 5, (3, 2)).astype("int32")], {"depth": 5, "dtype": "float32"})])


def one_hot(idx: NodeLike, depth: Dim, dtype: str = "float32") -> Node:
    """Rows of the identity matrix: 1 where the last axis equals the index."""
    return one_hot_op(as_node(idx), depth=depth, dtype=dtype)
