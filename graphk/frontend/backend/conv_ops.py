"""Convolutions, pooling and resizing of any rank, from sliding windows.

In: tensors (samples, *space, channels), or (samples, channels, *space) with 'channels_first', and kernels
(*window, channels, filters).  Out: tensors in the layout of the input.  What always holds: each function is written
once for every number of spatial axes, the public ones only say how many; 'channels_first' is a transpose on the way
in and out; 'same' pads as TensorFlow does, the odd place behind, also where a size is known only at call time.
"""
from __future__ import annotations

import builtins
import math
from typing import Any, Callable, Sequence

import numpy as np

from graphk.frontend.backend.common import normalize_data_format
from graphk.frontend.backend.shape_ops import repeat_elements
from graphk.frontend.tensor import Tensor, as_dim, as_shape, node_of
from graphk.ir.dims import Dim, dim_max, floordiv, product
from graphk.ir.node import Node
from graphk.ir.opdef import const
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops import reduce as red
from graphk.ir.ops import shape as sh
from graphk.ir.ops.contract import dot
from graphk.ir.ops.window import fold, windows

Ints = tuple[int, ...]


# ------------------------------------------------------------------ what all of them share
def _ints(value: Any, rank: int, what: str) -> Ints:
    """One positive integer per spatial axis, from one for all or a sequence."""
    given = (value,) * rank if isinstance(value, (int, np.integer)) else tuple(value)
    if len(given) != rank or builtins.any(int(v) != v or v < 1 for v in given):
        raise ValueError(f"The `{what}` of an operation over {rank} spatial axes must be a positive integer or a "
                         f"tuple of {rank} of them. Received: {value}")
    return tuple(int(v) for v in given)


def _checked_padding(padding: str, allowed: Sequence[str] = ("same", "valid")) -> str:
    if padding not in allowed:
        raise ValueError(f"Invalid padding: {padding}. Expected one of {', '.join(map(repr, allowed))}.")
    return padding


def _spatial(x: Tensor, rank: int, data_format: str | None, what: str) -> tuple[Node, bool]:
    """The node of `x` with channels last, and whether they came first."""
    node = node_of(x)
    if node.ndim != rank + 2:
        raise ValueError(f"{what} takes a tensor of {rank + 2} axes (samples, {rank} of space, channels); received "
                         f"one of shape {Tensor(node).shape}. Add or remove axes with K.expand_dims or K.reshape.")
    first = normalize_data_format(data_format) == "channels_first"
    return (sh.transpose(node, perm=(0, *range(2, rank + 2), 1)) if first else node), first


def _back(node: Node, first: bool) -> Tensor:
    return Tensor(sh.transpose(node, perm=(0, node.ndim - 1, *range(1, node.ndim - 1))) if first else node)


def _same_room(length: Dim, span: int, stride: int) -> tuple[Dim, Dim]:
    """(places in front, places that windows cover) for 'same': ceil(length / stride) windows, exactly."""
    covered = (floordiv(length + (stride - 1), stride) - 1) * stride + span
    missing = covered - length
    # windows at least as wide as their stride never leave a place out, so nothing can be missing by less than 0
    return floordiv(missing if span >= stride else dim_max(missing, 0), 2), covered


def _fitted(x: Node, before: Sequence[Dim], sizes: Sequence[Dim], fits: Sequence[bool]) -> Node:
    """`x` moved `before` places into zeros with the spatial `sizes`; what is beyond is cut, where it need not fit."""
    starts = (0, *before, 0)
    shape = (x.shape[0], *sizes, x.shape[-1])
    room = tuple(s if fit else dim_max(a + d, s) for a, d, s, fit in zip(starts, x.shape, shape, (True, *fits, True)))
    if builtins.any(a != 0 for a in starts) or room != x.shape:
        x = sh.embed(x, starts=starts, steps=(1,) * x.ndim, shape=room)
    if room == shape:
        return x
    return sh.slice_op(x, starts=(0,) * x.ndim, sizes=shape, steps=(1,) * x.ndim)


