"""docs/passes.md: a section for each pass, in their order, with what the pass makes of an example."""
import re

import pytest

from graphk.ir.node import Graph
from graphk.ir.text import parse_graph, parse_program, print_graph, print_program
from graphk.passes.pipeline import PASSES, State
from tests.docs.pages import DOCS, blocks, read

PAGE = "passes.md"
BLOCK = re.compile(r"^```text\n(.*?)^```\n", re.DOTALL | re.MULTILINE)


def sections() -> dict[tuple[str, int], tuple[str, str]]:
    """Before and after by the pass's name and the number of the example; what goes into the first, if it is not shown,
    is what that of the section before ends with."""
    parts = re.split(r"^## (.*)\n", read(PAGE), flags=re.M)
    out, last = {}, ""
    for name, body in zip(parts[1::2], parts[2::2]):
        if blocks(body):                          # its Python is run by test_pages.py
            continue
        texts = BLOCK.findall(body)
        texts = [last, *texts] if len(texts) % 2 else texts
        out.update(((name, i), pair) for i, pair in enumerate(zip(texts[::2], texts[1::2])))
        last = texts[1]
    return out


def made(name: str, before: str) -> str:
    """What a pass makes of a text."""
    ir = parse_program(before) if before.startswith("program") else parse_graph(before)
    new = next(p for p in PASSES if p.name == name).run(ir, State())
    return print_graph(new, origins=False) if isinstance(new, Graph) else print_program(new)


def test_a_section_for_each_pass():
    assert re.findall(r"^## (.*)", read(PAGE), re.M) == [p.name for p in PASSES]


@pytest.mark.parametrize("name, number", sections())
def test_example(name, number, request):
    if request.config.getoption("--update-golden"):
        head, body = read(PAGE).split(f"## {name}\n", 1)
        body, *rest = re.split(r"(?=^## )", body, maxsplit=1, flags=re.M)
        texts = list(BLOCK.finditer(body))
        start, end = texts[2 * number + 1 - len(texts) % 2].span(1)
        body = body[:start] + made(name, sections()[name, number][0]) + body[end:]
        (DOCS / PAGE).write_text(f"{head}## {name}\n{body}{''.join(rest)}", encoding="utf-8")
    before, after = sections()[name, number]
    assert made(name, before) == after
    assert before != after
