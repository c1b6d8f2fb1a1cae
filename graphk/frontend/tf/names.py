"""The table of TensorFlow's names that graphk stands for.

In: functions of tensors, registered under the names that TensorFlow 1 and 2 have for them.  Out: `NAMES`, from a dotted
name behind `tensorflow.` to what it is here.  What always holds: a function takes TensorFlow's arguments by their names
and means what TensorFlow's means, or refuses by name; `name=` is taken and names nothing.
"""
from __future__ import annotations

import functools
from typing import Any, Callable

NAMES: dict[str, Any] = {}


def named(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function under TensorFlow's names; the registered one takes `name=`, too."""
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def called(*args: Any, name: Any = None, **kwargs: Any) -> Any:
            return function(*args, **kwargs)
        for n in names:
            NAMES[n] = called
        return function
    return register


def find(path: str) -> Any:
    """What stands behind `tensorflow.<path>`; KeyError if nothing does, or only a module."""
    for other in ("compat.v1.", "compat.v2."):
        if path.startswith(other) and path not in NAMES:
            path = path.removeprefix(other)
    return NAMES[path]


def is_module(path: str) -> bool:
    """Whether names lie below `tensorflow.<path>`."""
    return path in ("compat", "compat.v1", "compat.v2") or any(n.startswith(f"{path}.") for n in NAMES)


__all__ = ["NAMES", "find", "is_module", "named"]
