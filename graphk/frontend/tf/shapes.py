"""TensorFlow's functions of shapes, and those that take elements out of tensors.

In: tensors, and sizes: ints, or values of `tf.shape`.  Out: tensors.  What always holds: every shape is known before
anything runs, up to sizes such as the batch's; what would depend on data is refused.
"""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.backend.shape_ops import checked_axis
from graphk.frontend.foreign import StaticShape
from graphk.frontend.tensor import ShapeTensor, Tensor, as_dim, as_shape, node_of
from graphk.frontend.tf.names import named
from graphk.ir.dims import floordiv
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops import shape as sh

named("reshape")(lambda tensor, shape: K.reshape(K.identity(tensor), shape))
named("tile")(lambda input, multiples: K.tile(input, multiples))
named("size")(lambda input: K.size(input))
named("rank")(lambda input: node_of(input).ndim)
named("zeros_like")(lambda tensor, dtype=None: K.zeros_like(K.identity(tensor), dtype=dtype))
named("ones_like")(lambda tensor, dtype=None: K.ones_like(K.identity(tensor), dtype=dtype))
named("slice")(lambda input_, begin, size: K.slice(K.identity(input_), begin, size))
named("stack", "pack")(lambda values, axis=0: K.stack(values, axis))


@named("shape")
def shape(input: Any, out_type: str = "int32") -> Tensor:
    """The sizes of the axes, as a vector."""
    return ShapeTensor(node_of(input).shape, out_type)


@named("TensorShape")
def tensor_shape(dims: Any) -> StaticShape:
    """A shape that layers return: it is a tuple."""
    return StaticShape(dims)


def _filled(value: float, name: str) -> None:
    def filled(shape: Any, dtype: str = "float32") -> Tensor:
        return Tensor(sh.broadcast_to(ew.cast(node_of(value), dtype), as_shape(shape)))
    named(name)(filled)


_filled(0., "zeros")
_filled(1., "ones")


@named("fill")
def fill(dims: Any, value: Any) -> Tensor:
    """A tensor of one value."""
    return Tensor(sh.broadcast_to(node_of(value), as_shape(dims)))


@named("broadcast_to")
def broadcast_to(input: Any, shape: Any) -> Tensor:
    """`input` repeated to a shape."""
    return Tensor(sh.broadcast_to(node_of(input), as_shape(shape)))


@named("transpose")
def transpose(a: Any, perm: Any = None) -> Tensor:
    """Axes in another order, without `perm` in the reverse one."""
    return Tensor(sh.transpose(node_of(a), perm=None if perm is None else tuple(int(p) for p in perm)))


@named("expand_dims")
def expand_dims(input: Any, axis: Any = None, dim: Any = None) -> Tensor:
    """A new axis of one element."""
    return K.expand_dims(K.identity(input), dim if axis is None else axis)


@named("squeeze")
def squeeze(input: Any, axis: Any = None, squeeze_dims: Any = None) -> Tensor:
    """Without the given axes of one element; without an `axis`, without all of them."""
    x, axis = K.identity(input), squeeze_dims if axis is None else axis
    given = [i for i, d in enumerate(x.shape) if d == 1] if axis is None else axis if np.iterable(axis) else [axis]
    for i in sorted((checked_axis(i, x.ndim) for i in given), reverse=True):
        x = K.squeeze(x, i)
    return x


@named("concat")
def concat(values: Any, axis: Any = None, concat_dim: Any = None) -> Tensor:
    """Tensors one after another; before TensorFlow 1 the axis came first, and may here."""
    if isinstance(values, int):
        values, axis = axis, values
    return K.concatenate(list(values), concat_dim if axis is None else axis)


@named("unstack", "unpack")
def unstack(value: Any, num: int | None = None, axis: int = 0) -> list[Tensor]:
    """The slices along an axis of known size, in a list."""
    x = K.identity(value)
    axis = checked_axis(axis, x.ndim)
    return [K.squeeze(part, axis) for part in split(x, num or _known(x, axis, "tf.unstack"), axis)]


@named("split")
def split(value: Any, num_or_size_splits: Any, axis: int = 0) -> list[Tensor]:
    """Parts along an axis: as many of one size, or of the sizes listed, one of which may be -1."""
    if isinstance(value, int) and not isinstance(axis, int):
        value, axis = axis, value                      # before TensorFlow 1: split(axis, number, value)
    x = node_of(value)
    axis = checked_axis(axis, x.ndim)
    if isinstance(num_or_size_splits, (int, np.integer)) and num_or_size_splits < 1:
        raise ValueError(f"tf.split into {num_or_size_splits} parts; expected at least one")
    if isinstance(num_or_size_splits, (int, np.integer)) and not isinstance(x.shape[axis], int):
        parts = int(num_or_size_splits)
        size = floordiv(x.shape[axis], parts)
        apart = sh.reshape(x, shape=(*x.shape[:axis], parts, size, *x.shape[axis + 1:]))   # a call checks it
        return [Tensor(sh.reshape(sh.slice_axis(apart, axis, i, 1), shape=(*x.shape[:axis], size, *x.shape[axis + 1:])))
                for i in range(parts)]
    if isinstance(num_or_size_splits, (int, np.integer)):
        whole, rest = divmod(_known(Tensor(x), axis, "tf.split"), int(num_or_size_splits))
        if rest:
            raise ValueError(f"tf.split: axis {axis} of {Tensor(x)!r} has no {num_or_size_splits} equal parts")
        sizes: list[Any] = [whole] * int(num_or_size_splits)
    else:
        sizes = [as_dim(s) for s in num_or_size_splits]
        given = sum((s for s in sizes if s != -1), 0)
        sizes = [x.shape[axis] - given if s == -1 else s for s in sizes]
    starts = [sum(sizes[:i], 0) for i in range(len(sizes))]
    return [Tensor(sh.slice_axis(x, axis, a, n)) for a, n in zip(starts, sizes)]


