"""Ops that move elements and compute none: reshape, transpose, broadcast, slice, concat, pad, gather, places of rows.

In: tensors and shapes (which may hold symbolic dims).  Out: the same elements elsewhere.  What always
holds: each output element is one input element (or a fill value), so a target may compute the
index map instead of copying; the gradient of each is another op of this family.
"""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from graphk.ir.dims import Dim, DimExpr, floordiv, product
from graphk.ir.node import Node, make
from graphk.ir.opdef import (OpDef, NodeLike, ZERO_GRAD, as_node, broadcast_shapes, check_axes, const, normalize_axes,
                             register)
from graphk.ir.types import TensorType, require, shape_text

Pairs = list[tuple[list[np.ndarray], dict[str, Any]]]


def _f32(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype("float32")


def _define(name: str, infer: Any, ref: Any, vjp: Any, samples: Any, prepare: Any = None, doc: str = "") -> OpDef:
    return register(OpDef(name, "index_map", infer, ref, vjp, samples=samples, prepare=prepare, doc=doc))


# ------------------------------------------------------------------ reshape
def _reshape_prepare(x: NodeLike, shape: Sequence[Dim]) -> tuple[tuple[Node, ...], dict[str, Any]]:
    node, shape = as_node(x), tuple(shape)
    unknown = [i for i, d in enumerate(shape) if isinstance(d, (int, np.integer)) and d < 0]
    if len(unknown) > 1:
        raise ValueError(f"reshape to {shape}: at most one extent may be -1")
    if unknown:
        rest = product([d for i, d in enumerate(shape) if i != unknown[0]])
        size = node.t.size
        if rest == 0 or (isinstance(size, int) and isinstance(rest, int) and size % rest):
            raise ValueError(f"cannot reshape {node.t} to {shape_text(shape)}: {size} elements do not divide by {rest}")
        shape = shape[:unknown[0]] + (floordiv(size, rest),) + shape[unknown[0] + 1:]
    return (node,), {"shape": tuple(d if isinstance(d, DimExpr) else int(d) for d in shape)}


def _reshape_infer(t: TensorType, shape: tuple[Dim, ...]) -> TensorType:
    a, b = t.size, product(shape)
    if isinstance(a, int) and isinstance(b, int) and a != b:
        raise ValueError(f"cannot reshape {t} to {shape_text(shape)}: {a} elements against {b}")
    return TensorType(t.dtype, shape)


reshape: OpDef = _define("reshape", _reshape_infer, lambda x, shape: np.reshape(x, shape),
                  lambda g, y, x, shape: [reshape(g, shape=x.shape)],
                  lambda rng: [([_f32(rng, 4, 6)], {"shape": s}) for s in ((24,), (2, 12), (3, 2, 4))],
                  _reshape_prepare, "The same elements in row-major order under another shape (-1: the rest).")


# ------------------------------------------------------------------ transpose
def _transpose_prepare(x: NodeLike, perm: Sequence[int] | None = None) -> tuple[tuple[Node, ...], dict[str, Any]]:
    node = as_node(x)
    perm = tuple(range(node.ndim))[::-1] if perm is None else tuple(int(p) % max(node.ndim, 1) for p in perm)
    if sorted(perm) != list(range(node.ndim)):
        raise ValueError(f"transpose of {node.t}: {perm} is not a permutation of its {node.ndim} axes")
    return (node,), {"perm": perm}


def inverse_perm(perm: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(range(len(perm)), key=perm.__getitem__))


def _transpose_infer(t: TensorType, perm: tuple[int, ...]) -> TensorType:
    check_axes(f"`transpose` of {t}", perm, t.ndim, ordered=False)
    if len(perm) != t.ndim:
        raise ValueError(f"`transpose` of {t}: {perm} names {len(perm)} of its {t.ndim} axes")
    return TensorType(t.dtype, tuple(t.shape[p] for p in perm))


transpose: OpDef = _define("transpose", _transpose_infer,
                    lambda x, perm: np.transpose(x, perm).copy(),
                    lambda g, y, x, perm: [transpose(g, perm=inverse_perm(perm))],
                    lambda rng: [([_f32(rng, 3, 4, 5)], {"perm": p}) for p in ((2, 1, 0), (1, 0, 2), (0, 2, 1))],
                    _transpose_prepare, "Axes in another order.")


# ------------------------------------------------------------------ broadcast
def _broadcast_infer(t: TensorType, shape: tuple[Dim, ...]) -> TensorType:
    if len(broadcast_shapes([t.shape, shape])) != len(shape):
        raise ValueError(f"cannot broadcast {t} to fewer axes {shape_text(shape)}")
    return TensorType(t.dtype, shape)


def _broadcast_vjp(g: Node, y: Node, x: Node, shape: tuple[Dim, ...]) -> list[Node | None]:
    from graphk.ir.opdef import unbroadcast
    return [unbroadcast(g, x)]


broadcast_op: OpDef = _define("broadcast", _broadcast_infer, lambda x, shape: np.broadcast_to(x, shape), _broadcast_vjp,
                       lambda rng: [([_f32(rng, 1, 4)], {"shape": (3, 4)}), ([_f32(rng, 2, 1)], {"shape": (3, 2, 5)})],
                       doc="A tensor repeated along new axes and axes of extent 1.")


def broadcast_to(x: NodeLike, shape: Sequence[Dim]) -> Node:
    """`x` repeated to `shape`; `x` itself if it has that shape."""
    node = as_node(x)
    return node if node.shape == tuple(shape) else broadcast_op(node, shape=tuple(shape))


# ------------------------------------------------------------------ slice and pad (each other's gradients)
def _slice_infer(t: TensorType, starts: tuple[Dim, ...], sizes: tuple[Dim, ...], steps: tuple[int, ...]) -> TensorType:
    if not t.ndim == len(starts) == len(sizes) == len(steps):
        raise ValueError(f"slice of {t}: starts {starts}, sizes {sizes}, steps {steps}; expected one of each per axis")
    for axis, (d, a, n, s) in enumerate(zip(t.shape, starts, sizes, steps)):
        if isinstance(d, int) and isinstance(a, int) and isinstance(n, int) and n != 0 and (
                n < 0 or not 0 <= a < d or not 0 <= a + s * (n - 1) < d):
            raise ValueError(f"slice of {t}: {n} elements from {a} on in steps of {s} leave axis {axis}, "
                             f"whose indices are 0 to {d - 1}")
    return TensorType(t.dtype, sizes)


def _slice_ref(x: np.ndarray, starts: tuple[int, ...], sizes: tuple[int, ...], steps: tuple[int, ...]) -> np.ndarray:
    for axis, (a, n, s) in enumerate(zip(starts, sizes, steps)):
        x = np.take(x, a + s * np.arange(n), axis=axis)
    return np.ascontiguousarray(x)


def _slice_vjp(g: Node, y: Node, x: Node, starts: Any, sizes: Any, steps: Any) -> list[Node | None]:
    if sizes == x.shape and all(a == (d - 1 if s < 0 else 0) and s in (1, -1)
                                for a, d, s in zip(starts, x.shape, steps)):         # axes turned round, and back
        return [slice_op(g, starts=starts, sizes=sizes, steps=steps)]
    return [embed(g, starts=starts, steps=steps, shape=x.shape)]


slice_op: OpDef = _define("slice", _slice_infer, _slice_ref, _slice_vjp, lambda rng: [
    ([_f32(rng, 6, 7)], {"starts": (1, 0), "sizes": (3, 7), "steps": (1, 1)}),
    ([_f32(rng, 6, 7)], {"starts": (5, 6), "sizes": (6, 3), "steps": (-1, -2)}),
    ([_f32(rng, 6, 7)], {"starts": (0, 1), "sizes": (3, 2), "steps": (2, 3)})],
    doc="Elements starts + i * steps, sizes of them, along each axis.")


def _embed_ref(x: np.ndarray, starts: Any, steps: Any, shape: Any) -> np.ndarray:
    out = np.zeros(shape, x.dtype)
    out[np.ix_(*[a + s * np.arange(n) for a, s, n in zip(starts, steps, x.shape)])] = x
    return out


def _embed_vjp(g: Node, y: Node, x: Node, starts: Any, steps: Any, shape: Any) -> list[Node | None]:
    return [slice_op(g, starts=starts, sizes=x.shape, steps=steps)]


def _embed_infer(t: TensorType, starts: tuple[Dim, ...], steps: tuple[int, ...], shape: tuple[Dim, ...]) -> TensorType:
    if not t.ndim == len(starts) == len(steps) == len(shape):
        raise ValueError(f"embed of {t}: starts {starts}, steps {steps}, shape {shape}; expected one of each per axis")
    _slice_infer(TensorType(t.dtype, shape), starts, t.shape, steps)            # it is read back by a slice
    return TensorType(t.dtype, shape)


embed: OpDef = _define("embed", _embed_infer, _embed_ref, _embed_vjp,
                lambda rng: [([_f32(rng, 2, 3)], {"starts": (1, 0), "steps": (2, 1), "shape": (5, 4)}),
                             ([_f32(rng, 2, 3)], {"starts": (4, 3), "steps": (-1, -1), "shape": (5, 4)})],
                doc="A tensor laid into zeros at starts + i * steps: zero padding, and the gradient of `slice`.")


def slice_axis(x: NodeLike, axis: int, start: Dim, size: Dim, step: int = 1) -> Node:
    """`size` elements along one axis from `start` on."""
    node = as_node(x)
    axis = normalize_axes(axis, node.ndim)[0]
    return slice_op(node, starts=tuple(start if i == axis else 0 for i in range(node.ndim)),
                    sizes=tuple(size if i == axis else d for i, d in enumerate(node.shape)),
                    steps=tuple(step if i == axis else 1 for i in range(node.ndim)))


def pad(x: NodeLike, before: Sequence[Dim], after: Sequence[Dim]) -> Node:
    """`x` with zeros before and after it along each axis."""
    node = as_node(x)
    return embed(node, starts=tuple(before), steps=(1,) * node.ndim,
                 shape=tuple(a + d + b for a, d, b in zip(before, node.shape, after)))


# ------------------------------------------------------------------ concat
def _concat_prepare(*xs: NodeLike, axis: int = -1) -> tuple[tuple[Node, ...], dict[str, Any]]:
    from graphk.ir.opdef import coerce
    nodes = coerce(xs)
    return nodes, {"axis": normalize_axes(axis, nodes[0].ndim)[0]}


def _concat_infer(*ts: TensorType, axis: int) -> TensorType:
    require("`concat`", "any", *ts)
    check_axes(f"`concat` of {ts[0]}", (axis,), ts[0].ndim)
    out = list(ts[0].shape)
    for t in ts[1:]:
        if t.ndim != len(out):
            raise ValueError(f"cannot concatenate {ts[0]} and {t}: they differ in rank")
        for i, d in enumerate(t.shape):
            if i == axis:
                out[i] = out[i] + d
            elif isinstance(out[i], int) and isinstance(d, int) and out[i] != d:
                raise ValueError(f"cannot concatenate {ts[0]} and {t} along axis {axis}: axis {i} has {out[i]} and {d}")
            elif isinstance(d, int):
                out[i] = d
    return TensorType(ts[0].dtype, tuple(out))


def _concat_vjp(g: Node, y: Node, *xs: Node, axis: int) -> list[Node | None]:
    out: list[Node | None] = []
    at: Dim = 0
    for x in xs:
        out.append(slice_axis(g, axis, at, x.shape[axis]))
        at = at + x.shape[axis]
    return out


concat: OpDef = _define("concat", _concat_infer, lambda *xs, axis: np.concatenate(xs, axis), _concat_vjp,
                 lambda rng: [([_f32(rng, 2, 3), _f32(rng, 2, 5)], {"axis": 1}),
                              ([_f32(rng, 2, 3), _f32(rng, 1, 3), _f32(rng, 4, 3)], {"axis": 0})],
                 _concat_prepare, "Tensors one after another along an axis.")


# ------------------------------------------------------------------ gather and scatter-add (each other's gradients)
def _gather_infer(t: TensorType, idx: TensorType) -> TensorType:
    require("the index of `gather`", "integer", idx)
    return TensorType(t.dtype, idx.shape + t.shape[1:])


def _scatter_infer(idx: TensorType, g: TensorType, rows: Dim) -> TensorType:
    require("the index of `scatter_add`", "integer", idx)
    require("`scatter_add`", "number", g)
    return TensorType(g.dtype, (rows,) + g.shape[len(idx.shape):])


def _scatter_ref(idx: np.ndarray, g: np.ndarray, rows: int) -> np.ndarray:
    out = np.zeros((rows,) + g.shape[idx.ndim:], g.dtype)
    np.add.at(out, idx, g)
    return out


def _gather_prepare(x: NodeLike, idx: NodeLike) -> tuple[tuple[Node, ...], dict[str, Any]]:
    from graphk.ir.ops.elementwise import cast
    a, b = as_node(x), as_node(idx)
    return (a, b if b.dtype in ("int32", "int64") else cast(b, "int32")), {}


gather: OpDef = _define("gather", _gather_infer, lambda x, idx: np.take(x, idx, axis=0),
                 lambda g, y, x, idx: [scatter_add(idx, g, rows=x.shape[0]), None],
                 lambda rng: [([_f32(rng, 6, 4), rng.integers(0, 6, (3, 2)).astype("int32")], {}),
                              ([_f32(rng, 6), rng.integers(0, 6, (5,)).astype("int32")], {})],
                 _gather_prepare, "Rows of a table (axis 0) by integer index; out-of-range indices are an error "
                 "in the interpreter and are clamped in compiled code.")
scatter_add: OpDef = _define("scatter_add", _scatter_infer, _scatter_ref,
                      lambda d, y, idx, g, rows: [None, gather(d, idx)],
                      lambda rng: [([rng.integers(0, 6, (5, 2)).astype("int32"), _f32(rng, 5, 2, 3)], {"rows": 6})],
                      doc="Zeros of `rows` rows with each row of g added at its index: the gradient of `gather`.")


def take(x: NodeLike, axis: int, at: NodeLike) -> Node:
    """Elements along an axis by an integer index of any shape, whose axes stand in the place of that axis."""
    x, at = as_node(x), as_node(at)
    order = (axis, *(i for i in range(x.ndim) if i != axis))
    rows = gather(x if axis == 0 else transpose(x, perm=order), at)       # the index first, then the other axes
    back = (*range(at.ndim, at.ndim + axis), *range(at.ndim), *range(at.ndim + axis, rows.ndim))
    return rows if axis == 0 else transpose(rows, perm=back)


def _places_infer(idx: TensorType, rows: Dim) -> TensorType:
    require("the index of `places`", "integer", idx)
    return TensorType("int32", (rows,))


def _places_ref(idx: np.ndarray, rows: int) -> np.ndarray:
    out = np.zeros(rows, "int32")
    for place, row in enumerate(idx.ravel(), start=1):
        out[row] = place
    return out


places: OpDef = _define("places", _places_infer, _places_ref, ZERO_GRAD,
                 lambda rng: [([rng.integers(0, 9, (5, 2)).astype("int32")], {"rows": 9})],
                 doc="For each of `rows` rows the last place, counted from 1, at which an index names it; 0: nowhere.")


# ------------------------------------------------------------------ iota and dims as values

iota_op: OpDef = _define("iota", lambda size, dtype: TensorType(dtype, (size,)),
                  lambda size, dtype: np.arange(size, dtype=dtype), ZERO_GRAD,
                  lambda rng: [([], {"size": 5, "dtype": "int32"})], doc="0, 1, 2, … size-1.")
dim_op: OpDef = _define("dim", lambda size, dtype: TensorType(dtype, ()), lambda size, dtype: np.array(size, dtype),
                 ZERO_GRAD,
                 lambda rng: [([], {"size": 5, "dtype": "int64"})], doc="The run-time value of a symbolic dim.")


def iota(size: Dim, dtype: str = "int32") -> Node:
    """0, 1, … size-1."""
    return make(iota_op, (), (("dtype", dtype), ("size", size)))


def dim_value(d: Dim, dtype: str = "int64") -> Node:
    """A dim as a scalar node; a constant if it is an int."""
    return const(d, dtype) if isinstance(d, int) else make(dim_op, (), (("dtype", dtype), ("size", d)))
