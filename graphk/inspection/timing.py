"""How long each step of a compiled graph takes, measured.

In: a `Subject` and values of the symbolic dims.  Out: the seconds of one call, and of each step in it.  What always
holds: the kernels run on arrays of their own (random inputs, copies of the variables), so nothing of the model changes;
steps run one after the other, in order, with threads and data of a call, and what starting one costs is taken off.
"""
from __future__ import annotations

import ctypes
import os
import time
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from graphk.inspection.subjects import Subject, value
from graphk.ir.dims import compile_dims
from graphk.runtime.bind import Binder, Bound
from graphk.runtime.compile import Executable
from graphk.runtime.executor import pack_externs
from graphk.runtime.gpu import GpuExecutable

AGAIN = 16                         # runs of a short step in one timing
SHORT = 2e-5                       # seconds
SECONDS = 0.25                     # spent on calls, and on their steps, at least
ROUNDS = 3                         # of which the fastest counts, at least
ROOM = 1 << 30                     # bytes of variables that are copied at most


@dataclass(frozen=True)
class Times:
    """Seconds of a call, and of each of the program's steps (loops as a whole)."""
    call: float
    steps: tuple[float, ...]


LARGE = "its variables take more than a gibibyte, or a call more memory than this machine has, so it is not measured"


def fits(s: Subject, env: Mapping[str, int]) -> bool:
    """Whether copies of the variables and a call's memory may be taken."""
    needed = value(s.program.arena, env) + sum(value(b.nbytes, env) for b in s.program.buffers
                                               if b.place in ("input", "output"))
    return (sum(a.nbytes for a in s.executable.variables.values()) <= ROOM
            and 2 * needed <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def measure(s: Subject, env: Mapping[str, int]) -> Times:
    """The times of the target's code at the sizes `env`, at which it `fits`; on a device if that is what is shown."""
    if s.cuda and s.gpu:
        return _on_device(s.gpu, env)
    old = s.executable
    exe = Executable(old.result, {node: aligned_copy(a) for node, a in old.variables.items()}, s.target, old.executor)
    inputs = [_some(b.type.dtype, compile_dims(b.type.shape)(env)) for b in exe.inputs]
    outputs = exe(inputs)
    call, = _fastest([lambda: exe(inputs)])
    externs = pack_externs([*inputs, *outputs])
    once, often = Binder(exe, env).pieces(), Binder(exe, env).pieces(AGAIN)
    once[0].refresh(exe.executor)

    def run(b: Bound) -> Callable[[], Any]:
        return lambda: exe.executor.run(b.address, ctypes.addressof(externs), b.threads)
    nothing, _, *first = _fastest([run(b) for b in once])
    short = [t - nothing < SHORT for t in first]
    again = _fastest([run(many if few else one) for few, one, many in zip(short, once[2:], often[2:])])
    return Times(call, tuple(max(0., t - nothing) / (AGAIN if few else 1) for few, t in zip(short, again)))


def _on_device(old: GpuExecutable, env: Mapping[str, int]) -> Times:
    """Each step as a recording of its own, so many times that starting it does not count."""
    copies = {node: aligned_copy(a) for node, a in old.variables.items()}
    exe = GpuExecutable(old.result, copies, old.device, old.tf32)
    inputs = [_some(b.type.dtype, compile_dims(b.type.shape)(env)) for b in exe.inputs]
    with old.device.lock:
        call, = _fastest([lambda: exe(inputs)])
        nothing, *steps = _fastest(exe.pieces(env, AGAIN))
    return Times(call, tuple(max(0., t - nothing) / AGAIN for t in steps))


def _fastest(runs: Sequence[Callable[[], Any]]) -> list[float]:
    """The shortest run of each, taken in turns, so that what else the machine does meets all alike."""
    best, start, rounds = [float("inf")] * len(runs), time.perf_counter(), 0
    while rounds < ROUNDS or time.perf_counter() - start < SECONDS:
        for i, run in enumerate(runs):
            before = time.perf_counter()
            run()
            best[i] = min(best[i], time.perf_counter() - before)
        rounds += 1
    return best


def _some(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random numbers, or zeros of a type that may choose rows."""
    kind = np.dtype(dtype).kind
    return np.random.RandomState(0).rand(*shape).astype(dtype) if kind == "f" else np.zeros(shape, dtype)


def aligned_copy(a: np.ndarray, align: int = 64) -> np.ndarray:
    """A copy whose first element lies at a multiple of `align`, as those of variables do."""
    space = np.empty(a.nbytes + align, np.uint8)
    at = -space.ctypes.data % align
    out = space[at:at + a.nbytes].view(a.dtype).reshape(a.shape)
    out[...] = a
    return out


__all__ = ["Times", "aligned_copy", "measure"]
