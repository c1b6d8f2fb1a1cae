"""Settings that a test changes are those of the next one no more."""
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def fresh():
    from graphk import backend as K
    from graphk.frontend import config
    K.clear_session()
    np.random.seed(0)
    yield
    for name, value in config.DEFAULTS.items():
        config.put(name, value)
