"""What kernels compute and move, by layer; the roofline; tables, traces, the cache's list."""
import doctest
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graphk import backend as K
from graphk import inspection
from graphk.inspection import arena, cached, tables
from graphk.inspection.cli import main
from graphk.inspection.costs import OUTSIDE, by_layer, step_costs
from graphk.inspection.roofline import Machine, machine
from graphk.inspection.subjects import dims_for, subjects_of
from graphk.ir.program import flat_steps
from graphk.layers import LSTM, Conv2D, Dense, Embedding, Input
from graphk.models import Model, Sequential

ROOF = Machine(peak=32e9, bandwidths=((1000, 4e9), (10 ** 6, 1e9)), told=("here", "there"))


def costs_of(thing, batch=8, title="predict"):
    s = next(s for s in subjects_of(thing) if s.title == title)
    return step_costs(s, dims_for(s.program, batch))


# ------------------------------------------------------------------ FLOPs and bytes
def test_a_product_counts_two_a_multiply_add_and_each_operand_once():
    x, w = K.placeholder(shape=(None, 5)), K.placeholder(shape=(5, 3))
    c, = costs_of(K.function([x, w], [K.dot(x, w)]), 7, "function")
    assert (c.flops, c.shares[0].macs) == (2 * 7 * 5 * 3, 7 * 5 * 3)
    assert c.bytes == 4 * (7 * 5 + 5 * 3 + 7 * 3)


def test_a_convolution_counts_its_windows():
    model = Sequential([Conv2D(4, 3, use_bias=False, input_shape=(6, 6, 2), name="conv")])
    found = by_layer(costs_of(model, 5))
    assert found["conv"].macs == 5 * 4 * 4 * 4 * 3 * 3 * 2 and found["conv"].flops == 2 * found["conv"].macs


def test_rows_of_a_table_are_not_the_table():
    model = Sequential([Embedding(1000, 4, input_length=3)])
    assert by_layer(costs_of(model, 2))[model.layers[0].name].bytes < 1000


def test_trips_of_a_loop_count():
    model = Sequential([LSTM(4, input_shape=(9, 3), name="lstm")])
    found = by_layer(costs_of(model, 2))["lstm"]
    assert found.macs == 2 * 9 * (3 * 16 + 4 * 16)
    assert found.flops > 2 * found.macs


def test_shares_add_up(model):
    for s in subjects_of(model):
        costs = step_costs(s, dims_for(s.program, 6))
        assert [c.row.step for c in costs] == flat_steps(s.program.steps)
        for c in costs:
            assert sum(p.flops for p in c.shares) == pytest.approx(c.flops)
            assert sum(p.bytes for p in c.shares) == pytest.approx(c.bytes)
        layers = by_layer(costs)
        assert {"first", "last"} <= set(layers) <= {"first", "drop", "last", "loss", OUTSIDE}
        macs = {"first": 6 * 5 * 6, "last": 6 * 6 * 3}
        for name, forward in macs.items():
            times = 1 if s.title != "train" else 2 if name == "first" else 3      # no gradient of the input
            assert layers[name].macs == times * forward, (s.title, name)


# ------------------------------------------------------------------ the roofline
def test_the_roof():
    assert (ROOF.bandwidth(10), ROOF.bandwidth(5000), ROOF.bandwidth(1e9)) == (4e9, 1e9, 1e9)
    assert ROOF.floor(32e9, 8) == 1 and ROOF.bound(32e9, 8) == "compute"
    assert ROOF.floor(1, 1e9) == 1 and ROOF.bound(1, 1e9) == "memory"
    assert ROOF.floor(0, 4e9, times=10 ** 7) == 1, "bytes of one part decide where they lie"
    assert ROOF.attainable(1e6, 1e9) == pytest.approx(1e6)


def test_this_machine_is_measured():
    m = machine(subjects_of(K.function([K.placeholder((2,))], [K.ones((2,))]))[0].executable.target, 1)
    assert m.peak > 1e8 and all(rate > 1e6 for _, rate in m.bandwidths)
    assert "(stated: 1 thread x" in str(m) and "(measured: " in str(m)


# ------------------------------------------------------------------ in Python
def test_summary_of_nested_models_and_several_outputs():
    inner = Sequential([Dense(4, input_shape=(6,), name="in_one")], name="inner")
    x = Input((6,))
    found = inspection.summary(Model(x, inner(x), name="outer"), batch=3)
    assert [(r.name, r.depth) for r in found.layers[1:]] == [("inner", 0), ("in_one", 1)]
    assert found.layers[2].costs[0].macs == 3 * 6 * 4 and found.total.params == 28
    assert [m.batch for m in found.memory] == [1, 3, 8, 32, 128]
    assert "Model outer" in str(found) and "<table" in found._repr_html_()
    with pytest.raises(ValueError, match="has no size steps; it has"):
        inspection.summary(inner, dims={"steps": 4})
    with pytest.raises(TypeError, match="expected a Model"):
        inspection.summary(K.function([x], [x]))


