"""Who adds up: what several copies of a training step know of each other.

In: flat arrays of numbers.  Out: their sums over all copies.  What always holds: all copies call the same methods in
the same order, each names what it is about to do, and copies that do not name the same raise `DistributedError` on
every copy instead of waiting for each other.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Sequence

import numpy as np

if TYPE_CHECKING:
    from graphk.runtime.nccl import Clique


class DistributedError(RuntimeError):
    """Copies of a program do not do the same."""


class Reducer:
    """One copy alone; others derive from it.  `rank`: this copy's number, of `size`."""
    rank, size = 0, 1

    def __init__(self) -> None:
        self._rooms: dict[tuple[np.dtype[Any], int], np.ndarray] = {}

    def agree(self, what: str) -> None:
        """`DistributedError` unless all copies are about to do `what`."""

    def total(self, array: np.ndarray) -> None:
        """Put the sum over all copies into a flat array, in each the same bits."""

    def broadcast(self, array: np.ndarray, root: int) -> None:
        """Put what the copy `root` has there into a flat array."""

    def room(self, dtype: np.dtype[Any], size: int) -> np.ndarray:
        """Memory for so many numbers, the same each time: pages that are new cost more than what is written to them."""
        if (dtype, size) not in self._rooms:
            self._rooms[dtype, size] = np.empty(size, dtype)
        return self._rooms[dtype, size]

    def gather(self, value: Any) -> list[Any]:
        """A small value of every copy, by rank."""
        return [value]

    def clique(self, devices: Sequence[str]) -> Clique | None:
        """What adds up arrays in the memory of this copy's GPUs with those of the others; None where `total` does."""
        return None

    def total_there(self, what: str, clique: Clique, arrays: Sequence[Sequence[Any]]) -> None:
        """`total` of arrays in the memory of GPUs, for each its own, in place."""
        self.agree(what)
        clique.total(arrays)


ALONE = Reducer()


def total_of(reducer: Reducer, what: str, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The sums of arrays over all copies, each of which is doing `what`, through one flat buffer for each type of
    number; they last until as many numbers are added up again."""
    if reducer.size == 1:
        return list(arrays)
    reducer.agree(what)
    out: list[np.ndarray] = list(arrays)
    for dtype in dict.fromkeys(a.dtype for a in arrays):
        at = [i for i, a in enumerate(arrays) if a.dtype == dtype]
        flat = reducer.room(dtype, sum(arrays[i].size for i in at))
        np.concatenate([arrays[i].reshape(-1) for i in at], out=flat)
        reducer.total(flat)
        for i, part in zip(at, np.split(flat, np.cumsum([arrays[i].size for i in at])[:-1])):
            out[i] = part.reshape(arrays[i].shape)
    return out


__all__ = ["ALONE", "DistributedError", "Reducer", "total_of"]
