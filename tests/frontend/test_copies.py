"""Deep copies and pickles of models and layers."""
import copy
import io
import pickle
import sys

import numpy as np
import pytest

from graphk import backend as K
from graphk import install_as_keras, optimizers
from graphk import layers as L
from graphk.frontend.engine.copying import own_attributes
from graphk.models import Model, Sequential
from graphk.utils import CustomObjectScope

X, Y = np.random.RandomState(0).randn(8, 3), np.random.RandomState(1).randn(8, 2)
WAYS = {"deepcopy": copy.deepcopy, "pickle": lambda m: pickle.loads(pickle.dumps(m))}
every_way = pytest.mark.parametrize("again", WAYS.values(), ids=WAYS.keys())


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    monkeypatch.setenv("GRAPHK_EXECUTOR", "interp")


def halved(x):
    return x * .5


def own_loss(t, p):
    return K.mean(K.square(t - p), axis=-1)


class Scale(L.Layer):
    """A layer of the user's."""

    def __init__(self, by=2., **kwargs):
        super().__init__(**kwargs)
        self.by = by

    def build(self, input_shape):
        self.k = self.add_weight("k", (input_shape[-1],), initializer="ones", regularizer="l2")
        self.add_loss(K.sum(K.abs(self.k)) * .1)
        super().build(input_shape)

    def call(self, x):
        return x * self.k * self.by

    def get_config(self):
        return {**super().get_config(), "by": self.by}


def functional():
    x = L.Input((3,), name="x")
    inner = Sequential([L.Dense(4, activation=halved, input_shape=(3,)), L.BatchNormalization()], name="inner")
    y = L.Dense(2, name="out")(L.Dropout(0.)(L.add([inner(x), inner(Scale(3., name="scale")(x))])))
    return Model(x, L.Lambda(halved)(y), name="whole")


def sequential():
    return Sequential([Scale(input_shape=(3,)), L.Dense(2, kernel_regularizer="l1")])


def trained(model, optimizer):
    model.compile(optimizer, own_loss, metrics=["mae"])
    model.fit(X, Y, epochs=2, verbose=0)
    return model


@every_way
@pytest.mark.parametrize("make", [functional, sequential])
@pytest.mark.parametrize("optimizer", [lambda: optimizers.Adam(.01, decay=.1), lambda: optimizers.Nadam(.01),
                                       lambda: optimizers.RMSprop(.01, decay=.2)])
