"""MobileNet (Howard et al., 2017): depthwise convolutions in widths from 0.25 to 1.

In: images of 224, 192, 160 or 128 pixels each way, or of any size from 32 without published weights.  Out: 1000
classes, or features.  What always holds: layers and weights are those of Keras's MobileNet; strided windows are padded
behind.
"""
from __future__ import annotations

import warnings
from functools import partial
from typing import Any, Sequence

from graphk.applications import imagenet_utils
from graphk.applications.building import KERAS_FILES, File, Request, channels_of, normalized
from graphk.applications.imagenet_utils import decode_predictions
from graphk.frontend import backend as K
from graphk.frontend.layers import (
    Activation,
    Conv2D,
    DepthwiseConv2D,
    Dropout,
    GlobalAveragePooling2D,
    ReLU,
    Reshape,
    ZeroPadding2D,
)
from graphk.frontend.models import Model
from graphk.frontend.tensor import Tensor

_SIZES = (128, 160, 192, 224)
_ALPHAS = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}            # and what files call them
# Filters and strides of the blocks.
_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
_BEHIND = ((0, 1), (0, 1))


def relu6(x: Tensor) -> Tensor:
    """The rectifier, at most 6: the activation that files of Keras 2.0 and 2.1 name.

    >>> K.eval(relu6(K.constant([-1., 3., 9.]))).tolist()
    [0.0, 3.0, 6.0]
    """
    return K.relu(x, max_value=6.)


def entry(request: Request, input_shape: Any, usual: int, sizes: Sequence[int], alpha: float, alphas: Sequence[float],
          depth_multiplier: int) -> tuple[tuple[int | None, ...], int | None]:
    """The shape of an image, and the rows that name the model and its weights, if they can be had.

    usual: rows and columns where nothing says otherwise; sizes, alphas: those with published weights.
    """
    def space(shape: Any) -> tuple[Any, ...]:
        return tuple(shape[1:] if K.image_data_format() == "channels_first" else shape[:2])

    if input_shape is not None:
        usual = next((d for d in sizes if space(input_shape) == (d, d)), 224)
    shape = request.shape(input_shape, usual, 32)
    rows, columns = space(shape)
    if request.weights == "imagenet":
        if depth_multiplier != 1:
            raise ValueError("If imagenet weights are being loaded, depth multiplier must be 1. Received "
                             f"depth_multiplier={depth_multiplier}")
        if alpha not in alphas:
            *most, last = (f"`{a}`" for a in alphas)
            raise ValueError(f"If imagenet weights are being loaded, alpha can be one of {', '.join(most)} or {last} "
                             f"only. Received alpha={alpha}")
        if rows != columns or rows not in sizes:
            rows = 224
            warnings.warn(f"`input_shape` is undefined or non-square, or `rows` is not in {list(sizes)}. Weights for "
                          "input shape (224, 224) will be loaded as the default.", stacklevel=3)
    return shape, rows


def _conv_block(inputs: Tensor, filters: int, alpha: float, kernel: Any = (3, 3), strides: Any = (1, 1)) -> Tensor:
    x = ZeroPadding2D(_BEHIND, name="conv1_pad")(inputs)
    x = Conv2D(int(filters * alpha), kernel, strides=strides, use_bias=False, name="conv1")(x)
    return ReLU(6., name="conv1_relu")(normalized(x, "conv1_bn"))


def _depthwise_conv_block(inputs: Tensor, pointwise_conv_filters: int, alpha: float, depth_multiplier: int = 1,
                          strides: Any = (1, 1), block_id: int = 1) -> Tensor:
    plain = tuple(strides) == (1, 1)
    x = inputs if plain else ZeroPadding2D(_BEHIND, name=f"conv_pad_{block_id}")(inputs)
    x = DepthwiseConv2D(3, strides=strides, padding="same" if plain else "valid", depth_multiplier=depth_multiplier,
                        use_bias=False, name=f"conv_dw_{block_id}")(x)
    x = ReLU(6., name=f"conv_dw_{block_id}_relu")(normalized(x, f"conv_dw_{block_id}_bn"))
    x = Conv2D(int(pointwise_conv_filters * alpha), 1, padding="same", use_bias=False, name=f"conv_pw_{block_id}")(x)
    return ReLU(6., name=f"conv_pw_{block_id}_relu")(normalized(x, f"conv_pw_{block_id}_bn"))


def _top(x: Tensor, classes: int, dropout: float) -> Tensor:
    """A classifier that is a convolution over one pixel."""
    channels = channels_of(x)
    first = K.image_data_format() == "channels_first"
    x = Reshape((channels, 1, 1) if first else (1, 1, channels), name="reshape_1")(GlobalAveragePooling2D()(x))
    x = Conv2D(classes, 1, padding="same", name="conv_preds")(Dropout(dropout, name="dropout")(x))
    return Activation("softmax", name="act_softmax")(Reshape((classes,), name="reshape_2")(x))


def MobileNet(input_shape: Any = None, alpha: float = 1.0, depth_multiplier: int = 1, dropout: float = 1e-3,
              include_top: bool = True, weights: Any = "imagenet", input_tensor: Any = None, pooling: str | None = None,
              classes: int = 1000, **kwargs: Any) -> Model:
    """MobileNet (Howard et al., 2017).

    alpha: its width, published for 0.25, 0.5, 0.75 and 1; depth_multiplier: kernels per channel, published for 1;
    dropout: before the classifier; include_top: with the classifier; weights: 'imagenet' (fetched once), a file, or
    None for random ones; input_tensor: a tensor to build upon; input_shape: of an image, at least 32 rows and columns;
    pooling: without the classifier, 'avg' or 'max' over space; classes: of the classifier.
    """
    request = Request("MobileNet", include_top, weights, input_tensor, pooling, classes, kwargs)
    shape, rows = entry(request, input_shape, 224, _SIZES, alpha, tuple(_ALPHAS), depth_multiplier)
    image = request.image(shape)
    x = _conv_block(image, 32, alpha, strides=(2, 2))
    for i, (filters, stride) in enumerate(_BLOCKS, 1):
        x = _depthwise_conv_block(x, filters, alpha, depth_multiplier, (stride, stride), i)
    stem = f"mobilenet_{_ALPHAS.get(alpha)}_{rows}_tf"
    base = KERAS_FILES + "v0.6/"
    files = (File(f"{stem}.h5", f"{base}{stem}.h5"), File(f"{stem}_no_top.h5", f"{base}{stem}_no_top.h5"))
    return request.model(f"mobilenet_{alpha:0.2f}_{rows}", image, x, partial(_top, dropout=dropout), files)


def preprocess_input(x: Any, data_format: str | None = None, **kwargs: Any) -> Any:
    """Images of 0 to 255 as this network wants them: -1 to 1."""
    return imagenet_utils.preprocess_input(x, data_format, mode="tf", **kwargs)


__all__ = ["DepthwiseConv2D", "MobileNet", "decode_predictions", "preprocess_input", "relu6"]
