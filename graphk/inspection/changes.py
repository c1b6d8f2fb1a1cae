"""What passes changed: node by node, with the rule that made each change.

In: a `Subject` and the names of two of its passes.  Out: a `Diff`, which prints as text.  What always holds: the passes
run once more, watched (`graphk.ir.node.replacements`), so that compiling pays nothing; a node that only got other
inputs is no change of its own; every node of either graph that the other lacks is in the diff.
"""
from __future__ import annotations

import difflib
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Iterable, Iterator

from graphk.inspection.subjects import Subject, without_folders
from graphk.inspection.views import nested, safe_text
from graphk.ir.node import Graph, Node, Replacement, origin_of, replacements, users
from graphk.ir.program import Program, flat_steps
from graphk.ir.text import node_names
from graphk.passes.lower import group_label
from graphk.passes.pipeline import IR, PASSES, Record, run_passes

CAPTURED = "captured"


@dataclass(frozen=True)
class Change:
    """One node: its line before ("" where it is new) and after ("" where it is gone), the rules, and its origin."""
    before: str
    after: str
    rules: tuple[str, ...]
    layer: str = ""
    line: str = ""

    @property
    def kind(self) -> str:
        return "replaced" if self.before and self.after else "removed" if self.before else "added"

    def __str__(self) -> str:
        where = ", ".join(p for p in (self.layer and f"layer {self.layer}", self.line) if p)
        lines = [f"- {self.before}"] * bool(self.before) + [f"+ {self.after}"] * bool(self.after)
        return "\n".join([*lines, f"    {'; '.join(self.rules)}{f'  # {where}' if where else ''}"])


@dataclass(frozen=True)
class Diff:
    """All changes between two stages; `rebuilt`: nodes that differ in their inputs alone."""
    title: str
    changes: tuple[Change, ...]
    rebuilt: int = 0
    same: int = 0
    lines: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        kinds = Counter(c.kind for c in self.changes)
        rules = Counter(r for c in self.changes for r in c.rules[:1])
        most = "".join(f"\n  {n:5d} by {rule}" for rule, n in rules.most_common())
        count = ", ".join(f"{kinds[k]} {k}" for k in ("removed", "added", "replaced"))
        tail = f"{count}; {self.rebuilt} on other inputs alone, {self.same} the same{most}"
        return "\n".join([self.title, *map(str, self.changes), *self.lines, *([] if self.lines else [tail])])


# ------------------------------------------------------------------ the passes, watched
class Stages:
    """The results of all passes, and what each replaced.

    `names`: "captured" and the passes; `after[name]`: what a pass made; `tables[name]`: old node -> (new node, rule),
    the latest last.
    """

    def __init__(self, subject: Subject):
        self.subject = subject
        self.names = [CAPTURED]
        self.after: dict[str, IR] = {CAPTURED: subject.captured}
        self.tables: dict[str, dict[Node, list[tuple[Node, str]]]] = {}
        self.nodes: dict[str, set[Node]] = {}
        with replacements() as seen:
            def passed(record: Record) -> None:
                self._keep(record, seen)
            self.result = run_passes(subject.captured, int(subject.phase == "train"), observer=passed,
                                     **subject.executable.result.device)

    def _keep(self, record: Record, seen: list[Replacement]) -> None:
        self.names.append(record.name)
        self.after[record.name] = record.after
        table: dict[Node, list[tuple[Node, str]]] = {}
        for old, new, rule in seen:
            table.setdefault(old, []).append((new, rule))
        seen.clear()
        self.tables[record.name] = table
        if isinstance(record.after, Graph):
            self.nodes[record.name] = set(nodes_of(record.after))

    def image(self, node: Node, first: str, last: str) -> tuple[Node | None, tuple[str, ...]]:
        """What `node` of the stage `first` is in the stage `last` (None: nothing), and the rules on the way."""
        rules: tuple[str, ...] = ()
        now: Node | None = node
        for name in self.names[self.names.index(first) + 1:self.names.index(last) + 1]:
            if now is None:
                break
            if isinstance(self.after[name], Graph):
                now, more = _follow(now, self.tables[name], self.nodes[name])
                rules += tuple(f"{name}: {rule}" if rule != name else name for rule in more)
        return now, rules


def _follow(node: Node, table: dict[Node, list[tuple[Node, str]]],
            there: set[Node]) -> tuple[Node | None, tuple[str, ...]]:
    """The first node of `there` that `node` leads to, and the rules on the way."""
    seen = {node}
    queue: deque[tuple[Node, tuple[str, ...]]] = deque([(node, ())])
    while queue:
        at, rules = queue.popleft()
        if at in there:
            return at, rules
        for new, rule in reversed(table.get(at, [])):
            if new not in seen:
                seen.add(new)
                queue.append((new, (*rules, rule) if rule else rules))
    return None, ()


def nodes_of(graph: Graph) -> Iterator[Node]:
    """The nodes of a graph and of the bodies in it."""
    for n in graph.nodes():
        yield n
        if (body := nested(n)) is not None:
            yield from nodes_of(body)


def texts_of(graph: Graph, prefix: str = "") -> dict[Node, str]:
    """The line of each node, those of bodies with the name of the node around before theirs: `%12/3`."""
    names = {n: prefix + name for n, name in node_names(graph).items()}
    out: dict[Node, str] = {}
    for n in graph.nodes():
        out.setdefault(n, safe_text(n, names))
        if (body := nested(n)) is not None:
            for m, text in texts_of(body, names[n] + "/").items():
                out.setdefault(m, text)
    return out


