"""Keras's `layers.cudnn_recurrent` module; see `graphk.frontend.layers.cudnn_recurrent`."""
from graphk.frontend.layers.cudnn_recurrent import *           # noqa: F401,F403
from graphk.frontend.layers.cudnn_recurrent import _CuDNNRNN  # noqa: F401
