"""Sizes that scripts compute from shapes, and slices and indices that data decide."""
from fractions import Fraction

import numpy as np
import pytest

from graphk import backend as K
from graphk.frontend.sizes import _round, _truncate, is_part
from graphk.ir.dims import dim_max, evaluate, floordiv, sym
from graphk.layers import Dense, Input, Lambda, Layer, Reshape
from graphk.models import Sequential

V = np.arange(30.).reshape(2, 5, 3)


@pytest.mark.parametrize("d", range(1, 9))
def test_fractions_of_open_sizes_round_as_numbers_do(d):
    n = sym("n")
    for v in range(60):
        assert evaluate(_round(n, d)[0], {"n": v}) == round(Fraction(v, d))
        assert evaluate(_truncate(n - 30, d)[0], {"n": v}) == int((v - 30) / d)
    assert is_part(_round(n * 2, 3)[0], n) and not is_part(_round(n * 4, 3)[0], n)


@pytest.mark.parametrize("size", [None, 7])
def test_sizes_may_be_computed_in_vectors_and_in_floats(size):
    x = K.placeholder((None, size, 2))
    s = K.shape(x)
    half = K.cast(s[1] / 2, "int32")
    twice = K.tf.zeros(s[1:] * np.array([2, 3]))
    out = K.function([x], [x[:, :half], twice, K.tf.zeros((s * 2)[1:2]), x[:, :K.cast(K.tf.ceil(s[1] * .5), "int32")]])
    a, b, c, d = out([np.ones((3, 7, 2))])
    assert a.shape == (3, 3, 2) and b.shape == (14, 6) and c.shape == (14,) and d.shape == (3, 4, 2)
    with pytest.raises(TypeError, match="not known before the call"):
        K.reshape(x, (-1, K.cast(K.sum(x), "int32")))
    with pytest.raises(TypeError, match="sizes are integers"):
        K.reshape(x, (-1, s[1] / 2))


def test_a_size_that_floats_round_is_refused_where_it_is_open():
    x = K.placeholder((None, 10))
    assert x[:, :K.cast(K.cast(K.shape(x)[1], "float32") * .7, "int32")].shape == (None, 7)
    with pytest.raises(TypeError, match="which floats round"):
        x[:K.cast(K.cast(K.shape(x)[0], "float32") * .7, "int32")]


class Regions(Layer):
    """Maxima over a grid of so many by so many regions, whose borders are rounded."""

    def call(self, x):
        rows, columns = (K.cast(K.shape(x)[i], "float32") / 4 for i in (1, 2))

        def at(i, size):
            return K.cast(K.round(i * size), "int32")
        return K.concatenate([K.max(x[:, at(i, rows):at(i + 1, rows), at(j, columns):at(j + 1, columns)], axis=(1, 2))
                              for i in range(4) for j in range(4)])

    def compute_output_shape(self, s):
        return s[0], s[-1] * 16


def test_regions_of_images_of_any_size():
    model = Sequential([Regions(input_shape=(None, None, 2)), Dense(1)])
    model.compile("sgd", "mse")
    regions = K.function([model.input], [model.layers[0].output])
    for height, width in ((8, 8), (10, 7), (6, 13)):
        v = np.random.RandomState(height).rand(3, height, width, 2).astype("float32")
        ys, xs = ([round(Fraction(i * n, 4)) for i in range(5)] for n in (height, width))
        expected = np.concatenate([v[:, ys[i]:ys[i + 1], xs[j]:xs[j + 1]].max((1, 2))
                                   for i in range(4) for j in range(4)], 1)
        np.testing.assert_array_equal(regions([v])[0], expected)
        model.train_on_batch(v, np.zeros(3))


