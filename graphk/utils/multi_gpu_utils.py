"""Keras's `utils.multi_gpu_utils` module; see `graphk.frontend.utils.multi_gpu`."""
from graphk.frontend.utils.multi_gpu import *             # noqa: F401,F403
