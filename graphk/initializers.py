"""Keras's `initializers` module; see `graphk.frontend.initializers`."""
from graphk.frontend.initializers import *                  # noqa: F401,F403
