"""What steps read and write: the facts that `memory` plans with and the verifier checks.

In: a Program, or one of its steps.  Out: storage names, lifetimes, and whether a step may write over what it
reads.  What always holds: an alias counts as the buffer that it is a view of; a whole loop counts as one step.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Callable

from graphk.ir.dims import Dim, substitute, symbols
from graphk.ir.loop import (Call, Expr, Index, Kernel, Let, Lit, Load, Loop, Ref, Stmt, Store, Update, coefficient,
                            expressions, walk)
from graphk.ir.program import AnyStep, Program, RowBlock, Step, flat_steps


def root_of(program: Program) -> dict[str, str]:
    """Each buffer's storage: itself, or what it is a view of."""
    base = {b.name: b.base if b.place == "alias" else b.name for b in program.buffers}

    def find(name: str) -> str:
        while base[name] != name:
            name = base[name]
        return name
    return {name: find(name) for name in base}


def touched(step: AnyStep, roots: dict[str, str]) -> tuple[set[str], set[str]]:
    """Storage that a step reads and writes."""
    reads: set[str] = set()
    writes: set[str] = set()
    for s in flat_steps((step,)):
        for p, b in zip(s.kernel.params, s.buffers):
            (reads if p.role == "in" else writes).add(roots[b])
            if p.name in _accumulated(s.kernel):
                reads.add(roots[b])
    return reads, writes


@lru_cache(maxsize=2048)
def _accumulated(kernel: Kernel) -> frozenset[str]:
    """Parameters that a kernel adds to, so reads as well."""
    return frozenset(x.buffer for x in walk(kernel.body) if isinstance(x, Store) and x.accumulate)


def lifetimes(program: Program, roots: dict[str, str]) -> dict[str, tuple[int, int]]:
    """First and last step (a whole loop is one step) that touch each arena buffer.

    What lives beyond a block of rows is in use from the block's first step to its last: it may run for some rows only.
    """
    arena = {b.name for b in program.buffers if b.place == "arena"}
    out: dict[str, tuple[int, int]] = {}
    for i, s in enumerate(program.steps):
        reads, writes = touched(s, roots)
        for b in (reads | writes) & arena:
            out[b] = (out.get(b, (i, i))[0], i)
    for block in program.blocks:
        for b, (start, end) in out.items():
            if start <= block.last and end >= block.first and not block.first <= start <= end <= block.last:
                out[b] = min(start, block.first), max(end, block.last)
    return out


def handed_on(program: Program, roots: dict[str, str]
              ) -> dict[RowBlock, tuple[tuple[str, ...], tuple[str, ...]]]:
    """For each block of rows the storage that one of its steps writes and a later one reads; and what of the arena no
    step outside of it touches."""
    if not program.blocks:
        return {}
    touches = [touched(s, roots) for s in program.steps]
    last = {b: i for i, (r, w) in enumerate(touches) for b in r | w}
    first = {b: i for i, (r, w) in reversed([*enumerate(touches)]) for b in r | w}
    arena = {b.name for b in program.buffers if b.place == "arena"}
    out = {}
    for block in program.blocks:
        written: dict[str, None] = {}
        handed: dict[str, None] = {}
        for reads, writes in touches[block.first:block.last + 1]:
            handed.update(dict.fromkeys(sorted(reads & written.keys())))
            written.update(dict.fromkeys(sorted(writes)))
        out[block] = tuple(handed), tuple(b for b in written if b in arena and block.first <= first[b]
                                          and last[b] <= block.last)
    return out


def may_overwrite(step: Step, read: str, written: str, roots: dict[str, str]) -> bool:
    """Whether `step` reads storage `read` only at the index where it writes `written`, and never afterwards."""
    k = step.kernel
    ins = {p.name for p, b in zip(k.params, step.buffers) if p.role != "out" and roots[b] == read}
    outs = {p.name for p, b in zip(k.params, step.buffers) if p.role == "out" and roots[b] == written}
    if not ins:
        return True
    if len(outs) != 1 or k.schedule is None or (k.schedule.tiled and ins & _tile_operands(k)):
        return False
    stores = [s.index for s in walk(k.body) if isinstance(s, Store) and s.buffer in outs]
    reads = [e.index for s in walk(k.body) if isinstance(s, (Let, Update, Store))
             for e in expressions(s.expr) if isinstance(e, Load) and e.buffer in ins]
    if len(set(map(str, stores))) != 1 or any(d != stores[0] for d in reads):
        return False
    return _reads_before_store(k.body, ins, next(iter(outs))) and _stored_once(k.body, next(iter(outs)))


def _tile_operands(k: Kernel) -> set[str]:
    """The two matrices of a contraction: read many times, so never overwritten."""
    for s in walk(k.body):
        if isinstance(s, Loop) and (parts := contraction_operands(s)):
            return parts[0].buffers() | parts[1].buffers()
    return set()


def _reads_before_store(body: tuple[Stmt, ...], ins: set[str], out: str) -> bool:
    """No statement after the loop that stores `out` reads `ins` (stages of a row kernel run one after another)."""
    stored = False
    for s in walk(body):
        if stored and isinstance(s, (Let, Update)) and any(
                isinstance(e, Load) and e.buffer in ins for e in expressions(s.expr)):
            return False
        stored = stored or (isinstance(s, Store) and s.buffer == out)
    return True


