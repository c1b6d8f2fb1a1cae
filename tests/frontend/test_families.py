"""Losses, optimizers, activations, initializers, constraints, regularizers against recorded values."""
import math

import numpy as np
import pytest

from graphk import activations, constraints, initializers, losses, metrics, optimizers, regularizers
from graphk import backend as K
from graphk.layers import Dense
from graphk.models import Sequential

LOSSES = [
    "mean_squared_error",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error",
    "squared_hinge",
    "hinge",
    "categorical_hinge",
    "categorical_crossentropy",
    "binary_crossentropy",
    "kullback_leibler_divergence",
    "poisson",
    "logcosh",
    "cosine_proximity",
    "sparse_categorical_crossentropy",
]
OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.1),
    "mom": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True, decay=0.1),
    "rms": lambda: optimizers.RMSprop(0.01),
    "adagrad": lambda: optimizers.Adagrad(0.1),
    "adadelta": lambda: optimizers.Adadelta(),
    "adam": lambda: optimizers.Adam(0.01, decay=0.1),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True),
    "adamax": lambda: optimizers.Adamax(0.02),
    "nadam": lambda: optimizers.Nadam(0.02),
    "clip": lambda: optimizers.SGD(0.1, clipnorm=0.5),
}


@pytest.mark.parametrize("name", LOSSES)
def test_loss(recorded, name):
    d = recorded["data"]
    p = np.array(d["p"])
    t = K.constant(d["t"])
    if name.startswith("sparse"):
        p, t = p / p.sum(1, keepdims=True), K.constant(d["classes"])
    np.testing.assert_allclose(
        K.eval(losses.get(name)(t, K.constant(p))), recorded["losses"][name], rtol=2e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_optimizer_steps(recorded, name):
    d, want = recorded["data"], recorded["optimizers"][name]
    m = Sequential([Dense(2, input_shape=(3,))])
    m.set_weights([np.array(d["w0"]), np.zeros(2)])
    m.compile(OPTIMIZERS[name](), "mse")
    got = [m.train_on_batch(np.array(d["x"]), np.array(d["y"])) for _ in range(5)]
    np.testing.assert_allclose(got, want["losses"], rtol=2e-5)
    np.testing.assert_allclose(m.get_weights()[0], want["kernel"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(m.get_weights()[1], want["bias"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name,slots", [("SGD", 1 + 2), ("RMSprop", 2), ("Adagrad", 2), ("Adadelta", 4), ("Adam", 7),
                                        ("Adamax", 5), ("Nadam", 5)])
def test_optimizer_state_and_config(name, slots):
    m = Sequential([Dense(2, input_shape=(3,))])
    m.compile(name.lower(), "mse")
    m.train_on_batch(np.ones((4, 3)), np.ones((4, 2)))
    state = m.optimizer.get_weights()
    assert len(state) == slots
    m.optimizer.set_weights([w * 2 for w in state])
    np.testing.assert_allclose(m.optimizer.get_weights()[-1], state[-1] * 2)
    with pytest.raises(ValueError, match="does not match the number of weights of the optimizer"):
        m.optimizer.set_weights(state[1:])
    again = optimizers.deserialize(optimizers.serialize(m.optimizer))
    assert again.get_config() == m.optimizer.get_config() and "lr" in again.get_config()


def test_optimizer_errors():
    with pytest.raises(TypeError, match="Unexpected keyword argument passed to optimizer: rate"):
        optimizers.SGD(rate=1.)
    with pytest.raises(ValueError, match="Could not interpret optimizer identifier"):
        optimizers.get(3)
    v = K.variable(1.)
    with pytest.raises(ValueError, match="An operation has `None` for gradient"):
        optimizers.SGD().get_updates(K.constant(1.), [v])


def test_clipvalue_bounds_each_gradient():
    v = K.variable([1., 1.])
    K.function([], [], optimizers.SGD(1., clipvalue=.5).get_updates(K.sum(v * K.constant([.1, 9.])), [v]))([])
    np.testing.assert_allclose(K.get_value(v), [.9, .5], rtol=1e-6)


def test_activations(recorded):
    x = K.constant(recorded["data"]["x"])
    for name, want in recorded["activations"].items():
        kwargs = {"alpha": .1, "max_value": 1., "threshold": .2} if name == "relu" else {}
        np.testing.assert_allclose(K.eval(activations.get(name)(x, **kwargs)), want, rtol=1e-5, atol=1e-6, err_msg=name)
    with pytest.raises(ValueError, match="Unknown activation function:nonsense"):
        activations.get("nonsense")
    with pytest.raises(ValueError, match="Cannot apply softmax to a tensor that is 1D"):
        activations.softmax(K.constant([1., 2.]))


@pytest.mark.parametrize(
    "name,mean,std,top",
    [
        ("glorot_uniform", 0, (2 / 300) ** 0.5, (6 / 300) ** 0.5),
        ("he_normal", 0, (2 / 100) ** 0.5, None),
        ("lecun_uniform", 0, (1 / 100) ** 0.5, (3 / 100) ** 0.5),
        ("normal", 0, 0.05, None),
        ("uniform", 0, 0.1 / 12**0.5, 0.05),
        ("zeros", 0, 0, 0),
        ("ones", 1, 0, 1),
    ],
)
def test_initializers(name, mean, std, top):
    w = initializers.get(name)((100, 200))
    assert w.dtype == np.float32 and abs(w.mean() - mean) < .005 and abs(w.std() - std) < .005
    assert top is None or np.abs(w).max() <= top + 1e-6


def test_initializer_details():
    assert np.abs(initializers.TruncatedNormal(stddev=1.)((1000,))).max() <= 2
    q = initializers.Orthogonal(gain=2.)((6, 4))
    np.testing.assert_allclose(q.T @ q, 4 * np.eye(4), atol=1e-5)
    a = initializers.get({"class_name": "RandomNormal", "config": {"seed": 4}})
    assert (a((3,)) == a((3,))).all()
    assert initializers.serialize(initializers.get("he_normal")) == {
        "class_name": "VarianceScaling",
        "config": {"scale": 2.0, "mode": "fan_in", "distribution": "normal", "seed": None},
    }
    assert initializers._compute_fans((3, 3, 8, 16)) == (72, 144)
    with pytest.raises(ValueError, match="only be used for 2D"):
        initializers.identity()((2, 2, 2))
    np.random.seed(1)
    b = initializers.get("uniform")((3,))
    np.random.seed(1)
    assert (b == initializers.get("uniform")((3,))).all()


@pytest.mark.parametrize("name", ["normal", "uniform", "truncated_normal", "he_normal", "glorot_uniform", "orthogonal"])
def test_random_initializers_of_any_shape_dtype_and_seed(name):
    """Moments of large arrays; a seed gives the same numbers; without one a single draw of numpy's seed decides."""
    for dtype in ("float16", "float32", "float64"):
        w = initializers.get({"class_name": name, "config": {"seed": 3}})((300, 500), dtype=dtype)
        assert w.dtype == dtype and w.shape == (300, 500) and w.flags.c_contiguous
        half = np.float64(w).reshape(2, -1)
        assert (np.abs(half.mean(1)) < half.std() / 50).all() and np.ptp(half.std(1)) < half.std() / 50
        if name in ("truncated_normal", "he_normal"):
            np.testing.assert_allclose(np.abs(half).max(), 2 * half.std() / .87962566, rtol=.01)
        if name.endswith("uniform"):
            np.testing.assert_allclose([half.min(), half.max()], [-half.std() * 3**.5, half.std() * 3**.5], rtol=.01)
        if name == "normal":
            assert 4 < np.abs(half).max() / half.std() < 6
    f = initializers.get(name)
    for shape in ((4, 0), (1, 1), (2, 3, 4)):
        if name != "orthogonal" or 0 not in shape:
            np.random.seed(9)
            first, following = f(shape), np.random.rand()
            np.random.seed(9)
            assert first.shape == shape and (first == f(shape)).all() and following == np.random.rand()
            np.random.seed(9)
            np.random.randint(10 ** 9)
            assert following == np.random.rand()


def test_truncated_normal_numbers_are_distributed_so():
    """Quantiles of the normal distribution between -2 and 2, and no pattern from one number to the next."""
    w = np.float64(initializers.TruncatedNormal(1., 3., seed=1)((700, 701))) / 3 - 1 / 3
    at = np.linspace(-1.95, 1.95, 27)
    inside = math.erf(2 ** .5)
    want = [(math.erf(x / 2 ** .5) / inside + 1) / 2 for x in at]
    np.testing.assert_allclose(np.searchsorted(np.sort(w.ravel()), at) / w.size, want, atol=.003)
    assert 1.999 < np.abs(w).max() <= 2 + 1e-6 and len(np.unique(w)) > .97 * w.size
    assert all(abs(np.corrcoef(w.ravel()[:-lag], w.ravel()[lag:])[0, 1]) < .006 for lag in (1, 2, 3, 701, 1 << 15))


def test_initializers_of_a_single_number():
    for name in ("normal", "uniform", "truncated_normal", "he_normal", "glorot_uniform"):
        w = initializers.get(name)(())
        assert w.shape == () and w.dtype == np.float32 and np.isfinite(w)


def test_constraints_and_regularizers():
    w = np.array([[3., -.1], [4., .1]], "float32")
    k = K.constant(w)
    np.testing.assert_allclose(K.eval(constraints.max_norm(1.)(k)), [[.6, -.1], [.8, .1]], rtol=1e-5)
    np.testing.assert_allclose(K.eval(constraints.unit_norm()(k))[:, 0], [.6, .8], rtol=1e-5)
    assert K.eval(constraints.get("non_neg")(k)).tolist() == [[3., 0.], [4., np.float32(.1).item()]]
    np.testing.assert_allclose(np.linalg.norm(K.eval(constraints.min_max_norm(.5, 1.)(k)), axis=0), [1., .5], rtol=1e-4)
    assert constraints.serialize(constraints.max_norm(3)) == {
        "class_name": "MaxNorm",
        "config": {"max_value": 3, "axis": 0},
    }
    np.testing.assert_allclose(
        K.eval(regularizers.l1_l2(0.1, 0.2)(k)), 0.1 * np.abs(w).sum() + 0.2 * (w**2).sum(), rtol=1e-6
    )
    l2 = regularizers.get("l2")
    assert l2.get_config() == {"l1": 0., "l2": np.float32(.01).item()}, "factors are of floatX, as files of Keras's show"
    assert (l2.l2.dtype, l2.l2.shape) == ("float32", ())


def test_metrics():
    t, p = K.constant([[0., 1.], [1., 0.]]), K.constant([[.2, .8], [.4, .6]])
    assert K.eval(metrics.categorical_accuracy(t, p)).tolist() == [1., 0.]
    assert K.eval(metrics.sparse_categorical_accuracy(K.constant([[1], [1]]), p)).tolist() == [1., 1.]
    assert K.eval(metrics.binary_accuracy(t, p)).tolist() == [1., 0.]
    assert K.eval(metrics.top_k_categorical_accuracy(t, p, k=1)) == .5
    assert K.eval(metrics.sparse_top_k_categorical_accuracy(K.constant([[1], [1]]), p, k=2)) == 1.
    assert metrics.get("mse") is losses.mean_squared_error
    with pytest.raises(ValueError, match="Unknown loss function:nope"):
        losses.get("nope")
