"""Weights packed once: the panels that products with a variable read, kept from call to call.

In: where a matrix lies in a variable's array.  Out: `Panels`, the same matrix in the order in which tiles read it.
What always holds: before a run, panels packed before the latest write to a variable are packed again; programs with
the same executor share the panels of a matrix.
"""
from __future__ import annotations

from typing import Iterator, Mapping, NamedTuple

import numpy as np

from graphk.codegen.target import Target
from graphk.codegen import panels
from graphk.ir.effects import root_of, touched
from graphk.ir.loop import Kernel
from graphk.ir.program import AnyStep, LoopStep, Program, Step, flat_steps
from graphk.ir.types import ITEMSIZE, SHORT
from graphk.runtime.executor import Binding, Call, Executor
from graphk.runtime.writes import Writes

PACK_COST = 200_000              # elements (about 20 us) below which one thread packs


class Matrix(NamedTuple):
    """Where a matrix lies: its first element's address, strides in elements, extents; those of a kernel's places."""
    at: int
    rs: int
    cs: int
    k: int
    n: int
    rh: int
    rw: int


def pack_job(form: panels.Panels, dtype: str, target: Target) -> tuple[str, tuple[str, ...], Target]:
    """What the kernel cache is asked for."""
    return form.source.format(t=SHORT[dtype]), ("pack",), target


class Panels:
    """A matrix packed in panels."""
    __slots__ = ("address", "nbytes", "seen", "_keep", "_args", "_function", "_binding", "_threads", "__weakref__")

    def __init__(self, matrix: Matrix, count: int, dtype: str, function: int, threads: int, source: np.ndarray,
                 borrow: bool = False):
        """source: the array that holds the matrix, or (`borrow`) one of which panels may take the room."""
        array = source if borrow else np.empty(count + 64 // ITEMSIZE[dtype], dtype)
        self.address = array.ctypes.data + -array.ctypes.data % 64
        self.nbytes = array.nbytes
        self._keep = (array, source)
        self._args = np.array([*matrix, self.address], np.int64)
        self._function = function
        self._binding = Binding((), (), [self.call()])
        self._threads = threads if count > PACK_COST else 1
        self.seen = -1

    def call(self) -> Call:
        """The step that packs."""
        return Call(self._function, self.slot)

    @property
    def slot(self) -> int:
        """Where the matrix's address stands among the arguments of that step."""
        return int(self._args.ctypes.data)

    def refresh(self, executor: Executor) -> None:
        """Pack again, if a variable was written since; the caller holds the executor's lock."""
        now = Writes.last
        if self.seen != now:
            executor.run(self._binding.address, 0, self._threads)
            self.seen = now


def packable(program: Program, params: Mapping[Kernel, int]) -> dict[int, bool]:
    """Which steps (by id) read a variable's matrix through parameter `params[kernel]`, with its value before the call.

    True: the program never writes the variable, so packed panels last for many calls.  False: it does so later; they
    last for this call, which is worth it for a step in a loop, and for no other.
    """
    roots, base = root_of(program), {b.name: b.base for b in program.buffers if b.place == "alias"}
    fixed = {b.name for b in program.buffers if b.place in ("variable", "const")}
    moving = {w for s in program.steps for w in _windows(s)}
    touches = [touched(s, roots) for s in program.steps]
    out: dict[int, bool] = {}
    for i, top in enumerate(program.steps):
        before, after = (set[str]().union(*(w for _, w in part)) for part in (touches[:i + 1], touches[i + 1:]))
        for s in flat_steps((top,)):
            name = s.buffers[params[s.kernel]] if s.kernel in params else ""
            if roots.get(name) not in fixed - before or moving & set(_views(name, base)):
                continue
            if roots[name] not in after:
                out[id(s)] = True
            elif isinstance(top, LoopStep):
                out[id(s)] = False
    return out


def writes_variables(program: Program) -> bool:
    """Whether a call changes any variable."""
    roots, fixed = root_of(program), {b.name for b in program.buffers if b.place == "variable"}
    return any(touched(s, roots)[1] & fixed for s in program.steps)


def _windows(s: AnyStep) -> list[str]:
    return [] if isinstance(s, Step) else [*(w for w, _, _ in s.windows), *(w for x in s.body for w in _windows(x))]


def _views(name: str, base: Mapping[str, str]) -> Iterator[str]:
    """A buffer, what it is a view of, and so on."""
    while name:
        yield name
        name = base.get(name, "")


__all__ = ["Matrix", "Panels", "pack_job", "packable", "writes_variables"]
