"""Reductions over rows, printed so that memory is read in the order in which it lies.

In: the printer of a kernel and its loop over columns, whose body holds loops over rows.  Out: source lines.  What
always holds: a column's values are combined in the order of their rows, so results have the same bits for any width
of a group, any block of rows and any number of threads.

Columns are taken in groups.  A part of the body (a loop over rows, or what stands between two) runs for all columns of
a group before the next part does; what later parts read waits in stack buffers `NAME_g`.  A loop over rows takes a
few rows at a time, and all columns of these before the next rows: its sums rest in their buffers meanwhile.
"""
from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Callable, Sequence

from graphk.codegen.emit import short
from graphk.ir.dims import product, symbols
from graphk.ir.loop import Acc, Index, Let, Load, Loop, Ref, Stmt, Store, Update, expressions, loads, walk

if TYPE_CHECKING:
    from graphk.codegen.cpu import Printer

# Elements of a block of rows.  What comes from memory is read fastest row by row (narrow groups: a few at once, so that
# sums stay in registers); what stays in a cache costs fewer instructions in larger blocks.
STREAM_BLOCK, CACHED_BLOCK, CACHED = 128, 8192, 65536


def used(stmts: Sequence[Stmt]) -> set[str]:
    """Lets and accumulators (and loop axes) that statements read or update."""
    out: set[str] = set()
    for s in walk(tuple(stmts)):
        if isinstance(s, Loop):
            out |= symbols(s.extent)
            continue
        if isinstance(s, (Update, Store)):
            out |= {s.name} if isinstance(s, Update) else symbols(s.index)
        if isinstance(s, (Let, Update, Store)):
            for e in expressions(s.expr):
                if isinstance(e, Ref):
                    out.add(e.name)
                elif isinstance(e, (Load, Index)):
                    out |= symbols(e.index)
    return out


def _stores(s: Stmt) -> bool:
    return any(isinstance(x, Store) for x in walk((s,)))


