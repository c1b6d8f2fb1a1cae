"""`compile(mixed_precision=…, loss_scale=…)`: rounding, scaled gradients, skipped steps, files and copies."""
import io
import json
import pickle

import numpy as np
import pytest

from graphk import backend as K
from graphk import optimizers
from graphk.frontend.engine import mixed_precision
from graphk.ir.text import print_graph
from graphk.layers import LSTM, Activation, BatchNormalization, Conv2D, Dense, Embedding, Flatten, MaxPooling2D
from graphk.models import Model, Sequential, clone_model, load_model
from graphk.passes.mixed import NARROWED

RNG = np.random.default_rng(0)
CE = "categorical_crossentropy"


def mlp(**kwargs):
    return Sequential([Dense(16, activation="relu", input_shape=(6,), **kwargs), Dense(3, activation="softmax")])


def cnn():
    return Sequential([Conv2D(4, 3, padding="same", input_shape=(6, 6, 2)), BatchNormalization(), Activation("relu"),
                       MaxPooling2D(), Flatten(), Dense(3, activation="softmax")])


def lstm():
    return Sequential([Embedding(9, 5, input_length=4), LSTM(6), Dense(3, activation="softmax")])


def data(model, n=24):
    shape = model.input_shape[1:]
    x = RNG.integers(0, 9, (n, *shape)) if "embedding" in model.layers[0].name else RNG.standard_normal((n, *shape))
    return x, np.eye(3)[x.reshape(n, -1).argmax(1) % 3]


@pytest.mark.parametrize("settings", [{"mixed_precision": "bfloat16"},
                                      {"mixed_precision": "float16", "loss_scale": "dynamic"}])
@pytest.mark.parametrize("build", [mlp, cnn, lstm])
def test_models_train_to_about_the_loss_of_float32(build, settings):
    model = build()
    x, y = data(model)
    first, found = model.get_weights(), []
    for kwargs in ({}, settings):
        model.set_weights(first)
        model.compile(optimizers.Adam(.01), CE, ["accuracy"], **kwargs)
        model.fit(x, y, batch_size=8, epochs=6, verbose=0, shuffle=False)
        found.append((model.evaluate(x, y, verbose=0)[0], model.predict(x)))
    assert found[1][0] == pytest.approx(found[0][0], rel=.05) and found[1][0] != found[0][0]
    np.testing.assert_allclose(found[1][1], found[0][1], atol=.1)
    assert all(w.dtype == np.float32 for w in model.get_weights() + model.optimizer.get_weights()[1:])


@pytest.mark.parametrize("dtype", NARROWED)
def test_predictions_are_those_of_operands_rounded_by_hand(dtype, monkeypatch):
    model = Sequential([Dense(3, input_shape=(4,), bias_initializer="uniform")])
    x = RNG.standard_normal((5, 4)).astype("f")
    w, b = model.get_weights()

    def narrow(a):
        if dtype == "float16":
            return a.astype("float16").astype("f")
        unit = 2. ** (np.frexp(a)[1] - 8)
        return (np.rint(a / unit) * unit).astype("f")
    want = narrow(x) @ narrow(w) + b
    for executor in ("cpu", "interp"):
        monkeypatch.setenv("GRAPHK_EXECUTOR", executor)
        model.compile("sgd", "mse", mixed_precision=dtype)
        np.testing.assert_allclose(model.predict(x), want, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(model.predict_on_batch(x), want, rtol=1e-6, atol=1e-6)
        assert model.test_on_batch(x, want) < 1e-10 and model.train_on_batch(x, want) < 1e-10


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adagrad", "adadelta", "adam", "adamax", "nadam"])
def test_an_overflow_skips_the_step_and_halves_the_scale(optimizer):
    model = cnn()
    x, y = data(model)
    model.compile(optimizer, CE, mixed_precision="float16", loss_scale="dynamic")
    model.train_on_batch(x, y)
    before, state = model.get_weights(), model.optimizer.get_weights()
    variables = [K.get_value(v) for v in vars(model.optimizer).values() if K.is_variable(v)]
    assert K.get_value(model.loss_scale) == 2. ** 15 and any(map(np.any, state))
    model.train_on_batch(x * 1e5, y)                                    # an infinity in float16
    assert K.get_value(model.loss_scale) == 2. ** 14
    for old, new in ((before, model.get_weights()), (state, model.optimizer.get_weights()),
                     (variables, [K.get_value(v) for v in vars(model.optimizer).values() if K.is_variable(v)])):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(old, new, strict=True))
    model.train_on_batch(x, y)
    assert K.get_value(model.loss_scale) == 2. ** 14
    assert any(a.tobytes() != b.tobytes() for a, b in zip(before, model.get_weights()))


