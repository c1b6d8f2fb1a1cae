"""The loss of a batch as a sum over slices of it.

In: what a model was compiled with.  Out: what a slice adds to the loss of the whole batch, and what must be known of
the whole batch for that.  What always holds: the sum over the slices, with the factors that `factors` makes of amounts
that were summed over the slices, is the loss that `weighted_masked_objective` and penalties give for the whole batch.

Keras 2.2 divides an output's scores s by the mean of its mask m and by the share of its weights w that are not zero;
over N rows that is  1/N · sum(s m w) · (size m / sum m) · (size w / count w≠0).  Keras 2.3, and losses that are
objects, divide by N alone.  All five amounts are sums over rows, so that a slice needs no division of its own.
"""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.config import keras_semantics
from graphk.frontend.engine.training_utils import scores
from graphk.frontend.loss_classes import Loss, Reduction, widened
from graphk.frontend.tensor import Tensor
from graphk.ir.node import topological

AMOUNTS = 5                            # for each output: rows, sum and size of the mask, count and size of the weights


def amounts(model: Any) -> Tensor:
    """What must be summed over all slices: AMOUNTS numbers for each output with a loss, in float64."""
    found: list[Any] = []
    for i, _ in _trained(model):
        rows = _rows(model.outputs[i])
        mask, weights = model._output_masks[i], model.sample_weights[i]
        found += [rows, *((1., 1.) if mask is None else (K.sum(K.cast(mask, "float64")), _size(mask))),
                  *((1., 1.) if weights is None else (K.sum(K.cast(K.not_equal(weights, 0), "float64")),
                                                      _size(weights)))]
    return K.stack([K.cast(x, "float64") if isinstance(x, Tensor) else K.constant(x, "float64") for x in found]) \
        if found else K.zeros((0,), "float64")


def factors(model: Any, totals: np.ndarray) -> list[float]:
    """By what each output's `contribution` is multiplied, given the sums of `amounts` over the whole batch."""
    out: list[float] = []
    with np.errstate(divide="ignore", invalid="ignore"):            # nothing but weights of zero: NaN, as in Keras
        for (_, fn), (rows, mask, of_mask, counted, of_weights) in zip(_trained(model), totals.reshape(-1, AMOUNTS)):
            if isinstance(fn, Loss):
                out.append(1. if fn.reduction == Reduction.SUM else 1. / rows)
            else:
                out.append(1. / rows if keras_semantics() == "2.3" else 1. / rows * (of_mask / mask) *
                           (of_weights / counted))
    return out


def slice_loss(model: Any, factor: Tensor, share: Tensor) -> Tensor:
    """What a slice adds to the loss of the whole batch.  factor: the vector of `factors`; share: the slice's part of
    the rows, as which penalties count that do not add up over rows."""
    total: Any = 0.
    for at, (i, fn) in enumerate(_trained(model)):
        value = _contribution(fn, model.targets[i], model.outputs[i], model.sample_weights[i], model._output_masks[i])
        total = total + value * K.cast(factor[at], K.dtype(value)) * model._loss_weights_list[i]
    for penalty in model.losses:
        if not isinstance(penalty, Tensor):
            total = total + share * penalty
            continue
        alone = getattr(penalty, "adds_up", False) and any(n.op.name == "input" for n in topological([penalty.node]))
        total = total + (penalty if alone else penalty * K.cast(share, K.dtype(penalty)))
    return total if total.ndim == 0 else K.mean(total)


def _trained(model: Any) -> Sequence[tuple[int, Any]]:
    """The outputs that have a loss, by number."""
    return [(i, fn) for i, fn in enumerate(model.loss_functions) if fn is not None]


def _contribution(fn: Any, y_true: Tensor, y_pred: Tensor, weights: Tensor | None, mask: Tensor | None) -> Tensor:
    """The sum over the slice's rows of the scores with their weights, of each row their mean."""
    is_object = isinstance(fn, Loss)
    values = scores(fn.call if is_object else fn, y_true, y_pred)
    if is_object or keras_semantics() == "2.3":
        for w in (mask, weights):
            values = values if w is None else values * widened(K.cast(w, values.dtype), values.ndim)
        if is_object and fn.reduction == Reduction.SUM:
            return K.sum(values)
    else:
        values = values if mask is None else values * K.cast(mask, values.dtype)
        if weights is not None and values.ndim > weights.ndim:
            values = K.mean(values, axis=list(range(weights.ndim, values.ndim)))
        values = values if weights is None else values * weights
    return K.mean(values) * K.cast(_rows(values), values.dtype)


def _rows(x: Tensor) -> Any:
    return K.shape(x)[0] if x.ndim else 1.


def _size(x: Tensor) -> Tensor:
    return K.prod(K.shape(x))


__all__ = ["AMOUNTS", "amounts", "factors", "slice_loss"]
