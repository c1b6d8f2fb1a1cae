"""Why two nodes are in one kernel, or are not.

In: a `Subject`, and two names: of layers, of nodes as the graph before `fuse` is printed, or of kernels.  Out: an
`Answer`, which prints as text.  What always holds: the pass `fuse` runs once more on the same graph, so what is said is
what it decided; there is always an answer: where nothing was refused it says why nothing was considered.
"""
from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Iterable, Iterator, Mapping

from graphk.inspection.facts import human, record_named
from graphk.inspection.subjects import Subject, dims_for, without_folders
from graphk.ir.dims import Dim, evaluate
from graphk.ir.node import Graph, Node, origin_of
from graphk.ir.program import kernel_names
from graphk.ir.text import node_names, node_text
from graphk.ir.types import ITEMSIZE, TensorType
from graphk.passes.domain import is_fusable
from graphk.passes.fuse import Fuser, Group, Note
from graphk.passes.lower import group_label

LISTED = 12                          # lines of one kind that are printed


@dataclass(frozen=True)
class Answer:
    """`together`: some of A and some of B are in one kernel; `reasons`: every rule that was asked about them."""
    title: str
    together: bool
    lines: tuple[str, ...]
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([self.title, *("  " + x for x in self.lines)])


class _Watched(Fuser):
    """The fuser, remembering what each group is called."""

    def __init__(self, graph: Graph):
        super().__init__(graph)
        self.label: dict[int, str] = {}

    def _build_group(self, group: Group, new: dict[Node, Node]) -> None:
        super()._build_group(group, new)
        made = next(new[n].inputs[0] for n in group.nodes if n in new)
        self.label[id(group)] = group_label(made.attr("body"))


