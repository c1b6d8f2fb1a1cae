"""Constraints on weights, applied after each update.

In: a weight.  Out: the nearest weight that satisfies the constraint, as a tensor.  What always holds:
norms are taken along `axis`, over incoming weights by default.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend import backend as K
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.families import Family


class Constraint:
    """Base class: `__call__(w)` returns the constrained weight."""

    def __call__(self, w: Tensor) -> Tensor:
        return w

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {}


def _norm(w: Tensor, axis: Any) -> Tensor:
    return K.sqrt(K.sum(K.square(w), axis=axis, keepdims=True))


class MaxNorm(Constraint):
    """Norms at most `max_value` (Srivastava et al., 2014)."""

    def __init__(self, max_value: float = 2, axis: Any = 0):
        self.max_value, self.axis = max_value, axis

    def __call__(self, w: Tensor) -> Tensor:
        norms = _norm(w, self.axis)
        return w * (K.clip(norms, 0, self.max_value) / (norms + K.epsilon()))

    def get_config(self) -> dict[str, Any]:
        return {"max_value": self.max_value, "axis": self.axis}


class NonNeg(Constraint):
    """No negative weights."""

    def __call__(self, w: Tensor) -> Tensor:
        return w * K.cast(K.greater_equal(w, 0.), K.floatx())


class UnitNorm(Constraint):
    """Norms of 1."""

    def __init__(self, axis: Any = 0):
        self.axis = axis

    def __call__(self, w: Tensor) -> Tensor:
        return w / (_norm(w, self.axis) + K.epsilon())

    def get_config(self) -> dict[str, Any]:
        return {"axis": self.axis}


class MinMaxNorm(Constraint):
    """Norms between `min_value` and `max_value`, approached at `rate`."""

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Any = 0):
        self.min_value, self.max_value, self.rate, self.axis = min_value, max_value, rate, axis

    def __call__(self, w: Tensor) -> Tensor:
        norms = _norm(w, self.axis)
        want = K.clip(norms, self.min_value, self.max_value) * self.rate + norms * (1 - self.rate)
        return w * (want / (norms + K.epsilon()))

    def get_config(self) -> dict[str, Any]:
        return {"min_value": self.min_value, "max_value": self.max_value, "rate": self.rate, "axis": self.axis}


max_norm = maxnorm = MaxNorm
non_neg = nonneg = NonNeg
unit_norm = unitnorm = UnitNorm
min_max_norm = MinMaxNorm
_TABLE: dict[str, Any] = {k: v for k, v in list(globals().items())
                          if isinstance(v, type) and issubclass(v, Constraint) and v is not Constraint}
_FAMILY = Family("constraint", _TABLE, globals())
serialize, deserialize, get = _FAMILY.serialize, _FAMILY.deserialize, _FAMILY.get
