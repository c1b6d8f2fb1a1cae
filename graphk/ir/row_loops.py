"""Loops whose threads need not wait for each other: each computes rows of its own, all trips long.

In: a `LoopStep`, the buffers it speaks of, and the dim that counts rows (a batch).  Out: why rows of one thread may not
be computed without those of others, or nothing.  What always holds: where there is nothing, a kernel of the body called
with fewer rows, on buffers that begin that many rows further on, computes exactly those rows.
"""
from __future__ import annotations

from typing import Iterator, Mapping

from graphk.ir.dims import Dim, divide_exact, substitute, sym, symbols
from graphk.ir.loop import Index, Kernel, Let, Load, Loop, Stmt, Store, Update, coefficient, expressions, walk
from graphk.ir.program import Buffer, LoopStep, Step
from graphk.ir.types import ITEMSIZE


def row_dim(loop: LoopStep, buffers: Mapping[str, Buffer], roots: Mapping[str, str]) -> Dim:
    """The dim whose rows threads may share for a whole loop; 0 if there is none."""
    names = sorted({str(b.type.shape[0]) for b in _buffers(loop, buffers) if b.type.shape
                    and symbols(b.type.shape[0]) == {str(b.type.shape[0])}})
    return next((sym(n) for n in names if not misfit(loop, sym(n), buffers, roots)), 0)


def row_bytes(b: Buffer, rows: Dim) -> Dim:
    """Bytes between two rows of a buffer; 0 if it has none."""
    return divide_exact(b.nbytes, rows) or 0 if symbols(rows) & symbols(b.nbytes) else 0


def misfit(loop: LoopStep, rows: Dim, buffers: Mapping[str, Buffer], roots: Mapping[str, str]) -> str:
    """Why the rows of a loop's trips depend on each other, or are not laid out one after another; "" if neither."""
    if symbols(rows) != {str(rows)}:
        return f"`{rows}` is no dim of the program"
    if symbols(rows) & symbols(loop.length):
        return f"its length depends on {rows}"
    each: dict[str, Dim] = {}
    for b in _buffers(loop, buffers):
        size = row_bytes(b, rows)
        if bool(symbols(rows) & symbols(b.nbytes)) != (size != 0) or symbols(rows) & symbols(size):
            return f"`{b.name}` of {b.type} is not made of {rows} rows"
        if each.setdefault(roots[b.name], size) != size:
            return f"`{b.name}` has other rows than what shares its storage"
    for s in loop.body:
        if isinstance(s, LoopStep):
            return "it holds another loop"
        sizes = {p.name: each[roots[b]] for p, b in zip(s.kernel.params, s.buffers)}
        for reason in _dependences(s, str(rows), sizes):
            return f"`{s.kernel.label}` {reason}"
    return ""


def _buffers(loop: LoopStep, buffers: Mapping[str, Buffer]) -> list[Buffer]:
    names = dict.fromkeys([*(w for w, _, _ in loop.windows),
                           *(b for s in loop.body if isinstance(s, Step) for b in s.buffers)])
    return [buffers[n] for n in names]


def _dependences(s: Step, rows: str, each: Mapping[str, Dim]) -> Iterator[str]:
    """What a kernel does beyond reading and writing rows of its own; `each`: bytes of a row, by parameter."""
    kernel, env = s.kernel, dict(zip(s.kernel.sizes, s.sizes))
    counting = {name for name, d in env.items() if rows in symbols(d)}
    for p in kernel.params:
        if p.role == "temp":
            yield "combines partial results"
        elif p.role == "out" and each[p.name] == 0:
            yield f"writes `{p.name}`, which has no rows"
    for stmt in kernel.body:
        if not isinstance(stmt, (Let, Loop)):
            yield "writes or adds up outside a loop over rows"
        elif isinstance(stmt, Let):
            if any(each[e.buffer] != 0 for e in expressions(stmt.expr) if isinstance(e, Load)):
                yield "reads a certain row"
        else:
            per_row = divide_exact(substitute(stmt.extent, env), sym(rows))
            if per_row is None or rows in symbols(per_row):
                yield f"has a loop `{stmt.axis}` that is not over rows"
            else:
                yield from _other_rows(kernel, stmt, counting, each, per_row, env)


def _other_rows(kernel: Kernel, loop: Loop, counting: set[str], each: Mapping[str, Dim], per_row: Dim,
                env: Mapping[str, Dim]) -> Iterator[str]:
    """Accesses inside a loop over rows, of `per_row` trips each, that leave the row."""
    dtypes = {p.name: p.dtype for p in kernel.params}
    for stmt in walk(loop.body):
        if isinstance(stmt, Loop) and counting & symbols(stmt.extent):
            yield f"has a loop `{stmt.axis}` over rows inside another"
        for buffer, index in _places(stmt):
            if counting & symbols(index):
                yield f"reaches further the more rows there are: [{index}]"
            elif not buffer or each[buffer] == 0:
                if loop.axis in symbols(index):
                    yield f"does not treat all rows alike: [{index}]"
            else:
                try:
                    stride = substitute(coefficient(index, loop.axis), env)
                except ValueError:
                    stride = 0
                if stride * per_row * ITEMSIZE[dtypes[buffer]] != each[buffer]:
                    yield f"leaves its row: {buffer}[{index}]"


def _places(stmt: Stmt) -> Iterator[tuple[str, Dim]]:
    """Each place that a statement reads or writes, and ("") each index that it computes with."""
    if isinstance(stmt, Store):
        yield stmt.buffer, stmt.index
    if isinstance(stmt, (Let, Store, Update)):
        for e in expressions(stmt.expr):
            if isinstance(e, Load):
                yield e.buffer, e.index
            elif isinstance(e, Index):
                yield "", e.index


__all__ = ["misfit", "row_bytes", "row_dim"]
