"""Model classes and functions that make models from configs or from other models.

In: JSON or YAML text, configs, models.  Out: models.  What always holds: loading text executes nothing.
"""
from __future__ import annotations

from typing import Any

import numpy as np                                   # with K: `from keras.models import *` handed them on

from graphk.frontend import backend as K
from graphk.frontend.engine.input_layer import Input, InputLayer
from graphk.frontend.engine.network_config import saving
from graphk.frontend.engine.sequential import Sequential
from graphk.frontend.engine.training import Model
from graphk.frontend.layers import deserialize
from graphk.frontend.legacy_graph import Graph
from graphk.frontend.utils.generic_utils import to_list, unpack_singleton


def model_from_config(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
    """A model from `{class_name, config}`, of any Keras; TypeError for a list (that is Sequential.from_config's)."""
    if isinstance(config, list):
        raise TypeError("`model_from_config` expects a dictionary, not a list. Maybe you meant to use "
                        "`Sequential.from_config(config)`?")
    from graphk.frontend.saving.configs import modern, report
    version = config.get("keras_version") if isinstance(config, dict) else None
    config, problems = modern(config, version, custom_objects)
    if problems:
        raise report(problems)
    return deserialize(config, custom_objects=custom_objects)


def model_from_json(json_string: str, custom_objects: dict[str, Any] | None = None) -> Any:
    """A model from `model.to_json()`."""
    from graphk.frontend.saving.errors import malformed
    from graphk.frontend.saving.text import load_json
    config = load_json(json_string)
    with malformed("", "JSON", "the model cannot be made"):
        return model_from_config(config, custom_objects)


def model_from_yaml(yaml_string: str, custom_objects: dict[str, Any] | None = None) -> Any:
    """A model from `model.to_yaml()`."""
    from graphk.frontend.saving.errors import malformed
    from graphk.frontend.saving.text import load_yaml
    config = load_yaml(yaml_string)
    with malformed("", "YAML", "the model cannot be made"):
        return model_from_config(config, custom_objects)


def load_model(filepath: Any, custom_objects: dict[str, Any] | None = None, compile: bool = True) -> Any:
    """A model from a file written by `model.save`."""
    return saving().load_model(filepath, custom_objects=custom_objects, compile=compile)


def save_model(model: Any, filepath: Any, overwrite: bool = True, include_optimizer: bool = True) -> None:
    """Write a model to a file."""
    saving().save_model(model, filepath, overwrite, include_optimizer)


def clone_model(model: Any, input_tensors: Any = None) -> Any:
    """The same architecture with new weights, on new inputs or on `input_tensors`.

    >>> from graphk.layers import Dense
    >>> m = Sequential([Dense(2, input_shape=(3,))])
    >>> clone_model(m).output_shape
    (None, 2)
    """
    return (_clone_sequential_model if isinstance(model, Sequential) else _clone_functional_model)(model, input_tensors)


def _clone_functional_model(model: Any, input_tensors: Any = None) -> Any:
    if not isinstance(model, Model) or isinstance(model, Sequential):
        raise ValueError(f"Expected `model` argument to be a `Model` instance that is no Sequential, got {model!r}.")
    copies: dict[int, Any] = {}
    table: dict[int, tuple[Any, Any]] = {}
    given = to_list(input_tensors) if input_tensors is not None else [None] * len(model.inputs)
    inputs = []
    for x, new, layer in zip(model.inputs, given, model._input_layers):
        if new is None:
            new = Input(batch_shape=layer.batch_input_shape, dtype=layer.dtype, name=layer.name)
        elif not hasattr(new, "_keras_history"):
            new = Input(tensor=new, name="input_wrapper_for_" + layer.name)
        inputs.append(new)
        table[id(x)] = new
    for node in model._running_order():
        layer = node.outbound_layer
        if id(layer) not in copies:
            copies[id(layer)] = clone_model(layer) if isinstance(layer, Model) else \
                layer.__class__.from_config(layer.get_config())
        out = copies[id(layer)](unpack_singleton([table[id(t)] for t in node.input_tensors]), **node.arguments)
        for old, t in zip(node.output_tensors, to_list(out)):
            table[id(old)] = t
    return model.__class__(inputs, [table[id(x)] for x in model.outputs], name=model.name)


def _clone_sequential_model(model: Any, input_tensors: Any = None) -> Any:
    if not isinstance(model, Sequential):
        raise ValueError(f"Expected `model` argument to be a `Sequential` model instance, got {model!r}.")
    layers = [clone_model(la) if isinstance(la, Model) else la.__class__.from_config(model._config_of(la))
              for la in model._stack]
    out = Sequential(name=model.name)
    if input_tensors is not None:
        if len(to_list(input_tensors)) != 1:
            raise ValueError("To clone a `Sequential` model, we expect at most one tensor as part of `input_tensors`.")
        x = to_list(input_tensors)[0]
        out.add(x._keras_history[0] if hasattr(x, "_keras_history") and isinstance(x._keras_history[0], InputLayer)
                else Input(tensor=x)._keras_history[0])
    elif len(model.inputs or []) == 1 and layers and not hasattr(layers[0], "batch_input_shape"):
        out.add(InputLayer(batch_input_shape=model.input_shape))
    for layer in layers:
        out.add(layer)
    return out


__all__ = ["Model", "Sequential", "model_from_config", "model_from_json", "model_from_yaml", "load_model", "save_model",
           "clone_model", "Input", "Graph", "K", "np"]
