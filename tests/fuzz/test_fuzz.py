"""Mutants of model files, and kills while saving; `python -m tests.fuzz.run` and `.kill` do many more."""
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments):
    done = subprocess.run([sys.executable, "-W", "ignore", "-m", *arguments], cwd=ROOT, capture_output=True, text=True,
                          timeout=290)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_mutants_load_or_are_refused():
    assert "2000 mutants, 0 failures" in run("tests.fuzz.run", "--mutants", "2000", "--processes", "1")


@pytest.mark.slow
def test_a_killed_save_leaves_a_whole_file():
    said = run("tests.fuzz.kill", "--kills", "60")
    assert "killed 60 times" in said and "disk full 7 times: the old file each time" in said
