"""Binding: a program's addresses and sizes at given dims, as the words that the executor runs.

In: an `Executable` and values of the symbolic dims.  Out: a `Bound`.  What always holds: everything a call needs is
found once; arrays that the words point into live as long as they do; kernels that pack for themselves alone share one
memory, and all tiled kernels one workspace, with barriers where one must not begin before another has ended.
"""
from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Mapping, Sequence

import numpy as np

from graphk.codegen import cache
from graphk.codegen.cpu import Source
from graphk.codegen.target import Target
from graphk.ir.dims import compile_dims
from graphk.ir.program import AnyStep, Buffer, LoopStep, RowBlock, Step, flat_steps
from graphk.ir.row_loops import names_in, row_bytes
from graphk.ir.types import ITEMSIZE
from graphk.runtime.executor import Binding, Call, Executor, Guard, Loop, Parts, Patch
from graphk.runtime.executor import Step as Native
from graphk.runtime.groups import FEW_ROWS, Groups, private_bytes
from graphk.runtime.panels import Matrix, Panels, pack_job
from graphk.runtime.writes import Writes, note_write

if TYPE_CHECKING:
    from graphk.runtime.compile import Executable

SMALL_COST = 1_500_000           # scalar operations (about 20 us) below which one thread is faster than two
MANY_BYTES = 1 << 20             # read by all rows, beyond which threads rather share each step


WAIT = 2                            # calls in place: what they lose is what packing takes
LATER = np.empty(0, np.int64)       # stands for a slot that is still to be made


class Bound:
    """An executable at given dims: argument slots, the executor's binding, and shapes of the outputs.

    `panels`: with the slot of a step that may read in place, too, and does so for `WAIT` calls after a write: packing
    takes as long as they lose.  `asked`: the latest write that was seen, `calls`: how many there were since.
    """
    __slots__ = ("binding", "address", "outputs", "threads", "panels", "seen", "asked", "calls", "keep")

    def __init__(self, binding: Binding, outputs: list[tuple[tuple[int, ...], np.dtype[Any]]], threads: int,
                 panels: list[tuple[Panels, np.ndarray | None]], keep: list[Any]):
        self.binding = binding
        self.address = binding.address
        self.outputs = outputs
        self.threads = threads
        self.panels = panels
        self.seen = self.asked = -1
        self.calls = 0
        self.keep = keep

    def refresh(self, executor: Executor) -> None:
        """Pack again what other programs, or the user, may have written since."""
        now, packed = Writes.last, True
        self.calls = self.calls + 1 if self.asked == now else 0
        for p, slot in self.panels:
            if slot is None or self.calls >= WAIT:
                p.refresh(executor)
            if slot is not None:
                slot[0] = p.address if p.seen == now else 0
                packed = packed and p.seen == now
        self.asked, self.seen = now, now if packed else -1

    def note_own_write(self) -> None:
        """The latest write is this program's, which writes none of the matrices that it keeps packed."""
        now = note_write()
        for p, _ in self.panels:
            if p.seen == now - 1:
                p.seen = now
        if self.seen == now - 1:
            self.seen = now
        if self.asked == now - 1:
            self.asked = now


