"""The python blocks of README.md run as they stand, in one namespace per block."""
import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_there_are_blocks():
    assert len(BLOCKS) == 3 and len([x for x in BLOCKS[0].splitlines() if x.strip()]) <= 15


@pytest.mark.parametrize("code", BLOCKS, ids=["train", "keras", "graph"])
def test_block_runs(code, capsys):
    names = {"__name__": "readme"}
    exec(compile(code, "README.md", "exec"), names)
    out = capsys.readouterr().out
    assert "install_as_keras" in code and names["Dense"] or "graph slope" in out or float(out.rpartition(":")[2]) > 0.8
