"""Loops whose threads compute rows of their own: when they do, and that the bits stay those of one thread; the oracle
is the interpreter."""
import random

import numpy as np
import pytest

from graphk.codegen.target import host_target, with_lanes
from graphk.ir.dims import sym
from graphk.ir.interp import run_graph
from graphk.ir.node import Graph
from graphk.ir.ops.contract import dot
from graphk.ir.ops.control import scan
from graphk.ir.ops.elementwise import add, cast, gt, mul, relu, select, sigmoid, tanh
from graphk.ir.ops.leaves import new_input, new_variable
from graphk.ir.ops.nn import softmax
from graphk.ir.ops.reduce import max_, mean, sum_
from graphk.ir.ops.shape import concat, dim_value, gather, reshape, slice_axis, transpose
from graphk.ir.program import LoopStep
from graphk.ir.types import TensorType
from graphk.passes.autodiff import gradients
from graphk.passes.pipeline import run_passes
from graphk.runtime.bind import Binder
from graphk.runtime.compile import Executable
from graphk.runtime.executor import Parts

n, t = sym("n"), sym("t")
F = "float32"


def inp(*shape, dtype=F):
    return new_input(TensorType(dtype, shape), "x")


@pytest.fixture(autouse=True)
def every_thread(monkeypatch):
    monkeypatch.setattr("graphk.runtime.bind.SMALL_COST", 0)


def loops(result):
    return [s for s in result.program.steps if isinstance(s, LoopStep)]


def split(exe, **env):
    """How many loops of a binding are made of threads' own parts."""
    return sum(isinstance(s, Parts) for s in Binder(exe, env).steps(exe.program.steps))


def recurrence(width=5, backwards=False):
    """A gated recurrence with a mask, its outputs, and all gradients: one loop forward, one back."""
    x, h0, w, u, keep = inp(t, n, 3), inp(n, width), inp(3, 2 * width), inp(width, 2 * width), inp(t, n, 1)
    h, xt, k, wi, ui = inp(n, width), inp(n, 3), inp(n, 1), inp(3, 2 * width), inp(width, 2 * width)
    both = add(dot(xt, wi), dot(h, ui))
    gate = sigmoid(slice_axis(both, 1, 0, width))
    new = mul(gate, tanh(slice_axis(both, 1, width, width)))
    new = add(mul(k, new), mul(add(mul(k, -1.0), 1.0), h))
    last, all_h = scan(Graph((h, xt, k, wi, ui), (new, mul(new, new))), [h0], [x, keep], [w, u], reverse=backwards)
    loss = add(sum_(all_h), sum_(last))
    return Graph((x, h0, w, u, keep), (loss, last, all_h, *gradients(loss, [x, h0, w, u])))


def arrays_for(rows, steps, width=5):
    rng = np.random.default_rng(rows)
    out = [rng.standard_normal(s).astype(F) * np.float32(0.4)
           for s in ((steps, rows, 3), (rows, width), (3, 2 * width), (width, 2 * width))]
    return [*out, (rng.random((steps, rows, 1)) < 0.7).astype(F)]


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("lanes", [1, 8])
def test_recurrences_and_their_gradients(lanes, backwards, executors):
    graph = recurrence(backwards=backwards)
    result = run_passes(graph)
    assert [str(s.rows) for s in loops(result)] == ["n", "n"]
    made = [Executable(result, {}, target=with_lanes(host_target(), lanes), executor=e) for e in executors]
    for rows, steps in ((1, 2), (8, 3), (13, 4), (33, 1), (17, 0)):
        arrays = arrays_for(rows, steps)
        got = [exe(arrays) for exe in made]
        for a, b in zip(got[0], run_graph(graph, arrays)):
            np.testing.assert_allclose(a, b, rtol=3e-5, atol=3e-5 * max(1, np.abs(b).max(initial=0)))
        for other in got[1:]:
            assert [a.tobytes() for a in other] == [a.tobytes() for a in got[0]]
        assert [split(exe, t=steps, n=rows) for exe in made] == [0, *(2 * (rows >= 4 * k) for k in (2, 3, 4))]


