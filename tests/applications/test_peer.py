"""Weights that tf_keras has saved load in order, and predict what tf_keras predicts."""
import subprocess
from pathlib import Path

import numpy as np
import pytest

from graphk import applications

from tests.applications.peer import CASES


@pytest.mark.peers
@pytest.mark.slow
def test_weights_and_predictions(peer, tmp_path):
    script = Path(__file__).with_name("peer.py")
    subprocess.run([peer, "-W", "ignore", str(script), str(tmp_path)], check=True, capture_output=True, timeout=280)
    for name, (rows, columns, settings) in CASES.items():
        model = getattr(applications, name)(weights=None, input_shape=(rows, columns, 3), classes=10, **settings)
        model.load_weights(str(tmp_path / f"{name}.h5"))
        stored = np.load(tmp_path / f"{name}.npz")
        np.testing.assert_allclose(model.predict(stored["x"]), stored["y"], rtol=1e-4, atol=1e-6, err_msg=name)
