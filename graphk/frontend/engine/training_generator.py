"""The loops over generators: fit_generator, evaluate_generator, predict_generator.

In: a Python generator, or a Sequence (`__len__` and `__getitem__`), of (x, y) or (x, y, sample_weight).  Out: what
fit, evaluate and predict give.  What always holds: batches are drawn in the calling thread, in order, so
`workers`, `max_queue_size` and `use_multiprocessing` are accepted but change nothing; averages weight
each batch by its size.
"""
from __future__ import annotations

from itertools import chain
from typing import Any, Callable, Iterator

import numpy as np

from graphk.frontend.engine.training_loop import run_epochs
from graphk.frontend.engine.training_utils import check_counts
from graphk.frontend.utils.data_utils import Sequence
from graphk.frontend.utils.generic_utils import Progbar, to_list, unpack_singleton


def is_generator(x: Any) -> bool:
    """Whether `x` gives batches one by one: a generator, an iterator, or a `keras.utils.Sequence`."""
    return isinstance(x, Sequence) or hasattr(x, "__next__")


def check_generator_arguments(y: Any, sample_weight: Any, validation_split: Any, batch_size: Any) -> None:
    """ValueError for what a generator must say itself."""
    if y is not None:
        raise ValueError("`y` argument is not supported when data is a generator or Sequence instance. Instead pass "
                         "targets as the second element of the generator.")
    if sample_weight is not None:
        raise ValueError("`sample_weight` argument is not supported when data is a generator or Sequence instance. "
                         "Instead pass sample weights as the third element of the generator.")
    if validation_split:
        raise ValueError("If your data is in the form of a Python generator, you cannot use `validation_split`. Pass "
                         "`validation_data`: arrays or another generator.")
    if batch_size is not None:
        raise ValueError("The `batch_size` argument must not be specified for a generator or Sequence instance, whose "
                         "batches have sizes of their own. Received batch_size=" + str(batch_size) + ".")


def is_sequence(generator: Any) -> bool:
    """Whether batches are asked for by number."""
    return hasattr(generator, "__getitem__") and hasattr(generator, "__len__")


def _steps(generator: Any, steps: int | None, name: str) -> int:
    if steps is not None:
        return int(steps)
    if is_sequence(generator):
        return len(generator)
    raise ValueError(
        "`" + name + "=None` is only valid for a generator based on the `keras.utils.Sequence` class. Please "
        "specify `" + name + "` or use the `keras.utils.Sequence` class."
    )


def batches(generator: Any, shuffle: bool = False) -> Iterator[Any]:
    """Batches without end; a Sequence starts again (shuffled, if asked) after each round."""
    if not is_sequence(generator):
        for item in generator:    # noqa: UP028 (`yield from` would close the caller's generator together with ours)
            yield item
        raise ValueError(
            "The generator ended before the requested number of steps; it must loop over its data forever, or "
            "`steps` must be smaller."
        )
    while True:
        order = np.arange(len(generator))
        if shuffle:
            np.random.shuffle(order)
        for i in order:
            yield generator[int(i)]
        if hasattr(generator, "on_epoch_end"):
            generator.on_epoch_end()


def _unpack(item: Any) -> tuple[Any, Any, Any]:
    if not hasattr(item, "__len__") or len(item) not in (2, 3):
        raise ValueError(
            "Output of generator should be a tuple `(x, y, sample_weight)` or `(x, y)`. Found: " + str(item)[:200]
        )
    return item[0], item[1], item[2] if len(item) == 3 else None


def _size(x: Any) -> int:
    first = next(iter(x.values())) if isinstance(x, dict) else x[0] if isinstance(x, list) else x
    return int(np.shape(first)[0])


