"""compile, fit, evaluate, predict."""
import numpy as np
import pytest

from graphk import backend as K
from graphk import callbacks, losses, metrics
from graphk import layers as L
from graphk.models import Model, Sequential


def line(lr=.1, **compile_args):
    """y = w x + b from known weights."""
    m = Sequential([L.Dense(1, input_shape=(1,), weights=[np.array([[2.]]), np.array([1.])])])
    m.compile("sgd", **{"loss": "mse", **compile_args})
    K.set_value(m.optimizer.lr, lr)
    return m


X = np.array([[0.], [1.], [2.], [3.]])


def classifier():
    m = Sequential([L.Dense(8, activation="relu", input_shape=(4,)), L.Dropout(.2), L.Dense(3, activation="softmax")])
    m.compile("adam", "categorical_crossentropy", metrics=["accuracy", "mse"])
    return m


@pytest.mark.parametrize("weights", [["high", 1.], [None, 1.], {"a": [1.]}])
def test_weights_of_losses_are_numbers(weights):
    with pytest.raises(TypeError, match="Could not interpret loss_weights argument: .* a list or a dict of numbers"):
        two_outputs(loss="mse", loss_weights=weights)
    two_outputs(loss="mse", loss_weights=[K.variable(.5), np.float32(2.)])


def test_mlp_learns():
    x = np.random.randn(200, 4)
    y = np.eye(3)[x[:, :3].argmax(1)]
    m = classifier()
    K.set_value(m.optimizer.lr, .02)
    h = m.fit(x, y, epochs=12, batch_size=20, verbose=0, validation_split=.2)
    assert list(h.history) == ["val_loss", "val_acc", "val_mean_squared_error", "loss", "acc", "mean_squared_error"]
    assert h.history["loss"][-1] < .6 * h.history["loss"][0] and h.epoch == list(range(12))
    loss, acc, mse = m.evaluate(x, y, verbose=0)
    p = m.predict(x, batch_size=64)
    np.testing.assert_allclose(acc, (p.argmax(1) == y.argmax(1)).mean(), rtol=1e-6)
    np.testing.assert_allclose(mse, ((p - y) ** 2).mean(), rtol=1e-5)
    assert m.predict_classes(x[:3]).tolist() == p[:3].argmax(1).tolist()


def test_np_random_seed_reproduces():
    def once():
        K.clear_session()
        np.random.seed(7)
        m = classifier()
        h = m.fit(np.random.randn(20, 4), np.eye(3)[np.arange(20) % 3], epochs=2, batch_size=6, verbose=0)
        return h.history["loss"]
    assert once() == once()


def test_a_model_made_again_draws_the_same():
    def once():
        np.random.seed(3)
        m = Sequential([L.Dense(8, input_shape=(4,)), L.Dropout(.5), L.Dense(1)])
        m.compile("sgd", "mse")
        x = np.random.rand(32, 4)
        return m.fit(x, x.sum(1), epochs=2, verbose=0).history["loss"]
    first = once()
    assert once() == first and first[0] != first[1]


def test_ops_made_before_and_after_a_draw_count_apart():
    x = K.placeholder((None,))
    early = K.random_uniform((2,), seed=1)
    a = K.function([x], [early])
    first, second = (a([[0.]])[0] for _ in range(2))
    both = K.function([x], [early, K.random_uniform((2,), seed=1)])
    third, again = both([[0.]])
    np.testing.assert_array_equal(again, first)
    np.testing.assert_array_equal(both([[0.]])[1], second)
    assert len({tuple(v) for v in (first, second, third)}) == 3


def test_sample_weights_divide_by_the_share_that_is_not_zero():
    m, y = line(), np.array([[0.], [0.], [0.], [0.]])
    w = np.array([1., 2., 0., 0.])
    err = (2 * X[:, 0] + 1) ** 2
    want = (err * w / (w != 0).mean()).mean()
    np.testing.assert_allclose(m.test_on_batch(X, y, sample_weight=w), want, rtol=1e-6)
    np.testing.assert_allclose(m.evaluate(X, y, sample_weight=w, verbose=0), want, rtol=1e-6)