def test_what_was_padded_is_cut_off_again():
    x = K.placeholder((None, None, 2))
    n = 4 - K.shape(x)[1] % 4
    padded = K.temporal_padding(x, (0, n))
    rows = K.reshape(padded, (-1, K.shape(padded)[1] // 4, 4, 2))
    back = K.reshape(K.reverse(rows, 2), (-1, K.shape(padded)[1], 2))[:, :-n]
    f = K.function([x], [rows, back, padded[:, -n:]])
    for size in (5, 8):
        v = np.random.RandomState(0).rand(3, size, 2)
        whole = np.pad(v, ((0, 0), (0, 4 - size % 4), (0, 0))).reshape(3, -1, 4, 2)
        found = f([v])
        np.testing.assert_allclose(found[0], whole, rtol=1e-6)
        np.testing.assert_allclose(found[1], whole[:, :, ::-1].reshape(3, -1, 2)[:, :size], rtol=1e-6)
        assert found[2].shape == (3, 4 - size % 4, 2) and not found[2].any()


def test_data_may_decide_where_a_slice_begins():
    x, i = K.placeholder((None, 5, 3)), K.placeholder((), dtype="int32")
    f = K.function([x, i], [K.slice(x, [0, i, 1], [-1, 2, 1]), x[:, i], x[i, ..., -1], x[:, i - 4, 1:]])
    for n in range(2):
        for found, expected in zip(f([V, n]), (V[:, n:n + 2, 1:2], V[:, n], V[n, ..., -1], V[:, n - 4, 1:])):
            np.testing.assert_array_equal(found, expected)
    slope = K.function([x, i], K.gradients(K.sum(K.square(x[:, i])), [x]))([V, 2])[0]
    expected = np.zeros_like(V)
    expected[:, 2] = 2 * V[:, 2]
    np.testing.assert_allclose(slope, expected)
    with pytest.raises(TypeError, match="how many elements lie behind"):
        K.slice(x, [0, i, 0], [-1, -1, 1])


def test_a_step_of_a_loop_may_read_a_constant_at_its_own_number():
    x = K.placeholder((None, 5, 3))
    given = np.random.RandomState(0).rand(2, 5).astype("float32")

    def step(now, states):
        total, number, weights = states
        at = K.cast(number[0, 0], "int32")
        new = total + now * K.slice(weights, [0, at], [-1, 1])
        return new, [new, number + 1]
    zeros = K.zeros_like(x[:, 0])
    last = K.rnn(step, x, [zeros, zeros[:, :1]], constants=[K.constant(given)])[0]
    found = K.function([x], [last])([V])[0]
    np.testing.assert_allclose(found, (V * given[:, :, None]).sum(1), rtol=1e-6)


def test_what_sizes_share_is_looked_at_once_and_to_any_depth():
    x = K.placeholder((None, 3))
    rows, deep = K.shape(x)[0], K.shape(x)[0]
    for _ in range(60):
        rows = K.minimum(rows + rows, 4)
    for _ in range(2000):
        deep = deep + 1
    assert K.function([x], [K.tf.zeros([rows, deep - 2000])])([np.ones((2, 3))])[0].shape == (4, 2)


def test_sizes_of_matrices_and_of_truths_are_refused():
    s = K.shape(K.placeholder((None, None)))
    for size in (K.sum(K.constant([[1], [2]], dtype="int32") * s), K.cast(K.cast(s[0], "bool"), "int32")):
        with pytest.raises(TypeError, match="not known before the call"):
            K.tf.zeros([size])
    with pytest.raises(TypeError, match="dividing by 0"):
        K.tf.zeros([s[0] % 0])


def test_what_may_be_negative_is_cut_towards_zero():
    n = sym("n")
    for size in (floordiv(n - 9, 2), dim_max(n - 9, -3), floordiv(n - 9, 2) * n):
        assert not is_part(size, size * 2)
        for v in range(20):
            assert evaluate(_truncate(size, 4)[0], {"n": v}) == int(evaluate(size, {"n": v}) / 4)
    assert is_part(dim_max(n, 2), dim_max(n, 2) + floordiv(n, 3))


def test_parts_of_shapes_are_shapes_and_configs_have_plain_numbers():
    x = Input((4, 6))
    assert x.shape[1:].as_list() == [4, 6] and x.shape[2] == x.shape[2].value == 6
    shape = Reshape(x.shape[:0:-1])(x)._keras_history[0].get_config()["target_shape"]
    other = Lambda(lambda v: v, output_shape=x.shape[1:]).get_config()["output_shape"]
    assert shape == (6, 4) and other == (4, 6) and {type(d) for d in shape + other} == {int}
