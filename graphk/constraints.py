"""Keras's `constraints` module; see `graphk.frontend.constraints`."""
from graphk.frontend.constraints import *                  # noqa: F401,F403
