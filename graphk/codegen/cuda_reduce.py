"""CUDA source of reductions: rows, columns and chunks.

In: a loop nest with accumulators.  Out: one function.  What always holds: a team of threads computes one result; its
threads share the loops inside, then combine what they found in an order that the sizes alone decide, without atomics,
so results have the same bits for any grid.  Every thread passes every barrier: a team without a result has `lane` set
beyond all loops, so it does nothing in between.

How large a team is follows from the sizes, when the kernel runs:
  rows      neighbouring threads: as many as the row has elements up to a warp, or the block if the row is long
  columns   threads one above the other, so that neighbours read neighbouring columns: as many as the block is high, or
            one alone if there are few rows
  chunks    the block
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Iterator, Sequence

from graphk.codegen.cuda_map import WARP, blocks_of
from graphk.codegen.cuda_values import Printer, from_memory, to_memory, total
from graphk.ir.dims import Dim, dim_max, product
from graphk.ir.loop import Acc, Let, Loop, Stmt, Store, Update, walk

LONG_ROW = 512                    # elements from which on a row is a whole block's
FEW_ROWS = 16                     # rows that one thread adds up
CHUNK_THREADS = 4                 # times as many threads for a chunk
NOBODY = 1 << 62                  # the lane of threads that have no result to compute


def reduction(p: Printer, lets: Sequence[Let], loop: Loop) -> None:
    """A nest of loops around accumulators."""
    loops, body = p.flatten(loop)
    team = _team(p, loops, body)
    team.begin(lets)
    stores = [s for s in body if isinstance(s, Store)]
    with team.results():
        for s in body:
            if isinstance(s, Loop):
                _part(p, team, s)
            elif not isinstance(s, Store):
                p.statement(s)
        if stores:
            p.add("cuda.syncthreads()")                # a result may take the place of what others still read
            with p.inside("if lane == 0:"):
                p.statements(stores)


def _part(p: Printer, team: "Team", loop: Loop) -> None:
    """A loop inside; the accumulators that it feeds hold the whole team's result afterwards."""
    loops, body = p.flatten(loop)
    with p.shared_loop(loops, "lane", "group", "at"):
        p.statements(body)
    inner = {x.name for x in walk(loop.body) if isinstance(x, Acc)}
    for name in dict.fromkeys(x.name for x in walk(loop.body) if isinstance(x, Update) and x.name not in inner):
        team.reduce(p.accs[name])


def _team(p: Printer, loops: list[Loop], body: Sequence[Stmt]) -> "Team":
    first = next((s for s in body if isinstance(s, Loop)), None)
    inside = [] if first is None else p.flatten(first)[0]
    if p.kind == "chunks" or not all(p.known(x.extent) for x in inside):
        return BlockTeam(p, loops, inside)
    return ColumnTeam(p, loops, inside) if p.kind == "columns" else RowTeam(p, loops, inside)


class Team(ABC):
    """The threads of one result: `group` of them, this one being number `lane`."""
    scale = 1                     # of the block's threads

    def __init__(self, p: Printer, loops: list[Loop], inside: list[Loop]):
        self.p, self.loops = p, loops
        self.threads = min(p.threads * self.scale, max(p.threads, 1024))
        self.warp = min(WARP, p.threads)
        self.length = total(inside) if inside else "1"
        self.count = product(x.extent for x in loops)
        self.steps = product(x.extent for x in inside)

    def begin(self, lets: Sequence[Let]) -> None:
        """The function's first lines."""
        p = self.p
        p.header(self.blocks(), (self.threads,))
        p.add("tx = cuda.threadIdx.x")
        for dtype in dict.fromkeys(a.dtype for a in p.accs.values()):
            if self.shared():
                p.shared_array(f"shared_{dtype}", self.shared(), dtype)
        p.statements(lets)

    @abstractmethod
    def blocks(self) -> Dim:
        """How many blocks are worth launching."""

    def shared(self) -> int:
        """Elements of shared memory."""
        return self.threads // self.warp if self.threads > self.warp else 0

    @abstractmethod
    def results(self) -> AbstractContextManager[None]:
        """A loop over the results; inside, `lane` and `group` are set."""

    @abstractmethod
    def reduce(self, acc: Acc) -> None:
        """Afterwards all threads of a team hold the team's result."""

    @contextmanager
    def several(self, teams: str, mine: str) -> Iterator[None]:
        """A loop over results, `teams` of them at a time; `mine` is this thread's, counted from the first."""
        p, end = self.p, total(self.loops)
        name = self.loops[0].axis if len(self.loops) == 1 else "at"
        with p.strided("top", f"cuda.blockIdx.x * {teams}", end, f"cuda.gridDim.x * {teams}"):
            p.add(f"mine = top + {mine}")
            p.add(f"lane = member if mine < {end} else {NOBODY}")
            p.add(f"{name} = min(mine, {end} - 1)")
            if len(self.loops) > 1:
                p.places(self.loops, name)
            yield

    def butterfly(self, acc: Acc, group: str) -> None:
        """Each thread of a part of a warp takes in its neighbour at distance 1, 2, 4, ...: all get the same."""
        p, step = self.p, 1
        while step < self.warp:
            with p.inside(f"if {group} > {step}:") if group else nullcontext():
                theirs = f"cuda.shfl_xor_sync(0xffffffff, {_register(acc)}, {step})"
                p.add(f"other = {_from_register(theirs, acc.dtype)}")
                p.add(f"{acc.name} = {p.combined(acc, acc.name, 'other')}")
            step *= 2

    def through_memory(self, acc: Acc, place: str, first: str, step: int, count: int) -> None:
        """All values of `count` places, in order; each thread gets the same."""
        p, shared = self.p, f"shared_{acc.dtype}"
        with p.inside(f"if tx % {self.warp} == 0:") if step == 1 else nullcontext():       # a warp's threads agree
            p.add(f"{shared}[{place}] = {to_memory(acc.name, acc.dtype)}")
        p.add("cuda.syncthreads()")
        p.add(f"{acc.name} = {from_memory(f'{shared}[{first}]', acc.dtype)}")
        with p.inside(f"for q in range({step}, {step * count}, {step}):"):
            p.add(f"other = {from_memory(f'{shared}[{first} + q]', acc.dtype)}")
            p.add(f"{acc.name} = {p.combined(acc, acc.name, 'other')}")
        p.add("cuda.syncthreads()")


