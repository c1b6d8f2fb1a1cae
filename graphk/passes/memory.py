"""Memory: updates in place, one arena, and the barriers between steps.

In: a scheduled Program.  Out: the same with arena offsets, without needless copies, and with `barrier` set on
every step that must wait.  What always holds: two buffers share bytes only if their lives do not overlap, or if
a step reads the one exactly where it then writes the other; a variable is overwritten only after its last
reader; inputs, outputs, variables and constants are never in the arena.
"""
from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import reduce
from operator import or_

from graphk.ir.dims import substitute
from graphk.ir.effects import may_overwrite, root_of, touched
from graphk.ir.program import AnyStep, Buffer, LoopStep, Program, Step, flat_steps
from graphk.ir.types import TensorType
from graphk.passes.arena import plan_arena, sharing
from graphk.passes.row_blocks import row_blocks


def memory(program: Program) -> Program:
    """`program` with memory planned."""
    program = add_temporaries(program)
    program = move_updates(program)
    program = assign_in_place(program)
    program = carry_in_place(program)
    program = stack_in_place(program)
    program = row_blocks(program)
    program = plan_arena(program)
    return set_barriers(program)


def add_temporaries(program: Program) -> Program:
    """A buffer for each private parameter of a kernel (the partial results of a split reduction)."""
    buffers = list(program.buffers)

    def fix(s: AnyStep) -> AnyStep:
        if isinstance(s, LoopStep):
            return replace(s, body=tuple(fix(x) for x in s.body))
        env = dict(zip(s.kernel.sizes, s.sizes))
        names = list(s.buffers)
        for p in s.kernel.params[len(names):]:
            names.append(f"w{len(buffers)}")
            buffers.append(Buffer(names[-1], TensorType(p.dtype, (substitute(p.size, env),)), "arena", origin=s.origin))
        return replace(s, buffers=tuple(names))
    steps = tuple(fix(s) for s in program.steps)
    return replace(program, steps=steps, buffers=tuple(buffers))


# ------------------------------------------------------------------ updates
def is_assignment(program: Program, s: AnyStep) -> bool:
    return isinstance(s, Step) and s.kernel.label == "assign" and program.buffer(s.buffers[1]).place == "variable"


def move_updates(program: Program) -> Program:
    """Each step that only feeds an update, and the update, right behind the readers of the variable."""
    roots = root_of(program)
    info = [touched(s, roots) for s in program.steps]
    assigned = {roots[s.buffers[1]]: i for i, s in enumerate(program.steps)
                if isinstance(s, Step) and is_assignment(program, s)}
    late, targets = _update_steps(program, info, assigned)
    waits: list[set[int]] = []
    writers: dict[str, list[int]] = {}
    for i, (reads, writes) in enumerate(info):
        deps = {w for b in reads | writes for w in writers.get(b, ())}
        # The update itself waits for every reader of the variable, the step that feeds it for those that stay put.
        deps |= {j for var in targets.get(i, ()) for j in range(len(info)) if var in info[j][0] and j != i and (
            j not in targets or i in assigned.values())}
        waits.append(deps)
        for b in writes:
            writers.setdefault(b, []).append(i)
    order: list[int] = []
    done: set[int] = set()

    def flush() -> None:
        moved = True
        while moved:
            moved = False
            for j in late:
                if j not in done and waits[j] <= done:
                    order.append(j)
                    done.add(j)
                    moved = True
    for i in range(len(info)):
        if i not in late:
            order.append(i)
            done.add(i)
            flush()
    flush()
    order += [i for i in range(len(info)) if i not in done]
    return replace(program, steps=tuple(program.steps[i] for i in order))


def _update_steps(program: Program, info: list[tuple[set[str], set[str]]], assigned: dict[str, int]
                  ) -> tuple[list[int], dict[int, set[str]]]:
    """Assignments and the steps all of whose results only assignments read; the variables that each overwrites."""
    places = {b.name: b.place for b in program.buffers}
    targets: dict[int, set[str]] = {i: {var} for var, i in assigned.items()}
    for i, (_, writes) in enumerate(info):
        readers = [j for j in range(len(info)) if j != i and info[j][0] & writes]
        if i not in targets and readers and all(j in assigned.values() for j in readers) and all(
                places[b] == "arena" for b in writes):
            targets[i] = {var for var, j in assigned.items() if j in readers}
    return sorted(targets), targets


def assign_in_place(program: Program) -> Program:
    """Drop `assign` copies whose producer may write into the variable itself.

    It may if it is the value's only writer, nothing else reads the value under another place, every reader of the
    variable runs earlier, and the producer itself reads the variable only where it writes.  A value that later steps
    read keeps its name, as a view of the variable, so that reads of the new value and of the old one stay apart.
    """
    roots = root_of(program)
    steps = list(program.steps)
    info = [touched(s, roots) for s in steps]
    renamed: dict[str, str] = {}
    viewed: dict[str, str] = {}
    for i, s in enumerate(steps):
        if not (isinstance(s, Step) and is_assignment(program, s)):
            continue
        value, var = s.buffers
        if program.buffer(value).place != "arena" or value in renamed or value in viewed:
            continue
        makers = [j for j, (_, writes) in enumerate(info) if value in writes]
        if len(makers) != 1 or not isinstance(steps[makers[0]], Step):
            continue
        j = makers[0]
        maker = steps[j]
        assert isinstance(maker, Step)
        readers = any(var in reads for reads, _ in info[j + 1:])
        others = any(var in writes for x, (_, writes) in enumerate(info) if x != i)
        if readers or others or not may_overwrite(maker, var, value, roots):
            continue
        read_later = any(value in reads for x, (reads, _) in enumerate(info) if x != i)
        (viewed if read_later else renamed)[value] = var
    kept = tuple(s for s in steps if not (isinstance(s, Step) and is_assignment(program, s)
                                          and {**renamed, **viewed}.get(s.buffers[0]) == s.buffers[1]))
    return replace(program, steps=tuple(_rename(s, renamed) for s in kept), buffers=tuple(
        replace(b, place="alias", base=viewed[b.name]) if b.name in viewed else
        replace(b, base=renamed.get(b.base, b.base)) for b in program.buffers if b.name not in renamed))


