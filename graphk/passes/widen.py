"""Widen: values of narrow types are computed in wide ones.

In: a Graph of primitives.  Out: the same, in which float16 is computed as float32, and 8- and 16-bit integers as
int32: narrow are only inputs, variables, what is written back to them, outputs, and the operands and results of casts.
Ensures `no_narrow`, in the bodies of scans too.  What always holds: integers wrap around as their own type does;
a float16 is rounded where the user casts, where it is written to a variable and where it is returned, not in between.
"""
from __future__ import annotations

from typing import Sequence

from graphk.ir.node import Graph, Node, make, origin, replaced, substitute_nodes
from graphk.ir.opdef import const
from graphk.ir.ops.elementwise import cast
from graphk.ir.ops.leaves import fresh_input
from graphk.ir.types import FLOATS, NARROW, TensorType


def widen(graph: Graph) -> Graph:
    """`graph` with narrow types at its edges only."""
    if not _has_narrow(graph):
        return graph
    table = _table(graph)
    return graph.map(lambda n: _back(table[n], n))


def _has_narrow(graph: Graph) -> bool:
    return any(_has_narrow(n.attr("body")) if n.op.name == "scan" else
               isinstance(n.type, TensorType) and n.dtype in NARROW for n in graph.nodes())


def _table(graph: Graph) -> dict[Node, Node]:
    """Each node's wide form."""
    new: dict[Node, Node] = {}
    for node in graph.nodes():
        with origin(like=node):
            new[node] = replaced(node, _wide(node, tuple(new[i] for i in node.inputs)), "widen")
    return new


def _wide(node: Node, inputs: Sequence[Node]) -> Node:
    if node.op.name == "scan":
        attrs = tuple((k, _body(v) if k == "body" else v) for k, v in node.attrs)
        return make(node.op, tuple(inputs), attrs)
    if not isinstance(node.type, TensorType):                # a library's call, of float32
        return make(node.op, tuple(inputs), node.attrs)
    to = NARROW.get(node.dtype)
    if node.op.name == "cast":
        return _cast(_cast(inputs[0], node.dtype), to or node.dtype)
    if to is None:
        return node if not inputs else make(node.op, tuple(inputs), node.attrs)
    if node.op.name == "const":
        return const(node.attr("value").array, to)
    if node.op.name in ("input", "variable"):
        return cast(node, to)
    attrs = tuple((k, to if k == "dtype" else v) for k, v in node.attrs)
    out = make(node.op, tuple(inputs), attrs)
    return out if node.dtype in FLOATS else _cast(_cast(out, node.dtype), to)


def _cast(x: Node, dtype: str) -> Node:
    return x if x.dtype == dtype else cast(x, dtype)


def _back(x: Node, like: Node) -> Node:
    """A wide value in its own type again: what it was cast from, if it is just that."""
    if x.dtype == like.dtype:
        return x
    if x.op.name == "cast" and x.inputs[0].dtype == like.dtype:
        return x.inputs[0]
    with origin(like=like):
        return cast(x, like.dtype)


def _body(body: Graph) -> Graph:
    """A scan's body on wide inputs, with wide outputs."""
    leaves = {n: fresh_input(n.t.with_dtype(NARROW[n.dtype])) for n in body.inputs if n.dtype in NARROW}
    inner = Graph(tuple(leaves.get(n, n) for n in body.inputs), body.outputs, name=body.name, guards=body.guards)
    table = _table(inner)
    wide = inner.map(lambda n: table[n])
    return substitute_nodes(wide, {cast(old, new.dtype): new for old, new in leaves.items()})


__all__ = ["widen"]
