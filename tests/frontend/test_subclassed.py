"""Models whose `call` the user writes: alone, inside other models, and with others inside."""
import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.models import Model, Sequential
from graphk.frontend.utils.generic_utils import object_list_uid

X, Y = np.random.RandomState(0).randn(8, 3), np.random.RandomState(1).randn(8, 2)


class Block(Model):
    """Everything that belongs to a call: updates, losses, the learning phase."""

    def __init__(self, units=2, **kwargs):
        super().__init__(**kwargs)
        self.dense = L.Dense(units, kernel_regularizer="l2", activity_regularizer="l1")
        self.norm = L.BatchNormalization(momentum=.5)
        self.tail = Sequential([L.Dropout(.5), L.BatchNormalization(momentum=.5)])

    def call(self, x, training=None):
        return self.tail(self.norm(self.dense(x)))


class Two(Model):
    def __init__(self):
        super().__init__(name="two")
        self.shared = L.Dense(4, activation="relu")
        self.heads = [L.Dense(2), L.Dense(2)]

    def call(self, inputs):
        a, b = inputs
        return [self.heads[0](self.shared(a)), self.heads[1](self.shared(b))]


class Outer(Model):
    def __init__(self):
        super().__init__()
        self.block = Block(4)
        self.out = L.Dense(2)

    def call(self, x):
        return self.out(self.block(x))


def functional():
    x = L.Input((3,))
    return Model(x, L.Dense(2)(Block(4)(x)))



@pytest.mark.parametrize("make", [lambda: Block(2), Outer, functional, lambda: Sequential([Block(4), L.Dense(2)])],
                         ids=["alone", "in subclassed", "in functional", "in sequential"])
def test_updates_and_losses_of_inner_models_count(make):
    m = make()
    m.compile("sgd", "mse")
    m.fit(X, Y, batch_size=4, epochs=2, verbose=0)
    assert len(m.losses) == 2 and len(m.updates) == 4
    means = [K.get_value(u.variable) for u in m.updates]
    assert all(abs(v - v.ravel()[0]).sum() > 0 for v in means), "all averages have moved"
    loss = m.evaluate(X, Y, verbose=0)
    kernel = next(w for w in m.get_weights() if w.shape[0] == 3)
    assert loss > ((m.predict(X) - Y) ** 2).mean() + .01 * (kernel ** 2).sum() * .99
    assert m.uses_learning_phase and m.predict(X).shape == (8, 2)


def test_a_model_serves_itself_after_it_served_another():
    block = Block(2)
    x = L.Input((3,))
    outer = Model(x, block(x))
    for m in (outer, block):
        m.compile("sgd", "mse")
        assert m.fit(X, Y, verbose=0).epoch == [0] and len(m.updates) == 4
    np.testing.assert_allclose(outer.predict(X), block.predict(X), rtol=1e-5)
    assert block.compute_output_shape((5, 3)) == (5, 2)


def test_several_inputs_and_outputs():
    m = Two()
    m.compile("sgd", "mse", metrics=["mae"])
    h = m.fit([X, X], [Y, Y], validation_data=([X, X], [Y, Y]), verbose=0).history
    assert "val_output_2_mean_absolute_error" in h and m.output_names == ["output_1", "output_2"]
    assert [p.shape for p in m.predict([X, X])] == [(8, 2), (8, 2)] and len(m.layers) == 3
    assert m.compute_output_shape([(None, 3), (None, 3)]) == [(None, 2), (None, 2)]
    a, b = L.Input((3,)), L.Input((3,))
    p, q = m([a, b])
    np.testing.assert_allclose(Model([a, b], L.add([p, q])).predict([X, X]), sum(m.predict([X, X])), rtol=1e-5)


@pytest.mark.parametrize("make", [Outer, lambda: Sequential([L.Dense(2)])])
def test_symbolic_data_tell_the_shape(make):
    m = make()
    m.compile("sgd", "mse")
    m.fit(K.zeros((4, 3)), K.zeros((4, 2)), steps_per_epoch=1, verbose=0)
    assert K.int_shape(m.inputs[0]) == (None, 3) and m.predict(X).shape == (8, 2)


def test_calls_on_tensors_that_are_gone_are_not_those_on_later_ones():
    """What a layer inside adds to the loss for a tensor that nobody keeps is not that of a later one at its place."""
    assert len({object_list_uid(K.placeholder((2,))) for _ in range(50)}) == 50
    x = K.placeholder((2,))
    assert object_list_uid([None, x]) == object_list_uid([None, x]) != object_list_uid([x, None])


def test_weights_go_to_another_instance():
    m, twin = Outer(), Outer()
    m.build((None, 3))
    twin.build((None, 3))
    twin.set_weights(m.get_weights())
    np.testing.assert_allclose(m.predict(X), twin.predict(X), rtol=1e-6)
    lines = []
    m.summary(print_fn=lines.append)
    assert any("(Block)" in s for s in lines)


def test_mistakes():
    with pytest.raises(ValueError, match="has not yet been built"):
        Outer().summary()
    with pytest.raises(RuntimeError, match="you forgot to call"):
        type("Forgot", (Model,), {"__init__": lambda self: setattr(self, "d", L.Dense(2))})()
    with pytest.raises(NotImplementedError, match="`get_config` is not available for the subclassed model"):
        Outer().get_config()


@pytest.mark.parametrize("build", [lambda: Sequential([L.Dense(2, input_shape=(3,))]), Block])
def test_layers_among_metrics_are_no_layers_of_the_model(build):
    class Positive(L.Layer):
        stateful = True

        def __init__(self):
            super().__init__(name="positive")
            self.seen = K.variable(0.)

        def reset_states(self):
            K.set_value(self.seen, 0.)

        def __call__(self, y_true, y_pred):
            now = self.seen * 1 + K.sum(K.cast(K.greater(y_true, 0), "float32"))
            self.add_update(K.update(self.seen, now), inputs=[y_true, y_pred])
            return now
    model = build()
    model.compile("sgd", "mse", metrics=[Positive()])
    assert model.evaluate(np.ones((4, 3)), np.ones((4, 2)), batch_size=2, verbose=0)[1] == 8
    assert "positive" not in [la.name for la in model.layers]
