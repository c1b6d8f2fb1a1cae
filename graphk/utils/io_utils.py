"""Keras's `utils.io_utils` module; see `graphk.frontend.utils.io_utils`."""
from graphk.frontend.utils.io_utils import *             # noqa: F401,F403
