"""Xception (Chollet, 2016): separable convolutions with shortcuts.

In: images of 299 by 299 pixels, or of any size from 71 without the classifier.  Out: 1000 classes, or features.  What
always holds: layers and weights are those of Keras's Xception.
"""
from __future__ import annotations

from typing import Any

from graphk.applications import imagenet_utils
from graphk.applications.building import KERAS_FILES, classifier, network, normalized, published, relu
from graphk.applications.imagenet_utils import decode_predictions
from graphk.frontend.layers import Conv2D, MaxPooling2D, SeparableConv2D, add
from graphk.frontend.tensor import Tensor

_FILES = published(KERAS_FILES + "v0.4/", "xception", "0a58e3b7378bc2990ea3b43d5981f1f6",
                   "b0042744bf5b25fce3cb969f33bebb97")


def _separable(x: Tensor, filters: int, name: str) -> Tensor:
    return normalized(SeparableConv2D(filters, 3, padding="same", use_bias=False, name=name)(x), f"{name}_bn")


def _halved(x: Tensor, block: int, first: int, filters: int) -> Tensor:
    """Two separable convolutions and a pooling, beside a strided convolution."""
    name = f"block{block}"
    shortcut = normalized(Conv2D(filters, 1, strides=2, padding="same", use_bias=False)(x))
    x = _separable(x if block == 2 else relu(x, f"{name}_sepconv1_act"), first, f"{name}_sepconv1")
    x = _separable(relu(x, f"{name}_sepconv2_act"), filters, f"{name}_sepconv2")
    return add([MaxPooling2D(3, strides=2, padding="same", name=f"{name}_pool")(x), shortcut])


def _repeated(x: Tensor, block: int) -> Tensor:
    """Three separable convolutions around which their input passes."""
    y = x
    for i in range(1, 4):
        name = f"block{block}_sepconv{i}"
        y = _separable(relu(y, f"{name}_act"), 728, name)
    return add([y, x])


@network("xception", classifier("predictions", "avg_pool"), _FILES, size=299, least=71)
def Xception(x: Tensor) -> Tensor:
    """Xception (Chollet, 2016)."""
    for name, filters, strides in (("block1_conv1", 32, 2), ("block1_conv2", 64, 1)):
        x = Conv2D(filters, 3, strides=strides, use_bias=False, name=name)(x)
        x = relu(normalized(x, f"{name}_bn"), f"{name}_act")
    for block, filters in ((2, 128), (3, 256), (4, 728)):
        x = _halved(x, block, filters, filters)
    for block in range(5, 13):
        x = _repeated(x, block)
    x = _halved(x, 13, 728, 1024)
    for name, filters in (("block14_sepconv1", 1536), ("block14_sepconv2", 2048)):
        x = relu(_separable(x, filters, name), f"{name}_act")
    return x


def preprocess_input(x: Any, data_format: str | None = None, **kwargs: Any) -> Any:
    """Images of 0 to 255 as this network wants them: -1 to 1."""
    return imagenet_utils.preprocess_input(x, data_format, mode="tf", **kwargs)


__all__ = ["Xception", "decode_predictions", "preprocess_input"]
