"""A GPU that runs PTX, for all threads of some blocks at once.

In: a module's text, a launch as `cuLaunchKernel` describes it, the device's memory.  Out: memory as the kernel leaves
it.  What always holds: what a GPU leaves undefined is an error that names the instruction, its line, the block and the
thread: an address outside of what was allocated, or no multiple of what is accessed; a barrier or an exchange that not
all threads reach that it names.  Registers, shared and local memory are full of garbage at first.

The threads at the smallest place of the program go on until they branch, so that threads meet again; on demand, one
warp after the other.
"""
from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Callable, Iterator, Sequence

import numpy as np

from tests.gpu.ptx_code import Code, PtxFault, Threads
from tests.gpu.ptx_ops import TYPES
from tests.gpu.ptx_text import PtxError, parse

WARP = 32
LANES = 4096                      # threads that run at once, if a block has no more
STATIC_SHARED = 48 << 10          # bytes of a block, without asking for more
MOST = 1 << 20                    # blocks of instructions that a launch may take
GARBAGE = 0xAB
SHARED, LOCAL = 1 << 20, 1 << 24  # where the addresses of these begin
REGION = 40                       # bits of an address within one allocation
MODULE = 1 << 22                  # where a module's variables begin, above the allocations
GAP = 64                          # bytes between two variables that nobody may touch
Find = Callable[[int], "np.ndarray | None"]            # the bytes of the allocation at an address


class LaunchError(ValueError):
    """A launch that the driver refuses."""


