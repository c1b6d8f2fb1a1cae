"""Beside onnxruntime, where it is installed: what graphk writes runs alike there, what it reads runs alike here."""
import numpy as np
import pytest

from graphk.frontend.utils.generic_utils import to_list
from graphk.layers import AveragePooling2D, Input, MaxPooling2D, ZeroPadding2D
from graphk.models import Model
from graphk.onnx import export, export_model, import_model

from tests.frontend.layers import CASES, inputs
from tests.onnx.cases import OPEN, of_layer, of_open
from tests.onnx.operators import BESIDE_PEER, GRAPHS, build, name_of, samples, text
from tests.onnx.operators import CASES as OPERATORS

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.peers


def run(proto, feed):
    ort.set_default_logger_severity(3)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def same(got, want):
    for g, w in zip(got, want, strict=True):
        assert g.shape == w.shape and g.dtype == w.dtype
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [17, 21])
@pytest.mark.parametrize("case", CASES)
def test_layers(case, opset):
    model, xs = of_layer(case), inputs(case, 3)
    feed = {n: np.asarray(x, "float32") for n, x in zip(model.input_names, xs)}
    same(run(export.model_proto(model, opset), feed), to_list(model.predict(xs)))


@pytest.mark.parametrize("name", OPEN)
def test_open_sizes_and_functions(name):
    model, x = of_open(name)
    same(run(export.model_proto(model), {model.input_names[0]: x}), to_list(model.predict(x)))


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("pooling", [MaxPooling2D, AveragePooling2D])
def test_pooling_over_zeros(pooling, layout):
    """The peer joins Pad and MaxPool, and forgets the zeros."""
    x = Input((6, 6, 6))
    model = Model(x, pooling(3, data_format=layout)(ZeroPadding2D(2, data_format=layout)(x)))
    images = -np.abs(np.random.rand(2, 6, 6, 6)).astype("float32") - 1
    same(run(export.model_proto(model), {model.input_names[0]: images}), [model.predict(images)])


@pytest.mark.parametrize("case", BESIDE_PEER + OPERATORS, ids=name_of)
def test_operators(case, tmp_path):
    op, x, rest, attributes, opset, *outputs = case
    proto = build(op, x, rest, attributes, opset, *outputs)
    try:
        want = run(proto, {"x": x})
    except ort.capi.onnxruntime_pybind11_state.NotImplemented:
        pytest.skip("the peer does not have this operator for this type")
    onnx.save(proto, tmp_path / "m.onnx")
    same(to_list(import_model(tmp_path / "m.onnx").predict(x)), want)


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(name, tmp_path):
    proto, x = text(GRAPHS[name]), samples(GRAPHS[name])
    onnx.save(proto, tmp_path / "m.onnx")
    same(to_list(import_model(tmp_path / "m.onnx").predict(x)), run(proto, {"x": x}))


def test_a_whole_network(tmp_path):
    from graphk.applications import ResNet50
    model = ResNet50(weights=None, include_top=False, input_shape=(64, 64, 3), pooling="avg")
    x = np.random.rand(2, 64, 64, 3).astype("float32")
    export_model(model, tmp_path / "m.onnx")
    proto, want = onnx.load(tmp_path / "m.onnx"), model.predict(x)
    got, = run(proto, {model.input_names[0]: x})
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5 * np.abs(want).max())
    again = import_model(tmp_path / "m.onnx").predict(x)
    np.testing.assert_allclose(again, want, rtol=1e-3, atol=1e-5 * np.abs(want).max())
