"""Classes that programs derive layers from or ask for with isinstance: what they may rely on."""
import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.layers.convolutional import _Conv
from graphk.layers.cudnn_recurrent import _CuDNNRNN
from graphk.layers.merge import _Merge
from graphk.layers.pooling import (
    _GlobalPooling1D,
    _GlobalPooling2D,
    _GlobalPooling3D,
    _Pooling1D,
    _Pooling2D,
    _Pooling3D,
)
from graphk.layers.recurrent import _generate_dropout_mask
from graphk.models import Model, Sequential
from graphk.utils import conv_utils


def test_families():
    for base, classes in {
            _Conv: (L.Conv1D, L.Conv2D, L.Conv3D, L.Conv2DTranspose, L.Conv3DTranspose, L.SeparableConv1D,
                    L.SeparableConv2D, L.DepthwiseConv2D),
            _Pooling1D: (L.MaxPooling1D, L.AveragePooling1D), _Pooling2D: (L.MaxPooling2D, L.AveragePooling2D),
            _Pooling3D: (L.MaxPooling3D, L.AveragePooling3D),
            _GlobalPooling1D: (L.GlobalMaxPooling1D, L.GlobalAveragePooling1D),
            _GlobalPooling2D: (L.GlobalMaxPooling2D, L.GlobalAveragePooling2D),
            _GlobalPooling3D: (L.GlobalMaxPooling3D, L.GlobalAveragePooling3D),
            _Merge: (L.Add, L.Subtract, L.Multiply, L.Average, L.Maximum, L.Minimum, L.Concatenate, L.Dot),
            L.RNN: (L.SimpleRNN, L.GRU, L.LSTM, L.ConvLSTM2D, L.ConvRNN2D, L.CuDNNGRU, L.CuDNNLSTM),
            _CuDNNRNN: (L.CuDNNGRU, L.CuDNNLSTM), L.Wrapper: (L.TimeDistributed, L.Bidirectional),
            L.Dropout: (L.SpatialDropout1D, L.SpatialDropout2D, L.SpatialDropout3D)}.items():
        assert all(issubclass(c, base) for c in classes)


class Unit(_Conv):
    """A convolution whose kernels have length 1, as spectral and weight normalization are written."""

    def __init__(self, filters, rank=2, **kwargs):
        super().__init__(rank=rank, filters=filters, **kwargs)

    def call(self, x):
        fn = K.conv1d if self.rank == 1 else K.conv2d
        kernel = K.l2_normalize(self.kernel, axis=list(range(self.rank + 1)))
        return fn(x, kernel, strides=self.strides[0] if self.rank == 1 else self.strides, padding=self.padding,
                  data_format=self.data_format)


