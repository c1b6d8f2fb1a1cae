"""A graph whose nodes are to run on several devices, as parts that run one after another.

In: a Graph, some of whose nodes have a device in their origin (`graphk.device_scope`), and the device of all others.
Out: `Part`s.  What always holds: run in their order, each on its device, with the values that earlier ones give, they
compute what the graph does; a variable is written after every part has read it.

A node without a device runs where the largest of its inputs is, or else where it is used, a gradient where what it is
the gradient of is, and what is made of numbers alone in every part that needs it.  Parts are the levels of the graph:
how often values have changed devices on their longest way to a node.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Sequence

from graphk.ir.dims import DimExpr, symbols
from graphk.ir.node import Graph, Node, origin_of, replace_inputs, topological
from graphk.ir.ops.leaves import new_input
from graphk.ir.types import TensorType
from graphk.passes.specialize import specialize

_OPEN = 64                             # an extent that is not known, where sizes are compared


@dataclass(frozen=True)
class Part:
    """What runs on one device.  takes: for each input of `graph`, the node of the whole graph whose value it gets, None
    for an array without elements, of the extents `extents` and 0, which tells the sizes of open axes; gives: the same
    for each output."""
    device: str
    graph: Graph
    takes: tuple[Node | None, ...]
    gives: tuple[Node, ...]
    extents: tuple[str, ...]


def is_placed(graph: Graph) -> bool:
    """Whether a node of the graph has a device."""
    return any(_told(graph).values())


def _told(graph: Graph) -> dict[Node, str]:
    """The devices that scopes gave to nodes, inputs before users; '' for none.  What is made of numbers alone is left
    out: it is one node for all who write the same number, and the first one's scope says nothing about the others."""
    told: dict[Node, str] = {}
    for node in graph.nodes():
        if node.op.name in ("input", "variable") or any(i in told for i in node.inputs):
            told[node] = origin_of(node).device
    return told


def parts_of(graph: Graph, phase: int, default: str) -> tuple[Graph, list[Part]]:
    """The graph in one learning phase, and its parts; what nothing says a device of runs on `default`."""
    graph = specialize(graph, phase)
    where = _places(graph, default)
    keys = sorted(set(where.values()) | {(0, default)})
    own: dict[tuple[int, str], list[Node]] = {k: [n for n, at in where.items() if at == k] for k in keys}
    leaves = [n for n in graph.outputs if n not in where]                     # inputs and the like, handed through
    moved = {value for _, value in graph.updates}                             # among them variables, read as they are
    updates: dict[tuple[int, str], list[tuple[Node, Node]]] = {k: [] for k in keys}
    later: dict[str, list[tuple[Node, Node]]] = {}
    for v, value in graph.updates:
        at = where.get(value, (0, default))
        home = origin_of(v).device or default
        if v in leaves or v in moved or any(v in n.inputs for k in keys if k > at for n in own[k]):
            later.setdefault(home, []).append((v, value))
        else:
            updates[at].append((v, value))
    wanted = set(graph.outputs) | {value for pairs in later.values() for _, value in pairs}
    for k in keys:
        for n in own[k]:
            wanted |= {i for i in n.inputs if i in where and where[i] != k}
    late = {value for pairs in later.values() for _, value in pairs if value not in where}
    out = []
    for k in keys:
        roots = [n for n in own[k] if n in wanted] + ([*leaves, *late] if k == (0, default) else [])
        if roots or updates[k]:
            out.append(_part(graph, k[1], list(dict.fromkeys(roots)), updates[k], set(own[k]), where))
    for device, pairs in later.items():
        given = [new_input(value.t, "value") for _, value in pairs]
        body = Graph(tuple(given), (), tuple((v, x) for (v, _), x in zip(pairs, given)), f"{graph.name}_writes")
        out.append(Part(device, body, tuple(value for _, value in pairs), (), ()))
    return graph, out


def _places(graph: Graph, default: str) -> dict[Node, tuple[int, str]]:
    """Level and device of each node that is computed, and not of numbers alone."""
    device = _devices(graph, default)
    level: dict[Node, int] = {}
    fed: set[Node] = set()                                           # what depends on an input
    for node in device:
        if node.op.name == "item":                                   # one of several results
            device[node] = device[node.inputs[0]]
        level[node] = max((level[i] + (device[i] != device[node]) for i in node.inputs if i in device), default=0)
        if any(i in fed or i.op.name == "input" for i in node.inputs):
            fed.add(node)
    users: dict[Node, int] = {}
    for node in reversed(device):                                    # what depends on variables alone is not hurried
        if node not in fed and node.op.name != "item" and isinstance(node.type, TensorType):
            level[node] = users.get(node, level[node])
        for i in node.inputs:
            if i in device:
                latest = level[node] - (device[i] != device[node])
                users[i] = min(users.get(i, latest), latest)
    return {node: (level[node], device[node]) for node in device}


def _devices(graph: Graph, default: str) -> dict[Node, str]:
    """The device of each node that is computed, and not of numbers alone, inputs before users."""
    device: dict[Node, str] = {}
    told = _told(graph)
    for node in told:
        if node.op.kind != "leaf":
            known = [(_extent(i), device.get(i) or told.get(i, "")) for i in node.inputs]
            device[node] = told[node] or max((k for k in known if k[1]), key=lambda k: k[0], default=(0, ""))[1]
    wanted: dict[Node, str] = {}
    for node in reversed(device):                            # what has no placed input runs where it is used
        device[node] = device[node] or wanted.get(node, default)
        for i in node.inputs:
            wanted.setdefault(i, device[node])
    return device


def _extent(node: Node) -> int:
    """About how many elements a value has."""
    if not isinstance(node.type, TensorType):
        return 0
    size = 1
    for d in node.type.shape:
        size *= d if isinstance(d, int) else _OPEN
    return size


def _part(graph: Graph, device: str, roots: Sequence[Node], updates: Sequence[tuple[Node, Node]], own: set[Node],
          where: Mapping[Node, tuple[int, str]]) -> Part:
    """The part that computes `roots` and `updates` from what is not its own."""
    new: dict[Node, Node] = {}
    takes: dict[Node, Node] = {}
    values = [*roots, *(value for _, value in updates)]
    handed = {i for n in own for i in n.inputs if i in where and i not in own}
    for node in topological(values, handed):
        for i in node.inputs:
            if i in handed and i not in takes:
                takes[i] = new[i] = new_input(i.t, "value")
        if node.op.name == "input":
            takes[node] = new[node] = node
        else:
            new[node] = replace_inputs(node, tuple(new[i] for i in node.inputs))
    told = {str(d) for n in takes.values() for d in n.shape if isinstance(d, DimExpr) and str(d) in symbols(d)}
    rest = {str(d): d for n in graph.inputs for d in n.shape if isinstance(d, DimExpr) and str(d) in symbols(d)
            and str(d) not in told}
    inputs: list[Node] = list(takes.values())
    if rest:
        inputs.append(new_input(TensorType("float32", (*rest.values(), 0)), "sizes"))
    body = Graph(tuple(inputs), tuple(new[n] for n in roots), tuple((v, new[x]) for v, x in updates), graph.name)
    return Part(device, body, (*takes, *([None] if rest else [])), tuple(roots), tuple(rest))


__all__ = ["Part", "is_placed", "parts_of"]
