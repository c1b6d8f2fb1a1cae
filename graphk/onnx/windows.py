"""Convolutions and pooling, found again in sliding windows.

In: a node of the graph.  Out: a `Plan`, the operands that an ONNX convolution or pooling needs instead of the node's
own, and how it is written; None where the node is none.  What always holds: a plan computes what the node says, for
every batch size; padding becomes an attribute where it is known, else a Pad before.
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Callable, Sequence

import numpy as np

from graphk.ir.dims import Dim
from graphk.ir.node import Node
from graphk.ir.opdef import const_value
from graphk.ir.types import FLOATS
from graphk.onnx.writer import Writer

Ints = tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """How one node is written.  inputs: the nodes whose values it reads."""
    inputs: tuple[Node, ...]
    emit: Callable[[Writer], Any]


@dataclass(frozen=True)
class Window:
    """A window over all the space of channels-last images: of `x`, which stands `before` places behind zeros."""
    x: Node
    before: tuple[int, ...]
    after: tuple[int, ...]
    stretch: tuple[int, ...]            # places from one element of x to the next (a transposed convolution)
    room: tuple[Dim, ...]               # the extents that windows slide over
    sizes: Ints
    strides: Ints
    dilations: Ints

    @property
    def rank(self) -> int:
        return len(self.sizes)

    @property
    def reach(self) -> Ints:
        return tuple((k - 1) * d for k, d in zip(self.sizes, self.dilations))

    def attributes(self) -> dict[str, Any]:
        return {"kernel_shape": self.sizes, "strides": self.strides, "dilations": self.dilations,
                "pads": (*self.before, *self.after)}


def window_of(node: Node, tail: int = 1) -> Window | None:
    """The window that `node` is, over (samples, *space, *`tail` axes of channels), if it is one, of floats."""
    if node.op.name != "windows" or node.dtype not in FLOATS:
        return None
    seen, axes = node.inputs[0], node.attr("axes")
    rank = len(axes)
    if axes != tuple(range(1, 1 + rank)) or seen.ndim != rank + 1 + tail or rank > 3:
        return None
    settings = [node.attr(k) for k in ("sizes", "strides", "dilations")]
    x = seen
    if tail == 2:                                   # a depthwise convolution's images have an axis of 1 behind
        if x.op.name != "reshape" or x.shape != (*x.inputs[0].shape, 1):
            return None
        x = x.inputs[0]
    return _padded(x, settings) or _bare(x, settings)


def _bare(x: Node, settings: list[Any]) -> Window:
    """A window over `x` as it is."""
    rank = len(settings[0])
    none = (0,) * rank
    return Window(x, none, none, (1,) * rank, x.shape[1:1 + rank], *settings)


def _padded(x: Node, settings: list[Any]) -> Window | None:
    """A window over an `embed`, whose zeros a convolution makes itself; None if their number is not known."""
    if x.op.name != "embed":
        return None
    inner, starts, steps, room = x.inputs[0], x.attr("starts"), x.attr("steps"), x.attr("shape")
    rank = len(settings[0])
    space = range(1, 1 + rank)
    outside = (0, rank + 1)
    if any(starts[i] != 0 or steps[i] != 1 or room[i] != inner.shape[i] for i in outside):
        return None
    after = [room[i] - starts[i] - steps[i] * (inner.shape[i] - 1) - 1 for i in space]
    if any(not isinstance(v, int) for v in (*after, *(starts[i] for i in space))) or any(steps[i] < 1 for i in space):
        return None
    return Window(inner, tuple(starts[i] for i in space), tuple(after), tuple(steps[i] for i in space), room[1:-1],
                  *settings)


def _first(w: Writer, node: Node) -> str:
    """Channels first, as ONNX has them."""
    return w.transpose(w.values[node], (0, node.ndim - 1, *range(1, node.ndim - 1)))


def _last(w: Writer, value: str, rank: int) -> str:
    return w.transpose(value, (0, *range(2, rank + 2), 1))


# ------------------------------------------------------------------ convolutions
def _convolution(node: Node) -> Plan | None:
    """dot(windows, kernel)."""
    seen, kernel = node.inputs
    win = window_of(seen)
    if win is None or node.attr("batch") != ((), ()):
        return None
    over, of_kernel = node.attr("contract")
    rank, left = win.rank, [i for i in range(kernel.ndim) if i not in node.attr("contract")[1]]
    if sorted(over) != list(range(1 + rank, 2 + 2 * rank)) or len(left) != 1:
        return None
    axis = dict(zip(over, of_kernel))
    places, channels = [axis[1 + rank + i] for i in range(rank)], axis[1 + 2 * rank]
    if any(s > 1 for s in win.stretch):
        return _transposed(win, kernel, places, channels, left[0])

    def emit(w: Writer) -> str:
        weights = w.transpose(w.values[kernel], (left[0], channels, *places))
        return _last(w, w.emit("Conv", [_first(w, win.x), weights], **win.attributes()), rank)
    return Plan((win.x, kernel), emit)


def _transposed(win: Window, kernel: Node, places: list[int], channels: int, filters: int) -> Plan | None:
    """A convolution over images spread out by zeros: ConvTranspose, with the kernel turned around (again)."""
    if any(s != 1 for s in win.strides):
        return None
    pads = [r - b for r, b in zip(win.reach, win.before)]
    ends = [r - a for r, a in zip(win.reach, win.after)]
    more = [max(-e, 0) for e in ends]               # places behind the last that the kernel reaches
    if any(p < 0 for p in pads) or any(m and m >= s for m, s in zip(more, win.stretch)):
        return None

    back = tuple(-1 if i in places else 1 for i in range(kernel.ndim))
    turned = kernel.op.name == "slice" and kernel.attr("steps") == back and kernel.shape == kernel.inputs[0].shape
    source = kernel.inputs[0] if turned else kernel

    def emit(w: Writer) -> str:
        value = w.values[source]
        if not turned:
            value = w.slice(value, places, [k - 1 for k in win.sizes], win.sizes, [-1] * win.rank)
        weights = w.transpose(value, (channels, filters, *places))
        out = w.emit("ConvTranspose", [_first(w, win.x), weights], kernel_shape=win.sizes, strides=win.stretch,
                     dilations=win.dilations, pads=(*pads, *(max(e, 0) for e in ends)), output_padding=more)
        return _last(w, out, win.rank)
    return Plan((win.x, source), emit)


def _depthwise(node: Node) -> Plan | None:
    """sum(windows * kernel) over the places, with channels and their multiples behind."""
    product = node.inputs[0]
    if product.op.name != "mul" or node.attr("keepdims"):
        return None
    for seen, kernel in (product.inputs, product.inputs[::-1]):
        win = window_of(seen, tail=2)
        if win is None or any(s > 1 for s in win.stretch) or node.attr("axes") != tuple(
                range(1 + win.rank, 1 + 2 * win.rank)) or kernel.shape[:-2] != win.sizes:
            continue
        channels, many = kernel.shape[-2:]
        if not isinstance(channels, int) or not isinstance(many, int) or channels != win.x.shape[-1]:
            continue
        return Plan((win.x, kernel), _depthwise_rule(win, kernel, channels, many, node))
    return None


def _depthwise_rule(win: Window, kernel: Node, channels: int, many: int, node: Node) -> Callable[[Writer], Any]:
    def emit(w: Writer) -> str:
        rank = win.rank
        turned = w.transpose(w.values[kernel], (rank, rank + 1, *range(rank)))
        weights = w.reshape(turned, (channels, many, *win.sizes), (channels * many, 1, *win.sizes))
        out = w.emit("Conv", [_first(w, win.x), weights], group=channels, **win.attributes())
        merged = (*node.shape[:-2], channels * many)
        return w.reshape(_last(w, out, rank), merged, node.shape)
    return emit


# ------------------------------------------------------------------ pooling
def _over_places(node: Node, win: Window | None) -> bool:
    return win is not None and not node.attr("keepdims") and all(s == 1 for s in win.stretch) and \
        node.attr("axes") == tuple(range(1 + win.rank, 1 + 2 * win.rank))


def _largest(node: Node) -> Plan | None:
    seen = node.inputs[0]
    win = window_of(seen)
    if win is None or not _over_places(node, win):
        return None
    settings = [win.sizes, win.strides, win.dilations]
    inner = _lowest_outside(seen.inputs[0], win.rank)
    if inner is not None:
        win = _padded(inner, settings) or win
    elif any((*win.before, *win.after)):            # zeros count here; ONNX's padding of a maximum is the lowest number
        win = _bare(seen.inputs[0], settings)
    if any(s > 1 for s in win.stretch) or any(p >= k for p, k in zip((*win.before, *win.after), win.sizes * 2)):
        return None
    found = win

    def emit(w: Writer) -> str:
        x = w.above_zero(_first(w, found.x), found.x.dtype)
        return _last(w, w.emit("MaxPool", [x], **found.attributes()), found.rank)
    return Plan((found.x,), emit)


def _lowest_outside(x: Node, rank: int) -> Node | None:
    """The `embed` in `x` whose zeros all became -inf; None if it is anything else."""
    masks = []
    while x.op.name == "select" and const_value(x.inputs[2]) == -math.inf and x.inputs[0].op.name == "const":
        masks.append(x.inputs[0].attr("value").array)
        x = x.inputs[1]
    if x.op.name != "embed" or not masks or any(not isinstance(d, int) for d in x.shape[1:-1]):
        return None
    own = np.ones((1, *x.shape[1:-1], 1), bool)
    for i in range(1, 1 + rank):
        start, count = x.attr("starts")[i], x.inputs[0].shape[i]
        at = np.arange(x.shape[i])
        own &= ((at >= start) & (at < start + count)).reshape([-1 if j == i else 1 for j in range(rank + 2)])
    real = np.ones_like(own)
    for m in masks:
        if np.broadcast_shapes(m.shape, own.shape) != own.shape:
            return None
        real &= m
    return x if (real == own).all() else None


def _sum_of_windows(node: Node) -> Window | None:
    win = window_of(node.inputs[0]) if node.op.name == "sum" else None
    return win if win is not None and _over_places(node, win) and all(d == 1 for d in win.dilations) and all(
        p < k for p, k in zip((*win.before, *win.after), win.sizes * 2)) else None


def _average(win: Window, whole: bool, times: float = 1.) -> Plan:
    """The mean over windows; whole: padding counts."""
    def emit(w: Writer) -> str:
        settings = {k: v for k, v in win.attributes().items() if k != "dilations"}
        out = w.emit("AveragePool", [_first(w, win.x)], count_include_pad=int(whole), **settings)
        out = out if times == 1 else w.emit("Mul", [out, w.constant(np.array(times, win.x.dtype))])
        return _last(w, out, win.rank)
    return Plan((win.x,), emit)


def _sum(node: Node) -> Plan | None:
    win = _sum_of_windows(node)
    return _depthwise(node) if win is None else _average(win, True, float(math.prod(win.sizes)))


def _scaled_sum(node: Node) -> Plan | None:
    """The sum of a window times 1 / its places."""
    for a, b in (node.inputs, node.inputs[::-1]):
        win, factor = _sum_of_windows(a), const_value(b)
        if win is not None and factor is not None and b.ndim == 0:
            times = factor * math.prod(win.sizes)
            return _average(win, True, 1. if abs(times - 1) < 1e-6 else times)
    return None


def _counted_sum(node: Node) -> Plan | None:
    """The sum of a window divided, axis by axis, by how many of its places hold input."""
    x, counts = node, np.ones(())
    while x.op.name == "div" and x.inputs[1].op.name == "const":
        counts = counts * x.inputs[1].attr("value").array
        x = x.inputs[0]
    win = _sum_of_windows(x)
    if win is None or any(not isinstance(d, int) for d in x.shape[1:-1]):
        return None
    want = _places(win, [d for d in x.shape[1:-1] if isinstance(d, int)])
    fits = np.ndim(counts) in (0, want.ndim) and np.broadcast_shapes(counts.shape, want.shape) == want.shape
    return _average(win, False) if fits and (counts == want).all() else None


def _places(win: Window, windows: Sequence[int]) -> np.ndarray:
    """How many places of each window hold input."""
    out = np.ones((1, *windows, 1))
    for i, (n, k, s, b, a, room) in enumerate(zip(windows, win.sizes, win.strides, win.before, win.after, win.room)):
        assert isinstance(room, int)
        start = np.arange(n) * s - b
        inside = np.minimum(start + k, room - a - b) - np.maximum(start, 0)
        out = out * inside.reshape([-1 if j == i + 1 else 1 for j in range(out.ndim)])
    return out


PLANS: dict[str, Callable[[Node], Plan | None]] = {
    "dot": _convolution, "reduce_max": _largest, "sum": _sum, "mul": _scaled_sum, "div": _counted_sum}

__all__ = ["PLANS", "Plan"]