class Program:
    """A module, ready to run."""

    def __init__(self, text: str):
        self.module = parse(text)
        self.codes: dict[str, Code] = {}
        self.addresses: dict[str, int] = {}
        self.data: list[np.ndarray] = []
        self.shared = np.zeros(0, bool)                # of a block's shared memory: what belongs to a variable
        self.local = 0
        self.bytes_shared = 0
        for v in self.module.variables:
            self._place(v)
        for f in self.module.functions.values():
            for v in f.variables:
                if v.space != "param":
                    self._place(v)

    def _place(self, v: Any) -> None:
        if v.name in self.addresses:
            raise PtxError(f"`{v.name}` is declared twice")
        if v.size is None:
            raise PtxError(f"`{v.name}`: dynamic shared memory is not known here")
        if v.space == "shared":
            at = -(-len(self.shared) // v.align) * v.align
            self.shared = np.concatenate([self.shared, np.zeros(at - len(self.shared), bool), np.ones(v.size, bool),
                                          np.zeros(GAP, bool)])
            self.addresses[v.name] = SHARED + at
            self.bytes_shared += v.size
        elif v.space == "local":
            at = -(-self.local // v.align) * v.align
            self.addresses[v.name], self.local = LOCAL + at, at + v.size
        else:
            self.addresses[v.name] = (MODULE + len(self.data)) << REGION
            data = np.zeros(v.size, np.uint8)
            data[:len(v.data)] = np.frombuffer(v.data, np.uint8)
            data.flags.writeable = False
            self.data.append(data)

    def code(self, name: str) -> Code:
        if name not in self.codes:
            self.codes[name] = Code(self.module.functions[name], self)
        return self.codes[name]

    def check(self, name: str, grid: Sequence[int], block: Sequence[int], shared: int) -> None:
        """`LaunchError` where a driver refuses a launch."""
        threads = math.prod(block)
        for word, numbers in self.module.functions[name].limits.items():
            if word == "maxntid" and threads > math.prod(numbers) or word == "reqntid" and tuple(block) != numbers:
                raise LaunchError(f"{threads} threads, but .{word} {numbers}")
        if not 0 < threads <= 1024 or min(grid) < 1 or grid[0] >= 1 << 31 or max(grid[1:]) > 65535:
            raise LaunchError(f"{tuple(grid)} blocks of {tuple(block)} threads")
        room = 4096 if self.module.version < (8, 1) else 32764
        if sum(v.size for v in self.module.functions[name].params) > room:
            raise LaunchError(f"parameters of more than {room} bytes")
        if self.bytes_shared + shared > STATIC_SHARED:
            raise LaunchError(f"{self.bytes_shared} and {shared} bytes of shared memory")
        if tuple(block[1:]) != (1, 1) or tuple(grid[1:]) != (1, 1):
            raise PtxError("blocks and grids have one axis here")

    def launch(self, name: str, grid: Sequence[int], block: Sequence[int], shared: int, params: Sequence[bytes],
               find: Find, apart: bool = False) -> None:
        """Run an entry; `params` are the bytes of each of its parameters, `find` gives the memory at an address.

        apart: each warp goes on alone until it waits, so that a missing barrier shows as a wrong result.
        """
        self.check(name, grid, block, shared)
        function, threads = self.module.functions[name], math.prod(block)
        if [v.size for v in function.params] != [len(p) for p in params]:
            raise LaunchError(f"parameters of {[len(p) for p in params]} bytes, expected {function.params}")
        code, at_once = self.code(name), max(1, LANES // threads)
        with np.errstate(all="ignore"):
            for first in range(0, grid[0], at_once):
                run = Run(self, range(first, min(grid[0], first + at_once)), grid[0], threads, find, apart)
                frame = Frame(code, run)
                for v, data in zip(function.params, params):
                    frame.params[v.name] = np.broadcast_to(np.frombuffer(data, np.uint8), (run.count, len(data)))
                frame.go(slice(None))


@lru_cache(maxsize=None)
def program(text: str) -> Program:
    """A module's text, ready to run; modules of the same text are one, as nothing writes their variables."""
    return Program(text)


class Run:
    """Some blocks of a launch."""

    def __init__(self, program: Program, blocks: range, grid: int, threads: int, find: Find, apart: bool = False):
        self.program, self.blocks, self.threads, self.apart = program, blocks, threads, apart
        self.count = len(blocks) * threads
        self.all = np.arange(self.count)
        thread = self.all % threads
        self.block_of = self.all // threads
        per_block = -(-threads // WARP)
        self.lane = (thread % WARP).astype(np.uint32)
        self.warp_of = self.block_of * per_block + thread // WARP
        self.warps = len(blocks) * per_block
        one, zero = np.ones(self.count, np.uint32), np.zeros(self.count, np.uint32)
        self.specials = {
            "%tid.x": thread.astype(np.uint32), "%ctaid.x": (self.block_of + blocks.start).astype(np.uint32),
            "%ntid.x": one * np.uint32(threads), "%nctaid.x": one * np.uint32(grid), "%laneid": self.lane,
            **{f"%{n}.{x}": zero for n in ("tid", "ctaid") for x in "yz"},
            **{f"%{n}.{x}": one for n in ("ntid", "nctaid") for x in "yz"}, "WARP_SZ": one * np.uint32(WARP)}
        self.memories = Memories(self, find)
        self.left = MOST

    def numbers(self, i: Threads) -> np.ndarray:
        return self.all if isinstance(i, slice) else i

    def teams(self, i: Threads, at: float) -> list[dict[float, Threads]]:
        """Threads at a place that go on together: all of them, or each warp's alone, the last warp first."""
        if not self.apart:
            return [{at: i}] if len(self.numbers(i)) else []
        numbers = self.numbers(i)
        warps = self.warp_of[numbers]
        return [{at: numbers[warps == w]} for w in np.unique(warps)]

    def join(self, a: Threads, b: Threads) -> Threads:
        """Both of two groups of threads."""
        if a is None:
            return b
        both = np.concatenate([self.numbers(a), self.numbers(b)])
        return slice(None) if len(both) == self.count else np.sort(both)

    def arrived(self, i: Threads, unit_of: np.ndarray, expected: Any) -> tuple[Threads, Threads]:
        """Of threads that wait, those whose block or warp has as many as are expected, and the others."""
        numbers = self.numbers(i)
        units = unit_of[numbers]
        ready = np.bincount(units, minlength=self.warps)[units] == expected
        return (i, None) if ready.all() else (numbers[ready], numbers[~ready])

    def place(self, number: int) -> str:
        return f"block {self.block_of[number] + self.blocks.start}, thread {number % self.threads}"


class Frame:
    """A function that runs: its registers, one value for each thread, and its parameters."""

    def __init__(self, code: Code, run: Run):
        self.code, self.run = code, run
        self.params: dict[str, np.ndarray] = {}
        for v in code.function.variables:
            if v.space == "param" and v.name not in self.params:
                size = max(x.size or 0 for x in code.function.variables if x.name == v.name)
                self.params[v.name] = np.full((run.count, size), GARBAGE, np.uint8)
        self.values = code.views(self)

    def inside(self, callee: str) -> Frame:
        """A frame of a function that this one calls."""
        return Frame(self.run.program.code(callee), self.run)

    def go(self, i: Threads) -> None:
        """Run some threads until they return."""
        queue, waiting = self.run.teams(i, 0), dict[float, Threads]()
        while queue:
            self._advance(queue.pop(), queue, waiting)
        if waiting:
            at, i = min(waiting.items())
            s = self.code.blocks[int(at)].first
            raise PtxFault(f"line {s.line}: `{s.text}` is not reached by all threads that it waits for: "
                           f"{len(self.run.numbers(i))} wait ({self.run.place(self.run.numbers(i)[0])})")

    def _advance(self, groups: dict[float, Threads], queue: list[dict[float, Threads]],
                 waiting: dict[float, Threads]) -> None:
        """Run groups of threads, each at its block, until they return or wait; what has waited is half a place on."""
        run, blocks = self.run, self.code.blocks
        while groups:
            at = min(groups)
            i = groups.pop(at)
            if at >= len(blocks):
                continue
            block, s = blocks[int(at)], blocks[int(at)].first
            run.left -= 1
            try:
                if run.left < 0:
                    raise PtxFault("the launch does not end")
                if block.wait is not None and at == int(at):
                    i, rest = block.wait(self, run.join(waiting.pop(at, None), i))
                    if rest is not None:
                        waiting[at] = rest
                    queue += run.teams(i, at + 0.5)
                    continue
                for step, s in block.steps:  # noqa: B007 - the error names it
                    step(self, i)
                s = block.last
                to = block.end(self, i) if block.end is not None else [(int(at) + 1, i)]
            except PtxFault as e:
                where = "" if e.thread is None else f" ({run.place(e.thread)})"
                raise PtxFault(f"line {s.line}: `{s.text}`: {e}{where}") from None
            for target, threads in to:
                if target >= 0:
                    groups[target] = run.join(groups.get(target), threads)


class Memories:
    """Global memory, and what the blocks and threads of a run have of their own."""

    def __init__(self, run: Run, find: Find):
        self.run, self.find, p = run, find, run.program
        self.stride = -(-p.local // 16) * 16
        self.shared = np.full(len(run.blocks) * len(p.shared), GARBAGE, np.uint8)
        self.local = np.full(run.count * self.stride, GARBAGE, np.uint8)

    def load(self, space: str, address: np.ndarray, threads: np.ndarray, kind: str, vector: int,
             lasting: bool = False) -> list[np.ndarray]:
        """Values of some threads; `vector` of them, side by side."""
        item, out = TYPES[kind]().itemsize, [np.zeros(len(address), TYPES[kind]) for _ in range(vector)]
        for memory, at, where in self._pieces(space, address, threads, item * vector):
            if lasting and memory.flags.writeable:
                raise PtxFault("reads through the cache for what nobody writes, and others may write there", threads[0])
            view = memory[:len(memory) // item * item].view(TYPES[kind])
            for k in range(vector):
                out[k][where] = view[at // item + k]
        return out

    def store(self, space: str, address: np.ndarray, threads: np.ndarray, kind: str,
              values: Sequence[np.ndarray]) -> None:
        item = TYPES[kind]().itemsize
        for memory, at, where in self._pieces(space, address, threads, item * len(values)):
            if not memory.flags.writeable:
                raise PtxFault("writes what a module declares, which is not known here", threads[0])
            view = memory[:len(memory) // item * item].view(TYPES[kind])
            for k, x in enumerate(values):
                view[at // item + k] = x[where]

    def _pieces(self, space: str, address: np.ndarray, threads: np.ndarray,
                size: int) -> Iterator[tuple[np.ndarray, np.ndarray, Threads]]:
        """What addresses lie in: bytes, places in them, and which of the threads."""
        wrong = address % np.uint64(size) != 0
        if wrong.any():
            self._fault(f"the address is no multiple of {size}", address, threads, wrong)
        regions = address >> np.uint64(REGION)
        first = regions[0]
        if (regions == first).all():
            yield *self._in_region(space, int(first), address, threads, size), slice(None)
            return
        for region in np.unique(regions):
            where = np.flatnonzero(regions == region)
            yield *self._in_region(space, int(region), address[where], threads[where], size), where

    def _in_region(self, space: str, region: int, address: np.ndarray, threads: np.ndarray,
                   size: int) -> tuple[np.ndarray, np.ndarray]:
        if region == 0:
            return self._own(space, address, threads, size)
        data, memory = self.run.program.data, None
        if space in ("", "global", "const"):
            number = region - MODULE
            memory = data[number] if 0 <= number < len(data) else None if space == "const" else self.find(
                region << REGION)
        at = (address - np.uint64(region << REGION)).astype(np.int64)
        end = 0 if memory is None else len(memory)
        if at.max() + size > end:
            self._fault(f"an address beyond all {space or 'generic'} memory, or {end} bytes of it", address, threads,
                        at + size > end)
        assert memory is not None
        return memory, at

    def _own(self, space: str, address: np.ndarray, threads: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Shared or local memory."""
        local = space == "local" or (space == "" and address[0] >= LOCAL)
        at = address.astype(np.int64) - (LOCAL if local else SHARED)
        belongs = self.run.program.shared
        end = self.run.program.local if local else len(belongs)
        wrong = (at < 0) | (at + size > end)
        if space not in ("", "local", "shared"):
            wrong |= True
        if not local and not wrong.any():
            wrong = ~(belongs[at] & belongs[at + size - 1])
        if wrong.any():
            self._fault(f"an address beyond all {space or 'generic'} memory", address, threads, wrong)
        if local:
            return self.local, threads * self.stride + at
        return self.shared, self.run.block_of[threads] * len(belongs) + at

    def _fault(self, message: str, address: np.ndarray, threads: np.ndarray, wrong: np.ndarray) -> None:
        k = int(np.flatnonzero(wrong)[0])
        raise PtxFault(f"{message}: {int(address[k]):#x}", int(threads[k]))


__all__ = ["LaunchError", "Program", "PtxError", "PtxFault", "program"]
