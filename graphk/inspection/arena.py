"""The memory plan of a program at given sizes: who lies where, from when to when.

In: a Program that `memory` has planned, and values of its dims.  Out: an `Arena`: its slots, the buffers in
each with their first and last step, the peak, and what sharing saved.  What always holds: buffers of one slot
start at the same byte, and slots that begin inside another are used at other steps; `saved` compares with every
buffer having bytes of its own.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

from graphk.inspection.subjects import Subject, value, without_folders
from graphk.ir.effects import lifetimes, root_of
from graphk.ir.program import ALIGN, Program
from graphk.runtime.groups import private_bytes


@dataclass(frozen=True)
class Life:
    """A buffer in the arena, from its first to its last step (both included)."""
    name: str
    type: str
    bytes: int
    first: int
    last: int
    origin: str


@dataclass(frozen=True)
class Slot:
    """A range of the arena, and the buffers that use it in turn."""
    offset: int
    bytes: int
    lives: tuple[Life, ...]


@dataclass(frozen=True)
class Arena:
    """A plan at given sizes.  `live[i]`: bytes in use while step i runs."""
    bytes: int
    slots: tuple[Slot, ...]
    live: tuple[int, ...]
    unshared: int
    outside: dict[str, int]          # bytes by place: variable, const, input, output, packed weights, workspace

    @property
    def peak(self) -> int:
        return max(self.live, default=0)

    @property
    def saved(self) -> int:
        return max(0, self.unshared - self.bytes)


def _aligned(n: int) -> int:
    return -(-n // ALIGN) * ALIGN


def beside(s: Subject, env: Mapping[str, int]) -> dict[str, int]:
    """Bytes that a processor needs besides the program's buffers; a GPU's kernels need none."""
    exe = s.executable
    found = {} if s.cuda else {
        "packed weights": exe.packed_bytes(env, s.target), "workspace": exe.workspace_bytes(env, s.target),
        "groups of rows": exe.threads(env) * private_bytes(exe.groups(env).values())}
    return {k: n for k, n in found.items() if n}


def plan(program: Program, env: Mapping[str, int], more: Mapping[str, int] | None = None) -> Arena:
    """The arena of `program` with the dims of `env`; `more`: what its executable holds beside it."""
    life = lifetimes(program, root_of(program))
    total = value(program.arena, env)
    at: dict[str, tuple[int, list[Life]]] = {}       # by the offset's formula: empty slots may share a byte
    unshared = 0
    outside = {"variable": 0, "const": 0, "input": 0, "output": 0, **(more or {})}
    for b in program.buffers:
        nbytes = value(b.nbytes, env)
        if b.place in outside:
            outside[b.place] += nbytes
        if b.name not in life:
            continue
        unshared += _aligned(nbytes)
        first, last = life[b.name]
        entry = Life(b.name, str(b.type), nbytes, first, last, without_folders(b.origin))
        at.setdefault(str(b.offset), (value(b.offset, env), []))[1].append(entry)
    ordered = sorted(at.values(), key=lambda t: t[0])
    slots = tuple(Slot(offset, max(_aligned(x.bytes) for x in lives), tuple(sorted(
        lives, key=lambda x: (x.first, x.last)))) for offset, lives in ordered)
    live = tuple(sum(max((x.bytes for x in s.lives if x.first <= i <= x.last), default=0) for s in slots)
                 for i in range(len(program.steps)))
    return Arena(total, slots, live, unshared, outside)


def text(s: Subject, env: Mapping[str, int]) -> str:
    """The plan as a table."""
    program = s.program
    a = plan(program, env, beside(s, env))
    dims = ", ".join(f"{k}={v}" for k, v in env.items()) or "no symbolic dims"
    lines = [f"memory plan of {program.name} for {dims}", f"arena {a.bytes} bytes = {program.arena}",
             f"peak of what is in use at once {a.peak} bytes; without sharing {a.unshared} bytes; saved {a.saved} "
             f"bytes",
             "outside the arena: " + ", ".join(f"{k} {v} bytes" for k, v in a.outside.items()), ""]
    for block, g in s.executable.groups(env).items() if s.cuda is None else ():
        lines += [f"steps {block.first} to {block.last} run for {g.rows} rows at a time; what they alone use lies not "
                  f"in the arena, but in {g.nbytes} bytes of each thread", ""]
    for i, slot in enumerate(a.slots):
        shared = f", shared by {len(slot.lives)} buffers" if len(slot.lives) > 1 else ""
        lines.append(f"slot {i}: offset {slot.offset}, {slot.bytes} bytes{shared}")
        lines += [f"  %{x.name:<24} {x.type:<16} {x.bytes:>10} bytes  steps {x.first}..{x.last}"
                  + (f"  # {x.origin}" if x.origin else "") for x in slot.lives]
    return "\n".join(lines) + "\n"


__all__ = ["Arena", "Life", "Slot", "beside", "plan", "text"]
