"""Programs on a device: the same steps as on the CPU, as one recording for each batch size.

In: a planned Program, its variables' arrays, a Device.  Out: a `GpuExecutable`, called like the CPU's.  What always
holds: buffers lie where the memory plan puts them; a call checks its arrays before anything is written; variables
travel only if the host wrote them; a size that does not fit the device is refused before anything runs, with the
buffer that needs most and a size that fits.
"""
from __future__ import annotations

import contextlib
from typing import Any, Callable, Iterator, Mapping, Sequence

import numpy as np

from graphk.codegen.cuda import print_cuda
from graphk.ir.dims import Dim, compile_dims, evaluate
from graphk.ir.effects import root_of, touched
from graphk.ir.loop import Kernel
from graphk.ir.node import Graph, Node
from graphk.ir.program import ALIGN, AnyStep, Buffer, Step, flat_steps
from graphk.ir.types import ITEMSIZE
from graphk.passes.pipeline import Result
from graphk.runtime.calls import Calls
from graphk.runtime.device import (LANES, Device, DeviceError, OutOfDeviceMemory, Recording, Rehearsal, Work,
                                   device)
from graphk.runtime.exchange import DeviceArray, Resident
from graphk.runtime.library import Convolution
from graphk.runtime.library_rnn import RecurrentSteps
from graphk.runtime.library_steps import Chosen, LibrarySteps
from graphk.runtime.mirrors import Mirror, mirror_of, writing
from graphk.runtime.observed import observed
from graphk.runtime.overlap import Overlap

KEPT = 16                         # recordings, of as many batch sizes


class Recorded:
    """A program at given dims: staging memory for its ends (addresses of inputs that are in the device's memory), and
    what replays it."""
    __slots__ = ("inputs", "outputs", "replay")

    def __init__(self, inputs: list[np.ndarray | int], outputs: list[np.ndarray | DeviceArray],
                 replay: Recording):
        self.inputs, self.outputs, self.replay = inputs, outputs, replay


