"""Contractions over many places as CPU source: the gradients of weights that many pixels or steps share.

In: a kernel with the schedule `blocks(m, n, k)`, whose rows of A are neighbours in memory; its contracted axes are
images, rows and places of a row, or one long axis of places.  Out: the body of its one entry.  What always holds: as
in `tile`, each element is one chain of multiply-adds in the order of the contracted loops.

For each block of places (a few rows of an image) and each panel of B: the panel packed, then all results of the panel,
whose sums stay in the workspace until the last block. So the operands are read from memory once, and a block of both
stays in the first cache. Of one long axis, the block's rows of A are packed, too.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Callable, Sequence

from graphk.codegen.emit import short
from graphk.codegen.panels import Panels
from graphk.codegen.tile import Tile, dim_of, load_at
from graphk.ir.dims import Dim, product, substitute, sym
from graphk.ir.loop import coefficient
from graphk.passes.kernels import indices, map_dims

PLACES = 192                      # of a block: 12 KB of a panel, and as many lines of A


@dataclass(frozen=True, slots=True)
class PlacesSpace:
    """A packed panel of one block, then the results of all panels, then packed rows of A."""
    k: Dim
    n: Dim
    free: Dim
    m: Dim
    packed: Dim                                          # rows of A, or 0

    def dims(self) -> tuple[Dim, ...]:
        return self.k, self.n, self.free, self.m, self.packed

    def elements(self, tile: tuple[int, int], values: Sequence[int]) -> int:
        """Elements per thread for the run-time values of `dims()`."""
        (k, n, free, m, packed), (mr, nr) = values, tile
        return max(1, PLACES // max(k, 1)) * k * nr + -(-n // nr) * nr * free * -(-m // mr) * mr \
            + PLACES * -(-packed // mr) * mr


class Places(Tile):
    """The source of one such contraction."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.join_rows()

    def join_rows(self) -> None:
        """Results' loops that everything walks as one with m become part of m: fewer tiles that are not full."""
        while self.outer:
            outer, (m, n), a = self.outer[-1], self.loops, self.operands[0].load
            assert a is not None
            try:
                if any(coefficient(d, outer.axis) != coefficient(d, m.axis) * m.extent
                       for d in (a.index, *indices(self.epilogue))):
                    return
            except ValueError:                                             # an index that is not linear
                return
            self.outer = self.free = list(self.outer[:-1])
            self.loops = (replace(m, extent=outer.extent * m.extent), n)
            self.operands = (replace(self.operands[0], expr=load_at(a, outer.axis, 0)), self.operands[1])
            self.epilogue = map_dims(self.epilogue, partial(substitute, env={outer.axis: 0}))

    @property
    def workspace(self) -> PlacesSpace:                                     # type: ignore[override]
        m, n = (x.extent for x in self.loops)
        if self.is_single:
            return PlacesSpace(1, n, 1, m, m)
        return PlacesSpace(self.contracted[-1].extent, n, product([x.extent for x in self.free]), m, 0)

    @property
    def is_single(self) -> bool:
        """Whether the places are one axis: then each is a row of a block."""
        return len(self.contracted) == 1

    @property
    def kept(self) -> Panels | None:
        return None                                                        # B differs from call to call

    def print(self) -> None:
        lines, t = self.printer.lines, short(self.acc.dtype)
        add, depth, rows = lines.add, lines.depth, self.contracted[-1 if self.is_single else -2]
        slot = len(self.printer.kernel.params) + len(self.printer.kernel.sizes)
        for line in (f"ws = at(ptr_{t}(args, {slot}), tid * arg_i64(args, {slot + 1}))",
                     f"m_ = {dim_of(self.loops[0].extent)}", f"n_ = {dim_of(self.loops[1].extent)}",
                     f"k_ = {1 if self.is_single else dim_of(self.contracted[-1].extent)}",
                     f"rows_ = {dim_of(rows.extent)}",
                     f"some_ = s_max({PLACES} // s_max(k_, 1), 1)"):
            add(line)
        self.strides()
        self.split(t)
        add(f"sums_ = at(ws, some_ * k_ * NR_{t})")
        add(f"size_ = (n1 - n0 + NR_{t} - 1) // NR_{t} * s_max(l1 - l0, 0)"
            + "".join(f" * ({dim_of(x.extent)})" for x in self.free[1:])
            + f" * ((m1 - m0 + MR_{t} - 1) // MR_{t}) * (MR_{t} * NR_{t})")
        add("for z_ in range(0, size_, V):")
        add(f"    vstore(sums_, z_, {t}(0.0))")
        for loop in self.contracted[:-2]:
            self.open(loop)
        add("for first_ in range(0, rows_, some_):")
        lines.depth += 1
        add("last_ = s_min(rows_, first_ + some_)")
        if self.is_single:
            self.pack_block(t)
        self.over_results(t, self.pack, self.product)
        lines.depth = depth
        self.over_results(t, None, self.finish)
        lines.depth = depth

    def split(self, t: str) -> None:
        """Threads share the columns, or the rows of results, then the loop around these, then the others."""
        loop = ("l", f"({dim_of(self.free[0].extent) if self.free else 1})", "1")
        self.grid(f"n_ < nt * NR_{t}", ("m", "m_", f"MR_{t}"), loop, ("n", "n_", f"NR_{t}"))

    def over_results(self, t: str, pack: Callable[[str], None] | None, body: Callable[[str], None]) -> None:
        """`body` for each tile of results, which lies at `tile`; panels are outermost, each packed first."""
        lines = self.printer.lines
        add = lines.add
        add("tile = at(sums_, 0)")
        add(f"for j_ in range(n0, n1, NR_{t}):")
        lines.depth += 1
        add(f"nc_ = s_min(n1 - j_, NR_{t})")
        if pack is not None:
            pack(t)
        add(f"for {self.free[0].axis if self.free else 'one_'} in range(l0, l1):")
        lines.depth += 1
        for loop in self.free[1:]:
            self.open(loop)
        add(f"for i_ in range(m0, m1, MR_{t}):")
        lines.depth += 1
        add(f"mr_ = s_min(m1 - i_, MR_{t})")
        body(t)
        add(f"tile = at(tile, MR_{t} * NR_{t})")

    def pack(self, t: str) -> None:
        """The block's rows of one panel."""
        add, b = self.printer.lines.add, self.operands[1].load
        assert b is not None
        if self.is_single:
            add(f"pack_b(at({b.buffer}, {self.base(b)} + first_ * rsb_ + j_ * csb_), rsb_, csb_, last_ - first_, nc_, "
                "ws)")
            return
        row = self.contracted[-2].axis
        add(f"for {row} in range(first_, last_):")
        add(f"    pack_b(at({b.buffer}, {self.base(b)} + j_ * csb_), rsb_, csb_, k_, nc_, "
            f"at(ws, ({row} - first_) * k_ * NR_{t}))")

    def product(self, t: str) -> None:
        a = self.operands[0].load
        assert a is not None
        if self.is_single:
            self.printer.lines.add(f"gemm_tile_add(at(ap_, (i_ - m0) * (last_ - first_)), 1, MR_{t}, mr_, ws, "
                                   "last_ - first_, tile, 0, 1, 0)")
            return
        row = self.contracted[-2].axis
        start = substitute(a.index, {self.m: 0, self.k: 0, row: sym("first_")})
        self.printer.lines.add(f"gemm_tile_add(at({a.buffer}, {dim_of(start)} + i_ * rsa_), rsa_, csa_, mr_, ws, k_, "
                               f"tile, 0, last_ - first_, {dim_of(coefficient(a.index, row))})")

    def pack_block(self, t: str) -> None:
        """The block's rows of A in tiles of MR: read by columns, its lines would share few sets of the caches."""
        a = self.operands[0].load
        assert a is not None
        self.printer.lines.add("ap_ = at(sums_, size_)")
        self.printer.lines.add(f"for i_ in range(m0, m1, MR_{t}):")
        self.printer.lines.add(f"    pack_a(at({a.buffer}, {self.base(a)} + first_ * csa_ + i_ * rsa_), rsa_, csa_, "
                               f"s_min(m1 - i_, MR_{t}), last_ - first_, at(ap_, (i_ - m0) * (last_ - first_)))")

    def finish(self, t: str) -> None:
        lines = self.printer.lines
        lines.add("for r_ in range(mr_):")
        lines.depth += 1
        lines.add(f"{self.m} = i_ + r_")
        self.row(f"at(tile, r_ * NR_{t})", "j_", "j_ + nc_")
        lines.depth -= 1


__all__ = ["Places", "PlacesSpace"]
