"""Fashion-MNIST: 70,000 pictures of clothes in ten classes (Zalando Research), downloaded once.

In: nothing.  Out: `(x_train, y_train), (x_test, y_test)`, uint8.  What always holds: without a network, the error says
where the files must lie.
"""
from __future__ import annotations

import gzip
import os
from typing import Any

import numpy as np

from graphk.datasets.files import STORE
from graphk.frontend.utils.downloads import get_file


def load_data() -> Any:
    """60,000 and 10,000 images (samples, 28, 28) and their classes, uint8."""
    return _part("train"), _part("t10k")


def _part(name: str) -> tuple[np.ndarray, np.ndarray]:
    labels = _numbers(f"{name}-labels-idx1-ubyte.gz", 8)
    return _numbers(f"{name}-images-idx3-ubyte.gz", 16).reshape(len(labels), 28, 28), labels


def _numbers(name: str, header: int) -> np.ndarray:
    path = get_file(name, origin=STORE + name, cache_subdir=os.path.join("datasets", "fashion-mnist"))
    with gzip.open(path, "rb") as f:
        return np.frombuffer(f.read(), np.uint8, offset=header).copy()
