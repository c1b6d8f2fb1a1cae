"""`graphk cost` and `graphk profile`: what each kernel call and each layer takes, at least and measured.

In: subjects with values of their dims.  Out: tables, as text and as rows; a trace for Chrome's viewer.  What always
holds: rows are sorted, the longest first; a floor is what the roofline of `roofline` leaves no kernel below, so a
measured time below it says that data was nearer than memory, or that an algorithm (Winograd's) saves operations; a
kernel of several layers is shared among them as the floors of their parts are.
"""
from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from graphk.inspection.costs import StepCost, by_layer, step_costs
from graphk.inspection.facts import human
from graphk.inspection.roofline import Machine, machine, stated
from graphk.inspection.subjects import Subject
from graphk.inspection.tables import columns, shortened
from graphk.inspection.timing import LARGE, fits, measure
from graphk.runtime.bind import threads_for

ON_DEVICE = "no floors: of this device no roof is known; `graphk cost --roof FLOPS,BYTES` says what one would mean"
NO_ROOF = ("no floors: the target is not this machine; --roof FLOPS,BYTES (in Python roof=) says how many of them a "
           "second it reaches")
Called = Sequence[tuple[Subject, Mapping[str, int]]]
COST_HEAD = ("step", "kernel", "FLOPs", "bytes", "FLOPs/byte", "bound by", "roof", "of peak", "floor", "layers")
COST_LAYERS = ("layer", "FLOPs", "bytes", "floor", "share")
BARE_HEAD = ("step", "kernel", "FLOPs", "bytes", "FLOPs/byte", "layers")
BARE_LAYERS = ("layer", "FLOPs", "bytes", "share")
TIME_HEAD = ("step", "kernel", "time", "share", "floor", "x floor", "reached", "layers")
MORE = 1.05                        # times a call: what its steps may add up to before it is said
LATE, WAITED = 4, 1e-3             # times its steps, and seconds more: what a call may take before it is said
TIME_LAYERS = ("layer", "time", "share", "floor", "x floor")


def micro(seconds: float) -> str:
    """Microseconds, three digits or whole ones; milliseconds and seconds where it is many."""
    us = seconds * 1e6
    if seconds >= 9.9995:
        return f"{seconds:,.0f} s" if seconds >= 99.5 else f"{seconds:.3g} s"
    if us >= 9999.5:
        return f"{seconds * 1e3:,.0f} ms"
    return f"{us:,.0f} us" if us >= 100 else f"{us:.3g} us"


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


@dataclass(frozen=True)
class Line:
    """One step of a program, a whole loop being one.  Seconds: `floor` computed, `time` measured (None: not asked)."""
    index: int
    label: str
    costs: tuple[StepCost, ...]
    floor: float
    time: float | None = None

    @property
    def flops(self) -> int:
        return sum(c.flops for c in self.costs)

    @property
    def layers(self) -> str:
        return ", ".join(dict.fromkeys(name for c in self.costs for name in c.layers.split(", ")))


