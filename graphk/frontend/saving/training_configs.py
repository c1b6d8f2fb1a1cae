"""What a model was compiled with, by any Keras, as `compile` takes it.

In: the training configuration of a file.  Out: the arguments of `compile`, and what of them cannot be had.  What
always holds: objects of the user's that are not known are errors; what no graphk has (a wrapped optimizer, a sum in
place of a mean) leaves the model uncompiled, with a warning that names it.
"""
from __future__ import annotations

import contextlib
import warnings
from types import FunctionType
from typing import Any

from graphk.frontend import losses, metrics, optimizers
from graphk.frontend.engine.mixed_precision import settings_of
from graphk.frontend.saving.config_values import plain, short
from graphk.frontend.saving.configs import Problem
from graphk.frontend.utils.advice import advice, keywords
from graphk.frontend.utils.generic_utils import deserialize_keras_object, get_custom_objects, to_snake_case

_OTHER_NAMES = {"kl_divergence": "kullback_leibler_divergence", "log_cosh": "logcosh",
                "cosine_similarity": "cosine_proximity", "huber": "huber_loss",
                "kldivergence": "kullback_leibler_divergence"}
# Settings of losses that change nothing, with the values that do.
_LOSS_DEFAULTS: dict[str, tuple[Any, ...]] = {"reduction": ("auto", "sum_over_batch_size", "AUTO"), "axis": (-1,),
                                              "from_logits": (False,), "label_smoothing": (0, 0.)}
# Classes of tf.keras and Keras 3 that graphk does not have, so that no object of the user's is missing.
_THEIR_OPTIMIZERS = {"AdamW", "Ftrl", "Lion", "Adafactor", "LossScaleOptimizer", "Lamb", "Muon", "TFOptimizer",
                     "LossScaleOptimizerV3", "LossScaleOptimizerV1"}
_THEIR_LOSSES = {"BinaryFocalCrossentropy", "CategoricalFocalCrossentropy", "CategoricalGeneralizedCrossEntropy",
                 "Dice", "Tversky", "CTC", "Circle"}
_THEIR_METRICS = {"AUC", "Precision", "Recall", "TruePositives", "TrueNegatives", "FalsePositives", "FalseNegatives",
                  "MeanIoU", "IoU", "BinaryIoU", "OneHotIoU", "OneHotMeanIoU", "F1Score", "FBetaScore", "R2Score",
                  "RootMeanSquaredError", "MeanRelativeError", "SensitivityAtSpecificity", "SpecificityAtSensitivity",
                  "PrecisionAtRecall", "RecallAtPrecision", "Mean", "Sum", "MeanTensor", "ConcordanceCorrelation",
                  "PearsonCorrelation"}
# Settings of optimizers that say nothing about the steps, and those that say nothing with this value.
_MEANINGLESS = {"name", "jit_compile", "is_legacy_optimizer", "ema_momentum", "initial_accumulator_value",
                "ema_overwrite_frequency"}
_NEUTRAL: dict[str, Any] = {"weight_decay": 0, "use_ema": False, "momentum": 0, "centered": False, "decay": 0,
                            "global_clipnorm": None, "loss_scale_factor": None, "gradient_accumulation_steps": None}


class Refused(Exception):
    """The training configuration asks for something that graphk does not have."""


def compile_as(model: Any, config: dict[str, Any], custom_objects: dict[str, Any], per_variable_clipping: bool) -> bool:
    """Compile `model` as a file says; False, with a warning, if that asks for what graphk does not have.

    per_variable_clipping: `clipnorm` is the norm of each gradient (tf.keras and Keras 3), not of all of them.
    """
    reader = _Reader(custom_objects, len(model.outputs))
    try:
        optimizer = _optimizer(config.get("optimizer_config") or config.get("optimizer"), custom_objects,
                               per_variable_clipping)
        loss = reader.loss(plain(config.get("loss")))
    except Refused as e:
        warnings.warn(f"The model was *not* compiled: {e}. Compile it manually.", stacklevel=5)
        return False
    mixed = config.get("mixed_precision", {})
    if not isinstance(mixed, dict) or not set(mixed) <= {"mixed_precision", "loss_scale", "state"}:
        raise ValueError(f"`mixed_precision` is a dict of what graphk wrote there; found {mixed!r:.100}")
    model.compile(optimizer, loss, reader.metrics(config.get("metrics")), plain(config.get("loss_weights")),
                  config.get("sample_weight_mode"), reader.metrics(config.get("weighted_metrics")),
                  **settings_of(mixed))
    model._mixed.resume(mixed)
    if reader.dropped:
        warnings.warn(f"The metrics {', '.join(reader.dropped)} do not exist in graphk; the model was compiled without "
                      "them.", stacklevel=5)
    return True


