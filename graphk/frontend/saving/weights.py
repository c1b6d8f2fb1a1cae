"""The weights of a model's layers in an HDF5 group, and back.

In: layers and a group.  Out: a group with the attributes `layer_names`, `backend` and `keras_version` and, for each
layer, `weight_names` and its arrays; or layers with the group's weights.  What always holds: everything is read and
checked before the first weight changes, and an error lists all that does not fit, not only the first.
"""
from __future__ import annotations

import warnings
from typing import Any, NamedTuple, Sequence

from graphk.frontend import backend as K
from graphk.frontend.engine.network_config import KERAS_VERSION
from graphk.frontend.saving.convert import converted, stored_counts
from graphk.frontend.saving.errors import GraphkFormatError
from graphk.frontend.saving.hdf5 import Place, Stored, put_array, put_texts

_LISTED = 30                           # lines of an error that lists what does not fit


# ------------------------------------------------------------------ writing
def write_weights(group: Any, layers: Sequence[Any]) -> None:
    """Put the weights of `layers` into an empty group."""
    put_texts(group, "layer_names", [layer.name for layer in layers])
    group.attrs["backend"] = b"tensorflow"
    group.attrs["keras_version"] = KERAS_VERSION.encode()
    for layer in layers:
        put_named(group.require_group(layer.name), layer.weights)


def put_named(group: Any, variables: Sequence[Any]) -> None:
    """Arrays under the variables' names, which the attribute `weight_names` lists in order."""
    names = unique_names([v.name or f"param_{i}" for i, v in enumerate(variables)])
    put_texts(group, "weight_names", names)
    for name, variable in zip(names, variables):
        put_array(group, name, K.get_value(variable))


def unique_names(names: Sequence[str]) -> list[str]:
    """Names, with `_1`, `_2`, … before the `:0` of those that another one has already."""
    taken: set[str] = set()
    out = []
    for name in names:
        stem, colon, rest = name.partition(":")
        candidate, i = name, 0
        while candidate in taken:
            i += 1
            candidate = f"{stem}_{i}{colon}{rest}"
        taken.add(candidate)
        out.append(candidate)
    return out


# ------------------------------------------------------------------ reading
class Source(NamedTuple):
    """The weights of a file: for each layer that has any, its arrays; who wrote them."""
    place: Place
    layers: list[tuple[str, list[Stored]]]
    version: str
    backend: str | None


def source(root: Place) -> Source:
    """The weights in a file of weights, or in one of a whole model."""
    place = root
    if not has_names(root) and "model_weights" in root:
        place = root.group("model_weights")
    names = place.texts("layer_names")
    if names is None and "layer_0" in place:
        return Source(place, _numbered(place), "1", None)
    if names is None:
        raise place.error(f"no attribute `layer_names`: this is no file of Keras weights. It holds {place.keys()[:8]}")
    layers = []
    for name in _distinct(place, "layer_names", names):
        group = place.group(name)
        stored = group.texts("weight_names")
        if stored is None:
            raise group.error("the layer has no attribute `weight_names`")
        if stored:
            layers.append((name, [group.array(n) for n in _distinct(group, "weight_names", stored)]))
    version = place.text("keras_version") or root.text("keras_version") or "1"
    return Source(place, layers, version.split(".")[0], place.text("backend") or root.text("backend"))


def _distinct(place: Place, attribute: str, names: list[str]) -> list[str]:
    """The names, each of which stands for another object."""
    seen: set[str] = set()
    for name in names:
        steps = "/".join(s for s in name.split("/") if s)
        if steps in seen:
            raise place.error(f"it lists `{name:.80}` twice", attribute)
        seen.add(steps)
    return names


def _numbered(place: Place) -> list[tuple[str, list[Stored]]]:
    """The layers of a file of Keras 0.3: `layer_0`, `layer_1`, …, each with `param_0`, `param_1`, …"""
    def in_order(names: list[str], prefix: str) -> list[str]:
        return sorted((n for n in names if n.startswith(prefix) and n[len(prefix):].isdigit()),
                      key=lambda n: int(n[len(prefix):]))
    layers = []
    for name in in_order(place.keys(), "layer_"):
        group = place.group(name)
        stored = [group.array(n) for n in in_order(group.keys(), "param_")]
        if stored:
            layers.append((name, stored))
    return layers


def has_names(place: Place) -> bool:
    """Whether a group lists layers, as groups of weights do."""
    return place.has_attribute("layer_names") or place.has_attribute("layer_names0")


def stored_names(root: Place, layers: Sequence[Any]) -> dict[int, str]:
    """What a whole model's file calls the weights of `layers`, by their identity, where it has as many."""
    by_name = dict(source(root).layers)
    pairs = [(w, s) for la in layers if la.weights and len(by_name.get(la.name, ())) == len(la.weights)
             for w, s in zip(la.weights, by_name[la.name])]
    return {id(w): s.name for w, s in pairs}