@dataclass(frozen=True)
class GraphCosts:
    """The steps of one compiled graph in the order in which they run.  call: measured seconds of a whole call; machine:
    None for a target that is not here, or a GPU, of which no roof is known; passes: (name, seconds) of each when it was
    compiled; device: that was measured, if it is no processor."""
    title: str
    env: Mapping[str, int]
    machine: Machine | None
    lines: tuple[Line, ...]
    call: float | None = None
    passes: tuple[tuple[str, float], ...] = ()
    device: str = ""

    def layer_seconds(self) -> dict[str, tuple[float, float]]:
        """(measured or else floor, floor) of each layer."""
        out: dict[str, list[float]] = defaultdict(lambda: [0., 0.])
        for line in self.lines:
            parts = [(s.layer, _seconds(self.machine, s.flops, s.bytes, c.row.times), s.flops + s.bytes)
                     for c in line.costs for s in c.shares]
            total, whole = sum(f for _, f, _ in parts), sum(work for _, _, work in parts)
            for name, floor, work in parts:                # without a machine, by operations and bytes
                part = floor / total if total else work / whole if whole else 1 / len(parts)
                out[name][0] += part * (line.floor if line.time is None else line.time)
                out[name][1] += part * line.floor
        return {k: (a, b) for k, (a, b) in out.items()}

    # -------------------------------------------------------------- text
    def sizes(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in self.env.items()) or "fixed sizes"

    def cost_text(self, top: int | None) -> str:
        """Kernel calls and layers by their floors; without a machine by what they compute."""
        m = self.machine
        costs = sorted((c for line in self.lines for c in line.costs), key=lambda c: (-_floor(m, c), -c.flops))
        flops, nbytes = sum(c.flops for c in costs), sum(c.bytes for c in costs)
        layers = sorted(by_layer(costs).values(), key=lambda s: -s.flops)
        head = f"{self.title} ({self.sizes()}): {human(flops, 'FLOP')}, {human(nbytes, 'B')} read and written"
        if m is None:
            return "\n".join([head, _cut(BARE_HEAD, [_bare_row(c) for c in costs], top, (1, 5)), "", _cut(
                BARE_LAYERS, [(s.layer, human(s.flops), human(s.bytes, "B"), percent(s.flops, flops)) for s in layers],
                top)])
        floors = {name: f for name, (_, f) in self.layer_seconds().items()}
        floor = sum(floors.values())
        rows = [(s.layer, human(s.flops), human(s.bytes, "B"), micro(floors[s.layer]), percent(floors[s.layer], floor))
                for s in sorted(layers, key=lambda s: -floors[s.layer])]
        return "\n".join([f"{head}, floor {micro(floor)}", _cut(COST_HEAD, [_cost_row(m, c) for c in costs], top,
                                                                (1, 5, 9)), "", _cut(COST_LAYERS, rows, top)])

    def time_text(self, top: int | None) -> str:
        """Steps and layers by their times."""
        steps = sum(line.time or 0. for line in self.lines)
        rows = [_time_row(line, steps) for line in sorted(self.lines, key=lambda line: -(line.time or 0.))]
        layers = [(name, micro(t), percent(t, steps), micro(f) if f else "-", f"{t / f:.1f}" if f else "-")
                  for name, (t, f) in sorted(self.layer_seconds().items(), key=lambda kv: -kv[1][0])]
        least = f", at least {micro(sum(line.floor for line in self.lines))}" if self.machine else ""
        where = f" on {self.device}" if self.device else ""
        call = self.call or 0.
        more = _unlikely(call, steps)
        return "\n".join([f"{self.title} ({self.sizes()}){where}: a call takes {micro(call)}, its "
                          f"{len(rows)} steps {micro(steps)}{least}",
                          _cut(TIME_HEAD, rows, top, (1, 7)), "", _cut(TIME_LAYERS, layers, top), *more])


def _unlikely(call: float, steps: float) -> list[str]:
    """A note where a call and its steps, timed one by one, do not fit together.  Either may be 0: what starting a step
    costs is taken off its time."""
    if steps > MORE * call > 0:
        return [f"note: the steps add up to {steps / call:.2f} times the call. Each was timed by itself, and something "
                "else ran on this machine meanwhile, or a call finds more in the caches; on a quiet machine ask again"]
    if call > LATE * steps and call - steps > WAITED:
        times = f"{call / steps:.0f} times its steps" if steps else f"{micro(call)}, and its steps no time"
        return [f"note: the call took {times}: its threads waited for cores that something "
                "else ran on; on a quiet machine ask again, or give it fewer threads (GRAPHK_NUM_THREADS)"]
    return []


def _seconds(m: Machine | None, flops: float, nbytes: float, times: int) -> float:
    return 0. if m is None else m.floor(flops, nbytes, times)


def _floor(m: Machine | None, c: StepCost) -> float:
    return _seconds(m, c.flops, c.bytes, c.row.times)


def _label(c: StepCost) -> str:
    return shortened(c.row.step.kernel.label + (f" ({c.row.loop})" if c.row.loop else ""), 44)


def _bare_row(c: StepCost) -> tuple[str, ...]:
    return (str(c.row.index), _label(c), human(c.flops), human(c.bytes, "B"), f"{c.intensity:.3g}",
            shortened(c.layers, 60))


def _cost_row(m: Machine, c: StepCost) -> tuple[str, ...]:
    roof = m.attainable(c.flops, c.bytes, c.row.times)
    return (str(c.row.index), _label(c), human(c.flops), human(c.bytes, "B"), f"{c.intensity:.3g}",
            m.bound(c.flops, c.bytes, c.row.times), human(roof, "FLOP/s"), percent(roof, m.peak), micro(_floor(m, c)),
            shortened(c.layers, 60))


def _time_row(line: Line, whole: float) -> tuple[str, ...]:
    t = line.time or 0.
    return (str(line.index), shortened(line.label, 44), micro(t), percent(t, whole),
            micro(line.floor) if line.floor else "-", f"{t / line.floor:.1f}" if line.floor else "-",
            human(line.flops / t, "FLOP/s") if t else "-", shortened(line.layers, 60))


def _cut(head: Sequence[str], rows: Sequence[Sequence[str]], top: int | None, left: Sequence[int] = (0,)) -> str:
    text = columns(head, rows[:top], left)
    more = len(rows) - len(rows[:top])
    return text + (f"\n... and {more} more (--top {len(rows)} shows all)" if more else "")


