"""Models that are exported: one per layer of the table, and some with open sizes or functions of K.

In: nothing.  Out: functions that make small models with weights that are no noise.  What always holds: a model is made
anew at each call.
"""
import numpy as np

from graphk import backend as K
from graphk import layers as L
from graphk.frontend.utils.generic_utils import to_list
from graphk.models import Model

from tests.frontend.layers import fill, make, shapes

IMAGES, STEPS = ((None, None, 3), (7, 6, 3)), ((None, 4), (5, 4))
SQUARE = ((6, 6, 3), (6, 6, 3))


def of_layer(case):
    """The model of a line in the table of layers."""
    layer, xs = make(L, case), [L.Input(s) for s in shapes(case)]
    ys = to_list(layer(xs if len(xs) > 1 else xs[0]))
    fill(layer)
    return Model(xs, ys)


def function(f):
    """A function of a tensor as a layer."""
    return L.Lambda(f)


# name: (the declared shape and that of a sample, what is made of the input)
OPEN = {
    "conv same": (IMAGES, lambda x: L.Conv2D(2, 3, strides=2, padding="same")(x)),
    "conv wide strides": (IMAGES, lambda x: L.Conv2D(2, 1, strides=2, padding="same")(x)),
    "max same": (IMAGES, lambda x: L.MaxPooling2D(3, strides=2, padding="same")(x)),
    "average same": (IMAGES, lambda x: L.AveragePooling2D(3, strides=2, padding="same")(x)),
    "transposed same": (IMAGES, lambda x: L.Conv2DTranspose(2, 3, strides=2, padding="same")(x)),
    "transposed": (IMAGES, lambda x: L.Conv2DTranspose(2, 3, strides=2)(x)),
    "repeated": (IMAGES, lambda x: L.UpSampling2D(2)(x)),
    "bilinear": (SQUARE, lambda x: L.UpSampling2D(2, interpolation="bilinear")(x)),
    "zeros, then the largest": (SQUARE, lambda x: function(lambda v: v * 100.)(
        L.MaxPooling2D(3, strides=2)(L.ZeroPadding2D(1)(function(lambda v: v - 5.)(x))))),
    "separable": (IMAGES, lambda x: L.SeparableConv2D(4, 3, depth_multiplier=2, padding="same")(x)),
    "pad and crop": (IMAGES, lambda x: L.Cropping2D(1)(L.ZeroPadding2D(2)(x))),
    "masked": (STEPS, lambda x: L.LSTM(3)(L.Masking(0.)(x))),
    "both ways": (STEPS, lambda x: L.Bidirectional(L.GRU(3, return_sequences=True))(L.Masking(0.)(x))),
    "each step": (STEPS, lambda x: L.TimeDistributed(L.Dense(3))(x)),
    "locally": (SQUARE, lambda x: L.LocallyConnected2D(2, 2)(x)),
    "cumsum": (STEPS, lambda x: function(lambda v: K.cumsum(v, 1))(x)),
    "one hot": (STEPS, lambda x: function(lambda v: K.one_hot(K.argmax(v, -1), 4))(x)),
    "variance": (STEPS, lambda x: function(lambda v: K.var(v, 1))(x)),
    "log sum exp": (STEPS, lambda x: function(lambda v: K.logsumexp(v, -1))(x)),
    "remainders": (STEPS, lambda x: function(lambda v: v % 2. + v // 2.)(x)),
    "whole remainders": (STEPS, lambda x: function(
        lambda v: K.cast(K.cast(v * 10, "int32") % 3 + K.cast(v * 10, "int32") // 4, "float32"))(x)),
    "backwards": (STEPS, lambda x: function(lambda v: v[:, ::-1, 1:3])(x)),
    "every second": (STEPS, lambda x: function(lambda v: v[:, 1:-1:2])(x)),
    "truths": (STEPS, lambda x: function(
        lambda v: K.cast(K.any(v > 0, -1), "float32") + K.cast(K.all(v > -1, -1), "float32"))(x)),
    "tiled": (STEPS, lambda x: function(lambda v: K.tile(K.stack([v, v * 2], 1), (1, 1, 2, 1)))(x)),
    "mapped": (STEPS, lambda x: function(lambda v: K.map_fn(lambda row: row * 2. + K.sum(row), v))(x)),
    "only a length": (STEPS, lambda x: function(
        lambda v: v + K.foldl(lambda a, i: a * .5 + 1., K.arange(4), K.constant(0.)))(x)),
    "a size as a number": (STEPS, lambda x: function(lambda v: v * K.cast(K.shape(v)[1], "float32"))(x)),
    "functions": (STEPS, lambda x: function(lambda v: K.concatenate([
        K.pow(K.abs(v) + 1., 2.5), K.sign(v), K.round(v), K.sqrt(K.square(v)), K.log(K.abs(v) + 1.), K.sin(v), K.cos(v),
        K.softsign(v), K.softplus(v), K.elu(v), K.clip(v, -.5, .5), K.prod(v, -1, keepdims=True)]))(x)),
    "a gradient": (SQUARE, lambda x: L.Lambda(lambda v: K.gradients(K.sum(K.tanh(v[0])), v[1])[0])(
        [L.Conv2D(2, 3)(x), x])),
    "one result twice": (STEPS, lambda x: (lambda y: [y, L.Activation("relu")(y), y])(L.Dense(2)(x))),
    "the input itself": (STEPS, lambda x: L.Lambda(lambda v: v)(x))}


def of_open(name):
    """A model of the table above, and its samples."""
    (shape, sample), build = OPEN[name]
    x = L.Input(shape)
    model = Model(x, build(x))
    model.set_weights([np.cos(np.arange(w.size) * .7).reshape(w.shape) for w in model.get_weights()])
    return model, np.random.RandomState(0).randn(3, *sample).astype("float32")
