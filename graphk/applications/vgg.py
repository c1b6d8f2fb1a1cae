"""The body and the end of the VGG networks.

In: an image, and how many convolutions each block has.  Out: features, 32 times smaller.  What always holds: five
blocks of 3x3 convolutions, each closed by a pooling that halves the image.
"""
from __future__ import annotations

from typing import Sequence

from graphk.frontend.layers import Conv2D, Dense, Flatten, MaxPooling2D
from graphk.frontend.tensor import Tensor


def blocks(x: Tensor, depths: Sequence[int]) -> Tensor:
    """Blocks of so many convolutions."""
    for i, (depth, filters) in enumerate(zip(depths, (64, 128, 256, 512, 512)), 1):
        for j in range(1, depth + 1):
            x = Conv2D(filters, 3, activation="relu", padding="same", name=f"block{i}_conv{j}")(x)
        x = MaxPooling2D(2, strides=2, name=f"block{i}_pool")(x)
    return x


def top(x: Tensor, classes: int) -> Tensor:
    """The classifier: two wide layers and a softmax."""
    x = Flatten(name="flatten")(x)
    for name in ("fc1", "fc2"):
        x = Dense(4096, activation="relu", name=name)(x)
    return Dense(classes, activation="softmax", name="predictions")(x)
