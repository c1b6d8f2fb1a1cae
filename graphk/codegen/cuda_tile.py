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
from graphk.ir.effects import Operand, contracted_loops, contraction_operands
from graphk.ir.loop import Acc, Let, Loop, Stmt, coefficient

DEPTH = 16                        # contracted places of a step
# The edge of a square to the rows and columns of a thread.
SHAPES = {64: (8, 4), 32: (4, 4), 16: (2, 2)}


@dataclass(frozen=True, slots=True)
class Square:
    """How a block shares a square of results out."""
    edge: int
    rows: int                     # of a thread
    columns: int
    depth: int

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


def square_of(edge: int) -> Square:
    """The square of an edge."""
    rows, columns = SHAPES.get(edge, (2, 2))
    return Square(edge, rows, columns, min(DEPTH, edge))


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
        self.q = square_of(min(p.edge, 32) if acc.dtype == "float64" else p.edge)      # what shared memory holds
        rest = [*self.around, self.sum][0]
        self.epilogue: list[Stmt] = [s for s in body if s is not acc and s is not rest]
        own = {x for d in self.right.indices() for x in symbols(d)}
        at = len(path) - 2                             # rows: what the right operand knows nothing of
        while at > 0 and path[at - 1].axis not in own:
            at -= 1
        self.batch, self.rows = path[:at], path[at:-1]

    def run(self, lets: Sequence[Let]) -> None:
        p, q = self.p, self.q
        squares = [floordiv(d + (q.edge - 1), q.edge)
                   for d in (product(x.extent for x in self.rows), self.column.extent)]
        p.header(dim_max(product([*(x.extent for x in self.batch), *squares]), 1), (q.threads,))
        p.add("tx = cuda.threadIdx.x")
        for name, count in (("left", q.stride * q.depth), ("right", q.stride * q.depth), ("out", q.edge * q.edge)):
            p.shared_array(name, count, self.acc.dtype)
        p.statements(lets)
        p.add(f"rows = {total(self.rows)}")
        grid = [*self.batch, Loop("bm", squares[0], ()), Loop("bn", squares[1], ())]
        with p.shared_loop(grid, "cuda.blockIdx.x", "cuda.gridDim.x", "square"):
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
        """One operand's part of a step into shared memory, place after place; zeros beyond the ends."""
        p, q = self.p, self.q
        along_k = _step(side, self.k) == 1
        with p.inside(f"for at in range(tx, {q.edge * q.depth}, {q.threads}):"):
            p.add(f"e = at {'//' if along_k else '%'} {q.depth if along_k else q.edge}")
            p.add(f"d = at {'%' if along_k else '//'} {q.depth if along_k else q.edge}")
            p.add(f"{self.k} = k0 + d")
            if name == "left":
                p.add(f"row = bm * {q.edge} + e")
                end = "row < rows"
            else:
                p.add(f"{axis} = bn * {q.edge} + e")
                end = f"{axis} < {dim_code(self.column.extent)}"
            p.add(f"staged = {literal(0.0, self.acc.dtype)}")
            with p.inside(f"if {end} and {self.k} < {dim_code(self.sum.extent)}:"):
                if name == "left":
                    self.row_axes()
                p.statements(side.lets)
                p.add(f"staged = {p.value(side.expr)}")
            p.add(f"{name}[d * {q.stride} + e] = staged")

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
        with p.inside(f"for at in range(tx, {q.edge * q.edge}, {q.threads}):"):
            p.add(f"row = bm * {q.edge} + at // {q.edge}")
            p.add(f"{self.n} = bn * {q.edge} + at % {q.edge}")
            with p.inside(f"if row < rows and {self.n} < {dim_code(self.column.extent)}:"):
                self.row_axes()
                p.add(f"{self.acc.name} = out[at]")
                p.statements(self.epilogue)
        p.add("cuda.syncthreads()")


def _step(side: Operand, axis: str) -> Dim:
    """How far apart an operand's elements lie along an axis, 0 if that is not told by one load."""
    return coefficient(side.load.index, axis) if side.load else 0


__all__ = ["Contraction", "square_of"]
