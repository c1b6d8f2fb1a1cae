"""Keras's `utils.layer_utils` module; see `graphk.frontend.utils.layer_utils`."""
from graphk.frontend.utils.layer_utils import *             # noqa: F401,F403
