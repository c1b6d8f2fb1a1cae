"""The corpus of hostile files (`hostile.py`): nothing in them runs or escapes, and what is wrong is said."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.saving.hostile import CASES, HARMLESS


@pytest.fixture(scope="module")
def outcomes():
    done = subprocess.run([sys.executable, "-W", "ignore", "-m", "tests.saving.hostile"], capture_output=True,
                          text=True, timeout=280, cwd=Path(__file__).parents[2])
    assert done.returncode == 0 and "the file made its reader do" not in done.stderr, done.stderr
    return {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_case_was_tried(outcomes):
    assert list(outcomes) == list(CASES)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", list(CASES))
def test_nothing_runs_and_nothing_escapes(outcomes, name):
    ended, message, imported, written = outcomes[name]
    assert not imported and not written
    if name in HARMLESS:
        assert ended == "loaded", message
    elif name.startswith("onnx"):
        assert ended in ("GraphkFormatError", "NotImplementedError") and len(message) > 30
    else:
        assert ended == "GraphkFormatError"
        assert not name.startswith(("hdf5", "archives")) or "/in/m." in message             # the file's name
        assert len(message) > 30
