"""Functions of TensorFlow's that scripts for Keras use beside it, made of graphk's.

In: the modules of this package.  Out: the table `NAMES`, from which `tensorflow.x` and `K.tf.x` are taken.  What always
holds: what is not in the table is not here, and asking for it is an error that names it.
"""
from graphk.frontend.tf import (  # noqa: F401
    algebra,
    arithmetic,
    images,
    measures,
    neural,
    rest,
    selection,
    sessions,
    shapes,
    training,
)
from graphk.frontend.tf.names import NAMES, find, is_module

__all__ = ["NAMES", "find", "is_module"]
