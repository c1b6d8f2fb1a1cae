"""Layers, models and training as Keras 2.2's documentation describes them: accessors, forms of arguments, mistakes."""
import numpy as np
import pytest

from graphk import backend as K
from graphk import initializers, losses, metrics
from graphk import layers as L
from graphk.engine import training_utils
from graphk.models import Model, Sequential, clone_model

X, Y = np.random.RandomState(0).randn(8, 3), np.random.RandomState(1).randn(8, 2)


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    monkeypatch.setenv("GRAPHK_EXECUTOR", "interp")


def seq(loss="mse", **kwargs):
    m = Sequential([L.Dense(2, input_shape=(3,))])
    m.compile("sgd", loss, **kwargs)
    return m


def two(**kwargs):
    x = L.Input((3,), name="x")
    m = Model(x, [L.Dense(2, name="a")(x), L.Dense(2, name="b")(x)])
    m.compile("sgd", **{"loss": "mse", **kwargs})
    return m


# ------------------------------------------------------------------ layers
def test_an_input_layer_is_read_like_any_layer():
    x = L.Input((3,), name="x")
    m = Model(x, L.Dense(2)(x))
    first = m.layers[0]
    assert first.input is x and first.output is x and first.get_input_at(0) is x
    assert first.input_shape == first.output_shape == (None, 3) and first.input_mask is None
    node = first._inbound_nodes[0]
    assert node.inbound_layers == [] and node.input_tensors == [x] and node.input_shapes == [(None, 3)]
    out = K.function([m.layers[0].input, K.learning_phase()], [m.layers[1].output])([np.ones((4, 3)), 0])[0]
    np.testing.assert_allclose(out, m.predict(np.ones((4, 3))))


def test_run_internal_graph_gives_tensors_masks_and_shapes():
    x = L.Input((5,))
    m = Model(x, L.Embedding(4, 2, mask_zero=True)(x))
    y, mask, shape = m.run_internal_graph(K.placeholder((None, 5)))
    assert shape == (None, 5, 2) and K.int_shape(y) == (None, 5, 2) and mask.ndim == 2


def test_calls_of_a_layer():
    a, b, d = L.Input((3,)), L.Input((3,)), L.Dense(2)
    x, y = d(a), d(b)
    assert d.get_input_at(0) is a and d.get_input_at(1) is b and d.get_output_at(0) is x and d.get_output_at(1) is y
    assert d.get_input_shape_at(1) == (None, 3) and d.get_output_shape_at(0) == (None, 2)
    assert d.get_input_mask_at(0) is None and d.get_output_mask_at(1) is None
    assert d.input_shape == (None, 3) and d.output_shape == (None, 2)
    for what in ("input", "output", "input_mask", "output_mask"):
        with pytest.raises(AttributeError, match=f"Layer dense_1 has multiple inbound nodes.*get_{what}_at"):
            getattr(d, what)
    with pytest.raises(ValueError, match="Asked to get input at node 5, but the layer dense_1 has only 2"):
        d.get_input_at(5)
    c = L.Conv1D(2, 3)
    for what in ("input_shape", "output_shape"):
        with pytest.raises(AttributeError, match='"conv1d_1" has never been called'):
            getattr(c, what)
    with pytest.raises(AttributeError, match="conv1d_1 is not connected, no input to return"):
        c.input  # noqa: B018
    c(L.Input((10, 3))), c(L.Input((8, 3)))
    with pytest.raises(AttributeError, match="different input shapes"):
        c.input_shape  # noqa: B018


def test_losses_and_updates_belong_to_calls():
    a, b, d = L.Input((2,)), L.Input((2,)), L.Dense(1)
    y, _ = d(a), d(b)
    d.add_loss(K.sum(y), inputs=a)
    d.add_loss([K.sum(d.kernel)])
    d.add_loss([])
    d.add_loss(None)
    v = K.variable(0.)
    d.add_update([(v, v + 1)], inputs=a)
    d.add_update(K.update(v, v * 2.))
    counts = [len(d.get_losses_for(i)) for i in (a, b, None)] + [len(d.get_updates_for(i)) for i in (a, b, None)]
    assert counts == [1, 0, 1, 1, 0, 1] and len(d.losses) == len(d.updates) == 2
    d.trainable = False
    assert d.updates == d.get_updates_for(a) == [] and len(d.losses) == 2
    m = Model(b, d.get_output_at(1))
    assert len(m.losses) == 1


