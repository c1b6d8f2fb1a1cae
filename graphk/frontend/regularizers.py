"""Penalties on weights and activations.

In: a tensor.  Out: a scalar tensor that is added to the loss.  What always holds: the penalty is the sum
of l1 * |w| and l2 * w * w.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.families import Family
from graphk.frontend.utils.generic_utils import config_of


class Regularizer:
    """Base class: `__call__(x)` returns the penalty."""

    def __call__(self, x: Any) -> Any:
        return 0.

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Regularizer":
        """A regularizer from `get_config()`."""
        return cls(**config_of(cls, config))


class L1L2(Regularizer):
    """l1 * sum(|x|) + l2 * sum(x * x).

    >>> from graphk import backend as K
    >>> float(K.eval(L1L2(l1=1., l2=2.)(K.constant([1., -2.]))))
    13.0
    """

    def __init__(self, l1: float = 0., l2: float = 0.):
        for name, factor in (("l1", l1), ("l2", l2)):
            if not isinstance(factor, (int, float, np.number, np.ndarray)):
                raise TypeError(f"The factor `{name}` of a regularizer must be a number; received {factor!r:.200}.")
        self.l1, self.l2 = K.cast_to_floatx(l1), K.cast_to_floatx(l2)          # arrays, whose dtype optimizers ask for

    def __call__(self, x: Any) -> Any:
        total: Any = 0.
        if self.l1:
            total = total + K.sum(K.abs(x)) * float(self.l1)
        if self.l2:
            total = total + K.sum(K.square(x)) * float(self.l2)
        if isinstance(total, Tensor):
            total.adds_up = True                       # of a batch, it is the sum of its slices' penalties
        return total

    def get_config(self) -> dict[str, Any]:
        """The two factors."""
        return {"l1": float(self.l1), "l2": float(self.l2)}


class EigenvalueRegularizer(Regularizer):
    """k * the largest singular value of a matrix: the square root of the largest eigenvalue of wᵀw (Keras 1).

    Nine steps of the power method from a vector of ones, as there.  ValueError for what is no matrix.

    >>> from graphk import backend as K
    >>> round(float(K.eval(EigenvalueRegularizer(2.)(K.constant([[3., 0.], [0., 1.]])))), 4)
    6.0
    """

    def __init__(self, k: float):
        self.k = float(k)

    def __call__(self, x: Any) -> Any:
        if K.ndim(x) != 2:
            raise ValueError(f"EigenvalueRegularizer takes a matrix; received {x!r}")
        square = K.dot(K.transpose(x), x)
        v = K.ones_like(square[:, :1])
        for _ in range(9):
            v = K.dot(square, v)
            v = v / K.max(K.abs(v))                    # its length does not matter, but may overflow
        return self.k * K.sqrt(K.sum(v * K.dot(square, v)) / K.sum(K.square(v)))

    def get_config(self) -> dict[str, Any]:
        """The factor."""
        return {"k": self.k}


def l1(l: float = 0.01) -> L1L2:
    """l * sum(|x|)."""
    return L1L2(l1=l)


def l2(l: float = 0.01) -> L1L2:
    """l * sum(x * x)."""
    return L1L2(l2=l)


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """Both."""
    return L1L2(l1=l1, l2=l2)


# Keras 1's names
l1l2 = activity_l1l2 = l1_l2
activity_l1, activity_l2 = l1, l2
WeightRegularizer = ActivityRegularizer = L1L2

_TABLE: dict[str, Any] = {"L1L2": L1L2, "EigenvalueRegularizer": EigenvalueRegularizer, "l1": l1, "l2": l2,
                          "l1_l2": l1_l2}
_FAMILY = Family("regularizer", _TABLE, globals(), factories=(l1, l2, l1_l2))
serialize, deserialize, get = _FAMILY.serialize, _FAMILY.deserialize, _FAMILY.get
