"""Keras's `layers.pooling` module; see `graphk.frontend.layers.pooling`."""
from graphk.frontend.layers.pooling import *           # noqa: F401,F403
