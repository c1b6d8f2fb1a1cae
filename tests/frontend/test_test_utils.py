"""The helpers that libraries of layers test themselves with: what passes, and what each broken promise is called."""
import doctest

import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.frontend.utils import test_utils as helpers
from graphk.utils.test_utils import get_test_data, keras_test, layer_test


class Doubled(L.Layer):
    """x twice along the last axis; each keyword breaks one promise."""

    def __init__(self, shape=True, dtype=True, config=True, **kwargs):
        super().__init__(**kwargs)
        self.shape, self.dtyped, self.config, self.factor = shape, dtype, config, 1. if config else np.random.rand()

    def call(self, x):
        y = K.concatenate([x, x]) * self.factor
        return y if self.dtyped else K.cast(y, "int32")

    def compute_output_shape(self, shape):
        return (*shape[:-1], shape[-1] * (2 if self.shape else 3))

    def get_config(self):
        return {**super().get_config(), "shape": self.shape, "dtype": "float32"}


def test_layer_test_gives_the_output():
    from graphk.utils.generic_utils import custom_object_scope
    x = np.array([[1., 2.]], "float32")
    with custom_object_scope({"Doubled": Doubled}):
        out = layer_test(Doubled, input_data=x, expected_output=np.array([[1., 2., 1., 2.]]))
        np.testing.assert_array_equal(out, [[1., 2., 1., 2.]])
        assert layer_test(Doubled, {"name": "d"}, input_shape=(2, None, 3), fixed_batch_size=False).shape[-1] == 6


@pytest.mark.parametrize("kwargs,more,match", [
    ({"shape": False}, {}, r"the output has the shape \(1, 4\); compute_output_shape says \(1, 6\)"),
    ({"dtype": False}, {}, "the output is int32, expected float32"),
    ({}, {"expected_output": np.ones((1, 4))}, "Not equal to tolerance"),
    ({"config": False}, {}, "made again from the config of its model")])
def test_layer_test_sees_broken_promises(kwargs, more, match):
    from graphk.utils.generic_utils import custom_object_scope
    with custom_object_scope({"Doubled": Doubled}), pytest.raises(AssertionError, match=match):
        layer_test(Doubled, kwargs, input_data=np.array([[1., 2.]], "float32"), **more)


def test_layer_test_on_layers():
    ids = np.array([[1, 2], [0, 3], [1, 1]])
    assert layer_test(L.Embedding, {"input_dim": 4, "output_dim": 3}, input_data=ids, input_dtype="int32",
                      expected_output_dtype="float32").shape == (3, 2, 3)
    assert layer_test(L.Dropout, {"rate": .5}, input_shape=(3, None)).ndim == 2
    assert layer_test(L.GRU, {"units": 3, "stateful": True}, input_shape=(3, 2, 4), fixed_batch_size=True).shape \
        == (3, 3)
    with pytest.raises(ValueError, match="neither `input_shape` nor `input_data`"):
        layer_test(L.Dense, {"units": 2})


def test_get_test_data():
    np.random.seed(0)
    (x, y), (x2, y2) = get_test_data(num_train=300, num_test=20, input_shape=(5, 2), num_classes=3)
    assert (x.shape, y.shape, x2.shape, y2.shape) == ((300, 5, 2), (300,), (20, 5, 2), (20,))
    assert set(np.unique(y)) == {0, 1, 2}
    for k in range(3):
        assert abs(x[y == k].mean() - k) < .1 and abs(x[y == k].std() - .7) < .1
    (x, y), _ = get_test_data(200, 5, (4,), (3,), classification=False)
    assert x.shape == (200, 4) and y.shape == (200, 3) and abs(y.mean() - .5) < .1


def test_keras_test_clears_the_session_even_after_a_failure():
    @keras_test
    def failing(n):
        """Fails."""
        assert K.get_uid("dense") == 1
        raise KeyError(n)
    for n in (1, 2):
        with pytest.raises(KeyError):
            failing(n)
    assert failing.__name__ == "failing"


def test_examples():
    assert doctest.testmod(helpers).failed == 0
