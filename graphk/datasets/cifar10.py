"""CIFAR-10: 60,000 colour images of 32 x 32 pixels in ten classes (A. Krizhevsky, 2009), downloaded once.

In: nothing.  Out: `(x_train, y_train), (x_test, y_test)`, uint8, in the layout of K.image_data_format().  What always
holds: without a network, the error says where the file must lie.
"""
from __future__ import annotations

import os
from typing import Any

import numpy as np

from graphk.datasets.cifar import arranged, load_batch
from graphk.frontend.utils.downloads import get_file

_HASH = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"


def load_data() -> Any:
    """50,000 and 10,000 images and their classes, a column of numbers from 0 to 9."""
    folder = get_file("cifar-10-batches-py", origin="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
                      untar=True, file_hash=_HASH)
    parts = [load_batch(os.path.join(folder, f"data_batch_{i}")) for i in range(1, 6)]
    x_test, y_test = load_batch(os.path.join(folder, "test_batch"))
    x, y = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]).astype("uint8")
    return arranged(x, y, x_test, np.asarray(y_test))
