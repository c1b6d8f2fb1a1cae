"""Models and functions in float16, float64 and narrow integers."""
import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.models import Model, Sequential

RNG = np.random.RandomState(0)


@pytest.fixture(params=["float16", "float64"])
def floatx(request):
    K.set_floatx(request.param)
    yield request.param
    K.set_floatx("float32")


def dense():
    return Sequential([L.Dense(8, activation="relu", input_shape=(5,)), L.BatchNormalization(), L.Dropout(0.2),
                       L.Dense(3, activation="softmax")]), RNG.rand(12, 5)


def conv():
    return Sequential([L.Conv2D(4, 3, padding="same", input_shape=(6, 6, 2)), L.MaxPooling2D(), L.Flatten(),
                       L.Dense(3, activation="softmax")]), RNG.rand(12, 6, 6, 2)


def recurrent():
    return Sequential([L.Embedding(9, 4, mask_zero=True, input_length=5), L.LSTM(6, return_sequences=True), L.GRU(5),
                       L.Dense(3, activation="softmax")]), RNG.randint(0, 9, (12, 5))


@pytest.mark.parametrize("make", [dense, conv, recurrent])
def test_models_train_and_predict(floatx, make):
    model, x = make()
    assert model.layers[-1].dtype == floatx and all(w.dtype == floatx for w in model.get_weights())
    model.compile("adam", "categorical_crossentropy", metrics=["acc"])
    before = [w.copy() for w in model.get_weights()]
    losses = [model.train_on_batch(x, np.eye(3)[np.arange(12) % 3])[0] for _ in range(25)]
    assert losses[-1] < losses[0] and np.isfinite(losses).all()
    after = model.get_weights()
    assert any((a != b).any() for a, b in zip(before, after)) and all(w.dtype == floatx for w in after)
    got = model.predict(x)
    assert got.dtype == floatx
    np.testing.assert_allclose(got.sum(1), 1, atol=2e-3)


def test_float16_is_close_to_float32():
    """The same weights in both: a half's rounding apart, at the end and in the weights."""
    weights, outs = None, []
    x = RNG.rand(7, 6)
    for dtype in ("float16", "float32"):
        K.set_floatx(dtype)
        try:
            model = Sequential([L.Dense(16, activation="tanh", input_shape=(6,)), L.Dense(4, activation="softmax")])
            if weights is not None:
                model.set_weights([w.astype(dtype) for w in weights])
            weights = model.get_weights()
            outs.append(model.predict(x.astype("float16")))
        finally:
            K.set_floatx("float32")
    np.testing.assert_allclose(outs[0].astype("f"), outs[1], atol=1e-3)


def test_a_layer_with_a_dtype_of_its_own():
    x = L.Input((3,), dtype="uint8")
    scaled = L.Lambda(lambda t: K.cast(t, "float32") / 255)(x)
    model = Model(x, L.Dense(2, use_bias=False, kernel_initializer="ones")(scaled))
    a = np.array([[255, 0, 51], [1, 2, 3]], "uint8")
    np.testing.assert_allclose(model.predict(a), np.repeat(a.sum(1, keepdims=True) / 255, 2, 1), rtol=1e-6)
    assert K.dtype(x) == "uint8"


def test_narrow_integers_in_k_functions():
    a, b = K.placeholder((None, 3), dtype="uint8"), K.placeholder((None, 3), dtype="int8")
    f = K.function([a, b], [a + a, b * b, K.cast(K.cast(a, "float32") * 1.7, "uint8"), K.cast(b, "float16")])
    x, y = np.array([[200, 100, 3]], "uint8"), np.array([[-100, 5, 127]], "int8")
    got = f([x, y])
    for g, w in zip(got, (x + x, y * y, np.array([[255, 170, 5]], "uint8"), y.astype("float16"))):
        assert g.dtype == w.dtype
        np.testing.assert_array_equal(g, w)


def test_dtypes_that_graphs_do_not_hold():
    for dtype in ("complex64", "uint64"):
        with pytest.raises(TypeError, match=f"in the dtype {dtype}, which graphk does not compute in; expected one of"):
            K.placeholder((2,), dtype=dtype)


def test_constants_of_narrow_types_are_put_out():
    x = K.placeholder((2,), dtype="float16")
    half, small = K.constant([1, 2], dtype="float16"), K.constant([3, 200], dtype="uint8")
    got = K.function([x], [half, small, x + half, K.cast(half * 3, "int8")])([[1, 1]])
    assert [g.dtype.name for g in got] == ["float16", "uint8", "float16", "int8"]
    assert [g.tolist() for g in got] == [[1, 2], [3, 200], [2, 3], [3, 6]]
