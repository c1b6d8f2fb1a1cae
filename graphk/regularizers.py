"""Keras's `regularizers`: `graphk.frontend.regularizers` itself, so that what programs put into it is found."""
import sys

from graphk.frontend import regularizers as _module
from graphk.frontend.regularizers import *                  # noqa: F401,F403  (for those who read, and type checkers)

sys.modules[__name__] = _module
