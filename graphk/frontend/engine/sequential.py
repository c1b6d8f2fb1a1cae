"""Sequential: a model that is a list of layers.

In: layers, one after another.  Out: a model.  What always holds: without an input shape the layers wait
unbuilt until data or `build` tells it; `layers` leaves out the input layer.
"""
from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.backend.creation import kept_uids
from graphk.frontend.engine.base_layer import Layer
from graphk.frontend.engine.input_layer import Input, InputLayer
from graphk.frontend.engine.network import Network
from graphk.frontend.engine.training import Model
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.blame import unchanged
from graphk.frontend.utils.generic_utils import config_of


_MAP = ("_network_nodes", "_layers", "_nodes_by_depth", "_layers_by_depth", "_node_depths")


class Sequential(Model):
    """A linear stack of layers.

    >>> from graphk.layers import Dense
    >>> model = Sequential([Dense(4, input_shape=(3,)), Dense(1)])
    >>> model.output_shape
    (None, 1)
    """

    @kept_uids()
    def __init__(self, layers: Any = None, name: str | None = None):
        super().__init__(name=name)
        self._stack: list[Any] = []
        self._build_input_shape: Any = None
        if isinstance(layers, Layer):
            raise TypeError(f"Sequential takes a list of layers; received the layer `{layers.name}`. Write "
                            "Sequential([layer]).")
        if layers is not None and not hasattr(layers, "__iter__"):
            raise TypeError(f"Sequential takes a list of layers; received {layers!r:.200}.")
        for layer in layers or []:
            self.add(layer)

    @property
    def layers(self) -> list[Any]:
        """The layers in order, without the input layers; those that a Merge at the bottom joins come before it."""
        if self._stack and hasattr(self._stack[0], "branch_inputs"):
            return [la for la in self._layers if not isinstance(la, InputLayer)]
        return list(self._stack)

    @property
    def model(self) -> "Sequential":
        """The model itself (Keras 1 kept another one inside)."""
        return self

    def add(self, layer: Any) -> None:
        """Put a layer on top; TypeError if it is none, ValueError if it has several outputs."""
        if not isinstance(layer, Layer):
            raise TypeError("The added layer must be an instance of class Layer. Found: " + str(layer) + _fix(layer))
        with unchanged(self):
            self._add(layer)

    def _add(self, layer: Any) -> None:
        if not self._stack and self.outputs is None:
            if isinstance(layer, InputLayer):
                self._build_input_shape = layer.batch_input_shape
                self._begin(layer._inbound_nodes[0].output_tensors[0])
                return
            branches = layer.branch_inputs() if hasattr(layer, "branch_inputs") else []        # a Keras 1 Merge
            if branches:
                self._stack, self.inputs = [layer], branches
                self._rebuild(layer.output)
                return
            shape, dtype = _first_shape(layer)
            if layer._first_input is not None:                                                 # Keras 1's set_input
                self._begin(layer._first_input)
            elif shape is not None:
                self._begin(Input(batch_shape=shape, dtype=dtype, name=layer.name + "_input"))
        if self.outputs is not None:
            self._extend(layer)
        else:
            self._stack.append(layer)
            self._layers = list(self._stack)

    def _begin(self, x: Any) -> None:
        self.inputs, self.outputs = [x], [x]

    def _extend(self, layer: Any) -> None:
        out = layer(self.outputs[0])
        if isinstance(out, list):
            raise ValueError(
                "All layers in a Sequential model should have a single output tensor. For multi-output layers, "
                f"use the functional API. The layer {layer.name} gave {len(out)} tensors."
            )
        self._stack.append(layer)
        self._rebuild(out)

    def _map_graph(self) -> None:
        """Leave the map to whoever reads it first, so that adding n layers makes one map, and not n."""
        for name in _MAP:
            vars(self).pop(name, None)
        names = [la.name for la in {id(la): la for la in [*self._input_layers, *self._stack]}.values()]
        if len(set(names)) < len(names) or hasattr(self._stack[0], "branch_inputs"):
            super()._map_graph()                                           # raises an error that says which

    def __getattr__(self, name: str) -> Any:
        if name in _MAP and vars(self).get("outputs"):
            super()._map_graph()
            return vars(self)[name]
        found = getattr(type(self), name, None)
        if isinstance(found, property):
            return found.__get__(self)                 # which says why it has no value
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _rebuild(self, output: Any) -> None:
        self._inbound_nodes, self.predict_function = [], None
        self._init_graph(self.inputs, [output])

    def pop(self) -> None:
        """Remove the top layer; TypeError if there is none."""
        if not self._stack:
            raise TypeError("There are no layers in the model.")
        layer = self._stack.pop()
        if self.outputs is None:
            self._layers = list(self._stack)
            return
        if not self._stack:
            self.inputs = self.outputs = None
            self.built, self._layers = False, []
            return
        call = next(n for n in layer._inbound_nodes if n.output_tensors[0] is self.outputs[0])
        layer._inbound_nodes.remove(call)
        for source in call.inbound_layers:
            source._outbound_nodes.remove(call)
        self._rebuild(call.input_tensors[0])

    def build(self, input_shape: Any = None) -> None:
        """Make all weights for inputs of `input_shape` (batch axis included); without one, layers go on waiting."""
        if self.built and self.outputs is not None or not input_shape:
            return
        if not self._stack:
            raise ValueError(f"Cannot build the Sequential model `{self.name}`: it has no layers. Add one first.")
        if not isinstance(input_shape, (list, tuple)):
            raise ValueError(f"The input shape of the Sequential model `{self.name}` must be a tuple with the batch "
                             f"axis, such as (None, 3); received {input_shape!r}.")
        with unchanged(self):
            self._build_input_shape = tuple(input_shape)
            stack, self._stack = self._stack, []
            self._begin(Input(batch_shape=tuple(input_shape), name=self.name + "_input"))
            for layer in stack:
                self._extend(layer)

    def call(self, inputs: Any, mask: Any = None, training: Any = None) -> Any:
        """The outputs for new inputs."""
        if not self.built:
            self.build(K.int_shape(inputs))
        return super().call(inputs, mask, training)

    # ---------------------------------------------------------------- classes
    def predict_proba(
        self, x: Any, batch_size: int | None = None, verbose: int = 0, steps: int | None = None
    ) -> np.ndarray:
        """Predictions, with a warning if they are not probabilities."""
        p = self.predict(x, batch_size, verbose, steps)
        if p.size and (p.min() < 0.0 or p.max() > 1.0):
            warnings.warn(
                "Network returning invalid probability values. The last layer might not normalize predictions into "
                "probabilities (like softmax or sigmoid would).",
                stacklevel=2,
            )
        return p

    def predict_classes(
        self, x: Any, batch_size: int | None = None, verbose: int = 0, steps: int | None = None
    ) -> np.ndarray:
        """The class of each sample: the largest output, or output > 0.5 where there is one."""
        p = self.predict(x, batch_size, verbose, steps)
        return p.argmax(axis=-1) if p.shape[-1] > 1 else (p > 0.5).astype("int32")

    # ---------------------------------------------------------------- configs
    def get_config(self) -> dict[str, Any]:
        """Name and layers."""
        layers = [{"class_name": la.__class__.__name__, "config": self._config_of(la)} for la in self._stack]
        config: dict[str, Any] = {"name": self.name, "layers": copy.deepcopy(layers)}
        if self._build_input_shape:
            config["build_input_shape"] = self._build_input_shape
        return config

    @staticmethod
    def _config_of(layer: Any) -> dict[str, Any]:
        return layer.config_with_layers() if hasattr(layer, "config_with_layers") else layer.get_config()

    @classmethod
    def from_config(cls, config: Any, custom_objects: dict[str, Any] | None = None) -> "Sequential":
        """A new model from `get_config()`, or from the plain list of layers of older versions."""
        from graphk.frontend.layers import deserialize
        given = config_of(cls, {"layers": config} if isinstance(config, list) else config, "layers")
        name, shape, layers = given.get("name"), given.get("build_input_shape"), given["layers"]
        if not isinstance(layers, list) or "input_layers" in given:
            what = "the config of a Model" if "input_layers" in given else layers
            raise ValueError("Sequential.from_config takes a list of the configs of layers, each with `class_name` and "
                             f"`config`; received {what!r:.200}. Use Model.from_config for models of other kinds.")
        model = cls(name=name)
        for data in layers:
            model.add(deserialize(data, custom_objects=custom_objects))
        if layers and not model.inputs and shape:
            model.build(shape)
        return model


def _fix(x: Any) -> str:
    """What to do about something that is no layer."""
    if isinstance(x, type):
        return f". Make one: {x.__name__}(...)."
    if isinstance(x, Tensor):
        return ". Add the layers, not what they give; layers called on tensors make a Model(inputs, outputs)."
    return ". A function is a layer as Activation(f) or Lambda(f)." if callable(x) or isinstance(x, str) else "."


def _first_shape(layer: Any) -> tuple[Any, Any]:
    """The input shape that a first layer declares, if any."""
    dtype = layer.dtype
    while isinstance(layer, Network):
        if getattr(layer, "inputs", None):
            return K.int_shape(layer.inputs[0]), layer.inputs[0].dtype
        if not layer.layers:
            return None, None
        layer = layer.layers[0]
    return getattr(layer, "batch_input_shape", None), dtype
