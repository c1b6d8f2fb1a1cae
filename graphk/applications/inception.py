"""The parts of Inception networks: steps, and blocks of several paths side by side.

In: a tensor and a table of paths, each a list of steps.  Out: the channels of all paths.  What always holds: layers are
made path by path in the order of the table, which gives them their numbers; a block is a step, so that blocks nest.
"""
from __future__ import annotations

from functools import partial
from typing import Any, Callable, Sequence

from graphk.applications.building import joined, normalized, relu
from graphk.frontend.layers import AveragePooling2D, Conv2D, MaxPooling2D
from graphk.frontend.tensor import Tensor

Step = Callable[[Tensor], Tensor]


def convolved(x: Tensor, filters: int, size: Any, strides: int = 1, padding: str = "same", name: str | None = None
              ) -> Tensor:
    """A convolution without bias, normalized and rectified."""
    x = Conv2D(filters, size, strides=strides, padding=padding, use_bias=False, name=name)(x)
    x = normalized(x, name and f"{name}_bn", scale=False)
    return relu(x, name and f"{name}_ac")


def conv(filters: int, rows: int, columns: int | None = None) -> Step:
    """A convolution that keeps the size."""
    return partial(convolved, filters=filters, size=(rows, columns or rows))


def shrink(filters: int, size: int, strides: int = 2) -> Step:
    """A convolution without padding."""
    return partial(convolved, filters=filters, size=size, strides=strides, padding="valid")


def mean(x: Tensor) -> Tensor:
    """The mean over 3 by 3 pixels."""
    return AveragePooling2D(3, strides=1, padding="same")(x)


def peak(x: Tensor) -> Tensor:
    """The maximum over 3 by 3 pixels, half the size."""
    return MaxPooling2D(3, strides=2)(x)


def chain(x: Tensor, steps: Sequence[Step]) -> Tensor:
    """One step after the other."""
    for step in steps:
        x = step(x)
    return x


def block(*paths: Sequence[Step], name: str | None = None) -> Step:
    """Several paths side by side."""
    return lambda x: joined([chain(x, steps) for steps in paths], name)


STEM = (shrink(32, 3), shrink(32, 3, 1), conv(64, 3), peak, shrink(80, 1, 1), shrink(192, 3, 1), peak)
