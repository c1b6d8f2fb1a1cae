"""Shapes of tensors: joining, reshaping, repeating, padding, slicing.

In: tensors and shapes (ints, None where a size is unknown, or values of `K.shape`).  Out: tensors.
What always holds: symbolic sizes stay exact, so `flatten` of (n, 4, 5) is (n*20,).
"""
from __future__ import annotations

import builtins
from typing import Any, Sequence

import numpy as np

from graphk.frontend.backend.common import computed_dtype, floatx, normalize_data_format, whole
from graphk.frontend.backend.creation import is_sparse, mark_sparse
from graphk.frontend.indexing import taken
from graphk.frontend.sizes import is_size
from graphk.frontend.tensor import ShapeTensor, Tensor, as_dim, as_shape, node_of
from graphk.ir.dims import Dim, DimExpr, floordiv, product
from graphk.ir.node import Node
from graphk.ir.opdef import const
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops import nn
from graphk.ir.ops import shape as sh


def checked_axis(axis: int, ndim: int) -> int:
    """`axis` counted from the front; ValueError unless a tensor of `ndim` axes has it."""
    if not isinstance(axis, (int, np.integer)):
        raise TypeError(f"an axis is an integer from {-ndim} to {ndim - 1}; received {axis!r:.80}")
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis {axis} is out of range for a tensor of {ndim} axes; expected {-ndim} to {ndim - 1}")
    return axis % ndim


def _joined(x: Any) -> Node:
    """A tensor; of a list of tensors and numbers the vector of them, as TensorFlow takes it."""
    if isinstance(x, (list, tuple)) and any(isinstance(i, Tensor) for i in x):
        return node_of(stack([Tensor(node_of(i)) for i in x]))
    return node_of(x)


def concatenate(tensors: Sequence[Tensor], axis: int = -1) -> Tensor:
    """Tensors one after another along `axis`; sparse if all of them are.

    >>> K.concatenate([K.placeholder((None, 3)), K.placeholder((None, 2))], axis=-1).shape
    (None, 5)
    """
    if isinstance(tensors, Tensor):
        raise TypeError(f"K.concatenate takes a list of tensors; received the one tensor {tensors!r}. Write "
                        "K.concatenate([a, b]).")
    if not tensors:
        raise ValueError("K.concatenate was given no tensors; it needs at least one.")
    if builtins.all(isinstance(t, ShapeTensor) for t in tensors):
        return ShapeTensor([d for t in tensors if isinstance(t, ShapeTensor) for d in t.dims])
    out = Tensor(sh.concat(*map(_joined, tensors), axis=axis))
    return mark_sparse(out) if builtins.all(is_sparse(t) for t in tensors) else out


def reshape(x: Tensor, shape: Any) -> Tensor:
    """The same elements under another shape; one entry may be -1.

    >>> K.reshape(K.placeholder((None, 4, 5)), (-1, 20)).shape
    (None, 20)
    """
    if not isinstance(shape, (Tensor, np.ndarray)):
        shape = [-1 if d is None else d for d in shape] if hasattr(shape, "__iter__") else shape
    return Tensor(sh.reshape(node_of(x), shape=as_shape(shape)))


def permute_dimensions(x: Tensor, pattern: Sequence[int]) -> Tensor:
    """Axes in the order `pattern`: axis i of the result is axis pattern[i] of `x`.

    >>> K.permute_dimensions(K.placeholder((2, 3, 4)), (0, 2, 1)).shape
    (2, 4, 3)
    """
    return Tensor(sh.transpose(node_of(x), perm=tuple(pattern)))


def repeat_elements(x: Tensor, rep: int, axis: int) -> Tensor:
    """Each element `rep` times in a row along `axis`, as numpy.repeat: (a, b) becomes (a, b * rep) along axis 1.

    >>> K.eval(K.repeat_elements(K.constant([[1., 2.]]), 2, axis=1)).tolist()
    [[1.0, 1.0, 2.0, 2.0]]
    """
    node = node_of(x)
    axis = checked_axis(axis, node.ndim)
    s = node.shape
    wide = sh.broadcast_to(sh.reshape(node, shape=s[:axis + 1] + (1,) + s[axis + 1:]),
                           s[:axis + 1] + (as_dim(rep),) + s[axis + 1:])
    return Tensor(sh.reshape(wide, shape=s[:axis] + (s[axis] * rep,) + s[axis + 1:]))


