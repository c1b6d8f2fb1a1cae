"""Corners of `K` that programs rely on, numpy or arithmetic by hand being the oracle."""
import numpy as np
import pytest

from graphk import backend as K


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_the_mean_of_integers_is_an_integer(dtype):
    x = K.constant([[1, 2], [4, 5], [-8, 0]], dtype=dtype)
    assert K.dtype(K.mean(x)) == dtype
    assert K.eval(K.mean(x, axis=0)).tolist() == [-1, 2]                    # towards 0, as TensorFlow has it
    assert K.eval(K.mean(x, axis=[0, 1], keepdims=True)).tolist() == [[0]]
    assert K.dtype(K.mean(K.constant([True, False], dtype="bool"))) == "float32"


def test_evaluating_an_update_makes_it():
    v = K.variable([1., 2.])
    assert K.eval(K.update_add(v, [1., 1.])).tolist() == [2., 3.] == K.get_value(v).tolist()


def test_gradients_of_several_losses_are_those_of_their_sum():
    x = K.variable([1., 2., 3.])
    grad, = K.gradients([K.sum(x), K.sum(x * x)], [x])
    assert K.eval(grad).tolist() == [3., 5., 7.]


def test_truncated_normal_numbers_of_float16_keep_their_limits():
    x = K.eval(K.truncated_normal((200, 200), mean=1., stddev=2., dtype="float16", seed=1))
    assert x.dtype == "float16" and x.min() >= -3.01 and x.max() <= 5.01


def test_a_scalar_transposed_is_the_scalar():
    assert float(K.eval(K.transpose(K.variable(3.)))) == 3.


def test_windows_over_sizes_that_only_a_call_knows():
    """Trial sizes at which a window would not fit say nothing of the program."""
    x = K.placeholder((None, 3, None))
    f = K.function([x], [K.conv1d(x, K.ones((3, 3, 4)), data_format="channels_first", dilation_rate=2)])
    np.testing.assert_allclose(f([np.ones((2, 3, 9))])[0], np.full((2, 4, 5), 9.))


@pytest.mark.parametrize("make", [
    lambda kind: K.random_uniform((2,), dtype=kind), lambda kind: K.random_normal((2,), dtype=kind),
    lambda kind: K.random_binomial((2,), .5, dtype=kind), lambda kind: K.truncated_normal((2,), dtype=kind),
    lambda kind: K.arange(3, dtype=kind), lambda kind: K.zeros((2,), dtype=kind), lambda kind: K.cast([1.], kind)])
def test_dtypes_by_numpy_s_names(make):
    for kind in (np.float64, np.dtype("float64"), "float64"):
        assert K.dtype(make(kind)) == "float64"
    with pytest.raises(TypeError, match="complex"):
        make("complex64")


@pytest.mark.parametrize("alpha, ceiling, threshold, want", [
    (0., 6., -.5, [0., 0., 1., 6.]), (.5, 6., -.5, [-1.25, 0., 1., 6.]), (.5, None, -.5, [-1.25, -.25, 1., 9.]),
    (-1., 1., 0., [3., .25, 1., 1.]), (0., 1., 2., [0., 0., 0., 1.])])
def test_relu_s_ceiling_is_for_what_is_above_the_threshold(alpha, ceiling, threshold, want):
    """The numbers are tf_keras's."""
    assert K.eval(K.relu(K.constant([-3., -.25, 1., 9.]), alpha, ceiling, threshold)).tolist() == want
