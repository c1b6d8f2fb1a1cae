"""Keras's `layers.normalization` module; see `graphk.frontend.layers.normalization`."""
from graphk.frontend.layers.normalization import *           # noqa: F401,F403
