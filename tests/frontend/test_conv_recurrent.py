"""ConvLSTM2D: values as tf_keras 2.21 has them, layouts, states, masks, dropout, configs, mistakes.

RECORDED: arguments, shape of a sample, shape of the output, and its products with three cosines.
"""
import json

import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.models import Model, Sequential

RECORDED = [
    ({"filters": 3, "kernel_size": 3}, [4, 6, 7, 2], [2, 4, 5, 3], [11.385973, -2.766025, 0.212275]),
    ({"filters": 2, "kernel_size": [2, 3], "padding": "same", "return_sequences": True, "strides": 2},
     [3, 6, 7, 2], [2, 3, 3, 4, 2], [-8.232638, -1.930397, -0.18237]),
    ({"filters": 2, "kernel_size": 3, "padding": "same", "go_backwards": True, "return_sequences": True,
      "recurrent_activation": "sigmoid", "activation": "relu"},
     [3, 5, 4, 2], [2, 3, 5, 4, 2], [15.692923, 0.94795, -1.06387]),
    ({"filters": 2, "kernel_size": 2, "dilation_rate": 2, "use_bias": False},
     [3, 5, 6, 3], [2, 3, 4, 2], [-0.478839, -0.380598, -0.132084])]


def wave(shape, start=0, pace=0.7):
    return np.cos(np.arange(int(np.prod(shape))) * pace + start).reshape(shape).astype("float32")


def weigh(layer):
    layer.set_weights([wave(w.shape, i) * np.float32(.5) for i, w in enumerate(layer.get_weights())])


def again(layer):
    return layer.__class__.from_config(json.loads(json.dumps(layer.get_config())))


@pytest.mark.parametrize("args,shape,out_shape,products", RECORDED)
@pytest.mark.parametrize("free", [False, True])
def test_as_keras(args, shape, out_shape, products, free):
    layer = again(L.ConvLSTM2D(**args))
    x = L.Input((None, None, None, shape[-1]) if free else tuple(shape))
    y = layer(x)
    weigh(layer)
    fed = np.sin(np.arange(2 * int(np.prod(shape))) * 0.37).reshape((2, *shape)).astype("float32")
    out = K.function([x], [y])([fed])[0].astype("float64")
    assert list(out.shape) == out_shape and layer.compute_output_shape((2, *shape)) == out.shape
    got = [(out * wave(out.shape, 0, pace).astype("float64")).sum() for pace in (0, 0.3, 1.1)]
    np.testing.assert_allclose(got, products, rtol=1e-3, atol=1e-3)


def test_layouts_agree():
    config = {"filters": 2, "kernel_size": 3, "strides": 2, "return_sequences": True, "return_state": True}
    last, first = (L.ConvLSTM2D(data_format=f, **config) for f in ("channels_last", "channels_first"))
    a, b = L.Input((3, 6, 7, 2)), L.Input((3, 2, 6, 7))
    ya, yb = last(a), first(b)
    weigh(last)
    weigh(first)
    x = wave((2, 3, 6, 7, 2))
    got = K.function([b], yb)([np.moveaxis(x, -1, 2)])
    for u, v, claimed in zip(K.function([a], ya)([x]), got, first.compute_output_shape((2, 3, 2, 6, 7))):
        np.testing.assert_allclose(np.moveaxis(u, -1, -3), v, atol=1e-5)
        assert v.shape == claimed


def test_states_go_on_where_a_batch_ended():
    x = wave((2, 4, 5, 5, 1))
    whole, part = L.Input((None, 5, 5, 1)), L.Input(batch_shape=(2, None, 5, 5, 1))
    plain, stateful = L.ConvLSTM2D(2, 2, return_state=True), L.ConvLSTM2D(2, 2, stateful=True)
    y, h, c = plain(whole)
    m = Model(part, stateful(part))
    weigh(plain)
    weigh(stateful)
    f = K.function([whole], [y, h, c])
    want, h1, c1 = f([x])
    m.predict(x[:, :2], batch_size=2)
    np.testing.assert_allclose(m.predict(x[:, 2:], batch_size=2), want, atol=1e-5)
    stateful.reset_states()
    np.testing.assert_allclose(m.predict(x, batch_size=2), want, atol=1e-5)
    _, h0, c0 = f([x[:, :2]])
    stateful.reset_states([h0, c0])
    np.testing.assert_allclose(m.predict(x[:, 2:], batch_size=2), want, atol=1e-5)
    s = [L.Input((4, 4, 2)), L.Input((4, 4, 2))]
    out = plain(whole, initial_state=s)
    np.testing.assert_allclose(K.function([whole, *s], out)([x[:, 2:], h0, c0])[2], c1, atol=1e-5)
    with pytest.raises(ValueError, match="expected shape"):
        stateful.reset_states([h0[:1], c0])
    with pytest.raises(AttributeError, match="stateful"):
        plain.reset_states()


def test_masked_steps_change_nothing():
    x, x2, mask = L.Input((4, 4, 4, 1)), L.Input((2, 4, 4, 1)), K.placeholder((None, 4))
    layer = L.ConvLSTM2D(2, 3)
    y, short = layer(x, mask=mask), layer(x2)
    fed = wave((2, 4, 4, 4, 1))
    got = K.function([x, mask], [y])([fed, [[1, 1, 0, 0]] * 2])[0]
    np.testing.assert_allclose(got, K.function([x2], [short])([fed[:, :2]])[0], atol=1e-5)


@pytest.mark.parametrize("data_format,shape", [("channels_last", (3, 4, 5, 1)), ("channels_first", (3, 1, 4, 5))])
def test_learns_with_dropout_and_bare_cell(data_format, shape):
    m = Sequential([L.ConvLSTM2D(2, 2, dropout=.3, recurrent_dropout=.2, data_format=data_format, input_shape=shape,
                                 kernel_regularizer="l2"), L.Flatten(), L.Dense(1)])
    m.compile("sgd", "mse")
    x, y = wave((8, *shape)), wave((8, 1))
    np.testing.assert_array_equal(m.predict(x), m.predict(x))
    before = m.evaluate(x, y, verbose=0)
    losses = m.fit(x, y, epochs=30, verbose=0).history["loss"]
    assert len(set(losses)) > 20 and m.evaluate(x, y, verbose=0) < before
    layer = again(L.ConvRNN2D(L.ConvLSTM2DCell(2, 2, data_format=data_format), return_sequences=True))
    assert K.int_shape(layer(L.Input(shape)))[:2] == (None, 3)


def test_forget_bias_and_attributes():
    layer = L.ConvLSTM2D(2, (2, 3), input_shape=(3, 4, 5, 1))
    Sequential([layer])
    assert layer.get_weights()[2].tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert layer.filters == 2 and layer.kernel_size == (2, 3) and "units" not in layer.get_config()


def test_mistakes():
    with pytest.raises(TypeError, match="stack"):
        L.ConvRNN2D([L.ConvLSTM2DCell(2, 2)])
    with pytest.raises(TypeError, match="Unrolling"):
        L.ConvLSTM2D(2, 2, unroll=True)
    with pytest.raises(ValueError, match="channel dimension"):
        L.ConvLSTM2D(2, 2)(L.Input((3, 4, 4, None)))
    with pytest.raises(ValueError, match="size of its images"):
        L.ConvLSTM2D(2, 2, stateful=True)(L.Input((3, 4, 4, 1)))
