"""Keras's `regularizers` module; see `graphk.frontend.regularizers`."""
from graphk.frontend.regularizers import *                  # noqa: F401,F403