@dataclass
class Fused:
    """What `fuse` decided about a graph and the bodies of its loops."""
    env: Mapping[str, int]
    names: dict[Node, str] = field(default_factory=dict)
    texts: dict[Node, str] = field(default_factory=dict)
    home: dict[Node, Group] = field(default_factory=dict)
    labels: dict[int, str] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    uses: dict[Node, list[Node]] = field(default_factory=dict)
    roots: set[Node] = field(default_factory=set)
    generated: set[Node] = field(default_factory=set)
    inside: dict[Node, Node | None] = field(default_factory=dict)       # node -> the loop around it
    holders: dict[Node, list[Group]] = field(default_factory=dict)      # several of a value that is computed again

    def add(self, graph: Graph, loop: Node | None = None, prefix: str = "") -> None:
        """Fuse `graph` and then the bodies in it."""
        fuser = _Watched(graph)
        fuser.run()
        own = {n: prefix + name for n, name in node_names(graph).items()}
        for n in graph.nodes():
            self.names.setdefault(n, own[n])
            self.texts.setdefault(n, node_text(n, own))
            self.inside.setdefault(n, loop)
        self.home.update(fuser.home)
        self.labels.update(fuser.label)
        self.notes += fuser.notes
        self.roots |= fuser.roots
        self.generated |= fuser.generated
        for group in {id(g): g for g in fuser.home.values()}.values():
            for n in group.nodes:
                self.holders.setdefault(n, []).append(group)
        for n, readers in fuser.uses.items():
            self.uses.setdefault(n, []).extend(readers)
        for n, bodies in graph.bodies:
            for body in bodies:
                self.add(body, n, f"{own[n]}/")

    # -------------------------------------------------------------- texts
    def show(self, n: Node) -> str:
        """A node for a reader."""
        o = origin_of(n)
        where = ", ".join(p for p in (o.layer and f"layer {o.layer}", without_folders(o.line)) if p)
        return self.texts[n] + (f"   # {where}" if where else "")

    def short(self, n: Node) -> str:
        """Its name, op and layer."""
        layer = origin_of(n).layer
        return f"%{self.names[n]} {n.op.name}" + (f" of {layer}" if layer else "")

    def common(self, n: Node, other: Node) -> Group | None:
        """A group that computes both."""
        theirs = self.holders.get(other, [])
        return next((g for g in self.holders.get(n, []) if g in theirs), None)

    def kernel(self, n: Node, group: Group | None = None) -> str:
        """A kernel of a node that has one: that of a group, or the first."""
        group = group or self.holders[n][0]
        return f"`{self.labels.get(id(group), '?')}` ({group.domain.kind}, {len(group.nodes)} nodes, loops over " \
               f"{group.domain.extents()})"

    def stored(self, n: Node) -> str:
        """What keeping a value in memory takes."""
        if not isinstance(n.type, TensorType):
            return str(n.type)
        total = ITEMSIZE[n.type.dtype]
        for d in n.shape:
            total *= _value(d, self.env)
        sizes = ", ".join(f"{k} = {v}" for k, v in self.env.items() if k in str(n.type))
        return f"{n.type}, {human(total, 'B')}" + (f" at {sizes}" if sizes else "")

    # -------------------------------------------------------------- decisions
    def joined(self, n: Node, members: Iterable[Node]) -> Iterator[str]:
        """The rules by which `n` came to the kernel of `members`."""
        others = set(members) - {n}                        # of a note's members it is one itself
        for note in self.notes:
            if note.node is n and note.fused and others.intersection((note.other, *note.members)):
                yield f"%{self.names[n]} joined %{self.names[note.other]} ({note.other.op.name}): {note.reason}"

    def refusals(self, n: Node, reader: Node) -> list[str]:
        """Why `n` did not go to the kernel of `reader`, as the pass noted."""
        group = set(self.home[reader].nodes) if reader in self.home else {reader}
        return list(dict.fromkeys(note.reason for note in self.notes if note.node is n and not note.fused
                                  and (reader in note.members or group.intersection(note.members))))

    def unconsidered(self, n: Node, reader: Node) -> str:
        """Why nothing was asked about a node and its reader."""
        for x in (n, reader):
            if x.op.kind == "leaf" and x.op.name != "const":
                return f"{self.short(x)} is given, not computed: no kernel makes it, those that need it read memory"
            if x in self.generated and x not in self.home:
                return f"{self.short(x)} takes no memory: every kernel that reads it computes it again"
            if not is_fusable(x):
                return f"{self.short(x)} {_outside(x)}"
        if n in self.roots and len({id(self.home[u]) for u in self.uses[n] if u in self.home}) > 1:
            return f"{self.short(n)} is an output or an update's value with readers in several kernels: stored once, " \
                   "in the first kernel that could take it"
        outside = [u for u in self.uses[n] if u not in self.home and u not in self.generated]
        if outside:
            return f"{self.short(n)} is stored for {self.short(outside[0])}, which is in no fused kernel; its " \
                   "readers were not united around it"
        return f"{self.short(n)} has readers in several kernels and went to {self.kernel(n)}, the first that took it"

    def edge(self, n: Node, reader: Node) -> tuple[list[str], list[str]]:
        """Lines and reasons for a value that passes between kernels (or within one)."""
        group = self.common(n, reader)
        if group is not None:
            rules = list(self.joined(n, group.nodes)) or list(self.joined(reader, group.nodes))
            return [f"joined: {r}" for r in rules or ["they were united by a reader that they share"]], rules
        reasons = self.refusals(n, reader)
        lines = [f"apart: {r}" for r in reasons] or [f"never considered: {self.unconsidered(n, reader)}"]
        if isinstance(n.type, TensorType) and n not in self.generated and n.op.kind != "leaf":
            lines.append(f"so it is stored: {self.stored(n)}")
        return lines, reasons or [self.unconsidered(n, reader)]


def _value(d: Dim, env: Mapping[str, int]) -> int:
    return evaluate(d, env)


