"""Layers that Keras got after 2.3 are read from files of tf_keras and Keras 3 (`newer.py`) and compute the same."""
import json
import pathlib
import zipfile

import numpy as np
import pytest

from graphk.models import load_model

from tests.saving.record import wave

FILES = pathlib.Path(__file__).parent / "files"
NAMES = ["rescaling", "normalization", "normalization of an axis", "layer", "layer of axes", "groups", "each channel",
         "unit", "sequences", "sequences further", "attention", "attention with keys", "additive", "activations"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ending", ["h5", "keras"])
@pytest.mark.parametrize("package", ["tf_keras", "keras"])
def test_newer_layers(tmp_path, monkeypatch, package, ending, name):
    monkeypatch.setenv("GRAPHK_EXECUTOR", "interp")
    with zipfile.ZipFile(FILES / f"newer_{package}.zip") as z:
        z.extract(f"{name}.{ending}", tmp_path)
        shapes, want = json.loads(z.read("numbers.json"))[name]
    model = load_model(tmp_path / f"{name}.{ending}", compile=False)
    data = [wave(3, *s) * (i + 1) for i, s in enumerate(shapes)]
    np.testing.assert_allclose(model.predict(data if len(data) > 1 else data[0]), want, atol=2e-5)
    model.save(tmp_path / f"again.{ending}")
    again = load_model(tmp_path / f"again.{ending}", compile=False)
    np.testing.assert_array_equal(model.predict(data), again.predict(data))
