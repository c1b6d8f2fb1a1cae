"""What one library's call does for another step of the same program.

In: the calls that a program's steps are, each by itself.  Out: the same with two things shared.  A product that ends in
relu writes a bit for each result, and the product behind whose sums stands relu's gradient reads it; a product writes
the sums of its right operand's columns, and the step that adds up those columns (a bias's gradient) reads them.  What
always holds: who reads follows who writes, by the program's own barriers or on the same lane; nothing between them
writes what the one saw and the other would have read; a step that a library refused to share stands alone.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import AbstractSet, Callable, Mapping, Sequence, Union

from graphk.ir.dims import compile_dims, evaluate, substitute, symbols
from graphk.ir.effects import root_of, touched
from graphk.ir.loop import Acc, Kernel, Let, Load, Loop, Param, Ref, Stmt, Update, coefficient
from graphk.ir.program import Program, Step
from graphk.runtime.library import Library, Matrix, Product
from graphk.runtime.library_match import RESULT, Match, part, place_of

BITS = 128                        # rows of relu's bits begin at multiples of so many
ALIGN = 256                       # bytes, of each array in a call's own memory: what the fastest algorithms want


@dataclass(frozen=True, slots=True)
class Chosen:
    """A step as a library's call.

    places: bytes into memory that calls share, packs first, and `nbytes` of it.  aux, totals: bytes into memory that
    is theirs for the whole run, -1 where there is none.  follow: the step that reads the totals, and how.
    """
    match: Match
    library: Library
    places: tuple[int, ...]
    nbytes: int
    aux: int = -1
    totals: int = -1
    follow: tuple[Step, Kernel] | None = None


@dataclass(slots=True)
class Plan:
    """For each step (by identity) its call, why it is none, or the step whose call does it; and bytes of memory that is
    theirs for the whole run."""
    found: dict[int, Union[Chosen, str, Step]]
    lasting: int = 0

    def take(self, nbytes: int) -> int:
        at = self.lasting
        self.lasting += -(-nbytes // ALIGN) * ALIGN
        return at


def join(plan: Plan, program: Program, env: Mapping[str, int], alone: AbstractSet[int],
         signed: Callable[[Step], Chosen | str]) -> Plan:
    """Let calls share.  alone: steps that must not; signed: a step as a product with relu's gradient."""
    roots = root_of(program)
    writer: dict[str, object] = {}                 # of each storage: who wrote it last
    group: list[Step] = []
    for s in program.steps:
        if not isinstance(s, Step) or s.barrier:
            _totals(plan, group, env, alone)
            group = []
        if isinstance(s, Step):
            group.append(s)
            call = signed(s) if id(s) not in alone else ""
            if isinstance(call, Chosen) and call.match.signs is not None:
                named = {p.name: b for p, b in zip(s.kernel.params, s.buffers)}
                first = writer.get(roots[named[call.match.signs[0].param]])
                if isinstance(first, Step) and id(first) not in alone:
                    _signs(plan, first, s, call, named)
        writer.update(dict.fromkeys(touched(s, roots)[1], s))
    _totals(plan, group, env, alone)
    return plan


