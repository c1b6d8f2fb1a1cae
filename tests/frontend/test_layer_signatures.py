"""Arguments of every layer as Keras 2.2 documents them: names, order, defaults, and an attribute for each."""
import inspect
import re

import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.frontend.utils.advice import keywords

_W = "kernel_initializer='glorot_uniform', bias_initializer='zeros', kernel_regularizer=None, bias_regularizer=None, " \
     "activity_regularizer=None, kernel_constraint=None, bias_constraint=None"
_R = "kernel_initializer='glorot_uniform', recurrent_initializer='orthogonal', bias_initializer='zeros', {f}" \
     "kernel_regularizer=None, recurrent_regularizer=None, bias_regularizer=None, {a}kernel_constraint=None, " \
     "recurrent_constraint=None, bias_constraint=None"
_FORGET, _ACTIVITY, _DROP = "unit_forget_bias=True, ", "activity_regularizer=None, ", "dropout=0., recurrent_dropout=0."
_SEQ = "return_sequences=False, return_state=False, go_backwards=False, stateful=False, unroll=False"
_CUDNN = "return_sequences=False, return_state=False, stateful=False"
_SEPARABLE = "depth_multiplier=1, activation=None, use_bias=True, depthwise_initializer='glorot_uniform', " \
    "pointwise_initializer='glorot_uniform', bias_initializer='zeros', depthwise_regularizer=None, " \
    "pointwise_regularizer=None, bias_regularizer=None, activity_regularizer=None, depthwise_constraint=None, " \
    "pointwise_constraint=None, bias_constraint=None"


def conv(ones, before="", dilation=True):
    """A convolution's arguments, where strides of `ones` are the default."""
    return f"filters, kernel_size, strides={ones}, padding='valid', {before}data_format=None, " \
        + (f"dilation_rate={ones}, " if dilation else "") + f"activation=None, use_bias=True, {_W}"


def cell(forget=False, activity=False, gates=True):
    """A recurrent cell's arguments."""
    first = "units, activation='tanh', " + ("recurrent_activation='hard_sigmoid', " if gates else "")
    return first + "use_bias=True, " + _R.format(f=_FORGET if forget else "", a=_ACTIVITY if activity else "") \
        + ", " + _DROP


DOCUMENTED = {
    "Dense": f"units, activation=None, use_bias=True, {_W}", "Activation": "activation", "Flatten": "data_format=None",
    "Dropout": "rate, noise_shape=None, seed=None", "Reshape": "target_shape", "Permute": "dims", "RepeatVector": "n",
    "Lambda": "function, output_shape=None, mask=None, arguments=None", "ActivityRegularization": "l1=0., l2=0.",
    "Masking": "mask_value=0.", "SpatialDropout1D": "rate", "SpatialDropout2D": "rate, data_format=None",
    "SpatialDropout3D": "rate, data_format=None",
    "Conv1D": conv("1"), "Conv2D": conv("(1, 1)"), "Conv3D": conv("(1, 1, 1)"),
    "SeparableConv1D": "filters, kernel_size, strides=1, padding='valid', data_format=None, dilation_rate=1, "
                       + _SEPARABLE,
    "SeparableConv2D": "filters, kernel_size, strides=(1, 1), padding='valid', data_format=None, dilation_rate=(1, 1), "
                       + _SEPARABLE,
    "DepthwiseConv2D": "kernel_size, strides=(1, 1), padding='valid', depth_multiplier=1, data_format=None, "
                       "activation=None, use_bias=True, depthwise_initializer='glorot_uniform', "
                       "bias_initializer='zeros', depthwise_regularizer=None, bias_regularizer=None, "
                       "activity_regularizer=None, depthwise_constraint=None, bias_constraint=None",
    "Conv2DTranspose": conv("(1, 1)", "output_padding=None, "),
    "Conv3DTranspose": conv("(1, 1, 1)", "output_padding=None, ", dilation=False),
    "Cropping1D": "cropping=(1, 1)", "Cropping2D": "cropping=((0, 0), (0, 0)), data_format=None",
    "Cropping3D": "cropping=((1, 1), (1, 1), (1, 1)), data_format=None", "UpSampling1D": "size=2",
    "UpSampling2D": "size=(2, 2), data_format=None, interpolation='nearest'",
    "UpSampling3D": "size=(2, 2, 2), data_format=None", "ZeroPadding1D": "padding=1",
    "ZeroPadding2D": "padding=(1, 1), data_format=None", "ZeroPadding3D": "padding=(1, 1, 1), data_format=None",
    **{f"{k}Pooling{d}D": f"pool_size={(2,) * d if d > 1 else 2}, strides=None, padding='valid', data_format=None"
       for k in ("Max", "Average") for d in (1, 2, 3)},
    **{f"Global{k}Pooling{d}D": "data_format=None" for k in ("Max", "Average") for d in (1, 2, 3)},
    "LocallyConnected1D": conv("1", dilation=False), "LocallyConnected2D": conv("(1, 1)", dilation=False),
    "RNN": f"cell, {_SEQ}", "SimpleRNN": f"{cell(activity=True, gates=False)}, {_SEQ}",
    "GRU": f"{cell(activity=True)}, implementation=1, {_SEQ}, reset_after=False",
    "LSTM": f"{cell(True, True)}, implementation=1, {_SEQ}", "SimpleRNNCell": cell(gates=False),
    "GRUCell": f"{cell()}, implementation=1, reset_after=False", "LSTMCell": f"{cell(True)}, implementation=1",
    "StackedRNNCells": "cells",
    "ConvLSTM2D": "filters, kernel_size, strides=(1, 1), padding='valid', data_format=None, dilation_rate=(1, 1), "
                  f"{cell(True, True).removeprefix('units, ').removesuffix(', ' + _DROP)}, return_sequences=False, "
                  f"go_backwards=False, stateful=False, {_DROP}",
    "ConvLSTM2DCell": "filters, kernel_size, strides=(1, 1), padding='valid', data_format=None, dilation_rate=(1, 1), "
                      + cell(True).removeprefix("units, "),
    "ConvRNN2D": f"cell, {_SEQ}",
    "CuDNNGRU": f"units, {_R.format(f='', a=_ACTIVITY)}, {_CUDNN}",
    "CuDNNLSTM": f"units, {_R.format(f=_FORGET, a=_ACTIVITY)}, {_CUDNN}",
    "Embedding": "input_dim, output_dim, embeddings_initializer='uniform', embeddings_regularizer=None, "
                 "activity_regularizer=None, embeddings_constraint=None, mask_zero=False, input_length=None",
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"), ""),
    "Concatenate": "axis=-1", "Dot": "axes, normalize=False",
    "LeakyReLU": "alpha=.3", "PReLU": "alpha_initializer='zeros', alpha_regularizer=None, alpha_constraint=None, "
                                      "shared_axes=None",
    "ELU": "alpha=1.", "ThresholdedReLU": "theta=1.", "Softmax": "axis=-1",
    "ReLU": "max_value=None, negative_slope=0., threshold=0.",
    "BatchNormalization": "axis=-1, momentum=.99, epsilon=.001, center=True, scale=True, beta_initializer='zeros', "
                          "gamma_initializer='ones', moving_mean_initializer='zeros', "
                          "moving_variance_initializer='ones', beta_regularizer=None, gamma_regularizer=None, "
                          "beta_constraint=None, gamma_constraint=None",
    "GaussianNoise": "stddev", "GaussianDropout": "rate", "AlphaDropout": "rate, noise_shape=None, seed=None",
    "TimeDistributed": "layer", "Bidirectional": "layer, merge_mode='concat', weights=None",
    "MaxoutDense": "output_dim, nb_feature=4, init='glorot_uniform', weights=None, W_regularizer=None, "
                   "b_regularizer=None, activity_regularizer=None, W_constraint=None, b_constraint=None, bias=True, "
                   "input_dim=None",
    "SReLU": "t_left_init='zero', a_left_init='glorot_uniform', t_right_init='glorot_uniform', a_right_init='one', "
             "shared_axes=None",
    "ParametricSoftplus": "alpha_init=.2, beta_init=5., shared_axes=None",
    "Highway": "init='glorot_uniform', activation=None, weights=None, W_regularizer=None, b_regularizer=None, "
               "activity_regularizer=None, W_constraint=None, b_constraint=None, bias=True, input_dim=None"}
