"""Row and class numbers that users feed: which inputs hold them, and whether they are in range.

In: the graph of a function, then arrays.  Out: bounds of those inputs that go, unchanged but for casts and reshapes,
into a lookup (`K.gather`, Embedding) or into a sparse cross-entropy; an error for the first number out of range.
What always holds: compiled code would clamp such a number, so it never gets there.
"""
from __future__ import annotations

import weakref
from typing import NamedTuple, Sequence

import numpy as np

from graphk.ir.node import Graph, Node, origin_of

_KEEPS_VALUES = ("cast", "reshape", "transpose", "broadcast")
_class_counts: "weakref.WeakKeyDictionary[Node, int]" = weakref.WeakKeyDictionary()


class Bound(NamedTuple):
    """The input number `at`, called `name`, holds numbers below `limit`, read by `layer` (as labels or as indices).

    Numbers of type `dtype` that are not negative are ordered as their bits are, read as the unsigned type `bits`;
    negative ones and NaN have larger bits.  So where the largest are less than `top`, the limit's, all are in range.
    """
    at: int
    name: str
    limit: int
    layer: str
    labels: bool
    dtype: np.dtype
    bits: np.dtype
    top: int


def _bound(at: int, node: Node, limit: int, layer: str, labels: bool) -> Bound:
    dtype = np.dtype(node.dtype)
    bits = np.dtype(f"u{dtype.itemsize}")
    top = int(np.array(limit, dtype).view(bits))
    return Bound(at, str(node.attr("name") or ""), limit, layer, labels, dtype, bits, top)


def note_classes(node: Node, count: int) -> None:
    """Remember that `node` holds class numbers below `count`."""
    _class_counts[node] = count


def bounds_of(graph: Graph) -> tuple[Bound, ...]:
    """The bounds of the inputs of `graph`, each of them once."""
    places = {node: i for i, node in enumerate(graph.inputs)}
    found: dict[tuple[int, int], Bound] = {}
    for node in graph.nodes():
        if node.op.name == "gather":
            source, limit, labels = node.inputs[1], node.inputs[0].shape[0], False
        elif node in _class_counts:
            source, limit, labels = node, _class_counts[node], True
        else:
            continue
        while source.op.name in _KEEPS_VALUES and source.dtype != "bool":
            source = source.inputs[0]
        if source in places and isinstance(limit, int):
            at = places[source]
            found.setdefault((at, limit), _bound(at, source, limit, origin_of(node).layer, labels))
    return tuple(found.values())


def check_bounds(bounds: Sequence[Bound], arrays: Sequence[np.ndarray]) -> None:
    """ValueError for the first number that is out of range."""
    for b in bounds:
        a = arrays[b.at]
        if type(a) is not np.ndarray or a.size == 0:
            continue
        if a.dtype is b.dtype and np.maximum.reduce(a.view(b.bits), None) < b.top:
            continue
        good = (a > -1) & (a < b.limit)                  # fractions are cut off, so -0.5 is 0
        if not good.all():
            _refuse(b, a, ~good)


def _refuse(b: Bound, a: np.ndarray, bad: np.ndarray) -> None:
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    value, where = a[at].item(), ",".join(map(str, at))
    finite = bool(np.isfinite(value))
    value = int(value) if finite and value == int(value) else value
    if b.labels:
        raise ValueError(
            f"Received a label value of {value} which is outside the valid range of [0, {b.limit}): "
            f"`{b.name}`[{where}] = {value}, and the output of `sparse_categorical_crossentropy` has "
            f"{b.limit} classes. " + (f"Give the output at least {int(value) + 1} units, or number the classes from 0."
                                      if finite and value >= b.limit else "Number the classes from 0."))
    layer = f'Layer "{b.layer}"' if b.layer else "K.gather"
    raise ValueError(
        f"{layer}: indices[{where}] = {value} is not in [0, {b.limit}), in the array for the input `{b.name}` of shape "
        f"{a.shape}. " + (f"Set input_dim to at least {int(value) + 1}." if b.layer and finite and value >= b.limit
                          else f"The table has {b.limit} rows, numbered from 0."))