def test_summary_counts_training_where_it_is_compiled(model):
    found = inspection.summary(model, batch=4)
    assert len(found.total.costs) == 2 and "train FLOPs" in str(found)
    assert found.total.costs[1].flops > found.total.costs[0].flops
    assert {m.graph for m in found.memory} == {"predict", "train"}
    assert str(found).count("\n") > 10 and "parameters: 57, trainable 57, frozen 0" in str(found)


def test_summary_of_one_phase(model):
    both = inspection.summary(model, batch=4)
    for phase, costs in (("predict", both.total.costs[0]), ("train", both.total.costs[1])):
        found = inspection.summary(model, batch=4, phase=phase)
        assert found.total.costs == (costs,) and {m.graph for m in found.memory} == {phase}
        assert f"one call of {phase} with 4 samples" in str(found) and "train FLOPs" not in str(found)
    assert {m.graph for m in inspection.summary(model, phase="test").memory} == {"test"}
    with pytest.raises(ValueError, match="no graph of the phase 'tset'; found train, test, predict"):
        inspection.summary(model, phase="tset")


def table_of_predict(model):
    return next(s for s in subjects_of(model) if s.title == "predict")


def test_cost_and_profile(model):
    table = inspection.cost(model, batch=5)
    assert [g.title for g in table] == ["train", "test", "predict"]
    assert "predict (" in str(table) and "bound by" in str(table)
    assert "(--top " in table.text(1)
    found = inspection.profile(table_of_predict(model), batch=5)
    g, = found
    assert sum(t for t, _ in g.layer_seconds().values()) == pytest.approx(sum(line.time for line in g.lines))
    assert "x floor" in str(found) and "a call takes" in str(found)


def test_a_trace_is_of_chromes_form(tmp_path):
    x = K.placeholder(shape=(None, 5, 3))
    f = K.function([x], [K.softmax(x), K.rnn(lambda i, s: (i + s[0], [i + s[0]]), x, [K.zeros_like(x[:, 0])])[1]])
    found = inspection.profile(f, batch=4)
    data = json.loads(Path(found.trace(str(tmp_path / "t.json"))).read_text())
    assert set(data) == {"displayTimeUnit", "traceEvents"} and data["displayTimeUnit"] in ("ms", "ns")
    for e in data["traceEvents"]:
        assert e["ph"] in "XM" and isinstance(e["name"], str) and type(e["pid"]) is type(e["tid"]) is int
        assert isinstance(e["args"], dict)
        if e["ph"] == "X":
            assert e["ts"] >= 0 and e["dur"] >= 0 and e["cat"] in ("kernel", "layer", "pass")
    kernels = [e for e in data["traceEvents"] if e.get("cat") == "kernel"]
    assert len(kernels) == len(found[0].lines)
    passes = [e for e in data["traceEvents"] if e.get("cat") == "pass"]
    assert [e["name"] for e in passes] == [row.name for row in inspection.passes(f)]
    assert {e["pid"] for e in passes}.isdisjoint(e["pid"] for e in kernels)
    for events in (kernels, passes):
        for a, b in zip(events, events[1:]):
            assert a["ts"] + a["dur"] == pytest.approx(b["ts"], abs=0.01)


def test_the_examples_run():
    for module in (inspection, tables, cached):
        assert doctest.testmod(module).failed == 0
    for name in ("summary", "cost", "profile", "report", "cache"):
        assert f"## `graphk {name}`" in (Path(__file__).parents[2] / "docs" / "inspection.md").read_text()


