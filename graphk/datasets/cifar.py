"""What CIFAR-10 and CIFAR-100 share (A. Krizhevsky, 2009).

In: one of their files.  Out: images and labels.  What always holds: images are uint8, (samples, 3, 32, 32).
"""
from __future__ import annotations

from typing import Any

import numpy as np

from graphk.datasets.files import unpickle
from graphk.frontend import backend as K


def load_batch(fpath: str, label_key: str = "labels") -> tuple[np.ndarray, list[int]]:
    """The images and labels of one file."""
    with open(fpath, "rb") as f:
        found = unpickle(f, fpath, "bytes")
    found = {k.decode("utf8"): v for k, v in found.items()}
    return np.reshape(found["data"], (-1, 3, 32, 32)), found[label_key]


def arranged(x_train: Any, y_train: Any, x_test: Any, y_test: Any) -> Any:
    """Both parts, labels as a column, channels where K.image_data_format() has them."""
    y_train, y_test = np.reshape(y_train, (-1, 1)), np.reshape(y_test, (-1, 1))
    if K.image_data_format() == "channels_last":
        x_train, x_test = (x.transpose(0, 2, 3, 1) for x in (x_train, x_test))
    return (x_train, y_train), (x_test, y_test)
