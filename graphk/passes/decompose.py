"""Decompose: composites become the primitives of their `expand`.

In: any Graph.  Out: the same without composite ops, scan bodies included.  Ensures `no_composites`.
"""
from __future__ import annotations

from graphk.ir.node import Graph, Node, make, origin, rewrite


def decompose(graph: Graph) -> Graph:
    """`graph` in primitives only."""
    def fn(node: Node) -> Node | None:
        if node.op.expand is not None:
            with origin(like=node, rule=""):
                inner = node.op.expand(*node.inputs, **dict(node.attrs))
                return rewrite([inner], fn)[inner]
        if node.op.name == "scan":
            return with_body(node, decompose(node.attr("body")))
        return None
    table = rewrite(graph.roots(), fn)
    return graph.map(lambda n: table[n])


def with_body(node: Node, body: Graph) -> Node:
    """A scan with another body."""
    old = node.attr("body")
    if body == old:
        return node
    attrs = tuple((k, body if k == "body" else v) for k, v in node.attrs)
    with origin(like=node):
        return make(node.op, node.inputs, attrs)


__all__ = ["decompose", "with_body"]
