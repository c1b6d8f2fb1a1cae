"""Keras models on a device beside the CPU: the same numbers, weights that are read and set, files, callbacks."""
import numpy as np
import pytest

from graphk import backend as K
from graphk.layers import (LSTM, Activation, BatchNormalization, Conv2D, Dense, Dropout, Embedding,
                           GlobalAveragePooling2D, Lambda, MaxPooling2D)
from graphk.models import Sequential, load_model
from tests.gpu.conftest import SIMULATED

SETTINGS: dict = {}               # further arguments of `compile`
SIZE, EPOCHS = (4, 1) if SIMULATED else (64, 3)


def dense():
    return [Dense(5, activation="relu", input_shape=(4,)), Dropout(0.3, seed=1), Dense(3, activation="softmax")]


def convolutions():
    return [Conv2D(3, 3, padding="same", input_shape=(4, 4, 2)), BatchNormalization(), Activation("relu"),
            MaxPooling2D(2), Conv2D(2, 1), GlobalAveragePooling2D(), Dense(3, activation="softmax")]


def recurrent():
    return [Embedding(7, 3, input_length=4, mask_zero=True), LSTM(4), Dense(3, activation="softmax")]


MODELS = {"dense": (dense, (4,)), "convolutions": (convolutions, (4, 4, 2)), "recurrent": (recurrent, (4,))}


def data(kind, rows):
    rng = np.random.default_rng(0)
    shape = (rows, *MODELS[kind][1])
    x = rng.integers(0, 7, shape) if kind == "recurrent" else rng.standard_normal(shape).astype("float32")
    return x, np.eye(3, dtype="float32")[rng.integers(0, 3, rows)]


def model(kind, weights=None):
    K.clear_session()
    np.random.seed(0)
    made = Sequential(MODELS[kind][0]())
    made.compile("adam" if kind == "dense" else "sgd", "categorical_crossentropy", metrics=["accuracy"], **SETTINGS)
    if weights is not None:
        made.set_weights(weights)
    return made


def history(kind):
    """Losses of a fit, a prediction and the weights."""
    x, y = data(kind, SIZE)
    made = model(kind)
    losses = made.fit(x, y, batch_size=2, epochs=EPOCHS, verbose=0, shuffle=False, validation_split=0.25).history
    return losses, made.predict(x, batch_size=2), made.get_weights()


@pytest.mark.parametrize("kind", MODELS)
def test_fit_and_predict_are_as_on_the_cpu(kind, device, request):
    want = history(kind)
    request.getfixturevalue("on_device")
    compare(history(kind), want)


def compare(got, want, tol=1e-4):
    """Two histories."""
    for name in want[0]:
        np.testing.assert_allclose(got[0][name], want[0][name], rtol=tol, atol=tol / 10)
    np.testing.assert_allclose(got[1], want[1], rtol=tol, atol=tol / 10)
    for a, b in zip(got[2], want[2], strict=True):
        np.testing.assert_allclose(a, b, rtol=10 * tol, atol=tol / 10)


def test_weights_are_read_set_and_stored(on_device, tmp_path):
    made = model("dense")
    x, y = data("dense", 4)
    made.train_on_batch(x, y)
    before = made.get_weights()
    made.train_on_batch(x, y)
    after = made.get_weights()
    assert not np.array_equal(before[0], after[0])
    made.save(tmp_path / "m.h5")
    again = load_model(tmp_path / "m.h5")
    for a, b in zip(again.get_weights(), after, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(again.predict(x), made.predict(x), rtol=1e-6)
    made.set_weights(before)
    made.train_on_batch(x, y)
    assert K.get_value(made.optimizer.iterations) == 3
    K.set_value(made.optimizer.lr, 0.0)
    kept = made.get_weights()
    made.train_on_batch(x, y)
    for a, b in zip(made.get_weights(), kept, strict=True):
        np.testing.assert_array_equal(a, b)


def test_functions_with_updates(on_device):
    v = K.variable([1.0, 2.0])
    x = K.placeholder((None, 2))
    f = K.function([x], [K.sum(x * v)], updates=[(v, v * 2)])
    one = np.ones((3, 2), "float32")
    assert [float(f([one])[0]) for _ in range(3)] == [9, 18, 36]
    assert K.get_value(v).tolist() == [8, 16]
    assert K.eval(v * 2).tolist() == [16, 32]


def test_the_first_nan_is_named(on_device):
    import graphk
    made = Sequential([Dense(3, input_shape=(4,), activation="relu", name="first"), Lambda(K.log, name="bad_log"),
                       Dense(1)])
    made.compile("sgd", "mse")
    x, y = np.zeros((2, 4), "float32"), np.ones((2, 1), "float32")
    before = made.get_weights()
    with graphk.debug(nan=True), pytest.raises(FloatingPointError, match="`log` .*layer `bad_log`, test_models.py:"):
        made.fit(x, y, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, made.get_weights())), "weights are as before the call"
