"""Schedule: how each kernel's loops become parallel and vector code.

In: a Program from `lower`.  Out: the same with a `Schedule` on each kernel, full reductions (and those over many rows)
split into fixed chunks.  What always holds: the choice depends on the kernel and its sizes alone, never on the number
of threads, so results have the same bits for any.
"""
from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Mapping

from graphk.ir.dims import Dim, DimExpr, dim_max, floordiv, substitute, sym, symbols
from graphk.ir.effects import Operand, contracted_loops, contraction_operands, padded, root_of
from graphk.ir.loop import (Acc, Kernel, Let, Load, Loop, Param, Ref, Schedule, Stmt, Store, Update,
                            coefficient, loads, walk)
from graphk.ir.program import AnyStep, LoopStep, Program, Step
from graphk.ir.row_loops import row_dim
from graphk.passes.kernels import map_dims, rename_names
from graphk.passes.row_chunks import in_row_chunks
from graphk.passes.winograd import in_winograds_way

MANY, SEVERAL = 1024, 16          # steps of a contraction in all, or for each of a batch
CHUNK, CHUNK_ROWS = 16384, 64     # elements, or rows, that one partial result of a full reduction covers


def schedule(program: Program) -> Program:
    """`program` with scheduled kernels."""
    buffers, roots = {b.name: b for b in program.buffers}, root_of(program)

    def step(s: AnyStep) -> AnyStep:
        if not isinstance(s, LoopStep):
            return _scheduled(s)
        s = replace(s, body=tuple(map(step, s.body)))
        return replace(s, rows=row_dim(s, buffers, roots))
    return replace(program, steps=tuple(map(step, program.steps)))


def _scheduled(s: Step) -> Step:
    if s.kernel.called:
        return s
    kernel = schedule_kernel(s.kernel)
    sizes = dict(zip(kernel.sizes, s.sizes))
    for change in (in_winograds_way, in_blocks, in_row_chunks):
        kernel = change(kernel, sizes)
    return replace(s, kernel=kernel)


@lru_cache(maxsize=1024)
def schedule_kernel(kernel: Kernel) -> Kernel:
    """One kernel with its schedule."""
    loops = [s for s in kernel.body if isinstance(s, Loop)]
    if not loops:
        return replace(kernel, schedule=Schedule("serial"))
    if any(isinstance(s, Acc) for s in kernel.body):
        kernel = split_reduction(kernel)
        first = next(s for s in kernel.body if isinstance(s, Loop))
        return replace(kernel, schedule=Schedule("chunks", (first.axis, _vector_axis(first.body))))
    tile = tile_axes(kernel)
    if tile:
        return replace(kernel, schedule=Schedule("tile", tile))
    if len(loops) == 1 and any(isinstance(s, Store) and (s.accumulate or _named(kernel, s)) for s in walk(kernel.body)):
        return replace(kernel, schedule=_adding_schedule(loops[0]))
    has_acc = any(isinstance(s, Acc) for s in walk(kernel.body))
    p, v = loops[0].axis, _vector_axis(loops[0:1])
    kind = "map" if not has_acc else "columns" if v in _around_accs(loops[0]) else "rows"
    return replace(kernel, schedule=Schedule(kind, (p, v)))


def _named(kernel: Kernel, store: Store) -> bool:
    """Whether the place of a store is data."""
    return bool(symbols(store.index) & {s.name for s in walk(kernel.body) if isinstance(s, Let)})


def _adding_schedule(loop: Loop) -> Schedule:
    """What meets at one place comes one after another: threads share what never meets.

    That is the columns where a row's place is data (a scatter), else the outermost loop: `lower` builds it so.
    """
    if not any(isinstance(s, Let) for s in walk(loop.body)):
        return Schedule("map", (loop.axis, _vector_axis((loop,))))
    inner = next((s for s in loop.body if isinstance(s, Loop)), None)
    return Schedule("map", (inner.axis, inner.axis)) if inner else Schedule("serial")


def _around_accs(loop: Loop) -> set[str]:
    """Axes of the loops that hold accumulators (directly or further in)."""
    out: set[str] = set()
    if any(isinstance(s, Acc) for s in walk(loop.body)):
        out.add(loop.axis)
    for s in loop.body:
        if isinstance(s, Loop):
            out |= _around_accs(s)
    return out


def _vector_axis(stmts: "list[Loop] | tuple[Stmt, ...]") -> str:
    """The axis along which most memory accesses are contiguous; innermost among equals."""
    axes: list[str] = []
    score: dict[str, int] = {}
    indices: list[Dim] = []
    for s in walk(tuple(stmts)):
        if isinstance(s, Loop) and s.axis not in axes:
            axes.append(s.axis)
        indices += [x.index for x in loads(s)] + ([s.index] if isinstance(s, Store) else [])
    for a in axes:
        strides = [_stride(d, a) for d in indices]
        score[a] = sum(2 if x == 1 else 0 if x == 0 else -1 for x in strides)
    return max(axes, key=lambda a: (score[a], axes.index(a)))


def _stride(index: Dim, axis: str) -> Dim:
    try:
        return coefficient(index, axis)
    except ValueError:
        return -1


