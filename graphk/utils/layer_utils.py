"""Keras's `utils.layer_utils` module; see `graphk.frontend.utils.layer_utils`."""
from graphk.frontend.engine.sources import get_source_inputs  # noqa: F401
from graphk.frontend.layers import deserialize as layer_from_config  # noqa: F401  (Keras 1's name)
from graphk.frontend.utils.layer_utils import *             # noqa: F401,F403
