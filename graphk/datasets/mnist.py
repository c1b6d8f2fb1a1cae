"""MNIST: 70,000 handwritten digits of 28 x 28 pixels (Y. LeCun, C. Cortes, C. J. C. Burges), downloaded once.

In: the name of the file in the cache.  Out: `(x_train, y_train), (x_test, y_test)`, uint8.  What always holds: without
a network, the error says where the file must lie; `graphk.datasets.digits` needs none.
"""
from __future__ import annotations

from typing import Any

from graphk.datasets.files import STORE, load_npz, split
from graphk.frontend.utils.downloads import get_file

_HASHES = ["731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1", "8a61469f7ea1b51cbae51d4f78837e45"]


def load_data(path: str = "mnist.npz") -> Any:
    """60,000 and 10,000 images (samples, 28, 28) and their digits, uint8."""
    return split(load_npz(get_file(path, origin=STORE + "mnist.npz", file_hash=_HASHES)))
