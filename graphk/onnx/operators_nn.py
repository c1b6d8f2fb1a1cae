"""ONNX's operators of networks: convolutions, pooling, normalization, padding, resizing.

In: a `Call` on tensors with channels first.  Out: its result.  What always holds: each is written once for every number
of spatial axes; windows slide over channels-last tensors, as everywhere in graphk, with a transposition around them.
"""
from __future__ import annotations

import math
from typing import Any, Sequence

import numpy as np

from graphk.ir.dims import Dim, dim_max, floordiv
from graphk.ir.node import Node
from graphk.ir.opdef import const
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops import reduce as red
from graphk.ir.ops import shape as sh
from graphk.ir.ops.contract import dot
from graphk.ir.ops.window import fold, windows
from graphk.onnx.operators import Operator
from graphk.onnx.values import AT_ONCE, Call, affordable, as_dims, axis_of


def _last(x: Node) -> Node:
    return sh.transpose(x, perm=(0, *range(2, x.ndim), 1))


def _first(x: Node) -> Node:
    return sh.transpose(x, perm=(0, x.ndim - 1, *range(1, x.ndim - 1)))


# ------------------------------------------------------------------ padding
def _filled(x: Node, before: Sequence[Dim], after: Sequence[Dim], fill: Any = 0) -> Node:
    """`x` with `fill` around it; negative numbers cut."""
    cut = [(-a if isinstance(a, int) and a < 0 else 0, -b if isinstance(b, int) and b < 0 else 0)
           for a, b in zip(before, after)]
    if any(c != (0, 0) for c in cut):
        x = sh.slice_op(x, starts=tuple(a for a, _ in cut), sizes=tuple(d - a - b for d, (a, b) in zip(x.shape, cut)),
                        steps=(1,) * x.ndim)
    before, after = ([max(v, 0) if isinstance(v, int) else v for v in side] for side in (before, after))
    affordable([a + d + b for a, d, b in zip(before, x.shape, after)])
    if isinstance(fill, (int, float)) and fill == 0:
        none = all(isinstance(v, int) and v == 0 for v in (*before, *after))
        return x if none else sh.pad(x, before, after)
    for axis, sides in enumerate(zip(before, after)):
        blocks = [None if isinstance(v, int) and v == 0 else sh.broadcast_to(
            ew.cast(fill, x.dtype) if isinstance(fill, Node) else const(fill, x.dtype),
            tuple(v if i == axis else d for i, d in enumerate(x.shape))) for v in sides]
        parts = [p for p in (blocks[0], x, blocks[1]) if p is not None]
        x = sh.concat(*parts, axis=axis) if len(parts) > 1 else x
    return x


def _pad(c: Call) -> Node:
    x, pads = c.node(), as_dims(c.setting("pads", 1))
    axes = c.known(3).tolist() if c.has(3) else list(range(x.ndim))
    before: list[Dim] = [0] * x.ndim
    after: list[Dim] = [0] * x.ndim
    for i, axis in enumerate(axes):
        before[axis_of(axis, x.ndim)], after[axis_of(axis, x.ndim)] = pads[i], pads[i + len(axes)]
    mode = c.attr("mode", "constant")
    if mode == "constant":
        return _filled(x, before, after, c.node(2) if c.has(2) else c.attr("value", 0))
    if mode not in ("reflect", "edge", "wrap"):
        raise c.refuse(f"the padding {mode!r}")
    for axis, (b, a) in enumerate(zip(before, after)):
        d = x.shape[axis]
        if b == 0 and a == 0:
            continue
        if not (isinstance(b, int) and isinstance(a, int) and min(b, a) >= 0):
            raise c.refuse(f"the padding {mode!r} by less than 0, or by sizes that are open,")
        affordable([d + b + a])
        x = sh.concat(*_around(x, axis, b, a, mode), axis=axis)
    return x


def _around(x: Node, axis: int, before: int, after: int, mode: str) -> list[Node]:
    """`x` between what stands before and after it along an axis: its own elements."""
    d = x.shape[axis]
    if mode == "edge":
        first, last = sh.slice_axis(x, axis, 0, 1), sh.slice_axis(x, axis, d - 1, 1)
        wide = [tuple(n if i == axis else s for i, s in enumerate(x.shape)) for n in (before, after)]
        return [sh.broadcast_to(first, wide[0]), x, sh.broadcast_to(last, wide[1])]
    if mode == "wrap":
        return [sh.slice_axis(x, axis, d - before, before), x, sh.slice_axis(x, axis, 0, after)]
    return [sh.slice_axis(x, axis, before, before, -1), x, sh.slice_axis(x, axis, d - 2, after, -1)]