def _known(x: Tensor, axis: int, what: str) -> int:
    d = x.shape[axis]
    if d is None:
        raise ValueError(f"{what}: the size of axis {axis} of {x!r} is not known before it runs; expected a known one")
    return d


@named("gather")
def gather(params: Any, indices: Any, validate_indices: Any = None, axis: Any = None, batch_dims: int = 0) -> Tensor:
    """Elements of `params` along `axis` (0), by indices; ValueError for `batch_dims`."""
    if batch_dims:
        raise ValueError(f"tf.gather has no batch_dims here; received {batch_dims}. Use tf.gather_nd or a product with "
                         "tf.one_hot.")
    x, at = node_of(params), node_of(indices)
    return Tensor(sh.take(x, checked_axis(axis or 0, x.ndim), at))


@named("gather_nd")
def gather_nd(params: Any, indices: Any) -> Tensor:
    """Elements of `params` at places, whose coordinates along the first axes are the last axis of `indices` (along all
    axes where its size is open).  A coordinate outside its axis is the nearest one inside."""
    x, at = node_of(params), K.identity(indices)
    many = at.node.shape[-1]
    if not isinstance(many, int):                      # an element each; what is fed must have as many columns
        at, many = at + K.zeros((x.ndim,), at.dtype), x.ndim
    if many > x.ndim:
        raise ValueError(f"tf.gather_nd: {many} coordinates were given for a tensor of {x.ndim} axes")
    row: Any = 0
    for i, d in enumerate(x.shape[:many]):
        size = K.cast(Tensor(sh.dim_value(d)), at.dtype)
        row = row * size + K.minimum(K.maximum(at[..., i], 0), size - 1)
    rows = 1
    for d in x.shape[:many]:
        rows = rows * d
    return K.gather(Tensor(sh.reshape(x, shape=(rows, *x.shape[many:]))), row)


@named("pad")
def pad(tensor: Any, paddings: Sequence[Any], mode: str = "CONSTANT", constant_values: Any = 0) -> Tensor:
    """Elements before and behind each axis: a constant, or what lies there seen in a mirror.

    mode: 'CONSTANT', 'REFLECT' (the border is the mirror) or 'SYMMETRIC' (behind the border).
    """
    x = node_of(tensor)
    pads = [(as_dim(a), as_dim(b)) for a, b in paddings]
    if len(pads) != x.ndim or mode.upper() not in ("CONSTANT", "REFLECT", "SYMMETRIC"):
        raise ValueError(f"tf.pad takes a pair for each of {x.ndim} axes and mode CONSTANT, REFLECT or SYMMETRIC; "
                         f"received {len(pads)} pairs and {mode!r}")
    if mode.upper() == "CONSTANT":
        lead, tail = [a for a, _ in pads], [b for _, b in pads]
        inside = sh.pad(ew.cast(ew.ones_like(x), "bool"), lead, tail)
        return Tensor(ew.select(inside, sh.pad(x, lead, tail), ew.cast(node_of(constant_values), x.dtype)))
    skip = int(mode.upper() == "REFLECT")
    for axis, (before, behind) in enumerate(pads):
        first = K.reverse(Tensor(sh.slice_axis(x, axis, skip, before)), axis).node
        last = K.reverse(Tensor(sh.slice_axis(x, axis, x.shape[axis] - skip - behind, behind)), axis).node
        x = sh.concat(*([first] * bool(before)), x, *([last] * bool(behind)), axis=axis)
    return Tensor(x)


@named("reverse")
def reverse(tensor: Any, axis: Any) -> Tensor:
    """Backwards along axes."""
    return K.reverse(K.identity(tensor), axis)


@named("range")
def arange(start: Any, limit: Any = None, delta: Any = 1, dtype: Any = None) -> Tensor:
    """start, start + delta, … before `limit`."""
    out = K.arange(start, limit, delta)
    return K.cast(out, dtype) if dtype else out


@named("meshgrid")
def meshgrid(*args: Any, indexing: str = "xy") -> list[Tensor]:
    """Vectors, each spread over the grid of all of them; 'xy': the first two axes trade places, as in numpy."""
    nodes = [node_of(a) for a in args]
    places = list(range(len(nodes)))
    if indexing == "xy" and len(nodes) > 1:
        places[:2] = [1, 0]
    sizes: list[Any] = [None] * len(nodes)
    for n, at in zip(nodes, places):
        sizes[at] = n.shape[0]
    return [Tensor(sh.broadcast_to(sh.reshape(n, shape=tuple(n.shape[0] if i == at else 1 for i in range(len(nodes)))),
                                   tuple(sizes))) for n, at in zip(nodes, places)]


@named("one_hot")
def one_hot(indices: Any, depth: Any, on_value: Any = None, off_value: Any = None, axis: Any = None,
            dtype: str = "float32") -> Tensor:
    """1 (`on_value`) where the new last axis equals the index, else 0 (`off_value`); ValueError for another axis."""
    if axis not in (None, -1):
        raise ValueError(f"tf.one_hot has its new axis last here; received axis={axis}. Move it with tf.transpose.")
    hot = K.cast(K.one_hot(indices, depth), dtype)
    off = 0 if off_value is None else off_value
    return hot if (on_value, off_value) == (None, None) else hot * ((1 if on_value is None else on_value) - off) + off


