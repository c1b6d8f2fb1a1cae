"""What `K` refuses, and how; and values and functions in the forms that scripts use."""
import numpy as np
import pytest

from graphk import backend as K
from graphk.frontend import config


def c(*shape):
    return K.constant(np.ones(shape))


STEP = lambda x, states: (x + states[0], [x + states[0]])           # noqa: E731

REFUSED = {
    "shapes of dot": (lambda: K.dot(K.placeholder((None, 5)), c(3, 2)), ValueError,
                      r"dot of \(None, 5\) and \(3, 2\): .* they must be equal \(at .*test_backend_mistakes.py:\d+\)$"),
    "shapes of a sum": (lambda: K.placeholder((None, 5)) + c(4), ValueError,
                        r"shapes \(None, 5\) and \(4,\) do not broadcast: .*test_backend_mistakes.py"),
    "shapes of concatenate": (lambda: K.concatenate([K.placeholder((None, 5, 4)), K.placeholder((None, 6))]),
                              ValueError,
                              r"concatenate \(None, 5, 4\) and \(None, 6\): they differ in rank"),
    "one tensor": (lambda: K.concatenate(c(2)), TypeError, r"a list of tensors; received the one tensor .* Write"),
    "text": (lambda: K.dot(c(2, 3), "a"), TypeError, "expected a tensor, an array or a number; received 'a', a str"),
    "axis that is a text": (lambda: K.cumsum(c(2, 3), "a"), TypeError, "an axis is an integer from -2 to 1; received "
                                                                       "'a'"),
    "shape that is a number": (lambda: K.reshape(c(2), 2.5), TypeError, "a shape was expected, received 2.5; pass a "
                                                                        "tuple"),
    **{f"floats for {f.__name__}": (call, TypeError, "takes integers; received float32 of shape .* Cast them: K.cast")
       for f, call in ((K.gather, lambda: K.gather(c(3, 2), 1.5)), (K.one_hot, lambda: K.one_hot(c(3), 2)),
                       (K.in_top_k, lambda: K.in_top_k(c(2, 3), c(2), 1)))},
    "variable of text": (lambda: K.variable("abc", name="w"), ValueError, "K.variable `w` was given 'abc'; expected "
                                                                          "numbers"),
    "ragged rows": (lambda: K.constant([1, [2, 3]]), ValueError, "K.constant was given .*; expected numbers: an "
                                                                 "array, a"),
    "reduction axis": (lambda: K.sum(c(2, 3), axis=2), ValueError, "axis out of range"),
    "axis of text": (lambda: K.sum(c(2, 3), axis="a"), TypeError, "axes are integers, or None for all; received"),
    "eval": (lambda: K.eval(K.placeholder((2,), name="p") * 2), ValueError, "depends on the placeholder `p`"),
    "floatx": (lambda: K.set_floatx("float7"), ValueError, "Unknown floatx type: float7"),
    "no gradient": (lambda: K.function([], K.gradients(K.sum(c(2)), [K.zeros((2,))])), ValueError,
                    "output number 0 of the function `function` is None. K.gradients gives None for"),
    "update of a number": (lambda: K.update(3, 4), TypeError, "only variables can be updated; received 3"),
    "rank for ctc": (lambda: K.ctc_batch_cost([[0]], c(2, 4), [[1]], [[1]]), ValueError, "`y_pred` must have the"),
    "argmax axis": (lambda: K.argmax(c(2, 3), axis=5), ValueError, "axis out of range"),
    "cumsum axis": (lambda: K.cumsum(c(2, 3), axis=2), ValueError, "axis 2 is out of range for a tensor of 2 axes"),
    "softmax axis": (lambda: K.softmax(c(2, 3), 4), ValueError, "axis"),
    "shapes": (lambda: K.maximum(c(2, 3), c(2)), ValueError, "do not broadcast"),
    "dot with a scalar": (lambda: K.dot(c(), c(2, 3)), ValueError, "at least one axis.*Multiply by a scalar"),
    "dot sizes": (lambda: K.dot(c(2, 3), c(2, 3)), ValueError, "3"),
    "batch_dot rank": (lambda: K.batch_dot(c(2), c(2)), ValueError, "rank < 2"),
    "batch_dot over the batch": (lambda: K.batch_dot(c(2, 3), c(2, 3), 0), ValueError, "over axis 0"),
    "batch_dot sizes": (lambda: K.batch_dot(c(2, 3), c(2, 4), 1), ValueError, r"shape\[1\] != y.shape\[1\]"),
    "batch_dot axes": (lambda: K.batch_dot(c(2, 3), c(2, 3), ((1,), (1,))), ValueError, "Multiple target dimensions"),
    "concatenate ranks": (lambda: K.concatenate([c(2, 3), c(3)]), ValueError, "rank"),
    "concatenate nothing": (lambda: K.concatenate([]), ValueError, "no tensors"),
    "stack axis": (lambda: K.stack([c(2), c(2)], axis=5), ValueError, "axis 5 is out of range"),
    "reshape": (lambda: K.reshape(c(2, 3), (4, 2)), ValueError, "6 elements against 8"),
    "reshape by values": (lambda: K.reshape(c(2, 3), K.placeholder((2,), dtype="int32")), TypeError, "a shape was"),
    "permute": (lambda: K.permute_dimensions(c(2, 3), (0, 0)), ValueError, "0, 0"),
    "repeat": (lambda: K.repeat(c(2, 3, 4), 2), ValueError, "takes a tensor of 2 axes"),
    "arange step": (lambda: K.arange(0, 5, 0), ValueError, "step=0"),
    "squeeze": (lambda: K.squeeze(c(2, 3), 1), ValueError, "its extent is not 1"),
    "expand_dims": (lambda: K.expand_dims(c(2, 3), 4), ValueError, "axis 4 is out of range"),
    "reverse": (lambda: K.reverse(c(2, 3), 2), ValueError, "axis 2 is out of range"),
    "slice": (lambda: K.slice(c(2, 3), (0, 1), (2, 5)), ValueError, "elements 1 to 6 of axis 1 do not exist"),
    "slice rank": (lambda: K.slice(c(2, 3), (0,), (2,)), ValueError, "takes 2 starts and sizes"),
    "temporal_padding rank": (lambda: K.temporal_padding(c(2, 3)), ValueError, r"3 axes.*shape \(2, 3\)"),
    "temporal_padding": (lambda: K.temporal_padding(c(2, 3, 4), 1), ValueError, "1 pairs of integers.*received"),
    "2d padding": (lambda: K.spatial_2d_padding(c(2, 3, 4, 5), ((1, 1),)), ValueError, "must be 2 pairs"),
    "3d padding": (lambda: K.spatial_3d_padding(c(1, 2, 3, 4, 5), ((1, 1), (1, 1))), ValueError, "must be 3 pairs"),
    "2d padding format": (lambda: K.spatial_2d_padding(c(2, 3, 4, 5), data_format="x"), ValueError, "data_format"),
    "bias": (lambda: K.bias_add(c(2, 3, 4, 5), c(4, 5)), ValueError, "Unexpected bias dimensions 2"),
    "crossentropy axis": (lambda: K.categorical_crossentropy(c(2, 3), c(2, 3), axis=2), ValueError, "channels axis 2"),
    "dropout": (lambda: K.dropout(c(2), 1.), ValueError, "Dropout level must be in interval"),
    "dropout below 0": (lambda: K.dropout(c(2), -.1), ValueError, "Dropout level must be in interval"),
    "dropout mask": (lambda: K.dropout(c(2, 3), .5, (2,)), ValueError, "noise_shape"),
    "switch": (lambda: K.switch(K.greater(c(2, 3), 0), c(2), c(2)), ValueError, "Rank of `condition` should be less"),
    "phase": (lambda: K.set_learning_phase(2), ValueError, "Expected learning phase to be 0 or 1"),
    "rnn rank": (lambda: K.rnn(STEP, c(2, 3), [c(2)]), ValueError, "at least 3D"),
    "rnn unrolled": (lambda: K.rnn(STEP, K.placeholder((2, None, 3)), [c(2, 3)], unroll=True), ValueError, "Unrolling"),
    "rnn mask": (lambda: K.rnn(lambda x, s: (x, []), c(2, 3, 4), [], mask=c(2, 3)), ValueError, "No initial states"),
    "rnn states": (lambda: K.rnn(lambda x, s: (x, []), c(2, 3, 4), [c(2, 4)]), ValueError, "returned 0 states"),
    "conv padding": (lambda: K.conv2d(c(1, 5, 5, 2), c(3, 3, 2, 4), padding="full"), ValueError, "padding: full"),
    "conv format": (lambda: K.conv2d(c(1, 5, 5, 2), c(3, 3, 2, 4), data_format="x"), ValueError, "data_format"),
    "causal image": (lambda: K.conv2d(c(1, 5, 5, 2), c(3, 3, 2, 4), padding="causal"), ValueError, "padding: causal"),
    "conv channels": (lambda: K.conv2d(c(1, 5, 5, 2), c(3, 3, 3, 4)), ValueError, "for 3 channels.*has 2"),
    "pool padding": (lambda: K.pool2d(c(1, 5, 5, 2), (2, 2), padding="full"), ValueError, "padding: full"),
    "pool mode": (lambda: K.pool2d(c(1, 5, 5, 2), (2, 2), pool_mode="sum"), ValueError, "pooling mode: sum"),
    "pool format": (lambda: K.pool3d(c(1, 5, 5, 5, 2), (2, 2, 2), data_format="x"), ValueError, "data_format"),
    "pool size": (lambda: K.pool2d(c(1, 5, 5, 2), (2, 2, 2)), ValueError, "pool_size"),
    "resize format": (lambda: K.resize_images(c(1, 2, 2, 1), 2, 2, "x"), ValueError, "data_format"),
    "interpolation": (lambda: K.resize_images(c(1, 2, 2, 1), 2, 2, None, "cubic"), ValueError, "interpolation"),
    "local format": (lambda: K.local_conv1d(c(1, 5, 3), c(4, 6, 2), (2,), (1,), "x"), ValueError, "data_format"),
    "placeholder": (lambda: K.placeholder(), ValueError, "Specify either a shape or ndim"),
    "variable": (lambda: K.variable(None, name="w"), ValueError, "`w` was given None"),
    "constant": (lambda: K.constant([1, 2, 3], shape=(2, 2)), ValueError, "3"),
    "set_value": (lambda: K.set_value(K.zeros((2,)), [1., 2., 3.]), ValueError, r"shape \(2,\) to a value of shape"),
    "set_value of a placeholder": (lambda: K.set_value(K.placeholder((2,)), [1., 2.]), TypeError, "takes a variable"),
    "update of a tensor": (lambda: K.update(c(2), 1.), TypeError, "only variables can be updated"),
    "update shape": (lambda: K.function([], [], [K.update(K.zeros((2,)), c(3))]), ValueError, "expected \\(2,\\)"),
    "count_params": (lambda: K.count_params(K.placeholder((None, 2))), ValueError, r"\(None, 2\) is not known"),
    "is_keras_tensor": (lambda: K.is_keras_tensor(np.ones(2)), ValueError, "Expected a symbolic tensor"),
    "function inputs": (lambda: K.function(K.placeholder((2,)), []), TypeError, "`inputs`.* list or tuple"),
    "function updates": (lambda: K.function([], [], K.update(K.zeros(()), 1.)), TypeError, "`updates`.* list or tuple"),
    "function options": (lambda: K.function([], [], options=1), ValueError, "Invalid argument `options`"),
    "input of a computed size": (lambda: K.function([K.repeat_elements(K.placeholder((None,)), 2, 0)], []), ValueError,
                                 "is computed from others"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what):
    call, kind, message = REFUSED[what]
    with pytest.raises(kind, match=message):
        call()


def test_values_that_do_not_fit_are_set_nowhere():
    a, b = K.zeros((2,), name="a"), K.zeros((3,), name="b")
    for wrong, words in ((np.ones(2), r"`b:0` of shape \(3,\) to a value of shape \(2,\)"), ("abc", "expected "
                                                                                                    "numbers")):
        with pytest.raises(ValueError, match=words):
            K.batch_set_value([(a, np.ones(2)), (b, wrong)])
        assert K.get_value(a).tolist() == [0., 0.]


# ------------------------------------------------------------------ functions
def test_a_function_with_further_updates_and_fed_placeholders():
    a, b = K.variable(1.), K.variable(1.)
    x, y = K.placeholder(()), K.placeholder(())
    fed = {y: 3.}
    f = K.function([x], [x + y], updates=[(a, x + 1.)], feed_dict=fed, fetches=[K.update(b, a * 10.)])
    assert f([10.]) == [13.] and K.batch_get_value([a, b]) == [11., 10.]
    fed[y] = 4.
    assert f([20.]) == [24.] and K.batch_get_value([a, b]) == [21., 110.]


def test_what_a_function_may_put_out():
    v, x = K.variable([1., 2.]), K.placeholder((None,))
    assert [y.tolist() for y in K.function([], [v, K.constant(3.)])([])] == [[1., 2.], 3.]
    assert K.function([x], (x,))([[5.]])[0].tolist() == [5.] and K.function([x], [])([[5.]]) == []
    assert K.function([x], x * 2)([[5.]]).tolist() == [10.]


# ------------------------------------------------------------------ values
def test_what_eval_draws():
    r = K.random_normal((1,), mean=3., stddev=2., seed=1337)
    samples = np.array([K.eval(r) for _ in range(600)])
    assert abs(samples.mean() - 3.) < .2 and abs(samples.std() - 2.) < .2 and len(np.unique(samples)) > 590
    K.clear_session()
    assert (K.eval(K.random_uniform((3,), seed=7)) == K.eval(K.random_uniform((3,), seed=7))).all()
    np.random.seed(1)
    a = K.eval(K.random_uniform((3,)))
    np.random.seed(1)
    assert (K.eval(K.random_uniform((3,))) == a).all() and (K.eval(K.random_uniform((3,))) != a).any()


def test_random_limits_and_types():
    whole = K.eval(K.random_uniform((500,), 2, 6, dtype="int32"))
    assert whole.dtype == "int32" and set(whole.tolist()) == {2, 3, 4, 5}
    between = K.eval(K.random_uniform((500,), K.constant(5.), K.constant(6.)))
    assert between.min() >= 5. and between.max() < 6.
    for f in (K.random_uniform, K.random_normal, K.truncated_normal, K.random_binomial):
        assert K.eval(f((2, 0), dtype="float64")).dtype == "float64" and K.int_shape(f(3)) == (3,)
        assert K.int_shape(f(K.shape(K.placeholder((None, 2))), seed=-3)) == (None, 2)


def test_top_k_of_bad_rows_and_classes():
    p = K.constant([[.2, np.nan, .1], [.2, np.inf, .1], [.2, .3, .1], [.2, .3, .1], [.2, .2, .1]])
    targets = K.constant([0, 0, 0, 7, 1], dtype="int32")
    assert K.eval(K.in_top_k(p, targets, 2)).tolist() == [False, False, True, False, True]


@pytest.mark.parametrize("semantics,shape", [("2.2", (2, 3, 4, 6)), ("2.3", (2, 3, 4, 3, 6))])
def test_batch_dot_of_many_axes(semantics, shape):
    config.put("keras_semantics", semantics)
    x, y = np.random.rand(2, 3, 4, 5), np.random.rand(2, 3, 5, 6)
    want = x @ y if len(shape) == 4 else np.stack([np.tensordot(a, b, (2, 1)) for a, b in zip(x, y)])
    got = K.eval(K.batch_dot(K.constant(x), K.constant(y)))
    assert got.shape == shape
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("semantics,first", [("2.2", 7.), ("2.3", 0.)])
def test_what_a_masked_first_step_puts_out(semantics, first):
    config.put("keras_semantics", semantics)
    for unroll in (False, True):
        outputs = K.rnn(STEP, c(1, 2, 1), [c(1, 1) * 7.], mask=K.constant([[0., 1.]]), unroll=unroll)[1]
        assert K.eval(outputs).ravel().tolist() == [0. if unroll else first, 8.]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_arrays_take_the_type_of_the_tensor_they_meet(dtype):
    x, a = K.constant([1., 2.], dtype=dtype), np.array([.1, .2])
    for y in (x + a, a.astype("float32") * x, K.maximum(x, a), x - [.1, .2], K.clip(x, a, a + 1), np.float64(.1) / x):
        assert K.dtype(y) == dtype
    assert K.eval(K.equal(x * 0 + a, a)).all() and K.dtype(K.constant([1], dtype="int32") + a) == "float32"


def test_arguments_that_are_arrays_numbers_of_numpy_or_tensors():
    assert K.eval(K.reverse(K.constant([[1., 2.]]), np.int64(1))).tolist() == [[2., 1.]]
    assert K.eval(K.arange(np.float32(3))).tolist() == [0., 1., 2.] and K.int_shape(K.zeros((np.int64(2), 3))) == (2, 3)
    assert K.eval(K.foldl(lambda a, x: a + x, np.arange(4.))) == 6.
    assert K.eval(K.map_fn(lambda x: x + 1, np.arange(3.))).tolist() == [1., 2., 3.]
    assert set(K.eval(K.dropout(K.ones((100,)), K.variable(.5), seed=1)).tolist()) == {0., 2.}
    for axes in (range(2), np.array([0, 1])):
        assert K.int_shape(K.sum(c(2, 3, 4), axis=axes)) == (4,)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_powers_of_integers_are_integers(dtype):
    x = K.constant([-3, 2, 7], dtype=dtype)
    for a, want in ((0, [1, 1, 1]), (2, [9, 4, 49]), (5, [-243, 32, 16807]), (K.constant([1, 3, 4], dtype=dtype),
                                                                              [-3, 8, 2401])):
        assert K.dtype(K.pow(x, a)) == dtype and K.eval(K.pow(x, a)).tolist() == want
    assert K.dtype(K.pow(x, .5)) == "float32"


def test_updates_in_the_forms_scripts_use():
    v = K.variable([1., 2.])
    K.function([], [], [(v, v * 2)])([])
    K.function([], [], [K.update(v, 7.)])([])
    assert K.get_value(v).tolist() == [7., 7.]
    K.function([], [], [K.moving_average_update(v, np.array([1., 2.]), .5)])([])
    assert K.get_value(v).tolist() == [4., 4.5]
    K.batch_set_value(zip([v], [[5., 6.]]))
    assert K.batch_get_value([v])[0].tolist() == [5., 6.] and K.batch_get_value([]) == []
    assert K.eval(K.gradients(K.square(v), v)[0]).tolist() == [10., 12.]


def test_a_placeholder_listed_twice_is_named():
    x = K.placeholder((None, 2), name="twice")
    with pytest.raises(ValueError, match="`twice` twice"):
        K.function([x, x], [x * 2])


@pytest.mark.parametrize("shape", [(None, 2), (None, None)])
def test_an_update_of_another_shape_is_refused_at_the_call(shape):
    p, w = K.placeholder(shape), K.variable(np.zeros((2, 2)))
    f = K.function([p], [], updates=[(w, p)])
    f([np.arange(4).reshape(2, 2)])
    for bad in ((3, 2), (4, 1)):
        with pytest.raises(ValueError, match=r"\(%d, %d\)" % bad):
            f([np.ones(bad)])
    assert K.get_value(w).tolist() == [[0, 1], [2, 3]]


def test_numpy_operators_give_tensors():
    p = K.placeholder((2,))
    a = np.array([1., 4.], "float32")
    made = [a + p, a - p, np.float32(2) * p, a / p, np.add(p, a), K.cast(a < p, "float32"), K.cast(a >= p, "float32"),
            p - a, K.cast(np.less(p, a), "float32")]
    assert [r.tolist() for r in K.function([p], made)([[2., 4.]])] == [
        [3, 8], [-1, 0], [4, 8], [.5, 1], [3, 8], [1, 0], [0, 1], [1, 0], [0, 0]]
    assert (a == p) is False and (p != a) is True
