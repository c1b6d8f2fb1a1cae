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
from graphk.ir.dims import Dim, DimExpr, compile_dims, evaluate, substitute, symbols
from graphk.ir.effects import root_of
from graphk.ir.loop import Kernel
from graphk.ir.node import Graph, Node, origin_of
from graphk.ir.program import AnyStep, Buffer, LoopStep, Program, Step, flat_steps
from graphk.ir.types import ITEMSIZE
from graphk.passes.pipeline import Result, run_passes
from graphk.passes.shapes import required_equal
from graphk.runtime.executor import Binding, Call, Executor, Guard, Loop, Patch, default_executor, native_job
from graphk.runtime.panels import Matrix, Panels, pack_job, packable, writes_variables
from graphk.runtime.writes import Writes, new_number, note_write

SMALL_COST = 1_500_000           # scalar operations (about 20 us) below which one thread is faster than two


@dataclass(frozen=True)
class Compiled:
    """A kernel's source and the addresses of its entries."""
    source: Source
    addresses: tuple[int, ...]


def compile_kernels(kernels: Sequence[Kernel], target: Target) -> dict[Kernel, Compiled]:
    """Machine code for scheduled kernels, from the cache if it is there, otherwise compiled all at once."""
    sources = {k: print_kernel(replace(k, label="k")) for k in kernels}
    tables = cache.get_kernels([(s.text, s.entries, target) for s in sources.values()])
    return {k: Compiled(s, tuple(table[e] for e in s.entries))
            for (k, s), table in zip(sources.items(), tables, strict=True)}


class Bound:
    """An executable at given dims: argument slots, the executor's binding, and shapes of the outputs."""
    __slots__ = ("binding", "address", "outputs", "threads", "panels", "seen", "keep")

    def __init__(self, binding: Binding, outputs: list[tuple[tuple[int, ...], np.dtype[Any]]], threads: int,
                 panels: list[Panels], keep: list[Any]):
        self.binding = binding
        self.address = binding.address
        self.outputs = outputs
        self.threads = threads
        self.panels = panels
        self.seen = -1
        self.keep = keep

    def refresh(self, executor: Executor) -> None:
        """Pack again what other programs, or the user, may have written since."""
        now = Writes.last
        for p in self.panels:
            p.refresh(executor)
        self.seen = now

    def note_own_write(self) -> None:
        """The latest write is this program's, which writes none of the matrices that it keeps packed."""
        now = note_write()
        for p in self.panels:
            if p.seen == now - 1:
                p.seen = now
        if self.seen == now - 1:
            self.seen = now


