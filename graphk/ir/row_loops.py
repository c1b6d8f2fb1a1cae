"""Steps that may run for a few rows before they run for others: loops and blocks whose threads need not wait.

In: a `LoopStep` or a run of steps, the buffers they speak of, and the dim that counts rows (a batch).  Out: why some
rows may not be computed without others, or nothing.  What always holds: where there is nothing, a kernel of these
steps called with fewer rows, on buffers that begin that many rows further on, computes exactly those rows.
"""
from __future__ import annotations

from functools import lru_cache
from typing import Iterator, Mapping, Sequence

from graphk.ir.dims import Dim, DimExpr, SymDim, dim_max, divide_exact, floordiv, substitute, sym, symbols
from graphk.ir.loop import Index, Kernel, Let, Load, Loop, Stmt, Store, Update, coefficient, expressions, walk, without
from graphk.ir.program import AnyStep, Buffer, LoopStep, Step, flat_steps
from graphk.ir.types import ITEMSIZE


def row_dim(loop: LoopStep, buffers: Mapping[str, Buffer], roots: Mapping[str, str]) -> Dim:
    """The dim whose rows threads may share for a whole loop; 0 if there is none."""
    names = sorted({str(b.type.shape[0]) for b in (buffers[n] for n in names_in((loop,))) if b.type.shape
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
    kernels = [s for s in loop.body if isinstance(s, Step)]
    return ("it holds another loop" if len(kernels) < len(loop.body) else
            _misfit(names_in((loop,)), kernels, rows, buffers, roots))


def block_misfit(steps: Sequence[AnyStep], rows: Dim, buffers: Mapping[str, Buffer], roots: Mapping[str, str]) -> str:
    """The same of a run of steps."""
    kernels = [s for s in steps if isinstance(s, Step)]
    return "it holds a loop" if len(kernels) < len(steps) else _misfit(names_in(steps), kernels, rows, buffers, roots)


def _misfit(names: Sequence[str], kernels: Sequence[Step], rows: Dim, buffers: Mapping[str, Buffer],
            roots: Mapping[str, str]) -> str:
    """Why not all of these buffers are made of rows, or what `kernels` do beyond rows of their own."""
    each: dict[str, Dim] = {}
    for b in (buffers[n] for n in names):
        size = row_bytes(b, rows)
        if bool(symbols(rows) & symbols(b.nbytes)) != (size != 0) or symbols(rows) & symbols(size):
            return f"`{b.name}` of {b.type} is not made of {rows} rows"
        if each.setdefault(roots[b.name], size) != size:
            return f"`{b.name}` has other rows than what shares its storage"
    for s in kernels:
        if reason := _reason(s.kernel, s.sizes, tuple(each[roots[b]] for b in s.buffers), str(rows)):
            return f"`{s.kernel.label}` {reason}"
    return ""


def names_in(steps: Sequence[AnyStep]) -> list[str]:
    """The buffers that steps touch, windows too."""
    windows = [w for s in steps if isinstance(s, LoopStep) for w, _, _ in s.windows]
    return [*dict.fromkeys([*windows, *(b for s in flat_steps(tuple(steps)) for b in s.buffers)])]


@lru_cache(maxsize=2048)                             # networks repeat layers, and the verifier asks again
def _reason(kernel: Kernel, sizes: tuple[Dim, ...], each: tuple[Dim, ...], rows: str) -> str:
    """The first thing that a kernel does beyond rows of its own; `each`: bytes of a row, by parameter."""
    return next(_dependences(kernel, dict(zip(kernel.sizes, sizes)), rows,
                             dict(zip((p.name for p in kernel.params), each))), "")


def _dependences(kernel: Kernel, env: Mapping[str, Dim], rows: str, each: Mapping[str, Dim]) -> Iterator[str]:
    if kernel.called:
        yield "is a library's call"
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
            if any(counting & symbols(index) for _, index in _places(stmt)):
                yield "computes with the number of rows"
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
                continue
            want = each[buffer] if buffer else 0
            if _row_stride(substitute(index, env), loop.axis, per_row) * ITEMSIZE[dtypes.get(buffer, "bool")] != want:
                yield (f"leaves its row: {buffer}[{index}]" if want != 0 else
                       f"does not treat all rows alike: [{index}]")


def _row_stride(index: Dim, axis: str, per_row: Dim) -> Dim:
    """How much further `index` is a row later, where `axis` has `per_row` trips for each row; -1 if that varies."""
    if axis not in symbols(index):
        return 0
    try:
        return coefficient(_by_row(index, axis, per_row), "row'")
    except ValueError:
        return -1


def _by_row(index: Dim, axis: str, per_row: Dim) -> Dim:
    """`index` in terms of the row and the place in it: `axis = row' * per_row + place'`, `0 <= place' < per_row`."""
    if not isinstance(index, DimExpr):
        return index
    out: Dim = 0
    for mono, c in index.terms:
        value: Dim = c
        for a in mono:
            if isinstance(a, SymDim):
                value = value * (sym("row'") * per_row + sym("place'") if a.name == axis else sym(a.name))
                continue
            x, y = _by_row(a.a, axis, per_row), _by_row(a.b, axis, per_row)
            value = value * (_quotient(x, y, per_row) if a.op == "floordiv" else dim_max(x, y))
        out = out + value
    return out


def _quotient(x: Dim, y: Dim, per_row: Dim) -> Dim:
    """`x // y`, whole rows apart."""
    try:
        rows = divide_exact(coefficient(x, "row'"), y)
    except ValueError:
        rows = None
    if rows is None:
        return floordiv(x, y)
    rest = without(x, "row'")
    return sym("row'") * rows + (0 if rest == sym("place'") and y == per_row else floordiv(rest, y))


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


__all__ = ["block_misfit", "misfit", "names_in", "row_bytes", "row_dim"]