def _taken(x: Node, axis: int, table: np.ndarray) -> Node:
    """The places `table` of an axis."""
    order = (axis, *(i for i in range(x.ndim) if i != axis))
    rows = sh.gather(sh.transpose(x, perm=order), const(table.astype(np.int64)))
    return sh.transpose(rows, perm=sh.inverse_perm(order))


# ------------------------------------------------------------------ convolutions
class _Window:
    """The attributes that convolutions and pooling share, for images of the extents `space`."""

    def __init__(self, c: Call, sizes: Sequence[int], space: Sequence[Dim]):
        n = len(sizes)
        self.sizes, self.n = tuple(sizes), n
        self.strides: list[int] = c.attr("strides", [1] * n)
        self.dilations: list[int] = c.attr("dilations", [1] * n)
        pads = c.attr("pads", [0] * 2 * n)
        if len(pads) != 2 * n or len(self.strides) != n or len(self.dilations) != n or len(space) != n or min(
                *self.sizes, *self.strides, *self.dilations, 1) < 1:
            raise ValueError(f"the window {self.sizes} with strides {self.strides}, dilations {self.dilations} and "
                             f"pads {pads} does not fit {len(space)} spatial axes")
        self.before: list[Dim] = list(pads[:n])
        self.after: list[Dim] = list(pads[n:])
        self.spans = [(k - 1) * d + 1 for k, d in zip(self.sizes, self.dilations)]
        self.auto = c.attr("auto_pad", "NOTSET")
        if self.auto in ("SAME_UPPER", "SAME_LOWER"):
            for i, (d, s, span) in enumerate(zip(space, self.strides, self.spans)):
                room = dim_max((floordiv(d + (s - 1), s) - 1) * s + span - d, 0)
                half = floordiv(room, 2)
                upper = self.auto == "SAME_UPPER"
                self.before[i], self.after[i] = (half, room - half) if upper else (room - half, half)
        elif self.auto == "VALID":
            self.before, self.after = [0] * n, [0] * n

    def over(self, x: Node) -> Node:
        """Windows of a padded channels-last tensor (samples, *space, …)."""
        return windows(x, axes=tuple(range(1, 1 + self.n)), sizes=self.sizes, strides=tuple(self.strides),
                       dilations=tuple(self.dilations))


def _conv(c: Call) -> Node:
    x, w, groups = _last(c.node(0)), c.node(1), c.attr("group", 1)
    n = x.ndim - 2
    if w.ndim != n + 2 or n < 1:
        raise ValueError(f"a kernel of {w.ndim} axes for images of {x.ndim}")
    _per_group(w.shape[0], groups)
    win = _Window(c, [int(k) for k in w.shape[2:]], x.shape[1:-1])
    x = _filled(x, [0, *win.before, 0], [0, *win.after, 0])
    places = tuple(range(1 + n, 1 + 2 * n))
    filters, per_group = w.shape[:2]
    if groups == 1:
        out = dot(win.over(x), w, contract=((*places, 1 + 2 * n), (*range(2, n + 2), 1)))
    elif per_group == 1 and filters == groups:          # one kernel per channel
        kernel = sh.transpose(sh.reshape(w, shape=(filters, *win.sizes)), perm=(*range(1, n + 1), 0))
        out = red.sum_(ew.mul(win.over(x), kernel), axes=places)
    else:
        seen = win.over(sh.reshape(x, shape=(*x.shape[:-1], groups, per_group)))
        kernel = sh.reshape(w, shape=(groups, floordiv(filters, groups), per_group, *win.sizes))
        made = dot(seen, kernel, batch=((1 + 2 * n,), (0,)), contract=((*places, 2 + 2 * n), (*range(3, n + 3), 2)))
        made = sh.transpose(made, perm=(*range(1, n + 2), 0, n + 2))
        out = sh.reshape(made, shape=(*made.shape[:-2], filters))
    return _first(ew.add(out, c.node(2)) if c.has(2) else out)


