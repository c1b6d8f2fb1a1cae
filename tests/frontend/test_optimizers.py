"""Optimizers as users handle them: names, configs, states, hyperparameters, forms of the call."""
import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk import optimizers
from graphk.legacy import interfaces
from graphk.models import Sequential

CLASSES = ("SGD", "RMSprop", "Adagrad", "Adadelta", "Adam", "Adamax", "Nadam")
X, Y = np.random.RandomState(0).randn(6, 3), np.random.RandomState(1).randn(6, 2)


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    monkeypatch.setenv("GRAPHK_EXECUTOR", "interp")


def trained(optimizer, steps=2):
    m = Sequential([L.Dense(2, input_shape=(3,), kernel_initializer="ones", kernel_constraint="max_norm")])
    m.compile(optimizer, "mse")
    for _ in range(steps):
        m.train_on_batch(X, Y)
    return m


@pytest.mark.parametrize("name", CLASSES)
def test_identifiers_configs_and_states(name):
    cls = getattr(optimizers, name)
    for identifier in (name, name.lower(), {"class_name": name, "config": {}}, cls()):
        assert type(optimizers.get(identifier)) is cls
    assert getattr(optimizers, name.lower()) is cls
    made = cls(lr=.5, clipnorm=1., clipvalue=.5)
    config = optimizers.serialize(made)
    assert config["class_name"] == name and config["config"]["lr"] == .5 and config["config"]["clipvalue"] == .5
    assert optimizers.deserialize(config).get_config() == made.get_config()
    assert made.get_weights() == [], "no state before training"
    m, again = trained(cls()), trained(cls(), steps=1)
    again.set_weights(m.get_weights())
    again.optimizer.set_weights(m.optimizer.get_weights())
    K.set_value(again.optimizer.iterations, 2)
    if name == "Nadam":                                   # what Keras 2.2 does not count among the weights
        K.set_value(again.optimizer.m_schedule, K.get_value(m.optimizer.m_schedule))
    for model in (m, again):
        model.train_on_batch(X, Y)
    for a, b in zip(m.get_weights(), again.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    with pytest.raises(ValueError, match="Length of the specified weight list .1. does not match"):
        m.optimizer.set_weights([np.zeros(2)])
    with pytest.raises(ValueError, match="not compatible with provided weight shape"):
        m.optimizer.set_weights([np.zeros((7, 7)) for _ in m.optimizer.weights])


@pytest.mark.parametrize("name, state", [
    ("SGD", [(), (3, 2), (2,)]), ("RMSprop", [(3, 2), (2,)]), ("Adagrad", [(3, 2), (2,)]),
    ("Adadelta", 2 * [(3, 2), (2,)]), ("Adam", [(), *2 * [(3, 2), (2,)], (1,), (1,)]),
    ("Adamax", [(), *2 * [(3, 2), (2,)]]), ("Nadam", [(), *2 * [(3, 2), (2,)]])])
def test_order_of_the_state(name, state):
    assert [w.shape for w in trained(name).optimizer.get_weights()] == state


def test_hyperparameters_change_while_training():
    m = trained(optimizers.SGD(lr=.1, momentum=.9))
    K.set_value(m.optimizer.lr, 0.)
    K.set_value(m.optimizer.momentum, 0.)
    before = m.get_weights()
    m.train_on_batch(X, Y)
    assert all(np.allclose(a, b, rtol=1e-6) for a, b in zip(before, m.get_weights()))
    m.optimizer.lr = .1
    assert K.get_value(m.optimizer.lr) == np.float32(.1)
    m.train_on_batch(X, Y)
    assert not (before[0] == m.get_weights()[0]).all()
    assert m.optimizer.get_config() == {"lr": pytest.approx(.1), "momentum": 0., "decay": 0., "nesterov": False}


@pytest.mark.parametrize("clip", [{"clipnorm": .1}, {"clipvalue": .01}, {"clipnorm": .1, "clipvalue": .01}])
def test_clipping(clip):
    plain, clipped = trained(optimizers.SGD(lr=1.), 0), trained(optimizers.SGD(lr=1., **clip), 0)
    first = [w.copy() for w in plain.get_weights()]
    for m in (plain, clipped):
        m.layers[0].kernel.constraint = None
        m.train_on_batch(X, Y)
    grads = [a - b for a, b in zip(first, plain.get_weights())]
    if "clipnorm" in clip:
        norm = np.sqrt(sum((g ** 2).sum() for g in grads))
        grads = [g * clip["clipnorm"] / norm for g in grads]
    if "clipvalue" in clip:
        grads = [np.clip(g, -clip["clipvalue"], clip["clipvalue"]) for g in grads]
    for a, g, b in zip(first, grads, clipped.get_weights()):
        np.testing.assert_allclose(a - g, b, rtol=1e-4, atol=1e-6)


class Keras1(optimizers.SGD):
    """As written for Keras 1."""

    def get_updates(self, params, constraints, loss):
        self.updates = []
        for p, g in zip(params, self.get_gradients(loss, params)):
            new = p - self.lr * g
            self.updates.append(K.update(p, constraints[p](new) if p in constraints else new))
        return self.updates


class Decorated(optimizers.Optimizer):
    """As other libraries write theirs."""

    @interfaces.legacy_get_updates_support
    def get_updates(self, loss, params):
        self.updates = [K.update(p, p - .01 * g) for p, g in zip(params, self.get_gradients(loss, params))]
        return self.updates


def test_both_forms_of_get_updates():
    want = trained(optimizers.SGD()).get_weights()
    for a, b in zip(want, trained(Keras1()).get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert len(trained(Decorated()).get_weights()) == 2
    v = K.variable([1., -1.])
    loss = K.sum(K.square(v))
    with pytest.warns(UserWarning, match="Update your `get_updates` call"):
        updates = optimizers.SGD(lr=1.).get_updates([v], {v: lambda w: K.clip(w, -.5, .5)}, loss)
    K.function([], [], updates)([])
    assert K.get_value(v).tolist() == [-.5, .5]
    updates = optimizers.SGD(lr=.5).get_updates(params=[v], loss=loss)
    v.constraint = None
    K.function([], [], optimizers.SGD(lr=.5).get_updates(loss, [v]))([])
    assert K.get_value(v).tolist() == [0., 0.] and len(updates) == 3


def test_mistakes():
    with pytest.raises(ValueError, match="Could not interpret optimizer identifier: 3"):
        optimizers.get(3)
    with pytest.raises(ValueError, match="Unknown optimizer: ?sgdd"):
        optimizers.get("sgdd")
    with pytest.raises(NotImplementedError, match="TFOptimizer wraps an optimizer of TensorFlow .received a object"):
        optimizers.TFOptimizer(object())
    with pytest.raises(NotImplementedError, match="graphk runs without it. Use one of graphk.optimizers: Adadelta"):
        optimizers.TFOptimizer.from_config({})
    assert not isinstance(optimizers.get("sgd"), optimizers.TFOptimizer)
    with pytest.raises(NotImplementedError, match="must define get_updates"):
        optimizers.Optimizer().get_updates(None, [])
    for value in (None, "fast"):
        with pytest.raises(TypeError, match=f"Adam: `lr` must be a number; received {value!r}"):
            optimizers.Adam(lr=value)


def test_an_argument_passed_on_is_not_advised_itself():
    class Mine(optimizers.SGD):
        def __init__(self, label=None, **kwargs):
            super().__init__(label=label, **kwargs)
    with pytest.raises(TypeError, match="passed to optimizer: label .*Known arguments"):
        Mine()
