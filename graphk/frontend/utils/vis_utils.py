"""Pictures of models: `model_to_dot` and `plot_model`.

In: a model whose layers form a graph.  Out: a `pydot.Dot`, or the picture that Graphviz makes of it.  What always
holds: a layer is one node, however often it is called; an edge is drawn once; pydot is imported when a picture is
asked for.
"""
from __future__ import annotations

import importlib
import os
import re
import sys
from typing import Any, NamedTuple

from graphk.frontend.engine.graph_map import node_key
from graphk.frontend.engine.network import Network
from graphk.frontend.engine.sequential import Sequential
from graphk.frontend.layers.wrappers import Wrapper


class _Look(NamedTuple):
    pydot: Any
    show_shapes: bool
    show_layer_names: bool
    expand_nested: bool

    def expands(self, layer: Any) -> bool:
        """Whether the layer is a model that is drawn as a frame."""
        return self.expand_nested and isinstance(layer, Network) and layer._is_graph_network


def _pydot() -> Any:
    try:
        return importlib.import_module("pydot")
    except ImportError:
        raise ImportError("Failed to import `pydot`. Please install `pydot`. For example with `pip install pydot`, or "
                          "`pip install graphk[plot]`.") from None


def model_to_dot(model: Any, show_shapes: bool = False, show_layer_names: bool = True, rankdir: str = "TB",
                 expand_nested: bool = False, dpi: int = 96, subgraph: bool = False) -> Any:
    """The model as a `pydot.Dot`, a node per layer.

    show_shapes: with the shapes that go in and come out; show_layer_names: with names before classes; rankdir: 'TB'
    from top to bottom, 'LR' from left to right; expand_nested: nested models with their layers, in frames; dpi: dots
    per inch; subgraph: a `pydot.Cluster`, to put into another picture.
    ImportError without pydot; ValueError for a model that is not a graph of layers.
    """
    look = _Look(_pydot(), show_shapes, show_layer_names, expand_nested)
    if not getattr(model, "_is_graph_network", False):
        kind = (": its shapes are not known yet. Give its first layer an `input_shape`" if isinstance(model, Sequential)
                else ", a subclassed model, whose calls are Python code" if isinstance(model, Network) else "")
        raise ValueError(f"model_to_dot draws models that are graphs of layers; received {model!r}{kind}.")
    if subgraph:
        return _frame(look, model)
    dot = look.pydot.Dot()
    dot.set("rankdir", rankdir)
    dot.set("concentrate", True)
    dot.set("dpi", dpi)
    dot.set_node_defaults(shape="record")
    _draw(look, dot, model)
    return dot


def _frame(look: _Look, model: Any) -> Any:
    cluster = look.pydot.Cluster(graph_name=re.sub(r"\W", "_", model.name), style="dashed", labeljust="l",
                                 label=_quoted(model.name))
    _draw(look, cluster, model)
    return cluster


def _draw(look: _Look, graph: Any, model: Any) -> None:
    """Put the layers of a model and the edges between them into a graph."""
    for layer in model._layers:
        if look.expands(layer):
            graph.add_subgraph(_frame(look, layer))
        elif isinstance(layer, Wrapper) and look.expands(layer.layer):
            graph.add_node(look.pydot.Node(str(id(layer)), label=_label(look, layer)))
            graph.add_subgraph(_frame(look, layer.layer))
            graph.add_edge(look.pydot.Edge(str(id(layer)), _first(look, layer.layer, 0), style="dashed"))
        else:
            graph.add_node(look.pydot.Node(str(id(layer)), label=_label(look, layer)))
    edges = dict.fromkeys((_last(look, source, t), _first(look, layer, k))
                          for layer in model._layers for i, node in enumerate(layer._inbound_nodes)
                          if node_key(layer, i) in model._network_nodes
                          for k, (source, t) in enumerate(zip(node.inbound_layers, node.tensor_indices)))
    for start, end in edges:
        if start != end:                                # a nested model may have been made on this model's own input
            graph.add_edge(look.pydot.Edge(start, end))


def _first(look: _Look, layer: Any, k: int) -> str:
    """The node that takes input `k` of a layer."""
    return _first(look, layer._input_layers[k], 0) if look.expands(layer) else str(id(layer))


def _last(look: _Look, layer: Any, k: int) -> str:
    """The node that gives output `k` of a layer."""
    if not look.expands(layer):
        return str(id(layer))
    source, _, t = layer._output_coordinates[k]
    return _last(look, source, t)


def _label(look: _Look, layer: Any) -> str:
    name, kind = layer.name, type(layer).__name__
    if isinstance(layer, Wrapper):
        name, kind = f"{name}({layer.layer.name})", f"{kind}({type(layer.layer).__name__})"
    label = _plain(f"{name}: {kind}" if look.show_layer_names else kind)
    if look.show_shapes:
        shapes = [_plain(_shape(layer, which)) for which in ("input_shape", "output_shape")]
        label += "\\n|{input:|output:}|{{%s}|{%s}}" % tuple(shapes)
    return _quoted(label)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'


def _plain(text: str) -> str:
    """Text in which no character means anything to a record."""
    return re.sub(r"([{}|<>\\])", r"\\\1", text)


def _shape(layer: Any, which: str) -> str:
    try:
        return str(getattr(layer, which))
    except AttributeError:                              # it is called on several shapes
        return "multiple"


def plot_model(model: Any, to_file: Any = "model.png", show_shapes: bool = False, show_layer_names: bool = True,
               rankdir: str = "TB", expand_nested: bool = False, dpi: int = 96) -> Any:
    """Write a picture of the model; the extension of `to_file` says of which kind (png, svg, pdf, dot, …).

    The arguments are those of `model_to_dot`.  In a notebook the picture is also what is returned.
    ImportError without pydot, OSError without Graphviz.
    """
    dot = model_to_dot(model, show_shapes, show_layer_names, rankdir, expand_nested, dpi)
    path = os.fspath(to_file)
    kind = os.path.splitext(path)[1][1:] or "png"
    if kind != "dot":
        _check_graphviz()
    try:
        dot.write(path, format=kind if kind != "dot" else "raw")
    except AssertionError as e:                             # pydot's word for what Graphviz refuses
        raise ValueError(f"plot_model: Graphviz could not make {path!r}; its extension is the kind of picture: png, "
                         f"svg, pdf, dot, … ({e})") from None
    if "IPython" in sys.modules and kind in ("png", "jpg", "jpeg"):
        return sys.modules["IPython"].display.Image(filename=path)
    return None


def _check_graphviz() -> None:
    pydot = _pydot()
    try:
        pydot.Dot.create(pydot.Dot())
    except OSError:
        raise OSError("`pydot` failed to call GraphViz. Please install GraphViz (https://www.graphviz.org/) and ensure "
                      "that its executables are in the $PATH.") from None


__all__ = ["model_to_dot", "plot_model"]
