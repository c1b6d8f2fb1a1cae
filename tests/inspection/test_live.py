"""`GRAPHK_LOG`: one line an event, nothing while it is unset."""
import pytest

from graphk.frontend.config import LOG_TOPICS as TOPICS, log_topics
from graphk.inspection.live import Log
from graphk.passes.pipeline import PASSES
from graphk.runtime import library
from tests.inspection.test_cli import graphk

SCRIPT = """
import os
import sys
import numpy as np
import keras
from keras.layers import Dense
model = keras.models.Sequential([Dense(4, activation="relu", input_shape=(3,), name="only")])
for n in (2, 2, 5):
    model.predict(np.zeros((n, 3), "f"))
if not os.environ.get("GRAPHK_LOG"):
    print([m for m in sys.modules if m.startswith("graphk.inspection.live")])
"""


@pytest.fixture()
def folder(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def lines(run, topic):
    return [line for line in run.stderr.splitlines() if line.startswith(f"graphk {topic}: ")]


def test_every_topic(folder):
    run = graphk("run", "script.py", cwd=folder, GRAPHK_LOG=",".join(TOPICS), GRAPHK_CACHE_DIR=str(folder / "cache"))
    assert run.returncode == 0, run.stderr
    assert len(run.stderr.splitlines()) == sum(len(lines(run, t)) for t in TOPICS)
    assert len(lines(run, "passes")) == len(PASSES)
    assert " fuse " in lines(run, "passes")[10] and lines(run, "passes")[10].endswith(" ms")
    assert any("dot " in line and "of only" in line and "fused: " in line for line in lines(run, "fusion"))
    compiled, first, second = lines(run, "recompile")
    assert "predict_function: compiled, 1 kernel calls, 1 kernels, " in compiled
    assert "(its first sizes)" in first and "=2 " in first and "=5 (new sizes, after 1 others)" in second
    own, shared = lines(run, "cache")
    assert "dot_add_relu of only: compiled, " in own and "shared blocks" in shared
    again = graphk("run", "script.py", cwd=folder, GRAPHK_LOG="cache", GRAPHK_CACHE_DIR=str(folder / "cache"))
    assert "of only: read from disk, " in lines(again, "cache")[0] and not lines(again, "passes")


def test_libraries(monkeypatch, capsys):
    monkeypatch.setattr(library, "WATCHERS", [])
    Log(frozenset(("library",)))
    library.tell("dot of only: cuBLASLt: 2x3 by 3x4 float32")
    assert capsys.readouterr().err == "graphk library: dot of only: cuBLASLt: 2x3 by 3x4 float32\n"
    monkeypatch.setattr(library, "WATCHERS", [])
    Log(frozenset(("passes",)))
    assert not library.WATCHERS


def test_nothing_unless_asked(folder):
    run = graphk("run", "script.py", cwd=folder)
    assert (run.stdout, run.stderr) == ("[]\n", "")


def test_unknown_names_are_refused(folder):
    with pytest.raises(ValueError, match="'fusing' is unknown; expected some of passes,fusion,recompile,cache,"):
        log_topics("passes, fusing")
    assert log_topics(" passes ,cache,") == {"passes", "cache"}
    (folder / "nothing.py").write_text("import graphk\n")                         # refused before anything is compiled
    run = graphk("run", "nothing.py", cwd=folder, GRAPHK_LOG="all")
    assert run.returncode == 2 and run.stderr.startswith("graphk: GRAPHK_LOG='all': 'all' is ")
