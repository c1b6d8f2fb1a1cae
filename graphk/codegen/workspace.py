"""The memory that a thread of a tiled contraction computes in.

In: the extents of its loops.  Out: a `Workspace`, which tells how many elements it takes.  What always holds: what
`codegen/tile.py` prints reads and writes nothing beyond them.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

from graphk.codegen.panels import GEMV_ROWS
from graphk.ir.dims import Dim

BLOCK_ROWS = 4096                 # rows of a panel that stay packed at a time (16 floats each: 256 KB, of the L2 cache)


@dataclass(frozen=True, slots=True)
class Workspace:
    """What the size of a tiled kernel's workspace is made of: a packed panel of B, then rows of A, or of results.

    `k`, `n`: extents; `packed`: rows of A that are packed; `blocks`, `tiles`, `rows`: of the shared form, the
    extent of the outermost contracted loop (k: all others), results' loops outside m, and m; 0 otherwise.
    """
    k: Dim
    n: Dim
    packed: Dim = 0
    blocks: Dim = 0
    tiles: Dim = 0
    rows: Dim = 0

    def dims(self) -> tuple[Dim, ...]:
        return self.k, self.n, self.packed, self.blocks, self.tiles, self.rows

    def elements(self, tile: tuple[int, int], values: Sequence[int]) -> int:
        """Elements per thread for the run-time values of `dims()`."""
        mr, nr = tile
        k, n, packed, blocks, tiles, rows = values
        if not blocks:
            return max(k * (nr + -(-packed // mr) * mr), GEMV_ROWS * (n + nr + k), 1)
        chunk = min(blocks, max(1, BLOCK_ROWS // max(k, 1)))
        kept = max(tiles * -(-rows // mr), 1) if chunk < blocks else 1
        return chunk * k * nr + kept * mr * nr


__all__ = ["BLOCK_ROWS", "Workspace"]
