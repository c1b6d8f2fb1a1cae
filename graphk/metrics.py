"""Keras's `metrics` module; see `graphk.frontend.metrics`."""
from graphk.frontend.metrics import *                  # noqa: F401,F403
