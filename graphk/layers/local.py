"""Keras's `layers.local` module; see `graphk.frontend.layers.local`."""
from graphk.frontend.engine.base_layer import InputSpec, Layer  # noqa: F401
from graphk.frontend.layers.local import *           # noqa: F401,F403
