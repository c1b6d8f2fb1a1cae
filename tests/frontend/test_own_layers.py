"""Layers of the kind that libraries and scripts add to Keras: what they reach into must be there, and must train."""
import copy

import numpy as np
import pytest

from graphk import backend as K
from graphk import initializers
from graphk import layers as L
from graphk.models import Model, Sequential


@pytest.fixture(autouse=True)
def on_the_oracle(monkeypatch):
    monkeypatch.setenv("GRAPHK_EXECUTOR", "interp")


def data(*shape, at=0):
    return np.random.RandomState(at + sum(shape)).rand(*shape)


def moved(model, x, y):
    """The names of the weights that one step of training changes."""
    model.compile("adam", "mse")
    before = {w.name: K.get_value(w) for w in model.weights}
    assert np.isfinite(model.train_on_batch(x, y))
    return {w.name for w in model.weights if (K.get_value(w) != before[w.name]).any()}


class LearnedDropout(L.Wrapper):
    """Dropout whose rate is a weight that it adds to the layer it wraps, with a penalty."""

    def build(self, input_shape=None):
        self.input_spec = L.InputSpec(shape=input_shape)
        if not self.layer.built:
            self.layer.build(input_shape)
            self.layer.built = True
        super().build()
        self.logit = self.layer.add_weight(name="logit", shape=(1,), trainable=True,
                                           initializer=initializers.RandomUniform(-2., -1.))
        self.p = K.sigmoid(self.logit[0])
        entropy = self.p * K.log(self.p) + (1. - self.p) * K.log(1. - self.p)
        self.layer.add_loss(K.sum(1e-3 * K.sum(K.square(self.layer.kernel)) / (1. - self.p) + 1e-2 * entropy))

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)

    def call(self, inputs, training=None):
        def dropped():
            noise, eps = K.random_uniform(shape=K.shape(inputs)), K.cast_to_floatx(K.epsilon())
            odds = K.log(self.p + eps) - K.log(1. - self.p + eps) + K.log(noise + eps) - K.log(1. - noise + eps)
            return self.layer.call(inputs * (1. - K.sigmoid(odds / .1)) / (1. - self.p))
        return K.in_train_phase(dropped, lambda: self.layer.call(inputs), training=training)


def test_a_wrapper_that_adds_weights_and_losses_to_its_layer():
    model = Sequential([LearnedDropout(L.Dense(8, activation="relu"), input_shape=(4,)), LearnedDropout(L.Dense(1))])
    assert len(model.losses) == 2 and len(model.get_weights()) == 6 and model.uses_learning_phase
    assert len(moved(model, data(16, 4), data(16, 1))) == 6
    np.testing.assert_array_equal(model.predict(data(3, 4)), model.predict(data(3, 4)))


def test_a_dense_layer_tied_to_another():
    class Tied(L.Dense):
        def __init__(self, units, tied_to=None, **kwargs):
            self.tied_to = tied_to
            super().__init__(units, **kwargs)

        def build(self, input_shape):
            self.input_spec = L.InputSpec(min_ndim=2, axes={-1: input_shape[-1]})
            self.kernel = K.transpose(self.tied_to.kernel)
            self.bias = self.add_weight(shape=(self.units,), initializer=self.bias_initializer, name="bias")
            self.built = True
    x, code = L.Input((6,)), L.Dense(3, activation="relu")
    model = Model(x, Tied(6, tied_to=code, name="back")(code(x)))
    assert moved(model, data(4, 6), data(4, 6)) == {"dense_1/kernel:0", "dense_1/bias:0", "back/bias:0"}


def test_a_wrapper_with_copies_of_its_layer():
    class Heads(L.Wrapper):
        def __init__(self, layer, number, **kwargs):
            self.heads = [copy.deepcopy(layer) for _ in range(number)]
            for i, head in enumerate(self.heads):
                head.name = f"{layer.name}_{i}"
            super().__init__(layer, **kwargs)

        def build(self, input_shape=None):
            for head in self.heads:
                with K.name_scope(head.name):
                    head.build(input_shape)
                head.built = True
            super().build(input_shape)

        @property
        def trainable_weights(self):
            return [w for head in self.heads for w in head.trainable_weights]

        def compute_output_shape(self, input_shape):
            return (*self.heads[0].compute_output_shape(input_shape), len(self.heads))

        def call(self, x):
            return K.stack([head.call(x) for head in self.heads], axis=-1)
    model = Sequential([Heads(L.Dense(3, name="d"), 2, name="h", input_shape=(4,)), L.Flatten()])
    assert moved(model, data(5, 4), data(5, 6)) == {f"h/d_{i}/{w}:0" for i in (0, 1) for w in ("kernel", "bias")}


def test_a_convolution_of_spectral_norm_one():
    class Spectral(L.Conv2D):
        def build(self, input_shape):
            super().build(input_shape)
            self.u = self.add_weight(shape=(1, self.filters), initializer="normal", name="u", trainable=False)

        def call(self, inputs, training=None):
            flat = K.reshape(self.kernel, (-1, K.int_shape(self.kernel)[-1]))
            v = K.l2_normalize(K.dot(self.u, K.transpose(flat)))
            u = K.l2_normalize(K.dot(v, flat))
            self.add_update([K.update(self.u, u)], inputs)
            sigma = K.dot(K.dot(v, flat), K.transpose(u))
            kernel = K.reshape(flat / sigma, K.int_shape(self.kernel))
            return K.bias_add(K.conv2d(inputs, kernel, strides=self.strides, padding=self.padding,
                                       data_format=self.data_format, dilation_rate=self.dilation_rate), self.bias)
    model = Sequential([Spectral(3, 3, input_shape=(5, 5, 2), name="s"), L.Flatten()])
    for _ in range(30):
        assert moved(model, data(2, 5, 5, 2), data(2, 27)) == {"s/kernel:0", "s/bias:0", "s/u:0"}
    kernel = model.get_weights()[0].reshape(-1, 3)
    u = model.get_weights()[2]
    np.testing.assert_allclose(np.linalg.norm(kernel @ u.T), np.linalg.svd(kernel)[1][0], rtol=5e-2)


