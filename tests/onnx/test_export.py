"""Every layer of the table as ONNX: valid, equal in the reference evaluator, and equal when read back."""
import collections

import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.frontend.utils.generic_utils import to_list
from graphk.models import Model, Sequential
from graphk.onnx import export, export_model, import_model

from tests.frontend.layers import CASES, inputs
from tests.onnx.cases import OPEN, of_layer, of_open

onnx = pytest.importorskip("onnx")
# The reference evaluator has no Scan that runs backwards; those are compared by reading them back, and with the peer.
_BACKWARDS = ("go_backwards=True)", "Bidirectional", "both ways")


def operators(proto):
    """How often each operator is there, bodies not counted."""
    return collections.Counter(n.op_type for n in proto.graph.node)


def same(got, want):
    for g, w in zip(to_list(got), to_list(want), strict=True):
        assert g.shape == w.shape and g.dtype == w.dtype
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5)


def check(name, model, xs, path, opset):
    """Valid, and equal on both sides."""
    from onnx.reference import ReferenceEvaluator
    export_model(model, path, opset)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    want = model.predict(xs)
    if "unroll" in name or not any(k in name for k in _BACKWARDS):
        feed = {n: np.asarray(x, "float32") for n, x in zip(model.input_names, to_list(xs))}
        same(ReferenceEvaluator(proto).run(None, feed), want)
    again = import_model(path)
    same(again.predict(xs), want)
    return proto


@pytest.mark.parametrize("case", CASES)
def test_layers(case, tmp_path):
    model = of_layer(case)
    proto = check(case, model, inputs(case, 2), str(tmp_path / "model.onnx"), 17)
    weights = {w.name for w in model.weights}
    stored = {i.name for i in proto.graph.initializer}
    assert weights <= stored, "weights keep their names"
    assert [o.name for o in proto.graph.output] == model.output_names


@pytest.mark.parametrize("name", OPEN)
def test_open_sizes_and_functions(name, tmp_path):
    model, x = of_open(name)
    check(name, model, x, str(tmp_path / "model.onnx"), 18)


@pytest.mark.parametrize("case", ["Conv2D(2, (3, 2), strides=(1, 2))", "LSTM(3, recurrent_activation='hard_sigmoid')",
                                  "Activation('softmax')", "GlobalMaxPooling2D()", "GlobalAveragePooling2D()"])
@pytest.mark.parametrize("opset", [19, 20, 21])
def test_opsets(case, opset, tmp_path):
    proto = check(case, of_layer(case), inputs(case, 2), str(tmp_path / "model.onnx"), opset)
    assert proto.opset_import[0].version == opset


@pytest.mark.parametrize("case,operator,others", [
    ("Conv2D(2, 2, dilation_rate=2, padding='same', use_bias=False)", "Conv", {"Transpose": 3}),
    ("Conv1D(3, 2, dilation_rate=2, padding='causal')", "Conv", {"Transpose": 3, "Add": 1}),
    ("DepthwiseConv2D(2, depth_multiplier=2)", "Conv", {"Transpose": 3, "Reshape": 1, "Add": 1}),
    ("Conv2DTranspose(2, 2, strides=(2, 1))", "ConvTranspose", {"Transpose": 3, "Add": 1}),
    ("MaxPooling2D(3, strides=1, padding='same')", "MaxPool", {"Transpose": 2}),
    ("AveragePooling2D(3, strides=2, padding='same')", "AveragePool", {"Transpose": 2}),
    ("AveragePooling3D((1, 2, 2))", "AveragePool", {"Transpose": 2}),
    ("Dense(3, activation='tanh', use_bias=False)", "MatMul", {"Tanh": 1}), ("Softmax()", "Softmax", {})])
def test_operators_of_their_own(case, operator, others):
    found = operators(export.model_proto(of_layer(case)))
    assert found == {operator: 1, **others}


def test_channels_first_needs_no_transposition_of_images():
    K.set_image_data_format("channels_first")
    x = L.Input((3, 8, 8))
    model = Model(x, L.Conv2D(4, 3, use_bias=False)(L.Conv2D(4, 3, use_bias=False)(x)))
    assert operators(export.model_proto(model)) == {"Conv": 2, "Transpose": 2}           # of the two kernels


def test_values_are_named_by_their_layers():
    proto = export.model_proto(Sequential([L.Dense(3, activation="relu", input_shape=(4,), name="first"),
                                           L.Dense(2, name="second")]))
    made = [o for n in proto.graph.node for o in n.output]
    assert made == ["first/MatMul", "first/Add", "first/Relu", "second/MatMul", "second"]
    assert [d.dim_param or d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim] == ["n", 4]


def test_nested_and_shared_layers(tmp_path):
    inner = Sequential([L.Dense(3, activation="tanh", input_shape=(4,))])
    a, b = L.Input((4,)), L.Input((4,))
    model = Model([a, b], L.concatenate([inner(a), inner(b)]))
    xs = [np.random.randn(3, 4).astype("float32") for _ in range(2)]
    proto = check("", model, xs, str(tmp_path / "model.onnx"), 17)
    assert len(proto.graph.initializer) == 2


# ------------------------------------------------------------------ refusals
def test_random_numbers_are_refused_by_name():
    x = L.Input((3,))
    model = Model(x, L.Lambda(lambda v: v + K.random_normal((3,)), name="noisy")(x))
    with pytest.raises(NotImplementedError, match=r"random numbers \(`normal`, layer noisy, .*test_export.py:\d+\)"):
        export.model_proto(model)


def test_states_are_refused():
    model = Sequential([L.LSTM(2, stateful=True, batch_input_shape=(2, 3, 4), name="memory")])
    with pytest.raises(NotImplementedError, match="keeps states from call to call .layers memory"):
        export.model_proto(model)


def test_what_no_table_has_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.delitem(export.RULES, "tanh")
    path = tmp_path / "model.onnx"
    path.write_bytes(b"before")
    with pytest.raises(NotImplementedError, match="the operation `tanh` .layer activation_1"):
        export_model(Sequential([L.Activation("tanh", input_shape=(2,))]), path)
    assert path.read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1


def test_too_large_models_are_refused(monkeypatch):
    monkeypatch.setattr(export, "_LIMIT", 20)
    with pytest.raises(NotImplementedError, match="has 64 bytes of weights; one ONNX file holds 2 GB"):
        export.model_proto(Sequential([L.Dense(4, input_shape=(3,), name="d")]))


def test_mistakes():
    with pytest.raises(ValueError, match="no graph to export yet"):
        export.model_proto(Sequential([L.Dense(4)]))
    with pytest.raises(ValueError, match="opsets 17 to 21; received 9"):
        export.model_proto(Sequential([L.Dense(4, input_shape=(3,))]), opset=9)