def _padded(x: Node, sizes: Ints, strides: Ints, dilations: Ints, padding: str
            ) -> tuple[Node, tuple[Dim, ...]]:
    """`x` with the zeros that `padding` asks for, and how many of them stand in front along each spatial axis."""
    reach = tuple((k - 1) * d for k, d in zip(sizes, dilations))
    space = x.shape[1:-1]
    if padding == "valid":
        return x, (0,) * len(sizes)
    if padding == "causal":
        return _fitted(x, reach, tuple(d + r for d, r in zip(space, reach)), (True,)), reach
    rooms = [_same_room(d, r + 1, s) for d, r, s in zip(space, reach, strides)]
    before, covered = tuple(a for a, _ in rooms), tuple(c for _, c in rooms)
    return _fitted(x, before, covered, [r + 1 >= s for r, s in zip(reach, strides)]), before


def _windows(x: Node, sizes: Ints, strides: Ints, dilations: Ints) -> Node:
    """(samples, *windows, *places, *rest)."""
    return windows(x, axes=tuple(range(1, 1 + len(sizes))), sizes=sizes, strides=strides, dilations=dilations)


def _window_sizes(kernel: Node, rank: int, what: str, channels: Dim) -> Ints:
    if kernel.ndim != rank + 2:
        raise ValueError(f"The kernel of {what} has {rank + 2} axes ({rank} of the window, channels, filters); "
                         f"received one of shape {Tensor(kernel).shape}.")
    if isinstance(channels, int) and kernel.shape[rank] != channels:
        raise ValueError(f"{what}: the kernel of shape {Tensor(kernel).shape} is for {kernel.shape[rank]} channels, "
                         f"but the input has {channels}. Check `data_format` and the kernel's axis {rank}.")
    return tuple(int(k) for k in kernel.shape[:rank])


# ------------------------------------------------------------------ convolutions
def _convolve(rank: int, x: Tensor, kernel: Tensor, strides: Any, padding: str, data_format: str | None,
              dilation_rate: Any) -> Tensor:
    what = f"K.conv{rank}d"
    node, first = _spatial(x, rank, data_format, what)
    _checked_padding(padding, ("same", "valid", "causal") if rank == 1 else ("same", "valid"))
    w = node_of(kernel)
    sizes = _window_sizes(w, rank, what, node.shape[-1])
    steps, holes = _ints(strides, rank, "strides"), _ints(dilation_rate, rank, "dilation_rate")
    node, _ = _padded(node, sizes, steps, holes, padding)
    seen = _windows(node, sizes, steps, holes)
    return _back(dot(seen, w, contract=(tuple(range(1 + rank, 2 + 2 * rank)), tuple(range(rank + 1)))), first)


def conv1d(x: Tensor, kernel: Tensor, strides: Any = 1, padding: str = "valid", data_format: str | None = None,
           dilation_rate: Any = 1) -> Tensor:
    """(n, length, channels) by (size, channels, filters); `padding` may be 'causal', too: zeros in front only.

    >>> from graphk import backend as K
    >>> K.conv1d(K.placeholder((None, 9, 3)), K.ones((3, 3, 8)), padding='causal').shape
    (None, 9, 8)
    """
    return _convolve(1, x, kernel, strides, padding, data_format, dilation_rate)


def conv2d(x: Tensor, kernel: Tensor, strides: Any = (1, 1), padding: str = "valid", data_format: str | None = None,
           dilation_rate: Any = (1, 1)) -> Tensor:
    """(n, rows, columns, channels) by (height, width, channels, filters).

    >>> from graphk import backend as K
    >>> K.conv2d(K.placeholder((None, 9, 9, 3)), K.ones((3, 3, 3, 8)), strides=2, padding='same').shape
    (None, 5, 5, 8)
    """
    return _convolve(2, x, kernel, strides, padding, data_format, dilation_rate)


def conv3d(x: Tensor, kernel: Tensor, strides: Any = (1, 1, 1), padding: str = "valid", data_format: str | None = None,
           dilation_rate: Any = (1, 1, 1)) -> Tensor:
    """(n, a, b, c, channels) by (i, j, k, channels, filters).

    >>> from graphk import backend as K
    >>> K.conv3d(K.placeholder((None, 4, 5, 6, 1)), K.ones((2, 2, 2, 1, 8))).shape
    (None, 3, 4, 5, 8)
    """
    return _convolve(3, x, kernel, strides, padding, data_format, dilation_rate)


