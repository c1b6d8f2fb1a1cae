"""Recurrent layers as they were written before there were cells: steps of the layer's own."""
import numpy as np
import pytest

from graphk import activations, initializers
from graphk import backend as K
from graphk import layers as L
from graphk.layers.recurrent import Recurrent, _time_distributed_dense
from graphk.legacy import layers as legacy
from graphk.models import Model, Sequential


def data(*shape, at=0):
    return np.random.RandomState(at + sum(shape)).randn(*shape).astype("float32")


class Plain(Recurrent):
    """SimpleRNN; inputs are multiplied beforehand."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        if isinstance(input_shape, list):                       # initial states come as inputs, too
            input_shape = input_shape[0]
        self.states = [None]
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel", initializer="uniform",
                                      regularizer="l2")
        self.recurrent_kernel = self.add_weight(shape=(self.units, self.units), name="u", initializer="uniform")
        super().build(input_shape)

    def preprocess_input(self, x, training=None):
        return _time_distributed_dense(x, self.kernel, None, self.dropout, 2, self.units, K.int_shape(x)[1], training)

    def step(self, x, states):
        h = K.tanh(x + K.dot(states[0], self.recurrent_kernel))
        return h, [h]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@pytest.mark.parametrize("kwargs", [{}, {"return_sequences": True, "go_backwards": True}, {"unroll": True},
                                    {"return_state": True}])
def test_is_the_rnn_of_its_step(kwargs):
    x = L.Input((4, 2))
    masked = L.Masking()(x)
    mine, ours = Plain(3, **kwargs), L.SimpleRNN(3, use_bias=False, **kwargs)
    a, b = Model(x, mine(masked)), Model(x, ours(masked))
    b.set_weights(a.get_weights())
    values = data(3, 4, 2)
    values[0, 2:] = 0.
    for got, want in zip(a.predict(values), b.predict(values)):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    assert len(mine.losses) == 1 and [w.name for w in mine.weights] == [f"{mine.name}/kernel:0", f"{mine.name}/u:0"]
    again = Plain.from_config(mine.get_config())
    assert again.get_config() == mine.get_config()
    mine.trainable = False
    assert mine.trainable_weights == [] and len(mine.non_trainable_weights) == 2


def test_stateful_and_initial_states():
    model = Sequential([Plain(3, stateful=True, batch_input_shape=(2, 2, 2))])
    model.compile("sgd", "mse")
    first = model.predict(data(2, 2, 2), batch_size=2)
    again = model.predict(data(2, 2, 2), batch_size=2)
    assert not np.allclose(first, again)
    model.reset_states()
    np.testing.assert_allclose(model.predict(data(2, 2, 2), batch_size=2), first, rtol=1e-5)
    model.train_on_batch(data(2, 2, 2), data(2, 3))
    x, h = L.Input((4, 2)), L.Input((3,))
    layer = Plain(3)
    pair = Model([x, h], layer(x, initial_state=h))
    assert not np.allclose(pair.predict([data(1, 4, 2), data(1, 3)]), pair.predict([data(1, 4, 2), 0 * data(1, 3)]))


class Decoder(Recurrent):
    def __init__(self, units, output_dim, **kwargs):
        self.units, self.output_dim = units, output_dim
        super().__init__(**kwargs)
        self.return_sequences, self.dropout = True, .3

    def build(self, input_shape):
        self.batch_size, self.timesteps, self.input_dim = input_shape
        self.states = [None, None]
        self.make = initializers.get("glorot_uniform")
        self.v, self.w, self.u, self.start, self.c, self.o = (
            self.add_weight(shape=s, name=n, initializer=self.make) for n, s in (
                ("v", (self.units, 1)), ("w", (self.units, self.units)), ("u", (self.input_dim, self.units)),
                ("start", (self.input_dim, self.units)), ("c", (self.input_dim, self.units)),
                ("o", (self.units, self.output_dim))))
        self.built = True

    def call(self, x):
        self.seen = x
        self.keys = _time_distributed_dense(x, self.u, dropout=self.dropout, input_dim=self.input_dim,
                                            timesteps=self.timesteps, output_dim=self.units)
        return super().call(x)

    def get_initial_state(self, x):
        return [K.zeros_like(K.dot(x[:, 0], self.start))[:, :1] * K.ones((1, self.output_dim)),
                activations.tanh(K.dot(x[:, 0], self.start))]

    def step(self, x, states):
        y, s = states
        energy = K.dot(K.tanh(self.keys + K.repeat(K.dot(s, self.w), self.timesteps)), self.v)
        weights = K.softmax(K.squeeze(energy, -1))
        context = K.sum(self.seen * K.expand_dims(weights), 1)
        s = K.tanh(K.dot(context, self.c))
        y = K.softmax(K.dot(s, self.o))
        return y, [y, s]

    def compute_output_shape(self, shape):
        return (None, self.timesteps, self.output_dim)


def test_a_decoder_with_attention():
    """Reads the whole sequence at every step; its first state is made of the inputs; dropout in training."""
    model = Sequential([L.LSTM(4, return_sequences=True, input_shape=(5, 2)), Decoder(4, 3)])
    model.compile("adam", "categorical_crossentropy")
    x, y = data(8, 5, 2), np.eye(3)[np.random.RandomState(0).randint(0, 3, (8, 5))]
    before = model.get_weights()
    model.fit(x, y, epochs=1, verbose=0)
    assert all((a != b).any() for a, b in zip(before, model.get_weights()))
    np.testing.assert_allclose(model.predict(x).sum(-1), np.ones((8, 5)), rtol=1e-4)


def test_keras_1_names():
    class Old(Recurrent):
        def __init__(self, output_dim, **kwargs):
            self.output_dim = output_dim
            super().__init__(**kwargs)

        def get_constants(self, x):
            return [K.mean(x, axis=1)]

        def get_initial_states(self, x):
            return [K.sum(x, axis=1)]

        def step(self, x, states):
            assert len(states) == 2
            return x + states[0] + states[1], [states[0]]
    x = L.Input((3, 2))
    values = data(2, 3, 2)
    out = Model(x, Old(2, consume_less="mem")(x)).predict(values)
    np.testing.assert_allclose(out, values[:, -1] + values.sum(1) + values.mean(1), rtol=1e-4, atol=1e-6)
    assert legacy.Recurrent is Recurrent
    with pytest.raises(NotImplementedError, match=r"must define step\(inputs, states\)"):
        class Nothing(Recurrent):
            units = 2
        Nothing()(x)