class Binder:
    """Makes one Bound."""

    def __init__(self, exe: Executable, env: Mapping[str, int]):
        called = next((s.kernel.label for s in flat_steps(exe.program.steps) if s.kernel.called), "")
        if called:
            raise RuntimeError(f"{exe.program.name} was compiled for a device whose library computes `{called}`; "
                               "compile its graph for the CPU to run it there")
        self.exe, self.env = exe, env
        values = iter(exe._dims(env))
        arena = next(values)
        cost = next(values)
        self.threads = threads_for(cost, exe.executor)
        self.table = exe.table
        self.plans = exe.groups(env)
        self.private_bytes = private_bytes(self.plans.values())
        room = exe.arena(arena + self.threads * self.private_bytes)
        self.base = room.ctypes.data + -room.ctypes.data % 64
        self.private = self.base + arena                 # of a thread, one behind another
        self.offset = {b.name: next(values) for b in exe.program.buffers}
        self.values = values
        self.room = room
        self.keep: list[Any] = [room]
        self.patches: list[Patch] = []
        self.panels: list[tuple[Panels, np.ndarray | None]] = []
        self.once = False                                # whether what is bound runs once in a call
        self.scratch: list[tuple[np.ndarray, int, int, int]] = []   # of tiled kernels: words, bytes a thread and an
                                                                    # element, and whose it is in a loop of its own
        self.part: int | None = None                     # the thread whose own loop is made
        self.packed: dict[Any, Panels] = {}              # by this call's own steps, before all others
        self.first: list[Call] = []                      # packs what this call's loops read
        self.common: dict[str, dict[Any, Panels]] = {}   # for each buffer that all rows of a block read: before it
        self.addresses, self.externs = self._addresses()
        self.windows: dict[str, list[int]] = {}          # window buffer -> slots that hold its address

    def _addresses(self) -> tuple[dict[str, int], dict[str, int]]:
        """Each buffer's address, or for an extern the bytes from its start (0, until a window moves it)."""
        at: dict[str, int] = {}
        extern: dict[str, int] = {}
        exe, table = self.exe, self.table

        def place(b: Buffer) -> None:
            if b.name in at:
                return
            if b.place == "alias":
                place(table[b.base])
                at[b.name] = at[b.base]
                if b.base in extern:
                    extern[b.name] = extern[b.base]
            elif b.place in ("input", "output"):
                at[b.name] = 0
                extern[b.name] = b.index + (len(exe.inputs) if b.place == "output" else 0)
            elif b.place == "arena":
                at[b.name] = self.base + self.offset[b.name]
            else:
                array = exe.array_at(b.name)
                self.keep.append(array)
                at[b.name] = array.ctypes.data
        for b in exe.program.buffers:
            place(b)
        return at, extern

    def whole(self, rows: str = "", times: int = 1) -> Bound:
        """All steps; or so many times in a row, each time with the next `rows` of every input and output."""
        steps: list[Native] = []
        every, at = self.exe.program.steps, 0
        self.once = times == 1
        for block, plan in self.plans.items():
            steps += self.steps(every[at:block.first])
            _wait(steps)
            steps += self._block(block, plan)
            at = block.last + 1
        steps += self.steps(every[at:])
        if times > 1:
            ends = [*self.exe.inputs, *self.exe.outputs]
            sizes = compile_dims(tuple(b.nbytes for b in ends))(self.env)
            steps = [Loop(times, tuple((p.slot, sizes[p.extern]) for p in self.patches), tuple(steps))]
            self.env = {**self.env, rows: self.env[rows] * times}
        steps[:0] = [replace(c, barrier=i == len(self.first)) for i, c in enumerate(self.first, 1)]
        return self.bound(steps)

    def pieces(self, times: int = 1) -> list[Bound]:
        """For measuring: nothing, what a call does before its steps (packs what loops read), then each step by itself,
        so many times."""
        parts: list[list[Native]] = [self.steps([s]) for s in self.exe.program.steps]
        parts[:0] = [], [*self.first]
        for part in parts:
            _wait(part)
        return [self.bound(part * times) for part in parts]

    def bound(self, steps: Sequence[Native]) -> Bound:
        exe = self.exe
        self.place_scratch()
        guards = [self._guard(b, False) for b in exe.inputs] + [self._guard(b, True) for b in exe.outputs]
        shapes = [(g.shape, np.dtype(g.dtype)) for g in guards[len(exe.inputs):]]
        return Bound(Binding(guards, self.patches, steps), shapes, self.threads, self.panels, self.keep)

    def _guard(self, b: Buffer, writeable: bool) -> Guard:
        return Guard(b.type.dtype, compile_dims(b.type.shape)(self.env), writeable)

    # -------------------------------------------------------------- steps
    def steps(self, steps: Sequence[AnyStep]) -> list[Native]:
        out: list[Native] = []
        for s in steps:
            if s.barrier:
                _wait(out)
            if isinstance(s, LoopStep):
                _wait(out)                           # the body may pack over what the step before reads, or not run
                out.append(self._loop(s))
            else:
                self._calls(s, out)
        return out

    def _calls(self, s: Step, out: list[Native]) -> None:
        compiled = self.exe.kernels[s.kernel]
        sizes = [next(self.values) for _ in s.sizes]
        words = [self.addresses[b] for b in s.buffers] + sizes
        if compiled.source.workspace:
            values = [next(self.values) for _ in compiled.source.workspace.dims()]
            each = scratch_bytes(compiled.source, self.exe.target, values)
            at_scratch = len(words)
            words += [0, 0]
        if compiled.source.panels:
            places = [next(self.values) for _ in compiled.source.panels.dims()]
            words.append(self._packed(s, compiled.source, places, out))
        args = np.array(words, np.int64)
        if self.panels and self.panels[-1][1] is LATER:
            self.panels[-1] = self.panels[-1][0], args[len(words) - 1:]
        at = args.ctypes.data
        self.keep.append(args)
        if compiled.source.workspace:
            place = args[at_scratch:at_scratch + 2]
            self.scratch.append((place, each, ITEMSIZE[compiled.source.dtype], self.part or 0))
        for i, b in enumerate(s.buffers):
            self.windows.setdefault(b, []).append(at + 8 * i)
            if b in self.externs:
                self.patches.append(Patch(self.externs[b], at + 8 * i, self.addresses[b]))
        last = len(compiled.addresses) - 1
        out += [Call(f, at, barrier=i < last, alone=not par)
                for i, (f, par) in enumerate(zip(compiled.addresses, compiled.source.parallel))]

    def place_scratch(self) -> None:
        """One workspace for all kernels: a thread's part begins at the same place in each, so that one may begin
        before all threads have left the one before."""
        each = max((nbytes for _, nbytes, _, _ in self.scratch), default=0)
        if each:
            array = self.exe.scratch(each * self.threads + 64)
            self.keep.append(array)
            at = array.ctypes.data
            for words, _, size, part in self.scratch:
                words[:] = at + -at % 64 + part * each, each // size

    def _packed(self, s: Step, source: Source, values: list[int], out: list[Native]) -> int:
        """The address of panels packed before the step runs, at the latest by a call put at the end of `out`; 0 where
        the step packs them itself, or reads in place."""
        base, rs, cs, k, n, rh, rw, few, rows = values
        lasting, form, exe = self.exe.packable.get(id(s)), source.panels, self.exe
        assert form is not None
        name, dtype = s.buffers[form.param], source.dtype
        own = lasting is None and self.part is not None
        if not form.wanted(k, n, few, lasting is True) or (own and name not in self.common):
            return 0                                     # no thread may pack over what another reads
        if lasting is None and not own and not form.each_time(n, rows):
            return 0
        offset = base * ITEMSIZE[dtype]
        at = Matrix(self.addresses[name] + offset, rs, cs, k, n, rh, rw)
        key = at, dtype, form.winograd
        panels = (self.common[name].get(key) if own else None if lasting is None else
                  exe.executor.panels.get(key) if lasting else self.packed.get(key))
        if panels is None:
            function = cache.get_kernel(*pack_job(form, dtype, exe.target))["pack"]
            count = form.elements(exe.target.tile_shape(dtype), k, n)
            spare = lasting is None and not own
            whose = exe.spare(count * ITEMSIZE[dtype]) if spare else self.room if own else exe.array_at(name)
            panels = Panels(at, count, dtype, function, exe.executor.threads, whose, spare)
        self.keep.append(panels)
        if lasting:
            exe.executor.panels[key] = panels
            later = self.once and self.part is None and form.in_place(few)
            self.panels.append((panels, LATER if later else None))
            if later:
                return 0
        elif own:
            self.common[name][key] = panels
        elif lasting is None:
            _wait(out)                               # they lie where those of the step before lay
            out.append(replace(panels.call(), barrier=True))
            self.windows.setdefault(name, []).append(panels.slot)
            if name in self.externs:
                self.patches.append(Patch(self.externs[name], panels.slot, at.at))
        elif key not in self.packed:
            self.packed[key] = panels
            self.first.append(panels.call())
        return panels.address

    def _loop(self, s: LoopStep) -> Native:
        once, self.once = self.once, False
        own = s.rows != 0 and self.threads > 1 and self._own_rows_pay(s)
        loop = self._parts(s) if own else self._trips(s)
        self.once = once
        return loop

    def _own_rows_pay(self, s: LoopStep) -> bool:
        """Whether each thread has enough rows for a loop of its own, and all can read what they have in common."""
        rows, = compile_dims((s.rows,))(self.env)
        steps, table = flat_steps(s.body), self.table
        common = tuple(table[n].nbytes for n in dict.fromkeys(n for x in steps for n in x.buffers)
                       if row_bytes(table[n], s.rows) == 0)
        forms = [self.exe.kernels[x.kernel].source.panels for x in steps if id(x) not in self.exe.packable]
        return (rows >= FEW_ROWS * self.threads and sum(compile_dims(common)(self.env)) <= MANY_BYTES
                and not any(form and form.winograd for form in forms))

    def _parts(self, s: LoopStep) -> Parts:
        """A loop whose threads each compute rows of their own, and meet again behind it."""
        steps = flat_steps(s.body)
        names = names_in((s,))
        count, *each = compile_dims((s.rows, *(row_bytes(self.table[n], s.rows) for n in names)))(self.env)
        dims = tuple(d for x in steps for d in (*x.sizes, *self.exe._tile_dims(x)))
        rest, addresses = self.values, self.addresses
        for _ in dims:
            next(rest)
        parts = []
        for part in range(self.threads):
            first, last = (count * t // self.threads for t in (part, part + 1))
            self.part = part
            self.values = iter(compile_dims(dims)({**self.env, str(s.rows): last - first}))
            self.addresses = {**addresses, **{n: addresses[n] + first * size for n, size in zip(names, each)}}
            parts.append((self._trips(s),))
        self.part, self.values, self.addresses = None, rest, addresses
        return Parts(tuple(parts))

    # -------------------------------------------------------------- blocks of rows
    def _block(self, block: RowBlock, plan: Groups) -> list[Native]:
        """All steps for a few rows, then for the next ones, each thread with rows of its own."""
        exe, rows = self.exe, str(block.rows)
        steps = exe.program.steps[block.first:block.last + 1]
        dims = tuple(d for x in flat_steps(steps) for d in (*x.sizes, *exe._tile_dims(x)))
        rest, addresses = self.values, self.addresses
        for _ in dims:
            next(rest)
        self.common = {n: {} for n, size in plan.moving.items() if size == 0}
        parts = []
        for part in range(self.threads):
            self.part = part
            start, last = (self.env[rows] * t // self.threads for t in (part, part + 1))
            near = self.private + part * self.private_bytes
            own = {n: near + plan.offsets[exe._roots[n]] for n in names_in(steps) if exe._roots[n] in plan.offsets}
            loops = []
            for few, times in ((plan.rows, (last - start) // plan.rows), ((last - start) % plan.rows, 1)):
                if few == 0 or times == 0:
                    continue
                self.values = iter(compile_dims(dims)({**self.env, rows: few}))
                self.addresses = {**addresses, **own, **{n: addresses[n] + start * b for n, b in plan.moving.items()}}
                before = {n: len(self.windows.get(n, ())) for n in plan.moving}
                body = self.steps(steps)
                bumps = [(slot, few * size) for n, size in plan.moving.items() if size
                         for slot in self.windows.get(n, [])[before[n]:]]
                loops.append(Loop(times, tuple(bumps), tuple(body)))
                start += few * times
            parts.append(tuple(loops))
        self.part, self.values, self.addresses = None, rest, addresses
        out: list[Native] = []
        for name, each in self.common.items():
            for (matrix, *_), panels in each.items():
                out.append(panels.call())
                if name in self.externs:
                    self.patches.append(Patch(self.externs[name], panels.slot, matrix.at))
        self.common = {}
        _wait(out)
        return [*out, Parts(tuple(parts))]

    def _trips(self, s: LoopStep) -> Loop:
        trips, *strides = compile_dims((s.length, *(d for _, _, d in s.windows)))(self.env)
        for (w, _, _), stride in zip(s.windows, strides):
            if s.reverse:
                self.addresses[w] += max(trips - 1, 0) * stride
            for view in self._views(w):
                self.addresses[view] = self.addresses[w]
        before = {w: len(self.windows.get(w, ())) for w in self.addresses}
        body = self.steps(s.body)
        bumps = [(slot, -stride if s.reverse else stride) for (w, _, _), stride in zip(s.windows, strides)
                 for view in [w, *self._views(w)] for slot in self.windows.get(view, [])[before.get(view, 0):]]
        return Loop(trips, tuple(bumps), tuple(body))

    def _views(self, name: str) -> list[str]:
        """Aliases of a buffer, at any depth: reshapes of a window, and the windows of inner loops over it."""
        out: list[str] = []
        for b in self.exe.program.buffers:
            if b.place == "alias" and b.base in (name, *out):
                out.append(b.name)
        return out


def threads_for(cost: int, executor: Executor) -> int:
    """How many threads run a program of so many scalar operations."""
    return 1 if cost < SMALL_COST else executor.threads


def scratch_bytes(source: Source, target: Target, values: list[int]) -> int:
    """Bytes that a thread needs in a tiled kernel, for the values of its workspace's dims."""
    assert source.workspace is not None
    each = source.workspace.elements(target.tile_shape(source.dtype), values) * ITEMSIZE[source.dtype]
    return -(-each // 64) * 64


def _wait(calls: list[Native]) -> None:
    """A barrier behind the last of them (a loop ends with one)."""
    if calls and isinstance(calls[-1], Call):
        calls[-1] = replace(calls[-1], barrier=True)


__all__ = ["Binder", "Bound", "scratch_bytes", "threads_for"]
