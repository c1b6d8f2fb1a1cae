"""Arguments of layers, checked.

In: what a user passed.  Out: the same as a plain number, or nothing.  What always holds: an error names the layer,
the argument, what came and what was expected.
"""
from __future__ import annotations

from typing import Any

import numpy as np


def size(layer: Any, name: str, value: Any) -> int:
    """A positive integer; ValueError for anything else (whole floats, which divisions give, are taken)."""
    if isinstance(value, (int, float, np.number)) and value >= 1 and float(value).is_integer():
        return int(value)
    raise ValueError(f"{type(layer).__name__} layer {layer.name}: `{name}` must be a positive integer; received "
                     f"{value!r}.")


def number(layer: Any, name: str, value: Any) -> Any:
    """A number; TypeError for anything else."""
    if isinstance(value, (int, float, np.number)) or np.ndim(value) == 0 and isinstance(value, np.ndarray):
        return value
    raise TypeError(f"{type(layer).__name__} layer {layer.name}: `{name}` must be a number; received {value!r} (a "
                    f"{type(value).__name__}).")


def windows_fit(layer: Any, input_shape: Any) -> None:
    """ValueError if the layer's windows are larger than what they slide over."""
    made = layer.compute_output_shape(input_shape)
    if any(isinstance(d, int) and d < 1 for d in made[1:]):
        window = layer.pool_size if hasattr(layer, "pool_size") else layer.kernel_size
        raise ValueError(f"{type(layer).__name__} layer {layer.name}: windows of {window} do not fit into inputs of "
                         f"the shape {tuple(input_shape)}. Make the windows smaller or the inputs larger, or pad them.")
