"""Keras's `engine.training_utils` module; see `graphk.frontend.engine.training_utils`."""
from graphk.frontend.engine.training_utils import *            # noqa: F401,F403