def _transposed(rank: int, x: Tensor, kernel: Tensor, output_shape: Any, strides: Any, padding: str,
                data_format: str | None, dilation_rate: Any) -> Tensor:
    """The gradient of a convolution with respect to its input: windows times kernel, folded back."""
    what = f"K.conv{rank}d_transpose"
    node, first = _spatial(x, rank, data_format, what)
    _checked_padding(padding)
    w = node_of(kernel)
    if w.ndim != rank + 2 or w.shape[-1] != node.shape[-1]:
        raise ValueError(f"The kernel of {what} has the shape (*window, filters, channels), with the {node.shape[-1]} "
                         f"channels of the input last; received {Tensor(w).shape}.")
    sizes = tuple(int(k) for k in w.shape[:rank])
    steps, holes = _ints(strides, rank, "strides"), _ints(dilation_rate, rank, "dilation_rate")
    want = as_shape(output_shape)
    if len(want) != rank + 2:
        raise ValueError(f"{what}: `output_shape` has {rank + 2} sizes, samples and channels among them; received "
                         f"{output_shape}")
    space = want[2:] if first else want[1:-1]
    spans = [(k - 1) * d + 1 for k, d in zip(sizes, holes)]
    covered = tuple((d - 1) * s + span for d, s, span in zip(node.shape[1:-1], steps, spans))
    before = [floordiv(dim_max(c - o, 0), 2) if padding == "same" else 0 for c, o in zip(covered, space)]
    made = fold(dot(node, w, contract=((rank + 1,), (rank + 1,))), shape=(node.shape[0], *covered, w.shape[rank]),
                axes=tuple(range(1, rank + 1)), sizes=sizes, strides=steps, dilations=holes)
    return _back(_cut(made, before, space), first)


def _cut(x: Node, starts: Sequence[Dim], sizes: Sequence[Dim]) -> Node:
    """`sizes` places of the spatial axes from `starts` on, zeros where `x` has none."""
    lack = [a + n - d for a, n, d in zip(starts, sizes, x.shape[1:-1])]
    tail = (0, *(dim_max(m, 0) for m in lack), 0)
    if builtins.any(t != 0 for t in tail):
        x = sh.pad(x, (0,) * x.ndim, tail)
    shape = (x.shape[0], *sizes, x.shape[-1])
    return x if shape == x.shape else sh.slice_op(x, starts=(0, *starts, 0), sizes=shape, steps=(1,) * x.ndim)


def conv2d_transpose(x: Tensor, kernel: Tensor, output_shape: Any, strides: Any = (1, 1), padding: str = "valid",
                     data_format: str | None = None, dilation_rate: Any = (1, 1)) -> Tensor:
    """The convolution that maps `output_shape` to x's shape, turned around; kernel (height, width, filters, channels).

    >>> from graphk import backend as K
    >>> x, w = K.placeholder((2, 4, 4, 3)), K.ones((3, 3, 8, 3))
    >>> K.conv2d_transpose(x, w, (2, 8, 8, 8), strides=2, padding='same').shape
    (2, 8, 8, 8)
    """
    return _transposed(2, x, kernel, output_shape, strides, padding, data_format, dilation_rate)


def conv3d_transpose(x: Tensor, kernel: Tensor, output_shape: Any, strides: Any = (1, 1, 1), padding: str = "valid",
                     data_format: str | None = None) -> Tensor:
    """As `conv2d_transpose`, for volumes (n, a, b, c, channels).

    >>> from graphk import backend as K
    >>> K.conv3d_transpose(K.placeholder((2, 2, 2, 2, 3)), K.ones((2, 2, 2, 5, 3)), (2, 3, 3, 3, 5)).shape
    (2, 3, 3, 3, 5)
    """
    return _transposed(3, x, kernel, output_shape, strides, padding, data_format, 1)


def _depthwise(x: Node, w: Node, rank: int, strides: Any, padding: str, dilation_rate: Any, what: str) -> Node:
    """Each channel by its own kernels: (n, *space, channels * multiplier)."""
    _checked_padding(padding)
    sizes = _window_sizes(w, rank, what, x.shape[-1])
    steps, holes = _ints(strides, rank, "strides"), _ints(dilation_rate, rank, "dilation_rate")
    x, _ = _padded(x, sizes, steps, holes, padding)
    channels, many = w.shape[rank:]
    seen = _windows(sh.reshape(x, shape=(*x.shape, 1)), sizes, steps, holes)
    out = red.sum_(ew.mul(seen, w), axes=tuple(range(1 + rank, 1 + 2 * rank)))
    return sh.reshape(out, shape=(*out.shape[:-2], channels * many))


