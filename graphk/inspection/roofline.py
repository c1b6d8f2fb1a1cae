"""What this machine can do at most, and how long a kernel must take at least.

In: a target and a number of threads.  Out: a `Machine`: a stated peak of float32 operations, and the bandwidth that a
small benchmark measured; of a machine elsewhere, what is given.  What always holds: the clock is measured by a chain of
dependent multiplications, whose latency is stated; bandwidth by y = x / 2 within working sets of several sizes; nothing
is measured twice in a process.
"""
from __future__ import annotations

import ctypes
import functools
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from graphk.codegen import cache
from graphk.codegen.target import Target
from graphk.inspection.facts import human
from graphk.inspection.sections import plural

PIPES = 2                                      # fused multiply-adds that a core begins in a cycle, stated
LATENCY = 3                                    # cycles of a 64-bit integer multiplication, stated
CHAIN = 1 << 20                                # multiplications, each on the result of the one before
SIZES = (1 << 14, 1 << 18, 1 << 22, 1 << 26)   # working sets, in bytes, that are timed
ROUNDS = 7
ONCE = 1 << 26                                 # bytes that a timed call moves, at least
_CLOCK = """
def chain(args, tid, nt):
    p = ptr_i64(args, 1)
    x = p[0]
    for i in range(0, arg_i64(args, 0), 1):
        x = x * x
    p[0] = x
"""
_HALVES = """
def halves(args, tid, nt):
    n = arg_i64(args, 0)
    x = ptr_f32(args, 2)
    y = ptr_f32(args, 3)
    for again in range(0, arg_i64(args, 1), 1):
        for i in range(0, n, V):
            vstore(y, i, vload(x, i) * f32(0.5))
"""
_ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


@dataclass(frozen=True)
class Machine:
    """A roofline.  peak: float32 operations a second; bandwidths: (working set in bytes, bytes a second); told: where
    both are from."""
    peak: float
    bandwidths: tuple[tuple[float, float], ...]
    told: tuple[str, str]

    def bandwidth(self, nbytes: float) -> float:
        """Bytes a second that are read and written where a step touches `nbytes`; beyond the last size, of memory."""
        return next((rate for size, rate in self.bandwidths if nbytes <= size), self.bandwidths[-1][1])

    def floor(self, flops: float, nbytes: float, times: int = 1) -> float:
        """Seconds that so many operations and bytes take at least, done in `times` equal parts."""
        return max(flops / self.peak, nbytes / self.bandwidth(nbytes / max(1, times)))

    def attainable(self, flops: float, nbytes: float, times: int = 1) -> float:
        """Operations a second under the roof, at the intensity flops / nbytes."""
        return flops / (self.floor(flops, nbytes, times) or 1.)

    def bound(self, flops: float, nbytes: float, times: int = 1) -> str:
        """Which roof is met first: "compute" or "memory"."""
        return "compute" if flops / self.peak >= nbytes / self.bandwidth(nbytes / max(1, times)) else "memory"

    def __str__(self) -> str:
        rates = ", ".join(human(rate, "B/s") + (f" within {human(size, 'B')}" if math.isfinite(size) else "")
                          for size, rate in self.bandwidths)
        return f"peak {human(self.peak, 'FLOP/s')} ({self.told[0]})\nbandwidth {rates} ({self.told[1]})"


def machine(target: Target, threads: int) -> Machine:
    """The roofline of this machine for kernels of `target` on so many threads (a fraction of a second, once).

    All threads begin `PIPES` fused multiply-adds of whole vectors each cycle.
    """
    clock = _clock(target)
    told = (f"stated: {plural(threads, 'thread')} x {PIPES} fused multiply-adds a cycle x {target.lanes} float32 lanes "
            f"x 2; the clock of {human(clock, 'Hz')} was measured", "measured: y = x / 2, bytes read and written")
    return Machine(threads * PIPES * 2 * target.lanes * clock,
                   tuple((n, _bandwidth(target, n, threads)) for n in SIZES), told)


def stated(peak: float, bandwidth: float) -> Machine:
    """The roofline of a machine that is not here: float32 operations and bytes of memory a second."""
    if not (0 < peak < math.inf and 0 < bandwidth < math.inf):
        raise ValueError(f"the roof is {peak:g} operations and {bandwidth:g} bytes a second; expected two positive "
                         "numbers")
    return Machine(peak, ((math.inf, bandwidth),), ("as given", "as given"))


@functools.lru_cache(maxsize=4)
def _clock(target: Target) -> float:
    """Cycles a second: the fastest of some runs of a chain, as nothing but interruptions makes it longer."""
    chain = _ENTRY(cache.get_kernel(_CLOCK, ("chain",), target)["chain"])
    number = np.array([3], np.int64)
    args = np.array([CHAIN, number.ctypes.data], np.int64)
    best = float("inf")
    for _ in range(ROUNDS):
        before = time.perf_counter()
        chain(args.ctypes.data, 0, 1)
        best = min(best, time.perf_counter() - before)
    return CHAIN * LATENCY / best


@functools.lru_cache(maxsize=16)
def _bandwidth(target: Target, nbytes: int, threads: int) -> float:
    """Bytes read and written a second where each thread halves an array of `nbytes` / 2 into another."""
    halves = _ENTRY(cache.get_kernel(_HALVES, ("halves",), target)["halves"])
    count, again = nbytes // 8, max(1, ONCE // nbytes)
    arrays = [(np.ones(count, np.float32), np.zeros(count, np.float32)) for _ in range(threads)]
    words = [np.array([count, again, x.ctypes.data, y.ctypes.data], np.int64) for x, y in arrays]
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(ROUNDS):
            before = time.perf_counter()
            list(pool.map(lambda args: halves(args.ctypes.data, 0, 1), words))
            best = min(best, time.perf_counter() - before)
    return threads * again * nbytes / best


__all__ = ["LATENCY", "PIPES", "SIZES", "Machine", "machine"]
