"""Sliding windows: the one op behind convolutions and pooling of any rank.

In: a tensor, the axes that windows slide along, and for each the window's size, stride and dilation.  Out: a tensor
in which each of those axes counts windows and, behind the last of them, one new axis each counts the places in a
window.  What always holds: an element of `windows` is the element of its operand at window * stride + place *
dilation, so a target reads it through an index map; `fold` is its transpose.  Padding is another op's work, but where
the pass `padding` made it an attribute: for each axis how many places before and after it are 0.
"""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from graphk.ir.dims import Dim, floordiv, product
from graphk.ir.node import Node
from graphk.ir.opdef import NodeLike, OpDef, as_node, register
from graphk.ir.ops.contract import dot
from graphk.ir.ops.elementwise import mul
from graphk.ir.ops.reduce import sum_
from graphk.ir.ops.shape import embed, pad, reshape, slice_op, transpose
from graphk.ir.types import TensorType, require

Ints = tuple[int, ...]
Padding = tuple[tuple[Dim, Dim], ...]


def window_count(length: Dim, size: int, stride: int, dilation: int) -> Dim:
    """How many windows fit into `length` places."""
    return floordiv(length - (size - 1) * dilation - 1, stride) + 1


def padded_shape(shape: tuple[Dim, ...], axes: Ints, padding: Padding) -> tuple[Dim, ...]:
    """`shape` with zeros before and after it along axes."""
    more = {a: before + after for a, (before, after) in zip(axes, padding)}
    return tuple(d + more.get(i, 0) for i, d in enumerate(shape))


def _prepare(x: NodeLike, axes: Sequence[int], sizes: Sequence[int], strides: Sequence[int] | None = None,
             dilations: Sequence[int] | None = None, padding: Sequence[tuple[Dim, Dim]] = ()
             ) -> tuple[tuple[Node, ...], dict[str, Any]]:
    node = as_node(x)
    ones = (1,) * len(axes)
    return (node,), {"axes": tuple(int(a) % max(node.ndim, 1) for a in axes), "sizes": tuple(map(int, sizes)),
                     "strides": tuple(map(int, strides or ones)), "dilations": tuple(map(int, dilations or ones)),
                     **({"padding": tuple((a, b) for a, b in padding)} if padding else {})}


def _infer(t: TensorType, axes: Ints, sizes: Ints, strides: Ints, dilations: Ints, padding: Padding = ()) -> TensorType:
    if padding and len(padding) != len(axes):
        raise ValueError(f"windows of {t}: padding {padding}; expected a pair (before, after) for each of axes {axes}")
    t = t.with_shape(padded_shape(t.shape, axes, padding))
    if not axes or list(axes) != sorted(set(axes)) or not len(axes) == len(sizes) == len(strides) == len(dilations):
        raise ValueError(f"windows of {t}: axes {axes} (ascending, each once) with sizes {sizes}, strides {strides} "
                         f"and dilations {dilations}, one of each per axis")
    if min(*sizes, *strides, *dilations) < 1:
        raise ValueError(f"windows of {t}: sizes {sizes}, strides {strides}, dilations {dilations} must be 1 or more")
    shape = list(t.shape)
    for a, k, s, d in zip(axes, sizes, strides, dilations):
        here, span = t.shape[a], (k - 1) * d + 1
        if isinstance(here, int) and here < span:
            raise ValueError(f"windows of {t}: a window of {k} places ({span} with its dilation {d}) does not fit "
                             f"into axis {a}, which has {here}")
        shape[a] = window_count(here, k, s, d)
    at = axes[-1] + 1
    return TensorType(t.dtype, (*shape[:at], *sizes, *shape[at:]))


def _places(out: tuple[int, ...], axes: Ints, sizes: Ints, strides: Ints, dilations: Ints) -> list[np.ndarray]:
    """For each windowed axis the operand's index of (window, place)."""
    return [np.arange(out[a])[:, None] * s + np.arange(k) * d for a, k, s, d in zip(axes, sizes, strides, dilations)]


