"""One table of layers to try: how each is made, and on samples of what shape.

In: a module that has Keras 2's layers.  Out: layers, inputs and weights.  What always holds: inputs and weights depend
on shapes alone, so that every package that follows Keras's formulas gives the same numbers (see `record.py`).
"""
from __future__ import annotations

from typing import Any

import numpy as np

# how a layer is made: the shape of a sample, or a list of shapes for several inputs
CASES: dict[str, Any] = {
    # core
    "Dense(3)": (4,), "Dense(3, activation='tanh', use_bias=False)": (2, 4), "Dense(2, activation='relu')": (2, 3, 4),
    "Dense(3, kernel_regularizer='l2', activity_regularizer='l1', bias_constraint='nonneg')": (4,),
    "Activation('softplus')": (3, 2), "Activation('softmax')": (4,), "Dropout(.4)": (3, 2),
    "Dropout(.4, noise_shape=(None, 1, 2), seed=3)": (3, 2), "SpatialDropout1D(.4)": (3, 2),
    "SpatialDropout2D(.4)": (3, 2, 2), "SpatialDropout3D(.4)": (2, 3, 2, 2), "Flatten()": (3, 2, 2),
    "Reshape((2, 3))": (3, 2), "Reshape((-1, 3))": (3, 2), "Permute((2, 1))": (3, 2), "Permute((3, 1, 2))": (2, 3, 4),
    "RepeatVector(3)": (2,), "Masking(0.)": (3, 2), "ActivityRegularization(.1, .2)": (3,),
    "Lambda(twice)": (3, 2), "Lambda(twice, output_shape=(3, 2))": (3, 2),
    # advanced activations
    "LeakyReLU(.2)": (3, 2), "PReLU('uniform')": (3, 2), "PReLU(shared_axes=[1], alpha_initializer='ones')": (3, 2, 2),
    "ELU(1.5)": (3, 2), "ThresholdedReLU(.3)": (3, 2), "Softmax()": (3, 2), "Softmax(axis=1)": (3, 2),
    "ReLU()": (3, 2), "ReLU(1.5, .25, .5)": (3, 2),
    # normalization and noise
    "BatchNormalization()": (3, 2), "BatchNormalization(axis=1)": (3, 2), "BatchNormalization(1)": (3, 4, 2),
    "BatchNormalization(momentum=.5, epsilon=.1, scale=False)": (4,), "BatchNormalization(center=False)": (3, 2, 2),
    "GaussianNoise(.3)": (3, 2), "GaussianDropout(.3)": (3, 2), "AlphaDropout(.3)": (3, 2),
    "AlphaDropout(.3, noise_shape=(None, 1))": (3,),
    # embedding
    "Embedding(5, 3)": (4,), "Embedding(5, 3, mask_zero=True, input_length=4)": (4,), "Embedding(5, 2)": (2, 3),
    # merging
    "Add()": [(3, 2)] * 3, "Subtract()": [(3,)] * 2, "Multiply()": [(3, 2), (1, 2), (3, 1)],
    "Average()": [(3, 2)] * 3, "Maximum()": [(3, 2)] * 2, "Minimum()": [(3, 2)] * 2, "Add() ": [(3, 2), (2,)],
    "Concatenate()": [(3, 2), (3, 1)], "Concatenate(axis=1)": [(3, 2), (1, 2), (2, 2)],
    "Dot(1)": [(4,)] * 2, "Dot((2, 1))": [(3, 4), (4, 2)], "Dot(-1, normalize=True)": [(3, 4), (2, 4)],
    # convolution
    "Conv1D(3, 2, strides=2, padding='same', activation='tanh')": (5, 2),
    "Conv1D(3, 2, dilation_rate=2, padding='causal')": (5, 2), "Conv2D(2, (3, 2), strides=(1, 2))": (4, 5, 2),
    "Conv2D(2, 2, dilation_rate=2, padding='same', use_bias=False)": (4, 3, 2),
    "Conv3D(2, 2, padding='same')": (2, 3, 2, 2), "Conv2DTranspose(2, 3, strides=2, padding='same')": (2, 3, 2),
    "Conv2DTranspose(2, 2, strides=(2, 1))": (2, 3, 2),
    "Conv2DTranspose(2, 3, strides=2, padding='valid', output_padding=1)": (2, 3, 2),
    "Conv3DTranspose(1, 2, strides=(1, 2, 1))": (2, 1, 2, 2), "SeparableConv1D(3, 2, depth_multiplier=2)": (4, 2),
    "SeparableConv2D(3, 2, padding='same', activation='relu')": (3, 3, 2),
    "DepthwiseConv2D(2, depth_multiplier=2)": (3, 4, 2), "LocallyConnected1D(2, 2, strides=2)": (5, 2),
    "LocallyConnected2D(2, (2, 1), activation='tanh')": (3, 3, 2),
    "Cropping1D((1, 0))": (4, 2), "Cropping2D(((1, 0), (1, 1)))": (4, 4, 2), "Cropping3D((0, 1, 1))": (2, 3, 4, 2),
    "ZeroPadding1D(2)": (3, 2), "ZeroPadding2D((1, 2))": (2, 3, 2), "ZeroPadding3D(((1, 0), (0, 1), (1, 1)))":
    (2, 2, 1, 2), "UpSampling1D(3)": (3, 2), "UpSampling2D((2, 3))": (2, 2, 2), "UpSampling3D(2)": (2, 1, 2, 2),
    # pooling
    "MaxPooling1D()": (5, 2), "MaxPooling1D(3, strides=2, padding='same')": (5, 2), "MaxPooling2D((2, 3))": (5, 4, 2),
    "MaxPooling2D(3, strides=1, padding='same')": (4, 3, 2), "MaxPooling3D()": (2, 3, 2, 2),
    "AveragePooling1D(2)": (5, 2), "AveragePooling2D(3, strides=2, padding='same')": (4, 5, 2),
    "AveragePooling3D((1, 2, 2))": (2, 3, 2, 2), "GlobalMaxPooling1D()": (4, 2), "GlobalMaxPooling2D()": (3, 2, 2),
    "GlobalMaxPooling3D()": (2, 3, 2, 2), "GlobalAveragePooling1D()": (4, 2), "GlobalAveragePooling2D()": (3, 2, 2),
    "GlobalAveragePooling3D()": (2, 3, 2, 2),
    # recurrence
    "SimpleRNN(3)": (4, 2), "SimpleRNN(3, activation='relu', use_bias=False, return_sequences=True)": (4, 2),
    "GRU(3, recurrent_activation='hard_sigmoid', reset_after=False)": (4, 2),
    "GRU(3, recurrent_activation='sigmoid', reset_after=True, return_sequences=True, go_backwards=True)": (4, 2),
    "GRU(2, recurrent_activation='sigmoid', reset_after=False, implementation=2, unroll=True)": (3, 2),
    "LSTM(3, recurrent_activation='hard_sigmoid')": (4, 2),
    "LSTM(3, recurrent_activation='sigmoid', return_sequences=True, return_state=True, implementation=2)": (4, 2),
    "LSTM(2, recurrent_activation='hard_sigmoid', unroll=True, go_backwards=True, unit_forget_bias=False)": (3, 2),
    "LSTM(3, recurrent_activation='hard_sigmoid', dropout=.3, recurrent_dropout=.3, implementation=1)": (4, 2),
    "GRU(3, recurrent_activation='sigmoid', reset_after=False, dropout=.3, recurrent_dropout=.3, implementation=2)":
    (4, 2), "CuDNNGRU(3, return_sequences=True)": (4, 2), "CuDNNLSTM(3, return_state=True)": (4, 2),
    "RNN(SimpleRNNCell(3), return_state=True)": (4, 2),
    "RNN([LSTMCell(3, recurrent_activation='sigmoid'), GRUCell(2, recurrent_activation='sigmoid', reset_after=False)])":
    (4, 2), "RNN(StackedRNNCells([SimpleRNNCell(2), SimpleRNNCell(3)]), return_sequences=True)": (4, 2),
    "ConvLSTM2D(2, 2, recurrent_activation='hard_sigmoid')": (3, 3, 3, 1),
    "ConvLSTM2D(2, (2, 1), strides=2, padding='same', recurrent_activation='sigmoid', return_sequences=True)":
    (3, 3, 2, 2), "ConvRNN2D(ConvLSTM2DCell(2, 2))": (2, 3, 3, 1),
    # wrappers
    "TimeDistributed(Dense(3))": (2, 4), "TimeDistributed(Conv2D(2, 2))": (2, 3, 3, 1),
    "TimeDistributed(BatchNormalization())": (3, 2),
    "Bidirectional(SimpleRNN(2))": (4, 2),
    "Bidirectional(LSTM(2, recurrent_activation='sigmoid', return_sequences=True), merge_mode='sum')": (3, 2),
    "Bidirectional(GRU(2, recurrent_activation='sigmoid', reset_after=False, return_state=True), merge_mode=None)":
    (3, 2),
    # Keras 1
    "MaxoutDense(3, nb_feature=2)": (4,), "Highway(activation='tanh')": (4,),
    "SReLU()": (3, 2), "SReLU('one', 'normal', 'uniform', 'zero')": (3, 2), "ParametricSoftplus(shared_axes=[2])":
    (3, 2)}


