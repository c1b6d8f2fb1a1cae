"""Initializers, regularizers, constraints and activations of layers: taken, described and used by their names.

In: names, configs or objects, as users pass them to a layer.  Out: the layer's attributes, its config, its weights.
What always holds: the last word of an attribute's name (`kernel_initializer`) says of which family it is.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend import activations, constraints, initializers, regularizers
from graphk.frontend.engine.base_layer import Layer

_FAMILIES: dict[str, Any] = {"initializer": initializers, "init": initializers, "regularizer": regularizers,
                             "constraint": constraints, "activation": activations}
_KINDS = ("initializer", "regularizer", "constraint")


def _family(name: str) -> Any:
    return _FAMILIES[name.rsplit("_")[-1]]


def adopt(layer: Layer, **settings: Any) -> None:
    """Set attributes such as `kernel_initializer` to what names or configs stand for."""
    for name, value in settings.items():
        setattr(layer, name, _family(name).get(value))


def described(layer: Layer, *names: str) -> dict[str, Any]:
    """What `adopt` has set, as names or configs."""
    return {name: _family(name).serialize(getattr(layer, name)) for name in names}


def add_kernel(layer: Layer, role: str, shape: tuple[Any, ...], name: str | None = None, **instead: Any) -> Any:
    """A weight with the initializer, regularizer and constraint that `adopt` has set for `role`, where `instead` gives
    no other."""
    return layer.add_weight(name or role, shape, **{**{kind: getattr(layer, f"{role}_{kind}") for kind in _KINDS},
                                                    **instead})


def settings_of(*roles: str) -> list[str]:
    """The names of the settings of weights."""
    return [f"{role}_{kind}" for kind in _KINDS for role in roles]
