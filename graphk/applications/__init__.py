"""Known networks, as `keras.applications`: architectures, their published weights, and what prepares images for them.

In: what of a network is wanted (classifier, weights, size of images).  Out: a Model.  What always holds: names and
order of layers and shapes of weights are those of Keras 2.2.4 (with keras_applications 1.0.8), so that published files
load.
"""
from __future__ import annotations

import functools
from typing import Any, Callable

from graphk.applications import (
    densenet,
    imagenet_utils,
    inception_resnet_v2,
    inception_v3,
    mobilenet,
    mobilenet_v2,
    mobilenetv2,
    nasnet,
    resnet,
    resnet50,
    resnet_v2,
    vgg16,
    vgg19,
    xception,
)
from graphk.applications.densenet import DenseNet121, DenseNet169, DenseNet201
from graphk.applications.inception_resnet_v2 import InceptionResNetV2
from graphk.applications.inception_v3 import InceptionV3
from graphk.applications.mobilenet import MobileNet
from graphk.applications.mobilenet_v2 import MobileNetV2
from graphk.applications.nasnet import NASNetLarge, NASNetMobile
from graphk.applications.resnet import ResNet101, ResNet152
from graphk.applications.resnet50 import ResNet50
from graphk.applications.resnet_v2 import ResNet50V2, ResNet101V2, ResNet152V2
from graphk.applications.vgg16 import VGG16
from graphk.applications.vgg19 import VGG19
from graphk.applications.xception import Xception


def keras_modules_injection(base_fun: Callable[..., Any]) -> Callable[..., Any]:
    """`base_fun`, called with this package's modules as the keywords backend, layers, models and utils."""
    @functools.wraps(base_fun)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        from graphk import backend, layers, models, utils
        return base_fun(*args, **{**kwargs, "backend": backend, "layers": layers, "models": models, "utils": utils})
    return wrapper


__all__ = ["DenseNet121", "DenseNet169", "DenseNet201", "InceptionResNetV2", "InceptionV3", "MobileNet", "MobileNetV2",
           "NASNetLarge", "NASNetMobile", "ResNet101", "ResNet101V2", "ResNet152", "ResNet152V2", "ResNet50",
           "ResNet50V2", "VGG16", "VGG19", "Xception", "densenet", "imagenet_utils", "inception_resnet_v2",
           "inception_v3", "keras_modules_injection", "mobilenet", "mobilenet_v2", "mobilenetv2", "nasnet", "resnet",
           "resnet50", "resnet_v2", "vgg16", "vgg19", "xception"]
