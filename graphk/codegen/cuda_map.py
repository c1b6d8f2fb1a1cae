"""CUDA source of what computes each element on its own, and of additions at places that are data.

In: a loop nest without accumulators.  Out: one function.  What always holds: one thread per element (or per four, where
they lie side by side and the sizes allow 16-byte accesses), neighbours along the vector axis; additions to one place
are one thread's, in order.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Iterator, Sequence

from graphk.codegen.cuda_values import Printer, from_memory, to_memory, total
from graphk.codegen.emit import dim_code
from graphk.ir.column_parts import used
from graphk.ir.dims import Dim, DimExpr, SymDim, dim_max, floordiv, product, substitute, sym, symbols
from graphk.ir.loop import (Call, Expr, Index, Let, Load, Loop, Ref, Stmt, Store, coefficient, expressions, walk,
                            without)

WARP = 32
LANES = 4                         # elements of a wide access
PARTS = 128                       # blocks that share the places of a scatter


@dataclass(frozen=True, slots=True)
class Leaf:
    """Stores, with the loops around them and the lets that they need."""
    loops: list[Loop]
    lets: list[Let]
    stores: list[Store]


def leaves(body: Sequence[Stmt], loops: list[Loop], lets: list[Let]) -> Iterator[Leaf]:
    """A nest as nests of one set of stores each: elements do not depend on each other, so neither do these.

    A store that is the same for all places of a loop around it leaves that loop, which then need not be there.
    """
    lets = [*lets, *(s for s in body if isinstance(s, Let))]
    sets: dict[tuple[str, ...], list[Store]] = {}
    for store in (s for s in body if isinstance(s, Store)):
        names = used([store, *_needed(lets, [store])])
        names |= {n for x in loops if x.axis in names for n in symbols(x.extent)}
        sets.setdefault(tuple(x.axis for x in loops if x.axis in names), []).append(store)
    for axes, stores in sets.items():
        yield Leaf([x for x in loops if x.axis in axes], _needed(lets, stores), stores)
    for s in body:
        if isinstance(s, Loop):
            yield from leaves(s.body, [*loops, s], lets)


def _needed(lets: Sequence[Let], stores: Sequence[Stmt]) -> list[Let]:
    wanted, out = used(stores), list[Let]()
    for s in reversed(lets):
        if s.name in wanted:
            wanted |= used((s,))
            out.insert(0, s)
    return out


def elements(p: Printer, lets: Sequence[Let], loop: Loop) -> None:
    """A loop nest whose elements threads share."""
    if not all(p.known(s.extent) for s in walk((loop,)) if isinstance(s, Loop)):
        _ragged(p, lets, loop)
        return
    found = [replace(leaf, loops=p.in_order(leaf.loops)) for leaf in leaves(loop.body, [loop], [])]
    # A result for each row may take the place of what was read for each of the row's elements: it is written later.
    for depth in sorted({len(leaf.loops) for leaf in found}, reverse=True):
        _launch(p, lets, [leaf for leaf in found if len(leaf.loops) == depth])


def _launch(p: Printer, lets: Sequence[Let], found: Sequence[Leaf]) -> None:
    checks = [_wide(leaf) for leaf in found]
    count: Dim = 0
    for leaf in found:
        count = count + product(x.extent for x in leaf.loops)
    p.header(blocks_of(count, p.threads * (LANES if any(checks) else 1)), (p.threads,))
    p.statements(lets)
    for leaf, check in zip(found, checks):
        if leaf.loops:
            _leaf(p, leaf, check)
        else:
            with p.inside("if cuda.grid(1) == 0:"):
                p.statements([*leaf.lets, *leaf.stores])


def blocks_of(count: Dim, threads: int) -> Dim:
    return dim_max(floordiv(count + (threads - 1), threads), 1)


def _leaf(p: Printer, leaf: Leaf, check: str) -> None:
    first = "cuda.grid(1)"
    if check:
        p.add(f"whole = {_operand(total(leaf.loops))} // {LANES} if {check} else 0")
        with p.strided("quad", first, "whole", "cuda.gridsize(1)"):
            at = leaf.loops[0].axis if len(leaf.loops) == 1 else "at"
            p.add(f"{at} = quad * {LANES}")
            if len(leaf.loops) > 1:
                p.places(leaf.loops, at)
            _Quad(p, leaf).run()
        first = f"whole * {LANES} + cuda.grid(1)"
    with p.shared_loop(leaf.loops, first, "cuda.gridsize(1)", "at"):
        p.statements([*leaf.lets, *leaf.stores])


def _operand(text: str) -> str:
    return text if text.isidentifier() or text.isdigit() else f"({text})"


def _ragged(p: Printer, lets: Sequence[Let], loop: Loop) -> None:
    """Loops whose lengths differ from place to place: a warp takes a place of the loops around them."""
    outer, body = [loop], loop.body
    while len(body) == 1 and isinstance(body[0], Loop) and p.known(body[0].extent):
        outer.append(body[0])
        body = body[0].body
    warp = min(WARP, p.threads)
    p.header(blocks_of(product(x.extent for x in outer) * warp, p.threads), (p.threads,))
    p.statements(lets)
    p.add(f"lane = cuda.threadIdx.x % {warp}")
    with p.shared_loop(outer, f"cuda.grid(1) // {warp}", f"cuda.gridsize(1) // {warp}", "at"):
        p.statements([s for s in body if isinstance(s, Let)])
        stores = [s for s in body if isinstance(s, Store)]
        if stores:
            with p.inside("if lane == 0:"):
                p.statements(stores)
        for s in body:
            if isinstance(s, Loop):
                with p.strided(s.axis, "lane", dim_code(s.extent), str(warp)):
                    p.statements(s.body)


# ------------------------------------------------------------------ four elements at once
def _wide(leaf: Leaf) -> str:
    """When four neighbours along the last loop may be read and written at once: a condition; "" if never."""
    if not leaf.loops:
        return ""
    axis, varying = leaf.loops[-1].axis, _varying(leaf)
    factors: dict[str, None] = {}
    pointers: dict[str, None] = {}
    if len(leaf.loops) > 1:
        factors.update(_factors(leaf.loops[-1].extent))
    stmts: list[Let | Store] = [*leaf.lets, *leaf.stores]
    for s in stmts:
        if isinstance(s, Store) and s.accumulate:
            return ""
        reads = [(e.buffer, e.index) for e in expressions(s.expr) if isinstance(e, Load)]
        for buffer, index in [*reads, *([(s.buffer, s.index)] if isinstance(s, Store) else [])]:
            try:
                step = coefficient(index, axis)
            except ValueError:
                return ""
            if symbols(index) & varying or step not in (0, 1) or (step == 0 and isinstance(s, Store)
                                                                  and buffer == s.buffer):
                return ""
            if step == 1:
                pointers[buffer] = None
                factors.update(_factors(without(index, axis)))
    if "" in factors:
        return ""
    return " and ".join([*(f"{x} % {LANES} == 0" for x in factors), *(f"aligned({x})" for x in pointers)])


def _factors(d: Dim) -> dict[str, None]:
    """What must be multiples of four for `d` to be one, whatever the axes are; "" if it cannot be told."""
    out: dict[str, None] = {}
    for mono, c in d.terms if isinstance(d, DimExpr) else (((), int(d)),):
        if c % LANES:
            sizes = [a.name for a in mono if isinstance(a, SymDim) and a.name[0] == "s"]
            out["*".join(sizes if len(sizes) < 2 else [f"({'*'.join(sizes)})"])] = None
    return out


def _varying(leaf: Leaf) -> set[str]:
    """Lets whose values differ between neighbours."""
    axis, out = leaf.loops[-1].axis, set[str]()
    for s in leaf.lets:
        if used((s,)) & (out | {axis}):
            out.add(s.name)
    return out


class _Quad:
    """The statements of a leaf for four elements, the first at the axes' values."""

    def __init__(self, p: Printer, leaf: Leaf):
        self.p, self.leaf, self.axis = p, leaf, leaf.loops[-1].axis
        self.varying = _varying(leaf)
        self.loaded: dict[Load, str] = {}              # what was read: its names without the lane

    def run(self) -> None:
        stmts: list[Let | Store] = [*self.leaf.lets, *self.leaf.stores]
        for s in stmts:
            self._fetch(s.expr)
            if isinstance(s, Store):
                values = [to_memory(self.p.atom(self._lane(s.expr, k)), s.expr.dtype) for k in range(LANES)]
                self.p.add(f"store4({s.buffer}, {dim_code(s.index)}, {', '.join(values)})")
            elif s.name in self.varying:
                for k in range(LANES):
                    self.p.statement(Let(f"{s.name}_{k}", self._lane(s.expr, k)))
            else:
                self.p.statement(s)

    def _fetch(self, expr: Expr) -> None:
        for e in expressions(expr):
            if isinstance(e, Load) and self.axis in symbols(e.index) and e not in self.loaded:
                name = f"x{len(self.loaded)}"
                raw = [f"{name}_{k}" + ("b" if e.dtype == "bool" else "") for k in range(LANES)]
                self.p.add(f"{', '.join(raw)} = load4({e.buffer}, {dim_code(e.index)})")
                if e.dtype == "bool":
                    for k in range(LANES):
                        self.p.add(f"{name}_{k} = {from_memory(raw[k], 'bool')}")
                self.loaded[e] = name

    def _lane(self, e: Expr, k: int) -> Expr:
        """An expression for the k-th element."""
        if isinstance(e, Ref):
            return Ref(f"{e.name}_{k}", e.dtype) if e.name in self.varying else e
        if isinstance(e, Load):
            return Ref(f"{self.loaded[e]}_{k}", e.dtype) if e in self.loaded else e
        if isinstance(e, Index):
            names = {n: sym(f"{n}_{k}") for n in symbols(e.index) & self.varying}
            return Index(substitute(e.index, {self.axis: sym(self.axis) + k, **names}), e.dtype)
        return Call(e.fn, tuple(self._lane(a, k) for a in e.args), e.dtype) if isinstance(e, Call) else e


