"""What graphk has under TensorFlow's names, against numpy, through `K.tf` and through `import tensorflow`."""
import importlib
import sys

import numpy as np
import pytest

import graphk
from graphk import backend as K

tf = K.tf
RNG = np.random.RandomState(0)
A, B = RNG.randn(3, 4).astype("float32"), RNG.rand(3, 4).astype("float32") + .5
IMAGES = RNG.rand(2, 5, 4, 3).astype("float32")


def value(of, *arrays):
    inputs = [K.placeholder((None, *a.shape[1:]), dtype=a.dtype.name) for a in arrays]
    out = of(*inputs)
    found = K.function(inputs, list(out) if isinstance(out, (list, tuple)) else [out])(list(arrays))
    return found if isinstance(out, (list, tuple)) else found[0]


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


CASES = {
    "arithmetic": (lambda a, b: tf.add(tf.multiply(a, b, name="m"), tf.subtract(a, tf.square(b))),
                   lambda a, b: a * b + a - b * b),
    "divide": (lambda a, b: tf.divide(a, b) + tf.div(a, b) + tf.truediv(b, 2), lambda a, b: a / b * 2 + b / 2),
    "no nan": (lambda a, b: tf.math.divide_no_nan(a, tf.maximum(a, 0.)), lambda a, b: (a > 0).astype("f")),
    "roots": (lambda a, b: tf.sqrt(b) + tf.math.rsqrt(b) + tf.reciprocal(b), lambda a, b: b ** .5 + b ** -.5 + 1 / b),
    "logs": (lambda a, b: tf.math.log(b) + tf.log1p(b) + tf.exp(a), lambda a, b: np.log(b) + np.log1p(b) + np.exp(a)),
    "rounding": (lambda a, b: tf.floor(a) + 10 * tf.math.ceil(a), lambda a, b: np.floor(a) + 10 * np.ceil(a)),
    "clip": (lambda a, b: tf.clip_by_value(a, -.5, b), lambda a, b: np.minimum(np.maximum(a, -.5), b)),
    "where": (lambda a, b: tf.where(tf.greater(a, 0.), a, b), lambda a, b: np.where(a > 0, a, b)),
    "logic": (lambda a, b: tf.cast(tf.logical_and(a > 0, tf.logical_not(a > 1)), tf.float32),
              lambda a, b: ((a > 0) & ~(a > 1)).astype("f")),
    "finite": (lambda a, b: tf.cast(tf.math.is_finite(tf.log(a)), "int32"), lambda a, b: (a > 0).astype("i")),
    "sum": (lambda a, b: tf.reduce_sum(a, 1), lambda a, b: a.sum(1)),
    "old sum": (lambda a, b: tf.reduce_sum(a, reduction_indices=[1], keep_dims=True),
                lambda a, b: a.sum(1, keepdims=True)),
    "means": (lambda a, b: tf.reduce_mean(a) + tf.math.reduce_max(b, axis=-1, keepdims=True),
              lambda a, b: a.mean() + b.max(-1, keepdims=True)),
    "places": (lambda a, b: tf.argmax(a, 1), lambda a, b: a.argmax(1)),
    "columns": (lambda a, b: tf.argmin(a, output_type=tf.int32), lambda a, b: a.argmin(0)),
    "cumsum": (lambda a, b: tf.cumsum(a, 1, reverse=True, exclusive=True),
               lambda a, b: a[:, ::-1].cumsum(1)[:, ::-1] - a),
    "norm": (lambda a, b: tf.norm(a, axis=1) + tf.linalg.norm(a, 1, axis=1),
             lambda a, b: np.linalg.norm(a, axis=1) + abs(a).sum(1)),
    "matmul": (lambda a, b: tf.matmul(a, b, transpose_b=True), lambda a, b: a @ b.T),
    "transposed": (lambda a, b: tf.matmul(a, b, transpose_a=True), lambda a, b: a.T @ b),
    "tensordot": (lambda a, b: tf.tensordot(a, b, [[0, 1], [0, 1]]), lambda a, b: np.tensordot(a, b, [[0, 1], [0, 1]])),
    "concat": (lambda a, b: tf.concat([a, b], axis=1), lambda a, b: np.concatenate([a, b], 1)),
    "concat of 0.12": (lambda a, b: tf.concat(1, [a, b]), lambda a, b: np.concatenate([a, b], 1)),
    "stack": (lambda a, b: tf.stack([a, b], axis=1), lambda a, b: np.stack([a, b], 1)),
    "unstack": (lambda a, b: tf.add_n(tf.unstack(a, axis=1)), lambda a, b: a.sum(1)),
    "split": (lambda a, b: tf.split(a, [1, -1], 1)[1] * tf.split(b, 4, axis=1)[2], lambda a, b: a[:, 1:] * b[:, 2:3]),
    "reshape": (lambda a, b: tf.reshape(a, [tf.shape(a)[0], 2, -1]), lambda a, b: a.reshape(3, 2, 2)),
    "tile": (lambda a, b: tf.tile(tf.expand_dims(a, 1), [1, 2, 1]), lambda a, b: np.tile(a[:, None], (1, 2, 1))),
    "squeeze": (lambda a, b: tf.squeeze(tf.expand_dims(tf.expand_dims(a, -1), 0), [0, 3]), lambda a, b: a),
    "transpose": (lambda a, b: tf.transpose(a) + tf.transpose(a, [1, 0]), lambda a, b: 2 * a.T),
    "gather": (lambda a, b: tf.gather(a, [3, 0], axis=1), lambda a, b: a[:, [3, 0]]),
    "gather_nd": (lambda a, b: tf.gather_nd(a, tf.constant([[0, 1], [2, 3]])), lambda a, b: a[[0, 2], [1, 3]]),
    "outside": (lambda a, b: tf.gather_nd(a, tf.constant([[0, 9], [-1, 1]])), lambda a, b: a[[0, 0], [-1, 1]]),
    "rows": (lambda a, b: tf.gather_nd(a, tf.constant([[2], [0]])), lambda a, b: a[[2, 0]]),
    "range": (lambda a, b: tf.range(tf.shape(a)[0]), lambda a, b: np.arange(3)),
    "one_hot": (lambda a, b: tf.one_hot(tf.argmax(a, 1), 4, 2., -1.),
                lambda a, b: np.where(np.eye(4)[a.argmax(1)] > 0, 2., -1.)),
    "zeros": (lambda a, b: tf.zeros([tf.shape(a)[0], 2]) + tf.ones((2,)) + tf.fill([2], 3.),
              lambda a, b: np.full((3, 2), 4.)),
    "activations": (lambda a, b: tf.nn.relu(a) + tf.nn.leaky_relu(a) + tf.nn.swish(a) + tf.nn.relu6(9 * a),
                    lambda a, b: np.maximum(a, 0) + np.where(a > 0, a, .2 * a) + a / (1 + np.exp(-a))
                    + np.clip(9 * a, 0, 6)),
    "softmax": (lambda a, b: tf.nn.softmax(a) + tf.nn.log_softmax(a), lambda a, b: softmax(a) + np.log(softmax(a))),
    "normalized": (lambda a, b: tf.nn.l2_normalize(a, 1), lambda a, b: a / np.linalg.norm(a, axis=1, keepdims=True)),
    "moments": (lambda a, b: tf.nn.batch_normalization(a, *tf.nn.moments(a, [0]), None, 2., 1e-3),
                lambda a, b: 2 * (a - a.mean(0)) / np.sqrt(a.var(0) + 1e-3)),
    "cross entropy": (lambda a, b: tf.nn.softmax_cross_entropy_with_logits_v2(labels=b, logits=a),
                      lambda a, b: -(b * np.log(softmax(a))).sum(-1)),
    "sparse cross entropy": (lambda a, b: tf.nn.sparse_softmax_cross_entropy_with_logits(tf.argmax(b, 1), a),
                             lambda a, b: -np.log(softmax(a))[np.arange(3), b.argmax(1)]),
    "binary cross entropy": (lambda a, b: tf.nn.sigmoid_cross_entropy_with_logits(labels=b, logits=a),
                             lambda a, b: np.maximum(a, 0) - a * b + np.log1p(np.exp(-abs(a)))),
    "scan": (lambda a, b: tf.scan(lambda s, x: s + x, a), lambda a, b: a.cumsum(0)),
    "scan from": (lambda a, b: tf.scan(lambda s, x: s * x[0] + x[1], [a, b], initializer=tf.ones([4]))[-1],
                  lambda a, b: ((a[0] + b[0]) * a[1] + b[1]) * a[2] + b[2]),
    "map_fn": (lambda a, b: tf.map_fn(lambda x: x[0] * x[1], (a, b), dtype=tf.float32), lambda a, b: a * b),
    "cond": (lambda a, b: tf.cond(tf.reduce_sum(b) > 0, lambda: a, lambda: b), lambda a, b: a),
}


