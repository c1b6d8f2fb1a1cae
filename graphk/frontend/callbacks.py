"""Callbacks: what happens at the beginning and end of training, epochs and batches.

In: logs from the training loop.  Out: histories, files, changed learning rates, early stops.  What always
holds: the logs of an epoch are one dictionary that all callbacks see in order, averages first.
"""
from __future__ import annotations

import csv
import os
import warnings
from collections import OrderedDict
from typing import Any, Callable, Iterable, Iterator, Sequence

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.utils.blame import naming
from graphk.frontend.utils.generic_utils import Progbar


class Callback:
    """Base class: override what you need.  `model` and `params` are set before training.

    >>> class Count(Callback):
    ...     n = 0
    ...     def on_epoch_end(self, epoch, logs=None): self.n += 1
    """

    def __init__(self) -> None:
        self.validation_data: Any = None
        self.model: Any = None
        self.params: dict[str, Any] = {}

    def set_params(self, params: dict[str, Any]) -> None:
        """epochs, batch_size, samples or steps, verbose, do_validation, metrics."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """The model being trained."""
        self.model = model

    def on_train_begin(self, logs: Any = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Any = None) -> None:
        """After the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Before an epoch (counted from 0)."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """After an epoch; `logs` has its averages and val_ values."""

    def on_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a batch; `logs` has batch and size."""

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a batch; `logs` has its loss and metrics."""


class CallbackList:
    """Callbacks called one after another."""

    def __init__(self, callbacks: Sequence[Callback] | None = None, queue_length: int = 10):
        self.callbacks = list(callbacks or [])

    def append(self, callback: Callback) -> None:
        """Add a callback at the end."""
        self.callbacks.append(callback)

    def _each(self, method: str, *args: Any) -> None:
        for c in self.callbacks:
            getattr(c, method)(*args)

    def set_params(self, params: dict[str, Any]) -> None:
        """Pass params to all."""
        self._each("set_params", params)

    def set_model(self, model: Any) -> None:
        """Pass the model to all."""
        self._each("set_model", model)

    def on_train_begin(self, logs: Any = None) -> None:
        """Call all."""
        self._each("on_train_begin", {} if logs is None else logs)

    def on_train_end(self, logs: Any = None) -> None:
        """Call all."""
        self._each("on_train_end", {} if logs is None else logs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Call all."""
        self._each("on_epoch_begin", epoch, {} if logs is None else logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Call all."""
        self._each("on_epoch_end", epoch, {} if logs is None else logs)

    def on_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Call all."""
        self._each("on_batch_begin", batch, {} if logs is None else logs)

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        """Call all."""
        self._each("on_batch_end", batch, {} if logs is None else logs)

    def __iter__(self) -> Iterator[Callback]:
        return iter(self.callbacks)


def make_callbacks(model: Any, callbacks: Any, verbose: int, count_mode: str) -> CallbackList:
    """The list for one `fit`: averages, progress bar, the user's, history."""
    model.history = History()
    mine: list[Callback] = [BaseLogger(stateful_metrics=model.stateful_metric_names)]
    if verbose:
        mine.append(ProgbarLogger(count_mode, stateful_metrics=model.stateful_metric_names))
    given = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks] if callbacks else []
    for c in given:
        if isinstance(c, type):
            raise TypeError(f"`callbacks` takes instances of Callback; received the class `{c.__name__}`. "
                            f"Make one: {c.__name__}(...).")
        if not hasattr(c, "on_batch_end"):
            raise TypeError(f"`callbacks` takes instances of Callback; received {c!r}. For a function use "
                            "LambdaCallback(on_epoch_end=...).")
    out = CallbackList([*mine, *given, model.history])
    out.set_model(model._get_callback_model())
    return out


class BaseLogger(Callback):
    """Averages over an epoch, batches weighted by their size."""

    def __init__(self, stateful_metrics: Iterable[str] | None = None):
        super().__init__()
        self.stateful_metrics = set(stateful_metrics or [])
        self.seen = 0
        self.totals: dict[str, float] = {}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.seen, self.totals = 0, {}

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        logs = logs or {}
        size = logs.get("size", 0)
        self.seen += size
        for k, v in logs.items():
            if k in self.stateful_metrics:
                self.totals[k] = v
            else:
                self.totals[k] = self.totals.get(k, 0.) + float(v) * size

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs is not None:
            for k in self.params["metrics"]:
                if k in self.totals:
                    logs[k] = self.totals[k] if k in self.stateful_metrics else self.totals[k] / max(self.seen, 1)


