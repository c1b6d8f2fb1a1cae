"""The backend, `K`: every function of Keras 2.2's backend module.

In: tensors, arrays, numbers.  Out: tensors, or arrays where Keras returns arrays.  What always holds: each module
names its functions in `__all__`, and `K` is all of them; a name that graphk lacks raises AttributeError saying what to
use instead.  Examples say `K` for `graphk.backend` and `np` for numpy.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend.backend import (
    common,
    control,
    conv_ops,
    creation,
    ctc,
    math_ops,
    nn_ops,
    random_ops,
    recurrence,
    session,
    shape_ops,
    values,
)
from graphk.frontend.backend.common import *              # noqa: F401,F403
from graphk.frontend.backend.control import *             # noqa: F401,F403
from graphk.frontend.backend.conv_ops import *            # noqa: F401,F403
from graphk.frontend.backend.creation import *            # noqa: F401,F403
from graphk.frontend.backend.ctc import *                 # noqa: F401,F403
from graphk.frontend.backend.math_ops import *            # noqa: F401,F403
from graphk.frontend.backend.nn_ops import *              # noqa: F401,F403
from graphk.frontend.backend.random_ops import *          # noqa: F401,F403
from graphk.frontend.backend.recurrence import *          # noqa: F401,F403
from graphk.frontend.backend.session import *             # noqa: F401,F403
from graphk.frontend.backend.session import _get_available_gpus   # noqa: F401
from graphk.frontend.backend.shape_ops import *           # noqa: F401,F403
from graphk.frontend.backend.values import *              # noqa: F401,F403
from graphk.frontend.function import Function

_BACKEND = common.backend()
float16, float32, float64 = "float16", "float32", "float64"


def function(inputs: Any, outputs: Any, updates: Any = None, **kwargs: Any) -> Function:
    """A function of arrays: see `Function`.

    >>> from graphk import backend as K
    >>> x = K.placeholder(shape=(None, 2))
    >>> K.function([x], [x + 1])([[[1., 2.]]])[0].tolist()
    [[2.0, 3.0]]
    """
    return Function(inputs, outputs, updates=updates, **kwargs)


__all__ = ["Function", "function", "float16", "float32", "float64"]
for _module in (common, control, conv_ops, creation, ctc, math_ops, nn_ops, random_ops, recurrence, session, shape_ops,
                values):
    __all__ += _module.__all__

# What scripts reach for through K that belongs to the library below Keras, and what does it here.
_ELSEWHERE = {
    "dev": "is CNTK's device. Remove what uses it: graphk runs on the CPU",
    "C": "is CNTK itself, without which graphk runs. Write it with functions of K",
    "T": "is Theano's module of tensors, without which graphk runs. Write it with functions of K",
    "theano": "is Theano itself, without which graphk runs. Write it with functions of K",
    "th_sparse_module": "is Theano's module of sparse matrices. Use K.is_sparse, K.to_dense and K.dot",
    "pattern_broadcast": "is for Theano, which must be told what broadcasts. Remove the call",
}


def __getattr__(name: str) -> Any:
    if name == "tf":
        from graphk.frontend.compat import tensorflow_names
        return tensorflow_names()
    if name in _ELSEWHERE:
        raise AttributeError(f"`K.{name}` {_ELSEWHERE[name]}.")
    if name.startswith("__"):
        raise AttributeError(name)
    import difflib
    near = difflib.get_close_matches(name, __all__, 1)
    raise AttributeError(f"graphk.backend has no `{name}`: Keras 2.2's backend has no such function."
                         + (f" Did you mean `{near[0]}`?" if near else ""))


def __dir__() -> list[str]:
    return [*__all__, *(n for n in globals() if n.startswith("_") or n in ("common", "tensorflow_backend"))]