@pytest.mark.parametrize("share", [True, False])
def test_capsules_with_routing(share):
    class Capsules(L.Layer):
        def build(self, input_shape):
            places = 1 if share else input_shape[-2]
            self.kernel = self.add_weight(name="k", shape=(places, input_shape[-1], 2 * 5), initializer="uniform")

        def call(self, x):
            seen = K.conv1d(x, self.kernel) if share else K.local_conv1d(x, self.kernel, [1], [1])
            seen = K.reshape(seen, (K.shape(x)[0], K.shape(x)[1], 2, 5))
            seen = K.permute_dimensions(seen, (0, 2, 1, 3))
            b = K.zeros_like(seen[:, :, :, 0])
            for last in (False, False, True):
                out = K.batch_dot(K.softmax(b, 1), seen, [2, 2])
                length = K.sum(K.square(out), -1, keepdims=True) + K.epsilon()
                out = K.sqrt(length) / (.5 + length) * out
                if last:
                    return out
                b = K.batch_dot(out, seen, [2, 3])

        def compute_output_shape(self, input_shape):
            return (None, 2, 5)
    x = L.Input((4, 3))
    model = Model(x, Capsules(name="c")(x))
    assert model.predict(data(3, 4, 3)).shape == (3, 2, 5)
    assert moved(model, data(3, 4, 3), data(3, 2, 5)) == {"c/k:0"}


def test_heads_of_attention_by_products_of_four_axes():
    class Attention(L.Layer):
        def build(self, shapes):
            self.q, self.k, self.v = (self.add_weight(name=n, shape=(s[-1], 6), initializer="glorot_uniform")
                                      for n, s in zip("qkv", shapes))
            super().build(shapes)

        def call(self, inputs):
            def heads(x, w):
                return K.permute_dimensions(K.reshape(K.dot(x, w), (-1, K.shape(x)[1], 2, 3)), (0, 2, 1, 3))
            q, k, v = (heads(x, w) for x, w in zip(inputs, (self.q, self.k, self.v)))
            weights = K.softmax(K.batch_dot(q, k, axes=[3, 3]) / 3. ** .5)
            out = K.permute_dimensions(K.batch_dot(weights, v, axes=[3, 2]), (0, 2, 1, 3))
            return K.reshape(out, (-1, K.shape(out)[1], 6))

        def compute_output_shape(self, shapes):
            return (*shapes[0][:2], 6)
    x = L.Input((5, 4))
    layer = Attention(name="a")
    model = Model(x, layer([x, x, x]))
    a = data(2, 5, 4)
    q, k, v = (np.stack(np.split(a @ w, 2, -1), 1) for w in layer.get_weights())
    scores = np.exp(q @ k.swapaxes(-1, -2) / 3 ** .5)
    want = np.concatenate(list((scores / scores.sum(-1, keepdims=True) @ v).swapaxes(0, 1)), -1)
    np.testing.assert_allclose(model.predict(a), want, rtol=1e-4, atol=1e-5)
    assert len(moved(model, a, data(2, 5, 6))) == 3


def test_pooling_by_attention_that_obeys_the_mask():
    class Pool(L.Layer):
        def __init__(self, steps, **kwargs):
            self.steps = steps
            super().__init__(**kwargs)
            self.supports_masking = True

        def build(self, input_shape):
            self.w = self.add_weight((input_shape[-1],), initializer="uniform", name=f"{self.name}_w")
            self.built = True

        def compute_mask(self, inputs, mask=None):
            return None

        def call(self, x, mask=None):
            width = K.int_shape(x)[-1]
            scores = K.dot(K.reshape(x, (-1, width)), K.reshape(self.w, (width, 1)))
            scores = K.exp(K.tanh(K.reshape(scores, (-1, self.steps))))
            if mask is not None:
                scores *= K.cast(mask, K.floatx())
            scores /= K.cast(K.sum(scores, axis=1, keepdims=True) + K.epsilon(), K.floatx())
            return K.sum(x * K.expand_dims(scores), axis=1)

        def compute_output_shape(self, input_shape):
            return input_shape[0], input_shape[-1]
    x = L.Input((5,), dtype="int32")
    y = Pool(5)(L.Bidirectional(L.LSTM(3, return_sequences=True))(L.Embedding(9, 4, mask_zero=True)(x)))
    model = Model(x, L.Dense(1)(y))
    ids = np.array([[1, 2, 0, 0, 0], [1, 2, 3, 4, 5]])
    assert len(moved(model, ids, data(2, 1))) == 1 + 6 + 1 + 2
    assert getattr(y, "_keras_mask", None) is None


def test_a_list_of_one_tensor_is_that_tensor():
    """What a layer gives that returns K.gradients of its two inputs, as autoencoders that undo pooling do."""
    x = L.Input((4, 4, 1))
    where = L.Lambda(lambda v: K.gradients(K.sum(v[1]), v[0]), lambda shapes: shapes[0])([x, L.MaxPooling2D()(x)])
    assert K.int_shape(where) == (None, 4, 4, 1)
    model = Model(x, L.multiply([x, where]))
    image = data(2, 4, 4, 1)
    expected = np.where(image == image.reshape(2, 2, 2, 2, 2, 1).max((2, 4), keepdims=True).repeat(2, 2).repeat(2, 4)
                        .reshape(image.shape), image, 0)
    np.testing.assert_allclose(model.predict(image), expected)
