"""Where buffers lie in the arena: apart while both are needed, whatever the sizes, and with little between them.

In: random lives and sizes, among them those of open axes; a convolutional and a recurrent training step.
"""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphk.inspection import arena as inspected
from graphk.inspection.subjects import dims_for, subjects_of
from graphk.ir.dims import Dim, evaluate, floordiv, sym
from graphk.ir.program import ALIGN
from graphk.layers import LSTM, Conv2D, Dense, Flatten, MaxPooling2D
from graphk.models import Sequential
from graphk.passes.arena import _aligned, _largest, _place, _Space

N, T = sym("n"), sym("t")
WINDOWS = floordiv(N - 3, 2) + 1
SIZES: tuple[Dim, ...] = (64, 4096, 40 * N, 4 * N, 4096 * N, 8200 * N, 12 * N * T, 4 * T, 4 * N * (T - 1), 8 * WINDOWS,
                          4000 * WINDOWS, 4000 * WINDOWS + 300, 4 * floordiv(4 * N + 127, 128), 4 * WINDOWS * N)


@pytest.mark.parametrize("seed", range(25))
def test_random_lives_lie_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 30))
    dims = [SIZES[i] for i in rng.integers(0, len(SIZES), count)]
    first = rng.integers(0, 20, count)
    last = first + rng.integers(0, 12, count)
    space = _Space([_aligned(d) for d in dims])
    rows = _place(space, first, last)
    offsets, total = [space.dim(o) for o in rows], _largest(space, rows + space.sizes)
    for n in (1, 2, 3, 4, 5, 17, 64):
        for t in (1, 2, 30):
            env = {"n": n, "t": t}
            at, sizes = ([evaluate(d, env) for d in ds] for ds in (offsets, dims))
            assert all(o % ALIGN == 0 and 0 <= o and o + s <= evaluate(total, env) for o, s in zip(at, sizes))
            for i in range(count):
                for j in range(i):
                    together = first[i] <= last[j] and first[j] <= last[i]
                    assert not together or at[i] + sizes[i] <= at[j] or at[j] + sizes[j] <= at[i]


def cnn() -> Any:
    model = Sequential([Conv2D(32, 3, activation="relu", input_shape=(28, 28, 1)), Conv2D(64, 3, activation="relu"),
                        MaxPooling2D(), Flatten(), Dense(128, activation="relu"), Dense(10, activation="softmax")])
    model.compile("sgd", "categorical_crossentropy")
    return model


def rnn() -> Any:
    model = Sequential([LSTM(32, input_shape=(20, 16), return_sequences=True), LSTM(32), Dense(1)])
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("make", [cnn, rnn])
def test_no_more_than_a_twentieth_is_lost(make: Any) -> None:
    for s in subjects_of(make()):
        for batch in (1, 8, 32, 128):
            plan = inspected.plan(s.program, dims_for(s.program, batch))
            assert plan.bytes <= 1.05 * plan.peak
