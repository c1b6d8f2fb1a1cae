"""What `compile` prepares: losses, targets, weights, metrics and the total loss, as symbolic tensors.

In: the arguments of `compile`, in the shapes users may give them.  Out: one loss function, weight, target
and sample-weight placeholder per output, the total loss and the metric tensors.  What always holds: an
output without a loss takes no target; `metrics_names` and the outputs of the train function agree.
"""
from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend import losses
from graphk.frontend import metrics as metrics_module
from graphk.frontend.backend.creation import fresh_dim
from graphk.frontend.engine.streaming import STREAMING, Mean, streaming
from graphk.frontend.engine.training_utils import by_output, collect_metrics, weighted_masked_objective
from graphk.frontend.metric_classes import combined
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.advice import advice
from graphk.frontend.utils.generic_utils import has_arg, lookup, to_list
from graphk.ir.node import origin
from graphk.ir.ops.leaves import new_input
from graphk.ir.types import TensorType


class TrainingSetup:
    """Mixed into Model."""

    outputs: Any
    output_names: list[str]
    trainable_weights: Any
    losses: Any
    loss: Any
    loss_weights: Any
    metrics: Any
    weighted_metrics: Any
    sample_weight_mode: Any
    train_function: Any
    test_function: Any
    predict_function: Any
    _target_tensors_given: Any
    _unit_axes: dict[str, Any]

    def _setup_training(self) -> None:
        """All symbolic parts of training, from the arguments kept by `compile`."""
        self.loss_functions = self._make_losses(self.loss)
        self._loss_weights_list = self._make_loss_weights(self.loss_weights)
        self.loss_weights_list = self._loss_weights_list
        self._output_masks = [getattr(x, "_keras_mask", None) for x in self.outputs]
        self._make_targets()
        self._make_sample_weights()
        with origin(layer="loss"):
            self._make_total_loss()
            self._make_metrics()
        self._plain_weights: dict[Any, Any] = {}     # dtypes and shapes of x, y -> the weights of ones, by first use
        self._collected_trainable_weights = list({id(w): w for w in self.trainable_weights}.values())
        self.train_function = self.test_function = self.predict_function = None
        self.total_loss_ready = True

    # ---------------------------------------------------------------- losses
    def _make_losses(self, loss: Any) -> list[Any]:
        names = self.output_names
        if not isinstance(loss, (dict, list, tuple)) or not loss:
            return [losses.get(None if isinstance(loss, (dict, list, tuple)) else loss)] * len(names)
        found = [losses.get(x) for x in by_output(loss, names, "loss")]
        for name in names if isinstance(loss, dict) else ():
            if name not in loss:
                warnings.warn(f'Output "{name}" missing from loss dictionary. We assume this was done on purpose, and '
                              f'we will not be expecting any data to be passed to "{name}" during training.',
                              stacklevel=6)
        return found

    def _make_loss_weights(self, weights: Any) -> list[float]:
        names = self.output_names
        if weights is None:
            return [1.0] * len(names)
        if isinstance(weights, (dict, list, tuple)):
            found = by_output(weights, names, "loss_weights", 1.0)
            if all(isinstance(w, (int, float, np.number, Tensor)) for w in found):
                return found
        raise TypeError(f"Could not interpret loss_weights argument: {weights} - expected a list or a dict of numbers, "
                        f"one for each of the outputs {names}.")

    # ---------------------------------------------------------------- targets
    def _make_targets(self) -> None:
        given = self._given_targets(self._target_tensors_given)
        self.targets: list[Tensor | None] = []
        self._feed_targets: list[Tensor] = []
        self._feed_outputs: list[Tensor] = []
        self._feed_output_names: list[str] = []
        self._feed_output_shapes: list[Any] = []
        self._feed_loss_fns: list[Any] = []
        for x, name, fn, target in zip(self.outputs, self.output_names, self.loss_functions, given):
            if fn is None:
                self.targets.append(None)
                continue
            fed = target is None or K.is_placeholder(target)
            if target is None:
                target = _target_like(x, fn, name, getattr(self, "_unit_axes", {}).get(name, ()))
            self.targets.append(target)
            if fed:
                self._feed_targets.append(target)
                self._feed_outputs.append(x)
                self._feed_output_names.append(name)
                self._feed_output_shapes.append(_target_shape(K.int_shape(x), fn))
                self._feed_loss_fns.append(fn)

    def _fit_targets(self, y: list[Any]) -> None:
        """Where the loss is the user's, targets of extent 1 along an axis broadcast: known once data is there."""
        for name, x, a, shape in zip(self._feed_output_names, self._feed_outputs, y, self._feed_output_shapes):
            if shape is None and getattr(a, "ndim", None) == x.ndim:
                axes = tuple(i for i in range(1, x.ndim) if a.shape[i] == 1 and x.shape[i] != 1)
                if axes != self._unit_axes.get(name, ()):
                    self._unit_axes[name] = axes
                    self._setup_training()

    def _given_targets(self, given: Any) -> list[Any]:
        names = self.output_names
        if given is None:
            return [None] * len(names)
        found = by_output(given if isinstance(given, dict) else to_list(given), names, "target_tensors")
        for x in found:
            if x is not None and not isinstance(x, Tensor):
                raise TypeError(f"`target_tensors` takes symbolic tensors, one for each of the outputs {names}; "
                                f"received "
                                f"{x!r:.200}. Pass arrays to fit(x, y).")
        return found

    # ---------------------------------------------------------------- sample weights
    def _make_sample_weights(self) -> None:
        modes = self._weight_modes(self.sample_weight_mode)
        self.sample_weights: list[Tensor | None] = []
        self.sample_weight_modes: list[str | None] = []
        self._feed_sample_weights: list[Tensor] = []
        self._feed_sample_weight_modes: list[str | None] = []
        for x, name, fn, mode in zip(self.outputs, self.output_names, self.loss_functions, modes):
            if fn is None:
                self.sample_weights.append(None)
                self.sample_weight_modes.append(None)
                continue
            if all(x is not out for out in self._feed_outputs):      # its target is a tensor: nothing of it is fed
                self.sample_weights.append(None)
                self.sample_weight_modes.append(None)
                continue
            shape = x.node.shape[:2 if mode == "temporal" and x.ndim > 2 else 1]
            shape = shape or K.placeholder(ndim=1).node.shape        # the output is one number: a loss made by a layer
            w = Tensor(new_input(TensorType(K.floatx(), shape), name + "_sample_weights"))
            self.sample_weights.append(w)
            self.sample_weight_modes.append(mode)
            self._feed_sample_weights.append(w)
            self._feed_sample_weight_modes.append(mode)

    def _weight_modes(self, mode: Any) -> list[str | None]:
        names = self.output_names
        if isinstance(mode, dict):
            for name, fn in zip(names, self.loss_functions):
                if fn is not None and name not in mode:
                    raise ValueError('Output "' + name + '" missing from sample_weight_modes dictionary')
        by_name = isinstance(mode, (dict, list, tuple))
        modes = by_output(mode, names, "sample_weight_mode") if by_name else [mode] * len(names)
        for name, m in zip(names, modes):
            if m not in (None, "temporal"):
                raise ValueError(f"Unknown sample_weight_mode {m!r} for the output `{name}`. Expected None (one weight "
                                 "per sample) or 'temporal' (one per timestep).")
        return modes

    # ---------------------------------------------------------------- total loss and metrics
    def _make_total_loss(self) -> None:
        self.metrics_names = ["loss"]
        self.metrics_tensors: list[Tensor] = []
        self.metrics_updates: list[Any] = []
        self.stateful_metric_names: list[str] = []
        self.stateful_metric_functions: list[Any] = []
        total: Any = None
        for i, (y, x, fn) in enumerate(zip(self.targets, self.outputs, self.loss_functions)):
            if fn is None:
                continue
            loss = weighted_masked_objective(fn)(y, x, self.sample_weights[i], self._output_masks[i])
            if len(self.outputs) > 1:
                self._report_loss(self.output_names[i] + "_loss", loss)
            weight = self._loss_weights_list[i]
            scaled = loss if isinstance(weight, (int, float)) and weight == 1 else loss * weight
            total = scaled if total is None else total + scaled
        if total is None:
            if not self.losses:
                raise ValueError("The model cannot be compiled because it has no loss to optimize. Pass `loss`, or add "
                                 "penalties with add_loss().")
            total = 0.0
        for penalty in self.losses:
            total = total + penalty
        self.total_loss = total if isinstance(total, Tensor) and total.ndim == 0 else K.mean(total)

    def _report_loss(self, name: str, loss: Tensor) -> None:
        """The loss of one output among the metrics; the mean over batches where metrics are that."""
        self.metrics_names.append(name)
        if STREAMING:
            mean = Mean(name)
            loss = mean.including(loss, K.ones_like(loss))
            self._keep_state(name, mean)
        self.metrics_tensors.append(loss)

    def _keep_state(self, name: str, metric: Any) -> None:
        self.metrics_updates += list(getattr(metric, "updates", []))
        self.stateful_metric_names.append(name)
        self.stateful_metric_functions.append(metric)

    def _make_metrics(self) -> None:
        plain = collect_metrics(self.metrics, self.output_names)
        weighted = collect_metrics(self.weighted_metrics, self.output_names)
        for i, fn in enumerate(self.loss_functions):
            if fn is None:
                continue
            for metric in plain[i]:
                self._add_metric(i, metric, None, "")
            for metric in weighted[i]:
                self._add_metric(i, metric, self.sample_weights[i], "" if STREAMING else "weighted_")
        self._make_added_metrics(self)

    def _make_added_metrics(self, owner: Any) -> None:
        """What `add_metric` of a model, its layers and theirs was given."""
        for name, value in owner._added_metrics:
            self._report_loss(self._unique_metric_name(name), K.mean(value))
        for layer in getattr(owner, "layers", ()):
            self._make_added_metrics(layer)

    def _add_metric(self, i: int, metric: Any, weights: Tensor | None, prefix: str) -> None:
        x, y = self.outputs[i], self.targets[i]
        fn, short = resolve_metric(metric, K.int_shape(x), self.loss_functions[i])
        named = metric if STREAMING and isinstance(metric, str) else short or getattr(fn, "name", None) or fn.__name__
        name = self._unique_metric_name(prefix + named if len(self.outputs) == 1
                                        else self.output_names[i] + "_" + prefix + named)
        self.metrics_names.append(name)
        mask = self._output_masks[i]
        if hasattr(fn, "reset_states"):                        # a metric with state of its own is called as it is
            if any(fn is used for used in self.stateful_metric_functions):
                fn = _another(fn)
            takes_weights = has_arg(getattr(fn, "update_state", fn), "sample_weight")
            self.metrics_tensors.append(fn(y, x, sample_weight=combined(weights, mask)) if takes_weights else fn(y, x))
            self._keep_state(name, fn)
        elif STREAMING:
            mean = Mean(name)
            self.metrics_tensors.append(streaming(fn, mean)(y, x, weights, mask))
            self._keep_state(name, mean)
        else:
            self.metrics_tensors.append(weighted_masked_objective(fn)(y, x, weights, mask))

    def _unique_metric_name(self, base: str) -> str:
        name, j = base, 1
        while name in self.metrics_names:
            name, j = f"{base}_{j}", j + 1
        return name

    def reset_stateful_metrics(self) -> None:
        """Start metrics that keep state over an epoch again."""
        for fn in getattr(self, "stateful_metric_functions", []):
            fn.reset_states()

    reset_metrics = reset_stateful_metrics         # Keras 2.3's name


