"""Keras's `optimizers`: `graphk.frontend.optimizers` itself, so that what programs put into it is found."""
import sys

from graphk.frontend import optimizers as _module
from graphk.frontend.optimizers import *                  # noqa: F401,F403  (for those who read, and type checkers)

sys.modules[__name__] = _module