def fit_generator(model: Any, generator: Any, steps_per_epoch: int | None = None, epochs: int = 1, verbose: int = 1,
                  callbacks: Any = None, validation_data: Any = None, validation_steps: int | None = None,
                  class_weight: Any = None, max_queue_size: int = 10, workers: int = 1,
                  use_multiprocessing: bool = False, shuffle: bool = True, initial_epoch: int = 0) -> Any:
    """Train on `steps_per_epoch` batches per epoch; returns a History."""
    check_counts(epochs=epochs, initial_epoch=initial_epoch, steps_per_epoch=steps_per_epoch,
                 validation_steps=validation_steps)
    steps = _steps(generator, steps_per_epoch, "steps_per_epoch")
    validate = _validation(model, validation_data, validation_steps)
    source = batches(generator, shuffle)
    if not model.built or getattr(model, "_compiled_later", False):
        first = next(source)
        model._standardize_user_data(*_unpack(first)[:2])
        source = chain([first], source)
    model._need_compile("training/testing")

    def train(logger: Any) -> None:
        for step in range(steps):
            _train_step(model, step, next(source), class_weight, list(model.metrics_names), logger)
            if model.stop_training:
                break
    return run_epochs(model, range(initial_epoch, epochs), train, validate, callbacks=callbacks, verbose=verbose,
                      validation_data=validation_data if _is_arrays(validation_data) else None, params={"steps": steps})


def _is_arrays(validation_data: Any) -> bool:
    return isinstance(validation_data, (tuple, list))


def _validation(model: Any, data: Any, steps: int | None) -> Callable[[], list[Any]] | None:
    """What computes the loss and metrics over `data`: arrays, or another generator."""
    if data is None:
        return None
    if _is_arrays(data):
        return lambda: to_list(model.evaluate(*data[:2], verbose=0, sample_weight=data[2] if len(data) == 3 else None))
    count = _steps(data, steps, "validation_steps")
    return lambda: to_list(evaluate_generator(model, data, count))


def _train_step(model: Any, step: int, item: Any, class_weight: Any, names: list[str], logger: Any) -> None:
    x, y, w = _unpack(item)
    logs = {"batch": step, "size": _size(x)}
    logger.on_batch_begin(step, logs)
    logs.update(zip(names, to_list(model.train_on_batch(x, y, sample_weight=w, class_weight=class_weight))))
    logger.on_batch_end(step, logs)


def evaluate_generator(model: Any, generator: Any, steps: int | None = None, max_queue_size: int = 10, workers: int = 1,
                       use_multiprocessing: bool = False, verbose: int = 0) -> Any:
    """Loss and metrics over `steps` batches, weighted by their sizes."""
    steps = _steps(generator, steps, "steps")
    source, totals, seen = batches(generator), np.zeros(len(model.metrics_names)), 0
    bar = Progbar(steps) if verbose == 1 else None
    model.reset_stateful_metrics()
    stateful = [model.metrics_names.index(n) for n in model.stateful_metric_names]
    for step in range(steps):
        x, y, w = _unpack(next(source))
        n = _size(x)
        out = np.asarray(to_list(model.test_on_batch(x, y, sample_weight=w)), dtype=float)
        for i, v in enumerate(out):
            totals[i] = v if i in stateful else totals[i] + v * n
        seen += n
        if bar:
            bar.update(step + 1)
    return unpack_singleton([float(t) if i in stateful else float(t) / seen for i, t in enumerate(totals)])


def predict_generator(model: Any, generator: Any, steps: int | None = None, max_queue_size: int = 10, workers: int = 1,
                      use_multiprocessing: bool = False, verbose: int = 0) -> Any:
    """Predictions for `steps` batches of x (or of (x, y…), where y is ignored)."""
    steps = _steps(generator, steps, "steps")
    source, parts = batches(generator), []
    bar = Progbar(steps) if verbose == 1 else None
    for step in range(steps):
        item = next(source)
        parts.append(to_list(model.predict_on_batch(item[0] if isinstance(item, tuple) else item)))
        if bar:
            bar.update(step + 1)
    return unpack_singleton([np.concatenate(p) for p in zip(*parts)])
