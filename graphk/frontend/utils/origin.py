"""Whether a class or function is graphk's own, under whatever name programs know it.

In: a class or function.  Out: the module of graphk that it was written in, or that of the user's.  What always holds:
`renamed` changes what a class says of itself, not this.
"""
from __future__ import annotations

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