def training_problems(config: dict[str, Any], custom_objects: dict[str, Any]) -> list[Problem]:
    """Losses, metrics and optimizers that nobody knows."""
    reader = _Reader(custom_objects, 1)
    with contextlib.suppress(Refused):                 # of which `compile_as` warns
        reader.loss(plain(config.get("loss")))
    reader.metrics(config.get("metrics"))
    reader.metrics(config.get("weighted_metrics"))
    given = config.get("optimizer_config") or config.get("optimizer")
    name = short(str(given["class_name"])) if isinstance(given, dict) and "class_name" in given else "SGD"
    if name not in reader.own and name not in _THEIR_OPTIMIZERS and name.lower() not in optimizers._TABLE:
        reader.unknown.append(Problem(f"Unknown optimizer: {name}" + advice(name, optimizers._TABLE), name))
    return [Problem(p.text + " (or load with compile=False)", p.needs) for p in reader.unknown]


class _Reader:
    """Losses and metrics; `dropped` are metrics that graphk does not have, `unknown` what nobody knows."""

    def __init__(self, custom_objects: dict[str, Any], outputs: int):
        self.own = {**get_custom_objects(), **custom_objects}
        self.outputs = outputs
        self.dropped: list[str] = []
        self.unknown: list[Problem] = []

    def _missing(self, kind: str, name: str, known: Any) -> None:
        self.unknown.append(Problem(f"Unknown {kind}: {name}" + advice(name, known), name))

    def _of_the_users(self, x: dict[str, Any], known: Any) -> Any:
        """An object of the user's class, with its config."""
        name = x["class_name"] if x["class_name"] in self.own else short(x["class_name"])
        if name not in self.own:
            self._missing("loss or metric", name, known)
            return None
        return deserialize_keras_object({**x, "class_name": name}, {}, self.own, "loss or metric")

    def _known(self, name: str, family: Any) -> str | None:
        """What graphk calls the function of a loss or metric."""
        for n in (short(name), to_snake_case(short(name))):
            n = _OTHER_NAMES.get(n, n)
            if isinstance(getattr(family, n, None), FunctionType):
                return n
        return None

    def loss(self, x: Any) -> Any:
        """A loss, or losses in lists and by outputs."""
        if isinstance(x, (list, tuple)):
            return [self.loss(v) for v in x]
        if isinstance(x, str):
            if x in self.own:
                return self.own[x]
            if short(x) in _THEIR_LOSSES:
                raise Refused(f"the loss {x} does not exist in graphk")
            if self._known(x, losses) is None:
                self._missing("loss function", x, losses._TABLE)
            return self._known(x, losses) or x
        if not isinstance(x, dict):
            return x
        if not ("class_name" in x and "config" in x):
            return {k: self.loss(v) for k, v in x.items()}
        name = short(x["class_name"])
        if name in self.own or x["class_name"] in self.own or self._known(name, losses) is None and \
                name not in _THEIR_LOSSES and name != "LossFunctionWrapper":
            return self._of_the_users(x, losses._TABLE)
        if name in _THEIR_LOSSES:
            raise Refused(f"the loss {name} does not exist in graphk")
        config = x["config"]
        for key, defaults in _LOSS_DEFAULTS.items():
            if config.get(key) is not None and config[key] not in defaults:
                return self._object(name, config, losses, f"the loss {name} has {key}={config[key]!r}")
        return self._known(name, losses) or self.loss(config.get("fn"))

    @staticmethod
    def _object(name: str, config: dict[str, Any], family: Any, what: str) -> Any:
        """A loss or metric of one of graphk's classes, with its settings; Refused, saying `what`, if it has others."""
        config = {k: v for k, v in plain(config).items() if v is not None and k not in ("dtype", "fn")
                  and v not in _LOSS_DEFAULTS.get(k, ())}
        try:
            return family._CLASSES[name](**config)
        except (KeyError, TypeError, ValueError) as e:
            raise Refused(f"{what}, which graphk's do not take ({e})") from e

    def metrics(self, x: Any) -> Any:
        """Metrics, in lists and by outputs."""
        x = plain(x)
        if isinstance(x, (list, tuple)):
            found = [m for m in (self.metrics(v) for v in x) if m is not None]
            nested = self.outputs == 1 and len(found) == 1 and isinstance(found[0], list)
            return found[0] if nested else found
        if isinstance(x, dict) and not ("class_name" in x and "config" in x):
            return {k: self.metrics(v) for k, v in x.items()}
        return self._metric(x)

    def _metric(self, x: Any) -> Any:
        if isinstance(x, str):
            if x in ("acc", "accuracy", "ce", "crossentropy") or x in self.own:
                return self.own.get(x, x)
            if short(x) in _THEIR_METRICS:
                return self._metric({"class_name": x, "config": {}})
            if self._known(x, metrics) is None:
                self._missing("metric function", x, metrics._TABLE)
            return self._known(x, metrics) or x
        if not isinstance(x, dict):
            return x
        name, config = short(x["class_name"]), x["config"]
        if name in self.own or x["class_name"] in self.own:
            return self._of_the_users(x, metrics._TABLE)
        if name == "MeanMetricWrapper" or name == "SumOverBatchSizeMetricWrapper":
            fn = config.get("fn")
            return "accuracy" if config.get("name") in ("acc", "accuracy") and str(fn).endswith("accuracy") \
                else self._metric(fn)
        if self._known(name, metrics) and not config.get("from_logits") and not config.get("label_smoothing"):
            return self._known(name, metrics)
        if name in _THEIR_METRICS or self._known(name, metrics):
            try:
                return self._object(name, config, metrics, name)
            except Refused:
                self.dropped.append(name)
                return None
        return self._of_the_users(x, metrics._TABLE)


