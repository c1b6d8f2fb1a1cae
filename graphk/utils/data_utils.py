"""Keras's `utils.data_utils` module; see `graphk.frontend.utils.data_utils`."""
from graphk.frontend.utils.data_utils import *             # noqa: F401,F403
