"""Kernels as numba.cuda source: the same loop nests for a grid of threads.

In: a scheduled Kernel.  Out: `CudaSource`: Python functions, and for each the grid it is launched with.  What always
holds: the text depends on the kernel alone, not on the machine; every loop over elements strides by the whole grid
(or block), so any grid gives the same result; a thread writes what no other thread writes; scalars are spelled by
the CUDA column of `graphk.codegen.scalars`, each value cast to its dtype, since Numba widens mixed arithmetic.

How schedules become grids:
  map, columns   one thread per element (column), neighbours along the vector axis
  rows, chunks   one block per row (chunk), sums by halving in shared memory; chunks are finished by a second launch
  tile           one block per square of results, operands staged through shared memory, the epilogue per element
  serial         one thread

Arguments of every function: the kernel's buffers in order (one-dimensional arrays), then its sizes (int64).
"""
from __future__ import annotations

import ast
import copy
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Sequence

from graphk.codegen.emit import Lines, dim_code, number
from graphk.codegen.scalars import CUDA_HELPERS, lookup
from graphk.ir.dims import Dim, dim_max, floordiv, product, symbols
from graphk.ir.effects import Operand, contracted_loops, contraction_operands
from graphk.ir.loop import (Acc, Expr, Index, Kernel, Let, Lit, Load, Loop, Ref, Stmt, Store, Update,
                            identity_of, walk)

THREADS = 128                     # of a block, except for tiles
TILE = 16                         # rows and columns of a tile's block


@dataclass(frozen=True, slots=True)
class Launch:
    """One function of a source: `blocks` (a Dim over the kernel's sizes) blocks of `threads` threads."""
    name: str
    blocks: Dim
    threads: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CudaSource:
    """A printed kernel: launches run in order, each after the one before has finished."""
    text: str
    launches: tuple[Launch, ...]
    dtypes: tuple[str, ...]
    sizes: tuple[str, ...]


@lru_cache(maxsize=2048)
def print_cuda(kernel: Kernel, threads: int = THREADS, tile: int = TILE) -> CudaSource:
    """The CUDA source of a scheduled kernel.

    `threads` (a power of two) and `tile` are the extents of its blocks.
    """
    if kernel.schedule is None:
        raise ValueError(f"the kernel `{kernel.label}` has no schedule: run the pass `schedule` first")
    if threads < 1 or threads & (threads - 1):
        raise ValueError(f"sums halve the threads of a block: expected a power of two, received {threads}")
    return CudaPrinter(kernel, threads, tile).run()


def load_functions(source: CudaSource, cuda: Any) -> dict[str, Any]:
    """The functions of a source; `cuda` is the module `numba.cuda`, or what stands in for it."""
    import math

    import numpy as np
    space: dict[str, Any] = {"cuda": cuda, "math": math, "np": np}
    exec(compile(source.text, "<graphk cuda kernel>", "exec"), space)
    return {launch.name: space[launch.name] for launch in source.launches}


def paren(d: Dim) -> str:
    """A polynomial as an operand of `//`, `%` and `*`."""
    text = dim_code(d)
    return text if text.isidentifier() or text.isdigit() else f"({text})"