def _per_group(channels: Dim, groups: int) -> Dim:
    if groups < 1 or not isinstance(channels, int) or channels % groups:
        raise ValueError(f"{channels} channels in {groups} groups")
    return channels // groups


def _conv_transpose(c: Call) -> Node:
    x, w, groups = _last(c.node(0)), c.node(1), c.attr("group", 1)
    win = _Window(c, [int(k) for k in w.shape[2:]], x.shape[1:-1])
    n, extra = win.n, c.attr("output_padding", [0] * win.n)
    full = [(d - 1) * s + span for d, s, span in zip(x.shape[1:-1], win.strides, win.spans)]
    if "output_shape" in c.attributes or win.auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = c.attr("output_shape") or [d * s for d, s in zip(x.shape[1:-1], win.strides)]
        for i, (f, e, o) in enumerate(zip(full, extra, wanted[-n:])):
            room = f + e - o
            half = floordiv(room, 2)
            win.before[i], win.after[i] = (half, room - half) if win.auto == "SAME_UPPER" else (room - half, half)
    each = _per_group(w.shape[0], groups)
    parts = []
    for g in range(groups):
        seen = sh.slice_axis(x, x.ndim - 1, g * each, each) if groups > 1 else x
        kernel = sh.transpose(sh.slice_axis(w, 0, g * each, each) if groups > 1 else w, perm=(*range(2, n + 2), 1, 0))
        made = fold(dot(seen, kernel, contract=((n + 1,), (n + 1,))), shape=(x.shape[0], *full, kernel.shape[n]),
                    axes=tuple(range(1, n + 1)), sizes=win.sizes, strides=tuple(win.strides),
                    dilations=tuple(win.dilations))
        parts.append(made)
    out = sh.concat(*parts, axis=n + 1) if groups > 1 else parts[0]
    out = _filled(out, [0, *(-b for b in win.before), 0], [0, *(e - a for e, a in zip(extra, win.after)), 0])
    return _first(ew.add(out, c.node(2)) if c.has(2) else out)


# ------------------------------------------------------------------ pooling
def _more_for_ceil(win: _Window, space: Sequence[Dim]) -> list[Dim]:
    """How many places a last, incomplete window reaches beyond the padding, where sizes are rounded up."""
    out: list[Dim] = []
    for d, s, span, b, a in zip(space, win.strides, win.spans, win.before, win.after):
        room = d + b + a
        count = floordiv(room - span + (s - 1), s) + 1
        if isinstance(count, int) and isinstance(d, int) and isinstance(b, int) and (count - 1) * s >= d + b:
            count -= 1                                  # it would begin in the padding behind
        out.append(dim_max((count - 1) * s + span - room, 0))
    return out


def _max_pool(c: Call) -> Node:
    if len(c.outputs) > 1:
        raise c.refuse("the indices as a second result")
    x = _last(c.node())
    win = _Window(c, c.attr("kernel_shape"), x.shape[1:-1])
    more = _more_for_ceil(win, x.shape[1:-1]) if c.attr("ceil_mode") else [0] * win.n
    low = -math.inf if x.t.is_float else int(np.iinfo(x.dtype).min)
    x = _filled(x, [0, *win.before, 0], [0, *(a + m for a, m in zip(win.after, more)), 0], low)
    return _first(red.max_(win.over(x), axes=tuple(range(1 + win.n, 1 + 2 * win.n))))


def _average_pool(c: Call) -> Node:
    x = _last(c.node())
    space = x.shape[1:-1]
    win = _Window(c, c.attr("kernel_shape"), space)
    more = _more_for_ceil(win, space) if c.attr("ceil_mode") else [0] * win.n
    before, after = [0, *win.before, 0], [0, *(a + m for a, m in zip(win.after, more)), 0]
    places = tuple(range(1 + win.n, 1 + 2 * win.n))
    total = red.sum_(win.over(_filled(x, before, after)), axes=places)
    whole = bool(c.attr("count_include_pad"))
    padded = not all(isinstance(v, int) and v == 0 for v in (*before, *after))
    if not padded or (whole and not any(not isinstance(m, int) or m for m in more)):
        return _first(ew.mul(total, 1. / math.prod(win.sizes)))
    counted = [b + d + a for b, d, a in zip(win.before, space, win.after)] if whole else list(space)
    ones = sh.broadcast_to(const(1, x.dtype), (1, *counted, 1))
    inner = [0] * win.n if whole else win.before
    ends = more if whole else [a + m for a, m in zip(win.after, more)]
    count = red.sum_(win.over(_filled(ones, [0, *inner, 0], [0, *ends, 0])), axes=places)
    return _first(ew.div(total, count))


