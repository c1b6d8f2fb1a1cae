"""Keras's `engine.training_generator` module; see `graphk.frontend.engine.training_generator`."""
from graphk.frontend.engine.training_generator import *            # noqa: F401,F403
