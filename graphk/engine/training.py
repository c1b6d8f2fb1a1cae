"""Keras's `engine.training` module; see `graphk.frontend.engine.training`."""
from graphk.frontend.engine.training import *            # noqa: F401,F403