def depthwise_conv2d(x: Tensor, depthwise_kernel: Tensor, strides: Any = (1, 1), padding: str = "valid",
                     data_format: str | None = None, dilation_rate: Any = (1, 1)) -> Tensor:
    """Each channel by its own `multiplier` kernels of (height, width, channels, multiplier).

    >>> from graphk import backend as K
    >>> K.depthwise_conv2d(K.placeholder((None, 9, 9, 3)), K.ones((3, 3, 3, 2))).shape
    (None, 7, 7, 6)
    """
    node, first = _spatial(x, 2, data_format, "K.depthwise_conv2d")
    return _back(_depthwise(node, node_of(depthwise_kernel), 2, strides, padding, dilation_rate,
                            "K.depthwise_conv2d"), first)


def _separable(rank: int, x: Tensor, depthwise: Tensor, pointwise: Tensor, strides: Any, padding: str,
               data_format: str | None, dilation_rate: Any) -> Tensor:
    what = f"K.separable_conv{rank}d"
    node, first = _spatial(x, rank, data_format, what)
    w = node_of(pointwise)
    deep = _depthwise(node, node_of(depthwise), rank, strides, padding, dilation_rate, what)
    sizes = _window_sizes(w, rank, f"the pointwise step of {what}", deep.shape[-1])
    if sizes != (1,) * rank:
        raise ValueError(f"The pointwise kernel of {what} has a window of 1 place; received {Tensor(w).shape}.")
    return _back(dot(deep, sh.reshape(w, shape=w.shape[rank:]), contract=((rank + 1,), (0,))), first)


def separable_conv1d(x: Tensor, depthwise_kernel: Tensor, pointwise_kernel: Tensor, strides: Any = 1,
                     padding: str = "valid", data_format: str | None = None, dilation_rate: Any = 1) -> Tensor:
    """A depthwise convolution (size, channels, multiplier), then a pointwise one (1, channels * multiplier, filters).

    >>> from graphk import backend as K
    >>> K.separable_conv1d(K.placeholder((None, 9, 3)), K.ones((3, 3, 2)), K.ones((1, 6, 8))).shape
    (None, 7, 8)
    """
    return _separable(1, x, depthwise_kernel, pointwise_kernel, strides, padding, data_format, dilation_rate)


def separable_conv2d(x: Tensor, depthwise_kernel: Tensor, pointwise_kernel: Tensor, strides: Any = (1, 1),
                     padding: str = "valid", data_format: str | None = None, dilation_rate: Any = (1, 1)) -> Tensor:
    """As `separable_conv1d`, for images: kernels (height, width, channels, multiplier) and (1, 1, …, filters).

    >>> from graphk import backend as K
    >>> K.separable_conv2d(K.placeholder((None, 9, 9, 3)), K.ones((3, 3, 3, 2)), K.ones((1, 1, 6, 8))).shape
    (None, 7, 7, 8)
    """
    return _separable(2, x, depthwise_kernel, pointwise_kernel, strides, padding, data_format, dilation_rate)


def _local(rank: int, x: Tensor, kernel: Tensor, kernel_size: Any, strides: Any, data_format: str) -> Tensor:
    """Windows by a kernel of their own each: (windows, features of a window, filters)."""
    node, first = _spatial(x, rank, data_format, f"K.local_conv{rank}d")
    sizes, steps = _ints(kernel_size, rank, "kernel_size"), _ints(strides, rank, "strides")
    seen = _windows(node, sizes, steps, (1,) * rank)
    w, at = node_of(kernel), tuple(range(1, 1 + rank))
    inside, channels = seen.shape[1 + rank:-1], seen.shape[-1]
    features = (channels, *inside) if first else (*inside, channels)
    w = sh.reshape(w, shape=(*seen.shape[1:1 + rank], *features, w.shape[-1]))
    own = tuple(range(rank, 2 * rank + 1))
    places = (own[1:] + own[:1]) if first else own
    out = dot(seen, w, batch=(at, tuple(range(rank))), contract=(tuple(range(1 + rank, 2 + 2 * rank)), places))
    return _back(sh.transpose(out, perm=(rank, *range(rank), rank + 1)), first)


def local_conv1d(inputs: Tensor, kernel: Tensor, kernel_size: Any, strides: Any, data_format: str | None = None
                 ) -> Tensor:
    """(n, length, channels) with a kernel for each window: (windows, size * channels, filters); channels are last.

    >>> from graphk import backend as K
    >>> K.local_conv1d(K.placeholder((None, 9, 3)), K.ones((7, 9, 8)), (3,), (1,)).shape
    (None, 7, 8)
    """
    normalize_data_format(data_format)
    return _local(1, inputs, kernel, kernel_size, strides, "channels_last")


