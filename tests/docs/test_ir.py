"""docs/ir*.md: the words of the grammars are those that the parsers know."""
import re

from graphk.ir.loop import COMBINE
from graphk.ir.parse import WORDS
from graphk.ir.parse_loop import ROLES
from graphk.ir.types import LONG
from tests.docs.pages import read

PAGE = "\n".join(read(f"ir{part}.md") for part in ("", "-graph", "-kernel", "-program"))


def choices(name):
    """The quoted words of a grammar's line."""
    line = re.search(rf"^{name} *= (.*)", PAGE, re.M)
    return set(re.findall(r"'(\w+)'", line[1]))


def test_dtypes_and_combinations():
    assert choices("dtype") == set(LONG)
    assert choices("combine") == set(COMBINE)
    assert choices("param") == set(ROLES)


def test_words_that_are_no_symbols():
    listed = re.search(r"that is not one of (.*?)\. A comment", PAGE, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", listed[1])) == WORDS


def test_schedules():
    listed = set(re.findall(r"`(\w+)\([\w, ]*\)`", PAGE.split("A schedule is one of")[1].split("```")[0]))
    assert listed == {"map", "rows", "columns", "chunks", "tile", "blocks", "winograd2", "winograd4", "serial",
                      "library"}
