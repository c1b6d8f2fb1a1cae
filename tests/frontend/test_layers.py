"""Layers: what they compute, their shapes, masks and configs."""
import copy
import functools
import re

import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.frontend import config
from graphk.models import Model, Sequential, clone_model, model_from_json

A = np.random.RandomState(0).randn(4, 3, 2).astype("float32")


def run(layer, *arrays, phase=0, **kwargs):
    """The layer's output, after a round trip through its config."""
    layer = layer.__class__.from_config(layer.get_config()) if not isinstance(layer, L.Lambda) else layer
    xs = [L.Input(a.shape[1:]) for a in arrays]
    y = layer(xs if len(xs) > 1 else xs[0], **kwargs)
    out = K.function([*xs, K.learning_phase()], [y])([*arrays, phase])[0]
    shape = K.int_shape(y)
    assert len(shape) == out.ndim and all(s in (None, d) for s, d in zip(shape, out.shape)), (shape, out.shape)
    return out


@pytest.mark.parametrize(
    "layer,want",
    [
        (L.Reshape((2, 3)), A.reshape(4, 2, 3)),
        (L.Reshape((-1,)), A.reshape(4, 6)),
        (L.Permute((2, 1)), A.transpose(0, 2, 1)),
        (L.Flatten(), A.reshape(4, 6)),
        (L.Activation("relu"), np.maximum(A, 0)),
        (L.Dropout(0.5), A),
        (L.LeakyReLU(0.1), np.where(A > 0, A, 0.1 * A)),
        (L.ReLU(1.0, 0.5, 0.25), np.where(A >= 1, 1, np.where(A > 0.25, A, 0.5 * (A - 0.25)))),
        (L.ThresholdedReLU(0.5), A * (A > 0.5)),
        (L.ELU(2.0), np.where(A > 0, A, 2 * np.expm1(A))),
        (L.PReLU(), np.maximum(A, 0)),
        (L.Softmax(1), np.exp(A) / np.exp(A).sum(1, keepdims=True)),
        (L.GaussianNoise(1.0), A),
        (L.GaussianDropout(0.5), A),
        (L.AlphaDropout(0.5), A),
        (L.SpatialDropout1D(0.5), A),
        (L.ActivityRegularization(0.1), A),
        (L.Lambda(lambda x: x[:, 0] * 2), A[:, 0] * 2),
        (L.BatchNormalization(), A / np.sqrt(1.001)),
    ],
    ids=lambda v: type(v).__name__,
)
def test_test_phase(layer, want):
    np.testing.assert_allclose(run(layer, A), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "layer,want",
    [
        (L.Add(), A + A[:, :1] + A),
        (L.Multiply(), A * A[:, :1] * A),
        (L.Average(), (2 * A + A[:, :1]) / 3),
        (L.Maximum(), np.maximum(A, A[:, :1])),
        (L.Minimum(), np.minimum(A, A[:, :1])),
    ],
    ids=lambda v: type(v).__name__,
)
def test_merge_broadcasts(layer, want):
    np.testing.assert_allclose(run(layer, A, A[:, :1], A), want, rtol=1e-5)


def test_merge_pairs_and_errors():
    np.testing.assert_allclose(run(L.Subtract(), A, A[:, ::-1]), A - A[:, ::-1])
    np.testing.assert_allclose(run(L.Concatenate(1), A, A), np.concatenate([A, A], 1))
    np.testing.assert_allclose(run(L.Dot(2), A, A), A @ A.transpose(0, 2, 1), rtol=1e-4, atol=1e-5)
    cos = run(L.Dot(1, normalize=True), A[:, 0], A[:, 0])
    np.testing.assert_allclose(cos, np.ones((4, 1)), rtol=1e-5)
    with pytest.raises(ValueError, match="Operands could not be broadcast"):
        L.add([L.Input((3,)), L.Input((4,))])
    with pytest.raises(ValueError, match="should be called on a list of inputs"):
        L.add([L.Input((3,))])
    with pytest.raises(ValueError, match="matching shapes except for the concat axis"):
        L.concatenate([L.Input((3, 2)), L.Input((4, 3))])
    with pytest.raises(ValueError, match="Dimension incompatibility"):
        L.dot([L.Input((3,)), L.Input((4,))], axes=1)


