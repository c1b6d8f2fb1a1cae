"""TimeDistributed and Bidirectional: what they compute, masks, inner losses and updates, configs, mistakes."""
import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk import regularizers
from graphk.models import Model, Sequential
from graphk.utils.generic_utils import object_list_uid


def data(*shape, at=0):
    return np.random.RandomState(at + sum(shape)).randn(*shape).astype("float32")


# ------------------------------------------------------------------ TimeDistributed
@pytest.mark.parametrize("batch,time", [(None, 4), (None, None), (3, 4)])
def test_every_step_goes_through_the_layer(batch, time):
    x = L.Input(batch_shape=(batch, time, 2))
    layer = L.TimeDistributed(L.Dense(5, activation="tanh"))
    y = layer(x)
    assert K.int_shape(y) == (batch, time, 5)
    w, b = layer.get_weights()
    a = data(3, 4, 2)
    np.testing.assert_allclose(Model(x, y).predict(a, batch_size=3), np.tanh(a @ w + b), rtol=1e-4, atol=1e-5)


def test_a_known_batch_size_runs_a_layer_of_the_users_step_by_step():
    class Pick(L.Layer):
        """Depends on the batch size: each sample takes the next one's place."""

        def call(self, x):
            return K.concatenate([x[1:], x[:1]], 0) * float(K.int_shape(x)[0])
    x = L.Input(batch_shape=(3, 4, 2))
    a = data(3, 4, 2)
    np.testing.assert_allclose(Model(x, L.TimeDistributed(Pick())(x)).predict(a, batch_size=3),
                               np.roll(a, -1, 0) * 3, rtol=1e-6)


def test_first_weights_and_names_of_weights():
    first = [data(2, 3), data(3)]
    for layer in (L.TimeDistributed(L.Dense(3, weights=first), name="t"), L.TimeDistributed(L.Dense(3), weights=first,
                                                                                            name="t")):
        layer(L.Input((4, 2)))
        assert [w.name for w in layer.weights] == ["t/kernel:0", "t/bias:0"]
        for got, want in zip(layer.get_weights(), first):
            np.testing.assert_array_equal(got, want)


def test_nested_models_and_shapes():
    inner = Sequential([L.Dense(3, input_shape=(2, 5)), L.Flatten(), L.Dense(4)])
    layer = L.TimeDistributed(L.TimeDistributed(inner))
    x = L.Input((None, 6, 2, 5))
    y = layer(x)
    assert K.int_shape(y) == (None, None, 6, 4) == layer.compute_output_shape((None, None, 6, 2, 5))
    a = data(2, 3, 6, 2, 5)
    np.testing.assert_allclose(Model(x, y).predict(a).reshape(-1, 4), inner.predict(a.reshape(-1, 2, 5)), rtol=1e-4,
                               atol=1e-5)


def test_masks_of_steps():
    words = L.Input((3, 4), dtype="int32")
    seen = L.TimeDistributed(L.Embedding(6, 2, mask_zero=True))(words)
    lines = L.TimeDistributed(L.LSTM(3))(seen)
    a = np.array([[[1, 2, 0, 0], [3, 0, 0, 0], [0, 0, 0, 0]], [[1, 2, 3, 4], [0, 0, 0, 0], [0, 0, 0, 0]]])
    one, two = K.function([words], [seen._keras_mask, lines._keras_mask])([a])
    np.testing.assert_array_equal(one, a != 0)
    np.testing.assert_array_equal(two, (a != 0).any(-1))
    out = Model(words, lines).predict(a)
    inner = Model(words, lines).layers[-1].layer
    x = L.Input((4,), dtype="int32")
    table = Model(words, lines).layers[1].layer
    line = Model(x, inner(table(x)))
    np.testing.assert_allclose(out[0, 0], line.predict(a[0, :1])[0], rtol=1e-4, atol=1e-6)
    x = L.Masking()(L.Input((4, 2)))
    assert L.TimeDistributed(L.Dense(3))(x)._keras_mask is not None
    with pytest.raises(TypeError, match="does not support masking"):
        L.TimeDistributed(L.Flatten())(L.Masking()(L.Input((4, 2, 2))))