@pytest.mark.parametrize("rank", [1, 2])
def test_a_convolution_of_ones_own(rank):
    layer = Unit(3, rank=rank, kernel_size=2, strides=2, padding="same", input_shape=(5,) * rank + (2,))
    model = Sequential([layer])
    assert layer.get_config()["rank"] == rank and model.output_shape == (None,) + (3,) * rank + (3,)
    again = Unit.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    w = layer.get_weights()[0]
    plain = Sequential([(L.Conv1D, L.Conv2D)[rank - 1](3, 2, strides=2, padding="same", input_shape=(5,) * rank + (2,),
                                                       use_bias=False)])
    plain.set_weights([w / np.sqrt((w ** 2).sum(tuple(range(rank + 1)), keepdims=True))])
    x = np.random.randn(2, *(5,) * rank, 2)
    np.testing.assert_allclose(model.predict(x), plain.predict(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(TypeError, match="received no `rank`"):
        _Conv(3, 2)
    with pytest.raises(TypeError, match="not understood: rank"):
        L.Conv2D(3, 2, rank=2)


def test_a_depthwise_convolution_derived_from_conv2d():
    """As programs had it before Keras did: own weights, own shape, config without what is meant for Conv2D."""
    class Depthwise(L.Conv2D):
        def __init__(self, kernel_size, depth=1, depthwise_initializer="glorot_uniform", **kwargs):
            super().__init__(filters=None, kernel_size=kernel_size, **kwargs)
            self.depth = depth
            from graphk import initializers
            self.depthwise_initializer = initializers.get(depthwise_initializer)

        def build(self, input_shape):
            self.depthwise_kernel = self.add_weight(
                shape=(*self.kernel_size, input_shape[3], self.depth), name="depthwise_kernel",
                initializer=self.depthwise_initializer)
            self.built = True

        def call(self, inputs, training=None):
            return self.activation(K.depthwise_conv2d(
                inputs, self.depthwise_kernel, strides=self.strides, padding=self.padding,
                dilation_rate=self.dilation_rate, data_format=self.data_format))

        def compute_output_shape(self, shape):
            rows, columns = (conv_utils.conv_output_length(n, k, self.padding, s) for n, k, s in
                             zip(shape[1:3], self.kernel_size, self.strides))
            return shape[0], rows, columns, shape[3] * self.depth

        def get_config(self):
            config = super().get_config()
            for key in ("filters", "kernel_initializer", "kernel_regularizer", "kernel_constraint"):
                config.pop(key)
            return {**config, "depth": self.depth}
    x = L.Input((5, 4, 2))
    mine, ours = Depthwise(3, depth=2, padding="same", activation="relu"), L.DepthwiseConv2D(
        3, depth_multiplier=2, padding="same", activation="relu", use_bias=False)
    a, b = Model(x, mine(x)), Model(x, ours(x))
    b.set_weights(a.get_weights())
    image = np.random.randn(2, 5, 4, 2)
    np.testing.assert_allclose(a.predict(image), b.predict(image), rtol=1e-4, atol=1e-5)
    assert "kernel_initializer" not in Depthwise.from_config(mine.get_config()).get_config()


def test_pooling_of_ones_own():
    class MinPooling2D(_Pooling2D):
        def _pooling_function(self, inputs, pool_size, strides, padding, data_format):
            return -K.pool2d(-inputs, pool_size, strides, padding, data_format, pool_mode="max")
    model = Sequential([MinPooling2D(pool_size=(2, 2), input_shape=(4, 6, 1))])
    x = np.random.randn(2, 4, 6, 1)
    np.testing.assert_allclose(model.predict(x), x.reshape(2, 2, 2, 3, 2, 1).min((2, 4)), rtol=1e-6)


def test_merges_of_ones_own():
    class Difference(_Merge):
        def _merge_function(self, inputs):
            return K.abs(inputs[0] - inputs[1])
    a, b = L.Input((3,)), L.Input((3,))
    x, y = np.random.randn(2, 2, 3)
    np.testing.assert_allclose(Model([a, b], Difference()([a, b])).predict([x, y]), abs(x - y), rtol=1e-5)
    assert L.deserialize({"class_name": "Difference", "config": {}}, {"Difference": Difference}).supports_masking


@pytest.mark.parametrize("base,gates", [(L.LSTMCell, "ifco"), (L.GRUCell, "zrh")])
def test_a_cell_written_out_as_keras_writes_it(base, gates):
    """Gates have weights of their own by name, and masks are drawn once for a sequence and kept in the cell."""
    class Plain(base):
        def call(self, inputs, states, training=None):
            if 0 < self.dropout < 1 and self._dropout_mask is None:
                self._dropout_mask = _generate_dropout_mask(K.ones_like(inputs), self.dropout, training, len(gates))
            masks = self._dropout_mask or [1.] * len(gates)
            h = states[0]
            bias = "bias_" if base is L.LSTMCell else "input_bias_"
            x = [K.bias_add(K.dot(inputs * m, getattr(self, "kernel_" + g)), getattr(self, bias + g))
                 for m, g in zip(masks, gates)]
            if base is L.GRUCell:
                z, r = (self.recurrent_activation(x[i] + K.dot(h, getattr(self, "recurrent_kernel_" + g)))
                        for i, g in enumerate("zr"))
                h = z * h + (1 - z) * self.activation(x[2] + K.dot(r * h, self.recurrent_kernel_h))
                return h, [h]
            i, f, g, o = (v + K.dot(h, getattr(self, "recurrent_kernel_" + n)) for v, n in zip(x, gates))
            c = self.recurrent_activation(f) * states[1] + self.recurrent_activation(i) * self.activation(g)
            h = self.recurrent_activation(o) * self.activation(c)
            return h, [h, c]
    x = L.Input((4, 2))
    masked = L.Masking()(x)
    mine, ours = L.RNN(Plain(3)), L.RNN(base(3))
    a, b = Model(x, mine(masked)), Model(x, ours(masked))
    b.set_weights(a.get_weights())
    data = np.random.randn(3, 4, 2)
    data[1, 2:] = 0.
    np.testing.assert_allclose(a.predict(data), b.predict(data), rtol=1e-4, atol=1e-6)
    drop = L.RNN(Plain(3, dropout=.5), return_sequences=True)
    f = K.function([x, K.learning_phase()], [drop(masked)])
    assert not np.allclose(f([data, 1])[0], f([data, 1])[0]) and np.allclose(f([data, 0])[0], f([data, 0])[0])
    drop(L.Masking()(L.Input((None, 2))))


def test_masks_of_a_written_out_cell_are_the_same_at_every_step():
    class Echo(L.SimpleRNNCell):
        def call(self, inputs, states, training=None):
            if self._dropout_mask is None:
                self._dropout_mask = _generate_dropout_mask(K.ones_like(inputs), .5, training=training)
            return inputs * self._dropout_mask, [states[0]]
    x = L.Input((5, 3))
    y = L.RNN(Echo(3), return_sequences=True)(x)
    f = K.function([x, K.learning_phase()], [y])
    out = f([np.ones((20, 5, 3)), 1])[0]
    assert set(np.unique(out)) == {0., 2.} and (out == out[:, :1]).all()
    np.testing.assert_array_equal(f([np.ones((2, 5, 3)), 0])[0], np.ones((2, 5, 3)))


def test_a_subclass_may_set_the_parts_of_gates_itself():
    class Own(L.LSTMCell):
        def build(self, shape):
            super().build(shape)
            self.kernel_i = self.kernel[:, :self.units] * 2.
    cell = Own(2)
    cell.build((None, 3))
    np.testing.assert_allclose(K.eval(cell.kernel_i), 2 * cell.get_weights()[0][:, :2])
    np.testing.assert_allclose(K.eval(cell.kernel_f), cell.get_weights()[0][:, 2:4])
    plain = L.GRUCell(2, use_bias=False, reset_after=True)
    plain.build((None, 3))
    assert plain.input_bias_z is None and plain.recurrent_bias_h is None
    conv = L.ConvLSTM2DCell(2, 3)
    conv.build((None, 5, 5, 1))
    assert K.int_shape(conv.kernel_o) == (3, 3, 1, 2) and K.int_shape(conv.bias_c) == (2,)
