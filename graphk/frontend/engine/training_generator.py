"""The loops over generators: fit_generator, evaluate_generator, predict_generator.

In: a Python generator, or a Sequence (`__len__` and `__getitem__`), of (x, y) or (x, y, sample_weight).  Out: what
fit, evaluate and predict give.  What always holds: batches are computed ahead by workers and used in the calling
thread; a queue that validates lives as long as the training; averages weight each batch by its size.
"""
from __future__ import annotations

import math
import warnings
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Callable, Iterator

import numpy as np

from graphk.frontend.engine import training_arrays
from graphk.frontend.engine.training_loop import run_epochs, told
from graphk.frontend.engine.training_utils import check_counts
from graphk.frontend.utils.data_utils import GeneratorEnqueuer, OrderedEnqueuer, Sequence, is_sequence
from graphk.frontend.utils.generic_utils import Progbar, to_list, unpack_singleton


def is_generator(x: Any) -> bool:
    """Whether `x` gives batches one by one: a generator, an iterator, or a `keras.utils.Sequence`."""
    return isinstance(x, Sequence) or hasattr(x, "__next__")


def check_generator_arguments(y: Any = None, sample_weight: Any = None, validation_split: Any = None,
                              batch_size: Any = None) -> None:
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


def _steps(generator: Any, steps: float | None, name: str) -> int:
    """How many batches: as many as it takes to reach `steps`, which programs often compute as samples / batch size."""
    if steps is not None:
        count = math.ceil(steps) if isinstance(steps, float) else steps
        check_counts(**{name: count})
        return int(count)
    if is_sequence(generator):
        return len(generator)
    raise ValueError(
        "`" + name + "=None` is only valid for a generator based on the `keras.utils.Sequence` class. Please "
        "specify `" + name + "` or use the `keras.utils.Sequence` class."
    )


@contextmanager
def drawing(generator: Any, max_queue_size: int = 10, workers: int | None = 1, use_multiprocessing: bool = False,
            shuffle: bool = False) -> Iterator[Callable[[], Any]]:
    """What gives the next batch, computed ahead by `workers`; StopIteration after the last one of a generator."""
    if isinstance(generator, np.ndarray) or not is_sequence(generator) and not hasattr(generator, "__next__"):
        raise TypeError(f"Expected a generator of batches, or a keras.utils.Sequence; received a "
                        f"{type(generator).__name__}. For arrays there are `fit`, `evaluate` and `predict`"
                        + ("; a function that yields batches is called: generator()." if callable(generator) else "."))
    check_counts(max_queue_size=max_queue_size)
    workers = 1 if workers is None else workers
    if not isinstance(workers, (int, np.integer)) or workers < 0:
        raise ValueError(f"`workers` must be a number of threads or processes, 0 for none of them; "
                         f"received {workers!r}.")
    if not is_sequence(generator) and use_multiprocessing and workers > 1:
        warnings.warn("With `use_multiprocessing=True` and several workers each process has its own copy of the "
                      "generator, which may duplicate your data. Use a keras.utils.Sequence.", stacklevel=5)
    queue = OrderedEnqueuer(generator, use_multiprocessing, shuffle) if is_sequence(generator) \
        else GeneratorEnqueuer(generator, use_multiprocessing)
    queue.start(workers, max_queue_size)
    batches = queue.get()

    def following() -> Any:
        for batch in batches:
            return batch
        raise StopIteration("The generator ended before the requested number of steps; it must loop over its data "
                            "forever, or `steps` must be smaller.")
    try:
        yield following
    finally:
        queue.stop()


def _unpack(item: Any) -> tuple[Any, Any, Any]:
    if not hasattr(item, "__len__") or isinstance(item, (dict, str)) or len(item) not in (2, 3):
        raise ValueError(
            "Output of generator should be a tuple `(x, y, sample_weight)` or `(x, y)`. Found: " + str(item)[:200]
        )
    return item[0], item[1], item[2] if len(item) == 3 else None


def _size(x: Any) -> int:
    """The number of samples of a batch; 1 for a model without inputs."""
    first = next(iter(x.values()), None) if isinstance(x, dict) else x[0] if isinstance(x, (list, tuple)) and x else x
    if first is None or (isinstance(first, list) and not first):
        return 1
    if np.ndim(first) == 0:
        raise ValueError(f"Expected a batch of arrays with one row per sample; received {first!r:.100}.")
    size = int(np.shape(first)[0])
    if size == 0:
        raise ValueError("Received an empty batch. Batches should contain at least one item.")
    return size


