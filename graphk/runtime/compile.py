"""The driver: from a Graph to something that runs.

In: a Graph as captured, arrays for its variables, and the learning phase.  Out: an `Executable`.  What always
holds: passes and code generation happen once; a new batch size only binds addresses and sizes anew; a call
checks its arrays in native code before anything is written; calls from several threads are serialized.
"""
from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from graphk.codegen import cache
from graphk.codegen.cpu import Source, print_kernel
from graphk.codegen.target import Target, host_target
from graphk.ir.dims import Dim, compile_dims, substitute, sym, symbols
from graphk.ir.effects import handed_on, root_of
from graphk.ir.loop import Kernel
from graphk.ir.node import Graph, Node
from graphk.ir.program import AnyStep, Buffer, RowBlock, Step, flat_steps
from graphk.ir.row_loops import row_bytes
from graphk.ir.types import ITEMSIZE
from graphk.passes.pipeline import Result
from graphk.runtime.bind import Binder, Bound, scratch_bytes, threads_for
from graphk.runtime.calls import Calls
from graphk.runtime.executor import Executor, default_executor, native_job, pack_externs
from graphk.runtime.groups import Groups, groups
from graphk.runtime.observed import observed
from graphk.runtime.panels import pack_job, packable, writes_variables
from graphk.runtime.writes import Writes, new_number


BATCHES = 16                     # that one native call runs at most, of small programs
LONG_COST = 200_000_000          # scalar operations (about 20 ms on one thread) of a call that runs several batches


@dataclass(frozen=True)
class Compiled:
    """A kernel's source and the addresses of its entries."""
    source: Source
    addresses: tuple[int, ...]


def compile_kernels(kernels: Sequence[Kernel], target: Target) -> dict[Kernel, Compiled]:
    """Machine code for scheduled kernels, from the cache if it is there, otherwise compiled all at once."""
    sources = {k: print_kernel(replace(k, label="k")) for k in kernels}
    packing = {pack_job(s.panels, s.dtype, target): None for s in sources.values() if s.panels}
    tables = cache.get_kernels([(s.text, s.entries, target) for s in sources.values()], list(packing))
    return {k: Compiled(s, tuple(table[e] for e in s.entries))
            for (k, s), table in zip(sources.items(), tables, strict=True)}


