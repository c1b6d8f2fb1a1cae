"""The table of TensorFlow's names that graphk stands for.

In: functions of tensors, registered under the names that TensorFlow 1 and 2 have for them.  Out: `NAMES`, from a dotted
name behind `tensorflow.` to what it is here.  What always holds: a function takes TensorFlow's arguments by their names
and means what TensorFlow's means, or refuses by name; `name=` is taken and names nothing.
"""
from __future__ import annotations

import functools
from typing import Any, Callable

NAMES: dict[str, Any] = {}
# Modules inside TensorFlow that libraries of layers import, and what comes before the public names of what is in them.
_INSIDE = {"array_ops": "", "math_ops": "", "random_ops": "", "clip_ops": "", "control_flow_ops": "", "state_ops": "",
           "functional_ops": "", "nn_ops": "nn.", "nn_impl": "nn.", "nn": "nn.", "image_ops": "image."}


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
    if path in NAMES:
        return NAMES[path]
    inside, _, name = path.removeprefix("python.ops.").partition(".")
    if path.startswith("python.ops.") and inside in _INSIDE:
        return NAMES[_INSIDE[inside] + name]
    return NAMES[path.removeprefix("compat.v1.").removeprefix("compat.v2.")]


def is_module(path: str) -> bool:
    """Whether names lie below `tensorflow.<path>`."""
    if path.startswith("python.ops"):
        return path.removeprefix("python.ops").lstrip(".") in ("", *_INSIDE)
    return path in ("compat", "compat.v1", "compat.v2") or any(n.startswith(f"{path}.") for n in NAMES)


__all__ = ["NAMES", "find", "is_module", "named"]
