"""What users rely on beyond the numbers: short paths that skip no check, threads, interrupts, flags, random loops."""
import threading
import warnings

import numpy as np
import pytest

from graphk import backend as K
from graphk import callbacks, initializers, regularizers, utils
from graphk import layers as L
from graphk import optimizers as O
from graphk.models import Model, Sequential
from tests.frontend.programs import data, seed


@pytest.fixture(params=["interp", "cpu"])
def executor(request, monkeypatch):
    monkeypatch.setenv("GRAPHK_EXECUTOR", request.param)


def pair(loss="mse", optimizer=None, **args):
    m = Sequential([L.Dense(2, input_shape=(3,), name="a"), L.Dense(1, name="b")])
    seed(m)
    m.compile(optimizer or O.SGD(.1), loss, **args)
    return m


# ------------------------------------------------------------------ short paths
def test_train_on_batch_warns_when_flags_change_after_compile():
    m, x, y = pair(), data(4, 3), data(4, 1)
    m.train_on_batch(x, y)
    m.train_on_batch(x, y)
    m.layers[0].trainable = False
    for _ in range(2):
        with pytest.warns(UserWarning, match="Discrepancy between trainable weights"):
            m.train_on_batch(x, y)
    m.compile(O.SGD(.1), "mse")
    frozen, free = m.layers[0].get_weights()[0], m.layers[1].get_weights()[0]
    m.train_on_batch(x, y)
    m.train_on_batch(x, y)
    assert (m.layers[0].get_weights()[0] == frozen).all() and (m.layers[1].get_weights()[0] != free).any()


def test_compiling_again_changes_what_a_batch_does():
    m, x, y = pair(), data(4, 3), data(4, 1)
    m.train_on_batch(x, y)
    m.train_on_batch(x, y)
    m.compile(O.SGD(0.), "mae", metrics=["mse"])
    p = m.predict(x)
    for _ in range(3):
        np.testing.assert_allclose(m.train_on_batch(x, y), [abs(p - y).mean(), ((p - y) ** 2).mean()], rtol=1e-5)
    m.compile(O.SGD(0.), "mse")
    np.testing.assert_allclose(m.train_on_batch(x, y), ((p - y) ** 2).mean(), rtol=1e-5)


def test_weights_after_batches_without():
    m, x, y = pair("mae", O.SGD(0.)), data(4, 3), np.array([[1.], [2.], [1.], [2.]], "f")
    err, w = abs(m.predict(x) - y)[:, 0], np.arange(4) + 1.
    for _ in range(2):
        np.testing.assert_allclose(m.train_on_batch(x, y), err.mean(), rtol=1e-5)
        np.testing.assert_allclose(m.train_on_batch(x, y, sample_weight=w), (err * w).mean(), rtol=1e-5)
        np.testing.assert_allclose(m.train_on_batch(x, y, class_weight={1: 1., 2: 3.}),
                                   (err * np.array([1, 3, 1, 3])).mean(), rtol=1e-5)


def unaligned(x):
    room = np.zeros(x.nbytes + 1, "u1")[1:].view("f4").reshape(x.shape)
    room[...] = x
    return room


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


FORMS = {
    "plain": lambda x: x, "float64": lambda x: x.astype("f8"), "fortran": np.asfortranarray, "unaligned": unaligned,
    "negative strides": lambda x: x[::-1].copy()[::-1], "step": lambda x: np.repeat(x, 2, 0)[::2],
    "masked": np.ma.masked_array, "view of a subclass": lambda x: x.view(type("Mine", (np.ndarray,), {})),
    "big endian": lambda x: x.astype(">f4"), "list": lambda x: [x], "read only": read_only, "half": lambda x: x * 1.,
}


@pytest.mark.parametrize("form", list(FORMS))
def test_arrays_of_every_kind(form, executor):
    m, x, y = pair("mae", O.SGD(0.)), data(4, 3), data(4, 1)
    p = m.predict(x)
    for _ in range(2):
        for like in (x, FORMS[form](x)):
            np.testing.assert_allclose(m.predict_on_batch(like), p, rtol=1e-5)
            np.testing.assert_allclose(m.predict(like), p, rtol=1e-5)
            np.testing.assert_allclose(m.train_on_batch(like, y), abs(p - y).mean(), rtol=1e-5)


