"""Slices, extremes and windows of axes whose sizes are open until a call: whether the elements that they ask for are
there.

In: the graph of a function, then the sizes of a call.  Out: an error for the first that does not fit.  What always
holds: compiled code reads where it is told to, so what does not fit never gets there.
"""
from __future__ import annotations

from typing import Iterator, Mapping, NamedTuple, Sequence

from graphk.ir.dims import Dim, evaluate, symbols
from graphk.ir.node import Graph, Node, origin_of


class Cut(NamedTuple):
    """`size` elements of an axis of `extent` elements, from `start` on, each `step` behind the one before."""
    start: Dim
    size: Dim
    step: int
    extent: Dim
    axis: int
    node: Node

    def open(self) -> bool:
        """Whether it can fail at a call."""
        whole = self.start == 0 and self.step == 1 and self.size == self.extent
        return not whole and any(symbols(d) for d in (self.start, self.size, self.extent))


def cuts_of(graph: Graph) -> tuple[Cut, ...]:
    """The slices that a call must check."""
    return tuple(cut for node in _nodes(graph) for cut in _cuts(node) if cut.open())


def _nodes(graph: Graph) -> Iterator[Node]:
    for node in graph.nodes():
        yield node
        if node.attr("body") is not None:
            yield from _nodes(node.attr("body"))


def _cuts(node: Node) -> Iterator[Cut]:
    if node.op.name in ("argmax", "argmin"):                     # the first of nothing is no element
        axis = node.attr("axis")
        yield Cut(0, 1, 1, node.inputs[0].shape[axis], axis, node)
    elif node.op.name in ("windows", "fold"):                    # there may be none, but not less
        windows, whole = (node, node.inputs[0]) if node.op.name == "windows" else (node.inputs[0], node)
        for axis, stride in zip(node.attr("axes"), node.attr("strides")):
            yield Cut(0, windows.shape[axis], stride, whole.shape[axis], axis, node)
    elif node.op.name == "slice":
        for axis, (start, size, step) in enumerate(zip(node.attr("starts"), node.attr("sizes"), node.attr("steps"))):
            yield Cut(start, size, step, node.inputs[0].shape[axis], axis, node)


def check_cuts(cuts: Sequence[Cut], sizes: Mapping[str, int], function: str) -> None:
    """IndexError naming the first slice that asks for elements which an axis of these sizes does not have; ValueError
    naming windows that do not fit into theirs."""
    known = set(sizes)
    for cut in cuts:
        if not all(symbols(d) <= known for d in (cut.start, cut.size, cut.extent)):
            continue
        start, size, extent = (evaluate(d, sizes) for d in (cut.start, cut.size, cut.extent))
        last = start + (size - 1) * cut.step
        if size and not (size > 0 and 0 <= start < extent and 0 <= last < extent):
            layer = origin_of(cut.node).layer
            where = f"The function `{function}`" + (f", in the layer `{layer}`," if layer else "")
            if cut.node.op.name in ("windows", "fold"):
                at = cut.node.attr("axes").index(cut.axis)
                places = (cut.node.attr("sizes")[at] - 1) * cut.node.attr("dilations")[at] + 1
                raise ValueError(f"{where} slides windows of {places} places along axis {cut.axis} of a tensor whose "
                                 f"size there is {extent} in this call. Feed more, or pad it.")
            raise IndexError(
                f"{where} takes the element" + (f" {start}" if size == 1 else f"s {start} to {last}")
                + f" of axis {cut.axis} of a tensor whose size there is {extent} in this call. Feed more, or slice "
                "what every call has.")