class CudaPrinter:
    """Prints one kernel."""

    def __init__(self, kernel: Kernel, threads: int, tile: int):
        assert kernel.schedule is not None
        self.kernel, self.threads, self.edge = kernel, threads, tile
        self.kind, self.axes = kernel.schedule.kind, kernel.schedule.axes
        self.lines = Lines()
        self.launches: list[Launch] = []
        self.accs = {s.name: s for s in walk(kernel.body) if isinstance(s, Acc)}
        self.temps = 0

    def add(self, text: str) -> None:
        self.lines.add(text)

    # -------------------------------------------------------------- values
    def atom(self, e: Expr) -> str:
        """A name or number with the value of `e`: templates of the table repeat their operands."""
        if isinstance(e, (Ref, Lit)):
            return self.value(e)
        text = self.value(e)
        name = f"v{self.temps}"
        self.temps += 1
        self.add(f"{name} = {text}")
        return name

    def value(self, e: Expr) -> str:
        if isinstance(e, Ref):
            return e.name
        if isinstance(e, Lit):
            return literal(e.value, e.dtype)
        if isinstance(e, Load):
            return f"{e.buffer}[{dim_code(e.index)}]"
        if isinstance(e, Index):
            return f"np.{e.dtype}({dim_code(e.index)})"
        return self.call(e.fn, [self.atom(a) for a in e.args], e.args[0].dtype, e.dtype)

    def call(self, fn: str, args: Sequence[str], operands: str, dtype: str) -> str:
        """A function of the table on names and numbers; what takes statements is printed before."""
        template = lookup(fn).cuda_for(operands)
        helper = re.fullmatch(r"(gk_\w+)\(.*\)", template)
        if helper:
            self.temps += 1
            lines, text = inline(helper[1], args, f"_{self.temps}")
            for line in lines:
                self.add(line)
        else:
            text = typed(template, operands).format(*args)
        inner = text[1:-1] if _wrapped(text) else text
        if dtype == "bool":
            return inner
        return text if text.startswith(f"np.{dtype}(") else f"np.{dtype}({inner})"

    def combined(self, acc: Acc, a: str, b: str) -> str:
        return self.call(acc.combine, [a, b], acc.dtype, acc.dtype)

    # -------------------------------------------------------------- statements of one thread
    def statements(self, stmts: Sequence[Stmt]) -> None:
        for s in stmts:
            self.statement(s)

    def statement(self, s: Stmt) -> None:
        if isinstance(s, Let):
            self.add(f"{s.name} = {self.value(s.expr)}")
        elif isinstance(s, Acc):
            self.add(f"{s.name} = {literal(identity_of(s.combine, s.dtype), s.dtype)}")
        elif isinstance(s, Update):
            self.add(f"{s.name} = {self.combined(self.accs[s.name], s.name, self.atom(s.expr))}")
        elif isinstance(s, Store):
            at = f"{s.buffer}[{dim_code(s.index)}]"
            if s.accumulate:
                have = self.atom(Load(s.buffer, s.index, s.expr.dtype))
                self.add(f"{at} = {self.call('add', [have, self.atom(s.expr)], s.expr.dtype, s.expr.dtype)}")
            else:
                self.add(f"{at} = {self.value(s.expr)}")
        else:
            self.add(f"for {s.axis} in range({dim_code(s.extent)}):")
            self.block(s.body)

    def block(self, stmts: Sequence[Stmt]) -> None:
        self.lines.depth += 1
        self.statements(stmts)
        self.lines.depth -= 1

    # -------------------------------------------------------------- loops that threads or blocks share
    def flatten(self, loop: Loop) -> tuple[list[Loop], list[Stmt]]:
        """Loops that one index can run through, the vector axis last, and what is done at each place."""
        loops, before = [loop], list[Stmt]()
        body = loop.body
        while isinstance(body[-1], Loop) and all(isinstance(s, Let) for s in body[:-1]) \
                and symbols(body[-1].extent) <= set(self.kernel.sizes):
            before += body[:-1]
            loops.append(body[-1])
            body = body[-1].body
        vector = self.axes[1] if len(self.axes) > 1 else ""
        return sorted(loops, key=lambda x: x.axis == vector), [*before, *body]

    def shared_loop(self, loops: list[Loop], first: str, step: str, index: str) -> None:
        """A loop header over all places of `loops`, from `first` on in steps of `step`; the depth stays inside."""
        if len(loops) == 1:
            self.add(f"for {loops[0].axis} in range({first}, {dim_code(loops[0].extent)}, {step}):")
            self.lines.depth += 1
            return
        total = "*".join(paren(x.extent) for x in loops)
        self.add(f"for {index} in range({first}, {total}, {step}):")
        self.lines.depth += 1
        for i, x in enumerate(reversed(loops[1:])):
            self.add(f"{x.axis} = {index} % {paren(x.extent)}")
            last = i == len(loops) - 2
            rest = loops[0].axis if last else f"{index}{i}"
            self.add(f"{rest} = {index} // {paren(x.extent)}")
            index = rest

    # -------------------------------------------------------------- functions
    def header(self, blocks: Dim, threads: tuple[int, ...]) -> None:
        if self.launches:
            self.lines.depth = 0
            self.add("")
        name = f"k_{len(self.launches)}"
        self.launches.append(Launch(name, blocks, threads))
        self.lines.depth = 0
        self.add(f"def {name}({', '.join([*(p.name for p in self.kernel.params), *self.kernel.sizes])}):")
        self.lines.depth = 1

    def run(self) -> CudaSource:
        lets = [s for s in self.kernel.body if isinstance(s, Let)]
        loops = [s for s in self.kernel.body if isinstance(s, Loop)]
        schedule = self.kernel.schedule
        assert schedule is not None
        if self.kind == "serial" or len(lets) + len(loops) < len(self.kernel.body):
            self.header(1, (1,))
            self.add("if cuda.grid(1) == 0:")
            self.block(self.kernel.body)
        else:
            for loop in loops:
                if schedule.tiled:
                    self.tile(lets, loop)
                elif self.kind in ("rows", "chunks"):
                    self.rows(lets, loop)
                elif any(isinstance(s, Store) and s.accumulate for s in walk(loop.body)):
                    self.scatter(lets, loop)
                else:
                    self.elements(lets, loop)
        text = self.lines.text()
        return CudaSource(text, tuple(self.launches), tuple(p.dtype for p in self.kernel.params), self.kernel.sizes)

    def elements(self, lets: list[Let], loop: Loop) -> None:
        """One thread per element or column."""
        loops, body = self.flatten(loop)
        self.header(self.blocks_for(loops), (self.threads,))
        self.statements(lets)
        self.shared_loop(loops, "cuda.grid(1)", "cuda.gridsize(1)", "at")
        self.statements(body)

    def blocks_for(self, loops: list[Loop]) -> Dim:
        total = product(x.extent for x in loops)
        return dim_max(floordiv(total + (self.threads - 1), self.threads), 1)

    def scatter(self, lets: list[Let], loop: Loop) -> None:
        """What may meet is added one after another, in order; threads share the schedule's first axis."""
        inner = next(s for s in walk((loop,)) if isinstance(s, Loop) and s.axis == self.axes[0])
        self.header(self.blocks_for([inner]), (self.threads,))
        self.statements(lets)
        if inner is not loop:
            self.add(f"for {loop.axis} in range({dim_code(loop.extent)}):")
            self.lines.depth += 1
        for s in (loop.body if inner is not loop else (loop,)):
            if s is inner:
                self.shared_loop([inner], "cuda.grid(1)", "cuda.gridsize(1)", "at")
                self.statements(inner.body)
                self.lines.depth -= 1
            else:
                self.statement(s)

    # -------------------------------------------------------------- rows
    def rows(self, lets: list[Let], loop: Loop) -> None:
        """One block per row: its threads share the inner loops and add up what they found."""
        loops, body = self.flatten(loop)
        self.header(dim_max(product(x.extent for x in loops), 1), (self.threads,))
        self.add("tx = cuda.threadIdx.x")
        for dtype in dict.fromkeys(a.dtype for a in walk(tuple(body)) if isinstance(a, Acc)):
            self.add(f"shared_{dtype} = cuda.shared.array({self.threads}, np.{_array_dtype(dtype)})")
        self.statements(lets)
        self.shared_loop(loops, "cuda.blockIdx.x", "cuda.gridDim.x", "row")
        stores = [s for s in body if isinstance(s, Store)]
        for s in body:
            if isinstance(s, Loop):
                self.part(s)
            elif not isinstance(s, Store):
                self.statement(s)
        if stores:
            self.add("cuda.syncthreads()")                # a result may take the place of what others still read
            self.add("if tx == 0:")
            self.block(stores)

    def part(self, loop: Loop) -> None:
        """A loop inside a row; the accumulators that it feeds hold the whole block's result afterwards."""
        depth = self.lines.depth
        loops, body = self.flatten(loop)
        self.shared_loop(loops, "tx", str(self.threads), "at")
        self.statements(body)
        self.lines.depth = depth
        inner = {x.name for x in walk(loop.body) if isinstance(x, Acc)}
        for name in dict.fromkeys(x.name for x in walk(loop.body) if isinstance(x, Update) and x.name not in inner):
            self.reduce(self.accs[name])

    def reduce(self, acc: Acc) -> None:
        """Halving: thread i takes in thread i + half, until thread 0 has all."""
        shared = f"shared_{acc.dtype}"
        self.add(f"{shared}[tx] = {acc.name}")
        self.add("cuda.syncthreads()")
        self.add(f"half = {self.threads // 2}")
        self.add("while half > 0:")
        self.lines.depth += 1
        self.add("if tx < half:")
        self.add(f"    mine = {shared}[tx]")
        self.add(f"    other = {shared}[tx + half]")
        self.add(f"    {shared}[tx] = {self.combined(acc, 'mine', 'other')}")
        self.add("cuda.syncthreads()")
        self.add("half //= 2")
        self.lines.depth -= 1
        self.add(f"{acc.name} = {shared}[0]")
        self.add("cuda.syncthreads()")

    # -------------------------------------------------------------- tiles
    def tile(self, lets: list[Let], loop: Loop) -> None:
        """A matrix product: a block computes a square of results, k in steps of the square's edge."""
        m, n, k = self.axes
        outer: list[Loop] = []
        nest = loop
        while nest.axis != m:
            outer.append(nest)
            assert isinstance(nest.body[0], Loop)
            nest = nest.body[0]
        inner = nest.body[0]
        assert isinstance(inner, Loop) and inner.axis == n
        acc = inner.body[0]
        *around, sum_ = contracted = contracted_loops(inner)
        operands = contraction_operands(sum_)
        assert isinstance(acc, Acc) and operands is not None
        edge = self.edge
        squares = [floordiv(x.extent + (edge - 1), edge) for x in (nest, inner)]
        self.header(dim_max(product([*(x.extent for x in outer), *squares]), 1), (edge, edge))
        add = self.add
        add("tx = cuda.threadIdx.x")
        add("ty = cuda.threadIdx.y")
        for name in ("left", "right"):
            add(f"{name} = cuda.shared.array(({edge}, {edge}), np.{acc.dtype})")
        self.statements(lets)
        grid = [*outer, Loop("bm", squares[0], ()), Loop("bn", squares[1], ())]
        self.shared_loop(grid, "cuda.blockIdx.x", "cuda.gridDim.x", "square")
        add(f"{m} = bm * {edge} + ty")
        add(f"{n} = bn * {edge} + tx")
        self.statement(acc)
        depth = self.lines.depth
        for x in around:
            add(f"for {x.axis} in range({dim_code(x.extent)}):")
            self.lines.depth += 1
        self.tile_sum(acc, (m, n, k), (nest.extent, inner.extent, sum_.extent), operands)
        self.lines.depth = depth
        add(f"if {m} < {dim_code(nest.extent)} and {n} < {dim_code(inner.extent)}:")
        self.block([s for s in inner.body if s is not acc and s is not contracted[0]])

    def tile_sum(self, acc: Acc, axes: tuple[str, str, str], extents: tuple[Dim, Dim, Dim],
                 operands: tuple[Operand, Operand]) -> None:
        """The loop over k: all threads stage one element of each operand, then take products of what is staged."""
        (m, n, k), (size_m, size_n, size_k), add = axes, map(dim_code, extents), self.add
        zero = literal(0.0, acc.dtype)
        add(f"for k0 in range(0, {size_k}, {self.edge}):")
        self.lines.depth += 1
        left, right = operands
        for name, side, lane, axis, size in (("left", left, "tx", m, size_m), ("right", right, "ty", n, size_n)):
            add(f"{k} = k0 + {lane}")
            add(f"{name}[ty, tx] = {zero}")
            add(f"if {axis} < {size} and {k} < {size_k}:")
            self.lines.depth += 1
            self.statements(side.lets)
            add(f"{name}[ty, tx] = {self.value(side.expr)}")
            self.lines.depth -= 1
        add("cuda.syncthreads()")
        add(f"for q in range({self.edge}):")
        add(f"    {acc.name} = np.{acc.dtype}({acc.name} + left[ty, q] * right[q, tx])")
        add("cuda.syncthreads()")
        self.lines.depth -= 1


