"""Keras's `callbacks` module; see `graphk.frontend.callbacks`."""
from graphk.frontend.callbacks import *                  # noqa: F401,F403
