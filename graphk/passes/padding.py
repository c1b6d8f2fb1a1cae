"""Padding: zeros around an image that only convolutions read are not written, where a library convolves.

In: a Graph for a device whose library computes convolutions.  Out: the same, with the zeros an attribute of the windows
that see them.  What always holds: zeros that anything else reads, or that lie along an axis on which no window slides,
stay an array of their own; on a device without such a library the pass does not run.
"""
from __future__ import annotations

from graphk.ir.dims import Dim
from graphk.ir.node import Graph, Node, origin, replace_inputs, replaced, users
from graphk.ir.ops.contract import dot
from graphk.ir.ops.shape import embed
from graphk.ir.ops.window import windows
from graphk.passes.decompose import with_body


def padding(graph: Graph) -> Graph:
    """`graph` with convolutions of padded images as convolutions that pad."""
    uses, roots = users(graph.nodes()), set(graph.roots())

    def convolved(view: Node, axes: set[int]) -> bool:
        """Whether windows slide along axes, and are an operand of convolutions alone."""
        return view.op is windows and view not in roots and axes <= {*view.attr("axes")} and all(
            u.op is dot and u.attr("batch") == ((), ()) for u in uses[view])

    around = {n: _around(n) for n in graph.nodes() if n.op is embed and n not in roots and n.t.is_float and all(
        s == 1 for s in n.attr("steps"))}
    around = {n: pairs for n, pairs in around.items() if all(convolved(view, {*pairs}) for view in uses[n])}
    new: dict[Node, Node] = {}
    for node in graph.nodes():
        if node.op is windows and node.inputs[0] in around:
            zeros = around[node.inputs[0]]
            with origin(like=node, rule="padding"):
                seen = windows(new[node.inputs[0].inputs[0]], **dict(node.attrs),
                               padding=tuple(zeros.get(a, (0, 0)) for a in node.attr("axes")))
            new[node] = replaced(node, seen, "padding")
        else:
            new[node] = replace_inputs(node, tuple(new[i] for i in node.inputs))
            if node.op.name == "scan":
                new[node] = with_body(new[node], padding(node.attr("body")))
    return graph.map(lambda n: new[n])


def _around(node: Node) -> dict[int, tuple[Dim, Dim]]:
    """For each padded axis the zeros before and after it."""
    x = node.inputs[0]
    return {a: (start, whole - start - own) for a, (start, whole, own) in enumerate(zip(
        node.attr("starts"), node.shape, x.shape)) if (start, whole) != (0, own)}


__all__ = ["padding"]
