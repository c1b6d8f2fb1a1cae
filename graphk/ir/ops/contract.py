"""Contractions: one op, `dot`, sums products over shared axes; matrix products are cases of it.

In: two tensors, pairs of batch axes and pairs of contracted axes.  Out: a tensor whose axes are the
batch axes, the free axes of `a`, the free axes of `b`, in this order.  What always holds: every
matrix product, batched product and tensordot is this op, so a target implements it once.
"""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from graphk.ir.node import Node
from graphk.ir.opdef import OpDef, NodeLike, broadcast_dims, check_axes, coerce, register
from graphk.ir.ops.shape import inverse_perm, transpose
from graphk.ir.types import TensorType, require

Axes = tuple[int, ...]
Pairs = tuple[Axes, Axes]


def _prepare(a: NodeLike, b: NodeLike, contract: Any = None, batch: Any = ((), ())
             ) -> tuple[tuple[Node, ...], dict[str, Any]]:
    x, y = coerce((a, b))
    if contract is None:
        contract = ((x.ndim - 1,), (max(y.ndim - 2, 0),))

    def norm(pair: Sequence[Sequence[int]]) -> Pairs:
        return (tuple(int(i) % x.ndim for i in pair[0]), tuple(int(i) % y.ndim for i in pair[1]))
    return (x, y), {"contract": norm(contract), "batch": norm(batch)}


def free_axes(ndim: int, *used: Axes) -> Axes:
    return tuple(i for i in range(ndim) if not any(i in u for u in used))


def _infer(a: TensorType, b: TensorType, contract: Pairs, batch: Pairs) -> TensorType:
    require("`dot`", "number", a, b)
    for t, side in ((a, 0), (b, 1)):
        check_axes(f"`dot` of {a} and {b}", contract[side] + batch[side], t.ndim, ordered=False)
    for pair, what in ((contract, "contracted"), (batch, "batch")):
        if len(pair[0]) != len(pair[1]):
            raise ValueError(f"dot of {a} and {b}: {what} axes {pair}; expected as many of each")
        for i, j in zip(*pair):
            p, q = a.shape[i], b.shape[j]
            if isinstance(p, int) and isinstance(q, int) and p != q:
                raise ValueError(f"dot of {a} and {b}: {what} axis {i} of the first has extent {p}, "
                                 f"axis {j} of the second {q}; they must be equal")
    shape = tuple(broadcast_dims(a.shape[i], b.shape[j]) for i, j in zip(*batch)) \
        + tuple(a.shape[i] for i in free_axes(a.ndim, contract[0], batch[0])) \
        + tuple(b.shape[j] for j in free_axes(b.ndim, contract[1], batch[1]))
    return TensorType(a.dtype, shape)


def _ref(a: np.ndarray, b: np.ndarray, contract: Pairs, batch: Pairs) -> np.ndarray:
    letters = iter("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    ia: list[str] = [next(letters) for _ in range(a.ndim)]
    ib: list[str] = [next(letters) for _ in range(b.ndim)]
    for i, j in list(zip(*contract)) + list(zip(*batch)):
        ib[j] = ia[i]
    out = [ia[i] for i in batch[0]] + [ia[i] for i in free_axes(a.ndim, contract[0], batch[0])] \
        + [ib[j] for j in free_axes(b.ndim, contract[1], batch[1])]
    return np.asarray(np.einsum("".join(ia) + "," + "".join(ib) + "->" + "".join(out), a, b,
                                          optimize=True).astype(a.dtype))


def _grad_operand(g: Node, x: Node, other: Node, cx: Axes, co: Axes, bx: Axes, bo: Axes, first: bool) -> Node:
    """The gradient of one operand: g · other over the other's free axes, axes put back in x's order."""
    fx, fo = free_axes(x.ndim, cx, bx), free_axes(other.ndim, co, bo)
    nb = len(bx)
    g_own = tuple(range(nb, nb + len(fx))) if first else tuple(range(nb + len(fo), g.ndim))
    g_other = free_axes(g.ndim, tuple(range(nb)), g_own)
    gb = tuple(range(nb))
    order_o = sorted(range(len(co)), key=co.__getitem__)      # free axes of the product come in other's order
    if first:
        out = dot(g, other, contract=(g_other, fo), batch=(gb, bo))
        made = bx + fx + tuple(cx[i] for i in order_o)
    else:
        out = dot(other, g, contract=(fo, g_other), batch=(bo, gb))
        made = bx + tuple(cx[i] for i in order_o) + fx
    perm = inverse_perm(made)
    return out if perm == tuple(range(x.ndim)) else transpose(out, perm=perm)


def _vjp(g: Node, y: Node, a: Node, b: Node, contract: Pairs, batch: Pairs) -> list[Node | None]:
    return [_grad_operand(g, a, b, contract[0], contract[1], batch[0], batch[1], True),
            _grad_operand(g, b, a, contract[1], contract[0], batch[1], batch[0], False)]


def _samples(rng: np.random.Generator) -> list[tuple[list[np.ndarray], dict[str, Any]]]:
    def f(*s: int) -> np.ndarray:
        return rng.standard_normal(s).astype("float32")
    cases = [((3, 4), (4, 5), ((1,), (0,)), ((), ())), ((4, 3), (4, 5), ((0,), (0,)), ((), ())),
             ((3, 4), (5, 4), ((1,), (1,)), ((), ())), ((2, 3, 4), (4, 5), ((2,), (0,)), ((), ())),
             ((2, 3, 4), (2, 4, 5), ((2,), (1,)), ((0,), (0,))), ((2, 3, 4), (2, 5, 4), ((2,), (2,)), ((0,), (0,))),
             ((3, 4, 2), (4, 2, 5), ((1, 2), (0, 1)), ((), ())), ((1, 7), (7, 9), ((1,), (0,)), ((), ())),
             ((6, 1), (1, 6), ((1,), (0,)), ((), ())), ((5,), (5,), ((0,), (0,)), ((), ())),
             ((20, 33), (33, 17), ((1,), (0,)), ((), ()))]
    return [([f(*a), f(*b)], {"contract": c, "batch": bt}) for a, b, c, bt in cases]


dot: OpDef = register(OpDef("dot", "contraction", _infer, _ref, _vjp, prepare=_prepare, samples=_samples,
                     doc="Sum of products over contracted axes (default: last of a, second to last of b)."))


def tensordot(a: Node, b: Node, axes: Any) -> Node:
    """numpy's tensordot: `axes` an int or a pair of axis lists."""
    if isinstance(axes, int):
        axes = (tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes)))
    return dot(a, b, contract=axes)
