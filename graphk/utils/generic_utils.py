"""Keras's `utils.generic_utils` module; see `graphk.frontend.utils.generic_utils`."""
from graphk.frontend.utils.generic_utils import *             # noqa: F401,F403
