"""Models whose `call` the user writes.

In: a subclass of Model that keeps layers as attributes and defines `call(inputs)`.  Out: a model that trains and
predicts like any other.  What always holds: layers count in the order in which they became attributes; inputs and
outputs come to exist when data, or `build`, first tell the inputs' shapes.
"""
from __future__ import annotations

from typing import Any, Callable

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.engine.base_layer import Layer
from graphk.frontend.engine.input_layer import Input
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.generic_utils import has_arg, object_list_uid, to_list, unpack_singleton


class Subclassed(Layer):
    """What a network without a graph of layers does instead; mixed into Network."""

    _layers: list[Any]
    _calls: list[tuple[Any, Any]] = []             # (layer, node): the calls of layers that made `outputs`
    inputs: Any
    outputs: Any

    def __setattr__(self, name: str, value: Any) -> None:
        """Layers (and lists of layers) that become attributes are layers of the model; metrics may be layers, too."""
        items = value if isinstance(value, (list, tuple)) else [value]
        metrics = name in ("metrics", "weighted_metrics")
        if not name.startswith("_") and not metrics and items and all(isinstance(v, Layer) for v in items):
            if "_layers" not in self.__dict__:
                raise RuntimeError("It looks like you are subclassing `Model` and you forgot to call "
                                   "`super(YourClass, self).__init__()`. Always start with this line.")
            if self._is_subclassed:
                self._layers += [v for v in items if all(v is not la for la in self._layers)]
        super().__setattr__(name, value)

    @property
    def _is_subclassed(self) -> bool:
        """Whether the user defined `call` and gave no tensors."""
        from graphk.frontend.engine.network import Network
        from graphk.frontend.engine.sequential import Sequential
        return not getattr(self, "_is_graph_network", False) and not isinstance(self, Sequential) and \
            type(self).call is not Network.call

    def _call_on_data(self, x: Any) -> None:
        """Inputs like the data `x`, and the outputs that `call` gives for them."""
        data = x if isinstance(x, (list, tuple)) else [x]
        shapes = [np.shape(a.values if hasattr(a, "values") else a) for a in data]
        self._call_on_shapes([s[1:] or (1,) for s in shapes])

    def _call_on_shapes(self, shapes: list[Any]) -> None:
        self.inputs = [Input(shape, name=f"input_{i + 1}") for i, shape in enumerate(shapes)]
        kwargs = {"training": K.learning_phase()} if has_arg(self.call, "training") else {}
        outputs, self._calls = self._watched(lambda: self.call(unpack_singleton(list(self.inputs)), **kwargs))
        self.outputs = [_own(y) for y in to_list(outputs, allow_tuple=True)]
        self.input_names = [f"input_{i + 1}" for i in range(len(shapes))]
        self.output_names = [f"output_{i + 1}" for i in range(len(self.outputs))]
        self._feed_inputs, self._feed_input_names = list(self.inputs), list(self.input_names)
        self._feed_input_shapes = [K.int_shape(x) for x in self.inputs]
        self.input_spec = None
        self.built = True

    # ---------------------------------------------------------------- as a layer of another model
    def __call__(self, inputs: Any, *more: Any, **kwargs: Any) -> Any:
        if not self._is_subclassed:
            return super().__call__(inputs, *more, **kwargs)
        self._maybe_build(inputs)
        outputs, calls = self._watched(lambda: Layer.__call__(self, inputs, *more, **kwargs))
        uid = object_list_uid(to_list(inputs, allow_tuple=True))
        for layer, node in calls:                  # what these calls update and add to the loss belongs to this call
            for table, found in ((self._per_input_updates, layer.get_updates_for(node.input_tensors)),
                                 (self._per_input_losses, layer.get_losses_for(node.input_tensors))):
                table.setdefault(uid, []).extend(found)
        return outputs

    def _watched(self, call: Callable[[], Any]) -> tuple[Any, list[tuple[Any, Any]]]:
        """What `call` returns, and the calls of this model's layers that it made."""
        before = {id(node) for layer in self._layers for node in layer._inbound_nodes}
        result = call()
        return result, [(layer, node) for layer in self._layers for node in layer._inbound_nodes
                        if id(node) not in before and node.inbound_layers]

    def _output_shapes(self, inputs: list[Tensor], outputs: list[Tensor]) -> list[Any]:
        return [K.int_shape(y) for y in outputs] if self._is_subclassed else super()._output_shapes(inputs, outputs)

    def _shapes_of_call(self, shapes: list[Any]) -> Any:
        """The output shapes that `call` gives for input shapes (batch axis included)."""
        outputs = self.call(unpack_singleton([Input(batch_shape=tuple(s)) for s in shapes]))
        return unpack_singleton([K.int_shape(y) for y in to_list(outputs, allow_tuple=True)])

    def _need_graph(self, what: str) -> None:
        if self._is_subclassed:
            raise NotImplementedError(f"`{what}` is not available for the subclassed model `{self.name}`: "
                                      "its `call` is Python code. Save its weights, and make it again from its class.")


def _own(y: Any) -> Tensor:
    if not isinstance(y, Tensor):
        raise ValueError(f"`call` of a subclassed model must return a tensor or a list of tensors; received {y!r}")
    if not hasattr(y, "_keras_shape"):
        y._keras_shape = y.shape
    return y


__all__ = ["Subclassed"]
