"""Metrics as objects, as Keras 2.3 has them: state that grows batch by batch, and a result.

In: targets, predictions and weights of a batch.  Out: the result with this batch included, and the updates that keep
the state.  What always holds: what `update_state` returns is applied after each batch; `result` reads the variables,
and a call shows what it gives once they are updated.
"""
from __future__ import annotations

from typing import Any, Callable, Sequence

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.engine.base_layer import Layer
from graphk.frontend.loss_classes import widened
from graphk.frontend.tensor import Tensor, Update
from graphk.ir.node import Graph, substitute_nodes


def _tensor(x: Any) -> Tensor:
    return K.cast(x, K.floatx()) if isinstance(x, Tensor) else K.constant(x)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 where b is."""
    none = K.equal(b, 0.)
    return K.switch(none, K.zeros_like(a), a / K.switch(none, K.ones_like(b), b))


class Metric(Layer):
    """Base class: subclasses make variables with `add_weight`, and define `update_state`, which returns updates of
    them, and `result`.

    >>> class Largest(Metric):
    ...     def __init__(self, name="largest"):
    ...         super().__init__(name)
    ...         self.best = self.add_weight("best")
    ...     def update_state(self, y_true, y_pred, sample_weight=None):
    ...         return K.update(self.best, K.maximum(self.best, K.max(y_pred)))
    ...     def result(self):
    ...         return self.best * 1.
    >>> Largest().name
    'largest'
    """

    def __init__(self, name: str | None = None, dtype: str | None = None, **kwargs: Any):
        super().__init__(name=name, dtype=dtype, **kwargs)
        self.stateful = self.built = True

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        self._updates, self._per_input_updates = [], {}
        self.add_update(self.update_state(*args, **kwargs))
        result = self.result()
        after = {u.variable.node: u.value.node for u in self._updates}
        return Tensor(substitute_nodes(Graph((), (result.node,)), after).outputs[0])

    def add_weight(self, name: Any = None, shape: Any = (), initializer: Any = "zeros", **kwargs: Any) -> Any:
        """A variable of the metric's state."""
        return super().add_weight(name, shape, initializer=initializer, **{"trainable": False, **kwargs})

    def update_state(self, *args: Any, **kwargs: Any) -> Any:
        """The updates of the variables for one batch."""
        raise NotImplementedError(f"{type(self).__name__} must define update_state(y_true, y_pred, sample_weight=None)")

    def result(self) -> Tensor:
        """The value that the variables stand for."""
        raise NotImplementedError(f"{type(self).__name__} must define result()")

    def reset_states(self) -> None:
        """Begin again."""
        K.batch_set_value([(w, np.zeros(w.node.shape)) for w in self.weights])

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}


class Sum(Metric):
    """The weighted sum of values."""

    def __init__(self, name: str = "sum", dtype: str | None = None):
        super().__init__(name, dtype)
        self.total = self.add_weight("total")

    def update_state(self, values: Any, sample_weight: Any = None) -> list[Update]:
        values, weights = _weighted(values, sample_weight)
        return [K.update_add(self.total, K.sum(values * weights))]

    def result(self) -> Tensor:
        return self.total * 1.


class Mean(Sum):
    """The weighted mean of values; 0 of none."""

    def __init__(self, name: str = "mean", dtype: str | None = None):
        super().__init__(name, dtype)
        self.count = self.add_weight("count")

    def update_state(self, values: Any, sample_weight: Any = None) -> list[Update]:
        values, weights = _weighted(values, sample_weight)
        return [K.update_add(self.total, K.sum(values * weights)), K.update_add(self.count, K.sum(weights))]

    def result(self) -> Tensor:
        return _ratio(self.total, self.count)


def _weighted(values: Any, weights: Any) -> tuple[Tensor, Tensor]:
    """Values, averaged over axes that the weights lack, and weights of their shape."""
    values = _tensor(values)
    if weights is None:
        return values, K.ones_like(values)
    weights = _tensor(weights)
    if values.ndim > weights.ndim:
        values = K.mean(values, axis=list(range(weights.ndim, values.ndim)))
    return values, weights * K.ones_like(values)


