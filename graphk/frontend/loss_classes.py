"""Losses as objects, as Keras 2.3 has them: what they make of a batch, and its settings.

In: targets and predictions, and weights of samples.  Out: one number, or one per sample.  What always holds: a loss of
this kind is a function with settings, `fn`, whose values are weighted and then averaged, summed or left as they are.
"""
from __future__ import annotations

import inspect
from typing import Any, Callable

from graphk.frontend import backend as K
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.generic_utils import config_of


class Reduction:
    """What becomes of the losses of the samples."""
    NONE, SUM, SUM_OVER_BATCH_SIZE = "none", "sum", "sum_over_batch_size"

    @classmethod
    def all(cls) -> tuple[str, ...]:
        """All of them."""
        return cls.NONE, cls.SUM, cls.SUM_OVER_BATCH_SIZE

    @classmethod
    def validate(cls, key: str) -> None:
        """ValueError if `key` is none of them."""
        if key not in cls.all():
            raise ValueError(f"The `reduction` of a loss is one of {', '.join(map(repr, cls.all()))}; received "
                             f"{key!r}.")


def widened(w: Any, rank: int) -> Any:
    """Weights with axes of extent 1 at the end, up to `rank`."""
    for _ in range(rank - w.ndim):
        w = K.expand_dims(w, -1)
    return w


class Loss:
    """Base class: subclasses define `call(y_true, y_pred)`, one number per sample.

    reduction: 'sum_over_batch_size' (the mean), 'sum' or 'none'.
    """

    def __init__(self, reduction: str = Reduction.SUM_OVER_BATCH_SIZE, name: str | None = None):
        Reduction.validate(reduction)
        self.reduction, self.name = reduction, name

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        """One number per sample."""
        raise NotImplementedError(f"{type(self).__name__} must define call(y_true, y_pred)")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        y_true, y_pred = (y if isinstance(y, Tensor) else K.constant(y) for y in (y_true, y_pred))
        return self.reduced(self.call(y_true, y_pred), sample_weight)

    def reduced(self, values: Tensor, *weights: Any) -> Tensor:
        """`values`, each as often as the weights (None: once) say, reduced."""
        for w in weights:
            if w is not None:
                w = K.cast(w, values.dtype) if isinstance(w, Tensor) else K.constant(w, values.dtype)
                values = values * widened(w, values.ndim)
        if self.reduction == Reduction.NONE:
            return values
        return K.sum(values) if self.reduction == Reduction.SUM else K.mean(values)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"reduction": self.reduction, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Loss":
        """A loss from `get_config()`."""
        return cls(**config_of(cls, config))


def compute_weighted_loss(losses: Any, sample_weight: Any = None, reduction: str = Reduction.SUM_OVER_BATCH_SIZE,
                          name: str | None = None) -> Tensor:
    """Losses of samples, weighted and reduced.

    >>> K.eval(compute_weighted_loss(K.constant([1., 3.]), [1., 2.], "sum")).item()
    7.0
    """
    return Loss(reduction, name).reduced(losses if isinstance(losses, Tensor) else K.constant(losses), sample_weight)


class LossFunctionWrapper(Loss):
    """The loss `fn(y_true, y_pred, **settings)` as an object."""

    def __init__(self, fn: Callable[..., Tensor], reduction: str = Reduction.SUM_OVER_BATCH_SIZE,
                 name: str | None = None, **settings: Any):
        super().__init__(reduction, name)
        self.fn, self.settings = fn, settings

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        return self.fn(y_true, y_pred, **self.settings)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings}


def plain(loss: Any) -> Any:
    """The function of a loss that is an object without settings that change its meaning; other losses as they are."""
    return loss.fn if isinstance(loss, LossFunctionWrapper) else loss


def class_of(name: str, base: type, fn: Callable[..., Tensor], arguments: dict[str, Any]) -> Any:
    """A class `name` whose objects are `base(fn, …)`, with these arguments and their defaults."""
    keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(k, keyword, default=v) for k, v in arguments.items()])

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            given = signature.bind(*args, **kwargs)
        except TypeError as e:
            raise TypeError(f"{name}: {e}; expected {signature}") from None
        given.apply_defaults()
        base.__init__(self, fn, **given.arguments)             # type: ignore[misc]
    __init__.__signature__ = signature               # type: ignore[attr-defined]
    doc = f"The {'loss' if base is LossFunctionWrapper else 'mean of the'} `{fn.__name__}` as an object."
    return type(name, (base,), {"__init__": __init__, "__doc__": doc, "__module__": fn.__module__})
