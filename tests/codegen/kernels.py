"""Helpers shared by the code generation tests: compile once per source, call through ctypes."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence

import numpy as np

from graphk.codegen import native
from graphk.codegen.target import Target, host_target, with_lanes

WIDTHS = (1, 4, 8, 16)
PROTOTYPE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
# A whole C = A @ B: panels are split among threads when there are at least as many as threads, else each thread
# packs all of them and takes a part of the rows.
# slots: a, b, c, workspace (per thread k*NR elements), m, n, k, rsa, csa, rsb, csb, ldc
MATMUL_SOURCE = """
def matmul(args, tid, nt):
    a = ptr_{t}(args, 0)
    b = ptr_{t}(args, 1)
    c = ptr_{t}(args, 2)
    m = arg_i64(args, 4)
    n = arg_i64(args, 5)
    k = arg_i64(args, 6)
    rsa = arg_i64(args, 7)
    csa = arg_i64(args, 8)
    rsb = arg_i64(args, 9)
    csb = arg_i64(args, 10)
    ldc = arg_i64(args, 11)
    bp = at(ptr_{t}(args, 3), tid * k * NR_{t})
    tile = tile_{t}()
    j0 = share_lo(n, tid, nt, NR_{t})
    j1 = share_hi(n, tid, nt, NR_{t})
    i0 = 0
    i1 = m
    if n < nt * NR_{t}:
        j0 = 0
        j1 = n
        i0 = share_lo(m, tid, nt, MR_{t})
        i1 = share_hi(m, tid, nt, MR_{t})
    for j in range(j0, j1, NR_{t}):
        nc = s_min(n - j, NR_{t})
        pack_b(at(b, j * csb), rsb, csb, k, nc, bp)
        for i in range(i0, i1, MR_{t}):
            mr = s_min(i1 - i, MR_{t})
            gemm_tile(at(a, i * rsa), rsa, csa, mr, bp, k, tile, 0)
            for r in range(mr):
                out = at(c, (i + r) * ldc + j)
                row = at(tile, r * NR_{t})
                q = 0
                while q + V <= nc:
                    vstore(out, q, vload(row, q))
                    q += V
                while q < nc:
                    out[q] = row[q]
                    q += 1
"""


def target(lanes: int) -> Target:
    """The host at a given width."""
    return with_lanes(host_target(), lanes)


@functools.lru_cache(maxsize=None)
def build(source: str, entries: tuple[str, ...], lanes: int) -> dict[str, Callable[..., None]]:
    """Entry name to a ctypes function."""
    compiled = native.compile_source(source, entries, target(lanes))
    return {name: PROTOTYPE(address) for name, address in native.load(compiled).items()}


def slots(arguments: Sequence[object]) -> np.ndarray:
    """Argument slots: the address of an array, or an integer."""
    return np.array([a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments], np.int64)


def call(function: Callable[..., None], arguments: Sequence[object], nt: int = 1) -> None:
    """Run every thread's part, one after the other."""
    packed = slots(arguments)
    for tid in range(nt):
        function(packed.ctypes.data, tid, nt)
