"""Panels: a contraction's second operand in the order in which tiles read it.

In: where a kernel reads B.  Out: `Panels`, with the source that packs them and their size.  What always holds: panels
have NR columns and hold zeros beyond the last; every kernel that may read panels packed beforehand says so here.
"""
from __future__ import annotations

from dataclasses import dataclass

from graphk.ir.dims import Dim

MANY_ROWS = 256                   # of A, which are worth a step of packing and a barrier
GEMV_ROWS = 3                     # what the compiled blocks (micro.GEMV_ROWS) do in one reading of B
FEW_COLUMNS = 64                  # least, and
FEW_ELEMENTS = 1 << 17, 1 << 21   # least and most, of a B that so few rows read from panels: where all of it lies in
                                  # the nearest cache nothing is gained, and where none can hold it, memory decides


@dataclass(frozen=True, slots=True)
class Panels:
    """Where B of a tiled kernel lies, if whole panels of it can be packed beforehand, for many calls.

    `param`: its parameter; element (row, column) is at `base` + row * `rs` + column * `cs`; `k` rows, `n` columns.
    `few`: the rows of A, if up to `GEMV_ROWS` of them may read B in place; else 0.  `rows`: those that go block by
    block; or 0.  `winograd`: 0, or the m of the
    transform of a 3x3 kernel whose places lie `rh` and `rw` apart; such a B must be packed before the kernel runs.
    """
    param: int
    base: Dim
    rs: Dim
    cs: Dim
    k: Dim
    n: Dim
    few: Dim
    rows: Dim = 0
    rh: Dim = 0
    rw: Dim = 0
    winograd: int = 0

    def dims(self) -> tuple[Dim, ...]:
        return self.base, self.rs, self.cs, self.k, self.n, self.rh, self.rw, self.few, self.rows

    @staticmethod
    def in_place(few: int) -> bool:
        """Whether the kernel may read B in place, too."""
        return 0 < few <= GEMV_ROWS

    @staticmethod
    def wanted(k: int, n: int, few: int, lasting: bool) -> bool:
        """Whether there is anything to pack, and the kernel will not read B in place; `lasting`: panels last for
        many calls."""
        if Panels.in_place(few):
            return lasting and n >= FEW_COLUMNS and FEW_ELEMENTS[0] <= k * n <= FEW_ELEMENTS[1]
        return k * n > 0

    def each_time(self, n: int, rows: int) -> bool:
        """Whether packing before the kernel pays even for one run: `rows` of A in blocks meet all panels."""
        return bool(self.winograd) or rows >= max(2 * n, MANY_ROWS)

    def elements(self, tile: tuple[int, int], k: int, n: int) -> int:
        """Elements of all panels."""
        return max((self.winograd + 2) ** 2 * k * -(-n // tile[1]) * tile[1] if self.winograd else
                   k * -(-n // tile[1]) * tile[1], 1)

    @property
    def source(self) -> str:
        """What packs them; slots: B, its strides of rows and columns, rows, columns, `rh`, `rw`, the panels."""
        return PACK_SOURCE + (PACK_WINOGRAD.format(t="{t}", m=self.winograd, p=(self.winograd + 2) ** 2)
                              if self.winograd else PACK_PLAIN)


PACK_SOURCE = """
def pack(args, tid, nt):
    b = ptr_{t}(args, 0)
    rs = arg_i64(args, 1)
    cs = arg_i64(args, 2)
    k = arg_i64(args, 3)
    n = arg_i64(args, 4)
    panels = ptr_{t}(args, 7)
    for j in range(share_lo(n, tid, nt, NR_{t}), share_hi(n, tid, nt, NR_{t}), NR_{t}):
        nc = s_min(n - j, NR_{t})
"""
PACK_PLAIN = """\
        pack_b(at(b, j * cs), rs, cs, k, nc, at(panels, j * k))
"""
PACK_WINOGRAD = """\
        for c in range(k):
            winograd{m}_weights(at(b, j * cs + c * rs), arg_i64(args, 5), arg_i64(args, 6), cs, nc,
                                at(panels, j * {p} * k + c * NR_{t}), k * NR_{t})
"""


__all__ = ["GEMV_ROWS", "Panels"]
