"""`python -m benchmarks.tools`, as far as it goes without the tools that it compares."""
import re
import shutil
import subprocess
import sys

import pytest

from benchmarks import tools, tools_netron
from graphk.inspection.cli import COMMANDS


def test_questions_are_asked_of_commands_that_there_are():
    for q in tools.QUESTIONS:
        assert q.graphk.split()[0] in COMMANDS
        for _, text in filter(None, (q.netron, q.torchinfo, q.tlparse, q.logs, q.xla, q.single)):
            re.compile(text)


def test_what_is_missing_is_said(monkeypatch):
    assert tools_netron.missing(None) == "no --netron PYTHON"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert tools_netron.missing(sys.executable) == "no node"
    monkeypatch.setattr(shutil, "which", lambda name: name)
    if "has no netron" not in (said := tools_netron.missing(sys.executable)):
        assert said == ""                                              # it is installed here


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_script_for_node_is_javascript():
    done = subprocess.run(["node", "--input-type=module", "--check"], input=tools_netron.SCRIPT.read_text(),
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