def test_callers_arrays_and_variables_are_read_in_the_loop(executors):
    """The loop walks through an input and an output directly, and its matrix was computed before it."""
    x, w = inp(t, n, 16), new_variable(TensorType(F, (16, 16)), "w")
    h, xt, m, v = inp(n, 16), inp(n, 16), inp(16, 16), inp(16, 16)
    new = tanh(add(add(dot(h, m), dot(h, v)), xt))
    last, all_h = scan(Graph((h, xt, m, v), (new, new)), [mul(reshape(slice_axis(x, 0, 0, 1), shape=(n, 16)), 0.0)],
                       [x], [mul(w, 0.5), w])
    graph = Graph((x,), (last, all_h), ((w, add(w, sum_(last, axes=(0,)))),))
    rng = np.random.default_rng(1)
    start = rng.standard_normal((16, 16)).astype(F) * np.float32(0.2)
    results = []
    for executor in executors:
        value = start.copy()
        exe = Executable(run_passes(graph), {w: value}, executor=executor)
        seen = []
        for rows in (32, 19, 32, 3):
            a = np.random.default_rng(rows).standard_normal((6, rows, 16)).astype(F)
            want = run_graph(graph, [a], {w: value.copy()})
            got = exe([a])
            for one, other in zip(got, want):
                np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
            seen += [*(g.tobytes() for g in got), value.tobytes()]
        results.append(seen)
        assert split(exe, n=32, t=6) == (executor.threads > 1)
    assert all(r == results[0] for r in results)


def body(case):
    """A loop whose rows meet, in one way or another: its graph, and shapes of its arrays."""
    h, xt = inp(n, 4), inp(n, 4)
    new = {
        "a sum over rows": lambda: add(tanh(xt), sum_(h, axes=(0,), keepdims=True)),
        "softmax over rows": lambda: add(softmax(h, axis=0), xt),
        "rows turned round": lambda: add(slice_axis(h, 0, n - 1, n, -1), xt),
        "the largest of all": lambda: mul(xt, max_(h)),
        "rows by number": lambda: add(gather(h, cast(sum_(xt, axes=(1,)), dtype="int32")), xt),
        "their number": lambda: mul(add(h, xt), cast(dim_value(n), dtype=F)),
        "rows as columns": lambda: add(dot(dot(h, transpose(xt, (1, 0))), h), xt),
    }[case]()
    x, h0 = inp(t, n, 4), inp(n, 4)
    last, every = scan(Graph((h, xt), (new, mul(new, 2.0))), [h0], [x], [])
    return Graph((x, h0), (last, every))


@pytest.mark.parametrize("case", ["a sum over rows", "softmax over rows", "rows turned round", "the largest of all",
                                  "rows by number", "their number", "rows as columns"])
def test_rows_that_meet_are_not_parted(case, executors):
    graph = body(case)
    result = run_passes(graph)
    assert [s.rows for s in loops(result)] == [0]
    rng = np.random.default_rng(3)
    arrays = [(rng.random((3, 24, 4)) * 1.9).astype(F), rng.random((24, 4)).astype(F)]
    want = run_graph(graph, arrays)
    for executor in executors:
        exe = Executable(result, {}, executor=executor)
        assert split(exe, t=3, n=24) == 0
        for a, b in zip(exe(arrays), want):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * max(1, np.abs(b).max()))


def test_gathers_from_tables_and_sums_along_rows_may_be_parted(executors):
    table, x, h0 = inp(7, 4), inp(t, n, dtype="int32"), inp(n, 4)
    h, ids, ti = inp(n, 4), inp(n, dtype="int32"), inp(7, 4)
    new = relu(add(mul(h, 0.5), add(gather(ti, ids), sum_(h, axes=(1,), keepdims=True))))
    last, = scan(Graph((h, ids, ti), (new,)), [h0], [x], [table])
    graph = Graph((table, x, h0), (last,))
    result = run_passes(graph)
    assert [str(s.rows) for s in loops(result)] == ["n"]
    rng = np.random.default_rng(5)
    arrays = [rng.standard_normal((7, 4)).astype(F), rng.integers(0, 7, (5, 21)).astype("int32"),
              rng.standard_normal((21, 4)).astype(F)]
    want, = run_graph(graph, arrays)
    for executor in executors:
        exe = Executable(result, {}, executor=executor)
        assert split(exe, t=5, n=21) == (executor.threads > 1)
        np.testing.assert_allclose(exe(arrays)[0], want, rtol=1e-4, atol=1e-5)


