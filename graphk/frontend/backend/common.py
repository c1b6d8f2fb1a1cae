"""Backend settings: the default float type, the fuzz factor and the image layout; what a reduction takes.

In: setters called by the user.  Out: the values in force (`graphk.frontend.config` holds them and reads them from
the configuration file).  What always holds: `floatx()` is one of float16, float32, float64.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from graphk.frontend import config
from graphk.frontend.tensor import Tensor, node_of
from graphk.frontend.utils.advice import advice
from graphk.ir.node import Node
from graphk.ir.ops import shape as sh
from graphk.ir.types import DTYPES, SHORT, shape_text


def epsilon() -> float:
    """The fuzz factor that keeps divisions and logarithms finite (1e-7 by default).

    >>> K.epsilon()
    1e-07
    """
    return config.get("epsilon")


def set_epsilon(e: float) -> None:
    """Set the fuzz factor, a number that is not negative.

    >>> K.set_epsilon(1e-5)
    >>> K.epsilon()
    1e-05
    """
    config.put("epsilon", e, "K.set_epsilon")


def floatx() -> str:
    """The default float type, 'float32' unless set.

    >>> K.floatx()
    'float32'
    """
    return config.get("floatx")


def set_floatx(floatx: str) -> None:
    """Set the default float type; ValueError unless it is float16, float32 or float64.

    >>> K.set_floatx('float64')
    >>> K.dtype(K.zeros((2,)))
    'float64'
    """
    if floatx not in ("float16", "float32", "float64"):
        raise ValueError("Unknown floatx type: " + str(floatx) + ". Expected 'float16', 'float32' or 'float64'.")
    config.put("floatx", str(floatx))


def computed_dtype(dtype: Any, what: str) -> str:
    """The name of a dtype that graphs may hold; TypeError naming `what` for any other."""
    try:
        name = str(np.dtype(dtype).name)
    except TypeError:
        raise TypeError(f"{what} was asked for in {dtype!r}, which is no dtype" + advice(dtype, DTYPES)) from None
    if name not in DTYPES:
        raise TypeError(f"{what} was asked for in the dtype {name}, which graphk does not compute in; expected one of "
                        f"{', '.join(SHORT)}. Use another, for example "
                        f"{'int64' if name.startswith('uint') else 'float64'}.")
    return name


def cast_to_floatx(x: Any) -> np.ndarray:
    """`x` as a numpy array of the default float type.

    >>> K.cast_to_floatx(np.array([1, 2])).dtype
    dtype('float32')
    """
    return np.asarray(x, dtype=floatx())


def image_data_format() -> str:
    """'channels_last', images of (rows, columns, channels), or 'channels_first', (channels, rows, columns).

    >>> K.image_data_format()
    'channels_last'
    """
    return config.get("image_data_format")


def set_image_data_format(data_format: str) -> None:
    """Set the default image layout; ValueError unless it is one of the two.

    >>> K.set_image_data_format('channels_first')
    >>> K.image_data_format()
    'channels_first'
    """
    if data_format not in ("channels_last", "channels_first"):
        raise ValueError("Unknown data_format: " + str(data_format) + ". Expected 'channels_last' or 'channels_first'.")
    config.put("image_data_format", str(data_format))


def normalize_data_format(value: str | None) -> str:
    """`value` in small letters, or the default layout for None; ValueError unless it is one of the two.

    >>> K.normalize_data_format('Channels_First'), K.normalize_data_format(None)
    ('channels_first', 'channels_last')
    """
    if value is None:
        return image_data_format()
    name = str(value).lower()
    if name not in ("channels_first", "channels_last"):
        raise ValueError('The `data_format` argument must be one of "channels_first", "channels_last". Received: '
                         + str(value))
    return name


def image_dim_ordering() -> str:
    """Keras 1's name for the layout: 'tf' or 'th'.

    >>> K.image_dim_ordering()
    'tf'
    """
    return "tf" if image_data_format() == "channels_last" else "th"


def set_image_dim_ordering(dim_ordering: str) -> None:
    """Set the layout by Keras 1's name: 'tf' for 'channels_last', 'th' for 'channels_first'.

    >>> K.set_image_dim_ordering('th')
    >>> K.image_data_format()
    'channels_first'
    """
    if dim_ordering not in ("tf", "th"):
        raise ValueError("Unknown dim_ordering: " + str(dim_ordering) + ". Expected 'tf' or 'th'.")
    set_image_data_format("channels_last" if dim_ordering == "tf" else "channels_first")


def backend() -> str:
    """The name that Keras scripts compare with 'tensorflow' or 'theano'.

    'tensorflow': graphk computes what Keras on TensorFlow computes, and many scripts take any other answer for Theano,
    whose axes are in another order.  The configuration's `backend` may say 'graphk' instead.

    >>> K.backend()
    'tensorflow'
    """
    return config.get("backend")


def whole(what: str, indices: Any) -> Node:
    """The node of `indices`; TypeError naming `what` unless they are integers."""
    node = node_of(indices)
    if node.t.is_float:
        raise TypeError(f"{what} takes integers; received {node.dtype} of shape {shape_text(node.shape)}. Cast them: "
                        "K.cast(x, 'int32').")
    return node


def stacked(x: Any) -> Node:
    """What is reduced: a tensor; or of a list of tensors of one shape, or numbers beside them, their stack."""
    like = next((t.dtype for t in x if isinstance(t, Tensor)), None) if isinstance(x, (list, tuple)) else None
    if like is None:
        return node_of(x)
    return sh.concat(*[sh.reshape(n, shape=(1, *n.t.shape)) for n in (node_of(t, like) for t in x)], axis=0)


__all__ = ["epsilon", "set_epsilon", "floatx", "set_floatx", "cast_to_floatx", "image_data_format",
           "set_image_data_format", "normalize_data_format", "image_dim_ordering", "set_image_dim_ordering", "backend"]
