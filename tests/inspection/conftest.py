"""What the tests of inspection share: one small model whose page is made once, on compiled kernels."""
import os

import numpy as np
import pytest


@pytest.fixture(scope="session")
def cache_directory(tmp_path_factory):
    """One kernel cache for all tests here and for the processes that they start."""
    given = os.environ.get("GRAPHK_CACHE_DIR")
    return given or str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def compiled(monkeypatch, cache_directory):
    """Other folders' tests choose the interpreter; there is nothing to inspect in it."""
    monkeypatch.setenv("GRAPHK_EXECUTOR", "cpu")
    monkeypatch.setenv("GRAPHK_CACHE_DIR", cache_directory)
    monkeypatch.delenv("GRAPHK_DUMP", raising=False)


@pytest.fixture(scope="session")
def model():
    """Dense, dropout, softmax; compiled with plain gradient descent, never trained."""
    from graphk.layers import Dense, Dropout
    from graphk.models import Sequential
    np.random.seed(3)
    out = Sequential(name="small", layers=[
        Dense(6, activation="relu", input_shape=(5,), name="first"), Dropout(0.25, name="drop"),
        Dense(3, activation="softmax", name="last")])
    out.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    return out


@pytest.fixture(scope="session")
def page(model, tmp_path_factory, cache_directory):
    """The path of the model's page."""
    from graphk.inspection import report
    patch = pytest.MonkeyPatch()
    patch.setenv("GRAPHK_EXECUTOR", "cpu")
    patch.setenv("GRAPHK_CACHE_DIR", cache_directory)
    try:
        return report(model, tmp_path_factory.mktemp("page") / "small.html", batch=7)
    finally:
        patch.undo()


@pytest.fixture(scope="session")
def file(model, tmp_path_factory):
    """The model's file."""
    path = str(tmp_path_factory.mktemp("model") / "small.h5")
    model.save(path)
    return path
