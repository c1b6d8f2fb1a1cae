"""Configs, saving hooks and the printed summary of networks.

In: a network, or the config of one.  Out: a config, JSON or YAML text, a new network, a table.  What
always holds: a network made from `get_config()` has the same layers, names and calls.
"""
from __future__ import annotations

import copy
import importlib
import json
from typing import Any, Callable

import numpy as np

from graphk.frontend import config
from graphk.frontend.engine.graph_map import node_key
from graphk.frontend.utils.generic_utils import config_of, serialize_keras_object, unpack_singleton

# The version whose files and configs these are.
KERAS_VERSION = "2.3.1" if config.keras_semantics() == "2.3" else "2.2.4"


class NetworkConfig:
    """Serialization and summary, mixed into Network."""

    name: str
    built: bool
    layers: Any
    _need_graph: Callable[[str], None]
    _network_nodes: set[str]
    _input_coordinates: list[Any]
    _output_coordinates: list[Any]

    def get_config(self) -> dict[str, Any]:
        """Layers, their calls, and which of their outputs are the model's."""
        from graphk.frontend.engine.network import Network
        self._need_graph("get_config")
        index: dict[str, int] = {}
        for layer in self.layers:
            kept = 1 if isinstance(layer, Network) else 0
            for i in range(len(layer._inbound_nodes)):
                if node_key(layer, i) in self._network_nodes:
                    index[node_key(layer, i)] = kept
                    kept += 1
        layers = [{"name": layer.name, "class_name": layer.__class__.__name__, "config": layer.get_config(),
                   "inbound_nodes": self._calls_of(layer, index)} for layer in self.layers]

        def ends(coordinates: list[Any]) -> list[Any]:
            return [[layer.name, index[node_key(layer, i)], t] for layer, i, t in coordinates]
        return copy.deepcopy({"name": self.name, "layers": layers, "input_layers": ends(self._input_coordinates),
                              "output_layers": ends(self._output_coordinates)})

    def _calls_of(self, layer: Any, index: dict[str, int]) -> list[Any]:
        calls = []
        for i, node in enumerate(layer._inbound_nodes):
            if node_key(layer, i) not in self._network_nodes or not node.inbound_layers:
                continue
            kwargs = _plain_arguments(node.arguments, layer)
            calls.append([[src.name, index.get(node_key(src, j), 0), t, kwargs]
                          for src, j, t in zip(node.inbound_layers, node.node_indices, node.tensor_indices)])
        return calls

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        """A new network (with fresh weights) from `get_config()`."""
        config = config_of(cls, config, "layers", "input_layers", "output_layers")
        made = _Rebuild(config, custom_objects)
        network: Any = cls
        return network(inputs=made.ends("input_layers"), outputs=made.ends("output_layers"), name=config.get("name"))

    def _updated_config(self) -> dict[str, Any]:
        return {"class_name": self.__class__.__name__, "config": self.get_config(), "keras_version": KERAS_VERSION,
                "backend": "tensorflow"}

    def to_json(self, **kwargs: Any) -> str:
        """The architecture as JSON text; keyword arguments go to `json.dumps`."""
        return json.dumps(self._updated_config(), default=json_value, **kwargs)

    def to_yaml(self, **kwargs: Any) -> str:
        """The architecture as YAML text; ImportError without PyYAML."""
        try:
            import yaml
        except ImportError:
            raise ImportError("Requires yaml module installed: pip install pyyaml") from None
        return yaml.safe_dump(json.loads(self.to_json()), **kwargs)

    # ---------------------------------------------------------------- files, by graphk.frontend.saving.model_files
    def save(self, filepath: Any, overwrite: bool = True, include_optimizer: bool = True) -> None:
        """Write architecture, weights and optimizer state to an HDF5 file."""
        saving().save_model(self, filepath, overwrite, include_optimizer)

    def save_weights(self, filepath: Any, overwrite: bool = True) -> None:
        """Write the weights to an HDF5 file."""
        saving().save_weights(self, filepath, overwrite)

    def load_weights(
        self, filepath: Any, by_name: bool = False, skip_mismatch: bool = False, reshape: bool = False
    ) -> None:
        """Read weights from an HDF5 file, in order, or by layer name."""
        saving().load_weights(self, filepath, by_name=by_name, skip_mismatch=skip_mismatch, reshape=reshape)

    # ---------------------------------------------------------------- summary
    def summary(self, line_length: int | None = None, positions: list[float] | None = None,
                print_fn: Callable[[str], Any] | None = None) -> None:
        """Print a table of the layers, their output shapes and parameter counts."""
        if not self.built:
            raise ValueError(
                "This model has not yet been built. Build the model first by calling build() or calling fit() "
                "with some data. Or specify input_shape or batch_input_shape in the first layer for "
                "automatic build. "
            )
        from graphk.frontend.utils.layer_utils import print_summary
        print_summary(self, line_length=line_length, positions=positions, print_fn=print_fn)


