"""`GRAPHK_LOG=passes,fusion,recompile,cache,library`: what the compiler does, told while it does it.

In: the events of compilations, of bindings to sizes, of the kernel cache and of recordings for a GPU.  Out: lines on
standard error, one an event, each beginning with `graphk` and its topic.  What always holds: nothing is watched, and
nothing here is loaded, while the variable is unset; names of no topic are refused.
"""
from __future__ import annotations

import functools
import os
import sys
import time
from typing import Any, Mapping
from weakref import WeakKeyDictionary

from graphk.codegen import cache
from graphk.frontend.config import log_topics
from graphk.inspection.facts import human, pass_row
from graphk.inspection.sections import layer_in
from graphk.inspection.subjects import PHASES, without_folders
from graphk.ir.node import Graph
from graphk.ir.program import flat_steps
from graphk.passes.pipeline import Record
from graphk.runtime import compile as driver, library

def say(topic: str, what: str) -> None:
    """One line."""
    print(f"graphk {topic}: {' '.join(what.split())}", file=sys.stderr, flush=True)


class Log:
    """Tells of every compilation; an observer of them."""

    def __init__(self, chosen: frozenset[str]):
        self.chosen = chosen
        self.titles: WeakKeyDictionary[Any, str] = WeakKeyDictionary()           # of executables
        if "recompile" in chosen:
            driver.BOUND.append(self.bound)
        if "library" in chosen:
            library.WATCHERS.append(functools.partial(say, "library"))

    def __call__(self, graph: Graph, phase: int) -> "Compiling":
        depends = any(n.op.name == "phase" for n in graph.nodes())     # else one executable serves both phases
        return Compiling(self, graph.name + (f" ({PHASES[phase]})" if depends else ""))

    def bound(self, executable: Any, env: Mapping[str, int]) -> None:
        """An executable met sizes for the first time: addresses are computed, nothing is compiled."""
        title = self.titles.get(executable, executable.program.name)
        earlier = len(executable.sizes)
        which = "its first sizes" if executable.binds == 1 else f"new sizes, after {earlier} others"
        say("recompile", f"{title}: bound for {_sizes(env)} ({which}); no kernel is compiled for that")


class Compiling:
    """One graph on its way through the compiler."""

    def __init__(self, log: Log, title: str):
        self.log, self.title, self.start = log, title, time.perf_counter()
        self.events: dict[str, tuple[str, int]] = {}
        if "cache" in log.chosen:
            cache.WATCHERS.append(self.fetched)

    def fetched(self, event: str, key: str, size: int) -> None:
        self.events[key] = event, size

    def passed(self, record: Record) -> None:
        if "passes" in self.log.chosen:
            say("passes", str(pass_row(self.title, record)))

    def failed(self, error: BaseException) -> None:
        self._stop()
        if "recompile" in self.log.chosen:
            say("recompile", f"{self.title}: failed: {type(error).__name__}: {without_folders(str(error))}")

    def finished(self, executable: Any) -> None:
        self._stop()
        self.log.titles[executable] = self.title
        if "fusion" in self.log.chosen:
            for note in executable.result.notes:
                say("fusion", f"{self.title}: {note}")
        if "cache" in self.log.chosen and isinstance(executable, driver.Executable):
            self._kernels(executable)
        if "recompile" in self.log.chosen:
            kernels = len({s.kernel for s in flat_steps(executable.program.steps)})
            say("recompile", f"{self.title}: compiled, {len(flat_steps(executable.program.steps))} kernel calls, "
                             f"{kernels} kernels, {(time.perf_counter() - self.start) * 1e3:.0f} ms")

    def _stop(self) -> None:
        if self.fetched in cache.WATCHERS:
            cache.WATCHERS.remove(self.fetched)

    def _kernels(self, executable: Any) -> None:
        """A line for each kernel, and one for the blocks that they share."""
        left = dict(self.events)
        first = {s.kernel: s for s in reversed(flat_steps(executable.program.steps))}
        for kernel, compiled in executable.kernels.items():
            source = compiled.source
            event, size = left.pop(cache.key_of(source.text, source.entries, executable.target), ("memory", 0))
            layer = layer_in(first[kernel].origin)
            say("cache", f"{self.title}: {kernel.label}{f' of {layer}' if layer else ''}: {_where(event, size)}")
        for event in dict.fromkeys(event for event, _ in left.values()):
            sizes = [size for e, size in left.values() if e == event]
            say("cache", f"{self.title}: {len(sizes)} shared blocks and the executor's own: "
                         f"{_where(event, sum(sizes))}")


def _where(event: str, size: int) -> str:
    words = {"memory": "was in memory", "disk": "read from disk", "compiled": "compiled"}
    return words[event] + (f", {human(size, 'B')}" if size else "")


def _sizes(env: Mapping[str, int]) -> str:
    return ", ".join(f"{k}={v}" for k, v in env.items()) or "fixed sizes"


@functools.lru_cache(maxsize=8)
def _log(text: str) -> Log:
    return Log(log_topics(text))


def observer_from_environment() -> Log:
    """The log that `GRAPHK_LOG` asks for, one for each of its values."""
    return _log(os.environ["GRAPHK_LOG"])


__all__ = ["Compiling", "Log", "observer_from_environment"]