def test_wrong_shapes_after_right_ones(executor):
    m, x, y = pair(), data(4, 3), data(4, 1)
    for _ in range(2):
        m.train_on_batch(x, y)
        m.predict_on_batch(x)
    for bad in (np.ones((4, 2), "f"), np.ones((4, 3, 1), "f"), np.ones((3, 3), "f")):
        with pytest.raises(ValueError, match="first|input|same number"):
            m.train_on_batch(bad, y)
    with pytest.raises(ValueError, match="expected a_input to have shape"):
        m.predict_on_batch(np.ones((4, 2), "f"))


def test_outputs_are_the_callers_own(executor):
    m, x = pair(), data(4, 3)
    first = m.predict_on_batch(x)
    kept = first.copy()
    m.predict_on_batch(2 * x)
    assert (first == kept).all()
    first[:] = 7
    np.testing.assert_array_equal(m.predict_on_batch(x), kept)
    m.get_weights()[0][:] = 0
    np.testing.assert_array_equal(m.predict_on_batch(x), kept)
    m.pop()
    assert m.predict_on_batch(x).shape == (4, 2)


# ------------------------------------------------------------------ threads and interrupts
def test_eight_threads_predict_what_one_does(executor):
    m = Sequential([L.Dense(16, activation="relu", input_shape=(8,)), L.Dense(3, activation="softmax")])
    xs = [data(n, 8, at=n) for n in range(1, 25)]
    want = [m.predict(x, batch_size=7) for x in xs]
    copy = Sequential.from_config(m.get_config())
    copy.set_weights(m.get_weights())
    bad = []

    def work(k):
        for i in np.random.RandomState(k).permutation(len(xs)):
            got = copy.predict(xs[i], batch_size=7) if (i + k) % 2 else copy.predict_on_batch(xs[i])
            if not np.allclose(got, want[i], atol=1e-6):
                bad.append(i)
    many = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in many:
        t.start()
    for t in many:
        t.join()
    assert not bad


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("hook", ["train_begin", "epoch_begin", "batch_begin", "batch_end", "epoch_end", "train_end"])
def test_an_exception_leaves_the_model_whole(hook, error, executor):
    class Throws(callbacks.Callback):
        pass

    def throw(self, *args, **kwargs):
        raise error("stop")
    setattr(Throws, "on_" + hook, throw)
    m, x, y = pair(optimizer="adam"), data(6, 3), data(6)
    with pytest.raises(error):
        m.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[Throws()])
    assert all(np.isfinite(w).all() for w in m.get_weights())
    assert len(m.fit(x, y, epochs=2, verbose=0).history["loss"]) == 2


def test_an_exception_in_a_generator_comes_through():
    def broken():
        yield data(4, 3), data(4, 1)
        raise OSError("disk")
    m = pair()
    with pytest.raises(OSError, match="disk"):
        m.fit_generator(broken(), steps_per_epoch=3, verbose=0)
    assert np.isfinite(m.train_on_batch(data(4, 3), data(4, 1)))


# ------------------------------------------------------------------ phases
def test_batch_normalization_in_its_three_states(executor):
    m, x = Sequential([L.BatchNormalization(momentum=.5, input_shape=(3,))]), data(8, 3)
    m.compile(O.SGD(0.), "mse")
    m.train_on_batch(x, x)
    mean, var = m.get_weights()[2:]
    np.testing.assert_allclose(mean, .5 * x.mean(0), rtol=1e-4)
    np.testing.assert_allclose(var, .5 + .5 * x.var(0) * 8 / (8 - 1 - 1e-3), rtol=1e-4)
    np.testing.assert_allclose(m.predict(x), (x - mean) / np.sqrt(var + 1e-3), rtol=1e-4, atol=1e-5)
    m.layers[0].trainable = False
    m.compile(O.SGD(0.), "mse")
    z = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3)
    np.testing.assert_allclose(m.train_on_batch(x, 0 * x), (z ** 2).mean(), rtol=1e-4)
    np.testing.assert_array_equal(m.get_weights()[2], mean)
    i = L.Input((3,))
    fixed = Model(i, L.BatchNormalization()(i, training=False))
    fixed.compile(O.SGD(0.), "mse")
    np.testing.assert_allclose(fixed.train_on_batch(x, 0 * x), (x ** 2 / 1.001).mean(), rtol=1e-4)


def test_dropout_by_phase(executor):
    m, x = Sequential([L.Dropout(.4, input_shape=(50,))]), np.ones((64, 50), "f")
    f = K.function([m.input, K.learning_phase()], [m.output])
    y = f([x, 1])[0]
    assert set(np.unique(y.round(4))) == {np.float32(0), np.float32(1.6667)} and abs(y.mean() - 1) < .06
    assert (f([x, 1])[0] != y).any() and (f([x, 0])[0] == 1).all() and (m.predict(x) == 1).all()
    K.set_learning_phase(1)
    assert (Sequential([L.Dropout(.5, input_shape=(50,))]).predict(x) == 0).any()


