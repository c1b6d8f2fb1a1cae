"""A fixture for folders whose tests make layers: `from tests.fresh import fresh` in their conftest.py.

In: a test.  Out: names, numbers and settings as in a new process.  What always holds: they are so again afterwards.
"""
import numpy as np
import pytest


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
