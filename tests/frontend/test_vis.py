"""Pictures of models: what they show, and what is said where a package is missing."""
import shutil
import sys

import pytest

from graphk import layers as L
from graphk.models import Model, Sequential
from graphk.utils import model_to_dot, plot_model

needs_graphviz = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


@pytest.fixture
def tower():
    pytest.importorskip("pydot")
    return Sequential([L.Conv2D(4, 3, input_shape=(8, 8, 1), name="odd {name}"), L.Flatten(), L.Dense(5)], name="tower")


@pytest.fixture
def nested(tower):
    """Two images through one tower, which is also wrapped."""
    a, b, movie = L.Input((8, 8, 1), name="a"), L.Input((8, 8, 1), name="b"), L.Input((6, 8, 8, 1), name="movie")
    each = L.TimeDistributed(tower, name="each")(movie)
    ends = L.Bidirectional(L.LSTM(3, name="lstm"), name="both")(each)
    return Model([a, b, movie], L.concatenate([tower(a), tower(b), ends], name="all"))


def labels(graph):
    return [node.get_label().strip('"') for node in graph.get_nodes() if node.get_label()]


def edges(graph, model):
    names = {str(id(layer)): layer.name for m in model for layer in m._layers}
    return {(names[e.get_source()], names[e.get_destination()]) for e in graph.get_edges()}


def test_layers_and_their_calls(nested):
    dot = model_to_dot(nested)
    assert set(labels(dot)) == {"a: InputLayer", "b: InputLayer", "movie: InputLayer", "tower: Sequential",
                                "each(tower): TimeDistributed(Sequential)", "both(lstm): Bidirectional(LSTM)",
                                "all: Concatenate"}
    assert edges(dot, [nested]) == {("a", "tower"), ("b", "tower"), ("movie", "each"), ("each", "both"),
                                    ("tower", "all"), ("both", "all")}
    assert len(dot.get_edges()) == 6 and dot.get_rankdir() == "TB"


def test_shapes_and_names(tower):
    shown = labels(model_to_dot(tower, show_shapes=True, rankdir="LR", dpi=50))
    assert shown[1] == r"odd \{name\}: Conv2D\n|{input:|output:}|{{(None, 8, 8, 1)}|{(None, 6, 6, 4)}}"
    assert labels(model_to_dot(tower, show_layer_names=False)) == ["InputLayer", "Conv2D", "Flatten", "Dense"]


def test_a_layer_of_several_shapes(tower):
    dense, a, b = L.Dense(2), L.Input((3, 4)), L.Input((4,))
    shown = labels(model_to_dot(Model([a, b], [dense(a), dense(b)]), show_shapes=True))
    assert any("{{multiple}|{multiple}}" in label for label in shown)


def test_nested_models_in_frames(nested, tower):
    dot = model_to_dot(nested, expand_nested=True)
    assert {frame.get_label() for frame in dot.get_subgraphs()} == {'"tower"'}
    drawn = edges(dot, [nested, tower])
    assert {("a", "odd {name}_input"), ("each", "odd {name}_input"), (tower.layers[-1].name, "all")} <= drawn
    assert model_to_dot(tower, subgraph=True).get_type() == "subgraph"


def test_what_cannot_be_drawn(tower):
    with pytest.raises(ValueError, match="draws models that are graphs of layers; received"):
        model_to_dot(L.Dense(2))

    class Mine(Model):
        pass
    with pytest.raises(ValueError, match="a subclassed model, whose calls are Python code"):
        model_to_dot(Mine())
    with pytest.raises(ValueError, match="input_shape"):
        model_to_dot(Sequential([L.Dense(2)]))


@needs_graphviz
@pytest.mark.parametrize("name, start", [("m.png", b"\x89PNG"), ("m", b"\x89PNG"), ("m.svg", b"<?xml")])
def test_files(nested, tmp_path, name, start):
    plot_model(nested, tmp_path / name, show_shapes=True, expand_nested=True)
    assert (tmp_path / name).read_bytes().startswith(start)


@needs_graphviz
def test_a_kind_of_picture_that_graphviz_does_not_make(tower, tmp_path, capsys):
    with pytest.raises(ValueError, match=r"could not make '.*m.odd'; its extension is the kind of picture: png, svg"):
        plot_model(tower, tmp_path / "m.odd")


def test_a_text_needs_no_graphviz(tower, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    plot_model(tower, tmp_path / "m.dot")
    assert (tmp_path / "m.dot").read_text().startswith("digraph")
    with pytest.raises(OSError, match="`pydot` failed to call GraphViz. Please install GraphViz"):
        plot_model(tower, tmp_path / "m.png")


def test_without_pydot(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydot", None)
    with pytest.raises(ImportError, match=r"Failed to import `pydot`. .*pip install graphk\[plot\]"):
        plot_model(Sequential([L.Dense(2, input_shape=(3,))]))