def test_inner_updates_and_penalties():
    l2 = regularizers.l2(.1)
    norm = L.TimeDistributed(L.BatchNormalization(momentum=.5))
    model = Sequential([L.TimeDistributed(L.Dense(3, kernel_regularizer=l2, activity_regularizer=l2),
                                          input_shape=(4, 2)), norm])
    assert len(model.losses) == 2 and len(model.updates) == 2 and len(norm.get_weights()) == 4
    w, _ = model.layers[0].get_weights()
    a = data(5, 4, 2)
    model.compile("sgd", lambda y, p: 0. * p)
    np.testing.assert_allclose(model.evaluate(a, np.zeros((5, 4, 3)), verbose=0),
                               .1 * (w ** 2).sum() + .1 * ((a @ w) ** 2).sum(), rtol=1e-4)
    model.train_on_batch(a, np.zeros((5, 4, 3)))
    np.testing.assert_allclose(norm.get_weights()[2], .5 * (a @ w).mean((0, 1)), rtol=1e-3, atol=1e-6)
    merged = norm._input_map[object_list_uid(norm.input)]        # as Keras keeps it: what the inner layer was called on
    assert K.int_shape(merged) == (None, 3) and norm.layer.get_updates_for(merged) == norm.get_updates_for(norm.input)
    x = L.Input((4, 2))
    assert len(Model(x, model(x)).updates) == 2 and len(Model(x, model(x)).losses) == 2
    model.trainable = False
    norm.trainable = False
    assert norm.layer.trainable is False and norm.trainable_weights == [] and len(norm.non_trainable_weights) == 4
    assert not norm.updates


def test_the_learning_phase_reaches_inside():
    x = L.Input((4, 20))
    y = L.TimeDistributed(L.Dropout(.5))(x)
    f = K.function([x, K.learning_phase()], [y])
    a = np.ones((2, 4, 20))
    assert y._uses_learning_phase and set(np.unique(f([a, 1])[0])) == {0., 2.}
    np.testing.assert_array_equal(f([a, 0])[0], a)
    always = K.function([x], [L.TimeDistributed(L.Dropout(.5))(x, training=True)])
    assert set(np.unique(always([a])[0])) == {0., 2.}


@pytest.mark.parametrize("make", [
    lambda: L.TimeDistributed(L.Dense(3, activation="relu"), input_shape=(4, 2), name="it"),
    lambda: L.TimeDistributed(Sequential([L.Dense(3, input_shape=(2,)), L.Dropout(.5)])),
    lambda: L.Bidirectional(L.LSTM(3, return_sequences=True), merge_mode="ave", input_shape=(4, 2)),
    lambda: L.Bidirectional(L.RNN([L.GRUCell(3), L.LSTMCell(2)], return_state=True), merge_mode=None),
    lambda: L.TimeDistributed(L.Bidirectional(L.GRU(2)))])
def test_config_round_trip(make):
    layer = make()
    again = L.deserialize(L.serialize(layer))
    assert again.get_config() == layer.get_config()
    shape = (None, 5, 4, 2) if isinstance(layer.layer, L.Bidirectional) else (None, 4, 2)
    x = L.Input(shape[1:])
    y, z = layer(x), again(x)
    again.set_weights(layer.get_weights())
    a = data(3, *shape[1:])
    for p, q in zip(Model(x, y).predict(a), Model(x, z).predict(a)):
        np.testing.assert_array_equal(p, q)


def test_a_frozen_inner_layer_stays_frozen():
    dense = L.Dense(3)
    dense.trainable = False
    assert L.TimeDistributed(dense).trainable is False
    gru = L.GRU(3)
    gru.trainable = False
    both = L.Bidirectional(gru)
    both(L.Input((4, 2)))
    assert both.trainable_weights == [] and len(both.non_trainable_weights) == 6
    both.trainable = True
    assert len(both.trainable_weights) == 6 and both.backward_layer.trainable


