"""Keras's `optimizers` module; see `graphk.frontend.optimizers`."""
from graphk.frontend.optimizers import *                  # noqa: F401,F403
