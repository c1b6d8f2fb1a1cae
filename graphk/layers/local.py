"""Keras's `layers.local` module; see `graphk.frontend.layers.local`."""
from graphk.frontend.layers.local import *           # noqa: F401,F403