def _match(k: int, layer: Any, name: str, stored: Sequence[Stored], origin: Source, reshape: bool
           ) -> tuple[list[tuple[Any, Any]], list[str]]:
    """Pairs of a layer's weights and the file's values, read or not, and what does not fit."""
    layer_is = f'Layer #{k} (named "{layer.name}" in the current model)'
    need = sum(stored_counts(layer, origin.version))
    if len(stored) != need:
        return [], [f"{layer_is} was found to correspond to layer {name} in the save file. However the new layer "
                    f"{layer.name} expects {need} weights, but the saved weights have {len(stored)} elements."]
    ours = sum(K.count_params(w) for w in layer.weights)
    theirs = sum(s.size for s in stored)
    if theirs > 2 * ours + 64:                         # cuDNN's layers have one bias more; nothing else has more
        return [], [f"{layer_is} has weights of the shapes {[w.node.shape for w in layer.weights]}, but the saved "
                    f"weights of layer {name} have the shapes {[s.shape for s in stored]}."]
    pairs, problems = [], []
    for w, value in zip(layer.weights, converted(layer, stored, origin.version, origin.backend, reshape)):
        if w.node.shape == value.shape:
            pairs.append((w, value))
        else:
            problems.append(f"{layer_is}, weight {w.name} has shape {w.node.shape}, but the saved weight of layer "
                            f"{name} has shape {value.shape}.")
    return pairs, problems


def load_in_order(root: Place, layers: Sequence[Any], reshape: bool = False, whole_model: bool = False) -> None:
    """Give the layers that have weights those of the file, pair by pair; GraphkFormatError if any does not fit.

    whole_model: the layers were made from the same file's config, so that equal names say what belongs together.
    """
    origin = source(root)
    ours = [layer for layer in layers if layer.weights]
    places = {name: k for k, (name, _) in enumerate(origin.layers)}
    if whole_model and len(places) == len(origin.layers) == len(ours) and all(la.name in places for la in ours):
        ours.sort(key=lambda la: places[la.name])
    if len(origin.layers) != len(ours):
        raise misfit(origin.place, [f"You are trying to load a weight file containing {len(origin.layers)} "
                                    f"layers into a model with {len(ours)} layers.", *_side_by_side(origin, ours)])
    matches = [_match(k, layer, name, stored, origin, reshape)
               for k, ((name, stored), layer) in enumerate(zip(origin.layers, ours))]
    problems = [p for _, some in matches for p in some]
    if problems:
        raise misfit(origin.place, problems)
    set_all([pair for pairs, _ in matches for pair in pairs])


def load_by_name(root: Place, layers: Sequence[Any], skip_mismatch: bool = False, reshape: bool = False) -> None:
    """Give every layer that the file names its weights, others keep theirs; GraphkFormatError if any does not fit.

    skip_mismatch: warn about what does not fit, and leave it as it is.
    """
    origin = source(root)
    by_name: dict[str, list[Any]] = {}
    for layer in layers:
        by_name.setdefault(layer.name, []).append(layer)
    matches = [_match(k, layer, name, stored, origin, reshape)
               for k, (name, stored) in enumerate(origin.layers) for layer in by_name.get(name, [])]
    problems = [p for _, some in matches for p in some]
    if problems and not skip_mismatch:
        raise misfit(origin.place, problems)
    for problem in problems:
        warnings.warn(f"Skipping loading of weights: {problem}", stacklevel=4)
    set_all([pair for pairs, _ in matches for pair in pairs])


def set_all(pairs: list[tuple[Any, Any]]) -> None:
    """Write values into weights, straight from the file where reading them cannot fail halfway."""
    pairs = [(w, v.read() if isinstance(v, Stored) and not v.lies_plain() else v) for w, v in pairs]
    for w, value in pairs:
        if isinstance(value, Stored):
            with w.storage.overwriting() as array:
                value.read_into(array)
        else:
            K.set_value(w, value)


def _side_by_side(origin: Source, ours: Sequence[Any]) -> list[str]:
    """Both lists of layers, so that the first difference is seen."""
    theirs = [f"{name} {[s.shape for s in stored]}" for name, stored in origin.layers]
    mine = [f"{layer.name} {[w.node.shape for w in layer.weights]}" for layer in ours]
    longest = max(len(theirs), len(mine))
    theirs += ["(nothing)"] * (longest - len(theirs))
    mine += ["(nothing)"] * (longest - len(mine))
    return [f"in the file: {a}; in the model: {b}" for a, b in zip(theirs, mine)]


def misfit(place: Place, lines: list[str]) -> GraphkFormatError:
    """One error about everything in `lines`."""
    more = [f"… and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return GraphkFormatError(place.file, place.path, "\n  ".join([*lines[:_LISTED], *more]))


__all__ = ["Source", "has_names", "load_by_name", "load_in_order", "misfit", "put_named", "set_all", "source",
           "stored_names", "unique_names", "write_weights"]
