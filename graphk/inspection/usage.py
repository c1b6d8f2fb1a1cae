"""`python -m graphk memory`: what the graphs that a script ran need of memory.

In: graphs as they are compiled, and at the end the sizes with which they were called.  Out: a table, a row for each:
the arena, what sharing its bytes saves, and what lies outside it.  What always holds: nothing is run here; a graph that
was called with several sizes is told with those that need most.
"""
from __future__ import annotations

import resource
import sys
from typing import Any, Callable, Sequence

from graphk.inspection import arena
from graphk.inspection.facts import human
from graphk.inspection.subjects import Subject, matching, numbered, subject_of
from graphk.ir.node import Graph

HEAD = ("graph", "sizes", "arena", "saved by sharing", "groups of rows", "workspace", "packed weights", "variables",
        "inputs, outputs")


class Usage:
    """Sees every compilation while it is registered in `graphk.runtime.observed.OBSERVERS`."""

    def __init__(self, show: Callable[[Subject], Subject] = lambda s: s, phase: str | None = None) -> None:
        """show: makes of each subject what is told, such as the same for another target; phase: of these alone."""
        self.show, self.phase = show, phase
        self.seen: list[Subject] = []

    def __call__(self, graph: Graph, phase: int) -> "Usage":
        """A graph is about to be compiled."""
        return self

    def passed(self, record: Any) -> None:
        """Nothing is kept of passes."""

    def failed(self, error: BaseException) -> None:
        """Nor of what did not become an executable."""

    def finished(self, executable: Any) -> None:
        self.seen.append(self.show(subject_of(executable.program.name, "", executable)))

    @property
    def ran(self) -> bool:
        """Whether any has been called."""
        return any(_sizes(s) for s in self.chosen())

    def chosen(self) -> list[Subject]:
        """Those of the phase, with numbers where several are called alike."""
        return matching(numbered(self.seen), self.phase)

    def text(self, slots: bool = False) -> str:
        """The table, behind it the peak of this process; slots: and who lies where in each arena."""
        called = [(s, max(_sizes(s), key=lambda env: _total(s, env))) for s in self.chosen() if _sizes(s)]
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return f"{self.table(called, slots)}\npeak of the process {human(peak, 'B')}"

    @staticmethod
    def table(called: Sequence[tuple[Subject, dict[str, int]]], slots: bool = False) -> str:
        """A row for each graph at its sizes."""
        rows = [HEAD, *(_row(s, env) for s, env in called)]
        widths = [max(len(r[i]) for r in rows) for i in range(len(HEAD))]
        lines = ["  ".join([*map(str.ljust, r[:2], widths), *map(str.rjust, r[2:], widths[2:])]) for r in rows]
        return "\n".join([*lines, *(f"\n{arena.text(s, env)}" for s, env in called if slots)])


def _sizes(s: Subject) -> list[dict[str, int]]:
    """The dims of the calls that were made."""
    return (s.gpu or s.executable).sizes


def _plan(s: Subject, env: dict[str, int]) -> arena.Arena:
    return arena.plan(s.program, env, arena.beside(s, env))


def _total(s: Subject, env: dict[str, int]) -> int:
    a = _plan(s, env)
    return a.bytes + sum(a.outside.values())


def _row(s: Subject, env: dict[str, int]) -> tuple[str, ...]:
    a = _plan(s, env)
    o = {"groups of rows": 0, "packed weights": 0, "workspace": 0, **a.outside}
    amounts = (a.bytes, a.saved, o["groups of rows"], o["workspace"], o["packed weights"], o["variable"] + o["const"],
               o["input"] + o["output"])
    name = s.program.name + (f".{s.number}" if s.number else "")
    return name, ", ".join(f"{k}={v}" for k, v in env.items()) or "fixed", *(human(n, "B") for n in amounts)


__all__ = ["Usage"]
