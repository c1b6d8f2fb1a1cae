"""Where a variable's value lies: one array for life, whose first value may be drawn when something asks for it.

In: a first value, or how to draw it.  Out: `Storage`.  What always holds: whoever takes `value` finds the first value
or a later one; one that is overwritten before that is never drawn, and no thread draws over what another has written.
"""
from __future__ import annotations

import contextlib
import os
import threading
from typing import Iterator

import numpy as np

from graphk.runtime.mirrors import current
from graphk.runtime.writes import Unwritten, aligned, writing

_lock = threading.RLock()


def _after_fork() -> None:
    """A thread that held the lock is not there in the child, which draws again what that thread was drawing."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Storage:
    """A variable's array."""
    __slots__ = ("dtype", "_array", "_draw")

    def __init__(self, first: np.ndarray | Unwritten):
        self.dtype = np.dtype(first.dtype).name
        self._array = aligned(first.shape, self.dtype)
        self._draw = first.draw if isinstance(first, Unwritten) else None
        if isinstance(first, np.ndarray):
            self._array[...] = first

    @property
    def value(self) -> np.ndarray:
        """The array, with its newest value."""
        return current(self.drawn)

    @property
    def drawn(self) -> np.ndarray:
        """The array, with its first value or a later one; a device may have a newer one."""
        if self._draw is not None:
            with _lock:
                if self._draw is not None:
                    self._draw(self._array)
                    self._draw = None
        return self._array

    @contextlib.contextmanager
    def overwriting(self) -> Iterator[np.ndarray]:
        """The array, for who writes all of it."""
        with _lock, writing(current(self._array)) as array:
            yield array
            self._draw = None


__all__ = ["Storage"]