@pytest.mark.parametrize("case", CASES)
def test_functions_compute_what_numpy_does(case):
    ours, oracle = CASES[case]
    found, expected = value(ours, A, B), oracle(A, B)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["CONSTANT", "REFLECT", "SYMMETRIC"])
def test_padding(mode):
    pads = [[0, 0], [2, 1], [0, 3], [0, 0]]
    constant = {"constant_values": 7} if mode == "CONSTANT" else {}
    expected = np.pad(IMAGES, pads, mode.lower(), **constant)
    assert np.array_equal(value(lambda x: tf.pad(x, pads, mode, **constant), IMAGES), expected)


def test_blocks_of_pixels_and_back():
    deep = value(lambda x: tf.depth_to_space(x, 2), np.arange(96, dtype="f").reshape(2, 2, 3, 8))
    assert deep.shape == (2, 4, 6, 2) and deep[0, 0, :4, 0].tolist() == [0, 2, 8, 10]
    assert deep[0, 1, 1].tolist() == [6, 7]
    assert np.array_equal(value(lambda x: tf.space_to_depth(x, 2), deep).ravel(), np.arange(96))


def test_grids():
    x, y = np.arange(3, dtype="f"), np.arange(4, dtype="f")
    for found, expected in zip(value(tf.meshgrid, x, y), np.meshgrid(x, y)):
        assert np.array_equal(found, expected)


