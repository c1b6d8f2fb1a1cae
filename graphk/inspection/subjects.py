"""What is inspected: the compiled graphs behind a model or a function.

In: a model (compiled, or only built), a `K.function`, a `graphk.runtime` executable, or a list of these.  Out:
`Subject`s, one per compiled graph and learning phase, compiled now if they were not yet.  What always holds: nothing is
run here, so no weight changes; the symbolic dims get the values that `dims_for` chose, and a page says which.
"""
from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from graphk.codegen.other_cpu import cpu_target, runs_here
from graphk.codegen.target import Target
from graphk.ir.dims import Dim, DimExpr, evaluate, symbols
from graphk.ir.node import Graph
from graphk.ir.program import Program
from graphk.passes.pipeline import Record, run_passes
from graphk.runtime.compile import Executable

if TYPE_CHECKING:
    from graphk.runtime.gpu import GpuExecutable

PHASES = {0: "test", 1: "train"}
CAPABILITY = (9, 0)                # of a GPU that nobody named: an H100's
PARTS = ("train", "test", "predict")
OTHER_SIZE = 16                    # what a symbolic dim that is no batch size (a number of time steps) stands for


@dataclass(frozen=True)
class Subject:
    """One compiled graph: its name (`train_function`), its learning phase ("train", "test"; "" where it has none), its
    executable, and for whom it is to be shown where that is not this processor: another one, or a GPU of a compute
    capability.  Where a device runs it, `gpu` is what does, and the executable what a CPU would run.  number: among
    those of a script that are called alike, such as the predictions of its models; 0 for the only one."""
    name: str
    phase: str
    executable: Executable
    other: Target | None = None
    cuda: tuple[int, int] | None = None
    gpu: GpuExecutable | None = None
    number: int = 0

    @property
    def title(self) -> str:
        """What a reader calls it: `train`, `test`, `predict` (`predict.2`), or the function's name with its phase; and
        which part of a graph that is on several devices."""
        name, comma, part = self.name.partition(",")
        short, mark = name.removesuffix("_function"), f".{self.number}" if self.number else ""
        bare = short in PARTS or not self.phase
        return short + mark + ("" if bare else f", {self.phase} phase") + comma + part

    @property
    def target(self) -> Target:
        """Whose LLVM IR and assembly are shown, if it is no GPU."""
        return self.other or self.executable.target

    @property
    def here(self) -> bool:
        """Whether what is shown can run on this machine's processor."""
        return self.cuda is None and (self.other is None or runs_here(self.other))

    @property
    def timed(self) -> bool:
        """Whether it can be measured: it runs on this machine's processor, or on the device that runs it anyway."""
        return self.here or (self.cuda is not None and self.gpu is not None)

    @property
    def told(self) -> str:
        """For whom it is shown, for a reader."""
        if self.cuda and self.gpu:
            return self.gpu.device.name
        if self.cuda:
            return "a GPU of compute capability {}.{}".format(*self.cuda)
        return self.target.cpu or "this CPU"

    def on(self, target: str | None, capability: tuple[int, int] = CAPABILITY) -> Subject:
        """The same, shown for `cpu` (this one), `cuda`, scalar, sse, avx2, avx512 or LLVM's name of a processor; None:
        for who runs it.

        Graphs, kernels' loops and the plan of memory are the same for all, but for recurrent layers that a device's
        library computes, and images that it pads: those are loops elsewhere.  ValueError for other names.
        """
        if target is None:
            return self
        if target == "cuda":
            return replace(self, other=None, cuda=capability)
        executable = self.executable
        if self.gpu is not None:
            executable = Executable(run_passes(self.captured, int(self.phase == "train")), executable.variables)
        return replace(self, executable=executable, other=None if target == "cpu" else cpu_target(target), cuda=None)

    @property
    def records(self) -> list[Record]:
        return self.executable.result.records

    @property
    def program(self) -> Program:
        return self.executable.program

    @property
    def captured(self) -> Graph:
        """The graph before all passes."""
        first = self.records[0].before
        assert isinstance(first, Graph)
        return first


def subjects_of(thing: Any) -> list[Subject]:
    """The compiled graphs of a model (train, test and predict, as far as it is compiled) or a function.

    TypeError for anything else; RuntimeError where the graphs run in the interpreter or the model is not built.
    """
    from graphk.frontend.engine.training import Model
    from graphk.frontend.function import Function
    if isinstance(thing, Subject):
        return [thing]
    if isinstance(thing, list):
        return numbered([s for one in thing for s in subjects_of(one)])
    if isinstance(thing, Executable):
        return [Subject(thing.program.name, "", thing)]
    if isinstance(thing, Function):
        return [s for p in ((0, 1) if thing.uses_learning_phase else (None,)) for s in _subjects(thing, p)]
    if isinstance(thing, Model):
        return _model_subjects(thing)
    raise TypeError(f"only models and functions can be inspected: received {type(thing).__name__}, expected a Model, a "
                    "Sequential or what K.function returns")


