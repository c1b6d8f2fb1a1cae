"""Keras's `activations`: `graphk.frontend.activations` itself, so that what programs put into it is found."""
import sys

from graphk.frontend import activations as _module
from graphk.frontend.activations import *                  # noqa: F401,F403  (for those who read, and type checkers)

sys.modules[__name__] = _module
