"""What graphk writes is read by Keras where it is installed: GRAPHK_PEER names a Python with tf_keras, GRAPHK_PEER_3
one with Keras 3."""
import os
import pathlib
import subprocess

import pytest

from tests.saving.write import files

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.peers
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