def test_class_weight():
    m, y = line(loss="mse", metrics=["mae"], weighted_metrics=["mae"]), np.array([0, 0, 1, 1])
    err = (2 * X[:, 0] + 1 - y)
    got = m.train_on_batch(X, y, class_weight={0: 1., 1: 3.})
    cw = np.array([1., 1., 3., 3.])
    np.testing.assert_allclose(got, [(err ** 2 * cw).mean(), np.abs(err).mean(), (np.abs(err) * cw).mean()], rtol=1e-6)
    assert m.metrics_names == ["loss", "mean_absolute_error", "weighted_mean_absolute_error"]
    with pytest.raises(ValueError, match="`class_weight` must contain all classes in the data"):
        m.train_on_batch(X, y, class_weight={0: 1.})
    with pytest.warns(UserWarning, match="`class_weight` argument will be ignored"):
        m.train_on_batch(X, y, class_weight={0: 1., 1: 1.}, sample_weight=np.ones(4))


def test_masked_and_temporal_loss():
    m = Sequential([L.Masking(0., input_shape=(3, 1)), L.Dense(1, kernel_initializer="ones")])
    m.compile("sgd", "mse", sample_weight_mode="temporal")
    x = np.array([[[1.], [2.], [0.]], [[3.], [0.], [0.]]])
    mask = (x[..., 0] != 0).astype(float)
    sq, w = x[..., 0] ** 2, np.array([[1., 0., 1.], [2., 1., 1.]])
    want = (sq * mask / mask.mean() * w / (w != 0).mean()).mean()
    np.testing.assert_allclose(m.test_on_batch(x, x * 0, sample_weight=w), want, rtol=1e-6)
    with pytest.raises(ValueError, match="you should pass a 2D sample_weight array"):
        m.test_on_batch(x, x, sample_weight=np.ones(2))


def two_outputs(**kwargs):
    x = L.Input((2,), name="x")
    m = Model(
        x, [L.Dense(1, name="a", kernel_initializer="ones")(x), L.Dense(2, name="b", kernel_initializer="ones")(x)]
    )
    m.compile("sgd", **kwargs)
    return m


def test_several_outputs():
    m = two_outputs(loss={"a": "mse", "b": "mae"}, loss_weights={"a": .5}, metrics={"b": ["mse", "mse"]})
    assert m.metrics_names == ["loss", "a_loss", "b_loss", "b_mean_squared_error", "b_mean_squared_error_1"]
    x = np.ones((4, 2))
    got = m.test_on_batch(x, {"a": np.zeros(4), "b": np.zeros((4, 2))})
    np.testing.assert_allclose(got, [.5 * 4 + 2, 4, 2, 4, 4])
    m.fit(x, [np.zeros(4), np.zeros((4, 2))], verbose=0, sample_weight=[np.ones(4), None])


def test_output_without_loss_takes_no_target():
    with pytest.warns(UserWarning, match='Output "b" missing from loss dictionary'):
        m = two_outputs(loss={"a": "mse"})
    np.testing.assert_allclose(m.test_on_batch(np.ones((2, 2)), np.zeros(2)), 4.)


@pytest.mark.parametrize(
    "kwargs,text",
    [
        (
            {"loss": {"c": "mse"}},
            'Unknown entry in loss dictionary: "c". Only expected the following keys: [\'a\', \'b\']',
        ),
        ({"loss": ["mse"]}, "it should have one entry per model output. The model has 2 outputs"),
        ({"loss": "mse", "loss_weights": [1.0]}, "it should have one entry per model output. The model has 2 outputs"),
        ({"loss": "mse", "loss_weights": {"c": 1.0}}, "Unknown entry in loss_weights dictionary"),
        ({"loss": None}, "The model cannot be compiled because it has no loss to optimize."),
        ({"loss": "mse", "metrics": {"c": "mse"}}, "Unknown entry in metrics dictionary"),
        ({"loss": "mse", "sample_weight_mode": [None]}, "it should have one entry per model output"),
        ({"loss": "nonsense"}, "Unknown loss function:nonsense"),
    ],
)
def test_compile_errors(kwargs, text):
    with pytest.raises(ValueError) as e:
        two_outputs(**kwargs)
    assert text in str(e.value)


