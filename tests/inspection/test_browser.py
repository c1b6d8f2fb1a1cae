"""The page in a real browser: it opens with no network, searches find, clicks tell, links lead to what is packed."""
import pytest

from graphk import inspection
from tests.browser import NAMES, browser, installed

pytestmark = pytest.mark.skipif(installed() is None, reason=f"no browser: none of {', '.join(NAMES)} is installed")


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def quiet(tab):
    """Nothing went wrong on the page, and nothing but the page itself was loaded."""
    tab.messages.clear()
    tab.asked.clear()
    yield tab
    assert not tab.messages
    assert tab.asked and all(a.startswith("file:") and a.endswith(".html") for a in tab.asked), tab.asked


def test_the_page_draws_itself(quiet, page):
    assert quiet.open(page) > 0
    assert quiet.js("document.querySelectorAll('svg.graph .node').length") > 20
    quiet.click(".tab[data-phase='1']")
    assert quiet.wait("explorers[1] && explorers[1].panes.every(p => p.view)")
    assert quiet.js("document.querySelectorAll('svg.graph').length") == 4, "two panes for each graph that was shown"


def test_a_tab_shows_its_graph_alone(quiet, page):
    quiet.open(page)
    seen = "[...document.querySelectorAll('.phase')].map(p => p.offsetHeight > 0)"
    assert quiet.js(seen) == [True, False, False]
    quiet.click(".tab[data-phase='1']")
    assert quiet.wait("explorers[1] && explorers[1].panes.every(p => p.view)")
    assert quiet.js(seen) == [False, True, False]
    assert quiet.js("document.querySelectorAll('.phase.on svg.graph .node').length") > 5
    quiet.click(".tab[data-phase='0']")
    quiet.click(".phase.on .node")
    assert quiet.wait("document.querySelector('.phase.on .detail dl')")


def test_a_click_tells_of_a_node(quiet, page):
    quiet.open(page)
    quiet.click(".phase.on .node")
    assert quiet.wait("document.querySelector('.phase.on .detail dl')")
    detail = quiet.js("document.querySelector('.phase.on .detail').textContent")
    assert "your line" in detail and "rule" in detail and "captured" in detail
    assert quiet.js("document.querySelectorAll('.phase.on .node.sel').length") > 0


def test_a_click_on_a_layer_tells_of_its_nodes_and_leads_to_its_kernels(quiet, page):
    quiet.open(page)
    name = quiet.js("D.layers[NODES[explorers[0].panes[1].view.nodes.find(n => n[7])[0]][3]][0]")
    quiet.click(f"button.layer[data-layer='{name}']")
    told = quiet.js("document.querySelector('.phase.on .detail').textContent")
    assert told.startswith(name) and "= " in told and " in step " in told
    quiet.click(".phase.on .detail a[href^='#k']")
    assert quiet.wait("location.hash.startsWith('#k') && document.querySelector(location.hash)")
    assert quiet.js("document.querySelector(document.querySelector('.phase.on .detail > a').getAttribute('href'))"
                    ".textContent") == "Memory"


def test_searches_find(quiet, page):
    quiet.open(page)
    quiet.type(".phase.on .tools .filter", "relu")
    assert quiet.js("document.querySelectorAll('.phase.on .node.hit').length") > 0
    assert "left" in quiet.js("document.querySelector('.phase.on .tools .dim').textContent")
    quiet.type("[data-for=fusion0]", "fused dot")
    hits = quiet.wait("document.querySelector('.phase.on .hits').textContent")
    few, of, all_ = hits.split()
    assert of == "of" and 0 < int(few) < int(all_)


def test_a_link_leads_to_a_packed_kernel_and_its_assembly(quiet, page):
    quiet.open(page)
    assert not quiet.js("document.querySelector('#k0')")
    quiet.js("location.hash = '#k0'")
    assert quiet.wait("document.querySelector('#k0')")
    quiet.click("#k0 summary")
    text = quiet.wait("document.querySelector('#k0 .sides pre:last-child').textContent")
    assert "\tret" in text


def test_a_drawing_is_coloured_by_time_and_drawn_from_afar(quiet, page):
    quiet.open(page)
    before = quiet.js("[...document.querySelectorAll('.phase.on .pane:last-child .node')].map(n => n.style.cssText)")
    quiet.click(".phase.on .heat")
    after = quiet.js("[...document.querySelectorAll('.phase.on .pane:last-child .node')].map(n => n.style.cssText)")
    assert len(before) == len(after) and before != after
    quiet.js("explorers[0].panes[0].zoom(0.01)")
    assert quiet.wait("document.querySelector('.phase.on path.far.node')")


def test_resnet50_is_small_and_is_searched_and_clicked(quiet, tmp_path):
    from graphk.applications.resnet50 import ResNet50
    page = tmp_path / "resnet50.html"
    inspection.report(ResNet50(weights=None), page, times=False)
    assert page.stat().st_size < 10_000_000
    quiet.open(page)
    assert quiet.js("document.getElementsByTagName('*').length") < 8000, "what is not in sight has no elements"
    quiet.type(".phase.on .tools .filter", "res5c_branch2b")
    assert quiet.js("document.querySelectorAll('.phase.on .node.hit').length") > 0, "the panes went where it is"
    quiet.click(".phase.on .node.hit")
    assert quiet.wait("document.querySelector('.phase.on .detail dl')")
    assert "5c_branch2b" in quiet.js("document.querySelector('.phase.on .detail').textContent")


def test_a_narrow_window_scrolls_down_alone(quiet, page):
    quiet.call("Emulation.setDeviceMetricsOverride", width=420, height=800, deviceScaleFactor=1, mobile=False)
    try:
        quiet.open(page)
        assert quiet.js("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        first, second = quiet.js("[...document.querySelectorAll('.phase.on .pane')].map("
                                 "p => p.getBoundingClientRect().x)")
        assert first == second, "panes stand one below the other"
    finally:
        quiet.call("Emulation.clearDeviceMetricsOverride")
