"""The engine, as `keras.engine`.

In: nothing.  Out: its classes and modules.  What always holds: `saving`, which imports h5py, is loaded when it is
asked for.
"""
import importlib
from typing import Any

from graphk.engine import (
    base_layer,
    input_layer,
    network,
    sequential,
    topology,
    training,
    training_arrays,
    training_generator,
    training_utils,
)
from graphk.frontend.engine.base_layer import InputSpec, Layer
from graphk.frontend.engine.input_layer import Input, InputLayer
from graphk.frontend.engine.network import Network
from graphk.frontend.engine.sources import get_source_inputs
from graphk.frontend.engine.training import Model
from graphk.frontend.layers.legacy_layers import Merge, merge

Container = Network
__all__ = [
    "InputSpec",
    "Layer",
    "Input",
    "InputLayer",
    "Network",
    "Container",
    "Merge",
    "Model",
    "merge",
    "get_source_inputs",
    "base_layer",
    "input_layer",
    "network",
    "sequential",
    "topology",
    "training",
    "training_arrays",
    "training_generator",
    "training_utils",
]


def __getattr__(name: str) -> Any:
    if name == "saving":
        return importlib.import_module("graphk.engine.saving")
    raise AttributeError(f"graphk.engine has no `{name}`")
