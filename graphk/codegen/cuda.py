"""Kernels as numba.cuda source: the same loop nests for a grid of threads.

In: a scheduled Kernel.  Out: `CudaSource`: Python functions, and for each the grid it is launched with.  What always
holds: the text depends on the kernel alone, not on the machine; every loop over elements strides by the whole grid
(or block), so any grid gives the same result; a thread writes what no other thread writes, and combines in an order
that sizes alone decide.

How schedules become grids:
  map                   one thread per element, or per four                     `cuda_map`
  rows, columns, chunks teams of threads, by shuffles and shared memory         `cuda_reduce`
  tile and its kin      one block per square of results, in registers           `cuda_tile`
  serial                one thread

Arguments of every function: the kernel's buffers in order (their addresses), then its sizes (int64).
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Mapping, Sequence

from graphk.codegen.cuda_map import elements, scatter
from graphk.codegen.cuda_reduce import reduction
from graphk.codegen.cuda_tile import SQUARES, Contraction
from graphk.codegen.cuda_values import Launch, Printer
from graphk.ir.loop import Acc, Kernel, Let, Loop, Store, walk

THREADS = 128                     # of a block, except for tiles
TILE = 64                         # rows and columns of the larger of a contraction's squares


@dataclass(frozen=True, slots=True)
class CudaSource:
    """A printed kernel: launches run in order, each after the one before has finished."""
    text: str
    launches: tuple[Launch, ...]
    dtypes: tuple[str, ...]
    sizes: tuple[str, ...]


@lru_cache(maxsize=2048)
def print_cuda(kernel: Kernel, threads: int = THREADS, tile: int = TILE) -> CudaSource:
    """The CUDA source of a scheduled kernel.

    `threads` (a power of two) and `tile` (a key of `cuda_tile.SQUARES`) are the extents of its blocks.
    """
    if kernel.schedule is None:
        raise ValueError(f"the kernel `{kernel.label}` has no schedule: run the pass `schedule` first")
    if threads < 1 or threads & (threads - 1):
        raise ValueError(f"sums halve the threads of a block: expected a power of two, received {threads}")
    if tile not in SQUARES:
        raise ValueError(f"a tile's edge is one of {', '.join(map(str, SQUARES))}, received {tile}")
    p = Printer(kernel, threads, tile)
    lets = [s for s in kernel.body if isinstance(s, Let)]
    loops = [s for s in kernel.body if isinstance(s, Loop)]
    if kernel.schedule.kind == "serial" or len(lets) + len(loops) < len(kernel.body):
        p.header(1, (1,))
        with p.inside("if cuda.grid(1) == 0:"):
            p.statements(kernel.body)
    else:
        for loop in loops:
            _phase(p, lets, loop)
    return CudaSource(p.lines.text(), tuple(p.launches), tuple(x.dtype for x in kernel.params), kernel.sizes)


def _phase(p: Printer, lets: Sequence[Let], loop: Loop) -> None:
    inside = list(walk(loop.body))
    if p.kernel.schedule is not None and p.kernel.schedule.tiled:
        Contraction(p, loop).run(lets)
    elif any(isinstance(s, Store) and s.accumulate for s in inside):
        scatter(p, lets, loop)
    elif any(isinstance(s, Acc) for s in inside):
        reduction(p, lets, loop)
    else:
        elements(p, lets, loop)


def _load4(pointer: Any, index: int) -> tuple[Any, ...]:
    return tuple(pointer[index + k] for k in range(4))


def _store4(pointer: Any, index: int, *values: Any) -> None:
    for k, x in enumerate(values):
        pointer[index + k] = x


def _bits_of(x: Any) -> Any:
    import numpy as np
    return np.float32(x).view(np.int32)


def _of_bits(bits: Any) -> Any:
    import numpy as np
    return np.int32(bits).view(np.float32)


# What `cuda_intrinsics` compiles, in plain Python.
PLAIN: dict[str, Any] = {"load4": _load4, "store4": _store4, "aligned": lambda pointer: True, "pointer": lambda x: x,
                         "quotient": lambda a, b: a // b, "choose": lambda flag, a, b: a if flag else b,
                         "bits_of": _bits_of, "of_bits": _of_bits}


def load_functions(source: CudaSource, cuda: Any, names: Mapping[str, Any] = PLAIN) -> dict[str, Any]:
    """The functions of a source; `cuda` is the module `numba.cuda`, or what stands in for it."""
    import math

    import numpy as np
    space: dict[str, Any] = {"cuda": cuda, "math": math, "np": np, **names}
    exec(compile(source.text, "<graphk cuda kernel>", "exec"), space)
    return {launch.name: space[launch.name] for launch in source.launches}


__all__ = ["CudaSource", "Launch", "PLAIN", "THREADS", "TILE", "load_functions", "print_cuda"]
