"""Convolutions of 3x3 windows, stride 1, as CPU source in Winograd's way; the epilogue on each row of a tile's results.

In: a kernel with the schedule `winograd{m}(w, n, k)`, whose kernel matrix lies transformed in panels before it runs.
Out: the body of its one entry.  What always holds: threads share tiles or columns, and a tile's results do not depend
on its neighbours, so their bits are the same for any number of threads.

For each block of tiles: all their inputs transformed; for each group of panels: one matrix product for each of the
(m+2)^2 points, then for each panel and tile the transform back, and the epilogue.
"""
from __future__ import annotations

from dataclasses import dataclass

from graphk.codegen.emit import short
from graphk.codegen.panels import Panels
from graphk.codegen.target import block_tiles
from graphk.codegen.tile import FAR, Tile, dim_of
from graphk.ir.dims import Dim, substitute, sym
from graphk.ir.loop import coefficient

PAD = 16                          # elements between planes of one point: they shall not meet in one set of the cache
GROUP = 8                         # panels whose products wait for their transform at a time


@dataclass(frozen=True, slots=True)
class WinogradSpace:
    """Inputs of a block's tiles, products of a group of panels, one tile of results."""
    m: int
    k: Dim

    def dims(self) -> tuple[Dim, ...]:
        return (self.k,)

    def elements(self, tile: tuple[int, int], values: "tuple[int, ...] | list[int]") -> int:
        """Elements per thread for the run-time value of `k`."""
        (k,), (mr, nr) = values, tile
        tiles = -(-block_tiles(mr) * 3 // 2 // mr) * mr
        points = (self.m + 2) ** 2
        return points * (tiles * k + PAD + GROUP * (tiles * nr + PAD)) + self.m ** 2 * nr


class Winograd(Tile):
    """The source of one such convolution."""

    def join(self) -> None:
        """Its three contracted loops stay apart."""

    @property
    def size(self) -> int:
        assert self.printer.kernel.schedule is not None
        return int(self.printer.kernel.schedule.kind[-1])

    @property
    def workspace(self) -> WinogradSpace:                                 # type: ignore[override]
        return WinogradSpace(self.size, self.contracted[-1].extent)

    @property
    def kept(self) -> Panels:
        b = self.operands[1].load
        assert b is not None
        rh, rw, rs = (coefficient(b.index, x.axis) for x in self.contracted)
        base = substitute(b.index, {self.n: 0, **{x.axis: 0 for x in self.contracted}})
        param = [p.name for p in self.printer.kernel.params].index(b.buffer)
        return Panels(param, base, rs, coefficient(b.index, self.n), self.contracted[-1].extent, self.loops[1].extent,
                      0, 0, rh, rw, self.size)

    def print(self) -> None:
        add, t, m = self.printer.lines.add, short(self.acc.dtype), self.size
        slot, p = len(self.printer.kernel.params) + len(self.printer.kernel.sizes), (m + 2) ** 2
        a = self.operands[0].load
        assert a is not None
        h, w = self.outer[-1], self.loops[0]
        images = self.outer[:-1]
        for line in (f"ws = at(ptr_{t}(args, {slot}), tid * arg_i64(args, {slot + 1}))",
                     f"panels_ = ptr_{t}(args, {slot + 2})",
                     f"n_ = {dim_of(self.loops[1].extent)}", f"k_ = {dim_of(self.contracted[-1].extent)}",
                     "far_ = 0", f"if {p} * k_ * n_ > {FAR}:", "    far_ = 1",
                     f"h_ = {dim_of(h.extent)}", f"w_ = {dim_of(w.extent)}",
                     f"rsa_ = {dim_of(coefficient(a.index, h.axis))}", f"csa_ = {dim_of(coefficient(a.index, w.axis))}",
                     f"down_ = (h_ + {m - 1}) // {m}", f"across_ = (w_ + {m - 1}) // {m}",
                     "each_ = down_ * across_",
                     "all_ = each_" + "".join(f" * ({dim_of(x.extent)})" for x in images),
                     # Threads share the tiles, or the columns where there are few tiles.
                     "begin_ = share_lo(all_, tid, nt, 1)", "stop_ = share_hi(all_, tid, nt, 1)", "n0 = 0", "n1 = n_",
                     f"if all_ < nt * WT_{t} and n_ >= nt * NR_{t}:",
                     "    begin_ = 0", "    stop_ = all_",
                     f"    n0 = share_lo(n_, tid, nt, NR_{t})", f"    n1 = share_hi(n_, tid, nt, NR_{t})",
                     # Blocks of about WT tiles, at most half as many more.
                     f"size_ = s_max((stop_ - begin_ + WT_{t} // 2) // WT_{t}, 1)",
                     "size_ = (stop_ - begin_ + size_ - 1) // size_",
                     f"size_ = (size_ + MR_{t} - 1) // MR_{t} * MR_{t}",
                     f"vs_ = size_ * k_ + {PAD}", f"ps_ = size_ * NR_{t} + {PAD}",
                     f"v_ = at(ws, {m * m} * NR_{t})", f"p_ = at(v_, {p} * vs_)",
                     "for first_ in range(begin_, stop_, s_max(size_, 1)):",
                     "    last_ = s_min(stop_, first_ + size_)"):
            add(line)
        self.printer.lines.depth += 1
        self.transform(p)
        self.products(t, p)
        self.results(t, p)
        self.printer.lines.depth -= 2

    def place(self) -> None:
        """The image, and the upper left corner (y_, x_), of tile `tile_`."""
        add, m = self.printer.lines.add, self.size
        add("in_ = tile_ % each_")
        add(f"y_ = in_ // across_ * {m}")
        add(f"x_ = in_ % across_ * {m}")
        rest = "tile_ // each_"
        for loop in reversed(self.outer[:-1]):
            add(f"rest_ = {rest}")
            add(f"{loop.axis} = rest_ % s_max({dim_of(loop.extent)}, 1)")
            rest = f"rest_ // s_max({dim_of(loop.extent)}, 1)"

    def transform(self, p: int) -> None:
        """All channels of the block's tiles: v_[point * vs_ + tile * k_ + channel]."""
        add, m, a = self.printer.lines.add, self.size, self.operands[0].load
        assert a is not None
        base = substitute(a.index, {self.m: 0, self.outer[-1].axis: 0, **{x.axis: 0 for x in self.contracted}})
        add("for tile_ in range(first_, last_):")
        self.printer.lines.depth += 1
        self.place()
        add(f"winograd{m}_input(at({a.buffer}, {dim_of(base)} + y_ * rsa_ + x_ * csa_), rsa_, csa_, "
            f"h_ + 2 - y_, w_ + 2 - x_, k_, at(v_, (tile_ - first_) * k_), vs_)")
        self.printer.lines.depth -= 1

    def products(self, t: str, p: int) -> None:
        """p_[(panel * points + point) * ps_ + tile * NR + column] of the group of panels from g_ on."""
        add = self.printer.lines.add
        add(f"for g_ in range(n0, n1, {GROUP} * NR_{t}):")
        add(f"    end_ = s_min(n1, g_ + {GROUP} * NR_{t})")
        add(f"    for point_ in range({p}):")
        add(f"        for j_ in range(g_, end_, NR_{t}):")
        add(f"            ahead_ = far_ * {p} * NR_{t} * k_")          # the next panel's part for this point
        add(f"            for i_ in range(0, last_ - first_, MR_{t}):")
        add(f"                gemm_tile(at(v_, point_ * vs_ + i_ * k_), k_, 1, s_min(last_ - first_ - i_, MR_{t}), "
            f"at(panels_, (j_ * {p} + point_ * NR_{t}) * k_), k_, "
            f"at(p_, ((j_ - g_) // NR_{t} * {p} + point_) * ps_ + i_ * NR_{t}), ahead_)")
        add(f"                ahead_ += far_ * (k_ // 2 * NR_{t})")

    def results(self, t: str, p: int) -> None:
        """Back to pixels, and the epilogue on each that lies in the image."""
        add, lines, m = self.printer.lines.add, self.printer.lines, self.size
        h, w = self.outer[-1].axis, self.m
        lines.depth += 1
        add(f"for j_ in range(g_, end_, NR_{t}):")
        lines.depth += 1
        add(f"nc_ = s_min(n1 - j_, NR_{t})")
        add("for tile_ in range(first_, last_):")
        lines.depth += 1
        self.place()
        add(f"for r_ in range(s_min(h_ - y_, {m})):")
        add(f"    {h} = y_ + r_")
        lines.depth += 1
        self.touch({self.m: sym("x_"), self.n: sym("j_")})
        lines.depth -= 1
        add(f"winograd{m}_output(at(p_, (j_ - g_) // NR_{t} * {p} * ps_ + (tile_ - first_) * NR_{t}), ps_, ws)")
        add(f"for r_ in range(s_min(h_ - y_, {m})):")
        add(f"    {h} = y_ + r_")
        add(f"    for c_ in range(s_min(w_ - x_, {m})):")
        add(f"        {w} = x_ + c_")
        lines.depth += 2
        self.row(f"at(ws, (r_ * {m} + c_) * NR_{t})", "j_", "j_ + nc_")
        lines.depth -= 5


__all__ = ["Winograd", "WinogradSpace"]
