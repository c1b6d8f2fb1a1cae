"""Whether a class or function is graphk's own, under whatever name programs know it.

In: a class or function.  Out: the module of graphk that it was written in, or that of the user's.  What always holds:
`renamed` changes what a class says of itself, not this; pickles hold this, so that programs read each other's,
whichever name each of them knows.
"""
from __future__ import annotations

import copyreg
import importlib
from typing import Any

_WRITTEN_IN: dict[type, str] = {}


def module_of(thing: Any) -> str:
    """The module in which a class or function was written.

    >>> from graphk.layers import Dense
    >>> module_of(Dense)
    'graphk.frontend.layers.core'
    """
    found = _WRITTEN_IN.get(thing) if isinstance(thing, type) else None
    return found or str(getattr(thing, "__module__", ""))


def is_own(thing: Any) -> bool:
    """Whether graphk defines it."""
    return module_of(thing).partition(".")[0] == "graphk"


def renamed(cls: type, module: str) -> None:
    """Let a class of graphk say that it is of `module`; the first name stays."""
    if cls not in _WRITTEN_IN:
        _WRITTEN_IN[cls] = cls.__module__
        cls.__module__ = module
        if not any(method in vars(c) for c in cls.__mro__[:-1] for method in ("__reduce__", "__reduce_ex__")):
            copyreg.pickle(cls, _reduced)


class Written:
    """In a pickle, a class by the name under which it was written; who loads it gets the class."""

    def __init__(self, cls: type):
        self.cls = cls

    def __reduce__(self) -> tuple[Any, ...]:
        return _found, (module_of(self.cls), self.cls.__qualname__)


def written(thing: Any) -> Any:
    """What a pickle is to hold for `thing`: itself, or of a class that was renamed what it was before."""
    return Written(thing) if isinstance(thing, type) and thing in _WRITTEN_IN else thing


def _found(module: str, name: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _reduced(x: Any) -> tuple[Any, ...]:
    """What `pickle` and `copy` make of an object of a class that was renamed."""
    found: Any = object.__reduce_ex__(x, 4)
    (cls, *arguments), rest = found[1], found[2:]
    return _made, (module_of(cls), cls.__qualname__, *arguments), *rest


def _made(module: str, name: str, *arguments: Any) -> Any:
    cls = _found(module, name)
    return cls.__new__(cls, *arguments)