def test_convolution_and_pooling_are_those_of_k():
    kernel = RNG.randn(3, 3, 3, 2).astype("f")
    ours = value(lambda x: tf.nn.max_pool(tf.nn.conv2d(x, K.constant(kernel), strides=[1, 2, 1, 1], padding="SAME"),
                                          [1, 2, 2, 1], [1, 2, 2, 1], "VALID"), IMAGES)
    ks = value(lambda x: K.pool2d(K.conv2d(x, K.constant(kernel), (2, 1), "same"), (2, 2), (2, 2)), IMAGES)
    assert np.array_equal(ours, ks)
    with pytest.raises(ValueError, match="over samples or channels must be 1"):
        tf.nn.conv2d(K.constant(IMAGES), K.constant(kernel), [2, 1, 1, 1], "SAME")


# ------------------------------------------------------------------ images
def resized(images, size, method, corners):
    """Pixel by pixel, in float64."""
    n, h, w, c = images.shape
    out = np.zeros((n, *size, c))

    def source(i, new, old):
        if corners == "align":
            return i * (old - 1) / max(new - 1, 1)
        return (i + .5) * old / new - (.5 if method == "bilinear" else 0) if corners == "centres" else i * old / new
    for i in range(size[0]):
        for j in range(size[1]):
            y, x = source(i, size[0], h), source(j, size[1], w)
            if method == "nearest":
                up = .5 if corners == "align" else 0.
                out[:, i, j] = images[:, min(int(y + up), h - 1), min(int(x + up), w - 1)]
                continue
            y, x = max(y, 0), max(x, 0)
            y0, x0 = min(int(y), h - 1), min(int(x), w - 1)
            y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
            top = images[:, y0, x0] + (images[:, y0, x1] - images[:, y0, x0]) * (x - x0)
            low = images[:, y1, x0] + (images[:, y1, x1] - images[:, y1, x0]) * (x - x0)
            out[:, i, j] = top + (low - top) * (y - y0)
    return out


WAYS = [(lambda x, s: tf.image.resize(x, s), "bilinear", "centres"),
        (lambda x, s: tf.image.resize(x, s, "nearest"), "nearest", "centres"),
        (lambda x, s: tf.image.resize_bilinear(x, s), "bilinear", "corners"),
        (lambda x, s: tf.image.resize_bilinear(x, s, align_corners=True), "bilinear", "align"),
        (lambda x, s: tf.image.resize_nearest_neighbor(x, s), "nearest", "corners"),
        (lambda x, s: tf.image.resize_images(x, s, tf.image.ResizeMethod.NEAREST_NEIGHBOR, True), "nearest", "align"),
        (lambda x, s: tf.compat.v1.image.resize(x, s, 0), "bilinear", "corners")]


