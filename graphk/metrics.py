"""Keras's `metrics`: `graphk.frontend.metrics` itself, so that what programs put into it is found."""
import sys

from graphk.frontend import metrics as _module
from graphk.frontend.metrics import *                  # noqa: F401,F403  (for those who read, and type checkers)

sys.modules[__name__] = _module