def _global(op: Any) -> Operator:
    return lambda c: op(c.node(), axes=tuple(range(2, c.node().ndim)), keepdims=True)


# ------------------------------------------------------------------ normalization
def _per_channel(v: Node, ndim: int) -> Node:
    return sh.reshape(v, shape=(v.shape[0], *(1,) * (ndim - 2)))


def _batch_norm(c: Call) -> Node:
    if c.attr("training_mode") or not c.attr("spatial", 1):
        raise c.refuse("batch normalization in training mode, or per element,")
    x = c.node()
    scale, shift, mean, variance = (_per_channel(c.node(i), x.ndim) for i in range(1, 5))
    factor = ew.mul(scale, ew.rsqrt(ew.add(variance, float(c.attr("epsilon", 1e-5)))))
    return ew.add(ew.mul(ew.sub(x, mean), factor), shift)


def _normalized(x: Node, axes: Sequence[int], epsilon: float) -> list[Node]:
    """(the normalized values, mean, 1 / standard deviation)."""
    mean = red.mean(x, axes=axes, keepdims=True)
    scale = ew.rsqrt(ew.add(red.variance(x, axes=axes, keepdims=True), float(epsilon)))
    return [ew.mul(ew.sub(x, mean), scale), mean, scale]


def _instance_norm(c: Call) -> Node:
    x = c.node()
    made, *_ = _normalized(x, range(2, x.ndim), c.attr("epsilon", 1e-5))
    return ew.add(ew.mul(made, _per_channel(c.node(1), x.ndim)), _per_channel(c.node(2), x.ndim))


def _layer_norm(c: Call) -> list[Node]:
    x = c.node()
    axes = range(axis_of(c.attr("axis", -1), x.ndim), x.ndim)
    made, *rest = _normalized(x, axes, c.attr("epsilon", 1e-5))
    made = ew.mul(made, c.node(1))
    return [ew.add(made, c.node(2)) if c.has(2) else made, *rest]


# ------------------------------------------------------------------ resizing
def _resize(c: Call) -> Node:
    """Axis by axis: places taken (nearest), or neighbours weighted by a matrix (linear)."""
    x, mode = c.node(), c.attr("mode", "nearest")
    if c.attr("axes") is not None or c.attr("antialias") or mode not in ("nearest", "linear"):
        raise c.refuse(f"resizing by {mode!r} with the attributes {sorted(c.attributes)}")
    scales, sizes = _factors(c, x)
    for axis, (d, scale, size) in enumerate(zip(x.shape, scales, sizes)):
        if scale == 1:
            continue
        if mode == "nearest" and float(scale).is_integer() and _repeats(c):
            x = _repeated(x, axis, int(scale))
        elif not isinstance(d, int):
            raise c.refuse(f"resizing an axis of open size {scale} times")
        else:
            affordable([size, d], AT_ONCE)
            at = _sources(c, d, size, scale)
            x = _taken(x, axis, _nearest(c, at, d)) if mode == "nearest" else _weighted(x, axis, _lines(at, d))
    return x


def _factors(c: Call, x: Node) -> tuple[list[float], list[int]]:
    """(scales, sizes) of the axes; sizes of open axes are 0."""
    at = {"Upsample": 1}.get(c.op, 2 if c.opset >= 11 else 1)
    if c.has(3):
        sizes: list[Any] = as_dims(c.known(3))
        scales = [1. if s == d else s / d if isinstance(d, int) and isinstance(s, int) else _ratio(c, s, d)
                  for s, d in zip(sizes, x.shape)]
        return scales, [s if isinstance(s, int) else 0 for s in sizes]
    given = c.setting("scales", at)
    if not given or len(given) != x.ndim or min(given) <= 0:
        raise ValueError(f"the scales {given} for a tensor of {x.ndim} axes")
    return [float(s) for s in given], [math.floor(d * s) if isinstance(d, int) else 0 for d, s in zip(x.shape, given)]


def _ratio(c: Call, size: Any, d: Any) -> float:
    times = floordiv(size, d)
    if not isinstance(times, int):
        raise c.refuse(f"resizing from {d} to {size} places")
    return float(times)