def _stored_once(body: tuple[Stmt, ...], out: str, again: frozenset[str] = frozenset()) -> bool:
    """Whether no loop comes back to an element of `out` that it stored: its next trip would read what is new there.

    again: the axes of the loops around `body` that have several trips.
    """
    for s in body:
        if isinstance(s, Store) and s.buffer == out and again - symbols(s.index):
            return False
        if isinstance(s, Loop) and not _stored_once(s.body, out, again if s.extent == 1 else again | {s.axis}):
            return False
    return True


@dataclass(frozen=True, slots=True)
class Operand:
    """One side of a contraction: a plain load, or an expression over lets (a prologue) that packing evaluates."""
    expr: Expr
    lets: tuple[Let, ...]

    @property
    def load(self) -> Load | None:
        """The load that this side is, None if there is more to compute."""
        return self.expr if isinstance(self.expr, Load) else None

    def indices(self) -> list[Dim]:
        """Every index polynomial that it evaluates."""
        exprs = [self.expr, *(let.expr for let in self.lets)]
        return [x.index for e in exprs for x in expressions(e) if isinstance(x, (Load, Index))]

    def buffers(self) -> set[str]:
        exprs = [self.expr, *(let.expr for let in self.lets)]
        return {x.buffer for e in exprs for x in expressions(e) if isinstance(x, Load)}


@dataclass(frozen=True, slots=True)
class Edge:
    """An axis along which a padded operand is read: the index along it, which may lie beyond either end, its last
    place, and elements from one place to the next."""
    at: Dim
    last: Dim
    stride: Dim


@dataclass(frozen=True, slots=True)
class Padded:
    """An operand that is read where it is, and 0 around it.

    load: as if it went on around; first: the index where all loops and places along edges are 0.
    """
    load: Load
    edges: tuple[Edge, ...]
    first: Dim


def padded(side: Operand) -> Padded | None:
    """What `select(and(eq(place, near), …), x[… near …], 0)` reads, with each `near` its `place` as far as there are
    elements (so do windows with padding read theirs); None for all else."""
    named = {let.name: let.expr for let in side.lets}

    def known(e: Expr) -> Expr:
        while isinstance(e, Ref) and e.name in named:
            e = named[e.name]
        return e
    top = known(side.expr)
    if not isinstance(top, Call) or top.fn != "select" or known(top.args[2]) != Lit(0.0, top.dtype):
        return None
    load, tests, edges = known(top.args[1]), [known(top.args[0])], list[Edge]()
    if not isinstance(load, Load):
        return None
    first, whole = load.index, load.index
    while tests:
        test = tests.pop(0)
        if isinstance(test, Call) and test.fn == "and":
            tests[:0] = map(known, test.args)
            continue
        found = _near(test, known) if isinstance(test, Call) and test.fn == "eq" else None
        if found is None or found[0] not in symbols(load.index):
            return None
        near, at, last = found
        try:
            edges.append(Edge(at, last, coefficient(load.index, near)))
        except ValueError:
            return None
        first, whole = substitute(first, {near: 0}), substitute(whole, {near: at})
    if symbols(whole) & named.keys():                    # other places that are data
        return None
    return Padded(Load(load.buffer, whole, load.dtype), tuple(edges), first)


def _near(test: Call, known: Callable[[Expr], Expr]) -> tuple[str, Dim, Dim] | None:
    """Of `eq(place, near)`: the name of near, the place's index and the last one."""
    place, near = test.args[0], known(test.args[1])
    at = known(place)
    if not isinstance(test.args[1], Ref) or not isinstance(at, Index) or not isinstance(near, Call) or (
            near.fn != "max" or near.args[1] != Lit(0, near.dtype)):
        return None
    lower = known(near.args[0])
    if not isinstance(lower, Call) or lower.fn != "min" or known(lower.args[0]) != at:
        return None
    last = known(lower.args[1])
    return (test.args[1].name, at.index, last.index) if isinstance(last, Index) else None


def contracted_loops(inner: Loop) -> list[Loop]:
    """The loops of a contraction inside its innermost loop of results: outermost first, [] if there is none."""
    out = [s for s in inner.body if isinstance(s, Loop)][:1]
    while out and len(out[-1].body) == 1 and isinstance(out[-1].body[0], Loop):
        out.append(out[-1].body[0])
    return out


def contraction_operands(loop: Loop) -> tuple[Operand, Operand] | None:
    """Both sides of `acc <- mul(a, b)`, if that is all that the loop over the contracted axis does."""
    named = {s.name: s for s in loop.body if isinstance(s, Let)}
    updates = [s for s in loop.body if not isinstance(s, Let)]
    if len(updates) != 1 or not isinstance(updates[0], Update):
        return None
    e = updates[0].expr
    if not isinstance(e, Call) or e.fn != "mul":
        return None
    a, b = (_operand(x, named) for x in e.args)
    return a, b


def _operand(e: Expr, named: dict[str, Let]) -> Operand:
    """A side with the lets that it uses, in order; a let that is only a load is the load itself."""
    if isinstance(e, Ref) and e.name in named and isinstance(named[e.name].expr, Load):
        return Operand(named[e.name].expr, ())
    want: set[str] = set()
    stack = [e]
    while stack:
        for x in expressions(stack.pop()):
            names = {x.name} if isinstance(x, Ref) else symbols(x.index) if isinstance(x, (Load, Index)) else set()
            for name in names & named.keys() - want:
                want.add(name)
                stack.append(named[name].expr)
    return Operand(e, tuple(let for name, let in named.items() if name in want))


__all__ = ["Edge", "Operand", "Padded", "contracted_loops", "contraction_operands", "lifetimes", "may_overwrite",
           "handed_on", "padded", "root_of", "touched"]
