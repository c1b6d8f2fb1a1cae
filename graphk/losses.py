"""Keras's `losses`: `graphk.frontend.losses` itself, so that what programs put into it is found."""
import sys

from graphk.frontend import losses as _module
from graphk.frontend.losses import *                  # noqa: F401,F403  (for those who read, and type checkers)

sys.modules[__name__] = _module
