"""What a notebook shows: well-formed, nothing from elsewhere, nothing compiled for it."""
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from graphk import backend as K
from graphk.callbacks import History
from graphk.inspection import notebook
from graphk.layers import Add, Dense, Input
from graphk.models import Model, Sequential
from tests.inspection.test_cli import graphk

SVG = "{http://www.w3.org/2000/svg}"


def boxes(svg):
    """The titles in a drawing; it is XML that fetches nothing."""
    root = ET.fromstring(svg)
    assert not any("href" in k or "http" in v for e in root.iter() for k, v in e.attrib.items())
    return [g.find(f"{SVG}text").text for g in root.iter(f"{SVG}g")]


def branched():
    x = Input((4,), name="start")
    shared = Dense(4, name="shared")
    return Model(x, Add(name="both")([shared(x), shared(Dense(4, name="<other>")(x))]), name="branched")


def test_a_model():
    model = branched()
    html = model._repr_html_()
    assert "&lt;other&gt;" in html and "<other>" not in html and "4 layers, 40 parameters (40 trainable)" in html
    assert sorted(boxes(model._repr_svg_())) == ["<other>", "both", "shared", "shared", "start"]
    assert getattr(model, "predict_function", None) is None, "nothing is compiled"


def test_a_sequential_model_and_one_that_is_not_built():
    model = Sequential([Dense(3, input_shape=(2,), name="a"), Dense(1, name="b")])
    assert boxes(model._repr_svg_())[-2:] == ["a", "b"]
    unbuilt = Sequential([Dense(3)])
    assert "not built" in unbuilt._repr_html_() and unbuilt._repr_svg_() is None


def test_a_function(monkeypatch):
    x = K.placeholder(shape=(None, 3), name="values")
    f = K.function([x], [K.exp(x) + 1.], name="plus")
    assert "values" in f._repr_html_() and "not compiled yet" in f._repr_html_()
    assert {"values", "exp"} <= set(boxes(f._repr_svg_()))
    assert f._graph._repr_svg_() == f._repr_svg_()
    monkeypatch.setattr(notebook, "MOST", 2)
    assert f._repr_svg_() is None, "too large to read"
    monkeypatch.undo()
    loop = K.placeholder(shape=(None, 5, 3))
    ET.fromstring(K.function([loop], [K.rnn(lambda i, s: (i + s[0], [i + s[0]]), loop, [x])[1]], feed_dict={x: None})
                  ._repr_svg_())


@pytest.mark.parametrize("values, curves", [
    ({"loss": [3., 2., 1.], "val_loss": [4., float("nan"), 2.], "acc": [0., 0., 0.]}, 2),
    ({"loss": [np.float32(1), np.float32(1)]}, 1), ({"loss": [1.]}, 0), ({}, 0), ({"loss": [float("nan")] * 3}, 0)])
def test_a_history(values, curves):
    history = History()
    history.history = values
    svg = history._repr_svg_()
    if not curves:
        assert svg is None
        return
    boxes(svg)
    assert svg.count("<polyline") == curves and "nan" not in svg.split("</defs>")[1].split("<text")[0]


def test_importing_and_training_load_none_of_it(tmp_path):
    (tmp_path / "script.py").write_text(
        "import sys\nimport numpy as np\nfrom keras.models import Sequential\nfrom keras.layers import Dense\n"
        "m = Sequential([Dense(1, input_shape=(2,))])\nm.compile('sgd', 'mse')\n"
        "h = m.fit(np.zeros((4, 2)), np.zeros(4), epochs=2, verbose=0)\n"
        "print('graphk.inspection.notebook' in sys.modules, len(h._repr_svg_()) > 100, "
        "'graphk.inspection.notebook' in sys.modules)\n")
    run = graphk("run", "script.py", cwd=tmp_path)
    assert run.stdout == "False True True\n", run.stderr