def local_conv2d(inputs: Tensor, kernel: Tensor, kernel_size: Any, strides: Any, output_shape: Any,
                 data_format: str | None = None) -> Tensor:
    """Images with a kernel for each window: (rows * columns of output_shape, features, filters).

    >>> from graphk import backend as K
    >>> K.local_conv2d(K.placeholder((None, 5, 5, 3)), K.ones((9, 27, 8)), (3, 3), (1, 1), (3, 3)).shape
    (None, 3, 3, 8)
    """
    return _local(2, inputs, kernel, kernel_size, strides, normalize_data_format(data_format))


# ------------------------------------------------------------------ pooling
def _inside(count: Dim, length: Dim, before: Dim, size: int, stride: int, dtype: str) -> Node:
    """For each window of an axis how many of its places hold input, not padding."""
    start = ew.sub(ew.mul(sh.iota(count, "int64"), stride), sh.dim_value(before))
    end = ew.min(ew.add(start, size), sh.dim_value(length))
    return ew.cast(ew.sub(end, ew.max(start, 0)), dtype)


def _along(vector: Node, axis: int, ndim: int) -> Node:
    return sh.reshape(vector, shape=(1,) * axis + vector.shape + (1,) * (ndim - axis - 1))


def _average(seen: Node, axes: Ints, space: Sequence[Dim], before: Sequence[Dim], sizes: Ints, strides: Ints,
             padding: str) -> Node:
    """The mean over the places that hold input."""
    total = red.sum_(seen, axes=axes)
    if padding == "valid":
        return ew.mul(total, 1.0 / math.prod(sizes))
    for i, (d, a, k, s) in enumerate(zip(space, before, sizes, strides)):
        total = ew.div(total, _along(_inside(total.shape[1 + i], d, a, k, s, total.dtype), 1 + i, total.ndim))
    return total


def _lowest_outside(x: Node, space: Sequence[Dim], before: Sequence[Dim]) -> Node:
    """The padded `x` with the lowest number, instead of 0, where there was no input."""
    low = const(-math.inf, x.dtype) if x.dtype.startswith("float") else const(np.iinfo(x.dtype).min, x.dtype)
    for i, (d, a) in enumerate(zip(space, before)):
        if x.shape[1 + i] == d:
            continue
        at = sh.iota(x.shape[1 + i], "int64")
        own = ew.logical_and(ew.ge(at, sh.dim_value(a)), ew.lt(at, sh.dim_value(a + d)))
        x = ew.select(_along(own, 1 + i, x.ndim), x, low)
    return x


def _largest(seen: Node, axes: Sequence[int]) -> Node:
    """The largest of each window.  Its gradient goes to the first place that attains it (K.max shares it instead).

    What finds that place is gone where no gradient is taken.
    """
    top = red.max_(seen, axes=axes, keepdims=True)
    counts = [seen.shape[a] if a in axes else 1 for a in range(seen.ndim)]
    place = sh.reshape(sh.iota(product(counts), "int32"), shape=tuple(counts))
    first = red.min_(ew.select(ew.eq(seen, top), place, sh.dim_value(product(counts) - 1, "int32")), axes=axes,
                     keepdims=True)
    chosen = red.sum_(ew.select(ew.eq(place, first), seen, 0.0), axes=axes)
    return ew.straight_through(red.max_(seen, axes=axes), chosen)


def pool(rank: int, x: Tensor, pool_size: Any, strides: Any, padding: str, data_format: str | None, pool_mode: str
         ) -> Tensor:
    """The largest ('max') or the mean ('avg') of each window over `rank` spatial axes: what pool2d and pool3d do."""
    node, first = _spatial(x, rank, data_format, f"K.pool{rank}d")
    _checked_padding(padding)
    if pool_mode not in ("max", "avg"):
        raise ValueError(f"Invalid pooling mode: {pool_mode}. Expected 'max' or 'avg'.")
    sizes, steps, ones = _ints(pool_size, rank, "pool_size"), _ints(strides, rank, "strides"), (1,) * rank
    space, axes = node.shape[1:-1], tuple(range(1 + rank, 1 + 2 * rank))
    node, before = _padded(node, sizes, steps, ones, padding)
    if pool_mode == "max":
        return _back(_largest(_windows(_lowest_outside(node, space, before), sizes, steps, ones), axes), first)
    return _back(_average(_windows(node, sizes, steps, ones), axes, space, before, sizes, steps, padding), first)


