"""`python -m graphk run`, `memory` and `doctor`, as processes, and that importing graphk loads no inspection."""
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from graphk.codegen import cache
from graphk.inspection import installation as doctor
from graphk.inspection.facts import human

ROOT = Path(__file__).parents[2]
SCRIPT = '''"""A script."""
import sys
import keras.layers
import beside
import graphk

assert __name__ == "__main__" and sys.modules["__main__"].__dict__ is globals() and __file__ == sys.argv[0]
assert keras.__version__ == "2.2.4" and keras.layers is graphk.layers
print(beside.HERE, sys.argv[1:])


def fail():
    raise ValueError("of the script's own")


if "fail" in sys.argv:
    fail()
if "interrupt" in sys.argv:
    raise KeyboardInterrupt
sys.exit(7)
'''


def graphk(*arguments, cwd, **env):
    return subprocess.run([sys.executable, "-m", "graphk", *arguments], cwd=cwd, capture_output=True, text=True,
                          timeout=120,
                          env={**os.environ, "PYTHONPATH": str(ROOT), **env})


@pytest.fixture()
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "script.py").write_text(SCRIPT)
    (tmp_path / "sub" / "beside.py").write_text('HERE = "found"\n')
    return tmp_path


def test_run_is_like_python(folder):
    run = graphk("run", "sub/script.py", "--flag", "-x", cwd=folder)
    assert (run.returncode, run.stdout, run.stderr) == (7, "found ['--flag', '-x']\n", "")


def test_run_shows_the_scripts_traceback(folder):
    run = graphk("run", "sub/script.py", "fail", cwd=folder)
    assert run.returncode == 1 and run.stderr.endswith("ValueError: of the script's own\n")
    assert run.stderr.startswith('Traceback (most recent call last):\n  File "sub/script.py", line')
    assert "inspection" not in run.stderr


def test_run_dies_of_an_interrupt_as_python_does(folder):
    run = graphk("run", "sub/script.py", "interrupt", cwd=folder)
    assert run.returncode == -signal.SIGINT and run.stderr.endswith("\nKeyboardInterrupt\n")


SPAWNS = """
import multiprocessing, subprocess, sys
import keras
from keras.models import Sequential
from keras.layers import Dense

def width(n):
    import keras.backend
    return Sequential([Dense(n, input_shape=(2,))]).output_shape[1], keras.__version__, keras.backend.__name__

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(width, [3]))
    print(subprocess.run([sys.executable, "-c", "import keras; print(keras.layers.__name__)"], capture_output=True,
                         text=True).stdout)
"""
OF_TENSORFLOW = """
import tensorflow as tf
from tensorflow.keras import layers, models
from tensorflow.python.keras.layers import Dense
print(tf.keras.models.Sequential is models.Sequential, Dense is layers.Dense, tf.keras.__version__)
try:
    tf.data
except AttributeError as e:
    print(e)
try:
    import tensorflow.contrib.layers
except ImportError as e:
    print(e)
"""


def test_spawned_processes_find_graphk_too(folder):
    (folder / "spawns.py").write_text(SPAWNS)
    run = graphk("run", "spawns.py", cwd=folder)
    assert run.stdout.split("\n")[:2] == ["[(3, '2.2.4', 'graphk.frontend.backend')]", "graphk.layers"], run.stderr


def test_tensorflows_keras_on_request(folder):
    (folder / "tf.py").write_text(OF_TENSORFLOW)
    run = graphk("run", "--tensorflow", "tf.py", cwd=folder)
    assert run.stdout.startswith("True True 2.2.4-tf\n`tensorflow.data` is TensorFlow's own"), run.stderr
    assert "No module named 'tensorflow.contrib': TensorFlow's own: graphk stands for" in run.stdout, run.stderr


def test_run_without_script(folder):
    run = graphk("run", "absent.py", cwd=folder)
    assert run.returncode == 2 and "cannot open the script 'absent.py'" in run.stderr


def test_import_loads_no_inspection():
    code = ("import sys, graphk, graphk.layers, graphk.models; print([m for m in sys.modules if m.startswith(("
            "'graphk.inspection', 'networkx'))]); import graphk.inspection; print('networkx' in sys.modules)")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
                         env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert run.stdout == "[]\nFalse\n", run.stderr


MEMORY = """
import numpy as np
import keras
from keras.layers import Conv2D, Flatten, Dense
model = keras.models.Sequential([Conv2D(32, 3, input_shape=(20, 20, 3)), Flatten(), Dense(4)])
for n in (3, 70, 5):
    model.predict(np.zeros((n, 20, 20, 3), "f"), batch_size=70)
"""


