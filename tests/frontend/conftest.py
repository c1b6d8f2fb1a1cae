"""The front end's tests run compiled; `GRAPHK_EXECUTOR=interp` runs them on the oracle, the numpy interpreter."""
import json
import os
import pathlib

import numpy as np
import pytest

os.environ.setdefault("GRAPHK_EXECUTOR", "cpu")


@pytest.fixture(autouse=True)
def fresh():
    from graphk import backend as K
    from graphk.frontend import config
    K.clear_session()
    np.random.seed(0)
    yield
    K.clear_session()
    for name, value in config.DEFAULTS.items():
        config.put(name, value)


@pytest.fixture(scope="session")
def recorded():
    """Values computed by tf_keras 2.21 (Keras 2's formulas), rounded to 7 digits."""
    return json.loads((pathlib.Path(__file__).parent / "recorded.json").read_text())
