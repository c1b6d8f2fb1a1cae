"""The pass manager: order, verification after each pass that changed something, promises that add up, records."""
from dataclasses import replace

import numpy as np
import pytest

from graphk.ir import verify
from graphk.ir.loop import Lit, Store
from graphk.ir.node import Graph
from graphk.ir.ops import elementwise as ew, nn
from graphk.ir.ops.control import phase_select
from graphk.ir.ops.leaves import learning_phase, new_input
from graphk.ir.program import Program
from graphk.ir.types import TensorType
from graphk.ir.dims import sym
from graphk.passes import pipeline
from graphk.passes.autodiff import gradients
from graphk.passes.pipeline import PASSES, Pass, run_passes
from graphk.runtime.compile import Executable
from tests.programs import f32, mlp_train, scan_graph


n = sym("n")


def small() -> Graph:
    x = new_input(f32(4, 3), "x")
    return Graph((x,), (nn.softmax(ew.mul(x, 2.0)),))


def insert(monkeypatch, after: str, new: Pass) -> None:
    at = next(i for i, p in enumerate(PASSES) if p.name == after) + 1
    monkeypatch.setattr(pipeline, "PASSES", (*PASSES[:at], new, *PASSES[at:]))


def test_the_list_is_the_order():
    seen = []
    result = run_passes(mlp_train()[0], phase=1, observer=seen.append)
    assert [r.name for r in result.records] == [p.name for p in PASSES] == [r.name for r in seen]
    assert all(a.after is b.before for a, b in zip(result.records, result.records[1:]))
    assert all(r.seconds >= 0 for r in result.records) and result.records[-1].after is result.program
    assert [r.name for r in result.records if isinstance(r.after, Program)] == ["lower", "schedule", "memory"]
    assert result.notes and result.program.notes == tuple(map(str, result.notes))


def test_promises_hold_from_there_on():
    result = run_passes(mlp_train()[0], phase=1)
    ensured = []
    for p, r in zip(PASSES, result.records):
        ensured += p.ensures
        if isinstance(r.after, Graph):
            verify.verify_graph(r.after, p.name, ensured)
    assert set(ensured) == {verify.no_phase, verify.all_shapes_bound, verify.no_composites,
                            verify.no_narrow, verify.no_recurrences}


def test_a_later_pass_must_keep_an_earlier_promise(monkeypatch):
    def spoil(g, state):
        return Graph(g.inputs, (nn.softmax(g.inputs[0]),), name=g.name)
    insert(monkeypatch, "decompose", Pass("spoil", spoil))
    with pytest.raises(verify.VerifyError, match="composite op `softmax` must be expanded by now") as e:
        run_passes(small())
    assert e.value.rule == "no_composites" and "after spoil" in str(e.value)
    with pytest.raises(NotImplementedError, match="no lowering for the op `softmax`"):
        run_passes(small(), verify_all=False)              # unverified, the error comes later and says less


def test_a_wrong_graph_is_reported_with_its_pass(monkeypatch):
    insert(monkeypatch, "simplify", Pass("lose", lambda g, s: Graph((), g.outputs, name=g.name)))
    with pytest.raises(verify.VerifyError, match="(?s)after lose.*error in the pass `lose`"):
        run_passes(small())


def test_a_wrong_kernel_is_reported_with_its_pass(monkeypatch):
    def spoil(program, state):
        step = program.steps[0]
        kernel = replace(step.kernel, body=(*step.kernel.body, Store("p0", 0, Lit(0.0, "float32"))))
        return replace(program, steps=(replace(step, kernel=kernel), *program.steps[1:]))
    insert(monkeypatch, "schedule", Pass("spoil", spoil))
    with pytest.raises(verify.VerifyError, match="(?s)after spoil.*test_pipeline.py"):
        run_passes(small())


def test_what_did_not_change_is_not_verified_again(monkeypatch):
    checked = []
    real = pipeline.check
    monkeypatch.setattr(pipeline, "check", lambda ir, name, ensured: (checked.append(name), real(ir, name, ensured)))
    insert(monkeypatch, "shapes", Pass("nothing", lambda g, s: g))
    run_passes(small())
    assert "nothing" not in checked and {"decompose", "fuse", "lower", "schedule", "memory"} <= set(checked)


def test_the_branch_not_taken_has_no_gradient():
    """Nothing of it is computed, and infinite values in it make no NaN (TensorFlow's rule for `in_train_phase`)."""
    x, w = new_input(TensorType("float32", (n, 4))), new_input(TensorType("float32", (4,)))
    other = ew.mul(ew.log(x), w)
    y = phase_select(learning_phase(), ew.mul(x, 3.0), ew.sub(other, ew.div(1.0, x)))
    graph = Graph((x, w), tuple(gradients(y, [x, w])))
    zeros, ones = np.zeros((2, 4), "f"), np.ones(4, "f")
    result = run_passes(graph, phase=1)
    dx, dw = Executable(result, {})([zeros, ones])
    assert (dx == 3).all() and (dw == 0).all()
    assert not {"log", "div"} & {node.op.name for r in result.records[:1] for node in r.after.nodes()}
    dx, dw = Executable(run_passes(graph, phase=0), {})([zeros + 2, ones])
    assert np.allclose(dx, 1 / 2 + 1 / 4) and np.allclose(dw, 2 * np.log(2))


def test_the_phase_reaches_specialize():
    train, _ = mlp_train()
    phases = [run_passes(train, phase=p).program for p in (0, 1)]
    assert str(phases[0]) == str(phases[1])                # nothing in this graph depends on it
    x = new_input(f32(4), "x")
    graph = Graph((x,), (phase_select(learning_phase(), ew.exp(x), ew.tanh(x)),))
    labels = [run_passes(graph, phase=p).program.steps[0].kernel.label for p in (0, 1)]
    assert labels == ["tanh", "exp"]


def test_scan_bodies_go_through_the_passes():
    result = run_passes(scan_graph(True))
    fused = next(r.after for r in result.records if r.name == "fuse")
    scans = [n for n in fused.nodes() if n.op.name == "scan"]
    assert scans and all(any(n.op.name == "fusion" for n in s.attr("body").nodes()) for s in scans)


def test_equal_graphs_give_equal_programs():
    assert str(run_passes(mlp_train()[0], 1).program) == str(run_passes(mlp_train()[0], 1).program)
