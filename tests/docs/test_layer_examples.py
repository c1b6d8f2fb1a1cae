"""Every layer says what it does with an example, and the examples show what happens."""
import doctest
import importlib
import inspect
import pkgutil

import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.frontend import layers as package

MODULES = [m.name for m in pkgutil.iter_modules(package.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, monkeypatch):
    monkeypatch.setenv("GRAPHK_EXECUTOR", "interp")
    K.clear_session()
    module = importlib.import_module(f"graphk.frontend.layers.{name}")
    assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def test_every_layer_has_an_example():
    classes = {v for v in vars(L).values() if inspect.isclass(v) and issubclass(v, L.Layer)} - {L.Wrapper}
    assert [c.__name__ for c in classes if ">>>" not in (c.__doc__ or "")] == []
