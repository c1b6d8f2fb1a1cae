"""Contractions as CPU source: packed panels, register tiles, the epilogue on each tile.

In: a kernel with the schedule `tile(m, n, k)` and the printer that prints its statements.  Out: the body of its one
entry.  What always holds: each element is one chain of multiply-adds over the contracted axes in order, however
panels are blocked and threads share them, so its bits are the same for any number of threads.

Two shapes of the same idea. A product with one contracted axis (`panels`): for each panel of B, all rows of A.
A product whose contracted axes are several loops, or whose B is the same for several outer loops (`shared`), as in
convolutions: for each panel of B, blocks of the contracted axes, and for each block all rows of all loops.
"""
from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Iterator, Sequence

from graphk.codegen.emit import dim_code, short
from graphk.codegen.panels import GEMV_ROWS, Panels
from graphk.codegen.workspace import BLOCK_ROWS, Workspace
from graphk.ir.dims import Dim, product, substitute, sym, symbols
from graphk.ir.effects import Operand
from graphk.ir.loop import Acc, Load, Loop, Stmt, Store, coefficient, loads

if TYPE_CHECKING:
    from graphk.codegen.cpu import Printer

BLOCK_ELEMENTS, BLOCK_TILES = 65536, 16      # of A, and register tiles of rows, that meet all kept panels at a time
FAR = 1 << 17                     # elements of a B that does not stay in the L2 cache from call to call
SHORT = 128                       # contracted elements: such a tile takes less time than its lines from memory do


