"""Random graphs through every prefix of the pass list: each pass keeps the result, and its own promises.

In: seeds.  What always holds: the interpreter gives the same numbers before and after each pass on Graphs (up to
rounding: simplify's x - x is 0 by rule, which it is for the finite values that these graphs compute).
"""
import numpy as np
import pytest

from graphk.ir.interp import run_full
from graphk.ir.node import Graph
from graphk.ir.program import Program
from graphk.ir.text import parse_graph, print_graph
from graphk.ir.verify import verify_graph, verify_program
from graphk.passes.pipeline import PASSES, State, run_passes
from tests.graphs import random_graph
from tests.programs import mlp_train, scan_graph, swap_graph, values_for

SEEDS = range(120)


def close(got, want, note):
    for a, b in zip(got, want):
        assert a.dtype == b.dtype and a.shape == b.shape, note
        np.testing.assert_allclose(a, b, rtol=5e-5, atol=5e-5, err_msg=note)


def check(graph, arrays, variables=None, phase=0):
    """Every pass, its result run and compared with the graph as captured."""
    def run(g):
        outputs, updates = run_full(g, arrays, variables, phase)
        return [*outputs, *(updates[v] for v, _ in graph.updates)]
    want = run(graph)
    assert all(np.isfinite(w).all() for w in want)
    result = run_passes(graph, phase)
    for record in result.records:
        if isinstance(record.after, Graph):
            close(run(record.after), want, f"{graph.name} after {record.name}")
    return result


@pytest.mark.parametrize("seed", SEEDS)
def test_passes_keep_the_result(seed):
    graph, arrays = random_graph(seed)
    check(graph, arrays)


@pytest.mark.parametrize("seed", SEEDS[::8])
def test_each_prefix_prints_and_parses(seed):
    graph, arrays = random_graph(seed)
    for record in run_passes(graph).records:
        if isinstance(record.after, Graph):
            text = print_graph(record.after, origins=False)
            assert print_graph(parse_graph(text), origins=False) == text, record.name


@pytest.mark.parametrize("seed", SEEDS[::8])
def test_passes_are_stable(seed):
    """A pass on its own result changes nothing (fuse and lower take the result of another pass)."""
    graph, _ = random_graph(seed)
    for record in run_passes(graph).records:
        again = next(p for p in PASSES if p.name == record.name)
        if record.name in ("specialize", "shapes", "simplify", "decompose", "simplify2"):
            after = again.run(record.after, State())
            assert print_graph(after, False) == print_graph(record.after, False), record.name


@pytest.mark.parametrize("graph, env", [
    (scan_graph(), {"n": 3, "t": 4}), (scan_graph(True), {"n": 3, "t": 4}), (scan_graph(True, True), {"n": 2, "t": 3}),
    (scan_graph(), {"n": 1, "t": 1}), (swap_graph(), {})], ids=lambda x: getattr(x, "name", None))
def test_scans(graph, env):
    check(graph, values_for([i.t for i in graph.inputs], env))


@pytest.mark.parametrize("phase", [0, 1])
@pytest.mark.parametrize("batch", [1, 6])
def test_train_step(phase, batch):
    graph, variables = mlp_train()
    arrays = values_for([i.t for i in graph.inputs], {"n": batch})
    values = dict(zip(variables.values(), values_for([v.t for v in variables.values()], {}, seed=1)))
    result = check(graph, arrays, values, phase)
    assert isinstance(result.program, Program)
    verify_program(result.program)


def test_before_any_pass():
    for seed in SEEDS[:20]:
        verify_graph(random_graph(seed)[0])
