"""The settings among the functions of `K`, as `keras.backend.common`."""
from graphk.frontend.backend.common import *          # noqa: F401,F403
