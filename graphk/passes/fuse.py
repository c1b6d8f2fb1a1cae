"""Fuse: nodes become groups, each of which will be one kernel.

In: a Graph of primitives.  Out: the Graph with `fusion` nodes whose bodies are small graphs, and a note for
every fusion that was considered and refused.  What always holds: a group's legality is `Domain` alone; no group
depends on itself through others; generated values (constants, random numbers, masks made of them) are
repeated in every group that reads them instead of being stored.

Nodes are visited consumers first.  A node joins the group of all of its consumers; if they stand in several groups
these are united where one domain fits all; else the node joins one of them as an extra output (maps and
contractions only, so that a contraction's epilogue is not taken from it), or starts a group of its own.

In the end, a value that is a few operations away from one that is stored anyway is computed again by the groups that
read it, instead of being stored: what a step keeps for its gradients is written once.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Sequence

from graphk.ir.node import Graph, Node, make, origin, origin_of, replace_inputs, replaced, users
from graphk.ir.ops.control import fusion_op, item
from graphk.ir.ops.leaves import new_input
from graphk.ir.types import ITEMSIZE, TensorType
from graphk.passes.decompose import with_body
from graphk.passes.domain import CHEAP, GENERATORS, MOVERS, REDUCERS, Domain, analyze, is_fusable, is_pointwise

AGAIN = 3                        # cheap operations, at most, that take the place of a stored value
DEAR = 12                        # operations of any kind, where nothing more is read for them
EQUALITIES = ("eq", "ne")
EXACT = frozenset(("neg", "abs", "sign", "max", "min", "relu", "cast", "select", "stop_gradient"))       # no rounding
LONGEST = 128                    # nodes of a kernel: of more, compiling takes longer than fusion ever gives back


@dataclass(frozen=True, slots=True)
class Note:
    """Why a node was not fused with the group of a consumer (or, `fused` true, that it was).

    members: the nodes of that group (or groups), those that join later too.
    """
    node: Node
    other: Node
    reason: str
    fused: bool = False
    members: Sequence[Node] = field(default=(), compare=False, repr=False)

    @property
    def producer(self) -> str:
        return describe(self.node)

    @property
    def consumer(self) -> str:
        return describe(self.other)

    def __str__(self) -> str:
        verb = "fused" if self.fused else "apart"
        return f"{self.producer} | {self.consumer}: {verb}: {self.reason}"


@dataclass(eq=False)
class Group:
    """Nodes that become one kernel, in the order in which the domain took them."""
    domain: Domain
    nodes: list[Node] = field(default_factory=list)


class Fuser:
    """One run of the pass."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.order = graph.nodes()
        self.index = {n: i for i, n in enumerate(self.order)}
        self.uses = users(self.order)
        self.roots = set(graph.roots())
        self.home: dict[Node, Group] = {}
        self.generated = generated_nodes(self.order)
        self.repeated: set[Node] = set()          # windows, and values that the groups that read them compute
        self.kept: set[Node] = set()              # what those are computed of
        self.notes: list[Note] = []

    def run(self) -> Graph:
        for node in reversed(self.order):
            if node.op.kind == "leaf" or not is_fusable(node):
                continue
            if node in self.generated and not self._needs_storage(node):
                continue
            self._visit(node)
        compared = compared_nodes(self.order)
        for node in self.order:
            if node in self.home and node not in self.repeated and node not in self.roots and node not in compared:
                self._compute_again(node)
        return self._rebuild()

    # -------------------------------------------------------------- grouping
    def _needs_storage(self, node: Node) -> bool:
        return node in self.roots or any(
            not is_fusable(u) or u.op.name == "dot" or (u.op.name in MOVERS and u.inputs[0] is node)
            for u in self.uses[node])

    def _visit(self, node: Node) -> None:
        groups = list(dict.fromkeys(self.home[u] for u in self.uses[node] if u in self.home))
        outside = node in self.roots or any(u not in self.home and u not in self.generated for u in self.uses[node])
        if len(groups) > 1 and node.op.name == "windows" and self._repeat(node, groups, outside):
            return
        joined = len(groups) == 1 and self._try_join(node, groups[0], outside)
        if not joined and len(groups) > 1:
            joined = self._try_unite(node, groups) or any(self._try_join(node, g, True) for g in groups)
        if not joined:
            domain = Domain()
            why = domain.seed(node)
            if why:
                raise ValueError(f"{node!r} cannot start a group: {why}")
            self.home[node] = Group(domain, [node])

    def _try_join(self, node: Node, group: Group, outside: bool) -> bool:
        consumers = [u for u in self.uses[node] if self.home.get(u) is group]
        if outside and group.domain.kind == "reduce" and node.op.name not in REDUCERS:
            return self._refuse(node, group, "it is stored for others anyway, and belongs to its producer's kernel")
        if len(group.nodes) >= LONGEST and is_pointwise(node):
            return self._refuse(node, group, f"the kernel has {LONGEST} operations already")
        domain = group.domain.copy()
        why = domain.place(node, consumers)
        if not why and outside:
            why = domain.unwritten(node)
        if not why and node.op.name == "dot":
            why = self._unstorable(domain, group.nodes)
        if not why and node in domain.prologue:
            why = self._no_prologue(node, outside)
        elif not why:
            why = self._parts_rows(node, consumers)
        why = why or self._wavers([node], group.nodes, domain)
        if not why and self._cyclic([*group.nodes, node]):
            why = "the group would depend on itself through another kernel"
        if why:
            return self._refuse(node, group, why)
        group.domain = domain
        group.nodes.append(node)
        self.home[node] = group
        self.notes.append(Note(node, consumers[0], f"one {domain.kind} kernel", True, group.nodes))
        return True

    def _repeat(self, node: Node, groups: list[Group], outside: bool) -> bool:
        """Windows are an index map in each group that reads them: they are in memory for none."""
        if outside:
            return False
        placed = []
        for g in groups:
            domain = g.domain.copy()
            if domain.place(node, [u for u in self.uses[node] if self.home[u] is g]):
                return False
            placed.append((g, domain))
        for g, domain in placed:
            g.domain = domain
            g.nodes.append(node)
            self.notes.append(Note(node, g.nodes[0], f"one {domain.kind} kernel", True, g.nodes))
        self.repeated.add(node)
        return True

    def _no_prologue(self, node: Node, outside: bool) -> str:
        """Why a node should not run while a contraction's operand is packed; '' if it should."""
        if outside:
            return "it is stored for others anyway"
        seen, stack = {node}, [node]
        while stack and node.op.name != "windows":            # windows are read from memory: an index map
            for i in stack.pop().inputs:
                if i.op.name == "dot" or i.op.name in REDUCERS:
                    return "it belongs to its producer's kernel, as the epilogue"
                if i not in seen and i not in self.generated and is_pointwise(i):
                    seen.add(i)
                    stack.append(i)
        return ""

    def _parts_rows(self, node: Node, consumers: list[Node]) -> str:
        """Why a slice should not be read in place by the epilogue of a product; '' if it may."""
        if node.op.name != "slice" or node.shape[1:-1] == node.inputs[0].shape[1:-1]:
            return ""
        stack, seen = list(consumers), {node}
        while stack:
            for i in stack.pop().inputs:
                if i.op.name == "dot" and i.shape[:-1] == node.shape[:-1] and i.inputs[0].op.name != "windows":
                    return "its places lie apart: the rows of a product beside it would be many loops instead of one"
                if i not in seen and is_pointwise(i):
                    stack.append(i)
                seen.add(i)
        return ""

    def _refuse(self, node: Node, group: Group, why: str, others: Sequence[Node] = ()) -> bool:
        self.notes.append(Note(node, group.nodes[0], why, members=others or group.nodes))
        return False

    def _try_unite(self, node: Node, groups: list[Group]) -> bool:
        """Put all groups that read `node`, and `node`, into one."""
        if any(u not in self.home for u in self.uses[node] if u not in self.generated) or node in self.roots:
            return False
        nodes = sorted({n for g in groups for n in g.nodes} | {node}, key=self.index.__getitem__)
        first = max(groups, key=lambda g: (g.domain.kind != "map", len(g.domain.order)))
        if len(nodes) > LONGEST:
            return self._refuse(node, first, f"its readers have more than {LONGEST} operations", nodes)
        domain = first.domain.copy()
        placed = [n for g in groups if g is not first
                  for n in sorted(g.nodes, key=self.index.__getitem__, reverse=True)]
        for n in [*placed, node]:
            consumers = [u for u in self.uses[n] if u in domain.maps]
            why = domain.place(n, consumers) if consumers else domain.seed(n)
            if why:
                return self._refuse(node, first, f"its readers do not share a loop nest: {why}", nodes)
        if why := self._unstorable(domain, placed) or self._wavers(nodes, nodes, domain):
            return self._refuse(node, first, why, nodes)
        if self._cyclic(nodes):
            return self._refuse(node, first, "its readers depend on each other through another kernel", nodes)
        group = Group(domain, [*first.nodes, *placed, node])
        for n in group.nodes:
            self.home[n] = group
        self.notes.append(Note(node, first.nodes[0], "readers united", True, group.nodes))
        return True

    def _unstorable(self, domain: Domain, nodes: list[Node]) -> str:
        """Why the group cannot store one of `nodes` that others need; '' if it can."""
        for n in nodes:
            if n in self.roots or any(u not in domain.maps and u not in self.generated for u in self.uses[n]):
                why = "it is stored for others anyway" if n in domain.prologue else domain.unwritten(n)
                if why:
                    return why
        return ""

    def _wavers(self, added: Sequence[Node], nodes: Sequence[Node], domain: Domain) -> str:
        """Why a group with reductions cannot compute one of `added`; '' if it can.  It computes them in each of its
        loops, where a multiplication and an addition may be one operation or two."""
        if not domain.has_reduce or not any(n.op.name in EQUALITIES for n in nodes):
            return ""
        inside = set(nodes)
        for node in added:
            if node.op.kind != "elementwise" or node.op.name in EXACT or not node.dtype.startswith("float"):
                continue
            stack, seen = [node], {node}
            while stack:
                for u in self.uses[stack.pop()]:
                    if u in inside and u not in seen:
                        seen.add(u)
                        stack += [u] if is_pointwise(u) else []
            names = {n.op.name for n in seen}
            if names & set(EQUALITIES) and names & {"reduce_max", "reduce_min"}:
                return "what is the largest of numbers is compared with them: they are stored, computed once"
        return ""

    def _cyclic(self, nodes: list[Node]) -> bool:
        """Whether a path leaves `nodes` and comes back."""
        inside = set(nodes) - self.repeated
        lowest = min(self.index[n] for n in nodes)
        seen: set[Node] = set()
        stack = [i for n in nodes for i in n.inputs if i not in inside]
        while stack:
            n = stack.pop()
            if n in seen:
                continue
            mates = self.home[n].nodes if n in self.home else [n]
            seen.update(mates)
            for m in mates:
                for i in m.inputs:
                    if i in inside:
                        return True
                    if i not in seen and (self.index[i] > lowest or i in self.home):
                        stack.append(i)
        return False

    # -------------------------------------------------------------- computing again
    def _compute_again(self, node: Node) -> None:
        """Let each group that reads a stored value compute it, of what is stored anyway: where it is cheap and no more
        bytes are read than before, or where nothing more is read at all."""
        home = self.home[node]
        readers = list(dict.fromkeys(self.home[u] for u in self.uses[node] if u in self.home and
                                     self.home[u] is not home))
        if not readers or any(u not in self.home and u not in self.generated for u in self.uses[node]):
            return
        for most, room in ((AGAIN, ITEMSIZE[node.t.dtype]), (DEAR, 0)):
            chain: list[Node] = []
            bases: dict[Node, None] = {}
            if self._chain(node, home, chain, bases, most) and self._put(node, home, readers, chain, bases, room):
                return

    def _put(self, node: Node, home: Group, readers: list[Group], chain: list[Node], bases: dict[Node, None],
             room: int) -> bool:
        """Put a chain of operations into all groups that read its result, if none reads more than `room` bytes more for
        each of its elements."""
        placed = []
        for group in readers:
            read = {i for n in group.nodes for i in self._stored_inputs(n)}
            more = [b for b in bases if b not in read and not _fewer(b, node)]
            if sum(ITEMSIZE[b.t.dtype] for b in more) > room or len(group.nodes) + len(chain) > LONGEST:
                return False
            if not room and group.domain.has_reduce:           # it may compute its elements in several loops
                return False
            domain = group.domain.copy()
            for n in chain:
                if n not in domain.maps and domain.place(n, [u for u in self.uses[n] if u in domain.maps]):
                    return False
                if n in domain.prologue:
                    return False
            placed.append((group, domain))
        left = self._without(home, self.repeated | {*chain}, self.kept | bases.keys())
        if len(left) < len(home.nodes):
            try:
                home.domain = analyze(left) if left else home.domain
            except ValueError:
                return False
            home.nodes = left
        for group, domain in placed:
            group.nodes += [n for n in chain if n not in group.domain.maps]
            group.domain = domain
            self.notes.append(Note(node, group.nodes[0], "computed again, of what is stored anyway", True, group.nodes))
        self.repeated.update(chain)
        self.kept.update(bases)
        return True

    def _without(self, group: Group, repeated: set[Node], kept: set[Node]) -> list[Node]:
        """A group's nodes without those that nobody needs now."""
        inside = set(group.nodes)
        stack = self._outs(group, repeated, kept)
        found = set(stack)
        while stack:
            for i in stack.pop().inputs:
                if i in inside and i not in found:
                    found.add(i)
                    stack.append(i)
        return [n for n in group.nodes if n in found]

    def _outs(self, group: Group, repeated: set[Node], kept: set[Node]) -> list[Node]:
        """The nodes of a group that others read from memory, in the graph's order."""
        inside = set(group.nodes)
        return sorted((n for n in inside if self.home.get(n) is group and (n in kept or n in self.roots or (
            n not in repeated and any(u not in inside and u not in self.generated for u in self.uses[n])))),
            key=self.index.__getitem__)

    def _chain(self, node: Node, home: Group, chain: list[Node], bases: dict[Node, None], most: int) -> bool:
        """Collect the operations that a value takes, itself first, and what they read; False where they are too many
        or dear."""
        cheap = node.op.name in CHEAP and node.op.name != "div" if most == AGAIN else node.op.kind == "elementwise"
        if not cheap or not is_pointwise(node) or len(chain) == most or _jumps(node):
            return False
        chain.append(node)
        for i in node.inputs:
            if i in self.generated or i in chain:
                continue
            if self._stored(i) or (self.home.get(i) is home and _fewer(i, node) and not home.domain.unwritten(i)):
                bases[i] = None
            elif self.home.get(i) is not home or not self._chain(i, home, chain, bases, most):
                return False
        return True

    def _stored(self, node: Node) -> bool:
        """Whether a value is in memory whatever becomes of others."""
        if node in self.roots or node in self.kept or (node not in self.home and node not in self.repeated):
            return True
        return node not in self.repeated and any(
            self.home.get(u) is not self.home[node] and u not in self.generated for u in self.uses[node])

    # -------------------------------------------------------------- the new graph
    def _rebuild(self) -> Graph:
        new: dict[Node, Node] = {}
        for unit in self._units():
            if isinstance(unit, Group):
                self._build_group(unit, new)
            else:
                new[unit] = self._body(replace_inputs(unit, tuple(new[i] for i in unit.inputs)))
        return self.graph.map(lambda n: new[n])

    def _body(self, node: Node) -> Node:
        """A scan with its body fused; any other node as it is."""
        if node.op.name != "scan":
            return node
        body, notes = fuse(node.attr("body"))
        self.notes += notes
        return with_body(node, body)

    def _units(self) -> list["Group | Node"]:
        """Groups and single nodes, each after what it reads."""
        done: set[Node] = set()
        out: list[Group | Node] = []
        stack: list[tuple[Node, bool]] = [(r, False) for r in reversed(self.graph.roots())]
        while stack:
            n, ready = stack.pop()
            if n in done:
                continue
            group = self.home.get(n)
            members = group.nodes if group else [n]
            if ready:
                done.update(members)
                out.append(group or n)
                continue
            stack.append((n, True))
            inner = set(members)
            for m in members:
                stack += [(i, False) for i in self._stored_inputs(m) if i not in inner and i not in done]
        return out

    def _stored_inputs(self, node: Node) -> list[Node]:
        """The inputs of a group member that come from memory, looking through generated values."""
        out: list[Node] = []
        for i in node.inputs:
            if i in self.generated and node in self.home and not self._direct(node, i):
                out += self._stored_inputs_of_generated(i)
            else:
                out.append(i)
        return out

    @staticmethod
    def _direct(node: Node, i: Node) -> bool:
        return node.op.name == "dot" or (node.op.name in MOVERS and node.inputs[0] is i)

    def _stored_inputs_of_generated(self, node: Node) -> list[Node]:
        if node.op.kind == "leaf":
            return [] if node.op.name == "const" else [node]
        return [x for i in node.inputs for x in (
            self._stored_inputs_of_generated(i) if i in self.generated else [i])]

    def _build_group(self, group: Group, new: dict[Node, Node]) -> None:
        nodes = sorted(group.nodes, key=self.index.__getitem__)
        inside = set(nodes)
        stored = list(dict.fromkeys(i for n in nodes for i in self._stored_inputs(n) if i not in inside))
        stand_in = {s: new_input(s.t, s.attr("name") or "") for s in stored}
        inner: dict[Node, Node] = dict(stand_in)
        for n in self._with_generated(nodes, stored):
            if n not in inner:
                with origin(like=n):
                    inner[n] = replaced(n, make(n.op, tuple(inner[i] for i in n.inputs), n.attrs,
                                                n.type if n.op.kind == "leaf" else None), "")
        outs = self._outs(group, self.repeated, self.kept)
        body = Graph(tuple(stand_in.values()), tuple(inner[o] for o in outs), name="body")
        with origin(like=outs[0]):
            at = {n: i for i, n in enumerate(body.nodes())}
            order = tuple(at[inner[n]] for n in group.nodes)
            node = make(fusion_op, tuple(new[s] for s in stored),
                        (("body", body), ("kind", group.domain.kind), ("order", order)))
            for i, o in enumerate(outs):
                with origin(like=o):
                    new[o] = item(node, i)

    def _with_generated(self, nodes: list[Node], stored: list[Node]) -> list[Node]:
        """The members and the generated nodes that they read, in order."""
        stop = set(stored)
        found: dict[Node, None] = {}

        def add(n: Node) -> None:
            for i in n.inputs:
                if i not in found and i not in stop:
                    add(i)
            found[n] = None
        for n in nodes:
            add(n)
        return list(found)


