"""`x[...]` of tensors: positions that are known when the graph is built, and scalars that are computed in it.

In: a tensor and what stands in the brackets, or starts and sizes.  Out: its node.  What always holds: how many elements
come out is known before a call, so only where they begin may be computed; compiled code clamps such a place into the
tensor, as every lookup.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from graphk.frontend.sizes import is_part, is_positive, is_size
from graphk.frontend.tensor import Tensor, as_dim
from graphk.ir.dims import Dim, DimExpr, dim_max, floordiv
from graphk.ir.node import Node
from graphk.ir.opdef import as_node
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops import shape as sh


# ------------------------------------------------------------------ where things begin
def computed(x: Any) -> bool:
    """Whether `x` is an integer scalar of the graph that is no size."""
    return isinstance(x, Tensor) and not x.ndim and x.dtype.startswith(("int", "uint")) and not is_size(x.node)


def taken(x: Node, start: Node, size: Dim, axis: int) -> Node:
    """`size` elements of `x` from the computed `start` on along `axis`; a negative one counts from the end."""
    start = start if start.dtype == "int32" else ew.cast(start, dtype="int64")        # sizes may not be of its type
    places = ew.add(sh.reshape(_from_begin(start, x.shape[axis]), shape=(1,)), sh.iota(size=size, dtype=start.dtype))
    return sh.take(x, axis, places)


def _from_begin(at: Node, d: Dim) -> Node:
    return ew.select(ew.lt(at, as_node(0, at.dtype)), ew.add(at, sh.dim_value(d, at.dtype)), at)


def _gap(start: Any, stop: Any) -> int | None:
    """How far `stop` is behind `start`, where one was computed from the other, or both from a third."""
    (a, first), (b, last) = _base(start), _base(stop)
    return last - first if a is b else None


def _base(x: Any) -> tuple[Node | None, int]:
    """What integers were added to, and their sum."""
    if isinstance(x, (int, np.integer)):
        return None, int(x)
    node, far = x.node, 0
    while node.op.name in ("add", "sub"):
        left, right = node.inputs
        if right.op.name == "const" and right.t.size == 1:
            node, far = left, far + (1 if node.op.name == "add" else -1) * int(right.attr("value").array.reshape(()))
        elif node.op.name == "add" and left.op.name == "const" and left.t.size == 1:
            node, far = right, far + int(left.attr("value").array.reshape(()))
        else:
            break
    return node, far


# ------------------------------------------------------------------ brackets
def _clamp(at: Any, d: Dim, default: Dim, up: bool) -> Dim:
    """A slice bound as a position in [0, d] (counting down: [-1, d-1])."""
    if at is None:
        return default
    behind = isinstance(at, Tensor) and at.node.op.name == "neg"         # `x[:, :-n]`: counted from the end
    at = as_dim(at)
    if behind and not isinstance(at, int) and is_positive(-at):
        return d + at
    if isinstance(at, int) and isinstance(d, int):
        at = at + d if at < 0 else at
        return max(0, min(at, d)) if up else max(-1, min(at, d - 1))
    if isinstance(at, int) and at < 0:                           # an open axis is not expected to be empty
        return d - 1 if at == -1 else dim_max(d + at, 0 if up else -1)
    if at == 0 or up and is_part(at, d):
        return at
    limit = d if up else d - 1
    return at + limit - dim_max(at, limit)                       # min(at, limit)


def _slice_axis(s: slice, d: Dim) -> tuple[Dim, Dim, int]:
    step = 1 if s.step is None else int(s.step)
    if step == 0:
        raise ValueError("slice step cannot be zero")
    up = step > 0
    first = 0 if s.start is None else s.start
    fixed = isinstance(first, int) and isinstance(s.stop, int)
    if up and fixed and not isinstance(d, int) and first >= 0 and s.stop == first + 1:
        return first, 1, step                                    # `x[:, :1]`: an open axis is not expected to be empty
    start = _clamp(s.start, d, 0 if up else d - 1, up)
    stop = _clamp(s.stop, d, d if up else -1, up)
    span = stop - start if up else start - stop
    size = floordiv(span + (abs(step) - 1), abs(step))
    return start, max(size, 0) if isinstance(size, int) else size, step


def element(x: Tensor, index: Any) -> Node:
    """The node of `x[index]`: ints, slices, None and `...`, of which starts may be scalars of the graph."""
    items = list(index) if isinstance(index, tuple) else [index]
    used = sum(1 for i in items if i is not None and i is not Ellipsis)
    ndim = x.ndim
    if used > ndim:
        raise IndexError(f"too many indices for the tensor `{x.name}` of shape {x.shape}: received {used}, "
                         f"expected at most {ndim}")
    at = next((i for i, v in enumerate(items) if v is Ellipsis), len(items))
    items[at:at + 1] = [slice(None)] * (ndim - used)
    starts: list[Dim] = []
    sizes: list[Dim] = []
    steps: list[int] = []
    final: list[Dim] = []
    start: Dim
    size: Dim
    later: list[tuple[int, Node, Dim | None]] = []               # axes that are looked up: begin, and how many
    for item in items:
        if item is None:
            final.append(1)
            continue
        d = x.node.shape[len(starts)]
        if computed(item) or isinstance(item, slice) and (computed(item.start) or computed(item.stop)):
            begin, many = _lookup(x, item, len(starts))
            later.append((len(starts), begin, many))
            start, size, step = 0, d, 1
            final += [] if many is None else [many]
        elif isinstance(item, slice):
            start, size, step = _slice_axis(item, d)
            final.append(size)
        else:
            start, size, step = _int_index(x, item, d, len(starts)), 1, 1
        starts.append(start)
        sizes.append(size)
        steps.append(step)
    node = x.node
    if tuple(sizes) != node.shape or any(starts) or any(s != 1 for s in steps):
        node = sh.slice_op(node, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps))
    for axis, begin, many in later:
        node = taken(node, begin, 1 if many is None else many, axis)
    return node if node.shape == tuple(final) else sh.reshape(node, shape=tuple(final))


def _lookup(x: Tensor, item: Any, axis: int) -> tuple[Node, Dim | None]:
    """Where the elements of an axis begin, and how many they are; None: one, and the axis goes."""
    if not isinstance(item, slice):
        return item.node, None
    many = _gap(item.start, item.stop) if None not in (item.start, item.stop) else None
    if many is None or many < 0 or item.step not in (None, 1):
        try:
            as_dim(item.stop if computed(item.stop) else item.start)
        except TypeError as e:
            raise TypeError(f"cannot tell how many elements {item.start!r}:{item.stop!r}:{item.step!r} takes of axis "
                            f"{axis} of the tensor `{x.name}` of shape {x.shape}: {e}. A computed start can have a "
                            "stop that is an integer behind it, as in x[i:i + 2]") from None
    assert many is not None
    return item.start.node, many


def _int_index(x: Tensor, item: Any, d: Dim, axis: int) -> Dim:
    if not isinstance(item, (int, np.integer, DimExpr, Tensor)) or isinstance(item, (bool, np.bool_)):
        raise TypeError(f"cannot index the tensor `{x.name}` with {item!r}: expected ints, slices, None or ...; "
                        f"use K.gather for index lists")
    at = as_dim(item)
    if isinstance(at, int) and isinstance(d, int) and not -d <= at < d:
        raise IndexError(f"index {at} is out of range for axis {axis} of the tensor `{x.name}` of shape {x.shape}")
    return d + at if isinstance(at, int) and at < 0 else at