def fit_generator(model: Any, generator: Any, steps_per_epoch: float | None = None, epochs: int = 1, verbose: int = 1,
                  callbacks: Any = None, validation_data: Any = None, validation_steps: float | None = None,
                  class_weight: Any = None, max_queue_size: int = 10, workers: int | None = 1,
                  use_multiprocessing: bool = False, shuffle: bool = True, initial_epoch: int = 0) -> Any:
    """Train on `steps_per_epoch` batches per epoch; returns a History.

    max_queue_size: how many batches are computed ahead, by `workers` threads or (use_multiprocessing) processes; 0
    workers: none, by this thread.
    """
    check_counts(epochs=epochs, initial_epoch=initial_epoch)
    steps, sizes = _steps(generator, steps_per_epoch, "steps_per_epoch"), [1]
    how = (max_queue_size, workers, use_multiprocessing)
    with ExitStack() as opened:
        following = opened.enter_context(drawing(generator, *how, shuffle=shuffle))
        if not model.built or getattr(model, "_compiled_later", False):
            following = _with_first(following, lambda x, y, w: model._standardize_user_data(x, y))
        model._need_compile("training/testing")

        def train(logger: Any) -> bool:
            if model._keeps_method("train_on_batch"):              # else it may have no use for a train function
                model._make_train_function()
                if training_arrays.overlapping(model.train_function, 1, logger, "train"):
                    return _train_ahead(model, steps, following, class_weight, logger, sizes)
            for step in range(steps):
                sizes[-1] = _train_step(model, step, following(), class_weight, logger)
                if model.stop_training:
                    return step + 1 == steps           # stopped by the last batch, an epoch is whole
            return True
        arrays = model._validation_arrays(validation_data, None) if isinstance(validation_data, (tuple, list)) else None
        validate: Callable[[Any], list[float]] | None = None
        if arrays:
            model._make_test_function()
            validate = partial(_validate_arrays, model, arrays, sizes)
        elif validation_data is not None:
            count = _steps(validation_data, validation_steps, "validation_steps")
            validate = partial(_evaluate, model, opened.enter_context(drawing(validation_data, *how)), count)
        return run_epochs(model, range(initial_epoch, epochs), train, validate, callbacks=callbacks, verbose=verbose,
                          validation_data=arrays, params={"steps": steps})


def _validate_arrays(model: Any, arrays: list[Any], sizes: list[int], logger: Any) -> list[float]:
    """Loss and metrics over arrays, in batches as large as the last one trained on."""
    return training_arrays.test_loop(model, arrays, batch_size=sizes[-1], unpack=False, callbacks=logger)


def _with_first(following: Callable[[], Any], use: Callable[..., Any]) -> Callable[[], Any]:
    """`following`, after its first batch was used."""
    first = [following()]
    use(*_unpack(first[0]))
    return lambda: first.pop() if first else following()


def _train_step(model: Any, step: int, item: Any, class_weight: Any, logger: Any) -> int:
    """One step; the number of its samples."""
    x, y, w = _unpack(item)
    logs: dict[str, Any] = {"batch": step, "size": _size(x)}
    logger.on_batch_begin(step, logs)
    values = to_list(model.train_on_batch(x, y, sample_weight=w, class_weight=class_weight, reset_metrics=False))
    logs.update(zip(model.metrics_names, values))
    logger.on_batch_end(step, logs)
    return logs["size"]


def _train_ahead(model: Any, steps: int, following: Callable[[], Any], class_weight: Any, logger: Any,
                 sizes: list[int]) -> bool:
    """Steps, each begun before the one before is waited for; whether all were made."""
    def inputs(x: Any, y: Any, w: Any) -> Any:
        return model._train_inputs(x, y, w, class_weight)
    step = -1
    try:
        for step, size, outputs in _ahead(model.train_function, 1, steps, following, partial(_arrays, inputs),
                                          lambda: model.stop_training):
            logs: dict[str, Any] = {"batch": step, "size": size[0]}
            logger.on_batch_begin(step, logs)
            logs.update((n, o[()]) for n, o in zip(model.metrics_names, outputs()))
            logger.on_batch_end(step, logs)
            sizes[-1] = size[0]
    except _EndedError as e:
        raise StopIteration(*e.args) from None
    return step + 1 == steps


class _EndedError(Exception):
    """A generator that ended, told by another one."""


def _arrays(prepare: Callable[..., Any], item: Any, size: list[int]) -> list[Any]:
    """What a function takes for a generator's batch, as `prepare` makes it of inputs, targets and weights."""
    x, y, w = _unpack(item)
    size.append(_size(x))
    return [a for part in prepare(x, y, w) for a in part]


