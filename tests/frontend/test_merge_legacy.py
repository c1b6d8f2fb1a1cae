"""Keras 1's Merge layer and merge function: each mode gives what the Keras 2 layer gives."""
import json
import subprocess
import sys

import numpy as np
import pytest

import graphk.engine
import graphk.legacy.layers
from graphk import backend as K
from graphk import layers as L
from graphk.engine.topology import Merge as TopologyMerge
from graphk.layers import Dense, Merge, merge
from graphk.layers.core import Merge as CoreMerge
from graphk.models import Model, Sequential, clone_model, model_from_json

pytestmark = pytest.mark.filterwarnings("ignore:The `[Mm]erge` .* is deprecated")
A, B = np.random.RandomState(0).randn(2, 5, 4)
S, T = np.random.RandomState(1).randn(2, 5, 3, 2)


def run(mode, arrays=(A, B), **kwargs):
    inputs = [L.Input(a.shape[1:]) for a in arrays]
    out = merge(inputs, mode=mode, **kwargs)
    got = Model(inputs, out).predict(list(arrays))
    assert K.int_shape(out)[1:] == got.shape[1:]
    return got


def cosine(a, b):
    return (a * b).sum(-1, keepdims=True) / np.linalg.norm(a, axis=-1, keepdims=True) / \
        np.linalg.norm(b, axis=-1, keepdims=True)


@pytest.mark.parametrize("mode, want", [
    ("sum", A + B), ("mul", A * B), ("ave", (A + B) / 2), ("max", np.maximum(A, B)), ("concat", np.hstack([A, B])),
    ("dot", (A * B).sum(-1, keepdims=True)), ("cos", cosine(A, B)), (lambda xs: xs[0] - 2 * xs[1], A - 2 * B)],
    ids=lambda m: m if isinstance(m, str) else "")
def test_modes(mode, want):
    np.testing.assert_allclose(run(mode), want, rtol=1e-4, atol=1e-6)


def test_axes():
    assert run("concat", (S, T), concat_axis=1).shape == (5, 6, 2)
    np.testing.assert_allclose(run("dot", (S, T), dot_axes=(2, 2)), np.einsum("nik,njk->nij", S, T), rtol=1e-4)
    np.testing.assert_allclose(run("dot", (S, T), dot_axes=-1), np.einsum("nik,njk->nij", S, T), rtol=1e-4)
    np.testing.assert_allclose(run("dot", (S, T), dot_axes=2), np.einsum("nki,nkj->nij", S, T), rtol=1e-4)
    np.testing.assert_allclose(run("dot", (S, T), dot_axes=[[1], [1]]), np.einsum("nki,nkj->nij", S, T), rtol=1e-4)


def test_functions_with_their_arguments_shape_and_mask():
    def weighted(xs, by=1., mask=None):
        assert mask is None
        return by * xs[0] + xs[1]
    np.testing.assert_allclose(run(weighted, arguments={"by": 3.}, output_shape=lambda shapes: shapes[0]), 3 * A + B,
                               rtol=1e-5)
    assert run(lambda xs: xs[0][:, :2], output_shape=(2,)).shape == (5, 2)
    inputs = [L.Input((4,)), L.Input((4,))]
    layer = Merge(mode=lambda xs: xs[0], output_mask=lambda xs, mask: K.ones_like(xs[0]))
    assert layer(inputs)._keras_mask is not None


def test_masks():
    x = L.Input((3,))
    left, right = (L.Embedding(4, 2, mask_zero=True)(x) for _ in range(2))
    for mode, known in (("sum", True), ("concat", True), ("dot", False)):
        assert (Merge(mode=mode)([left, right])._keras_mask is not None) == known


def branches():
    return [Sequential([Dense(3, input_shape=(4,), activation="tanh")]) for _ in range(2)]


