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

_KEEPS_VALUES = ("cast", "reshape", "transpose", "broadcast_to")
_class_counts: "weakref.WeakKeyDictionary[Node, int]" = weakref.WeakKeyDictionary()


class Bound(NamedTuple):
    """The input number `at`, called `name`, holds numbers below `limit`, read by `layer` (as labels or as indices)."""
    at: int
    name: str
    limit: int
    layer: str
    labels: bool


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
            bound = Bound(places[source], str(source.attr("name") or ""), limit, origin_of(node).layer, labels)
            found.setdefault((bound.at, limit), bound)
    return tuple(found.values())


def check_bounds(bounds: Sequence[Bound], arrays: Sequence[np.ndarray]) -> None:
    """ValueError for the first number that is out of range."""
    for b in bounds:
        a = arrays[b.at]
        if not isinstance(a, np.ndarray) or not a.size:
            continue
        if a.dtype == np.int32:                          # as unsigned numbers, negative ones are large
            if np.maximum.reduce(a.view(np.uint32), axis=None) < b.limit:
                continue
        elif np.minimum.reduce(a, axis=None) > -1 and np.maximum.reduce(a, axis=None) < b.limit:   # not so for NaN
            continue
        _refuse(b, a)


def _refuse(b: Bound, a: np.ndarray) -> None:
    at = tuple(int(i) for i in np.argwhere(~((a > -1) & (a < b.limit)))[0])
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
