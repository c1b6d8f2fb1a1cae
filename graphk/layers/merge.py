"""Keras's `layers.merge` module; see `graphk.frontend.layers.merge`.

`from keras.layers import merge` gave a function in Keras 1 and gives this module in Keras 2: it is both.
"""
import sys
from types import ModuleType

from graphk.frontend.layers.legacy_layers import merge as _merge
from graphk.frontend.layers.merge import *           # noqa: F401,F403
from graphk.frontend.layers.merge import _Merge      # noqa: F401


class _Callable(ModuleType):
    __call__ = staticmethod(_merge)


sys.modules[__name__].__class__ = _Callable
