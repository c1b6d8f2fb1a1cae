"""The public modules of graphk, and what of each is public.

In: nothing.  Out: `MODULES`, and `members` of one.  What always holds: a member is a function or class of graphk's own;
names that a module only imported for itself are left out where it says what is public (`__all__`), or are not graphk's.
"""
from __future__ import annotations

import importlib
import inspect
from typing import Any

from graphk.frontend.utils.origin import module_of

MODULES = ("models", "layers", "activations", "initializers", "regularizers", "constraints", "losses", "metrics",
           "optimizers", "callbacks", "backend", "applications", "preprocessing.image", "preprocessing.sequence",
           "preprocessing.text", "datasets.boston_housing", "datasets.cifar10",
           "datasets.cifar100", "datasets.digits", "datasets.fashion_mnist", "datasets.imdb", "datasets.mnist",
           "datasets.reuters", "utils", "wrappers.scikit_learn", "distributed", "distributed.callbacks", "onnx",
           "inspection")


def module(name: str) -> Any:
    """A public module by its name behind `graphk.`."""
    return importlib.import_module(f"graphk.{name}")


def members(name: str) -> list[tuple[str, Any]]:
    """The public functions and classes of a module, by name."""
    m = module(name)
    listed = getattr(m, "__all__", None) or [n for n in dir(m) if not n.startswith("_")]
    found = [(n, getattr(m, n)) for n in sorted(set(listed), key=lambda n: (n.lower(), n))]
    return [(n, v) for n, v in found if (inspect.isclass(v) or inspect.isroutine(v)) and _own(v, n)]


def _own(value: Any, name: str) -> bool:
    home = module_of(value)
    return home.startswith("graphk") and not name.startswith("_") and ".ir." not in home


def first_sentence(value: Any) -> str:
    """What the docstring says first, as one line."""
    text = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
    end = text.find(". ")
    return text if end < 0 else text[:end + 1]


__all__ = ["MODULES", "first_sentence", "members", "module"]