class Weights(L.Layer):
    def build(self, input_shape):
        self.a = self.add_weight(name="a", shape=(2,), dtype="float64", initializer="ones", trainable=False,
                                 regularizer=lambda w: K.sum(w))
        self.b = self.add_weight("b", (2,), initializer=initializers.Constant(3.), constraint="non_neg")
        self.c = self.add_weight((2,), "uniform", name="c")                 # Keras 1's order
        self.d = self.add_weight((3,), "one", "d")
        self.e = self.add_weight((1,), "e")
        super().build(input_shape)


def test_add_weight_in_every_form():
    layer = Weights()
    layer(L.Input((2,)))
    assert [w.name.split("/")[1] for w in layer.weights] == ["b:0", "c:0", "d:0", "e:0", "a:0"]
    assert K.dtype(layer.a) == "float64" and len(layer.losses) == 1 and len(layer.trainable_weights) == 4
    assert K.eval(layer.d).tolist() == [1.] * 3 and layer.b.constraint is not None
    assert layer.count_params() == 10
    with pytest.raises(RuntimeError, match="You tried to call `count_params` on dense_1, but the layer isn't built"):
        L.Dense(3).count_params()


class Keras1(L.Layer):
    def __init__(self, output_dim, **kwargs):
        self.output_dim = output_dim
        super().__init__(**kwargs)

    def build(self, input_shape):
        self.W = K.variable(np.ones((input_shape[1], self.output_dim)))
        self.trainable_weights = [self.W]

    def call(self, x, mask=None):
        return K.dot(x, self.W)

    def get_output_shape_for(self, input_shape):
        return input_shape[0], self.output_dim


def test_a_layer_as_keras_1_wrote_them():
    m = Sequential([Keras1(2, input_shape=(3,)), L.Dense(2)])
    m.compile("sgd", "mse")
    m.train_on_batch(X, Y)
    assert m.layers[0].compute_output_shape((None, 5)) == (None, 2) and len(m.trainable_weights) == 3
    assert not np.allclose(K.get_value(m.layers[0].W), 1.) and L.Dense(3).get_output_shape_for((None, 4)) == (None, 3)


class Scaled(L.Layer):
    def call(self, x, other=None, by=1.):
        return x * by if other is None else x * by + K.sum(other, -1, keepdims=True)


def test_keyword_arguments_of_call():
    a, b = L.Input((3,)), L.Input((4,))
    m = Model([a, b], Scaled()(a, other=b, by=2.))
    np.testing.assert_allclose(m.predict([X, np.ones((8, 4))]), 2 * X + 4, rtol=1e-5)
    m = Model(a, Scaled()(a, by=2.))
    assert m.get_config()["layers"][1]["inbound_nodes"][0][0][3] == {"by": 2.}
    again = Model.from_config(m.get_config(), custom_objects={"Scaled": Scaled})
    np.testing.assert_allclose(again.predict(X), 2 * X, rtol=1e-5)


# ------------------------------------------------------------------ sequential models
def test_a_model_without_shape_is_built_by_whatever_comes_first():
    for first in (lambda m: m.build((None, 3)), lambda m: m.predict(X), lambda m: m.predict_on_batch(X),
                  lambda m: m.evaluate(X, Y, verbose=0), lambda m: m.test_on_batch(X, Y),
                  lambda m: m.train_on_batch(X, Y), lambda m: m.fit(X, Y, verbose=0), lambda m: m(L.Input((3,))),
                  lambda m: Sequential([m, L.Dense(1)]).build((None, 3))):
        m = Sequential([L.Dense(4), L.Dense(2)])
        m.compile("sgd", "mse", metrics=["mae"])
        assert not m.built and m.weights == [] and m.inputs is None and m.outputs is None
        first(m)
        assert m.built and m.input_shape == (None, 3) and len(m.weights) == 4
        assert len(m.train_on_batch(X, Y)) == 2 and m.metrics_names == ["loss", "mean_absolute_error"]
    config = m.get_config()
    assert config["build_input_shape"] == (None, 3) and Sequential.from_config(config).built


def test_build_without_a_shape_leaves_the_layers_waiting():
    m = Sequential([L.Dense(2)])
    m.build()
    assert not m.built and m.weights == []
    m.build((None, 3))
    m.build()
    assert m.built and m.output_shape == (None, 2)


def test_a_model_without_layers():
    m = Sequential(name="bare")
    m.compile("sgd", "mse")
    assert Sequential.from_config(m.get_config()).layers == []
    for call in (lambda: m.build((None, 3)), lambda: m.predict(X), lambda: m.fit(X, Y)):
        with pytest.raises(ValueError, match="Cannot build the Sequential model `bare`: it has no layers"):
            call()