def repeat(x: Tensor, n: int) -> Tensor:
    """(samples, dim) repeated to (samples, n, dim).

    >>> K.repeat(K.placeholder((None, 3)), 5).shape
    (None, 5, 3)
    """
    node = node_of(x)
    if node.ndim != 2:
        raise ValueError(
            f"K.repeat takes a tensor of 2 axes (samples, dim), received one of shape {Tensor(node).shape}"
        )
    s = node.shape
    return Tensor(sh.broadcast_to(sh.reshape(node, shape=(s[0], 1, s[1])), (s[0], as_dim(n), s[1])))


def arange(start: Any, stop: Any = None, step: int = 1, dtype: str = "int32") -> Tensor:
    """Evenly spaced numbers, an axis of them: start, start + step, … before `stop`; one argument alone is `stop`.

    The integers have `dtype`; floats among the arguments give `floatx`, unless another dtype than the default is asked.

    >>> K.eval(K.arange(1, 10, 3)).tolist(), K.dtype(K.arange(3))
    ([1, 4, 7], 'int32')
    """
    dtype = computed_dtype(dtype, "K.arange")
    if stop is None:
        start, stop = 0, start
    if builtins.any(isinstance(v, (float, np.floating)) for v in (start, stop, step)):
        return Tensor(const(np.arange(start, stop, step), floatx() if dtype == "int32" else dtype))
    first, last, step = as_dim(start), as_dim(stop), int(step)
    if step == 0:
        raise ValueError("K.arange was given step=0; it must be positive, or negative to count down.")
    span = last - first if step > 0 else first - last
    count = floordiv(span + (builtins.abs(step) - 1), builtins.abs(step))
    count = builtins.max(count, 0) if isinstance(count, int) else count
    node = sh.iota(count, dtype)
    node = node if step == 1 else ew.mul(node, step)
    return Tensor(node if first == 0 else ew.add(node, sh.dim_value(first, dtype)))


def tile(x: Tensor, n: Any) -> Tensor:
    """`x` repeated n[i] times along axis i: (a, b) becomes (a * n[0], b * n[1]).  An int repeats the last axis.

    >>> K.eval(K.tile(K.constant([[1., 2.]]), (2, 2))).tolist()
    [[1.0, 2.0, 1.0, 2.0], [1.0, 2.0, 1.0, 2.0]]
    """
    node = node_of(x)
    reps = (as_dim(n),) if isinstance(n, (int, np.integer)) else as_shape(n)
    if len(reps) < node.ndim:
        reps = (1,) * (node.ndim - len(reps)) + reps
    if len(reps) > node.ndim:
        node = sh.reshape(node, shape=(1,) * (len(reps) - node.ndim) + node.shape)
    s = node.shape
    thin = [d for size in s for d in (1, size)]
    wide = [d for size, r in zip(s, reps) for d in (r, size)]
    out = sh.broadcast_to(sh.reshape(node, shape=tuple(thin)), tuple(wide))
    return Tensor(sh.reshape(out, shape=tuple(size * r for size, r in zip(s, reps))))


def flatten(x: Tensor) -> Tensor:
    """All elements in one axis.

    >>> K.flatten(K.placeholder((2, 3))).shape
    (6,)
    """
    node = node_of(x)
    return Tensor(sh.reshape(node, shape=(node.t.size,)))


def batch_flatten(x: Tensor) -> Tensor:
    """All axes but the first in one: (samples, -1).

    >>> K.batch_flatten(K.placeholder((None, 3, 4))).shape
    (None, 12)
    """
    node = node_of(x)
    return Tensor(sh.reshape(node, shape=(node.shape[0], product(node.shape[1:]))))


def expand_dims(x: Tensor, axis: int = -1) -> Tensor:
    """A new axis of extent 1 at `axis`.

    >>> K.expand_dims(K.placeholder((None, 3)), 1).shape
    (None, 1, 3)
    """
    node = node_of(x)
    axis = checked_axis(axis, node.ndim + 1)
    return Tensor(sh.reshape(node, shape=node.shape[:axis] + (1,) + node.shape[axis:]))


