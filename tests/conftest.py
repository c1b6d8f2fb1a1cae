"""What all tests share: golden files, and the option that writes them anew.

`golden(path, text)` compares text with a file beside the test; `pytest --update-golden` writes the file instead, and
the change is then read in the diff like any other.  The configuration is the default one on the CPU, whatever the
home holds.
"""
import atexit
import difflib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

os.environ.pop("GRAPHK_FLAGS", None)
os.environ["GRAPHK_HOME"] = tempfile.mkdtemp(prefix="graphk-tests-")      # compiled kernels stay where they are
Path(os.environ["GRAPHK_HOME"], "graphk.json").write_text('{"device": "cpu"}')          # also where there is a GPU
atexit.register(shutil.rmtree, os.environ["GRAPHK_HOME"], ignore_errors=True)


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="write golden files instead of comparing with them")


@pytest.fixture(autouse=True)
def names_of_classes():
    """What `import keras` renamed has its own name again."""
    yield
    origin = sys.modules.get("graphk.frontend.utils.origin")
    while origin and origin._WRITTEN_IN:
        cls, module = origin._WRITTEN_IN.popitem()
        cls.__module__ = module


@pytest.fixture
def golden(request):
    """Compare text with a golden file, named relative to the test's folder."""
    def check(name: str, text: str) -> None:
        path = Path(request.path).parent / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            return
        have = path.read_text() if path.exists() else ""
        if have != text:
            diff = "\n".join(difflib.unified_diff(have.splitlines(), text.splitlines(), str(path), "now", lineterm=""))
            pytest.fail(f"{path.name} is not what is made now; if that is meant, run with --update-golden\n{diff}",
                        pytrace=False)
    return check


@pytest.fixture
def peer():
    """The Python that `GRAPHK_PEER` names, which has tf_keras: for tests of the group `peers`, which record again."""
    python = os.environ.get("GRAPHK_PEER")
    if not python:
        pytest.skip("GRAPHK_PEER names no Python with tf_keras")
    return python
