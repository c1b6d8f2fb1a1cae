"""Inception-ResNet v2 (Szegedy et al., 2016).

In: images of 299 by 299 pixels, or of any size from 75 without the classifier.  Out: 1000 classes, or features.  What
always holds: layers and weights are those of Keras's InceptionResNetV2.
"""
from __future__ import annotations

from functools import partial
from typing import Any, Sequence

from graphk.applications import imagenet_utils
from graphk.applications.building import KERAS_FILES, channels_of, classifier, network, published, relu
from graphk.applications.imagenet_utils import decode_predictions
from graphk.applications.inception import STEM, Step, block, chain, conv, convolved, mean, peak, shrink
from graphk.frontend import backend as K
from graphk.frontend.layers import Conv2D, Lambda
from graphk.frontend.tensor import Tensor

_FILES = published(KERAS_FILES + "v0.7/", "inception_resnet_v2", "e693bd0210a403b3192acc6073ad2e96",
                   "d19885ff4a710c122648d3b5c3b684e4")
_A: Sequence[Sequence[Step]] = ([conv(32, 1)], [conv(32, 1), conv(32, 3)], [conv(32, 1), conv(48, 3), conv(64, 3)])
_B: Sequence[Sequence[Step]] = ([conv(192, 1)], [conv(128, 1), conv(160, 1, 7), conv(192, 7, 1)])
_C: Sequence[Sequence[Step]] = ([conv(192, 1)], [conv(192, 1), conv(224, 1, 3), conv(256, 3, 1)])


def scaled_sum(inputs: Sequence[Tensor], scale: float) -> Tensor:
    """The first tensor, and the second times `scale`."""
    return inputs[0] + inputs[1] * scale


def _residual(x: Tensor, paths: Sequence[Sequence[Step]], scale: float, name: str, last: bool = False) -> Tensor:
    """What a block makes of x, scaled and added to it."""
    y = block(*paths, name=f"{name}_mixed")(x)
    y = Conv2D(channels_of(x), 1, padding="same", name=f"{name}_conv")(y)
    y = Lambda(scaled_sum, output_shape=K.int_shape(x)[1:], arguments={"scale": scale}, name=name)([x, y])
    return y if last else relu(y, f"{name}_ac")


def _residuals(count: int, paths: Sequence[Sequence[Step]], scale: float, name: str) -> list[Step]:
    return [partial(_residual, paths=paths, scale=scale, name=f"{name}_{i}") for i in range(1, count + 1)]


@network("inception_resnet_v2", classifier("predictions", "avg_pool"), _FILES, size=299, least=75)
def InceptionResNetV2(x: Tensor) -> Tensor:
    """Inception-ResNet v2 (Szegedy et al., 2016)."""
    return chain(x, [
        *STEM,
        block([conv(96, 1)], [conv(48, 1), conv(64, 5)], [conv(64, 1), conv(96, 3), conv(96, 3)], [mean, conv(64, 1)],
              name="mixed_5b"),
        *_residuals(10, _A, 0.17, "block35"),
        block([shrink(384, 3)], [conv(256, 1), conv(256, 3), shrink(384, 3)], [peak], name="mixed_6a"),
        *_residuals(20, _B, 0.1, "block17"),
        block([conv(256, 1), shrink(384, 3)], [conv(256, 1), shrink(288, 3)],
              [conv(256, 1), conv(288, 3), shrink(320, 3)], [peak], name="mixed_7a"),
        *_residuals(9, _C, 0.2, "block8"),
        partial(_residual, paths=_C, scale=1., name="block8_10", last=True),
        partial(convolved, filters=1536, size=1, name="conv_7b")])


def preprocess_input(x: Any, data_format: str | None = None, **kwargs: Any) -> Any:
    """Images of 0 to 255 as this network wants them: -1 to 1."""
    return imagenet_utils.preprocess_input(x, data_format, mode="tf", **kwargs)


__all__ = ["InceptionResNetV2", "decode_predictions", "preprocess_input"]
