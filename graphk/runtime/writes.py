"""The number of the latest write to a variable.

In: `note_write`, called by everything that writes variables: before it writes, and unless it holds the lock of those
who read, again afterwards.
Out: `Writes.last`, another number after each.  What always holds: whoever took a number before reading variables,
and finds the same number later, would read the same values again.
"""
from __future__ import annotations

import itertools
from typing import Any, NamedTuple

new_number = itertools.count(1).__next__


class Writes:
    """`last`: the latest number."""
    last = 0


class Unwritten(NamedTuple):
    """The first value of a variable that is written before anything reads it."""
    shape: tuple[int, ...]
    dtype: str


def note_write() -> int:
    """A new number, which no other write has, and which it returns."""
    Writes.last = number = new_number()
    return number


def write(array: Any, value: Any) -> None:
    """Copy `value` into a variable's array; a signal, at any point, leaves a new number behind."""
    note_write()
    try:
        array[...] = value
    finally:
        note_write()