@pytest.mark.parametrize(
    "x,y,text",
    [
        (
            np.ones((2, 3)),
            np.ones((2, 3)),
            "Error when checking input: expected dense_1_input to have shape (4,) but got array with shape (3,)",
        ),
        (
            np.ones((2, 4, 1)),
            np.ones((2, 3)),
            "expected dense_1_input to have 2 dimensions, but got array with shape (2, 4, 1)",
        ),
        (
            np.ones((2, 4)),
            np.ones((2, 2)),
            "Error when checking target: expected dense_2 to have shape (3,) but got array with shape (2,)",
        ),
        (np.ones((2, 4)), np.ones((3, 3)), "Found 2 input samples and 3 target samples."),
        (
            [np.ones((2, 4))] * 2,
            np.ones((2, 3)),
            "Expected to see 1 array(s), but instead got the following list of 2 arrays",
        ),
        (
            {"nope": np.ones((2, 4))},
            np.ones((2, 3)),
            'No data provided for "dense_1_input". Need data for each key in: [\'dense_1_input\']',
        ),
    ],
)
def test_data_errors(x, y, text):
    with pytest.raises(ValueError) as e:
        classifier().train_on_batch(x, y)
    assert text in str(e.value)


def test_integer_targets_for_categorical_loss():
    m = Sequential([L.Dense(1, input_shape=(2,))])
    m.compile("sgd", "categorical_crossentropy")
    with pytest.raises(ValueError, match="expects targets to be binary matrices"):
        m.fit(np.ones((2, 2)), np.ones(2), verbose=0)


def test_sparse_targets_and_accuracy_choice():
    m = Sequential([L.Dense(3, activation="softmax", input_shape=(2,))])
    m.compile("sgd", "sparse_categorical_crossentropy", metrics=["acc"])
    x, y = np.random.randn(6, 2), np.array([0, 1, 2, 0, 1, 2])
    loss, acc = m.evaluate(x, y, verbose=0)
    p = m.predict(x)
    np.testing.assert_allclose(loss, -np.log(p[np.arange(6), y]).mean(), rtol=1e-4)
    np.testing.assert_allclose(acc, (p.argmax(1) == y).mean(), rtol=1e-6)
    b = Sequential([L.Dense(2, activation="sigmoid", input_shape=(2,))])
    b.compile("sgd", "binary_crossentropy", metrics=["accuracy", metrics.top_k_categorical_accuracy, losses.mse])
    assert b.metrics_names == ["loss", "acc", "top_k_categorical_accuracy", "mean_squared_error"]
    np.testing.assert_allclose(b.evaluate(x, np.ones((6, 2)), verbose=0)[1], (b.predict(x) > .5).mean(), rtol=1e-6)


def test_not_compiled():
    m = Sequential([L.Dense(1, input_shape=(1,))])
    with pytest.raises(RuntimeError, match="You must compile a model before training/testing"):
        m.fit(X, X)
    assert m.predict(X).shape == (4, 1)


def test_last_partial_batch_weighs_by_size():
    m = line(lr=0.)
    h = m.fit(X, X * 0, batch_size=3, verbose=0, shuffle=False)
    np.testing.assert_allclose(h.history["loss"], [((2 * X + 1) ** 2).mean()], rtol=1e-6)
    np.testing.assert_allclose(m.evaluate(X, X * 0, batch_size=3, verbose=0), ((2 * X + 1) ** 2).mean(), rtol=1e-6)


@pytest.mark.parametrize("shuffle", [True, False, "batch"])
def test_shuffling(shuffle):
    seen = []

    class Spy(callbacks.Callback):
        def on_batch_end(self, batch, logs=None):
            seen.append(float(logs["loss"]))
    m = line(lr=0.)
    np.random.seed(5)
    x = np.arange(9.).reshape(9, 1)
    m.fit(x, 2 * x + 1 + np.arange(9.).reshape(9, 1), batch_size=2, verbose=0, shuffle=shuffle, callbacks=[Spy()])
    np.random.seed(5)
    order = np.arange(9)
    if shuffle == "batch":
        blocks = order[:8].reshape(4, 2)
        np.random.shuffle(blocks)
        order = np.append(blocks.ravel(), 8)
    elif shuffle:
        np.random.shuffle(order)
    np.testing.assert_allclose(seen, [(order[i:i + 2] ** 2).mean() for i in range(0, 9, 2)], rtol=1e-5)