class MeanMetricWrapper(Mean):
    """The mean of `fn(y_true, y_pred, **settings)`."""

    def __init__(self, fn: Callable[..., Tensor], name: str | None = None, dtype: str | None = None, **settings: Any):
        super().__init__(name or fn.__name__, dtype)
        self.fn, self.settings = fn, settings

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> list[Update]:   # type: ignore[override]
        return super().update_state(self.fn(_tensor(y_true), _tensor(y_pred), **self.settings), sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings}


class RootMeanSquaredError(Mean):
    """The root of the mean of squared differences."""

    def __init__(self, name: str = "root_mean_squared_error", dtype: str | None = None):
        super().__init__(name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> list[Update]:   # type: ignore[override]
        return super().update_state(K.square(_tensor(y_pred) - _tensor(y_true)), sample_weight)

    def result(self) -> Tensor:
        return K.sqrt(super().result())


class MeanRelativeError(Mean):
    """The mean of |p - t| / normalizer, 0 where the normalizer is."""

    def __init__(self, normalizer: Any, name: str | None = None, dtype: str | None = None):
        super().__init__(name or "mean_relative_error", dtype)
        self.normalizer = normalizer

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> list[Update]:   # type: ignore[override]
        error = K.abs(_tensor(y_true) - _tensor(y_pred))
        return super().update_state(_ratio(error, _tensor(self.normalizer) * K.ones_like(error)), sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "normalizer": np.asarray(self.normalizer).tolist()}


class MeanIoU(Metric):
    """The mean over classes of intersection / union of targets and predictions, both class numbers."""

    def __init__(self, num_classes: int, name: str | None = None, dtype: str | None = None):
        super().__init__(name or "mean_io_u", dtype)
        self.num_classes = num_classes
        self.total_cm = self.add_weight("total_confusion_matrix", (num_classes, num_classes))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> list[Update]:
        true, found = (K.one_hot(K.cast(K.flatten(_tensor(y)), "int32"), self.num_classes) for y in (y_true, y_pred))
        if sample_weight is not None:
            true = true * K.expand_dims(K.flatten(_tensor(sample_weight)))
        return [K.update_add(self.total_cm, K.dot(K.transpose(true), found))]

    def result(self) -> Tensor:
        right = K.sum(self.total_cm * K.eye(self.num_classes), axis=0)
        union = K.sum(self.total_cm, axis=0) + K.sum(self.total_cm, axis=1) - right
        return _ratio(K.sum(_ratio(right, union)), K.sum(K.cast(K.not_equal(union, 0.), K.floatx())))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}


# ------------------------------------------------------------------ counts of right and wrong
def _best(y: Tensor, k: int) -> Tensor:
    """`y`, and minus infinity where it is not among the `k` largest of its row."""
    above = K.sum(K.cast(K.greater(K.expand_dims(y, -2), K.expand_dims(y, -1)), K.floatx()), axis=-1)
    return K.switch(K.less(above, k), y, K.ones_like(y) * -np.inf)


