"""`import keras` gives graphk; `import tensorflow.keras` too, where that is asked for.

In: a call of `install_as_keras()`.  Out: every `keras.x` is the module `graphk.x`, the same object; `keras` itself is a
face of graphk with Keras's version, which programs ask for; classes that are reached so say that they are of
`keras.layers.core` and the like, by which other programs know them.  What always holds: a Keras or TensorFlow that was
imported already is never replaced; processes that this one spawns find the same.
"""
from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Mapping, Sequence

from graphk.frontend.engine.network_config import KERAS_VERSION
from graphk.frontend.utils.origin import is_own, module_of, renamed

REAL = "graphk"
_FOLDER = Path(__file__).parent.parent              # the folders `as_…` there hold the names for spawned processes
_OWN = ("TensorFlow's own: graphk stands for tensorflow.keras, and for functions that scripts use beside it. Write it "
        "with these, or with functions of keras.backend.")
_OF_TENSORFLOW = ("tensorflow.keras", "tensorflow.python.keras")


class _Face(ModuleType):
    """graphk under another name and version: what is not in it is in graphk."""

    def __init__(self, name: str, version: str):
        real = importlib.import_module(REAL)
        super().__init__(name, real.__doc__)
        self.__version__, self.__path__, self.__all__ = version, list(real.__path__), list(real.__all__)

    def __getattr__(self, name: str) -> Any:
        found = getattr(sys.modules[REAL], name)
        if isinstance(found, ModuleType):
            return importlib.import_module(f"{self.__name__}.{name}")
        if isinstance(found, type):
            _call_classes(self.__name__, f"{self.__name__}.models", {name: found})
        return found

    def __dir__(self) -> list[str]:
        return dir(sys.modules[REAL])


class _NoTensorFlow(ModuleType):
    """`tensorflow`, of which `keras` is here, and what `graphk.frontend.tf` lists."""

    __path__: list[str] = []
    __version__ = "2.0.0"                              # whose Keras was 2.2.4

    def __init__(self, name: str):
        super().__init__(name, self.__doc__)
        self.__file__ = __file__                       # Python tells it where a name cannot be imported

    def __getattr__(self, name: str) -> Any:
        if name in ("keras", "python") and name not in self.__name__:
            return importlib.import_module(f"{self.__name__}.{name}")
        path = f"{self.__name__}.{name}".partition(".")[2]
        from graphk.frontend import tf
        if tf.is_module(path):
            return _NoTensorFlow(f"{self.__name__}.{name}")
        try:
            return tf.find(path)
        except KeyError:
            pass
        raise AttributeError(f"`{self.__name__}.{name}` is {_OWN}")


class _Loader(importlib.abc.Loader):
    """Hands out a module that exists already."""

    def __init__(self, module: ModuleType):
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: Any) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        if self.spec is not None:
            module.__spec__ = self.spec                # the import system has put the alias's spec there


class _Finder(importlib.abc.MetaPathFinder):
    """Finds modules under the names that stand for graphk, and those above them."""

    def __init__(self, aliases: Sequence[str]):
        self.aliases = tuple(aliases)

    def find_spec(self, fullname: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        alias = next((a for a in self.aliases if f"{fullname}.".startswith(f"{a}.")), None)
        if alias is None:
            if any(a.startswith(f"{fullname}.") for a in self.aliases):
                return _spec(fullname, _NoTensorFlow(fullname))
            if any("." in a and fullname.startswith(a.split(".")[0] + ".") for a in self.aliases):
                from graphk.frontend import tf
                if tf.is_module(fullname.partition(".")[2]):
                    return _spec(fullname, _NoTensorFlow(fullname))
                raise ModuleNotFoundError(f"No module named '{fullname}': {_OWN}", name=fullname)
            return None
        if fullname == alias:
            return _spec(fullname, _Face(fullname, KERAS_VERSION + ("-tf" if "." in alias else "")))
        real = REAL + fullname[len(alias):]
        try:
            module = importlib.import_module(real)
            _call_classes(alias, fullname, vars(module))
            return _spec(fullname, module)
        except ModuleNotFoundError as e:
            if e.name != real:
                raise
            raise ModuleNotFoundError(f"No module named '{fullname}': graphk stands for {alias} here and has no "
                                      f"`{real}`", name=fullname) from None


def _call_classes(alias: str, fullname: str, names: Mapping[str, Any]) -> None:
    """Name graphk's classes among `names` after the module that has them in Keras, or after `fullname`."""
    root = "tensorflow.python.keras" if alias == "tensorflow.keras" else alias
    for name, cls in list(names.items()):
        if not isinstance(cls, type) or cls.__name__ != name or not is_own(cls):
            continue
        place = module_of(cls).removeprefix(REAL).removeprefix(".frontend")
        try:
            there = getattr(importlib.import_module(REAL + place), name, None) is cls
        except ModuleNotFoundError:
            there = False
        if there or place.startswith(fullname[len(alias):]):
            renamed(cls, root + (place if there else fullname[len(alias):]))


def _spec(fullname: str, module: ModuleType) -> importlib.machinery.ModuleSpec:
    return importlib.machinery.ModuleSpec(fullname, _Loader(module), is_package=hasattr(module, "__path__"))


def tensorflow_names() -> ModuleType:
    """What `K.tf` is: what graphk has of TensorFlow, whether `import tensorflow` finds it or not."""
    return _NoTensorFlow("tensorflow")


def stands_for_tensorflow() -> bool:
    """Whether `import tensorflow` finds what graphk has of it."""
    return any(isinstance(f, _Finder) and f.aliases == _OF_TENSORFLOW for f in sys.meta_path)


def install_as_keras(tensorflow: bool = False) -> None:
    """Make `import keras` import graphk, in this process and those it spawns.

    tensorflow: `tensorflow.keras`, too.  Raises RuntimeError if another keras (or tensorflow) is imported already.

    >>> install_as_keras()
    >>> import keras.layers, graphk.layers
    >>> keras.layers is graphk.layers, keras.__version__
    (True, '2.2.4')
    """
    for aliases, folder in [(("keras",), "as_keras"), (_OF_TENSORFLOW, "as_keras_of_tensorflow")][:1 + tensorflow]:
        root = aliases[0].split(".")[0]
        present = sys.modules.get(root)
        if present is not None and not isinstance(present, (_Face, _NoTensorFlow)):
            raise RuntimeError(
                f"install_as_keras() was called after another `{root}` had been imported from "
                f"{getattr(present, '__file__', 'an unknown place')}; call it before the first `import {root}`.")
        if not any(isinstance(f, _Finder) and f.aliases == aliases for f in sys.meta_path):
            sys.meta_path.insert(0, _Finder(aliases))
        path = str(_FOLDER / folder)
        if path not in sys.path:
            sys.path.insert(1, path)                   # spawned processes get this path, but not this finder


__all__ = ["install_as_keras", "stands_for_tensorflow", "tensorflow_names"]