class GpuExecutable(Calls):
    """A graph compiled for a device.  Call it with one array per input; it returns one fresh array per output."""

    def __init__(self, result: Result, variables: Mapping[Node, np.ndarray], on: Device, tf32: bool = False):
        super().__init__(result)
        self.device, self.tf32 = on, tf32
        self.calls = LibrarySteps(self.program, on, tf32) if on.libraries else None
        self.layers = RecurrentSteps(self.program, on, tf32, result.loops)
        self.variables = dict(variables)
        kernels = dict.fromkeys(s.kernel for s in flat_steps(self.program.steps) if not s.kernel.called)
        self.sources = {k: print_cuda(k, on.threads, on.tile) for k in kernels}
        self.functions: dict[Kernel, list[Any]] = {k: on.load(s) for k, s in self.sources.items()}
        roots = root_of(self.program)
        used = set().union(*(a | b for a, b in (touched(s, roots) for s in self.program.steps)), set())
        written = set().union(*(touched(s, roots)[1] for s in self.program.steps), set())
        # The host's arrays of the variables that a call writes.
        self.written = [self._array(b) for b in self.program.buffers if b.place == "variable" and b.name in written]
        self.writes = [(a, [on]) for a in self.written]
        self._fixed = [b for b in self.program.buffers if b.place in ("variable", "const") and b.name in used]
        self._mirrors: list[Mirror | None] = []    # of `_fixed`; they last as long as the arrays
        self._consts: dict[str, int] = {}
        self._memory = 0
        self._nbytes = -1
        self.busy = False
        self._handing = False                      # while results wait in the executable's memory
        self._ahead = False                        # whether a call may still read its staging memory
        self._recorded: dict[tuple[int, ...], Recorded] = {}
        self.kept: frozenset[int] = frozenset()    # outputs that stay on the device, until the next call
        self.overlap = Overlap(on)                 # a part of it, which refers to it only while it is called

    # -------------------------------------------------------------- calling
    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        with self.device.lock:
            recorded, arrays = self.ready(inputs)
            inside, self.busy = self.busy, True
            try:
                self.stage(recorded, arrays)
                with writing(self.writes):
                    recorded.replay.start()
                recorded.replay.wait()
                return results(recorded)
            finally:
                self.busy = inside

    def staying(self, inputs: Sequence[Any]) -> list[Any]:
        """A call whose outputs stay on the device, in memory of their own.  It comes back while the device computes."""
        with self.device.lock:
            recorded, arrays = self.ready(inputs, stay=True)
            places: list[Any] = recorded.outputs
            blocks = [None if i in self.kept else self.device.pool.take(o.nbytes) for i, o in enumerate(places)]
            inside, self.busy = self.busy, True
            try:
                if self._ahead and not all(isinstance(staged, int) for staged in recorded.inputs):
                    recorded.replay.wait()
                self.stage(recorded, arrays)
                self._handing = self._ahead = True
                with writing(self.writes):
                    recorded.replay.start()
                for o, block in zip(places, blocks):
                    if block is not None:
                        self.device.move(block.address, o.address, o.nbytes)
                if inside:                         # of another call: nobody keeps this recording
                    recorded.replay.wait()
            finally:
                self.busy, self._handing = inside, False
            return [o if block is None else Resident(block.address, o.shape, o.dtype, block)
                    for o, block in zip(places, blocks)]

    def start(self, inputs: Sequence[Any]) -> Callable[[], list[Any]]:
        """Begin a call: what comes back waits for its outputs.  The next one may be begun meanwhile; its inputs then
        travel while this one computes.  They are read at once, and variables written in the order of the calls."""
        return self.overlap.start(self, inputs)

    def ready(self, inputs: Sequence[Any], stay: bool = False) -> tuple[Recorded, list[Any]]:
        """What a call will replay, and its inputs, once variables are up to date.  stay: outputs are not copied to the
        host."""
        if self._handing:
            raise RuntimeError(f"{self.program.name} on {self.device.name} was called by a signal's handler while it "
                               "hands on results that stay on the device: they would be lost. Call it when it has "
                               "returned.")
        arrays = [self.fit(b, a) for b, a in zip(self.inputs, inputs, strict=True)]
        env = self.dims_of(arrays)
        self.bring()
        return self._recording(env, [self._where_it_is(a) for a in arrays], stay), arrays

    def _where_it_is(self, a: Any) -> int:
        """0 for an array on the host, 1 for one that is copied on the device or to it, and the address of one that this
        device has computed: it is read in place."""
        if not isinstance(a, DeviceArray):
            return 0
        return a.address if a.owner is self.device else 1

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """While a call uses the staging memory of a recording: a signal's handler that calls must find another."""
        inside, self.busy = self.busy, True
        try:
            yield
        finally:
            self.busy = inside

    def fit(self, b: Buffer, a: Any) -> Any:
        """As on the CPU; arrays in this device's memory stay there."""
        if not isinstance(a, DeviceArray):
            return super().fit(b, a)
        ours = isinstance(a, Resident) or isinstance(a.owner, Device) or not a.nbytes or self.device.holds(a.address)
        if a.dtype != b.type.dtype or a.ndim != len(b.type.shape) or not ours:
            where = "" if ours else f", in the memory of another device than {self.device.name}"
            raise TypeError(f"the input `{b.name}` of {self.program.name} is an array {a.dtype}{list(a.shape)} on a GPU"
                            f"{where}; expected {b.type} there, or an array on the host")
        return a

    def stage(self, recorded: Recorded, arrays: Sequence[Any]) -> None:
        """Hand inputs over."""
        for a, staged in zip(arrays, recorded.inputs):
            if not isinstance(staged, int):
                staged[...] = a
            elif staged != a.address:
                self._take(staged, a)

    def _take(self, address: int, a: DeviceArray) -> None:
        """Copy an input that is on this device, or on another of its kind."""
        there = a.device if isinstance(a, Resident) else a.owner
        if there is self.device and not a.owner.shown:
            self.device.move(address, a.address, a.nbytes)
        elif not a.nbytes:
            return
        elif there is self.device or not isinstance(there, Device):    # others may have written it, in their streams
            self.device.copy(address, a.address, a.nbytes)
        elif not self.device.fetch(address, there, a.address, a.nbytes):
            raise DeviceError(f"there is no way from {there.name} to {self.device.name} but through the host")

    def bring(self) -> None:
        """Have all variables and constants on the device."""
        if len(self._mirrors) < len(self._fixed):                    # the first time
            for b in self._fixed:
                self._bring(b)
            self._mirrors = [mirror_of(self._array(b), self.device) if b.place == "variable" else None
                             for b in self._fixed]
        for b, mirror in zip(self._fixed, self._mirrors):
            if mirror is not None and mirror.stale:
                self._bring(b)

    def _array(self, b: Buffer) -> np.ndarray:
        assert b.node is not None
        return self.variables[b.node]

    def _bring(self, b: Buffer) -> None:
        """Have a variable's newest value, or a constant, on the device."""
        try:
            if b.place == "variable":
                mirror_of(self._array(b), self.device).refresh()
            elif b.name not in self._consts:
                assert b.node is not None
                array = np.ascontiguousarray(b.node.attr("value").array, b.type.dtype)
                self._consts[b.name] = self.device.allocate(max(array.nbytes, 1))
                self.device.upload(self._consts[b.name], array)
        except OutOfDeviceMemory as e:
            kept = [x.nbytes for x in self._fixed if isinstance(x.nbytes, int)]
            raise OutOfDeviceMemory(self.device.name, e.needed, e.free, e.total, f"`{b.name}` of {b.type}, one of "
                                    f"{len(kept)} variables and constants of {sum(kept):,} bytes in all,") from None

    # -------------------------------------------------------------- memory
    @property
    def sizes(self) -> list[dict[str, int]]:
        """The dims of calls that are recorded, earliest first."""
        keys = dict.fromkeys(key[:len(self._where)] for key in (*self._recorded, *self.overlap.recorded))
        return [dict(zip(self._where, key)) for key in keys]

    def _extents(self) -> tuple[Dim, ...]:
        """Bytes of the arena, then of each input and output."""
        return (self.program.arena, *(b.nbytes for b in (*self.inputs, *self.outputs)))

    def _places(self, env: Mapping[str, int]) -> tuple[list[int], int]:
        """Where the arena, the ends and what a library's calls need begin in the executable's memory, and its size."""
        at, starts = 0, []
        for nbytes in (*compile_dims(self._extents())(env), self.layers.scratch(env, self._shared(env))):
            starts.append(at)
            at += -(-nbytes // ALIGN) * ALIGN
        return starts, at

    def _shared(self, env: Mapping[str, int]) -> int:
        """Bytes of what libraries' calls need one after another; what layers need lies behind."""
        return self.calls.scratch(env) if self.calls else 0

    def _reserve(self, nbytes: int, env: Mapping[str, int]) -> int:
        """The address of so much memory; what was recorded on less is forgotten."""
        if nbytes > self._nbytes:
            if self.busy:
                raise RuntimeError(f"{self.program.name} on {self.device.name} was called by a signal's handler while "
                                   "it runs, with a batch that needs more memory than it has: what it runs in would "
                                   "be given back. Call it when it has returned.")
            self.release()
            try:
                self._memory = self.device.allocate(max(nbytes, ALIGN))
            except OutOfDeviceMemory as e:
                raise self._too_large(e, nbytes, env) from None
            self._nbytes = nbytes
        return self._memory

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, TypeError, DeviceError):      # half made, or at the process's end
            with self.device.visit():
                self.overlap.forget()
                self.release()
                for address in self._consts.values():
                    self.device.free(address)

    def release(self) -> None:
        """Give the arena back; the next call takes one again."""
        self.overlap.release()
        self._forget()
        if self._nbytes >= 0:
            self.device.free(self._memory)
        self._memory, self._nbytes = 0, -1

    def _too_large(self, e: OutOfDeviceMemory, nbytes: int, env: Mapping[str, int]) -> OutOfDeviceMemory:
        """The error of a size that does not fit: what needs most, and how many rows would fit."""
        place = {b.name: compile_dims((b.nbytes,))(env)[0] for b in self.program.buffers
                 if b.place in ("arena", "input", "output")}
        name = max(place, key=lambda n: place[n])
        largest = self.program.buffer(name)
        origin = f" ({largest.origin})" if largest.origin else ""
        fits = ""
        batch = next((str(d) for b in self.inputs for d in b.type.shape[:1] if str(d) in env), None)
        if batch is not None:
            rows, beyond = 0, env[batch]
            while beyond - rows > 1:
                middle = (rows + beyond) // 2
                if self._places({**env, batch: middle})[1] <= e.free:
                    rows = middle
                else:
                    beyond = middle
            fits = f" A batch of {rows} fits." if rows else " Not even a batch of 1 fits."
        out = OutOfDeviceMemory(self.device.name, nbytes, e.free, e.total,
                                f"{self.program.name} ({', '.join(f'{k}={v}' for k, v in env.items())})")
        out.args = (f"{out.args[0]}. The largest of its buffers is `{name}`, {largest.type}{origin}, with "
                    f"{place[name]:,} bytes.{fits} No variable was changed.",)
        return out

    # -------------------------------------------------------------- recording
    def _forget(self) -> None:
        """Drop recordings, whose staging memory nobody reads any more."""
        if self._ahead:
            self.device.finish()
            self._ahead = False
        self._recorded.clear()

    def _recording(self, env: Mapping[str, int], there: Sequence[int], stay: bool = False) -> Recorded:
        """The recording for sizes, for where inputs are (`_where_it_is`), and for whether outputs stay there."""
        key = (*env.values(), *there, stay)
        found = self._recorded.get(key)
        if found is not None and not self.busy:
            return found
        made = None
        while made is None:
            made = self.record(env, self.addresses(env), there, stay=stay)
        if not self.busy:                         # a signal's handler calls, and must not take the other's staging
            if len(self._recorded) >= KEPT:
                self._forget()
            self._recorded[key] = made
        return made

    def addresses(self, env: Mapping[str, int]) -> list[int]:
        """Where the executable's memory holds what (see `_places`), once libraries said what they compute in it."""
        starts: list[int] = []
        while not starts or self._asking(env, self._addresses(env, starts), starts[-1]):
            offsets, nbytes = self._places(env)
            memory = self._reserve(nbytes, env)
            starts = [memory + at for at in offsets]
        return starts

    def _asking(self, env: Mapping[str, int], at: Mapping[str, int], scratch: int) -> bool:
        """Have libraries choose how they compute; whether one refused, and is to be asked for less."""
        self.layers.prepare(env)
        if self.calls is None:
            return False
        self.calls.tell(env)
        self.calls.prepare(env)
        Enqueued(self, env, at, Rehearsal(), scratch).steps(self.program.steps)
        return self.calls.settle()

    def record(self, env: Mapping[str, int], starts: list[int], there: Sequence[int], apart: bool = False,
               stay: bool = False) -> Recorded | None:
        """A recording with what lies at `starts`; None if libraries, asked at these addresses, turn out to need more
        memory.  apart: the copies of its ends may run beside other recordings."""
        staged = {b: self._staging(b, env) for b, here in zip(self.inputs, there) if not here}
        downloads = {b: self._staging(b, env) for i, b in enumerate(self.outputs)
                     if not stay and i not in self.kept}
        at = self._addresses(env, starts)
        at.update((b.name, here) for b, here in zip(self.inputs, there) if here > 1)
        while self._asking(env, at, starts[-1]):
            if self._places(env)[1] > self._nbytes:
                return None

        def before(w: Work) -> None:
            for b, array in staged.items():
                w.upload(at[b.name], array)

        def work(w: Work) -> None:
            Enqueued(self, env, at, w, starts[-1]).steps(self.program.steps)

        def behind(w: Work) -> None:
            for b, array in downloads.items():
                w.download(array, at[b.name])

        def whole(w: Work) -> None:
            before(w)
            w.join()
            work(w)
            w.join()
            behind(w)
        inputs = [staged[b] if b in staged else at[b.name] for b in self.inputs]
        outputs = [downloads[b] if b in downloads else DeviceArray(
            at[b.name], compile_dims(b.type.shape)(env), np.dtype(b.type.dtype), self.device) for b in self.outputs]
        return Recorded(inputs, outputs, self.device.record(work, before, behind) if apart else
                        self.device.record(whole))

    def pieces(self, env: Mapping[str, int], times: int) -> list[Callable[[], None]]:
        """For measuring, after a call with these dims: recordings of nothing, and of each of the program's steps so
        many times, one after the other."""
        starts = self.addresses(env)
        at = self._addresses(env, starts)

        def only(s: AnyStep | None) -> Callable[[], None]:
            def work(w: Work) -> None:
                enqueued = Enqueued(self, env, at, w, starts[-1])
                for _ in range(times if s else 0):
                    enqueued.steps([s] if s else [])
                    w.join()
            return self.device.record(work)
        return [only(None), *(only(s) for s in self.program.steps)]

    def _staging(self, b: Buffer, env: Mapping[str, int]) -> np.ndarray:
        shape = compile_dims(b.type.shape)(env)
        nbytes = int(np.prod(shape, dtype=np.int64)) * ITEMSIZE[b.type.dtype]
        return self.device.staging(nbytes)[:nbytes].view(b.type.dtype).reshape(shape)

    def _addresses(self, env: Mapping[str, int], starts: list[int]) -> dict[str, int]:
        """Each buffer's address."""
        at = {b.name: s for b, s in zip([*self.inputs, *self.outputs], starts[1:])}
        table = {b.name: b for b in self.program.buffers}
        for b in self.program.buffers:
            if b.place == "arena":
                at[b.name] = starts[0] + evaluate(b.offset, env)
        for b in self._fixed:
            variable = b.place == "variable"
            at[b.name] = mirror_of(self._array(b), self.device).address if variable else self._consts[b.name]
        for b in self.program.buffers:
            base = b
            while base.place == "alias":
                base = table[base.base]
            if base.name in at:
                at[b.name] = at[base.name]
        return at


