"""Keras's `initializers`: `graphk.frontend.initializers` itself, so that what programs put into it is found."""
import sys

from graphk.frontend import initializers as _module
from graphk.frontend.initializers import *                  # noqa: F401,F403  (for those who read, and type checkers)

sys.modules[__name__] = _module