def numbered(found: Sequence[Subject]) -> list[Subject]:
    """The same, those that are called alike with numbers."""
    often = Counter(s.title for s in found)
    seen: Counter[str] = Counter()
    out = []
    for s in found:
        seen[s.title] += 1
        out.append(replace(s, number=seen[s.title]) if often[s.title] > 1 else s)
    return out


def matching(found: list[Subject], phase: str | None) -> list[Subject]:
    """Those that are called train, test or predict (`predict.2`: the second), or run in that learning phase; all
    without a `phase`."""
    called = [s for s in found if phase is None or phase in {
        t.partition(", part")[0] for t in (s.title, replace(s, number=0).title)}]
    return called or [s for s in found if s.phase == phase]


def of_phase(thing: Any, phase: str | None, target: str | None = None) -> list[Subject]:
    """`subjects_of(thing)`, or those of one phase (train, test, predict), shown for a target.

    ValueError for an unknown target, and where there is no such phase.
    """
    found = [s.on(target) for s in subjects_of(thing)]
    chosen = matching(found, phase)
    if not chosen:
        raise ValueError(f"there is no graph of the phase {phase!r}; found {', '.join(s.title for s in found)}")
    return chosen


def _model_subjects(model: Any) -> list[Subject]:
    if not model.built:
        raise RuntimeError(f"the model `{model.name}` has no graph yet because its input shape is not known: give its "
                           f"first "
                           "layer `input_shape=`, or call `model.build(shape)` or `fit` first")
    out = []
    if getattr(model, "total_loss_ready", False):
        model._make_train_function()
        model._make_test_function()
        out = [s for whole, phase in ((model.train_function, 1), (model.test_function, 0))
               for f in getattr(whole, "parts", [whole]) for s in _subjects(f, phase)]
    model._make_predict_function()
    return [*out, *(s for f in getattr(model.predict_function, "parts", [model.predict_function])
                    for s in _subjects(f, 0))]


def _subjects(function: Any, phase: int | None) -> list[Subject]:
    """Of one function: several where its layers are on several devices."""
    executable = function.executable(phase or 0)
    shown = "" if phase is None else PHASES[phase]
    runs = getattr(executable, "runs", None)
    if runs is None:
        return [subject_of(function.name, shown, executable)]
    return [subject_of(f"{function.name}, part {i} of {len(runs)}", shown, run) for i, run in enumerate(runs, 1)]


def subject_of(name: str, phase: str, executable: Any) -> Subject:
    """An executable of whichever device; RuntimeError for the interpreter's."""
    if hasattr(executable, "device"):
        capability = getattr(executable.device, "capability", CAPABILITY)
        on_cpu = Executable(executable.result, executable.variables)
        return Subject(name, phase, on_cpu, cuda=capability, gpu=executable)
    if not isinstance(executable, Executable):
        raise RuntimeError(f"`{name}` runs in the interpreter (GRAPHK_EXECUTOR={os.environ.get('GRAPHK_EXECUTOR')}), "
                           "which has no passes and no kernels to show; unset GRAPHK_EXECUTOR")
    return Subject(name, phase, executable)


# ------------------------------------------------------------------ sizes
def batch_symbols(program: Program) -> set[str]:
    """Symbols that are the first axis of an input."""
    out: set[str] = set()
    for b in program.buffers:
        if b.place == "input" and b.type.shape and isinstance(b.type.shape[0], DimExpr):
            out |= symbols(b.type.shape[0])
    return out


def dims_for(program: Program, batch: int, others: Mapping[str, int] | None = None) -> dict[str, int]:
    """A value for each symbolic dim of `program`: the batch size, `others` by name, else `OTHER_SIZE`."""
    if batch < 1:
        raise ValueError(f"batch is {batch}; expected a number of samples, 1 or more")
    first = batch_symbols(program)
    chosen = {name: batch if name in first else OTHER_SIZE for name in program.dims}
    return {**chosen, **(others or {})}


def sized(found: Sequence[Subject], batch: int, others: Mapping[str, int] | None = None
          ) -> list[tuple[Subject, dict[str, int]]]:
    """Each with the sizes of its own; ValueError for a name in `others` that none of them has."""
    known = {name for s in found for name in s.program.dims}
    for name in sorted(set(others or ()) - known):
        raise ValueError(f"{', '.join(s.title for s in found)}: no graph has a size {name}; there are "
                         f"{', '.join(sorted(known)) or 'none'}")
    return [(s, dims_for(s.program, batch, {k: n for k, n in (others or {}).items() if k in s.program.dims}))
            for s in found]


def value(d: Dim, env: Mapping[str, int]) -> int:
    """A dim as a number."""
    return evaluate(d, env)


# ------------------------------------------------------------------ texts without the machine's paths
_PATH = re.compile(r"(?<![\w.])(?:/|[A-Za-z]:\\)[^\s,\"']*[/\\](?=[^/\\\s,\"']+:\d+)")


def without_folders(text: str) -> str:
    """`text` with the folders before `file.py:12` removed, so that a page says nothing of the machine."""
    return _PATH.sub("", text)


__all__ = ["CAPABILITY", "PHASES", "Subject", "batch_symbols", "dims_for", "matching", "numbered", "of_phase",
           "sized", "subject_of", "subjects_of", "value", "without_folders"]
