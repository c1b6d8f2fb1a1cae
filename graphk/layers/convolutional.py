"""Keras's `layers.convolutional` module; see `graphk.frontend.layers.convolutional`."""
from graphk.frontend.engine.base_layer import InputSpec, Layer  # noqa: F401
from graphk.frontend.layers.convolutional import *           # noqa: F401,F403
from graphk.frontend.layers.convolutional import _Conv, _SeparableConv  # noqa: F401
from graphk.frontend.layers.padding import _Cropping, _UpSampling, _ZeroPadding  # noqa: F401
