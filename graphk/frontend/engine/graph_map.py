"""The map of a model: which layers and calls lie between its inputs and outputs, and in what order.

In: input and output tensors.  Out: nodes and layers by depth (distance to the outputs).  What always
holds: a call comes after all calls it reads from; names are unique; every needed tensor is
reachable from the inputs, else ValueError says which is not.
"""
from __future__ import annotations

from collections import Counter
from typing import Any, Sequence

from graphk.frontend.engine.input_layer import InputLayer


def node_key(layer: Any, index: int) -> str:
    """The key of a call within a model."""
    return layer.name + "_ib-" + str(index)


class GraphMap:
    """The result: `nodes` (keys), `nodes_by_depth`, `layers_by_depth`, `layers` in execution order."""

    def __init__(self, inputs: Sequence[Any], outputs: Sequence[Any]):
        self._order: list[tuple[Any, int]] = []          # calls, each after those it reads from
        self._layer_index: dict[Any, int] = {}
        for x in outputs:
            layer, index, _ = x._keras_history
            self._walk(layer, index)
        self.nodes = {node_key(layer, i) for layer, i in self._order}
        self._measure(inputs)
        self._check_connected(inputs)
        self._check_names()

    def _walk(self, layer: Any, index: int) -> None:
        """Depth first from one output call, without recursion; ValueError on a cycle."""
        done = {id(la._inbound_nodes[i]) for la, i in self._order}
        open_: set[int] = set()
        stack: list[tuple[Any, int, int]] = [(layer, index, 0)]
        while stack:
            la, i, k = stack.pop()
            node = la._inbound_nodes[i]
            if k == 0:
                if id(node) in done:
                    continue
                if id(node) in open_:
                    raise ValueError("The tensor at layer \"" + la.name + "\" is part of a cycle.")
                self._layer_index.setdefault(la, len(self._layer_index))
                open_.add(id(node))
            if k < len(node.inbound_layers):
                stack.append((la, i, k + 1))
                source = node.inbound_layers[k]
                if source is None:
                    raise ValueError(
                        f'The layer "{la.name}" was called on {node.input_tensors[k]!r}, which is not the output '
                        f"of a layer, so a Model cannot trace it. Wrap the backend operations in a Lambda layer, "
                        f"or make the tensor with Input(tensor=...)."
                    )
                stack.append((source, node.node_indices[k], 0))
            else:
                open_.discard(id(node))
                done.add(id(node))
                self._order.append((la, i))

    def _measure(self, inputs: Sequence[Any]) -> None:
        """Depth of calls: one more than the deepest call that reads them; of layers: that of their deepest call."""
        node_depth: dict[int, int] = {}
        layer_depth: dict[Any, int] = {}
        for la, i in reversed(self._order):
            node = la._inbound_nodes[i]
            depth = max(node_depth.get(id(node), 0), layer_depth.get(la, 0))
            layer_depth[la] = node_depth[id(node)] = depth
            for source, j in zip(node.inbound_layers, node.node_indices):
                below = source._inbound_nodes[j]
                node_depth[id(below)] = max(node_depth.get(id(below), 0), depth + 1)
        for x in inputs:                                 # an input that no output needs is still a layer of the model
            layer = x._keras_history[0]
            if layer not in layer_depth:
                layer_depth[layer] = 0
                self._layer_index[layer] = -1
                node_depth[id(layer._inbound_nodes[0])] = 0
                self._order.append((layer, 0))
                self.nodes.add(node_key(layer, 0))
        self.nodes_by_depth: dict[int, list[Any]] = {}
        for la, i in self._order:
            node = la._inbound_nodes[i]
            self.nodes_by_depth.setdefault(node_depth[id(node)], []).append(node)
        self.layers_by_depth: dict[int, list[Any]] = {}
        for la, depth in layer_depth.items():
            self.layers_by_depth.setdefault(depth, []).append(la)
        self.layers: list[Any] = []
        for depth in sorted(self.layers_by_depth, reverse=True):
            self.layers_by_depth[depth].sort(key=self._layer_index.__getitem__)
            self.layers.extend(self.layers_by_depth[depth])
        self.node_depths = sorted(self.nodes_by_depth, reverse=True)

    def _check_connected(self, inputs: Sequence[Any]) -> None:
        known = {id(x) for x in inputs}
        passed: list[str] = []
        for depth in self.node_depths:
            for node in self.nodes_by_depth[depth]:
                layer = node.outbound_layer
                if isinstance(layer, InputLayer) and id(node.output_tensors[0]) not in known:
                    continue                             # an Input that the model does not list: its readers complain
                for x in node.input_tensors:
                    if id(x) not in known:
                        self._disconnected(x, layer, passed)
                known.update(id(x) for x in node.output_tensors)
                passed.append(layer.name)

    @staticmethod
    def _disconnected(x: Any, layer: Any, passed: list[str]) -> None:
        raise ValueError("Graph disconnected: cannot obtain value for tensor " + str(x) + ' at layer "' + layer.name
                         + '". The following previous layers were accessed without issue: ' + str(passed)
                         + f". It comes from `{x._keras_history[0].name}`, which no input of the model leads to: add "
                         "its Input to `inputs`, or build the layers on the model's own inputs.")

    def _check_names(self) -> None:
        for name, count in Counter(la.name for la in self.layers).items():
            if count != 1:
                raise ValueError(f'The name "{name}" is used {count} times in the model. All layer names should be '
                                 "unique: give each layer a `name` of its own, or none.")
