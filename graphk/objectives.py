"""Keras 1's name of `losses`; see `graphk.frontend.losses`."""
from graphk.frontend.losses import *             # noqa: F401,F403
