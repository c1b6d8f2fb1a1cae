"""Where Keras 3 keeps the weights of each layer: `layers/dense_1/vars/0`, `layers/lstm/cell/vars/2`.

In: a model, and the config it was made from if a file gave it one.  Out: for each layer that has weights of its own,
the path of its folder and its weights in order.  What always holds: folders are named after classes and counted within
their list, whatever the layers are called.
"""
from __future__ import annotations

import re
from typing import Any, Iterator

import numpy as np

from graphk.frontend.engine.input_layer import InputLayer
from graphk.frontend.engine.network import Network
from graphk.frontend.engine.sequential import Sequential
from graphk.frontend.layers import RNN, Bidirectional, StackedRNNCells, Wrapper
from graphk.frontend.saving.errors import GraphkFormatError
from graphk.frontend.saving.hdf5 import Place, put_array
from graphk.frontend.saving.optimizer_state import keras3_order
from graphk.frontend.saving.weights import misfit, set_all

_ROOTS = ("layers", "_layer_checkpoint_dependencies")     # the second by tf.keras 2.12


def snake_case(name: str) -> str:
    """The folder of a class.

    >>> snake_case("Conv2DTranspose"), snake_case("ConvLSTM2D")
    ('conv2d_transpose', 'conv_lstm2d')
    """
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _counted(classes: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    out = []
    for cls in classes:
        name = snake_case(cls)
        out.append(f"{name}_{seen[name]}" if name in seen else name)
        seen[name] = seen.get(name, 0) + 1
    return out


def class_name(layer: Any) -> str:
    """What Keras 3 calls a layer's class."""
    name = type(layer).__name__
    return "Functional" if name == "Model" else name


def _children(network: Any, config: Any) -> list[tuple[str, Any, Any]]:
    """Folder, layer and config of each layer of a network, in the order of the file."""
    if config is None:
        layers = [la for la in network.layers if not isinstance(la, InputLayer) or not isinstance(network, Sequential)]
        return [(f, la, None) for f, la in zip(_counted([class_name(la) for la in layers]), layers)]
    by_name = {la.name: la for la in network.layers}
    entries = config["layers"] if isinstance(config, dict) else config
    names = [e["config"].get("name", e.get("name")) for e in entries]
    classes = [str(e["class_name"]).rpartition(">")[2] for e in entries]
    folders = _counted(classes)
    return [(f, by_name[n], e["config"]) for f, n, e in zip(folders, names, entries) if n in by_name]


def own_weights(layer: Any, config: Any = None, path: str = "", root: str = "layers"
                ) -> Iterator[tuple[str, list[Any]]]:
    """Paths, and the weights that lie there."""
    prefix = path + "/" if path else ""
    inside: list[tuple[str, Any, Any]] = []
    if isinstance(layer, Network):
        inside = [(f"{prefix}{root}/{f}", la, c) for f, la, c in _children(layer, config)]
    elif isinstance(layer, Bidirectional):
        inside = [(prefix + "forward_layer", layer.forward_layer, None),
                  (prefix + "backward_layer", layer.backward_layer, None)]
    elif isinstance(layer, Wrapper):
        inside = [(prefix + "layer", layer.layer, config and config.get("layer", {}).get("config"))]
    elif isinstance(layer, RNN) and layer.cell is not layer and hasattr(layer.cell, "weights"):
        inside = [(prefix + "cell", layer.cell, None)]
    elif isinstance(layer, StackedRNNCells):
        folders = _counted([type(cell).__name__ for cell in layer.cells])
        inside = [(f"{prefix}cells/{f}", cell, None) for f, cell in zip(folders, layer.cells)]
    for where, inner, its in inside:
        yield from own_weights(inner, its, where, root)
    if not inside and not isinstance(layer, Network) and layer.weights:
        yield path, [*layer._trainable_weights, *layer._non_trainable_weights]


def write_folders(root: Any, model: Any, optimizer: Any) -> None:
    """Put a model's weights, and its optimizer's state if there is one, into an empty group."""
    for path, weights in own_weights(model):
        _put_numbered(root, path, [w.array for w in weights])
    if optimizer is not None and optimizer.weights:
        _put_numbered(root, "optimizer", list(keras3_order(optimizer, len(model._collected_trainable_weights))))


def _put_numbered(root: Any, path: str, arrays: list[Any]) -> None:
    group = root.create_group(path + "/vars")
    for i, a in enumerate(arrays):
        put_array(group, str(i), np.asarray(a))


def has_folders(root: Place) -> bool:
    """Whether a file of weights is one of Keras 3's."""
    return any(name in root for name in _ROOTS)


def numbered(place: Place) -> list[Any]:
    """The arrays `0`, `1`, … of a group, in order."""
    names = [n for n in place.keys() if n.isdigit()]
    return [place.array(n) for n in sorted(names, key=int)]


def load_folders(root: Place, model: Any, config: Any = None) -> None:
    """Give a model the weights of a file; GraphkFormatError with all that does not fit, and then nothing changes."""
    top = next((n for n in _ROOTS if n in root), "layers")
    pairs, problems = [], []
    for path, weights in own_weights(model, config, "", top):
        try:
            stored = numbered(root.group(path + "/vars"))
        except GraphkFormatError as e:
            problems.append(f"{e.place}: {e.reason} (the weights of {weights[0].name})")
            continue
        if len(stored) != len(weights):
            problems.append(f"{path} has {len(stored)} arrays, expected {len(weights)}: "
                            f"{[(w.name, w.node.shape) for w in weights]}")
        for w, s in zip(weights, stored):
            if w.node.shape != s.shape:
                problems.append(f"{path}/vars/{s.name} has the shape {s.shape}, expected {w.node.shape} ({w.name})")
            pairs.append((w, s))
    if problems:
        raise misfit(root, problems)
    set_all(pairs)


__all__ = ["class_name", "has_folders", "load_folders", "numbered", "own_weights", "snake_case",
           "write_folders"]
