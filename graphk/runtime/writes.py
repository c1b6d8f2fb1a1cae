"""The number of the latest write to a variable.

In: `note_write`, called by everything that writes variables: before it writes, and unless it holds the lock of those
who read, again afterwards.
Out: `Writes.last`, another number after each.  What always holds: whoever took a number before reading variables,
and finds the same number later, would read the same values again.
"""
from __future__ import annotations

import contextlib
import itertools
import math
from typing import Any, Callable, Iterator, NamedTuple

import numpy as np

new_number = itertools.count(1).__next__


class Writes:
    """`last`: the latest number."""
    last = 0


class Unwritten(NamedTuple):
    """The first value of a variable that is written before anything reads it, or that `draw` puts into the array when
    something does."""
    shape: tuple[int, ...]
    dtype: str
    draw: Callable[[np.ndarray], None] | None = None


ALIGN = 64


def aligned(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An uninitialized C-contiguous array whose data begins on a 64-byte boundary."""
    n = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(n + ALIGN, np.uint8)
    at = -raw.ctypes.data % ALIGN
    return raw[at:at + n].view(dtype).reshape(shape)


def note_write() -> int:
    """A new number, which no other write has, and which it returns."""
    Writes.last = number = new_number()
    return number


# Told of each variable's array that the host has written.
WATCHERS: list[Callable[[Any], None]] = []


@contextlib.contextmanager
def writing(array: Any) -> Iterator[Any]:
    """While a variable's array is written; a signal, at any point, leaves a new number behind."""
    note_write()
    try:
        yield array
    finally:
        note_write()
        for watcher in WATCHERS:
            watcher(array)


def write(array: Any, value: Any) -> None:
    """Copy `value` into a variable's array."""
    with writing(array):
        array[...] = value
