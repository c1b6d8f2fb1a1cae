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
