"""The page: complete, self-contained, without weights, and readable by a browser."""
import base64
import html
import json
import os
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest

from graphk import backend as K
from graphk import inspection
from graphk.inspection.listing import distinct_kernels
from graphk.inspection.subjects import dims_for, subjects_of
from graphk.inspection.timing import measure
from graphk.passes.pipeline import PASSES


@pytest.fixture(scope="session")
def text(page):
    return Path(page).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def data(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])


@pytest.fixture(scope="session")
def packed(text):
    return json.loads(zlib.decompress(base64.b64decode(re.search(r'id="texts">(.*?)</script>', text, re.S)[1])))


def test_page_is_one_small_file_that_fetches_nothing(text):
    assert len(text.encode()) < 2_000_000
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert not re.findall(r"<link\b|<script[^>]*\bsrc=|<img\b|<iframe\b|@import|url\(", text)
    assert not re.findall(r"\bfetch\(|XMLHttpRequest|WebSocket", text)
    assert "default-src 'none'" in text


def test_every_graph_shows_every_pass(data, text):
    assert [p["title"] for p in data["phases"]] == ["train", "test", "predict"]
    for phase in data["phases"]:
        assert [s["name"] for s in phase["stages"]] == ["captured", *(p.name for p in PASSES)]
        assert phase["stages"][0]["view"] >= 0
    for p in PASSES:
        assert text.count(f"<b>{p.name}</b>") == 3


def test_every_kernel_has_loops_source_and_assembly(model, text, packed):
    views = distinct_kernels(subjects_of(model))
    assert len(views) >= 5
    for view in views.values():
        assert html.escape(str(view.kernel)) in text
        assert html.escape(view.source.text) in text
        assert "define" in packed[f"ir:{view.id}"] and "k_0:" in packed[f"asm:{view.id}"]
        assert f'id="{view.id}"' in text and f'href="#{view.id}"' in text


def test_a_dot_tells_of_its_blocks(text):
    assert re.search(r'calls .*gemm_tile</a> \(\d+ fused multiply-adds\)', text)


def test_drawings_are_laid_out_and_linked(data):
    for view in data["views"]:
        assert view["nodes"] and view["w"] > 0 and view["h"] > 0
        places = [(n[1], n[2]) for n in view["nodes"]]
        assert len(set(places)) == len(places), "two nodes at one place"
        assert all(0 <= x <= view["w"] and 0 <= y <= view["h"] for x, y in places)
        assert all(a < len(view["nodes"]) and b < len(view["nodes"]) for a, b, _ in view["edges"])
    def views(name):
        return [data["views"][s["view"]] for p in data["phases"] for s in p["stages"] if s["name"] == name]
    fused = views("fuse")
    assert all(v["boxes"] and all(b[6] in data["kernels"] for b in v["boxes"]) for v in fused)
    before = views("simplify2")
    assert before and all(any(n[7] for n in v["nodes"]) for v in before), "nodes before `fuse` lead to their kernels"


def test_nodes_tell_layer_and_line(data):
    layers = [name for name, _ in data["layers"]]
    assert {"first", "drop", "last", "loss"} <= set(layers)
    assert any(where.startswith("conftest.py:") and "Dense(" in code or "compile" in code for where,
               code in data["lines"])


def test_no_weights_no_folders(model, text, packed):
    whole = text + "".join(packed.values())
    for w in model.get_weights():
        for value in w.reshape(-1)[:4]:
            if value not in (0, 1):
                assert repr(float(value))[:9] not in whole
    for path in (os.getcwd(), str(Path.home()) + "/"):
        assert path not in whole


def test_sizes_are_for_the_batch_that_was_asked_for(text):
    assert "n = 7" in text or re.search(r"sizes shown for \w+ = 7", text)
    assert re.search(r"s0=7, s1=6, s2=5", text)


def test_steps_say_how_long_they_take(model, text):
    weights = model.get_weights()
    for subject in subjects_of(model):
        times = measure(subject, dims_for(subject.program, 7))
        assert len(times.steps) == len(subject.program.steps) and 0 < times.call < 1
        assert all(0 <= t < 1 for t in times.steps)
    assert all((a == b).all() for a, b in zip(weights, model.get_weights())), "measuring leaves the weights alone"
    assert text.count("a call, measured") == text.count("Times are measured on this machine") == 3
    assert "<th class=n>µs</th>" in text