def test_freezing_is_read_at_compile():
    m = line()
    m.layers[0].trainable = False
    with pytest.warns(UserWarning, match="Discrepancy between trainable weights and collected trainable weights"):
        m.train_on_batch(X, X)
    assert m.get_weights()[0] != 2.
    m.compile("sgd", "mse")
    before = m.get_weights()
    m.train_on_batch(X, X)
    assert all((a == b).all() for a, b in zip(before, m.get_weights()))


def test_initial_epoch_steps_and_legacy_epochs():
    m = line()
    assert m.fit(X, X, epochs=5, initial_epoch=3, verbose=0).epoch == [3, 4]
    assert m.fit(X, X, epochs=2, steps_per_epoch=3, verbose=0).epoch == [0, 1]
    with pytest.warns(UserWarning, match="The `nb_epoch` argument in `fit` has been renamed `epochs`"):
        assert m.fit(X, X, nb_epoch=2, verbose=0).epoch == [0, 1]
    with pytest.raises(TypeError, match="Unrecognized keyword arguments"):
        m.fit(X, X, nonsense=1)


def test_validation_data_is_not_class_weighted():
    m = line(lr=0.)
    y = np.array([0, 0, 1, 1])
    h = m.fit(X, y, verbose=0, class_weight={0: 1., 1: 5.}, validation_data=(X, y)).history
    err = (2 * X[:, 0] + 1 - y) ** 2
    np.testing.assert_allclose(h["val_loss"], [err.mean()], rtol=1e-6)
    np.testing.assert_allclose(h["loss"], [(err * [1, 1, 5, 5]).mean()], rtol=1e-6)
    with pytest.raises(ValueError, match="must contain 2"):
        m.fit(X, y, validation_data=(X,), verbose=0)


def test_custom_loss_may_take_targets_of_any_shape():
    m = Sequential([L.Dense(2, input_shape=(1,))])
    m.compile("sgd", lambda t, p: K.mean(K.square(K.sum(p, -1, keepdims=True) - t), -1))
    assert np.isfinite(m.train_on_batch(X, np.ones((4, 1))))


def test_target_tensors():
    x, t = L.Input((1,)), K.placeholder((None, 1))
    m = Model(x, L.Dense(1)(x))
    m.compile("sgd", "mse", target_tensors=t)
    assert np.isfinite(m.train_on_batch(X, X))


def test_verbose_output(capsys):
    m = line()
    m.fit(X, X, epochs=1, verbose=1, validation_data=(X, X), batch_size=2)
    out = capsys.readouterr().out
    assert out.startswith("Train on 4 samples, validate on 4 samples\nEpoch 1/1\n")
    assert "4/4 [==============================] - " in out and " - loss: " in out and " - val_loss: " in out
    m.fit(X, X, epochs=1, verbose=2)
    assert capsys.readouterr().out.startswith("Epoch 1/1\n - ")
    m.fit(X, X, verbose=0)
    assert capsys.readouterr().out == ""


def test_predict_shapes():
    m = two_outputs(loss="mse")
    a, b = m.predict(np.ones((5, 2)), batch_size=2)
    assert a.shape == (5, 1) and b.shape == (5, 2) and (b == 2).all()
    assert [o.shape for o in m.predict_on_batch(np.ones((3, 2)))] == [(3, 1), (3, 2)]
    assert m.predict(np.ones((0, 2)))[0].shape == (0, 1)


def test_repeated_batches_take_the_short_path_and_stay_right():
    m, slow = line(), line()
    x, y = X.astype("float32"), (X * 0).astype("float32")
    got, want = [], []
    for call in ("train_on_batch", "test_on_batch") * 3:
        got.append(getattr(m, call)(x, y))
        slow._plain_weights.clear()
        want.append(getattr(slow, call)(x, y))
    assert got == want and len(m._plain_weights) == 1
    with pytest.warns(UserWarning, match="class_weight"):
        m.train_on_batch(x, y, sample_weight=np.ones(4), class_weight={0: 1.})
    for call in (m.train_on_batch, m.test_on_batch):
        with pytest.raises(ValueError, match="Found 3 input samples and 4 target samples"):
            call(x[:3], y)
        with pytest.raises(ValueError, match="Found a sample_weight array"):
            call(x, y, sample_weight=np.ones((4, 1), "float32"))


