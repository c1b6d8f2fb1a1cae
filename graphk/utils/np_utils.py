"""Keras's `utils.np_utils` module; see `graphk.frontend.utils.np_utils`."""
from graphk.frontend.utils.conv_utils import conv_input_length, conv_output_length  # noqa: F401  (in Keras 1)
from graphk.frontend.utils.np_utils import *             # noqa: F401,F403
