"""Scans: loops that run the same steps become one.

In: any Graph.  Out: an equal one in which scans over the same operands, with the same carries, are one scan that stacks
what any of them stacked.  What always holds: a gradient's forward loop, which saves what the way back needs, and the
loop whose result it differentiates are such scans; nothing else changes.
"""
from __future__ import annotations

from typing import Any

from graphk.ir.node import Graph, Node, make, origin, replaced, substitute_nodes
from graphk.ir.ops.control import item, scan_op


def scans(graph: Graph) -> Graph:
    """`graph` with one scan where several run the same steps."""
    groups: dict[Any, list[Node]] = {}
    for node in graph.nodes():
        if node.op is scan_op:
            groups.setdefault(_steps(node), []).append(node)
    table: dict[Node, Node] = {}
    for same in groups.values():
        if len(same) > 1:
            table.update(_united(graph, same))
    return scans(substitute_nodes(graph, table)) if table else graph


def _steps(node: Node) -> Any:
    """What two scans have in common that run the same steps."""
    body: Graph = node.attr("body")
    return (node.inputs, body.inputs, body.outputs[:node.attr("n_carry")],
            *(node.attr(k) for k in ("n_carry", "n_xs", "length", "reverse")))


def _united(graph: Graph, same: list[Node]) -> dict[Node, Node]:
    """For each result of these scans, the one of a scan that has them all."""
    first: Graph = same[0].attr("body")
    outputs = list(dict.fromkeys(o for node in same for o in node.attr("body").outputs[node.attr("n_carry"):]))
    nc = same[0].attr("n_carry")
    body = Graph(first.inputs, (*first.outputs[:nc], *outputs), name=first.name)
    with origin(like=same[0], rule="scans"):
        whole = make(scan_op, same[0].inputs, tuple((k, body if k == "body" else v) for k, v in same[0].attrs))
        place = {o: nc + i for i, o in enumerate(outputs)}
        out = {}
        for n in graph.nodes():
            if n.op.name == "item" and n.inputs[0] in same:
                at = n.attr("index")
                now = item(whole, at if at < nc else place[n.inputs[0].attr("body").outputs[at]])
                out[n] = replaced(n, now, "scans")
        return out


__all__ = ["scans"]