def test_loops_draw_anew_at_each_step(executor):
    x = K.placeholder((None, 6, 8))
    _, outs, _ = K.rnn(lambda t, s: (K.dropout(t, .5) + 0. * s[0], [s[0]]), x, [x[:, 0] * 0.])
    f, a = K.function([x], [outs]), np.ones((4, 6, 8), "f")
    y = f([a])[0]
    assert all((y[:, i] != y[:, j]).any() for i in range(6) for j in range(i))
    assert (f([a])[0] != y).any()
    rows = K.function([x], [K.map_fn(lambda e: K.random_normal((3,)), x[:, 0, :3])])([a])[0]
    assert len(np.unique(rows)) == rows.size
    nested = K.map_fn(lambda e: K.map_fn(lambda r: K.random_uniform((2,)), e), x)
    deep = K.function([x], [nested])([a])[0]
    assert len(np.unique(deep)) > .99 * deep.size


def test_the_phase_inside_a_loop_and_its_gradient(executor):
    x, w = K.placeholder((None, 6, 8)), K.variable(np.eye(8))

    def step(t, s):
        h = K.in_train_phase(K.dropout(K.dot(t, w), .5), K.dot(t, w)) + .5 * s[0]
        return h, [h]
    last, outs, _ = K.rnn(step, x, [x[:, 0] * 0.])
    assert last._uses_learning_phase
    f, a = K.function([x, K.learning_phase()], [outs, *K.gradients(K.sum(outs), [x, w])]), np.abs(data(4, 6, 8)) + .1
    test, train = f([a, 0]), f([a, 1])
    want = np.zeros((4, 8))
    for i in range(6):
        want = a[:, i] + .5 * want
        np.testing.assert_allclose(test[0][:, i], want, rtol=1e-5)
    for y, gx, gw in (test, train):              # the sum is linear in x and in w: the masks of both directions agree
        np.testing.assert_allclose((gx * a).sum(), y.sum(), rtol=1e-4)
        np.testing.assert_allclose(np.trace(gw), y.sum(), rtol=1e-4)
    assert (train[0] == 0).any()


# ------------------------------------------------------------------ more of the interface
def test_float64_all_through(executor):
    K.set_floatx("float64")
    m = Sequential([L.Dense(4, activation="tanh", input_shape=(3,)), L.BatchNormalization(), L.Dropout(.2), L.Dense(1)])
    m.compile(O.Adam(clipnorm=1.), "mse", metrics=["mae"])
    h = m.fit(data(10, 3), data(10), epochs=2, verbose=0, validation_split=.2, batch_size=3)
    assert m.predict(data(2, 3)).dtype == m.get_weights()[0].dtype == np.float64
    assert np.isfinite(h.history["val_loss"]).all()


def test_subclassed_models(executor):
    class Net(Model):
        def __init__(self):
            super().__init__(name="net")
            self.hidden = [L.Dense(4, activation="relu"), L.Dense(4)]
            self.drop, self.normal, self.out = L.Dropout(.5), L.BatchNormalization(), L.Dense(2)

        def call(self, x, training=None):
            for layer in self.hidden:
                x = layer(x)
            return self.out(self.normal(self.drop(K.relu(x), training=training)))
    m = Net()
    m.compile("adam", "mse", metrics=["mae"])
    assert set(m.fit(data(6, 3), data(6, 2), verbose=0).history) == {"loss", "mean_absolute_error"}
    assert m.get_weights()[8].any(), "the moving mean has moved"
    assert len(m.get_weights()) == 10 and len(m.trainable_weights) == 8 and m.count_params() == 16 + 20 + 16 + 10
    np.testing.assert_array_equal(m.predict(data(6, 3)), m.predict_on_batch(data(6, 3)))
    m.summary(print_fn=lambda line: None)
    with pytest.raises(NotImplementedError, match="subclassed model `net`"):
        m.get_config()


def test_outputs_without_loss():
    x = L.Input((3,))
    m = Model(x, [L.Dense(1, name="u")(x), L.Dense(2, name="v")(x)])
    with pytest.warns(UserWarning, match='Output "v" missing from loss dictionary'):
        m.compile("sgd", {"u": "mse"})
    before = m.get_weights()
    m.fit(data(4, 3), data(4, 1), verbose=0)
    m.fit(data(4, 3), {"u": data(4, 1)}, verbose=0)
    assert m.metrics_names == ["loss", "u_loss"]
    assert [bool((a == b).all()) for a, b in zip(before, m.get_weights())] == [False, False, True, True]