@pytest.mark.parametrize("way,method,corners", WAYS)
@pytest.mark.parametrize("size", [(7, 9), (3, 2), (10, 8), (1, 4)])
def test_resizing(way, method, corners, size):
    np.testing.assert_allclose(value(lambda x: way(x, size), IMAGES), resized(IMAGES, size, method, corners), atol=1e-5)


def test_resizing_to_the_size_of_another_tensor():
    x, like = K.placeholder((None, None, None, 3)), K.placeholder((None, None, None, 1))
    y = tf.image.resize(x, tf.shape(like)[1:3])
    found = K.function([x, like], [y])([IMAGES, np.zeros((2, 8, 3, 1))])[0]
    np.testing.assert_allclose(found, resized(IMAGES, (8, 3), "bilinear", "centres"), atol=1e-5)


# ------------------------------------------------------------------ gradients, variables, seeds
def test_gradients_with_seeds_and_stops():
    x = K.placeholder((None,))
    y = x * x
    z = x + y
    assert K.function([x], tf.gradients(z, [x], grad_ys=[2 * x]))([[1., 3.]])[0].tolist() == [6., 42.]
    of_x, of_y = tf.gradients(z, [x, y], stop_gradients=[x, y])
    assert [g.tolist() for g in K.function([x], [of_x, of_y])([[1., 3.]])] == [[1., 1.], [1., 1.]]
    assert tf.gradients(y, K.placeholder((2,))) == [None]


def test_variables_and_constants():
    v = tf.Variable([1., 2.], trainable=False, name="v")
    assert isinstance(v, tf.Variable) and not v.trainable and not isinstance(K.constant(1.), tf.Variable)
    assert isinstance(v, tf.Tensor) and tf.is_tensor(v) and not tf.is_tensor(1.)
    assert K.dtype(tf.constant(1)) == "int32" and K.dtype(tf.constant(.5)) == tf.float32
    assert K.eval(tf.convert_to_tensor([v[0], 3.])).tolist() == [1., 3.]
    with pytest.raises(TypeError, match="received \\['validate_shape'\\]"):
        tf.Variable(1., validate_shape=False)


def test_a_seed_for_what_has_none():
    def draw():
        tf.set_random_seed(5)
        layer = graphk.layers.Dense(3, input_dim=2)
        graphk.models.Sequential([layer])
        return layer.get_weights()[0].tolist(), K.eval(tf.random.normal((2,), stddev=3.)).tolist()
    try:
        state = np.random.get_state()[2]
        assert draw() == draw() and np.random.get_state()[2] == state
    finally:
        graphk.frontend.seeds.set_seed(None)


# ------------------------------------------------------------------ sessions
def test_a_script_that_sets_a_session_up():
    config = tf.ConfigProto(allow_soft_placement=True)
    config.gpu_options.allow_growth = True
    with pytest.warns(UserWarning, match="have no effect: .*allow_growth=True.* GRAPHK_NUM_THREADS"):
        session = tf.Session(config=config)
    K.set_session(session)
    assert session is K.get_session() is tf.compat.v1.get_default_session()
    x = K.placeholder((None,))
    with tf.get_default_graph().as_default(), tf.Session() as run, run.as_default():
        assert run.run(x * 2, {x: [1., 2.]}).tolist() == [2., 4.] and (K.constant(1.) + 2).eval(session=run) == 3.


# ------------------------------------------------------------------ what is not there
@pytest.mark.parametrize("call,message", [
    (lambda: tf.data, "`tensorflow.data` is TensorFlow's own"),
    (lambda: tf.Session("grpc://other:2222"), "on this machine; received target='grpc://other:2222'"),
    (lambda: K.set_session(object()), "K.set_session takes the session that K.get_session"),
    (lambda: tf.nn.ctc_loss, "`tensorflow.nn.ctc_loss` is TensorFlow's own"),
    (lambda: tf.boolean_mask([1.], [True]), "as many elements as the mask has True"),
    (lambda: tf.where(K.constant([True])), "lists places, whose number is known only when it runs"),
    (lambda: tf.where(K.constant([True, False], dtype="bool"), K.ones((2, 2)), K.zeros((2, 2))),
     "rows, TensorFlow 2 columns"),
    (lambda: tf.image.resize(K.constant(IMAGES), (2, 2), "bicubic"), "received method='bicubic'"),
    (lambda: tf.one_hot(K.constant([1], dtype="int32"), 2, axis=0), "received axis=0"),
    (lambda: tf.matmul(K.ones((2, 2)), K.ones((2,))), "received shapes \\(2, 2\\) and \\(2,\\)"),
    (lambda: tf.nn.dropout(K.ones((2,)), rate=.5, keep_prob=.5), "one of rate= and keep_prob="),
    (lambda: tf.split(K.ones((2, 3)), 2, 1), "no 2 equal parts"),
    (lambda: tf.random_normal((2,), average=1.), "no argument \\['average'\\]")])