class TerminateOnNaN(Callback):
    """Stops training when the loss is NaN or infinite."""

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not np.isfinite(loss):
            print("Batch %d: Invalid loss, terminating training" % batch)
            self.model.stop_training = True


class ProgbarLogger(Callback):
    """The progress bar.  count_mode: 'samples' or 'steps'."""

    def __init__(self, count_mode: str = "samples", stateful_metrics: Iterable[str] | None = None):
        super().__init__()
        if count_mode not in ("samples", "steps"):
            raise ValueError("Unknown `count_mode`: " + str(count_mode))
        self.use_steps = count_mode == "steps"
        self.stateful_metrics = set(stateful_metrics or [])

    def on_train_begin(self, logs: Any = None) -> None:
        self.verbose, self.epochs = self.params["verbose"], self.params["epochs"]

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.verbose:
            print("Epoch %d/%d" % (epoch + 1, self.epochs))
            self.target = self.params["steps" if self.use_steps else "samples"]
            self.progbar = Progbar(self.target, verbose=self.verbose, stateful_metrics=self.stateful_metrics)
        self.seen = 0

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        logs = logs or {}
        self.seen += 1 if self.use_steps else logs.get("size", 0)
        self.log_values = [(k, logs[k]) for k in self.params["metrics"] if k in logs]
        if self.verbose and (self.target is None or self.seen < self.target):
            self.progbar.update(self.seen, self.log_values)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = logs or {}
        values = getattr(self, "log_values", [])
        shown = {k for k, _ in values}
        values = values + [(k, logs[k]) for k in self.params["metrics"] if k in logs and k not in shown]
        if self.verbose:
            self.progbar.update(self.seen, values)