def test_data_that_is_a_tensor():
    x = K.variable(data(6, 3))
    i = L.Input(tensor=x)
    m = Model(i, L.Dense(2)(i))
    m.compile("sgd", "mse", target_tensors=[K.variable(data(6, 2))])
    assert len(m.fit(steps_per_epoch=3, epochs=2, verbose=0).history["loss"]) == 2
    assert np.isfinite(m.evaluate(steps=2, verbose=0)) and m.predict(None, steps=2).shape == (12, 2)


def test_generators_in_fit_evaluate_predict():
    def batches():
        while True:
            yield data(4, 3), data(4, 1)
    m, source = pair(), batches()
    h = m.fit(source, steps_per_epoch=2, epochs=2, verbose=0, validation_data=batches(), validation_steps=1)
    assert list(h.history) == ["val_loss", "loss"] and len(h.history["loss"]) == 2
    assert np.isfinite(m.evaluate(source, steps=1, verbose=0)) and m.predict(source, steps=2).shape == (8, 1)
    assert next(source)[0].shape == (4, 3), "the caller's generator is still open"


def test_learning_rate_by_every_name():
    m = pair(optimizer=O.SGD(learning_rate=.3))
    assert K.get_value(m.optimizer.lr) == K.get_value(m.optimizer.learning_rate) == np.float32(.3)
    x, y = data(4, 3), data(4, 1)
    m.train_on_batch(x, y)
    m.optimizer.lr = 0.
    before = m.get_weights()
    m.train_on_batch(x, y)
    assert all((a == b).all() for a, b in zip(before, m.get_weights()))
    m.optimizer.learning_rate = .1
    m.train_on_batch(x, y)
    assert (before[0] != m.get_weights()[0]).any()
    with pytest.raises(TypeError, match="Unexpected keyword argument passed to optimizer: rate"):
        O.Adam(rate=.1)


def test_an_optimizer_of_ones_own():
    class Sign(O.Optimizer):
        def __init__(self, lr=.01, **kwargs):
            super().__init__(**kwargs)
            self.lr, self.iterations = K.variable(lr, name="lr"), K.variable(0, dtype="int64", name="iterations")

        def get_updates(self, loss, params):
            self.updates, self.weights = [K.update_add(self.iterations, 1)], [self.iterations]
            for p, g in zip(params, self.get_gradients(loss, params)):
                self.updates.append(K.update(p, p - self.lr * K.sign(g)))
            return self.updates
    m = pair(optimizer=Sign(.5))
    before = m.get_weights()
    m.train_on_batch(data(4, 3), data(4, 1))
    assert all(np.allclose(abs(a - b), .5, atol=1e-6) for a, b in zip(before, m.get_weights()))


def test_pieces_of_ones_own():
    d = L.Dense(3, kernel_initializer=lambda shape, dtype=None: np.full(shape, .5), input_dim=2,
                activation=lambda x: x * K.sigmoid(x), kernel_regularizer=lambda w: .1 * K.sum(K.abs(w)),
                kernel_constraint=lambda w: w * K.cast(w >= 0, K.floatx()), bias_initializer=initializers.Constant(.1))
    m = Sequential([d])
    m.compile(O.SGD(5.), "mse")
    p = m.predict(data(4, 2))
    np.testing.assert_allclose(m.test_on_batch(data(4, 2), p), .1 * 3, rtol=1e-5)
    m.fit(data(4, 2), data(4, 3), verbose=0)
    assert (d.get_weights()[0] >= 0).all()
    with utils.custom_object_scope({"swish": lambda x: x * K.sigmoid(x)}):
        m = Sequential([L.Dense(2, activation="swish", input_dim=2), L.Activation("swish")])
    assert m.output_shape == (None, 2)


def test_activity_penalties_are_sums_over_the_batch(executor):
    m, x = Sequential([L.Dense(2, input_shape=(3,), activity_regularizer=regularizers.l1(.1))]), data(5, 3)
    m.compile("sgd", "mse")
    p = m.predict(x)
    np.testing.assert_allclose(m.test_on_batch(x, p), .1 * abs(p).sum(), rtol=1e-4)


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 3)])
def test_targets_broadcast_in_a_loss_of_ones_own(shape, executor):
    m = Sequential([L.Dense(3, input_shape=(4,), name="a")])
    m.compile("sgd", lambda y, p: K.mean(K.square(p - y), axis=-1))
    x, y = data(6, 4), data(*shape)
    want = ((m.predict(x) - y.reshape(6, -1)) ** 2).mean()
    np.testing.assert_allclose([m.test_on_batch(x, y), m.train_on_batch(x, y)], want, rtol=1e-5)


