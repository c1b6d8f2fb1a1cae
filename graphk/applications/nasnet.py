"""NASNet-A (Zoph et al., 2017), large and mobile: cells that a search has found.

In: images of 331 (large) or 224 (mobile) pixels each way, or of any known size from 32 without published weights.
Out: 1000 classes, or features.  What always holds: layers and weights are those of Keras's NASNets; each cell reads the
outputs of the two cells before it.
"""
from __future__ import annotations

from typing import Any

from graphk.applications import imagenet_utils
from graphk.applications.building import (
    File,
    Request,
    channels_of,
    classifier,
    correct_pad,
    joined,
    normalized,
    relu,
)
from graphk.applications.imagenet_utils import decode_predictions
from graphk.frontend import backend as K
from graphk.frontend.layers import (
    AveragePooling2D,
    Conv2D,
    Cropping2D,
    MaxPooling2D,
    SeparableConv2D,
    ZeroPadding2D,
    add,
)
from graphk.frontend.models import Model
from graphk.frontend.tensor import Tensor

_BASE = "https://github.com/titu1994/Keras-NASNet/releases/download/v1.2/"
# By the usual size of images: published weights with and without the classifier.
_FILES = {224: (File("nasnet_mobile.h5", _BASE + "NASNet-mobile.h5", "020fb642bf7360b370c678b08e0adf61"),
                File("nasnet_mobile_no_top.h5", _BASE + "NASNet-mobile-no-top.h5", "1ed92395b5b598bdda52abe5c0dbfd63")),
          331: (File("nasnet_large.h5", _BASE + "NASNet-large.h5", "11577c9a518f0070763c2b964a382f17"),
                File("nasnet_large_no_top.h5", _BASE + "NASNet-large-no-top.h5", "d81d89dc07e6e56530c4e77faddd61b5"))}


def _normalized(x: Tensor, name: str) -> Tensor:
    return normalized(x, name, momentum=0.9997)


def _pointwise(x: Tensor, filters: int, name: str) -> Tensor:
    return Conv2D(filters, 1, padding="same", use_bias=False, kernel_initializer="he_normal", name=name)(x)


def _separable(x: Tensor, filters: int, size: int, block: str, strides: int = 1) -> Tensor:
    """Two rectified and normalized separable convolutions, of which the first has the strides."""
    for i in (1, 2):
        x, padding = relu(x), "same"
        if strides == 2 and i == 1:
            x, padding = ZeroPadding2D(correct_pad(x, size), name=f"separable_conv_1_pad_{block}")(x), "valid"
        x = SeparableConv2D(filters, size, strides=strides if i == 1 else 1, padding=padding, use_bias=False,
                            kernel_initializer="he_normal", name=f"separable_conv_{i}_{block}")(x)
        x = _normalized(x, f"separable_conv_{i}_bn_{block}")
    return x


