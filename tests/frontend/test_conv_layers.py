"""Layers of convolution, pooling and padding: their values as tf_keras has them, shapes, configs, mistakes, training.

The file beside this one holds for each layer what tf_keras 2.21 gave for the weights and inputs made here: the shape of
the output and its products with three cosines.
"""
import json
from pathlib import Path

import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.models import Model, Sequential, model_from_json
from graphk.utils import conv_utils

RECORDED = json.loads(Path(__file__).with_suffix(".json").read_text())


def wave(shape, start=0, pace=0.7):
    return np.cos(np.arange(int(np.prod(shape))) * pace + start).reshape(shape).astype("float32")


def outcome(layer, shape):
    """(output, layer's claim of its shape) after a round trip through the config, with fixed weights and inputs."""
    layer = layer.__class__.from_config(json.loads(json.dumps(layer.get_config())))
    x = L.Input(tuple(shape))
    y = layer(x)
    layer.set_weights([wave(w.shape, k) for k, w in enumerate(layer.get_weights())])
    fed = np.sin(np.arange(2 * int(np.prod(shape))) * 0.37).reshape((2, *shape)).astype("float32")
    out = K.function([x], [y])([fed])[0]
    assert K.int_shape(y) == (None, *out.shape[1:])
    return out


@pytest.mark.parametrize("case", RECORDED, ids=lambda c: f"{c[0]}-{c[1]}".replace(" ", ""))
def test_as_keras(case):
    name, arguments, shape, out_shape, products = case
    out = outcome(getattr(L, name)(**arguments), shape).astype("float64")
    assert list(out.shape) == out_shape
    got = [(out * wave(out.shape, 0, pace).astype("float64")).sum() for pace in (0, 0.3, 1.1)]
    np.testing.assert_allclose(got, products, rtol=1e-3, atol=2e-2)


@pytest.mark.parametrize("layer,shape", [
    (L.Conv1D(4, 3, strides=2, padding="same"), (8, 3)), (L.Conv2D(4, 3, dilation_rate=2), (8, 7, 3)),
    (L.Conv3D(2, 2), (3, 4, 5, 2)), (L.Conv2DTranspose(4, 3, strides=2, padding="same"), (4, 5, 3)),
    (L.Conv3DTranspose(2, 2), (3, 2, 2, 3)), (L.SeparableConv1D(4, 3), (8, 3)),
    (L.SeparableConv2D(4, 3, depth_multiplier=2), (6, 7, 3)), (L.DepthwiseConv2D(3), (6, 7, 3)),
    (L.MaxPooling2D(), (6, 7, 3)), (L.AveragePooling3D(2, padding="same"), (3, 4, 5, 2)), (L.MaxPooling1D(3), (8, 3))])
def test_layouts_agree(layer, shape):
    config = layer.get_config()
    x = wave((2, *shape))
    last, first = (layer.__class__.from_config({**config, "data_format": f, "name": f})
                   for f in ("channels_last", "channels_first"))
    a, b = L.Input(shape), L.Input((shape[-1], *shape[:-1]))
    ya, yb = last(a), first(b)
    first.set_weights(last.get_weights())
    assert [w.shape for w in first.get_weights()] == [w.shape for w in last.get_weights()]
    want = np.moveaxis(K.function([a], [ya])([x])[0], -1, 1)
    np.testing.assert_allclose(K.function([b], [yb])([np.moveaxis(x, -1, 1)])[0], want, rtol=1e-4, atol=1e-5)
    assert K.int_shape(yb)[1:] == want.shape[1:]


