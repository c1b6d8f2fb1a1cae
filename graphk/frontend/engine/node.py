"""A call of a layer: which tensors went in, which came out.

In: the layer and its input and output tensors.  Out: a link in the layer graph.  What always holds: a
node registers itself with the layers on both of its sides, each output tensor's `_keras_history` points back at it,
and a list that the caller goes on filling is not the node's.
"""
from __future__ import annotations

from typing import Any


class Node:
    """One call of `outbound_layer`; made by `Layer.__call__`."""

    def __init__(
        self,
        outbound_layer: Any,
        inbound_layers: list[Any],
        node_indices: list[int],
        tensor_indices: list[int],
        input_tensors: list[Any],
        output_tensors: list[Any],
        input_masks: list[Any],
        output_masks: list[Any],
        input_shapes: list[Any],
        output_shapes: list[Any],
        arguments: dict[str, Any] | None = None,
    ):
        self.outbound_layer = outbound_layer
        self.inbound_layers = inbound_layers
        self.node_indices = node_indices
        self.tensor_indices = tensor_indices
        self.input_tensors, self.output_tensors = list(input_tensors), list(output_tensors)
        self.input_masks, self.output_masks = list(input_masks), list(output_masks)
        self.input_shapes, self.output_shapes = input_shapes, output_shapes
        self.arguments = arguments or {}
        for layer in inbound_layers:
            if layer is not None:
                layer._outbound_nodes.append(self)
        outbound_layer._inbound_nodes.append(self)

    def get_config(self) -> dict[str, Any]:
        """The names of the layers on both sides."""
        return {"outbound_layer": self.outbound_layer.name,
                "inbound_layers": [x.name if x is not None else None for x in self.inbound_layers],
                "node_indices": self.node_indices, "tensor_indices": self.tensor_indices}
