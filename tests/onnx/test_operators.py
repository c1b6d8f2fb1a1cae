"""Each operator that is read, beside ONNX's reference evaluator: the first operand is data, others are stored."""
import numpy as np
import pytest

from graphk.frontend.utils.generic_utils import to_list
from graphk.onnx import import_model
from graphk.onnx.imported import TABLE

from tests.onnx.operators import CASES, GRAPHS, IMAGE, build, ints, name_of, samples, text, wave

onnx = pytest.importorskip("onnx")


def compare(proto, x, path, tolerance=1e-4):
    from onnx.reference import ReferenceEvaluator
    onnx.save(proto, path)
    got, want = to_list(import_model(path).predict(x)), ReferenceEvaluator(proto).run(None, {"x": x})
    assert len(got) == len(want)
    for g, w in zip(got, want):
        assert g.shape == w.shape and g.dtype == w.dtype
        np.testing.assert_allclose(g, w, rtol=tolerance, atol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_operators(case, tmp_path):
    op, x, rest, attributes, opset, *outputs = case
    compare(build(op, x, rest, attributes, opset, *outputs), x, str(tmp_path / "m.onnx"))


def test_older_softmax_takes_all_axes_behind(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(build("Softmax", IMAGE, [], {"axis": 2}, 11), path)
    e = np.exp(IMAGE)
    np.testing.assert_allclose(import_model(path).predict(IMAGE), e / e.sum((2, 3), keepdims=True), rtol=1e-5)


def test_older_scales_are_attributes(tmp_path):
    proto = build("Upsample", IMAGE, [], {"mode": "nearest", "scales": [1., 1., 2., 3.]}, 7)
    onnx.save(proto, tmp_path / "m.onnx")
    assert np.array_equal(import_model(tmp_path / "m.onnx").predict(IMAGE), IMAGE.repeat(2, 2).repeat(3, 3))


@pytest.mark.parametrize("op,gates", [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_recurrent(op, gates, direction, tmp_path):
    """The reference evaluator goes forward only: the other direction is its result on what is turned around."""
    d, units, x = 2 if direction == "bidirectional" else 1, 3, wave(5, 2, 4)
    weights = [wave(d, gates * units, 4), wave(d, gates * units, units), wave(d, 2 * gates * units)]
    results = 3 if op == "LSTM" else 2
    path = str(tmp_path / "m.onnx")
    onnx.save(build(op, x, weights, {"hidden_size": units, "direction": direction}, 14, results), path)
    got = import_model(path).predict(x)
    from onnx.reference import ReferenceEvaluator
    for i in range(d):
        back = direction == "reverse" or i == 1
        one = build(op, x, [w[i:i + 1] for w in weights], {"hidden_size": units}, 14, results)
        ys, *last = ReferenceEvaluator(one).run(None, {"x": x[::-1].copy() if back else x})
        np.testing.assert_allclose(got[0][:, i:i + 1], ys[::-1] if back else ys, rtol=1e-4, atol=1e-5)
        for g, w in zip(got[1:], last, strict=True):
            np.testing.assert_allclose(g[i:i + 1], w.reshape(g[i:i + 1].shape), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attributes,rest", [
    ({"linear_before_reset": 1}, []), ({"activations": ["HardSigmoid", "Softsign"]}, []),
    ({"activations": ["HardSigmoid", "Relu"], "activation_alpha": [.3], "activation_beta": [.4]}, []),
    ({}, [ints(5, 5).astype("int32"), wave(1, 2, 3)])])
def test_settings_of_gru(attributes, rest, tmp_path):
    """Beside numpy: one step after the other."""
    x, w, r, b = wave(5, 2, 4), wave(1, 9, 4), wave(1, 9, 3), wave(1, 18)
    path = str(tmp_path / "m.onnx")
    onnx.save(build("GRU", x, [w, r, b, *rest], {"hidden_size": 3, **attributes}, 14, 2), path)
    a, c = attributes.get("activation_alpha", [.2])[0], attributes.get("activation_beta", [.5])[0]
    kinds = {"Sigmoid": lambda v: 1 / (1 + np.exp(-v)), "HardSigmoid": lambda v: np.clip(a * v + c, 0, 1),
             "Softsign": lambda v: v / (1 + np.abs(v)), "Relu": lambda v: np.maximum(v, 0), "Tanh": np.tanh}
    f, g = (kinds[k] for k in attributes.get("activations", ["Sigmoid", "Tanh"]))
    h = rest[1][0] if rest else np.zeros((2, 3))
    for step in x:
        xz, xr, xh = np.split(step @ w[0].T + b[0, :9], 3, 1)
        rz, rr, rh = np.split(r[0], 3)
        bz, br, bh = np.split(b[0, 9:], 3)
        z, reset = f(xz + h @ rz.T + bz), f(xr + h @ rr.T + br)
        late = reset * (h @ rh.T + bh) if "linear_before_reset" in attributes else (reset * h) @ rh.T + bh
        h = (1 - z) * g(xh + late) + z * h
    np.testing.assert_allclose(import_model(path).predict(x)[1][0], h, rtol=1e-4, atol=1e-5)


# The reference evaluator joins the rows of a Loop, where the standard stacks them.
@pytest.mark.parametrize("name", [n for n in GRAPHS if n != "loop"])
def test_graphs(name, tmp_path):
    compare(text(GRAPHS[name]), samples(GRAPHS[name]), str(tmp_path / "m.onnx"))


def test_all_operators_are_tested():
    done = {c[0] for c in CASES} | {"RNN", "GRU", "LSTM", "Upsample", "ConstantOfShape", "Range", "If", "Scan", "Loop"}
    assert done == set(TABLE)