def test_open_space():
    """Images whose size is known only when they come."""
    x = L.Input((None, None, 3))
    y = L.Conv2DTranspose(2, 3, strides=2, padding="same")(L.MaxPooling2D(padding="same")(L.Conv2D(4, 3, strides=2,
                                                                                                  padding="same")(x)))
    y = L.Cropping2D(1)(L.UpSampling2D(2, interpolation="bilinear")(L.ZeroPadding2D(2)(y)))
    assert K.int_shape(y) == (None, None, None, 2)
    model = Model(x, [y, L.GlobalAveragePooling2D()(y)])
    for rows, columns in ((9, 12), (5, 4)):
        big, mean = model.predict(wave((3, rows, columns, 3)))
        half = [(d + 3) // 4 * 2 for d in (rows, columns)]
        assert big.shape == (3, *((d + 4) * 2 - 2 for d in half), 2)
        np.testing.assert_allclose(mean, big.mean((1, 2)), rtol=1e-4, atol=1e-5)


def test_global_average_of_kept_steps():
    x = L.Input((4, 2))
    model = Model(x, L.GlobalAveragePooling1D()(L.Masking()(x)))
    data = np.array([[[1, 2], [3, 4], [0, 0], [0, 0]], [[1, 1], [1, 1], [1, 1], [5, 1]]], "float32")
    np.testing.assert_allclose(model.predict(data), [[2, 3], [2, 1]])
    assert getattr(model.output, "_keras_mask", None) is None
    with pytest.raises(TypeError, match="does not support masking"):
        L.Conv1D(2, 2)(L.Masking()(x))


def test_aliases():
    for alias, name in {"Convolution1D": "Conv1D", "Convolution2D": "Conv2D", "Convolution3D": "Conv3D",
                        "Deconvolution2D": "Conv2DTranspose", "Deconvolution3D": "Conv3DTranspose",
                        "SeparableConvolution2D": "SeparableConv2D", "MaxPool2D": "MaxPooling2D",
                        "AvgPool3D": "AveragePooling3D", "GlobalMaxPool1D": "GlobalMaxPooling1D",
                        "GlobalAvgPool2D": "GlobalAveragePooling2D"}.items():
        assert getattr(L, alias) is getattr(L, name)
    from graphk.layers.convolutional import Conv2D, MaxPooling2D, ZeroPadding2D
    from graphk.layers.local import LocallyConnected2D
    from graphk.layers.pooling import GlobalMaxPooling2D
    assert (Conv2D, MaxPooling2D, ZeroPadding2D) == (L.Conv2D, L.MaxPooling2D, L.ZeroPadding2D)
    assert (LocallyConnected2D, GlobalMaxPooling2D) == (L.LocallyConnected2D, L.GlobalMaxPooling2D)


@pytest.mark.parametrize("make,match", [
    (lambda: L.Conv2D(4, (3, 3, 3)), "The `kernel_size` argument must be a tuple of 2 integers. Received: "),
    (lambda: L.Conv2D(4, (3, 1.5)), "including element 1.5 of type"),
    (lambda: L.Conv2D(4, 3, padding="full"), "The `padding` argument must be one of"),
    (lambda: L.Conv2D(4, 3, padding="causal"), "When using causal padding in `Conv1D`"),
    (lambda: L.Conv1D(4, 3, padding="causal", data_format="channels_first"), "When using causal padding in `Conv1D`"),
    (lambda: L.Conv2D(4, 3, data_format="first"), "The `data_format` argument must be one of"),
    (lambda: L.Conv2D(4, 3)(L.Input((5, 3))), "expected ndim=4, found ndim=3"),
    (lambda: L.Conv2D(4, 3)(L.Input((5, 5, None))), "The channel dimension of the inputs should be defined"),
    (lambda: L.Conv2D(4, 6, name="c")(L.Input((5, 5, 3))),
     r"Conv2D layer c: windows of \(6, 6\) do not fit into inputs of the shape \(None, 5, 5, 3\)"),
    (lambda: L.MaxPooling1D(3)(L.Input((2, 3))), r"MaxPooling1D layer .*: windows of \(3,\) do not fit"),
    (lambda: L.LocallyConnected1D(4, 3)(L.Input((2, 3))), r"windows of \(3,\) do not fit"),
    (lambda: L.Conv2D(0, 3, name="c"), "Conv2D layer c: `filters` must be a positive integer; received 0"),
    (lambda: L.Conv1D("4", 3), "`filters` must be a positive integer; received '4'"),
    (lambda: L.DepthwiseConv2D(3, depth_multiplier=0), "`depth_multiplier` must be a positive integer"),
    (lambda: L.Conv2D(4, 0), "`kernel_size` .* Received: 0, where each must be 1 or more"),
    (lambda: L.Conv1D(4, 3, strides=0), "`strides` .* where each must be 1 or more"),
    (lambda: L.AveragePooling2D((2, 0)), "`pool_size` .* where each must be 1 or more"),
    (lambda: L.UpSampling2D(0), "`size` .* where each must be 1 or more"),
    (lambda: L.ZeroPadding2D(-1), "`padding` .* where each must be 0 or more"),
    (lambda: L.Cropping1D(3)(L.Input((5, 2))), "takes away more than there is"),
    (lambda: L.Conv2DTranspose(4, 3, output_padding=1), "must be greater than output padding"),
    (lambda: L.ZeroPadding2D((1, 2, 3)), "`padding` should have two elements"),
    (lambda: L.ZeroPadding2D(((1, 2, 3), 1)), "The `1st entry of padding` argument must be a tuple of 2 integers"),
    (lambda: L.Cropping3D((1, 2)), "`cropping` should have 3 elements"),
    (lambda: L.Cropping2D(1.5), "`cropping` should be either an int, a tuple of 2 ints"),
    (lambda: L.UpSampling2D(2, interpolation="cubic"), 'interpolation should be one of "nearest" or "bilinear"'),
    (lambda: L.LocallyConnected1D(4, 3, padding="same"), 'only "valid" is supported'),
    (lambda: L.LocallyConnected2D(4, 3)(L.Input((None, 5, 3))), "should be fully-defined"),
])
def test_mistakes(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_conv_utils():
    for padding in ("valid", "same"):
        for k, s in ((3, 1), (2, 2), (3, 2), (5, 3)):
            assert [conv_utils.conv_output_length(d, k, padding, s) for d in (5, 6, 11, None)] == \
                [len(range(0, d - k + 1 if padding == "valid" else d, s)) for d in (5, 6, 11)] + [None]
    assert conv_utils.deconv_length(4, 2, 3, "valid", 1) == 10 and conv_utils.deconv_length(4, 2, 3, "same", 1) == 8
    assert conv_utils.conv_input_length(4, 3, "valid", 2) == 9
    kernel = wave((3, 2, 4, 5))
    np.testing.assert_array_equal(conv_utils.convert_kernel(kernel), kernel[::-1, ::-1])
    with pytest.raises(ValueError, match="Invalid kernel shape"):
        conv_utils.convert_kernel(kernel[0, 0])


def test_a_network_learns_and_is_saved_as_text():
    """Whether a bright patch is up or down, left or right: 4 classes a linear model of means cannot tell."""
    rng = np.random.RandomState(3)
    y = rng.randint(0, 4, 256)
    x = rng.rand(256, 8, 8, 1).astype("float32") * 0.5
    for i, c in enumerate(y):
        x[i, 1 + 4 * (c // 2):3 + 4 * (c // 2), 1 + 4 * (c % 2):3 + 4 * (c % 2)] += 1
    K.clear_session()
    np.random.seed(0)
    model = Sequential([L.Conv2D(8, 3, padding="same", input_shape=(8, 8, 1), kernel_regularizer="l2"),
                        L.BatchNormalization(), L.Activation("relu"), L.MaxPooling2D(),
                        L.SeparableConv2D(8, 3, padding="same", activation="relu"), L.Dropout(0.1), L.Flatten(),
                        L.Dense(4, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["acc"])
    history = model.fit(x, y, epochs=8, verbose=0).history
    assert history["acc"][-1] > 0.95 and history["loss"][-1] < history["loss"][0] / 2
    twin = model_from_json(model.to_json())
    twin.set_weights(model.get_weights())
    np.testing.assert_allclose(twin.predict(x[:5]), model.predict(x[:5]), rtol=1e-5, atol=1e-6)