def generated_nodes(order: tuple[Node, ...]) -> set[Node]:
    """Nodes whose value needs no stored tensor: constants, dims, random numbers, and what is made of them."""
    out: set[Node] = set()
    for n in order:
        if (n.op.name in GENERATORS and not (n.op.name == "const" and n.t.size != 1)) or (
                n.inputs and isinstance(n.type, TensorType) and is_pointwise(n) and all(i in out for i in n.inputs)):
            out.add(n)
    return out


def compared_nodes(order: tuple[Node, ...]) -> set[Node]:
    """Floats that something asks whether they are equal, or that pointwise operations lead from there.

    A multiplication may be fused with an addition in one kernel and not in another: the largest number of a row, say,
    must be compared with the very numbers among which it was found.
    """
    out: set[Node] = set()
    for n in reversed(order):
        if n.op.name in EQUALITIES or (n in out and is_pointwise(n)):
            out.update(i for i in n.inputs if isinstance(i.type, TensorType) and i.dtype.startswith("float"))
    return out


def _jumps(node: Node) -> bool:
    """Whether the last bit of a float may decide between two results that are far apart: kernels that compute it, each
    with a multiplication and an addition fused or not, might not agree."""
    whole = not node.dtype.startswith("float") and any(i.dtype.startswith("float") for i in node.inputs)
    return whole or node.op.name in ("floor", "ceil", "round", "sign", "floordiv", "mod", "round_bf16")


def _fewer(a: Node, b: Node) -> bool:
    """Whether an array has fewer elements than another that it is broadcast to."""
    return a.shape != b.shape and len([d for d in a.shape if d != 1]) < len([d for d in b.shape if d != 1])


def describe(node: Node) -> str:
    """A node for a reader: op, type and layer."""
    layer = origin_of(node).layer
    return f"{node.op.name} {node.type}" + (f" of {layer}" if layer else "")


def fuse(graph: Graph) -> tuple[Graph, tuple[Note, ...]]:
    """`graph` with fusion nodes, and the notes."""
    fuser = Fuser(graph)
    return fuser.run(), tuple(fuser.notes)


__all__ = ["fuse", "Note", "Fuser"]