def test_a_compiled_model_goes_on_as_the_original_would(again, make, optimizer):
    m = trained(make(), optimizer())
    K.set_value(m.optimizer.lr, .02)
    twin = again(m)
    assert twin.name == m.name and [la.name for la in twin.layers] == [la.name for la in m.layers]
    assert type(twin.get_layer(index=0)) is type(m.get_layer(index=0))
    np.testing.assert_array_equal(twin.predict(X), m.predict(X))
    before = [w.copy() for w in m.get_weights()]
    got = [twin.train_on_batch(X, Y) for _ in range(3)]
    for a, b in zip(before, m.get_weights()):
        np.testing.assert_array_equal(a, b)
    want = [m.train_on_batch(X, Y) for _ in range(3)]
    np.testing.assert_allclose(got, want, rtol=1e-6)
    for a, b in zip(m.get_weights(), twin.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@every_way
def test_uncompiled_unbuilt_and_frozen(again):
    m = Sequential([L.Dense(2)])
    assert not again(m).built
    m.compile("sgd", "mse")
    twin = again(m)
    assert len(twin.fit(X, Y, verbose=0).epoch) == 1 and not m.built
    f = functional()
    f.get_layer("inner").trainable = False
    f.get_layer("inner").layers[0].trainable = False
    twin = again(f)
    assert len(twin.trainable_weights) == len(f.trainable_weights) and twin.optimizer is None
    for a, b in zip(f.get_weights(), twin.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_functions_of_a_copy_are_its_own():
    m = functional()
    twin = copy.deepcopy(m)
    f, g = (K.function([n.inputs[0]], [n.layers[-1].output]) for n in (m, twin))
    want = f([X])[0]
    m.set_weights([0 * w for w in m.get_weights()])
    assert not f([X])[0].any()
    np.testing.assert_array_equal(g([X])[0], want)


def test_lambdas_are_copied_and_pickled_in_this_process():
    m = Sequential([L.Lambda(lambda x: x + 1., input_shape=(3,))])
    np.testing.assert_array_equal(copy.deepcopy(m).predict(X), m.predict(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(m)).predict(X), m.predict(X))


@every_way
@pytest.mark.parametrize("make", [
    lambda: L.Dense(2, activation=halved), lambda: Scale(4.), lambda: L.LSTM(2, stateful=True),
    lambda: L.RNN([L.GRUCell(2), L.LSTMCell(3)]), lambda: L.Bidirectional(L.GRU(2)),
    lambda: L.TimeDistributed(L.Dense(2, kernel_regularizer="l2"))])
def test_layers(again, make):
    flat = isinstance(make(), (L.Dense, Scale))
    x = L.Input(batch_shape=(4, 3) if flat else (4, 5, 3))
    layer = make()
    y = layer(x)
    other = again(layer)
    assert other.name == layer.name and other.get_config() == layer.get_config()
    assert all(a is not b for a, b in zip(layer.weights, other.weights))
    z = other(x)
    assert len(other._inbound_nodes) == 1 and len(layer._inbound_nodes) == 1
    assert len(other.losses) == len(layer.losses) and len(other.updates) == len(layer.updates)
    data = np.random.randn(*K.int_shape(x))
    a, b = K.function([x], [y, z])([data])
    np.testing.assert_array_equal(a, b)
    if layer.losses:
        before = K.eval(layer.losses[0])
        other.set_weights([w + 1. for w in other.get_weights()])
        assert K.eval(other.losses[0]) != before == K.eval(layer.losses[0])


def test_an_unbuilt_layer_and_a_shallow_copy():
    d = L.Dense(2, kernel_constraint="non_neg")
    a, b = copy.deepcopy(d), copy.copy(d)
    assert not a.built and a.kernel_constraint is not d.kernel_constraint
    assert b.kernel_constraint is d.kernel_constraint and b.units == 2


def test_what_no_module_holds_is_pickled_by_name():
    def local_loss(t, p):
        return K.mean(K.abs(t - p), axis=-1)

    def local_activation(x):
        return x * 2.

    class Descent(optimizers.SGD):
        pass

    class Net(Model):
        pass
    x = L.Input((3,))
    m = Net(x, L.Dense(2, activation=local_activation)(x))
    m.compile(Descent(.1, momentum=.5), local_loss)
    data = pickle.dumps(m)
    with pytest.raises(ValueError, match="Unknown layer: ?Net"):
        pickle.loads(data)
    with CustomObjectScope({f.__name__: f for f in (local_activation, local_loss, Descent, Net)}):
        twin = pickle.loads(data)
    assert type(twin) is Net and type(twin.optimizer) is Descent
    np.testing.assert_allclose(twin.train_on_batch(X, Y), m.train_on_batch(X, Y), rtol=1e-6)


class Own(Model):
    def __init__(self):
        super().__init__()
        self.dense = L.Dense(2)

    def call(self, x):
        return self.dense(x)


class Outer(Model):
    """Holds a model, a list of layers, and what is no layer."""

    def __init__(self, factor):
        super().__init__(name="outer")
        self.factor, self._rest = factor, {"b": [1, 2]}
        self.own, self.more = Own(), [L.BatchNormalization(), L.Dense(2, trainable=False)]

    def call(self, x, training=None):
        return self.more[1](self.more[0](self.own(x))) * self.factor


@every_way
def test_subclassed_models_go_on_as_the_original_would(again):
    m = Outer(2.)
    assert not again(m).built
    m.compile(optimizers.Adam(.01), own_loss, metrics=["mae"])
    assert len(again(m).fit(X, Y, verbose=0).epoch) == 1 and not m.built
    m.fit(X, Y, epochs=2, verbose=0)
    assert {"factor", "_rest", "own", "more"} < set(own_attributes(m)) == set(own_attributes(Outer(1.)))
    twin = again(m)
    assert twin.factor == 2. and twin._rest == m._rest and twin._rest is not m._rest
    assert twin.layers == [twin.own, *twin.more] and len(twin.trainable_weights) == len(m.trainable_weights) == 4
    np.testing.assert_array_equal(twin.predict(X), m.predict(X))
    got, want = ([net.train_on_batch(X, Y) for _ in range(3)] for net in (twin, m))
    np.testing.assert_allclose(got, want, rtol=1e-6)


@every_way
def test_target_tensors_are_copied(again):
    x = L.Input((3,))
    m = Model(x, [L.Dense(2, name="a")(x), L.Dense(2, name="b")(x)])
    m.compile("sgd", "mse", target_tensors={"a": K.placeholder((None, 2)), "b": K.variable(Y)})
    twin = again(m)
    np.testing.assert_allclose(twin.train_on_batch(X, Y), m.train_on_batch(X, Y), rtol=1e-6)


def test_a_layer_shared_by_wrappers_is_one_in_the_model_and_several_in_its_copy():
    inner = Sequential([L.Dense(4, input_shape=(3,))])
    x = L.Input((3,))
    m = Model(x, L.concatenate([inner(x), L.Flatten()(L.TimeDistributed(inner)(L.Reshape((1, 3))(x)))]))
    m.compile("adam", "mse")
    m.fit(X, np.ones((len(X), 8)), verbose=0)            # no warning of weights that were not compiled
    assert m.count_params() == 16 and len(m.optimizer.weights) == 1 + 3 * 2
    with pytest.warns(UserWarning, match="starts with a fresh optimizer.* share a layer"):
        twin = copy.deepcopy(m)
    np.testing.assert_array_equal(twin.predict(X), m.predict(X))
    assert twin.count_params() == 32


def test_what_cannot_be_copied():
    with pytest.raises(TypeError, match="The symbolic tensor `.*` of shape .* cannot be pickled: it is computed"):
        pickle.dumps(K.variable(1.) * 2)
    v = pickle.loads(pickle.dumps(K.variable([1., 2.], name="v")))
    assert v.name == "v:0" and K.get_value(v).tolist() == [1., 2.]

    def other():
        def halved(x):
            return x * .25
        return halved
    with pytest.raises(ValueError, match="two different objects called `halved`"):
        copy.deepcopy(Sequential([L.Dense(2, activation=halved, input_shape=(3,)), L.Dense(2, activation=other())]))


def test_pickles_of_programs_that_import_keras_are_read_by_those_that_import_graphk(monkeypatch):
    """Tokenizers, models, layers: what a pickle names is graphk's, whatever a class says of itself."""
    for name in [n for n in sys.modules if n.split(".")[0] == "keras"]:      # another test's
        monkeypatch.delitem(sys.modules, name)
    install_as_keras()
    import keras
    import keras.engine.sequential
    import keras.engine.training
    import keras.preprocessing.text
    seen = []

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            seen.append(module.partition(".")[0])
            return super().find_class(module, name)
    words = keras.preprocessing.text.Tokenizer(num_words=7)
    words.fit_on_texts(["a b", "a"])
    first = keras.layers.Dense(2, input_shape=(3,), kernel_regularizer=keras.regularizers.l2())
    model = keras.models.Sequential([first])
    model.compile(keras.optimizers.Adam(), "mse")
    for thing in (words, model, keras.layers.Dense(4), keras.regularizers.l1(.5), keras.callbacks.EarlyStopping()):
        assert type(thing).__module__.startswith("keras.")
        again = Reader(io.BytesIO(pickle.dumps(thing))).load()
        assert type(again) is type(copy.copy(thing)) is type(copy.deepcopy(thing)) is type(thing)
    assert "keras" not in seen and "graphk" in seen
    assert pickle.loads(pickle.dumps(words)).word_index == copy.copy(words).word_index == {"a": 1, "b": 2}
