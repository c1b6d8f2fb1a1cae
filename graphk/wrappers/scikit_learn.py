"""Sequential models as scikit-learn's classifiers and regressors.

In: a function that returns a compiled model, and arguments of it and of the model's fit, predict and evaluate.  Out: an
object with scikit-learn's fit, predict and score, for its pipelines and searches.  What always holds: scikit-learn
itself is imported by nothing here but the question for an estimator's tags, which only scikit-learn asks.
"""
from __future__ import annotations

import copy
import types
from typing import Any, Callable

import numpy as np

from graphk.frontend.engine.sequential import Sequential
from graphk.frontend.utils.generic_utils import has_arg, to_list
from graphk.frontend.utils.np_utils import to_categorical


class BaseWrapper:
    """What KerasClassifier and KerasRegressor share.

    build_fn: a function, or an object to call, that returns a compiled model; None for a subclass that defines
    `__call__`.  sk_params: arguments of build_fn, and of the model's fit, predict, predict_classes and evaluate, by
    name; those given to a method come before those given here.  Raises ValueError for one that none of them takes.
    """

    _estimator_type = "estimator"

    def __init__(self, build_fn: Callable[..., Any] | None = None, **sk_params: Any):
        self.build_fn, self.sk_params = build_fn, sk_params
        self.check_params(sk_params)

    def _maker(self) -> Callable[..., Any]:
        """The function whose arguments the model's are."""
        if self.build_fn is None:
            return self.__call__                                          # type: ignore
        if isinstance(self.build_fn, (types.FunctionType, types.MethodType)):
            return self.build_fn
        return self.build_fn.__call__                                     # type: ignore[operator]

    def check_params(self, params: dict[str, Any]) -> None:
        """ValueError for a parameter that no function takes."""
        takers: list[Any] = [getattr(Sequential, name) for name in ("fit", "predict", "predict_classes", "evaluate")]
        takers.append(self._maker())
        for name in params:
            if name != "nb_epoch" and not any(has_arg(fn, name) for fn in takers):
                raise ValueError(f"{name} is not a legal parameter: neither build_fn nor the model's fit, predict or "
                                 "evaluate takes it")

    def get_params(self, **params: Any) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**self.sk_params, "build_fn": self.build_fn}

    def set_params(self, **params: Any) -> "BaseWrapper":
        """Change the constructor's arguments."""
        self.check_params({k: v for k, v in params.items() if k != "build_fn"})
        self.build_fn = params.pop("build_fn", self.build_fn)
        self.sk_params.update(params)
        return self

    def fit(self, x: Any, y: Any, **kwargs: Any) -> Any:
        """Make a new model and train it; its History.  kwargs: arguments of the model's fit."""
        maker = self._maker()
        self.model = (self.build_fn or maker)(**self.filter_sk_params(maker))
        y = self._targets(y)
        arguments = copy.deepcopy(self.filter_sk_params(Sequential.fit))
        if "nb_epoch" in self.sk_params:
            arguments["nb_epoch"] = self.sk_params["nb_epoch"]
        return self.model.fit(x, y, **{**arguments, **kwargs})

    def _targets(self, y: Any) -> Any:
        """Class numbers as rows of 0 and 1, if the model's loss wants those."""
        loss = self.model.loss
        name = getattr(loss, "__name__", loss)
        return to_categorical(y) if name == "categorical_crossentropy" and np.ndim(y) != 2 else y

    def filter_sk_params(self, fn: Callable[..., Any], override: dict[str, Any] | None = None) -> dict[str, Any]:
        """Those of the arguments that `fn` takes, and all of `override`."""
        return {**{k: v for k, v in self.sk_params.items() if has_arg(fn, k)}, **(override or {})}

    def _fitted(self) -> Any:
        if not hasattr(self, "model"):
            raise AttributeError(f"this {type(self).__name__} has no model yet: call fit(x, y) first")
        return self.model

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model")

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn 1.6 and later want to know of an estimator."""
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags
        return Tags(estimator_type=self._estimator_type, target_tags=TargetTags(required=True), transformer_tags=None,
                    classifier_tags=ClassifierTags() if self._estimator_type == "classifier" else None,
                    regressor_tags=RegressorTags() if self._estimator_type == "regressor" else None,
                    input_tags=InputTags(three_d_array=True))


class KerasClassifier(BaseWrapper):
    """A classifier made of a model whose outputs are classes' probabilities.

    >>> from graphk.layers import Dense
    >>> from graphk.models import Sequential
    >>> def make(units=2):
    ...     model = Sequential([Dense(units, activation="softmax", input_shape=(3,))])
    ...     model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    ...     return model
    >>> classifier = KerasClassifier(make, epochs=1, verbose=0)
    >>> _ = classifier.fit(np.ones((4, 3)), ["a", "b", "a", "b"])
    >>> classifier.predict_proba(np.ones((4, 3))).shape, classifier.classes_.tolist()
    ((4, 2), ['a', 'b'])
    """

    _estimator_type = "classifier"

    def fit(self, x: Any, y: Any, sample_weight: Any = None, **kwargs: Any) -> Any:
        """Make a new model and train it on labels, or rows of 0 and 1; its History."""
        y = np.array(y)
        if y.ndim == 2 and y.shape[1] > 1:
            self.classes_ = np.arange(y.shape[1])
        elif y.ndim == 1 or (y.ndim == 2 and y.shape[1] == 1):
            self.classes_ = np.unique(y)
            y = np.searchsorted(self.classes_, y)
        else:
            raise ValueError("Invalid shape for y: " + str(y.shape))
        self.n_classes_ = len(self.classes_)
        if sample_weight is not None:
            kwargs["sample_weight"] = sample_weight
        return super().fit(x, y, **kwargs)

    def predict(self, x: Any, **kwargs: Any) -> Any:
        """The label of each sample.  kwargs: arguments of the model's predict."""
        p = self._fitted().predict(x, **self.filter_sk_params(Sequential.predict_classes, kwargs))
        return self.classes_[p.argmax(axis=-1) if p.shape[-1] > 1 else (p > 0.5).astype("int32")]

    def predict_proba(self, x: Any, **kwargs: Any) -> np.ndarray:
        """The probability of each class, (samples, classes).  kwargs: arguments of the model's predict."""
        p = self._fitted().predict(x, **self.filter_sk_params(Sequential.predict, kwargs))
        return np.hstack([1 - p, p]) if p.shape[1] == 1 else np.asarray(p)

    def score(self, x: Any, y: Any, **kwargs: Any) -> float:
        """The share of samples whose label is found; ValueError if the model was compiled without accuracy."""
        model = self._fitted()
        y = self._targets(np.searchsorted(self.classes_, y))
        values = to_list(model.evaluate(x, y, **self.filter_sk_params(Sequential.evaluate, kwargs)))
        for name, value in zip(model.metrics_names, values):
            if name in ("acc", "accuracy"):
                return float(value)
        raise ValueError('The model is not configured to compute accuracy. You should pass `metrics=["accuracy"]` to '
                         "the `model.compile()` method.")


class KerasRegressor(BaseWrapper):
    """A regressor made of a model.

    >>> from graphk.layers import Dense
    >>> from graphk.models import Sequential
    >>> def make():
    ...     model = Sequential([Dense(1, input_shape=(3,))])
    ...     model.compile("sgd", "mse")
    ...     return model
    >>> regressor = KerasRegressor(make, epochs=1, verbose=0)
    >>> _ = regressor.fit(np.ones((4, 3)), np.ones(4))
    >>> regressor.predict(np.ones((4, 3))).shape
    (4,)
    """

    _estimator_type = "regressor"

    def predict(self, x: Any, **kwargs: Any) -> Any:
        """The value of each sample, axes of size 1 left out.  kwargs: arguments of the model's predict."""
        return np.squeeze(self._fitted().predict(x, **self.filter_sk_params(Sequential.predict, kwargs)))

    def score(self, x: Any, y: Any, **kwargs: Any) -> float:
        """Minus the loss, so that larger is better."""
        loss = self._fitted().evaluate(x, y, **self.filter_sk_params(Sequential.evaluate, kwargs))
        return -float(loss[0] if isinstance(loss, list) else loss)


__all__ = ["BaseWrapper", "KerasClassifier", "KerasRegressor"]