class Executable(Calls):
    """A compiled graph.  Call it with one checked array per input; it returns one fresh array per output.

    Source: the design's "one native call per step".  Variables are read and written in their own arrays.
    """

    def __init__(self, result: Result, variables: Mapping[Node, np.ndarray], target: Target | None = None,
                 executor: Executor | None = None):
        super().__init__(result)
        self.target = target or host_target()
        self.kernels = compile_kernels([s.kernel for s in flat_steps(self.program.steps)], self.target)
        self.executor = executor or default_executor()
        self._execute = self.executor.execute
        self.variables = dict(variables)
        self.packable = packable(self.program, {k: c.source.panels.param for k, c in self.kernels.items()
                                                if c.source.panels})
        self._roots = root_of(self.program)
        self.table = {b.name: b for b in self.program.buffers}
        self.handed = handed_on(self.program, self._roots)
        self._writes = writes_variables(self.program)
        self._consts: dict[str, np.ndarray] = {}
        self._bound: dict[tuple[int, ...], Bound] = {}
        self._arena = np.empty(0, np.uint8)
        self._spare = np.empty(0, np.uint8)
        self._scratch = np.empty(0, np.uint8)
        self.cost = total_cost(self.program.steps)
        self._dims = compile_dims(self._all_dims())
        self._externs = pack_externs([None] * (len(self.inputs) + len(self.outputs)))
        self._externs_at = ctypes.addressof(self._externs)
        self._repeated: dict[tuple[int, ...], Bound] = {}
        self._rows = "" if self._writes else self._counted()
        self.batches = BATCHES if self._rows else 1
        self._last: Bound | None = None
        self._busy = False                         # whether a call fills in `_externs`
        self.binds = 0

    # -------------------------------------------------------------- calling
    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        with self.executor.lock:
            bound = self._last
            if bound is not None and not self._busy:
                self._busy = True                  # a signal's handler may call, too, and must find `_externs` taken
                try:
                    if bound.panels and bound.seen != Writes.last:
                        bound.refresh(self.executor)
                    if self._writes:
                        if bound.panels:
                            bound.note_own_write()
                        else:
                            Writes.last = new_number()
                    outs = [np.empty(shape, dtype) for shape, dtype in bound.outputs]
                    externs = self._externs
                    i = 0
                    for a in inputs:
                        externs[i] = id(a)
                        i += 1
                    for a in outs:
                        externs[i] = id(a)
                        i += 1
                    if not (self._execute(bound.address, self._externs_at, 1) if bound.threads == 1 else
                            self.executor.run(bound.address, self._externs_at, bound.threads)):
                        return outs
                finally:
                    self._busy = False
            return self._slow_call(inputs)

    def _slow_call(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The first call at a shape, or one that interrupts another: find or make the binding."""
        arrays = [self.fit(b, a) for b, a in zip(self.inputs, inputs)]
        bound = self.bind(self.dims_of(arrays))
        outs = [np.empty(shape, dtype) for shape, dtype in bound.outputs]
        externs = pack_externs([*arrays, *outs])
        bound.refresh(self.executor)
        if self._writes:
            bound.note_own_write()
        bad = self.executor.run(bound.address, ctypes.addressof(externs), bound.threads)
        if bad:
            name = self.inputs[bad - 1].name if bad <= len(self.inputs) else f"output {bad - 1 - len(self.inputs)}"
            raise ValueError(f"`{name}` of {self.program.name} does not fit: received shape "
                             f"{[*arrays, *outs][bad - 1].shape}, expected "
                             f"{[*self.inputs, *self.outputs][bad - 1].type}")
        self._last = bound
        return outs

    # -------------------------------------------------------------- many batches
    def _counted(self) -> str:
        """The dim that counts rows of every input and output, and nothing else of them; "" if there is none."""
        ends = [*self.inputs, *self.outputs]
        names = {str(b.type.shape[0]) if b.type.shape else "" for b in ends}
        rows = names.pop() if len(names) == 1 else ""
        alone = rows in self.program.dims and all(row_bytes(b, sym(rows)) != 0 and rows not in symbols(
            row_bytes(b, sym(rows))) for b in ends)
        return rows if alone else ""

    def repeat(self, inputs: Sequence[np.ndarray], times: int) -> list[np.ndarray] | None:
        """The outputs for so many batches (at most `batches`) that follow each other in `inputs`, each computed by
        itself, in one native call; None where that would take long: a call cannot be interrupted."""
        arrays = [self.fit(b, a) for b, a in zip(self.inputs, inputs)]
        env = self.dims_of([a[:len(a) // times] for a in arrays])                  # guards are asked of one batch
        if self._cost(env) * times > LONG_COST:
            return None
        key = (times, *env.values())
        with self.executor.lock:
            bound = self._repeated.get(key)
            if bound is None:
                bound = Binder(self, env).whole(self._rows, times)
                if len(self._repeated) >= 64:
                    self._repeated.clear()
                self._repeated[key] = bound
            outs = [np.empty(shape, dtype) for shape, dtype in bound.outputs]
            externs = pack_externs([*arrays, *outs])
            bound.refresh(self.executor)
            if self.executor.run(bound.address, ctypes.addressof(externs), bound.threads):
                raise ValueError(f"{times} batches of {self.program.name} do not fit: received shapes "
                                 f"{[a.shape for a in arrays]}")
            return outs

    # -------------------------------------------------------------- dims
    def _all_dims(self) -> tuple[Dim, ...]:
        """Every polynomial that binding evaluates, in one list."""
        out: list[Dim] = [self.program.arena, self.cost]
        out += [b.offset for b in self.program.buffers]
        for s in flat_steps(self.program.steps):
            out += s.sizes
            out += self._tile_dims(s)
        return tuple(out)

    def _tile_dims(self, s: Step) -> tuple[Dim, ...]:
        """What sizes the workspace of a tiled contraction, and places its packed panels."""
        source = self.kernels[s.kernel].source
        env = dict(zip(s.kernel.sizes, s.sizes))
        return tuple(substitute(d, env) for part in (source.workspace, source.panels) if part for d in part.dims())

    # -------------------------------------------------------------- binding
    @property
    def sizes(self) -> list[dict[str, int]]:
        """The dims of calls that it is bound for, earliest first."""
        return [dict(zip(self._where, key)) for key in self._bound]

    def bind(self, env: Mapping[str, int]) -> Bound:
        """Addresses and sizes for these dims; kept for the next call with them."""
        key = tuple(env.values())
        found = self._bound.get(key)
        if found is None:
            self.binds += 1
            found = Binder(self, env).whole()
            for see in BOUND:
                see(self, env)
            if len(self._bound) >= 64:
                self._bound.clear()
            self._bound[key] = found
        return found

    def arena(self, nbytes: int) -> np.ndarray:
        """The arena; a larger one makes earlier bindings forgotten."""
        if self._arena.nbytes < nbytes + 64:
            self._bound.clear()
            self._repeated.clear()
            self._last = None
            self._arena = np.empty(nbytes + 64, np.uint8)
        return self._arena

    def spare(self, nbytes: int) -> np.ndarray:
        """Memory for what steps, one after another, pack for themselves alone."""
        if self._spare.nbytes < nbytes + 64:
            self._spare = np.empty(nbytes + 64, np.uint8)
        return self._spare

    def scratch(self, nbytes: int) -> np.ndarray:
        """The workspace of tiled kernels."""
        if self._scratch.nbytes < nbytes:
            self._scratch = np.empty(nbytes, np.uint8)
        return self._scratch

    def array_at(self, name: str) -> np.ndarray:
        """The array of the variable or constant that a buffer views."""
        b = self.program.buffer(self._roots[name])
        return self.const(b) if b.place == "const" else self.variables[b.node]         # type: ignore[index]

    def packed_bytes(self, env: Mapping[str, int], target: Target | None = None) -> int:
        """Bytes of the packed panels of calls with these dims (on another `target`), besides buffers and arena: those
        kept, those of blocks that run by rows, and the memory where one step after another packs its own."""
        kept: dict[Any, int] = {}
        spare = 0
        few_rows = {id(s): (block, plan) for block, plan in self.groups(env).items()
                    for s in flat_steps(self.program.steps[block.first:block.last + 1])}
        for s in flat_steps(self.program.steps):
            source = self.kernels[s.kernel].source
            if source.panels is not None:
                block, plan = few_rows.get(id(s), (None, None))
                here = {**env, str(block.rows): plan.rows} if block and plan else env
                where = compile_dims(self._tile_dims(s)[-len(source.panels.dims()):])(here)
                *_, k, n, _, _, few, rows = where
                tile = (target or self.target).tile_shape(source.dtype)
                nbytes = source.panels.elements(tile, k, n) * ITEMSIZE[source.dtype]
                if not source.panels.wanted(k, n, few, self.packable.get(id(s)) is True):
                    continue
                if id(s) in self.packable or plan and plan.moving.get(s.buffers[source.panels.param]) == 0:
                    kept[s.buffers[source.panels.param], where[:-2]] = nbytes
                elif plan is None and source.panels.each_time(n, rows):
                    spare = max(spare, nbytes)
        return sum(kept.values()) + spare

    def _cost(self, env: Mapping[str, int]) -> int:
        """Scalar operations of a call with these dims."""
        return compile_dims((self.cost,))(env)[0]

    def threads(self, env: Mapping[str, int]) -> int:
        """How many threads run it."""
        return threads_for(self._cost(env), self.executor)

    def groups(self, env: Mapping[str, int]) -> dict[RowBlock, Groups]:
        """How the blocks run that run by rows in calls with these dims."""
        if not self.program.blocks:
            return {}
        threads = self.threads(env)
        plans = {block: groups(self, block, env, threads) for block in self.program.blocks}
        return {block: plan for block, plan in plans.items() if plan}

    def workspace_bytes(self, env: Mapping[str, int], target: Target | None = None) -> int:
        """Bytes of the workspace that all tiled kernels share in calls with these dims (on another `target`), of all
        threads."""
        each = [0]
        for s in flat_steps(self.program.steps):
            source = self.kernels[s.kernel].source
            if source.workspace is not None:
                values = compile_dims(self._tile_dims(s)[:len(source.workspace.dims())])(env)
                each.append(scratch_bytes(source, target or self.target, list(values)))
        return max(each) * self.threads(env)

    def const(self, b: Buffer) -> np.ndarray:
        if b.name not in self._consts:
            assert b.node is not None
            self._consts[b.name] = b.node.attr("value").array
        return self._consts[b.name]


def total_cost(steps: Sequence[AnyStep]) -> Dim:
    """Scalar operations of a whole program."""
    out: Dim = 0
    for s in steps:
        out = out + (s.cost if isinstance(s, Step) else s.length * total_cost(s.body))
    return out


def compile_graph(graph: Graph, variables: Mapping[Node, np.ndarray], phase: int = 0,
                  observer: Callable[[Any], None] | None = None, verify: bool = True) -> Executable:
    """An executable for `graph` in one learning phase (1 train, 0 test).

    variables: for each variable node its array, which is read and written in place for the executable's life.
    """
    # Every program needs it: on a first start it is compiled while the passes run.
    cache.prefetch(native_job)
    return observed(graph, phase, lambda result: Executable(result, variables), observer, verify)


# Called with an executable and the dims that it was just bound for.
BOUND: list[Callable[[Executable, Mapping[str, int]], None]] = []

