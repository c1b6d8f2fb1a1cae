"""`import keras` gives graphk.

In: a call of `install_as_keras()`.  Out: `keras` and every `keras.x` are the modules `graphk` and `graphk.x`,
the same objects.  What always holds: a Keras that was imported already is never replaced.
"""
from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from types import ModuleType
from typing import Any, Sequence

ALIAS, REAL = "keras", "graphk"


class _Loader(importlib.abc.Loader):
    """Hands out a module that exists already."""

    def __init__(self, module: ModuleType):
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: Any) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec                 # the import system has put the alias's spec there


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        if fullname != ALIAS and not fullname.startswith(ALIAS + "."):
            return None
        real = REAL + fullname[len(ALIAS):]
        try:
            module = importlib.import_module(real)
        except ModuleNotFoundError as e:
            if e.name != real:
                raise
            raise ModuleNotFoundError(f"No module named '{fullname}': graphk stands for keras here and has no `{real}`",
                                      name=fullname) from None
        return importlib.machinery.ModuleSpec(fullname, _Loader(module), is_package=hasattr(module, "__path__"))


def install_as_keras() -> None:
    """Make `import keras` import graphk in this process; RuntimeError if another keras is imported already.

    >>> install_as_keras()
    >>> import keras.layers, graphk.layers
    >>> keras.layers is graphk.layers
    True
    """
    present = sys.modules.get(ALIAS)
    if present is not None and present is not sys.modules.get(REAL):
        raise RuntimeError(
            "install_as_keras() was called after another `keras` had been imported from "
            f"{getattr(present, '__file__', 'an unknown place')}; call it before the first `import keras`."
        )
    if not any(isinstance(f, _Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
