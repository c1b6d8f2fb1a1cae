"""A GPU in plain Python: CUDA sources, run thread by thread.

In: a `CudaSource`, arrays and sizes.  Out: the arrays as a GPU would leave them.  What always holds: what a GPU leaves
undefined is an error here: an index beyond a buffer, a barrier or an exchange that not all threads of a block
reach, an element that one thread writes and another one touches with no barrier between them (or in another block).

A function becomes a generator: where it waits for other threads, it yields; the block goes on when all threads have.
"""
from __future__ import annotations

import ast
import functools
import math
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Callable

import numpy as np

from graphk.codegen.cuda import PLAIN, CudaSource

WARP = 32
Who = tuple[int, int, int]        # block, thread, number of barriers passed


class CudaFault(RuntimeError):
    """A kernel did what a GPU leaves undefined."""


class Memory:
    """Elements behind an address, and who touched them during a launch."""

    def __init__(self, gpu: "Gpu", name: str, array: np.ndarray, written: dict[int, Who], read: dict[int, Who]):
        self.gpu, self.name, self.array, self.written, self.read = gpu, name, array, written, read
        self.base, self.size = int(array.ctypes.data), array.itemsize

    def _touch(self, index: int, write: bool) -> None:
        if not 0 <= index < len(self.array):
            raise CudaFault(f"{self.name}[{index}]: the buffer has {len(self.array)} elements ({self.gpu.place()})")
        place, me = self.base + int(index) * self.size, self.gpu.me
        for table in (self.written, self.read)[:2 if write else 1]:
            other = table.get(place)
            if other is not None and (other[0] != me[0] or (other[1] != me[1] and other[2] == me[2])):
                raise CudaFault(f"{self.name}[{index}] is touched by two threads with no barrier between them: block "
                                f"{other[0]} thread {other[1]}, and {self.gpu.place()}")
        (self.written if write else self.read)[place] = me

    def __getitem__(self, index: int) -> Any:
        self._touch(index, False)
        return self.array[index]

    def __setitem__(self, index: int, value: Any) -> None:
        self._touch(index, True)
        self.array[index] = value

    def aligned(self) -> bool:
        return self.base % 16 == 0


@dataclass(slots=True)
class Thread:
    """One thread of a block that is running."""
    x: int
    run: Generator[Any, Any, None]
    arrays: int = 0               # shared arrays that it has asked for
    waits: Any = None


class Gpu:
    """What stands for the module `numba.cuda` while one block runs."""

    def __init__(self, threads: int, blocks: int):
        self.shared = SimpleNamespace(array=self._shared_array)
        self.gridDim, self.blockDim = SimpleNamespace(x=blocks), SimpleNamespace(x=threads)
        self.blockIdx, self.threadIdx = SimpleNamespace(x=0), SimpleNamespace(x=0)
        self.arrays: list[Memory] = []
        self.epoch = 0
        self.now: Thread | None = None
        self.me: Who = (0, 0, 0)

    def place(self) -> str:
        return f"block {self.me[0]} thread {self.me[1]}"

    def grid(self, _: int) -> int:
        return self.blockIdx.x * self.blockDim.x + self.threadIdx.x

    def gridsize(self, _: int) -> int:
        return self.gridDim.x * self.blockDim.x

    def _shared_array(self, count: int, dtype: Any, alignment: int) -> Memory:
        assert self.now is not None and alignment == 16
        number = self.now.arrays
        self.now.arrays += 1
        if number == len(self.arrays):
            array = np.full(count * np.dtype(dtype).itemsize, 0xAB, np.uint8).view(dtype)
            self.arrays.append(Memory(self, f"shared array {number}", array, {}, {}))
        return self.arrays[number]

    def block(self, number: int, function: Callable[..., Any], args: Sequence[Any]) -> None:
        """Run all threads of a block."""
        self.blockIdx.x, self.arrays = number, []
        threads = [Thread(x, function(*args)) for x in range(self.blockDim.x)]
        while threads:
            going = [t for t in threads if self._advance(t)]
            if going and len(going) < len(threads):
                raise CudaFault(f"block {number}: some threads wait for others that have ended")
            threads = going
            kinds = {None if t.waits is None else t.waits[1] for t in threads}
            if len(kinds) > 1:
                raise CudaFault(f"block {number}: threads wait at different places")
            if kinds == {None}:
                self.epoch += 1
            elif threads:
                _exchange(threads)

    def _advance(self, t: Thread) -> bool:
        """Let a thread run until it waits; whether it does."""
        self.now, self.threadIdx.x = t, t.x
        self.me = (self.blockIdx.x, t.x, self.epoch)
        try:
            t.waits = t.run.send(t.waits)
        except StopIteration:
            return False
        return True


def _exchange(threads: Sequence[Thread]) -> None:
    """Each thread gets the value of its neighbour in the warp; what waits becomes the answer."""
    width = min(WARP, len(threads))
    values = [t.waits[0] for t in threads]
    for i, t in enumerate(threads):
        other = i ^ t.waits[1]
        if other // width != i // width:
            raise CudaFault(f"thread {i} exchanges with {other}, which is not in its warp")
        t.waits = values[other]


class _Waits(ast.NodeTransformer):
    """Calls that wait for other threads, as `yield`."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        name = ast.unparse(node.func)
        if name == "cuda.syncthreads":
            return ast.Yield(None)
        if name == "cuda.shfl_xor_sync":
            return ast.Yield(ast.Tuple(node.args[1:], ast.Load()))
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.body.append(ast.parse("if False: yield").body[0])
        return node


class _Math:
    """The module `math` as a GPU knows it: special values instead of errors, and results of the operand's dtype."""
    fmod, pow = staticmethod(np.fmod), staticmethod(np.power)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def erf(x: Any) -> Any:
        return type(x)(math.erf(x))


_parsing = threading.Lock()               # Python 3.11 counts the depth of trees for all threads together


def launch(source: CudaSource, number: int, blocks: int, arrays: Sequence[np.ndarray], sizes: Sequence[int]) -> None:
    """Run a source's launch of that number on one-dimensional arrays, which change."""
    if len(arrays) != len(source.dtypes) or len(sizes) != len(source.sizes):
        raise ValueError(f"the kernel takes {len(source.dtypes)} arrays and {len(source.sizes)} sizes, received "
                         f"{len(arrays)} and {len(sizes)}")
    this = source.launches[number]
    gpu = Gpu(math.prod(this.threads), blocks)
    space: dict[str, Any] = {"cuda": gpu, "math": _Math(), "np": np, **PLAIN, "aligned": Memory.aligned}
    exec(_compiled(source.text), space)
    written, read = dict[int, Who](), dict[int, Who]()    # by address: two arguments may be the same memory
    args = [*(Memory(gpu, f"argument {i}", a, written, read) for i, a in enumerate(arrays)), *map(int, sizes)]
    with np.errstate(all="ignore"):
        for block in range(blocks):
            gpu.block(block, space[this.name], args)


@functools.lru_cache(maxsize=512)
def _compiled(text: str) -> Any:
    with _parsing:
        return compile(ast.fix_missing_locations(_Waits().visit(ast.parse(text))), "<graphk cuda kernel>", "exec")


__all__ = ["CudaFault", "launch"]
