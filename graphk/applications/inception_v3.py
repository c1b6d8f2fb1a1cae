"""Inception v3 (Szegedy et al., 2015).

In: images of 299 by 299 pixels, or of any size from 75 without the classifier.  Out: 1000 classes, or features.  What
always holds: layers and weights are those of Keras's InceptionV3.
"""
from __future__ import annotations

from typing import Any

from graphk.applications import imagenet_utils
from graphk.applications.building import KERAS_FILES, classifier, network, published
from graphk.applications.imagenet_utils import decode_predictions
from graphk.applications.inception import STEM, Step, block, chain, conv, mean, peak, shrink
from graphk.frontend.tensor import Tensor

_FILES = published(KERAS_FILES + "v0.5/", "inception_v3", "9a0d58056eeedaa3f26cb7ebd46da564",
                   "bcbd6486424b2319ff4ef7d526e38f63")


def _wide(i: int, pooled: int) -> Step:
    """35 x 35: windows of 5 x 5, and of 3 x 3 twice."""
    return block([conv(64, 1)], [conv(48, 1), conv(64, 5)], [conv(64, 1), conv(96, 3), conv(96, 3)],
                 [mean, conv(pooled, 1)], name=f"mixed{i}")


def _crossed(i: int, width: int) -> Step:
    """17 x 17: windows of 7 x 7, as rows and columns."""
    return block([conv(192, 1)], [conv(width, 1), conv(width, 1, 7), conv(192, 7, 1)],
                 [conv(width, 1), conv(width, 7, 1), conv(width, 1, 7), conv(width, 7, 1), conv(192, 1, 7)],
                 [mean, conv(192, 1)], name=f"mixed{i}")


def _forked(i: int) -> Step:
    """8 x 8: paths that fork into a row and a column."""
    def fork(name: str | None = None) -> Step:
        return block([conv(384, 1, 3)], [conv(384, 3, 1)], name=name)
    return block([conv(320, 1)], [conv(384, 1), fork(f"mixed9_{i - 9}")], [conv(448, 1), conv(384, 3), fork()],
                 [mean, conv(192, 1)], name=f"mixed{i}")


@network("inception_v3", classifier("predictions", "avg_pool"), _FILES, size=299, least=75)
def InceptionV3(x: Tensor) -> Tensor:
    """Inception v3 (Szegedy et al., 2015)."""
    return chain(x, [
        *STEM, _wide(0, 32), _wide(1, 64), _wide(2, 64),
        block([shrink(384, 3)], [conv(64, 1), conv(96, 3), shrink(96, 3)], [peak], name="mixed3"),
        _crossed(4, 128), _crossed(5, 160), _crossed(6, 160), _crossed(7, 192),
        block([conv(192, 1), shrink(320, 3)], [conv(192, 1), conv(192, 1, 7), conv(192, 7, 1), shrink(192, 3)], [peak],
              name="mixed8"),
        _forked(9), _forked(10)])


def preprocess_input(x: Any, data_format: str | None = None, **kwargs: Any) -> Any:
    """Images of 0 to 255 as this network wants them: -1 to 1."""
    return imagenet_utils.preprocess_input(x, data_format, mode="tf", **kwargs)


__all__ = ["InceptionV3", "decode_predictions", "preprocess_input"]
