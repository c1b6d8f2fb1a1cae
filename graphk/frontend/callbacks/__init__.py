"""Callbacks: what happens at the beginning and end of training, epochs and batches.

In: logs from the training loop.  Out: histories, files, changed learning rates, early stops.  What always
holds: the logs of an epoch are one dictionary that all callbacks see in order, averages first; `fit` takes its own
callbacks from this module, so that programs may replace them here.
"""
from __future__ import annotations

import json
import os
import time
import warnings
from collections import OrderedDict, deque
from typing import Any

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.callbacks.base import Callback, CallbackList
from graphk.frontend.callbacks.reporting import CSVLogger, RemoteMonitor
from graphk.frontend.callbacks.steering import (
    EarlyStopping,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    monitored,
)
from graphk.frontend.callbacks.tensorboard import TensorBoard
from graphk.frontend.callbacks.watching import BaseLogger, History, LambdaCallback, ProgbarLogger, TerminateOnNaN


def checked(callbacks: Any) -> list[Any]:
    """A list of what a user passed as callbacks; TypeError for what is none."""
    given = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks] if callbacks else []
    for c in given:
        if isinstance(c, type):
            raise TypeError(f"`callbacks` takes instances of Callback; received the class `{c.__name__}`. "
                            f"Make one: {c.__name__}(...).")
        if not hasattr(c, "on_batch_end"):
            raise TypeError(f"`callbacks` takes instances of Callback; received {c!r}. For a function use "
                            "LambdaCallback(on_epoch_end=...).")
    return given


def make_callbacks(model: Any, callbacks: Any, verbose: int, count_mode: str) -> CallbackList:
    """The list for one `fit`: averages, progress bar, the user's, history."""
    model.history = History()
    mine: list[Callback] = [BaseLogger(stateful_metrics=model.stateful_metric_names)]
    if verbose:
        mine.append(ProgbarLogger(count_mode, stateful_metrics=model.stateful_metric_names))
    out = CallbackList([*mine, *checked(callbacks), model.history])
    out.set_model(model._get_callback_model())
    return out


# The last line: what the module of Keras imports for itself, which `from keras.callbacks import *` handed on.
__all__ = ["BaseLogger", "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback",
           "LearningRateScheduler", "ModelCheckpoint", "ProgbarLogger", "ReduceLROnPlateau",
           "RemoteMonitor", "TensorBoard", "TerminateOnNaN", "checked", "make_callbacks", "monitored",
           "K", "np", "os", "json", "time", "warnings", "OrderedDict", "deque"]
