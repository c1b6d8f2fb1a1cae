"""Keras's `layers.advanced_activations` module; see `graphk.frontend.layers.advanced_activations`."""
from graphk.frontend.layers.advanced_activations import *           # noqa: F401,F403
from graphk.frontend.layers.legacy_activations import ParametricSoftplus, SReLU  # noqa: F401
