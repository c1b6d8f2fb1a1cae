"""The verifier of Program: buffers, their bytes and the order of steps.

In: a Program and the name of the pass that made it.  Out: nothing, or a `VerifyError` that names the pass, the
step, the layer and user's line that it stems from, and the broken rule.  What always holds: each rule is one function
that yields what breaks it; polynomials are compared at several values of the program's dims (`SAMPLES`), so that
"may overlap" means "does at one of these"; bytes and barriers are checked once memory is planned.
"""
from __future__ import annotations

from functools import cached_property
from typing import Callable, Iterator, NamedTuple

from graphk.ir.dims import Dim, compile_dims, symbols
from graphk.ir.effects import lifetimes, may_overwrite, root_of, touched
from graphk.ir.program import ALIGN, AnyStep, Buffer, LoopStep, Program, Step, flat_steps
from graphk.ir.row_loops import block_misfit, misfit
from graphk.ir.verify_kernel import KERNEL_RULES, VerifyError, blame, verify_kernel

PLACES = ("input", "output", "variable", "const", "arena", "alias")
SAMPLES = (2, 7, 32, 129)


class BrokenStep(NamedTuple):
    """What breaks a rule of programs: the step, a buffer (or neither: the program itself) and a sentence."""
    at: AnyStep | Buffer | None
    message: str


class Facts:
    """A program, and what several rules ask about it."""

    def __init__(self, program: Program):
        self.program = program
        self.buffers = {b.name: b for b in program.buffers}
        self.steps = flat_steps(program.steps)
        self._touched: dict[int, tuple[set[str], set[str]]] = {}

    @cached_property
    def roots(self) -> dict[str, str]:
        return root_of(self.program)

    def touched(self, step: AnyStep) -> tuple[set[str], set[str]]:
        """Storage that a step reads and writes."""
        if id(step) not in self._touched:
            self._touched[id(step)] = touched(step, self.roots)
        return self._touched[id(step)]

    def at_samples(self, dims: tuple[Dim, ...]) -> list[tuple[int, ...]]:
        """The values of `dims` for several values of the program's symbols, each symbol with its own."""
        code = compile_dims(dims)
        return [code(env) for env in self.samples]

    @cached_property
    def samples(self) -> list[dict[str, int]]:
        """Values of the program's dims that its guards let pass, and that make no size negative (maybe none)."""
        guards = compile_dims(tuple(a - b for a, b in self.program.guards))
        sizes = compile_dims(tuple(d for b in self.program.buffers for d in b.type.shape))
        envs = [{name: s + 3 * i for i, name in enumerate(self.program.dims)} for s in SAMPLES]
        envs += [dict.fromkeys(self.program.dims, s) for s in (range(1, 13) if self.program.guards else (1, 3))]

        def passes(env: dict[str, int]) -> bool:
            try:
                return not any(guards(env)) and min(sizes(env), default=0) >= 0
            except ZeroDivisionError:                            # what a `-1` in a shape stands for, of nothing
                return False
        return [e for e in envs if passes(e)]

    @cached_property
    def shared(self) -> dict[str, set[str]]:
        """For each arena buffer the others that have bytes in common with it."""
        arena = [b for b in self.program.buffers if b.place == "arena"]
        out: dict[str, set[str]] = {b.name: set() for b in arena}
        for values in self.at_samples(tuple(d for b in arena for d in (b.offset, b.nbytes))):
            spans = sorted((values[2 * i], values[2 * i] + values[2 * i + 1], b.name) for i, b in enumerate(arena))
            for i, (start, end, name) in enumerate(spans):
                for other_start, other_end, other in spans[i + 1:]:
                    if other_start >= end:
                        break
                    if end > start and other_end > other_start:
                        out[name].add(other)
                        out[other].add(name)
        return out


