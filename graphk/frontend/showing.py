"""How models, functions and histories show themselves in a notebook.

In: one of them.  Out: HTML or SVG, which `graphk.inspection.notebook` makes.  What always holds: inspection is loaded
when a notebook asks for it and by nothing else; nothing is compiled or run for it.
"""
from __future__ import annotations

import importlib
from typing import Any


def shown(thing: Any, how: str) -> str | None:
    """`thing` as the function `how` of the notebook module shows it; None where there is nothing to show."""
    text: str | None = getattr(importlib.import_module("graphk.inspection.notebook"), how)(thing)
    return text


class ShownModel:
    """A model: its layers as a table, and as a drawing."""

    def _repr_html_(self) -> str | None:
        return shown(self, "model_html")

    def _repr_svg_(self) -> str | None:
        return shown(self, "model_svg")


class ShownFunction:
    """A function: its inputs and outputs as a table, its graph as a drawing."""

    def _repr_html_(self) -> str | None:
        return shown(self, "function_html")

    def _repr_svg_(self) -> str | None:
        return shown(self, "function_svg")


__all__ = ["ShownFunction", "ShownModel", "shown"]
