"""Interleaved timing: candidates take turns in rounds, so that a noisy machine disturbs all alike.

In: callables.  Out: the median seconds per call of each.  What always holds: every candidate is warmed up, each
round times all of them in a shuffled order, and a sample is a block of at least `block` seconds, after a pause in which
the threads of the one before go to sleep.
"""
from __future__ import annotations

import random
import statistics
import time
from typing import Callable, Mapping

Run = Callable[[], object]
PAUSE = 0.15                     # seconds: threads of a pool spin before they sleep, OpenBLAS's for 2^28 cycles


def calls_per_block(run: Run, block: float) -> int:
    """How many calls fill `block` seconds."""
    run()
    n = 1
    while True:
        start = time.perf_counter()
        for _ in range(n):
            run()
        took = time.perf_counter() - start
        if took >= block or n >= 1_000_000:
            return n
        n = max(n + 1, int(n * min(10.0, 1.2 * block / max(took, 1e-9))))


def compare(candidates: Mapping[str, Run], rounds: int = 7, block: float = 0.05) -> dict[str, float]:
    """Median seconds per call of each candidate."""
    counts = {name: calls_per_block(run, block) for name, run in candidates.items()}
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        order = list(candidates)
        random.shuffle(order)
        for name in order:
            run, n = candidates[name], counts[name]
            time.sleep(PAUSE)
            run()
            start = time.perf_counter()
            for _ in range(n):
                run()
            samples[name].append((time.perf_counter() - start) / n)
    return {name: statistics.median(s) for name, s in samples.items()}