REQUIRED = {"units": 3, "filters": 3, "kernel_size": 2, "activation": "relu", "rate": .3, "target_shape": (2, 3),
            "dims": (2, 1), "n": 2, "function": abs, "input_dim": 4, "output_dim": 3, "axes": 1, "stddev": .1}


def required(name, parameter):
    if parameter == "cell":
        return L.ConvLSTM2DCell(2, 2, name="c") if name == "ConvRNN2D" else L.LSTMCell(2, name="c")
    if parameter == "cells":
        return [L.GRUCell(2, name="c")]
    if parameter == "layer":
        return L.LSTM(2, name="l")
    return REQUIRED[parameter]


def documented(text):
    """(names in order, defaults)."""
    names = re.findall(r"(?:^|, )(\w+)(?==|,|$)", re.sub(r"\(.*?\)(?=, [a-z]|$)", "0", text))
    return names, eval(f"dict({', '.join(p for p in re.split(r', (?=[a-zA-Z])', text) if '=' in p)})")


def test_every_layer_is_documented():
    have = {v.__name__ for v in vars(L).values() if inspect.isclass(v) and issubclass(v, L.Layer)}
    assert have - set(DOCUMENTED) <= {"Layer", "Wrapper", "InputLayer", "Merge", "Recurrent", "TimeDistributedDense"}
    assert set(DOCUMENTED) <= have


@pytest.mark.parametrize("name", list(DOCUMENTED))
def test_arguments(name):
    cls = getattr(L, name)
    names, defaults = documented(DOCUMENTED[name])
    parameters = inspect.signature(cls.__init__).parameters.values()
    ours = [p.name for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD and p.name != "self"]
    assert ours == names[:len(ours)] and set(names) <= keywords(cls), "order"
    given = {k: required(name, k) for k in names if k not in defaults}
    plain, explicit = cls(**given, name="x"), cls(**given, **defaults, name="x")
    assert plain.get_config() == explicit.get_config(), "defaults"
    if name != "Lambda":
        assert all(hasattr(plain, k) for k in names if k != "weights"), "attributes"


@pytest.mark.parametrize("name", [n for n, text in DOCUMENTED.items() if "data_format" in text])
def test_layouts_follow_the_setting(name):
    """Where none is given; sequences have their features last all the same."""
    names, defaults = documented(DOCUMENTED[name])
    before = K.image_data_format()
    K.set_image_data_format("channels_first")
    try:
        layer = getattr(L, name)(**{k: required(name, k) for k in names if k not in defaults})
        assert layer.data_format == ("channels_last" if "1D" in name else "channels_first")
    finally:
        K.set_image_data_format(before)
