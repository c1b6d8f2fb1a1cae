"""Keras's `utils.layer_utils` module; see `graphk.frontend.utils.layer_utils`."""
from graphk.frontend.engine.sources import get_source_inputs  # noqa: F401
from graphk.frontend.utils.layer_utils import *             # noqa: F401,F403
