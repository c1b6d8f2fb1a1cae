"""Keras's `layers.pooling` module; see `graphk.frontend.layers.pooling`."""
from graphk.frontend.engine.base_layer import InputSpec, Layer  # noqa: F401
from graphk.frontend.layers.pooling import *           # noqa: F401,F403
from graphk.frontend.layers.pooling import (  # noqa: F401
    _GlobalPooling1D,
    _GlobalPooling2D,
    _GlobalPooling3D,
    _Pooling1D,
    _Pooling2D,
    _Pooling3D,
)