@pytest.mark.parametrize("weights", [None, [np.array([1, 2, 0, 1, 3], "f"), np.ones(5, "f")]])
def test_batches_of_several_inputs_and_outputs_do_so_too(weights):
    def made():
        a, b = L.Input((3,)), L.Input((2,), dtype="int32")
        e = L.Flatten()(L.Embedding(7, 2, embeddings_initializer="ones")(b))
        model = Model([a, b], [L.Dense(1, kernel_initializer="ones")(L.concatenate([a, e])), a])
        model.compile("sgd", "mse", metrics=["mae"])
        return model
    rng = np.random.default_rng(0)
    x = [rng.random((5, 3)).astype("f"), rng.integers(0, 7, (5, 2)).astype("int32")]
    y = [rng.random((5, 1)).astype("f"), rng.random((5, 3)).astype("f")]
    m, slow = made(), made()
    for _ in range(3):
        slow._plain_weights.clear()
        assert m.train_on_batch(x, y, weights) == slow.train_on_batch(x, y, weights)
        slow._plain_weights.clear()
        assert m.test_on_batch(tuple(x), y, weights) == slow.test_on_batch(x, y, weights)
        for call in (m.predict, m.predict_on_batch):
            for got, want in zip(call(x), slow.predict([a.tolist() for a in x])):
                np.testing.assert_array_equal(got, want)
    assert len(m._plain_weights) == 1
    wrong = [x[0], x[1] + 5]
    for call in (lambda: m.train_on_batch(wrong, y, weights), lambda: m.test_on_batch(wrong, y, weights),
                 lambda: m.predict(wrong), lambda: m.predict_on_batch(wrong)):
        with pytest.raises(ValueError, match=r"is not in \[0, 7\)"):
            call()
    with pytest.raises(ValueError, match="same number of samples"):
        m.predict([x[0], x[1][:4]])
    with pytest.raises(ValueError, match="Expected to see 2 array"):
        m.predict(x[:1])


def test_targets_have_the_axes_that_a_lambda_declares():
    x = L.Input((3,))
    y = L.Lambda(lambda t: K.sum(t, axis=-1), output_shape=(1,), name="loss")(L.Dense(2, kernel_initializer="ones")(x))
    model = Model(x, y)
    model.compile("sgd", lambda target, output: output)
    assert model.output_shape == (None, 1)
    x = np.ones((4, 3))
    assert model.test_on_batch(x, np.zeros((4, 1))) == model.test_on_batch(x, np.zeros(4)) == 6


def test_data_may_be_symbolic():
    m = line(metrics=["mae"])
    x = K.random_uniform((6, 1))
    y = 2. * x + 1.                                        # drawn together: the line fits each batch
    h = m.fit(x, y, steps_per_epoch=3, epochs=2, verbose=0, validation_data=(x, y), validation_steps=2)
    np.testing.assert_allclose([*h.history["loss"], *h.history["val_loss"]], 0., atol=1e-10)
    np.testing.assert_allclose([m.evaluate(x, y, steps=2, verbose=0), m.train_on_batch(x, y), m.test_on_batch(x, y)],
                               0., atol=1e-6)
    drawn = m.predict(x, steps=2)
    assert drawn.shape == (12, 1) and (drawn[:6] != drawn[6:]).all()
    assert m.predict_on_batch(K.ones((2, 1))).shape == (2, 1)
    for call in (lambda: m.fit(x, y), lambda: m.fit(x, y, batch_size=2), lambda: m.evaluate(x, y),
                 lambda: m.predict(x, batch_size=2)):
        with pytest.raises(ValueError, match="symbolic tensors, you should specify the `steps"):
            call()
    with pytest.raises(ValueError, match="symbolic tensors, you cannot use `validation_split`"):
        m.fit(x, y, steps_per_epoch=2, validation_split=.5)
    with pytest.raises(ValueError, match="`target`"):
        m.train_on_batch(x, K.placeholder((6, 1), name="target"))


