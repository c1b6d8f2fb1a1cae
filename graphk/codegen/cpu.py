"""Kernels as CPU source in the kernel dialect (docs/dialect.md).

In: a scheduled Kernel.  Out: `Source`: the module text and its entries, one per phase.  What always holds: the text
depends on the kernel alone (not on its label, the shapes or the machine's width), the vector loop and its
scalar tail compute the same expressions, and thread `tid` of `nt` writes only its own part.

Argument slots of every entry: the kernel's buffers in order, its sizes in order, then (tile schedules) the
workspace's address and its elements per thread.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Sequence

from graphk.codegen.emit import Lines, Spelling, dim_code, number, short
from graphk.ir.dims import Dim, substitute, symbols
from graphk.ir.effects import Operand, contraction_operands
from graphk.ir.loop import (Acc, Expr, Index, Kernel, Let, Load, Loop, Ref, Stmt, Store, Update, coefficient,
                            expressions, identity_of, walk, without)

HORIZONTAL = {"add": "hsum", "mul": "hprod", "max": "hmax", "min": "hmin", "or": "hany", "and": "hall"}
GRAIN = 64                        # elements: threads split a vectorized loop at multiples of this


@dataclass(frozen=True)
class Source:
    """A printed kernel.  `parallel[i]`: whether all threads run entry i (else only thread 0)."""
    text: str
    entries: tuple[str, ...]
    parallel: tuple[bool, ...]
    workspace: tuple[Dim, Dim, Dim] | None = None      # tile: k, n and the packed rows of A (0: read in place)
    dtype: str = "float32"


class Printer(Spelling):
    """Prints one kernel."""

    def __init__(self, kernel: Kernel):
        assert kernel.schedule is not None, "schedule the kernel first"
        self.kernel = kernel
        self.lines = Lines()
        axes = kernel.schedule.axes
        tile = kernel.schedule.kind == "tile"
        self.par = axes[0] if axes and not tile else ""
        self.vec = (axes[1] if not tile else axes[-2]) if len(axes) > 1 else ""
        self.vectors: set[str] = set()        # names that hold vectors where `active`
        self.active = False                   # whether the vector axis stands for V lanes here

    # -------------------------------------------------------------- values
    def is_vector(self, e: Expr) -> bool:
        """Whether `e` differs between lanes."""
        if not self.active:
            return False
        for x in expressions(e):
            if isinstance(x, Ref) and x.name in self.vectors:
                return True
            if isinstance(x, (Load, Index)) and (symbols(x.index) & (self.vectors | {self.vec})):
                return True
        return False

    def name(self, name: str) -> str:
        return name + "_v" if self.active and name in self.vectors else name

    def ref(self, e: Ref) -> str:
        return self.name(e.name)

    def load(self, e: Load) -> str:
        if not self.is_vector(e):
            return f"{e.buffer}[{self.dim(e.index)}]"
        if symbols(e.index) & self.vectors:
            return f"vgather({e.buffer}, {self.vector_index(e.index)})"
        stride = coefficient(e.index, self.vec)
        if stride == 1:
            return f"vload({e.buffer}, {self.dim(e.index)})"
        return f"vload_strided({e.buffer}, {self.dim(e.index)}, {self.dim(stride)})"

    def index(self, e: Index) -> str:
        text = self.vector_index(e.index) if self.is_vector(e) else self.dim(e.index)
        return f"to_{short(e.dtype)}({text})"

    def vector_index(self, d: Dim) -> str:
        """An int64 vector: the polynomial with lanes along the vector axis and in gathered lets."""
        stride = coefficient(d, self.vec)
        gathered = symbols(d) & self.vectors
        if not gathered and stride == 1:
            return f"viota({self.dim(d)})"
        parts = []
        rest = d
        for g in sorted(gathered):
            parts.append(f"s_mul({self.name(g)}, {self.dim(coefficient(d, g))})")
            rest = without(rest, g)
        if stride != 0:
            parts.append(f"s_mul(viota({self.vec}), {self.dim(stride)})")
            rest = without(rest, self.vec)
        out = self.dim(rest)
        for p in parts:
            out = f"s_add({p}, {out})"
        return out

    @staticmethod
    def dim(d: Dim) -> str:
        return dim_code(d, "s_max")

    # -------------------------------------------------------------- statements
    def statements(self, stmts: tuple[Stmt, ...]) -> None:
        for s in stmts:
            self.statement(s)

    def statement(self, s: Stmt) -> None:
        add = self.lines.add
        if isinstance(s, Let):
            self._note(s.name, self.is_vector(s.expr))
            add(f"{self.name(s.name)} = {self.expr(s.expr)}")
        elif isinstance(s, Acc):
            vector = self.active
            self._note(s.name, vector)
            value = self.identity(s)
            add(f"{self.name(s.name)} = " + (f"vsplat_{short(s.dtype)}({value})" if vector else value))
        elif isinstance(s, Update):
            add(f"{self.name(s.name)} = s_{self.combine(s.name)}({self.name(s.name)}, {self.expr(s.expr)})")
        elif isinstance(s, Store):
            self.store(s)
        else:
            self.loop(s)

    @staticmethod
    def identity(a: Acc) -> str:
        return f"{short(a.dtype)}({number(identity_of(a.combine, a.dtype), a.dtype)})"

    def _note(self, name: str, vector: bool) -> None:
        if self.active:
            (self.vectors.add if vector else self.vectors.discard)(name)

    def combine(self, name: str) -> str:
        return next(s.combine for s in walk(self.kernel.body) if isinstance(s, Acc) and s.name == name)

    def store(self, s: Store) -> None:
        at, value = self.dim(s.index), self.expr(s.expr)
        stride = coefficient(s.index, self.vec) if self.active else 0
        if stride == 0:
            self.lines.add(f"{s.buffer}[{at}] = " + (f"s_add({s.buffer}[{at}], {value})" if s.accumulate else value))
            return
        suffix, extra = ("", "") if stride == 1 else ("_strided", f", {self.dim(stride)}")
        if s.accumulate:
            value = f"s_add(vload{suffix}({s.buffer}, {at}{extra}), {value})"
        self.lines.add(f"vstore{suffix}({s.buffer}, {at}{extra}, {value})")

    def loop(self, s: Loop) -> None:
        lo, hi = "0", self.dim(s.extent)
        if s.axis == self.par:
            grain = GRAIN if s.axis == self.vec else 1
            self.lines.add(f"{s.axis}_lo = share_lo({hi}, tid, nt, {grain})")
            self.lines.add(f"{s.axis}_hi = share_hi({hi}, tid, nt, {grain})")
            lo, hi = f"{s.axis}_lo", f"{s.axis}_hi"
        if s.axis == self.vec:
            self.vector_loop(s, lo, hi)
            return
        self.lines.add(f"for {s.axis} in range({lo}, {hi}):")
        self.block(s.body)

    def block(self, stmts: tuple[Stmt, ...]) -> None:
        self.lines.depth += 1
        self.statements(stmts)
        self.lines.depth -= 1

    def vector_loop(self, s: Loop, lo: str, hi: str) -> None:
        """V lanes at a time, then one element at a time; accumulators from outside get vector partners."""
        add = self.lines.add
        inner = {x.name for x in walk(s.body) if isinstance(x, Acc)}
        carried = list(dict.fromkeys(x.name for x in walk(s.body) if isinstance(x, Update) and x.name not in inner))
        accs = {x.name: x for x in walk(self.kernel.body) if isinstance(x, Acc)}
        for name in carried:
            add(f"{name}_v = vsplat_{short(accs[name].dtype)}({self.identity(accs[name])})")
        add(f"{s.axis} = {lo}")
        add(f"while {s.axis} + V <= {hi}:")
        self.active, self.vectors = True, set(carried)
        self.block(s.body)
        self.active, self.vectors = False, set()
        add(f"    {s.axis} += V")
        for name in carried:
            a = accs[name]
            add(f"{name} = s_{a.combine}({name}, {HORIZONTAL[a.combine]}({name}_v))")
        add(f"while {s.axis} < {hi}:")
        self.block(s.body)
        add(f"    {s.axis} += 1")

    # -------------------------------------------------------------- entries
    def header(self, entry: str) -> None:
        add = self.lines.add
        add(f"def {entry}(args, tid, nt):")
        self.lines.depth = 1
        for i, p in enumerate(self.kernel.params):
            add(f"{p.name} = ptr_{short(p.dtype)}(args, {i})")
        for i, name in enumerate(self.kernel.sizes):
            add(f"{name} = arg_i64(args, {len(self.kernel.params) + i})")

    def run(self) -> Source:
        k = self.kernel
        assert k.schedule is not None
        lets = tuple(s for s in k.body if isinstance(s, Let))
        loops = [s for s in k.body if not isinstance(s, Let)]
        if k.schedule.kind == "tile":
            return self.tile(lets, loops)
        phases: list[tuple[Stmt, ...]] = [(s,) for s in loops] if k.schedule.kind == "chunks" else [tuple(loops)]
        parallel = []
        for i, phase in enumerate(phases):
            if i:
                self.lines.depth = 0
                self.lines.add("")
            self.header(f"k_{i}")
            self.statements((*lets, *phase))
            parallel.append(any(isinstance(s, Loop) and s.axis == self.par for s in walk(phase)))
        return Source(self.lines.text(), tuple(f"k_{i}" for i in range(len(phases))), tuple(parallel))

    def tile(self, lets: tuple[Stmt, ...], loops: Sequence[Stmt]) -> Source:
        """A matrix product: panels of B are packed, tiles computed in registers, the epilogue run on each tile."""
        assert self.kernel.schedule is not None
        m, n, k = self.kernel.schedule.axes
        nest = loops[0]
        outer: list[Loop] = []
        while isinstance(nest, Loop) and nest.axis != m:
            outer.append(nest)
            nest = nest.body[0]
        assert isinstance(nest, Loop)
        inner = nest.body[0]
        assert isinstance(inner, Loop)
        acc = inner.body[0]
        contraction = next(s for s in inner.body if isinstance(s, Loop))
        operands = contraction_operands(contraction)
        assert isinstance(acc, Acc) and operands is not None
        epilogue = tuple(s for s in inner.body if s is not acc and s is not contraction)
        self.header("k_0")
        self.statements(lets)
        t = Tile(self, m, n, k, nest.extent, inner.extent, contraction.extent, operands, acc, epilogue,
                 {x.axis for x in outer})
        t.print(outer)
        packed = nest.extent if t.packs_rows else 0
        return Source(self.lines.text(), ("k_0",), (True,), (contraction.extent, inner.extent, packed), acc.dtype)


@dataclass
class Tile:
    """The source of one tiled contraction."""
    printer: Printer
    m: str
    n: str
    k: str
    size_m: Dim
    size_n: Dim
    size_k: Dim
    operands: tuple[Operand, Operand]
    acc: Acc
    epilogue: tuple[Stmt, ...]
    batch: set[str]

    @property
    def packs_rows(self) -> bool:
        """Whether A is packed first: it is computed, or not contiguous along k (tiles would read it by columns)."""
        a = self.operands[0].load
        return a is None or coefficient(a.index, self.k) != 1

    def base(self, load: Load) -> str:
        """The index where m, n and k are 0."""
        return Printer.dim(substitute(load.index, {self.m: 0, self.n: 0, self.k: 0}))

    def print(self, outer: list[Loop]) -> None:
        lines = self.printer.lines
        add, t = lines.add, short(self.acc.dtype)
        slot = len(self.printer.kernel.params) + len(self.printer.kernel.sizes)
        code = Printer.dim
        add(f"ws = at(ptr_{t}(args, {slot}), tid * arg_i64(args, {slot + 1}))")
        add(f"tile = tile_{t}()")
        for name, value in (("m", self.size_m), ("n", self.size_n), ("k", self.size_k)):
            add(f"{name}_ = {code(value)}")
        depth = lines.depth
        if outer:
            first = outer[0]
            for line in ("m0 = 0", "m1 = m_", "n0 = 0", "n1 = n_"):
                add(line)
            add(f"for {first.axis} in range(share_lo({code(first.extent)}, tid, nt, 1), "
                f"share_hi({code(first.extent)}, tid, nt, 1)):")
            lines.depth += 1
            for loop in outer[1:]:
                add(f"for {loop.axis} in range({code(loop.extent)}):")
                lines.depth += 1
        else:
            self.split(t)
        for side, own, x in zip("ab", (self.m, self.n), self.operands):
            if x.load is not None:
                add(f"{side}_ = at({x.load.buffer}, {self.base(x.load)})")
                add(f"rs{side}_ = {code(coefficient(x.load.index, own if side == 'a' else self.k))}")
                add(f"cs{side}_ = {code(coefficient(x.load.index, self.k if side == 'a' else own))}")
        b = self.operands[1].load
        if b is not None and coefficient(b.index, self.n) == 1:
            add("if m_ <= 3:")
            lines.depth += 1
            self.few_rows()
            lines.depth -= 1
            add("else:")
            lines.depth += 1
        self.panels(t)
        lines.depth = depth

    def split(self, t: str) -> None:
        """Threads share the panels of B where there are enough, else the rows of A."""
        add = self.printer.lines.add
        add("m0 = 0")
        add("m1 = m_")
        add(f"n0 = share_lo(n_, tid, nt, NR_{t})")
        add(f"n1 = share_hi(n_, tid, nt, NR_{t})")
        add(f"if n_ < nt * NR_{t}:")
        add("    n0 = 0")
        add("    n1 = n_")
        add(f"    m0 = share_lo(m_, tid, nt, MR_{t})")
        add(f"    m1 = share_hi(m_, tid, nt, MR_{t})")

    def few_rows(self) -> None:
        """One to three rows: B is read once, in place."""
        lines = self.printer.lines
        lines.add("if n1 > n0 and m1 > m0:")
        lines.depth += 1
        a = "at(a_, m0 * rsa_), rsa_, csa_"
        if self.operands[0].load is None:
            a = "at(ws, 3 * n_), k_, 1"
            lines.add("for r_ in range(m1 - m0):")
            lines.add(f"    {self.m} = m0 + r_")
            lines.add("    to_ = at(ws, 3 * n_ + r_ * k_)")
            lines.depth += 1
            self.computed(self.operands[0], self.k, "k_", self.k, "1")
            lines.depth -= 1
        lines.add(f"gemv_rows({a}, m1 - m0, at(b_, n0), rsb_, k_, n1 - n0, ws, n1 - n0)")
        lines.add("for r_ in range(m1 - m0):")
        lines.depth += 1
        lines.add(f"{self.m} = m0 + r_")
        self.row("at(ws, r_ * (n1 - n0))", "n0", "n1")
        lines.depth -= 2

    def panels(self, t: str) -> None:
        lines = self.printer.lines
        tile = "gemm_tile(at(a_, i_ * rsa_), rsa_, csa_, mr_, ws, k_, tile)"
        if self.packs_rows:
            tile = f"gemm_tile(at(ap_, (i_ - m0) * k_), 1, MR_{t}, mr_, ws, k_, tile)"
            self.pack_rows(t)
        lines.add(f"for j_ in range(n0, n1, NR_{t}):")
        lines.depth += 1
        lines.add(f"nc_ = s_min(n1 - j_, NR_{t})")
        self.pack_panel(t)
        lines.add(f"for i_ in range(m0, m1, MR_{t}):")
        lines.depth += 1
        lines.add(f"mr_ = s_min(m1 - i_, MR_{t})")
        lines.add(tile)
        lines.add("for r_ in range(mr_):")
        lines.depth += 1
        lines.add(f"{self.m} = i_ + r_")
        self.row(f"at(tile, r_ * NR_{t})", "j_", "j_ + nc_")
        lines.depth -= 3

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

    def pack_panel(self, t: str) -> None:
        """NR columns of B, zeros beyond the last."""
        add, b = self.printer.lines.add, self.operands[1]
        if b.load is not None:
            add("pack_b(at(b_, j_ * csb_), rsb_, csb_, k_, nc_, ws)")
            return
        add(f"for {self.k} in range(k_):")
        self.printer.lines.depth += 1
        add(f"to_ = at(ws, {self.k} * NR_{t} - j_)")
        self.computed(b, self.n, "j_ + nc_", self.n, "1", "j_")
        add(f"for z_ in range(nc_, NR_{t}):")
        add(f"    ws[{self.k} * NR_{t} + z_] = {short(self.acc.dtype)}(0.0)")
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


def _paren(text: str) -> str:
    return text if text.isidentifier() else f"({text})"


@lru_cache(maxsize=2048)
def print_kernel(kernel: Kernel) -> Source:
    """The CPU source of a scheduled kernel."""
    return Printer(kernel).run()
