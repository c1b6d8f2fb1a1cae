"""`predict` of many small batches: one native call runs several, and each is computed as if it came alone."""
import gc

import numpy as np
import pytest

from graphk import backend as K
from graphk import layers
from graphk.models import Model, Sequential
from graphk.runtime import compile as driver
from graphk.runtime.compile import BATCHES, Executable


def numbers(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("float32")


@pytest.fixture(autouse=True)
def no_devices():
    """What tests of devices have left is gone: while there is any, batches run one after another."""
    K.clear_session()
    gc.collect()


@pytest.fixture
def calls(monkeypatch):
    """What `repeat` was called with and returned."""
    seen = []
    real = Executable.repeat

    def repeat(self, inputs, times):
        out = real(self, inputs, times)
        seen.append(None if out is None else len(inputs[0]))
        return out
    monkeypatch.setattr(Executable, "repeat", repeat)
    return seen


def expected(rows, size):
    """The rows of the native calls that run several batches."""
    full, rest = divmod(rows // size, BATCHES)
    return [BATCHES * size] * full + [rest * size] * (rest > 1)


def one_by_one(model, x, size):
    parts = [model.predict_on_batch([a[i:i + size] for a in x]) for i in range(0, len(x[0]), size)]
    if not isinstance(parts[0], list):
        return [np.concatenate(parts)]
    return [np.concatenate(p) for p in zip(*parts)]


def small():
    return Sequential([layers.Dense(9, activation="relu", input_shape=(5,)), layers.BatchNormalization(),
                       layers.Dropout(0.5), layers.Dense(2, activation="softmax")])


@pytest.mark.parametrize("rows, size", [(16 * 7, 7), (16 * 7 + 3, 7), (200, 4), (40, 1), (15 * 4, 4), (17 * 3, 3),
                                        (2 * 9 + 5, 9)])
def test_the_bits_are_those_of_single_batches(rows, size, calls):
    model, x = small(), numbers(rows, 5)
    got = model.predict(x, batch_size=size)
    assert calls == expected(rows, size)
    assert got.tobytes() == one_by_one(model, [x], size)[0].tobytes()
    assert model.predict(x, batch_size=size).tobytes() == got.tobytes()    # batches like some that were seen before
    assert calls == 2 * expected(rows, size)


@pytest.mark.parametrize("cost", [0, 1 << 60])
def test_on_all_threads_too(cost, calls, monkeypatch):
    monkeypatch.setattr("graphk.runtime.bind.SMALL_COST", cost)
    model = Sequential([layers.Conv2D(4, 3, activation="relu", padding="same", input_shape=(8, 8, 2)),
                        layers.MaxPooling2D(), layers.Flatten(), layers.Dense(3)])
    x = numbers(8 * 33, 8, 8, 2)
    got = model.predict(x, batch_size=8)
    assert calls == expected(8 * 33, 8) and got.tobytes() == one_by_one(model, [x], 8)[0].tobytes()


def test_recurrent_networks_several_inputs_and_outputs(calls):
    a, b = layers.Input((4, 3)), layers.Input((6,), dtype="int32")
    h = layers.LSTM(5, return_sequences=True)(a)
    e = layers.Embedding(11, 4)(b)
    model = Model([a, b], [layers.GRU(3)(h), layers.concatenate([layers.Flatten()(e), layers.Flatten()(h)])])
    x = [numbers(70, 4, 3), np.random.default_rng(0).integers(0, 11, (70, 6)).astype("int32")]
    got = model.predict(x, batch_size=2)
    assert calls == expected(70, 2)
    assert [g.tobytes() for g in got] == [w.tobytes() for w in one_by_one(model, x, 2)]


def test_batches_that_look_at_each_other_stay_batches(calls):
    inp = layers.Input((3,))
    model = Model(inp, layers.Lambda(lambda x: x - K.mean(x, axis=0, keepdims=True))(inp))
    x = numbers(100, 3)
    got = model.predict(x, batch_size=5)
    assert calls == expected(100, 5)
    np.testing.assert_allclose(got, (x.reshape(20, 5, 3) - x.reshape(20, 5, 3).mean(1, keepdims=True)).reshape(100, 3),
                               rtol=1e-5, atol=1e-6)


def test_new_weights_are_seen(calls):
    model, x = small(), numbers(64, 5)
    before = model.predict(x, batch_size=2)
    model.set_weights([w + 1 for w in model.get_weights()])
    after = model.predict(x, batch_size=2)
    assert calls == 2 * expected(64, 2) and not np.allclose(before, after)
    assert after.tobytes() == one_by_one(model, [x], 2)[0].tobytes()


@pytest.mark.parametrize("change", [lambda x: x.astype("float64"), np.asfortranarray, lambda x: x[::-1],
                                    lambda x: (x * 10).astype("int64")])
def test_arrays_of_other_kinds(change, calls):
    model, x = small(), change(numbers(48, 5))
    got = model.predict(x, batch_size=2)
    assert calls == expected(48, 2)
    assert got.tobytes() == one_by_one(model, [np.ascontiguousarray(x, "float32")], 2)[0].tobytes()


def test_rows_that_are_not_there_are_named_whichever_batch_has_them():
    model = Sequential([layers.Embedding(5, 2, input_length=3)])
    x = np.zeros((99, 3), "int32")
    x[70, 1] = 7
    with pytest.raises(ValueError, match="7"):
        model.predict(x, batch_size=2)


def test_each_batch_is_asked_whether_it_fits():
    """What all rows together would satisfy, a batch need not."""
    inp, wide = layers.Input((3,)), layers.Input((None,))
    sixth = Model(inp, layers.Lambda(lambda x: x + x[5:6])(inp))
    assert sixth.predict(numbers(96, 3), batch_size=6).shape == (96, 3)
    with pytest.raises(IndexError, match="element 5 of axis 0"):
        sixth.predict(numbers(64, 3), batch_size=4)
    eighths = Model(wide, layers.Lambda(lambda x: x + K.reshape(x, (8, -1))[0:1, 0:1])(wide))
    with pytest.raises(ValueError, match="meets 12 and 8"):
        eighths.predict(numbers(48, 4), batch_size=3)


def test_what_writes_or_takes_long_or_is_watched_runs_batch_by_batch(calls, monkeypatch, capsys):
    stateful = Sequential([layers.LSTM(3, stateful=True, batch_input_shape=(2, 4, 1))])
    stateful.predict(numbers(64, 4, 1), batch_size=2)
    inp = layers.Input((3,))
    total = K.function([inp], [K.sum(inp, axis=0, keepdims=True)])
    assert total.many([numbers(64, 3)], 2) == []
    model, x = small(), numbers(64, 5)
    want = model.predict(x, batch_size=2)
    del calls[:]
    assert model.predict(x, batch_size=2, verbose=1).tobytes() == want.tobytes() and calls == []
    assert "64/64" in capsys.readouterr().out
    monkeypatch.setattr(driver, "LONG_COST", 10)
    assert model.predict(x, batch_size=2).tobytes() == want.tobytes() and calls == [None]


def test_no_size_of_batches_is_refused_after_no_rows_too():
    model, x = small(), numbers(40, 5)
    assert model.predict(x[:0]).shape == (0, 2)
    for size in (0, -1):
        with pytest.raises(ValueError, match="must be a positive integer"):
            model.predict(x, batch_size=size)


def test_no_arrays_are_no_batch_like_an_earlier_one():
    image = layers.Input(tensor=K.constant(numbers(4, 3)))
    model = Model(image, layers.Dense(2)(image))
    assert model.predict([], steps=1).shape == (4, 2)
    with pytest.raises(ValueError, match="you should specify the `steps` argument"):
        model.predict([])
