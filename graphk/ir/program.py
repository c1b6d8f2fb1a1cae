"""Program: buffers with offsets in one arena, and a straight list of steps.

In: kernels and the buffers that they touch.  Out: frozen data that the runtime binds to addresses for given
values of the symbolic dims.  What always holds: sizes, offsets and step arguments are polynomials over the
program's dims, so one program serves every batch size; inputs, outputs and variables live outside the arena;
steps run in order, and a step with `barrier` waits until all threads have finished those before it.

Text form (`str(program)`, parsed by `graphk.ir.text`); each distinct kernel stands once, under a name of its own
(its label in quotes where that differs), and comments say which layer and user's line a step stems from:

    program main(n) arena 0 {
      buffer %x: f32[n,64] input 0
      buffer %w: f32[64,10] variable "dense_1/kernel"
      buffer %y: f32[n,10] output 0
      kernel dot(p0: f32 in, p1: f32 in, p2: f32 out; s0, s1, s2) schedule tile(i0, i1, i2) { ... }
      step dot(%x, %w, %y; n, 10, 64) cost 1280*n    # layer dense_1, train.py:12
    }
"""
from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Mapping

from graphk.ir.dims import Dim, product
from graphk.ir.loop import Kernel
from graphk.ir.node import Node
from graphk.ir.types import ITEMSIZE, TensorType
from graphk.ir.values import array_text, identifier, quote, word

ALIGN = 64


def _comment(line: str, origin: str) -> str:
    """A line and where it stems from; files by their own names, so that text does not depend on the machine."""
    parts = [p if p.startswith(("layer ", "rule ")) or not re.search(r":\d+$", p) else os.path.basename(p)
             for p in " ".join(origin.split()).split(", ")]
    return f"{line}    # {', '.join(parts)}" if origin else line


@dataclass(frozen=True, slots=True)
class Buffer:
    """Storage for one value: place "input", "output", "variable", "const", "arena" or "alias" (of `base`)."""
    name: str
    type: TensorType
    place: str
    index: int = -1                  # of the input or output
    offset: Dim = 0                  # bytes from the arena's start, once `memory` has run
    base: str = ""                   # alias: the buffer that it is a view of
    node: Node | None = None         # the variable or constant
    origin: str = ""

    @property
    def nbytes(self) -> Dim:
        return product(self.type.shape) * ITEMSIZE[self.type.dtype]

    def __str__(self) -> str:
        where = {"arena": f"arena+{self.offset}", "alias": f"alias %{self.base}", "input": f"input {self.index}",
                 "output": f"output {self.index}"}.get(self.place, self.place)
        if self.node is not None and self.place == "const":
            where += " " + array_text(self.node.attr("value").array)
        elif self.node is not None and self.node.attr("name"):
            where += " " + quote(self.node.attr("name"))
        return _comment(f"buffer %{self.name}: {self.type} {where}", self.origin)


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel on buffers: `buffers[i]` is the kernel's i-th parameter, `sizes[i]` its i-th size.

    group: the fused group that it was lowered from; like all that tells where a step is from, it is not compared, and
    a text has none."""
    kernel: Kernel
    buffers: tuple[str, ...]
    sizes: tuple[Dim, ...]
    barrier: bool = False            # wait for all earlier steps first
    origin: str = ""
    cost: Dim = 0                    # scalar operations, for the choice of threads
    group: Node | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return "\n".join(self.lines({}))

    def lines(self, names: Mapping[Kernel, str]) -> list[str]:
        """The text, with kernels called as `names` says (their labels by default)."""
        args = ", ".join("%" + b for b in self.buffers)
        name = names.get(self.kernel) or identifier(self.kernel.label) or "k"
        line = ("barrier; " if self.barrier else "") + f"step {name}({args}; {', '.join(map(str, self.sizes))})"
        return [_comment(line + (f" cost {self.cost}" if self.cost != 0 else ""), self.origin)]


@dataclass(frozen=True, slots=True)
class LoopStep:
    """A scan: `body` runs `length` times; before time t each window is moved to its t-th slice.

    windows: (window buffer, whole buffer, bytes per time step); a window is an alias of the whole.
    rows: 0, or a dim whose rows do not depend on each other in any trip: threads may share them for the whole loop.
    """
    length: Dim
    body: tuple["Step | LoopStep", ...]
    windows: tuple[tuple[str, str, Dim], ...]
    reverse: bool = False
    barrier: bool = False
    origin: str = ""
    rows: Dim = 0

    def __str__(self) -> str:
        return "\n".join(self.lines({}))

    def lines(self, names: Mapping[Kernel, str]) -> list[str]:
        """The text, with kernels called as `names` says (their labels by default)."""
        windows = ", ".join(f"%{w} of %{b} by {d}" for w, b, d in self.windows)
        head = (f"loop {self.length}{' reversed' if self.reverse else ''}"
                + (f" rows {self.rows}" if self.rows != 0 else "") + f" ({windows}) {{")
        inner = ["  " + line for s in self.body for line in s.lines(names)]
        return [_comment(("barrier; " if self.barrier else "") + head, self.origin), *inner, "}"]


AnyStep = Step | LoopStep


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Steps `first` to `last`, which may all run for a few rows before they run for the next ones: no row of what they
    write depends on other rows.  rows: the dim that counts them.  What they hand each other stays in caches so."""
    first: int
    last: int
    rows: Dim

    def __str__(self) -> str:
        return f"rows {self.rows} of steps {self.first} to {self.last}"


@dataclass(frozen=True, slots=True)
class Program:
    """A lowered graph."""
    name: str
    dims: tuple[str, ...]
    buffers: tuple[Buffer, ...]
    steps: tuple[AnyStep, ...]
    arena: Dim = -1                  # bytes; -1 until `memory` has run
    guards: tuple[tuple[Dim, Dim], ...] = ()
    notes: tuple[str, ...] = ()      # reasons for refused fusions
    blocks: tuple[RowBlock, ...] = ()

    @property
    def planned(self) -> bool:
        """Whether `memory` has run: offsets, private buffers and barriers are there."""
        return self.arena != -1

    def buffer(self, name: str) -> Buffer:
        return next(b for b in self.buffers if b.name == name)

    def __str__(self) -> str:
        names = kernel_names(self.steps)
        arena = f" arena {self.arena}" if self.planned else ""
        lines = [f"program {word(self.name)}({', '.join(self.dims)}){arena} {{"]
        lines += ["  " + str(b) for b in self.buffers]
        for kernel, name in names.items():
            lines += ["  " + line for line in kernel.lines(name)]
        lines += ["  " + line for s in self.steps for line in s.lines(names)]
        lines += [f"  {b}" for b in self.blocks]
        lines += [f"  guard {a} == {b}" for a, b in self.guards]
        return "\n".join([*lines, "}"])


def kernel_names(steps: tuple[AnyStep, ...]) -> dict[Kernel, str]:
    """Each distinct kernel's name in a program's text: its label, numbered where another has it."""
    names: dict[Kernel, str] = {}
    taken: set[str] = set()
    for kernel in dict.fromkeys(s.kernel for s in flat_steps(steps)):
        base = identifier(kernel.label) or "k"
        name, n = base, 1
        while name in taken:
            n += 1
            name = f"{base}_{n}"
        taken.add(name)
        names[kernel] = name
    return names


def flat_steps(steps: tuple[AnyStep, ...]) -> list[Step]:
    """All kernel steps, those inside loops too."""
    out: list[Step] = []
    for s in steps:
        out += [s] if isinstance(s, Step) else flat_steps(s.body)
    return out
