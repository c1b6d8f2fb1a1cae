"""Keras's `constraints`: `graphk.frontend.constraints` itself, so that what programs put into it is found."""
import sys

from graphk.frontend import constraints as _module
from graphk.frontend.constraints import *                  # noqa: F401,F403  (for those who read, and type checkers)

sys.modules[__name__] = _module
