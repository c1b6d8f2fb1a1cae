"""Callbacks for training in several processes.

In: what `fit` tells a callback, in every process.  Out: the same variables, and the same logs, in all of them.  What
always holds: each process has the same of these callbacks, in the same places of its list; what comes behind them in
the list (a learning rate that waits for a plateau, a checkpoint) sees what all processes see.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from graphk.frontend import distributed
from graphk.frontend.callbacks.base import Callback
from graphk.frontend.tensor import Variable


class BroadcastGlobalVariablesCallback(Callback):
    """When training begins, gives all processes the weights and the optimizer's state of one of them.

    root_rank: of which; where a checkpoint is loaded, only this one needs to load it.
    """

    def __init__(self, root_rank: int = 0):
        super().__init__()
        self.root_rank = root_rank

    def on_train_begin(self, logs: Any = None) -> None:
        """Exchange the values."""
        model = self.model
        model._make_train_function()                       # which makes the optimizer's state
        state = [v for v in vars(model.optimizer).values() if isinstance(v, Variable)]
        found = [*model.weights, *state, *model.optimizer.weights, *model._mixed.variables().values()]
        distributed.broadcast_variables(list({id(v): v for v in found}.values()), self.root_rank)


class MetricAverageCallback(Callback):
    """At the end of an epoch, puts the means over all processes in place of its losses and metrics.

    It belongs before callbacks that read these.
    """

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Exchange the values."""
        logs = {} if logs is None else logs
        names = sorted(k for k, v in logs.items() if np.ndim(v) == 0 and np.asarray(v).dtype.kind in "biuf")
        sums = distributed.allreduce_named(f"the means of {', '.join(names)} at the end of epoch {epoch + 1}",
                                           np.array([logs[k] for k in names], "float64"))
        logs.update(zip(names, (sums / distributed.size()).tolist()))


__all__ = ["BroadcastGlobalVariablesCallback", "MetricAverageCallback"]
