"""The arena: where each buffer of a program lies, for whatever sizes a call has.

In: a Program whose arena buffers have no places yet.  Out: the same with their offsets.  What always holds: buffers
that are needed at once lie apart for all values of the dims, because polynomials say so coefficient by coefficient;
one that a step makes in place of another begins where that does; the same program gets the same places.
"""
from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from graphk.ir.dims import Dim, DimExpr, OpDim, dim_max, evaluate, floordiv, substitute, sym, symbols
from graphk.ir.effects import lifetimes, may_overwrite, root_of
from graphk.ir.program import ALIGN, Program, Step

NOMINAL = 32                     # a stand-in for symbolic dims when sizes are compared
ROUNDED = 16 * ALIGN             # coefficients from here on are rounded up themselves


def plan_arena(program: Program) -> Program:
    """Offsets for arena buffers: first step to last step is a buffer's life.

    What is needed in the step that needs most is stacked first, the longest lives below; the rest follows by size.
    Each goes into the narrowest gap that holds it between those it meets, or above them.
    """
    units, life = _units(program)
    lasts = {top: life[name][1] for name, top in units.items()}              # later ones in a place end later
    tops = list(lasts)
    by_name = {b.name: b for b in program.buffers}
    space = _Space([_aligned(by_name[t].nbytes) for t in tops])
    first, last = np.array([life[t][0] for t in tops], int), np.array(list(lasts.values()), int)
    offsets = _place(space, first, last)
    at = dict(zip(tops, (space.dim(o) for o in offsets)))
    buffers = tuple(replace(b, offset=at[units[b.name]]) if b.name in units else b for b in program.buffers
                    if b.place != "arena" or b.name in units)
    return replace(program, buffers=buffers, arena=_largest(space, offsets + space.sizes))


def _units(program: Program) -> tuple[dict[str, str], dict[str, tuple[int, int]]]:
    """For each buffer that a step touches the one in whose place it is made, itself if there is none; and the lives."""
    roots = root_of(program)
    life = lifetimes(program, roots)
    sizes = {b.name: b.nbytes for b in program.buffers}
    out: dict[str, str] = {}
    ends: dict[str, int] = {}
    for name, (start, end) in sorted(((n, life[n]) for n in sizes if n in life), key=lambda t: t[1]):
        step = program.steps[start]
        reads = [roots[b] for p, b in zip(step.kernel.params, step.buffers) if p.role == "in"] if isinstance(
            step, Step) else []
        dying = [r for r in reads if r in out and life[r][1] == start == ends[out[r]] and sizes[r] == sizes[name]]
        assert isinstance(step, Step) or not dying
        top = next((out[r] for r in dying if isinstance(step, Step) and may_overwrite(step, r, name, roots)), name)
        out[name], ends[top] = top, end
    return out, life


