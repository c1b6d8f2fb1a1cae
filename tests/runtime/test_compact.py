"""Gradients of tables keep the rows that a batch names.  The oracle is the interpreter."""
import numpy as np
import pytest

from graphk.codegen.target import host_target, with_lanes
from graphk.ir.dims import sym
from graphk.ir.interp import run_full
from graphk.ir.node import Graph, origin_of
from graphk.ir.ops.contract import dot
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops.elementwise import add, cast, div, ge, mul, neg, select, sqrt, square, sub
from graphk.ir.ops.leaves import new_input, new_variable
from graphk.ir.ops.reduce import sum_
from graphk.ir.ops.shape import concat, gather, reshape, scatter_add
from graphk.ir.program import flat_steps
from graphk.ir.types import TensorType
from graphk.passes import compact as module
from graphk.passes.autodiff import gradients
from graphk.passes.compact import compact
from graphk.passes.pipeline import run_passes
from graphk.runtime.compile import Executable
from graphk.runtime.device_sim import run_program

n = sym("n")
ROWS, WIDTH, NAMES = 300, 37, 5
IDS, OTHERS = new_input(TensorType("int32", (n, NAMES)), "ids"), new_input(TensorType("int64", (n,)), "others")
D, E = new_input(TensorType("float32", (n, NAMES, WIDTH)), "d"), new_input(TensorType("float32", (n, WIDTH)), "e")
TABLE, STATE = (new_variable(TensorType("float32", (ROWS, WIDTH)), name) for name in ("table", "state"))
RATE = new_variable(TensorType("float32", ()), "rate")
GRADIENT, SECOND = scatter_add(IDS, D, rows=ROWS), scatter_add(OTHERS, E, rows=ROWS)


@pytest.fixture(autouse=True)
def any_table(monkeypatch):
    """Small tables are treated as large ones."""
    monkeypatch.setattr(module, "LARGE", 0)
    monkeypatch.setattr(module, "BATCH", 1)


def rmsprop(g):
    state = add(mul(STATE, 0.9), mul(square(g), 0.1))
    table = sub(TABLE, div(mul(RATE, g), add(sqrt(state), 0.1)))
    return Graph((IDS, OTHERS, D, E), (), ((STATE, state), (TABLE, table)))


def momentum(g):
    speed = sub(mul(STATE, 0.9), mul(RATE, g))
    return Graph((IDS, OTHERS, D, E), (), ((STATE, speed), (TABLE, add(TABLE, speed))))


def clipped(g, norm_of=None):
    norm = sqrt(sum_(square(g if norm_of is None else norm_of)))
    return select(ge(norm, 1.0), div(g, norm), g)


STEPS = {
    "rmsprop": rmsprop(GRADIENT),
    "momentum": momentum(GRADIENT),
    "clipped by norm": rmsprop(clipped(GRADIENT)),
    "clipped by value": momentum(ew.max(ew.min(GRADIENT, 0.1), -0.1)),
    "regularised": rmsprop(add(GRADIENT, mul(TABLE, 0.02))),
    "regularised and clipped": rmsprop(clipped(add(GRADIENT, mul(TABLE, 0.02)))),
    "shared": rmsprop(add(GRADIENT, SECOND)),
    "shared and clipped": momentum(clipped(add(SECOND, GRADIENT))),
    "constrained": Graph((IDS, OTHERS, D, E), (), ((TABLE, div(sub(TABLE, GRADIENT), add(1.0, sqrt(sum_(
        square(sub(TABLE, GRADIENT)), axes=(1,), keepdims=True))))),)),
    "constrained columns": Graph((IDS, OTHERS, D, E), (), ((TABLE, div(sub(TABLE, GRADIENT), add(1.0, sqrt(sum_(
        square(sub(TABLE, GRADIENT)), axes=(0,), keepdims=True))))),)),
    "double": Graph((IDS, OTHERS, D, E), (sum_(square(GRADIENT)),), (
        (TABLE, sub(TABLE, cast(mul(cast(GRADIENT, "float64"), 0.5), "float32"))),)),
}


