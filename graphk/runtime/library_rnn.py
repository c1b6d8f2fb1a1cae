"""Recurrent layers by a device's library: what it is asked for, and which steps of a program ask.

In: a planned Program with steps whose schedule is `library`, and a device whose library computes recurrent layers.
Out: for each such step and batch size a `Recurrent`, and its recording.  What always holds: a library said that it
takes the layer's `Form` before the program was made, so that it refuses nothing now; what it keeps from the way there
for the way back lies in memory of the executable, a piece for each layer, and what it works with in one piece for all,
on lane 0; of no steps or no samples nothing is asked.
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Mapping

from graphk.codegen.cuda import CudaSource, print_cuda
from graphk.ir.dims import compile_dims, evaluate
from graphk.ir.loop import Kernel
from graphk.ir.ops.recurrent import STATES, Form
from graphk.ir.program import Program, Step, flat_steps
from graphk.ir.text import parse_kernel
from graphk.passes.schedule import schedule_kernel
from graphk.runtime.device import Device, DeviceError, Work
from graphk.runtime.library import Refused, Run, tell

ALIGN = 256                       # bytes, of each piece of memory
_FILL = "kernel fill(p0: f32 out; s0) { for a in s0 { p0[a] = 0.0:f32 } }"
_COUNT = "kernel lengths(p0: i32 out; s0, s1) { for a in s0 { p0[a] = index[s1]:i32 } }"
_COPY = "kernel copy(p0: f32 in, p1: f32 out; s0) { for a in s0 { t0 = p0[a] p1[a] = t0 } }"


@dataclass(frozen=True, slots=True)
class Recurrent:
    """A recurrent layer on (time, samples, features) float32 numbers, side by side: all sequences are of one length.

    training: what the way back needs is kept; gradient: it is the way back.  tf32: whether products may be rounded to
    10 bits of the mantissa.  Weights lie as `graphk.ir.ops.recurrent` says.
    """
    form: Form
    time: int
    samples: int
    training: bool = False
    gradient: bool = False
    tf32: bool = False

    def __str__(self) -> str:
        return (f"{'gradients of ' if self.gradient else ''}{self.form}, {self.time} steps of {self.samples} samples"
                + (" as tf32" if self.tf32 else ""))


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where things are; `cells` are an LSTM's other states, 0 where there are none; `d_…` gradients, for the way back.

    lengths: an int32 for each sample, the number of its steps.
    """
    inputs: int
    weights: int
    outputs: int
    first: int
    last: int
    lengths: int
    room: int
    first_cells: int = 0
    last_cells: int = 0
    kept: int = 0
    d_inputs: int = 0
    d_weights: int = 0
    d_outputs: int = 0
    d_first: int = 0
    d_last: int = 0
    d_first_cells: int = 0
    d_last_cells: int = 0


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes that a library works with during a call (`room`), and keeps until the way back (`kept`)."""
    room: int
    kept: int


class RecurrentLibrary(ABC):
    """What computes recurrent layers on a device."""
    name: str

    @abstractmethod
    def take(self, form: Form, tf32: bool) -> None:
        """`Refused` unless the library computes such layers, weights lying as they are said to."""

    @abstractmethod
    def needs(self, what: Recurrent) -> Needs:
        """The memory that a call needs; all that has to be made before a recording is made."""

    @abstractmethod
    def ask(self, what: Recurrent, at: Addresses, needs: Needs) -> Run:
        """What records the call on a stream.  The weights' gradients are added to what is there."""

    def refusal(self, form: Form, tf32: bool) -> str:
        """Why the library does not compute such layers; "" if it does."""
        try:
            self.take(form, tf32)
        except Refused as e:
            return f"{self.name} refused {form}: {e}"
        return ""


