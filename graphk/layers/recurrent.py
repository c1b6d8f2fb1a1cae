"""Keras's `layers.recurrent` module; see `graphk.frontend.layers.recurrent`."""
from graphk.frontend.engine.base_layer import InputSpec, Layer  # noqa: F401
from graphk.frontend.layers.recurrent import *           # noqa: F401,F403
from graphk.frontend.layers.cells import generate_dropout_mask as _generate_dropout_mask  # noqa: F401
from graphk.frontend.layers.legacy_recurrent import Recurrent  # noqa: F401
from graphk.frontend.layers.legacy_recurrent import time_distributed_dense as _time_distributed_dense  # noqa: F401
from graphk.frontend.layers.rnn_base import standardize_args as _standardize_args  # noqa: F401