class Executable:
    """A compiled graph.  Call it with one checked array per input; it returns one fresh array per output.

    Source: the design's "one native call per step".  Variables are read and written in their own arrays.
    """

    def __init__(self, result: Result, variables: Mapping[Node, np.ndarray], target: Target | None = None,
                 executor: Executor | None = None):
        self.result = result
        self.program: Program = result.program
        self.target = target or host_target()
        self.kernels = compile_kernels([s.kernel for s in flat_steps(self.program.steps)], self.target)
        self.executor = executor or default_executor()
        self.variables = dict(variables)
        self.inputs = sorted((b for b in self.program.buffers if b.place == "input"), key=lambda b: b.index)
        self.outputs = sorted((b for b in self.program.buffers if b.place == "output"), key=lambda b: b.index)
        self.packable = packable(self.program, {k: c.source.panels.param for k, c in self.kernels.items()
                                                if c.source.panels})
        self._roots = root_of(self.program)
        self._writes = writes_variables(self.program)
        self._consts: dict[str, np.ndarray] = {}
        self._where = self._symbol_places()
        self._bound: dict[tuple[int, ...], Bound] = {}
        self._arena = np.empty(0, np.uint8)
        self._spare = np.empty(0, np.uint8)
        self._dims = compile_dims(self._all_dims())
        self._externs = (ctypes.c_int64 * (len(self.inputs) + len(self.outputs)))()
        self._externs_at = ctypes.addressof(self._externs)
        self._last: Bound | None = None
        self.binds = 0

    # -------------------------------------------------------------- calling
    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        with self.executor.lock:
            bound = self._last
            if bound is not None:
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
                if not self.executor.run(bound.address, self._externs_at, bound.threads):
                    return outs
            return self._slow_call(inputs)

    def _slow_call(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The first call at a shape: find or make the binding."""
        arrays = [self._fit(b, a) for b, a in zip(self.inputs, inputs)]
        bound = self.bind(self.dims_of(arrays))
        outs = [np.empty(shape, dtype) for shape, dtype in bound.outputs]
        for i, a in enumerate([*arrays, *outs]):
            self._externs[i] = id(a)
        bound.refresh(self.executor)
        if self._writes:
            bound.note_own_write()
        bad = self.executor.run(bound.address, self._externs_at, bound.threads)
        if bad:
            name = self.inputs[bad - 1].name if bad <= len(self.inputs) else f"output {bad - 1 - len(self.inputs)}"
            raise ValueError(f"`{name}` of {self.program.name} does not fit: received shape "
                             f"{[*arrays, *outs][bad - 1].shape}, expected "
                             f"{[*self.inputs, *self.outputs][bad - 1].type}")
        self._last = bound
        return outs

    def _fit(self, b: Buffer, a: np.ndarray) -> np.ndarray:
        """An aligned, contiguous ndarray (not a subclass) of the buffer's dtype."""
        out = np.asarray(a, b.type.dtype)
        if type(out) is not np.ndarray or not (out.flags.c_contiguous and out.flags.aligned):
            out = np.array(out, b.type.dtype, order="C", copy=True, subok=False)
        if out.ndim != len(b.type.shape):
            raise ValueError(f"the input `{b.name}` of {self.program.name} has {out.ndim} axes {out.shape}, "
                             f"expected {b.type}")
        return out

    # -------------------------------------------------------------- dims
    def _symbol_places(self) -> dict[str, tuple[int, int]]:
        """For each symbolic dim, an input and axis whose extent it is."""
        out: dict[str, tuple[int, int]] = {}
        for b in self.inputs:
            for axis, d in enumerate(b.type.shape):
                if isinstance(d, DimExpr) and str(d) in symbols(d):
                    out.setdefault(str(d), (b.index, axis))
        return out

    def dims_of(self, arrays: Sequence[np.ndarray]) -> dict[str, int]:
        """The values of the symbolic dims; ValueError if inputs disagree."""
        env = {name: arrays[i].shape[axis] for name, (i, axis) in self._where.items()}
        for b, a in zip(self.inputs, arrays):
            want = compile_dims(b.type.shape)(env)
            if want != a.shape:
                raise ValueError(f"the input `{b.name}` of {self.program.name} has shape {a.shape}, expected {want}: "
                                 f"what is computed from it needs {b.type}" + (f", with {env}" if env else ""))
        for x, y in self.program.guards:
            p, q = compile_dims((x, y))(env)
            if p != q:
                raise ValueError(f"{self.program.name} needs {x} == {y}, but with {env} they are {p} and {q}"
                                 + self._where_unequal(env))
        return env

    def _where_unequal(self, env: Mapping[str, int]) -> str:
        """Which op takes sizes to be equal that are not, and whose it is."""
        graph = next((r.after for r in self.result.records if r.name == "shapes"), None)
        for node in graph.nodes() if isinstance(graph, Graph) else ():
            for pair in required_equal(node):
                a, b = (evaluate(d, env) if symbols(d) <= set(env) else None for d in pair)
                if None not in (a, b) and a != b:
                    shapes = " and ".join(str(i.type) for i in node.inputs)
                    return f": `{node.op.name}` of {shapes} to {node.type} meets {a} and {b} ({origin_of(node)})"
        return ""

    def _all_dims(self) -> tuple[Dim, ...]:
        """Every polynomial that binding evaluates, in one list."""
        out: list[Dim] = [self.program.arena, total_cost(self.program.steps)]
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
    def bind(self, env: Mapping[str, int]) -> Bound:
        """Addresses and sizes for these dims; kept for the next call with them."""
        key = tuple(env.values())
        found = self._bound.get(key)
        if found is None:
            self.binds += 1
            found = _Binder(self, env).whole()
            if len(self._bound) >= 64:
                self._bound.clear()
            self._bound[key] = found
        return found

    def pieces(self, env: Mapping[str, int], times: int = 1) -> list[Bound]:
        """For measuring: nothing, what a call does before its steps (packs what loops read), then each step by itself,
        so many times."""
        binder = _Binder(self, env)
        parts: list[list[Call | Loop]] = [binder.steps([s]) for s in self.program.steps]
        parts[:0] = [], [*binder.first]
        for part in parts:
            _wait(part)
        return [binder.bound(part * times) for part in parts]

    def arena(self, nbytes: int) -> int:
        """The arena's address; a larger arena makes earlier bindings invalid."""
        if self._arena.nbytes < nbytes + 64:
            self._bound.clear()
            self._last = None
            self._arena = np.empty(nbytes + 64, np.uint8)
        at = self._arena.ctypes.data
        return at + -at % 64

    def spare(self, nbytes: int) -> np.ndarray:
        """Memory for what steps, one after another, pack for themselves alone."""
        if self._spare.nbytes < nbytes + 64:
            self._spare = np.empty(nbytes + 64, np.uint8)
        return self._spare

    def array_at(self, name: str) -> np.ndarray:
        """The array of the variable or constant that a buffer views."""
        b = self.program.buffer(self._roots[name])
        return self.const(b) if b.place == "const" else self.variables[b.node]         # type: ignore[index]

    def packed_bytes(self, env: Mapping[str, int]) -> int:
        """Bytes of the packed panels of calls with these dims, besides buffers and arena: those kept, and the memory
        where one step after another packs its own."""
        kept: dict[Any, int] = {}
        spare = 0
        for s in flat_steps(self.program.steps):
            source = self.kernels[s.kernel].source
            if source.panels is not None:
                where = compile_dims(self._tile_dims(s)[-len(source.panels.dims()):])(env)
                *_, k, n, _, _, few, rows = where
                nbytes = source.panels.elements(self.target.tile_shape(source.dtype), k, n) * ITEMSIZE[source.dtype]
                if not source.panels.wanted(k, n, few):
                    continue
                if id(s) in self.packable:
                    kept[s.buffers[source.panels.param], where[:-2]] = nbytes
                elif source.panels.each_time(n, rows):
                    spare = max(spare, nbytes)
        return sum(kept.values()) + spare

    def const(self, b: Buffer) -> np.ndarray:
        if b.name not in self._consts:
            assert b.node is not None
            self._consts[b.name] = b.node.attr("value").array
        return self._consts[b.name]


class _Binder:
    """Makes one Bound."""

    def __init__(self, exe: Executable, env: Mapping[str, int]):
        self.exe, self.env = exe, env
        values = iter(exe._dims(env))
        arena = next(values)
        cost = next(values)
        executor = exe.executor
        self.threads = 1 if cost < SMALL_COST else executor.threads
        self.base = exe.arena(arena)
        self.offset = {b.name: next(values) for b in exe.program.buffers}
        self.values = values
        self.keep: list[Any] = [exe._arena]
        self.patches: list[Patch] = []
        self.panels: list[Panels] = []
        self.first: list[Call] = []                      # packs what this call's loops read
        self.addresses, self.externs = self._addresses()
        self.windows: dict[str, list[int]] = {}          # window buffer -> slots that hold its address

    def _addresses(self) -> tuple[dict[str, int], dict[str, int]]:
        """Each buffer's address, or for an extern the bytes from its start (0, until a window moves it)."""
        at: dict[str, int] = {}
        extern: dict[str, int] = {}
        exe = self.exe
        table = {b.name: b for b in exe.program.buffers}

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

    def whole(self) -> Bound:
        steps = self.steps(self.exe.program.steps)
        steps[:0] = [replace(c, barrier=i == len(self.first)) for i, c in enumerate(self.first, 1)]
        return self.bound(steps)

    def bound(self, steps: Sequence[Call | Loop]) -> Bound:
        exe = self.exe
        guards = [self._guard(b, False) for b in exe.inputs] + [self._guard(b, True) for b in exe.outputs]
        shapes = [(g.shape, np.dtype(g.dtype)) for g in guards[len(exe.inputs):]]
        return Bound(Binding(guards, self.patches, steps), shapes, self.threads, self.panels, self.keep)

    def _guard(self, b: Buffer, writeable: bool) -> Guard:
        return Guard(b.type.dtype, compile_dims(b.type.shape)(self.env), writeable)

    # -------------------------------------------------------------- steps
    def steps(self, steps: Sequence[AnyStep]) -> list[Call | Loop]:
        out: list[Call | Loop] = []
        for s in steps:
            if s.barrier:
                _wait(out)
            if isinstance(s, LoopStep):
                _wait(out)                           # the body may pack over what the step before reads, or not run
                out.append(self._loop(s))
            else:
                self._calls(s, out)
        return out

    def _calls(self, s: Step, out: list[Call | Loop]) -> None:
        compiled = self.exe.kernels[s.kernel]
        sizes = [next(self.values) for _ in s.sizes]
        words = [self.addresses[b] for b in s.buffers] + sizes
        if compiled.source.workspace:
            words += self._scratch(compiled.source, [next(self.values) for _ in compiled.source.workspace.dims()])
        if compiled.source.panels:
            places = [next(self.values) for _ in compiled.source.panels.dims()]
            words.append(self._packed(s, compiled.source, places, out))
        args = np.array(words, np.int64)
        at = args.ctypes.data
        self.keep.append(args)
        for i, b in enumerate(s.buffers):
            self.windows.setdefault(b, []).append(at + 8 * i)
            if b in self.externs:
                self.patches.append(Patch(self.externs[b], at + 8 * i, self.addresses[b]))
        last = len(compiled.addresses) - 1
        out += [Call(f, at, barrier=i < last, alone=not par)
                for i, (f, par) in enumerate(zip(compiled.addresses, compiled.source.parallel))]

    def _scratch(self, source: Source, values: list[int]) -> list[int]:
        """A workspace of a tiled kernel: its address and elements per thread."""
        assert source.workspace is not None
        each = -(-source.workspace.elements(self.exe.target.tile_shape(source.dtype), values) // 16) * 16
        array = np.empty(each * ITEMSIZE[source.dtype] * self.threads + 64, np.uint8)
        self.keep.append(array)
        at = array.ctypes.data
        return [at + -at % 64, each]

    def _packed(self, s: Step, source: Source, values: list[int], out: list[Call | Loop]) -> int:
        """The address of panels packed before the step runs, at the latest by a call put at the end of `out`; 0 where
        the step packs them itself, or reads in place."""
        base, rs, cs, k, n, rh, rw, few, rows = values
        lasting, form, exe = self.exe.packable.get(id(s)), source.panels, self.exe
        assert form is not None
        if not form.wanted(k, n, few) or (lasting is None and not form.each_time(n, rows)):
            return 0
        name, dtype = s.buffers[form.param], source.dtype
        offset = base * ITEMSIZE[dtype]
        at = Matrix(self.addresses[name] + offset, rs, cs, k, n, rh, rw)
        key = at, dtype, form.winograd
        panels = exe.executor.panels.get(key) if lasting else None
        if panels is None:
            function = cache.get_kernel(*pack_job(form, dtype, exe.target))["pack"]
            count = form.elements(exe.target.tile_shape(dtype), k, n)
            whose = exe.spare(count * ITEMSIZE[dtype]) if lasting is None else exe.array_at(name)
            panels = Panels(at, count, dtype, function, exe.executor.threads, whose, lasting is None)
        self.keep.append(panels)
        if lasting:
            exe.executor.panels[key] = panels
            self.panels.append(panels)
        elif lasting is None:
            _wait(out)                               # they lie where those of the step before lay
            out.append(replace(panels.call(), barrier=True))
            self.windows.setdefault(name, []).append(panels.slot)
            if name in self.externs:
                self.patches.append(Patch(self.externs[name], panels.slot, at.at))
        else:
            self.first.append(panels.call())
        return panels.address

    def _loop(self, s: LoopStep) -> Loop:
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


def _wait(calls: list[Call | Loop]) -> None:
    """A barrier behind the last of them (a loop ends with one)."""
    if calls and isinstance(calls[-1], Call):
        calls[-1] = replace(calls[-1], barrier=True)


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
    if OBSERVERS:
        return _observed(graph, variables, phase, observer, verify)
    return Executable(run_passes(graph, phase, verify, observer), variables)


# Asked before each compilation for something with `passed(record)`, `finished(executable)` and `failed(error)`.
OBSERVERS: list[Callable[[Graph, int], Any]] = []


def _observed(graph: Graph, variables: Mapping[Node, np.ndarray], phase: int, observer: Callable[[Any], None] | None,
              verify: bool) -> Executable:
    """`compile_graph`, watched; running the executable costs nothing more."""
    watchers = [start(graph, phase) for start in OBSERVERS]

    def passed(record: Any) -> None:
        for see in [*([observer] if observer else []), *(w.passed for w in watchers)]:
            see(record)
    try:
        executable = Executable(run_passes(graph, phase, verify, passed), variables)
    except BaseException as error:
        for w in watchers:
            w.failed(error)
        raise
    for w in watchers:
        w.finished(executable)
    return executable