def test_sequential_models_of_models():
    f = L.Input((4,))
    m = Sequential([Sequential([L.Dense(4, input_shape=(3,))]), Model(f, L.Dense(5)(f), name="f")])
    m.add(L.Dense(1))
    assert m.output_shape == (None, 1) and len(m.weights) == 6 and m.input_shape == (None, 3)
    again = Sequential.from_config(m.get_config())
    again.set_weights(m.get_weights())
    np.testing.assert_allclose(again.predict(X), m.predict(X), rtol=1e-6)
    lines = []
    m.summary(print_fn=lines.append)
    assert sum("(Sequential)" in s or "(Model)" in s for s in lines) == 2 and "Total params: 47" in lines
    for _ in range(3):
        m.pop()
    assert m.inputs is None and m.outputs is None and not m.built
    m.add(L.Dense(3, input_shape=(5,)))
    assert m.output_shape == (None, 3)
    with pytest.raises(TypeError, match="must be an instance of class Layer. Found: <graphk.Tensor"):
        Sequential().add(f)


def test_layers_pop_changes_functional_models_only():
    x = L.Input((3,))
    m = Model(x, L.Dense(2)(L.Dense(4)(x)))
    m.layers.pop()
    assert len(m.layers) == 2
    assert Model(m.input, L.Dense(7)(m.layers[-1].output)).output_shape == (None, 7)
    m.outputs, m.layers[-1].outbound_nodes = [m.layers[-1].output], []          # how programs cut a model
    assert m.predict(X).shape == (8, 4) and len(m.layers[-1].inbound_nodes) == 1
    s = Sequential([L.Dense(4, input_shape=(3,)), L.Dense(2)])
    s.layers.pop()
    assert len(s.layers) == 2


def test_classes_and_probabilities():
    m = Sequential([L.Dense(1, input_shape=(3,), weights=[np.ones((3, 1)), np.ones(1)])])
    with pytest.warns(UserWarning, match="Network returning invalid probability values"):
        assert m.predict_proba(X, batch_size=3, verbose=0).shape == (8, 1)
    np.testing.assert_array_equal(m.predict_classes(X), (X.sum(1, keepdims=True) + 1 > .5).astype("int32"))


def test_states():
    m = Sequential([L.LSTM(2, stateful=True, batch_input_shape=(2, 3, 1)), L.Dense(1)])
    outer = Sequential([m, L.Dense(1)])
    x = np.ones((2, 3, 1))
    first, second = m.predict(x), m.predict(x)
    outer.reset_states()
    assert not np.allclose(first, second) and np.allclose(m.predict(x), first)
    assert m.stateful and outer.stateful and len(m.state_updates) == 2
    m.compile("sgd", "mse")
    for call in (lambda: m.fit(np.ones((5, 3, 1)), np.ones((5, 1)), batch_size=2),
                 lambda: m.predict(np.ones((5, 3, 1)), batch_size=2)):
        with pytest.raises(ValueError, match="In a stateful network, .* Found: 5 samples"):
            call()


# ------------------------------------------------------------------ functional models
def test_clones_on_tensors():
    v = K.variable(X)
    m = Sequential([L.Dense(2, input_shape=(3,)), L.Dropout(.5), L.BatchNormalization()])
    twin = clone_model(m, input_tensors=v)
    twin.compile("sgd", "mse")
    assert np.isfinite(twin.train_on_batch(None, Y)) and m.layers[0] is not twin.layers[0]
    a, b = L.Input((3,)), L.Input((3,))
    m = Model([a, b], L.add([L.Dense(2)(a), L.Lambda(lambda x: x[:, :2])(b)]))
    twin = clone_model(m, input_tensors=[L.Input((3,)), L.Input(tensor=v)])
    twin.compile("sgd", "mse")
    assert len(twin._feed_input_names) == 1 and len(twin.input_names) == 2
    assert np.isfinite(twin.train_on_batch(X, Y)) and twin.predict(X).shape == (8, 2)
    with pytest.raises(ValueError, match="Expected `model` argument to be a `Model` instance"):
        clone_model(L.Dense(2))
    with pytest.raises(ValueError, match="at most one tensor"):
        clone_model(seq(), input_tensors=[a, b])


