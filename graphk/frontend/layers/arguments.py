"""Arguments of layers, checked.

In: what a user passed.  Out: the same as a plain number, or nothing.  What always holds: an error names the layer,
the argument, what came and what was expected.
"""
from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.generic_utils import to_list


def size(layer: Any, name: str, value: Any) -> int:
    """A positive integer; ValueError for anything else (whole floats, which divisions give, are taken)."""
    if isinstance(value, (int, float, np.number)) and value >= 1 and float(value).is_integer():
        return int(value)
    raise ValueError(f"{_called(layer)}: `{name}` must be a positive integer; received {_shown(layer, value)}.")


def number(layer: Any, name: str, value: Any) -> Any:
    """A number; TypeError for anything else."""
    if isinstance(value, (int, float, np.number)) or np.ndim(value) == 0 and isinstance(value, np.ndarray):
        return value
    raise TypeError(f"{_called(layer)}: `{name}` must be a number; received {value!r} (a {type(value).__name__}).")


def fraction(layer: Any, name: str, value: Any) -> float:
    """A number from 0 to 1; others are cut off with a warning, since 50 for 50 % would drop nothing."""
    given = float(number(layer, name, value))
    if not 0. <= given <= 1.:
        warnings.warn(f"{_called(layer)}: `{name}` is a fraction from 0 to 1; received {value}, which counts as "
                      f"{min(1., max(0., given))}.", stacklevel=5)
    return min(1., max(0., given))


def axis(layer: Any, name: str, value: Any) -> Any:
    """The number of an axis; TypeError for anything else."""
    if isinstance(value, (int, np.integer)):
        return value
    raise TypeError(f"{_called(layer)}: `{name}` must be an integer, the number of an axis; received "
                    f"{_shown(layer, value)}.")


def _called(layer: Any) -> str:
    return f"{type(layer).__name__} layer {layer.name}"


def _shown(layer: Any, value: Any) -> str:
    of_tensors = any(isinstance(v, Tensor) for v in to_list(value))
    return f"{value!r:.200}" + (f". Make the layer first, then call it: {type(layer).__name__}(...)(tensor)"
                                if of_tensors else "")


def windows_fit(layer: Any, input_shape: Any, made: Any = None) -> None:
    """ValueError if the layer's windows are larger than what they slide over.  made: the output shape, if not the
    layer itself tells it."""
    made = layer.compute_output_shape(input_shape) if made is None else made
    if any(isinstance(d, int) and d < 1 for d in made[1:]):
        window = layer.pool_size if hasattr(layer, "pool_size") else layer.kernel_size
        raise ValueError(f"{_called(layer)}: windows of {window} do not fit into inputs of the shape "
                         f"{tuple(input_shape)} ({layer.data_format}). Make the windows smaller or the inputs larger, "
                         "or pad them (padding='same').")
