"""Shapes: symbolic dims that must be equal become one.

In: a Graph whose nodes may have been built from inputs with different symbols for one extent (two
placeholders that are added, say).  Out: the same with one symbol (or the int) everywhere, and `guards` for
equalities between compound dims that only a call can check.  Ensures `all_shapes_bound`: every symbol
of a type is the extent of some input axis.
"""
from __future__ import annotations

from graphk.ir.dims import Dim, DimExpr, SymDim, substitute, symbols
from graphk.ir.node import Graph, Node, bind_attr, bind_type, make, origin, replaced, topological
from graphk.ir.ops.recurrent import equal_extents, rnn, rnn_gradient
from graphk.ir.types import TensorType

Pair = tuple[Dim, Dim]


def required_equal(node: Node) -> list[Pair]:
    """Pairs of extents that this node takes to be equal."""
    ts = [i.type for i in node.inputs if isinstance(i.type, TensorType)]
    if node.op.kind == "elementwise" or node.op.name == "phase_select":
        return _broadcast_pairs([t.shape for t in ts])
    if node.op.name == "dot":
        a, b = ts
        return [(a.shape[i], b.shape[j]) for key in ("contract", "batch") for i, j in zip(*node.attr(key))]
    if node.op.name == "reshape":
        return [(ts[0].size, node.t.size)]
    if node.op.name == "concat":
        axis = node.attr("axis")
        return [(ts[0].shape[i], t.shape[i]) for t in ts[1:] for i in range(t.ndim) if i != axis]
    if node.op.name == "scan":
        return _scan_pairs(node, ts)
    if node.op in (rnn, rnn_gradient):
        return equal_extents(node)
    return []


def _broadcast_pairs(shapes: list[tuple[Dim, ...]]) -> list[Pair]:
    out: list[Pair] = []
    rank = max((len(s) for s in shapes), default=0)
    for at in range(1, rank + 1):
        here = [s[-at] for s in shapes if len(s) >= at and s[-at] != 1]
        out += [(here[0], d) for d in here[1:]]
    return out


def _scan_pairs(node: Node, ts: list[TensorType]) -> list[Pair]:
    body, nc, nx = node.attr("body"), node.attr("n_carry"), node.attr("n_xs")
    out: list[Pair] = []
    for i, (inner, t) in enumerate(zip(body.inputs, ts)):
        outer = t.shape[1:] if nc <= i < nc + nx else t.shape
        if nc <= i < nc + nx:
            out.append((t.shape[0], node.attr("length")))
        out += list(zip(outer, inner.shape))
    for inner, t in zip(body.outputs[:nc], ts):
        out += list(zip(t.shape, inner.shape))
    return out + [p for n in body.nodes() for p in required_equal(n)]


def solve(pairs: list[Pair]) -> tuple[dict[str, Dim], list[Pair]]:
    """A substitution that makes the pairs equal, and the pairs that it cannot (guards)."""
    env: dict[str, Dim] = {}
    guards: list[Pair] = []
    for a, b in pairs:
        a, b = substitute(a, env), substitute(b, env)
        if a == b:
            continue
        name, value = _symbol_of(b), a
        if name is None:
            name, value = _symbol_of(a), b
        if name is None or name in symbols(value):
            guards.append((a, b))
            continue
        env = {k: substitute(v, {name: value}) for k, v in env.items()}
        env[name] = value
    return env, [(substitute(a, env), substitute(b, env)) for a, b in guards]


def _symbol_of(d: Dim) -> str | None:
    if isinstance(d, DimExpr) and len(d.terms) == 1:
        (mono, coef), = d.terms
        if coef == 1 and len(mono) == 1 and isinstance(mono[0], SymDim):
            return mono[0].name
    return None


def shapes(graph: Graph) -> Graph:
    """`graph` with dims unified."""
    env, guards = solve([p for n in graph.nodes() for p in required_equal(n)])
    if not env and not guards:
        return graph
    return apply_dims(graph, env, tuple(guards))


def apply_dims(graph: Graph, env: dict[str, Dim], guards: tuple[Pair, ...] = ()) -> Graph:
    """`graph` with symbols replaced in every type and attribute."""
    new: dict[Node, Node] = {}
    for node in topological(graph.inputs + graph.roots()):
        with origin(like=node):
            attrs = tuple((k, apply_dims(v, env) if isinstance(v, Graph) else bind_attr(v, env)) for k, v in node.attrs)
            type_ = bind_type(node.type, env) if node.op.kind == "leaf" else None
            new[node] = replaced(node, make(node.op, tuple(new[i] for i in node.inputs), attrs, type_), "shapes")
    return Graph(tuple(new[i] for i in graph.inputs), tuple(new[o] for o in graph.outputs),
                 tuple((new.get(v, v), new[x]) for v, x in graph.updates), graph.name, graph.guards + guards)


__all__ = ["shapes", "required_equal", "solve", "apply_dims"]