def pool2d(x: Tensor, pool_size: Any, strides: Any = (1, 1), padding: str = "valid", data_format: str | None = None,
           pool_mode: str = "max") -> Tensor:
    """The largest ('max') or the mean ('avg') of each window of images; padding counts for neither.

    >>> from graphk import backend as K
    >>> K.pool2d(K.placeholder((None, 9, 9, 3)), (2, 2), (2, 2), padding='same').shape
    (None, 5, 5, 3)
    """
    return pool(2, x, pool_size, strides, padding, data_format, pool_mode)


def pool3d(x: Tensor, pool_size: Any, strides: Any = (1, 1, 1), padding: str = "valid", data_format: str | None = None,
           pool_mode: str = "max") -> Tensor:
    """As `pool2d`, for volumes.

    >>> from graphk import backend as K
    >>> K.pool3d(K.placeholder((None, 4, 4, 4, 3)), (2, 2, 2), (2, 2, 2), pool_mode='avg').shape
    (None, 2, 2, 2, 3)
    """
    return pool(3, x, pool_size, strides, padding, data_format, pool_mode)


# ------------------------------------------------------------------ resizing
def _blend(x: Tensor, factor: int, axis: int) -> Tensor:
    """`factor` times as many elements along an axis, on the lines between neighbours (the last one stays flat)."""
    node = node_of(x)
    s = node.shape
    if factor == 1:
        return x
    last = sh.slice_axis(node, axis, s[axis] - 1, 1)
    after = sh.concat(sh.slice_axis(node, axis, 1, s[axis] - 1), last, axis=axis)
    way = _along(const(np.arange(factor) / factor, node.dtype), axis + 1, node.ndim + 1)
    here, there = (sh.reshape(n, shape=(*s[:axis + 1], 1, *s[axis + 1:])) for n in (node, after))
    mixed = ew.add(here, ew.mul(ew.sub(there, here), way))
    return Tensor(sh.reshape(mixed, shape=(*s[:axis], s[axis] * factor, *s[axis + 1:])))


def _resize(rank: int, x: Tensor, factors: Sequence[int], data_format: str | None,
            along: Callable[[Tensor, int, int], Tensor] = repeat_elements) -> Tensor:
    first = normalize_data_format(data_format) == "channels_first"
    if node_of(x).ndim != rank + 2:
        raise ValueError(f"Resizing over {rank} spatial axes takes a tensor of {rank + 2} axes; received one of shape "
                         f"{Tensor(node_of(x)).shape}")
    for i, f in enumerate(factors):
        x = along(x, int(as_dim(f)), i + (2 if first else 1))
    return x


def resize_images(x: Tensor, height_factor: int, width_factor: int, data_format: str | None = None,
                  interpolation: str = "nearest") -> Tensor:
    """Images `height_factor` times as high and `width_factor` times as wide; interpolation 'nearest' or 'bilinear'.

    >>> from graphk import backend as K
    >>> K.resize_images(K.placeholder((None, 4, 5, 3)), 2, 3).shape
    (None, 8, 15, 3)
    """
    if interpolation not in ("nearest", "bilinear"):
        raise ValueError("interpolation should be one of `nearest` or `bilinear`. Received: " + str(interpolation))
    return _resize(2, x, (height_factor, width_factor), data_format,
                   repeat_elements if interpolation == "nearest" else _blend)


def resize_volumes(x: Tensor, depth_factor: int, height_factor: int, width_factor: int, data_format: str | None = None
                   ) -> Tensor:
    """Volumes whose elements are repeated along each of their three axes.

    >>> from graphk import backend as K
    >>> K.resize_volumes(K.placeholder((None, 2, 2, 2, 3)), 2, 2, 3).shape
    (None, 4, 4, 6, 3)
    """
    return _resize(3, x, (depth_factor, height_factor, width_factor), data_format)


__all__ = ["conv1d", "conv2d", "conv3d", "conv2d_transpose", "conv3d_transpose", "depthwise_conv2d", "separable_conv1d",
           "separable_conv2d", "local_conv1d", "local_conv2d", "pool2d", "pool3d", "resize_images", "resize_volumes"]
