"""The printed summary of a model, and counts of weights.

In: a model.  Out: lines of text in Keras's layout.  What always holds: a weight shared by several layers is
counted once in the totals.
"""
from __future__ import annotations

from typing import Any, Callable, Sequence

import numpy as np

from graphk.frontend import backend as K


def count_params(weights: Sequence[Any]) -> int:
    """How many numbers a list of variables holds, each variable once."""
    return int(np.sum([K.count_params(p) for p in {id(w): w for w in weights}.values()], dtype=np.int64))


def print_summary(model: Any, line_length: int | None = None, positions: Sequence[float] | None = None,
                  print_fn: Callable[[str], Any] | None = None) -> None:
    """Print the table of layers; functional models get a column of connections."""
    emit = print_fn or print
    plain = _sequential_like(model)
    line_length = line_length or (65 if plain else 98)
    given = list(positions or ([.45, .85, 1.] if plain else [.33, .55, .67, 1.]))
    marks = [int(p * line_length if given[-1] <= 1 else p) for p in given]
    heads = ["Layer (type)", "Output Shape", "Param #"] + ([] if plain else ["Connected to"])
    nodes = [] if plain else [n for v in model._nodes_by_depth.values() for n in v]

    def row(fields: Sequence[Any]) -> None:
        line = ""
        for i, (field, end) in enumerate(zip(fields, marks)):
            line = (line[:-1] + " " if i else "") + str(field)
            line = line[:end] + " " * (end - len(line[:end]))
        emit(line)

    emit("_" * line_length)
    row(heads)
    emit("=" * line_length)
    for i, layer in enumerate(model.layers):
        first = [layer.name + " (" + layer.__class__.__name__ + ")", _output_shape(layer), layer.count_params()]
        if plain:
            row(first)
        else:
            links = _connections(layer, nodes)
            row(first + [links[0] if links else ""])
            for link in links[1:]:
                row(["", "", "", link])
        emit(("=" if i == len(model.layers) - 1 else "_") * line_length)
    trainable = count_params(getattr(model, "_collected_trainable_weights", None) or model.trainable_weights)
    frozen = count_params(model.non_trainable_weights)
    emit(f"Total params: {trainable + frozen:,}")
    emit(f"Trainable params: {trainable:,}")
    emit(f"Non-trainable params: {frozen:,}")
    emit("_" * line_length)


def _output_shape(layer: Any) -> Any:
    try:
        return layer.output_shape
    except AttributeError:
        return "multiple"


def _connections(layer: Any, nodes: list[Any]) -> list[str]:
    out = []
    for node in layer._inbound_nodes:
        if nodes and node not in nodes:
            continue
        out += [
            f"{src.name}[{j}][{t}]" for src, j, t in zip(node.inbound_layers, node.node_indices, node.tensor_indices)
        ]
    return out


def _sequential_like(model: Any) -> bool:
    """A chain of layers each called once needs no column of connections."""
    if model.__class__.__name__ == "Sequential" or not model._is_graph_network:
        return True
    by_depth = list(model._nodes_by_depth.values())
    for nodes in by_depth:
        if len(nodes) > 1 or len(nodes[0].inbound_layers) > 1:
            return False
    known = {id(n) for nodes in by_depth for n in nodes}
    return all(sum(id(n) in known for n in layer._inbound_nodes) <= 1 for layer in model.layers)
