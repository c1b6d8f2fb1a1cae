"""docs/compatibility.md and the reference: every public name is there, and has a docstring."""
import importlib.util
import sys

import pytest

from tests.docs.pages import DOCS, read


def script(name):
    """A script of docs/scripts."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("modules", None)


def test_the_table_is_up_to_date():
    assert read("compatibility.md") == script("compatibility").page(), "run `python docs/scripts/compatibility.py`"


def test_the_reference():
    api, modules = script("api"), script("modules")
    for name in modules.MODULES:
        found = modules.members(name)
        assert found, f"graphk.{name} has nothing public"
        assert not [n for n, v in found if not modules.first_sentence(v)]
        text = api.page(name)
        assert text.count("```") % 2 == 0 and all(f"\n## {n}\n" in text for n, _ in found)
        assert " at 0x" not in text
