"""Whom an error is about, and nothing left behind by a call that failed.

In: errors raised while a layer is made or called, or while a function of the user's runs.  Out: the same errors, which
also say where.  What always holds: type, traceback and the beginning of the message stay.
"""
from __future__ import annotations

import re
from contextlib import contextmanager
from typing import Any, Callable, Iterator


@contextmanager
def naming(name: str, where: Callable[[], str]) -> Iterator[None]:
    """Errors raised inside whose message does not name `name` (at its beginning, in quotes, or as a layer) end with
    `where()`.

    >>> with naming("first", lambda: "in the layer `first`"):
    ...     raise ValueError("Expected 3.")
    Traceback (most recent call last):
    ValueError: Expected 3. (in the layer `first`)
    """
    try:
        yield
    except Exception as e:
        own = re.escape(name)
        named = rf"""^{own} |([`"']|layer ){own}(?!\w)"""
        if len(e.args) == 1 and isinstance(e.args[0], str) and not re.search(named, e.args[0], re.IGNORECASE):
            e.args = (f"{e.args[0]} ({where()})",)
        raise


@contextmanager
def unchanged(owner: Any) -> Iterator[None]:
    """Where an error is raised inside, the attributes of `owner` are again what they were, lists and dicts too."""
    before = [(k, v, v.copy() if type(v) in (list, dict) else None) for k, v in vars(owner).items()]
    try:
        yield
    except BaseException:
        vars(owner).clear()
        for name, value, content in before:
            if content is not None:
                value.clear()
                value.extend(content) if isinstance(value, list) else value.update(content)
            vars(owner)[name] = value
        raise
