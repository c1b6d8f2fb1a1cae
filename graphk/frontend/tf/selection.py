"""TensorFlow's functions of elements' order and places: the largest, sorted ones, bands, where maxima lie.

In: tensors, and known counts.  Out: tensors of known shapes.  What always holds: of equal elements the first comes
first, and NaN last; how many elements are chosen never depends on data, and what asks for that is refused with what to
write instead.
"""
from __future__ import annotations

from typing import Any, NamedTuple

from graphk.frontend import backend as K
from graphk.frontend.backend.shape_ops import checked_axis
from graphk.frontend.tensor import Tensor, as_dim, as_shape, node_of
from graphk.frontend.tf.names import named
from graphk.frontend.tf.neural import _format, _padding, _pair
from graphk.ir.dims import product
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops import reduce as red
from graphk.ir.ops import shape as sh
from graphk.ir.node import Node
from graphk.ir.opdef import as_node


def _places(x: Node, down: bool) -> Node:
    """How many elements of the last axis come before each, in the order of size."""
    one, other = sh.reshape(x, shape=(*x.shape, 1)), sh.reshape(x, shape=(*x.shape[:-1], 1, x.shape[-1]))
    number = sh.iota(x.shape[-1])
    earlier = ew.lt(number, sh.reshape(number, shape=(x.shape[-1], 1)))
    less, same = ew.gt(other, one) if down else ew.lt(other, one), ew.eq(other, one)
    if x.t.is_float:                                   # NaN, of which no comparison holds, comes last
        less = ew.logical_or(less, ew.logical_and(ew.is_nan(one), ew.logical_not(ew.is_nan(other))))
        same = ew.logical_or(same, ew.logical_and(ew.is_nan(one), ew.is_nan(other)))
    before = ew.logical_or(less, ew.logical_and(same, earlier))
    return red.sum_(ew.cast(before, "int32"), axes=(x.ndim,))


def _in_order(x: Node, count: Any, down: bool) -> tuple[Tensor, Tensor]:
    """The first `count` elements of the last axis in the order of size, and their indices."""
    place = _places(x, down)
    size = x.shape[-1]
    wanted = sh.slice_axis(sh.iota(size), 0, 0, count)  # a call checks that there are so many
    hit = ew.eq(sh.reshape(place, shape=(*x.shape[:-1], 1, size)), sh.reshape(wanted, shape=(count, 1)))
    lying = sh.reshape(x, shape=(*x.shape[:-1], 1, size))
    values = red.sum_(ew.select(hit, lying, ew.zeros_like(lying)), axes=(x.ndim,))
    numbers = red.sum_(ew.select(hit, sh.iota(size), ew.zeros_like(sh.iota(size))), axes=(x.ndim,))
    return Tensor(values), Tensor(numbers)


class TopK(NamedTuple):
    """What `tf.nn.top_k` finds."""
    values: Tensor
    indices: Tensor


@named("nn.top_k", "math.top_k")
def top_k(input: Any, k: Any = 1, sorted: bool = True) -> TopK:
    """The `k` largest elements of the last axis, the largest first, NaN last, and their indices.

    They are found by comparing all pairs.  TypeError for a `k` that data decide, ValueError for one above the axis
    (IndexError, at a call, where the axis is open).
    """
    x, count = node_of(input), as_dim(k)
    if not x.ndim:
        raise ValueError(f"tf.nn.top_k takes a tensor with an axis; received {input!r}")
    if isinstance(count, int) and isinstance(x.shape[-1], int) and not 0 <= count <= x.shape[-1]:
        raise ValueError(f"tf.nn.top_k: the last axis of {Tensor(x)!r} has no {count} elements")
    return TopK(*_in_order(x, count, True))


def _sorted(values: Any, axis: int, direction: str) -> tuple[list[Tensor], tuple[int, ...]]:
    if direction not in ("ASCENDING", "DESCENDING"):
        raise ValueError(f"the direction is 'ASCENDING' or 'DESCENDING'; received {direction!r}")
    x = node_of(values)
    axis = checked_axis(axis, x.ndim)
    order = [i for i in range(x.ndim) if i != axis] + [axis]
    back = tuple(order.index(i) for i in range(x.ndim))
    return list(_in_order(sh.transpose(x, perm=tuple(order)), x.shape[axis], direction == "DESCENDING")), back


@named("sort")
def sort(values: Any, axis: int = -1, direction: str = "ASCENDING") -> Tensor:
    """The elements along an axis in the order of size."""
    (found, _), back = _sorted(values, axis, direction)
    return Tensor(sh.transpose(found.node, perm=back))


@named("argsort")
def argsort(values: Any, axis: int = -1, direction: str = "ASCENDING", stable: bool = False) -> Tensor:
    """The indices along an axis that put the elements in the order of size."""
    (_, found), back = _sorted(values, axis, direction)
    return Tensor(sh.transpose(found.node, perm=back))


@named("matrix_band_part", "linalg.band_part")
def matrix_band_part(input: Any, num_lower: Any, num_upper: Any) -> Tensor:
    """Matrices with zeros but in so many diagonals below and above the main one, all of them where it is negative."""
    x = node_of(input)
    num_lower, num_upper = as_dim(num_lower), as_dim(num_upper)
    if x.ndim < 2 or not isinstance(num_lower, int) or not isinstance(num_upper, int):
        raise ValueError(f"tf.matrix_band_part takes matrices and two known numbers of diagonals; received {input!r}, "
                         f"{num_lower} and {num_upper}")
    rows, columns = x.shape[-2:]
    below = ew.sub(sh.reshape(sh.iota(rows), shape=(rows, 1)), sh.iota(columns))
    kept = ew.cast(ew.ones_like(below), "bool")
    if num_lower >= 0:
        kept = ew.logical_and(kept, ew.le(below, num_lower))
    if num_upper >= 0:
        kept = ew.logical_and(kept, ew.ge(below, -num_upper))
    return Tensor(ew.select(kept, x, ew.zeros_like(x)))


