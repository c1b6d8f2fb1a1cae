"""Tables of text.

In: a head and rows of ready-made cells.  Out: lines.  What always holds: the last column is not padded, so no line ends
in spaces; a table of no rows is its head.
"""
from __future__ import annotations

from typing import Collection, Sequence


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[int] = (0,), indent: str = "") -> str:
    """A table; the columns numbered in `left` begin at the left, the others end at the right.

    >>> print(columns(["layer", "bytes"], [["dense_1", "12"]]))
    layer    bytes
    dense_1     12
    """
    lines = [head, *rows]
    widths = [max(len(r[i]) for r in lines) for i in range(len(head))]
    return "\n".join((indent + "  ".join(c.ljust(w) if i in left else c.rjust(w)
                                         for i, (c, w) in enumerate(zip(r, widths)))).rstrip() for r in lines)


def shortened(text: str, most: int) -> str:
    """`text`, or its beginning and three dots."""
    return text if len(text) <= most else text[:most - 3] + "..."


__all__ = ["columns", "shortened"]
