"""Keras's `engine.input_layer` module; see `graphk.frontend.engine.input_layer`."""
from graphk.frontend.engine.input_layer import *            # noqa: F401,F403
