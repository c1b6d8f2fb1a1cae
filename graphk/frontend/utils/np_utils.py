"""Numpy helpers for labels and data.

In: arrays.  Out: new arrays.  What always holds: the arguments are not changed.
"""
from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from graphk.frontend.legacy import renamed


@partial(renamed, names={"nb_classes": "num_classes"})
def to_categorical(y: Any, num_classes: int | None = None, dtype: str = "float32") -> np.ndarray:
    """Class numbers as rows of 0 and 1: shape `y.shape + (num_classes,)`, a last axis of 1 dropped first.

    >>> to_categorical([0, 2]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    try:
        y = np.array(y, dtype="int")
    except (TypeError, ValueError) as e:
        raise type(e)(f"to_categorical takes class numbers from 0, as integers ({e}). Number other labels first: "
                      "np.unique(labels, return_inverse=True)[1].") from None
    shape = y.shape[:-1] if y.ndim > 1 and y.shape[-1] == 1 else y.shape
    flat = y.ravel()
    n = int(num_classes) if num_classes else int(np.max(flat)) + 1
    if flat.size and (flat.max() >= n or flat.min() < -n):
        raise IndexError(f"to_categorical: class {int(flat.max())} is out of range for {n} classes")
    out = np.zeros((flat.size, n), dtype=dtype)
    out[np.arange(flat.size), flat] = 1
    return out.reshape(shape + (n,))


def normalize(x: Any, axis: int = -1, order: int = 2) -> np.ndarray:
    """`x` divided by its norm of order `order` along `axis` (by 1 where the norm is 0).

    >>> normalize([[3., 4.]]).tolist()
    [[0.6, 0.8]]
    """
    length = np.atleast_1d(np.linalg.norm(x, order, axis))
    length[length == 0] = 1
    return np.asarray(x) / np.expand_dims(length, axis)


def probas_to_classes(y_pred: Any) -> np.ndarray:
    """Keras 1's: the class of each row of probabilities; of a column, whether each is above one half.

    >>> probas_to_classes(np.array([[.2, .8], [.9, .1]])).tolist()
    [1, 0]
    """
    y_pred = np.asarray(y_pred)
    if y_pred.ndim > 1 and y_pred.shape[1] > 1:
        return categorical_probas_to_classes(y_pred)
    return np.array([1 if p > 0.5 else 0 for p in y_pred.ravel()])


def categorical_probas_to_classes(p: Any) -> np.ndarray:
    """Keras 1's: the class of each row of probabilities."""
    return np.argmax(p, axis=1)
