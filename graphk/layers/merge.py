"""Keras's `layers.merge` module; see `graphk.frontend.layers.merge`."""
from graphk.frontend.layers.merge import *           # noqa: F401,F403
