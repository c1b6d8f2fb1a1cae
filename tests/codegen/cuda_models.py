"""Train steps of small models, as graphs with what they were fed: cases for the simulator and for PTX.

In: a name.  Out: the graph of one train step, its inputs and variables.  What always holds: between them the models use
convolution, pooling, batch statistics, dropout, recurrence, an embedding and its gradient, softmax, and optimizers.
"""
from __future__ import annotations

import zlib
from typing import Any, Callable, Mapping

import numpy as np
import pytest

from graphk.codegen import cuda_compile
from graphk.codegen.cuda import CudaSource
from graphk.frontend import execute
from graphk.ir.node import Graph, Node
from graphk.layers import (LSTM, Activation, BatchNormalization, Conv2D, Dense, Dropout, Embedding, Flatten,
                           MaxPooling2D)
from graphk.models import Sequential

Step = tuple[Graph, list[np.ndarray], Mapping[Node, np.ndarray]]


def mlp() -> Sequential:
    return Sequential([Dense(6, activation="relu", input_dim=5), Dropout(0.5), Dense(3, activation="softmax")])


def cnn() -> Sequential:
    return Sequential([Conv2D(3, 3, padding="same", input_shape=(6, 6, 2)), BatchNormalization(), Activation("relu"),
                       MaxPooling2D(2), Dropout(0.25), Flatten(), Dense(3, activation="softmax")])


def lstm() -> Sequential:
    return Sequential([Embedding(7, 4, input_length=3), LSTM(4), Dense(3, activation="softmax")])


MODELS: dict[str, tuple[Callable[[], Sequential], tuple[int, ...], str]] = {
    "mlp": (mlp, (5,), "adam"), "cnn": (cnn, (6, 6, 2), "sgd"), "lstm": (lstm, (3,), "rmsprop")}


def train_step(name: str, batch: int = 3, **settings: Any) -> Step:
    """What one `train_on_batch` computes; settings: further arguments of `compile`."""
    build, shape, optimizer = MODELS[name]
    rng = np.random.default_rng(0)
    seen: list[Step] = []
    old = execute._interpreted

    def recorded(graph: Graph, arrays: dict[Node, np.ndarray], phase: int) -> Any:
        run = old(graph, arrays, phase)

        def call(inputs: Any) -> Any:
            seen.append((graph, [np.array(a) for a in inputs], {n: a.copy() for n, a in arrays.items()}))
            return run(inputs)
        return call
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAPHK_EXECUTOR", "interp")
        patch.setattr(execute, "_interpreted", recorded)
        model = build()
        model.compile(optimizer, "categorical_crossentropy", **settings)
        x = rng.integers(0, 7, (batch, *shape)) if name == "lstm" else rng.standard_normal((batch, *shape))
        model.train_on_batch(x, np.eye(3)[rng.integers(0, 3, batch)])
    return seen[-1]


def capability_of(source: CudaSource) -> tuple[int, int]:
    """One of the compute capabilities, the same each time: kernels are compiled for all of them in turn."""
    return cuda_compile.CAPABILITIES[zlib.crc32(source.text.encode()) % len(cuda_compile.CAPABILITIES)]


__all__ = ["MODELS", "capability_of", "train_step"]
