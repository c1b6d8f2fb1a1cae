"""Names by which scripts written for TensorFlow read a tensor.

In: a static shape.  Out: the same tuple, read as TensorFlow's shapes are.  What always holds: it equals the tuple.
"""
from __future__ import annotations


class StaticShape(tuple):
    """A tensor's shape, None for unknown axes.

    >>> StaticShape((None, 3)).as_list()
    [None, 3]
    """

    @property
    def ndims(self) -> int:
        """The number of axes."""
        return len(self)

    def as_list(self) -> list[int | None]:
        """The sizes in a list."""
        return list(self)
