"""A device in plain Python: the CUDA kernels on `codegen.cuda_sim`, and everything around them, without a GPU.

In: what a `Device` is asked for.  Out: the same answers, from the host's memory.  What always holds: an address belongs
to one allocation, beyond whose end no kernel reads or writes; new memory is full of `GUARD`, so that what reads before
it writes shows; lanes run one after another, in an order that turns round between joins, so that a missing join shows;
what is recorded with something before or behind it is done when somebody waits, in any order that streams allow.
"""
from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from graphk.codegen import cuda_sim
from graphk.codegen.cuda import CudaSource
from graphk.ir.node import Node
from graphk.passes.pipeline import Result
from graphk.runtime import dlpack
from graphk.runtime.device import LANES, Device, OutOfDeviceMemory, Recording, Work
from graphk.runtime.gpu import GpuExecutable
from graphk.runtime.library import Run
from graphk.runtime.mirrors import current

SIM_THREADS, SIM_TILE = 8, 4      # small blocks are quick ones
GUARD = 0xAB                      # what memory holds before anything is written
_SPACE = 1 << 40                  # between two allocations' addresses
_addresses = itertools.count(_SPACE, _SPACE)           # of all devices: no two hold the same


class SimWork(Work):
    """A list of things to do, lane by lane."""

    def __init__(self, device: SimDevice):
        self.device = device
        self.groups: list[list[list[Callable[[], None]]]] = []
        self.join()

    def join(self) -> None:
        self.groups.append([[] for _ in range(LANES)])
        self.at = 0

    def lane(self, number: int) -> None:
        self.at = number

    def _add(self, what: Callable[[], None]) -> None:
        self.groups[-1][self.at].append(what)

    def launch(self, function: Any, blocks: int, threads: tuple[int, ...], args: Sequence[int]) -> None:
        source, number = function
        arrays = [self.device.view(a, d) for a, d in zip(args, source.dtypes)]
        sizes = args[len(arrays):]
        self._add(lambda: cuda_sim.launch(source, number, blocks, arrays, sizes))

    def call(self, run: Run) -> None:
        lane = self.at
        self._add(lambda: run(None, lane))

    def upload(self, address: int, staging: np.ndarray) -> None:
        self._add(lambda: self.device.put(address, staging))

    def download(self, staging: np.ndarray, address: int) -> None:
        self._add(lambda: self.device.get(staging, address))

    def replay(self) -> None:
        for i, group in enumerate(self.groups):
            for lane in group if i % 2 else reversed(group):
                for what in lane:
                    what()


@dataclass(eq=False)
class Begun:
    """Work of a stream that was started, and may be done when all of `after` is."""
    stream: int
    run: Callable[[], None]
    after: list[Begun]
    running: bool = False


