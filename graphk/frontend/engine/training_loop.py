"""The epochs of a training run, for arrays and generators alike.

In: a compiled model, what trains it for one epoch, and what validates it.  Out: its History.  What always holds:
callbacks are called in Keras's order; an epoch that is stopped in the middle is not validated, but ends.
"""
from __future__ import annotations

from typing import Any, Callable, Sequence

from graphk.frontend import callbacks as cbks


def told(model: Any, callbacks: Any) -> Any:
    """A list of callbacks that are told of an evaluation or prediction by `model`; one that is made stays as it is."""
    if isinstance(callbacks, cbks.CallbackList):
        return callbacks
    logger = cbks.CallbackList(cbks.checked(callbacks))
    logger.set_model(model)
    return logger


def run_epochs(model: Any, epochs: range, train: Callable[[Any], bool],
               validate: Callable[[Any], Sequence[Any]] | None, *, callbacks: Any, verbose: int,
               params: dict[str, Any], validation_data: Any = None,
               count_mode: str = "steps") -> Any:
    """Call `train(logger)`, which says whether the epoch is to be validated, and `validate(logger)` once per epoch;
    returns the model's History.

    params: what callbacks find in `params` besides what this function knows; validation_data: what they find there,
    followed by the test phase where the model asks for the phase.
    """
    names = list(model.metrics_names)
    log_names = names + (["val_" + n for n in names] if validate else [])
    logger = cbks.make_callbacks(model, callbacks, verbose, count_mode)
    logger.set_params({**params, "epochs": epochs.stop, "verbose": verbose, "do_validation": validate is not None,
                       "metrics": log_names})
    if validation_data and model._phase():
        validation_data = [*validation_data, 0.]
    for c in logger:
        c.validation_data = validation_data
    model.stop_training = False
    logger.on_train_begin()
    for epoch in epochs:
        model.reset_stateful_metrics()
        logs: dict[str, Any] = {}
        logger.on_epoch_begin(epoch)
        if train(logger) and validate:
            logs.update(("val_" + n, v) for n, v in zip(names, validate(logger)))
        logger.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    logger.on_train_end()
    return model.history