def squeeze(x: Tensor, axis: int) -> Tensor:
    """`x` without the axis `axis`, whose extent is 1.

    >>> K.squeeze(K.placeholder((None, 1, 3)), 1).shape
    (None, 3)
    """
    node = node_of(x)
    axis = checked_axis(axis, node.ndim)
    if isinstance(node.shape[axis], int) and node.shape[axis] != 1:
        raise ValueError(f"cannot squeeze axis {axis} of a tensor of shape {Tensor(node).shape}: its extent is not 1")
    return Tensor(sh.reshape(node, shape=node.shape[:axis] + node.shape[axis + 1:]))


def _pad(x: Tensor, pads: Sequence[tuple[Dim, Dim]]) -> Tensor:
    if len(pads) != node_of(x).ndim:
        raise ValueError(f"Padding was given for a tensor of {len(pads)} axes, samples and channels among them; "
                         f"received one of shape {Tensor(node_of(x)).shape}.")
    return Tensor(sh.pad(node_of(x), [a for a, _ in pads], [b for _, b in pads]))


def temporal_padding(x: Tensor, padding: tuple[int, int] = (1, 1)) -> Tensor:
    """padding[0] zeros before and padding[1] after the middle axis of (n, length, channels).

    >>> K.temporal_padding(K.placeholder((None, 5, 3)), (2, 1)).shape
    (None, 8, 3)
    """
    return _pad(x, [(0, 0), *_pairs([padding], 1), (0, 0)])


def _count(n: Any) -> Dim:
    return as_dim(n) if isinstance(n, (Tensor, DimExpr)) else int(n)


def _pairs(padding: Any, rank: int) -> list[tuple[Dim, Dim]]:
    """One (before, behind) per spatial axis."""
    try:
        pairs = [(_count(a), _count(b)) for a, b in padding]
    except (TypeError, ValueError):
        pairs = []
    if len(pairs) != rank:
        raise ValueError(f"`padding` over {rank} spatial axes must be {rank} pairs of integers (before, behind); "
                         f"received {padding}.")
    return pairs


def spatial_2d_padding(x: Tensor, padding: Any = ((1, 1), (1, 1)), data_format: str | None = None) -> Tensor:
    """Zeros around images: ((top, bottom), (left, right)) on the two spatial axes of a tensor of 4 axes.

    >>> K.spatial_2d_padding(K.placeholder((None, 5, 6, 3)), ((1, 2), (0, 1))).shape
    (None, 8, 7, 3)
    """
    return _pad_space(x, _pairs(padding, 2), data_format)


def spatial_3d_padding(x: Tensor, padding: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None) -> Tensor:
    """Zeros around volumes: a pair (in front, behind) for each of the three spatial axes of a tensor of 5 axes.

    >>> K.spatial_3d_padding(K.placeholder((None, 2, 2, 2, 3))).shape
    (None, 4, 4, 4, 3)
    """
    return _pad_space(x, _pairs(padding, 3), data_format)


def _pad_space(x: Tensor, space: list[tuple[Dim, Dim]], data_format: str | None) -> Tensor:
    first = normalize_data_format(data_format) == "channels_first"
    return _pad(x, [(0, 0), (0, 0), *space] if first else [(0, 0), *space, (0, 0)])


