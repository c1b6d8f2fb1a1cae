"""Keras's `engine.training_arrays` module; see `graphk.frontend.engine.training_arrays`."""
from graphk.frontend.engine.training_arrays import *            # noqa: F401,F403