# ------------------------------------------------------------------ commands
SCRIPT = """
import numpy as np
from keras.models import Sequential
from keras.layers import Embedding, LSTM, Dense
def make():
    model = Sequential([Embedding(50, 4, input_length=6), LSTM(4, name="memory"), Dense(1)])
    model.compile("adam", "mse")
    return model
def train():
    model = make()
    model.fit(np.zeros((12, 6)), np.zeros(12), batch_size=6, epochs=1, verbose=0)
train()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("costs")
    small = Sequential([Dense(4, activation="relu", input_shape=(6,), name="only")], name="small")
    small.save(place / "small.h5")
    small.save_weights(place / "only.weights.h5")
    (place / "lstm.py").write_text(SCRIPT)
    return place


@pytest.mark.parametrize("command", ["summary", "cost", "profile"])
def test_a_model_file(command, folder, capsys):
    assert main([command, str(folder / "small.h5"), "--batch", "3"]) == 0
    out = capsys.readouterr().out
    assert "only" in out and "predict" in out


@pytest.mark.parametrize("command", ["cost", "profile", "report"])
def test_weights_alone_are_refused(command, folder, capsys):
    assert main([command, str(folder / "only.weights.h5")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"graphk {command}: ") and "weights" in err and err.count("\n") < 5, err


def test_a_script(folder, tmp_path):
    from tests.inspection.test_cli import graphk
    run = graphk("summary", "lstm.py", cwd=folder)
    assert run.returncode == 0 and "memory (LSTM)" in run.stdout and "train FLOPs" in run.stdout, run.stderr
    run = graphk("summary", "lstm.py", "--batch", "4", "--mine", cwd=folder)
    assert run.stderr.startswith("graphk summary: note: --batch stands behind lstm.py and is handed to the script")
    run = graphk("profile", "--phase", "train", "--trace", str(tmp_path / "t.json"), "lstm.py", cwd=folder)
    assert run.returncode == 0 and "train (n=6)" in run.stdout and "loop, 6 times" in run.stdout, run.stderr
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"]


def test_report_writes_the_page(folder, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["report", str(folder / "small.h5"), "-o", str(page), "--no-times", "--batch", "2"]) == 0
    assert "small.h5" in page.read_text() and "graphk report: open" in capsys.readouterr().err
    assert main(["report", str(folder / "small.h5"), "-o", str(folder / "small.h5" / "page.html"), "--no-times"]) == 2


def test_cache_says_what_it_holds_and_what_it_removed(tmp_path, monkeypatch, capsys):
    from graphk.codegen import cache
    monkeypatch.setenv("GRAPHK_CACHE_DIR", str(tmp_path / "cache"))
    assert main(["cache"]) == 0 and "0 compiled kernels" in capsys.readouterr().out
    cache.forget()
    try:
        x = K.placeholder(shape=(None, 3))
        K.function([x], [K.exp(x)])([np.zeros((2, 3))])
        (tmp_path / "cache" / "broken.gko").write_bytes(b"no kernel")
        assert main(["cache"]) == 0
        out = capsys.readouterr().out
        assert "this version" in out and "ago" in out and "other versions of graphk" not in out
        assert main(["cache", "--clear"]) == 0
        assert "removed " in (said := capsys.readouterr().out) and str(tmp_path) in said
        assert cache.held() == []
    finally:
        cache.forget()


def test_a_profile_says_so_where_its_steps_take_more_than_the_call():
    x = K.placeholder(shape=(None, 4))
    found, = inspection.profile(K.function([x], [K.softmax(x)]))
    took = found.lines[0].time or 1e-6
    quiet, loaded = (replace(found, call=took * k, lines=(replace(found.lines[0], time=took),)) for k in (1.0, 0.5))
    late = replace(found, call=0.052, lines=(replace(found.lines[0], time=0.0004),))
    assert "note: the call took 130 times its steps" in late.time_text(None).splitlines()[-1]
    assert "note:" not in quiet.time_text(None)
    assert "note: the steps add up to 2.00 times the call" in loaded.time_text(None).splitlines()[-1]
    nothing = replace(found, call=0.052, lines=(replace(found.lines[0], time=0.0),))
    assert "note: the call took 52 ms, and its steps no time: " in nothing.time_text(None).splitlines()[-1]
    assert "note:" not in replace(nothing, call=0.0).time_text(None)


def test_summary_and_memory_count_all_that_a_call_needs(monkeypatch):
    monkeypatch.setattr("graphk.inspection.arena.private_bytes", lambda groups: 4096)
    model = Sequential([Conv2D(4, 3, input_shape=(6, 6, 2)), Conv2D(4, 3)])
    found = inspection.summary(model)
    subject, = subjects_of(model)
    for row in found.memory:
        env = dims_for(subject.program, row.batch)
        plan = arena.plan(subject.program, env, arena.beside(subject, env))
        assert plan.outside["groups of rows"] and sum(row.bytes) == plan.bytes + sum(plan.outside.values())
    assert "groups of rows" in str(found) and "4.1 kB" in str(inspection.memory(model))


def test_several_models_have_numbers_and_unknown_sizes_are_refused():
    models = [Sequential([Dense(2, input_shape=(3,))]) for _ in range(2)]
    assert [g.title for g in inspection.cost(models)] == ["predict.1", "predict.2"]
    for ask in (inspection.cost, inspection.memory, inspection.profile):
        with pytest.raises(ValueError, match="predict: no graph has a size steps; there are n"):
            ask(models[0], dims={"steps": 4})
    with pytest.raises(ValueError, match="batches is empty"):
        inspection.export(models[0], "nowhere", batches=[])
