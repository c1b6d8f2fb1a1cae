"""Configs for files: as every Keras 2 reads them, and as Keras 3 does.

In: a model.  Out: the JSON value of its architecture, and of what it was compiled with.  What always holds: what the
other Keras would compute otherwise, or does not have, is an error that names it.
"""
from __future__ import annotations

import json
import warnings
from typing import Any

from graphk.frontend.engine.graph_map import node_key
from graphk.frontend.engine.network import Network
from graphk.frontend.engine.network_config import json_value
from graphk.frontend.layers import RNN, Bidirectional, layer_classes
from graphk.frontend.layers.merge import _Merge
from graphk.frontend.saving.config_values import HARD_SIGMOID_3

_MODULES = {"initializer": "keras.initializers", "regularizer": "keras.regularizers", "constraint":
            "keras.constraints", "init": "keras.initializers"}
# What Keras 3 does not have.
_MISSING = {"LocallyConnected1D", "LocallyConnected2D", "CuDNNGRU", "CuDNNLSTM", "ConvRNN2D", "ConvLSTM2DCell",
            "MaxoutDense", "Highway", "Merge", "ThresholdedReLU", "Operation"}
_INSTEAD = {"CuDNNLSTM": "LSTM(…, recurrent_activation='sigmoid') takes its weights, or ",
            "CuDNNGRU": "GRU(…, recurrent_activation='sigmoid', reset_after=True) takes its weights, or "}
_DROPPED = ("batch_input_shape", "input_length", "implementation", "num_constants")
_LOSSES = {"kullback_leibler_divergence": "kl_divergence", "logcosh": "log_cosh",
           "cosine_proximity": "cosine_similarity", "cosine": "cosine_similarity", "kld": "kl_divergence"}


def plain_json(value: Any) -> Any:
    """A config as JSON has it."""
    return json.loads(json.dumps(value, default=json_value))


def keras2(model: Any) -> dict[str, Any]:
    """The architecture for an HDF5 file: Keras 2's, with what Keras 3 asks of layers within layers."""
    return {"class_name": type(model).__name__, "config": _nested(plain_json(model.get_config()))}


def _nested(value: Any, inside: bool = False) -> Any:
    if isinstance(value, list):
        return [_nested(v, inside) for v in value]
    if not isinstance(value, dict):
        return value
    out = {k: _nested(v, k in ("layer", "cell", "cells") or inside and k == "layers") for k, v in value.items()}
    if str(value.get("class_name")).startswith("SpatialDropout") and isinstance(value.get("config"), dict):
        out["config"] = _spatial_dropout(value["config"])
    if inside and isinstance(value.get("class_name"), str) and "config" in value:
        name = value["class_name"]
        out["module"] = "keras" if name in ("Sequential", "Model") else "keras.layers" if name in layer_classes() \
            else None
        out["registered_name"] = None if out["module"] else name
    return out


def _spatial_dropout(config: dict[str, Any]) -> dict[str, Any]:
    """Without two settings that Keras 3's does not take, where they are the defaults."""
    return {k: v for k, v in config.items() if (k, v) not in (("noise_shape", None), ("trainable", True))}


# ------------------------------------------------------------------ Keras 3
def keras3(model: Any) -> dict[str, Any]:
    """The architecture for a `.keras` archive; ValueError naming what Keras 3 does not have."""
    return _Writer().model(model)


