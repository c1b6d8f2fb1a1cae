"""Tables about a compiled graph: its passes, its steps, and where its nodes went.

In: a `Subject` and values of the symbolic dims.  Out: rows of plain numbers and text.  What always holds: estimates
are named so; operations are those that the compiler itself plans with (`Step.cost`), bytes are those of the
buffers that a step names, each counted once per step.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterator, Mapping

from graphk.inspection.subjects import Subject, value, without_folders
from graphk.ir.effects import root_of
from graphk.ir.loop import Kernel
from graphk.ir.node import Graph, Node, origin_of
from graphk.ir.program import AnyStep, LoopStep, Program, Step, flat_steps
from graphk.passes.fuse import Fuser, Group
from graphk.passes.pipeline import Record


# ------------------------------------------------------------------ passes
@dataclass(frozen=True)
class PassRow:
    """One pass: sizes before and after (nodes of a graph, or steps of a program), and its time."""
    subject: str
    name: str
    before: int
    after: int
    unit: str
    groups: int
    milliseconds: float
    changed: bool

    def __str__(self) -> str:
        groups = f", {self.groups} groups" if self.groups else ""
        same = "" if self.changed else ", unchanged"
        return f"{self.subject:<10} {self.name:<12} {self.before:>5} -> {self.after:>5} {self.unit}{groups}{same}  " \
               f"{self.milliseconds:8.2f} ms"


def size_of(ir: Any) -> int:
    """Nodes of a graph, those inside fused groups and loops too; kernel steps of a program."""
    if isinstance(ir, Graph):
        total = 0
        for n in ir.nodes():
            bodies = [v for _, v in n.attrs if isinstance(v, Graph)]
            total += 1 if not bodies else sum(size_of(b) - len(b.inputs) for b in bodies)
            total -= n.op.name == "item"
        return total
    return len(flat_steps(ir.steps))


def pass_row(title: str, r: Record) -> PassRow:
    """The row of one pass of the graph that is called `title`."""
    unit = "nodes" if isinstance(r.after, Graph) else "steps"
    fused = len(list(_fusions(r.after))) if isinstance(r.after, Graph) else 0
    return PassRow(title, r.name, size_of(r.before), size_of(r.after), unit, fused, r.seconds * 1e3,
                   not same(r.before, r.after))


def pass_rows(subject: Subject) -> list[PassRow]:
    """A row per pass that ran."""
    return [pass_row(subject.title, r) for r in subject.records]


def same(a: Any, b: Any) -> bool:
    """Whether two results are one: nodes are interned, so equal graphs have the same nodes."""
    return a is b or (isinstance(a, Graph) and isinstance(b, Graph) and a == b)


class PassTable(tuple[PassRow, ...]):
    """Rows of several graphs; prints as a table."""

    def __str__(self) -> str:
        return "\n".join(map(str, self))

    __repr__ = __str__


class Told(tuple[Any, ...]):
    """An answer per graph; prints one after the other."""

    def __str__(self) -> str:
        return "\n".join(map(str, self))

    __repr__ = __str__


# ------------------------------------------------------------------ steps
@dataclass(frozen=True)
class StepRow:
    """One kernel call at given dims.  `inside`: the trip counts of the loops around it, e.g. "12 x"."""
    index: int                       # of the program's step, a whole loop being one
    step: Step
    times: int
    sizes: tuple[int, ...]
    operations: int
    bytes: int
    origin: str
    loop: str = ""


def step_rows(program: Program, env: Mapping[str, int]) -> list[StepRow]:
    """Every kernel step, those of loops with their trip count."""
    table = {b.name: b for b in program.buffers}
    roots = root_of(program)
    rows: list[StepRow] = []

    def add(s: AnyStep, index: int, times: int, loop: str) -> None:
        if isinstance(s, LoopStep):
            trips = value(s.length, env)
            for x in s.body:
                add(x, index, times * trips, loop + f"{trips} times" + (", reversed" if s.reverse else ""))
            return
        touched = {(roots[b], str(table[b].type)): value(table[b].nbytes, env) for b in s.buffers}
        rows.append(StepRow(index, s, times, tuple(value(d, env) for d in s.sizes), times * value(s.cost, env),
                            times * sum(touched.values()), without_folders(s.origin), loop))
    for i, s in enumerate(program.steps):
        add(s, i, 1, "")
    return rows


def human(n: float, unit: str = "") -> str:
    """A number with a prefix: 1234567 -> 1.23 M."""
    for size, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(n) >= size:
            return f"{n / size:.3g} {prefix}{unit}"
    return f"{n:.0f} {unit}".rstrip()


# ------------------------------------------------------------------ what became of a node
def record_named(subject: Subject, name: str) -> Any:
    """The record of the pass `name`, or None if there is no such pass."""
    return next((r for r in subject.records if r.name == name), None)


def layers_of_steps(program: Program) -> dict[int, list[str]]:
    """For the number of each step that is a group's kernel, in the order in which they run: the layers of its nodes."""
    out = {}
    for i, s in enumerate(flat_steps(program.steps)):
        if s.group is not None:
            nodes = (n for n in s.group.attr("body").nodes() if n.op.kind != "leaf")
            out[i] = list(dict.fromkeys(layer for n in nodes if (layer := origin_of(n).layer)))
    return out


