"""Metrics that are means over all batches since they were reset, as Keras 2.3 has them.

In: targets, predictions, weights and mask of a batch.  Out: the mean so far, this batch included, and the updates that
keep it.  What always holds: a value counts as much as its weight and mask say; a mean of nothing is 0.
"""
from __future__ import annotations

from typing import Any, Callable

from graphk.frontend import backend as K
from graphk.frontend import config
from graphk.frontend.loss_classes import widened
from graphk.frontend.tensor import Tensor

STREAMING = config.keras_semantics() == "2.3"


class Mean:
    """A sum, and how much was summed, in two variables."""

    def __init__(self, name: str):
        self.total, self.count = (K.variable(0., name=f"{name}/{what}") for what in ("total", "count"))
        self.updates: list[Any] = []

    def reset_states(self) -> None:
        """Begin again."""
        K.batch_set_value([(self.total, 0.), (self.count, 0.)])

    def including(self, added: Tensor, amount: Tensor) -> Tensor:
        """The mean with `added`, a sum of `amount` values, in it."""
        total, count = self.total + added, self.count + amount
        self.updates += [K.update(self.total, total), K.update(self.count, count)]
        return total / K.switch(K.equal(count, 0.), K.ones_like(count), count)


def streaming(fn: Callable[..., Tensor], mean: Mean) -> Callable[..., Tensor]:
    """The metric `fn` with its mean over batches, taking (targets, predictions, weights, mask)."""
    def value(y_true: Tensor, y_pred: Tensor, weights: Tensor | None, mask: Tensor | None = None) -> Tensor:
        values = K.cast(fn(y_true, y_pred), K.floatx())
        parts = [K.cast(w, K.floatx()) for w in (weights, mask) if w is not None]
        if not parts:
            return mean.including(K.sum(values), K.cast(K.prod(K.shape(values)), K.floatx()))
        rank = max(w.ndim for w in parts)
        w = widened(parts[0], rank)
        for other in parts[1:]:
            w = w * widened(other, rank)
        if values.ndim > rank:
            values = K.mean(values, axis=list(range(rank, values.ndim)))
        return mean.including(K.sum(values * w), K.sum(w))
    return value


__all__ = ["Mean", "STREAMING", "streaming"]