# ------------------------------------------------------------------ Bidirectional
@pytest.mark.parametrize("mode", ["sum", "mul", "ave", "concat", None])
@pytest.mark.parametrize("sequences", [False, True])
def test_both_directions(mode, sequences):
    both = L.Bidirectional(L.SimpleRNN(3, return_sequences=sequences, return_state=True), merge_mode=mode)
    x = L.Input((None, 2))
    outs = both(x)
    weights = both.get_weights()
    there = L.SimpleRNN(3, return_sequences=sequences, weights=weights[:3])
    back = L.SimpleRNN(3, return_sequences=sequences, weights=weights[3:], go_backwards=True)
    a = data(4, 5, 2)
    p, q = Model(x, [there(x), back(x)]).predict(a)
    q = q[:, ::-1] if sequences else q
    want = {"sum": p + q, "mul": p * q, "ave": (p + q) / 2, "concat": np.concatenate([p, q], -1)}.get(mode)
    got = Model(x, outs).predict(a)
    shapes = both.compute_output_shape((None, None, 2))
    assert [K.int_shape(y) for y in outs] == shapes and len(got) == (4 if mode is None else 3)
    for value, wanted in zip(got, [p, q] if mode is None else [want]):
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(got[-2], p[:, -1] if sequences else p, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(got[-1], q[:, 0] if sequences else q, rtol=1e-4, atol=1e-6)


def test_weights_are_forward_then_backward():
    layer = L.Bidirectional(L.LSTM(3), name="both")
    layer(L.Input((4, 2)))
    assert [w.name.split("/")[1].split("_")[0] for w in layer.weights] == ["forward"] * 3 + ["backward"] * 3
    given = [data(*w.shape, at=i) for i, w in enumerate(layer.get_weights())]
    layer.set_weights(given)
    for v, w in zip(layer.get_weights(), given):
        np.testing.assert_array_equal(v, w)
    for v, w in zip(layer.backward_layer.get_weights(), given[3:]):
        np.testing.assert_array_equal(v, w)
    other = L.Bidirectional(L.LSTM(3), weights=given)
    other(L.Input((4, 2)))
    for v, w in zip(other.get_weights(), given):
        np.testing.assert_array_equal(v, w)


def test_states_of_both_directions_persist():
    x = L.Input(batch_shape=(2, 3, 2))
    model = Model(x, L.Bidirectional(L.GRU(3, stateful=True))(x))
    a = data(2, 3, 2)
    first, second = model.predict(a, batch_size=2), model.predict(a, batch_size=2)
    assert (np.abs(first - second).max(0) > 1e-6).all()
    model.reset_states()
    np.testing.assert_array_equal(model.predict(a, batch_size=2), first)


def test_constants_reach_both_directions():
    class Fed(L.Layer):
        state_size = 2

        def call(self, inputs, states, constants):
            return inputs + constants[0] + states[0], [inputs + constants[0] + states[0]]
    x, c, s = L.Input((None, 2)), L.Input((2,)), [L.Input((2,)), L.Input((2,))]
    layer = L.Bidirectional(L.RNN(Fed()), merge_mode="sum")
    a, k, h = data(3, 4, 2), data(3, 2), [data(3, 2, at=1), data(3, 2, at=2)]
    want = 2 * a.sum(1) + 8 * k
    np.testing.assert_allclose(Model([x, c], layer(x, constants=c)).predict([a, k]), want, rtol=1e-4, atol=1e-5)
    model = Model([x, c, *s], layer(x, initial_state=s, constants=c))
    np.testing.assert_allclose(model.predict([a, k, *h]), want + h[0] + h[1], rtol=1e-4, atol=1e-5)


def test_updates_and_losses_added_from_outside_are_found():
    """Without a call, an inner layer's belong to the inputs that they were added with."""
    for wrapper in (L.TimeDistributed(L.Dense(3)), L.Bidirectional(L.SimpleRNN(3))):
        x = L.Input((3, 2))
        inner = wrapper._inner()
        for layer in inner:
            layer.add_update(K.update(K.variable(0.), 1.), inputs=x)
            layer.add_loss(K.variable(1.), inputs=x)
            layer.add_loss(K.variable(2.))
        n = len(inner)
        assert (len(wrapper.updates), len(wrapper.get_updates_for(x)), len(wrapper.get_updates_for(None))) == (n, n, 0)
        assert (len(wrapper.losses), len(wrapper.get_losses_for(x)), len(wrapper.get_losses_for(None))) == (2 * n, n, n)


def test_penalties_of_both_directions():
    l2 = regularizers.l2(.1)
    layer = L.Bidirectional(L.GRU(3, kernel_regularizer=l2, activity_regularizer=l2))
    model = Sequential([L.Dense(2, input_shape=(4, 2)), layer])
    assert len(model.losses) == 3                        # two kernels, and the joined output
    x = L.Masking()(L.Input((4, 2)))
    assert layer(x)._keras_mask is None
    y, z = L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode=None)(x)
    assert y._keras_mask is not None and z._keras_mask is not None


def test_functions_of_the_users_need_no_registration():
    layer = L.Bidirectional(L.SimpleRNN(2, activation=lambda x: x * 0. + 1., return_sequences=True))
    x = L.Input((4, 2))
    np.testing.assert_array_equal(Model(x, layer(x)).predict(data(3, 4, 2)), np.ones((3, 4, 4)))


def test_mistakes():
    with pytest.raises(ValueError, match="Invalid merge mode"):
        L.Bidirectional(L.LSTM(3), merge_mode="max")
    with pytest.raises(ValueError, match="wraps recurrent layers"):
        L.Bidirectional(L.Dense(3))
    with pytest.raises(ValueError, match="the state should be a list containing the states"):
        L.Bidirectional(L.GRU(3))(L.Input((4, 2)), initial_state=L.Input((3,)))
    with pytest.raises(ValueError, match="at least 3 dimensions"):
        L.TimeDistributed(L.Dense(3))(L.Input((4,)))