def _another(metric: Any) -> Any:
    """A metric like `metric` with a state of its own, for another output."""
    try:
        return type(metric).from_config(metric.get_config())
    except Exception as e:
        raise ValueError(f"The metric `{getattr(metric, 'name', metric)}` keeps state, so each output needs one of its "
                         f"own, and its config makes no other {type(metric).__name__} ({e}). Give its class a "
                         "get_config() that names all arguments of its constructor, or pass one object per output: "
                         "metrics={output name: [metric], ...}.") from e


_GENERAL = ("accuracy", "acc", "crossentropy", "ce")             # which function they mean depends on loss and output


def resolve_metric(metric: Any, output_shape: Any, loss_fn: Any) -> tuple[Any, str | None]:
    """The function of a metric and, for 'accuracy' and 'crossentropy', the short name shown in logs."""
    if metric not in _GENERAL:
        known = metrics_module._FAMILY.table
        if isinstance(metric, str) and lookup(metric, known) is None:
            raise ValueError("Unknown metric function:" + metric + advice(metric, {*known, *_GENERAL})
                             + " Pass a metric of your own as the function itself.")
        fn = metrics_module.get(metric)
        if fn is None:
            raise ValueError("Could not interpret metric function identifier: None. Expected a name or a function.")
        return fn, None
    accuracy = metric in ("accuracy", "acc")
    short = "acc" if accuracy else "ce"
    if output_shape[-1] == 1 or losses.plain(loss_fn) is losses.binary_crossentropy:
        return (metrics_module.binary_accuracy if accuracy else metrics_module.binary_crossentropy), short
    if losses.plain(loss_fn) is losses.sparse_categorical_crossentropy:
        return (metrics_module.sparse_categorical_accuracy if accuracy
                else metrics_module.sparse_categorical_crossentropy), short
    return (metrics_module.categorical_accuracy if accuracy else metrics_module.categorical_crossentropy), short


