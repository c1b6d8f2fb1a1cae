"""What graphk writes is read by Keras where it is installed: GRAPHK_PEER names a Python with tf_keras, GRAPHK_PEER_3
one with Keras 3."""
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

from graphk.frontend.utils.generic_utils import to_list
from graphk.models import load_model

from tests.frontend.layers import inputs
from tests.saving.write import files

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.peers
@pytest.mark.timeout(900)
@pytest.mark.parametrize("package, ending", [("tf_keras", "h5"), ("keras", "h5"), ("keras", "keras")])
def test_peers_predict_the_same(tmp_path, monkeypatch, package, ending):
    python = os.environ.get("GRAPHK_PEER" if package == "tf_keras" else "GRAPHK_PEER_3")
    if not python:
        pytest.skip(f"no Python with {package} is named")
    monkeypatch.setenv("GRAPHK_EXECUTOR", "interp")
    files(tmp_path, ending, package)
    said = subprocess.run([python, "-W", "ignore", "-m", "tests.saving.write", str(tmp_path), ending], cwd=ROOT,
                          capture_output=True, text=True, check=True).stdout
    assert not said.strip(), said


@pytest.mark.peers
@pytest.mark.timeout(900)
@pytest.mark.parametrize("package, ending", [("tf_keras", "h5"), ("tf_keras", "keras"), ("keras", "h5"),
                                             ("keras", "keras")])
def test_what_peers_write_predicts_the_same(tmp_path, monkeypatch, package, ending):
    python = os.environ.get("GRAPHK_PEER" if package == "tf_keras" else "GRAPHK_PEER_3")
    if not python:
        pytest.skip(f"no Python with {package} is named")
    monkeypatch.setenv("GRAPHK_EXECUTOR", "interp")
    subprocess.run([python, "-W", "ignore", "-m", "tests.saving.write", str(tmp_path), ending, "write"], cwd=ROOT,
                   capture_output=True, check=True)
    for i, (case, want) in json.loads((tmp_path / "predicted.json").read_text()).items():
        model = load_model(tmp_path / f"{i}.{ending}", compile=False)
        for got, expected in zip(to_list(model.predict_on_batch(inputs(case, 2))), want):
            np.testing.assert_allclose(got, expected, atol=1e-5, err_msg=case)