def parts(body: tuple[Stmt, ...]) -> list[tuple[Stmt, ...]]:
    """The body as parts, each a loop or what stands between two; a let waits for the first part that needs it.

    No let waits behind a loop that stores (it may overwrite what the let loads) or goes on with an older sum.
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
        keep_all = _stores(s) or any(isinstance(x, Update) and x.name not in fresh for x in walk((s,)))
        now = tuple(x for x in waiting if keep_all or (isinstance(x, (Let, Acc)) and x.name in wanted))
        waiting = [x for x in waiting if x not in now]
        out += [now, (s,)]
    return [p for p in (*out, tuple(waiting)) if p]


class Columns:
    """Prints one loop over columns."""

    def __init__(self, printer: Printer, loop: Loop):
        self.printer, self.axis = printer, loop.axis
        self.parts = parts(loop.body)
        self.made: dict[str, Let | Acc] = {}           # names that differ between columns, and what makes them
        printer.active, printer.vectors = True, set()
        for s in loop.body:
            if isinstance(s, Acc) or (isinstance(s, Let) and printer.is_vector(s.expr)):
                self.made[s.name] = s
                printer.vectors.add(s.name)
        printer.active, printer.vectors = False, set()
        reads = [used(p) & set(self.made) for p in self.parts]
        own = [{s.name for s in p if isinstance(s, (Let, Acc))} for p in self.parts]
        self.fetched = [[n for n in self.made if n in r - o] for r, o in zip(reads, own)]
        first = next((i for i, p in enumerate(self.parts) if isinstance(p[0], Loop) and _stores(p[0])), len(self.parts))
        self.again = [{n for n in names if i < first and self._is_load(n)} for i, names in enumerate(self.fetched)]
        kept = {n for names, again in zip(self.fetched, self.again) for n in names if n not in again}
        self.kept = [n for n in self.made if n in kept]

    def _is_load(self, name: str) -> bool:
        s = self.made[name]
        return isinstance(s, Let) and isinstance(s.expr, Load) and not symbols(s.expr.index) & set(self.made)

    def print(self, lo: str, hi: str) -> None:
        lines, a = self.printer.lines, self.axis
        for name in self.kept:
            lines.add(f"{name}_g = group_{self._short(name)}()")
        lines.add(f"{a}_0 = {lo}")
        lines.add(f"while {a}_0 < {hi}:")
        lines.depth += 1
        lines.add(f"{a}_1 = s_min({a}_0 + GROUP, {hi})")
        lines.add(f"wide_ = {a}_1 - {a}_0")
        lines.add(f"few_ = s_max({STREAM_BLOCK} // wide_, 1)")
        lines.add(f"many_ = s_max({CACHED_BLOCK} // wide_, 1)")
        for i, part in enumerate(self.parts):
            if isinstance(part[0], Loop):
                self.rows(i, part[0])
            else:
                made = [s.name for s in part if isinstance(s, (Let, Acc)) and s.name in self.kept]
                here = used(part) | set(made)
                seen = tuple(s for s in part if not isinstance(s, (Let, Acc)) or s.name in here)
                self.lanes(i, partial(self.printer.statements, seen), made)
        lines.add(f"{a}_0 = {a}_1")
        lines.depth -= 1

    def _short(self, name: str) -> str:
        s = self.made[name]
        return short(s.dtype if isinstance(s, Acc) else s.expr.dtype)

    def rows(self, i: int, loop: Loop) -> None:
        """A block of rows after another; where loops stand in one another, the innermost is cut."""
        printer, lines = self.printer, self.printer.lines
        nest = [loop]
        while len(nest[-1].body) == 1 and isinstance(nest[-1].body[0], Loop):
            nest.append(nest[-1].body[0])
        depth, r = lines.depth, nest[-1].axis
        for x in nest[:-1]:
            lines.add(f"for {x.axis} in range(0, {printer.dim(x.extent)}):")
            lines.depth += 1
        extent = printer.dim(nest[-1].extent)
        lines.add(f"{r}_0 = 0")
        lines.add(f"while {r}_0 < {extent}:")
        lines.depth += 1
        buffers = {e.buffer for s in walk(loop.body) for e in loads(s) if symbols(e.index) & {x.axis for x in nest}}
        many = "many_" if len(buffers) < 2 else f"s_max(many_ // {len(buffers)}, 1)"
        few = f"few_ if ({printer.dim(product([x.extent for x in nest]))})*wide_ > {CACHED} else {many}"
        lines.add(f"{r}_1 = s_min({r}_0 + ({few}), {extent})")

        def block() -> None:
            lines.add(f"for {r} in range({r}_0, {r}_1):")
            printer.block(nest[-1].body)
        changed = {s.name for s in walk(loop.body) if isinstance(s, Update)}
        self.lanes(i, block, [n for n in self.kept if n in changed])
        lines.add(f"{r}_0 = {r}_1")
        lines.depth = depth

    def lanes(self, i: int, body: Callable[[], None], made: list[str]) -> None:
        """Part `i` for all columns of the group: V at a time, then one; what it reads comes and what it makes goes."""
        printer, lines, a = self.printer, self.printer.lines, self.axis
        lines.add(f"{a} = {a}_0")
        for active, head, step in ((True, f"while {a} + V <= {a}_1:", "V"), (False, f"while {a} < {a}_1:", "1")):
            lines.add(head)
            lines.depth += 1
            printer.active, printer.vectors = active, set(self.made) if active else set()
            for name in self.fetched[i]:
                self._fetch(name, name in self.again[i])
            body()
            for name in made:
                at = f"{a} - {a}_0"
                lines.add(f"vstore({name}_g, {at}, {name}_v)" if active else f"{name}_g[{at}] = {name}")
            lines.add(f"{a} += {step}")
            lines.depth -= 1
        printer.active, printer.vectors = False, set()

    def _fetch(self, name: str, again: bool) -> None:
        printer, at = self.printer, f"{self.axis} - {self.axis}_0"
        if again:
            printer.statement(self.made[name])
        elif printer.active:
            printer.lines.add(f"{name}_v = vload({name}_g, {at})")
        else:
            printer.lines.add(f"{name} = {name}_g[{at}]")


__all__ = ["Columns"]
