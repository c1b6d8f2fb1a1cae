"""ResNets of 50, 101 and 152 layers (He et al., 2015).

In: images of 224 by 224 pixels, or of any size from 32 without the classifier.  Out: 1000 classes, or features.  What
always holds: layers and weights are those of keras_applications' `resnet`.
"""
from __future__ import annotations

from typing import Any, Sequence

from graphk.applications import imagenet_utils
from graphk.applications.building import TEAM_FILES, classifier, network, normalized, published, relu
from graphk.applications.imagenet_utils import decode_predictions
from graphk.frontend.layers import Add, Conv2D, MaxPooling2D, ZeroPadding2D
from graphk.frontend.tensor import Tensor

BASE, EPSILON, POOLS = TEAM_FILES + "resnet/", 1.001e-5, ("avg_pool", "max_pool")
top = classifier("probs", "avg_pool")


def stem(x: Tensor, activated: bool) -> Tensor:
    """The entry of all ResNets: a convolution and a pooling, 4 times smaller."""
    x = Conv2D(64, 7, strides=2, name="conv1_conv")(ZeroPadding2D(3, name="conv1_pad")(x))
    if activated:
        x = relu(normalized(x, "conv1_bn", epsilon=EPSILON), "conv1_relu")
    return MaxPooling2D(3, strides=2, name="pool1_pool")(ZeroPadding2D(1, name="pool1_pad")(x))


def convolved(x: Tensor, filters: int, size: int, name: str, **settings: Any) -> Tensor:
    """A convolution with its normalization, of the block and place that `name` says."""
    return normalized(Conv2D(filters, size, name=f"{name}_conv", **settings)(x), f"{name}_bn", epsilon=EPSILON)


def _block(x: Tensor, filters: int, stride: int, widen: bool, name: str) -> Tensor:
    shortcut = convolved(x, 4 * filters, 1, f"{name}_0", strides=stride) if widen else x
    x = relu(convolved(x, filters, 1, f"{name}_1", strides=stride), f"{name}_1_relu")
    x = relu(convolved(x, filters, 3, f"{name}_2", padding="same"), f"{name}_2_relu")
    x = convolved(x, 4 * filters, 1, f"{name}_3")
    return relu(Add(name=f"{name}_add")([shortcut, x]), f"{name}_out")


def _stacks(x: Tensor, depths: Sequence[int]) -> Tensor:
    x = stem(x, activated=True)
    for i, depth in enumerate(depths):
        for j in range(depth):
            x = _block(x, 64 << i, 2 if i and not j else 1, not j, f"conv{i + 2}_block{j + 1}")
    return x


@network("resnet50", top, published(BASE, "resnet50", "2cb95161c43110f7111970584f804107",
                                    "4d473c1dd8becc155b73f8504c6f6626"), pools=POOLS)
def ResNet50(x: Tensor) -> Tensor:
    """ResNet50 (He et al., 2015)."""
    return _stacks(x, (3, 4, 6, 3))


@network("resnet101", top, published(BASE, "resnet101", "f1aeb4b969a6efcfb50fad2f0c20cfc5",
                                     "88cf7a10940856eca736dc7b7e228a21"), pools=POOLS)
def ResNet101(x: Tensor) -> Tensor:
    """ResNet101 (He et al., 2015)."""
    return _stacks(x, (3, 4, 23, 3))


@network("resnet152", top, published(BASE, "resnet152", "100835be76be38e30d865e96f2aaae62",
                                     "ee4c566cf9a93f14d82f913c2dc6dd0c"), pools=POOLS)
def ResNet152(x: Tensor) -> Tensor:
    """ResNet152 (He et al., 2015)."""
    return _stacks(x, (3, 8, 36, 3))


def preprocess_input(x: Any, data_format: str | None = None, **kwargs: Any) -> Any:
    """Images of 0 to 255 as these networks want them: BGR, less ImageNet's mean."""
    return imagenet_utils.preprocess_input(x, data_format, mode="caffe", **kwargs)


__all__ = ["ResNet101", "ResNet152", "ResNet50", "decode_predictions", "preprocess_input"]
