"""Keras's `legacy.layers` module; see `graphk.frontend.layers.legacy_layers`."""
from graphk.frontend.layers.convolutional import AtrousConvolution1D, AtrousConvolution2D  # noqa: F401
from graphk.frontend.layers.legacy_layers import *           # noqa: F401,F403
from graphk.frontend.layers.legacy_recurrent import Recurrent  # noqa: F401
