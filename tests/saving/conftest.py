"""Names of layers start anew with each test, and the compiled executor runs unless the environment says otherwise."""
import os

import numpy as np
import pytest

os.environ.setdefault("GRAPHK_EXECUTOR", "cpu")


@pytest.fixture(autouse=True)
def fresh():
    from graphk import backend as K
    K.clear_session()
    np.random.seed(0)
    yield
    K.clear_session()