def test_the_first_layer_of_a_sequential_model():
    left, right = branches()
    m = Sequential()
    m.add(Merge([left, right], mode="concat"))
    m.add(Dense(1))
    m.compile("sgd", "mse")
    assert len(m.get_weights()) == 6 and m.input_shape == [(None, 4), (None, 4)] and m.layers[-1] is m._stack[-1]
    want = np.hstack([left.predict(A), right.predict(B)]) @ m.get_weights()[4]
    np.testing.assert_allclose(m.predict([A, B]), want, rtol=1e-4, atol=1e-6)
    before = left.get_weights()[0].copy()
    assert len(m.fit([A, B], np.ones((5, 1)), epochs=2, verbose=0).epoch) == 2
    assert not np.allclose(before, left.get_weights()[0]), "the branches train, too"
    for again in (Sequential.from_config(m.get_config()), model_from_json(m.to_json()), clone_model(m)):
        again.set_weights(m.get_weights())
        np.testing.assert_allclose(again.predict([A, B]), m.predict([A, B]), rtol=1e-5)
    m.pop()
    assert m.output_shape == (None, 6)


def test_merged_models_in_a_functional_model():
    left, right = branches()
    layer = Merge([left, right], mode="mul")
    m = Model([left.input, right.input], Dense(2)(layer.output))
    np.testing.assert_allclose(m.predict([A, B]), (left.predict(A) * right.predict(B)) @ m.get_weights()[4], rtol=1e-4)
    for again in (Model.from_config(m.get_config()), clone_model(m)):
        again.set_weights(m.get_weights())
        np.testing.assert_allclose(again.predict([A, B]), m.predict([A, B]), rtol=1e-5)


def test_merged_layers_and_which_of_their_calls():
    x, y = L.Input((4,)), L.Input((4,))
    shared = Dense(2)
    first, second = shared(x), shared(y)
    other = L.InputLayer((2,))
    layer = Merge([shared, other], mode="sum", node_indices=[1, 0], tensor_indices=[0, 0])
    m = Model([y, other.output], layer.output)
    z = np.ones((5, 2))
    np.testing.assert_allclose(m.predict([A, z]), Model(y, second).predict(A) + z, rtol=1e-5)
    assert first is not second
    with pytest.raises(ValueError, match="`node_indices` of the layer .* one number for each of its 2 layers"):
        Merge([shared, other], node_indices=[1])
    with pytest.raises(RuntimeError, match="has never been called"):
        Merge([Dense(2), Dense(2)])


def summed(xs):
    return xs[0] + xs[1]


def test_configs():
    layer = Merge(mode="dot", dot_axes=(1, 1), name="m")
    config = layer.get_config()
    assert config["mode"] == "dot" and config["mode_type"] == "raw" and "layers" not in config
    again = Merge.from_config(config)
    assert again.get_config() == config
    config = Merge(mode=summed).get_config()
    assert (config["mode"], config["mode_type"]) == ("summed", "function")
    assert Merge.from_config(config).mode is summed
    config = json.loads(json.dumps(config))
    assert Merge.from_config(config, {"summed": summed}).mode is summed
    config["mode"] = "summed_elsewhere"
    with pytest.raises(ValueError, match="summed_elsewhere"):
        Merge.from_config(config)


def test_mistakes_and_warnings():
    a, b = L.Input((4,)), L.Input((3,))
    with pytest.raises(ValueError, match="Invalid merge mode: 'som' .*Did you mean `sum`"):
        merge([a, b], mode="som")
    with pytest.raises(ValueError, match="Only layers of same output shape can be merged using sum mode. Layer shapes"):
        merge([a, b])
    with pytest.raises(ValueError, match="merges at least two tensors or layers; received one"):
        merge(a)
    with pytest.raises(ValueError, match="Dimension incompatibility 4 != 3"):
        merge([a, b], mode="dot")
    with pytest.warns(UserWarning, match="The `Merge` layer is deprecated.* Use instead") as seen:
        Merge(mode="sum")
    assert seen[0].filename == __file__
    with pytest.warns(UserWarning, match="The `merge` function is deprecated") as seen:
        merge([a, a], mode="mul")
    assert [w.filename for w in seen] == [__file__]


def test_where_it_can_be_imported_from():
    assert Merge is TopologyMerge is CoreMerge is graphk.legacy.layers.Merge is graphk.engine.Merge
    assert graphk.layers.merge.Add is L.Add and callable(graphk.layers.merge)
    code = "from graphk.layers import merge, Input; from graphk.layers.merge import add; import warnings; " \
        "warnings.simplefilter('ignore'); print(merge([Input((2,)), Input((2,))], mode='sum').shape, merge.add is add)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "(None, 2) True", done.stderr
