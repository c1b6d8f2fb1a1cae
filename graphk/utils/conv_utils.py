"""Keras's `utils.conv_utils` module; see `graphk.frontend.utils.conv_utils`."""
from graphk.frontend.utils.conv_utils import *           # noqa: F401,F403