# ------------------------------------------------------------------ making them
def graph_costs(subject: Subject, env: Mapping[str, int], timed: bool = False,
                roof: tuple[float, float] | None = None) -> GraphCosts:
    """The costs of one graph; timed: run on copies of its variables and random inputs, too.

    roof: operations and bytes a second, instead of this machine's.  ValueError where times cannot be measured: its
    variables take more than a gibibyte, or the target is not here.
    """
    if timed and not subject.timed:
        raise ValueError(f"{subject.told} is not this machine's processor, so no time can be measured; `graphk cost` "
                         "says what can be known without running it")
    costs = step_costs(subject, env)
    m = stated(*roof) if roof else machine(subject.target, threads_for(
        sum(c.row.operations for c in costs), subject.executable.executor)) if subject.here else None
    if timed and not fits(subject, env):
        raise ValueError(f"{subject.title}: {LARGE}; `graphk cost` shows what can be known without running it, a "
                         "smaller --batch needs less")
    times = measure(subject, env) if timed else None
    lines = []
    for i in range(len(subject.program.steps)):
        mine = tuple(c for c in costs if c.row.index == i)
        names = ", ".join(dict.fromkeys(c.row.step.kernel.label for c in mine))
        loop = next((c.row.loop for c in mine if c.row.loop), "")
        lines.append(Line(i, f"loop, {loop}: {names}" if loop else names, mine, sum(_floor(m, c) for c in mine),
                          times.steps[i] if times else None))
    return GraphCosts(subject.title, env, m, tuple(lines), times.call if times else None,
                      tuple((r.name, r.seconds) for r in subject.records),
                      subject.gpu.device.name if timed and subject.gpu and subject.cuda else "")


class CostTable(tuple[GraphCosts, ...]):
    """What graphs take at least; prints as tables.  `str` shows the 30 longest rows of each, `text(None)` all."""

    def text(self, top: int | None = 30) -> str:
        if not self:
            return "no compiled graph"
        roofs = dict.fromkeys(str(g.machine or NO_ROOF) for g in self)
        return "\n\n".join([*roofs, *(g.cost_text(top) for g in self)])

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__


class Profile(CostTable):
    """The same with measured times; `trace(path)` writes them for Chrome's trace viewer."""

    def text(self, top: int | None = 30) -> str:
        if not self:
            return "no compiled graph"
        roofs = dict.fromkeys(str(g.machine or ON_DEVICE) for g in self)
        return "\n\n".join([*roofs, *(g.time_text(top) for g in self)])

    def trace(self, path: str) -> str:
        """Write the steps, one after the other, as trace events in JSON (chrome://tracing, Perfetto); the path."""
        from graphk.inspection.page import write_whole
        events = [e for i, g in enumerate(self, 1) for e in (*_events(2 * i - 1, g), *_passes(2 * i, g))]
        return write_whole(path, json.dumps({"displayTimeUnit": "ms", "traceEvents": events}, indent=1) + "\n")


def _passes(process: int, g: GraphCosts) -> list[dict[str, Any]]:
    """A process for the passes that the graph went through."""
    out: list[dict[str, Any]] = [{"name": "process_name", "ph": "M", "pid": process, "tid": 0,
                                  "args": {"name": f"compiling {g.title}"}}]
    at = 0.
    for name, seconds in g.passes:
        out.append({"ph": "X", "cat": "pass", "name": name, "pid": process, "tid": 1, "ts": round(at, 3),
                    "dur": round(seconds * 1e6, 3), "args": {}})
        at += seconds * 1e6
    return out


def _events(process: int, g: GraphCosts) -> list[dict[str, Any]]:
    """A process for a graph, a thread of it for its steps and one for the layers that they stem from."""
    names = [("process_name", 0, f"{g.title} ({g.sizes()})"), ("thread_name", 1, "kernels"),
             ("thread_name", 2, "layers")]
    out: list[dict[str, Any]] = [{"name": kind, "ph": "M", "pid": process, "tid": t, "args": {"name": text}}
                                 for kind, t, text in names]
    at = 0.
    for line in g.lines:
        us = (line.time or 0.) * 1e6
        args = {"step": line.index, "layers": line.layers, "FLOPs": line.flops,
                "bytes": sum(c.bytes for c in line.costs), "floor us": round(line.floor * 1e6, 3)}
        event = {"ph": "X", "cat": "kernel", "ts": round(at, 3), "dur": round(us, 3), "pid": process}
        out.append({**event, "name": line.label, "tid": 1, "args": args})
        out.append({**event, "name": line.layers.split(", ")[0], "cat": "layer", "tid": 2, "args": {}})
        at += us
    return out


__all__ = ["CostTable", "GraphCosts", "Line", "Profile", "graph_costs", "micro"]