def saving() -> Any:
    """The module that reads and writes files: imported with the first file, since h5py takes its time."""
    return importlib.import_module("graphk.frontend.saving.model_files")


def json_value(x: Any) -> Any:
    """numpy values, types, and objects that have a config as JSON values."""
    if isinstance(x, np.ndarray):
        return x.tolist()
    if isinstance(x, np.generic):
        return x.item()
    if hasattr(x, "get_config") and not isinstance(x, type):
        return serialize_keras_object(x)
    if isinstance(x, type) or callable(x):
        return x.__name__
    raise TypeError(f"Not JSON Serializable: {x!r}")


def _plain_arguments(arguments: dict[str, Any], layer: Any) -> dict[str, Any]:
    """Call arguments that JSON can hold; others are dropped with a warning, as in Keras."""
    if not arguments:
        return {}
    try:
        json.dumps(arguments, default=json_value)
        return dict(arguments)
    except TypeError:
        import warnings
        warnings.warn("Layer " + layer.name + " was passed non-serializable keyword arguments: " + str(arguments)
                      + ". They will not be included in the serialized model (and thus will be missing at "
                      "deserialization time).", stacklevel=4)
        return {}


class _Rebuild:
    """Layers made from a config and called in whatever order their inputs come to exist."""

    def __init__(self, config: dict[str, Any], custom_objects: dict[str, Any] | None):
        from graphk.frontend.layers import deserialize
        self.config = config
        self.layers: dict[str, Any] = {}
        waiting: dict[Any, list[Any]] = {}
        for data in config["layers"]:
            if not isinstance(data, dict) or not {"name", "inbound_nodes"} <= set(data):
                raise ValueError(f"A layer in the config of a Model is {str(data)[:200]}; expected a dict with the "
                                 f"keys "
                                 "`name`, `class_name`, `config` and `inbound_nodes`. The config of a Sequential is "
                                 "for "
                                 "Sequential.from_config.")
            layer = deserialize(data, custom_objects=custom_objects)
            self.layers[data["name"]] = layer
            if data["inbound_nodes"]:
                waiting[layer] = list(data["inbound_nodes"])
        while waiting:
            progress = False
            for layer, calls in list(waiting.items()):
                while calls and self._call(layer, calls[0]):         # calls of one layer happen in their order
                    calls.pop(0)
                    progress = True
                if not calls:
                    del waiting[layer]
            if not progress:
                raise ValueError(f"The model config is not a graph of layers: the calls of "
                                 f"{sorted(layer.name for layer in waiting)} wait for each other.")

    def _call(self, layer: Any, call: Any) -> bool:
        """Make one call if its inputs exist."""
        tensors, kwargs = [], {}
        for entry in call:
            name, node_index, tensor_index = entry[:3]
            kwargs = dict(entry[3]) if len(entry) > 3 else {}
            if name not in self.layers:
                raise ValueError(f"The model config refers to the layer `{name}`, which it does not contain.")
            nodes = self.layers[name]._inbound_nodes
            if node_index >= len(nodes):
                return False
            tensors.append(nodes[node_index].output_tensors[tensor_index])
        layer(unpack_singleton(tensors), **kwargs)
        return True

    def ends(self, key: str) -> Any:
        """The input or output tensors."""
        for name, *_ in self.config[key]:
            if name not in self.layers:
                raise ValueError(f"`{key}` of the model config names the layer `{name}`, which it does not contain. "
                                 f"Its "
                                 f"layers are {sorted(self.layers)}.")
        found = [self.layers[name]._inbound_nodes[i].output_tensors[t] for name, i, t in self.config[key]]
        return unpack_singleton(found)