def test_what_is_refused_says_so(call, message):
    with pytest.raises((AttributeError, ValueError, TypeError), match=message):
        call()


def test_import_tensorflow_gives_the_same(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    graphk.install_as_keras(tensorflow=True)
    try:
        imported = importlib.import_module("tensorflow")
        assert imported.where is tf.where and imported.nn.relu is importlib.import_module("tensorflow.nn").relu
        assert importlib.import_module("tensorflow.compat.v1").to_float is tf.to_float
        from_inside = importlib.import_module("tensorflow.python.ops.math_ops")
        assert from_inside.erf is tf.erf and importlib.import_module("tensorflow.python.ops").nn_ops.relu is tf.nn.relu
        assert not hasattr(from_inside, "erfc") and not hasattr(importlib.import_module("tensorflow.python"), "eager")
        assert imported.keras.backend is K and not hasattr(imported, "contrib")
        with pytest.raises(ImportError, match=r"'ctc_loss' from 'tensorflow.nn' \(.*compat.py\)"):
            from tensorflow.nn import ctc_loss  # noqa: F401
        with pytest.raises(ModuleNotFoundError, match="tensorflow.contrib"):
            importlib.import_module("tensorflow.contrib")
    finally:
        for name in [n for n in sys.modules if n.split(".")[0] in ("keras", "tensorflow")]:
            monkeypatch.delitem(sys.modules, name)


def test_a_model_with_tensorflow_in_its_lambdas_and_loss():
    from graphk.layers import Conv2D, Input, Lambda
    from graphk.models import Model
    x = Input((5, 4, 3))
    y = Lambda(lambda t: tf.image.resize_bilinear(t, (10, 8)))(Conv2D(2, 1)(x))
    model = Model(x, y)

    def huber(y_true, y_pred):
        error = tf.abs(y_true - y_pred)
        return tf.reduce_mean(tf.where(tf.less(error, 1.), .5 * tf.square(error), error - .5), axis=-1)
    model.compile("sgd", huber)
    target = np.random.rand(2, 10, 8, 2)
    losses = model.fit(IMAGES, target, epochs=4, verbose=0).history["loss"]
    assert model.output_shape == (None, 10, 8, 2) and losses[-1] < losses[0]


def test_order_and_bands():
    x, v = K.placeholder((None, 4, None)), RNG.randint(0, 5, (3, 4, 9)).astype("float32")
    f = K.function([x], [*tf.nn.top_k(x, 3), tf.sort(x, axis=1), tf.argsort(x, direction="DESCENDING"),
                         tf.matrix_band_part(x, 1, 2), tf.linalg.band_part(x, -1, 0)])
    values, places, ordered, order, band, lower = f([v])
    o = np.argsort(-v, -1, kind="stable")
    i, j = np.indices((4, 9))
    for found, expected in [(places, o[..., :3]), (values, np.take_along_axis(v, o, -1)[..., :3]), (order, o),
                            (ordered, np.sort(v, 1)), (band, v * ((i - j <= 1) & (j - i <= 2))), (lower, v * (j <= i))]:
        np.testing.assert_array_equal(found, expected)
    slope = K.function([x], K.gradients(K.sum(K.square(tf.nn.top_k(x, 2)[0])), [x]))([v])[0]
    expected = np.zeros_like(v)
    np.put_along_axis(expected, o[..., :2], 2 * np.take_along_axis(v, o, -1)[..., :2], -1)
    np.testing.assert_allclose(slope, expected)
    with pytest.raises(ValueError, match="has no 5 elements"):
        tf.nn.top_k(K.ones((2, 4)), 5)


def test_elements_are_put_at_places():
    at = K.constant([[0, 1], [2, 0], [0, 1]], dtype="int32")
    assert K.eval(tf.scatter_nd(at, K.constant([1., 2., 3.]), [3, 2])).tolist() == [[0, 4], [0, 0], [2, 0]]
    assert K.eval(tf.scatter_nd(at[:, :1], K.ones((3, 2)), [3, 2])).tolist() == [[2, 2], [0, 0], [1, 1]]


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("size, step", [(2, 2), (3, 2), (3, 1)])
@pytest.mark.parametrize("counted", [False, True])
def test_where_the_maxima_of_windows_lie(padding, size, step, counted):
    best, where = tf.nn.max_pool_with_argmax(K.constant(IMAGES), size, [1, step, step, 1], padding,
                                             include_batch_in_index=counted)
    best, where = K.eval(best), K.eval(where)
    pooled = K.pool2d(K.constant(IMAGES), (size, size), (step, step), padding.lower())
    np.testing.assert_array_equal(best, K.eval(pooled))
    flat = IMAGES.reshape(-1) if counted else IMAGES.reshape(2, -1)
    found = flat[where] if counted else np.stack([flat[n][where[n]] for n in range(2)])
    np.testing.assert_array_equal(found, best)


def test_blocks_of_pixels_of_open_sizes():
    x = K.placeholder((None, None, None, 3))
    f = K.function([x], [tf.depth_to_space(tf.space_to_depth(x, 2), 2)])
    np.testing.assert_array_equal(f([IMAGES[:, :4]])[0], IMAGES[:, :4])
    with pytest.raises(ValueError):
        f([IMAGES])


def test_parts_of_shapes_are_joined_and_pad():
    x = K.placeholder((None, None, 2))
    n = K.shape(x)[1]
    padded = K.temporal_padding(x, (0, 4 - n % 4))
    whole = tf.reshape(padded, tf.concat([[-1], [(n // 4 + 1) * 4], [2]], 0))
    assert K.function([x], [whole])([np.ones((1, 6, 2))])[0].sum(1).tolist() == [[6, 6]]
    tied = K.concatenate([[n], [1, K.shape(x)[0]]], axis=0)
    assert K.function([x], [tied])([np.ones((3, 6, 2))])[0].tolist() == [6, 1, 3]


def test_parts_of_a_batch():
    x = K.placeholder((None, 3))
    f = K.function([x], tf.split(x, 3))
    v = np.arange(18.).reshape(6, 3)
    np.testing.assert_array_equal(np.stack(f([v])), v.reshape(3, 2, 3))
    with pytest.raises(ValueError):
        f([v[:5]])


def test_not_a_number_comes_last_and_is_there_once():
    nan = np.nan
    v = np.array([[3, nan, 1, nan, 2], [nan] * 5, [1, 2, np.inf, 4, -np.inf]], "float32")
    x = K.placeholder((None, 5))
    best = tf.nn.top_k(x, 3)
    up, down, numbers, values = K.function([x], [tf.argsort(x), tf.argsort(x, direction="DESCENDING"), best.indices,
                                                 best.values])([v])
    np.testing.assert_array_equal(up, np.argsort(v, 1, kind="stable"))
    np.testing.assert_array_equal(down, np.argsort(-v, 1, kind="stable"))
    np.testing.assert_array_equal(numbers, down[:, :3])
    np.testing.assert_array_equal(values, np.take_along_axis(v, numbers, 1))


def test_more_elements_than_an_open_axis_has_are_refused_at_the_call():
    x = K.placeholder((None, None))
    f = K.function([x], list(tf.nn.top_k(x, 3)))
    assert f([[[1, 5, 3, 4]]])[0].tolist() == [[5, 4, 3]]
    with pytest.raises(IndexError, match="whose size there is 2"):
        f([[[1, 5]]])
    for wrong in (lambda: tf.nn.top_k(K.constant(1.)), lambda: tf.split(x, 0), lambda: tf.matrix_band_part(x[0], 0, 0),
                  lambda: tf.scatter_nd(K.zeros((2, 0), dtype="int32"), K.ones((2, 3)), [3])):
        with pytest.raises(ValueError, match="tf[.]"):
            wrong()


def test_updates_for_places_outside_are_left_out():
    at, g = K.placeholder((None, 2), dtype="int32"), K.placeholder((None,))
    out = tf.scatter_nd(at, g, [2, 3])
    f = K.function([at, g], [out, *K.gradients(K.sum(K.square(out)), [g])])
    found, slope = f([[[0, 5], [1, 1], [1, -1], [2, 0], [1, 1]], [1, 2, 3, 4, 5]])
    assert found.tolist() == [[0, 0, 0], [0, 7, 0]] and slope.tolist() == [0, 14, 0, 0, 14]