@dataclass
class Tile:
    """The source of one tiled contraction."""
    printer: "Printer"
    outer: Sequence[Loop]             # loops of results around m and n
    loops: tuple[Loop, Loop]          # m and n
    contracted: Sequence[Loop]        # outermost first; the last is k
    operands: tuple[Operand, Operand]
    acc: Acc
    epilogue: tuple[Stmt, ...]

    def __post_init__(self) -> None:
        self.join()
        self.m, self.n, self.k = self.loops[0].axis, self.loops[1].axis, self.contracted[-1].axis
        b = set().union(*map(symbols, self.operands[1].indices()))
        # Rows that are computed are packed for one loop over m: then every outer loop runs around the whole product.
        packed = self.operands[0].load is None and len(self.contracted) == 1
        self.free = [x for x in self.outer if x.axis not in b and not packed]
        self.bound = [x for x in self.outer if x.axis in b or packed]

    def join(self) -> None:
        """The innermost contracted loops that both operands walk as one become one: longer chains in registers."""
        while len(self.contracted) > 1:
            *rest, outer, inner = self.contracted
            a, b = (x.load for x in self.operands)
            if a is None or b is None or any(coefficient(x.index, outer.axis)
                                             != coefficient(x.index, inner.axis) * inner.extent for x in (a, b)):
                return
            self.contracted = [*rest, replace(inner, extent=outer.extent * inner.extent)]
            self.operands = (Operand(load_at(a, outer.axis, 0), ()), Operand(load_at(b, outer.axis, 0), ()))

    @property
    def shared(self) -> bool:
        """Whether a panel of B serves more than one product over one loop."""
        return bool(self.free) or len(self.contracted) > 1

    @property
    def workspace(self) -> Workspace:
        k, n = self.contracted[-1].extent, self.loops[1].extent
        if not self.shared:
            return Workspace(k, n, self.loops[0].extent if self.packs_rows else 0)
        blocks = self.contracted[0].extent if len(self.contracted) > 1 else 1
        inner = product([x.extent for x in self.contracted[1:]]) if len(self.contracted) > 1 else k
        return Workspace(inner, n, 0, blocks, product([x.extent for x in self.free]), self.loops[0].extent)

    @property
    def kept(self) -> Panels | None:
        """How all panels of B are packed beforehand; None where B is computed, or its rows are not evenly spaced."""
        b = self.operands[1].load
        loops = self.contracted
        if b is None or self.bound:
            return None
        strides = [coefficient(b.index, x.axis) for x in loops]
        even = all(s == x.extent * below for s, x, below in zip(strides, loops[1:], strides[1:]))
        own = {self.m: 0, self.n: 0, **{x.axis: 0 for x in loops}}
        base = substitute(b.index, own)
        if not even or symbols(base) - set(self.printer.kernel.sizes):
            return None
        few = self.loops[0].extent if not self.shared and coefficient(b.index, self.n) == 1 else 0
        param = [p.name for p in self.printer.kernel.params].index(b.buffer)
        return Panels(param, base, strides[-1], coefficient(b.index, self.n), product([x.extent for x in loops]),
                      self.loops[1].extent, few, 0 if self.shared else self.loops[0].extent)

    @property
    def packs_rows(self) -> bool:
        """Whether A is packed first: it is computed, or not contiguous along k (tiles would read it by columns)."""
        a = self.operands[0].load
        return a is None or coefficient(a.index, self.k) != 1

    def base(self, load: Load) -> str:
        """The index where m, n and k are 0."""
        return dim_of(substitute(load.index, {self.m: 0, self.n: 0, self.k: 0}))

    def print(self) -> None:
        lines = self.printer.lines
        add, t = lines.add, short(self.acc.dtype)
        slot = len(self.printer.kernel.params) + len(self.printer.kernel.sizes)
        add(f"ws = at(ptr_{t}(args, {slot}), tid * arg_i64(args, {slot + 1}))")
        if self.kept:
            add(f"kept_ = arg_i64(args, {slot + 2})")
            add(f"panels_ = ptr_{t}(args, {slot + 2})")
        for name, loop in (("m", self.loops[0]), ("n", self.loops[1]), ("k", self.contracted[-1])):
            add(f"{name}_ = {dim_of(loop.extent)}")
        if self.kept:
            add("far_ = 0")
            add(f"if kept_ != 0 and {dim_of(product([x.extent for x in self.contracted]))} * n_ > {FAR}:")
            add("    far_ = 1")
        depth = lines.depth
        if self.bound:
            for line in ("m0 = 0", "m1 = m_", "n0 = 0", "n1 = n_"):
                add(line)
            self.split_loop(self.bound[0])
            add(f"for {self.bound[0].axis} in range(l0, l1):")
            lines.depth += 1
            for loop in self.bound[1:]:
                self.open(loop)
        else:
            self.split(t)
        self.strides()
        if self.shared:
            self.blocks(t)
        else:
            self.single(t)
        lines.depth = depth

    def open(self, loop: Loop) -> None:
        """A plain loop; the caller takes the depth back."""
        self.printer.lines.add(f"for {loop.axis} in range({dim_of(loop.extent)}):")
        self.printer.lines.depth += 1

    def split_loop(self, loop: Loop) -> None:
        """l0 to l1: the thread's part of a loop of results."""
        self.printer.lines.add(f"l0 = share_lo({dim_of(loop.extent)}, tid, nt, 1)")
        self.printer.lines.add(f"l1 = share_hi({dim_of(loop.extent)}, tid, nt, 1)")

    def grid(self, first: str, *axes: tuple[str, str, str]) -> None:
        """Threads as a grid over axes, each (its letter, its extent, the grain of a part): as many parts as the first
        has, then of the next for threads left over; unless `first` holds, of the last before the others."""
        add = self.printer.lines.add

        def counts(order: Sequence[tuple[str, str, str]], indent: str) -> None:
            left = "nt"
            for letter, extent, grain in order:
                add(f"{indent}g{letter}_ = parts({left}, {extent}, {grain})")
                left += f" // g{letter}_"
        counts((axes[-1], *axes[:-1]), "")
        add(f"if {first}:")
        counts(axes, "    ")
        own = "tid"                                       # threads beyond the grid lie beyond the last axis: no part
        for letter, extent, grain in axes:
            place = own if letter == axes[-1][0] else f"{own} % g{letter}_"
            add(f"{letter}0 = share_lo({extent}, {place}, g{letter}_, {grain})")
            add(f"{letter}1 = share_hi({extent}, {place}, g{letter}_, {grain})")
            own += f" // g{letter}_"

    def strides(self) -> None:
        """Of both operands: from row to row, and from column to column."""
        for side, own, x in zip("ab", (self.m, self.n), self.operands):
            if x.load is not None:
                row, column = (own, self.k) if side == "a" else (self.k, own)
                self.printer.lines.add(f"rs{side}_ = {dim_of(coefficient(x.load.index, row))}")
                self.printer.lines.add(f"cs{side}_ = {dim_of(coefficient(x.load.index, column))}")

    def single(self, t: str) -> None:
        """One loop over k, and B differs with every outer loop."""
        lines, add = self.printer.lines, self.printer.lines.add
        add(f"tile = tile_{t}()")
        for side, x in zip("ab", self.operands):
            if x.load is not None:
                add(f"{side}_ = at({x.load.buffer}, {self.base(x.load)})")
        b = self.operands[1].load
        if b is not None and coefficient(b.index, self.n) == 1:
            add(f"if m_ <= {GEMV_ROWS}:")
            lines.depth += 1
            self.few_rows(t)
            lines.depth -= 1
            add("else:")
            lines.depth += 1
        self.panels(t)

    def split(self, t: str) -> None:
        """Threads share the panels of B where there are enough, else first the loops of results, or the rows of A."""
        loops = [(letter, f"({dim_of(x.extent)})", "1") for letter, x in zip("lh", self.free)]
        if loops:
            self.printer.lines.add("m0 = 0")
            self.printer.lines.add("m1 = m_")
        self.grid(f"n_ < nt * NR_{t}" + (" or (kept_ != 0 and m_ > n_)" if self.by_rows else ""),
                  *(loops or [("m", "m_", f"MR_{t}")]), ("n", "n_", f"NR_{t}"))

    def blocks(self, t: str) -> None:
        """For each panel of B and block of the contracted loops: all rows of all loops that share the panel."""
        lines, add = self.printer.lines, self.printer.lines.add
        first, rest = self.contracted[0], self.contracted[1:]
        many = bool(rest)
        add(f"blocks_ = {dim_of(first.extent) if many else '1'}")
        add(f"each_ = {dim_of(product([x.extent for x in rest])) if many else 'k_'}")
        add(f"chunk_ = s_min(blocks_, s_max(1, {BLOCK_ROWS} // s_max(each_, 1)))")
        add("next_ = 0")
        add("if chunk_ < blocks_:")
        add(f"    next_ = MR_{t} * NR_{t}")
        if self.bound:
            for letter, loop in zip("lh", self.free):
                add(f"{letter}0 = 0")
                add(f"{letter}1 = {dim_of(loop.extent)}")
        add(f"for j_ in range(n0, n1, NR_{t}):")
        lines.depth += 1
        add(f"nc_ = s_min(n1 - j_, NR_{t})")
        add("for first_ in range(0, s_max(blocks_, 1), s_max(chunk_, 1)):")
        lines.depth += 1
        add("last_ = s_min(blocks_, first_ + chunk_)")
        with self.panel(f"(j_ * blocks_ + first_ * NR_{t}) * each_"), self.over_contracted(1):
            self.pack_panel(t, "at(bp_, kk_)")
        self.begin_ahead("(last_ - first_) * each_")
        add(f"tile = at(ws, chunk_ * each_ * NR_{t})")
        depth = lines.depth
        for letter, loop in zip("lh", self.free):
            add(f"for {loop.axis} in range({letter}0, {letter}1):")
            lines.depth += 1
        for loop in self.free[2:]:
            self.open(loop)
        self.rows(t)
        lines.depth = depth - 2

    @contextmanager
    def panel(self, place: str) -> Iterator[None]:
        """Around lines that pack a panel at bp_: they run unless the panel lies packed at `place` of those kept."""
        lines = self.printer.lines
        lines.add("bp_ = at(ws, 0)")
        depth = lines.depth
        if self.kept:
            lines.add("if kept_ != 0:")
            lines.add(f"    bp_ = at(panels_, {place})")
            lines.add("else:")
            lines.depth += 1
        yield
        lines.depth = depth

    def begin_ahead(self, k: str) -> None:
        """ahead_: where what is read after this panel of k rows begins, if it comes from far; its tiles ask for it."""
        if self.kept:
            self.printer.lines.add(f"ahead_ = far_ * {k} * NR_{short(self.acc.dtype)}")
            self.printer.lines.add("stop_ = 2 * ahead_")

    def next_ahead(self, k: str) -> None:
        """A tile has asked for half of k rows."""
        if self.kept:
            self.printer.lines.add(f"ahead_ = s_min(ahead_ + {k} // 2 * NR_{short(self.acc.dtype)}, stop_)")

    @contextmanager
    def over_contracted(self, inner: int, parts: str = "") -> Iterator[None]:
        """Around lines that run for each contracted loop but the `inner` innermost.

        kk_ is the place in the panel of their rows, of which there are `parts` times k.
        """
        lines = self.printer.lines
        lines.add("kk_ = 0")
        depth = lines.depth
        if len(self.contracted) > inner:
            lines.add(f"for {self.contracted[0].axis} in range(first_, last_):")
            lines.depth += 1
            for loop in self.contracted[1:-inner]:
                self.open(loop)
        yield
        lines.add(f"kk_ += {parts}k_ * NR_{short(self.acc.dtype)}")
        lines.depth = depth

    def rows(self, t: str) -> None:
        """All rows of one m loop against the packed block; sums wait in `tile` until the last block."""
        lines, add = self.printer.lines, self.printer.lines.add
        a = self.operands[0].load
        assert a is not None
        self.tiles(t, "m0", "m1")
        add("if first_ == 0:")
        add(f"    for z_ in range(0, MR_{t} * NR_{t}, V):")
        add(f"        vstore(tile, z_, {short(self.acc.dtype)}(0.0))")
        add("if last_ == blocks_:")
        lines.depth += 1
        add(f"{self.m} = i_")
        self.touch({self.n: sym("j_")})
        lines.depth -= 1
        ahead = "ahead_" if self.kept else "0"
        start, parts, step = substitute(a.index, {self.m: 0, self.n: 0, self.k: 0}), "1", "0"
        if len(self.contracted) > 1:                             # the loop around k runs inside the block
            loop = self.contracted[-2]
            parts = "last_ - first_" if loop is self.contracted[0] else dim_of(loop.extent)
            step = dim_of(coefficient(a.index, loop.axis))
            start = substitute(start, {loop.axis: sym("first_") if loop is self.contracted[0] else 0})
        with self.over_contracted(2, f"({parts}) * "):
            add(f"gemm_tile_add(at({a.buffer}, {dim_of(start)} + i_ * rsa_), rsa_, csa_, mr_, at(bp_, kk_), k_, "
                f"tile, {ahead}, {parts}, {step})")
        self.next_ahead(f"({parts}) * k_")
        add("if last_ == blocks_:")
        add("    for r_ in range(mr_):")
        lines.depth += 2
        add(f"{self.m} = i_ + r_")
        self.row(f"at(tile, r_ * NR_{t})", "j_", "j_ + nc_")
        lines.depth -= 2
        add("tile = at(tile, next_)")
        add("i_ += mr_")
        lines.depth -= 1

    def few_rows(self, t: str) -> None:
        """One to three rows: B is read once, in place or from panels."""
        lines = self.printer.lines
        lines.add("if n1 > n0 and m1 > m0:")
        lines.depth += 1
        a, rows = "at(a_, m0 * rsa_), rsa_, csa_", f"at(ws, {GEMV_ROWS} * (n_ + NR_{t})"
        if self.operands[0].load is None:
            a = f"{rows}), k_, 1"
            lines.add("for r_ in range(m1 - m0):")
            lines.add(f"    {self.m} = m0 + r_")
            lines.add(f"    to_ = {rows} + r_ * k_)")
            lines.depth += 1
            self.computed(self.operands[0], self.k, "k_", self.k, "1")
            lines.depth -= 1
        lines.add(f"wide_ = (n1 - n0 + NR_{t} - 1) // NR_{t} * NR_{t}")
        inplace = f"gemv_rows({a}, m1 - m0, at(b_, n0), rsb_, k_, n1 - n0, ws, wide_)"
        if self.kept:
            lines.add("if kept_ != 0:")
            lines.add(f"    gemv_panels({a}, m1 - m0, at(panels_, n0 * k_), k_, n1 - n0, ws, wide_)")
            lines.add("else:")
            lines.add(f"    {inplace}")
        else:
            lines.add(inplace)
        lines.add("for r_ in range(m1 - m0):")
        lines.depth += 1
        lines.add(f"{self.m} = m0 + r_")
        self.row("at(ws, r_ * wide_)", "n0", "n1")
        lines.depth -= 2

    def panels(self, t: str) -> None:
        lines = self.printer.lines
        ahead = "ahead_" if self.kept else "0"
        tile = f"gemm_tile(at(a_, i_ * rsa_), rsa_, csa_, mr_, bp_, k_, tile, {ahead})"
        if self.packs_rows:
            tile = f"gemm_tile(at(ap_, (i_ - m0) * k_), 1, MR_{t}, mr_, bp_, k_, tile, {ahead})"
            self.pack_rows(t)
        depth = lines.depth
        first, last = "m0", "m1"
        if self.by_rows:
            first, last = "first_", "last_"
            self.row_blocks(t)
        lines.add(f"for j_ in range(n0, n1, NR_{t}):")
        lines.depth += 1
        lines.add(f"nc_ = s_min(n1 - j_, NR_{t})")
        with self.panel("j_ * k_"):
            self.pack_panel(t, "bp_")
        self.begin_ahead("k_")
        self.tiles(t, first, last)
        self.touch({self.m: sym("i_"), self.n: sym("j_")}, f"if j_ == n0 or k_ > {SHORT}: ")
        self.touch({self.m: sym("i_"), self.n: sym("j_") + sym(f"NR_{t}")}, f"if k_ <= {SHORT}: ")
        lines.add(tile)
        self.next_ahead("k_")
        lines.add("for r_ in range(mr_):")
        lines.depth += 1
        lines.add(f"{self.m} = i_ + r_")
        self.row(f"at(tile, r_ * NR_{t})", "j_", "j_ + nc_")
        lines.depth -= 1
        lines.add("i_ += mr_")
        lines.depth = depth

    def tiles(self, t: str, first: str, last: str) -> None:
        """A loop over tiles of rows, as even as they can be (packed rows: as they were packed): mr_ rows at i_.  The
        caller adds mr_ to i_ at the end of the loop, and takes the depth back."""
        add = self.printer.lines.add
        add(f"i_ = {first}")
        if not self.packs_rows:
            add(f"tiles_ = ({last} - {first} + MR_{t} - 1) // MR_{t}")
        add(f"while i_ < {last}:")
        self.printer.lines.depth += 1
        if self.packs_rows:
            add(f"mr_ = s_min({last} - i_, MR_{t})")
        else:
            add(f"mr_ = ({last} - i_ + tiles_ - 1) // tiles_")
            add("tiles_ -= 1")

    @property
    def by_rows(self) -> bool:
        """Whether blocks of rows may be outermost: no panel is packed again for each."""
        return self.kept is not None and not self.shared

    def row_blocks(self, t: str) -> None:
        """Around the panels: as many rows as the L2 cache holds of A, if B lies packed; results are neighbours."""
        add = self.printer.lines.add
        add("rows_ = s_max(m1 - m0, 1)")
        add("if kept_ != 0:")
        add(f"    rows_ = s_max(s_min({BLOCK_ELEMENTS} // (MR_{t} * s_max(k_, 1)), {BLOCK_TILES}), 1) * MR_{t}")
        add("for first_ in range(m0, m1, rows_):")
        self.printer.lines.depth += 1
        add("last_ = s_min(m1, first_ + rows_)")

    def pack_rows(self, t: str) -> None:
        """The thread's rows of A in tiles of MR rows, k after k."""
        add, a = self.printer.lines.add, self.operands[0]
        add(f"ap_ = at(ws, k_ * NR_{t})")
        add(f"for i_ in range(m0, m1, MR_{t}):")
        if a.load is not None:
            add(f"    pack_a(at(a_, i_ * rsa_), rsa_, csa_, s_min(m1 - i_, MR_{t}), k_, at(ap_, (i_ - m0) * k_))")
            return
        self.printer.lines.depth += 1
        add(f"for r_ in range(s_min(m1 - i_, MR_{t})):")
        add(f"    {self.m} = i_ + r_")
        add("    to_ = at(ap_, (i_ - m0) * k_ + r_)")
        self.printer.lines.depth += 1
        self.computed(a, self.k, "k_", f"{self.k} * MR_{t}", f"MR_{t}")
        self.printer.lines.depth -= 2

    def pack_panel(self, t: str, to: str) -> None:
        """NR columns of B, zeros beyond the last."""
        add, b = self.printer.lines.add, self.operands[1]
        if b.load is not None:
            add(f"pack_b(at({b.load.buffer}, {self.base(b.load)} + j_ * csb_), rsb_, csb_, k_, nc_, {to})")
            return
        add(f"for {self.k} in range(k_):")
        self.printer.lines.depth += 1
        add(f"to_ = at({to}, {self.k} * NR_{t} - j_)")
        self.computed(b, self.n, "j_ + nc_", self.n, "1", "j_")
        add(f"for z_ in range(nc_, NR_{t}):")
        add(f"    to_[j_ + z_] = {short(self.acc.dtype)}(0.0)")
        self.printer.lines.depth -= 1

    def computed(self, side: Operand, axis: str, end: str, place: str, stride: str, start: str = "0") -> None:
        """Evaluate an operand along `axis` and store it at `to_[place]`."""
        p, add = self.printer, self.printer.lines.add
        saved, p.vec = p.vec, axis
        add(f"{axis} = {start}")
        for lanes, guard in (("V", f"{axis} + V <= {end}"), ("1", f"{axis} < {end}")):
            add(f"while {guard}:")
            p.active, p.vectors = lanes == "V", set()
            p.lines.depth += 1
            p.statements(side.lets)
            value = p.expr(side.expr)
            if p.active:
                add(f"vstore(to_, {place}, {value})" if stride == "1" else
                    f"vstore_strided(to_, {place}, {stride}, {value})")
            else:
                add(f"to_[{place}] = {value}")
            add(f"{axis} += {lanes}")
            p.lines.depth -= 1
        p.active, p.vectors, p.vec = False, set(), saved

    def touch(self, where: dict[str, Dim], when: str = "") -> None:
        """Ask for what the epilogue of a tile at `where` will read and write, a line of each row: it comes while the
        tile is computed (short products gain half of their time where results lie in memory)."""
        known = {self.m, self.n, *(x.axis for x in self.outer), *self.printer.kernel.sizes}
        found: list[Load | Store] = [x for s in self.epilogue for x in loads(s)]
        found += [s for s in self.epilogue if isinstance(s, Store)]
        for buffer, index in dict.fromkeys((x.buffer, x.index) for x in found):
            if symbols(index) <= known and coefficient(index, self.n) == 1 and coefficient(index, self.m) != 0:
                self.printer.lines.add(f"{when}touch_rows({buffer}, {dim_of(substitute(index, where))}, "
                                       f"{dim_of(coefficient(index, self.m))})")

    def row(self, source: str, lo: str, hi: str) -> None:
        """The epilogue on one row of results, which lie at `source` from column `lo` on."""
        p, n, acc = self.printer, self.n, self.acc.name
        add = p.lines.add
        add(f"row_ = {source}")
        add(f"{n} = {lo}")
        add(f"while {n} + V <= {hi}:")
        p.active, p.vectors = True, {acc}
        p.lines.depth += 1
        add(f"{acc}_v = vload(row_, {n} - {_paren(lo)})")
        p.statements(self.epilogue)
        add(f"{n} += V")
        p.lines.depth -= 1
        p.active, p.vectors = False, set()
        add(f"while {n} < {hi}:")
        p.lines.depth += 1
        add(f"{acc} = row_[{n} - {_paren(lo)}]")
        p.statements(self.epilogue)
        add(f"{n} += 1")
        p.lines.depth -= 1


def load_at(load: Load, axis: str, value: Dim) -> Load:
    """What a load reads where an axis has that value."""
    return replace(load, index=substitute(load.index, {axis: value}))


def _paren(text: str) -> str:
    return text if text.isidentifier() else f"({text})"


def dim_of(d: Dim) -> str:
    """A polynomial as dialect source."""
    return dim_code(d, "s_max")


__all__ = ["FAR", "GEMV_ROWS", "Tile", "load_at"]
