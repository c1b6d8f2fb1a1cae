"""Keras's `utils.test_utils` module; see `graphk.frontend.utils.test_utils`."""
from graphk.frontend.utils.test_utils import *           # noqa: F401,F403
