"""`tensorflow` in a process that was started by one in which graphk stands for tensorflow.keras.

In: `import tensorflow`.  Out: what `graphk.install_as_keras(tensorflow=True)` makes of it.  What always holds: the
folder of this file is on the path of such processes only.
"""
import sys

from graphk.frontend.compat import install_as_keras

del sys.modules[__name__]                              # the import system takes what is there afterwards
install_as_keras(tensorflow=True)
import tensorflow  # noqa: E402, F401