def carry_in_place(program: Program) -> Program:
    """Drop `carry` copies at the end of loops' bodies whose producer may write into the carry itself.

    It may if it is the value's only writer, all readers of the old carry run earlier in the step, and the producer
    itself reads it only where it writes.
    """
    roots = root_of(program)
    outside = Counter(b for s in flat_steps(program.steps) for b in s.buffers)
    names: dict[str, str] = {}

    def body(steps: tuple[AnyStep, ...]) -> tuple[AnyStep, ...]:
        out = [replace(s, body=body(s.body)) if isinstance(s, LoopStep) else s for s in steps]
        for s in [s for s in out if isinstance(s, Step) and s.kernel.label == "carry"]:
            if _into_carry(program, out, s, roots, outside):
                names[s.buffers[0]] = s.buffers[1]
                out = [_rename(x, {s.buffers[0]: s.buffers[1]}) for x in out if x != s]
        return tuple(out)
    steps = tuple(replace(s, body=body(s.body)) if isinstance(s, LoopStep) else s for s in program.steps)
    return replace(program, steps=steps, buffers=tuple(replace(b, base=names.get(b.base, b.base))
                                                       for b in program.buffers if b.name not in names))


def _into_carry(program: Program, steps: list[AnyStep], copy: Step, roots: dict[str, str], uses: Counter[str]) -> bool:
    """Whether the value that `copy` moves into its carry may be made there."""
    value, carry = copy.buffers
    here = Counter(b for s in flat_steps(tuple(steps)) for b in s.buffers)
    info = [touched(s, roots) for s in steps]
    makers = [j for j, (_, writes) in enumerate(info) if value in writes]
    if program.buffer(value).place != "arena" or here[value] != uses[value] or len(makers) != 1:
        return False
    maker = steps[makers[0]]
    later = [j for j, (reads, _) in enumerate(info) if j > makers[0] and roots[carry] in reads]
    writers = [j for j, (_, writes) in enumerate(info) if roots[carry] in writes and steps[j] != copy]
    return isinstance(maker, Step) and not later and not writers and may_overwrite(maker, roots[carry], value, roots)


def stack_in_place(program: Program) -> Program:
    """Drop `stack` copies of values that live in one step of a loop alone: they are made in their place in the stack.
    """
    outside = Counter(b for s in flat_steps(program.steps) for b in s.buffers)
    arena = {b.name for b in program.buffers if b.place == "arena"}
    names: dict[str, str] = {}

    def body(steps: tuple[AnyStep, ...]) -> tuple[AnyStep, ...]:
        out = [replace(s, body=body(s.body)) if isinstance(s, LoopStep) else s for s in steps]
        here = Counter(b for s in flat_steps(tuple(out)) for b in s.buffers)
        for s in [s for s in out if isinstance(s, Step) and s.kernel.label == "stack"]:
            value, window = s.buffers
            if value in arena and value not in names and here[value] == outside[value]:
                names[value] = window
                out = [x for x in out if x is not s]
        return tuple(_rename(s, names) for s in out)
    steps = tuple(replace(s, body=body(s.body)) if isinstance(s, LoopStep) else s for s in program.steps)
    return replace(program, steps=steps, buffers=tuple(replace(b, base=names.get(b.base, b.base))
                                                       for b in program.buffers if b.name not in names))


def _rename(s: AnyStep, names: dict[str, str]) -> AnyStep:
    if isinstance(s, Step):
        return replace(s, buffers=tuple(names.get(b, b) for b in s.buffers))
    return replace(s, body=tuple(_rename(x, names) for x in s.body),
                   windows=tuple((names.get(w, w), names.get(b, b), d) for w, b, d in s.windows))


# ------------------------------------------------------------------ barriers
def set_barriers(program: Program) -> Program:
    """A step waits if a step since the last barrier wrote what it touches, or read what it writes."""
    roots = root_of(program)
    shared = sharing(program)
    bits = {name: 1 << i for i, name in enumerate(dict.fromkeys([*shared, *roots.values()]))}
    clash = {**bits, **shared}
    return replace(program, steps=_barriers(program.steps, roots, bits, clash))


def _barriers(steps: tuple[AnyStep, ...], roots: dict[str, str], bits: dict[str, int], clash: dict[str, int]
              ) -> tuple[AnyStep, ...]:
    """bits: a number for each buffer, of one bit; clash: those of all that share bytes with it."""
    out: list[AnyStep] = []
    reads = writes = 0
    for s in steps:
        r, w = touched(s, roots)
        near_reads, near_writes = (reduce(or_, (clash[n] for n in names), 0) for names in (r, w))
        wait = bool(writes & (near_reads | near_writes) or reads & near_writes) or (
            isinstance(s, LoopStep) and bool(reads | writes))
        if wait:
            reads = writes = 0
        if isinstance(s, LoopStep):
            s = replace(s, body=_barriers(s.body, roots, bits, clash))
        out.append(replace(s, barrier=wait))
        reads, writes = (reduce(or_, (bits[n] for n in names), old) for names, old in ((r, reads), (w, writes)))
    return tuple(out)
