"""Keras's `layers.cudnn_recurrent` module; see `graphk.frontend.layers.cudnn_recurrent`."""
from graphk.frontend.layers.cudnn_recurrent import *           # noqa: F401,F403