def test_the_scale_doubles_after_enough_good_steps_within_its_ends(monkeypatch):
    monkeypatch.setattr(mixed_precision, "PATIENCE", 3)
    model = mlp()
    x, y = data(model)
    model.compile("sgd", CE, mixed_precision="float16", loss_scale="dynamic")
    scales = []
    for factor in (1, 1, 1e30, 1, 1, 1, 1):
        model.train_on_batch(x * factor, y)
        scales.append(float(K.get_value(model.loss_scale)) / 2 ** 15)
    assert scales == [1, 1, .5, .5, .5, 1, 1]
    K.set_value(model.loss_scale, 1.)
    model.train_on_batch(x * 1e30, y)
    assert K.get_value(model.loss_scale) == 1.


@pytest.mark.parametrize("executor", ["cpu", "interp"])
def test_scaled_gradients_are_the_same_after_clipping_and_all_else(executor, monkeypatch):
    """A power of two changes no bit where nothing is rounded away: regularizers, clipping, sample weights included."""
    monkeypatch.setenv("GRAPHK_EXECUTOR", executor)
    model = mlp(kernel_regularizer="l2")
    x, y = data(model)
    first, found = model.get_weights(), []
    for scale in (None, 64., "dynamic"):
        model.set_weights(first)
        model.compile(optimizers.SGD(.1, momentum=.9, clipnorm=.3, clipvalue=.1), CE, mixed_precision="bfloat16",
                      loss_scale=scale)
        for _ in range(3):
            model.train_on_batch(x, y, sample_weight=np.linspace(0, 1, len(x)))
        found.append(model.get_weights())
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_small_gradients_survive_with_a_scale_alone():
    changes = []
    for scale in (None, 2. ** 15):
        model = Sequential([Dense(1, input_shape=(4,), kernel_initializer="ones", use_bias=False)])
        model.compile(optimizers.SGD(1.), lambda t, p: K.mean(p * 1e-9, axis=-1), mixed_precision="float16",
                      loss_scale=scale)
        model.set_weights([np.zeros((4, 1))])
        model.train_on_batch(np.ones((1, 4)), np.ones((1, 1)))
        changes.append(np.abs(model.get_weights()[0]).max())
    assert changes[0] == 0 and changes[1] == pytest.approx(1e-9, rel=.1)


def test_without_it_programs_are_what_they_were():
    model = mlp()
    x, y = data(model)
    texts = []
    for kwargs in ({}, {"mixed_precision": None, "loss_scale": None}, {"mixed_precision": "bfloat16"}):
        model.compile("sgd", CE, **kwargs)
        model._make_predict_function()
        texts.append(print_graph(model.predict_function._graph, origins=False))
    assert texts[0] == texts[1] and "round_bf16" not in texts[0]
    assert texts[2].count("round_bf16") == 4 and model.loss_scale is None
    model.compile("sgd", CE, mixed_precision="bfloat16", loss_scale=8)
    model.train_on_batch(x, y)
    assert K.get_value(model.loss_scale) == 8
    model.compile("sgd", CE)
    assert model.loss_scale is None


def test_a_dump_shows_it(tmp_path):
    from graphk.inspection import dump
    model = Sequential([Dense(3, input_shape=(4,))])
    model.compile("sgd", "mse", mixed_precision="bfloat16")
    model._make_predict_function()
    dump(model.predict_function, tmp_path, formats=("text",))
    assert any("round_bf16" in f.read_text() for f in tmp_path.rglob("*captured*"))


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_files_keep_the_settings_and_the_scale(tmp_path, suffix):
    model = mlp()
    x, y = data(model)
    model.compile("adam", CE, mixed_precision="float16", loss_scale="dynamic")
    for factor in (1, 1e30, 1, 1):
        model.train_on_batch(x * factor, y)
    path = str(tmp_path / f"m{suffix}")
    model.save(path)
    for other in (load_model(path), pickle.loads(pickle.dumps(model))):
        assert other._mixed.state() == model._mixed.state()
        assert other._mixed.state()["state"] == {"scale": 2. ** 14, "good_steps": 2}
        np.testing.assert_array_equal(other.predict(x), model.predict(x))
    again = load_model(path)
    model.train_on_batch(x, y), again.train_on_batch(x, y)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    again.compile("adam", CE)
    assert again.loss_scale is None and clone_model(model).loss_scale is None