def values(batch, seed=0):
    rng = np.random.default_rng(seed)
    ids = np.minimum(rng.integers(0, ROWS, (batch, NAMES)), rng.integers(0, ROWS, (batch, NAMES)))
    ids[batch // 2:, :2] = 0                                                   # padding: one row many times
    arrays = [ids.astype("int32"), rng.integers(0, ROWS, batch), rng.standard_normal((batch, NAMES, WIDTH)).astype("f"),
              rng.standard_normal((batch, WIDTH)).astype("f")]
    state = {TABLE: rng.standard_normal((ROWS, WIDTH)).astype("f"), RATE: np.array(0.3, "f"),
             STATE: np.abs(rng.standard_normal((ROWS, WIDTH))).astype("f")}
    return arrays, state


def agree(found, want):
    for a, b in zip(found, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def filled(program):
    """How many elements kernels fill with zeros."""
    return {s.sizes[0] for s in flat_steps(program.steps) if s.kernel.label == "fill"}


@pytest.mark.parametrize("step", STEPS)
def test_an_update_reads_the_rows_of_the_batch(step):
    graph = STEPS[step]
    arrays, state = values(7)
    after = compact(graph)
    assert {x.shape[0] for x in after.nodes() if x.op is scatter_add} <= {n * NAMES + 1, n + 1}
    want = run_full(graph, arrays, state)
    agree(run_full(after, arrays, state)[1].values(), want[1].values())
    used = {v: a for v, a in state.items() if v in graph.variables()}
    exe = Executable(run_passes(graph), used)
    assert filled(exe.program) <= {ROWS, (n * NAMES + 1) * WIDTH, (n + 1) * WIDTH}
    inputs = dict(zip(graph.inputs, arrays))
    agree(exe([inputs[i] for i in graph.inputs]), want[0])
    agree([exe.variables[v] for v, _ in graph.updates], [want[1][v] for v, _ in graph.updates])


@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
@pytest.mark.parametrize("step", ["rmsprop", "clipped by norm", "shared", "constrained columns"])
def test_every_width_any_number_of_threads_the_same_bits(step, lanes, executors, monkeypatch):
    monkeypatch.setattr("graphk.runtime.bind.SMALL_COST", 0)
    graph = STEPS[step]
    for batch in (0, 1, 9):
        bits = []
        for executor in executors[:3]:
            arrays, state = values(batch, batch)
            want = run_full(graph, arrays, state)[1]
            exe = Executable(run_passes(graph), {v: state[v] for v in graph.variables()}, executor=executor,
                             target=with_lanes(host_target(), lanes))
            exe(arrays)
            agree([exe.variables[v] for v in want], want.values())
            bits.append([exe.variables[v].tobytes() for v in want])
        assert bits[0] == bits[1] == bits[2]


def test_the_update_is_what_it_is_with_a_dense_gradient(monkeypatch):
    """To the bit: each row adds up the same numbers in the same order."""
    found = []
    for rows in (0, 1 << 40):
        monkeypatch.setattr(module, "LARGE", rows)
        arrays, state = values(64)
        exe = Executable(run_passes(STEPS["rmsprop"]), {v: state[v] for v in STEPS["rmsprop"].variables()})
        exe(arrays)
        found.append([a.tobytes() for a in exe.variables.values()])
    assert found[0] == found[1]


@pytest.mark.parametrize("step", ["rmsprop", "clipped by norm", "shared"])
def test_on_the_simulated_gpu(step):
    graph = STEPS[step]
    arrays, state = values(3)
    state = {v: state[v] for v in graph.variables()}
    _, after = run_program(run_passes(graph), arrays, state, 8, 4)
    want = run_full(graph, arrays, state)[1]
    agree([after[v] for v in want], want.values())


def test_a_table_that_is_read_twice_and_masked():
    """What the gradient of a small network makes of it: rows that are named by mask 0 receive zeros."""
    mask = cast(ge(IDS, 3), "float32")
    seen = mul(gather(TABLE, IDS), reshape(mask, shape=(n, NAMES, 1)))
    loss = add(sum_(square(seen)), sum_(mul(gather(TABLE, OTHERS), E)))
    g, = gradients(loss, [TABLE])
    graph = Graph((IDS, OTHERS, E), (loss,), ((TABLE, sub(TABLE, mul(g, RATE))),))
    assert any(x.op.name == "places" for x in compact(graph).nodes())
    arrays, state = values(6)
    arrays = [arrays[0], arrays[1], arrays[3]]
    want = run_full(graph, arrays, state)
    exe = Executable(run_passes(graph), {v: state[v] for v in (TABLE, RATE)})
    agree(exe(arrays), want[0])
    agree([exe.variables[TABLE]], want[1].values())


def test_rows_beyond_the_table_are_the_last_and_the_first():
    """Compiled code keeps a wrong number inside the table, whichever form a gradient has."""
    arrays, state = values(2)
    arrays[0][0, 0], arrays[0][1, 1] = ROWS + 5, -3
    inside = [np.clip(arrays[0], 0, ROWS - 1), *arrays[1:]]
    want = run_full(STEPS["momentum"], inside, state)[1]
    exe = Executable(run_passes(STEPS["momentum"]), state)
    exe(arrays)
    agree([exe.variables[v] for v in want], want.values())


def test_where_it_comes_from_is_told():
    rules = {origin_of(x).rule for x in compact(STEPS["clipped by norm"]).nodes()}
    assert "compact" in rules


@pytest.mark.parametrize("outputs", [
    (GRADIENT,), (neg(GRADIENT), dot(D, GRADIENT, contract=((2,), (1,)))), (neg(GRADIENT), sum_(GRADIENT, axes=(0,))),
    (concat(GRADIENT, TABLE, axis=0),), (neg(scatter_add(IDS, cast(D, "int32"), rows=ROWS)),)],
    ids=["result", "product", "sum", "concat", "integers"])
def test_what_stays_dense(outputs):
    graph = Graph((IDS, D), outputs)
    assert compact(graph) is graph


@pytest.mark.parametrize("name, value", [("LARGE", ROWS * WIDTH + 1), ("NARROW", WIDTH + 1), ("BATCH", ROWS)])
def test_small_tables_short_rows_and_many_names_stay_dense(name, value, monkeypatch):
    monkeypatch.setattr(module, name, value)
    assert compact(STEPS["rmsprop"]) is STEPS["rmsprop"]
