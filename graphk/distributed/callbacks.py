"""Callbacks for training in several processes."""
from graphk.frontend.callbacks.distributed import BroadcastGlobalVariablesCallback, MetricAverageCallback

__all__ = ["BroadcastGlobalVariablesCallback", "MetricAverageCallback"]