# ------------------------------------------------------------------ the diff
def diff(subject: Subject, first: str, last: str) -> Diff:
    """What the passes after `first`, up to `last`, changed; ValueError for unknown names or the wrong order."""
    names = [CAPTURED, *(p.name for p in PASSES)]
    for name in (first, last):
        if name not in names:
            raise ValueError(f"there is no pass {name!r}; expected one of {', '.join(names)}")
    if names.index(first) >= names.index(last):
        raise ValueError(f"`{last}` does not come after `{first}`: passes run in the order {', '.join(names)}")
    stages = Stages(subject)
    before, after = stages.after[first], stages.after[last]
    title = f"{subject.title}: after {first} -> after {last}"
    if isinstance(before, Program) and isinstance(after, Program):
        return Diff(title, (), lines=tuple(_lines(before, after)))
    assert isinstance(before, Graph)
    if isinstance(after, Program):
        at = diff_graphs(stages, first, "fuse", title) if first != "fuse" else Diff(title, ())
        return Diff(title, (*at.changes, *_steps(stages)), at.rebuilt, at.same)
    return diff_graphs(stages, first, last, title)


def diff_graphs(stages: Stages, first: str, last: str, title: str) -> Diff:
    """The changes from one graph to a later one."""
    before, after = stages.after[first], stages.after[last]
    assert isinstance(before, Graph) and isinstance(after, Graph)
    old, new = texts_of(before), texts_of(after)
    became = {n: stages.image(n, first, last) for n in old}
    changes: list[Change] = []
    made: dict[Node, tuple[Node, tuple[str, ...]]] = {}
    rebuilt = 0
    for n, (image, rules) in became.items():
        if image is None:
            continue
        made.setdefault(image, (n, rules))
        if image is n:
            continue
        if rules or image.op is not n.op:
            changes.append(_change(n, old[n], new[image], rules or (last,)))
        else:
            rebuilt += 1
    ruled = {n: (n, r) for n, (image, r) in became.items() if image is not n and r}
    uses = users(nodes_of(before))
    for n, (image, _) in became.items():
        if image is None:
            changes.append(_change(n, old[n], "", _blame(n, uses, ruled, old, False)))
    uses = users(nodes_of(after))
    ruled = {m: (n, r) for m, (n, r) in made.items() if r}
    for m in new:
        if m.op.name == "fusion":
            members = [made[x][0] for x in nested(m).nodes() if x in made]             # type: ignore[union-attr]
            changes.append(_change(m, "", new[m], (_group(m, members, old),)))
        elif m not in made and not (last == "fuse" and m.op.name in ("item", "input")):
            changes.append(_change(m, "", new[m], _blame(m, uses, ruled, old, True)))
    return Diff(title, tuple(changes), rebuilt, sum(image is n for n, (image, _) in became.items()))


def _group(fusion: Node, members: list[Node], names: dict[Node, str]) -> str:
    """What a group is called and holds."""
    inside = ", ".join(f"{names[n].split(':')[0]} {n.op.name}" for n in members if n.op.kind != "leaf")
    return f"fuse: the {fusion.attr('kind')} kernel `{group_label(fusion.attr('body'))}` of {inside}"


def _change(node: Node, before: str, after: str, rules: tuple[str, ...]) -> Change:
    o = origin_of(node)
    return Change(before, after, rules, o.layer, without_folders(o.line))


def _blame(node: Node, uses: dict[Node, list[Node]], ruled: dict[Node, tuple[Node, tuple[str, ...]]],
           names: dict[Node, str], came: bool) -> tuple[str, ...]:
    """The rules of the nearest reader that a rule replaced, which took or brought `node`."""
    seen, queue = {node}, deque([node])
    while queue:
        for u in uses.get(queue.popleft(), ()):
            if u in ruled:
                old, rules = ruled[u]
                reader = f"{names[old].split(':')[0]} = {old.op.name}"
                return (*rules, f"part of what replaced {reader}" if came else f"no longer read since {reader} was "
                                                                               "replaced")
            if u not in seen:
                seen.add(u)
                queue.append(u)
    rule = origin_of(node).rule
    return (rule or "no reader of it was replaced by a rule: it went or came with an output",)


def _steps(stages: Stages) -> Iterator[Change]:
    """The steps of the lowered program: those made of groups, and the others."""
    fused, program = stages.after["fuse"], stages.after["lower"]
    assert isinstance(fused, Graph) and isinstance(program, Program)
    texts = texts_of(fused)
    for i, step in enumerate(flat_steps(program.steps)):
        group = step.group
        text = f"step {i}: {step.lines({})[0].split(' cost ')[0].removeprefix('step ').split('    #')[0]}"
        layer, _, line = without_folders(step.origin).rpartition(", ")
        if line.startswith("layer "):
            layer, line = line, ""
        yield Change("" if group is None else texts.get(group, group_label(group.attr("body"))), text,
                     ("lower: a group becomes a kernel" if group is not None else
                      "lower: an update is a copy, which `memory` removes where it may" if step.kernel.label == "assign"
                      else "lower: an op that is no loop nest of a group",), layer.removeprefix("layer "), line)


def _lines(before: Program, after: Program) -> Iterable[str]:
    """The lines of two programs that differ."""
    a, b = (without_folders(str(p)).split("\n") for p in (before, after))
    found = list(difflib.unified_diff(a, b, "before", "after", lineterm="", n=0))[2:]
    return found or ["nothing changed"]


__all__ = ["CAPTURED", "Change", "Diff", "Stages", "diff", "nodes_of", "texts_of"]
