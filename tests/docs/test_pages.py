"""The pages of docs/: every block of Python runs and prints what the page shows, and every link leads somewhere."""
import re
import shutil

import pytest
import yaml

from tests.docs.pages import DOCS, PAGES, ROOT, agrees, blocks, outputs, read, with_outputs
from tests.mpi import MPIRUN, REASON

WITH_CODE = [p for p in PAGES if blocks(read(p))]
NEEDS = {"onnx.md": "onnx"}
OUTSIDE = re.compile(r"[a-z]+:")


@pytest.mark.parametrize("page", WITH_CODE)
def test_code_runs_and_prints_what_is_shown(page, tmp_path, request):
    if page in NEEDS:
        pytest.importorskip(NEEDS[page])
    if "$ mpirun" in read(page) and MPIRUN is None:
        pytest.skip(REASON)
    if page == "howto/deploy.md" and not shutil.which("cc"):
        pytest.skip("there is no C compiler")
    text, printed = read(page), outputs(page, tmp_path)
    if request.config.getoption("--update-golden"):
        (DOCS / page).write_text(with_outputs(text, printed), encoding="utf-8")
        return
    for block, out in zip(blocks(text), printed, strict=True):
        assert block.shown is None or agrees(block.shown, out), f"{page} shows\n{block.shown}\nbut prints\n{out}"


# ------------------------------------------------------------------ navigation and links
def listed(entries):
    """The pages in a navigation, groups within groups."""
    for entry in entries:
        for value in entry.values():
            yield from listed(value) if isinstance(value, list) else [value]


def anchors(page):
    """The anchors of a page's headings, as mkdocs makes them."""
    text = re.sub(r"^```.*?^```", "", read(page), flags=re.DOTALL | re.MULTILINE)
    heads = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", h).strip().lower()) for h in heads}


def test_every_page_is_in_the_navigation():
    pages = list(listed(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    assert len(pages) == len(set(pages))
    assert {p for p in pages if not p.startswith("api/")} == set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", read(page), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if OUTSIDE.match(link):
            continue
        path, _, anchor = link.partition("#")
        target = ((DOCS / page).parent / path).resolve() if path else DOCS / page
        assert target.is_relative_to(DOCS) and (target.exists() or target.parent.name == "api"), f"{page}: {link}"
        assert not anchor or anchor in anchors(str(target.relative_to(DOCS))), f"{page}: {link} has no such heading"
