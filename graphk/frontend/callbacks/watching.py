"""Callbacks that keep and show what is logged, and those made of functions.

In: the logs of batches and epochs.  Out: averages, a progress bar, the History that `fit` returns.  What always holds:
batches count by their size.
"""
from __future__ import annotations

from typing import Any, Iterable

import numpy as np

from graphk.frontend.callbacks.base import Callback, patient
from graphk.frontend.showing import shown
from graphk.frontend.utils.generic_utils import Progbar
from graphk.frontend.utils.optional import need


class BaseLogger(Callback):
    """Averages over an epoch, batches weighted by their size."""

    def __init__(self, stateful_metrics: Iterable[str] | None = None):
        super().__init__()
        self.stateful_metrics = set(stateful_metrics or [])
        self.seen = 0
        self.totals: dict[str, float] = {}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.seen, self.totals = 0, {}

    @patient
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

    @patient
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

    def _repr_svg_(self) -> str | None:
        """What a notebook shows: the losses as curves."""
        return shown(self, "history_svg")

    def plot(self) -> Any:
        """The curves as a matplotlib figure: loss, each metric, the learning rate, with their values in validation.

        ImportError without matplotlib (`pip install graphk[plot]`); ValueError before the first epoch has ended.
        """
        pyplot = need("matplotlib.pyplot", "plot", "History.plot()")
        curves = {k: v for k, v in self.history.items() if all(np.ndim(x) == 0 for x in v)}
        names = [k for k in curves if not (k.startswith("val_") and k[4:] in curves)]
        if not names:
            raise ValueError("History.plot() has nothing to draw: no epoch has ended yet. Call it on what fit returns.")
        columns = min(len(names), 3)
        rows = -(-len(names) // columns)
        figure, axes = pyplot.subplots(rows, columns, figsize=(5 * columns, 4 * rows), squeeze=False,
                                       layout="constrained")
        for name, axis in zip(names, axes.flat):
            for key in (name, "val_" + name):
                if key in curves:                          # an epoch that was stopped has no validation
                    axis.plot([e + 1 for e in self.epoch[:len(curves[key])]], curves[key], ".-", label=key)
            axis.set(title=name, xlabel="epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.legend()
        for axis in axes.flat[len(names):]:
            axis.remove()
        return figure


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
