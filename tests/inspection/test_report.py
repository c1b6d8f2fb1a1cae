"""The page: complete, self-contained, without weights, and readable by a browser."""
import base64
import html
import json
import os
import re
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


def parts_of(page):
    """What a page holds packed, by name."""
    found = re.findall(r'<script type="text/plain" id="part:([^"]+)">([^<]*)<', page)
    return {name: zlib.decompress(base64.b64decode(value)).decode() for name, value in found}


def whole_of(path):
    """All text of a page, packed or not."""
    page = Path(path).read_text(encoding="utf-8")
    return page + "".join(parts_of(page).values())


@pytest.fixture(scope="session")
def parts(text):
    return parts_of(text)


@pytest.fixture(scope="session")
def whole(page):
    return whole_of(page)


@pytest.fixture(scope="session")
def data(text, parts):
    """The data of the script, with the nodes, and drawings in the place of their names."""
    out = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    views = {k: json.loads(v) for k, v in parts.items() if k.startswith("view")}
    for phase in out["phases"]:
        for stage in phase["stages"]:
            stage["view"] = views.get(stage["view"])
    return {**out, "views": list(views.values()), "nodes": json.loads(parts["nodes"])}


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
        assert phase["stages"][0]["view"]["nodes"]
    for p in PASSES:
        assert text.count(f"<b>{p.name}</b>") == 3


def test_every_kernel_has_loops_source_and_assembly(model, parts):
    views, kernels, listings = distinct_kernels(subjects_of(model)), parts["kernels"], json.loads(parts["listings"])
    assert len(views) >= 5
    for view in views.values():
        assert html.escape(str(view.kernel)) in kernels
        assert html.escape(view.source.text) in kernels
        assert "define" in listings[f"ir:{view.id}"] and "k_0:" in listings[f"asm:{view.id}"]
        assert f'id="{view.id}"' in kernels and any(f'href="#{view.id}"' in t for k, t in parts.items() if "steps" in k)


def test_a_dot_tells_of_its_blocks(parts):
    assert re.search(r'calls .*gemm_tile</a> \(\d+ fused multiply-adds\)', parts["kernels"])


def test_drawings_are_laid_out_and_linked(data):
    for view in data["views"]:
        assert view["nodes"] and view["w"] > 0 and view["h"] > 0
        places = [(n[1], n[2]) for n in view["nodes"]]
        assert len(set(places)) == len(places), "two nodes at one place"
        assert all(0 <= x <= view["w"] and 0 <= y <= view["h"] for x, y in places)
        assert all(a < len(view["nodes"]) and b < len(view["nodes"]) for a, b, _ in view["edges"])
    def views(name):
        return [s["view"] for p in data["phases"] for s in p["stages"] if s["name"] == name]
    fused = views("fuse")
    assert all(v["boxes"] and all(b[6] in data["kernels"] for b in v["boxes"]) for v in fused)
    assert all(p["times"] and all(b[7] < len(p["times"]) for b in s["view"]["boxes"])
               for p in data["phases"] for s in p["stages"] if s["name"] == "fuse")
    before = views("simplify2")
    assert before and all(any(n[7] for n in v["nodes"]) for v in before), "nodes before `fuse` lead to their kernels"


def test_nodes_tell_layer_and_line(data):
    layers = [name for name, _ in data["layers"]]
    assert {"first", "drop", "last", "loss"} <= set(layers)
    assert any(where.startswith("conftest.py:") and "Dense(" in code or "compile" in code for where,
               code in data["lines"])


def test_no_weights_no_folders(model, whole):
    for w in model.get_weights():
        for value in w.reshape(-1)[:4]:
            if value not in (0, 1):
                assert repr(float(value))[:9] not in whole
    for path in (os.getcwd(), str(Path.home()) + "/"):
        assert path not in whole


def test_sizes_are_for_the_batch_that_was_asked_for(text, whole):
    assert "n = 7" in text or re.search(r"sizes shown for \w+ = 7", text)
    assert re.search(r"s0=7, s1=6, s2=5", whole)


def test_steps_say_how_long_they_take(model, whole):
    weights = model.get_weights()
    for subject in subjects_of(model):
        times = measure(subject, dims_for(subject.program, 7))
        assert len(times.steps) == len(subject.program.steps) and 0 < times.call < 1
        assert all(0 <= t < 1 for t in times.steps)
    assert all((a == b).all() for a, b in zip(weights, model.get_weights())), "measuring leaves the weights alone"
    assert whole.count("a call, measured") == whole.count("Times are measured on this machine") == 3
    assert "<th class=n>µs</th>" in whole


def test_times_that_were_not_asked_for_are_not_shown(model, tmp_path):
    out = whole_of(inspection.report(model, tmp_path / "x.html", times=False))
    assert "measured</span>" not in out and "Times were not measured: the bars are operations." in out


def test_a_loop_is_timed_as_a_whole(tmp_path):
    x = K.placeholder(shape=(None, 5, 3))
    last = K.rnn(lambda i, s: (i + s[0], [i + s[0]]), x, [K.zeros_like(x[:, 0])])[0]
    subject, = subjects_of(K.function([x], [last]))
    times = measure(subject, dims_for(subject.program, 4))
    assert len(times.steps) == len(subject.program.steps)
    assert "µs" in whole_of(inspection.report(K.function([x], [last]), tmp_path / "r.html"))


def test_large_constants_stay_out(tmp_path):
    secret = np.random.RandomState(1).rand(6, 5)
    x = K.placeholder(shape=(None, 5))
    f = K.function([x], [K.dot(x, K.transpose(K.constant(secret)))])
    out = whole_of(inspection.report(f, tmp_path / "f.html"))
    raw = base64.b64encode(secret.astype("<f4").tobytes()).decode()
    assert raw[:24] not in out and "30 values" in out


def test_function_with_two_phases(tmp_path):
    x = K.placeholder(shape=(None, 5))
    f = K.function([x, K.learning_phase()], [K.in_train_phase(x * 2, x + 1)])
    out = whole_of(inspection.report(f, tmp_path / "two.html"))
    assert "function, train phase" in out and "function, test phase" in out


def test_names_cannot_leave_their_place(tmp_path):
    x = K.placeholder(shape=(None, 2), name="</script><b>x")
    out = Path(inspection.report(K.function([x], [x + 1]), tmp_path / "x.html")).read_text()
    made = {k: t for k, t in parts_of(out).items() if t.startswith("<")}
    assert len(made) == 4, "the parts that become HTML: steps, memory, fusion, kernels"
    assert all("</script><b>" not in t for t in (out, *made.values()))


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


def test_layers_of_models_in_a_model_have_rows(tmp_path):
    from graphk.layers import Dense, Input
    from graphk.models import Model, Sequential
    inner = Sequential([Dense(4, input_shape=(3,), name="first"), Dense(2, name="second")], name="inside")
    x = Input((3,))
    inspection.report(Model(x, Dense(1, name="last")(inner(x))), tmp_path / "p.html", times=False)
    text = (tmp_path / "p.html").read_text()
    rows = re.findall(r'<tr><td>(&emsp;)?.*?(?:data-layer="(\w+)"|>(inside))', text)
    assert [(bool(depth), name or model) for depth, name, model in rows][-4:] == [
        (False, "inside"), (True, "first"), (True, "second"), (False, "last")]
    assert "29 parameters" in text
