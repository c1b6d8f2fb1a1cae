"""Contraction building blocks of the kernel dialect.

In go pointers of one float dtype and int64 scalars; out comes nothing but what is written through the last
pointer. It always holds that every element is one chain of fused (or, without FMA, separate) multiply-adds over k in
ascending order, so its bits depend neither on the thread count nor on where tiles are cut; that no element
outside the stated extents is read; and that this module needs llvmlite only.

With ``MR, NR = target.tile_shape(dtype)`` (in the dialect: ``MR_f32, NR_f32``):

- ``gemm_tile(a, rsa, csa, m, bp, k, c, ahead)``: C[i, j] = sum_kk a[i*rsa + kk*csa] * bp[kk*NR + j], in an MR x NR
  row-major scratch tile (ldc = NR). 1 <= m <= MR; what rows i >= m hold is not said (A is never read beyond m rows).
  k >= 0. Fewer rows take less time (``tile_heights``), so rows are shared out evenly among tiles. Meanwhile half
  as many bytes as the panel has, from bp[ahead] on, are asked for: what a later tile will read, or any address.
- ``gemm_tile_add(a, rsa, csa, m, bp, k, c, ahead, parts, step)``: added to what C holds, for ``parts`` products one
  after another: A advances by ``step``, bp by k*NR.
- ``pack_b(b, rsb, csb, k, ncols, bp)``: bp[kk*NR + j] = b[kk*rsb + j*csb] for j < ncols, 0 for ncols <= j < NR.
  Vector copies when csb == 1, in-register transposes when rsb == 1, else element by element.
- ``pack_a(a, rsa, csa, m, k, ap)``: ap[kk*MR + i] = a[i*rsa + kk*csa] for i < m, 0 above; then call ``gemm_tile`` with
  (ap, 1, MR, m, ...). Worth it when csa != 1 (A transposed) and the block meets several panels.
- ``gemv_rows(a, rsa, csa, m, b, rsb, k, n, c, ldc)``: C[i*ldc + j] for m rows (1 <= m <= 3) and n columns, B rows
  contiguous and read exactly once, in place and in order, which is what a memory-bound product wants.
- ``gemv_panels(a, rsa, csa, m, bp, k, n, c, ldc)``: the same with B in panels, side by side from bp on; whole ones are
  written, so a row of C has room for n rounded up to NR. Rows of B that lie a power of two apart fall into the same few
  sets of a cache, and a thread's columns of them push each other out; panels lie close together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir

from graphk.codegen.emitter import I8T, I32T, I64T, LLVM_TYPES, Emitter
from graphk.codegen.scalars import ITEMSIZE
from graphk.codegen.target import Target

UNROLL, TRIP = 4, 48              # most steps, and multiply-adds of a full tile, in one trip: more is no faster
LINE = 64                         # bytes of a cache line
L1, L2 = 3, 2                     # LLVM's words for them
BUSY_CHAINS = 8                   # two multiply-adds a cycle, each of which takes four
GEMV_ROWS = 3

Args = tuple[ir.Value, ...]


@dataclass(frozen=True, slots=True)
class Building:
    """``pattern``: p pointer, i int64, one letter per argument; ``emit`` writes the body."""

    name: str
    pattern: str
    emit: Callable[[ir.IRBuilder, str, Args, Target], None]


class Loop:
    """``for index in range(start, stop, step)`` with carried values; used as a context-free begin/end pair."""

    def __init__(self, b: ir.IRBuilder, start: ir.Value, stop: ir.Value, step: int, carried: list[ir.Value]) -> None:
        self.b = b
        self.step = step
        before = b.block
        self.head = b.append_basic_block("head")
        self.inside = b.append_basic_block("body")
        self.after = b.append_basic_block("after")
        b.branch(self.head)
        b.position_at_end(self.head)
        self.index = b.phi(I64T)
        self.index.add_incoming(start, before)
        self.values = [b.phi(v.type) for v in carried]
        for phi, value in zip(self.values, carried, strict=True):
            phi.add_incoming(value, before)
        # The whole step must fit, so a loop with step s leaves the remainder to a second loop.
        fits = b.icmp_signed("<=", b.add(self.index, I64T(step)), stop)
        b.cbranch(fits, self.inside, self.after)
        b.position_at_end(self.inside)

    def end(self, carried: list[ir.Value]) -> None:
        """Close the loop; afterwards ``index`` and ``values`` hold the final state."""
        b = self.b
        bottom = b.block
        self.index.add_incoming(b.add(self.index, I64T(self.step)), bottom)
        for phi, value in zip(self.values, carried, strict=True):
            phi.add_incoming(value, bottom)
        b.branch(self.head)
        b.position_at_end(self.after)


def _vector(dtype: str, lanes: int) -> ir.Type:
    element = LLVM_TYPES[dtype]
    return element if lanes == 1 else ir.VectorType(element, lanes)


def load_lanes(b: ir.IRBuilder, dtype: str, lanes: int, p: ir.Value, index: ir.Value) -> ir.Value:
    """``lanes`` neighbours from p[index] on."""
    place = b.bitcast(b.gep(p, [index]), _vector(dtype, lanes).as_pointer())
    return b.load(place, align=ITEMSIZE[dtype])


def store_lanes(b: ir.IRBuilder, dtype: str, lanes: int, value: ir.Value, p: ir.Value, index: ir.Value) -> None:
    """A vector to p[index] and what follows."""
    place = b.bitcast(b.gep(p, [index]), _vector(dtype, lanes).as_pointer())
    b.store(value, place, align=ITEMSIZE[dtype])


def prefetch(b: ir.IRBuilder, p: ir.Value, near: int) -> None:
    """Ask for the cache line of an address, which need not be anybody's, into the cache `near`: L1 or L2."""
    byte = I8T.as_pointer()
    function = b.module.declare_intrinsic("llvm.prefetch", (byte,), ir.FunctionType(ir.VoidType(), [byte, *[I32T] * 3]))
    b.call(function, [b.bitcast(p, byte), I32T(0), I32T(near), I32T(1)])