class SimDevice(Device):
    """The host's memory, with addresses of its own; `nbytes` of it."""
    kind = dlpack.EXTENSION

    def __init__(self, threads: int = SIM_THREADS, tile: int = SIM_TILE, nbytes: int = 1 << 34,
                 name: str = "simulator"):
        super().__init__()
        self.name, self.threads, self.tile, self.nbytes = name, threads, tile, nbytes
        self.place = name
        self.number, self.stream = int(name.partition(":")[2] or 0), 0
        self.begun: list[Begun] = []
        self.random = random.Random(0)
        self.memory: dict[int, np.ndarray] = {}
        self.uploads = self.downloads = self.fetches = 0

    def allocate_once(self, nbytes: int) -> int:
        free, total = self.room()
        if nbytes > free:
            raise OutOfDeviceMemory(self.name, nbytes, free, total)
        address = next(_addresses)
        self.memory[address] = np.full(nbytes, GUARD, np.uint8)
        return address

    def free(self, address: int) -> None:
        self.finish()
        del self.memory[address]

    def room(self) -> tuple[int, int]:
        return self.nbytes - sum(a.nbytes for a in self.memory.values()), self.nbytes

    def staging(self, nbytes: int) -> np.ndarray:
        return np.empty(nbytes, np.uint8)

    def _bytes(self, address: int) -> np.ndarray:
        """The memory from an address to the end of its allocation."""
        start = address // _SPACE * _SPACE
        return self.memory[start][address - start:]

    def view(self, address: int, dtype: str) -> np.ndarray:
        """What a kernel sees there."""
        found = self._bytes(address)
        size = np.dtype(dtype).itemsize
        return found[:len(found) // size * size].view(dtype)

    def upload(self, address: int, array: np.ndarray) -> None:
        self.finish()
        self.put(address, array)

    def download(self, array: np.ndarray, address: int) -> None:
        self.finish()
        self.get(array, address)

    def put(self, address: int, array: np.ndarray) -> None:
        """Copy an array there, now."""
        self.uploads += 1
        self._bytes(address)[:array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    def get(self, array: np.ndarray, address: int) -> None:
        """Copy into an array, now."""
        self.downloads += 1
        array.reshape(-1).view(np.uint8)[...] = self._bytes(address)[:array.nbytes]

    def holds(self, address: int) -> bool:
        return address // _SPACE * _SPACE in self.memory

    def copy(self, address: int, source: int, nbytes: int) -> None:
        self.finish()
        self._bytes(address)[:nbytes] = self._bytes(source)[:nbytes]

    def move(self, address: int, source: int, nbytes: int) -> None:
        def run() -> None:
            self._bytes(address)[:nbytes] = self._bytes(source)[:nbytes]
        self.begun.append(Begun(0, run, [b for b in self.begun if b.stream == 0][-1:]))

    def before(self, stream: int) -> None:
        self.finish()

    def fetch(self, address: int, other: Device, source: int, nbytes: int) -> bool:
        if not isinstance(other, SimDevice):
            return False
        self.finish()
        other.finish()
        self.fetches += 1
        self._bytes(address)[:nbytes] = other._bytes(source)[:nbytes]
        return True

    def load(self, source: CudaSource) -> list[object]:
        return [(source, number) for number in range(len(source.launches))]

    def record(self, work: Callable[[Work], None], before: Callable[[Work], None] | None = None,
               behind: Callable[[Work], None] | None = None) -> Recording:
        parts: dict[int, SimWork] = {}
        for stream, what in ((1, before), (0, work), (2, behind)):
            if what is not None:
                parts[stream] = SimWork(self)
                what(parts[stream])
        last: list[Begun] = []

        def start() -> None:
            if len(parts) == 1:                        # alone: nobody begins another thing before it waits for this
                self.finish()
                parts[0].replay()
                return
            last.clear()
            for stream, what in parts.items():
                after = [*last[-1:], *[b for b in self.begun if b.stream == stream][-1:]]
                last.append(Begun(stream, what.replay, after))
                self.begun.append(last[-1])
        return Recording(start, lambda: self._until(lambda: not last or last[-1] not in self.begun))

    def _until(self, done: Callable[[], bool]) -> None:
        """Do what was begun, in any order that it allows."""
        while not done():
            todo = [b for b in self.begun if not b.running and not any(a in self.begun for a in b.after)]
            if not todo:                               # inside of what is being done: memory is given back meanwhile
                return
            chosen = self.random.choice(todo)
            chosen.running = True
            chosen.run()
            self.begun.remove(chosen)

    def finish(self) -> None:
        """Do all that was begun."""
        self._until(lambda: not self.begun)

    def enter(self) -> None:
        pass


def run_program(result: Result, inputs: Sequence[np.ndarray], variables: Mapping[Node, np.ndarray] | None = None,
                threads: int = SIM_THREADS, tile: int = SIM_TILE) -> tuple[list[np.ndarray], dict[Node, np.ndarray]]:
    """The outputs of a program, and the values of its variables afterwards (the arrays given are not changed)."""
    mine = {node: np.array(a, order="C") for node, a in (variables or {}).items()}
    outputs = GpuExecutable(result, mine, SimDevice(threads, tile))(inputs)
    return outputs, {node: current(a) for node, a in mine.items()}


__all__ = ["SimDevice", "run_program"]