class RecurrentSteps:
    """The steps of one program that are recurrent layers.

    notes: a line for each recurrent layer that is none of them, with the reason.
    """

    def __init__(self, program: Program, device: Device, tf32: bool, notes: tuple[str, ...] = ()):
        self.device, self.tf32, self.notes = device, tf32, notes
        self.steps = [s for s in flat_steps(program.steps) if s.kernel.called]
        if self.steps and device.recurrent is None:
            raise DeviceError(f"{program.name} calls a library for recurrent layers, which {device.name} does not "
                              "have; compile its graph for this device")
        self.loaded: dict[str, tuple[CudaSource, list[Any]]] = {}
        self._told: set[tuple[int, ...]] = set()

    @property
    def library(self) -> RecurrentLibrary:
        """The device's, which is there where there are steps."""
        assert self.device.recurrent is not None
        return self.device.recurrent

    def find(self, step: Step, env: Mapping[str, int]) -> Recurrent:
        """What a step asks for at these sizes."""
        assert step.kernel.schedule is not None
        cell, biases, what = step.kernel.schedule.axes
        time, samples, features, units = compile_dims(step.sizes)(env)
        form = Form(cell, features, units, ("none", "one", "two").index(biases))
        return Recurrent(form, time, samples, what == "training", what == "gradient", self.tf32)

    # -------------------------------------------------------------- memory
    def _layout(self, env: Mapping[str, int]) -> tuple[dict[str, int], int, int]:
        """Where each token's piece begins, where the room begins, and all bytes."""
        pieces: dict[str, int] = {}
        room = at = 0
        for s in self.steps:
            found = self.find(s, env)
            if not found.time or not found.samples:
                continue
            needs = self.library.needs(found)
            room = max(room, needs.room)
            if found.training:
                pieces[s.buffers[-1]] = at
                at += -(-needs.kept // ALIGN) * ALIGN
        lengths = max((4 * self.find(s, env).samples for s in self.steps), default=0)
        return pieces, at, at + -(-lengths // ALIGN) * ALIGN + room

    def scratch(self, env: Mapping[str, int], before: int = 0) -> int:
        """Bytes that the calls need besides the arena, `before` of which are another's."""
        return before + (self._layout(env)[2] + ALIGN if self.steps else 0)          # to begin at a multiple of it

    # -------------------------------------------------------------- recording
    def prepare(self, env: Mapping[str, int]) -> None:
        """Compile what the calls need around them, and tell what is asked for."""
        for text in (_FILL, _COUNT, _COPY) if self.steps else ():
            if text not in self.loaded:
                source = print_cuda(_small(text), self.device.threads, self.device.tile)
                self.loaded[text] = source, self.device.load(source)
        if tuple(env.values()) not in self._told:
            self._told.add(tuple(env.values()))
            for line in self.lines(env):
                tell(line)

    def lines(self, env: Mapping[str, int]) -> list[str]:
        """For each recurrent layer what computes it: a line of text."""
        out = []
        for s in self.steps:
            layer = next((part[6:] for part in s.origin.split(", ") if part.startswith("layer ")), "")
            out.append(f"{s.kernel.label}{f' of {layer}' if layer else ''}: {self.library.name}: {self.find(s, env)}")
        return [*out, *self.notes]

    def record(self, step: Step, env: Mapping[str, int], at: Mapping[str, int], scratch: int, work: Work) -> None:
        """Record a step's call on the current lane, which is that of all of them."""
        what = self.find(step, env)
        scratch += -scratch % ALIGN
        pieces, lengths, _ = self._layout(env)
        n, form = STATES[what.form.cell], what.form
        given = [at[b] for b in step.buffers]
        rows = what.samples * form.units
        if what.gradient:
            (x, w, y, _), first, dy, last = given[:4], given[4:4 + n], given[4 + n], given[5 + n:5 + 2 * n]
            dx, dw, *d_first = given[5 + 2 * n:]
            self._launch(_FILL, [dw], [form.size], work)
            ends = list(zip(last, d_first))
        else:
            (x, w), first, y, final = given[:2], given[2:2 + n], given[2 + n], given[3 + n:3 + 2 * n]
            ends = list(zip(first, final))
        if not what.time or not what.samples:
            for source, target in ends if rows else ():
                self._launch(_COPY, [source, target], [rows], work)
            return
        room = lengths + -(-4 * what.samples // ALIGN) * ALIGN
        self._launch(_COUNT, [scratch + lengths], [what.samples, what.time], work)
        token = step.buffers[3] if what.gradient else step.buffers[-1]
        kept = scratch + pieces[token] if what.gradient or what.training else 0
        if what.gradient:
            places = Addresses(x, w, y, first[0], 0, scratch + lengths, scratch + room, kept=kept, d_inputs=dx,
                               d_weights=dw, d_outputs=dy, d_first=d_first[0], d_last=last[0],
                               first_cells=first[1] if n > 1 else 0, d_first_cells=d_first[1] if n > 1 else 0,
                               d_last_cells=last[1] if n > 1 else 0)
        else:
            places = Addresses(x, w, y, first[0], final[0], scratch + lengths, scratch + room, kept=kept,
                               first_cells=first[1] if n > 1 else 0, last_cells=final[1] if n > 1 else 0)
        work.call(self.library.ask(what, places, self.library.needs(what)))

    def _launch(self, text: str, addresses: list[int], sizes: list[int], work: Work) -> None:
        source, functions = self.loaded[text]
        env = dict(zip(_small(text).sizes, sizes))
        for launch, function in zip(source.launches, functions, strict=True):
            work.launch(function, evaluate(launch.blocks, env), launch.threads, [*addresses, *sizes])


@lru_cache(maxsize=8)
def _small(text: str) -> Kernel:
    return schedule_kernel(parse_kernel(text))


__all__ = ["Addresses", "Needs", "Recurrent", "RecurrentLibrary", "RecurrentSteps"]