@pytest.mark.parametrize("stored, message", [
    ([1], "is a dict of what graphk wrote there; found"), ({"dtype": 1}, "is a dict of what graphk wrote there"),
    ({"mixed_precision": "half"}, "received 'half'"),
    ({"mixed_precision": "float16", "loss_scale": "dynamic", "state": [1]}, "is a dict of numbers; received"),
    ({"mixed_precision": "float16", "loss_scale": "dynamic", "state": {"scale": "a"}}, "is a dict of numbers"),
    ({"mixed_precision": "float16", "loss_scale": "dynamic", "state": {"scale": 0}}, "above 0 or None; received 0")])
def test_files_with_nonsense_are_refused(tmp_path, stored, message):
    import h5py
    model, path = mlp(), str(tmp_path / "m.h5")
    model.compile("sgd", CE)
    model.save(path)
    with h5py.File(path, "r+") as f:
        training = {**json.loads(f.attrs["training_config"]), "mixed_precision": stored}
        f.attrs["training_config"] = json.dumps(training)
    with pytest.raises(ValueError, match=message):
        load_model(path)


def test_files_of_float32_models_say_nothing_of_it():
    import h5py
    model, file = mlp(), io.BytesIO()
    model.compile("adam", CE)
    model.save(file)
    with h5py.File(file, "r") as f:
        assert "mixed_precision" not in json.loads(f.attrs["training_config"])


def test_a_model_built_by_its_data_keeps_the_arguments():
    model = Sequential([Dense(3)])
    model.compile("sgd", "mse", mixed_precision="float16", loss_scale=16)
    model.fit(np.ones((4, 2)), np.ones((4, 3)), verbose=0)
    assert model._mixed.dtype == "float16" and K.get_value(model.loss_scale) == 16


def test_a_model_of_the_users_may_have_an_attribute_of_that_name():
    class Mine(Model):
        def __init__(self):
            super().__init__()
            self.loss_scale = 3
            self.dense = Dense(2)

        def call(self, x):
            return self.dense(x)
    model = Mine()
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 2)), np.ones((4, 2)), verbose=0)
    assert model.loss_scale == 3


class Own(optimizers.Optimizer):
    def get_updates(self, loss, params):
        return [K.update(p, p - g) for p, g in zip(params, K.gradients(loss, params))]


@pytest.mark.parametrize("kwargs, message", [
    ({"mixed_precision": "half"}, "`mixed_precision` must be 'float16', 'bfloat16' or None; received 'half'"),
    ({"mixed_precision": "float32"}, "received 'float32'"),
    ({"mixed_precision": 16}, "received 16"),
    ({"loss_scale": 2.}, "`loss_scale` is for mixed precision; received 2.0 without `mixed_precision`"),
    ({"mixed_precision": "float16", "loss_scale": 0}, "a number above 0 or None; received 0"),
    ({"mixed_precision": "float16", "loss_scale": -1.}, "received -1.0"),
    ({"mixed_precision": "float16", "loss_scale": float("nan")}, "received nan"),
    ({"mixed_precision": "float16", "loss_scale": "static"}, "'dynamic', a number above 0 or None; received 'static'"),
    ({"mixed_precision": "float16", "loss_scale": True}, "received True")])
def test_mistakes_say_what_is_expected(kwargs, message):
    model = mlp()
    with pytest.raises(ValueError, match=message):
        model.compile("sgd", "mse", **kwargs)
    assert not model._is_compiled


def test_an_optimizer_with_gradients_of_its_own_is_refused():
    model = mlp()
    x, y = data(model)
    model.compile(Own(), CE, mixed_precision="float16", loss_scale=2)
    with pytest.raises(ValueError, match="the optimizer Own takes gradients by itself.*self.get_gradients"):
        model.train_on_batch(x, y)
    model.compile(Own(), CE, mixed_precision="float16")
    model.train_on_batch(x, y)