def _place(space: "_Space", first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """An offset for each size, needed from step `first` to step `last`."""
    nominal = space.nominal(space.sizes)
    needed = [int(nominal[(first <= i) & (last >= i)].sum()) for i in range(int(last.max(initial=-1)) + 1)]
    peak = needed.index(max(needed)) if needed else 0

    def turn(i: int) -> tuple[bool, int, int, int]:
        late, length = not first[i] <= peak <= last[i], int(last[i] - first[i])
        return (late, -int(nominal[i]), int(first[i]), i) if late else (late, -length, -int(nominal[i]), i)
    offsets = np.zeros_like(space.sizes)
    done = np.zeros(len(nominal), bool)
    for i in sorted(range(len(nominal)), key=turn):
        meets = np.flatnonzero(done & (first <= last[i]) & (last >= first[i]))
        meets = meets[np.argsort(space.nominal(offsets[meets]), kind="stable")]
        low = offsets[meets]
        # Below: what no earlier one reaches, and above: what no later one goes under, whatever the dims are.
        below = np.maximum.accumulate(np.vstack([offsets[i:i + 1], low + space.sizes[meets]]))
        above = np.minimum.accumulate(low[::-1])[::-1]
        fits = np.flatnonzero((below[:-1] + space.sizes[i] <= above).all(1))
        gaps = space.nominal((above - below[:-1])[fits])
        offsets[i] = below[fits[np.argmin(gaps)]] if len(fits) else below[-1]
        done[i] = True
    return offsets


def sharing(program: Program) -> dict[str, int]:
    """For each arena buffer of a planned program, as bits, those that may have bytes in common with it: bit i is the
    i-th of them, and its own is among them."""
    arena = [b for b in program.buffers if b.place == "arena"]
    space = _Space([d for b in arena for d in (_aligned(b.nbytes), b.offset)])
    sizes, offsets = space.sizes[::2], space.sizes[1::2]
    before = (offsets[:, None] + sizes[:, None] <= offsets[None]).all(2)
    together = np.packbits(~(before | before.T) | np.eye(len(arena), dtype=bool), axis=1, bitorder="little")
    return {b.name: int.from_bytes(row.tobytes(), "little") for b, row in zip(arena, together)}


def _largest(space: "_Space", ends: np.ndarray) -> Dim:
    """The largest of them, whatever the dims are."""
    out: Dim = 0
    seen = np.array(sorted(set(map(tuple, ends.tolist()))), np.int64).reshape(-1, ends.shape[1])
    for e in seen:
        if not ((seen >= e).all(1) & (seen > e).any(1)).any():
            out = dim_max(out, space.dim(e)) if out != 0 else space.dim(e)
    return out


@lru_cache(maxsize=1 << 10)
def _aligned(d: Dim) -> Dim:
    """At least `d`, and a multiple of ALIGN for all values: large coefficients are rounded up, so that they compare."""
    terms = _terms(d)
    if all(c % ALIGN == 0 or c >= ROUNDED for _, c in terms):
        out: Dim = 0
        for m, c in terms:
            out = out + _dim(m) * (-(-c // ALIGN) * ALIGN)
        return out
    return floordiv(d + (ALIGN - 1), ALIGN) * ALIGN


def _terms(d: Dim) -> tuple[tuple[tuple, int], ...]:
    return d.terms if isinstance(d, DimExpr) else (((), d),)


def _dim(monomial: tuple) -> Dim:
    return DimExpr(((monomial, 1),)) if monomial else 1


class _Space:
    """Dims as rows of coefficients of products that are never negative: `a <= b` in each says so of the dims."""

    def __init__(self, dims: list[Dim]):
        self._plain: dict[str, Dim] = {}
        terms = [dict(_terms(self._counted(d))) for d in dims]
        products = list(dict.fromkeys([(), *(m for t in terms for m in t)]))
        self._products = [substitute(_dim(m), self._plain) for m in products]
        self._weights = np.array([evaluate(d, dict.fromkeys(symbols(d), NOMINAL)) for d in self._products], np.int64)
        self.sizes = np.array([[t.get(m, 0) for m in products] for t in terms], np.int64).reshape(-1, len(products))

    def _counted(self, d: Dim) -> Dim:
        """`d` in which a quotient that may be -1, as that of windows where none fits, is a new symbol less 1."""
        out: Dim = 0
        for m, c in _terms(d):
            value: Dim = c
            for a in m:
                plain = _dim((a,))
                if isinstance(a, OpDim) and a.op == "floordiv" and any(x < 0 for _, x in _terms(a.a)):
                    self._plain[f"{a} + 1"] = plain + 1
                    plain = sym(f"{a} + 1") - 1
                value = value * plain
            out = out + value
        return out

    def nominal(self, rows: np.ndarray) -> np.ndarray:
        """Their values where each symbol is NOMINAL."""
        return rows @ self._weights

    def dim(self, row: np.ndarray) -> Dim:
        out: Dim = 0
        for d, c in zip(self._products, row):
            out = out + d * int(c)
        return out


__all__ = ["NOMINAL", "plan_arena", "sharing"]
