"""Commands outside of marked sessions: in running text and indented lines of the pages, README.md, CONTRIBUTING.md.

Each runs, in a folder of files that all share, or stands in `ELSEWHERE` with the reason why it does not; of those that
are forms (FILE, DIR, …) or names alone, the command and its options must exist.  (Sessions are run by `test_pages`,
the table of questions.md by `test_questions`.)
"""
import argparse
import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from graphk.inspection.cli import COMMANDS, command, main
from tests.docs.pages import PAGES, ROOT, blocks, read

ELSEWHERE = {
    r"pip install": "installs; CI does so in a fresh environment",
    r"make |\.venv/bin/pytest|pytest ": "runs the tests, or what CI runs beside them",
    r"python -m (benchmarks|tests)\.?": "measures or searches for minutes",
    r"python docs/scripts/compatibility\.py": "writes a page; tests/docs/test_compatibility.py compares it",
    r"GRAPHK_FLAGS=device=gpu": "needs a GPU",
    r"mpirun ": "needs several machines or GPUs; the page's session has two processes, and test_pages runs it",
    r"net \*n|net_": "C: the exported example has these calls, and tests/inspection/test_export.py runs it",
}
SOMEBODYS = {"questions.md": "tests/docs/test_questions.py runs it", "compatibility.md": "docstrings, made by a script"}
WORDS = r"(?:[A-Z_]+=\S+ )*(?:graphk(?! \w+: )|python3?|pip|make|pytest|\.venv/bin/\w+|cc|mpirun|mpiexec) "
FORM = re.compile(r"(?<![-\w])(?!GRAPHK_)[A-Z][A-Z0-9_]*\b(?!=)|\[|\||\.\.\.")
FILES = {"train.py": "import graphk\ngraphk.install_as_keras()\n"
                     "import argparse\nimport numpy as np\nfrom keras.layers import Dense\n"
                     "from keras.models import Sequential\np = argparse.ArgumentParser()\n"
                     "p.add_argument('--epochs', type=int, default=1)\n"
                     "model = Sequential([Dense(2, input_shape=(3,))])\nmodel.compile('sgd', 'mse')\n"
                     "model.fit(np.ones((4, 3)), np.ones((4, 2)), epochs=p.parse_args().epochs, verbose=0)\n"}


def commands(text):
    """The commands of a page's text, without comments, those of its blocks left out."""
    bare = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    found = re.findall(rf"`({WORDS}[^`]*)`|^    ({WORDS}.*)$", bare, re.MULTILINE)
    return list(dict.fromkeys(re.sub(r"\s+(#.*)?", " ", (a or b) + " ").strip() for a, b in found))


def every():
    """(page, command) of all pages."""
    texts = {**{p: read(p) for p in PAGES if p not in SOMEBODYS},
             **{name: (ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md")}}
    return [(page, c) for page, text in texts.items() for c in commands(text)]


def runs(text):
    """Whether a command is one to run: it names no place to fill in, and is more than a name."""
    words = shlex.split(text)
    return not FORM.search(text) and (words[0] != "graphk" or any("." in w for w in words) or words[1:] in (
        ["doctor"], ["--help"]))


ALL = [(page, c) for page, c in every() if not any(re.match(p, c) for p in ELSEWHERE)]
TO_RUN = list(dict.fromkeys(c for _, c in ALL if runs(c)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that pages speak of."""
    from graphk.inspection import convert
    from graphk.layers import Dense
    from graphk.models import Sequential
    where = tmp_path_factory.mktemp("commands")
    for block in blocks(read("inspection.md")):
        name = re.match(r"# (\w+\.py)\n", block.code)
        if name:
            (where / name[1]).write_text(block.code)
    (where / "tutorial.py").write_text("".join(b.code for b in blocks(read("tutorial.md"))))
    for name in ("train.py", "script.py", "small.py"):
        (where / name).write_text(FILES["train.py"])
    model = Sequential([Dense(2, activation="tanh", input_shape=(3,))])
    model.compile("sgd", "mse")
    for name in ("model.h5", "m.h5"):
        model.save(where / name)
    model.save_weights(where / "weights.h5")
    for name in ("model.json", "m.json"):
        (where / name).write_text(model.to_json())
    for name in ("w.safetensors", "model.onnx"):
        with contextlib.suppress(ValueError):                          # the package for it is not installed
            convert(where / "model.h5", where / name)
    return where


def shell(text, where):
    python = shlex.quote(sys.executable)
    names = f'graphk() {{ {python} -m graphk "$@"; }}\npython() {{ {python} "$@"; }}\n'
    run = subprocess.run(["sh", "-c", names + text],
                         cwd=where, capture_output=True, text=True, timeout=120,
                         env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("text", TO_RUN)
def test_it_runs(text, folder, monkeypatch):
    if text.startswith("cc "):
        if not shutil.which("cc"):
            pytest.skip("there is no C compiler")
        if not (folder / "net").exists():
            run_here("graphk export model.h5 -o net --name net", folder, monkeypatch)
        shell(text, folder / "net")
        return
    for package in ("safetensors", "onnx"):
        if package in text:
            pytest.importorskip(package)
    run_here(text + " --epochs 1" * text.endswith("graphk.demo"), folder, monkeypatch)


def run_here(text, where, monkeypatch):
    """In this process where that is the same: a model's file, and nothing but the command."""
    words = shlex.split(text)
    if words[0] != "graphk" or "run" in words or any(w.endswith(".py") for w in words) or "--help" in words:
        shell(text, where)
        return
    monkeypatch.chdir(where)
    if "-o" in words:
        shutil.rmtree(where / words[words.index("-o") + 1], ignore_errors=True)
    assert main(words[1:]) == 0


@pytest.mark.parametrize("page, text", [(p, c) for p, c in ALL if not runs(c)])
def test_a_form_names_what_there_is(page, text):
    words = re.sub(r"^([A-Z_]+=\S+ )*(python -m )?", "", text).split()
    assert words[0] in ("graphk", "python"), f"{page}: `{text}` is neither run nor in ELSEWHERE"
    if words[0] == "python":
        return
    names = words[1].split("|")
    assert set(names) <= {*COMMANDS, "COMMAND"}, f"{page}: `{text}`"
    for name in set(names) & set(COMMANDS):
        parser = argparse.ArgumentParser()
        command(name).arguments(parser)
        options = {o for action in parser._actions for o in action.option_strings}
        assert {w.strip("[]").split("=")[0] for w in words[2:] if w.strip("[").startswith("-") and w != "-"} <= options


def test_every_exception_is_one():
    for pattern in ELSEWHERE:
        assert "net" in pattern or any(re.match(pattern, c) for _, c in every()), f"nothing needs {pattern!r}"
