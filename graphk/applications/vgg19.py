"""VGG19 (Simonyan and Zisserman, 2014): 19 layers with weights, published ones included.

In: images of 224 by 224 pixels, or of any size without the classifier.  Out: 1000 classes, or features.  What always
holds: layers and weights are those of Keras's VGG19.
"""
from __future__ import annotations

from graphk.applications import vgg
from graphk.applications.building import KERAS_FILES, network, published
from graphk.applications.imagenet_utils import decode_predictions, preprocess_input
from graphk.frontend.tensor import Tensor

_FILES = published(KERAS_FILES + "v0.1/", "vgg19", "cbe5617147190e668d6c5d5026f83318",
                   "253f8cb515780f3b799900260a226db6")


@network("vgg19", vgg.top, _FILES)
def VGG19(x: Tensor) -> Tensor:
    """VGG19 (Simonyan and Zisserman, 2014)."""
    return vgg.blocks(x, (2, 2, 4, 4, 4))


__all__ = ["VGG19", "decode_predictions", "preprocess_input"]