def _ahead(f: Any, phase: int, steps: int, following: Callable[[], Any],
           arrays: Callable[[Any, list[int]], list[Any]], stopped: Callable[[], bool] = lambda: False
           ) -> Iterator[tuple[int, list[int], Callable[[], list[Any]]]]:
    """For each step, the size of its batch (in a list) and what waits for its outputs; see `training_arrays.ahead`."""
    def batch(size: list[int]) -> list[Any]:
        try:
            item = following()
        except StopIteration as e:
            raise _EndedError(*e.args) from None
        return arrays(item, size)
    sizes: list[list[int]] = [[] for _ in range(steps)]
    drawn = ((step, size, partial(batch, size)) for step, size in enumerate(sizes))
    return training_arrays.ahead(f, phase, drawn, stopped)


def _maybe_ahead(model: Any, phase: str, logger: Any, steps: int, following: Callable[[], Any],
                 arrays: Callable[[Any, list[int]], list[Any]]) -> Iterator[Any]:
    """`_ahead` of a phase (test or predict), where batches overlap and the model's own method computes them; else for
    each step nothing."""
    if model.built and not getattr(model, "_compiled_later", False) and model._keeps_method(f"{phase}_on_batch"):
        getattr(model, f"_make_{phase}_function")()
        f = getattr(model, f"{phase}_function")
        if training_arrays.overlapping(f, 0, logger, phase):
            return _ahead(f, 0, steps, following, arrays)
    return iter([()] * steps)


def _evaluate(model: Any, following: Callable[[], Any], steps: int, callbacks: Any = None, verbose: int = 0
              ) -> list[float]:
    """Loss and metrics over `steps` batches."""
    bar = Progbar(steps) if verbose == 1 else None
    model.reset_stateful_metrics()
    outs, sizes, logger = [], [], told(model, callbacks)
    begun = _maybe_ahead(model, "test", logger, steps, following, partial(_arrays, model._test_inputs))
    try:
        for step, (ahead, logs) in enumerate(logger.around("test", begun, [1] * steps)):
            if ahead:
                _, (size,), outputs = ahead
                outs.append([o[()] for o in outputs()])
            else:
                x, y, w = _unpack(following())
                size = _size(x)
                outs.append(to_list(model.test_on_batch(x, y, sample_weight=w, reset_metrics=False)))
            logs["size"] = size
            sizes.append(size)
            logs.update(zip(model.metrics_names, outs[-1]))
            if bar:
                bar.update(step + 1)
    except _EndedError as e:
        raise StopIteration(*e.args) from None
    kept = {model.metrics_names.index(n) for n in model.stateful_metric_names}
    return [float(column[-1]) if i in kept else float(np.average(column, weights=sizes))
            for i, column in enumerate(zip(*outs))]


def evaluate_generator(model: Any, generator: Any, steps: float | None = None, max_queue_size: int = 10,
                       workers: int | None = 1, use_multiprocessing: bool = False, verbose: int = 0,
                       callbacks: Any = None) -> Any:
    """Loss and metrics over `steps` batches, weighted by their sizes."""
    count = _steps(generator, steps, "steps")
    with drawing(generator, max_queue_size, workers, use_multiprocessing) as following:
        return unpack_singleton(_evaluate(model, following, count, callbacks, verbose))


def predict_generator(model: Any, generator: Any, steps: float | None = None, max_queue_size: int = 10,
                      workers: int | None = 1, use_multiprocessing: bool = False, verbose: int = 0,
                      callbacks: Any = None) -> Any:
    """Predictions for `steps` batches of x (or of (x, y…), where y is ignored)."""
    count, parts = _steps(generator, steps, "steps"), []
    bar, logger = Progbar(count) if verbose == 1 else None, told(model, callbacks)

    def given(item: Any) -> Any:
        return _unpack(item)[0] if isinstance(item, tuple) else item
    with drawing(generator, max_queue_size, workers, use_multiprocessing) as following:
        begun = _maybe_ahead(model, "predict", logger, count, following,
                             lambda item, _: model._standardize_user_data(given(item))[0])
        try:
            for step, (ahead, logs) in enumerate(logger.around("predict", begun, [1] * count)):
                parts.append(to_list(ahead[2]() if ahead else model.predict_on_batch(given(following()))))
                logs["outputs"] = parts[-1]
                if bar:
                    bar.update(step + 1)
        except _EndedError as e:
            raise StopIteration(*e.args) from None
    return unpack_singleton([np.concatenate(p) for p in zip(*parts)])
