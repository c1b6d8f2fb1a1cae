"""The pages of docs/: their blocks of Python and of commands, and what these print.

In: a page.  Out: its blocks with the output that the page shows, and what running them prints.  What always holds: the
blocks of a page run in order, in a process and a folder of their own, and share their names, as if they stood in one
file that is named after the page: lines that outputs mention are those of a reader who types the blocks into it.  A
block of Python that begins with `# NAME.py` is a file of that name; a block `console` is commands behind `$`, each with
its output.
"""
from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from tests.mpi import ENVIRONMENT

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(str(p.relative_to(DOCS)) for p in DOCS.rglob("*.md"))
_BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<shown>.*?)^```\n)?"
                    r"|^```console\n(?P<session>.*?)^```\n", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# (\w+\.py)\n")


@dataclass(frozen=True)
class Block:
    """Python or commands (`session`) of a page; `shown`: the output behind it, commands and outputs of a session; None
    where the page shows none; `at`: where that stands."""
    code: str
    shown: str | None
    at: tuple[int, int]
    session: bool = False


def read(page: str) -> str:
    """The text of a page, named relative to docs/."""
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    """The blocks of a page's text, in order.  (A block of text after an empty line is the output.)"""
    return [Block(m["session"], m["session"], m.span("session"), True) if m["code"] is None else
            Block(m["code"], m["shown"], m.span("shown")) for m in _BLOCK.finditer(text)]


def outputs(page: str, folder: Path) -> list[str]:
    """What the blocks of a page print, run one after the other in a process and a folder of their own."""
    run = subprocess.run([sys.executable, "-W", "error", "-m", __name__, page, "outputs.json"], cwd=folder, text=True,
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=200,
                         env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert run.returncode == 0, f"docs/{page}: {run.stderr}"
    return json.loads((folder / "outputs.json").read_text())


def run_here(page: str) -> Iterator[str]:
    """What each block prints, run in this process."""
    names, line = {"__name__": "__main__"}, 0
    for block in blocks(read(page)):
        file = _FILE.match(block.code)
        if block.session or file:
            if file:
                Path(file[1]).write_text(block.code)
            yield "".join(map(transcript, re.findall(r"^\$ (.*)", block.code, re.MULTILINE))) if block.session else ""
            continue
        out = io.StringIO()
        code = compile("\n" * line + block.code, Path(page).stem + ".py", "exec")
        with contextlib.redirect_stdout(out):
            exec(code, names)
        line += block.code.count("\n")
        yield out.getvalue().rstrip() + "\n"


def transcript(command: str) -> str:
    """A command of a shell, in which `graphk` and `python` are these, and what it prints; AssertionError where it
    fails."""
    names = f'graphk() {{ "{sys.executable}" -m graphk "$@"; }}\npython() {{ "{sys.executable}" "$@"; }}\n'
    run = subprocess.run(["sh", "-c", names + command], text=True, capture_output=True, timeout=120,
                         env={**os.environ, **ENVIRONMENT})
    assert run.returncode == 0, f"{command}: {run.stderr}"
    return f"$ {command}\n{run.stdout}"


def agrees(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed; `...` stands for anything."""
    return doctest.OutputChecker().check_output(shown, printed, doctest.ELLIPSIS)


def with_outputs(text: str, printed: list[str]) -> str:
    """The page with the outputs of today, but for those that leave something out."""
    for block, out in reversed(list(zip(blocks(text), printed, strict=True))):
        if block.shown is not None and "..." not in block.shown:
            text = text[:block.at[0]] + out + text[block.at[1]:]
    return text


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(list(run_here(sys.argv[1]))))
