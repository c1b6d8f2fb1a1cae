"""`K`: the module `graphk.frontend.backend` itself, so that functions which a program replaces are used.

`graphk.backend.common` holds its settings; `graphk.backend.tensorflow_backend` is `K` by the name that Keras gives its
functions on TensorFlow, for scripts that import it by that name.
"""
import sys

from graphk.frontend import backend as _module
from graphk.frontend.backend import *                  # noqa: F401,F403  (for those who read, and type checkers)
from graphk.frontend.backend import common as _common
from graphk.frontend.legacy import modernize_functions as _modernize_functions

_modernize_functions(_module)
_module.tensorflow_backend = _module
sys.modules.update({__name__: _module, __name__ + ".tensorflow_backend": _module, __name__ + ".common": _common})
