"""Keras's `layers.wrappers` module; see `graphk.frontend.layers.wrappers`."""
from graphk.frontend.engine.base_layer import InputSpec, Layer  # noqa: F401
from graphk.frontend.layers.wrappers import *           # noqa: F401,F403
