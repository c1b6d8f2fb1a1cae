"""Losses: one number per sample (and timestep), from targets and predictions.

In: tensors `y_true`, `y_pred` of shape (samples, …, d).  Out: a tensor of shape (samples, …).  What always
holds: the last axis is reduced here, everything else by the model (with masks and weights).
"""
from __future__ import annotations

import math
from typing import Any

from graphk.frontend import backend as K
from graphk.frontend.loss_classes import Loss, LossFunctionWrapper, Reduction, class_of, plain  # noqa: F401
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.families import Family


def mean_squared_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """mean((p - t)²)."""
    return K.mean(K.square(y_pred - y_true), axis=-1)


def mean_absolute_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """mean(|p - t|)."""
    return K.mean(K.abs(y_pred - y_true), axis=-1)


def mean_absolute_percentage_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """100 mean(|t - p| / |t|)."""
    return K.mean(K.abs((y_true - y_pred) / K.clip(K.abs(y_true), K.epsilon(), None)), axis=-1) * 100.


def mean_squared_logarithmic_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """mean((log(p + 1) - log(t + 1))²)."""
    first = K.log(K.clip(y_pred, K.epsilon(), None) + 1.)
    second = K.log(K.clip(y_true, K.epsilon(), None) + 1.)
    return K.mean(K.square(first - second), axis=-1)


def squared_hinge(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """mean(max(1 - t p, 0)²); targets are -1 or 1."""
    return K.mean(K.square(K.maximum(1. - y_true * y_pred, 0.)), axis=-1)


def hinge(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """mean(max(1 - t p, 0))."""
    return K.mean(K.maximum(1. - y_true * y_pred, 0.), axis=-1)


def categorical_hinge(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """max(0, best wrong class - right class + 1)."""
    right = K.sum(y_true * y_pred, axis=-1)
    wrong = K.max((1. - y_true) * y_pred, axis=-1)
    return K.maximum(0., wrong - right + 1.)


def logcosh(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """mean(log(cosh(p - t))), as x + softplus(-2x) - log 2."""
    x = y_pred - y_true
    return K.mean(x + K.softplus(x * -2.) - math.log(2.), axis=-1)


def categorical_crossentropy(y_true: Tensor, y_pred: Tensor, from_logits: bool = False, label_smoothing: float = 0
                             ) -> Tensor:
    """-sum(t log p); p is scaled to sum 1.  label_smoothing: the part of each target that goes to all classes alike."""
    if label_smoothing:
        y_true = y_true * (1. - label_smoothing) + label_smoothing / K.int_shape(y_pred)[-1]
    return K.categorical_crossentropy(y_true, y_pred, from_logits=from_logits)


def sparse_categorical_crossentropy(y_true: Tensor, y_pred: Tensor, from_logits: bool = False, axis: int = -1
                                    ) -> Tensor:
    """-log p of the class numbers `y_true`."""
    return K.sparse_categorical_crossentropy(y_true, y_pred, from_logits=from_logits, axis=axis)


def binary_crossentropy(y_true: Tensor, y_pred: Tensor, from_logits: bool = False, label_smoothing: float = 0
                        ) -> Tensor:
    """-mean(t log p + (1 - t) log(1 - p)).  label_smoothing: the part of each target that becomes 1/2."""
    if label_smoothing:
        y_true = y_true * (1. - label_smoothing) + .5 * label_smoothing
    return K.mean(K.binary_crossentropy(y_true, y_pred, from_logits=from_logits), axis=-1)


def kullback_leibler_divergence(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """sum(t log(t / p))."""
    y_true = K.clip(y_true, K.epsilon(), 1)
    y_pred = K.clip(y_pred, K.epsilon(), 1)
    return K.sum(y_true * K.log(y_true / y_pred), axis=-1)


def poisson(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """mean(p - t log p)."""
    return K.mean(y_pred - y_true * K.log(y_pred + K.epsilon()), axis=-1)


def cosine_proximity(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Minus the cosine of the angle between t and p."""
    return cosine_similarity(y_true, y_pred)


def cosine_similarity(y_true: Tensor, y_pred: Tensor, axis: int = -1) -> Tensor:
    """Minus the cosine of the angle between t and p along `axis`."""
    return -K.sum(K.l2_normalize(y_true, axis=axis) * K.l2_normalize(y_pred, axis=axis), axis=axis)


def huber_loss(y_true: Tensor, y_pred: Tensor, delta: float = 1.) -> Tensor:
    """mean(e²/2), beyond `delta` growing as a line; e = |p - t|."""
    e = K.abs(y_pred - y_true)
    near = K.minimum(e, delta)
    return K.mean(.5 * K.square(near) + delta * (e - near), axis=-1)


mse = MSE = mean_squared_error
mae = MAE = mean_absolute_error
mape = MAPE = mean_absolute_percentage_error
msle = MSLE = mean_squared_logarithmic_error
kld = KLD = kullback_leibler_divergence
cosine = cosine_proximity
_HELPERS = ("Any", "Tensor", "Family", "Loss", "LossFunctionWrapper", "Reduction", "class_of", "plain")
_TABLE: dict[str, Any] = {k: v for k, v in list(globals().items())
                          if callable(v) and not k.startswith("_") and k not in _HELPERS}


def _class(name: str, fn: Any, **settings: Any) -> Any:
    last = {"reduction": Reduction.SUM_OVER_BATCH_SIZE, "name": fn.__name__}
    return class_of(name, LossFunctionWrapper, fn, {**settings, **last})


MeanSquaredError = _class("MeanSquaredError", mean_squared_error)
MeanAbsoluteError = _class("MeanAbsoluteError", mean_absolute_error)
MeanAbsolutePercentageError = _class("MeanAbsolutePercentageError", mean_absolute_percentage_error)
MeanSquaredLogarithmicError = _class("MeanSquaredLogarithmicError", mean_squared_logarithmic_error)
BinaryCrossentropy = _class("BinaryCrossentropy", binary_crossentropy, from_logits=False, label_smoothing=0)
CategoricalCrossentropy = _class("CategoricalCrossentropy", categorical_crossentropy, from_logits=False,
                                 label_smoothing=0)
SparseCategoricalCrossentropy = _class("SparseCategoricalCrossentropy", sparse_categorical_crossentropy,
                                       from_logits=False)
Hinge, SquaredHinge = _class("Hinge", hinge), _class("SquaredHinge", squared_hinge)
CategoricalHinge, LogCosh = _class("CategoricalHinge", categorical_hinge), _class("LogCosh", logcosh)
Poisson, KLDivergence = _class("Poisson", poisson), _class("KLDivergence", kullback_leibler_divergence)
CosineSimilarity = _class("CosineSimilarity", cosine_similarity, axis=-1)
Huber = _class("Huber", huber_loss, delta=1.)
_CLASSES = {c.__name__: c for c in (
    MeanSquaredError, MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredLogarithmicError, BinaryCrossentropy,
    CategoricalCrossentropy, SparseCategoricalCrossentropy, Hinge, SquaredHinge, CategoricalHinge, LogCosh, Poisson,
    KLDivergence, CosineSimilarity, Huber)}
_FAMILY = Family("loss function", {**_TABLE, **_CLASSES}, globals())
serialize, deserialize, get = _FAMILY.serialize, _FAMILY.deserialize, _FAMILY.get
