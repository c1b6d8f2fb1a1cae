"""Training, testing and predicting from data sets in HDF5 files, and what is imported only for files."""
import subprocess
import sys

import h5py
import numpy as np
import pytest

import graphk
from graphk import layers as L
from graphk.models import Sequential
from graphk.utils import HDF5Matrix
from graphk.utils.io_utils import HDF5Matrix as same

RANDOM = np.random.RandomState(0)
X, Y = RANDOM.rand(50, 4).astype("float32"), RANDOM.randint(0, 2, (50, 1))


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as f:
        f["x"], f["y"], f["flat"] = X, Y, Y[:, 0]
    yield str(tmp_path / "data.h5")
    HDF5Matrix.release(str(tmp_path / "data.h5"))


def model():
    m = Sequential([L.Dense(1, activation="sigmoid", input_shape=(4,), kernel_initializer="ones")])
    m.compile("sgd", "binary_crossentropy", metrics=["acc"])
    return m


@pytest.mark.parametrize("shuffle", ["batch", False, True])
def test_a_file_trains_as_its_arrays_do(path, shuffle):
    histories = []
    for x, y, more in [(X[:40], Y[:40], (X[40:] + 1, Y[40:])),
                       (HDF5Matrix(path, "x", 0, 40), HDF5Matrix(path, "y", 0, 40),
                        (HDF5Matrix(path, "x", 40, 50, normalizer=lambda a: a + 1), HDF5Matrix(path, "flat", 40)))]:
        np.random.seed(3)
        histories.append(model().fit(x, y, batch_size=16, epochs=2, shuffle=shuffle, verbose=0, validation_data=more,
                                     class_weight={0: 1., 1: 2.}).history)
    for key, values in histories[0].items():
        np.testing.assert_allclose(histories[1][key], values, rtol=1e-5)
    assert same is HDF5Matrix


def test_a_file_is_tested_and_predicted(path):
    m, x, y = model(), HDF5Matrix(path, "x", 10, 45), HDF5Matrix(path, "y", 10, 45)
    np.testing.assert_allclose(m.evaluate(x, y, batch_size=8, verbose=0), m.evaluate(X[10:45], Y[10:45], verbose=0),
                               rtol=1e-5)
    np.testing.assert_allclose(m.predict(x, batch_size=8), m.predict(X[10:45]), rtol=1e-6)
    split = m.fit(x, y, shuffle="batch", validation_split=.2, verbose=0)
    assert "val_acc" in split.history


def test_which_samples(path):
    m = HDF5Matrix(path, "x", 10, 20)
    for key in (slice(-3, None), slice(None, -8), slice(2, -2, 3), np.arange(10) % 3 == 0, [3, 0, 3], -1):
        np.testing.assert_array_equal(m[key], X[10:20][key])
    for key in (slice(None, -11), slice(0, 11), np.ones(9, bool), [10], 10, "a"):
        with pytest.raises(IndexError):
            m[key]


def test_a_part_that_the_file_does_not_have(path):
    with pytest.raises(KeyError, match=r"data.h5 has no data set 'z' of samples; it has \['flat', 'x', 'y'\]"):
        HDF5Matrix(path, "z")
    for start, end in ((0, 51), (20, 10), (-5, None)):
        with pytest.raises(ValueError, match=f"start={start} and end={end} are no part of the 50 samples of 'x'"):
            HDF5Matrix(path, "x", start, end)


def test_what_is_imported_when_it_is_used():
    """Only names that are asked for bring the packages that they need."""
    code = ("import sys, graphk, graphk.callbacks, graphk.utils, graphk.engine, graphk.layers, graphk.models;"
            "graphk.engine.topology;"
            "print([m for m in ('h5py', 'matplotlib', 'pydot', 'requests', 'tensorboard', 'scipy', 'pandas', 'yaml', "
            "'graphk.engine.saving') if m in sys.modules]);"
            "graphk.engine.saving.load_model; print('h5py' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "True"]


@pytest.mark.parametrize("name", ["load_weights_from_hdf5_group", "load_weights_from_hdf5_group_by_name",
                                  "preprocess_weights_for_loading", "save_weights_to_hdf5_group"])
def test_names_of_older_versions_are_those_of_saving(name):
    assert getattr(graphk.engine.topology, name) is getattr(graphk.engine.saving, name)
    with pytest.raises(AttributeError, match="graphk.engine has no `savings`"):
        _ = graphk.engine.savings
