"""What a callback is, and a list of them.

In: the moments of a training run and their logs.  Out: the same, to each callback.  What always holds: callbacks are
called in the order of the list, with one and the same dictionary of logs.
"""
from __future__ import annotations

import time
import warnings
from collections import deque
from typing import Any, Iterator, Sequence


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
    """Callbacks called one after another.  Those that take longer than the batches do are warned of.

    queue_length: how many calls the time that they usually take is the median of.
    """

    def __init__(self, callbacks: Sequence[Callback] | None = None, queue_length: int = 10):
        self.callbacks = list(callbacks or [])
        self._spent = {name: deque([0.] * queue_length, queue_length) for name in ("on_batch_begin", "on_batch_end")}
        self._begun = self._batch_time = 0.

    def append(self, callback: Callback) -> None:
        """Add a callback at the end."""
        self.callbacks.append(callback)

    def _each(self, method: str, *args: Any) -> None:
        for c in self.callbacks:
            getattr(c, method)(*args)

    def _timed(self, method: str, batch: int, logs: Any) -> None:
        """Call all, and warn if that usually takes long, also beside the batch itself."""
        start = time.perf_counter()
        self._each(method, batch, {} if logs is None else logs)
        spent = self._spent[method]
        spent.append(time.perf_counter() - start)
        usual = sorted(spent)[len(spent) // 2]
        if usual > .1 and usual > .95 * self._batch_time > 0:
            warnings.warn(f"Method {method}() is slow compared to the batch update ({usual:f}). Check your callbacks.",
                          stacklevel=4)

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
        self._timed("on_batch_begin", batch, logs)
        self._begun = time.perf_counter()

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        """Call all."""
        self._batch_time = time.perf_counter() - self._begun
        self._timed("on_batch_end", batch, logs)

    def __iter__(self) -> Iterator[Callback]:
        return iter(self.callbacks)