def _coordinates(c: Call) -> str:
    default = "asymmetric" if c.op == "Upsample" or c.opset < 11 else "half_pixel"
    return str(c.attr("coordinate_transformation_mode", default))


def _repeats(c: Call) -> bool:
    """Whether whole factors repeat each element."""
    rounding = c.attr("nearest_mode", "floor" if c.op == "Upsample" or c.opset < 11 else "round_prefer_floor")
    kind = _coordinates(c)
    return (kind in ("asymmetric", "tf_half_pixel_for_nn") and rounding == "floor") or (
        kind in ("half_pixel", "pytorch_half_pixel") and rounding.startswith("round"))


def _repeated(x: Node, axis: int, times: int) -> Node:
    s = x.shape
    affordable([d * times if i == axis else d for i, d in enumerate(s)])
    wide = sh.broadcast_to(sh.reshape(x, shape=(*s[:axis + 1], 1, *s[axis + 1:])),
                           (*s[:axis + 1], times, *s[axis + 1:]))
    return sh.reshape(wide, shape=(*s[:axis], s[axis] * times, *s[axis + 1:]))


def _sources(c: Call, d: int, size: int, scale: float) -> np.ndarray:
    """Where in the operand each place of the result lies."""
    at, kind = np.arange(size, dtype=np.float64), _coordinates(c)
    if kind == "asymmetric":
        return at / scale
    if kind == "tf_half_pixel_for_nn":              # of opset 11 and 12
        return (at + .5) / scale
    if kind == "align_corners":
        return at * ((d - 1) / (d * scale - 1) if d * scale != 1 else 0.)
    if kind == "half_pixel" or (kind == "pytorch_half_pixel" and size > 1):
        return (at + .5) / scale - .5
    if kind == "pytorch_half_pixel":
        return at * 0
    raise c.refuse(f"the coordinate transformation {kind!r}")


def _nearest(c: Call, at: np.ndarray, d: int) -> np.ndarray:
    rounding = c.attr("nearest_mode", "floor" if c.op == "Upsample" or c.opset < 11 else "round_prefer_floor")
    ways: dict[str, Any] = {"floor": np.floor, "ceil": np.ceil, "round_prefer_ceil": lambda v: np.floor(v + .5),
                            "round_prefer_floor": lambda v: np.ceil(v - .5)}
    if rounding not in ways:
        raise c.refuse(f"the rounding {rounding!r}")
    return np.clip(ways[rounding](at), 0, d - 1).astype(np.int64)


def _lines(at: np.ndarray, d: int) -> np.ndarray:
    """The matrix whose row i weighs the two neighbours of place `at[i]`."""
    at = np.clip(at, 0, d - 1)
    low = np.minimum(np.floor(at).astype(int), d - 1)
    high, out, rows = np.minimum(low + 1, d - 1), np.zeros((len(at), d)), np.arange(len(at))
    np.add.at(out, (rows, low), 1 - (at - low))
    np.add.at(out, (rows, high), at - low)
    return out


def _weighted(x: Node, axis: int, matrix: np.ndarray) -> Node:
    made = dot(x, const(matrix, x.dtype), contract=((axis,), (1,)))
    order = list(range(x.ndim - 1))
    order.insert(axis, x.ndim - 1)
    return sh.transpose(made, perm=tuple(order))


def _lp_norm(c: Call) -> Node:
    x, p = c.node(), c.attr("p", 2)
    axis = axis_of(c.attr("axis", -1), x.ndim)
    if p == 1:
        norm = red.sum_(ew.abs(x), axes=axis, keepdims=True)
    else:
        norm = ew.sqrt(red.sum_(ew.square(x), axes=axis, keepdims=True))
    return ew.div(x, ew.select(ew.eq(norm, 0.0), 1.0, norm))


NETWORK: dict[str, Operator] = {
    "Pad": _pad, "Conv": _conv, "ConvTranspose": _conv_transpose, "MaxPool": _max_pool, "AveragePool": _average_pool,
    "GlobalMaxPool": _global(red.max_), "GlobalAveragePool": _global(red.mean), "BatchNormalization": _batch_norm,
    "InstanceNormalization": _instance_norm, "LayerNormalization": _layer_norm, "LpNormalization": _lp_norm,
    "Resize": _resize, "Upsample": _resize}

__all__ = ["NETWORK"]
