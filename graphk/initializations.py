"""Keras 1's `initializations`: functions that make variables, where `initializers` gives objects that make arrays.

In: a shape.  Out: a variable.  What always holds: the values are those of `graphk.initializers`; what such a function
makes may also be the first value of a layer's weight.
"""
from __future__ import annotations

from typing import Any, Callable

from graphk.frontend import backend as K
from graphk.frontend import initializers as _new

get_fans = _new._compute_fans


def get(identifier: Any, **kwargs: Any) -> Any:
    """A function by its name; functions are returned as they come.

    >>> K.int_shape(get("glorot_uniform")((2, 3), name="w"))
    (2, 3)
    """
    if callable(identifier):
        return identifier
    if identifier in _SCALED:
        return _SCALED[identifier]
    return _made(identifier, lambda scale: _new.get(identifier))


def _made(known: str, make: Callable[[Any], Any], default: float = 1.) -> Callable[..., Any]:
    """The function of Keras 1 for what makes an initializer of a scale; files hold the name it is known by."""
    def initialization(shape: Any, scale: float = default, name: str | None = None, dim_ordering: Any = None) -> Any:
        return K.variable(make(scale)(shape), name=name)
    initialization.__name__ = known
    return initialization


uniform = _made("uniform", lambda scale: _new.RandomUniform(-scale, scale), .05)
normal = _made("normal", lambda scale: _new.RandomNormal(stddev=scale), .05)
orthogonal = _made("orthogonal", _new.Orthogonal, 1.1)
identity = _made("identity", _new.Identity)
_SCALED = {"uniform": uniform, "normal": normal, "orthogonal": orthogonal, "identity": identity}
lecun_uniform, glorot_normal, glorot_uniform = map(get, ("lecun_uniform", "glorot_normal", "glorot_uniform"))
he_normal, he_uniform, zero, one = map(get, ("he_normal", "he_uniform", "zero", "one"))
