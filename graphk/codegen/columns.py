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
from typing import TYPE_CHECKING, Callable

from graphk.codegen.emit import short
from graphk.ir.column_parts import Flow, parts
from graphk.ir.dims import symbols
from graphk.ir.loop import Acc, Let, Loop, Store, Update, loads, walk

if TYPE_CHECKING:
    from graphk.codegen.cpu import Printer

# Elements of a block of rows.  What comes from memory is read fastest row by row (narrow groups: a few at once, so that
# sums stay in registers); what stays in a cache costs fewer instructions in larger blocks.
STREAM_BLOCK, CACHED_BLOCK, CACHED = 128, 8192, 65536


class Columns:
    """Prints one loop over columns."""

    def __init__(self, printer: Printer, loop: Loop):
        self.printer, self.axis = printer, loop.axis
        self.parts = parts(loop.body)
        printer.active, printer.vectors = True, set()
        made: list[Let | Acc] = []                     # what differs between columns
        for s in loop.body:
            if isinstance(s, Acc) or (isinstance(s, Let) and printer.is_vector(s.expr)):
                made.append(s)
                printer.vectors.add(s.name)
        printer.active, printer.vectors = False, set()
        self.flow = Flow(self.parts, made)
        self.times = [x.extent for x in walk(printer.kernel.body) if isinstance(x, Loop) and x is not loop
                      and any(y is loop for y in walk(x.body))]

    def print(self, lo: str, hi: str) -> None:
        lines, a = self.printer.lines, self.axis
        for name in self.flow.kept:
            lines.add(f"{name}_g = group_{short(self.flow.dtype(name))}()")
        lines.add(f"{a}_0 = {lo}")
        lines.add(f"while {a}_0 < {hi}:")
        lines.depth += 1
        lines.add(f"{a}_1 = s_min({a}_0 + GROUP, {hi})")
        lines.add(f"wide_ = {a}_1 - {a}_0")
        lines.add(f"few_ = s_max(s_floordiv({STREAM_BLOCK}, wide_), 1)")
        lines.add(f"many_ = s_max(s_floordiv({CACHED_BLOCK}, wide_), 1)")
        for i, part in enumerate(self.parts):
            if isinstance(part[0], Loop):
                self.rows(i, part[0])
            else:
                made = [s.name for s in part if isinstance(s, (Let, Acc)) and s.name in self.flow.kept]
                self.lanes(i, partial(self.printer.statements, self.flow.needed(part)), made)
        lines.add(f"{a}_0 = {a}_1")
        lines.depth -= 1

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
        lines.add(f"{r}_0 = 0")
        lines.add(f"{r}_n = {printer.dim(nest[-1].extent)}")
        buffers = {e.buffer for s in walk(loop.body) for e in loads(s) if symbols(e.index) & {x.axis for x in nest}}
        many = "many_" if len(buffers) < 2 else f"s_max(s_floordiv(many_, {len(buffers)}), 1)"
        times = [f"({printer.dim(d)})" for d in (*self.times, *(x.extent for x in nest[:-1]))]
        lines.add(f"block_ = s_select(s_gt({'*'.join([*times, f'{r}_n', 'wide_'])}, {CACHED}), few_, {many})")
        lines.add(f"while {r}_0 < {r}_n:")
        lines.depth += 1
        lines.add(f"{r}_1 = s_min({r}_0 + block_, {r}_n)")

        def block() -> None:
            lines.add(f"for {r} in range({r}_0, {r}_1):")
            lines.depth += 1
            self._inside(nest[-1])
            lines.depth -= 1
        changed = {s.name for s in walk(loop.body) if isinstance(s, Update)}
        self.lanes(i, block, [n for n in self.flow.kept if n in changed])
        lines.add(f"{r}_0 = {r}_1")
        lines.depth = depth

    def _inside(self, loop: Loop) -> None:
        """The body of the innermost loop over rows; a place that several accesses share is computed once."""
        printer = self.printer
        places = [e.index for s in loop.body for e in loads(s)] + [s.index for s in loop.body if isinstance(s, Store)]
        named = {s.name for s in walk(printer.kernel.body) if isinstance(s, Let)}         # perhaps vectors
        for d in dict.fromkeys(d for d in places if places.count(d) > 1 and not symbols(d) & named):
            text = printer.dim(d)
            printer.places[d] = f"at{len(printer.places)}_"
            printer.lines.add(f"{printer.places[d]} = {text}")
        printer.statements(loop.body)
        printer.places = {}

    def lanes(self, i: int, body: Callable[[], None], made: list[str]) -> None:
        """Part `i` for all columns of the group: V at a time, then one; what it reads comes and what it makes goes."""
        printer, lines, a = self.printer, self.printer.lines, self.axis
        lines.add(f"{a} = {a}_0")
        for active, head, step in ((True, f"while {a} + V <= {a}_1:", "V"), (False, f"while {a} < {a}_1:", "1")):
            lines.add(head)
            lines.depth += 1
            if self.flow.kept:
                lines.add(f"own_ = {a} - {a}_0")
            printer.active, printer.vectors = active, set(self.flow.made) if active else set()
            for name in self.flow.fetched[i]:
                self._fetch(name, name in self.flow.again[i])
            body()
            for name in made:
                lines.add(f"vstore({name}_g, own_, {name}_v)" if active else f"{name}_g[own_] = {name}")
            lines.add(f"{a} += {step}")
            lines.depth -= 1
        printer.active, printer.vectors = False, set()

    def _fetch(self, name: str, again: bool) -> None:
        printer = self.printer
        if again:
            printer.statement(self.flow.made[name])
        elif printer.active:
            printer.lines.add(f"{name}_v = vload({name}_g, own_)")
        else:
            printer.lines.add(f"{name} = {name}_g[own_]")


__all__ = ["Columns"]