def test_losses_added_to_a_model():
    x, d = L.Input((3,)), L.Dense(2)
    y = d(x)
    m = Model(x, y)
    m.compile("sgd", "mse")
    plain = m.test_on_batch(X, Y)
    m.add_loss(K.sum(K.square(d.kernel)))
    m.add_loss(K.mean(y), inputs=[x])
    m.compile("sgd", "mse")
    want = plain + (m.get_weights()[0] ** 2).sum() + m.predict(X).mean()
    np.testing.assert_allclose(m.test_on_batch(X, Y), want, rtol=1e-5)


def test_outputs_twice_and_inputs_as_outputs():
    a = L.Input((3,))
    d = L.Dense(2, name="d")(a)
    m = Model(a, [d, d, a])
    m.compile("sgd", ["mse", "mse", None])
    assert m.output_names == ["d", "d_1", "input_1"] and m.metrics_names == ["loss", "d_loss", "d_1_loss"]
    assert len(m.train_on_batch(X, [Y, Y])) == 3
    np.testing.assert_allclose(m.predict(X)[2], X, rtol=1e-6)


def test_the_functions_of_a_model_may_be_called():
    m = Sequential([L.Dense(2, input_shape=(3,)), L.Dropout(.5)])
    m.compile("sgd", "mse")
    for make in ("train", "test", "predict"):
        getattr(m, f"_make_{make}_function")()
    assert m.uses_learning_phase and len(m.train_function([X, Y, np.ones(8), 1.])) == 1
    testing, training = (m.predict_function([X, phase])[0] for phase in (0, 1))
    np.testing.assert_allclose(testing, m.predict(X), rtol=1e-6)
    assert not np.allclose(testing, training) and len(m.test_function([X, Y, np.ones(8), 0.])) == 1
    m = seq()
    m._make_train_function()
    assert not m.uses_learning_phase and len(m.train_function([X, Y, np.ones(8)])) == 1


# ------------------------------------------------------------------ compile
def test_target_tensors_in_every_form():
    a, b = K.placeholder((None, 2)), K.placeholder((None, 2))
    v = K.variable(Y)
    for given, fed in (([a, b], [Y, Y]), ({"a": a, "b": b}, [Y, Y]), ({"b": b}, {"a": Y, "b": Y}), ({"a": v}, {"b": Y}),
                       ({"a": v}, Y), ([v, v], None)):
        assert len(two(target_tensors=given).train_on_batch(X, fed)) == 3
    m = two(target_tensors=[v, v])
    assert m.fit(X, None, verbose=0).epoch == [0] and len(m.evaluate(X, None, verbose=0)) == 3
    assert seq(target_tensors=K.placeholder((None, 2))).train_on_batch(X, Y) > 0
    with pytest.raises(ValueError, match="it should have one entry per model output. The model has 2 outputs"):
        two(target_tensors=a)
    with pytest.raises(ValueError, match='Unknown entry in target_tensors dictionary: "c"'):
        two(target_tensors={"c": a})


def test_metrics_in_every_form():
    rest = ["loss", "a_loss", "b_loss"]
    for given, names in (
            (["mae"], ["a_mean_absolute_error", "b_mean_absolute_error"]), ({"a": "mae"}, ["a_mean_absolute_error"]),
            ([["mae"], ["mse", metrics.logcosh]], ["a_mean_absolute_error", "b_mean_squared_error", "b_logcosh"]),
            (["acc", "accuracy"], ["a_acc", "a_acc_1", "b_acc", "b_acc_1"])):
        assert two(metrics=given).metrics_names == rest + names
    m = two(metrics={"a": ["mae"]}, weighted_metrics={"b": "mae", "a": "mae"})
    assert m.metrics_names == [*rest, "a_mean_absolute_error", "a_weighted_mean_absolute_error",
                               "b_weighted_mean_absolute_error"]
    with pytest.raises(ValueError, match="passing a list as metrics, it should have one entry per model output"):
        two(metrics=[["mae"]])
    with pytest.raises(TypeError, match="Type of `metrics` argument not understood"):
        two(metrics="mae")


def test_losses_weights_and_modes_in_every_form():
    assert two(loss=["mse", None]).metrics_names == two(loss={"a": losses.mse, "b": None}).metrics_names == \
        ["loss", "a_loss"]
    m = two(loss_weights=[K.variable(2.), 1.])
    total, a, b = m.test_on_batch(X, [Y, Y])
    np.testing.assert_allclose(total, 2 * a + b, rtol=1e-5)
    with pytest.raises(TypeError, match="Could not interpret loss_weights argument: 2.0"):
        two(loss_weights=2.)
    with pytest.raises(ValueError, match='Output "b" missing from sample_weight_modes dictionary'):
        two(sample_weight_mode={"a": None})
    m = two(sample_weight_mode=["temporal", None])
    with pytest.raises(ValueError, match="restricted to outputs that are at least 3D"):
        m.train_on_batch(X, [Y, Y])