def test_dense_acts_on_the_last_axis():
    d = L.Dense(5, activation="tanh", weights=[np.ones((2, 5)), np.full(5, .5)])
    x = L.Input((3, 2))
    y = d(x)
    out = K.function([x], [y])([A])[0]
    np.testing.assert_allclose(out, np.tanh(A.sum(-1, keepdims=True) + np.full(5, .5)), rtol=1e-5)
    assert [w.name for w in d.weights] == ["dense_1/kernel:0", "dense_1/bias:0"] and d.count_params() == 15


@pytest.mark.parametrize("axis", [-1, 1])
def test_batchnorm_training(axis):
    a = np.random.RandomState(1).randn(8, 3, 2).astype("float32") * 3 + 1
    m = Sequential([L.BatchNormalization(axis=axis, input_shape=(3, 2))])
    m.compile("sgd", "mse")
    m.optimizer.lr.set_value(0.)
    loss = m.train_on_batch(a, np.zeros_like(a))
    axes = (0, 1) if axis == -1 else (0, 2)
    n, mean, var = a.size // a.shape[axis], a.mean(axes), a.var(axes)
    full = [1, 1, 1]
    full[axis] = -1
    normed = (a - mean.reshape(full)) / np.sqrt(var.reshape(full) + 1e-3)
    np.testing.assert_allclose(loss, (normed ** 2).mean(), rtol=1e-4)
    gamma, beta, mm, mv = m.get_weights()
    np.testing.assert_allclose(mm, .01 * mean, rtol=1e-4)
    np.testing.assert_allclose(mv, .99 + .01 * var * n / (n - 1.001), rtol=1e-4)


def test_frozen_batchnorm_keeps_its_averages():
    m = Sequential([L.BatchNormalization(input_shape=(2,), trainable=False), L.Dense(1)])
    m.compile("sgd", "mse")
    m.train_on_batch(np.random.randn(8, 2) + 3, np.ones((8, 1)))
    assert m.layers[0].get_weights()[2].tolist() == [0., 0.]
    x = L.Input((2,))
    bn = L.BatchNormalization()
    y = bn(x, training=False)
    assert not y._uses_learning_phase and bn.updates == []


def test_shared_batchnorm_moves_once_per_call():
    bn = L.BatchNormalization()
    a, b = L.Input((2,)), L.Input((2,))
    m = Model([a, b], L.add([bn(a), bn(b)]))
    m.compile("sgd", "mse")
    m.train_on_batch([np.ones((4, 2)), 3 * np.ones((4, 2))], np.zeros((4, 2)))
    np.testing.assert_allclose(bn.get_weights()[2], [.01 * .99 + .03] * 2, rtol=1e-5)


def test_dropout_in_training():
    x = np.ones((50, 40), "float32")
    y = run(L.Dropout(.25), x, phase=1)
    assert set(np.unique(y).tolist()) == {0., np.float32(1 / .75).item()} and abs((y == 0).mean() - .25) < .05
    y = run(L.Dropout(.5, noise_shape=(None, 1)), x, phase=1)
    assert all(len(np.unique(row)) == 1 for row in y) and len(np.unique(y)) == 2
    assert (run(L.Dropout(.5), x, training=True) == 0).any()
    y = run(L.SpatialDropout1D(.5), np.ones((8, 5, 6), "float32"), phase=1)
    assert (y == y[:, :1]).all() and len(np.unique(y)) == 2


def test_masks_flow():
    idx = np.array([[1, 2, 0], [3, 0, 0]])
    x = L.Input((3,))
    e = L.Embedding(5, 2, mask_zero=True)(x)
    d = L.Dense(2)(e)
    both = L.Concatenate()([d, L.Dropout(.5)(e)])
    assert K.function([x], [d._keras_mask])([idx])[0].tolist() == (idx != 0).tolist()
    assert K.function([x], [both._keras_mask])([idx])[0].tolist() == (idx != 0).tolist()
    with pytest.raises(TypeError, match="Layer flatten_1 does not support masking, but was passed an input_mask"):
        L.Flatten()(e)
    m = L.Masking(9.)
    a = np.array([[[1., 9.], [9., 9.]]], "float32")
    z = L.Input((2, 2))
    y = m(z)
    out, mask = K.function([z], [y, y._keras_mask])([a])
    assert out.tolist() == [[[1., 9.], [0., 0.]]] and mask.tolist() == [[True, False]]