def variants(case: str) -> list[str]:
    """Training is another formula for batch normalization alone (noise is each package's own); masks of steps matter
    to layers over time (tf_keras's Bidirectional, unlike Keras 2.2's, makes masked steps of sequences zero)."""
    over_time = any(k in case for k in ("RNN", "LSTM", "GRU", "GlobalAveragePooling1D", "TimeDistributed(Dense"))
    return ["plain", *["training"] * ("BatchNormalization" in case),
            *["masked"] * (over_time and not any(k in case for k in ("Conv", "CuDNN", "), merge_mode='sum'")))]


def masked(xs: list[np.ndarray]) -> list[np.ndarray]:
    """Sequences without some of their steps: the last ones of the first sample, one inside the second."""
    out = [x.copy() for x in xs]
    for x in out:
        x[0, -2:] = 0.
        x[1, 1] = 0.
    return out


def twice(x: Any) -> Any:
    """A function that every package's tensors take."""
    return x * 2.


def make(layers: Any, text: str, **kwargs: Any) -> Any:
    """The layer of a case, by `layers`; keyword arguments are added to the outermost call."""
    names = {**{k: getattr(layers, k) for k in dir(layers)}, "twice": twice, "more": kwargs}
    text = text.strip()
    return eval(f"{text[:-1]}{'' if text.endswith('()') else ', '}**more)", names)


def shapes(case: str) -> list[tuple[int, ...]]:
    """Shapes of one sample of each input."""
    given = CASES[case]
    return given if isinstance(given, list) else [given]


def inputs(case: str, samples: int, dtype: str = "float32") -> list[np.ndarray]:
    """Samples for each input: the first ones are the same however many are asked for."""
    out = []
    for i, shape in enumerate(shapes(case)):
        x = np.random.RandomState(i + sum(shape)).randn(8, *shape)[:samples]
        out.append((np.abs(x) * 10).astype(int) % 5 if case.startswith("Embedding") else x.astype(dtype))
    return out


def wave(shape: tuple[int, ...], start: float = 0.) -> np.ndarray:
    """Numbers that every package rounds alike."""
    return np.cos(np.arange(int(np.prod(shape))) * .7 + start).reshape(shape)


def fill(layer: Any) -> None:
    """Give the layer weights that their shapes determine; variances must not be negative."""
    positive = "BatchNormalization" in str(type(layer)) + str(type(getattr(layer, "layer", None)))
    layer.set_weights([np.abs(wave(w.shape, i)) + .1 if positive else wave(w.shape, i) * .8
                       for i, w in enumerate(layer.get_weights())])
