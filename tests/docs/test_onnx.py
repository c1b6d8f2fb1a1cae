"""The example of docs/onnx.md runs as it stands."""
import re
from pathlib import Path

import pytest

pytest.importorskip("onnx")
TEXT = (Path(__file__).parents[2] / "docs" / "onnx.md").read_text(encoding="utf-8")


def test_example(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(compile(code, "docs/onnx.md", "exec"), {"__name__": "docs"})
    assert float(capsys.readouterr().out.rpartition(":")[2]) < 1e-5
