"""Recurrent layers: against plain numpy, gradients, states, masks, configs, mistakes."""
import warnings

import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk import regularizers
from graphk.ir.node import Graph
from graphk.models import Model, Sequential
from graphk.passes.recurrent import recurrent
from graphk.passes.simplify import simplify

KINDS = [L.SimpleRNN, L.GRU, L.LSTM]
EVERY = [*KINDS, L.CuDNNGRU, L.CuDNNLSTM]


def data(*shape, at=0):
    return np.random.RandomState(at + sum(shape)).randn(*shape).astype("float32")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hard(x):
    return np.clip(.2 * x + .5, 0, 1)


def random_weights(layer):
    layer.set_weights([.5 * data(*w.shape, at=i) for i, w in enumerate(layer.get_weights())])
    return layer.get_weights()


# ------------------------------------------------------------------ what they compute
@pytest.mark.parametrize("time", [1, 6])
def test_lstm_is_the_formula(time):
    x, layer = L.Input((None, 3)), L.LSTM(4, return_state=True)
    model = Model(x, layer(x))
    w, u, b = random_weights(layer)
    a = data(5, time, 3)
    h = c = np.zeros((5, 4))
    for t in range(time):
        i, f, g, o = np.split(a[:, t] @ w + h @ u + b, 4, axis=1)
        c = hard(f) * c + hard(i) * np.tanh(g)
        h = hard(o) * np.tanh(c)
    for got, want in zip(model.predict(a), (h, h, c)):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_cudnn_layers_read_their_memory_as_cudnn_does():
    """The conversion that Keras applies to weight files: blocks read as the transposed matrix's memory."""
    a = data(3, 5, 2)
    for cudnn, plain, gates in ((L.CuDNNLSTM(3), L.LSTM(3, recurrent_activation="sigmoid"), 4),
                                (L.CuDNNGRU(3), L.GRU(3, recurrent_activation="sigmoid", reset_after=True), 3)):
        x = L.Input((5, 2))
        one, two = Model(x, cudnn(x)), Model(x, plain(x))
        w, u, b = random_weights(cudnn)
        assert b.shape == (2 * gates * 3,)

        def turned(k, n=gates):
            return np.hstack([part.T.reshape(part.shape, order="F") for part in np.hsplit(k, n)])
        plain.set_weights([turned(w), turned(u), b.reshape(2, -1).sum(0) if gates == 4 else b.reshape(2, -1)])
        np.testing.assert_allclose(one.predict(a), two.predict(a), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", EVERY)
def test_an_identity_for_each_gate(kind):
    layer = kind(3, recurrent_initializer="identity")
    layer.build((None, None, 2))
    u = layer.get_weights()[1]
    np.testing.assert_array_equal(u, np.tile(np.eye(3), u.shape[1] // 3))
    assert layer.get_config()["recurrent_initializer"] == {"class_name": "Identity", "config": {"gain": 1.}}


@pytest.mark.parametrize("kind", EVERY, ids=lambda k: k.__name__)
def test_weights(kind):
    layer = kind(4)
    layer.build((None, None, 3))
    gates = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}[kind.__name__.removeprefix("CuDNN")]
    bias = (8 * gates,) if "CuDNN" in kind.__name__ else (4 * gates,)
    assert [w.shape for w in layer.weights] == [(3, 4 * gates), (4, 4 * gates), bias]
    if "LSTM" in kind.__name__:
        want = np.zeros(bias)
        want[-12:-8] = 1
        np.testing.assert_array_equal(layer.get_weights()[2], want)
    assert kind(4).units == 4 and layer.kernel_initializer.get_config()["mode"] == "fan_avg"


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
@pytest.mark.parametrize("masked", [False, True])
def test_unrolled_equals_rolled(kind, masked):
    a = data(3, 4, 2)
    a[1, 2:] = 0
    outs = []
    for unroll in (False, True):
        x, layer = L.Input((4, 2)), kind(3, unroll=unroll, return_sequences=True, return_state=True,
                                         go_backwards=True)
        model = Model(x, layer(L.Masking()(x) if masked else x))
        random_weights(layer)
        outs.append(model.predict(a))
    for p, q in zip(*outs):
        np.testing.assert_allclose(p, q, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [
    lambda: L.LSTM(3, activation="linear", recurrent_activation="sigmoid", return_sequences=True),
    lambda: L.GRU(3, recurrent_activation="sigmoid", go_backwards=True),
    lambda: L.GRU(3, recurrent_activation="sigmoid", reset_after=True),
    lambda: L.RNN([L.LSTMCell(2, recurrent_activation="sigmoid"), L.SimpleRNNCell(3)]),
    lambda: L.Bidirectional(L.SimpleRNN(2, return_sequences=True), merge_mode="mul"),
    lambda: L.TimeDistributed(L.Dense(2, activation="tanh"))], ids=["lstm", "gru", "after", "stack", "both", "steps"])
def test_gradients_are_the_differences(make):
    """Analytic gradients of every weight and of the inputs beside central differences, in float64, with a mask."""
    K.set_floatx("float64")
    x, layer = L.Input((4, 2)), make()
    y = layer(L.Masking()(x))
    random_weights(layer)
    loss = K.sum(K.square(y) * .5 + y)
    a = np.random.RandomState(1).randn(3, 4, 2)
    a[1, 2:] = 0
    wanted = [*layer.trainable_weights]
    f, g = K.function([x], [loss]), K.function([x], K.gradients(loss, wanted))
    for w, got in zip(wanted, g([a])):
        v = K.get_value(w)
        for at in [tuple(np.random.RandomState(k).randint(0, d) for d in v.shape) for k in range(3)]:
            ends = []
            for step in (1e-5, -1e-5):
                moved = v.copy()
                moved[at] += step
                K.set_value(w, moved)
                ends.append(float(f([a])[0]))
            K.set_value(w, v)
            np.testing.assert_allclose(got[at], (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-7)


# ------------------------------------------------------------------ dropout
@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
@pytest.mark.parametrize("implementation", [1, 2])
def test_dropout_masks_are_drawn_once_per_batch(kind, implementation):
    """A sequence that repeats one step, through a cell without memory, comes out the same at every step."""
    more = {} if kind is L.SimpleRNN else {"implementation": implementation}
    layer = kind(6, dropout=.5, return_sequences=True, recurrent_initializer="zeros", activation="linear",
                 **({"recurrent_activation": lambda x: 0. * x + (.5 if kind is L.GRU else 1.)} if more else {}), **more)
    x = L.Input((5, 8))
    y = layer(x)
    f = K.function([x, K.learning_phase()], [y])
    a = np.ones((3, 5, 8))
    dropped, again, plain = f([a, 1])[0], f([a, 1])[0], f([a, 0])[0]
    steps = np.diff(np.concatenate([0 * dropped[:, :1], dropped], 1), axis=1) if kind is L.LSTM else dropped
    if kind is L.GRU:
        steps = dropped[:, 1:] - .5 * dropped[:, :-1]
    np.testing.assert_allclose(steps, np.broadcast_to(steps[:, -1:], steps.shape), rtol=1e-4, atol=1e-5)
    assert not np.allclose(dropped, again) and not np.allclose(dropped, plain)
    assert not np.allclose(dropped[0], dropped[1])


@pytest.mark.parametrize("make", [
    lambda: L.LSTM(64, dropout=.3, recurrent_dropout=.3), lambda: L.GRU(64, recurrent_dropout=.3, implementation=2),
    lambda: L.RNN([L.LSTMCell(8, dropout=.3), L.GRUCell(64, dropout=.3, recurrent_dropout=.3)])],
    ids=["lstm", "gru", "stack"])
def test_dropout_acts_in_training_only(make):
    x = L.Input((4, 3))
    layer = make()
    y = layer(x)
    f = K.function([x, K.learning_phase()], [y])
    a = data(2, 4, 3)
    assert not np.allclose(f([a, 1])[0], f([a, 0])[0])
    np.testing.assert_array_equal(f([a, 0])[0], f([a, 0])[0])
    fixed = K.function([x], [layer(x, training=True)])
    assert not np.allclose(fixed([a])[0], fixed([a])[0])


# ------------------------------------------------------------------ states
def test_stateful_goes_on_where_the_last_batch_ended():
    whole = Sequential([L.LSTM(3, input_shape=(None, 2), return_sequences=True)])
    parts = Sequential([L.LSTM(3, batch_input_shape=(2, 2, 2), stateful=True, return_sequences=True)])
    parts.set_weights(whole.get_weights())
    a = data(2, 6, 2)
    want = whole.predict(a)
    got = np.concatenate([parts.predict_on_batch(a[:, i:i + 2]) for i in (0, 2, 4)], axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    parts.reset_states()
    np.testing.assert_allclose(parts.predict(a[:, :2], batch_size=2), want[:, :2], rtol=1e-4, atol=1e-5)
    layer = parts.layers[0]
    states = [data(2, 3), data(2, 3, at=1)]
    layer.reset_states(states)
    for v, s in zip(layer.states, states):
        np.testing.assert_array_equal(K.get_value(v), s)


@pytest.mark.parametrize("how", ["train_on_batch", "test_on_batch", "predict_on_batch"])
def test_every_kind_of_batch_moves_the_states(how):
    inner = Sequential([L.GRU(3, batch_input_shape=(2, 4, 2), stateful=True), L.BatchNormalization()])
    x = L.Input(batch_shape=(2, 4, 2))
    model = Model(x, inner(x))
    model.compile("sgd", "mse")
    a = data(2, 4, 2)
    getattr(model, how)(*([a] if "predict" in how else [a, data(2, 3)]))
    states = K.get_value(inner.layers[0].states[0])
    assert np.abs(states).max() > 0
    moved = np.abs(inner.layers[1].get_weights()[2]).max() > 0
    assert moved == (how == "train_on_batch")
    model.reset_states()
    assert np.abs(K.get_value(inner.layers[0].states[0])).max() == 0


def test_initial_states_from_variables_and_in_the_list_of_inputs():
    x, s = L.Input((4, 2)), L.Input((3,))
    layer = L.GRU(3)
    y = layer([x, s])
    z = layer(x, initial_state=K.variable(np.ones((2, 3))))
    a = data(2, 4, 2)
    one = Model([x, s], y).predict([a, np.ones((2, 3))])
    np.testing.assert_allclose(one, Model(x, z).predict(a), rtol=1e-5)
    assert not np.allclose(one, Model([x, s], y).predict([a, np.zeros((2, 3))]))


def test_states_and_constants_survive_nesting_and_configs():
    x, s, c = L.Input((None, 2)), L.Input((3,)), L.Input((2,))
    model = Model([x, s, c], L.RNN(Fed(3), name="fed")(x, initial_state=s, constants=c))
    a = [data(4, 5, 2), data(4, 3), data(4, 2)]
    want = model.predict(a)
    again = Model.from_config(model.get_config(), custom_objects={"Fed": Fed})
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.predict(a), want)
    assert again.get_layer("fed").get_config()["num_constants"] == 1
    first = L.RNN(Fed(3))
    whole = first(x, initial_state=K.variable(a[1]), constants=K.variable(a[2]))       # built by what no layer made
    first.set_weights(model.get_weights())
    np.testing.assert_allclose(Model(x, whole).predict(a[0]), want, rtol=1e-5, atol=1e-6)
    ends = [L.Input((None, 2)), L.Input((3,)), L.Input((2,))]
    np.testing.assert_array_equal(Model(ends, model(ends)).predict(a), want)


class Fed(L.Layer):
    """A cell that reads a constant."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units

    def build(self, shapes):
        step, constant = shapes
        self.w = self.add_weight("w", (step[-1], self.units))
        self.v = self.add_weight("v", (constant[-1], self.units))
        self.built = True

    def call(self, inputs, states, constants):
        h = K.tanh(K.dot(inputs, self.w) + K.dot(constants[0], self.v) + .5 * states[0])
        return h, [h]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def test_a_cell_that_is_no_layer():
    class Sum:
        state_size = 2

        def call(self, inputs, states):
            return inputs + states[0], [inputs + states[0]]
    x = L.Input((None, 2))
    a = data(3, 4, 2)
    y = L.RNN(Sum(), return_sequences=True)(x)
    np.testing.assert_allclose(Model(x, y).predict(a), np.cumsum(a, 1), rtol=1e-4, atol=1e-5)


def test_a_subclass_with_its_own_step_is_asked_for_every_step():
    class Doubled(L.SimpleRNNCell):
        def call(self, inputs, states, training=None):
            h, new = super().call(inputs * 2., states, training)
            return h, new
    x = L.Input((4, 2))
    one, two = L.RNN(Doubled(3)), L.SimpleRNN(3)
    y, z = one(x), two(x)
    two.set_weights(one.get_weights())
    a = data(3, 4, 2)
    np.testing.assert_allclose(Model(x, y).predict(a), Model(x, z).predict(2 * a), rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------ masks, shapes, configs, losses
def test_masks_pass_on_with_sequences_only():
    x = L.Masking()(L.Input((4, 2)))
    assert L.LSTM(3)(x)._keras_mask is None
    assert L.LSTM(3, return_sequences=True)(x)._keras_mask is not None
    y, h, c = L.LSTM(3, return_sequences=True, return_state=True)(x)
    assert y._keras_mask is not None and h._keras_mask is None and c._keras_mask is None


@pytest.mark.parametrize("kind", [*EVERY, lambda *a, **k: L.RNN([L.LSTMCell(4), L.GRUCell(3)], **k)])
def test_config_round_trip(kind):
    layer = kind(4, return_sequences=True, return_state=True, stateful=True, name="it", batch_input_shape=(2, 5, 3))
    again = L.deserialize(L.serialize(layer))
    assert again.get_config() == layer.get_config() and type(again) is type(layer)
    x = L.Input(batch_shape=(2, 5, 3))
    assert [K.int_shape(y) for y in again(x)] == layer.compute_output_shape((2, 5, 3))


def test_config_keeps_what_was_given():
    with pytest.warns(UserWarning, match="`recurrent_dropout` is a fraction from 0 to 1; received 1.5"):
        layer = L.LSTM(4, activation="relu", recurrent_activation="sigmoid", use_bias=False, kernel_regularizer="l2",
                       dropout=.2, recurrent_dropout=1.5, implementation=2, unit_forget_bias=False, go_backwards=True)
    config = L.LSTM.from_config(layer.get_config()).get_config()
    assert config == layer.get_config()
    assert (config["activation"], config["recurrent_activation"], config["dropout"], config["recurrent_dropout"],
            config["implementation"], config["unit_forget_bias"]) == ("relu", "sigmoid", .2, 1., 2, False)
    assert L.GRU(2).get_config()["recurrent_activation"] == "hard_sigmoid" and L.GRU(2).implementation == 1


def test_penalties_and_frozen_layers():
    l2 = regularizers.l2(.1)
    layer = L.LSTM(3, kernel_regularizer=l2, recurrent_regularizer=l2, bias_regularizer=l2, activity_regularizer=l2)
    model = Sequential([L.Embedding(4, 2, input_length=3), layer])
    assert len(model.losses) == 4 and len(layer.losses) == 4
    assert [len(layer.trainable_weights), len(layer.non_trainable_weights)] == [3, 0]
    layer.trainable = False
    assert [len(layer.trainable_weights), len(layer.non_trainable_weights)] == [0, 3]
    assert len(model.trainable_weights) == 1


def test_implementations_agree_without_dropout():
    a = data(3, 4, 2)
    for kind in (L.GRU, L.LSTM):
        x = L.Input((4, 2))
        one, two = kind(3, implementation=1), kind(3, implementation=2)
        y, z = one(x), two(x)
        two.set_weights(one.get_weights())
        np.testing.assert_array_equal(Model(x, y).predict(a), Model(x, z).predict(a))


def test_the_inputs_product_is_outside_the_loop():
    for layer in (L.LSTM(3), L.GRU(3, reset_after=True), L.RNN([L.LSTMCell(3)]), L.SimpleRNN(3)):
        x = L.Input((None, 2))
        y, = recurrent(Graph((x.node,), (layer(x).node,)))[0].outputs
        scan = y.inputs[0]
        assert scan.op.name == "scan"
        dots = [n for n in scan.attr("body").nodes() if n.op.name == "dot"]
        assert len(dots) == 1 and len(scan.attr("body").outputs) == scan.attr("n_carry")


def test_only_numbers_of_words_are_turned():
    """Rows of a table are gathered step after step, and the layer above reads steps as the one below leaves them."""
    words = L.Input((5,))
    model = Model(words, L.GRU(2)(L.LSTM(3, return_sequences=True)(L.Embedding(7, 6)(words))))
    total = K.sum(model.output)
    outputs = (total.node, *(g.node for g in K.gradients(total, model.weights)))
    turned = [n for n in simplify(recurrent(Graph((words.node,), outputs))[0]).nodes() if n.op.name == "transpose"]
    assert turned and all(n.ndim == 2 for n in turned)


# ------------------------------------------------------------------ mistakes
def test_mistakes():
    with pytest.raises(ValueError, match="it needs to know its batch size"):
        L.LSTM(3, stateful=True)(L.Input((4, 2)))
    with pytest.raises(ValueError, match="expected ndim=3, found ndim=2"):
        L.LSTM(3)(L.Input((4,)))
    with pytest.raises(ValueError, match="Cannot unroll a RNN if the time dimension is undefined"):
        L.GRU(3, unroll=True)(L.Input((None, 2)))
    with pytest.raises(AttributeError, match="Layer must be stateful"):
        L.GRU(3).reset_states()
    with pytest.raises(ValueError, match="should have a `call` method"):
        L.RNN(3)
    with pytest.raises(ValueError, match="`state_size`"):
        L.RNN(L.Dense(3))
    with pytest.raises(TypeError, match="unit.*Did you mean `units`|Keyword argument not understood: unist"):
        L.LSTM(3, unist=4)
    with pytest.raises(ValueError, match="Masking is not supported for CuDNN"):
        L.CuDNNLSTM(3)(L.Masking()(L.Input((4, 2))))
    with pytest.raises(ValueError, match="`units` must be a positive integer"):
        L.GRU(0)


def test_mistakes_with_states():
    x, s = L.Input((4, 2)), L.Input((3,))
    with pytest.raises(ValueError, match="not compatible with `cell.state_size`"):
        L.GRU(4)(x, initial_state=s)
    with pytest.raises(ValueError, match="2 states but was passed 1|not compatible"):
        L.LSTM(3)(x, initial_state=s)
    with pytest.raises(ValueError, match="mix of Keras tensors and non-Keras tensors"):
        L.LSTM(3)(x, initial_state=[s, K.variable(np.zeros((2, 3)))])
    with pytest.raises(ValueError, match="RNN cell does not support constants"):
        L.GRU(3)(x, constants=s)
    layer = L.LSTM(3, stateful=True)
    layer(L.Input(batch_shape=(2, 4, 2)))
    with pytest.raises(ValueError, match="expects 2 states, but it received 1"):
        layer.reset_states([np.zeros((2, 3))])
    with pytest.raises(ValueError, match=r"expected shape=\(2, 3\), found shape=\(2, 4\)"):
        layer.reset_states([np.zeros((2, 3)), np.zeros((2, 4))])
    model = Sequential([L.LSTM(3, stateful=True, batch_input_shape=(2, 4, 2))])
    with pytest.raises(ValueError, match="divided by the batch size"):
        model.predict(data(3, 4, 2), batch_size=2)


def test_old_implementations_warn():
    with pytest.warns(UserWarning, match="`implementation=0` has been deprecated"):
        assert L.LSTM(3, implementation=0).implementation == 1
    with pytest.warns(UserWarning, match="deprecated"):
        L.SimpleRNN(3, implementation=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                   # Keras 1's spellings warn
        assert L.LSTM(3, input_dim=5, input_length=7).batch_input_shape == (None, 7, 5)
