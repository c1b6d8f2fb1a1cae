"""Kernels as CPU source in the kernel dialect (docs/dialect.md).

In: a scheduled Kernel.  Out: `Source`: the module text and its entries, one per phase.  What always holds: the text
depends on the kernel alone (not on its label, the shapes or the machine's width), the vector loop and its
scalar tail compute the same expressions, and thread `tid` of `nt` writes only its own part.

Argument slots of every entry: the kernel's buffers in order, its sizes in order, then (tile schedules) the
workspace's address and its elements per thread, and, where B can be packed beforehand, the panels' address or 0.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Sequence

from graphk.codegen.columns import Columns
from graphk.codegen.emit import Lines, Spelling, dim_code, number, short
from graphk.codegen.panels import Panels
from graphk.codegen.tile import Tile
from graphk.codegen.tile_places import Places, PlacesSpace
from graphk.codegen.tile_winograd import Winograd, WinogradSpace
from graphk.codegen.workspace import Workspace
from graphk.ir.column_parts import used
from graphk.ir.dims import Dim, symbols
from graphk.ir.effects import contracted_loops, contraction_operands, padded
from graphk.ir.loop import (Acc, Expr, Index, Kernel, Let, Load, Loop, Ref, Schedule, Stmt, Store, Update,
                            coefficient, expressions, identity_of, walk, without)

HORIZONTAL = {"add": "hsum", "mul": "hprod", "max": "hmax", "min": "hmin", "or": "hany", "and": "hall"}
GRAIN = 64                        # elements: threads split a vectorized loop at multiples of this


@dataclass(frozen=True)
class Source:
    """A printed kernel.  `parallel[i]`: whether all threads run entry i (else only thread 0)."""
    text: str
    entries: tuple[str, ...]
    parallel: tuple[bool, ...]
    workspace: Workspace | PlacesSpace | WinogradSpace | None = None       # of a tiled kernel
    panels: Panels | None = None                       # of a tiled kernel whose B may be packed beforehand
    dtype: str = "float32"


class Printer(Spelling):
    """Prints one kernel."""

    def __init__(self, kernel: Kernel):
        assert kernel.schedule is not None, "schedule the kernel first"
        self.kernel = kernel
        self.lines = Lines()
        axes = kernel.schedule.axes
        tile = kernel.schedule.tiled
        self.par = axes[0] if axes and not tile else ""
        self.vec = (axes[1] if not tile else axes[-2]) if len(axes) > 1 else ""
        self.vectors: set[str] = set()        # names that hold vectors where `active`
        self.places: dict[Dim, str] = {}      # names of index polynomials that several accesses share
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

    def dim(self, d: Dim) -> str:
        return self.places.get(d) or dim_code(d, "s_max")

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
            assert self.kernel.schedule is not None
            grain = 1 if s.axis != self.vec else "GROUP" if self.kernel.schedule.kind == "columns" else GRAIN
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
        assert self.kernel.schedule is not None
        around = any(isinstance(x, Loop) for x in s.body)
        if self.kernel.schedule.kind == "columns" and around and not carried:
            Columns(self, s).print(lo, hi)
            return
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
    def header(self, entry: str, seen: set[str] | None = None) -> None:
        """The entry's first lines, which name its arguments (all, or those among `seen`)."""
        add = self.lines.add
        add(f"def {entry}(args, tid, nt):")
        self.lines.depth = 1
        for i, p in enumerate(self.kernel.params):
            if seen is None or p.name in seen:
                add(f"{p.name} = ptr_{short(p.dtype)}(args, {i})")
        for i, name in enumerate(self.kernel.sizes):
            add(f"{name} = arg_i64(args, {len(self.kernel.params) + i})")

    def run(self) -> Source:
        k = self.kernel
        assert k.schedule is not None
        lets = tuple(s for s in k.body if isinstance(s, Let))
        loops = [s for s in k.body if not isinstance(s, Let)]
        if k.schedule.tiled:
            return self.tile(lets, loops)
        apart = k.schedule.kind in ("chunks", "columns")
        phases: list[tuple[Stmt, ...]] = [(s,) for s in loops] if apart else [tuple(loops)]
        parallel = []
        for i, phase in enumerate(phases):
            if i:
                self.lines.depth = 0
                self.lines.add("")
            seen = used(phase)
            wanted = list(phase)
            for let in reversed(lets):
                if let.name in seen:
                    seen |= used((let,))
                    wanted.insert(0, let)
            self.header(f"k_{i}", seen)
            self.statements(tuple(wanted))
            parallel.append(any(isinstance(s, Loop) and s.axis == self.par for s in walk(phase)))
        return Source(self.lines.text(), tuple(f"k_{i}" for i in range(len(phases))), tuple(parallel))

    def tile(self, lets: tuple[Stmt, ...], loops: Sequence[Stmt]) -> Source:
        """A matrix product: panels of B are packed, tiles computed in registers, the epilogue run on each tile."""
        assert self.kernel.schedule is not None
        m = self.kernel.schedule.axes[0]
        nest = loops[0]
        outer: list[Loop] = []
        while isinstance(nest, Loop) and nest.axis != m:
            outer.append(nest)
            nest = nest.body[0]
        assert isinstance(nest, Loop)
        inner = nest.body[0]
        assert isinstance(inner, Loop)
        acc = inner.body[0]
        contracted = contracted_loops(inner)
        operands = contraction_operands(contracted[-1])
        assert isinstance(acc, Acc) and operands is not None
        epilogue = tuple(s for s in inner.body if s is not acc and s is not contracted[0])
        self.header("k_0")
        self.statements(lets)
        parts = (self, outer, (nest, inner), contracted, operands, acc, epilogue)
        t = {"tile": Tile, "blocks": Places}.get(self.kernel.schedule.kind, Winograd)(*parts)
        t.print()
        return Source(self.lines.text(), ("k_0",), (True,), t.workspace, t.kept, acc.dtype)


@lru_cache(maxsize=2048)
def print_kernel(kernel: Kernel) -> Source:
    """The CPU source of a scheduled kernel.

    A convolution that pads its image, which only programs for a device with a library have, is no product in tiles.
    """
    return Printer(_plain_loops(kernel) if _pads(kernel) else kernel).run()


def _pads(kernel: Kernel) -> bool:
    if kernel.schedule is None or not kernel.schedule.tiled:
        return False
    inner = [operands for s in walk(kernel.body) if isinstance(s, Loop) and (operands := contraction_operands(s))]
    return any(padded(side) for operands in inner for side in operands)


def _plain_loops(kernel: Kernel) -> Kernel:
    first = next(s for s in kernel.body if isinstance(s, Loop))
    last = [s for s in walk(kernel.body) if isinstance(s, Loop)][-1]
    return replace(kernel, schedule=Schedule("rows", (first.axis, last.axis)))
