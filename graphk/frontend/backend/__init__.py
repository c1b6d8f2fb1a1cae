"""The backend, `K`: every function of Keras 2.2's backend module that graphk supports.

In: tensors, arrays, numbers.  Out: tensors, or arrays where Keras returns arrays.  What always holds:
a name that Keras has and graphk lacks raises AttributeError saying so.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend.backend.common import *              # noqa: F401,F403
from graphk.frontend.backend.common import (
    backend,
    cast_to_floatx,
    epsilon,
    floatx,
    image_data_format,
    image_dim_ordering,
    normalize_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
    set_image_dim_ordering,
)
from graphk.frontend.backend.control import *             # noqa: F401,F403
from graphk.frontend.backend.conv_ops import *            # noqa: F401,F403
from graphk.frontend.backend.creation import (
    batch_get_value,
    batch_set_value,
    cast,
    clear_session,
    constant,
    count_params,
    dtype,
    eval,
    eye,
    get_uid,
    get_value,
    get_variable_shape,
    identity,
    int_shape,
    is_keras_tensor,
    is_placeholder,
    is_sparse,
    is_tensor,
    is_variable,
    moving_average_update,
    name_scope,
    ndim,
    ones,
    ones_like,
    placeholder,
    random_normal_variable,
    random_uniform_variable,
    reset_uids,
    set_value,
    shape,
    size,
    to_dense,
    update,
    update_add,
    update_sub,
    variable,
    zeros,
    zeros_like,
)
from graphk.frontend.backend.ctc import *                 # noqa: F401,F403
from graphk.frontend.backend.math_ops import *            # noqa: F401,F403
from graphk.frontend.backend.nn_ops import *              # noqa: F401,F403
from graphk.frontend.backend.random_ops import random_binomial, random_normal, random_uniform, truncated_normal
from graphk.frontend.backend.recurrence import rnn
from graphk.frontend.backend.shape_ops import *           # noqa: F401,F403
from graphk.frontend.function import Function

_BACKEND = backend()


def function(inputs: Any, outputs: Any, updates: Any = None, **kwargs: Any) -> Function:
    """A function of arrays: see `Function`.

    >>> x = placeholder(shape=(None, 2))
    >>> function([x], [x + 1])([[[1., 2.]]])[0].tolist()
    [[2.0, 3.0]]
    """
    return Function(inputs, outputs, updates=updates, **kwargs)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(f"graphk.backend has no `{name}`: either Keras has no such function, or graphk does not "
                         f"support it yet")
