"""Keras's `engine.base_layer` module; see `graphk.frontend.engine.base_layer`."""
from graphk.frontend.engine.base_layer import *            # noqa: F401,F403