def typed(template: str, dtype: str) -> str:
    """A template with its integers as floats, where operands are: Numba mixes int64 and float32 in float64."""
    if not dtype.startswith("float"):
        return template
    return re.sub(r"(?<![\w.{])(\d+)(?![\w.}])", rf"np.{dtype}(\1)", template)


@lru_cache(maxsize=None)
def _helper(name: str) -> ast.FunctionDef:
    function = ast.parse(CUDA_HELPERS[name]).body[0]
    assert isinstance(function, ast.FunctionDef)
    return function


def inline(name: str, args: Sequence[str], suffix: str) -> tuple[list[str], str]:
    """The lines of a helper at a call, and the name of its result; locals get a suffix.

    Helpers are not called: Numba compiles a device function for the GPU that is there, and fails where none is.
    """
    function = _helper(name)
    table: dict[str, ast.expr] = {p.arg: ast.parse(a, mode="eval").body for p, a in zip(function.args.args, args)}
    result = "out" + suffix
    table[result] = ast.Name(result, ast.Store())

    class Rename(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            if isinstance(node.ctx, ast.Store):
                table.setdefault(node.id, ast.Name(node.id + suffix, ast.Store()))
            return table.get(node.id, node)

    def body(stmts: list[ast.stmt]) -> list[ast.stmt]:
        """Statements whose `return x` is `result = x`; what follows a branch that returns goes into its else."""
        for i, s in enumerate(stmts):
            if isinstance(s, ast.Return) and s.value is not None:
                return [*stmts[:i], ast.Assign([ast.Name(result, ast.Store())], s.value, lineno=0)]
            if isinstance(s, ast.If) and any(isinstance(x, ast.Return) for x in ast.walk(s)):
                return [*stmts[:i], ast.If(s.test, body(s.body), body([*s.orelse, *stmts[i + 1:]]))]
        return stmts
    renamed = [Rename().visit(s) for s in body(copy.deepcopy(function.body))]
    return [line for s in renamed for line in ast.unparse(s).split("\n")], result


def literal(value: Any, dtype: str) -> str:
    """A number of a dtype."""
    if dtype == "bool":
        return "True" if value else "False"
    return f"np.{dtype}({number(value, dtype)})"


def _array_dtype(dtype: str) -> str:
    return "bool_" if dtype == "bool" else dtype


def _wrapped(text: str) -> bool:
    """Whether the first bracket closes at the end."""
    if not text.startswith("("):
        return False
    depth = 0
    for i, ch in enumerate(text):
        depth += (ch == "(") - (ch == ")")
        if depth == 0:
            return i == len(text) - 1
    return False


__all__ = ["CudaSource", "Launch", "THREADS", "TILE", "load_functions", "print_cuda"]
