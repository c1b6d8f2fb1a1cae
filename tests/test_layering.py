"""The shape of the package: who may import whom, how long files are, what every module says of itself.

Imports inside functions count too: a layer that reaches to its right at run time is as tangled as one
that does so at import time.
"""
import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("ir", "passes", "codegen", "runtime", "frontend")
NUMBA_CORE = {"graphk/codegen/dialect.py", "graphk/codegen/dialect_front.py", "graphk/codegen/dialect_types.py",
              "graphk/codegen/native.py", "graphk/codegen/micro.py", "graphk/codegen/vector_math.py"}
TOP = ("inspection", "__main__")                       # these may import everything
MODULES = sorted(p.relative_to(ROOT) for p in (ROOT / "graphk").rglob("*.py"))
FILES = sorted(p.relative_to(ROOT) for d in ("graphk", "tests", "benchmarks") for p in (ROOT / d).rglob("*.py"))


def layer(parts):
    """The rank of a module; names directly under `graphk` are the front end's public face."""
    name = parts[1].removesuffix(".py") if len(parts) > 1 else ""
    if name in TOP:
        return len(LAYERS)
    return LAYERS.index(name) if name in LAYERS else LAYERS.index("frontend")


def imports(path):
    """(line, dotted name) of every import, relative ones resolved."""
    package = path.parts[:-1]
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[:len(package) - node.level + 1]) if node.level else ""
            source = ".".join(x for x in (base, node.module) if x)
            yield node.lineno, source
            if source == "graphk":                     # `from graphk import passes` names a layer, too
                yield from ((node.lineno, f"graphk.{alias.name}") for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_go_left(path):
    own = layer(path.parts)
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] == "graphk" and len(parts) > 1:
            target = layer(parts)
            face = parts[1] == "inspection" and len(path.parts) == 2      # graphk/demo.py and the like show pages
            assert target <= own or face, (f"{path}:{line} imports {name}: a module imports only from its own package "
                                           f"and those to its left in {', '.join(LAYERS)}")


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_outside_packages_stay_where_they_belong(path):
    for line, name in imports(path):
        if name.split(".")[0] == "networkx":
            assert path.parts[1] == "inspection", f"{path}:{line}: networkx is for graphk/inspection only"
        if name == "numba.core" or name.startswith(("numba.core.", "numba.np.", "numba._")):
            assert path.as_posix() in NUMBA_CORE, f"{path}:{line}: {name} is private to numba; use graphk.codegen"


@pytest.mark.parametrize("path", [p for p in MODULES if layer(p.parts) < LAYERS.index("frontend")], ids=str)
def test_private_names_stay_in_their_module(path):
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("graphk"):
            private = [a.name for a in node.names if a.name.startswith("_")]
            assert not private, f"{path}:{node.lineno} imports {private} of {node.module}: give it a public name there"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_size_and_docstring(path):
    text = (ROOT / path).read_text()
    assert len(text.splitlines()) <= 500, f"{path} has more than 500 lines: split it"
    assert ast.get_docstring(ast.parse(text)), f"{path} does not say what it is: give it a docstring"


def test_the_check_itself_sees_wrong_imports():
    assert layer(("graphk", "ir", "node.py")) < layer(("graphk", "passes")) < layer(("graphk", "layers.py"))
    assert layer(("graphk", "inspection", "page.py")) > layer(("graphk", "frontend", "engine.py"))
    found = {name for _, name in imports(Path("graphk/ir/opdef.py"))}
    assert "graphk.ir.ops.elementwise" in found, "imports inside functions must be seen"