def stack(x: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis: two of (a, b) become (2, a, b) for axis 0.

    >>> K.stack([K.placeholder((None, 3)), K.placeholder((None, 3))], axis=1).shape
    (None, 2, 3)
    """
    if any_tensor(x) and builtins.all(_scalar_size(t) is not None for t in x):
        return ShapeTensor([_scalar_size(t) for t in x])
    return concatenate([expand_dims(t, axis) for t in x], axis)


def any_tensor(xs: Sequence[Any]) -> bool:
    """Whether a symbolic tensor is among `xs`."""
    return builtins.any(isinstance(x, Tensor) for x in xs)


def _scalar_size(t: Any) -> Any:
    """The dim behind a scalar made from `K.shape`, or an int; else None."""
    if isinstance(t, Tensor) and (t.ndim or not t.dtype.startswith("int")):
        return None
    try:
        return as_dim(t)
    except TypeError:
        return None


def one_hot(indices: Tensor, num_classes: int) -> Tensor:
    """1 where the new last axis equals the index, else 0: (a, b) of integers becomes (a, b, num_classes) of `floatx`.

    >>> K.eval(K.one_hot(K.constant([0, 2], dtype='int32'), 3)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    node = whole("K.one_hot", indices)
    return Tensor(nn.one_hot(node if node.dtype in ("int32", "int64") else ew.cast(node, "int32"),
                             as_dim(num_classes), floatx()))


def reverse(x: Tensor, axes: Any) -> Tensor:
    """`x` backwards along `axes` (an int, or several).

    >>> K.eval(K.reverse(K.constant([[1., 2.], [3., 4.]]), 1)).tolist()
    [[2.0, 1.0], [4.0, 3.0]]
    """
    node = node_of(x)
    hit = {checked_axis(int(a), node.ndim) for a in ([axes] if isinstance(axes, (int, np.integer)) else axes)}
    return Tensor(sh.slice_op(node, starts=tuple(d - 1 if i in hit else 0 for i, d in enumerate(node.shape)),
                              sizes=node.shape, steps=tuple(-1 if i in hit else 1 for i in range(node.ndim))))


def _each(start: Any) -> list[Any]:
    """The starts of all axes, one by one."""
    return [start[i] for i in range(len(start) if not isinstance(start, Tensor) else start.node.shape[0])]


def slice(x: Tensor, start: Any, size: Any) -> Tensor:
    """`size` elements from `start` on along each axis; a size of -1 takes the rest.

    A start may be computed (a scalar of integers), such as a step's number in `K.rnn`: a negative one counts from the
    end, and places outside of the axis give its first or last element.  TypeError for a size that is computed, or that
    is the rest behind such a start.

    >>> K.slice(K.placeholder((4, 5)), (1, 2), (2, -1)).shape
    (2, 3)
    """
    node = node_of(x)
    starts = _each(start)
    moving = {i: a.node for i, a in enumerate(starts) if isinstance(a, Tensor) and not is_size(a.node)}
    first, many = as_shape([0 if i in moving else a for i, a in enumerate(starts)]), as_shape(size)
    if len(first) != node.ndim or len(many) != node.ndim:
        raise ValueError(f"K.slice of a tensor of shape {Tensor(node).shape} takes {node.ndim} starts and sizes, "
                         f"received {len(first)} and {len(many)}")
    for i, begin in moving.items():
        if many[i] == -1:
            raise TypeError(f"K.slice: how many elements lie behind a start that is computed, that of axis {i}, is not "
                            "known before a call; give their number instead of -1")
        node = taken(node, begin, many[i], i)
    many = tuple(d - a if n == -1 else n for d, a, n in zip(node.shape, first, many))
    for i, (d, a, n) in enumerate(zip(node.shape, first, many)):
        if isinstance(d, int) and isinstance(a, int) and isinstance(n, int) and not 0 <= a <= a + n <= d:
            raise ValueError(f"K.slice: elements {a} to {a + n} of axis {i} do not exist; its extent is {d}")
    return Tensor(sh.slice_op(node, starts=first, sizes=many, steps=(1,) * node.ndim))


def bias_add(x: Tensor, bias: Tensor, data_format: str | None = None) -> Tensor:
    """`x` plus a bias along its channel axis, or a bias of the shape of one sample; the shape of `x` stays.

    >>> K.eval(K.bias_add(K.zeros((1, 2, 2)), K.constant([1., 2.]))).tolist()
    [[[1.0, 2.0], [1.0, 2.0]]]
    """
    data_format = normalize_data_format(data_format)
    nodes: tuple[Node, Node] = (node_of(x), node_of(bias))
    n, b = nodes
    if b.ndim not in (1, n.ndim - 1):
        raise ValueError("Unexpected bias dimensions %d, expect to be 1 or %d dimensions" % (b.ndim, n.ndim - 1))
    if n.ndim > 2 and data_format == "channels_first":
        # Keras reads a bias (*space, channels) anew as (channels, *space) where it lies; saved weights rely on it
        b = sh.reshape(b, shape=(1, b.shape[0]) + (1,) * (n.ndim - 2)) if b.ndim == 1 else \
            sh.reshape(b, shape=(1, b.shape[-1]) + b.shape[:-1])
    elif b.ndim > 1:
        b = sh.reshape(b, shape=(1,) + b.shape)
    return Tensor(ew.add(n, b))


__all__ = ["concatenate", "reshape", "permute_dimensions", "repeat_elements", "repeat", "arange", "tile", "flatten",
           "batch_flatten", "expand_dims", "squeeze", "temporal_padding", "spatial_2d_padding", "spatial_3d_padding",
           "stack", "one_hot", "reverse", "slice", "bias_add"]
