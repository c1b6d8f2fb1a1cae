"""Boston housing: 506 districts of the 1970s, 13 features each, and the median price of a house, downloaded once.

In: how to split.  Out: `(x_train, y_train), (x_test, y_test)`, float64.  What always holds: without a network, the
error says where the file must lie.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from graphk.datasets.files import STORE, load_npz
from graphk.datasets.words import shuffled
from graphk.frontend.utils.downloads import get_file

_HASH = "f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5"


def load_data(path: str = "boston_housing.npz", test_split: float = 0.2, seed: int = 113) -> Any:
    """Features (districts, 13) and prices in thousands of dollars; the share `test_split` is for tests."""
    if not 0 <= test_split < 1:
        raise ValueError(f"boston_housing: test_split is a share, from 0 to below 1; received {test_split!r}")
    arrays = load_npz(get_file(path, origin=STORE + "boston_housing.npz", file_hash=_HASH))
    x, y = shuffled(arrays["x"], arrays["y"], np.random.RandomState(seed))
    at = int(len(x) * (1 - test_split))
    return (x[:at], y[:at]), (x[at:], y[at:])
