"""VGG16 (Simonyan and Zisserman, 2014): 16 layers with weights, published ones included.

In: images of 224 by 224 pixels, or of any size without the classifier.  Out: 1000 classes, or features.  What always
holds: layers and weights are those of Keras's VGG16.
"""
from __future__ import annotations

from graphk.applications import vgg
from graphk.applications.building import KERAS_FILES, network, published
from graphk.applications.imagenet_utils import decode_predictions, preprocess_input
from graphk.frontend.tensor import Tensor

_FILES = published(KERAS_FILES + "v0.1/", "vgg16", "64373286793e3c8b2b4e3219cbf3544b",
                   "6d6bbae143d832006294945121d1f1fc")


@network("vgg16", vgg.top, _FILES)
def VGG16(x: Tensor) -> Tensor:
    """VGG16 (Simonyan and Zisserman, 2014)."""
    return vgg.blocks(x, (2, 2, 3, 3, 3))


__all__ = ["VGG16", "decode_predictions", "preprocess_input"]
