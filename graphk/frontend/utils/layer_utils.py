"""The printed summary of a model, counts of weights, and weights brought from other layouts.

In: a model or a layer.  Out: lines of text in Keras's layout; layers with their weights changed in place.  What always
holds: a weight shared by several layers is counted once in the totals.
"""
from __future__ import annotations

from typing import Any, Callable, Sequence

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.utils.conv_utils import convert_kernel


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


# ------------------------------------------------------------------ weights of another layout
_WITH_WINDOWS = ("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose")


def convert_all_kernels_in_model(model: Any) -> None:
    """Turn the windows of all convolution kernels around: weights trained on Theano become TensorFlow's, and back."""
    K.batch_set_value([(layer.kernel, convert_kernel(K.get_value(layer.kernel))) for layer in model.layers
                       if type(layer).__name__ in _WITH_WINDOWS])


def convert_dense_weights_data_format(dense: Any, previous_feature_map_shape: Sequence[int],
                                      target_data_format: str = "channels_first") -> None:
    """Reorder the rows of the Dense layer after a Flatten, for feature maps in the other data format.

    previous_feature_map_shape: what Flatten gets from now on, without the batch axis; target_data_format: its format.

    >>> from graphk.layers import Dense
    >>> layer = Dense(1, use_bias=False, weights=[np.arange(4.).reshape(4, 1)], input_shape=(4,))
    >>> _ = layer(K.placeholder((None, 4)))
    >>> convert_dense_weights_data_format(layer, (2, 2, 1), "channels_first")
    >>> layer.get_weights()[0].ravel().tolist()
    [0.0, 2.0, 1.0, 3.0]
    """
    first = K.normalize_data_format(target_data_format) == "channels_first"
    kernel, *rest = dense.get_weights()
    shape = tuple(previous_feature_map_shape)
    before = shape[1:] + shape[:1] if first else shape[-1:] + shape[:-1]
    if kernel.shape[0] != np.prod(shape):
        raise ValueError(f"The layer `{dense.name}` has a kernel of {kernel.shape[0]} rows, but feature maps of shape "
                         f"{shape} have {np.prod(shape)} values; pass the shape of Flatten's input.")
    axes = (len(shape) - 1, *range(len(shape) - 1)) if first else (*range(1, len(shape)), 0)
    rows = np.transpose(np.arange(len(kernel)).reshape(before), axes)
    dense.set_weights([kernel[rows.ravel()], *rest])
