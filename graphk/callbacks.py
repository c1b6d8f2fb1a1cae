"""Keras's `callbacks`: `graphk.frontend.callbacks` itself, so that what programs put into it is found."""
import sys

from graphk.frontend import callbacks as _module
from graphk.frontend.callbacks import *                  # noqa: F401,F403  (for those who read, and type checkers)

sys.modules[__name__] = _module
