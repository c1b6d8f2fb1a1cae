"""Keras's `layers.convolutional_recurrent` module; see `graphk.frontend.layers.convolutional_recurrent`."""
from graphk.frontend.engine.base_layer import InputSpec, Layer  # noqa: F401
from graphk.frontend.layers.convolutional_recurrent import *           # noqa: F401,F403