def test_large_matrices_are_read_by_one_thread_each(executors, monkeypatch):
    monkeypatch.setattr("graphk.runtime.bind.MANY_BYTES", 4 * 5 * 10 - 1)
    exe = Executable(run_passes(recurrence()), {}, executor=executors[1])
    assert split(exe, t=3, n=32) == 0


def random_body(rng, units, features):
    """A cell of two carries; now and then with an operation in which rows meet."""
    h, pair, x = inp(n, units), inp(n, 2, units), inp(n, features)
    w, u = inp(features, 2 * units), inp(units, 2 * units)
    both = add(dot(x, w), dot(h, u))
    pool = [h, slice_axis(both, 1, 0, units), slice_axis(both, 1, units, units)]

    def two():
        return concat(rng.choice(pool), rng.choice(pool), axis=1)
    makers = (lambda a: mul(sigmoid(a), rng.choice(pool)), lambda a: softmax(a, axis=1),
              lambda a: add(a, sum_(rng.choice(pool), axes=(1,), keepdims=True)),
              lambda a: dot(a, slice_axis(u, 1, 0, units)), lambda a: slice_axis(a, 1, units - 1, units, -1),
              lambda a: select(gt(max_(x, axes=(1,), keepdims=True), 0.3), a, rng.choice(pool)),
              lambda a: slice_axis(two(), 1, 1, units), lambda a: add(a, sum_(pair, axes=(1,))),
              lambda a: sum_(reshape(two(), shape=(n, 2, units)), axes=(1,)),
              lambda a: sum_(mul(transpose(pair, (0, 2, 1)), reshape(a, shape=(n, units, 1))), axes=(2,)),
              lambda a: mul(a, mean(rng.choice(pool), axes=(0,), keepdims=True)))
    for _ in range(rng.randint(2, 6)):
        pool.append(mul(rng.choice(makers)(rng.choice(pool)), 0.7))
    new = tanh(add(pool[-1], pool[-2]))
    halves = mul(add(pair, reshape(new, shape=(n, 1, units))), 0.5)
    return Graph((h, pair, x, w, u), (new, halves, *[rng.choice(pool), mul(new, new), both][:rng.randint(1, 3)]))


@pytest.mark.parametrize("seed", range(8))
def test_random_recurrences(seed, executors, monkeypatch):
    monkeypatch.setattr("graphk.runtime.bind.FEW_ROWS", 1)
    rng = random.Random(seed)
    units, features = rng.choice([3, 4, 8, 17]), rng.choice([1, 3, 5])
    x, h0, pair, w, u = (inp(t, n, features), inp(n, units), inp(n, 2, units), inp(features, 2 * units),
                         inp(units, 2 * units))
    outs = scan(random_body(rng, units, features), [h0, pair], [x], [w, u], reverse=rng.random() < 0.5)
    loss = add(sum_(outs[0]), sum_(outs[2]))
    graph = Graph((x, h0, pair, w, u), (loss, *outs, *gradients(loss, [x, w, u])))
    result = run_passes(graph)
    made = [Executable(result, {}, executor=e) for e in executors[:3]]
    for rows, steps in ((5, 3), (rng.randint(1, 40), rng.randint(0, 4))):
        data = np.random.default_rng(seed)
        arrays = [(data.standard_normal(s) * 0.5).astype(F) for s in (
            (steps, rows, features), (rows, units), (rows, 2, units), (features, 2 * units), (units, 2 * units))]
        got = [exe(arrays) for exe in made]
        for a, b in zip(got[0], run_graph(graph, arrays)):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-4 * max(1, np.abs(b).max(initial=0)))
        for other in got[1:]:
            assert [a.tobytes() for a in other] == [a.tobytes() for a in got[0]]
