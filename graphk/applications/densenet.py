"""DenseNets of 121, 169 and 201 layers (Huang et al., 2016).

In: images of 224 by 224 pixels, or of any size from 32 without the classifier.  Out: 1000 classes, or features.  What
always holds: layers and weights are those of Keras's DenseNets.
"""
from __future__ import annotations

from typing import Any, Sequence

from graphk.applications import imagenet_utils
from graphk.applications.building import (
    TEAM_FILES,
    channels_of,
    classifier,
    joined,
    network,
    normalized,
    published,
    relu,
)
from graphk.applications.imagenet_utils import decode_predictions
from graphk.frontend.layers import AveragePooling2D, Conv2D, MaxPooling2D, ZeroPadding2D
from graphk.frontend.tensor import Tensor

_BASE, _TOP, _POOLS = TEAM_FILES + "densenet/", classifier("fc1000", "avg_pool"), ("avg_pool", "max_pool")
_GROWTH = 32


def _activated(x: Tensor, name: str) -> Tensor:
    return relu(normalized(x, f"{name}bn", epsilon=1.001e-5), f"{name}relu")


def _dense(x: Tensor, name: str) -> Tensor:
    """Adds channels to those of x."""
    y = Conv2D(4 * _GROWTH, 1, use_bias=False, name=f"{name}_1_conv")(_activated(x, f"{name}_0_"))
    y = Conv2D(_GROWTH, 3, padding="same", use_bias=False, name=f"{name}_2_conv")(_activated(y, f"{name}_1_"))
    return joined([x, y], f"{name}_concat")


def _halved(x: Tensor, name: str) -> Tensor:
    """Half the channels, rows and columns."""
    x = _activated(x, f"{name}_")
    x = Conv2D(channels_of(x) // 2, 1, use_bias=False, name=f"{name}_conv")(x)
    return AveragePooling2D(2, strides=2, name=f"{name}_pool")(x)


def _body(x: Tensor, blocks: Sequence[int]) -> Tensor:
    x = Conv2D(64, 7, strides=2, use_bias=False, name="conv1/conv")(ZeroPadding2D(3)(x))
    x = MaxPooling2D(3, strides=2, name="pool1")(ZeroPadding2D(1)(_activated(x, "conv1/")))
    for i, depth in enumerate(blocks, 2):
        x = _halved(x, f"pool{i - 1}") if i > 2 else x
        for j in range(1, depth + 1):
            x = _dense(x, f"conv{i}_block{j}")
    return _activated(x, "")


@network("densenet121", _TOP, published(_BASE, "densenet121", "9d60b8095a5708f2dcce2bca79d332c7",
                                        "30ee3e1110167f948a6b9946edeeb738"), pools=_POOLS)
def DenseNet121(x: Tensor) -> Tensor:
    """DenseNet121 (Huang et al., 2016)."""
    return _body(x, (6, 12, 24, 16))


@network("densenet169", _TOP, published(_BASE, "densenet169", "d699b8f76981ab1b30698df4c175e90b",
                                        "b8c4d4c20dd625c148057b9ff1c1176b"), pools=_POOLS)
def DenseNet169(x: Tensor) -> Tensor:
    """DenseNet169 (Huang et al., 2016)."""
    return _body(x, (6, 12, 32, 32))


@network("densenet201", _TOP, published(_BASE, "densenet201", "1ceb130c1ea1b78c3bf6114dbdfd8807",
                                        "c13680b51ded0fb44dff2d8f86ac8bb1"), pools=_POOLS)
def DenseNet201(x: Tensor) -> Tensor:
    """DenseNet201 (Huang et al., 2016)."""
    return _body(x, (6, 12, 48, 32))


def preprocess_input(x: Any, data_format: str | None = None, **kwargs: Any) -> Any:
    """Images of 0 to 255 as these networks want them: normalized by ImageNet's mean and deviation."""
    return imagenet_utils.preprocess_input(x, data_format, mode="torch", **kwargs)


__all__ = ["DenseNet121", "DenseNet169", "DenseNet201", "decode_predictions", "preprocess_input"]
