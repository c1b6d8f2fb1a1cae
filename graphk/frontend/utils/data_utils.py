"""Data sets that are asked for batches by number.

In: a subclass of the user's.  Out: batches for `fit_generator` and its kin.  What always holds: a batch depends on
its number alone, so batches may be drawn in any order.
"""
from __future__ import annotations

from typing import Any, Iterator


class Sequence:
    """Base class: define `__len__`, the number of batches, and `__getitem__(i)`, batch i as (x, y) or (x, y, weights).

    `on_epoch_end`, if defined, is called after each round.

    >>> class Squares(Sequence):
    ...     def __len__(self): return 2
    ...     def __getitem__(self, i): return [[i]], [[i ** 2]]
    >>> [y for x, y in Squares()]
    [[[0]], [[1]]]
    """

    use_sequence_api = True

    def __getitem__(self, index: int) -> Any:
        """Batch number `index`."""
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__(index), which returns a batch")

    def __len__(self) -> int:
        """The number of batches."""
        raise NotImplementedError(f"{type(self).__name__} must define __len__(), the number of batches")

    def on_epoch_end(self) -> None:
        """After each round."""

    def __iter__(self) -> Iterator[Any]:
        for i in range(len(self)):
            yield self[i]


__all__ = ["Sequence"]
