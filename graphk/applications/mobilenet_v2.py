"""MobileNetV2 (Sandler et al., 2018): bottlenecks with shortcuts, in widths from 0.35 to 1.4.

In: images of 224, 192, 160, 128 or 96 pixels each way, or of any size from 32 without published weights.  Out: 1000
classes, or features.  What always holds: layers and weights are those of Keras's MobileNetV2.
"""
from __future__ import annotations

import warnings
from typing import Any

from graphk.applications import imagenet_utils
from graphk.applications.building import File, Request, channels_of, classifier, correct_pad, normalized
from graphk.applications.imagenet_utils import decode_predictions
from graphk.applications.mobilenet import entry
from graphk.frontend import backend as K
from graphk.frontend.layers import Add, Conv2D, DepthwiseConv2D, ReLU, ZeroPadding2D
from graphk.frontend.models import Model
from graphk.frontend.tensor import Tensor

_BASE = "https://github.com/JonathanCMitchell/mobilenet_v2_keras/releases/download/v1.1/"
_SIZES = (96, 128, 160, 192, 224)
_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
# Filters, strides of the first block, and how many blocks there are.
_STACKS = ((16, 1, 1), (24, 2, 2), (32, 2, 3), (64, 2, 4), (96, 1, 3), (160, 2, 3), (320, 1, 1))


def _make_divisible(v: float, divisor: int, min_value: int | None = None) -> int:
    """The multiple of `divisor` nearest to v, but not less than nine tenths of it."""
    near = max(min_value or divisor, int(v + divisor / 2) // divisor * divisor)
    return near + divisor if near < 0.9 * v else near


def _normalized(x: Tensor, name: str) -> Tensor:
    return normalized(x, name, momentum=0.999)


def _inverted_res_block(inputs: Tensor, expansion: int, stride: int, alpha: float, filters: int, block_id: int
                        ) -> Tensor:
    """Widens, convolves each channel, and narrows again."""
    channels, narrow = channels_of(inputs), _make_divisible(int(filters * alpha), 8)
    x, prefix = inputs, f"block_{block_id}_" if block_id else "expanded_conv_"
    if block_id:
        x = Conv2D(expansion * channels, 1, padding="same", use_bias=False, name=prefix + "expand")(x)
        x = ReLU(6., name=prefix + "expand_relu")(_normalized(x, prefix + "expand_BN"))
    if stride == 2:
        x = ZeroPadding2D(correct_pad(x, 3), name=prefix + "pad")(x)
    x = DepthwiseConv2D(3, strides=stride, use_bias=False, padding="same" if stride == 1 else "valid",
                        name=prefix + "depthwise")(x)
    x = ReLU(6., name=prefix + "depthwise_relu")(_normalized(x, prefix + "depthwise_BN"))
    x = Conv2D(narrow, 1, padding="same", use_bias=False, name=prefix + "project")(x)
    x = _normalized(x, prefix + "project_BN")
    return Add(name=prefix + "add")([inputs, x]) if channels == narrow and stride == 1 else x


def _body(x: Tensor, alpha: float) -> Tensor:
    x = ZeroPadding2D(correct_pad(x, 3), name="Conv1_pad")(x)
    x = Conv2D(_make_divisible(32 * alpha, 8), 3, strides=2, use_bias=False, name="Conv1")(x)
    x = ReLU(6., name="Conv1_relu")(_normalized(x, "bn_Conv1"))
    block = 0
    for filters, stride, count in _STACKS:
        for i in range(count):
            x = _inverted_res_block(x, 6 if block else 1, 1 if i else stride, alpha, filters, block)
            block += 1
    x = Conv2D(_make_divisible(1280 * max(alpha, 1.), 8), 1, use_bias=False, name="Conv_1")(x)
    return ReLU(6., name="out_relu")(_normalized(x, "Conv_1_bn"))


def _usual_size(input_tensor: Any, input_shape: Any) -> int:
    """The rows and columns of images where `input_shape` is None; ValueError where both are given and differ."""
    if input_tensor is None or not K.is_keras_tensor(input_tensor):
        return 224
    shape = K.int_shape(input_tensor)[1:]
    if input_shape is not None and any(a is not None and a != b for a, b in zip(shape, input_shape)):
        raise ValueError(f"input_shape: {tuple(input_shape)} and input_tensor: {input_tensor} do not meet the same "
                         f"shape requirements; the tensor's images have the shape {shape}. Leave out input_shape.")
    space = shape[1:] if K.image_data_format() == "channels_first" else shape[:2]
    return next((d for d in _SIZES if space == (d, d)), 224)


def MobileNetV2(input_shape: Any = None, alpha: float = 1.0, depth_multiplier: int = 1, include_top: bool = True,
                weights: Any = "imagenet", input_tensor: Any = None, pooling: str | None = None, classes: int = 1000,
                **kwargs: Any) -> Model:
    """MobileNetV2 (Sandler et al., 2018).

    alpha: its width, published for 0.35, 0.5, 0.75, 1, 1.3 and 1.4; depth_multiplier: not used, as in Keras;
    include_top: with the classifier; weights: 'imagenet' (fetched once), a file, or None for random ones; input_tensor:
    a tensor to build upon; input_shape: of an image, at least 32 rows and columns; pooling: without the classifier,
    'avg' or 'max' over space; classes: of the classifier.
    """
    request = Request("MobileNetV2", include_top, weights, input_tensor, pooling, classes, kwargs)
    usual = _usual_size(input_tensor, input_shape)
    shape, rows = entry(request, input_shape, usual, _SIZES, alpha, _ALPHAS, depth_multiplier)
    if depth_multiplier != 1:
        warnings.warn(f"MobileNetV2 does not use depth_multiplier={depth_multiplier}, in Keras neither.", stacklevel=2)
    image = request.image(shape)
    stem = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{float(alpha)}_{rows}"
    files = (File(f"{stem}.h5", f"{_BASE}{stem}.h5"), File(f"{stem}_no_top.h5", f"{_BASE}{stem}_no_top.h5"))
    return request.model(f"mobilenetv2_{alpha:0.2f}_{rows}", image, _body(image, alpha), classifier("Logits"), files)


def preprocess_input(x: Any, data_format: str | None = None, **kwargs: Any) -> Any:
    """Images of 0 to 255 as this network wants them: -1 to 1."""
    return imagenet_utils.preprocess_input(x, data_format, mode="tf", **kwargs)


__all__ = ["MobileNetV2", "decode_predictions", "preprocess_input"]
