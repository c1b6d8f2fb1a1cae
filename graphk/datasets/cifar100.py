"""CIFAR-100: 60,000 colour images of 32 x 32 pixels in 100 classes (A. Krizhevsky, 2009), downloaded once.

In: which labels.  Out: `(x_train, y_train), (x_test, y_test)`, in the layout of K.image_data_format().  What always
holds: without a network, the error says where the file must lie.
"""
from __future__ import annotations

import os
from typing import Any

from graphk.datasets.cifar import arranged, load_batch
from graphk.frontend.utils.downloads import get_file

_HASH = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"


def load_data(label_mode: str = "fine") -> Any:
    """50,000 and 10,000 images and their classes, a column; label_mode: 'fine' (100 classes) or 'coarse' (20)."""
    if label_mode not in ("fine", "coarse"):
        raise ValueError('`label_mode` must be one of `"fine"`, `"coarse"`.')
    folder = get_file("cifar-100-python", origin="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
                      untar=True, file_hash=_HASH)
    x, y = load_batch(os.path.join(folder, "train"), label_mode + "_labels")
    x_test, y_test = load_batch(os.path.join(folder, "test"), label_mode + "_labels")
    return arranged(x, y, x_test, y_test)
