"""Keras's `initializers` module; see `graphk.frontend.initializers`."""
from graphk.frontend.initializers import *                  # noqa: F401,F403
from graphk.frontend.initializers import _compute_fans      # noqa: F401
