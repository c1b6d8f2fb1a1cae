"""What to say about a name that is not known.

In: the name, and those that are known.  Out: the end of an error message.  What always holds: it has the nearest known
name, or all of them.
"""
from __future__ import annotations

import difflib
import inspect
from typing import Any, Iterable


def advice(name: Any, known: Iterable[Any], what: str | None = "names") -> str:
    """The end of an error about `name`: the nearest of the `known` ones, or all of them if none is near
    (what: what they are, None if the error lists them already).

    >>> advice("rellu", ["relu", "tanh"])
    '. Did you mean `relu`?'
    >>> advice("x", ["relu", "tanh"])
    '. Known names: relu, tanh.'
    """
    by_lower = {k.lower(): k for k in sorted(map(str, known))}          # `relu` rather than `ReLU`
    near = difflib.get_close_matches(str(name).lower(), by_lower, 1, .65)
    if near:
        return f". Did you mean `{by_lower[near[0]]}`?"
    if what is None:
        return "."
    names = sorted(set(by_lower.values()))
    return f". Known {what}: {', '.join(names) or 'none'}."


def keywords_of(function: Any) -> set[str]:
    """The arguments of a function or method that may be given by name."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - {"self"}


def keywords(cls: type) -> set[str]:
    """The arguments that a class and those it passes them on to take by name.

    >>> sorted(keywords(type("C", (), {"__init__": lambda self, a, b=1, **k: None})))
    ['a', 'b']
    """
    found: set[str] = set()
    for base in cls.__mro__:
        if base is not object and "__init__" in base.__dict__:
            init = base.__dict__["__init__"]
            found |= keywords_of(init)
            if not any(p.kind == p.VAR_KEYWORD for p in inspect.signature(init).parameters.values()):
                break
    return found
