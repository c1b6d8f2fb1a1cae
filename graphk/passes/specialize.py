"""Specialize: the learning phase becomes a constant.

In: a Graph and the phase (1 train, 0 test).  Out: the graph without `phase`, `phase_select` and `phase_gate` nodes.
Ensures `no_phase`, in the bodies of scans too: one executable per phase; the branch not taken costs nothing, nor do its
gradients, for what a closed gate stops is no gradient, whatever it would be multiplied with.
"""
from __future__ import annotations

from graphk.ir.node import Graph, Node, replace_inputs, replaced, topological
from graphk.ir.opdef import const, const_value
from graphk.ir.ops.elementwise import neg, zeros_like
from graphk.ir.ops.shape import broadcast_to
from graphk.passes.decompose import with_body

# Of no gradient they make none: with any operand, or with the first.
OF_ANY = ("mul", "dot")
OF_FIRST = ("neg", "cast", "sum", "div", "reshape", "transpose", "broadcast", "slice", "embed", "windows", "fold")


def specialize(graph: Graph, phase: int) -> Graph:
    """`graph` for one learning phase."""
    new: dict[Node, Node] = {}
    stopped: set[Node] = set()
    for node in topological(graph.roots()):
        here = replace_inputs(node, tuple(new[i] for i in node.inputs))
        none = [i in stopped for i in node.inputs]
        if _closed(here) or (any(none) and _stops(here, none)):
            stopped.add(node)
            new[node] = replaced(here, zeros_like(here), "closed-gate")
        elif any(none) and here.op.name in ("add", "sub"):
            new[node] = replaced(here, _one_term(here, none), "closed-gate")
        else:
            new[node] = replaced(here, _specialized(here, phase), "phase")
    return graph.map(lambda n: new[n])


def _closed(node: Node) -> bool:
    """Whether a gate lets nothing through."""
    phase = const_value(node.inputs[0]) if node.op.name == "phase_gate" else None
    return phase is not None and bool(phase) != node.attr("train")


def _stops(node: Node, none: list[bool]) -> bool:
    """Whether the result is no gradient where some operands are none."""
    if node.op.name == "select":
        return all(n or const_value(i) == 0 for n, i in zip(none[1:], node.inputs[1:]))
    return node.op.name in OF_ANY or (node.op.name in OF_FIRST and none[0]) or (
        node.op.name in ("add", "sub") and all(none))


def _one_term(node: Node, none: list[bool]) -> Node:
    """A sum or difference whose other term is no gradient."""
    term = node.inputs[0] if none[1] else node.inputs[1]
    return broadcast_to(neg(term) if node.op.name == "sub" and none[0] else term, shape=node.shape)


def _specialized(node: Node, phase: int) -> Node:
    if node.op.name == "phase":
        return const(phase, "int32")
    if node.op.name in ("phase_select", "phase_gate"):
        chosen = const_value(node.inputs[0])
        if chosen is not None:
            branch = 1 if chosen or node.op.name == "phase_gate" else 2
            return broadcast_to(node.inputs[branch], shape=node.shape)
    if node.op.name == "scan":
        return with_body(node, specialize(node.attr("body"), phase))
    return node
