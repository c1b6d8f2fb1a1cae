"""Keras's `activations` module; see `graphk.frontend.activations`."""
from graphk.frontend.activations import *                  # noqa: F401,F403
