"""`K`: the backend functions of Keras, see `graphk.frontend.backend`."""
from graphk.frontend.backend import *          # noqa: F401,F403
from graphk.frontend.backend import __getattr__, _BACKEND, function   # noqa: F401
