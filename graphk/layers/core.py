"""Keras's `layers.core` module; see `graphk.frontend.layers.core`."""
from graphk.frontend.layers.core import *           # noqa: F401,F403