# ------------------------------------------------------------------ rules of any program
def buffers_sound(f: Facts) -> Iterator[BrokenStep]:
    """Buffers have names of their own, known places, and a view's base exists and holds it."""
    if len(f.buffers) != len(f.program.buffers):
        yield BrokenStep(None, "two buffers have the same name")
    for b in f.program.buffers:
        if b.place not in PLACES:
            yield BrokenStep(b, f"its place is {b.place!r}; expected one of {', '.join(PLACES)}")
        if b.place == "alias":
            seen = {b.name}
            base = f.buffers.get(b.base)
            while base is not None and base.place == "alias" and base.name not in seen:
                seen.add(base.name)
                base = f.buffers.get(base.base)
            if base is None or base.name in seen:
                yield BrokenStep(b, f"it is a view of `{b.base}`, which leads to no storage")
            elif base.type.dtype != b.type.dtype:
                yield BrokenStep(b, f"it is a view of {base.type} as {b.type.dtype}")
            elif any(mine > whole > 0 for mine, whole in f.at_samples((b.nbytes, base.nbytes))):      # 0: never entered
                yield BrokenStep(b, f"it has {b.nbytes} bytes, its base `{base.name}` only {base.nbytes}")


def ends_indexed(f: Facts) -> Iterator[BrokenStep]:
    """Inputs and outputs are numbered 0, 1, ... without gaps."""
    for place in ("input", "output"):
        found = sorted(b.index for b in f.program.buffers if b.place == place)
        if found != list(range(len(found))):
            yield BrokenStep(None, f"its {place}s are numbered {found}; expected {list(range(len(found)))}")


def dims_bound(f: Facts) -> Iterator[BrokenStep]:
    """Every dim that is used is one of the program's, and a call's arrays give each of those a value."""
    p = f.program
    bound = {str(d) for b in p.buffers if b.place in ("input", "variable") for d in b.type.shape
             if symbols(d) == {str(d)}}
    for _ in p.guards:
        for pair in p.guards:
            for left, right in (pair, pair[::-1]):
                if symbols(left) == {str(left)} and symbols(right) <= bound:
                    bound.add(str(left))
    if missing := set(p.dims) - bound:
        yield BrokenStep(None, f"nothing gives {_list(missing)} a value when the program is called")
    for b in p.buffers:
        if missing := (b.type.symbols() | symbols(b.offset)) - set(p.dims):
            yield BrokenStep(b, f"it speaks of {_list(missing)}, which are no dims of the program")
    for s in _all_steps(p.steps):
        used = {s.length, s.rows, *(d for _, _, d in s.windows)} if isinstance(s, LoopStep) else {*s.sizes, s.cost}
        if missing := set().union(*map(symbols, used)) - set(p.dims):
            yield BrokenStep(s, f"it speaks of {_list(missing)}, which are no dims of the program")


def steps_fit(f: Facts) -> Iterator[BrokenStep]:
    """A step passes one buffer of the right dtype for each parameter of its kernel, and one dim for each size."""
    for s in f.steps:
        params = s.kernel.params
        if not f.program.planned:                              # private buffers come with the memory plan
            params = tuple(p for p in params if p.role != "temp" or len(s.buffers) == len(params))
        if len(s.buffers) != len(params):
            yield BrokenStep(s, f"it passes {len(s.buffers)} buffers, its kernel takes {len(params)}")
        if len(s.sizes) != len(s.kernel.sizes):
            yield BrokenStep(s, f"it passes {len(s.sizes)} sizes, its kernel takes {len(s.kernel.sizes)}")
        for p, name in zip(params, s.buffers):
            if name not in f.buffers:
                yield BrokenStep(s, f"it passes `{name}`, which is no buffer of the program")
            elif f.buffers[name].type.dtype != p.dtype:
                yield BrokenStep(s, f"it passes `{name}` of dtype {f.buffers[name].type.dtype} for `{p.name}`, "
                                    f"which is {p.dtype}")


