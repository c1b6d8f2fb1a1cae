"""ResNet50 (He et al., 2015) as Keras has always had it: strides in the first convolution of a block.

In: images of 224 by 224 pixels, or of any size from 32 without the classifier.  Out: 1000 classes, or features.  What
always holds: layers and weights are those of `keras.applications.resnet50`; `resnet` has the same network with other
names and weights.
"""
from __future__ import annotations

from typing import Any, Sequence

from graphk.applications.building import KERAS_FILES, classifier, network, normalized, published, relu
from graphk.applications.imagenet_utils import decode_predictions, preprocess_input
from graphk.frontend.layers import Conv2D, MaxPooling2D, ZeroPadding2D, add
from graphk.frontend.tensor import Tensor

_FILES = published(KERAS_FILES + "v0.2/", "resnet50", "a7b3fe01876f51b976af0dea6bc144eb",
                   "a268eb855778b3df3c7506639542a6af")
_STAGES = ((64, "abc"), (128, "abcd"), (256, "abcdef"), (512, "abc"))


def _convolved(x: Tensor, filters: int, size: Any, name: str, **settings: Any) -> Tensor:
    x = Conv2D(filters, size, kernel_initializer="he_normal", name=f"res{name}", **settings)(x)
    return normalized(x, f"bn{name}")


def _main_path(x: Tensor, size: Any, filters: Sequence[int], name: str, strides: Any) -> Tensor:
    x = relu(_convolved(x, filters[0], 1, name + "2a", strides=strides))
    x = relu(_convolved(x, filters[1], size, name + "2b", padding="same"))
    return _convolved(x, filters[2], 1, name + "2c")


def identity_block(input_tensor: Tensor, kernel_size: Any, filters: Sequence[int], stage: int, block: str) -> Tensor:
    """A block around which its input passes unchanged.  filters: of its three convolutions; stage, block: its name."""
    x = _main_path(input_tensor, kernel_size, filters, f"{stage}{block}_branch", 1)
    return relu(add([x, input_tensor]))


def conv_block(input_tensor: Tensor, kernel_size: Any, filters: Sequence[int], stage: int, block: str,
               strides: Any = (2, 2)) -> Tensor:
    """A block around which its input passes through a convolution."""
    name = f"{stage}{block}_branch"
    x = _main_path(input_tensor, kernel_size, filters, name, strides)
    return relu(add([x, _convolved(input_tensor, filters[2], 1, name + "1", strides=strides)]))


@network("resnet50", classifier("fc1000", "avg_pool"), _FILES)
def ResNet50(x: Tensor) -> Tensor:
    """ResNet50 (He et al., 2015)."""
    x = ZeroPadding2D(3, name="conv1_pad")(x)
    x = Conv2D(64, 7, strides=2, kernel_initializer="he_normal", name="conv1")(x)
    x = relu(normalized(x, "bn_conv1"))
    x = MaxPooling2D(3, strides=2)(ZeroPadding2D(1, name="pool1_pad")(x))
    for stage, (width, names) in enumerate(_STAGES, 2):
        filters = (width, width, 4 * width)
        x = conv_block(x, 3, filters, stage, names[0], strides=1 if stage == 2 else 2)
        for block in names[1:]:
            x = identity_block(x, 3, filters, stage, block)
    return x


__all__ = ["ResNet50", "decode_predictions", "preprocess_input"]