# ------------------------------------------------------------------ optimizers
def _optimizer(given: Any, custom_objects: dict[str, Any], per_variable_clipping: bool) -> Any:
    if not isinstance(given, dict) or "class_name" not in given:
        raise Refused("the file names no optimizer")
    name, config = short(str(given["class_name"])), plain(given.get("config"))
    if str(given["class_name"]) in custom_objects or name in custom_objects:
        name = name if name in custom_objects else str(given["class_name"])
    elif name in _THEIR_OPTIMIZERS:
        raise Refused(f"the optimizer {name} does not exist in graphk")
    elif name.lower() in optimizers._TABLE:
        config = _settings(name, optimizers._TABLE[name.lower()], dict(config), per_variable_clipping)
    return optimizers.deserialize({"class_name": name, "config": config}, custom_objects)


def _settings(name: str, cls: Any, config: dict[str, Any], per_variable_clipping: bool) -> dict[str, Any]:
    """An optimizer's settings, for graphk's class."""
    known = keywords(cls) | {"learning_rate", "clipnorm", "clipnorm_each", "clipvalue"}
    _rate(name, config)
    if name == "Nadam" and "schedule_decay" not in config:           # `decay` in tf.keras, and later always 1
        config["schedule_decay"] = config.pop("decay", None) or 1.
    if per_variable_clipping:
        config["clipnorm_each"] = config.pop("clipnorm", None)
    config["clipnorm"] = config.pop("global_clipnorm", None) or config.get("clipnorm")
    out = {}
    for key, value in config.items():
        if value is None or key in _MEANINGLESS:
            continue
        if key in known:
            out[key] = value
        elif not (key in _NEUTRAL and value == _NEUTRAL[key]):
            raise Refused(f"the optimizer {name} has {key}={value!r}, which graphk's does not take")
    return out


def _rate(name: str, config: dict[str, Any]) -> None:
    """A schedule that Keras 2's `decay` can express, lr / (1 + decay t), as that."""
    rate = config.get("learning_rate")
    if not isinstance(rate, dict):
        return
    given = rate.get("config") or {}
    if short(str(rate.get("class_name"))) != "InverseTimeDecay" or given.get("staircase"):
        raise Refused(f"the learning rate of the optimizer {name} follows the schedule {rate.get('class_name')}, which "
                      "graphk does not have (it has LearningRateScheduler)")
    config["learning_rate"] = given["initial_learning_rate"]
    config["decay"] = given["decay_rate"] / given["decay_steps"]


__all__ = ["Refused", "compile_as"]
