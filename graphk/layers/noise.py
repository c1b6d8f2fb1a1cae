"""Keras's `layers.noise` module; see `graphk.frontend.layers.noise`."""
from graphk.frontend.layers.noise import *           # noqa: F401,F403