def test_embedding_gathers_and_learns_only_used_rows():
    m = Sequential([L.Embedding(5, 2, input_length=3), L.Flatten(), L.Dense(1)])
    m.compile("sgd", "mse")
    before = m.get_weights()[0]
    m.train_on_batch(np.array([[1, 2, 2]]), np.array([[1.]]))
    changed = (m.get_weights()[0] != before).any(1)
    assert changed.tolist() == [False, True, True, False, False]


@pytest.mark.parametrize(
    "make,error,text",
    [
        (lambda: L.RepeatVector(0), ValueError, "`n` must be a positive integer; received 0"),
        (lambda: L.Dropout("a", name="d"), TypeError, "Dropout layer d: `rate` must be a number; received 'a'"),
        (lambda: L.Reshape(5), ValueError, "`target_shape` must be a tuple of integers"),
        (lambda: L.Reshape((2.5, 2)), ValueError, "received (2.5, 2)"),
        (lambda: L.BatchNormalization(axis=3, name="b")(L.Input((4,))), ValueError, "layer b normalizes axis 3"),
        (lambda: L.PReLU(shared_axes=[3])(L.Input((4, 2))), ValueError, "shared_axes=[3]"),
        (lambda: L.Lambda("relu"), TypeError, "`function` must be a function of tensors; received 'relu'"),
        (lambda: L.Lambda(lambda x: None, name="l")(L.Input((4,))), ValueError, "Lambda layer l returned None"),
        (lambda: L.Embedding(2.5, 3), ValueError, "`input_dim` must be a positive integer; received 2.5"),
        (lambda: L.RNN([]), ValueError, "received no cells"),
        (lambda: L.TimeDistributed(L.Dense), ValueError, "Write Dense(…), with its arguments."),
        (lambda: L.TimeDistributed(None), ValueError, "TimeDistributed wraps a layer; received None"),
        (lambda: L.Dense(3, units2=4), TypeError, "Keyword argument not understood"),
        (
            lambda: L.Dense(3)(np.ones((2, 2))),
            ValueError,
            "Layer dense_1 was called with an input that isn't a symbolic tensor",
        ),
        (
            lambda: L.Flatten()(L.Input((3,))),
            ValueError,
            "Input 0 is incompatible with layer flatten_1: expected min_ndim=3, found ndim=2",
        ),
        (lambda: L.RepeatVector(2)(L.Input((3, 4))), ValueError, "expected ndim=2, found ndim=3"),
        (
            lambda: L.Flatten()(L.Input((None, 3))),
            ValueError,
            'The shape of the input to "Flatten" is not fully defined',
        ),
        (lambda: L.Reshape((5,))(L.Input((4,))), ValueError, "total size of new array must be unchanged"),
        (lambda: L.Permute((1, 3)), ValueError, "Invalid permutation `dims`"),
        (lambda: L.Dense(3)(L.Input((None,))), ValueError, "layer dense_1 should be defined"),
        (lambda: L.Input(), ValueError, "Please provide to Input either a `shape`"),
        (lambda: L.Dense(2).count_params(), RuntimeError, "the layer isn't built"),
        (lambda: L.Dense(2).output, AttributeError, "is not connected, no output to return"),
        (lambda: L.deserialize({"class_name": "Nope", "config": {}}), ValueError, "Unknown layer: Nope"),
    ],
)
def test_errors(make, error, text):
    with pytest.raises(error) as e:
        make()
    assert text in str(e.value)