def _object(module: str | None, name: str, config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": config, "registered_name": None if module else name}


class _Writer:
    def model(self, model: Any) -> dict[str, Any]:
        """A model, from itself: tensors have shapes, which Keras 3 writes beside their names."""
        if hasattr(model, "_stack"):
            return _object("keras", "Sequential", {"name": model.name, "trainable": True, "layers": [
                _object("keras.layers", "InputLayer", _input(model.inputs[0])), *map(self.layer, model._stack)]})
        config = plain_json(model.get_config())
        layers = []
        for layer, entry in zip(model.layers, config["layers"]):
            nodes = [self._call(model, layer, call) for call in entry["inbound_nodes"]]
            layers.append({**self.layer(layer), "name": layer.name, "inbound_nodes": nodes})
        return _object("keras.src.models.functional", "Functional", {
            "name": model.name, "trainable": True, "layers": layers,
            **{key: [_counted(model.get_layer(end[0]), end) for end in config[key]]
               for key in ("input_layers", "output_layers")}})

    def layer(self, layer: Any) -> dict[str, Any]:
        """A layer, from itself."""
        if isinstance(layer, Network):
            return self.model(layer)
        entry = {"class_name": type(layer).__name__, "config": plain_json(layer.get_config())}
        inner = getattr(layer, "layer", None)
        if isinstance(inner, Network):
            entry["config"]["layer"] = self.model(inner)
        return self._entry(entry)

    def _entry(self, entry: dict[str, Any]) -> dict[str, Any]:
        """A layer, from its config."""
        name, config = entry["class_name"], dict(entry["config"])
        label = f"layer `{config.get('name')}` ({name})"
        if "module" in entry:
            return entry
        if name not in layer_classes():
            return _object(None, name, config)
        if name in _MISSING:
            raise ValueError(f"{label}: Keras 3 has no such layer; {_INSTEAD.get(name, '')}save the model as HDF5 "
                             "(.h5), which Keras 2 reads")
        if config.get("num_constants"):
            raise ValueError(f"{label}: Keras 3's recurrent layers take no constants; save the model as HDF5 (.h5)")
        if name == "InputLayer":
            return _object("keras.layers", name, {**{k: v for k, v in config.items() if k != "batch_input_shape"},
                                                  "batch_shape": config["batch_input_shape"]})
        if name == "LeakyReLU":
            config["negative_slope"] = config.pop("alpha")
        if name == "Lambda":
            config = _functions(label, config)
        if name.startswith("SpatialDropout"):
            config = _spatial_dropout(config)
        for key in ("layer", "cell"):
            if isinstance(config.get(key), dict):
                config[key] = self._entry(config[key])
        if "cells" in config:
            config["cells"] = [self._entry(c) for c in config["cells"]]
        return _object("keras.layers", name, {k: _setting(k, v) for k, v in config.items() if k not in _DROPPED})

    def _call(self, model: Any, layer: Any, call: Any) -> dict[str, Any]:
        tensors = [_tensor(model, *entry[:3]) for entry in call]
        kwargs = dict(call[0][3]) if len(call[0]) > 3 else {}
        if isinstance(layer, (RNN, Bidirectional)) and len(tensors) > 1:
            return {"args": tensors[:1], "kwargs": {**kwargs, "initial_state": tensors[1:]}}
        return {"args": [tensors] if len(tensors) > 1 or isinstance(layer, _Merge) else tensors, "kwargs": kwargs}


def _input(x: Any) -> dict[str, Any]:
    layer = x._keras_history[0]
    return {"batch_shape": list(layer.batch_input_shape), "dtype": layer.dtype, "sparse": False, "name": layer.name}


def _tensor(model: Any, name: str, call: int, index: int) -> dict[str, Any]:
    layer = next(la for la in model.layers if la.name == name)
    nodes = [n for i, n in enumerate(layer._inbound_nodes) if node_key(layer, i) in model._network_nodes]
    at = call - 1 if isinstance(layer, Network) else call
    shape = nodes[at].output_shapes[index]
    return {"class_name": "__keras_tensor__", "config": {
        "shape": list(shape), "dtype": nodes[at].output_tensors[index].dtype,
        "keras_history": _counted(layer, [name, call, index])}}


def _counted(layer: Any, entry: list[Any]) -> list[Any]:
    """Keras 3 counts the calls of a Sequential from 0, those of other models from 1, as Keras 2 does for both."""
    return [entry[0], entry[1] - 1, entry[2]] if hasattr(layer, "_stack") else entry


def _functions(label: str, config: dict[str, Any]) -> dict[str, Any]:
    """A Lambda's functions: named ones, which Keras 3 looks up in custom_objects."""
    out = {k: v for k, v in config.items() if not k.endswith("_type")}
    for key in ("function", "output_shape", "mask"):
        kind = config.get(key + "_type", "raw")
        if kind == "lambda":
            raise ValueError(f"{label}: its `{key}` is a lambda, which has no name to write. Define it with `def`")
        if kind == "function":
            out[key] = {"module": "builtins", "class_name": "function", "config": config[key],
                        "registered_name": "function"}
    return out


def _setting(key: str, value: Any) -> Any:
    family = key.rsplit("_")[-1]
    if family == "activation":
        return _activation(value)
    module = _MODULES.get(family)
    if module is None or not isinstance(value, dict):
        return value
    config = dict(value["config"])
    if config.get("distribution") == "normal":
        config["distribution"] = "truncated_normal"
    return _object(module, value["class_name"], config)


def _activation(value: Any) -> Any:
    """Keras 3's hard_sigmoid is another function, so that Keras 2's, clip(x/5 + 1/2, 0, 1), is two layers."""
    if value == HARD_SIGMOID_3:
        return "hard_sigmoid"
    if value != "hard_sigmoid":
        return value
    layers = [_object("keras.layers", "Rescaling", {"scale": .2, "offset": .5, "name": "slope"}),
              _object("keras.layers", "ReLU", {"max_value": 1., "name": "clip"})]
    return _object("keras", "Sequential", {"name": "hard_sigmoid", "layers": layers})


def keras3_training(config: dict[str, Any]) -> dict[str, Any]:
    """`compile_config`, from what an HDF5 file's training_config says."""
    given = plain_json(config["optimizer_config"])
    own = dict(given["config"])
    rate = own.pop("lr", None) or own.pop("learning_rate")
    decay = own.pop("decay", 0.)
    if decay:
        rate = _object("keras.optimizers.schedules", "InverseTimeDecay", {
            "initial_learning_rate": rate, "decay_rate": decay, "decay_steps": 1})
    each, whole = own.pop("clipnorm_each", None), own.pop("clipnorm", None)
    if own.pop("schedule_decay", 1.) != 1.:
        warnings.warn("Keras 3's Nadam changes its momentum on a faster schedule than this one: training will go on "
                      "differently there.", stacklevel=5)
    optimizer = _object("keras.optimizers", given["class_name"], {**own, "learning_rate": rate, "clipnorm": each,
                                                                  "global_clipnorm": whole})
    return {"optimizer": optimizer, "loss": _renamed(config["loss"]), "metrics": plain_json(config["metrics"]),
            "weighted_metrics": plain_json(config["weighted_metrics"]), "loss_weights": config["loss_weights"]}


def _renamed(loss: Any) -> Any:
    loss = plain_json(loss)
    if isinstance(loss, list):
        return [_renamed(x) for x in loss]
    if isinstance(loss, dict):
        return {k: _renamed(v) for k, v in loss.items()}
    return _LOSSES.get(loss, loss)


__all__ = ["keras2", "keras3", "keras3_training", "plain_json"]
