"""The loops over arrays: fit, evaluate, predict.

In: a compiled model and standardized arrays.  Out: a History, losses and metrics, predictions.  What
always holds: the index array is shuffled with numpy's global generator once per epoch; values of a
whole epoch weight each batch by its size; outputs of prediction are allocated once.
"""
from __future__ import annotations

import warnings
from functools import partial
from typing import Any, Callable, Iterable, Iterator, Sequence

import numpy as np

from graphk.frontend.engine.training_loop import run_epochs, told
from graphk.frontend.engine.training_utils import batch_shuffle, check_num_samples, make_batches
from graphk.frontend.sparse import is_sparse_matrix
from graphk.frontend.utils.generic_utils import Progbar, unpack_singleton


def _once(f: Callable[..., None]) -> Callable[..., None]:
    """`f`, but only the first call does something."""
    left = [f]
    return lambda *args: left.pop()(*args) if left else None


def _warn_of_bad_numbers(loss: float, arrays: Sequence[Any], names: Sequence[str]) -> None:
    """Where the loss is NaN or infinite: a warning that names the first array that holds such numbers, if one does."""
    for name, a in zip(names, arrays):
        if isinstance(a, np.ndarray) and a.dtype.kind == "f" and not np.isfinite(a).all():
            bad = np.argwhere(~np.isfinite(a))
            warnings.warn(f"The loss became {loss}: the array for `{name}` holds {len(bad)} numbers that are NaN or "
                          f"infinite, the first at {tuple(int(i) for i in bad[0])}. Remove or replace them before "
                          "training (np.nan_to_num, or a mask).", stacklevel=5)
            return


def fit_loop(model: Any, ins: list[Any], val_ins: list[Any] | None, epochs: range, *, batch_size: int | None,
             verbose: int, callbacks: Any, shuffle: Any, steps_per_epoch: int | None, validation_steps: int | None
             ) -> Any:
    """Train on the arrays `ins` (inputs, targets, sample weights); returns the model's History."""
    samples = check_num_samples(ins, batch_size, steps_per_epoch, "steps_per_epoch")
    blame, functions = _once(_warn_of_bad_numbers), (model.train_function, model.metrics_names)

    def train(logger: Any) -> bool:
        loss = _epoch(model, *functions, _batches(ins, samples, batch_size, steps_per_epoch, shuffle), logger)
        if not np.isfinite(loss):
            blame(loss, ins, [x.name for x in model._all_feeds()])
        return not model.stop_training

    def validate(logger: Any) -> Any:
        model._make_test_function()                              # again, where a callback compiled the model
        return test_loop(model, val_ins or [], batch_size=batch_size if steps_per_epoch is None else None, verbose=0,
                         steps=validation_steps if steps_per_epoch is not None else None, unpack=False,
                         callbacks=logger)
    if verbose and val_ins is not None and samples is not None:
        print("Train on %d samples, validate on %d samples" % (samples, val_ins[0].shape[0]))
    return run_epochs(model, epochs, train, validate if val_ins is not None else None, callbacks=callbacks,
                      verbose=verbose, validation_data=val_ins or [],
                      count_mode="steps" if steps_per_epoch else "samples",
                      params={"batch_size": batch_size, "steps": steps_per_epoch, "samples": samples})


def _epoch(model: Any, f: Any, names: Sequence[str], batches: Iterator[Any], logger: Any) -> float:
    """Train for one epoch; the loss of the last batch.  What a callback compiles is for the next `fit`."""
    logs: dict[str, Any] = {}
    late = overlapping(f, 1, logger, "train")
    for i, size, batch in ahead(f, 1, batches, lambda: model.stop_training) if late else batches:
        logs = {"batch": i, "size": size}
        logger.on_batch_begin(i, logs)
        for n, o in zip(names, batch() if late else f.run(batch(), 1)):
            logs[n] = o[()]
        logger.on_batch_end(i, logs)
        if model.stop_training and not late:
            break
    return float(logs.get(names[0], 0.))


def overlapping(f: Any, phase: int, logger: Any, name: str) -> bool:
    """Whether `ahead` is of use: a device computes, and no callback acts on a batch before the next one has begun."""
    return logger.can_wait(name) and hasattr(f, "overlaps") and f.overlaps(phase)


def ahead(f: Any, phase: int, batches: Iterable[tuple[Any, Any, Callable[[], list[Any]]]],
          stopped: Callable[[], bool] = lambda: False) -> Iterator[tuple[Any, Any, Callable[[], list[Any]]]]:
    """For each batch, until somebody wants to stop, what waits for its outputs: the next one is handed to the device
    before."""
    waiting = None
    for i, size, batch in batches:
        try:
            begun = f.start(batch(), phase)
        except Exception:
            if waiting:
                yield waiting                          # what came before is told first
            raise
        if waiting:
            yield waiting
        waiting = i, size, begun
        if stopped():
            break
    if waiting:
        yield waiting


