"""Reductions over many rows, split so that threads share the rows.

In: a kernel scheduled as `columns`, and its sizes.  Out: the same, or phases: partial results of fixed chunks of rows
in parallel, their combination with what stands between two loops, the next loop over rows in parallel.  What always
holds: chunks have a fixed number of rows, so results have the same bits for any number of threads.  Each thread reads
whole rows, which is several times faster than a piece of each.
"""
from __future__ import annotations

from dataclasses import replace
from typing import Mapping, Sequence

from graphk.ir.column_parts import Flow, parts, stores
from graphk.ir.dims import Dim, dim_max, evaluate, floordiv, substitute, sym, symbols
from graphk.ir.loop import Acc, Kernel, Let, Load, Loop, Param, Ref, Schedule, Stmt, Store, Update
from graphk.passes.kernels import map_dims

CHUNK_ROWS = 128                  # rows that one partial result covers
MANY_ROWS, MANY = 512, 131072     # rows, and elements of one operand, from which on it pays
USUAL = 32                        # what an open size is taken to be


def in_row_chunks(kernel: Kernel, sizes: Mapping[str, Dim]) -> Kernel:
    """`kernel` in phases, if it is large and a loop over columns around loops over rows."""
    loops = [s for s in kernel.body if isinstance(s, Loop)]
    if kernel.schedule is None or kernel.schedule.kind != "columns" or len(loops) != 1:
        return kernel
    columns = loops[0]
    if kernel.schedule.axes != (columns.axis, columns.axis) or not _plain(columns):
        return kernel
    width, *rows = (_usual(s.extent, sizes) for s in (columns, *columns.body) if isinstance(s, Loop))
    if min(rows, default=0) < MANY_ROWS or width * max(rows) < MANY:
        return kernel
    return _Chunks(kernel, columns).run()


def _usual(d: Dim, sizes: Mapping[str, Dim]) -> int:
    d = substitute(d, sizes)
    return evaluate(d, dict.fromkeys(symbols(d), USUAL))


def _plain(columns: Loop) -> bool:
    """Whether each loop over rows has no loop inside, and each accumulator is fed by one of them."""
    fed: list[str] = []
    for s in columns.body:
        if isinstance(s, Loop):
            if any(isinstance(x, (Loop, Acc)) or (isinstance(x, Store) and x.accumulate) for x in s.body):
                return False
            fed += {x.name for x in s.body if isinstance(x, Update)}
    return len(fed) == len(set(fed))


class _Chunks:
    """Builds the phases of one kernel."""

    def __init__(self, kernel: Kernel, columns: Loop):
        self.kernel, self.axis, self.width = kernel, columns.axis, columns.extent
        self.accs = {s.name: s for s in columns.body if isinstance(s, Acc)}
        self.parts = self._with_ends(parts(columns.body))
        made = [s for part in self.parts for s in part if isinstance(s, (Let, Acc))]
        self.flow = Flow(self.parts, made)
        self.temps: list[Param] = [Param("w" + n, self.flow.dtype(n), "temp", self.width) for n in self.flow.kept]

    def _with_ends(self, split: Sequence[tuple[Stmt, ...]]) -> list[tuple[Stmt, ...]]:
        """Loops with the accumulators that they fill, behind each a part that makes these of the partial results."""
        out: list[tuple[Stmt, ...]] = []
        full: list[Acc] = []
        for part in split:
            if isinstance(part[0], Loop):
                out += [tuple(full)] if full else []
                full = [self.accs[n] for n in dict.fromkeys(x.name for x in part[0].body if isinstance(x, Update))]
                out.append((part[0], *full))
            else:
                rest = tuple(s for s in part if not isinstance(s, Acc))
                out += [(*full, *rest)] if full or rest else []
                full = []
        return [*out, tuple(full)] if full else out

    def run(self) -> Kernel:
        before = tuple(s for s in self.kernel.body if isinstance(s, Let))
        phases: list[Loop] = []
        chunks: Dim = 0
        for i, part in enumerate(self.parts):
            if isinstance(part[0], Loop):
                chunks = floordiv(part[0].extent + (CHUNK_ROWS - 1), CHUNK_ROWS)
                phases.append(self._rows(i, part[0], chunks))
            else:
                phases.append(Loop(self.axis, self.width, self._between(i, part, chunks)))
        busy = (s for s in phases if stores(s))
        return replace(self.kernel, params=(*self.kernel.params, *self.temps), body=(*before, *busy),
                       schedule=Schedule("columns", ("c", self.axis)))

    def _fetched(self, i: int) -> list[Stmt]:
        """What part `i` takes from earlier ones."""
        return [self.flow.made[n] if n in self.flow.again[i] else
                Let(n, Load("w" + n, sym(self.axis), self.flow.dtype(n))) for n in self.flow.fetched[i]]

    def _rows(self, i: int, loop: Loop, chunks: Dim) -> Loop:
        fed = [s for s in self.parts[i] if isinstance(s, Acc)]
        start = sym("c") * CHUNK_ROWS
        left = loop.extent - start
        size = left + CHUNK_ROWS - dim_max(left, CHUNK_ROWS)              # min(left, CHUNK_ROWS)
        moved = map_dims(loop.body, lambda d: substitute(d, {loop.axis: start + sym(loop.axis)}))
        at = sym("c") * self.width + sym(self.axis)
        self.temps += [Param("c" + a.name, a.dtype, "temp", chunks * self.width) for a in fed]
        partial = [Store("c" + a.name, at, Ref(a.name, a.dtype)) for a in fed]
        body = *self._fetched(i), *fed, Loop(loop.axis, size, moved), *partial
        return Loop("c", chunks, (Loop(self.axis, self.width, body),))

    def _between(self, i: int, part: tuple[Stmt, ...], chunks: Dim) -> tuple[Stmt, ...]:
        full = [s for s in part if isinstance(s, Acc)]
        at = sym("d") * self.width + sym(self.axis)
        sums = [Loop("d", chunks, tuple(Update(a.name, Load("c" + a.name, at, a.dtype)) for a in full))] if full else []
        rest = [s for s in self.flow.needed(part) if not isinstance(s, Acc)]
        kept = [s for s in part if isinstance(s, (Let, Acc)) and s.name in self.flow.kept]
        return (*full, *sums, *self._fetched(i), *(s for s in rest if isinstance(s, Let)),
                *(Store("w" + s.name, sym(self.axis), Ref(s.name, self.flow.dtype(s.name))) for s in kept),
                *(s for s in rest if not isinstance(s, Let)))


__all__ = ["in_row_chunks"]