def _adjusted(p: Tensor | None, x: Tensor, filters: int, block: str) -> Tensor:
    """The output of the cell before the last, p, in the size of x and with `filters` channels."""
    if p is None:
        return x
    axis = 2 if K.image_data_format() == "channels_first" else -2
    if K.int_shape(p)[axis] != K.int_shape(x)[axis]:
        p = relu(p, f"adjust_relu_1_{block}")
        halves = []
        for i, pixels in enumerate((p, None), 1):               # every second pixel, from the first and from the second
            if pixels is None:
                pixels = Cropping2D(((1, 0), (1, 0)))(ZeroPadding2D(((0, 1), (0, 1)))(p))
            pixels = AveragePooling2D(1, strides=2, name=f"adjust_avg_pool_{i}_{block}")(pixels)
            halves.append(_pointwise(pixels, filters // 2, f"adjust_conv_{i}_{block}"))
        return _normalized(joined(halves), f"adjust_bn_{block}")
    if channels_of(p) != filters:
        return _normalized(_pointwise(relu(p), filters, f"adjust_conv_projection_{block}"), f"adjust_bn_{block}")
    return p


def _squeezed(x: Tensor, filters: int, cell: str, block: str) -> Tensor:
    return _normalized(_pointwise(relu(x), filters, f"{cell}_conv_1_{block}"), f"{cell}_bn_1_{block}")


def _blurred(x: Tensor, name: str) -> Tensor:
    return AveragePooling2D(3, strides=1, padding="same", name=name)(x)


def _normal_cell(x: Tensor, p: Tensor | None, filters: int, block: str) -> tuple[Tensor, Tensor]:
    """A cell that keeps the size; its output and its input."""
    p = _adjusted(p, x, filters, block)
    h = _squeezed(x, filters, "normal", block)
    x1 = add([_separable(h, filters, 5, f"normal_left1_{block}"), _separable(p, filters, 3, f"normal_right1_{block}")],
             name=f"normal_add_1_{block}")
    x2 = add([_separable(p, filters, 5, f"normal_left2_{block}"), _separable(p, filters, 3, f"normal_right2_{block}")],
             name=f"normal_add_2_{block}")
    x3 = add([_blurred(h, f"normal_left3_{block}"), p], name=f"normal_add_3_{block}")
    x4 = add([_blurred(p, f"normal_left4_{block}"), _blurred(p, f"normal_right4_{block}")],
             name=f"normal_add_4_{block}")
    x5 = add([_separable(h, filters, 3, f"normal_left5_{block}"), h], name=f"normal_add_5_{block}")
    return joined([p, x1, x2, x3, x4, x5], f"normal_concat_{block}"), x


def _reduction_cell(x: Tensor, p: Tensor | None, filters: int, block: str) -> tuple[Tensor, Tensor]:
    """A cell that halves the size; its output and its input."""
    p = _adjusted(p, x, filters, block)
    h = _squeezed(x, filters, "reduction", block)
    padded = ZeroPadding2D(correct_pad(h, 3), name=f"reduction_pad_1_{block}")(h)

    def strided(x: Tensor, size: int, side: str) -> Tensor:
        return _separable(x, filters, size, f"reduction_{side}_{block}", 2)

    x1 = add([strided(h, 5, "left1"), strided(p, 7, "right1")], name=f"reduction_add_1_{block}")
    peak = MaxPooling2D(3, strides=2, name=f"reduction_left2_{block}")(padded)
    x2 = add([peak, strided(p, 7, "right2")], name=f"reduction_add_2_{block}")
    mean = AveragePooling2D(3, strides=2, name=f"reduction_left3_{block}")(padded)
    x3 = add([mean, strided(p, 5, "right3")], name=f"reduction_add3_{block}")
    x4 = add([x2, _blurred(x1, f"reduction_left4_{block}")])
    x5 = _separable(x1, filters, 3, f"reduction_left4_{block}")
    peak = MaxPooling2D(3, strides=2, name=f"reduction_right5_{block}")(padded)
    return joined([x2, x3, x4, add([x5, peak], name=f"reduction_add4_{block}")], f"reduction_concat_{block}"), x


def _body(x: Tensor, filters: int, num_blocks: int, stem: int, skip_reduction: bool, multiplier: int) -> Tensor:
    x = Conv2D(stem, 3, strides=2, use_bias=False, kernel_initializer="he_normal", name="stem_conv1")(x)
    x, p = _reduction_cell(_normalized(x, "stem_bn1"), None, filters // multiplier ** 2, "stem_1")
    x, p = _reduction_cell(x, p, filters // multiplier, "stem_2")
    for i in range(3):
        width = filters * multiplier ** i
        if i:
            x, before = _reduction_cell(x, p, width, f"reduce_{i * num_blocks}")
            p = p if skip_reduction else before
        for j in range(num_blocks):
            x, p = _normal_cell(x, p, width, str(i * num_blocks + j + bool(i)))
    return relu(x)


def NASNet(input_shape: Any = None, penultimate_filters: int = 4032, num_blocks: int = 6, stem_block_filters: int = 96,
           skip_reduction: bool = True, filter_multiplier: int = 2, include_top: bool = True, weights: Any = None,
           input_tensor: Any = None, pooling: str | None = None, classes: int = 1000, default_size: int | None = None,
           **kwargs: Any) -> Model:
    """NASNet-A (`num_blocks` @ `penultimate_filters`); other arguments as NASNetLarge has them.

    stem_block_filters: of the first convolution; skip_reduction: the first cell after a reduction reads, beside its
    output, what the reduction has read beside its input; filter_multiplier: how much wider each reduction makes the
    cells; default_size: of images, 331 or 224 for published weights.
    """
    request = Request("NASNet", include_top, weights, input_tensor, pooling, classes, kwargs)
    size = default_size or 331
    if penultimate_filters % (24 * filter_multiplier ** 2):
        raise ValueError("For NASNet-A models, the `penultimate_filters` must be a multiple of 24 * "
                         f"(`filter_multiplier` ** 2). Current value: {penultimate_filters}")
    if weights == "imagenet" and size not in _FILES:
        raise ValueError("ImageNet weights can only be loaded with NASNetLarge or NASNetMobile. Received "
                         f"default_size={size}")
    usual = (3, size, size) if K.image_data_format() == "channels_first" else (size, size, 3)
    shape = request.shape(input_shape or usual, size, 32)
    if None in shape:
        raise ValueError("The sizes of a NASNet's images must be known (no None entries), since its cells compare the "
                         f"sizes of their inputs. Got: `input_shape={shape}`.")
    image = request.image(shape)
    x = _body(image, penultimate_filters // 24, num_blocks, stem_block_filters, skip_reduction, filter_multiplier)
    return request.model("NASNet", image, x, classifier("predictions"), _FILES.get(size, _FILES[331]))


def NASNetLarge(input_shape: Any = None, include_top: bool = True, weights: Any = "imagenet",
                input_tensor: Any = None, pooling: str | None = None, classes: int = 1000, **kwargs: Any) -> Model:
    """NASNet-A (6 @ 4032).

    include_top: with the classifier; weights: 'imagenet' (fetched once), a file, or None for random ones; input_tensor:
    a tensor to build upon; input_shape: of an image, at least 32 rows and columns; pooling: without the classifier,
    'avg' or 'max' over space; classes: of the classifier.
    """
    return NASNet(input_shape, 4032, 6, 96, True, 2, include_top, weights, input_tensor, pooling, classes, 331,
                  **kwargs)


def NASNetMobile(input_shape: Any = None, include_top: bool = True, weights: Any = "imagenet",
                 input_tensor: Any = None, pooling: str | None = None, classes: int = 1000, **kwargs: Any) -> Model:
    """NASNet-A (4 @ 1056); arguments as NASNetLarge has them."""
    return NASNet(input_shape, 1056, 4, 32, False, 2, include_top, weights, input_tensor, pooling, classes, 224,
                  **kwargs)


def preprocess_input(x: Any, data_format: str | None = None, **kwargs: Any) -> Any:
    """Images of 0 to 255 as this network wants them: -1 to 1."""
    return imagenet_utils.preprocess_input(x, data_format, mode="tf", **kwargs)


__all__ = ["NASNet", "NASNetLarge", "NASNetMobile", "decode_predictions", "preprocess_input"]