class History(Callback):
    """`history` maps each logged name to its values, `epoch` lists the epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch: list[int] = []
        self.history: dict[str, list[Any]] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        self.epoch, self.history = [], {}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epoch.append(epoch)
        for k, v in (logs or {}).items():
            self.history.setdefault(k, []).append(v)


def _better(monitor: str, mode: str, owner: str) -> Callable[[Any, Any], Any]:
    """np.less or np.greater for a monitored name."""
    if mode not in ("auto", "min", "max"):
        warnings.warn("%s mode %s is unknown, fallback to auto mode." % (owner, mode), RuntimeWarning, stacklevel=4)
        mode = "auto"
    if mode == "auto":
        mode = "max" if "acc" in monitor or monitor.startswith("fmeasure") else "min"
    return np.greater if mode == "max" else np.less


def monitored(logs: Any, name: str) -> Any:
    """The logged value called `name`; `acc` and `accuracy` stand for each other."""
    logs = logs or {}
    if name in logs:
        return logs[name]
    other = name.replace("accuracy", "acc") if "accuracy" in name else name.replace("acc", "accuracy")
    return logs.get(other)


class EarlyStopping(Callback):
    """Stops training when a value no longer improves.

    min_delta: least change that counts; patience: epochs without one; baseline: value to beat;
    restore_best_weights: go back to the best epoch's weights.
    """

    def __init__(self, monitor: str = "val_loss", min_delta: float = 0, patience: int = 0, verbose: int = 0,
                 mode: str = "auto", baseline: float | None = None, restore_best_weights: bool = False):
        super().__init__()
        self.monitor, self.patience, self.verbose, self.baseline = monitor, patience, verbose, baseline
        self.restore_best_weights = restore_best_weights
        self.monitor_op = _better(monitor, mode, "EarlyStopping")
        self.min_delta = abs(min_delta) * (1 if self.monitor_op == np.greater else -1)
        self.wait = self.stopped_epoch = 0
        self.best_weights: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        self.wait = self.stopped_epoch = 0
        self.best = self.baseline if self.baseline is not None else np.inf if self.monitor_op == np.less else -np.inf

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        current = self.get_monitor_value(logs)
        if current is None:
            return
        if self.monitor_op(current - self.min_delta, self.best):
            self.best, self.wait = current, 0
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            return
        self.wait += 1
        if self.wait >= self.patience:
            self.stopped_epoch = epoch
            self.model.stop_training = True
            if self.restore_best_weights and self.best_weights is not None:
                if self.verbose > 0:
                    print("Restoring model weights from the end of the best epoch")
                self.model.set_weights(self.best_weights)

    def on_train_end(self, logs: Any = None) -> None:
        if self.stopped_epoch > 0 and self.verbose > 0:
            print("Epoch %05d: early stopping" % (self.stopped_epoch + 1))

    def get_monitor_value(self, logs: Any) -> Any:
        """The monitored value, None with a warning if it is not logged."""
        value = monitored(logs, self.monitor)
        if value is None:
            warnings.warn("Early stopping conditioned on metric `%s` which is not available. Available metrics are: %s"
                          % (self.monitor, ",".join((logs or {}).keys())), RuntimeWarning, stacklevel=3)
        return value


class ModelCheckpoint(Callback):
    """Saves the model (or its weights) after epochs.  `filepath` may hold {epoch} and logged names."""

    def __init__(self, filepath: str, monitor: str = "val_loss", verbose: int = 0, save_best_only: bool = False,
                 save_weights_only: bool = False, mode: str = "auto", period: int = 1):
        super().__init__()
        self.filepath, self.monitor, self.verbose, self.period = filepath, monitor, verbose, period
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.monitor_op = _better(monitor, mode, "ModelCheckpoint")
        self.best = np.inf if self.monitor_op == np.less else -np.inf
        self.epochs_since_last_save = 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs_since_last_save += 1
        if self.epochs_since_last_save < self.period:
            return
        self.epochs_since_last_save = 0
        path = self._path(epoch, logs or {})
        if not self.save_best_only:
            self._save(epoch, path, "saving model to %s" % path)
            return
        current = monitored(logs, self.monitor)
        if current is None:
            warnings.warn(
                "Can save best model only with %s available, skipping." % self.monitor, RuntimeWarning, stacklevel=2
            )
        elif self.monitor_op(current, self.best):
            text = "%s improved from %0.5f to %0.5f, saving model to %s" % (self.monitor, self.best, current, path)
            self.best = current
            self._save(epoch, path, text)
        elif self.verbose > 0:
            print("\nEpoch %05d: %s did not improve from %0.5f" % (epoch + 1, self.monitor, self.best))

    def _path(self, epoch: int, logs: dict[str, Any]) -> str:
        try:
            return os.fspath(self.filepath).format(epoch=epoch + 1, **logs)
        except KeyError as e:
            raise KeyError(f"ModelCheckpoint: the file name {self.filepath!r} holds {e}, which is not logged. Known: "
                           f"{['epoch', *logs]}. val_ names need validation data.") from None

    def _save(self, epoch: int, path: str, text: str) -> None:
        if self.verbose > 0:
            print("\nEpoch %05d: %s" % (epoch + 1, text))
        (self.model.save_weights if self.save_weights_only else self.model.save)(path, overwrite=True)


class LearningRateScheduler(Callback):
    """Sets the learning rate to `schedule(epoch)` or `schedule(epoch, lr)` before each epoch."""

    def __init__(self, schedule: Callable[..., float], verbose: int = 0):
        super().__init__()
        if not callable(schedule):
            raise TypeError("`schedule` of LearningRateScheduler must be a function of the epoch that returns a "
                            f"learning rate; received {schedule!r}.")
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if not hasattr(self.model.optimizer, "lr"):
            raise ValueError('Optimizer must have a "lr" attribute.')
        with naming("schedule", lambda: "in the `schedule` of LearningRateScheduler, which is called with the epoch"):
            try:
                lr = self.schedule(epoch, float(K.get_value(self.model.optimizer.lr)))
            except TypeError:
                lr = self.schedule(epoch)
        if not isinstance(lr, (float, np.float32, np.float64)):
            raise ValueError(f'The output of the "schedule" function should be float. Received {lr!r} for the epoch '
                             f"{epoch}.")
        K.set_value(self.model.optimizer.lr, lr)
        if self.verbose > 0:
            print("\nEpoch %05d: LearningRateScheduler setting learning rate to %s." % (epoch + 1, lr))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs is not None:
            logs["lr"] = K.get_value(self.model.optimizer.lr)[()]


class ReduceLROnPlateau(Callback):
    """Multiplies the learning rate by `factor` after `patience` epochs without improvement."""

    def __init__(self, monitor: str = "val_loss", factor: float = 0.1, patience: int = 10, verbose: int = 0,
                 mode: str = "auto", min_delta: float = 1e-4, cooldown: int = 0, min_lr: float = 0, **kwargs: Any):
        super().__init__()
        if factor >= 1.0:
            raise ValueError("ReduceLROnPlateau does not support a factor >= 1.0.")
        if "epsilon" in kwargs:
            min_delta = kwargs.pop("epsilon")
            warnings.warn(
                "`epsilon` argument is deprecated and will be removed, use `min_delta` instead.", stacklevel=2
            )
        if kwargs:
            raise TypeError(f"ReduceLROnPlateau got an unexpected argument `{sorted(kwargs)[0]}`")
        self.monitor, self.factor, self.patience, self.verbose = monitor, factor, patience, verbose
        self.min_delta, self.cooldown, self.min_lr, self.mode = min_delta, cooldown, min_lr, mode
        self._reset()

    def _reset(self) -> None:
        self.monitor_op: Any
        op = _better(self.monitor, self.mode, "Learning Rate Plateau Reducing")
        if op is np.less:
            self.monitor_op, self.best = (lambda a, b: np.less(a, b - self.min_delta)), np.inf
        else:
            self.monitor_op, self.best = (lambda a, b: np.greater(a, b + self.min_delta)), -np.inf
        self.cooldown_counter = self.wait = 0

    def on_train_begin(self, logs: Any = None) -> None:
        self._reset()

    def in_cooldown(self) -> bool:
        """Whether a reduction was made a short while ago."""
        return self.cooldown_counter > 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = {} if logs is None else logs
        logs["lr"] = K.get_value(self.model.optimizer.lr)[()]
        current = monitored(logs, self.monitor)
        if current is None:
            warnings.warn(
                "Reduce LR on plateau conditioned on metric `%s` which is not available. Available metrics are: %s"
                % (self.monitor, ",".join(logs.keys())),
                RuntimeWarning,
                stacklevel=2,
            )
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self.monitor_op(current, self.best):
            self.best, self.wait = current, 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        old = float(K.get_value(self.model.optimizer.lr))
        if old > self.min_lr:
            new = max(old * self.factor, self.min_lr)
            K.set_value(self.model.optimizer.lr, new)
            if self.verbose > 0:
                print("\nEpoch %05d: ReduceLROnPlateau reducing learning rate to %s." % (epoch + 1, new))
            self.cooldown_counter, self.wait = self.cooldown, 0


class CSVLogger(Callback):
    """Appends each epoch's values to a CSV file."""

    def __init__(self, filename: Any, separator: str = ",", append: bool = False):
        super().__init__()
        self.filename, self.sep, self.append = filename, separator, append
        self.writer: Any = None
        self.keys: list[str] | None = None
        self.append_header = True

    def on_train_begin(self, logs: Any = None) -> None:
        if self.append and os.path.exists(self.filename):
            with open(self.filename, newline="") as f:
                self.append_header = not bool(f.readline())
        self.csv_file = open(self.filename, "a" if self.append else "w", newline="")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = logs or {}

        def text(v: Any) -> Any:
            many = np.ndim(v) > 0 and not isinstance(v, str)
            return '"[%s]"' % ", ".join(map(str, v)) if many else v
        if self.keys is None:
            self.keys = sorted(logs)
        if self.writer is None:
            self.writer = csv.DictWriter(self.csv_file, fieldnames=["epoch"] + self.keys, delimiter=self.sep)
            if self.append_header:
                self.writer.writeheader()
        row = OrderedDict({"epoch": epoch}, **{k: text(logs.get(k, "NA")) for k in self.keys})
        self.writer.writerow(row)
        self.csv_file.flush()

    def on_train_end(self, logs: Any = None) -> None:
        self.csv_file.close()
        self.writer = None


class LambdaCallback(Callback):
    """A callback made of functions, each with the arguments of the method it stands for."""

    def __init__(self, on_epoch_begin: Any = None, on_epoch_end: Any = None, on_batch_begin: Any = None,
                 on_batch_end: Any = None, on_train_begin: Any = None, on_train_end: Any = None, **kwargs: Any):
        super().__init__()
        self.__dict__.update(kwargs)
        given = {"on_epoch_begin": on_epoch_begin, "on_epoch_end": on_epoch_end, "on_batch_begin": on_batch_begin,
                 "on_batch_end": on_batch_end, "on_train_begin": on_train_begin, "on_train_end": on_train_end}
        for name, fn in given.items():
            if fn is not None and not callable(fn):
                raise TypeError(f"`{name}` of LambdaCallback must be a function; received {fn!r}.")
            if fn is not None:
                setattr(self, name, fn)