def test_reductions_of_one_element(executor):
    g, y = K.placeholder((1,)), K.placeholder((3, 1, 1))
    norm = K.sqrt(K.sum(K.square(g)) + K.sum(K.square(y)))
    f = K.function([g, y], [norm, g / norm, K.max(y, 1) + K.sum(g), K.all(K.greater(y, 0), 2), K.mean(y, (1, 2))])
    a, b = np.full((1,), 2., "f"), data(3, 1, 1)
    n = np.sqrt(4 + (b ** 2).sum())
    for got, want in zip(f([a, b]), [n, a / n, b.max(1) + 2, (b > 0).all(2), b.mean((1, 2))]):
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_logs_that_callbacks_see():
    seen = []

    class Spy(callbacks.Callback):
        def on_batch_begin(self, batch, logs=None):
            seen.append(("begin", batch, dict(logs)))

        def on_batch_end(self, batch, logs=None):
            seen.append(("end", batch, sorted(logs)))

        def on_epoch_end(self, epoch, logs=None):
            seen.append((epoch, sorted(logs), self.validation_data is not None, self.params["samples"]))
    pair(metrics=["mae"]).fit(data(5, 3), data(5), batch_size=3, validation_data=(data(2, 3), data(2)), verbose=0,
                              callbacks=[Spy()])
    ends = ["batch", "loss", "mean_absolute_error", "size"]
    epoch = ["loss", "mean_absolute_error", "val_loss", "val_mean_absolute_error"]
    assert seen == [("begin", 0, {"batch": 0, "size": 3}), ("end", 0, ends), ("begin", 1, {"batch": 1, "size": 2}),
                    ("end", 1, ends), (0, epoch, True, 5)]


def test_a_gan_warns_when_its_discriminator_trains():
    d = Sequential([L.Dense(1, input_shape=(2,), name="d")])
    d.compile("sgd", "mse")
    d.trainable = False
    z = L.Input((2,))
    both = Model(z, d(z))
    both.compile("sgd", "mse")
    before = d.get_weights()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both.train_on_batch(data(4, 2), data(4, 1))
    assert (before[0] == d.get_weights()[0]).all()
    with pytest.warns(UserWarning, match="Discrepancy"):
        d.train_on_batch(data(4, 2), data(4, 1))
    assert (before[0] != d.get_weights()[0]).any()


def test_both_executors_train_alike_with_dropout_and_noise(monkeypatch):
    def run(name):
        monkeypatch.setenv("GRAPHK_EXECUTOR", name)
        K.clear_session()
        np.random.seed(3)
        m = Sequential([L.Dense(12, activation="relu", input_shape=(4,)), L.Dropout(.3), L.BatchNormalization(),
                        L.GaussianNoise(.2), L.Dense(3, activation="softmax")])
        m.compile(O.Adam(.01), "categorical_crossentropy", metrics=["acc"])
        h = m.fit(data(30, 4), np.eye(3)[np.arange(30) % 3], batch_size=8, epochs=3, validation_split=.2, verbose=0)
        return h.history, m.get_weights()
    (h1, w1), (h2, w2) = run("interp"), run("cpu")
    for k in h1:
        np.testing.assert_allclose(h1[k], h2[k], rtol=1e-4, err_msg=k)
    for a, b in zip(w1, w2):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_an_interrupted_assignment_is_seen_by_what_predicts(monkeypatch):
    """Ctrl-C while a weight is set: whether or not the value got there, predictions use the weight that is there."""
    model = Sequential([L.Dense(8, use_bias=False, input_shape=(4,))])
    x = np.ones((16, 4), "f")
    model.predict_on_batch(x)
    kernel = model.layers[0].kernel
    from graphk.runtime import writes
    told = writes.note_write
    calls = []

    def interrupted():
        calls.append(told())
        if len(calls) == 2:
            raise KeyboardInterrupt
        return calls[-1]
    monkeypatch.setattr(writes, "note_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kernel.set_value(np.full((4, 8), 3.0))
    np.testing.assert_allclose(model.predict_on_batch(x), x @ kernel.get_value())
    assert len(calls) == 2
