"""`K` under the name that Keras gives its functions on TensorFlow, for scripts that import it by that name."""
from graphk.frontend.backend import *          # noqa: F401,F403
from graphk.frontend.backend import __all__, __getattr__, _BACKEND, _get_available_gpus, function   # noqa: F401
