"""The one list of passes, and the manager that runs it.

In: a Graph as captured, and the learning phase.  Out: a planned Program, and a record of every pass (its
result, time and notes).  What always holds: after a pass that changed something its result is verified, and
every property that earlier passes ensured is checked again; `observer` sees each result.
"""
from __future__ import annotations

import gc
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping, Union

from graphk.ir import verify
from graphk.ir.node import Graph
from graphk.ir.program import Program
from graphk.passes.compact import compact
from graphk.passes.decompose import decompose
from graphk.passes.fuse import Note, fuse
from graphk.passes.lower import lower
from graphk.passes.memory import memory
from graphk.passes.padding import padding
from graphk.passes.recurrent import Refuses, recurrent
from graphk.passes.scans import scans
from graphk.passes.schedule import schedule
from graphk.passes.shapes import shapes
from graphk.passes.simplify import simplify
from graphk.passes.slices import slices
from graphk.passes.specialize import specialize
from graphk.passes.widen import widen

IR = Union[Graph, Program]


@dataclass
class State:
    """What passes may know besides the IR: the learning phase, and notes for later passes and readers."""
    phase: int = 0
    notes: tuple[Note, ...] = ()
    refuses: Refuses | None = None           # why a library of the device does not take a recurrent layer
    loops: tuple[str, ...] = ()              # a line for each recurrent layer that is a loop nevertheless
    convolves: bool = False                  # whether a library of the device computes convolutions


@dataclass(frozen=True)
class Pass:
    """A named rewrite; `ensures`: predicates that hold from here on (see `graphk.ir.verify`)."""
    name: str
    run: Callable[[Any, State], Any]
    ensures: tuple[verify.Rule, ...] = ()


def _fuse(graph: Graph, state: State) -> Graph:
    out, state.notes = fuse(graph)
    return out


def _recurrent(graph: Graph, state: State) -> Graph:
    out, state.loops = recurrent(graph, state.refuses)
    return out


PASSES = (
    Pass("specialize", lambda g, s: specialize(g, s.phase), (verify.no_phase,)),
    Pass("recurrent", _recurrent, (verify.no_recurrences,)),
    Pass("scans", lambda g, s: scans(g)),
    Pass("shapes", lambda g, s: shapes(g), (verify.all_shapes_bound,)),
    Pass("simplify", lambda g, s: simplify(g)),
    Pass("decompose", lambda g, s: decompose(g), (verify.no_composites,)),
    Pass("widen", lambda g, s: widen(g), (verify.no_narrow,)),
    Pass("simplify2", lambda g, s: simplify(g, composites=False)),
    Pass("compact", lambda g, s: compact(g)),
    Pass("slices", lambda g, s: slices(g)),
    Pass("padding", lambda g, s: padding(g) if s.convolves else g),
    Pass("fuse", _fuse),
    Pass("lower", lambda g, s: lower(g, s.notes)),
    Pass("schedule", lambda p, s: schedule(p)),
    Pass("memory", lambda p, s: memory(p)),
)


@dataclass(frozen=True)
class Record:
    """One pass that ran."""
    name: str
    before: IR
    after: IR
    seconds: float


@dataclass
class Result:
    """A compiled graph and how it came about; device: what `run_passes` was told of one."""
    program: Program
    records: list[Record] = field(default_factory=list)
    notes: tuple[Note, ...] = ()
    loops: tuple[str, ...] = ()
    device: Mapping[str, Any] = field(default_factory=dict)


def run_passes(graph: Graph, phase: int = 0, verify_all: bool = True,
               observer: Callable[[Record], None] | None = None, refuses: Refuses | None = None,
               convolves: bool = False) -> Result:
    """All passes in order.

    refuses: says of a recurrent layer why the device's library does not compute it; None where there is no library.
    convolves: whether the device has a library of convolutions, which pads images itself.
    """
    collecting = gc.isenabled()
    gc.disable()               # nearly all that passes make stays: looking for what does not takes a tenth of the time
    try:
        return _run_all(graph, State(phase, refuses=refuses, convolves=convolves), verify_all, observer)
    finally:
        if collecting:
            gc.enable()


def _run_all(graph: Graph, state: State, verify_all: bool, observer: Callable[[Record], None] | None) -> Result:
    ir: IR = graph
    records: list[Record] = []
    ensured: tuple[verify.Rule, ...] = ()
    for p in PASSES:
        t = time.perf_counter()
        new = p.run(ir, state)
        records.append(Record(p.name, ir, new, time.perf_counter() - t))
        ensured += p.ensures
        if verify_all and new is not ir:
            check(new, p.name, ensured)
        if observer is not None:
            observer(records[-1])
        ir = new
    assert isinstance(ir, Program)
    return Result(ir, records, state.notes, state.loops, {"refuses": state.refuses, "convolves": state.convolves})


def check(ir: IR, after: str, ensured: tuple[verify.Rule, ...]) -> None:
    """Verify one result, and every property ensured so far."""
    if isinstance(ir, Graph):
        verify.verify_graph(ir, after, ensured)
    else:
        verify.verify_program(ir, after)