# ------------------------------------------------------------------ additions
def scatter(p: Printer, lets: Sequence[Let], loop: Loop) -> None:
    """What may meet is added one after another, in order: each place has its thread.

    Threads share the schedule's first axis; where the place along the outer loop is data, blocks share the places.
    """
    inner = next(s for s in walk((loop,)) if isinstance(s, Loop) and s.axis == p.axes[0])
    place = _place(loop, inner)
    parts = PARTS if place else 1
    p.header(blocks_of(inner.extent, p.threads) * parts, (p.threads,))
    p.statements(lets)
    if inner is loop:
        with p.shared_loop([inner], "cuda.grid(1)", "cuda.gridsize(1)", "at"):
            p.statements(inner.body)
        return
    first, step = "cuda.grid(1)", "cuda.gridsize(1)"
    if place:
        p.add(f"parts = min(cuda.gridDim.x, {parts})")
        p.add("part = cuda.blockIdx.x % parts")
        p.add("wide = cuda.gridDim.x // parts * cuda.blockDim.x")
        p.add("start = cuda.blockIdx.x // parts * cuda.blockDim.x + cuda.threadIdx.x")
        first, step = f"start if start < wide and {place} % parts == part else {dim_code(inner.extent)}", "wide"
    with p.inside(f"for {loop.axis} in range({dim_code(loop.extent)}):"):
        p.statements([s for s in loop.body if isinstance(s, Let)])
        with p.shared_loop([inner], first, step, "at"):
            p.statements(inner.body)


def _place(loop: Loop, inner: Loop) -> str:
    """The let that says where the outer loop's additions go, if it alone does; "" if there is none."""
    names = {s.name for s in loop.body if isinstance(s, Let)}
    found = [set(symbols(s.index)) & names for s in walk(inner.body) if isinstance(s, Store)]
    found += [{""} for s in loop.body if not isinstance(s, Let) and s is not inner]
    return next(iter(found[0])) if all(len(x) == 1 and x == found[0] for x in found) else ""


__all__ = ["Leaf", "blocks_of", "elements", "leaves", "scatter"]
