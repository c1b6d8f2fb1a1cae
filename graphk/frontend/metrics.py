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


_TABLE: dict[str, Any] = {**_losses._TABLE, **{f.__name__: f for f in (
    binary_accuracy, categorical_accuracy, sparse_categorical_accuracy, top_k_categorical_accuracy,
    sparse_top_k_categorical_accuracy)}}
_FAMILY = Family("metric function", _TABLE, globals())
serialize, deserialize, get = _FAMILY.serialize, _FAMILY.deserialize, _FAMILY.get
