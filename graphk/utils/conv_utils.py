"""Keras's `utils.conv_utils` module; see `graphk.frontend.utils.conv_utils`."""
from graphk.frontend.backend import normalize_data_format  # noqa: F401  (until 2.2.2 it was here)
from graphk.frontend.utils.conv_utils import *           # noqa: F401,F403
