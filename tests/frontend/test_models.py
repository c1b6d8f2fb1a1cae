"""Networks: graphs of layers, configs, weights, summaries."""
import json
import pickle
import sys

import numpy as np
import pytest

import graphk
from graphk import backend as K
from graphk import layers as L
from graphk.engine import get_source_inputs
from graphk.frontend.utils.origin import is_own
from graphk.models import Model, Sequential, clone_model, model_from_json


def shared():
    a, b = L.Input((4,), name="a"), L.Input((4,), name="b")
    enc = Sequential([L.Dense(3, activation="tanh", input_shape=(4,)), L.Dropout(.5)], name="enc")
    d = L.Dense(2, name="out")
    return Model([a, b], [d(L.concatenate([enc(a), enc(b)])), enc(a)], name="twin")


def test_shared_layers_and_nested_models():
    m = shared()
    x, y = np.random.randn(5, 4), np.random.randn(5, 4)
    out, e = m.predict([x, y])
    w, bias, w2, b2 = m.get_weights()
    np.testing.assert_allclose(e, np.tanh(x @ w + bias), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(out, np.concatenate([e, np.tanh(y @ w + bias)], 1) @ w2 + b2, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(m.predict({"a": x, "b": y})[0], out)
    assert [w.name for w in m.weights] == ["dense_1/kernel:0", "dense_1/bias:0", "out/kernel:0", "out/bias:0"]
    assert m.input_names == ["a", "b"] and m.output_names == ["out", "enc"] and m.uses_learning_phase
    assert m.input_shape == [(None, 4), (None, 4)] and m.output_shape == [(None, 2), (None, 3)]


@pytest.mark.parametrize("via", ["config", "json", "clone"])
def test_round_trips(via):
    m = shared()
    again = {"config": lambda: Model.from_config(m.get_config()), "json": lambda: model_from_json(m.to_json()),
             "clone": lambda: clone_model(m)}[via]()
    again.set_weights(m.get_weights())
    x = [np.random.randn(3, 4), np.random.randn(3, 4)]
    for p, q in zip(m.predict(x), again.predict(x)):
        np.testing.assert_allclose(p, q)
    if via != "clone":
        assert again.get_config() == m.get_config()


def test_config_format():
    c = json.loads(shared().to_json())
    assert c["class_name"] == "Model" and c["keras_version"] == "2.2.4" and c["backend"] == "tensorflow"
    layers = {la["name"]: la for la in c["config"]["layers"]}
    assert layers["enc"]["inbound_nodes"] == [[["a", 0, 0, {}]], [["b", 0, 0, {}]], [["a", 0, 0, {}]]]
    assert layers["concatenate_1"]["inbound_nodes"] == [[["enc", 1, 0, {}], ["enc", 2, 0, {}]]]
    assert c["config"]["output_layers"] == [["out", 0, 0], ["enc", 3, 0]]
    assert layers["a"]["config"] == {"batch_input_shape": [None, 4], "dtype": "float32", "sparse": False, "name": "a"}
    d = layers["enc"]["config"]["layers"][0]["config"]
    assert d["kernel_initializer"]["class_name"] == "VarianceScaling" and d["batch_input_shape"] == [None, 4]


def test_model_on_new_inputs_and_as_layer():
    m = Sequential([L.Dense(3, input_shape=(4,))])
    x = L.Input((7, 4))
    y = m(x)
    assert K.int_shape(y) == (None, 7, 3)
    K.set_value(m.layers[0].bias, np.ones(3))
    np.testing.assert_allclose(Model(x, y).predict(np.zeros((2, 7, 4))), np.ones((2, 7, 3)))
    assert get_source_inputs(y) == [x]


def test_masks_reach_through_nested_models():
    inner = Sequential([L.Embedding(4, 2, mask_zero=True, input_length=3)])
    x = L.Input((3,))
    y = inner(x)
    assert K.function([x], [y._keras_mask])([[[1, 0, 2]]])[0].tolist() == [[True, False, True]]


def test_disconnected_and_other_graph_errors():
    a, b = L.Input((2,), name="a"), L.Input((2,), name="b")
    y = L.add([a, b])
    with pytest.raises(
        ValueError,
        match=r"Graph disconnected: cannot obtain value for tensor .*'b'.* at layer \"add_1\"\. The "
        r"following previous layers were accessed without issue: \['a'\]",
    ):
        Model(a, y)
    with pytest.raises(ValueError, match="All inputs should only appear once"):
        Model([a, a], y)
    with pytest.raises(ValueError, match="must be the output of a Keras `Layer`"):
        Model([a, b], y + 1)
    with pytest.raises(
        ValueError, match='The layer "dense_1" was called on .* Wrap the backend operations in a Lambda'
    ):
        Model([a, b], L.Dense(1)(y * 2))
    with pytest.raises(ValueError, match="must come from `keras.layers.Input`"):
        Model(y, L.Dense(1)(y))
    with pytest.raises(ValueError, match='The name "d" is used 2 times in the model'):
        Model(a, L.Dense(1, name="d")(L.Dense(1, name="d")(a)))
    with pytest.raises(ValueError, match="No such layer: nope"):
        Model([a, b], y).get_layer("nope")
    with pytest.raises(ValueError, match="retrieve layer at index 9 but model only has 3 layers"):
        Model([a, b], y).get_layer(index=9)


def test_sequential_add_pop_and_deferred_build():
    m = Sequential()
    with pytest.raises(TypeError, match="There are no layers in the model"):
        m.pop()
    m.add(L.Dense(3))
    m.add(L.Dense(2))
    assert not m.built and m.weights == []
    with pytest.raises(ValueError, match="has not yet been built"):
        m.summary()
    m.compile("sgd", "mse")
    m.fit(np.ones((4, 5)), np.ones((4, 2)), verbose=0)
    assert m.layers[0].kernel.shape == (5, 3) and m.get_config()["build_input_shape"] == (None, 5)
    m.pop()
    assert m.output_shape == (None, 3) and len(m.layers) == 1
    assert m.predict(np.ones((2, 5))).shape == (2, 3)
    with pytest.raises(TypeError, match="must be an instance of class Layer"):
        m.add("dense")


def test_sequential_from_list_config_and_input_layer():
    m = Sequential([L.InputLayer((3,)), L.Dense(2)])
    assert [la.name for la in m.layers] == ["dense_1"] and m.input_shape == (None, 3)
    again = Sequential.from_config(m.get_config())
    assert again.built and again.input_shape == (None, 3)
    old = Sequential.from_config([{"class_name": "Dense", "config": {"units": 2, "batch_input_shape": (None, 3)}}])
    assert old.output_shape == (None, 2)


def test_weights_order_and_freezing():
    m = Sequential([L.BatchNormalization(input_shape=(2,)), L.Dense(1)])
    names = [w.name.split("/")[1] for w in m.weights]
    assert names == ["gamma:0", "beta:0", "kernel:0", "bias:0", "moving_mean:0", "moving_variance:0"]
    assert [w.shape for w in m.get_weights()] == [(2,), (2,), (2,), (2,), (2, 1), (1,)]
    m.layers[1].trainable = False
    assert len(m.trainable_weights) == 2 and len(m.non_trainable_weights) == 4
    m.trainable = False
    assert m.trainable_weights == [] and len(m.non_trainable_weights) == 6 and m.updates == []


def test_weights_of_an_inner_model_go_back_where_they_came_from():
    x = L.Input((3,))
    inner = Sequential([L.BatchNormalization(input_shape=(3,)), L.Dense(2)])
    m = Model(x, inner(x))
    want = [np.random.randn(*w.shape) for w in m.get_weights()]
    m.set_weights(want)
    assert all(np.allclose(a, b) for a, b in zip(m.get_weights(), want))
    inner.layers[1].trainable = False
    m.set_weights(m.get_weights())


def test_sizes_of_numpy_print_as_integers():
    lines = []
    m = Sequential([L.Reshape((np.int64(2), -1), input_shape=(np.int64(6),)), L.LSTM(np.int32(2))])
    m.summary(print_fn=lines.append)
    assert "(None, 2, 3)" in lines[3] and m.input_shape == (None, 6)
    assert all(type(d) is int for s in (m.input_shape, *(la.output_shape for la in m.layers)) for d in s[1:])
    assert model_from_json(m.to_json()).output_shape == (None, 2)


def test_summary_text():
    lines = []
    m = Sequential([L.Dense(4, input_shape=(3,)), L.BatchNormalization()])
    m.summary(print_fn=lines.append)
    assert lines == [
        "_" * 65, "Layer (type)                 Output Shape              Param #   ", "=" * 65,
        "dense_1 (Dense)              (None, 4)                 16        ", "_" * 65,
        "batch_normalization_1 (Batch (None, 4)                 16        ", "=" * 65,
        "Total params: 32", "Trainable params: 24", "Non-trainable params: 8", "_" * 65]
    lines.clear()
    shared().summary(line_length=80, print_fn=lines.append)
    assert len(lines[0]) == 80 and lines[1].rstrip().endswith("Connected to") and any("enc[1][0]" in s for s in lines)


def test_activity_regularizer_and_add_loss():
    x = L.Input((2,))
    y = L.Dense(1, use_bias=False, activity_regularizer="l1", kernel_initializer="ones")(x)
    m = Model(x, y)
    m.compile("sgd", "mse")
    np.testing.assert_allclose(m.test_on_batch(np.ones((3, 2)), 2 * np.ones((3, 1))), .01 * 6, rtol=1e-5)
    m = Model(x, y)
    m.add_loss(K.sum(x), inputs=[x])
    m.compile("sgd", None)
    assert m.metrics_names == ["loss"]
    np.testing.assert_allclose(m.train_on_batch(np.ones((3, 2)), None), 6 + .06, rtol=1e-5)


def test_origins_name_the_layer():
    from graphk.ir.node import origin_of
    m = Sequential([L.Dense(2, input_shape=(3,), name="mine")])
    assert origin_of(m.outputs[0].node).layer == "mine"


def test_keras_alias(monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "keras"]:      # another test's
        monkeypatch.delitem(sys.modules, name)
    graphk.install_as_keras()
    import keras
    import keras.layers.core
    from keras import backend
    assert keras.Sequential is graphk.Sequential and backend is K and keras.layers is L
    assert keras.layers.core.Dense is L.Dense and keras.__version__ == "2.2.4" != graphk.__version__
    assert graphk.__spec__.name == "graphk"
    model = keras.Sequential([keras.layers.LSTM(2, input_shape=(3, 1)), keras.layers.LeakyReLU()])
    model.compile(keras.optimizers.Adam(), "mse")
    named = {type(x): f"{type(x).__module__}.{type(x).__name__}" for x in (model, *model.layers, model.optimizer)}
    assert list(named.values()) == ["keras.engine.sequential.Sequential", "keras.layers.recurrent.LSTM",
                                    "keras.layers.advanced_activations.LeakyReLU", "keras.optimizers.Adam"]
    assert type(keras.backend.zeros((1,))).__module__ == "graphk.frontend.tensor" and all(map(is_own, named))
    again = pickle.loads(pickle.dumps(model))
    assert type(again) is keras.Sequential and type(again.optimizer) is keras.optimizers.Adam
    with pytest.raises(ModuleNotFoundError, match="No module named 'keras.nope': graphk stands for keras"):
        import keras.nope  # noqa: F401


def test_an_initializer_without_a_name_is_given_by_the_name_that_the_error_shows():
    made = Sequential([L.Dense(2, kernel_initializer=lambda shape: np.ones(shape), input_shape=(3,))]).to_json()
    with pytest.raises(ValueError, match="Unknown initializer:<lambda>"):
        model_from_json(made)
    again = model_from_json(made, {"<lambda>": lambda shape: np.full(shape, 2.)})
    assert again.get_weights()[0].tolist() == [[2, 2]] * 3


def test_a_sequential_model_called_twice_says_why_it_has_no_one_input():
    model = Sequential([L.Dense(2, input_shape=(3,))])
    model(L.Input((3,)))
    with pytest.raises(AttributeError, match='has multiple inbound nodes, hence the notion of "layer input"'):
        model.input  # noqa: B018
    with pytest.raises(AttributeError, match="'Sequential' object has no attribute 'nothing'"):
        model.nothing  # noqa: B018
