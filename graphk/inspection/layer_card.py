"""`graphk summary --layer NAME`: one layer, as its model has it.

In: a model, and the name of a layer of it or of a model inside.  Out: a `LayerCard`, which prints as text: what it is
made with, which layers it reads from and is read by with their shapes, and each weight with its shape and what its
values look like.  What always holds: nothing is compiled or run; a weight's values are read, and not written anywhere.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterator, Mapping

import numpy as np

from graphk.frontend.engine.base_layer import Layer
from graphk.frontend.engine.training import Model
from graphk.frontend.layers.wrappers import Wrapper
from graphk.inspection.tables import columns, shortened

HEAD = ("weight", "shape", "dtype", "trainable", "params", "smallest", "largest", "mean", "deviation", "zeros")


@dataclass(frozen=True)
class Values:
    """A weight.  `numbers`: smallest, largest, mean, standard deviation and the share that is 0, of the finite ones;
    `broken`: how many are not finite."""
    name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    numbers: tuple[float, ...]
    broken: int

    def cells(self) -> tuple[str, ...]:
        size = int(np.prod(self.shape, dtype=np.int64))
        *four, zeros = self.numbers or (float("nan"),) * 5
        told = [*(f"{x:.4g}" for x in four), f"{100 * zeros:.3g}%"] if self.numbers else ["-"] * 5
        bad = f" ({self.broken:,} not finite)" if self.broken else ""
        return self.name, str(self.shape), self.dtype, "yes" if self.trainable else "no", f"{size:,}{bad}", *told


@dataclass(frozen=True)
class LayerCard:
    """A layer: `config` as `from_config` takes it; `calls`: for each call, what it read (layer, shape), the shape that
    it made, and who reads that; `inside`: the models and wrappers around it."""
    name: str
    kind: str
    inside: tuple[str, ...]
    config: Mapping[str, Any]
    calls: tuple[tuple[tuple[tuple[str, str], ...], str, tuple[str, ...]], ...]
    weights: tuple[Values, ...]

    def __str__(self) -> str:
        where = f", in {' > '.join(self.inside)}" if self.inside else ""
        lines = [f"{self.name} ({self.kind}){where}"]
        for i, (read, made, readers) in enumerate(self.calls):
            lines.append("" if len(self.calls) == 1 else f"call {i + 1}")
            lines += [f"  from {name} {shape}" for name, shape in read] or ["  from nothing: it is an input"]
            lines.append(f"  makes {made}")
            lines += [f"  to {name}" for name in readers] or ["  to nothing in the model: it is an output"]
        lines += ["", *(f"  {k} = {shortened(_told(v), 90)}" for k, v in self.config.items()), ""]
        lines.append(columns(HEAD, [w.cells() for w in self.weights], (0, 1, 2, 3)) if self.weights else "no weights")
        return "\n".join(lines)

    __repr__ = __str__


def layer_card(model: Any, name: str) -> LayerCard:
    """The card of the layer `name`: the model's own, or one of a model inside (MODEL/LAYER where several have it).

    TypeError for anything but a model, RuntimeError if it is not built, ValueError for a name of no layer.
    """
    if not isinstance(model, Model):
        raise TypeError(f"layers are of a model: received {type(model).__name__}, expected a Model or a Sequential")
    if not model.built:
        raise RuntimeError(f"the model `{model.name}` has no weights yet because its input shape is not known: give "
                           "its first layer `input_shape=`, or call `model.build(shape)` or `fit` first")
    everything = list(_layers(model, ()))
    found = [x for x in everything if _path(*x) == name] or [x for x in everything if x[0].name == name]
    if not found:
        import difflib
        names = [layer.name for layer, _ in everything]
        near = difflib.get_close_matches(name, names, 1)
        raise ValueError(f"{model.name} has no layer {name!r}." + (f" Did you mean {near[0]!r}?" if near else "")
                         + f" It has {', '.join(names[:12])}{f', … ({len(names)} in all)' * (len(names) > 12)}")
    if len({id(layer) for layer, _ in found}) > 1:
        raise ValueError(f"{len(found)} layers are called {name!r}; expected one of "
                         + ", ".join(_path(*x) for x in found))
    layer, inside = found[0]
    trainable = {id(w) for w in layer.trainable_weights}
    return LayerCard(layer.name, type(layer).__name__, tuple(m.name for m in inside), _config(layer),
                     tuple(_calls(layer, inside[-1] if inside else model)),
                     tuple(_values(w, id(w) in trainable) for w in layer.weights))


def _path(layer: Any, inside: tuple[Any, ...]) -> str:
    return "/".join((*(m.name for m in inside), layer.name))


def _layers(model: Any, inside: tuple[Any, ...]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """All layers, those of models and of wrappers inside behind these."""
    for layer in model.layers if isinstance(model, Model) else _wrapped(model):
        yield layer, inside
        yield from _layers(layer, (*inside, layer))


def _wrapped(layer: Any) -> list[Any]:
    """What TimeDistributed, Bidirectional and the like hold."""
    found = [getattr(layer, name, None) for name in ("forward_layer", "backward_layer")]
    held = found if any(found) else [getattr(layer, "layer", None)] if isinstance(layer, Wrapper) else []
    return [x for x in held if isinstance(x, Layer)]


def _config(layer: Any) -> dict[str, Any]:
    if isinstance(layer, Model):                       # its config is its layers, which have cards of their own
        return {"layers": [x.name for x in layer.layers]}
    try:
        return dict(layer.get_config())
    except (NotImplementedError, AttributeError):
        return {"get_config": "a layer of the user's that has none"}


def _calls(layer: Any, model: Any) -> Iterator[tuple[tuple[tuple[str, str], ...], str, tuple[str, ...]]]:
    """The calls that are part of `model`."""
    own = [n for nodes in getattr(model, "_nodes_by_depth", {}).values() for n in nodes]
    for i, node in enumerate(layer._inbound_nodes):
        if any(node is n for n in own):
            readers = [n.outbound_layer.name for n in own if any(x is layer and j == i for x, j in zip(
                n.inbound_layers, n.node_indices))]
            read = [(x.name, str(s)) for x, s in zip(node.inbound_layers, node.input_shapes)]
            yield tuple(read), ", ".join(map(str, node.output_shapes)), tuple(dict.fromkeys(readers))


def _values(weight: Any, trainable: bool) -> Values:
    from graphk.frontend import backend as K
    a = np.asarray(K.get_value(weight))
    broken = 0
    numbers: tuple[float, ...] = ()
    if a.dtype.kind in "fiu" and a.size:
        whole = a.astype(np.float64)
        good = whole[np.isfinite(whole)]
        broken = a.size - good.size
        if good.size:
            numbers = (good.min(), good.max(), good.mean(), good.std(), float(np.mean(whole == 0)))
    return Values(weight.name, a.shape, str(a.dtype), trainable, tuple(map(float, numbers)), broken)


def _told(value: Any) -> str:
    """A setting; an object of a family by its class and what it is made with."""
    if isinstance(value, Mapping) and set(value) == {"class_name", "config"}:
        inner = value["config"]
        return f"{value['class_name']}({', '.join(f'{k}={v!r}' for k, v in inner.items())})" \
            if isinstance(inner, Mapping) else f"{value['class_name']}"
    return repr(value)


__all__ = ["LayerCard", "Values", "layer_card"]
