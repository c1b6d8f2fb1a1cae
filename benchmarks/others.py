"""Networks of many kinds, through the plain Keras API: what is not tuned for.

In: nothing.  Out: for each name the model and its batch; rows of its prediction and of its training step (Adam on the
mean squared error) beside whoever is installed.  What always holds: a peer gets the same weights and gives the same
numbers, or it is not timed.  ONNX Runtime is not asked for recurrent networks: files say their loops step by step,
which it runs slower than operators of its own.
"""
from __future__ import annotations

from typing import Any, Callable

import numpy as np

from benchmarks import peers
from benchmarks.peers import Run

Made = tuple[Any, np.ndarray]


def _data(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def _words(rows: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, rows, shape).astype("int32")


def _sequential(*layers: Any) -> Any:
    from graphk.models import Sequential
    return Sequential(list(layers))


def channels_first() -> Made:
    """A CNN on 32x32 images with channels first."""
    from graphk.layers import Conv2D, Dense, Flatten, MaxPooling2D
    first: dict[str, Any] = {"data_format": "channels_first"}
    return _sequential(Conv2D(32, 3, activation="relu", input_shape=(3, 32, 32), **first),
                       Conv2D(64, 3, activation="relu", **first), MaxPooling2D(**first),
                       Conv2D(64, 3, activation="relu", **first), Flatten(), Dense(10)), _data(32, 3, 32, 32)


def strided() -> Made:
    """Convolutions of stride 2 in place of pooling."""
    from graphk.layers import Conv2D, Dense, Flatten
    return _sequential(Conv2D(32, 3, padding="same", activation="relu", input_shape=(32, 32, 3)),
                       Conv2D(64, 3, strides=2, padding="same", activation="relu"),
                       Conv2D(128, 3, strides=2, padding="same", activation="relu"), Flatten(), Dense(10)
                       ), _data(32, 32, 32, 3)


def separable() -> Made:
    """Depthwise separable convolutions with batch normalization."""
    from graphk.layers import Activation, BatchNormalization, Dense, GlobalAveragePooling2D, MaxPooling2D
    from graphk.layers import SeparableConv2D
    body: list[Any] = [SeparableConv2D(32, 3, padding="same", input_shape=(32, 32, 16)), BatchNormalization()]
    for filters in (64, 64):
        body += [Activation("relu"), SeparableConv2D(filters, 3, padding="same"), BatchNormalization()]
    return _sequential(*body, Activation("relu"), MaxPooling2D(), SeparableConv2D(128, 3), GlobalAveragePooling2D(),
                       Dense(10)), _data(32, 32, 32, 16)


def generator() -> Made:
    """Transposed convolutions, 5x5 with stride 2: a picture of 100 numbers."""
    from graphk.layers import BatchNormalization, Conv2DTranspose, Dense, LeakyReLU, Reshape
    return _sequential(Dense(6272, input_shape=(100,)), Reshape((7, 7, 128)), BatchNormalization(), LeakyReLU(),
                       Conv2DTranspose(64, 5, strides=2, padding="same"), BatchNormalization(), LeakyReLU(),
                       Conv2DTranspose(1, 5, strides=2, padding="same", activation="tanh")), _data(16, 100)


def dilated() -> Made:
    """Causal, dilated 1-D convolutions with residuals."""
    from graphk.layers import Conv1D, Dense, GlobalAveragePooling1D, Input, add
    from graphk.models import Model
    start = Input((200, 16))
    h = Conv1D(64, 1)(start)
    for d in (1, 2, 4, 8):
        inner = Conv1D(64, 3, dilation_rate=d, padding="causal", activation="relu")(h)
        h = add([h, Conv1D(64, 1)(inner)])
    return Model(start, Dense(5)(GlobalAveragePooling1D()(h))), _data(32, 200, 16)


def text() -> Made:
    """An embedding, 250 filters over three words, the largest of each."""
    from graphk.layers import Conv1D, Dense, Embedding, GlobalMaxPooling1D
    return _sequential(Embedding(5000, 50, input_length=400), Conv1D(250, 3, activation="relu"), GlobalMaxPooling1D(),
                       Dense(250, activation="relu"), Dense(1, activation="sigmoid")), _words(5000, 32, 400)


def autoencoder() -> Made:
    """784-128-32-128-784."""
    from graphk.layers import Dense
    return _sequential(Dense(128, activation="relu", input_shape=(784,)), Dense(32, activation="relu"),
                       Dense(128, activation="relu"), Dense(784, activation="sigmoid")), _data(256, 784)


def volumes() -> Made:
    """3-D convolutions and pooling."""
    from graphk.layers import Conv3D, Dense, Flatten, MaxPooling3D
    return _sequential(Conv3D(16, 3, activation="relu", input_shape=(16, 32, 32, 3)), MaxPooling3D(),
                       Conv3D(32, 3, activation="relu"), Flatten(), Dense(10)), _data(4, 16, 32, 32, 3)


def gru() -> Made:
    """A GRU of 64 units over 50 steps."""
    from graphk.layers import GRU, Dense
    return _sequential(GRU(64, recurrent_activation="sigmoid", input_shape=(50, 20)), Dense(1)), _data(32, 50, 20)


def both_ways() -> Made:
    """An embedding and LSTMs in both directions."""
    from graphk.layers import LSTM, Bidirectional, Dense, Embedding
    return _sequential(Embedding(5000, 64, input_length=60), Bidirectional(LSTM(64, recurrent_activation="sigmoid")),
                       Dense(1, activation="sigmoid")), _words(5000, 16, 60)


def stacked() -> Made:
    """Two LSTMs of 256 units."""
    from graphk.layers import LSTM, Dense
    return _sequential(LSTM(256, recurrent_activation="sigmoid", return_sequences=True, input_shape=(30, 64)),
                       LSTM(256, recurrent_activation="sigmoid"), Dense(10)), _data(64, 30, 64)


NETWORKS: dict[str, Callable[[], Made]] = {
    "CNN, channels first, batch 32": channels_first, "CNN, strides 2, batch 32": strided,
    "separable CNN, batch 32": separable, "transposed convolutions, batch 16": generator,
    "dilated 1-D convolutions, batch 32": dilated, "text CNN, batch 32": text, "autoencoder, batch 256": autoencoder,
    "3-D convolutions, batch 4": volumes, "GRU 64, 50 steps, batch 32": gru,
    "LSTM 64 both ways, 60 steps, batch 16": both_ways, "two LSTMs of 256, 30 steps, batch 64": stacked}
UNABLE = {gru: "onnxruntime", both_ways: "onnxruntime", stacked: "onnxruntime",
          channels_first: "tf_keras"}                # which has channels first on GPUs only


def predict_row(make: Callable[[], Made]) -> dict[str, Run]:
    """The prediction of one batch."""
    model, x = make()
    others = peers.predicting(model, x, without=[UNABLE.get(make, "")])
    return {"graphk": lambda: model.predict_on_batch(x)} | others


def train_row(make: Callable[[], Made]) -> dict[str, Run]:
    """A step of Adam."""
    from graphk.optimizers import Adam
    model, x = make()
    model.compile(Adam(lr=1e-3, epsilon=1e-7), "mse")
    y = np.abs(_data(len(x), *model.output_shape[1:]))
    others = {} if UNABLE.get(make) == "tf_keras" else peers.training(
        model, x, y, lambda optimizers: optimizers.Adam(1e-3, epsilon=1e-7))
    return {"graphk": lambda: model.train_on_batch(x, y)} | others


__all__ = ["NETWORKS", "predict_row", "train_row"]
