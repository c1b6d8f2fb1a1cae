"""Calls on several devices at the same time.

In: an executable for each device, and the inputs of each.  Out: their outputs.  What always holds: all begin before the
first is waited for; what several of them write they write alike, and afterwards all have the newest values.
"""
from __future__ import annotations

import contextlib
from typing import Any, Sequence

import numpy as np

from graphk.runtime.device import Device
from graphk.runtime.gpu import GpuExecutable, results
from graphk.runtime.mirrors import writing


def together(runs: Sequence[GpuExecutable], inputs: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """The outputs of calls, each on a device of its own."""
    with contextlib.ExitStack() as held:
        for lock in sorted({run.device.name: run.device.lock for run in runs}.items()):
            held.enter_context(lock[1])
        ready = [run.ready(given) for run, given in zip(runs, inputs, strict=True)]
        for run, (recorded, arrays) in zip(runs, ready):
            held.enter_context(run.taken())
            run.stage(recorded, arrays)
        with writing(_writers(runs)):
            for recorded, _ in ready:
                recorded.replay.start()
        for recorded, _ in ready:
            recorded.replay.wait()
        return [results(recorded) for recorded, _ in ready]


def _writers(runs: Sequence[GpuExecutable]) -> list[tuple[np.ndarray, list[Device]]]:
    """The variables that calls write, and the devices that do."""
    out: dict[int, tuple[np.ndarray, list[Device]]] = {}
    for run in runs:
        for a in run.written:
            out.setdefault(id(a), (a, []))[1].append(run.device)
    return list(out.values())


__all__ = ["together"]
