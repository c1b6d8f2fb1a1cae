"""`K`: the backend functions of Keras, see `graphk.frontend.backend`."""
from graphk.backend import common, tensorflow_backend          # noqa: F401
from graphk.frontend.backend import *          # noqa: F401,F403
from graphk.frontend.backend import __all__, __getattr__, _BACKEND, _get_available_gpus, function   # noqa: F401
