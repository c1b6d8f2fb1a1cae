"""Tests of ONNX run on the interpreter: what is compared is the graphs, and compiled code is compared elsewhere."""
import numpy as np
import pytest

from graphk import backend as K
from graphk.frontend import config


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setenv("GRAPHK_EXECUTOR", "interp")
    K.clear_session()
    np.random.seed(0)
    yield
    K.clear_session()
    for name, value in config.DEFAULTS.items():
        config.put(name, value)
