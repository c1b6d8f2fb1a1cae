"""docs/questions.md: every command of its table runs on the two files that docs/inspection.md shows."""
import os
import re
import shlex
import subprocess
import sys

import pytest

from graphk.inspection.cli import COMMANDS, main
from tests.docs.pages import ROOT, blocks, read

PAGE = read("questions.md")
COMMANDS_SHOWN = list(dict.fromkeys(re.findall(r"`graphk ([^`]*\.(?:h5|py)[^`]*|cache|doctor)`", PAGE)))
SAYS = {"summary model.h5": "mult-adds", "summary weights.h5": "weights only", "memory --slots": "memory plan",
        "dump --out - --after memory": "step dot_add_sub_mul_relu", "diff captured": "simplify",
        "why conv pool": "apart:", "why conv norm": "share a kernel", "kernel reduce_max --asm": "ret",
        "reduce_max --target cuda": "cuda.threadIdx", "memory --target": "0 B", "--roof": "as given",
        "--target avx512": "zmm",
        "cost": "bound by", "profile": "x floor", "kernel lstm.py": "lstm_1",
        "check": "graphk reads this file"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("questions")
    for block in blocks(read("inspection.md")):
        name = re.match(r"# (\w+\.py)\n", block.code)
        if name:
            (where / name[1]).write_text(block.code)
    shell(["run", "net.py"], where)
    return where


def shell(arguments, where):
    run = subprocess.run([sys.executable, "-m", "graphk", *arguments], cwd=where, capture_output=True, text=True,
                         timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert run.returncode == 0, f"{shlex.join(arguments)}: {run.stderr}"
    return run.stdout


@pytest.mark.parametrize("command", COMMANDS_SHOWN)
def test_a_command_answers(command, folder, capsys, monkeypatch):
    arguments = shlex.split(command)
    if arguments[-1].endswith(".py"):
        said = shell(arguments, folder)
    else:
        monkeypatch.chdir(folder)
        assert main(arguments) == 0
        said = "".join(capsys.readouterr())
    assert said.strip()
    for start, part in SAYS.items():
        assert start not in command or part in said, f"{command} does not say {part}"


def test_every_command_is_on_the_page():
    shown = {c.split()[0] for c in re.findall(r"`graphk ([a-z]+)", PAGE)}
    assert set(COMMANDS) - shown <= {"convert", "export", "run"}, "what makes files instead of answers"
