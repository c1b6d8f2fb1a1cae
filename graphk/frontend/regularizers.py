"""Penalties on weights and activations.

In: a tensor.  Out: a scalar tensor that is added to the loss.  What always holds: the penalty is the sum
of l1 * |w| and l2 * w * w.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend import backend as K
from graphk.frontend.utils.generic_utils import deserialize_keras_object, serialize_keras_object


class Regularizer:
    """Base class: `__call__(x)` returns the penalty."""

    def __call__(self, x: Any) -> Any:
        return 0.

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Regularizer":
        """A regularizer from `get_config()`."""
        return cls(**config)


class L1L2(Regularizer):
    """l1 * sum(|x|) + l2 * sum(x * x).

    >>> from graphk import backend as K
    >>> float(K.eval(L1L2(l1=1., l2=2.)(K.constant([1., -2.]))))
    13.0
    """

    def __init__(self, l1: float = 0., l2: float = 0.):
        self.l1, self.l2 = float(l1), float(l2)

    def __call__(self, x: Any) -> Any:
        total: Any = 0.
        if self.l1:
            total = total + K.sum(K.abs(x)) * self.l1
        if self.l2:
            total = total + K.sum(K.square(x)) * self.l2
        return total

    def get_config(self) -> dict[str, Any]:
        """The two factors."""
        return {"l1": self.l1, "l2": self.l2}


def l1(l: float = 0.01) -> L1L2:
    """l * sum(|x|)."""
    return L1L2(l1=l)


def l2(l: float = 0.01) -> L1L2:
    """l * sum(x * x)."""
    return L1L2(l2=l)


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """Both."""
    return L1L2(l1=l1, l2=l2)


def serialize(regularizer: Any) -> Any:
    """The config of a regularizer."""
    return serialize_keras_object(regularizer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """A regularizer from a config or a name."""
    return deserialize_keras_object(config, module_objects={"L1L2": L1L2, "l1": l1, "l2": l2, "l1_l2": l1_l2},
                                    custom_objects=custom_objects, printable_module_name="regularizer")


def get(identifier: Any) -> Any:
    """The regularizer for a name, config, callable or None."""
    if identifier is None:
        return None
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        found = deserialize(identifier)
        return found() if isinstance(found, type) or found in (l1, l2, l1_l2) else found
    if callable(identifier):
        return identifier
    raise ValueError("Could not interpret regularizer identifier: " + str(identifier))