# ------------------------------------------------------------------ contractions
def tile_axes(kernel: Kernel) -> tuple[str, ...]:
    """(m, n, k) if the kernel is a matrix product that register tiles can do, else ().

    Wanted: loops (batch…, m, n) around one accumulator that sums products of two operands over one loop k; the
    first does not vary along n, the second not along m, and the result is contiguous along n.
    """
    axes, body = _perfect_nest(kernel)
    if len(axes) < 2 or not body or not isinstance(body[0], Acc):
        return ()
    loops = contracted_loops(Loop("", 1, body))
    parts = contraction_operands(loops[-1]) if loops and sum(isinstance(s, Loop) for s in body) == 1 else None
    if parts is None or body[0].combine != "add" or body[0].dtype not in ("float32", "float64"):
        return ()
    m, n, k = axes[-2], axes[-1], loops[-1].axis
    if len(loops) > 1 and parts[0].load is None and padded(parts[0]) is None:
        return ()
    try:
        if not all(_is_side(side, own, k, other) for side, own, other in ((parts[0], m, n), (parts[1], n, m))):
            return ()
        if any(_stride(s.index, n) != 1 for s in body if isinstance(s, Store)):
            return ()
    except ValueError:
        return ()
    return (m, n, k)


def _is_side(side: Operand, own: str, k: str, other: str) -> bool:
    """Whether an operand varies along its own axis and k, and not along the other operand's."""
    indices = side.indices()
    steps = [[coefficient(d, axis) for d in indices] for axis in (own, k, other)]
    return any(c != 0 for c in steps[0]) and any(c != 0 for c in steps[1]) and all(c == 0 for c in steps[2])


def _perfect_nest(kernel: Kernel) -> tuple[list[str], tuple[Stmt, ...]]:
    axes: list[str] = []
    body: tuple[Stmt, ...] = tuple(s for s in kernel.body if not isinstance(s, Let))
    while len(body) == 1 and isinstance(body[0], Loop):
        axes.append(body[0].axis)
        body = body[0].body
    return axes, body


def in_blocks(kernel: Kernel, sizes: Mapping[str, Dim]) -> Kernel:
    """`kernel` with the schedule for many places: a product contracted over several loops or one long one, of operands
    in memory, the first contiguous along its rows, the second the same for all outer loops."""
    if kernel.schedule is None or kernel.schedule.kind != "tile":
        return kernel
    m, _, k = kernel.schedule.axes
    axes, body = _perfect_nest(kernel)
    loops = contracted_loops(Loop("", 1, body))
    parts = contraction_operands(loops[-1])
    a, b = (x.load for x in parts) if parts else (None, None)
    if a is None or b is None or coefficient(a.index, m) != 1 or coefficient(a.index, k) == 1:
        return kernel
    if len(loops) == 1 and (len(axes) > 2 or not _is_long(substitute(loops[0].extent, sizes))):
        return kernel
    if set(axes[:-2]) & symbols(b.index):
        return kernel
    return replace(kernel, schedule=Schedule("blocks", kernel.schedule.axes))


def _is_long(extent: Dim) -> bool:
    """Whether a contracted axis is worth blocks: several steps for each of a batch, or many."""
    if not isinstance(extent, DimExpr):
        return extent >= MANY
    return any(abs(factor) >= SEVERAL or len(dims) > 1 for dims, factor in extent.terms)


# ------------------------------------------------------------------ full reductions
def split_reduction(kernel: Kernel) -> Kernel:
    """Partial results of fixed chunks in parallel, then their combination on one thread."""
    at = next(i for i, s in enumerate(kernel.body) if isinstance(s, Loop))
    loop = kernel.body[at]
    assert isinstance(loop, Loop)
    accs = [s for s in kernel.body if isinstance(s, Acc)]
    before = [s for s in kernel.body[:at] if isinstance(s, Let)]
    nested = any(isinstance(s, Loop) for s in loop.body)
    chunk = CHUNK_ROWS if nested else CHUNK
    chunks = floordiv(loop.extent + (chunk - 1), chunk)
    start = sym("c") * chunk
    left = loop.extent - start
    size = left + chunk - dim_max(left, chunk)                        # min(left, chunk)
    moved = map_dims(loop.body, lambda d: substitute(d, {loop.axis: start + sym(loop.axis)}))
    partial = Loop("c", chunks, (*accs, Loop(loop.axis, size, moved),
                                 *(Store("w" + a.name, sym("c"), Ref(a.name, a.dtype)) for a in accs)))
    final: list[Stmt] = [Acc("f" + a.name, a.combine, a.dtype) for a in accs]
    final.append(Loop("d", chunks, tuple(
        Update("f" + a.name, Load("w" + a.name, sym("d"), a.dtype)) for a in accs)))
    rest = rename_names(kernel.body[at + 1:], {a.name: "f" + a.name for a in accs})
    temps = tuple(Param("w" + a.name, a.dtype, "temp", chunks) for a in accs)
    return replace(kernel, params=kernel.params + temps,
                   body=(*before, partial, Loop("z", 1, (*final, *rest))))


__all__ = ["schedule", "schedule_kernel", "split_reduction", "tile_axes"]
