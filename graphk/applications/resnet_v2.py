"""ResNets that normalize before they convolve, of 50, 101 and 152 layers (He et al., 2016).

In: images of 224 by 224 pixels, or of any size from 32 without the classifier.  Out: 1000 classes, or features.  What
always holds: layers and weights are those of keras_applications' `resnet_v2`; a stack's last block has its strides.
"""
from __future__ import annotations

from typing import Any, Sequence

from graphk.applications import imagenet_utils
from graphk.applications.building import network, normalized, published, relu
from graphk.applications.imagenet_utils import decode_predictions
from graphk.applications.resnet import BASE, EPSILON, POOLS, convolved, stem, top
from graphk.frontend.layers import Add, Conv2D, MaxPooling2D, ZeroPadding2D
from graphk.frontend.tensor import Tensor


def _block(x: Tensor, filters: int, stride: int, widen: bool, name: str) -> Tensor:
    before = relu(normalized(x, f"{name}_preact_bn", epsilon=EPSILON), f"{name}_preact_relu")
    if widen:
        x = Conv2D(4 * filters, 1, strides=stride, name=f"{name}_0_conv")(before)
    elif stride > 1:
        x = MaxPooling2D(1, strides=stride)(x)
    y = relu(convolved(before, filters, 1, f"{name}_1", use_bias=False), f"{name}_1_relu")
    y = ZeroPadding2D(1, name=f"{name}_2_pad")(y)
    y = relu(convolved(y, filters, 3, f"{name}_2", strides=stride, use_bias=False), f"{name}_2_relu")
    y = Conv2D(4 * filters, 1, name=f"{name}_3_conv")(y)
    return Add(name=f"{name}_out")([x, y])


def _stacks(x: Tensor, depths: Sequence[int]) -> Tensor:
    x = stem(x, activated=False)
    for i, depth in enumerate(depths):
        for j in range(depth):
            x = _block(x, 64 << i, 2 if i < 3 and j == depth - 1 else 1, not j, f"conv{i + 2}_block{j + 1}")
    return relu(normalized(x, "post_bn", epsilon=EPSILON), "post_relu")


@network("resnet50v2", top, published(BASE, "resnet50v2", "3ef43a0b657b3be2300d5770ece849e0",
                                      "fac2f116257151a9d068a22e544a4917"), pools=POOLS)
def ResNet50V2(x: Tensor) -> Tensor:
    """ResNet50V2 (He et al., 2016)."""
    return _stacks(x, (3, 4, 6, 3))


@network("resnet101v2", top, published(BASE, "resnet101v2", "6343647c601c52e1368623803854d971",
                                       "c0ed64b8031c3730f411d2eb4eea35b5"), pools=POOLS)
def ResNet101V2(x: Tensor) -> Tensor:
    """ResNet101V2 (He et al., 2016)."""
    return _stacks(x, (3, 4, 23, 3))


@network("resnet152v2", top, published(BASE, "resnet152v2", "a49b44d1979771252814e80f8ec446f9",
                                       "ed17cf2e0169df9d443503ef94b23b33"), pools=POOLS)
def ResNet152V2(x: Tensor) -> Tensor:
    """ResNet152V2 (He et al., 2016)."""
    return _stacks(x, (3, 8, 36, 3))


def preprocess_input(x: Any, data_format: str | None = None, **kwargs: Any) -> Any:
    """Images of 0 to 255 as these networks want them: -1 to 1."""
    return imagenet_utils.preprocess_input(x, data_format, mode="tf", **kwargs)


__all__ = ["ResNet101V2", "ResNet152V2", "ResNet50V2", "decode_predictions", "preprocess_input"]
