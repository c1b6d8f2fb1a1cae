"""Keras's `losses` module; see `graphk.frontend.losses`."""
from graphk.frontend.losses import *                  # noqa: F401,F403