def around_steps(program: Program) -> dict[int, set[str]]:
    """The same of what those layers are inside of: models in the model, wrappers."""
    return {i: {name for n in s.group.attr("body").nodes() for name in origin_of(n).around}
            for i, s in enumerate(flat_steps(program.steps)) if s.group is not None}


def kernels_of_fusions(subject: Subject) -> dict[Node, Kernel]:
    """The scheduled kernel of each fusion node of the fused graph, those in loop bodies too."""
    return {s.group: s.kernel for s in flat_steps(subject.program.steps) if s.group is not None}


def _fusions(graph: Graph) -> Iterator[Node]:
    for node in graph.nodes():
        if node.op.name == "fusion":
            yield node
        elif node.op.name == "scan":
            yield from _fusions(node.attr("body"))


class _Watching(Fuser):
    """The fuser, remembering which group became which fusion node."""

    def __init__(self, graph: Graph):
        super().__init__(graph)
        self.became: dict[Node, tuple[Node, ...]] = {}

    def _build_group(self, group: Group, new: dict[Node, Node]) -> None:
        super()._build_group(group, new)
        made = next(new[n].inputs[0] for n in group.nodes if n in new)
        self.became[made] = tuple(group.nodes)


def members_of_fusions(subject: Subject) -> dict[Node, tuple[Node, ...]]:
    """For each fusion node of the fused graph, the nodes that it was made of.

    The pass is run once more, watched; fusion is deterministic, and if the results differ nothing is claimed.
    """
    record = record_named(subject, "fuse")
    if record is None:
        return {}
    fuser = _Watching(record.before)
    again = [n for n in fuser.run().nodes() if n.op.name == "fusion"]
    ours = [n for n in record.after.nodes() if n.op.name == "fusion"]
    if [n.attr("order") for n in again] != [n.attr("order") for n in ours]:
        return {}
    return {mine: fuser.became.get(theirs, ()) for mine, theirs in zip(ours, again)}


def kernel_of_nodes(subject: Subject) -> dict[Node, Kernel]:
    """The kernel that each node became part of, as far as `fusion_of_nodes` knows."""
    kernels = kernels_of_fusions(subject)
    return {n: kernels[f] for n, f in fusion_of_nodes(subject).items() if f in kernels}


def fusion_of_nodes(subject: Subject) -> dict[Node, Node]:
    """The fusion node that each node became part of: of the graph before `fuse`, of earlier graphs as far as
    `successors` leads, and each fusion node itself."""
    out = {m: f for f, nodes in members_of_fusions(subject).items() for m in nodes}
    out.update((f, f) for f in kernels_of_fusions(subject))
    for before, after in reversed(graph_records(subject)):
        for new, old in successors(before, after).items():
            if new in out:
                out.setdefault(old, out[new])
    return out


def twins(subject: Subject) -> dict[Node, Node]:
    """For the nodes inside fused groups, the nodes before `fuse` that they repeat."""
    out: dict[Node, Node] = {}
    for fusion, members in members_of_fusions(subject).items():
        inside = fusion.attr("body").nodes()
        out.update((inside[at], member) for at, member in zip(fusion.attr("order"), members)
                   if inside[at].op is member.op)
    return out


def successors(before: Graph, after: Graph) -> dict[Node, Node]:
    """For nodes that a pass rebuilt, the nodes that they stand for: node of `after` -> node of `before`.

    Nodes of one op, type, layer and line are matched in order, where as many came as went; others are not matched.
    """
    old, new = before.nodes(), after.nodes()
    gone, come = set(old) - set(new), set(new) - set(old)
    out: dict[Node, Node] = {}
    went: dict[tuple[Any, ...], list[Node]] = {}
    came: dict[tuple[Any, ...], list[Node]] = {}
    for nodes, moved, table in ((old, gone, went), (new, come, came)):
        for n in nodes:
            if n in moved:
                o = origin_of(n)
                table.setdefault((n.op.name, n.type, o.layer, o.line), []).append(n)
    for key, now in came.items():
        if len(now) == len(went.get(key, ())):
            out.update(zip(now, went[key]))
    return out


def graph_records(subject: Subject) -> list[tuple[Graph, Graph]]:
    """Before and after of the passes that rebuild nodes of a graph (`fuse` repeats them, see `twins`)."""
    return [(r.before, r.after) for r in subject.records
            if isinstance(r.before, Graph) and isinstance(r.after, Graph) and r.name != "fuse"
            and not same(r.before, r.after)]


__all__ = ["PassRow", "PassTable", "StepRow", "Told", "around_steps", "fusion_of_nodes", "graph_records", "human",
           "kernel_of_nodes", "kernels_of_fusions", "layers_of_steps", "members_of_fusions", "pass_row", "pass_rows",
           "record_named", "same", "size_of", "step_rows", "successors", "twins"]
