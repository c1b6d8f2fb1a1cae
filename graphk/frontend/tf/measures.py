"""`tensorflow.image`: how far images are from each other, and what is often done with channels and borders.

In: images (…, rows, columns, channels) of floats.  Out: a number for each, or images.  What always holds: the numbers
are TensorFlow's, so that losses made of them train alike.
"""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.tensor import Tensor, node_of
from graphk.frontend.tf.names import named


def _floats(images: Any, what: str, least: int = 3) -> Tensor:
    x = Tensor(node_of(images))
    if x.ndim < least or not x.node.t.is_float:
        raise ValueError(f"tf.image.{what} takes images (…, rows, columns, channels) of floats here; received "
                         f"{x.shape} of {x.dtype}")
    return x


@named("image.psnr")
def psnr(a: Any, b: Any, max_val: float) -> Tensor:
    """The peak signal-to-noise ratio of each pair of images, in dB."""
    error = K.mean(K.square(_floats(a, "psnr") - _floats(b, "psnr")), axis=[-3, -2, -1])
    return 20 * math.log10(max_val) - 10 / math.log(10) * K.log(error)


@named("image.ssim")
def ssim(img1: Any, img2: Any, max_val: float, filter_size: int = 11, filter_sigma: float = 1.5, k1: float = .01,
         k2: float = .03) -> Tensor:
    """The structural similarity of each pair of images (Wang et al., 2004), the mean of their channels'."""
    x, y = _floats(img1, "ssim", 4), _floats(img2, "ssim", 4)
    if x.ndim != 4:
        raise ValueError(f"tf.image.ssim takes (samples, rows, columns, channels) here; received {x.shape}")
    at = np.arange(filter_size, dtype="float32") - (filter_size - 1) / 2
    weights = np.exp(-np.square(at) / (2 * filter_sigma ** 2))
    window = np.outer(weights, weights)
    channels = x.shape[-1]
    kernel = K.constant(np.tile((window / window.sum())[:, :, None, None], (1, 1, channels, 1)), x.dtype)

    def local(z: Tensor) -> Tensor:
        return K.depthwise_conv2d(z, kernel, padding="valid", data_format="channels_last")
    c1, c2 = (k1 * max_val) ** 2, (k2 * max_val) ** 2
    mean_x, mean_y = local(x), local(y)
    both, squares = 2 * mean_x * mean_y, K.square(mean_x) + K.square(mean_y)
    light = (both + c1) / (squares + c1)
    structure = (2 * local(x * y) - both + c2) / (local(K.square(x) + K.square(y)) - squares + c2)
    return K.mean(K.mean(light * structure, axis=[1, 2]), axis=-1)


@named("image.total_variation")
def total_variation(images: Any) -> Tensor:
    """The sum of the absolute differences of neighbours in rows and columns, of each image."""
    x = _floats(images, "total_variation")
    down, right = K.abs(x[..., 1:, :, :] - x[..., :-1, :, :]), K.abs(x[..., 1:, :] - x[..., :-1, :])
    return K.sum(down, axis=[-3, -2, -1]) + K.sum(right, axis=[-3, -2, -1])


@named("image.rgb_to_grayscale")
def rgb_to_grayscale(images: Any) -> Tensor:
    """One channel of light for red, green and blue."""
    x = _floats(images, "rgb_to_grayscale")
    if x.shape[-1] != 3:
        raise ValueError(f"tf.image.rgb_to_grayscale takes three channels; received {x.shape}")
    return K.sum(x * K.constant([.2989, .587, .114], x.dtype), axis=-1, keepdims=True)


named("image.flip_left_right")(lambda image: K.reverse(Tensor(node_of(image)), node_of(image).ndim - 2))
named("image.flip_up_down")(lambda image: K.reverse(Tensor(node_of(image)), node_of(image).ndim - 3))
