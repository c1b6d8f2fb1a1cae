"""A hook of mkdocs: adds one page for each public module, made of its docstrings.

In: mkdocs' configuration and files.  Out: the same with pages `api/<module>.md` and their place in the navigation.
What always holds: nothing is written beside the site; a docstring's examples are shown as code.
"""
from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
from modules import MODULES, members, module  # noqa: E402


def on_config(config: Any) -> Any:
    """The pages' place in the navigation."""
    config.nav.append({"Reference": [{f"graphk.{name}": f"api/{name}.md"} for name in MODULES]})
    return config


def on_files(files: Any, config: Any) -> Any:
    """The pages."""
    from mkdocs.structure.files import File
    for name in MODULES:
        files.append(File.generated(config, f"api/{name}.md", content=page(name)))
    return files


def page(name: str) -> str:
    """The page of a module."""
    return f"# graphk.{name}\n\n{prose(module(name))}\n" + "".join(entry(n, v) for n, v in members(name))


def entry(name: str, value: Any) -> str:
    """A function or class with its arguments and docstring; of a class its public methods, too."""
    out = f"\n## {name}\n\n```python\n{name}{signature(value)}\n```\n\n{prose(value)}\n"
    if inspect.isclass(value):
        for n, m in sorted(vars(value).items()):
            if inspect.isfunction(m) and not n.startswith("_") and m.__doc__:
                out += f"\n**`{n}{signature(m)}`**\n\n{prose(m)}\n"
    return out


def signature(value: Any) -> str:
    """The arguments, without their types."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values() if p.name != "self"]
    return re.sub(r" at 0x[0-9a-f]+", "", str(found.replace(parameters=bare, return_annotation=found.empty)))


def prose(value: Any) -> str:
    """A docstring as Markdown: examples become code, and what Markdown would take for marks is kept as it is."""
    out, code = [], False
    for line in (inspect.getdoc(value) or "").splitlines():
        example = line.startswith(">>>") or (code and bool(line))
        if example != code:
            out += ["```python" if example else "```"] if example else ["```", ""]
        out.append(line if example else re.sub(r"([*_<\[\]])", r"\\\1", line) if "`" not in line else
                   line.replace("<", "&lt;"))
        code = example
    return "\n".join([*out, "```"] if code else out)


__all__ = ["on_config", "on_files", "page"]