def _batches(ins: list[Any], samples: int | None, batch_size: int | None, steps: int | None, shuffle: Any
             ) -> Iterator[tuple[int, int, Callable[[], list[Any]]]]:
    """Number, size and (made when asked for) arrays of each batch of an epoch."""
    if samples is None or batch_size is None:
        yield from ((step, 1, lambda: ins) for step in range(steps or 0))
        return
    index = np.arange(samples)
    if isinstance(shuffle, str) and shuffle == "batch":
        index = batch_shuffle(index, batch_size)
    elif shuffle:
        np.random.shuffle(index)
    for i, (start, stop) in enumerate(make_batches(samples, batch_size)):
        at: Any = index[start:stop] if shuffle else slice(start, stop)
        yield i, stop - start, partial(_rows, ins, at)


def _rows(ins: list[Any], at: Any) -> list[Any]:
    return [a[at] if isinstance(at, slice) else take(a, at) for a in ins]


def take(a: Any, ids: np.ndarray) -> Any:
    """Rows of an array, a sparse matrix, or something array-like (an HDF5 data set wants sorted, unique rows)."""
    if isinstance(a, np.ndarray):
        return a.take(ids, axis=0)
    if is_sparse_matrix(a):
        return a[ids]
    try:
        return np.asarray(a[ids.tolist()])
    except TypeError:
        order = np.argsort(ids)
        return np.asarray(a[ids[order].tolist()])[np.argsort(order)]


def _maybe_ahead(f: Any, batches: Sequence[tuple[int, int]], rows: Callable[[int, int], list[Any]], logger: Any,
                 name: str) -> Iterable[Any]:
    """Batches of the test phase; with what waits for the outputs of each where they overlap."""
    if not overlapping(f, 0, logger, name):
        return batches
    return ahead(f, 0, ((start, stop, partial(rows, start, stop)) for start, stop in batches))


def test_loop(model: Any, ins: list[Any], *, batch_size: int | None, verbose: int = 0, steps: int | None = None,
              unpack: bool = True, callbacks: Any = None) -> Any:
    """Loss and metrics over the arrays `ins`, batches weighted by size; metrics with state: their last value."""
    model.reset_stateful_metrics()
    stateful = [model.metrics_names.index(n) for n in model.stateful_metric_names]
    samples = check_num_samples(ins, batch_size, steps, "steps")
    bar = Progbar(steps if steps is not None else samples) if verbose == 1 else None
    totals = np.zeros(len(model.metrics_names))
    batches = [(i, i + 1) for i in range(steps)] if steps is not None else make_batches(samples, batch_size)
    weight = 0
    sizes = [1 if steps is not None else stop - start for start, stop in batches]
    f, logger = model.test_function, told(model, callbacks)

    def rows(start: int, stop: int) -> list[Any]:
        return ins if steps is not None else [a[start:stop] for a in ins]
    for (start, stop, *begun), logs in logger.around("test", _maybe_ahead(f, batches, rows, logger, "test"), sizes):
        out = begun[0]() if begun else f.run(rows(start, stop), 0)
        logs.update((n, o[()]) for n, o in zip(model.metrics_names, out))
        for i, o in enumerate(out):
            totals[i] = float(o) if i in stateful else totals[i] + float(o) * (stop - start)
        weight += stop - start
        if bar:
            bar.update(stop)
    values = [float(t) if i in stateful or not weight else float(t) / weight for i, t in enumerate(totals)]
    return unpack_singleton(values) if unpack else values


def predict_loop(
    model: Any, ins: list[Any], *, batch_size: int | None, verbose: int = 0, steps: int | None = None,
    callbacks: Any = None, alone: bool = False
) -> Any:
    """The model's outputs for the arrays `ins`.  alone: each batch is a call of its own."""
    f, logger = model.predict_function, told(model, callbacks)
    if steps is not None:
        parts = []
        for _, logs in logger.around("predict", range(steps), [1] * steps):
            logs["outputs"] = f.run(ins, 0)
            parts.append(logs["outputs"])
        return unpack_singleton([np.concatenate(p) for p in zip(*parts)])
    samples = int(ins[0].shape[0])
    bar = Progbar(samples) if verbose == 1 else None
    outs: list[np.ndarray] = []
    batches = make_batches(samples, batch_size) or [(0, 0)]
    if len(batches) > 1 and batch_size and not (verbose or callbacks or alone):
        outs = f.many(ins, batch_size)
        if outs:
            return unpack_singleton(outs)

    def rows(start: int, stop: int) -> list[Any]:
        return [a[start:stop] for a in ins]
    sizes = [stop - start for start, stop in batches]
    for (start, stop, *begun), logs in logger.around("predict", _maybe_ahead(f, batches, rows, logger, "predict"),
                                                     sizes):
        got = logs["outputs"] = begun[0]() if begun else f.run(rows(start, stop), 0)
        if start == 0 and stop == samples:
            outs = list(got)
        else:
            outs = outs or [np.empty((samples,) + o.shape[1:], o.dtype) for o in got]
            for whole, o in zip(outs, got):
                whole[start:stop] = o
        if bar:
            bar.update(stop)
    return unpack_singleton(outs)
