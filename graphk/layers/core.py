"""Keras's `layers.core` module; see `graphk.frontend.layers.core`."""
from graphk.frontend.layers.core import *           # noqa: F401,F403
from graphk.frontend.layers.legacy_layers import *  # noqa: F401,F403  (Keras 1 had them here)