def test_a_loss_may_be_one_number_that_a_layer_computes():
    x, t = L.Input((3,)), L.Input((2,))
    y = L.Dense(2)(x)
    loss = L.Lambda(lambda a: K.sum(K.square(a[0] - a[1])) / K.cast(K.shape(a[0])[0], "float32"),
                    output_shape=(1,), name="loss")([y, t])
    m = Model([x, t], loss)
    m.compile("sgd", {"loss": lambda y_true, y_pred: y_pred})
    data = [np.random.RandomState(i).randn(4, d) for i, d in enumerate((3, 2))]
    want = np.square(Model(x, y).predict(data[0]) - data[1]).sum() / 4
    assert m.evaluate(data, np.zeros(4), verbose=0) == pytest.approx(want, rel=1e-5)
    h = m.fit(data, np.zeros(4), batch_size=2, epochs=2, validation_split=.5, verbose=0).history
    assert len(h["val_loss"]) == 2


def test_a_callback_may_compile_the_model():
    class Freeze(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.layers[0].trainable = False
            self.model.compile("sgd", "mse", metrics=["mae"])
    m = line(metrics=["mse"])
    h = m.fit(X, X, epochs=3, validation_data=(X, X), callbacks=[Freeze()], verbose=0).history    # goes on as it began
    assert set(h) == {"loss", "val_loss", "mean_squared_error", "val_mean_squared_error"}
    assert h["loss"][0] > h["loss"][1] > h["loss"][2]


@pytest.mark.parametrize("part", [1, 2])
def test_minus_one_beside_open_sizes(part):
    x = K.placeholder((None, None, None, 6))
    s = K.shape(x[:, ::2])
    f = K.function([x], [K.reshape(x[:, ::2], [-1, s[1] // part, s[2], 3, 2 * part]) + 1.])
    a = np.arange(120.).reshape(1, 4, 5, 6)
    np.testing.assert_array_equal(f([a])[0], a[:, ::2].reshape(-1, 2 // part, 5, 3, 2 * part) + 1)


def test_targets_of_open_sizes_that_a_layer_computed():
    m = Sequential([L.AveragePooling2D(input_shape=(None, None, 1)), L.UpSampling2D(), L.Conv2D(1, 1)])
    m.compile("sgd", "mse")
    for h, w in ((4, 6), (2, 8)):
        x = np.random.RandomState(h).randn(2, h, w, 1)
        assert m.test_on_batch(x, x) == pytest.approx(np.square(m.predict(x) - x).mean(), rel=1e-4)
        m.train_on_batch(x, x)


def test_weights_for_unknown_outputs_and_unknown_modes_of_weights_are_refused():
    x = L.Input((2,))
    m = Model(x, [L.Dense(1, name=n)(x) for n in ("one", "two")])
    m.compile("sgd", "mse")
    for what, weights in (("sample_weight", np.ones(4)), ("class_weight", {0: 1.})):
        with pytest.raises(ValueError, match=f'Unknown entry in {what} dictionary: "tow"'):
            m.fit(np.ones((4, 2)), [np.zeros((4, 1))] * 2, verbose=0, **{what: {"one": weights, "tow": weights}})
    for mode in ("temporary", [None, "temporary"], {"one": None, "two": "temporary"}):
        with pytest.raises(ValueError, match="Unknown sample_weight_mode 'temporary' for the output `"):
            m.compile("sgd", "mse", sample_weight_mode=mode)


def test_predicting_again_checks_what_it_must(capsys):
    """A batch like one seen before skips checks of the data, nothing else."""
    m, x = line(), X.astype("f")
    want = m.predict(x)
    np.testing.assert_array_equal(m.predict(x), want)
    np.testing.assert_array_equal(m.predict(x, batch_size=3), want)
    for wrong, words in (({"batch_size": 0}, "`batch_size`"), ({"batch_size": -4}, "`batch_size`"),
                         ({"batch_size": 2.5}, "`batch_size`"), ({"steps": 0}, "`steps`")):
        with pytest.raises((ValueError, TypeError), match=words):
            m.predict(x, **wrong)
    m.predict(x, verbose=1)
    assert "4/4" in capsys.readouterr().out
    m.layers[0].set_weights([np.array([[3.]]), np.array([0.])])
    np.testing.assert_array_equal(m.predict(x), 3 * X)
    assert m.predict(x[:0]).shape == (0, 1)