class Positives(L.Layer):
    """A metric that counts over an epoch."""

    def __init__(self, name="positives", **kwargs):
        super().__init__(name=name, **kwargs)
        self.stateful, self.count = True, K.variable(0, dtype="int32")

    def reset_states(self):
        K.set_value(self.count, 0)

    def __call__(self, y_true, y_pred):
        found = K.cast(K.sum(K.cast(y_true > 0, "int32") * K.cast(y_pred > 0, "int32")), "int32")
        before = self.count * 1
        self.add_update(K.update_add(self.count, found), inputs=[y_true, y_pred])
        return before + found


def test_metrics_with_state():
    m = seq(metrics=["mae", Positives()])
    K.set_value(m.optimizer.lr, 0.)
    want = ((m.predict(X) > 0) & (Y > 0)).sum()
    h = m.fit(X, Y, epochs=2, batch_size=3, verbose=0, validation_data=(X, Y)).history
    assert h["positives"] == h["val_positives"] == [want, want] and m.stateful_metric_names == ["positives"]
    assert m.evaluate(X, Y, batch_size=3, verbose=0)[2] == want
    again = m.fit_generator(iter([(X[:4], Y[:4]), (X[4:], Y[4:])]), 2, verbose=0, workers=0).history["positives"]
    assert again == [want]


# ------------------------------------------------------------------ fit, evaluate, predict
class Stored:
    """As a data set of an HDF5 file: rows by slices and sorted lists only."""

    def __init__(self, a):
        self.a, self.shape, self.ndim, self.dtype = a, a.shape, a.ndim, a.dtype

    def __len__(self):
        return len(self.a)

    def __getitem__(self, i):
        if isinstance(i, list) and i != sorted(i):
            raise TypeError("rows must be in order")
        return self.a[i]


@pytest.mark.parametrize("shuffle", ["batch", True, False])
def test_stored_data(shuffle):
    m = seq()
    assert m.fit(Stored(X), Stored(Y), batch_size=3, shuffle=shuffle, verbose=0).epoch == [0]
    assert m.fit(Stored(X), Stored(Y), validation_split=.25, shuffle=shuffle, verbose=0).history["val_loss"][0] > 0
    np.testing.assert_allclose(m.predict(Stored(X), batch_size=3), m.predict(X), rtol=1e-6)
    np.testing.assert_allclose(m.evaluate(Stored(X), Stored(Y), verbose=0), m.evaluate(X, Y, verbose=0), rtol=1e-6)


class Frame:
    def __init__(self, values):
        self.values, self.shape = values, values.shape


DataFrame, Series = type("DataFrame", (Frame,), {}), type("Series", (Frame,), {})


def test_forms_of_data():
    assert seq().fit(DataFrame(X), DataFrame(Y), verbose=0).epoch == [0]
    x = L.Input((1,), name="a")
    m = Model(x, L.Dense(1, name="b")(x))
    m.compile("sgd", "mse")
    for data in ({"a": Series(X[:, 0])}, X[:, 0], list(X[:, 0]), [X[:, 0]]):
        assert m.fit(data, {"b": Y[:, 0]}, verbose=0).epoch == [0]
    assert [a.shape for a in two().predict([X])] == [(8, 2), (8, 2)]
    for call in (m.fit, m.evaluate, m.train_on_batch, m.test_on_batch):
        with pytest.raises(ValueError, match=call.__name__ + r"\(\) needs targets `y` for the outputs \['b'\]"):
            call(X[:, 0], None)
    with pytest.raises(ValueError, match="expects a list of 1 Numpy arrays"):
        m.predict([])


