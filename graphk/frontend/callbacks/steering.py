"""Callbacks that act on what is logged: they stop the training, save the model, set the learning rate.

In: the logs of epochs.  Out: early stops, files, learning rates.  What always holds: a value that is not logged is a
warning that names those that are; `acc` and `accuracy` are one name.
"""
from __future__ import annotations

import inspect
import os
import warnings
from typing import Any, Callable

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.callbacks.base import Callback
from graphk.frontend.utils.blame import naming


def _better(monitor: str, mode: str, owner: str) -> Callable[[Any, Any], Any]:
    """np.less or np.greater for a monitored name."""
    if mode not in ("auto", "min", "max"):
        warnings.warn("%s mode %s is unknown, fallback to auto mode." % (owner, mode), RuntimeWarning, stacklevel=3)
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
        self.best_weights: Any = None                    # of this run of training, not of one before

    def on_train_begin(self, logs: Any = None) -> None:
        self.wait = self.stopped_epoch = 0
        self.best_weights = None
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
        except (IndexError, ValueError) as e:
            raise ValueError(f"ModelCheckpoint: the file name {self.filepath!r} cannot be filled in: {e}. Expected "
                             f"places such as {{epoch:03d}} and {{loss:.2f}}, for {['epoch', *logs]}.") from None

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
            lr = self.schedule(*self._arguments(epoch))
        if not isinstance(lr, (float, np.float32, np.float64)):
            raise ValueError(f'The output of the "schedule" function should be float. Received {lr!r} for the epoch '
                             f"{epoch}.")
        K.set_value(self.model.optimizer.lr, lr)
        if self.verbose > 0:
            print("\nEpoch %05d: LearningRateScheduler setting learning rate to %s." % (epoch + 1, lr))

    def _arguments(self, epoch: int) -> tuple[Any, ...]:
        """What the schedule takes: epoch and rate, or the epoch alone."""
        both = epoch, float(K.get_value(self.model.optimizer.lr))
        try:
            inspect.signature(self.schedule).bind(*both)
        except (TypeError, ValueError):
            return both[:1]
        return both

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
        self._falling = _better(monitor, mode, "Learning Rate Plateau Reducing") is np.less
        self._reset()

    def _reset(self) -> None:
        self.monitor_op: Any
        if self._falling:
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