def _target_shape(shape: Any, fn: Any) -> Any:
    """The shape that targets must have, None if a loss of the user's own decides."""
    fn = losses.plain(fn)
    if fn is losses.sparse_categorical_crossentropy:
        if K.image_data_format() == "channels_first" and len(shape) in (4, 5):
            return (shape[0], 1) + tuple(shape[2:])
        return tuple(shape[:-1]) + (1,)
    if getattr(losses, getattr(fn, "__name__", ""), None) is None:
        return None
    return shape


def _target_like(x: Tensor, fn: Any, name: str, unit_axes: tuple[int, ...] = ()) -> Tensor:
    """A target placeholder of the output's sizes; where the loss is the user's, with open sizes of its own, or 1."""
    dims, declared = list(x.node.shape), K.int_shape(x)
    if len(declared) != len(dims):                  # a Lambda may say that it gives more axes than its function does
        dims = [*dims[:1], *(fresh_dim() if d is None else d for d in declared[len(dims[:1]):])]
    shape = _target_shape(declared, fn)
    if shape is None:
        dims = dims[:1] + [1 if i in unit_axes else fresh_dim() for i in range(1, len(dims))]
    elif losses.plain(fn) is losses.sparse_categorical_crossentropy:
        dims = [1 if s == 1 and i else d for i, (s, d) in enumerate(zip(shape, dims))]
    return Tensor(new_input(TensorType(x.dtype if x.node.t.is_float else K.floatx(), tuple(dims)), name + "_target"))