def test_graphs_of_several_models_are_numbered(folder):
    (folder / "several.py").write_text("""
from keras.layers import Dense
from keras.models import Sequential
import numpy as np
for name in ("one", "other"):
    Sequential([Dense(2, input_shape=(5,), name=name)]).predict(np.zeros((3, 5)))
""")
    def told(*words):
        run = graphk(*words, "several.py", cwd=folder)
        assert run.returncode == 0, run.stderr
        return run.stdout
    names = [line.split()[0] for line in told("memory").splitlines()[1:3]]
    assert names == ["predict_function.1", "predict_function.2"]
    assert len(told("memory", "--phase", "predict.2").splitlines()) == 3
    assert "layer other" in (text := told("dump", "--out", "-", "--after", "captured", "--phase", "predict.2"))
    assert "layer one" not in text and "one, other" in told("kernel").splitlines()[1]
    assert "layers one, " in (text := told("kernel", "one")) and "predict.1, step 0" in text and "predict.2" in text
    assert told("cost", "--phase", "predict").count(" FLOP,") == 2
    for words in (("cost",), ("memory",)):
        run = graphk(*words, "--phase", "predict.3", "several.py", cwd=folder)
        assert run.returncode == 2 and "found predict.1, predict.2" in run.stderr
    assert graphk("cost", "--phase", "predict.x", "several.py", cwd=folder).returncode == 2


def test_a_trace_lies_where_it_was_asked_for(folder):
    """Though the script went elsewhere."""
    (folder / "elsewhere").mkdir()
    (folder / "goes.py").write_text("""
import os
import numpy as np
os.chdir("elsewhere")
from keras.layers import Dense
from keras.models import Sequential
Sequential([Dense(2, input_shape=(5,))]).predict(np.zeros((3, 5)))
""")
    run = graphk("profile", "--trace", "trace.json", "goes.py", cwd=folder)
    assert run.returncode == 0 and "open trace.json in" in run.stderr, run.stderr
    assert (folder / "trace.json").exists() and not list((folder / "elsewhere").iterdir())