def test_dense_rejects_another_width_once_built():
    d = L.Dense(2)
    d(L.Input((3,)))
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 3 but got shape"):
        d(L.Input((4,)))
    d(L.Input((5, 3)))
    with pytest.raises(AttributeError, match="multiple inbound nodes"):
        print(d.output)
    assert d.get_output_shape_at(1) == (None, 5, 2) and d.get_input_shape_at(0) == (None, 3)
    with pytest.raises(ValueError, match="weight list of length 1"):
        d.set_weights([np.ones((3, 2))])
    with pytest.raises(ValueError, match=r"Layer weight shape \(2,\) not compatible"):
        d.set_weights([np.ones((3, 2)), np.ones(3)])


def test_custom_layer_without_output_shape():
    class Scale(L.Layer):
        def build(self, input_shape):
            self.k = self.add_weight(
                name="k", shape=(input_shape[-1],), initializer="ones", regularizer=lambda w: K.sum(w)
            )
            super().build(input_shape)

        def call(self, x):
            return K.sum(x * self.k, axis=1)
    y = Scale()(L.Input((3, 2)))
    assert K.int_shape(y) == (None, 2) and len(y._keras_history[0].losses) == 1
    m = Sequential([Scale(input_shape=(3, 2))])
    m.compile("sgd", "mse")
    np.testing.assert_allclose(m.test_on_batch(A, A.sum(1)), 2., rtol=1e-5)


def test_lambda_loads_only_with_its_function():
    m = Sequential([L.Lambda(lambda x: x * 2, input_shape=(2,), name="twice", output_shape=lambda s: s)])
    with pytest.raises(ValueError, match="graphk executes no code from files"):
        model_from_json(re.sub('"<lambda>[^"]*"', '["code", null, null]', m.to_json()))    # as Keras writes them
    again = model_from_json(m.to_json(), custom_objects={"twice": lambda x: x * 3})
    assert again.predict(np.ones((1, 2))).tolist() == [[3., 3.]]
    again = Sequential.from_config(m.get_config(), custom_objects={"twice": lambda x: x * 3})
    assert again.predict(np.ones((1, 2))).tolist() == [[3., 3.]]


def scaled(x, by, mask=None):
    return x * K.constant(by)


def test_lambda_goes_around_in_this_process():
    """Functions stay themselves in configs, copies of configs, clones; named ones are also found by name."""
    layer = L.Lambda(scaled, output_shape=lambda s: s, mask=lambda x, m: m, arguments={"by": np.array([2., 3.])})
    config = copy.deepcopy(layer.get_config())
    assert (config["function"], config["function_type"]) == ("scaled", "function")
    assert config["output_shape"].startswith("<lambda>") and config["output_shape_type"] == "lambda"
    again = L.deserialize({"class_name": "Lambda", "config": config})
    assert (again.function, again.mask) == (scaled, layer.mask) and again.arguments["by"].tolist() == [2., 3.]
    x = L.Input((2,))
    masked = again(L.Masking()(L.Input((3, 2))))
    assert masked._keras_mask is not None
    model = Model(x, layer(x))
    clone = clone_model(model)
    assert clone.predict(np.ones((1, 2))).tolist() == [[2., 3.]]
    loaded = model_from_json(Model(x, L.Lambda(scaled, arguments={"by": np.array([2., 3.])})(x)).to_json(),
                             custom_objects={"scaled": scaled})
    assert loaded.predict(np.ones((1, 2))).tolist() == [[2., 3.]]
    assert L.Lambda.from_config(L.Lambda(functools.partial(scaled, by=2.)).get_config()).function.keywords == {"by": 2.}


def test_lambda_tells_the_shape_for_inputs_it_has_not_seen():
    layer = L.Lambda(lambda x: [K.concatenate([x, x]), x[:, 0]])
    assert layer.compute_output_shape((None, 3)) == [(None, 6), (None,)]
    wide, _ = layer(L.Input((5,)))
    assert K.int_shape(wide) == (None, 10) and layer.compute_output_shape((4, 2)) == [(4, 4), (4,)]
    several = L.Lambda(lambda xs: xs[0] * xs[1])
    assert several.compute_output_shape([(None, 3), (None, 1)]) == (None, 3)


