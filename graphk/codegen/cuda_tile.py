"""CUDA source of contractions: squares of results in registers.

In: a kernel scheduled as a contraction.  Out: one function.  What always holds: a block computes a square of results,
its threads a few rows and columns each; contracted places pass through shared memory in steps, read along the axis on
which neighbours lie side by side; the results go through shared memory too, so that the epilogue is printed
once and runs along rows.  Loops around rows of which the second operand knows nothing (images and rows of a
convolution) count as rows.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

from graphk.codegen.cuda_values import Printer, literal, total
from graphk.codegen.emit import dim_code
from graphk.ir.dims import Dim, dim_max, floordiv, product, symbols
from graphk.ir.effects import Operand, contracted_loops, contraction_operands, padded
from graphk.ir.loop import Acc, Let, Loop, Stmt, coefficient

ENOUGH = 128                      # squares from which on the larger ones are used: about one for each multiprocessor


@dataclass(frozen=True, slots=True)
class Square:
    """How a block shares a square of results out."""
    edge: int
    rows: int                     # of a thread
    columns: int
    depth: int                    # contracted places of a step

    @property
    def stride(self) -> int:
        """Elements from one contracted place to the next: a few more than the edge, so that threads that write one
        below the other use different banks."""
        return self.edge + 4

    @property
    def across(self) -> int:
        """Threads that share a row."""
        return self.edge // self.columns

    @property
    def threads(self) -> int:
        return self.across * (self.edge // self.rows)


# By the edge of the largest: squares for many results, and for few (more blocks, and fewer and longer steps, since each
# waits for memory once).
SQUARES = {64: (Square(64, 8, 4, 16), Square(32, 4, 2, 64)), 16: (Square(16, 2, 2, 16),),
           8: (Square(8, 2, 2, 4), Square(4, 1, 1, 8)), 4: (Square(4, 2, 2, 4),)}
WIDE = (Square(32, 4, 2, 32),)    # of numbers of eight bytes, as many as shared memory holds


class Contraction:
    """Prints one nest."""

    def __init__(self, p: Printer, loop: Loop):
        self.p = p
        self.m, self.n, self.k = p.axes
        path: list[Loop] = [loop]
        while path[-1].axis != self.n:
            inner = path[-1].body[0]
            assert isinstance(inner, Loop)
            path.append(inner)
        self.column, body = path[-1], path[-1].body
        acc = body[0]
        *self.around, self.sum = contracted_loops(path[-1])
        operands = contraction_operands(self.sum)
        assert isinstance(acc, Acc) and operands is not None
        self.acc, (self.left, self.right) = acc, operands
        self.squares = WIDE if acc.dtype == "float64" and p.edge > 32 else SQUARES[p.edge]
        self.q = self.squares[0]
        rest = [*self.around, self.sum][0]
        self.epilogue: list[Stmt] = [s for s in body if s is not acc and s is not rest]
        own = {x for d in self.right.indices() for x in symbols(d)}
        at = len(path) - 2                             # rows: what the right operand knows nothing of
        while at > 0 and path[at - 1].axis not in own:
            at -= 1
        self.batch, self.rows = path[:at], path[at:-1]

    def count(self, q: Square) -> list[Dim]:
        """How many squares there are along rows and columns."""
        rows = product(x.extent for x in self.rows)
        return [floordiv(d + (q.edge - 1), q.edge) for d in (rows, self.column.extent)]

    def grid(self, q: Square) -> list[Loop]:
        down, across = self.count(q)
        return [*self.batch, Loop("bm", down, ()), Loop("bn", across, ())]

    def run(self, lets: Sequence[Let]) -> None:
        """The function."""
        p, most = self.p, self.squares
        blocks = product(x.extent for x in self.grid(most[-1]))
        p.header(dim_max(blocks, 1), (most[0].threads,))
        p.add("tx = cuda.threadIdx.x")
        stage, out = max(q.stride * q.depth for q in most), max(q.edge * q.edge for q in most)
        for name, size in (("left", stage), ("right", stage), ("out", out)):
            p.shared_array(name, size, self.acc.dtype)
        p.statements(lets)
        p.add(f"rows = {total(self.rows)}")
        if len(most) == 1:
            self.all_squares(most[0])
            return
        with p.inside(f"if {total(self.grid(most[0]))} >= {ENOUGH}:"):
            self.all_squares(most[0])
        with p.inside("else:"):
            self.all_squares(most[1])

    def all_squares(self, q: Square) -> None:
        """A loop over squares of results."""
        p, self.q = self.p, q
        with p.shared_loop(self.grid(q), "cuda.blockIdx.x", "cuda.gridDim.x", "square"):
            zero = literal(0.0, self.acc.dtype)
            for r in range(q.rows):
                p.add(" = ".join([*(f"c{r}_{c}" for c in range(q.columns)), zero]))
            self.around_sum(self.around)
            self.results()

    def around_sum(self, around: Sequence[Loop]) -> None:
        """The loops over contracted places."""
        p, q = self.p, self.q
        if around:
            with p.inside(f"for {around[0].axis} in range({dim_code(around[0].extent)}):"):
                self.around_sum(around[1:])
            return
        with p.inside(f"for k0 in range(0, {dim_code(self.sum.extent)}, {q.depth}):"):
            self.stage("left", self.left, self.m)
            self.stage("right", self.right, self.n)
            p.add("cuda.syncthreads()")
            self.products()
            p.add("cuda.syncthreads()")

    def stage(self, name: str, side: Operand, axis: str) -> None:
        """One operand's part of a step into shared memory, place after place; zeros beyond the ends.

        What lies beyond is read at the end instead: without a branch, all reads of a thread are under way at once.
        """
        p, q = self.p, self.q
        along_k = _step(side, self.k) == 1
        with p.inside(f"for u in range({q.edge * q.depth // q.threads}):"):
            p.add(f"at = tx + u * {q.threads}")
            p.add(f"e = at {'//' if along_k else '%'} {q.depth if along_k else q.edge}")
            p.add(f"d = at {'%' if along_k else '//'} {q.depth if along_k else q.edge}")
            size = dim_code(self.sum.extent)
            p.add(f"{self.k} = min(k0 + d, {size} - 1)")
            if name == "left":
                end = "rows"
                p.add(f"place = bm * {q.edge} + e")
                p.add("row = min(place, rows - 1)")
                self.row_axes()
            else:
                end = dim_code(self.column.extent)
                p.add(f"place = bn * {q.edge} + e")
                p.add(f"{axis} = min(place, {end} - 1)")
            p.statements(side.lets)
            p.add(f"staged = {p.value(side.expr)}")
            p.add(f"{name}[d * {q.stride} + e] = choose((place < {end}) & (k0 + d < {size}), staged, "
                  f"{literal(0.0, self.acc.dtype)})")

    def row_axes(self) -> None:
        if len(self.rows) == 1:
            self.p.add(f"{self.rows[0].axis} = row")
        else:
            self.p.places(self.rows, "row")

    def products(self) -> None:
        """All products of what is staged."""
        p, q = self.p, self.q
        with p.inside(f"for d in range({q.depth}):"):
            for name, letter, count, first in (("left", "a", q.rows, f"tx // {q.across} * {q.rows}"),
                                               ("right", "b", q.columns, f"tx % {q.across} * {q.columns}")):
                base = f"d * {q.stride} + {first}"
                if count % 4 == 0:
                    for i in range(0, count, 4):
                        names = ", ".join(f"{letter}{i + j}" for j in range(4))
                        p.add(f"{names} = load4({name}, {base}{f' + {i}' if i else ''})")
                else:
                    for i in range(count):
                        p.add(f"{letter}{i} = {name}[{base}{f' + {i}' if i else ''}]")
            for r in range(q.rows):
                for c in range(q.columns):
                    p.add(f"c{r}_{c} = np.{self.acc.dtype}(c{r}_{c} + a{r} * b{c})")

    def results(self) -> None:
        """The square through shared memory, then the epilogue for each of its elements."""
        p, q = self.p, self.q
        base = f"tx // {q.across} * {q.rows * q.edge} + tx % {q.across} * {q.columns}"
        for r in range(q.rows):
            names = [f"c{r}_{c}" for c in range(q.columns)]
            place = base + (f" + {r * q.edge}" if r else "")
            if q.columns % 4 == 0:
                p.add(f"store4(out, {place}, {', '.join(names)})")
            else:
                for c, name in enumerate(names):
                    p.add(f"out[{place}{f' + {c}' if c else ''}] = {name}")
        p.add("cuda.syncthreads()")
        with p.inside(f"for u in range({q.edge * q.edge // q.threads}):"):
            p.add(f"at = tx + u * {q.threads}")
            p.add(f"row = bm * {q.edge} + at // {q.edge}")
            p.add(f"{self.n} = bn * {q.edge} + at % {q.edge}")
            with p.inside(f"if row < rows and {self.n} < {dim_code(self.column.extent)}:"):
                self.row_axes()
                p.add(f"{self.acc.name} = out[at]")
                p.statements(self.epilogue)
        p.add("cuda.syncthreads()")


def _step(side: Operand, axis: str) -> Dim:
    """How far apart an operand's elements lie along an axis, 0 if that is not told by one load."""
    found = padded(side)
    load = found.load if found else side.load
    return coefficient(load.index, axis) if load else 0


__all__ = ["Contraction", "SQUARES"]
