"""Metrics: like losses, but only reported.

In: tensors `y_true`, `y_pred`.  Out: a tensor of per-sample values (or one number).  What always holds:
every loss may be used as a metric.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend import backend as K
from graphk.frontend import losses as _losses
from graphk.frontend.losses import (MAE, MAPE, MSE, MSLE, binary_crossentropy, categorical_crossentropy,  # noqa: F401
                                    categorical_hinge, cosine, cosine_proximity, hinge, kullback_leibler_divergence,
                                    logcosh, mae, mape, mean_absolute_error, mean_absolute_percentage_error,
                                    mean_squared_error, mean_squared_logarithmic_error, mse, msle, poisson,
                                    sparse_categorical_crossentropy, squared_hinge)
from graphk.frontend.loss_classes import class_of
from graphk.frontend.metric_classes import *  # noqa: F401,F403
from graphk.frontend.metric_classes import Metric, MeanMetricWrapper
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.families import Family


def binary_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """The share of outputs that round to their target."""
    return K.mean(K.equal(y_true, K.round(y_pred)), axis=-1)


def categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """1 where the largest output is the target's class."""
    return K.cast(K.equal(K.argmax(y_true, axis=-1), K.argmax(y_pred, axis=-1)), K.floatx())


def sparse_categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """1 where the largest output is the class number `y_true`."""
    if K.ndim(y_true) == K.ndim(y_pred):
        y_true = K.squeeze(y_true, -1)
    return K.cast(K.equal(y_true, K.cast(K.argmax(y_pred, axis=-1), y_true.dtype)), K.floatx())


def top_k_categorical_accuracy(y_true: Tensor, y_pred: Tensor, k: int = 5) -> Tensor:
    """The share of samples whose class is among the k largest outputs."""
    return K.mean(K.in_top_k(y_pred, K.argmax(y_true, axis=-1), k), axis=-1)


def sparse_top_k_categorical_accuracy(y_true: Tensor, y_pred: Tensor, k: int = 5) -> Tensor:
    """The same for class numbers `y_true`."""
    return K.mean(K.in_top_k(y_pred, K.cast(K.flatten(y_true), "int32"), k), axis=-1)


# ------------------------------------------------------------------ Keras 1's, of a whole batch
def _counts(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """True positives, false positives, false negatives, true negatives."""
    true, found = K.round(K.clip(y_true, 0, 1)), K.round(K.clip(y_pred, 0, 1))
    return K.sum(true * found), K.sum((1 - true) * found), K.sum(true * (1 - found)), K.sum((1 - true) * (1 - found))


def precision(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """The share of what is found in the batch that is right."""
    right, wrong, _, _ = _counts(y_true, y_pred)
    return right / (right + wrong + K.epsilon())


def recall(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """The share of what is to be found in the batch that is found."""
    right, _, missed, _ = _counts(y_true, y_pred)
    return right / (right + missed + K.epsilon())


def fbeta_score(y_true: Tensor, y_pred: Tensor, beta: float = 1) -> Tensor:
    """The weighted harmonic mean of precision and recall, which counts `beta` times as much."""
    if beta < 0:
        raise ValueError(f"fbeta_score: beta is at least 0; received {beta}")
    p, r = precision(y_true, y_pred), recall(y_true, y_pred)
    return (1 + beta ** 2) * p * r / (beta ** 2 * p + r + K.epsilon())


def fmeasure(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """The harmonic mean of precision and recall."""
    return fbeta_score(y_true, y_pred)


def matthews_correlation(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """The correlation of targets and outputs, both rounded to 0 or 1 (B. Matthews, 1975)."""
    tp, fp, fn, tn = _counts(y_true, y_pred)
    size = K.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return (tp * tn - fp * fn) / (size + K.epsilon())


_TABLE: dict[str, Any] = {**_losses._TABLE, **{f.__name__: f for f in (
    binary_accuracy, categorical_accuracy, sparse_categorical_accuracy, top_k_categorical_accuracy,
    sparse_top_k_categorical_accuracy, precision, recall, fbeta_score, fmeasure, matthews_correlation)}}


def accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """1 where output and target are equal."""
    return K.cast(K.equal(y_true, y_pred), K.floatx())


def _class(name: str, fn: Any, shown: str | None = None, **settings: Any) -> Any:
    named = {"name": shown or fn.__name__, "dtype": None}
    return class_of(name, MeanMetricWrapper, fn, {**settings, **named} if "k" in settings else {**named, **settings})


def _at_threshold(y_true: Tensor, y_pred: Tensor, threshold: float = .5) -> Tensor:
    return K.mean(K.equal(y_true, K.cast(K.greater(y_pred, threshold), y_true.dtype)), axis=-1)


def _among_best(y_true: Tensor, y_pred: Tensor, k: int = 5) -> Tensor:
    return K.cast(K.in_top_k(y_pred, K.argmax(y_true, axis=-1), k), K.floatx())


def _class_among_best(y_true: Tensor, y_pred: Tensor, k: int = 5) -> Tensor:
    return K.cast(K.in_top_k(y_pred, K.cast(K.flatten(y_true), "int32"), k), K.floatx())


def _similarity(y_true: Tensor, y_pred: Tensor, axis: int = -1) -> Tensor:
    return -_losses.cosine_similarity(y_true, y_pred, axis)


Accuracy, BinaryAccuracy = _class("Accuracy", accuracy), _class("BinaryAccuracy", _at_threshold, "binary_accuracy",
                                                                threshold=.5)
CategoricalAccuracy = _class("CategoricalAccuracy", categorical_accuracy)
SparseCategoricalAccuracy = _class("SparseCategoricalAccuracy", sparse_categorical_accuracy)
TopKCategoricalAccuracy = _class("TopKCategoricalAccuracy", _among_best, "top_k_categorical_accuracy", k=5)
SparseTopKCategoricalAccuracy = _class("SparseTopKCategoricalAccuracy", _class_among_best,
                                       "sparse_top_k_categorical_accuracy", k=5)
CosineSimilarity = _class("CosineSimilarity", _similarity, "cosine_similarity", axis=-1)
LogCoshError = _class("LogCoshError", logcosh)
MeanSquaredError, MeanAbsoluteError = (_class("MeanSquaredError", mean_squared_error),
                                       _class("MeanAbsoluteError", mean_absolute_error))
MeanAbsolutePercentageError = _class("MeanAbsolutePercentageError", mean_absolute_percentage_error)
MeanSquaredLogarithmicError = _class("MeanSquaredLogarithmicError", mean_squared_logarithmic_error)
Hinge, SquaredHinge, CategoricalHinge = (_class("Hinge", hinge), _class("SquaredHinge", squared_hinge),
                                         _class("CategoricalHinge", categorical_hinge))
Poisson = _class("Poisson", poisson)
KLDivergence = _class("KLDivergence", kullback_leibler_divergence)
BinaryCrossentropy = _class("BinaryCrossentropy", binary_crossentropy, from_logits=False, label_smoothing=0)
CategoricalCrossentropy = _class("CategoricalCrossentropy", categorical_crossentropy, from_logits=False,
                                 label_smoothing=0)
SparseCategoricalCrossentropy = _class("SparseCategoricalCrossentropy", sparse_categorical_crossentropy,
                                       from_logits=False)
_CLASSES = {k: v for k, v in globals().items() if isinstance(v, type) and issubclass(v, Metric) and k not in (
    "Metric", "MeanMetricWrapper")}
_FAMILY = Family("metric function", {**_TABLE, **_CLASSES}, globals())
serialize, deserialize, get = _FAMILY.serialize, _FAMILY.deserialize, _FAMILY.get