def loops_fit(f: Facts) -> Iterator[BrokenStep]:
    """A loop's windows are views of their buffers, one step's bytes apart, and all of them fit."""
    for s in _all_steps(f.program.steps):
        if isinstance(s, LoopStep):
            for window, whole, stride in s.windows:
                w, b = f.buffers.get(window), f.buffers.get(whole)
                if w is None or b is None or w.place != "alias":
                    yield BrokenStep(s, f"its window `{window}` of `{whole}` is no view of a buffer")
                elif any(x != y or n * y > z for x, y, n, z in f.at_samples((w.nbytes, stride, s.length, b.nbytes))):
                    yield BrokenStep(s, f"{s.length} windows of {w.nbytes} bytes, {stride} apart, do not fit "
                                        f"`{whole}` of {b.nbytes} bytes")


def rows_apart(f: Facts) -> Iterator[BrokenStep]:
    """The rows that threads share for a whole loop, or that a block takes in turn, do not depend on each other."""
    for s in _all_steps(f.program.steps):
        if isinstance(s, LoopStep) and s.rows != 0 and (why := misfit(s, s.rows, f.buffers, f.roots)):
            yield BrokenStep(s, f"its threads may not share rows of {s.rows}: {why}")
    end = -1
    for b in f.program.blocks:
        steps = f.program.steps[b.first:b.last + 1]
        if not end < b.first <= b.last < len(f.program.steps):
            yield BrokenStep(None, f"`{b}` are not steps of it in order, of one block each")
        elif why := block_misfit(steps, b.rows, f.buffers, f.roots):
            yield BrokenStep(steps[0], f"it may not begin a block of rows of {b.rows}: {why}")
        end = b.last


def written_before_read(f: Facts) -> Iterator[BrokenStep]:
    """A step reads only what a caller gave or an earlier step wrote; every output is written."""
    known = {b.name for b in f.program.buffers if b.place in ("input", "variable", "const")}
    for s in f.steps:
        reads, writes = f.touched(s)
        if missing := reads - known:
            yield BrokenStep(s, f"it reads {_list(missing)}, which nothing wrote before")
        known |= writes
    for b in f.program.buffers:
        if b.place == "output" and b.name not in known:
            yield BrokenStep(b, "no step writes this output")


def callers_arrays_kept(f: Facts) -> Iterator[BrokenStep]:
    """Inputs and constants are never written; nothing reads a variable once its new value is there, unless by the
    name (a view of the variable) that the new value was written under."""
    fixed = {b.name for b in f.program.buffers if b.place in ("input", "const")}
    variables = {b.name for b in f.program.buffers if b.place == "variable"}
    written: set[str] = set()
    fresh: set[str] = set()                                    # names of new values
    for s in f.steps:
        reads, writes = f.touched(s)
        if bad := writes & fixed:
            yield BrokenStep(s, f"it writes {_list(bad)}, which belongs to the caller")
        if bad := (touched(s, _roots_but(f, fresh))[0] if fresh else reads) & written:
            yield BrokenStep(s, f"it reads the variable {_list(bad)} after the update that overwrote it")
        for v in writes & reads & variables:
            if not may_overwrite(s, v, v, f.roots):
                yield BrokenStep(s, f"it overwrites the variable `{v}` before it has read all that it needs of it")
        written |= writes & variables
        fresh |= {b for p, b in zip(s.kernel.params, s.buffers) if p.role == "out" and f.buffers[b].place == "alias"}


def _roots_but(f: Facts, fresh: set[str]) -> dict[str, str]:
    """Storage by name, where a `fresh` name (and a view of it) stands for itself."""
    out = dict(f.roots)
    for name in f.roots:
        at = name
        while at not in fresh and f.buffers[at].place == "alias":
            at = f.buffers[at].base
        out[name] = at
    return out


# ------------------------------------------------------------------ rules once memory is planned
def bytes_apart(f: Facts) -> Iterator[BrokenStep]:
    """Arena buffers are aligned, lie in the arena, and share bytes only if their lives do not overlap."""
    arena = [b for b in f.program.buffers if b.place == "arena"]
    dims = tuple(d for b in arena for d in (b.offset, b.nbytes))
    for values in f.at_samples((f.program.arena, *dims)):
        for i, b in enumerate(arena):
            offset, size = values[2 * i + 1], values[2 * i + 2]
            if offset % ALIGN or offset < 0 or offset + size > values[0]:
                yield BrokenStep(b, f"its bytes {offset} to {offset + size} are not aligned to {ALIGN} or leave the "
                                    f"arena of {values[0]} bytes")
    life = lifetimes(f.program, f.roots)
    for name, others in f.shared.items():
        for other in others:
            if name in life and other in life and life[name] <= life[other]:
                yield from _lives_apart(f, name, other, life)