class Confusion(Metric):
    """Counts of true and false positives and negatives at thresholds; subclasses `keep` some and make a result of them.

    thresholds: numbers from 0 to 1; top_k: only the largest predictions of a row count as positive; class_id: the only
    class that counts.
    """
    keep: Sequence[str] = ("tp", "fp", "tn", "fn")

    def __init__(self, thresholds: Any = None, top_k: int | None = None, class_id: int | None = None,
                 name: str | None = None, dtype: str | None = None):
        super().__init__(name, dtype)
        self.given, self.top_k, self.class_id = thresholds, top_k, class_id
        default = -np.inf if top_k is not None else .5
        self.thresholds = [default] if thresholds is None else [float(t) for t in np.ravel(thresholds)]
        if thresholds is not None and not all(0 <= t <= 1 for t in np.ravel(thresholds)):
            raise ValueError(f"{type(self).__name__} `{self.name}`: `thresholds` are numbers from 0 to 1; received "
                             f"{thresholds!r:.200}.")
        self._make_counts(self.thresholds)

    def _make_counts(self, thresholds: Sequence[float]) -> None:
        self.thresholds = list(thresholds)
        self.counts = {kind: self.add_weight(kind, (len(self.thresholds),)) for kind in self.keep}

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> list[Update]:
        true, found = _tensor(y_true), _tensor(y_pred)
        if self.top_k is not None:
            found = _best(found, self.top_k)
        if self.class_id is not None:
            true, found = true[..., self.class_id], found[..., self.class_id]
        weights = K.ones_like(found) if sample_weight is None else \
            widened(_tensor(sample_weight), found.ndim) * K.ones_like(found)
        yes, values, w = (K.reshape(x, (1, -1)) for x in (K.cast(K.cast(true, "bool"), K.floatx()), found, weights))
        limits = K.constant(np.reshape(self.thresholds, (-1, 1)))
        positive = K.cast(K.greater(values, limits), K.floatx())
        parts = {"tp": yes * positive, "fp": (1. - yes) * positive, "tn": (1. - yes) * (1. - positive),
                 "fn": yes * (1. - positive)}
        return [K.update_add(self.counts[kind], K.sum(parts[kind] * w, axis=1)) for kind in self.keep]

    def _shown(self, values: Tensor) -> Tensor:
        return values[0] if len(self.thresholds) == 1 else values

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self.given, "top_k": self.top_k, "class_id": self.class_id}


class _Count(Confusion):
    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: str | None = None):
        super().__init__(thresholds, name=name, dtype=dtype)

    def result(self) -> Tensor:
        return self._shown(self.counts[self.keep[0]] * 1.)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "thresholds": self.given}


class TruePositives(_Count):
    """How many positives were found."""
    keep = ("tp",)


class FalsePositives(_Count):
    """How many negatives were taken for positives."""
    keep = ("fp",)


class TrueNegatives(_Count):
    """How many negatives were found."""
    keep = ("tn",)


class FalseNegatives(_Count):
    """How many positives were taken for negatives."""
    keep = ("fn",)


class Precision(Confusion):
    """The share of what was found that is right."""
    keep = ("tp", "fp")

    def result(self) -> Tensor:
        right, other = (self.counts[kind] for kind in self.keep)
        return self._shown(_ratio(right * 1., right + other))


class Recall(Precision):
    """The share of what is to be found that was found."""
    keep = ("tp", "fn")


class _Curve(Confusion):
    """Counts at `num_thresholds` thresholds over [0, 1], the ends a little outside."""

    def __init__(self, num_thresholds: int, name: str | None, dtype: str | None, thresholds: Any = None):
        if thresholds is None and (not isinstance(num_thresholds, (int, np.integer)) or num_thresholds < 2):
            raise ValueError(f"`num_thresholds` must be an integer above 1; received {num_thresholds!r}.")
        super().__init__([] if thresholds is None else sorted(thresholds), name=name, dtype=dtype)
        self.num_thresholds = num_thresholds
        inner = self.thresholds or [i / (num_thresholds - 1) for i in range(1, num_thresholds - 1)]
        self._trainable_weights, self._non_trainable_weights = [], []
        self._make_counts([-K.epsilon(), *inner, 1. + K.epsilon()])

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "num_thresholds": self.num_thresholds}