def test_merged_masks_may_be_numbers():
    a, b = L.Input((2, 3)), L.Input((2, 3))
    ones, other = K.variable(np.ones((1, 2))), K.variable([[0., 2.]])
    assert K.eval(L.Add().compute_mask([a, b], [ones, other])).tolist() == [[False, True]]
    x = K.variable(np.ones((1, 2, 3)))
    assert K.eval(L.Concatenate(1).compute_mask([x, x], [ones, other])).tolist() == [[True, True, False, True]]
    assert K.eval(L.Concatenate().compute_mask([x, x], [None, other])).tolist() == [[False, True]]


def test_spatial_dropout_keeps_its_seed():
    for layer in (L.SpatialDropout1D(.3, seed=4), L.SpatialDropout2D(.3, "channels_first", seed=4)):
        again = type(layer).from_config(layer.get_config())
        assert (again.rate, again.seed, again.data_format) == (.3, 4, layer.data_format)
        assert again.get_config() == layer.get_config()


def test_noise_in_training():
    """Mean and deviation of what the layers add, multiply by, or keep."""
    x = np.random.RandomState(0).randn(400, 50).astype("float32")
    added = run(L.GaussianNoise(.5), x, phase=1) - x
    assert abs(added.mean()) < .02 and abs(added.std() - .5) < .02
    factor = run(L.GaussianDropout(.2), np.ones_like(x), phase=1)
    assert abs(factor.mean() - 1) < .02 and abs(factor.std() - .5) < .02
    kept = run(L.AlphaDropout(.1), x, phase=1)
    assert abs(kept.mean() - x.mean()) < .03 and abs(kept.std() - x.std()) < .03
    low = np.unique(kept.round(4), return_counts=True)[1].max() / x.size
    assert abs(low - .1) < .01
    rows = run(L.AlphaDropout(.5, noise_shape=(None, 1), seed=3), np.ones((50, 20), "float32"), phase=1)
    assert (rows == rows[:, :1]).all() and len(np.unique(rows)) == 2
    for layer in (L.GaussianDropout(1.), L.AlphaDropout(0.), L.Dropout(0.)):
        np.testing.assert_array_equal(run(layer, x[:3], phase=1), x[:3])


@pytest.mark.parametrize("executor", ["interp", "cpu"])
def test_noise_in_half_precision(executor, monkeypatch):
    monkeypatch.setenv("GRAPHK_EXECUTOR", executor)
    K.set_floatx("float16")
    noise, drawn = (K.eval(f((20000,))) for f in (K.random_normal, K.random_uniform))
    assert np.isfinite(K.eval(K.truncated_normal((20000,)))).all()
    assert noise.dtype == np.float16 and np.isfinite(noise).all() and abs(noise.astype("float32").std() - 1) < .05
    assert 0 <= drawn.min() and drawn.max() <= 1 and abs(drawn.astype("float32").mean() - .5) < .02
    out = run(L.GaussianNoise(.5), np.zeros((200, 50), "float16"), phase=1)
    assert out.dtype == np.float16 and abs(out.astype("float32").std() - .5) < .02


@pytest.mark.parametrize("a, b, axes, semantics", [
    ((3, 4, 5), (3, 5, 6), (3, 2), "2.2"), ((3, 4, 5), (5, 6), (3, 1), "2.2"), ((4, 5), (4, 5, 6), (2, 2), "2.2"),
    ((3, 4, 5), (3, 4, 5), 2, "2.2"), ((3, 4, 5), (3, 5, 6), (3, 2), "2.3"), ((None, 5), (4, 5), -1, "2.2")])
def test_dot_declares_the_shape_of_batch_dot(a, b, axes, semantics, monkeypatch):
    monkeypatch.setattr(config, "keras_semantics", lambda: semantics)
    x, y = L.Input(a), L.Input(b)
    out = L.Dot(axes)([x, y])
    given = [np.ones((2, *(7 if d is None else d for d in s)), "float32") for s in (a, b)]
    got = Model([x, y], out).predict(given)
    assert got.ndim == K.ndim(out) and all(d in (None, n) for d, n in zip(K.int_shape(out), got.shape))
    assert L.Dot(axes).compute_output_shape([(None, *a), (None, *b)]) == K.int_shape(out)
