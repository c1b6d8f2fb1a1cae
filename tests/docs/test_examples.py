"""Every program in examples/ runs to its end, shortened by --quick, in a process and a folder of its own."""
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(p.name for p in EXAMPLES.glob("*.py")))
def test_it_runs(name, tmp_path):
    run = subprocess.run([sys.executable, "-W", "error", str(EXAMPLES / name), "--quick", "--save"], cwd=tmp_path,
                         capture_output=True, text=True, timeout=280)
    assert run.returncode == 0, run.stderr
    assert run.stdout and not re.search(r"\b(nan|inf)\b", run.stdout)


def test_the_list_of_examples_is_whole():
    listed = set(re.findall(r"`(\w+\.py)`", (EXAMPLES / "README.md").read_text()))
    assert listed == {p.name for p in EXAMPLES.glob("*.py")}
