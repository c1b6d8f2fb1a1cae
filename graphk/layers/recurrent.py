"""Keras's `layers.recurrent` module; see `graphk.frontend.layers.recurrent`."""
from graphk.frontend.layers.recurrent import *           # noqa: F401,F403
