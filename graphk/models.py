"""Keras's `models`: `graphk.frontend.models` itself, so that what programs put into it is found."""
import sys

from graphk.frontend import models as _module
from graphk.frontend.models import *                  # noqa: F401,F403  (for those who read, and type checkers)

sys.modules[__name__] = _module