def test_output_that_cannot_be_written(folder):
    """A terminal without some characters gets their numbers; a full disk is a line."""
    (folder / "many.py").write_text("""
from keras.layers import Dense
from keras.models import Sequential
import numpy as np
Sequential([Dense(4, input_shape=(4,)) for _ in range(6)]).predict(np.zeros((2, 4)))
""")
    run = graphk("kernel", "many.py", cwd=folder, PYTHONIOENCODING="ascii")
    assert run.returncode == 0 and "\\u2026 (6)" in run.stdout, run.stderr
    with open("/dev/full", "w") as full:
        run = subprocess.run([sys.executable, "-m", "graphk", "cache"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert run.returncode == 2 and run.stderr == "graphk cache: the output cannot be written: No space left on device\n"


def test_memory_of_a_scripts_graphs(folder):
    """At the largest of its sizes; the workspace of its kernels counts."""
    (folder / "memory.py").write_text(MEMORY)
    run = graphk("memory", "--slots", "memory.py", cwd=folder)
    head, row, *slots, peak = run.stdout.splitlines()
    cells = dict(zip(re.split(r"  +", head), re.split(r"  +", row), strict=True))
    assert run.returncode == 0 and (cells["graph"], cells["sizes"]) == ("predict_function", "n=70"), run.stderr
    assert cells["arena"] == human(70 * 18 * 18 * 32 * 4, "B") and float(cells["workspace"].split()[0]) > 0
    assert peak.startswith("peak of the process ") and "memory plan of predict_function for n=70" in slots
    (folder / "none.py").write_text("import keras")
    run = graphk("memory", "none.py", cwd=folder)
    assert run.returncode == 2 and run.stderr.startswith("graphk memory: the script ran no compiled graph: ")


def test_places_that_cannot_be_written_and_numbers_that_are_none(files, tmp_path, capsys, monkeypatch):
    from graphk.inspection.cli import main
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a file")
    whole = str(files / "whole.h5")
    for arguments, said in ((["dump", whole, "--out", "taken"], "--out taken: File exists; expected a folder that can"),
                            (["convert", whole, "m.xyz"], "graphk convert: m.xyz: the format `.xyz` is not known"),
                            (["report", whole, "-o", ".", "--no-times"], "the page cannot be written")):
        assert main(arguments) in (1, 2)
        assert said in capsys.readouterr().err
    for option in (["--batch", "0"], ["--batch", "-3"], ["--top", "0"], ["--batch", "²"]):
        with pytest.raises(SystemExit):
            main(["cost", whole, *option])
        assert f"received {option[1]!r}, expected a whole number, 1 or more" in capsys.readouterr().err


def test_lines_of_pythons_own_start_are_nobodys(files):
    text = graphk("dump", "--out", "-", "--after", "fuse", "--phase", "predict", "whole.h5", cwd=files).stdout
    assert "# layer" in text and "frozen" not in text


# ------------------------------------------------------------------ doctor
def test_doctor_is_content_here(capsys):
    assert doctor.doctor() == 0
    out = capsys.readouterr().out
    for word in ("graphk", "python", "numpy", "numba", "llvmlite", "LLVM", "CPU", "features", "float32 lanes",
                 "threads",
                 "kernel cache", "compiled kernels", "writable", "GPU", "self-test", "graphk works here"):
        assert word in out, word


def test_doctor_says_what_the_configuration_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GRAPHK_HOME", str(tmp_path))
    monkeypatch.setenv("GRAPHK_FLAGS", "keras_semantics=2.3")
    doctor.doctor()
    out = capsys.readouterr().out
    assert f"{tmp_path}/graphk.json, and over it GRAPHK_FLAGS=keras_semantics=2.3" in out
    assert "backend tensorflow, image_data_format channels_last, device auto, keras_semantics 2.3" in out
    (tmp_path / "graphk.json").write_text("{")
    assert doctor.doctor() == 1
    assert "BROKEN: configuration: ValueError: The configuration file" in capsys.readouterr().out


def test_doctor_names_an_unsafe_cache(tmp_path, monkeypatch, capsys):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setenv("GRAPHK_CACHE_DIR", str(shared))
    cache.forget()
    try:
        assert doctor.doctor() == 1
    finally:
        cache.forget()
    assert "others may write it (mode 777)" in capsys.readouterr().out


def test_doctor_finds_misfits(monkeypatch):
    have = {"numba": "0.61.2"}
    real = doctor.importlib.metadata.version
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: have.get(name) or real(name))
    found = doctor.Findings()
    doctor.versions(found)
    assert any(text.startswith("numba 0.61.2 does not fit") for text in found.broken)


@pytest.mark.parametrize("have, need, fits", [("0.68.1", ">=0.68,<0.69", True), ("0.69.0", ">=0.68,<0.69", False),
                                              ("2.4.6", ">=1.26", True), ("1.25", ">=1.26", False), ("1.2", "", True)])
def test_versions_are_compared_by_number(have, need, fits):
    assert doctor._fits(have, need) is fits


# ------------------------------------------------------------------ model files
@pytest.fixture(scope="module")
def files(tmp_path_factory):
    from graphk.layers import LSTM, Dense
    from graphk.models import Sequential
    folder = tmp_path_factory.mktemp("files")
    whole = Sequential([Dense(32, activation="relu", input_shape=(16,)), Dense(10, activation="softmax")])
    whole.compile("adam", "categorical_crossentropy")
    whole.save(folder / "whole.h5")
    Sequential([LSTM(8, input_shape=(None, 4)), Dense(1)]).save(folder / "bare.h5")
    whole.save_weights(folder / "only.weights.h5")
    return folder


def test_commands_take_model_files(files, tmp_path, capsys):
    from graphk.inspection.cli import main
    assert main(["memory", str(files / "whole.h5"), "--batch", "7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [[f"{p}_function", "n=7"] for p in ("train", "test", "predict")]
    steps = re.search(r"(d\d+)=16", graphk("memory", "bare.h5", cwd=files).stdout)[1]
    assert f"{steps}=5" in graphk("memory", "bare.h5", "--dim", f"{steps}=5", cwd=files).stdout
    assert main(["dump", str(files / "whole.h5"), "--phase", "test", "--out", str(tmp_path / "out")]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir())[-1] == "index.html"
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize("arguments, message", [
    ([], "expected one of a model file and --script FILE"),
    (["absent.h5"], "absent.h5: .*no such file"),
    (["bare.h5", "--phase", "train"], "no graph of the phase train: found predict .*nothing to train or test"),
    (["bare.h5", "--dim", "steps"], "--dim 'steps': expected NAME=N"),
    (["bare.h5", "--dim", "q=3"], "--dim q=3: predict has no size q; it has "),
    (["only.weights.h5"], "only.weights.h5: "),
    (["--script", "absent.py"], "cannot open the script 'absent.py'")])
def test_a_mistake_is_one_line(arguments, message, files, capsys, monkeypatch):
    from graphk.inspection.cli import main
    monkeypatch.chdir(files)
    assert main(["memory", *arguments]) == 2
    err = capsys.readouterr().err
    assert re.search("^graphk memory: .*" + message, err, re.M), err


def test_what_follows_a_script_is_its_own(folder):
    (folder / "args.py").write_text("import sys\nprint(sys.argv[1:])\n")
    for given in (["args.py", "--batch", "a"], ["--script", "args.py", "--", "--batch", "a"]):
        run = graphk("memory", *given, cwd=folder)
        assert run.stdout == "['--batch', 'a']\n", run.stderr
