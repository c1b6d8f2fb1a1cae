"""Packages that graphk uses where they are installed, and asks for where they are not.

In: a module's name, the extra that brings it, who wants it.  Out: the module.  What always holds: what is missing is an
ImportError with the command that installs it.
"""
from __future__ import annotations

import importlib
from typing import Any


def need(module: str, extra: str, owner: str) -> Any:
    """The module, imported now.

    >>> need("json", "images", "This example").dumps(1)
    '1'
    """
    try:
        return importlib.import_module(module)
    except ImportError as e:
        raise ImportError(f"{owner} needs the package `{module.split('.')[0]}`, which cannot be imported ({e}). "
                          f"Install it: pip install graphk[{extra}]") from e