@named("scatter_nd")
def scatter_nd(indices: Any, updates: Any, shape: Any) -> Tensor:
    """Zeros of a shape with `updates` added at places, whose coordinates along the first axes are the last axis of
    `indices`; an update for a place outside is left out, as TensorFlow does on GPUs."""
    at, g, sizes = K.identity(indices), node_of(updates), as_shape(shape)
    many = at.node.shape[-1]
    if not isinstance(many, int) or not 0 < many <= len(sizes):
        raise ValueError(f"tf.scatter_nd: {many} coordinates were given for a tensor of {len(sizes)} axes; expected a "
                         "known number of them, at least one and not above that")
    count = product(at.node.shape[:-1])
    places = sh.reshape(at.node, shape=(count, many))
    row, inside = as_node(0, at.dtype), as_node(True, "bool")
    for i in range(many):
        one, size = sh.reshape(sh.slice_axis(places, 1, i, 1), shape=(count,)), sh.dim_value(sizes[i], at.dtype)
        row = ew.add(ew.mul(row, size), one)
        inside = ew.logical_and(inside, ew.logical_and(ew.ge(one, 0), ew.lt(one, size)))
    g = sh.reshape(g, shape=(count, *sizes[many:]))
    g = ew.select(sh.reshape(inside, shape=(count,) + (1,) * (g.ndim - 1)), g, ew.zeros_like(g))
    rows = sh.scatter_add(ew.select(inside, row, ew.zeros_like(row)), g, rows=product(sizes[:many]))
    return Tensor(sh.reshape(rows, shape=sizes))


@named("nn.max_pool_with_argmax")
def max_pool_with_argmax(input: Any, ksize: Any, strides: Any, padding: str, data_format: Any = None,
                         output_dtype: str = "int64", include_batch_in_index: bool = False) -> tuple[Tensor, Tensor]:
    """Maxima of windows of images whose channels are last, and where each lies: (row · width + column) · channels +
    channel, counted through the samples before it, too, if `include_batch_in_index`."""
    if _format(data_format) != "channels_last":
        raise ValueError("tf.nn.max_pool_with_argmax takes images with their channels last (NHWC)")
    x = node_of(input)
    _, height, width, channels = x.shape
    sizes, steps = _pair(ksize, "channels_last", "ksize"), _pair(strides, "channels_last", "strides")
    best = K.pool2d(Tensor(x), sizes, steps, _padding(padding), "channels_last", "max")
    counts = best.node.shape[1:3]
    before = [0, 0]
    if _padding(padding) == "same":
        for i, (d, n) in enumerate(zip((height, width), counts)):
            if not isinstance(d, int):
                raise ValueError("tf.nn.max_pool_with_argmax with padding SAME takes images of known sizes; received "
                                 f"{Tensor(x)!r}")
            before[i] = max((n - 1) * steps[i] + sizes[i] - d, 0) // 2
    number = sh.reshape(sh.iota(width, "int64"), shape=(1, 1, width, 1))
    number = ew.add(number, ew.mul(sh.reshape(sh.iota(height, "int64"), shape=(1, height, 1, 1)), sh.dim_value(width)))
    number = ew.add(ew.mul(number, sh.dim_value(channels)), sh.iota(channels, "int64"))
    where: Any = None
    for dy in reversed(range(sizes[0])):               # the first of equal elements is looked at last, and stays
        for dx in reversed(range(sizes[1])):
            rows, columns = (ew.add(ew.mul(sh.iota(n), s), d - b) for n, s, d, b in zip(
                counts, steps, (dy, dx), before))
            at = [ew.max(ew.min(i, ew.sub(ew.cast(sh.dim_value(d), "int32"), 1)), 0)
                  for i, d in ((rows, height), (columns, width))]        # what lies outside is no place of the window's
            inside = ew.eq(sh.take(sh.take(x, 1, at[0]), 2, at[1]), best.node)
            inside = ew.logical_and(inside, sh.reshape(ew.eq(at[0], rows), shape=(counts[0], 1, 1)))
            inside = ew.logical_and(inside, sh.reshape(ew.eq(at[1], columns), shape=(counts[1], 1)))
            here = sh.take(sh.take(number, 1, at[0]), 2, at[1])
            where = ew.select(inside, here, where if where is not None else ew.zeros_like(here))
    if include_batch_in_index:
        sample = sh.reshape(sh.iota(x.shape[0], "int64"), shape=(x.shape[0], 1, 1, 1))
        where = ew.add(where, ew.mul(sample, sh.dim_value(product(x.shape[1:]))))
    return best, K.cast(Tensor(where), output_dtype)


@named("boolean_mask")
def boolean_mask(tensor: Any, mask: Any, axis: Any = None) -> Tensor:
    """Refused: how many elements a mask keeps is known only when it runs."""
    raise ValueError("tf.boolean_mask keeps as many elements as the mask has True, which is known only when it runs; "
                     "graphk's shapes are known before. A mean over the kept ones is K.sum(K.switch(mask, x, 0 * x)) / "
                     "K.sum(K.cast(mask, 'float32')); for a minimum or maximum, put a very large or small number "
                     "elsewhere.")