def _outside(node: Node) -> str:
    """Why an op is in no group."""
    return {"reshape": "is another view of the same memory: it needs no kernel, and a kernel ends there",
            "scan": "is a loop of steps: what is inside is fused by itself, nothing crosses its edge",
            "item": "is one of several results, and no computation",
            "embed": "puts values among zeros (padding): a copy of its own, which the next contraction reads in place",
            "concat": "is lowered to copies of its operands into one buffer, not to a loop nest of a group",
            "scatter_add": "adds at places that data choose: a kernel of its own",
            "places": "writes at places that data choose: a kernel of its own",
            }.get(node.op.name, f"(`{node.op.name}`) is lowered to kernels of its own, not to a loop nest of a group")


# ------------------------------------------------------------------ names
def find(subject: Subject, fused: Fused, name: str) -> list[Node]:
    """The nodes that a name means: a node (`%12`), a variable or input, a layer, a kernel; ValueError with what there
    is."""
    bare = name.removeprefix("%")
    nodes = [n for n, text in fused.names.items() if text == bare]
    if nodes and (name.startswith("%") or bare.isdigit() or "/" in bare):
        return nodes
    by_layer = [n for n in fused.names if origin_of(n).layer == name and n.op.kind != "leaf"]
    if by_layer:
        return by_layer
    below = [n for n in fused.names if n.op.kind != "leaf" and
             (name in origin_of(n).around or origin_of(n).layer.startswith(name + "/"))]
    leaves = [n for n in fused.names if n.attr("name") == name and n.op.kind == "leaf"]
    kernels = {shown: k.label for k, shown in kernel_names(subject.program.steps).items()}
    label = kernels.get(name, name)
    found = below or leaves or nodes or [n for n, groups in fused.holders.items()
                                        if label in {fused.labels.get(id(g)) for g in groups}]
    if found:
        return found
    layers = list(dict.fromkeys(layer for n in fused.names if (layer := origin_of(n).layer)))
    labels = list(dict.fromkeys(fused.labels.values()))
    last = next(reversed(fused.names.values()))
    raise ValueError(f"{subject.title} has no layer, node or kernel {name!r} (one may have been simplified away: "
                     f"`graphk diff captured slices` shows it). Layers: {_few(layers)}; kernels: {_few(labels)}; "
                     f"nodes as `graphk dump --after slices` prints them, such as %{last}")


def _few(items: list[str]) -> str:
    return ", ".join(items[:LISTED]) + (f", … ({len(items)} in all)" if len(items) > LISTED else "")


# ------------------------------------------------------------------ the answer
def why(subject: Subject, a: str, b: str, batch: int = 32) -> Answer:
    """Whether `a` and `b` are in one kernel, and the rules that decided it."""
    record = record_named(subject, "fuse")
    fused = Fused(dims_for(subject.program, batch))
    fused.add(record.before)
    first, second = (find(subject, fused, x) for x in (a, b))
    groups = [{id(g): g for n in nodes for g in fused.holders.get(n, ())} for nodes in (first, second)]
    shared = [g for key, g in groups[1].items() if key in groups[0]]
    if shared:
        return _together(subject, fused, (a, first), (b, second), shared)
    path = _path(fused, first, second)
    lines, reasons = _along(fused, path) if path else _unrelated(fused, first, second)
    return Answer(f"{subject.title}: {a} and {b} are in different kernels", False, tuple(lines), tuple(reasons))


def _together(subject: Subject, fused: Fused, a: tuple[str, list[Node]], b: tuple[str, list[Node]],
              shared: list[Group]) -> Answer:
    """They share a kernel, perhaps not wholly."""
    lines: list[str] = []
    reasons: list[str] = []
    for group in shared:
        mine = [n for n in a[1] if group in fused.holders.get(n, ())]
        theirs = [n for n in b[1] if group in fused.holders.get(n, ())]
        lines.append(f"in one kernel: {fused.kernel(theirs[0], group)}")
        lines += [f"  of {a[0]}: {fused.show(n)}" for n in mine[:LISTED]]
        lines += [f"  of {b[0]}: {fused.show(n)}" for n in theirs[:LISTED]]
        rules = [r for n in dict.fromkeys([*mine, *theirs]) for r in fused.joined(n, group.nodes)]
        lines += [f"  joined: {r}" for r in rules[:LISTED]]
        reasons += rules
    edges = [(n, u) for one, other in ((a[1], set(b[1])), (b[1], set(a[1]))) for n in one for u in fused.uses[n]
             if u in other and fused.common(n, u) is None]
    for n, u in edges[:LISTED]:
        lines.append(f"but between {fused.short(n)} and {fused.short(u)}:")
        more, why_not = fused.edge(n, u)
        lines += ["  " + x for x in more]
        reasons += why_not
    return Answer(f"{subject.title}: {a[0]} and {b[0]} share a kernel", True, tuple(lines), tuple(reasons))


