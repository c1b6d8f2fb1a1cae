"""Names of layers start anew with each test, and the compiled executor runs unless the environment says otherwise."""
import os

from tests.fresh import fresh  # noqa: F401

os.environ.setdefault("GRAPHK_EXECUTOR", "cpu")
