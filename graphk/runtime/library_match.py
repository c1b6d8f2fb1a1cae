"""Matrix products in the text of kernels.

In: a contraction kernel, and numbers for its sizes.  Out: the `Product` that it is, with what must run before it (an
operand written as a plain matrix) and behind it (what is done with a result beyond a bias, a sum and relu).
What always holds: everything is read from loops and index polynomials, never from the op that the kernel came from; an
index that is not linear, an axis that is neither a row, a column, a contracted place nor one of a batch, and a matrix
whose strides no leading dimension can say are refused by name; what runs before and behind is a Kernel like any
other, of the same expressions.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Mapping, Sequence

from graphk.ir.dims import Dim, evaluate, substitute, sym, symbols
from graphk.ir.effects import Operand, contracted_loops, contraction_operands
from graphk.ir.loop import (Acc, Call, Expr, Index, Kernel, Let, Load, Loop, Param, Ref, Stmt, Store, Update,
                            coefficient, expressions, walk)
from graphk.ir.types import ITEMSIZE
from graphk.passes.schedule import schedule_kernel
from graphk.runtime.library import NARROW, Ask, Matrix, Product, Refused
from graphk.runtime.library_ending import Ending, ending_of

LONG = 64                         # contracted places from which on a map before or behind a product is worth its way
RESULT, PACKED = "product", "packed"               # parameters of the kernels behind and before a product


# ------------------------------------------------------------------ what the text says
@dataclass(frozen=True, slots=True, eq=False)
class Nest:
    """A contraction's loops: `results` around `sums`, two operands, and what is done with a sum.

    There is one for each kernel, so that it is compared by identity.
    """
    kernel: Kernel
    lets: tuple[Let, ...]
    results: tuple[Loop, ...]
    sums: tuple[Loop, ...]
    acc: Acc
    sides: tuple[Operand, Operand]
    epilogue: tuple[Stmt, ...]
    ending: Ending | None


@lru_cache(maxsize=1024)
def nest_of(kernel: Kernel) -> Nest | None:
    """The parts of a kernel that is scheduled as a contraction, None of another one."""
    body: tuple[Stmt, ...] = tuple(s for s in kernel.body if not isinstance(s, Let))
    if kernel.schedule is None or not kernel.schedule.tiled or len(body) != 1:
        return None
    results: list[Loop] = []
    while len(body) == 1 and isinstance(body[0], Loop):
        results.append(body[0])
        body = body[0].body
    sums = contracted_loops(results[-1])
    sides = contraction_operands(sums[-1]) if sums else None
    if sides is None or not isinstance(body[0], Acc) or body[0].combine != "add":
        return None
    epilogue = tuple(s for s in body[1:] if s is not sums[0])
    read = _names(sums[-1].body)
    if any(isinstance(s, (Loop, Acc)) or (isinstance(s, Let) and s.name in read) for s in epilogue):
        return None
    if any(symbols(x.extent) - set(kernel.sizes) for x in (*results, *sums)):
        return None
    lets = tuple(s for s in kernel.body if isinstance(s, Let))
    return Nest(kernel, lets, tuple(results), tuple(sums), body[0], sides, epilogue, ending_of(body[0], epilogue))


def rounded_to(e: Expr, named: Mapping[str, Expr]) -> str:
    """The narrow type to which an expression is rounded as its last step, "" if it is not."""
    while isinstance(e, Ref) and e.name in named:
        e = named[e.name]
    if not isinstance(e, Call) or e.dtype != "float32":
        return ""
    if e.fn == "round_bf16":
        return "bfloat16"
    inner = e.args[0] if e.fn == "cast:float32" else e
    while isinstance(inner, Ref) and inner.name in named:
        inner = named[inner.name]
    return "float16" if inner.dtype == "float16" else ""


# ------------------------------------------------------------------ kernels before and behind
def part(kernel: Kernel, lets: tuple[Let, ...], what: str, extra: Param, loops: Sequence[Loop],
         body: tuple[Stmt, ...]) -> Kernel:
    """A kernel over some of a kernel's loops, behind its `lets`, of the parameters that it touches and `extra`."""
    body = (*lets, *_nested(loops, body))
    named = {s.name: s for s in lets}
    wanted = _names(body[len(lets):])
    for let in reversed(lets):
        if let.name in wanted:
            wanted |= _names((let,))
    body = tuple(s for s in body if not isinstance(s, Let) or s.name not in named or s.name in wanted)
    touched = {e.buffer for s in walk(body) if isinstance(s, (Let, Store)) for e in expressions(s.expr)
               if isinstance(e, Load)} | {s.buffer for s in walk(body) if isinstance(s, Store)}
    params = tuple(p for p in kernel.params if p.name in touched)
    return schedule_kernel(Kernel(f"{kernel.label}_{what}", (*params, extra), kernel.sizes, body))