# ------------------------------------------------------------------ relu's gradient
def _signs(plan: Plan, first: Step, second: Step, call: Chosen, named: Mapping[str, str]) -> None:
    """Let `first`, if it is a product that ends in relu, write bits for `second`, if it reads just these results."""
    found = plan.found.get(id(first))
    assert call.match.signs is not None
    (source, lies), ask = call.match.signs, call.match.ask
    if not isinstance(found, Chosen) or found.match.epilogue is not None:
        return
    written = found.match.ask
    assert isinstance(ask, Product)
    if not isinstance(written, Product) or written.activation != "relu" or written.slope:
        return
    buffer = dict(zip((p.name for p in first.kernel.params), first.buffers))[found.match.out.param]
    if (buffer, found.match.out.offset, written.out, written.m, written.n, written.batch) != (
            named[source.param], source.offset, lies, ask.m, ask.n, 1):
        return
    bits = Matrix(-(-ask.n // BITS) * BITS, 1)
    place = found.aux if found.aux >= 0 else plan.take(ask.m * bits.row // 8)
    for step, x in ((first, found), (second, call)):
        assert isinstance(x.match.ask, Product)
        plan.found[id(step)] = replace(x, match=replace(x.match, ask=replace(x.match.ask, aux=bits)), aux=place)


# ------------------------------------------------------------------ sums of columns
@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """A kernel that adds up columns: loops over results, loops over what is added, and what is done with a sum."""
    kernel: Kernel
    lets: tuple[Let, ...]
    results: tuple[Loop, ...]
    sums: tuple[Loop, ...]
    acc: Acc
    load: Load
    rest: tuple[Stmt, ...]


@lru_cache(maxsize=1024)
def sums_of(kernel: Kernel) -> Sums | None:
    """The parts of a kernel that does nothing but sums over some axes of one array, None of another."""
    body: tuple[Stmt, ...] = tuple(s for s in kernel.body if not isinstance(s, Let))
    results: list[Loop] = []
    between: tuple[Let, ...] = ()                  # of outer loops: what they compute is read inside of the innermost
    while len(body) == 1 and isinstance(body[0], Loop):
        between += tuple(s for s in results[-1].body if isinstance(s, Let)) if results else ()
        results.append(body[0])
        body = tuple(s for s in body[0].body if not isinstance(s, Let))
    accs, loops = [s for s in body if isinstance(s, Acc)], [s for s in body if isinstance(s, Loop)]
    if len(accs) != 1 or len(loops) != 1 or accs[0].combine != "add" or not results:
        return None
    sums, inner = [loops[0]], loops[0].body
    while len(inner) == 1 and isinstance(inner[0], Loop):
        sums.append(inner[0])
        inner = inner[0].body
    if len(inner) != 2:
        return None
    let, update = inner
    if not isinstance(let, Let) or not isinstance(update, Update) or not isinstance(let.expr, Load) or (
            update.expr != Ref(let.name, let.expr.dtype)):
        return None
    rest = between + tuple(s for s in results[-1].body if s is not accs[0] and s is not loops[0])
    outer = tuple(s for s in kernel.body if isinstance(s, Let))
    return Sums(kernel, outer, tuple(results), tuple(sums), accs[0], let.expr, rest)


def _totals(plan: Plan, group: Sequence[Step], env: Mapping[str, int], alone: AbstractSet[int]) -> None:
    """Let products of a group of steps that do not wait for each other add up columns for the others."""
    for s in group:
        sums = sums_of(s.kernel)
        if sums is None or isinstance(plan.found.get(id(s)), Chosen):
            continue
        for p in group:
            found = plan.found.get(id(p))
            if not isinstance(found, Chosen) or found.totals >= 0 or id(p) in alone or not _adds(found, p, s, sums,
                                                                                                 env):
                continue
            ask = found.match.ask
            assert isinstance(ask, Product)
            value = Let(sums.acc.name, Load(RESULT, place_of(sums.results), sums.acc.dtype))
            kernel = part(s.kernel, sums.lets, "totals", Param(RESULT, sums.acc.dtype, "in"), sums.results,
                          (value, *sums.rest))
            plan.found[id(p)] = replace(found, match=replace(found.match, ask=replace(ask, totals=True)),
                                        totals=plan.take(4 * ask.n), follow=(s, kernel))
            plan.found[id(s)] = p
            break


def _adds(found: Chosen, product: Step, step: Step, sums: Sums, env: Mapping[str, int]) -> bool:
    """Whether a step's sums are those of the columns of a product's right operand."""
    p, right = found.match.ask, found.match.right
    if not isinstance(p, Product) or p.dtype != "float32" or sums.acc.dtype != "float32" or p.batch > 1 or p.bias or (
            p.activation) or not right.param:
        return False
    own = dict(zip((x.name for x in step.kernel.params), step.buffers))
    theirs = dict(zip((x.name for x in product.kernel.params), product.buffers))
    if own[sums.load.buffer] != theirs[right.param] or p.right.batch:
        return False
    sizes = dict(zip(step.kernel.sizes, compile_dims(step.sizes)(env)))
    axes = {x.axis: x.extent for x in (*sums.results, *sums.sums)}
    if any(symbols(e) - sizes.keys() for e in axes.values()) or symbols(sums.load.index) - axes.keys() - sizes.keys():
        return False
    try:
        stride = {a: evaluate(coefficient(sums.load.index, a), sizes) for a in axes}
        offset = evaluate(substitute(sums.load.index, dict.fromkeys(axes, 0)), sizes)
    except (ValueError, KeyError):                 # not linear
        return False
    extent = {a: evaluate(e, sizes) for a, e in axes.items()}

    def walks(loops: Sequence[Loop], step: int, count: int) -> bool:
        """Whether the last of the loops walks in such steps, and each outer one in as many as those inside take."""
        for loop in reversed(loops):
            if extent[loop.axis] > 1 and stride[loop.axis] != step:
                return False
            step *= extent[loop.axis]
            count, over = divmod(count, extent[loop.axis]) if extent[loop.axis] else (0, 1)
            if over:
                return False
        return count == 1
    return offset == right.offset and walks(sums.results, p.right.column, p.n) and walks(sums.sums, p.right.row, p.k)


__all__ = ["ALIGN", "Chosen", "Plan", "join"]
