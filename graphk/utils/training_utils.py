"""Where Keras 2.0.9 and 2.1 had `multi_gpu_model`; see `graphk.frontend.utils.multi_gpu`."""
from graphk.frontend.utils.multi_gpu import *             # noqa: F401,F403
