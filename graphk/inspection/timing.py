"""How long each step of a compiled graph takes, measured.

In: a `Subject` and values of the symbolic dims.  Out: the seconds of one call, and of each step in it.  What always
holds: the kernels run on arrays of their own (random inputs, copies of the variables), so nothing of the model changes;
a step is timed by running it some more times at its place and dividing the difference, with the threads of a call.
"""
from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Mapping, Sequence

import numpy as np

from graphk.inspection.subjects import Subject
from graphk.ir.dims import compile_dims
from graphk.ir.node import Node
from graphk.ir.program import AnyStep, Step
from graphk.runtime.compile import Executable

AGAIN = 16                         # further runs of a step
SECONDS = 0.015                    # spent on one timing, at least
ROUNDS = 15                        # of which the fastest counts, at least
LIMIT = 0.05                       # a call that takes longer is not taken apart
ROOM = 1 << 30                     # bytes of variables that are copied at most


@dataclass(frozen=True)
class Times:
    """Seconds of a call, and of each of the program's steps (loops as a whole)."""
    call: float
    steps: tuple[float, ...]


def measure(s: Subject, env: Mapping[str, int]) -> Times | None:
    """The times at the sizes `env`; None where measuring would take long, or much memory."""
    old = s.executable.variables
    if sum(a.nbytes for a in old.values()) > ROOM:
        return None
    variables = {node: aligned_copy(a) for node, a in old.items()}
    inputs = [_some(b.type.dtype, compile_dims(b.type.shape)(env)) for b in s.executable.inputs]
    whole = _Run(s, s.program.steps, variables, inputs)
    whole.call()
    call = fastest(whole)[0]
    if call > LIMIT:
        return None
    return Times(call, tuple(_step(s, i, whole) for i in range(len(s.program.steps))))


class _Run:
    """Calls of an executable that runs other steps than the subject's own, threads and buffers being the same."""

    def __init__(self, s: Subject, steps: Sequence[AnyStep], variables: Mapping[Node, np.ndarray],
                 inputs: Sequence[np.ndarray]):
        result = replace(s.executable.result, program=replace(s.program, steps=tuple(steps)))
        self.executable = Executable(result, variables, s.executable.target, s.executable.executor)
        self.variables, self.inputs = variables, inputs

    def call(self) -> float:
        start = time.perf_counter()
        self.executable(self.inputs)
        return time.perf_counter() - start


def fastest(*runs: _Run) -> list[float]:
    """The shortest call of each, taken in turns, so that what else the machine does meets all alike."""
    best, start, rounds = [float("inf")] * len(runs), time.perf_counter(), 0
    while rounds < ROUNDS or time.perf_counter() - start < SECONDS * len(runs):
        best = [min(b, r.call()) for b, r in zip(best, runs)]
        rounds += 1
    return best


def _step(s: Subject, i: int, whole: _Run) -> float:
    steps = s.program.steps
    step = steps[i]
    if isinstance(step, Step):
        more = (replace(step, barrier=True, cost=0),) * AGAIN             # no cost: the threads stay those of a call
        few, many = whole, _Run(s, (*steps[:i + 1], *more, *steps[i + 1:]), whole.variables, whole.inputs)
    else:
        few, many = (_Run(s, steps[:n], whole.variables, whole.inputs) for n in (i, i + 1))
    many.call()
    less, time_taken = fastest(few, many)
    return max(0., time_taken - less) / (AGAIN if isinstance(step, Step) else 1)


def _some(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random numbers, or zeros of a type that may choose rows."""
    kind = np.dtype(dtype).kind
    return np.random.RandomState(0).rand(*shape).astype(dtype) if kind == "f" else np.zeros(shape, dtype)


def aligned_copy(a: np.ndarray, align: int = 64) -> np.ndarray:
    """A copy whose first element lies at a multiple of `align`, as those of variables do."""
    space = np.empty(a.nbytes + align, np.uint8)
    at = -space.ctypes.data % align
    out = space[at:at + a.nbytes].view(a.dtype).reshape(a.shape)
    out[...] = a
    return out


__all__ = ["Times", "aligned_copy", "measure"]