def _min(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return b.select(b.icmp_signed("<", x, y), x, y)


# --- gemm_tile -------------------------------------------------------------------------------------------------


def tile_heights(rows: int, vectors: int) -> list[int]:
    """Rows that register tiles have code for, ascending: down from the full tile, while there are as many chains of
    multiply-adds as keep the machine busy."""
    return [rows, *(h for h in range(rows, 0, -max(rows // 6, 1)) if h < rows and h * vectors >= BUSY_CHAINS)][::-1]


def unroll(target: Target, dtype: str) -> int:
    """Steps along k in one trip of a tile's loop; even, as half of them ask for a line."""
    rows, vectors = target.tile(dtype)
    return min(UNROLL, TRIP // (rows * vectors) // 2 * 2)


def _emit_tile(b: ir.IRBuilder, dtype: str, args: Args, target: Target, add: bool) -> None:
    """The lowest tile that has m rows."""
    def lowest(heights: list[int]) -> None:
        if len(heights) == 1:
            _emit_rows(b, dtype, args, target, add, heights[0])
            return
        with b.if_else(b.icmp_signed("<=", args[3], I64T(heights[0]))) as (fits, higher):
            with fits:
                _emit_rows(b, dtype, args, target, add, heights[0])
            with higher:
                lowest(heights[1:])
    lowest(tile_heights(*target.tile(dtype)))


def _emit_rows(b: ir.IRBuilder, dtype: str, args: Args, target: Target, add: bool, rows: int) -> None:
    vectors = target.tile(dtype)[1]
    a, rsa, csa, m, bp, k, c, ahead, *parts = args
    lanes = target.vector_lanes(dtype)
    e = Emitter(b, lanes)
    last = b.sub(m, I64T(1))
    starts = [b.gep(a, [b.mul(_min(b, I64T(i), last), rsa)]) for i in range(rows)]
    width = vectors * lanes

    def step(kk: ir.Value, offset: ir.Value, acc: list[ir.Value]) -> list[ir.Value]:
        base = b.mul(kk if outer is None else b.add(kk, outer.values[2]), I64T(width))
        columns = [load_lanes(b, dtype, lanes, bp, b.add(base, I64T(v * lanes))) for v in range(vectors)]
        out: list[ir.Value] = []
        for i in range(rows):
            x = e.splat(b.load(b.gep(starts[i], [offset]), align=ITEMSIZE[dtype]))
            out += [e.fma(x, columns[v], acc[i * vectors + v]) for v in range(vectors)]
        return out

    if add:
        before = [load_lanes(b, dtype, lanes, c, I64T(i * lanes)) for i in range(rows * vectors)]
    else:
        before = [e.const(LLVM_TYPES[dtype], 0.0)] * (rows * vectors)
    wanted = b.icmp_signed("!=", ahead, I64T(0))
    outer = None
    first: ir.Value = I64T(0)
    if add:                                            # offsets: in A, what is asked for, and, in rows, in B
        outer = Loop(b, I64T(0), parts[0], 1, [I64T(0), ahead, I64T(0), *before])
        first, ahead, before = outer.values[0], outer.values[1], list(outer.values[3:])
    trip = unroll(target, dtype)
    main = Loop(b, I64T(0), k, trip, [first, ahead, *before])
    offset, ahead, acc = main.values[0], main.values[1], list(main.values[2:])
    with b.if_then(wanted):
        for line in range(0, trip // 2 * width, LINE // ITEMSIZE[dtype]):
            prefetch(b, b.gep(bp, [b.add(ahead, I64T(line))]), L2)
    for u in range(trip):
        acc = step(b.add(main.index, I64T(u)), offset, acc)
        offset = b.add(offset, csa)
    main.end([offset, b.add(ahead, I64T(trip // 2 * width)), *acc])
    rest = Loop(b, main.index, k, 1, [main.values[0], *main.values[2:]])
    acc = step(rest.index, rest.values[0], list(rest.values[1:]))
    rest.end([b.add(rest.values[0], csa), *acc])
    sums = rest.values[1:]
    if outer is not None:
        outer.end([b.add(outer.values[0], parts[1]), main.values[1], b.add(outer.values[2], k), *sums])
        sums = outer.values[3:]
    for index, value in enumerate(sums):
        store_lanes(b, dtype, lanes, value, c, I64T(index * lanes))


def _gemm_tile(b: ir.IRBuilder, dtype: str, args: Args, target: Target) -> None:
    _emit_tile(b, dtype, args, target, add=False)


def _gemm_tile_add(b: ir.IRBuilder, dtype: str, args: Args, target: Target) -> None:
    _emit_tile(b, dtype, args, target, add=True)


# --- pack_b ----------------------------------------------------------------------------------------------------


def _pack_copy(b: ir.IRBuilder, dtype: str, args: Args, lanes: int, vectors: int) -> None:
    source, rsb, _, k, _, bp = args
    loop = Loop(b, I64T(0), k, 1, [])
    for v in range(vectors):
        value = load_lanes(b, dtype, lanes, source, b.add(b.mul(loop.index, rsb), I64T(v * lanes)))
        store_lanes(b, dtype, lanes, value, bp, b.add(b.mul(loop.index, I64T(vectors * lanes)), I64T(v * lanes)))
    loop.end([])


def _pack_scalar(b: ir.IRBuilder, dtype: str, args: Args, width: int, start: ir.Value, column: ir.Value) -> None:
    """Elements of rows start.. and columns column..ncols, one by one; zeros up to the panel's width."""
    source, rsb, csb, k, ncols, bp = args
    outer = Loop(b, start, k, 1, [])
    row, target_row = b.mul(outer.index, rsb), b.mul(outer.index, I64T(width))
    inner = Loop(b, column, ncols, 1, [])
    value = b.load(b.gep(source, [b.add(row, b.mul(inner.index, csb))]), align=ITEMSIZE[dtype])
    b.store(value, b.gep(bp, [b.add(target_row, inner.index)]), align=ITEMSIZE[dtype])
    inner.end([])
    pad = Loop(b, inner.index, I64T(width), 1, [])
    b.store(LLVM_TYPES[dtype](0.0), b.gep(bp, [b.add(target_row, pad.index)]), align=ITEMSIZE[dtype])
    pad.end([])
    outer.end([])


def _transpose(b: ir.IRBuilder, rows: list[ir.Value], lanes: int) -> list[ir.Value]:
    """Square transpose by log2(lanes) rounds of two-operand shuffles."""
    s = 1
    while s < lanes:
        low = [j if not j & s else lanes + j - s for j in range(lanes)]
        high = [j + s if not j & s else lanes + j for j in range(lanes)]
        masks = [ir.Constant(ir.VectorType(I32T, lanes), [I32T(j) for j in mask]) for mask in (low, high)]
        out = list(rows)
        for i in range(lanes):
            if not i & s:
                out[i] = b.shuffle_vector(rows[i], rows[i + s], masks[0])
                out[i + s] = b.shuffle_vector(rows[i], rows[i + s], masks[1])
        rows, s = out, s * 2
    return rows


def _pack_transpose(b: ir.IRBuilder, dtype: str, args: Args, lanes: int, vectors: int) -> None:
    """rsb == 1: lanes x lanes blocks of k and columns; only whole vectors of columns, the rest by element."""
    source, _, csb, k, ncols, bp = args
    width = I64T(vectors * lanes)
    columns = Loop(b, I64T(0), ncols, lanes, [])
    start = columns.index
    loop = Loop(b, I64T(0), k, lanes, [])
    rows = []
    for lane in range(lanes):
        place = b.add(b.mul(b.add(start, I64T(lane)), csb), loop.index)
        rows.append(load_lanes(b, dtype, lanes, source, place))
    for t, value in enumerate(_transpose(b, rows, lanes)):
        store_lanes(b, dtype, lanes, value, bp, b.add(b.mul(b.add(loop.index, I64T(t)), width), start))
    loop.end([])
    rest = Loop(b, loop.index, k, 1, [])
    for lane in range(lanes):
        place = b.add(start, I64T(lane))
        value = b.load(b.gep(source, [b.add(b.mul(place, csb), rest.index)]), align=ITEMSIZE[dtype])
        b.store(value, b.gep(bp, [b.add(b.mul(rest.index, width), place)]), align=ITEMSIZE[dtype])
    rest.end([])
    columns.end([])
    _pack_scalar(b, dtype, args, vectors * lanes, I64T(0), columns.index)


def _pack_b(b: ir.IRBuilder, dtype: str, args: Args, target: Target) -> None:
    vectors = target.tile(dtype)[1]
    lanes = target.vector_lanes(dtype)
    _, rsb, csb, _, ncols, _ = args
    one = I64T(1)
    contiguous = b.and_(b.icmp_signed("==", csb, one), b.icmp_signed("==", ncols, I64T(vectors * lanes)))
    with b.if_else(contiguous) as (copy, other):
        with copy:
            _pack_copy(b, dtype, args, lanes, vectors)
        with other:
            if lanes == 1:
                _pack_scalar(b, dtype, args, vectors, I64T(0), I64T(0))
            else:
                with b.if_else(b.icmp_signed("==", rsb, one)) as (across, scattered):
                    with across:
                        _pack_transpose(b, dtype, args, lanes, vectors)
                    with scattered:
                        _pack_scalar(b, dtype, args, vectors * lanes, I64T(0), I64T(0))


# --- pack_a ----------------------------------------------------------------------------------------------------


def _pack_a(b: ir.IRBuilder, dtype: str, args: Args, target: Target) -> None:
    """Full tiles with rsa == 1 move a row of the block at a time, everything else single elements."""
    source, rsa, csa, m, k, ap = args
    rows = target.tile(dtype)[0]
    whole = b.and_(b.icmp_signed("==", rsa, I64T(1)), b.icmp_signed("==", m, I64T(rows)))
    with b.if_else(whole) as (run, single):
        with run:
            loop = Loop(b, I64T(0), k, 1, [])
            value = load_lanes(b, dtype, rows, source, b.mul(loop.index, csa))
            store_lanes(b, dtype, rows, value, ap, b.mul(loop.index, I64T(rows)))
            loop.end([])
        with single:
            inner_args = (source, csa, rsa, k, m, ap)
            _pack_scalar(b, dtype, inner_args, rows, I64T(0), I64T(0))


# --- gemv_rows -------------------------------------------------------------------------------------------------


def _gemv_strip(b: ir.IRBuilder, dtype: str, args: Args, rows: int, block: int, kk: ir.Value, lanes: int) -> None:
    """C += A[:, kk:kk+block] @ B[kk:kk+block, :], columns in vectors, then one by one; the same chain in both."""
    a, rsa, csa, _, source, rsb, _, n, c, ldc = args
    scalars = [
        b.load(b.gep(a, [b.add(b.mul(I64T(r), rsa), b.mul(b.add(kk, I64T(t)), csa))]), align=ITEMSIZE[dtype])
        for r in range(rows)
        for t in range(block)
    ]
    starts = [b.gep(source, [b.mul(b.add(kk, I64T(t)), rsb)]) for t in range(block)]
    outs = [b.gep(c, [b.mul(I64T(r), ldc)]) for r in range(rows)]
    column: ir.Value = I64T(0)
    for width in sorted({lanes, 1}, reverse=True):
        e = Emitter(b, width)
        factors = [e.splat(x) for x in scalars]
        loop = Loop(b, column, n, width, [])
        acc = [load_lanes(b, dtype, width, out, loop.index) for out in outs]
        for t in range(block):
            value = load_lanes(b, dtype, width, starts[t], loop.index)
            acc = [e.fma(factors[r * block + t], value, acc[r]) for r in range(rows)]
        for r in range(rows):
            store_lanes(b, dtype, width, acc[r], outs[r], loop.index)
        loop.end([])
        column = loop.index


def _gemv_case(b: ir.IRBuilder, dtype: str, args: Args, rows: int, lanes: int) -> None:
    k, n, c, ldc = args[6], args[7], args[8], args[9]
    for r in range(rows):
        zero = Loop(b, I64T(0), n, 1, [])
        place = b.gep(c, [b.add(b.mul(I64T(r), ldc), zero.index)])
        b.store(LLVM_TYPES[dtype](0.0), place, align=ITEMSIZE[dtype])
        zero.end([])
    # Rows of B in flight: enough independent streams to fill the memory pipeline, few enough for registers.
    block = 8 if rows == 1 else 4
    main = Loop(b, I64T(0), k, block, [])
    _gemv_strip(b, dtype, args, rows, block, main.index, lanes)
    main.end([])
    rest = Loop(b, main.index, k, 1, [])
    _gemv_strip(b, dtype, args, rows, 1, rest.index, lanes)
    rest.end([])


def _gemv_rows(b: ir.IRBuilder, dtype: str, args: Args, target: Target) -> None:
    lanes = target.vector_lanes(dtype)
    for rows in range(1, GEMV_ROWS + 1):
        with b.if_then(b.icmp_signed("==", args[3], I64T(rows))):
            _gemv_case(b, dtype, args, rows, lanes)


# --- gemv_panels -----------------------------------------------------------------------------------------------


def _panels_strip(b: ir.IRBuilder, dtype: str, args: Args, rows: int, panels: int, start: ir.Value,
                  target: Target) -> ir.Value:
    """``panels`` panels at a time from column ``start`` on, sums in registers; the column where fewer are left."""
    a, rsa, csa, _, bp, k, n, c, ldc = args
    vectors, lanes = target.tile(dtype)[1], target.vector_lanes(dtype)
    e, width = Emitter(b, lanes), vectors * lanes
    end = b.add(n, I64T(width - 1))                    # the last panel may have fewer columns
    columns = Loop(b, start, end, panels * width, [])
    sources = [b.gep(bp, [b.mul(b.add(columns.index, I64T(p * width)), k)]) for p in range(panels)]
    starts = [b.gep(a, [b.mul(I64T(r), rsa)]) for r in range(rows)]
    count = rows * panels * vectors

    def step(kk: ir.Value, acc: list[ir.Value]) -> list[ir.Value]:
        factors = [e.splat(b.load(b.gep(s, [b.mul(kk, csa)]), align=ITEMSIZE[dtype])) for s in starts]
        base = b.mul(kk, I64T(width))
        values = [load_lanes(b, dtype, lanes, s, b.add(base, I64T(v * lanes))) for s in sources for v in range(vectors)]
        each = len(values)
        return [e.fma(factors[i // each], values[i % each], acc[i]) for i in range(count)]

    loop = Loop(b, I64T(0), k, 1, [e.const(LLVM_TYPES[dtype], 0.0)] * count)
    loop.end(step(loop.index, list(loop.values)))
    for i, value in enumerate(loop.values):
        place = b.add(b.mul(I64T(i // (panels * vectors)), ldc), columns.index)
        store_lanes(b, dtype, lanes, value, c, b.add(place, I64T(i % (panels * vectors) * lanes)))
    columns.end([])
    return columns.index


def _gemv_panels(b: ir.IRBuilder, dtype: str, args: Args, target: Target) -> None:
    for rows in range(1, GEMV_ROWS + 1):
        with b.if_then(b.icmp_signed("==", args[3], I64T(rows))):
            many = max(1, BUSY_CHAINS // (rows * target.tile(dtype)[1]))
            column = _panels_strip(b, dtype, args, rows, many, I64T(0), target) if many > 1 else I64T(0)
            _panels_strip(b, dtype, args, rows, 1, column, target)


BUILDINGS: tuple[Building, ...] = (
    Building("gemm_tile", "piiipipi", _gemm_tile),
    Building("gemm_tile_add", "piiipipiii", _gemm_tile_add),
    Building("pack_b", "piiiip", _pack_b),
    Building("pack_a", "piiiip", _pack_a),
    Building("gemv_rows", "piiipiiipi", _gemv_rows),
    Building("gemv_panels", "piiipiipi", _gemv_panels),
)


def constants(target: Target) -> dict[str, int]:
    """Tile constants the dialect offers: ``MR_f32``, ``NR_f32``, ``WT_f32`` and the float64 ones."""
    out: dict[str, int] = {}
    for dtype, short in (("float32", "f32"), ("float64", "f64")):
        rows, columns = target.tile_shape(dtype)
        out |= {f"MR_{short}": rows, f"NR_{short}": columns, f"WT_{short}": target.block_tiles(dtype)}
    return out
