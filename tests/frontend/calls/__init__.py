"""Calls of `K`, as text: what they compute is recorded from tf_keras, and compared for known and for open sizes.

In: the backend module, and how a tensor is made of an array.  Out: the call's result.  What always holds: arrays are
drawn from a generator that starts anew for each call; `x` are reals, `p` positive, `i` integers, `b` bools, `q`
probabilities along the last axis; `w` are weights, whose sizes are always known.
"""
import itertools

import numpy as np

AXES = ("None", "0", "1", "-1", "-3", "(0, 1)", "[0, -1]", "(1, 2)", "()", "(0, 1, 2)")


def _filled(template, **choices):
    """The template with each combination of the choices."""
    return [template.format(**dict(zip(choices, values))) for values in itertools.product(*choices.values())]


CASES = [
    # reductions
    *_filled("K.{f}(x(2, 3, 4), axis={a}, keepdims={k})", f="max min sum prod mean var std".split(), a=AXES,
             k=("False", "True")),
    *_filled("K.{f}(b(2, 3, 4), axis={a}, keepdims={k})", f=("any", "all"), a=AXES, k=("False", "True")),
    *_filled("K.{f}(i(2, 3), axis=1)", f=("max", "min", "sum", "prod", "any", "all")),
    "K.mean(b(2, 3), axis=-1)", "K.any(x(2, 3))", "K.mean(x())",
    *_filled("K.{f}(x(2, 3, 4), axis={a})", f=("argmax", "argmin"), a=(0, 1, -1, -2)), "K.argmax(i(2, 3))",
    *_filled("K.{f}(x(2, 3, 4), axis={a})", f=("cumsum", "cumprod"), a=(0, 1, -1, -3)), "K.cumsum(i(2, 3))",
    # elementwise
    *_filled("K.{f}({t}(2, 3))", f="square abs exp round sign sin cos sigmoid hard_sigmoid tanh softplus softsign relu "
             "elu softmax sqrt".split(), t="xp"),
    *_filled("K.{f}(i(2, 3))", f=("square", "abs", "round", "sign", "relu")), "K.log(p(2, 3))",
    *_filled("K.{f}(K.cast(x(2, 3), 'float64'))", f=("square", "exp", "tanh", "softmax")),
    *_filled("K.{f}({a}, {b})", f="equal not_equal greater greater_equal less less_equal maximum minimum".split(),
             a=("x(2, 3)", "x(3)"), b=("x(2, 3)", "0.5", "np.float32([.1, .2, .3])")),
    *_filled("K.{f}(i(2, 3), {b})", f="equal not_equal greater greater_equal less less_equal maximum minimum".split(),
             b=("2", "i(3)")),
    "K.greater(0.5, x(2, 3))", "K.minimum(0.5, x(2, 3))",
    "K.pow(x(2, 3), 2)", "K.pow(x(2, 3), 3)", "K.pow(p(2, 3), .5)", "K.pow(p(2, 3), x(2, 3))", "K.pow(i(2, 3), 2)",
    "K.pow(p(2, 3), -1)", "K.pow(x(2, 3), 0)",
    "K.clip(x(2, 3), -.5, .5)", "K.clip(i(2, 3), 1, 3)", "K.clip(x(2, 3), 0, None)", "K.clip(x(2, 3), None, 0.)",
    "K.clip(x(2, 3), .5, -.5)",
    *_filled("K.relu(x(3, 4), alpha={a}, max_value={m}, threshold={t})", a=(0., .2), m=(None, 1.), t=(0., .3)),
    "K.relu(x(3, 4), .2, threshold=-.5)",
    "K.elu(x(2, 3), .5)", "K.softmax(x(2, 3, 4), 1)", "K.softmax(x(2, 3, 4), axis=0)",
    *_filled("K.l2_normalize(x(2, 3, 4), {a})", a=("-1", "None", "(1, 2)")), "K.l2_normalize(x(2, 3) * 0.)",
    # products
    *_filled("K.dot({a}, {b})", a=("x(2, 3)", "x(5, 2, 3)"), b=("x(3, 4)", "x(4, 3, 5)", "x(2, 4, 3, 5)")),
    *("K.batch_dot(" + a + ")" for a in (
        "x(2, 3, 4), x(2, 4, 5)", "x(2, 3, 4), x(2, 4)", "x(2, 4), x(2, 4)", "x(2, 4), x(2, 4), 1",
        "x(2, 4), x(2, 4, 5), (1, 1)", "x(2, 4), x(2, 5, 4), (1, 2)", "x(2, 3, 4), x(2, 5, 4), 2",
        "x(2, 3, 4), x(2, 3, 5), [1, 1]", "x(2, 3, 4), x(2, 5, 4), (-1, -1)", "x(2, 3, 4), x(2, 4, 5, 6), (2, 1)",
        "x(2, 3, 4, 5), x(2, 5, 6), (3, 1)", "x(2, 3, 4, 5), x(2, 5)", "x(2, 3, 4), x(2, 3), [1, 1]",
        "x(2, 6, 1), x(2, 4, 6), (1, 2)")),
    "K.transpose(x(2, 3, 4))", "K.gather(x(3, 4), i(2, 2, below=3))", "K.gather(x(3, 4), [0, 2])",
    "K.gather(x(3), 1)",
    # shapes
    *_filled("K.concatenate([x(2, 3, 4), x(2, 3, 4)], axis={a})", a=(0, 1, -2, -1)), "K.concatenate([x(2, 3)])",
    "K.reshape(x(2, 3, 4), (4, -1))", "K.reshape(x(2, 3, 4), [24])", "K.reshape(x(1), ())",
    "K.reshape(x(2, 3, 4), K.constant([4, 6], dtype='int32'))", "K.permute_dimensions(x(2, 3, 4), [2, 0, 1])",
    *_filled("K.repeat_elements(x(2, 3, 4), 2, {a})", a=(0, 1, -1)), "K.repeat(x(3, 4), 2)",
    *_filled("K.arange({a})", a=("5", "2, 5", "1, 10, 3", "10, 1, -3", "-3", "0, 5, dtype='float32'", "0., 1., .25")),
    "K.tile(x(3, 4), (2, 3))", "K.tile(x(3), 2)", "K.tile(x(3, 4), K.constant([2, 1], dtype='int32'))",
    "K.flatten(x(2, 3, 4))", "K.batch_flatten(x(2, 3, 4))", "K.batch_flatten(x(3))",
    *_filled("K.expand_dims(x(2, 3), {a})", a=(0, 1, 2, -1, -3)), "K.squeeze(x(2, 1, 3), 1)",
    "K.squeeze(x(2, 3, 1), -1)",
    "K.temporal_padding(x(2, 3, 4), (2, 1))", "K.temporal_padding(x(2, 3, 4))",
    *_filled("K.spatial_2d_padding(x(2, 3, 4, 2), ((1, 2), (0, 1)), {d})", d=("None", "'channels_first'")),
    *_filled("K.spatial_3d_padding(x(1, 2, 3, 4, 2), ((1, 2), (0, 1), (1, 1)), {d})", d=("None", "'channels_first'")),
    *_filled("K.stack([x(2, 3), x(2, 3)], {a})", a=(0, 1, 2, -1, -3)), "K.stack([x(), x()])", "K.stack([1., 2.])",
    "K.one_hot(i(2, 3), 5)", "K.one_hot(K.constant([0, 7, -1], dtype='int32'), 3)", "K.one_hot([0, 1], 3)",
    *_filled("K.reverse(x(2, 3, 4), {a})", a=("0", "-1", "(0, 2)", "[1]")),
    *_filled("K.bias_add(x{s}, x{c}, {d})", s=("(2, 3)",), c=("(3)",), d=("None", "'channels_first'")),
    *_filled("K.bias_add(x(2, 3, 4), x({c}), 'channels_{d}')", c=("4", "3, 4"), d=("last",)),
    "K.bias_add(x(2, 3, 4), x(3), 'channels_first')", "K.bias_add(x(2, 3, 4), x(4, 3), 'channels_first')",
    "K.bias_add(x(2, 3, 4, 5), x(5))", "K.bias_add(x(2, 3, 4, 5), x(3), 'channels_first')",
    "K.bias_add(x(2, 3, 4, 5), x(4, 5, 3), 'channels_first')", "K.bias_add(x(2, 3, 4, 5, 6), x(6))",
    "K.bias_add(x(2, 3, 4, 5, 6), x(3), 'channels_first')",
    # making and casting
    "K.eye(3)", "K.eye(3, dtype='int32')", "K.zeros([2, 3])", "K.zeros(3, 'int32')", "K.ones(())",
    "K.zeros_like(x(2, 3))",
    "K.ones_like(i(2, 3))", "K.ones_like(x(2), dtype='int32')", "K.constant(3., shape=(2, 2))",
    "K.constant([1, 2, 3, 4], shape=(2, 2))", "K.constant([1, 2])", "K.variable(np.array([1, 2]))", "K.shape(x(2, 3))",
    "K.cast(x(2, 3), 'int32')", "K.cast(i(2, 3), 'bool')", "K.cast(b(2, 3), 'float32')", "K.cast(x(2), 'float64')",
    # losses
    "K.categorical_crossentropy(q(2, 3, 4), q(2, 3, 4))", "K.categorical_crossentropy(q(2, 3), p(2, 3))",
    "K.categorical_crossentropy(q(2, 3), x(2, 3), from_logits=True)",
    "K.categorical_crossentropy(q(2, 3, 4), p(2, 3, 4), axis=1)",
    "K.sparse_categorical_crossentropy(i(2, 3, below=4), q(2, 3, 4))",
    "K.sparse_categorical_crossentropy(i(3, below=4), x(3, 4), from_logits=True)",
    "K.sparse_categorical_crossentropy(i(2, 4, below=3), q(2, 3, 4), axis=1)",
    "K.binary_crossentropy(q(2, 3), q(2, 3))", "K.binary_crossentropy(q(2, 3), x(2, 3), from_logits=True)",
    *_filled("K.in_top_k(x(3, 4), i(3, below=4), {k})", k=(1, 2, 9)), "K.in_top_k(x(2, 4) * np.inf, i(2, below=4), 1)",
    # control
    "K.switch(K.constant(True, dtype='bool'), lambda: x(2, 3), lambda: x(2, 3))", "K.switch(b(2, 3), x(2, 3), p(2, 3))",
    *_filled("K.in_{w}_phase(x(2, 3), lambda: p(2, 3), training={t})", w=("train", "test"), t=(0, 1, True)),
    "K.map_fn(K.sum, x(2, 3))", "K.map_fn(lambda r: r[0] + r[1], (x(2, 3), p(2, 3)), dtype='float32')",
    "K.map_fn(lambda r: (r + 1, r * 2), x(2, 3), dtype=('float32', 'float32'))",
    *_filled("K.{f}(lambda a, e: a * .5 + e, x(4, 3))", f=("foldl", "foldr")),
    "K.foldl(lambda a, e: a + K.sum(e), x(4, 3), initializer=K.constant(2.))",
    "list(K.normalize_batch_in_training(x(5, 3), p(3), x(3), [0]))",
    "K.normalize_batch_in_training(x(2, 3, 4, 2), p(3), x(3), [0, 2, 3])[0]",
    "K.batch_normalization(x(5, 3), x(3), p(3), x(3), p(3))", "K.batch_normalization(x(5, 3), x(3), p(3), None, None)",
    "K.batch_normalization(x(5, 3), x(3), p(3), x(3), None, epsilon=1.)",
    # convolutions
    *_filled("K.conv1d(x(2, 8, 3), w(2, 3, 4), padding='{p}', {o})", p=("same", "valid", "causal"),
             o=("strides=1", "strides=2", "dilation_rate=2")),
    *_filled("K.conv2d(x(2, 6, 5, 3), w(3, 2, 3, 4), padding='{p}', {o})", p=("same", "valid"),
             o=("strides=(1, 1)", "strides=(2, 2)", "dilation_rate=(2, 2)")),
    *_filled("K.conv3d(x(1, 3, 4, 5, 2), w(2, 2, 2, 2, 3), padding='{p}', strides={s})", p=("same", "valid"),
             s=((1, 1, 1), (1, 2, 2))),
    "K.conv2d_transpose(x(2, 3, 4, 2), w(3, 3, 5, 2), (2, 6, 8, 5), strides=(2, 2), padding='same')",
    "K.conv2d_transpose(x(2, 3, 4, 2), w(3, 3, 5, 2), K.constant([2, 5, 6, 5], dtype='int32'))",
    *_filled("K.depthwise_conv2d(x(2, 6, 5, 3), w(3, 2, 3, 2), padding='{p}')", p=("same", "valid")),
    *_filled("K.separable_conv2d(x(2, 6, 5, 3), w(3, 2, 3, 2), w(1, 1, 6, 4), padding='{p}')", p=("same", "valid")),
    *_filled("K.pool2d(x(2, 5, 6, 3), (2, 3), {s}, '{p}', pool_mode='{m}')", s=((1, 1), (2, 2)), p=("same", "valid"),
             m=("max", "avg")),
    *_filled("K.pool3d(x(1, 4, 5, 4, 2), (2, 2, 3), {s}, '{p}', pool_mode='{m}')", s=((1, 1, 1), (2, 2, 2)),
             p=("same", "valid"), m=("max", "avg")),
    *_filled("K.resize_images(x(1, 2, 3, 4), 2, 3, 'channels_{d}')", d=("first", "last")),
    *_filled("K.resize_volumes(x(1, 2, 3, 2, 2), 2, 1, 2, 'channels_{d}')", d=("first", "last")),
    "K.local_conv1d(x(2, 5, 3), w(4, 6, 2), (2,), (1,))",
    "K.local_conv2d(x(2, 3, 4, 2), w(6, 8, 5), (2, 2), (1, 1), (2, 3))",
]


def call(K, case, tensor, weight):
    """The result of a case: `tensor` and `weight` make tensors of arrays."""
    rng = np.random.RandomState(len(case))

    def maker(draw, make=tensor):
        return lambda *shape, **how: make(draw(shape, **how))
    positive = maker(lambda s: (rng.rand(*s) + .1).astype("float32"))
    reals = maker(lambda s: np.asarray(rng.randn(*s), "float32"))
    shares = maker(lambda s: (lambda a: (a / a.sum(-1, keepdims=True)).astype("float32"))(rng.rand(*s) + .1))
    return eval(case, {"K": K, "np": np, "x": reals, "p": positive, "q": shares,
                       "b": maker(lambda s: rng.rand(*s) > .4),
                       "i": maker(lambda s, below=5: rng.randint(0, below, s).astype("int32")),
                       "w": maker(lambda s: rng.randn(*s).astype("float32"), weight)})
