"""Files that tf_keras and Keras 3 wrote (`record.py`) are read, predict the same, and training goes on in them."""
import json
import pathlib
import zipfile

import numpy as np
import pytest

from graphk.frontend.utils.generic_utils import to_list
from graphk.models import load_model

from tests.saving.record import OPTIMIZERS, data, twice, unmasked

FILES = pathlib.Path(__file__).parent / "files"
SHAPES = {"recurrent": (5, 3), "masked": (5,), "images": (6, 6, 2), "twins": None}
LAMBDAS = {"twice": twice, "twice.mask": unmasked, "unmasked": unmasked}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The packages' files, unpacked."""
    out = {}
    for package in ("tf_keras", "keras"):
        out[package] = tmp_path_factory.mktemp(package)
        with zipfile.ZipFile(FILES / f"{package}.zip") as z:
            z.extractall(out[package])
    return out


@pytest.mark.parametrize("name", list(OPTIMIZERS))
@pytest.mark.parametrize("ending", ["h5", "keras"])
@pytest.mark.parametrize("package", ["tf_keras", "keras"])
def test_files_of_peers(folders, package, ending, name):
    folder = folders[package]
    want = json.loads((folder / "numbers.json").read_text())[name]
    model = load_model(folder / f"{name}.{ending}", custom_objects=LAMBDAS)
    x, y = data(SHAPES[name], name)
    for got, expected in zip(to_list(model.predict(x)), want["predicted"]):
        np.testing.assert_allclose(got, expected, atol=2e-6)
    model.train_on_batch(x, y)
    for got, expected in zip(to_list(model.predict(x)), want["after"]):
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
@pytest.mark.parametrize("package", ["tf_keras", "keras"])
def test_weights_in_folders(folders, tmp_path, package, name):
    """Keras 3's `save_weights` writes what an archive holds."""
    path = folders[package] / f"{name}.keras"
    with zipfile.ZipFile(path) as z:
        (tmp_path / "m.weights.h5").write_bytes(z.read("model.weights.h5"))
    model = load_model(path, custom_objects=LAMBDAS, compile=False)
    want = model.get_weights()
    model.set_weights([w * 0 for w in want])
    model.load_weights(tmp_path / "m.weights.h5")
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), want))
    with pytest.raises(ValueError, match="by_name"):
        model.load_weights(tmp_path / "m.weights.h5", by_name=True)
