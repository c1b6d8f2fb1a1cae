"""Dumps: what `GRAPHK_DUMP`, `graphk dump` and `inspection.dump` write."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from graphk import backend as K
from graphk import inspection
from graphk.inspection.dumping import Options, Recorder
from graphk.inspection.subjects import subjects_of
from graphk.ir.text import parse_graph, print_graph
from graphk.passes.pipeline import PASSES
from graphk.runtime import compile as runtime, observed

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
import numpy as np
import keras
from keras.layers import Dense
from keras.models import Sequential
model = Sequential([Dense(3, input_shape=(4,), activation="softmax")])
model.compile("sgd", "mse")
model.train_on_batch(np.ones((2, 4)), np.ones((2, 3)))
print("args", sys.argv[1:])
"""


def python(*arguments, cwd, **env):
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "GRAPHK_EXECUTOR": "cpu", **env})


@pytest.fixture(scope="module")
def by_variable(tmp_path_factory, cache_directory):
    """What `GRAPHK_DUMP` writes for an ordinary program."""
    folder = tmp_path_factory.mktemp("dump")
    (folder / "train.py").write_text("import graphk\ngraphk.install_as_keras()\n" + SCRIPT)
    run = python("train.py", cwd=folder, GRAPHK_DUMP="out", GRAPHK_CACHE_DIR=cache_directory)
    assert run.returncode == 0, run.stderr
    return folder / "out"


def test_variable_writes_every_pass(by_variable):
    (folder,) = [p for p in by_variable.iterdir() if p.is_dir()]
    assert folder.name == "001-train_function-any"
    for i, name in enumerate(["captured", *(p.name for p in PASSES)]):
        for ending in ("gk", "dot", "json"):
            assert (folder / f"{i:02d}-{name}.{ending}").stat().st_size > 50
    assert "fused" in (folder / "notes.txt").read_text()
    assert "arena" in (folder / "memory.txt").read_text() and "slot 0" in (folder / "memory.txt").read_text()
    assert "simplify" in (folder / "passes.txt").read_text() and " ms" in (folder / "passes.txt").read_text()
    assert (folder / "program.gk").read_text().startswith("program train_function(")
    assert "operations" in (folder / "steps.txt").read_text()
    assert (folder / "page.html").exists()


def test_variable_writes_kernels(by_variable):
    kernels = by_variable / "001-train_function-any" / "kernels"
    names = sorted(p.stem for p in kernels.glob("k*.gk"))
    assert names and any("dot" in n for n in names)
    for name in names:
        assert (kernels / f"{name}.gk").read_text().startswith("kernel ")
        assert "def k_0(args, tid, nt):" in (kernels / f"{name}.py").read_text()
        assert "define" in (kernels / f"{name}.ll").read_text()
        assert "instructions:" in (kernels / f"{name}.s").read_text().split("\n")[0]
    assert any(p.name.startswith("gk.gemm_tile") for p in kernels.glob("*.s"))


def test_folders_name_the_phase(tmp_path):
    x = K.placeholder(shape=(None, 3))
    f = K.function([x, K.learning_phase()], [K.in_train_phase(x * 6, x)], name="both")
    inspection.dump(f, tmp_path, formats=("text",), after="specialize")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["001-both-test", "002-both-train", "index.html"]


def test_graphs_parse_back(by_variable):
    for path in by_variable.glob("*/*.gk"):
        text = path.read_text()
        if text.startswith("graph "):
            assert print_graph(parse_graph(text)) == text, path.name


def test_json_and_dot_speak_of_the_same_nodes(by_variable):
    folder = by_variable / "001-train_function-any"
    data = json.loads((folder / "12-fuse.json").read_text())
    fused = [n for n in data["nodes"] if n["op"] == "fusion"]
    assert fused and all(n["body"]["nodes"] for n in fused)
    dot = (folder / "12-fuse.dot").read_text()
    assert dot.count("subgraph cluster_") == len(fused) and " -> " in dot


def test_index_leads_to_every_file(by_variable):
    index = (by_variable / "index.html").read_text()
    for path in by_variable.glob("*/*"):
        if path.is_file():
            assert f'href="{path.parent.name}/{path.name}"' in index
    assert "http" not in index


def test_command_dumps_one_pass(tmp_path, cache_directory):
    (tmp_path / "train.py").write_text(SCRIPT)
    run = python("-m", "graphk", "dump", "--out", "d", "--after", "simplify", "--format", "text", "train.py",
                 "--epochs",
                 "2", cwd=tmp_path, GRAPHK_CACHE_DIR=cache_directory)
    assert run.returncode == 0 and run.stdout == "args ['--epochs', '2']\n", run.stderr
    assert [p.name for p in (tmp_path / "d").glob("*/*")] == ["05-simplify.gk"]
    assert "1 graph in d" in run.stderr


def test_function_dumps_a_function(tmp_path):
    x = K.placeholder(shape=(None, 3))
    inspection.dump(K.function([x], [K.tanh(x) * 2]), tmp_path, formats=("text",), kernels=False)
    (folder,) = [p for p in tmp_path.iterdir() if p.is_dir()]
    assert not list(folder.glob("kernels/*.ll")) and len(list(folder.glob("kernels/*.py"))) == 1


def test_a_failing_pass_leaves_what_came_before(tmp_path, monkeypatch):
    x = K.placeholder(shape=(None, 3))
    f = K.function([x], [x * 5])
    recorder = Recorder(tmp_path, Options(("text",)))
    monkeypatch.setattr(observed, "OBSERVERS", [recorder])

    def fails(*_args, **_named):
        raise RuntimeError("no machine code today")
    monkeypatch.setattr(runtime, "Executable", fails)
    with pytest.raises(RuntimeError, match="no machine code"):
        f([[[1.0, 2.0, 3.0]]])
    (folder,) = [p for p in tmp_path.iterdir() if p.is_dir()]
    assert "no machine code today" in (folder / "error.txt").read_text()
    assert (folder / "15-memory.gk").exists() and "failed" in (tmp_path / "index.html").read_text()


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="there is no pass 'fusion'; expected one of captured, specialize"):
        Options(after="fusion")
    with pytest.raises(ValueError, match="no format 'pdf'"):
        Options(("pdf",))


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    from graphk.inspection.dumping import observer_from_environment
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRAPHK_DUMP", str(tmp_path / "file" / "dump"))
    with pytest.raises(OSError, match="no such folder can be made .* Name a folder that can be written"):
        observer_from_environment()


@pytest.mark.timeout(60)
def test_two_loops_with_one_body_are_drawn():
    """Both directions of an LSTM: the leaves of the one body are those of the loop that is drawn."""
    from graphk.inspection.forms import dot
    from graphk.layers import LSTM, Bidirectional, Dense
    from graphk.models import Sequential
    both = Sequential([Bidirectional(LSTM(3), input_shape=(5, 2)), Dense(1, activation="sigmoid")])
    both.compile("adam", "binary_crossentropy")
    for s in subjects_of(both):
        for r in s.records:
            assert "->" in dot(r.after)
