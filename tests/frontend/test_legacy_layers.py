"""MaxoutDense and Highway of `legacy.layers`: values as numpy has them, configs, regularizers, constraints."""
import json

import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.layers.advanced_activations import ParametricSoftplus, SReLU
from graphk.legacy.layers import Highway, MaxoutDense
from graphk.models import Sequential

X = np.random.RandomState(1).randn(5, 3).astype("float32")


def run(layer):
    """(output, weights) after a round trip through the config, with random weights."""
    layer = layer.__class__.from_config(json.loads(json.dumps(layer.get_config())))
    x = L.Input((3,))
    y = layer(x)
    layer.set_weights([np.random.RandomState(i).randn(*w.shape) for i, w in enumerate(layer.get_weights())])
    out = K.function([x], [y])([X])[0]
    assert layer.compute_output_shape((5, 3)) == out.shape
    return out, layer.get_weights()


@pytest.mark.parametrize("bias", [True, False])
def test_maxout_is_the_largest_of_linear_maps(bias):
    out, (w, *b) = run(MaxoutDense(4, nb_feature=2, bias=bias))
    want = np.einsum("ni,kio->nko", X, w) + (b[0] if bias else 0)
    np.testing.assert_allclose(out, want.max(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_highway_mixes_input_and_transform(bias):
    out, (w, carry, *b) = run(Highway(activation="tanh", bias=bias))
    t = 1 / (1 + np.exp(-(X @ carry + (b[1] if bias else 0))))
    want = t * np.tanh(X @ w + (b[0] if bias else 0)) + (1 - t) * X
    np.testing.assert_allclose(out, want, rtol=1e-4, atol=1e-5)


def test_srelu_has_three_slopes():
    out, (low, below, gap, above) = run(SReLU())
    high = low + np.abs(gap)
    want = np.where(X < low, low + below * (X - low), np.where(X > high, high + above * (X - high), X))
    np.testing.assert_allclose(out, want, rtol=1e-4, atol=1e-5)


def test_parametric_softplus():
    out, (alpha, beta) = run(ParametricSoftplus())
    np.testing.assert_allclose(out, alpha * np.log1p(np.exp(beta * X)), rtol=1e-4, atol=1e-5)
    x = L.Input((4, 3))
    assert [w.shape for w in Sequential([ParametricSoftplus(2., shared_axes=[1], input_shape=(4, 3))]).weights] == [
        (1, 3), (1, 3)] and SReLU()(x).shape == (None, 4, 3)


@pytest.mark.parametrize("layer", [
    MaxoutDense(3, input_dim=3, W_regularizer="l2", b_regularizer="l1", activity_regularizer="l2",
                W_constraint="nonneg", b_constraint="nonneg"),
    Highway(input_dim=3, W_regularizer="l2", b_regularizer="l1", activity_regularizer="l2", W_constraint="nonneg",
            b_constraint="nonneg")])
def test_training_keeps_constraints(layer):
    again = layer.__class__.from_config(json.loads(json.dumps(layer.get_config())))
    m = Sequential([again])
    m.compile("sgd", "mse")
    m.fit(X, X, epochs=2, verbose=0)
    assert len(m.losses) == 3 and again.get_config() == layer.get_config()
    assert (K.get_value(again.W) >= 0).all() and (K.get_value(again.b) >= 0).all()


def test_first_weights():
    given = [np.full((4, 3, 2), .5, "float32"), np.ones((4, 2), "float32")]
    layer = MaxoutDense(2, input_dim=3, weights=given)
    Sequential([layer])
    np.testing.assert_array_equal(layer.get_weights()[0], given[0])
    carry = Highway(input_dim=3)
    Sequential([carry])
    assert carry.get_weights()[3].tolist() == [1, 1, 1]


def test_saved_models_may_hold_them():
    m = Sequential([MaxoutDense(2, input_dim=3), Highway()])
    again = Sequential.from_config(json.loads(json.dumps(m.get_config())))
    again.set_weights(m.get_weights())
    np.testing.assert_array_equal(again.predict(X), m.predict(X))


def test_time_distributed_dense_is_dense():
    with pytest.warns(UserWarning) as seen:
        layer = L.TimeDistributedDense(output_dim=2, init="one", input_length=5, input_dim=3)
    assert ["Update your" in str(w.message) or "Use `Dense`" in str(w.message) for w in seen] == [True, True]
    assert all(w.filename == __file__ for w in seen) and layer.batch_input_shape == (None, 5, 3)
    m = Sequential([layer])
    np.testing.assert_allclose(m.predict(np.ones((4, 5, 3))), 3.)
