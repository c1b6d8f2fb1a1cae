"""Winograd's short convolutions: transforms as contraction blocks of the kernel dialect.

In go pointers of floats and int64 scalars; out comes what is written through the last pointer. An output tile of m x m
pixels of a 3x3 convolution of stride 1 is ``A^T [(G w G^T) * (B^T x B)] A`` with (m+2)^2 products for each pair of
channels instead of 9 m^2. It always holds that the factors are dyadic numbers, except G's quotients, which are
rounded once, that a tile's element is computed alike whatever stands around it, and that this module needs llvmlite
only.

Source: A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2015; the points 0, +-3/4, +-3/2 keep
the error of m = 4 about three times smaller than 0, +-1, +-2.

- ``winograd{m}_input(x, rs, cs, rows, columns, channels, v, vs)``: v[p*vs + c], p < (m+2)^2, from the (m+2) x (m+2)
  pixels x[i*rs + j*cs + c]; rows and columns from ``rows`` and ``columns`` on repeat the last one.
- ``winograd{m}_weights(w, rh, rw, cs, columns, u, us)``: u[p*us + j], j < NR, from w[i*rh + k*rw + j*cs], zeros
  from ``columns`` on.
- ``winograd{m}_output(p, ps, y)``: y[q*NR + j], q < m^2, from p[i*ps + j], i < (m+2)^2, j < NR.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from fractions import Fraction

from llvmlite import ir

from graphk.codegen.emitter import I64T, LLVM_TYPES, Emitter
from graphk.codegen.micro import Args, Building, Loop, load_lanes, store_lanes
from graphk.codegen.scalars import ITEMSIZE
from graphk.codegen.target import Target

POINTS = {2: (0, 1, -1), 4: (0, Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2), Fraction(-3, 2))}
Matrix = tuple[tuple[Fraction, ...], ...]


def _times(p: Sequence[Fraction], root: Fraction) -> list[Fraction]:
    """The polynomial p(x) * (x - root), lowest power first."""
    out = [Fraction(0), *p]
    for i, c in enumerate(p):
        out[i] -= root * c
    return out


@functools.lru_cache(maxsize=None)
def matrices(m: int) -> tuple[Matrix, Matrix, Matrix]:
    """(A^T, G, B^T) for m outputs of a window of 3 (Toom and Cook's interpolation, the last point at infinity)."""
    points = [Fraction(p) for p in POINTS[m]]
    n = m + 2
    at = [[p**i for p in points] + [Fraction(i == m - 1)] for i in range(m)]
    g, bt = [], []
    for p in points:
        scale, poly = Fraction(1), [Fraction(1)]
        for q in points:
            if q != p:
                scale, poly = scale * (p - q), _times(poly, q)
        g.append([p**k / scale for k in range(3)])
        bt.append(poly + [Fraction(0)] * (n - len(poly)))
    whole = [Fraction(1)]
    for q in points:
        whole = _times(whole, q)
    g.append([Fraction(0), Fraction(0), Fraction(1)])
    bt.append(whole)
    freeze: Callable[[list[list[Fraction]]], Matrix] = lambda rows: tuple(tuple(r) for r in rows)
    return freeze(at), freeze(g), freeze(bt)


# --- linear maps -----------------------------------------------------------------------------------------------


def _combine(e: Emitter, factors: Sequence[Fraction], xs: Sequence[ir.Value]) -> ir.Value | None:
    """The sum of factor * x, None where all factors are 0; those of size 1 come first and cost no product."""
    acc: ir.Value | None = None
    element = getattr(xs[0].type, "element", xs[0].type)
    terms = [(c, x) for c, x in zip(factors, xs, strict=True) if c]
    for c, x in sorted(terms, key=lambda p: abs(p[0]) != 1 or p[0] < 0):
        if acc is None:
            acc = x if c == 1 else e.mul(x, e.const(element, float(c)))
        elif abs(c) == 1:
            acc = e.add(acc, x) if c > 0 else e.sub(acc, x)
        else:
            acc = e.fma(x, e.const(element, float(c)), acc)
    return acc


def _apply(e: Emitter, rows: Matrix, xs: Sequence[ir.Value]) -> list[ir.Value]:
    """rows @ xs. Rows for points p and -p differ in the sign of odd powers: they share both halves."""
    out: list[ir.Value | None] = [None] * len(rows)
    for i, row in enumerate(rows):
        if out[i] is not None:
            continue
        even = [c if k % 2 == 0 else Fraction(0) for k, c in enumerate(row)]
        odd = [c if k % 2 else Fraction(0) for k, c in enumerate(row)]
        partner = next((j for j in range(i + 1, len(rows)) if any(odd) and any(even)
                        and list(rows[j]) == [a - b for a, b in zip(even, odd, strict=True)]), None)
        if partner is None:
            out[i] = _combine(e, row, xs)
            continue
        a, b = _combine(e, even, xs), _combine(e, odd, xs)
        out[i], out[partner] = e.add(a, b), e.sub(a, b)
    return [x for x in out if x is not None]


def _apply_columns(e: Emitter, rows: Matrix, xs: Sequence[ir.Value]) -> list[ir.Value]:
    """rows @ xs where columns come in pairs for points p and -p: sums serve even rows, differences odd ones."""
    columns = list(zip(*rows, strict=True))
    sums, differences = list(xs), list(xs)
    keep = [True] * len(columns)
    for i in range(1, len(columns) - 2, 2):
        pairs = enumerate(zip(columns[i], columns[i + 1], strict=True))
        assert all(a == (b if r % 2 == 0 else -b) for r, (a, b) in pairs)
        sums[i], differences[i] = e.add(xs[i], xs[i + 1]), e.sub(xs[i], xs[i + 1])
        keep[i + 1] = False
    out = []
    for r, row in enumerate(rows):
        value = _combine(e, [c if k else Fraction(0) for c, k in zip(row, keep, strict=True)],
                         differences if r % 2 else sums)
        assert value is not None
        out.append(value)
    return out


def _both_ways(e: Emitter, matrix: Matrix, x: list[list[ir.Value]],
               apply: Callable[[Emitter, Matrix, Sequence[ir.Value]], list[ir.Value]]) -> list[list[ir.Value]]:
    """matrix @ x @ matrix^T."""
    half = [apply(e, matrix, column) for column in zip(*x, strict=True)]      # half[j][i]
    return [apply(e, matrix, list(row)) for row in zip(*half, strict=True)]


# --- blocks ----------------------------------------------------------------------------------------------------


def _input(b: ir.IRBuilder, dtype: str, args: Args, target: Target, m: int) -> None:
    x, rs, cs, rows, columns, channels, v, vs = args
    n, bt = m + 2, matrices(m)[2]

    def places(count: ir.Value, stride: ir.Value) -> list[ir.Value]:
        last = b.sub(count, I64T(1))
        return [b.mul(b.select(b.icmp_signed("<", I64T(i), last), I64T(i), last), stride) for i in range(n)]

    down, across = places(rows, rs), places(columns, cs)
    start: ir.Value = I64T(0)
    lanes = target.vector_lanes(dtype)
    for width in sorted({lanes, 1}, reverse=True):
        loop, e = Loop(b, start, channels, width, []), Emitter(b, width)
        pixels = []
        for i in range(n):
            row = b.gep(x, [b.add(down[i], loop.index)])
            pixels.append([load_lanes(b, dtype, width, row, across[j]) for j in range(n)])
        for i, values in enumerate(_both_ways(e, bt, pixels, _apply)):
            for j, value in enumerate(values):
                store_lanes(b, dtype, width, value, v, b.add(b.mul(vs, I64T(i * n + j)), loop.index))
        loop.end([])
        start = loop.index


def _weights(b: ir.IRBuilder, dtype: str, args: Args, target: Target, m: int) -> None:
    w, rh, rw, cs, columns, u, us = args
    lanes, wide = target.vector_lanes(dtype), target.tile_shape(dtype)[1]
    whole = b.and_(b.icmp_signed("==", cs, I64T(1)), b.icmp_signed("==", columns, I64T(wide)))
    with b.goto_entry_block():
        room = b.alloca(LLVM_TYPES[dtype], 9 * wide)
        room.align = 64
    with b.if_then(b.not_(whole)):
        _gather(b, dtype, args, room, wide)
    w = b.select(whole, w, room)
    rh, rw = b.select(whole, rh, I64T(3 * wide)), b.select(whole, rw, I64T(wide))
    loop, e = Loop(b, I64T(0), I64T(wide), lanes, []), Emitter(b, lanes)
    x = [[load_lanes(b, dtype, lanes, w, b.add(b.add(b.mul(rh, I64T(i)), b.mul(rw, I64T(k))), loop.index))
          for k in range(3)] for i in range(3)]
    for i, values in enumerate(_both_ways(e, matrices(m)[1], x, _apply)):
        for j, value in enumerate(values):
            store_lanes(b, dtype, lanes, value, u, b.add(b.mul(us, I64T(i * (m + 2) + j)), loop.index))
    loop.end([])


def _gather(b: ir.IRBuilder, dtype: str, args: Args, room: ir.Value, wide: int) -> None:
    """The nine weights of ``wide`` columns, side by side; 0 where there are fewer columns."""
    w, rh, rw, cs, columns = args[:5]
    place = Loop(b, I64T(0), I64T(9), 1, [])
    at = b.add(b.mul(rh, b.udiv(place.index, I64T(3))), b.mul(rw, b.urem(place.index, I64T(3))))
    column = Loop(b, I64T(0), I64T(wide), 1, [])
    there = b.icmp_signed("<", column.index, columns)
    value = b.load(b.gep(w, [b.add(at, b.mul(cs, b.select(there, column.index, I64T(0))))]), align=ITEMSIZE[dtype])
    to = b.gep(room, [b.add(b.mul(place.index, I64T(wide)), column.index)])
    b.store(b.select(there, value, LLVM_TYPES[dtype](0.0)), to, align=ITEMSIZE[dtype])
    column.end([])
    place.end([])


def _output(b: ir.IRBuilder, dtype: str, args: Args, target: Target, m: int) -> None:
    p, ps, y = args
    lanes, vectors, n = target.vector_lanes(dtype), target.tile(dtype)[1], m + 2
    e = Emitter(b, lanes)
    for part in range(vectors):
        x = [[load_lanes(b, dtype, lanes, p, b.add(b.mul(ps, I64T(i * n + j)), I64T(part * lanes))) for j in range(n)]
             for i in range(n)]
        for i, values in enumerate(_both_ways(e, matrices(m)[0], x, _apply_columns)):
            for j, value in enumerate(values):
                store_lanes(b, dtype, lanes, value, y, I64T(((i * m + j) * vectors + part) * lanes))


BUILDINGS: tuple[Building, ...] = tuple(
    Building(f"winograd{m}_{name}", pattern, functools.partial(emit, m=m))
    for m in POINTS
    for name, pattern, emit in (("input", "piiiiipi", _input), ("weights", "piiiipi", _weights),
                                ("output", "pip", _output))
)
__all__ = ["BUILDINGS", "POINTS", "matrices"]
