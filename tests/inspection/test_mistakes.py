"""What a clumsy user gives the commands: each mistake is a line that names it, and none is a traceback."""
import contextlib
import io

import pytest

from graphk.inspection import cli
from graphk.inspection.costing import micro
from graphk.layers import LSTM, Dense, Input, Layer
from graphk.models import Model, Sequential


class Mine(Layer):
    """A layer that no file can bring with it."""

    def call(self, x):
        return x * 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("mistakes")
    (where / "folder").mkdir()
    for name, text in (("empty.h5", ""), ("empty.json", ""), ("other.json", "[1]"), ("empty.py", ""), ("empty.gk", ""),
                       ("words.txt", "hello"), ("syntax.yaml", "a: [")):
        (where / name).write_text(text)
    (where / "bytes.py").write_bytes(b"\x89HDF\0")
    x = Input((4,), name="in")
    made = {"two": Model(x, [Dense(2, name="a")(x), Dense(3, name="b")(x)]),
            "custom": Sequential([Dense(3, input_shape=(4,)), Mine()]),
            "fixed": Sequential([LSTM(5, stateful=True, batch_input_shape=(2, 7, 3)), Dense(1)])}
    inner = Sequential([Dense(4, activation="relu", input_shape=(4,), name="i1"), Dense(4, name="i2")], name="inner")
    made["nested"] = Model(x, inner(inner(x)))
    for name, model in made.items():
        model.compile("sgd", "mse")
        model.save(str(where / f"{name}.h5"))
    return where


def graphk(*arguments):
    """Exit code, and all that was said."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = cli.main(list(arguments))
        except SystemExit as e:
            code = e.code
    return code, out.getvalue()


NONE = "it is not an HDF5 file"
FILES = {"absent.h5": "no such file", "empty.h5": NONE, "words.txt": NONE, "folder": "a folder",
         "empty.json": "empty.json: it is not JSON", "other.json": "other.json: ",
         "syntax.yaml": "syntax.yaml: it is not YAML", "custom.h5": "Unknown layer: Mine"}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("command", ["summary", "memory", "cost", "kernel", "report -o x.html", "export -o x", "check",
                                     "dump --out - --after fuse", "convert"])
def test_files_that_are_no_models(command, file, folder, monkeypatch):
    monkeypatch.chdir(folder)
    code, said = graphk(*command.split(), file, *["out.h5"] * (command == "convert"))
    assert code in (1, 2) and FILES[file] in said and file in said and "Traceback" not in said, said
    assert not (folder / "x").exists() and not (folder / "x.html").exists() and not (folder / "out.h5").exists()


@pytest.mark.parametrize("arguments, message", [
    ("check empty.py", "empty.py: this is a script; expected a model file"),
    ("export -o x empty.py", "empty.py: this is a script; expected a model file"),
    ("memory --script bytes.py", "'bytes.py' is no script"),
    ("memory empty.py", "the script ran no compiled graph"),
    ("summary custom.h5", "On the command line: give a script that loads the model so"),
    ("opt two.h5", "cannot read 'two.h5': it is not text; expected the text of a graph"),
    ("opt folder", "cannot read 'folder': Is a directory"),
    ("opt empty.gk", "expected `graph`, received `the end of the text`"),
    ("why a two.h5", "expected two names and a file: graphk why A B FILE; received 'a' and 'two.h5'"),
    ("why a nope two.h5", "has no layer, node or kernel 'nope'"),
    ("diff nope fuse two.h5", "there is no pass 'nope'"),
    ("dump --after nope two.h5", "there is no pass 'nope'"),
    ("kernel nope two.h5", "there is no kernel 'nope'"),
    ("cost --batch 0 two.h5", "received '0', expected a whole number, 1 or more"),
    ("cost --batch 99999999999999999999 two.h5", "(below 2**31)"),
    ("profile --batch 2000000000 --phase predict two.h5", "a call more memory than this machine has"),
    ("memory --dim q=3 two.h5", "has no size q"),
    ("summary two.h5 two.h5", "unrecognized arguments: two.h5"),
    ("report two.h5 --no-times -o folder", "the page cannot be written")])
def test_a_mistake_is_named(arguments, message, folder, monkeypatch):
    monkeypatch.chdir(folder)
    code, said = graphk(*arguments.split())
    assert code in (1, 2) and message in said and "Traceback" not in said, said


def test_a_page_of_what_does_not_fit_has_no_times(folder, monkeypatch):
    monkeypatch.chdir(folder)
    code, said = graphk("report", "--batch", "2000000000", "--phase", "predict", "two.h5", "-o", "big.html")
    assert code == 0 and "a call, measured" not in (folder / "big.html").read_text(), said


@pytest.mark.parametrize("file", ["two.h5", "nested.h5", "fixed.h5"])
@pytest.mark.parametrize("command", ["summary", "memory --slots", "cost", "kernel", "diff captured fuse",
                                     "dump --out - --after memory", "why %0 %1"])
def test_models_of_every_build(command, file, folder, monkeypatch):
    monkeypatch.chdir(folder)
    code, said = graphk(*command.split(), "--phase", "predict", file)
    assert code == 0 and said.strip() and (file != "fixed.h5" or command != "memory --slots" or " fixed " in said), said


def test_long_times_are_told_in_milliseconds_and_seconds():
    assert [micro(s) for s in (1.234e-7, 1.5e-4, 9.9e-3, 0.0123, 0.99, 12.3, 4000)] == [
        "0.123 us", "150 us", "9,900 us", "12 ms", "990 ms", "12.3 s", "4,000 s"]
