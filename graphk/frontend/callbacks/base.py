"""What a callback is, and a list of them.

In: the moments of a training run and their logs.  Out: the same, to each callback.  What always holds: callbacks are
called in the order of the list, with one and the same dictionary of logs.
"""
from __future__ import annotations

import time
import warnings
from collections import deque
from typing import Any, Callable, Iterable, Iterator, Sequence, TypeVar

_F = TypeVar("_F", bound=Callable[..., None])


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

    # ---------------------------------------------------------------- Keras 2.3's moments
    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a batch of training: what `on_batch_begin` does."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a batch of training: what `on_batch_end` does."""
        self.on_batch_end(batch, logs)

    def on_test_begin(self, logs: Any = None) -> None:
        """Before an evaluation, also of validation data."""

    def on_test_end(self, logs: Any = None) -> None:
        """After an evaluation."""

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a batch of an evaluation."""

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a batch of an evaluation; `logs` has its loss and metrics."""

    def on_predict_begin(self, logs: Any = None) -> None:
        """Before a prediction."""

    def on_predict_end(self, logs: Any = None) -> None:
        """After a prediction."""

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a batch of a prediction."""

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a batch of a prediction; `logs` has its outputs."""


# What a callback may do at a batch without knowing which others have begun: nothing, or what `patient` marks.
# By their ids: what programs put in place of a method may have no hash.
_PATIENT = {id(f): f for name, f in vars(Callback).items() if "batch" in name}


def patient(method: _F) -> _F:
    """A method of a callback at a batch, that only keeps what it is told."""
    _PATIENT[id(method)] = method
    return method


_NEWER = {"on_batch_begin": "on_train_batch_begin", "on_batch_end": "on_train_batch_end"}


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

    def _each_batch(self, method: str, *args: Any) -> None:
        """Call the method of training, by Keras 2.3's name where a callback, which may be of any class, has that."""
        newer = _NEWER[method]
        for c in self.callbacks:
            call = getattr(c, newer, None) or getattr(c, method)
            if getattr(call, "__func__", None) is getattr(Callback, newer):
                call = getattr(c, method)              # which it would only pass the call on to
                if getattr(call, "__func__", None) is getattr(Callback, method):
                    continue                           # which does nothing
            call(*args)

    def around(self, phase: str, batches: Iterable[Any], sizes: Iterable[int]) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Each of `batches`, and the logs of what comes of it; callbacks are told of them as of a `phase`."""
        def tell(when: str, *args: Any) -> None:
            for c in self.callbacks:
                if hasattr(c, f"on_{phase}_{when}"):
                    getattr(c, f"on_{phase}_{when}")(*args)
        tell("begin", {})
        for i, (batch, size) in enumerate(zip(batches, sizes)):
            logs = {"batch": i, "size": size}
            tell("batch_begin", i, logs)
            yield batch, logs
            tell("batch_end", i, logs)
        tell("end", {})

    def can_wait(self, phase: str) -> bool:
        """Whether all callbacks may be told of a batch of a phase (train, test or predict) when the next one has begun:
        none acts on a batch, but for those that only keep what they are told."""
        if type(self) is not CallbackList:
            return False
        names = [f"on_{phase}_batch_{when}" for when in ("begin", "end")]
        names += ["on_batch_begin", "on_batch_end"] if phase == "train" else []
        called = [getattr(c, name, Callback.on_batch_end) for c in self.callbacks for name in names]
        return all(id(getattr(method, "__func__", method)) in _PATIENT for method in called)

    def _timed(self, method: str, batch: int, logs: Any) -> None:
        """Call all, and warn if that usually takes long, also beside the batch itself."""
        start = time.perf_counter()
        self._each_batch(method, batch, {} if logs is None else logs)
        spent = self._spent[method]
        spent.append(time.perf_counter() - start)
        usual = sorted(spent)[len(spent) // 2] if spent[-1] > .1 else 0.
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

    on_train_batch_begin, on_train_batch_end = on_batch_begin, on_batch_end

    def __iter__(self) -> Iterator[Callback]:
        return iter(self.callbacks)
