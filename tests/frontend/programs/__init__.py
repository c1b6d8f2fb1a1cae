"""Little programs of the kind users write, each a function of the `keras` package it runs on.

In: a module that looks like Keras 2.  Out: a dictionary of numbers.  What always holds: a program draws its data and
first weights from seeds of its own, so every package that follows Keras's formulas gives the same numbers;
`graphk` runs them in the tests, and the numbers to expect were computed by tf_keras (see `record.py`).
"""
from __future__ import annotations

import zlib
from typing import Any, Callable

import numpy as np

PROGRAMS: dict[str, Callable[[Any], dict[str, Any]]] = {}


def program(fn: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """Register a program under its name."""
    PROGRAMS[fn.__name__] = fn
    return fn


def seed(*models: Any) -> None:
    """Give every layer weights that its name and their shapes determine."""
    for model in models:
        for layer in model.layers:
            if hasattr(layer, "layers"):
                seed(layer)
            elif layer.get_weights():
                rng = np.random.RandomState(zlib.crc32(layer.name.encode()) % 2 ** 31)
                layer.set_weights([.1 + .4 * np.abs(rng.randn(*w.shape)) if "normal" in layer.name
                                   else .5 * rng.randn(*w.shape) for w in layer.get_weights()])


def data(*shape: int, at: int = 0) -> np.ndarray:
    """Normal numbers."""
    return np.random.RandomState(at + sum(shape)).randn(*shape).astype("float32")


def classes(n: int, k: int, at: int = 0) -> np.ndarray:
    """Class numbers, each of the `k` at least once."""
    return np.random.RandomState(at).permutation(np.arange(n) % k)


def one_hot(y: np.ndarray, k: int) -> np.ndarray:
    """Rows of the identity matrix."""
    return np.eye(k, dtype="float32")[y]


def curve(history: Any) -> dict[str, list[float]]:
    """What `fit` returned, under the short names of Keras 2.2."""
    def short(name: str) -> str:
        for old, new in (("accuracy", "acc"), ("mean_squared_error", "mse"), ("mean_absolute_error", "mae")):
            name = name.replace(old, new)
        return name
    return {short(name): [float(v) for v in values] for name, values in history.history.items()}


def flat(values: Any) -> Any:
    """Arrays as nested lists of floats."""
    if isinstance(values, dict):
        return {k: flat(v) for k, v in values.items()}
    if isinstance(values, (list, tuple)):
        return [flat(v) for v in values]
    return np.asarray(values, dtype=float).tolist()