class Enqueued:
    """Records a program's steps."""

    def __init__(self, exe: GpuExecutable, env: Mapping[str, int], at: Mapping[str, int], work: Work,
                 scratch: int):
        self.exe, self.env, self.at, self.work, self.scratch = exe, env, dict(at), work, scratch
        self.views: dict[str, list[str]] = {}            # storage name -> its views, at any depth
        base = {b.name: b.base for b in exe.program.buffers if b.place == "alias"}
        for name in base:
            whole = name
            while whole in base:
                whole = base[whole]
                self.views.setdefault(whole, []).append(name)
        self.lane = 0

    def steps(self, steps: Sequence[AnyStep]) -> None:
        for s in steps:
            loop = not isinstance(s, Step)
            if s.barrier or loop:
                self._join()
            if isinstance(s, Step):
                self._step(s)
                self.lane = (self.lane + 1) % LANES
                continue
            trips, *strides = compile_dims((s.length, *(d for _, _, d in s.windows)))(self.env)
            start = {v: self.at[v] for w, _, _ in s.windows for v in [w, *self.views.get(w, ())]}
            for t in reversed(range(trips)) if s.reverse else range(trips):
                for (w, _, _), stride in zip(s.windows, strides):
                    for view in [w, *self.views.get(w, ())]:
                        self.at[view] = start[view] + t * stride
                self.steps(s.body)
                self._join()
            self.at.update(start)

    def _join(self) -> None:
        self.work.join()
        self.lane = 0

    def _step(self, s: Step) -> None:
        """On a lane of its own, or (what uses the one scratch memory) on the first."""
        calls = self.exe.calls
        call = calls.call(s, self.env) if calls is not None else ""
        if isinstance(call, Step):                 # recorded with that one
            return
        self.work.lane(0 if isinstance(call, Chosen) and call.nbytes else self.lane)
        if calls is None or not isinstance(call, Chosen) or not calls.record(s, call, self.env, self.at, self.scratch,
                                                                           self.work):
            self._launch(s)

    def _launch(self, s: Step) -> None:
        if s.kernel.called:
            self.work.lane(0)
            self.exe.layers.record(s, self.env, self.at, self.scratch + self.exe._shared(self.env), self.work)
            return
        source = self.exe.sources[s.kernel]
        sizes = compile_dims(s.sizes)(self.env)
        env = dict(zip(s.kernel.sizes, sizes))
        args = [*(self.at[b] for b in s.buffers), *sizes]
        for launch, function in zip(source.launches, self.exe.functions[s.kernel], strict=True):
            self.work.launch(function, evaluate(launch.blocks, env), launch.threads, args)


def results(recorded: Recorded) -> list[Any]:
    """The outputs of a call that is done."""
    return [staged if isinstance(staged, DeviceArray) else staged.copy() for staged in recorded.outputs]


def compile_graph(graph: Graph, variables: Mapping[Node, np.ndarray], phase: int, name: str,
                  tf32: bool = False) -> GpuExecutable:
    """An executable for `graph` in one learning phase (1 train, 0 test), on the device of a name.

    tf32: whether a library may round the operands of float32 products to 10 bits of the mantissa.
    """
    on = device(name)
    library = on.recurrent
    refuses = None if library is None else lambda form: library.refusal(form, tf32)
    return observed(graph, phase, lambda result: GpuExecutable(result, variables, on, tf32), refuses=refuses,
                    convolves=Convolution in on.libraries)


__all__ = ["GpuExecutable", "compile_graph"]
