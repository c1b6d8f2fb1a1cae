"""The front end's tests run compiled; `GRAPHK_EXECUTOR=interp` runs them on the oracle, the numpy interpreter."""
import json
import os
import pathlib

import pytest

from tests.fresh import fresh  # noqa: F401

os.environ.setdefault("GRAPHK_EXECUTOR", "cpu")


@pytest.fixture(scope="session")
def recorded():
    """Values computed by tf_keras 2.21 (Keras 2's formulas), rounded to 7 digits."""
    return json.loads((pathlib.Path(__file__).parent / "recorded.json").read_text())