def _index(rank: int, shape: tuple[int, ...], axes: Ints, places: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Index arrays that read (or add to) the operand for every element of the windows."""
    full, at = rank + len(axes), axes[-1] + 1
    out = []
    for a in range(rank):
        own = a if a < at else a + len(axes)
        lay = [1] * full
        if a in axes:
            lay[own], lay[at + axes.index(a)] = places[axes.index(a)].shape
            out.append(places[axes.index(a)].reshape(lay))
        else:
            lay[own] = shape[own]
            out.append(np.arange(shape[own]).reshape(lay))
    return tuple(out)


def _ref(x: np.ndarray, axes: Ints, sizes: Ints, strides: Ints, dilations: Ints,
         padding: tuple[tuple[int, int], ...] = ()) -> np.ndarray:
    around = dict(zip(axes, padding))
    x = np.pad(x, [around.get(a, (0, 0)) for a in range(x.ndim)])
    shape = tuple(int(d) for d in _infer(TensorType(x.dtype.name, x.shape), axes, sizes, strides, dilations).shape)
    return x[_index(x.ndim, shape, axes, _places(shape, axes, sizes, strides, dilations))]


def _fold_infer(t: TensorType, shape: tuple[Dim, ...], axes: Ints, sizes: Ints, strides: Ints, dilations: Ints
                ) -> TensorType:
    require("`fold`", "number", t)
    return TensorType(t.dtype, shape)


def _fold_ref(g: np.ndarray, shape: Any, axes: Ints, sizes: Ints, strides: Ints, dilations: Ints) -> np.ndarray:
    out = np.zeros(shape, g.dtype)
    np.add.at(out, _index(len(shape), g.shape, axes, _places(g.shape, axes, sizes, strides, dilations)), g)
    return out


def _cases(rng: np.random.Generator) -> list[tuple[tuple[int, ...], dict[str, Any]]]:
    return [((2, 7, 3), {"axes": (1,), "sizes": (3,), "strides": (2,), "dilations": (1,)}),
            ((2, 6, 7, 2), {"axes": (1, 2), "sizes": (3, 2), "strides": (1, 2), "dilations": (2, 1)}),
            ((5, 4), {"axes": (0, 1), "sizes": (2, 1), "strides": (3, 1), "dilations": (1, 1)}),
            ((1, 4, 4, 4, 2), {"axes": (1, 2, 3), "sizes": (2, 2, 2), "strides": (2, 2, 2), "dilations": (1, 1, 1)})]


def _windows_vjp(g: Node, y: Node, x: Node, axes: Ints, sizes: Ints, strides: Ints, dilations: Ints,
                 padding: Padding = ()) -> list[Node]:
    whole = fold(g, shape=padded_shape(x.shape, axes, padding), axes=axes, sizes=sizes, strides=strides,
                 dilations=dilations)
    before = {a: b for a, (b, _) in zip(axes, padding)}
    return [slice_op(whole, starts=tuple(before.get(a, 0) for a in range(x.ndim)), sizes=x.shape, steps=(1,) * x.ndim)
            if padding else whole]


windows: OpDef = register(OpDef(
    "windows", "index_map", _infer, _ref, _windows_vjp,
    prepare=_prepare, doc="Windows that slide along axes; their places are new axes behind the last of these.",
    samples=lambda rng: [([rng.standard_normal(s).astype("float32")], kw) for s, kw in (
        *_cases(rng),
        ((2, 5, 4, 2), {"axes": (1, 2), "sizes": (3, 2), "strides": (2, 1), "dilations": (1, 2),
                        "padding": ((1, 2), (0, 1))}),
        ((1, 3), {"axes": (1,), "sizes": (2,), "strides": (1,), "dilations": (4,), "padding": ((4, 3),)}))]))

fold: OpDef = register(OpDef(
    "fold", "index_map", _fold_infer, _fold_ref,
    lambda d, y, g, shape, axes, sizes, strides, dilations: [
        windows(d, axes=axes, sizes=sizes, strides=strides, dilations=dilations)],
    doc="Windows added up where they came from, in zeros of `shape`: the transpose of `windows`.",
    samples=lambda rng: [
        ([rng.standard_normal(tuple(_infer(TensorType("float32", s), **kw).shape)).astype("float32")],
         {"shape": s, **kw}) for s, kw in _cases(rng)]))


def fold_of_product(n: Node) -> Node | None:
    """`fold(dot(g, w))`, a transposed convolution, without the windows in memory; None if `n` is not one.

    Each place of the result gathers from `g`, laid into zeros by the stride, through the kernel turned around.
    """
    found = _operands(n)
    if found is None:
        return None
    g, w, over_w = found
    axes, sizes, dilations = (n.attr(k) for k in ("axes", "sizes", "dilations"))
    at, places = axes[-1] + 1, len(axes)
    seen = windows(_spread(n, g), axes=axes, sizes=sizes, strides=(1,) * places, dilations=dilations)
    return dot(seen, _turned(w, places), contract=((*range(at, at + places), at + places), (*range(places), over_w)))


def _operands(n: Node) -> tuple[Node, Node, int] | None:
    """The `g` and `w` of `fold(dot(g, w))`, and the axis of `w` that is summed over; None if `n` is something else."""
    made, at = n.inputs[0], n.attr("axes")[-1] + 1
    if made.op is not dot or made.attr("batch") != ((), ()) or len(made.attr("contract")[0]) != 1:
        return None
    (g, w), ((over_g,), (over_w,)) = made.inputs, made.attr("contract")
    # the windows must come from g, the places (and what stands behind them) from w
    if g.ndim != at + 1 or over_w < len(n.attr("axes")):
        return None
    last = (*(a for a in range(g.ndim) if a != over_g), over_g)           # channels may come first
    return (g if over_g == at else transpose(g, perm=last)), w, over_w


def fold_in_parts(n: Node) -> Node | None:
    """The same with a stride: the places that leave the same remainder meet the same part of the kernel, and all parts
    are filters of one convolution over `g`, whose results are then laid side by side.

    Where a part has fewer places than others, zeros stand for them (an infinity in `g` is NaN there).  Source:
    sub-pixel convolution (Shi et al., 2016).
    """
    found = _operands(n)
    strides, dilations = n.attr("strides"), n.attr("dilations")
    if found is None or max(strides) == 1 or max(n.attr("sizes")) == 1 or any(
            d > 1 and s > 1 for s, d in zip(strides, dilations)):
        return None
    return _sub_pixel(n, *found)


def fold_of_filter(n: Node, x: Node, y: Node) -> Node | None:
    """`fold(mul(g, w))`, the gradient of a depthwise convolution, without the windows in memory; None if it is not one.

    `g` is the same at all places of a window, `w` in all windows: each place of the result gathers from `g`, laid into
    zeros by the stride, through the kernel turned around.
    """
    made, axes, sizes, dilations = n.inputs[0], n.attr("axes"), n.attr("sizes"), n.attr("dilations")
    at, places = axes[-1] + 1, len(axes)
    flat = (*made.shape[:at], *(1 for _ in axes), *made.shape[at + places:])
    for g, w in ((x, y), (y, x)):
        if g.shape == flat and w.shape == made.shape[at:]:
            break
    else:
        return None
    spread = _spread(n, reshape(g, shape=(*made.shape[:at], *made.shape[at + places:])))
    seen = windows(spread, axes=axes, sizes=sizes, strides=(1,) * places, dilations=dilations)
    return sum_(mul(seen, _turned(w, places)), axes=tuple(range(at, at + places)))


def _spread(n: Node, g: Node) -> Node:
    """`g` laid into zeros, so that windows of step 1 see at each place of the fold `n` what was added there."""
    starts, steps, room = [0] * g.ndim, [1] * g.ndim, list(g.shape)
    for a, k, s, d in zip(*(n.attr(k) for k in ("axes", "sizes", "strides", "dilations"))):
        starts[a], steps[a], room[a] = (k - 1) * d, s, n.shape[a] + (k - 1) * d
    return embed(g, starts=tuple(starts), steps=tuple(steps), shape=tuple(room))


def _turned(w: Node, places: int) -> Node:
    rest = w.ndim - places
    return slice_op(w, starts=(*(k - 1 for k in w.shape[:places]), *(0,) * rest), sizes=w.shape,
                    steps=(-1,) * places + (1,) * rest)


def _sub_pixel(n: Node, g: Node, w: Node, over_w: int) -> Node:
    """With result place `p = s*u + r`, of window `q` and place `t = r + s*j` in it: `q = u - j`."""
    axes, sizes, strides, dilations = (n.attr(k) for k in ("axes", "sizes", "strides", "dilations"))
    at, places, others = axes[-1] + 1, len(axes), w.shape[len(axes):]
    taps = [-(-k // s) for k, s in zip(sizes, strides)]                                # `j`
    parts = [min(k, s) for k, s in zip(sizes, strides)]                                # `r`, where there is a `t`
    none = (0,) * len(others)
    w = _padded(w, (0,) * w.ndim, (*(j * r - k for j, r, k in zip(taps, parts, sizes)), *none))
    w = reshape(w, shape=(*(d for pair in zip(taps, parts) for d in pair), *others))
    steps = (*(d for _ in axes for d in (-1, 1)), *(1 for _ in others))
    w = slice_op(w, starts=tuple(d - 1 if s < 0 else 0 for d, s in zip(w.shape, steps)), sizes=w.shape, steps=steps)
    behind = tuple(range(2 * places, w.ndim))                 # channels, then parts and filters as one axis
    filters = tuple(d for d in behind if d != over_w + places)
    w = transpose(w, perm=(*range(0, 2 * places, 2), over_w + places, *range(1, 2 * places, 2), *filters))
    wide = w.shape[places + 1:]
    w = reshape(w, shape=(*w.shape[:places + 1], product(wide)))
    before, after, count = [0] * g.ndim, [0] * g.ndim, list(g.shape)
    for i, a in enumerate(axes):
        before[a] = (taps[i] - 1) * dilations[i]
        count[a] = floordiv(n.shape[a] + strides[i] - 1, strides[i])
        after[a] = count[a] - g.shape[a]
    seen = windows(_padded(g, before, after), axes=axes, sizes=tuple(taps), strides=(1,) * places, dilations=dilations)
    made = dot(seen, w, contract=(tuple(range(at, at + places + 1)), tuple(range(places + 1))))
    made = reshape(made, shape=(*made.shape[:-1], *wide))
    lead, rest = axes[0], made.ndim - at - places
    order = (*range(lead), *(d for i in range(places) for d in (lead + i, at + i)), *range(at + places, made.ndim))
    made = transpose(made, perm=order)
    short = [s - r for s, r in zip(strides, parts)]                                    # gaps between windows
    made = _padded(made, (0,) * made.ndim, (*(0,) * lead, *(d for m in short for d in (0, m)), *(0,) * rest))
    made = reshape(made, shape=(*count[:lead], *(count[a] * s for a, s in zip(axes, strides)), *made.shape[-rest:]))
    return made if made.shape == n.shape else slice_op(made, starts=(0,) * n.ndim, sizes=n.shape, steps=(1,) * n.ndim)


def _padded(x: Node, before: Sequence[Dim], after: Sequence[Dim]) -> Node:
    return pad(x, before, after) if any(d != 0 for d in (*before, *after)) else x


__all__ = ["fold", "fold_in_parts", "fold_of_filter", "fold_of_product", "padded_shape", "window_count", "windows"]
