"""Specialize: the learning phase becomes a constant.

In: a Graph and the phase (1 train, 0 test).  Out: the graph without `phase` and `phase_select` nodes.
Ensures `no_phase`, in the bodies of scans too: one executable per phase, and the branch not taken costs nothing.
"""
from __future__ import annotations

from graphk.ir.node import Graph, Node, rewrite
from graphk.ir.opdef import const, const_value
from graphk.ir.ops.shape import broadcast_to
from graphk.passes.decompose import with_body


def specialize(graph: Graph, phase: int) -> Graph:
    """`graph` for one learning phase."""
    def fn(node: Node) -> Node | None:
        if node.op.name == "phase":
            return const(phase, "int32")
        if node.op.name == "phase_select":
            chosen = const_value(node.inputs[0])
            if chosen is not None:
                return broadcast_to(node.inputs[1 if chosen else 2], shape=node.shape)
        if node.op.name == "scan":
            return with_body(node, specialize(node.attr("body"), phase))
        return None
    table = rewrite(graph.roots(), fn)
    return graph.map(lambda n: table[n])