def test_times_that_were_not_asked_for_are_not_shown(model, tmp_path):
    out = Path(inspection.report(model, tmp_path / "x.html", times=False)).read_text()
    assert "measured</span>" not in out and "Times were not measured: the bars are operations." in out


def test_a_loop_is_timed_as_a_whole(tmp_path):
    x = K.placeholder(shape=(None, 5, 3))
    last = K.rnn(lambda i, s: (i + s[0], [i + s[0]]), x, [K.zeros_like(x[:, 0])])[0]
    subject, = subjects_of(K.function([x], [last]))
    times = measure(subject, dims_for(subject.program, 4))
    assert len(times.steps) == len(subject.program.steps)
    assert "µs" in Path(inspection.report(K.function([x], [last]), tmp_path / "r.html")).read_text()


def test_large_constants_stay_out(tmp_path):
    secret = np.random.RandomState(1).rand(6, 5)
    x = K.placeholder(shape=(None, 5))
    f = K.function([x], [K.dot(x, K.transpose(K.constant(secret)))])
    out = Path(inspection.report(f, tmp_path / "f.html")).read_text()
    raw = base64.b64encode(secret.astype("<f4").tobytes()).decode()
    whole = out + "".join(json.loads(zlib.decompress(base64.b64decode(
        re.search(r'id="texts">(.*?)</script>', out, re.S)[1]))).values())
    assert raw[:24] not in whole and "30 values" in whole


def test_function_with_two_phases(tmp_path):
    x = K.placeholder(shape=(None, 5))
    f = K.function([x, K.learning_phase()], [K.in_train_phase(x * 2, x + 1)])
    out = Path(inspection.report(f, tmp_path / "two.html")).read_text()
    assert "function, train phase" in out and "function, test phase" in out


def test_names_cannot_leave_their_place(tmp_path):
    x = K.placeholder(shape=(None, 2), name="</script><b>x")
    out = Path(inspection.report(K.function([x], [x + 1]), tmp_path / "x.html")).read_text()
    assert "</script><b>" not in out


def test_errors_say_what_is_wrong(monkeypatch, tmp_path):
    from graphk.layers import Dense
    from graphk.models import Sequential
    with pytest.raises(TypeError, match="received int, expected a Model"):
        inspection.report(3, tmp_path / "x.html")
    with pytest.raises(RuntimeError, match="input_shape="):
        inspection.report(Sequential([Dense(2)]), tmp_path / "x.html")
    x = K.placeholder(shape=(None, 2))
    with pytest.raises(ValueError, match="batch is 0"):
        inspection.report(K.function([x], [x * 3]), tmp_path / "x.html", batch=0)
    monkeypatch.setenv("GRAPHK_EXECUTOR", "interp")
    with pytest.raises(RuntimeError, match="unset GRAPHK_EXECUTOR"):
        inspection.report(K.function([x], [x * 4]), tmp_path / "x.html")


def test_passes_prints_a_table(model):
    table = inspection.passes(model)
    assert len(table) == 3 * len(PASSES)
    assert re.search(r"train +fuse +\d+ -> +\d+ nodes, \d+ groups", str(table))


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def test_the_page_draws_itself_in_a_browser(page, tmp_path):
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    probe = tmp_path / "probe.html"
    click = ("<script>window.onerror = m => document.body.append('FAILED ' + m);"
             "setTimeout(() => { phase(1); document.querySelector('.phase.on .node').dispatchEvent(new "
             "MouseEvent('click'));"
             "document.querySelector('.kernel details:last-child').open = true; }, 50);</script></body>")
    probe.write_text(Path(page).read_text().replace("</body>", click))
    run = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}",
         "--virtual-time-budget=3000", "--dump-dom", probe.as_uri()], capture_output=True, text=True, timeout=60)
    dom = run.stdout
    assert 'data-ready="yes"' in dom, run.stderr[-2000:]
    assert "FAILED" not in dom.split("window.onerror")[0]
    assert dom.count("<svg class=\"graph") == 4, "two panes for each of the two graphs that were shown"
    assert dom.count('class="node') > 20 and "your line" in dom
    assert "vector" in dom and "\tretq" in dom or "\tret" in dom, "the assembly was unpacked"
