"""Keras's `utils.np_utils` module; see `graphk.frontend.utils.np_utils`."""
from graphk.frontend.utils.np_utils import *             # noqa: F401,F403
