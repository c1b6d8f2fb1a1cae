"""Program: buffers with offsets in one arena, and a straight list of steps.

In: kernels and the buffers that they touch.  Out: frozen data that the runtime binds to addresses for given
values of the symbolic dims.  What always holds: sizes, offsets and step arguments are polynomials over the
program's dims, so one program serves every batch size; inputs, outputs and variables live outside the arena;
steps run in order, and a step with `barrier` waits until all threads have finished those before it.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphk.ir.dims import Dim, product
from graphk.ir.loop import Kernel
from graphk.ir.node import Node
from graphk.ir.types import ITEMSIZE, TensorType

ALIGN = 64


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
        where = {"arena": f"arena+{self.offset}", "alias": f"alias {self.base}", "input": f"input {self.index}",
                 "output": f"output {self.index}"}.get(self.place, self.place)
        return f"buffer %{self.name}: {self.type} {where}" + (f"    # {self.origin}" if self.origin else "")


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel on buffers: `buffers[i]` is the kernel's i-th parameter, `sizes[i]` its i-th size."""
    kernel: Kernel
    buffers: tuple[str, ...]
    sizes: tuple[Dim, ...]
    barrier: bool = False            # wait for all earlier steps first
    origin: str = ""
    cost: Dim = 0                    # scalar operations, for the choice of threads

    def __str__(self) -> str:
        args = ", ".join("%" + b for b in self.buffers)
        sizes = ", ".join(map(str, self.sizes))
        return ("barrier; " if self.barrier else "") + f"step {self.kernel.label}({args}; {sizes})" \
            + (f"    # {self.origin}" if self.origin else "")


@dataclass(frozen=True, slots=True)
class LoopStep:
    """A scan: `body` runs `length` times; before time t each window is moved to its t-th slice.

    windows: (window buffer, whole buffer, bytes per time step); a window is an alias of the whole.
    """
    length: Dim
    body: tuple["Step | LoopStep", ...]
    windows: tuple[tuple[str, str, Dim], ...]
    reverse: bool = False
    barrier: bool = False
    origin: str = ""

    def __str__(self) -> str:
        wins = ", ".join(f"%{w} of %{b} by {d}" for w, b, d in self.windows)
        head = ("barrier; " if self.barrier else "") + f"loop {self.length}{' reversed' if self.reverse else ''} ({wins}) {{"
        return "\n".join([head, *["  " + line for s in self.body for line in str(s).split("\n")], "}"])


AnyStep = Step | LoopStep


@dataclass(frozen=True, slots=True)
class Program:
    """A lowered graph."""
    name: str
    dims: tuple[str, ...]
    buffers: tuple[Buffer, ...]
    steps: tuple[AnyStep, ...]
    arena: Dim = 0                   # bytes, once `memory` has run
    guards: tuple[tuple[Dim, Dim], ...] = ()
    notes: tuple[str, ...] = ()      # reasons for refused fusions

    def buffer(self, name: str) -> Buffer:
        return next(b for b in self.buffers if b.name == name)

    def __str__(self) -> str:
        lines = [f"program {self.name}({', '.join(self.dims)}) arena {self.arena} {{"]
        lines += ["  " + str(b) for b in self.buffers]
        lines += ["  " + line for s in self.steps for line in str(s).split("\n")]
        lines += [f"  guard {a} == {b}" for a, b in self.guards]
        return "\n".join([*lines, "}"])


def flat_steps(steps: tuple[AnyStep, ...]) -> list[Step]:
    """All kernel steps, those inside loops too."""
    out: list[Step] = []
    for s in steps:
        out += [s] if isinstance(s, Step) else flat_steps(s.body)
    return out


def conflicts(reads: set[Any], writes: set[Any], more_reads: set[Any], more_writes: set[Any]) -> bool:
    """Whether two steps must not run at the same time."""
    return bool(writes & (more_reads | more_writes) or reads & more_writes)