def _kernel(nest: Nest, what: str, extra: Param, loops: Sequence[Loop], body: tuple[Stmt, ...]) -> Kernel:
    return part(nest.kernel, nest.lets, what, extra, loops, body)


def _nested(loops: Sequence[Loop], body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    for loop in reversed(loops):
        body = (Loop(loop.axis, loop.extent, body),)
    return body


def _names(stmts: tuple[Stmt, ...]) -> set[str]:
    """Names of values that statements use, in index polynomials too."""
    out: set[str] = set()
    for s in walk(stmts):
        if isinstance(s, (Let, Store, Update)):
            for e in expressions(s.expr):
                out |= {e.name} if isinstance(e, Ref) else symbols(e.index) if isinstance(e, (Load, Index)) else set()
        if isinstance(s, Store):
            out |= symbols(s.index)
    return out


def place_of(loops: Sequence[Loop]) -> Dim:
    """The place of the loops' current trip in an array with an axis for each."""
    out: Dim = 0
    for loop in loops:
        out = out * loop.extent + sym(loop.axis)
    return out


@lru_cache(maxsize=1024)
def before(nest: Nest, side: int, order: tuple[str, ...], dtype: str) -> Kernel:
    """The kernel that writes an operand as a matrix without gaps, its axes in `order`, as numbers of a type."""
    loops = _of(nest, order)
    operand = nest.sides[side]
    place = place_of(loops)
    load = operand.load
    if dtype == "bfloat16":                        # the upper half of a float32 whose lower one is zero
        assert load is not None
        half = Store(PACKED, place, Load(load.buffer, load.index * 2 + 1, "int16"))
        made = _kernel(nest, "narrow", Param(PACKED, "int16", "out"), loops, (half,))
        return replace(made, params=tuple(replace(p, dtype="int16") for p in made.params))
    expr = operand.expr if dtype != "float16" else Call("cast:float16", (operand.expr,), "float16")
    lets = tuple(s for s in operand.lets if s not in nest.lets)
    return _kernel(nest, "packed", Param(PACKED, dtype, "out"), loops, (*lets, Let("gk", expr),
                                                                      Store(PACKED, place, Ref("gk", expr.dtype))))


@lru_cache(maxsize=1024)
def behind(nest: Nest, order: tuple[str, ...]) -> Kernel:
    """The kernel that does with a product what the nest does with its sums; the product's axes lie in `order`."""
    value = Let(nest.acc.name, Load(RESULT, place_of(_of(nest, order)), nest.acc.dtype))
    return _kernel(nest, "epilogue", Param(RESULT, nest.acc.dtype, "in"), nest.results, (value, *nest.epilogue))


def _of(nest: Nest, order: Sequence[str]) -> list[Loop]:
    loops = {loop.axis: loop for loop in (*nest.results, *nest.sums)}
    return [loops[axis] for axis in order]


# ------------------------------------------------------------------ with numbers
@dataclass(frozen=True, slots=True)
class Source:
    """An operand or result: a kernel's parameter, `offset` elements on; "" stands for memory of the call's own."""
    param: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Pack:
    """A kernel that writes what the call reads as its left (0) or right (1) operand, and how many bytes.

    image: what it reads as `p0`, and its own sizes, where it is no kernel over the step's loops (then it writes `p1`).
    """
    role: int
    kernel: Kernel
    nbytes: int
    image: tuple[Source, tuple[int, ...]] | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """How a step becomes a library's call.

    packs: kernels that write operands into memory of the call's own.  epilogue: what reads the result from such memory.
    signs: the array (a matrix) above 0 of which results are kept, if that is for the caller to hand over as bits.
    """
    ask: Ask
    left: Source
    right: Source
    out: Source
    bias: Source | None = None
    added: Source | None = None
    aux: Source | None = None
    signs: tuple[Source, Matrix] | None = None
    packs: tuple[Pack, ...] = ()
    epilogue: Kernel | None = None
    room: int = 0                                  # bytes of the result for the epilogue


def match_product(nest: Nest, sizes: Mapping[str, int], narrow: tuple[str, str] = ("", ""),
                  tf32: bool = False, plain: bool = False, signs: bool = False) -> Match:
    """The product that a nest is at these sizes; `narrow`: to which type each operand was rounded.

    plain: whether nothing may be done with a sum.  signs: whether relu's gradient may be asked for, with an `aux` that
    the caller must say.  Raises `Refused` with the reason.
    """
    numbers = Numbers(nest, sizes, tf32 or exact_in_tf32(narrow), signs)
    kind = narrow[0] if narrow[0] == narrow[1] and narrow[0] in NARROW else ""
    if kind == "bfloat16" and any(side.load is None for side in nest.sides):
        kind = ""
    reasons: dict[str, None] = {}
    for dtype in (kind, nest.acc.dtype) if kind else (nest.acc.dtype,):
        for packed in ((0, 1),) if dtype == kind else ((), (0,), (1,), (0, 1)):
            for alone in (False, True):
                try:
                    return numbers.attempt(dtype, packed, alone, plain)
                except Refused as e:
                    reasons[str(e)] = None
    raise Refused("; ".join(reasons))


def exact_in_tf32(narrow: tuple[str, str]) -> bool:
    """Whether tf32 (float32's exponents, 10 bits of the mantissa) holds both operands as they are: float16 has 10 bits
    and fewer exponents, bfloat16 has 7 bits."""
    return all(x in NARROW for x in narrow)


Strides = dict[str, int]          # of each axis: elements from one place to the next


class Numbers:
    """A nest with numbers for its sizes."""

    def __init__(self, nest: Nest, sizes: Mapping[str, int], tf32: bool, signs: bool = False):
        self.nest, self.sizes, self.tf32, self.signs = nest, sizes, tf32, signs
        self.extent = {x.axis: evaluate(x.extent, sizes) for x in (*nest.results, *nest.sums)}
        if min(self.extent.values()) < 1:
            raise Refused("there is nothing to compute")
        self.results = [x.axis for x in nest.results if self.extent[x.axis] > 1]
        self.sums = [x.axis for x in nest.sums if self.extent[x.axis] > 1]
        self.varies = [frozenset(a for a in self.extent if any(a in symbols(d) for d in side.indices()))
                       for side in nest.sides]
        left, right = self.varies
        if any(a not in left & right for a in self.sums):
            raise Refused("an operand is the same for several contracted places")
        if any(a not in left | right for a in self.results):
            raise Refused("a result stands in several places")
        self.batch = [a for a in self.results if a in left and a in right]
        self.own = [[a for a in self.results if a in v and a not in self.batch] for v in self.varies]
        self.depth = self.count(self.sums)

    def count(self, axes: Sequence[str]) -> int:
        out = 1
        for a in axes:
            out *= self.extent[a]
        return out

    def strides(self, index: Dim) -> Strides:
        """Elements from one place of each axis to the next; `Refused` where that differs from place to place."""
        data = sorted(symbols(index) - self.extent.keys() - self.sizes.keys())
        if data:
            raise Refused(f"the index {index} is data")
        try:
            out = {a: evaluate(coefficient(index, a), self.sizes) for a in (*self.results, *self.sums)}
        except (ValueError, KeyError):                 # squared or rounded, or times another axis
            raise Refused(f"the index {index} is not linear") from None
        if any(x < 0 for x in out.values()):
            raise Refused(f"the index {index} runs backwards")
        return out

    def group(self, axes: Sequence[str], accesses: Sequence[Strides], what: str) -> tuple[str, ...]:
        """The order in which several axes are one for all accesses."""
        order = sorted(axes, key=lambda a: -accesses[0][a]) if accesses else list(axes)
        for outer, inner in zip(order, order[1:]):
            if any(s[outer] != s[inner] * self.extent[inner] for s in accesses):
                raise Refused(f"the {what} of an array lie in several strides")
        return tuple(order)

    def attempt(self, dtype: str, packed: tuple[int, ...], alone: bool, plain: bool) -> Match:
        """The match with some operands packed, and (`alone`) what is done with the result in a kernel of its own;
        `plain`: the library must not do it."""
        ending = None if alone else self.nest.ending
        signs = ending is not None and ending.at is not None and ending.activation == "relu"
        if not alone and (ending is None or signs > self.signs or plain and (ending.added or ending.activation)):
            raise Refused("what is done with the result is not a library's")
        if (packed or alone) and self.depth < LONG:
            raise Refused(f"{self.depth} contracted places are too few for a map before or behind them")
        loads = [None if side in packed else self.plain(side) for side in (0, 1)]
        left, right = (None if load is None else self.strides(load.index) for load in loads)
        out, bias, added, aux = self.ends(ending)
        if ending is not None and self.nest.acc.dtype == "float64" and (bias is not None or ending.activation):
            raise Refused("what is done with a float64 result is not a library's")
        known, whole = _given(left, right), _given(out, added, aux)
        k = self.group(self.sums, known, "contracted places")
        b = self.group(self.batch, [*known, *whole], "members")
        m = self.group(self.own[0], [*_given(left), *whole], "rows")
        n = self.group(self.own[1], [*_given(right), *whole, *_given(bias)], "columns")
        if bias is not None and n and bias[n[-1]] != 1:
            raise Refused("what is added to each row does not lie side by side")
        packs = tuple(self.packed(side, (*b, *(m, n)[side], *k), dtype) for side in packed)
        product = Product(
            self.count(m), self.count(n), self.depth, self.count(b), dtype,
            self.operand(left or self.dense((*b, *m, *k)), m, k, b),
            self.operand(right or self.dense((*b, *n, *k)), k, n, b),
            self.result(out or self.dense((*b, *m, *n)), m, n, b), bias is not None,
            self.result(added, m, n, b) if added is not None else None,
            ending.activation if ending is not None else "", self.result(aux, m, n, b) if aux is not None else None,
            ending is not None and ending.at is not None, tf32=self.tf32 and dtype == "float32")
        sources = [self.source(x) for x in loads]
        if ending is None:
            order = with_rest([x.axis for x in self.nest.results], (*b, *m, *n))
            return Match(product, sources[0], sources[1], Source(""), packs=packs, epilogue=behind(self.nest, order),
                         room=self.count(order) * ITEMSIZE[product.result])
        if product.aux is not None and (product.batch > 1 or not signs and product.aux.row % 8):
            raise Refused("what gelu is taken of lies in rows of no multiple of 8 numbers, or in several matrices")
        plus = {"bias" if self.along_rows(x) else "added": self.source(x) for x in ending.added}
        beside = self.source(ending.at or ending.kept) if aux is not None else None
        found = Match(product, sources[0], sources[1], self.source(ending.store), plus.get("bias"), plus.get("added"),
                      beside, packs=packs)
        if not signs:
            return found
        assert beside is not None and product.aux is not None
        return replace(found, aux=None, signs=(beside, product.aux))

    def ends(self, ending: Ending | None) -> tuple[Strides | None, ...]:
        """Strides of the result, of what is added to each row, of what is added to the whole, and of what stands
        beside: what an activation is taken of, or its slope at."""
        if ending is None:
            return None, None, None, None
        bias = [self.strides(x.index) for x in ending.added if self.along_rows(x)]
        added = [self.strides(x.index) for x in ending.added if not self.along_rows(x)]
        if len(bias) > 1 or len(added) > 1:
            raise Refused("two arrays of one shape are added to the result")
        beside = ending.at or ending.kept
        return (self.strides(ending.store.index), bias[0] if bias else None, added[0] if added else None,
                self.strides(beside.index) if beside is not None else None)

    def along_rows(self, load: Load) -> bool:
        """Whether what is added is the same for each row."""
        strides = self.strides(load.index)
        return not any(strides[a] for a in (*self.batch, *self.own[0]))

    def source(self, x: Load | Store | None) -> Source:
        if x is None:
            return Source("")
        return Source(x.buffer, int(evaluate(substitute(x.index, dict.fromkeys(self.extent, 0)), self.sizes)))

    def packed(self, side: int, order: tuple[str, ...], dtype: str) -> Pack:
        """The kernel that writes an operand without gaps."""
        self.once(side)
        axes = [x.axis for x in (*self.nest.results, *self.nest.sums) if x.axis in self.varies[side]]
        nbytes = self.count(order) * ITEMSIZE["float16" if dtype in NARROW else dtype]
        return Pack(side, before(self.nest, side, with_rest(axes, order), dtype), nbytes)

    def plain(self, side: int) -> Load:
        load = self.nest.sides[side].load
        if load is None:
            raise Refused("an operand is computed while it is read")
        return load

    def once(self, side: int) -> None:
        """Refuse to write an operand whose elements are read for several places (windows): it would grow."""
        for index in self.nest.sides[side].indices():
            strides = sorted((s, self.extent[a]) for a, s in self.strides(index).items() if a in self.varies[side])
            reach = 0
            for stride, extent in strides:
                if stride and stride <= reach:
                    raise Refused("an operand is windows that share elements")
                reach += stride * (extent - 1)

    def dense(self, order: Sequence[str]) -> Strides:
        out, step = {}, 1
        for a in reversed(order):
            out[a] = step
            step *= self.extent[a]
        return {a: out.get(a, 0) for a in (*self.results, *self.sums)}

    def matrix(self, s: Strides, rows: Sequence[str], columns: Sequence[str], batch: Sequence[str]) -> Matrix:
        """Rows and columns of one array, for each of a batch."""
        across = s[columns[-1]] if columns else 1
        return Matrix(s[rows[-1]] if rows else across * self.count(columns), across, s[batch[-1]] if batch else 0)

    def result(self, s: Strides, rows: Sequence[str], columns: Sequence[str], batch: Sequence[str]) -> Matrix:
        """A matrix in rows."""
        x = self.matrix(s, rows, columns, batch)
        if not x.in_rows(self.count(columns)):
            raise Refused("the result's columns do not lie side by side")
        return x

    def operand(self, s: Strides, rows: Sequence[str], columns: Sequence[str], batch: Sequence[str]) -> Matrix:
        """A matrix in rows or columns."""
        x = self.matrix(s, rows, columns, batch)
        if x.in_rows(self.count(columns)):
            return x
        if not rows:
            x = Matrix(1, x.column, x.batch)
        if x.row == 1 and x.column >= self.count(rows):
            return x
        raise Refused("no axis of an operand lies side by side, or rows share elements")


def _given(*strides: Strides | None) -> list[Strides]:
    return [s for s in strides if s is not None]


def with_rest(axes: Sequence[str], order: Sequence[str]) -> tuple[str, ...]:
    """`order` behind the axes that it leaves out: those of one place."""
    return (*(a for a in axes if a not in order), *order)


__all__ = ["LONG", "Match", "Nest", "Numbers", "PACKED", "Pack", "RESULT", "Source", "Strides", "before", "behind",
           "exact_in_tf32", "match_product", "nest_of", "part", "place_of",
           "rounded_to", "with_rest"]
