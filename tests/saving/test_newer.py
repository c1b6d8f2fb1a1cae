"""Layers that Keras got after 2.3 are read from files of tf_keras and Keras 3 (`newer.py`) and compute the same."""
import json
import pathlib
import zipfile

import numpy as np
import pytest

from graphk.models import load_model, model_from_config

from tests.saving.record import wave

FILES = pathlib.Path(__file__).parent / "files"
NAMES = ["rescaling", "normalization", "normalization of an axis", "layer", "layer of axes", "groups", "each channel",
         "unit", "sequences", "sequences further", "attention", "attention with keys", "additive", "activations",
         "operations"]


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
    if name == "operations":
        with pytest.raises(ValueError, match="Keras 3 has no such layer"):
            model.save(tmp_path / "again.keras")
        ending = "h5"
    model.save(tmp_path / f"again.{ending}")
    again = load_model(tmp_path / f"again.{ending}", compile=False)
    np.testing.assert_array_equal(model.predict(data), again.predict(data))


def test_operations_that_graphk_does_not_have_are_named():
    config = {"class_name": "Functional", "config": {"name": "m", "layers": [
        {"class_name": "InputLayer", "name": "i", "config": {"name": "i", "batch_input_shape": [None, 4]},
         "inbound_nodes": []},
        {"class_name": "TFOpLambda", "name": "tf.image.resize", "inbound_nodes": [["i", 0, 0, {"size": [2, 2]}]],
         "config": {"name": "tf.image.resize", "function": "image.resize"}},
        {"class_name": "Fft", "module": "keras.src.ops.math", "name": "fft", "config": {"name": "fft"},
         "inbound_nodes": [{"args": [], "kwargs": {}}]}],
        "input_layers": [["i", 0, 0]], "output_layers": [["fft", 0, 0]]}}
    with pytest.raises(ValueError) as e:
        model_from_config(config)
    assert "computes tf.image.resize, an operation that graphk does not have" in str(e.value)
    assert "computes keras.src.ops.math.Fft" in str(e.value)