def test_models_fed_by_tensors():
    v, t = K.variable(X), K.variable(Y)
    i = L.Input(tensor=v)
    m = Model(i, L.Dense(2)(i))
    m.compile("sgd", "mse", target_tensors=[t])
    h = m.fit(epochs=2, steps_per_epoch=2, validation_steps=3, verbose=0).history
    assert list(h) == ["val_loss", "loss"] and len(h["loss"]) == 2
    assert m.evaluate(steps=2, verbose=0) > 0 and m.predict(None, steps=2).shape == (16, 2)
    assert m.train_on_batch(None, None) > m.test_on_batch(None, None) > 0 and m.predict_on_batch(None).shape == (8, 2)
    m.compile("sgd", "mse")
    assert m.train_on_batch(None, Y) > 0 and m.fit(None, Y, steps_per_epoch=2, verbose=0).epoch == [0]
    for call in (lambda: m.fit(None, None), lambda: m.predict(None), lambda: m.evaluate(None, None)):
        with pytest.raises(ValueError, match="data tensors|symbolic tensors|needs targets"):
            call()
    j = L.Input((3,), name="j")
    m = Model([i, j], L.Dense(2)(L.add([i, j])))
    m.compile("sgd", "mse")
    for data in (X, [X], {"j": X}):
        assert m.fit(data, Y, verbose=0, validation_data=(data, Y)).epoch == [0]


def test_steps():
    m = two()
    assert list(m.fit(X, [Y, Y], steps_per_epoch=2, validation_data=(X, [Y, Y]), validation_steps=1, verbose=0).history
                ) == ["val_loss", "val_a_loss", "val_b_loss", "loss", "a_loss", "b_loss"]
    assert len(m.evaluate(X, [Y, Y], steps=2, verbose=0)) == 3 and m.predict(X, steps=2)[0].shape == (16, 2)
    for kwargs, text in (({"steps_per_epoch": 2, "batch_size": 2}, "the `batch_size` must be None"),
                         ({"steps_per_epoch": 2, "validation_data": (X, [Y, Y])}, "Must specify `validation_steps`"),
                         ({"validation_data": (X, [Y, Y]), "validation_steps": 2}, "Can only use `validation_steps`")):
        with pytest.raises(ValueError, match=text):
            m.fit(X, [Y, Y], **kwargs)


def test_checks_that_libraries_call():
    a, b = np.ones((4, 3)), np.ones((3, 4))
    for same in ((None, None, None), (a, a, a), ([a, a], [a], [a]), ([None], [None], [None]), ([a], [], [])):
        training_utils.check_array_length_consistency(*same)
    for args in (([a], None, None), ([a], [b], None), ([a], [a], [b]), ([a, b], [a], [a]), ([a], [None], [a])):
        with pytest.raises(ValueError, match="same number of samples"):
            training_utils.check_array_length_consistency(*args)
    check = training_utils.check_loss_and_target_compatibility
    check([a, None, b], [losses.mse, losses.mse, losses.poisson], [(None, 3), (None, 2), (None, 7)])
    with pytest.raises(ValueError, match="expects targets to be binary matrices"):
        check([np.ones((2, 1))], [losses.categorical_crossentropy], [(None, 3)])
    with pytest.raises(ValueError, match=r"`mean_squared_error` takes targets of the output's shape \(None, 2\)"):
        check([a], [losses.mse], [(None, 2)])
    weighted = training_utils.weighted_masked_objective(losses.mse)
    assert K.eval(weighted(K.ones((3, 2)), K.zeros((3, 2)), None)) == 1.
    assert training_utils.make_batches(5, 2) == [(0, 2), (2, 4), (4, 5)]


def test_what_a_run_leaves_behind():
    m = two()
    h = m.fit(X, {"a": Y, "b": Y}, epochs=3, initial_epoch=1, batch_size=5, validation_split=.25, verbose=0)
    assert m.history is h and h.model is m and h.epoch == [1, 2] and len(h.history["val_b_loss"]) == 2
    assert h.params == {"batch_size": 5, "steps": None, "samples": 6, "epochs": 3, "verbose": 0, "do_validation": True,
                        "metrics": m.metrics_names + ["val_" + n for n in m.metrics_names]}
    assert m.fit(X, [Y, Y], epochs=1, initial_epoch=3, verbose=0).epoch == []
    assert isinstance(m.train_on_batch(X, [Y, Y]), list) and np.ndim(seq().train_on_batch(X, Y)) == 0
    assert isinstance(seq().evaluate(X, Y, verbose=0), float)


def test_nodes_know_the_line_that_called_the_layer():
    model = Sequential([L.Dense(3, input_shape=(2,))])              # this line, not one of what the call goes through
    from graphk.ir.node import origin_of
    where = origin_of(model.output.node)
    line = test_nodes_know_the_line_that_called_the_layer.__code__.co_firstlineno + 1
    assert where.layer == model.layers[0].name and where.line == f"{__file__}:{line}"
