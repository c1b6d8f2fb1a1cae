"""Who watches compilations, for whichever device: dumps, logs, and commands that gather what a program compiles.

In: a graph, and what makes an executable of the result of the passes.  Out: that executable.  What always holds: where
nobody watches nothing is done; an executable is seen once it is whole, and running it costs nothing more.
"""
from __future__ import annotations

from typing import Any, Callable, TypeVar

from graphk.ir.node import Graph
from graphk.passes.pipeline import Result, run_passes

Made = TypeVar("Made")
# Asked before each compilation for something with `passed(record)`, `finished(executable)` and `failed(error)`.
OBSERVERS: list[Callable[[Graph, int], Any]] = []


def observed(graph: Graph, phase: int, make: Callable[[Result], Made], observer: Callable[[Any], None] | None = None,
             verify: bool = True, **options: Any) -> Made:
    """What `make` makes of a graph after all passes.  observer: one more that sees them, of this compilation alone;
    options: further arguments of `run_passes`."""
    if not OBSERVERS:
        return make(run_passes(graph, phase, verify, observer, **options))
    watchers = [start(graph, phase) for start in OBSERVERS]

    def passed(record: Any) -> None:
        for see in [*([observer] if observer else []), *(w.passed for w in watchers)]:
            see(record)
    try:
        executable = make(run_passes(graph, phase, verify, passed, **options))
    except BaseException as error:
        for w in watchers:
            w.failed(error)
        raise
    for w in watchers:
        w.finished(executable)
    return executable


__all__ = ["OBSERVERS", "observed"]