class BlockTeam(Team):
    """A block."""
    scale = CHUNK_THREADS

    def blocks(self) -> Dim:
        return dim_max(self.count, 1)

    @contextmanager
    def results(self) -> Iterator[None]:
        p = self.p
        p.add("lane = tx")
        p.add(f"group = {self.threads}")
        with p.shared_loop(self.loops, "cuda.blockIdx.x", "cuda.gridDim.x", "row"):
            yield

    def reduce(self, acc: Acc) -> None:
        self.butterfly(acc, "")
        if self.threads > self.warp:
            self.through_memory(acc, f"tx // {self.warp}", "0", 1, self.threads // self.warp)


class RowTeam(Team):
    """Neighbouring threads: a part of a warp, a warp or the block."""

    def blocks(self) -> Dim:
        most = 2 * self.steps + self.threads - dim_max(2 * self.steps, self.threads)
        return blocks_of(self.count * most, self.threads)

    @contextmanager
    def results(self) -> Iterator[None]:
        p = self.p
        p.add("group = 1")
        with p.inside(f"while group < {self.length} and group < {self.warp}:"):
            p.add("group *= 2")
        if self.threads > self.warp:
            with p.inside(f"if {self.length} > {LONG_ROW}:"):
                p.add(f"group = {self.threads}")
        p.add("member = tx & (group - 1)")
        p.add(f"teams = {self.threads} // group")
        with self.several("teams", "tx // group"):
            yield

    def reduce(self, acc: Acc) -> None:
        self.butterfly(acc, "group")
        if self.threads > self.warp:
            with self.p.inside(f"if group > {self.warp}:"):
                self.through_memory(acc, f"tx // {self.warp}", "0", 1, self.threads // self.warp)


class ColumnTeam(Team):
    """Threads one above the other, or one alone."""
    scale = 2

    @property
    def height(self) -> int:
        return self.threads // self.warp

    def shared(self) -> int:
        return self.threads if self.height > 1 else 0

    def blocks(self) -> Dim:
        above = dim_max(self.steps - (FEW_ROWS - 1), 1)
        high = above + self.height - dim_max(above, self.height)
        return blocks_of(self.count * high, self.threads)

    @contextmanager
    def results(self) -> Iterator[None]:
        p = self.p
        p.add(f"group = {self.height} if {self.length} > {FEW_ROWS} else 1")
        p.add(f"column = tx % {self.warp}")
        p.add(f"member = tx // {self.warp} if group > 1 else 0")
        p.add(f"mine_above = 0 if group > 1 else tx // {self.warp} * {self.warp}")
        p.add(f"teams = {self.threads} // group")
        with self.several("teams", "column + mine_above"):
            yield

    def reduce(self, acc: Acc) -> None:
        if self.height > 1:
            with self.p.inside("if group > 1:"):
                self.through_memory(acc, "tx", "column", self.warp, self.height)


def _register(acc: Acc) -> str:
    """A value as a type that threads of a warp exchange."""
    if acc.dtype == "bool":
        return f"np.int32(1 if {acc.name} else 0)"
    return f"np.int64({acc.name})" if acc.dtype == "uint32" else acc.name


def _from_register(text: str, dtype: str) -> str:
    return f"{text} != 0" if dtype == "bool" else f"np.{dtype}({text})" if dtype == "uint32" else text


__all__ = ["reduction"]