class AUC(_Curve):
    """The area under a curve: 'ROC', of true over false positive rates, or 'PR', of precision over recall.

    summation_method: 'interpolation' (trapezoids; for PR as Davis and Goadrich, 2006), 'minoring' or 'majoring'.
    """

    def __init__(self, num_thresholds: int = 200, curve: str = "ROC", summation_method: str = "interpolation",
                 name: str | None = None, dtype: str | None = None, thresholds: Any = None):
        methods = ("interpolation", "minoring", "majoring")
        if curve not in ("ROC", "PR") or summation_method not in methods:
            raise ValueError(f"AUC: `curve` is 'ROC' or 'PR', `summation_method` one of {methods}; received {curve!r} "
                             f"and "
                             f"{summation_method!r}.")
        super().__init__(num_thresholds, name, dtype, thresholds)
        self.curve, self.summation_method, self.inner = curve, summation_method, thresholds

    def result(self) -> Tensor:
        tp, fp, tn, fn = (self.counts[kind] for kind in self.keep)
        recall = _ratio(tp * 1., tp + fn)
        if self.curve == "PR" and self.summation_method == "interpolation":
            return self._interpolated(tp, fp, fn)
        x, y = (_ratio(fp * 1., fp + tn), recall) if self.curve == "ROC" else (recall, _ratio(tp * 1., tp + fp))
        heights = {"interpolation": (y[:-1] + y[1:]) / 2., "minoring": K.minimum(y[:-1], y[1:]),
                   "majoring": K.maximum(y[:-1], y[1:])}[self.summation_method]
        return K.sum((x[:-1] - x[1:]) * heights)

    @staticmethod
    def _interpolated(tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
        found = tp + fp
        more, all_more = tp[:-1] - tp[1:], found[:-1] - found[1:]
        slope = _ratio(more, K.maximum(all_more, 0.))
        start = tp[1:] - slope * found[1:]
        both = K.cast(K.greater(found[:-1], 0.), K.floatx()) * K.cast(K.greater(found[1:], 0.), K.floatx())
        growth = K.switch(K.greater(both, 0.), _ratio(found[:-1], K.maximum(found[1:], 0.)), K.ones_like(both))
        return K.sum(_ratio(slope * (more + start * K.log(growth)), K.maximum(tp[1:] + fn[1:], 0.)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "curve": self.curve, "summation_method": self.summation_method,
                "thresholds": self.inner}


class _AtPoint(_Curve):
    """One rate where the other is nearest to `wanted`."""
    wanted_of = "specificity"

    def __init__(self, wanted: float, num_thresholds: int = 200, name: str | None = None, dtype: str | None = None):
        if not 0 <= wanted <= 1:
            raise ValueError(f"`{self.wanted_of}` must be a number from 0 to 1; received {wanted!r}.")
        super().__init__(num_thresholds, name, dtype)
        self.wanted = wanted

    def result(self) -> Tensor:
        tp, fp, tn, fn = (self.counts[kind] for kind in self.keep)
        rates = [_ratio(tp * 1., tp + fn), _ratio(tn * 1., tn + fp)]
        shown, asked = rates if self.wanted_of == "specificity" else rates[::-1]
        return K.gather(shown, K.argmin(K.abs(asked - self.wanted), axis=0))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), self.wanted_of: self.wanted}


class SensitivityAtSpecificity(_AtPoint):
    """The share of positives found at the threshold whose specificity is nearest to `specificity`."""

    def __init__(self, specificity: float, num_thresholds: int = 200, name: str | None = None,
                 dtype: str | None = None):
        super().__init__(specificity, num_thresholds, name, dtype)


class SpecificityAtSensitivity(_AtPoint):
    """The share of negatives found at the threshold whose sensitivity is nearest to `sensitivity`."""
    wanted_of = "sensitivity"

    def __init__(self, sensitivity: float, num_thresholds: int = 200, name: str | None = None,
                 dtype: str | None = None):
        super().__init__(sensitivity, num_thresholds, name, dtype)


def combined(*weights: Any) -> Any:
    """The product of those weights that are not None, each widened to the rank of the widest; None of none."""
    parts = [_tensor(w) for w in weights if w is not None]
    if not parts:
        return None
    rank = max(w.ndim for w in parts)
    out = widened(parts[0], rank)
    for w in parts[1:]:
        out = out * widened(w, rank)
    return out


__all__ = ["Metric", "Sum", "Mean", "MeanMetricWrapper", "RootMeanSquaredError", "MeanRelativeError", "MeanIoU",
           "TruePositives", "FalsePositives", "TrueNegatives", "FalseNegatives", "Precision", "Recall", "AUC",
           "SensitivityAtSpecificity", "SpecificityAtSensitivity"]
