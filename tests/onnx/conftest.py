"""Tests of ONNX run on the interpreter: what is compared is the graphs, and compiled code is compared elsewhere."""
import pytest

from tests.fresh import fresh  # noqa: F401


@pytest.fixture(autouse=True)
def on_the_oracle(monkeypatch):
    monkeypatch.setenv("GRAPHK_EXECUTOR", "interp")
