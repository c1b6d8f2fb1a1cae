"""A loop over columns as parts that can run one after another, each for many columns.

In: the body of a loop over columns.  Out: its loops over rows, and what stands between them.  What always holds: parts
in order, each for all columns, compute what the body computes column by column.
"""
from __future__ import annotations

from typing import Sequence

from graphk.ir.dims import symbols
from graphk.ir.loop import Acc, Index, Let, Load, Loop, Ref, Stmt, Store, Update, expressions, walk


def used(stmts: Sequence[Stmt]) -> set[str]:
    """All that statements read, update or store to: lets, accumulators, buffers, loop axes, sizes."""
    out: set[str] = set()
    for s in walk(tuple(stmts)):
        if isinstance(s, Loop):
            out |= symbols(s.extent)
            continue
        if isinstance(s, (Update, Store)):
            out |= {s.name} if isinstance(s, Update) else {s.buffer} | symbols(s.index)
        if isinstance(s, (Let, Update, Store)):
            for e in expressions(s.expr):
                if isinstance(e, Ref):
                    out.add(e.name)
                elif isinstance(e, (Load, Index)):
                    out |= symbols(e.index) | ({e.buffer} if isinstance(e, Load) else set())
    return out


def stores(s: Stmt) -> bool:
    """Whether a statement stores, or one inside it."""
    return any(isinstance(x, Store) for x in walk((s,)))


def parts(body: tuple[Stmt, ...]) -> list[tuple[Stmt, ...]]:
    """The body as parts, each a loop or what stands between two; a let waits for the first part that needs it.

    A loop that stores never writes over what a let of a whole column loads (`effects.may_overwrite`), so lets may wait
    behind it; none waits behind a loop that goes on with an older sum, which the let may read.
    """
    out: list[tuple[Stmt, ...]] = []
    waiting: list[Stmt] = []
    for s in body:
        if not isinstance(s, Loop):
            waiting.append(s)
            continue
        wanted = used((s,))
        for x in reversed(waiting):
            if isinstance(x, (Let, Acc)) and x.name in wanted:
                wanted |= used((x,))
        fresh = {x.name for x in waiting if isinstance(x, Acc)}
        keep_all = any(isinstance(x, Update) and x.name not in fresh for x in walk((s,)))
        now = tuple(x for x in waiting if keep_all or (isinstance(x, (Let, Acc)) and x.name in wanted))
        waiting = [x for x in waiting if x not in now]
        out += [now, (s,)]
    return [p for p in (*out, tuple(waiting)) if p]


class Flow:
    """What the parts of a body hand on to later ones."""

    def __init__(self, split: Sequence[tuple[Stmt, ...]], made: Sequence[Let | Acc]):
        self.made = {s.name: s for s in made}          # the values in question
        reads = [used(p) & set(self.made) for p in split]
        own = [{s.name for s in p if isinstance(s, (Let, Acc))} for p in split]
        self.fetched = [[n for n in self.made if n in r - o] for r, o in zip(reads, own)]
        # What is loaded once more instead of handed on: columns' own results are stored last of all.
        self.again = [{n for n in names if self._is_load(n)} for names in self.fetched]
        kept = {n for names, again in zip(self.fetched, self.again) for n in names if n not in again}
        self.kept = [n for n in self.made if n in kept]

    def _is_load(self, name: str) -> bool:
        s = self.made[name]
        return isinstance(s, Let) and isinstance(s.expr, Load) and not symbols(s.expr.index) & set(self.made)

    def dtype(self, name: str) -> str:
        s = self.made[name]
        return s.dtype if isinstance(s, Acc) else s.expr.dtype

    def needed(self, part: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        """A part without the lets that nobody takes from it."""
        here = used(part) | set(self.kept)
        return tuple(s for s in part if not isinstance(s, (Let, Acc)) or s.name not in self.made or s.name in here)


__all__ = ["Flow", "parts", "stores", "used"]
