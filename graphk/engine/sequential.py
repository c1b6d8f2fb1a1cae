"""Keras's `engine.sequential` module; see `graphk.frontend.engine.sequential`."""
from graphk.frontend.engine.sequential import *            # noqa: F401,F403
