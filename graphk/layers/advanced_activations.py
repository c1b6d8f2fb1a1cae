"""Keras's `layers.advanced_activations` module; see `graphk.frontend.layers.advanced_activations`."""
from graphk.frontend.layers.advanced_activations import *           # noqa: F401,F403
