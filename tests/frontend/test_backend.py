"""Tensors, functions and backend operations."""
import numpy as np
import pytest

from graphk import backend as K


def val(x):
    return K.eval(x)


def test_tensor_operators_match_numpy():
    a, b = np.array([[1., -2., 3.]]), np.array([[2.], [4.]])
    x, y = K.placeholder((None, 3)), K.placeholder((None, 1))
    f = K.function([x, y], [x + y, x - y, x * y, x / y, x // y, x % y, x**2, -x, abs(x), x < y, 1 - x, 2 / y, 2.0**x])
    got = f([a, b[:1]])
    want = [a + 2, a - 2, a * 2, a / 2, a // 2, a % 2, a ** 2, -a, abs(a), a < 2, 1 - a, [[1.]], 2. ** a]
    for g, w in zip(got, want):
        np.testing.assert_allclose(g, w, rtol=1e-6)


def test_numpy_arrays_defer_to_tensors():
    x = K.placeholder((2,))
    y = np.array([1., 2.]) * x
    assert y.shape == (2,) and K.function([x], [y])([[3., 4.]])[0].tolist() == [3., 8.]


@pytest.mark.parametrize(
    "index",
    [
        1,
        -1,
        slice(None, None, -1),
        slice(1, None),
        slice(None, -1),
        slice(0, 2),
        slice(-2, None),
        (Ellipsis, 1),
        (slice(None), None, 0),
        (0, slice(None, None, 2)),
        slice(1, 100),
    ],
)
def test_indexing_symbolic_axes(index):
    a = np.arange(12.).reshape(4, 3)
    x = K.placeholder((None, 3))
    np.testing.assert_array_equal(K.function([x], [x[index]])([a])[0], a[index])


@pytest.mark.parametrize("index", [slice(-3, None), slice(None, -3), slice(-9, 2), slice(None, 4), slice(1, -2),
                                   slice(-3, None, -1), slice(None, -3, -1), slice(-9, None, 2)])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_slices_of_axes_that_may_be_shorter(index, size):
    a, x = np.arange(2. * size).reshape(size, 2), K.placeholder((None, 2))
    want = a[index]
    try:
        got = K.function([x], [x[index]])([a])[0]
    except IndexError as e:
        assert not want.size and "of axis 0 of a tensor whose size there is" in str(e)
    else:
        np.testing.assert_array_equal(got, want)


def test_elements_that_a_call_does_not_have_are_refused():
    x = K.placeholder((None, 2))
    for y, size, message in ((x[3], 3, "takes the element 3 of axis 0 of a tensor whose size there is 3 in this call"),
                             (x[-3], 2, "takes the element -1 of axis 0"),
                             (x[2:3], 2, "takes the element 2 of axis 0"),
                             (K.slice(x, (1, 0), (3, 2)), 3, "takes the elements 1 to 3 of axis 0"),
                             (K.map_fn(lambda e: e + x[4, 0], x), 4, "takes the element 4 of axis 0"),
                             (K.argmax(x, axis=0), 0, "element 0 of axis 0 of a tensor whose size there is 0"),
                             (K.argmin(K.relu(x), axis=0), 0, "takes the element 0 of axis 0")):
        f = K.function([x], [y])
        f([np.ones((size + 1, 2))])
        with pytest.raises(IndexError, match=message):
            f([np.ones((size, 2))])


@pytest.mark.parametrize("slide", [
    lambda x, w: K.conv2d(x, w), lambda x, w: K.conv2d(x, w, strides=(1, 2)),
    lambda x, w: K.depthwise_conv2d(x, w, dilation_rate=(2, 1)), lambda x, w: K.pool2d(x, (3, 2), pool_mode="avg")])
def test_windows_that_do_not_fit_are_refused(slide):
    """Less than no window would be no size at all."""
    x, w = K.placeholder((None, None, None, 3)), K.variable(np.ones((3, 3, 3, 2)))
    total = K.sum(K.square(slide(x, w)))
    f = K.function([x], [total, *(g for g in K.gradients(total, [x, w]) if g is not None)])
    f([np.ones((2, 9, 9, 3))])
    for size in ((1, 9), (9, 0), (1, 1)):
        with pytest.raises(ValueError, match="slides windows of . places along axis . of a tensor whose size there is"):
            f([np.ones((2, *size, 3))])


def test_symbols_have_no_values():
    x = K.placeholder((None, 3), name="x")
    for use in (bool, float, int, iter, np.asarray):
        with pytest.raises(TypeError, match="symbolic tensor `x`"):
            use(x)
    assert not hasattr(x, "__len__") and not hasattr(K.variable([1.]), "__len__")     # so it is told from a list
    assert {x: 1}[x] == 1 and x == x and x != K.placeholder((None, 3))
    with pytest.raises(IndexError, match="out of range for axis 1"):
        x[:, 3]


def test_slices_from_and_to_computed_places():
    x = K.placeholder((None, 4, 6))
    width = K.shape(x)[-1]
    parts = [x[:, :, i * width // 3:(i + 1) * width // 3] for i in range(3)]
    a = np.arange(48.).reshape(2, 4, 6)
    got = K.function([x], [*parts, x[:, K.shape(x)[1] - 1:]])([a])
    for g, w in zip(got, [*np.split(a, 3, axis=2), a[:, 3:]]):
        np.testing.assert_array_equal(g, w)


def test_variable_keeps_its_array():
    v = K.variable(np.ones((2, 3)), name="w")
    array = v.array
    K.set_value(v, np.zeros((2, 3)))
    K.function([], [], [K.update_add(v, 2.)])([])
    assert v.array is array and array.tolist() == [[2.] * 3] * 2 and array.ctypes.data % 64 == 0
    assert v.name == "w:0" and v.dtype == "float32"
    with pytest.raises(ValueError, match=r"shape \(2, 3\) to a value of shape \(3,\)"):
        K.set_value(v, np.ones(3))


def test_variable_survives_its_handle():
    x = K.placeholder((2,))
    f = K.function([x], [x * K.variable([2., 3.])])
    assert f([[1., 1.]])[0].tolist() == [2., 3.]


def test_reads_precede_writes_and_repeated_updates_chain():
    a, b = K.variable(1.), K.variable(2.)
    K.function([], [], [(a, b * 1.), (b, a * 1.)])([])
    assert (val(a), val(b)) == (2., 1.)
    K.function([], [], [K.update_add(a, 1.), K.update(a, a * 10.)])([])
    assert val(a) == 30.


def test_function_checks_its_inputs():
    x, y = K.placeholder((None, 3), name="x"), K.placeholder((None, 2), name="y")
    f = K.function([x, y], [K.sum(x) + K.sum(y)])
    with pytest.raises(ValueError, match="takes 2 inputs .*x, y.*, received 1"):
        f([np.ones((1, 3))])
    with pytest.raises(ValueError, match=r"`x` .* expects 2 axes.*received an array of shape \(3,\)"):
        f([np.ones(3), np.ones((1, 2))])
    with pytest.raises(ValueError, match="axis 1 has size 4, expected 3"):
        f([np.ones((1, 4)), np.ones((1, 2))])
    with pytest.raises(TypeError, match="`y` .* cannot be converted to float32"):
        f([np.ones((1, 3)), "text"])
    with pytest.raises(TypeError, match="should be a list or tuple"):
        f(np.ones((1, 3)))
    with pytest.raises(ValueError, match="depends on the placeholder `y`"):
        K.function([x], [x[:, :2] + y])
    with pytest.raises(ValueError, match="Invalid argument `options`"):
        K.function([x], [x], options=None)


def test_learning_phase_by_argument_or_frozen():
    x = K.placeholder((None, 2))
    y = K.in_train_phase(lambda: x * 2, x)
    f = K.function([x, K.learning_phase()], [y])
    assert f([[[1., 1.]], 1])[0].tolist() == [[2., 2.]] and f([[[1., 1.]], 0])[0].tolist() == [[1., 1.]]
    assert y._uses_learning_phase and not x._uses_learning_phase
    assert K.function([x], [K.in_train_phase(x * 2, x, training=1)])([[[1., 1.]]])[0].tolist() == [[2., 2.]]
    K.set_learning_phase(1)
    assert K.learning_phase() == 1
    assert K.function([x], [K.in_train_phase(x * 2, x)])([[[1., 1.]]])[0].tolist() == [[2., 2.]]
    with pytest.raises(ValueError, match="Expected learning phase to be 0 or 1"):
        K.set_learning_phase(2)


def test_random_numbers_follow_numpy_seed_and_advance():
    def draw():
        np.random.seed(3)
        K.clear_session()
        f = K.function([], [K.random_uniform((4,))])
        return f([])[0], f([])[0]
    (a, b), (c, d) = draw(), draw()
    assert (a == c).all() and (b == d).all() and (a != b).any()
    x = K.placeholder((1000,))
    f = K.function([x, K.learning_phase()], [K.in_train_phase(K.dropout(x, .25, seed=1), x)])
    before = f([np.ones(1000), 1])[0]
    f([np.ones(1000), 0])
    assert set(np.unique(before).tolist()) == {0., np.float32(1 / .75).item()}
    assert abs((before == 0).mean() - .25) < .05


@pytest.mark.parametrize("name,args,kwargs,lo,hi,mean,std", [
    ("random_normal", ((20000,),), {"mean": 1., "stddev": 2.}, -np.inf, np.inf, 1., 2.),
    ("truncated_normal", ((20000,),), {"mean": 1., "stddev": 2.}, -3., 5., 1., 2 * .8796),
    ("random_uniform", ((20000,),), {"minval": -1., "maxval": 3.}, -1., 3., 1., 4 / 12 ** .5),
    ("random_binomial", ((20000,),), {"p": .3}, 0., 1., .3, .21 ** .5)])
def test_random_distributions(name, args, kwargs, lo, hi, mean, std):
    x = val(getattr(K, name)(*args, **kwargs))
    assert x.min() >= lo and x.max() <= hi and abs(x.mean() - mean) < .05 and abs(x.std() - std) < .05


def test_dot_and_batch_dot_shapes():
    r = np.random.RandomState(0)
    a, b, c = r.randn(4, 5, 6), r.randn(4, 6, 7), r.randn(4, 6)
    k = K.constant
    np.testing.assert_allclose(val(K.batch_dot(k(a), k(b))), a @ b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(val(K.batch_dot(k(c), k(c))), (c * c).sum(1, keepdims=True), rtol=1e-4)
    np.testing.assert_allclose(val(K.batch_dot(k(a), k(a), 2)), a @ a.transpose(0, 2, 1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        val(K.batch_dot(k(c), k(a), (1, 2))), np.einsum("nk,njk->nj", c, a), rtol=1e-4, atol=1e-5
    )
    d = r.randn(2, 3, 4, 5)
    np.testing.assert_allclose(val(K.batch_dot(k(d), k(d), (3, 3))), d @ d.swapaxes(2, 3), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(val(K.dot(k(a), k(r.randn(2, 6, 3)))).shape, (4, 5, 2, 3))
    with pytest.raises(ValueError, match="Multiple target dimensions"):
        K.batch_dot(k(a), k(b), [[1], [2]])


def test_shape_operations():
    x = K.placeholder((None, 4, 3))
    a = np.arange(24.).reshape(2, 4, 3)
    cases = [
        (K.reshape(x, (-1, 12)), a.reshape(2, 12)),
        (K.batch_flatten(x), a.reshape(2, 12)),
        (K.flatten(x), a.ravel()),
        (K.permute_dimensions(x, (2, 0, 1)), a.transpose(2, 0, 1)),
        (K.repeat_elements(x, 2, 1), a.repeat(2, 1)),
        (K.tile(x, (1, 2, 1)), np.tile(a, (1, 2, 1))),
        (K.expand_dims(x, 1), a[:, None]),
        (K.reverse(x, 1), a[:, ::-1]),
        (K.temporal_padding(x, (1, 2)), np.pad(a, ((0, 0), (1, 2), (0, 0)))),
        (K.stack([x, x], 1), np.stack([a, a], 1)),
        (K.slice(x, (0, 1, 0), (-1, 2, 3)), a[:, 1:3]),
        (K.reshape(x, (K.shape(x)[0], K.prod(K.shape(x)[1:]))), a.reshape(2, 12)),
        (K.concatenate([x, x], 0), np.concatenate([a, a])),
        (K.zeros_like(x), a * 0),
        (K.cumsum(x, 1), a.cumsum(1)),
        (K.cumprod(x, 2), a.cumprod(2)),
        (K.arange(K.shape(x)[0]), [0, 1]),
        (K.arange(1, 10, 3), [1, 4, 7]),
    ]
    got = K.function([x], [c for c, _ in cases])([a])
    for g, (_, w) in zip(got, cases):
        np.testing.assert_allclose(g, w)
    assert K.int_shape(K.flatten(x)) == (None,) and K.int_shape(K.repeat_elements(x, 2, 1)) == (None, 8, 3)


def test_reductions_and_comparisons():
    a = np.random.RandomState(0).randn(3, 4)
    x = K.constant(a)
    for got, want in [
        (K.max(x, 1), a.max(1)),
        (K.sum(x, [0, 1]), a.sum()),
        (K.var(x, 0), a.var(0)),
        (K.std(x, -1), a.std(-1)),
        (K.prod(x, 1, keepdims=True), a.prod(1, keepdims=True)),
        (K.argmax(x), a.argmax(-1)),
        (K.mean(x > 0), (a > 0).mean()),
        (K.any(x > 2.0, 1), (a > 2).any(1)),
        (K.clip(x, -0.5, 0.5), a.clip(-0.5, 0.5)),
        (K.logsumexp(x), np.log(np.exp(a).sum())),
        (K.logsumexp(x, 1, True), np.log(np.exp(a).sum(1, keepdims=True))),
        (K.round(K.constant([0.5, 1.5, -2.5])), [0.0, 2.0, -2.0]),
        (K.sqrt(K.constant([4.0, -1.0])), [2.0, 0.0]),
        (K.equal(x, x), np.ones((3, 4), bool)),
        (K.sum(x > 0), (a > 0).sum()),
        (K.pow(x, 2), a**2),
    ]:
        np.testing.assert_allclose(val(got), want, rtol=1e-5, atol=1e-6)


def test_gradients_and_stop_gradient():
    w = K.variable([[1., 2.], [3., 4.]])
    g, none = K.gradients(K.sum(K.square(w) * K.stop_gradient(w)), [w, K.variable(1.)])
    np.testing.assert_allclose(val(g), 2 * K.get_value(w) ** 2)
    assert none is None


def test_elu_gradient_is_finite_for_large_inputs():
    x = K.variable([200., -1.])
    np.testing.assert_allclose(val(K.gradients(K.sum(K.elu(x)), [x])[0]), [1., np.exp(-1)], rtol=1e-6)


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_rnn_with_mask(recorded, unroll, direction):
    x = np.array(recorded["rnn"]["x"])
    mask = np.array([[0, 1, 1, 0, 1]] * 4)
    inp, m = K.placeholder((None, 5, 6)), K.placeholder((None, 5))

    def step(i, s):
        return i + s[0] * .5, [i + s[0] * .5]

    last, outs, states = K.rnn(
        step, inp, [K.ones_like(inp[:, 0])], go_backwards=direction == "backward", mask=m, unroll=unroll
    )
    got = K.function([inp, m], [last, outs, states[0]])([x, mask])
    want_last, want_outs = map(np.array, recorded["rnn"][direction])
    if direction == "forward" and not unroll:  # a rolled loop repeats the first state (Keras 2.2), not zeros
        want_outs[:, 0] = 1.
    np.testing.assert_allclose(got[0], want_last, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got[1], want_outs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got[2], want_last, rtol=1e-5, atol=1e-6)


def test_rnn_gradient_equals_unrolled():
    w = K.variable(np.random.RandomState(0).randn(3, 3) * .5)
    x = K.constant(np.random.RandomState(1).randn(2, 4, 3))
    grads = [
        val(
            K.gradients(
                K.sum(
                    K.rnn(
                        lambda i, s: (K.tanh(i + K.dot(s[0], w)),) * 1 + ([K.tanh(i + K.dot(s[0], w))],),
                        x,
                        [K.zeros((2, 3))],
                        unroll=u,
                    )[0]
                ),
                [w],
            )[0]
        )
        for u in (False, True)
    ]
    np.testing.assert_allclose(grads[0], grads[1], rtol=1e-4, atol=1e-6)


def test_folds_and_maps():
    x = K.constant([1., 2., 3.])
    assert val(K.foldl(lambda a, b: a * 2 + b, x)) == 11 and val(K.foldr(lambda a, b: a * 2 + b, x)) == 17
    assert val(K.map_fn(lambda a: a * a, x)).tolist() == [1., 4., 9.]


def test_switch_broadcasts_leading_axes():
    x = K.constant([[1., 2.], [3., 4.]])
    assert val(K.switch(K.constant([1., 0.]) > 0, x, x * 0)).tolist() == [[1., 2.], [0., 0.]]
    assert val(K.switch(K.constant(1.) > 0, lambda: x, lambda: -x)).tolist() == [[1., 2.], [3., 4.]]
    with pytest.raises(ValueError, match="Rank of `condition`"):
        K.switch(x > 0, K.constant(1.), K.constant(2.))


def test_float64():
    K.set_floatx("float64")
    v = K.variable([1., 2.])
    assert v.dtype == "float64" and val(K.exp(v) * np.pi).dtype == np.float64
    np.testing.assert_allclose(val(K.exp(v)), np.exp([1., 2.]), rtol=1e-15)
    with pytest.raises(ValueError, match="Unknown floatx type"):
        K.set_floatx("float8")


def test_what_has_no_value_or_is_no_tensor_is_refused():
    with pytest.raises(ValueError, match="Unexpectedly found an instance of type"):
        K.is_keras_tensor(np.ones(3))
    with pytest.raises(ValueError, match="depends on the placeholder `p`"):
        K.eval(K.placeholder((2,), name="p") * 2)


def test_in_top_k_and_l2_normalize():
    p = K.constant([[.1, .5, .4], [.6, .3, .1]])
    assert val(K.in_top_k(p, K.constant([2, 2], dtype="int32"), 2)).tolist() == [True, False]
    np.testing.assert_allclose(
        val(K.l2_normalize(K.constant([[3.0, 4.0], [0.0, 0.0]]), -1)), [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6
    )


def test_logsumexp_over_several_axes():
    a = np.random.RandomState(3).randn(2, 3, 4) * 300
    for axis in (None, [0, 2], -1, (1, -1)):
        for keepdims in (False, True):
            want = np.logaddexp.reduce(a, axis if not isinstance(axis, list) else tuple(axis), keepdims=keepdims)
            np.testing.assert_allclose(val(K.logsumexp(K.constant(a), axis, keepdims)), want, rtol=1e-5)


def test_logsumexp_of_infinities():
    x = K.placeholder((None, 2))
    y = K.logsumexp(x, axis=1)
    got, grad = K.function([x], [y, *K.gradients(K.sum(y), [x])])([[[-np.inf, -np.inf], [np.inf, 0], [1000, 1000]]])
    np.testing.assert_allclose(got, [-np.inf, np.inf, 1000 + np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(grad[2], [0.5, 0.5])
    assert not np.isnan(grad).any()


def test_shapes_in_arrays_of_whole_floats():
    shape = np.ones(3)
    shape[1] = -1
    assert K.reshape(K.placeholder((None, 2)), shape).shape == (1, None, 1)
    with pytest.raises(TypeError, match="expected a size"):
        K.reshape(K.ones((3, 2)), np.array([2.5, 2.5]))