def _lives_apart(f: Facts, first: str, second: str, life: dict[str, tuple[int, int]]) -> Iterator[BrokenStep]:
    end, start = life[first][1], life[second][0]
    if end < start or (first < second and life[first] == life[second] and first == second):
        return
    step = f.program.steps[start]
    if end == start and isinstance(step, Step) and life[first] != life[second] \
            and f.buffers[first].offset == f.buffers[second].offset and may_overwrite(step, first, second, f.roots):
        return
    yield BrokenStep(step, f"`{first}` (steps {life[first][0]} to {end}) and `{second}` (steps {start} to "
                           f"{life[second][1]}) share bytes of the arena while both are needed")


def barriers_set(f: Facts) -> Iterator[BrokenStep]:
    """A step waits for all threads if it touches what a step since the last barrier wrote, or writes what it read."""
    yield from _barriers_set(f, f.program.steps)


def _barriers_set(f: Facts, steps: tuple[AnyStep, ...]) -> Iterator[BrokenStep]:
    reads: set[str] = set()
    writes: set[str] = set()
    for s in steps:
        r, w = f.touched(s)
        near_reads, near_writes = (set().union(names, *(f.shared.get(n, ()) for n in names)) for names in (r, w))
        if s.barrier:
            reads, writes = set(), set()
        if bad := (writes & (near_reads | near_writes)) | (reads & near_writes):
            yield BrokenStep(s, f"it needs a barrier: {_list(bad)} is in use by steps since the last one")
        if isinstance(s, LoopStep):
            yield from _barriers_set(f, s.body)
        reads, writes = reads | r, writes | w


PROGRAM_RULES: tuple[Callable[[Facts], Iterator[BrokenStep]], ...] = (
    buffers_sound, ends_indexed, dims_bound, steps_fit, loops_fit, rows_apart, written_before_read, callers_arrays_kept)
PLANNED_RULES: tuple[Callable[[Facts], Iterator[BrokenStep]], ...] = (bytes_apart, barriers_set)


def verify_program(program: Program, after: str = "") -> None:
    """Check `program` and its kernels; `VerifyError` for the first broken rule."""
    facts = Facts(program)
    for s in facts.steps:
        verify_kernel(s.kernel, after, s.origin)
    for rule in (*PROGRAM_RULES, *(PLANNED_RULES if program.planned else ())):
        for at, message in rule(facts):
            raise VerifyError(_report(program, after, rule, at, message), rule.__name__)


def _report(program: Program, after: str, rule: Callable[[Facts], Iterator[BrokenStep]], at: AnyStep | Buffer | None,
            message: str) -> str:
    lines = [f"the program `{program.name}` is not valid after {after or 'construction'}: {message}",
             f"  rule: {rule.__name__} ({(rule.__doc__ or '').strip().splitlines()[0].rstrip('.')})"]
    if at is not None:
        word = "buffer" if isinstance(at, Buffer) else "step"
        lines.append(f"  {word}: " + str(at).split("\n")[0].split("    # ")[0])
        lines += [f"  from: {at.origin}"] if at.origin else []
    return "\n".join(lines + blame(after))


def _all_steps(steps: tuple[AnyStep, ...]) -> Iterator[AnyStep]:
    for s in steps:
        yield s
        if isinstance(s, LoopStep):
            yield from _all_steps(s.body)


def _list(names: "set[str]") -> str:
    return ", ".join(f"`{n}`" for n in sorted(names))


__all__ = ["KERNEL_RULES", "PLANNED_RULES", "PROGRAM_RULES", "SAMPLES", "VerifyError", "blame", "verify_kernel",
           "verify_program"]