def _path(fused: Fused, first: list[Node], second: list[Node]) -> list[tuple[Node, Node]]:
    """The shortest way along values from one set to the other, either way, as pairs (value, reader)."""
    for start, goal in ((first, set(second)), (second, set(first))):
        came: dict[Node, Node | None] = dict.fromkeys(start)
        queue = deque(start)
        while queue:
            n = queue.popleft()
            if n in goal:
                steps = []
                while (before := came[n]) is not None:
                    steps.append((before, n))
                    n = before
                return steps[::-1]
            for u in fused.uses.get(n, ()):
                if u not in came:
                    came[u] = n
                    queue.append(u)
    return []


def _along(fused: Fused, path: list[tuple[Node, Node]]) -> tuple[list[str], list[str]]:
    """What is decided along a path: each edge, and the first that parts kernels in full."""
    crossing = [(n, u) for n, u in path if fused.common(n, u) is None]
    lines: list[str] = []
    if len(path) > 1:
        lines.append(f"they are not neighbours: {len(path)} steps lie between, {len(crossing)} of them from kernel to "
                     "kernel")
        shown = [path[0][0], *(u for _, u in path)]
        lines += [f"  {fused.short(n)}{f', in {fused.kernel(n)}' if n in fused.holders else ''}"
                  for n in shown[:LISTED]]
        lines += [f"  … {len(shown) - LISTED} more"] * (len(shown) > LISTED)
    refused = [e for e in crossing if fused.refusals(*e)]
    reasons: list[str] = []
    borders = {"the first border: ": crossing[0]}
    if refused and refused[0] != crossing[0]:
        borders["the first refusal: "] = refused[0]
    for title, (n, u) in borders.items():
        lines += [f"{title if len(path) > 1 else ''}{fused.show(n)}", f"  read by {fused.show(u)}"]
        more, found = fused.edge(n, u)
        lines += ["  " + x for x in more]
        reasons += found
    return lines, reasons


def _unrelated(fused: Fused, first: list[Node], second: list[Node]) -> tuple[list[str], list[str]]:
    """Neither is computed from the other."""
    a, b = first[0], second[0]
    if fused.inside[a] is not fused.inside[b]:
        reason = "one of them is inside a loop (a scan): kernels do not cross its edge, a trip runs those of its body"
    else:
        reason = ("neither is computed from the other, so nothing was considered: a kernel grows from a node to what "
                  "it reads, and kernels of nodes side by side are united only around a value that both read")
    lines = [reason]
    shared = [n for n in fused.names if n.op.kind != "leaf" and {id(fused.home[u]) for u in fused.uses[n]
              if u in fused.home} >= {id(fused.home[x]) for x in (a, b) if x in fused.home} and n in fused.home]
    reasons = [reason]
    for n in shared[:1]:
        if a in fused.home and b in fused.home:
            more = fused.refusals(n, a) + fused.refusals(n, b)
            lines += [f"both kernels read {fused.show(n)}", *(f"  apart: {r}" for r in dict.fromkeys(more))]
            reasons += more
    lines += [f"{fused.short(x)} is in {fused.kernel(x)}" if x in fused.holders else fused.unconsidered(x, x)
              for x in (a, b)]
    return lines, reasons


__all__ = ["Answer", "Fused", "find", "why"]
