"""Compiled graphs against the interpreter: every op, random graphs, every width and thread count.

The reference for each result is the numpy interpreter; nothing here knows how code is generated.
"""
import threading

import numpy as np
import pytest

import graphk.ir.ops  # noqa: F401  (fills the registry)
from graphk.codegen.pyspace import Pointer, python_namespace
from graphk.codegen.target import host_target, with_lanes
from graphk.ir.dims import sym
from graphk.ir.interp import run_full, run_graph
from graphk.ir.node import Graph
from graphk.ir.opdef import REGISTRY, const
from graphk.ir.ops.contract import dot
from graphk.ir.ops.control import scan
from graphk.ir.ops.elementwise import add, div, exp, log, mul, relu, select, sub, tanh
from graphk.ir.ops.leaves import new_input, new_variable
from graphk.ir.ops.random import bernoulli
from graphk.ir.ops.reduce import argmax, argmin, mean, sum_
from graphk.ir.ops.shape import concat, gather, pad, reshape, slice_axis, transpose
from graphk.ir.program import flat_steps
from graphk.ir.types import TensorType
from graphk.passes.autodiff import gradients
from graphk.passes.pipeline import run_passes
from graphk.runtime import native_loop as loop
from graphk.runtime.compile import Executable, compile_graph
from tests.graphs import random_graph

F, F_ = "float32", np.float32
n, t = sym("n"), sym("t")


def inp(dtype, *shape):
    return new_input(TensorType(dtype, shape), "x")


def close(got, want, tol=3e-5):
    assert len(got) == len(want)
    for a, b in zip(got, want):
        assert a.dtype == b.dtype and a.shape == b.shape
        if a.dtype.kind != "f":
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=tol, atol=tol * max(1.0, float(np.abs(b).max()) if b.size else 1.0))


def samples():
    rng = np.random.default_rng(0)
    for op in REGISTRY.values():
        if op.samples is not None and op.name not in ("fusion", "phase_select", "phase_gate"):
            yield pytest.param(op, op.samples(rng), id=op.name)


@pytest.mark.parametrize("op, cases", list(samples()))
def test_every_op_agrees_with_its_reference(op, cases):
    for arrays, attrs in cases:
        nodes = [inp(a.dtype.name, *a.shape) for a in arrays]
        graph = Graph(tuple(nodes), (op(*nodes, **attrs),))
        close(compile_graph(graph, {})([np.array(a, order="C") for a in arrays]), run_graph(graph, arrays))


def test_bools_move_like_numbers():
    """Padding, cutting, choosing and joining bools."""
    x = inp("bool", n, 3)
    wide = pad(x, (1, 0), (0, 2))
    graph = Graph((x,), (wide, slice_axis(x, 1, 2, 3, -1), select(x, x, False), concat(x, x, axis=0), gather(x, [0])))
    arrays = [np.array([[True, False, True], [True, True, False]])]
    close(compile_graph(graph, {})(arrays), run_graph(graph, arrays))


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs(seed):
    graph, arrays = random_graph(seed)
    want = run_graph(graph, arrays)
    got = compile_graph(graph, {})([np.array(a, order="C") for a in arrays])
    for a, b in zip(got, want):
        fine = np.isfinite(b) if b.dtype.kind == "f" else np.ones(b.shape, bool)
        scale = float(np.abs(b[fine]).max()) if b.dtype.kind == "f" and fine.any() else 1.0
        np.testing.assert_allclose(a[fine], b[fine], rtol=3e-4, atol=3e-4 * max(1.0, scale))


# ------------------------------------------------------------------ a small network with everything in it
def network():
    """One training step of a two-layer net with dropout: (graph, variables, arrays)."""
    x, y = inp(F, n, 13), inp(F, n, 3)
    step = new_variable(TensorType("uint32", ()), "step")
    ws = [new_variable(TensorType(F, s), f"w{i}") for i, s in enumerate([(13, 21), (21,), (21, 3), (3,)])]
    h = relu(add(dot(x, ws[0]), ws[1]))
    h = mul(h, bernoulli(step, 5, h.shape, 0.7))
    loss = mean(mul(sub(add(dot(h, ws[2]), ws[3]), y), sub(add(dot(h, ws[2]), ws[3]), y)))
    updates = [(w, sub(w, mul(g, 0.1))) for w, g in zip(ws, gradients(loss, ws))]
    updates.append((step, add(step, const(1, "uint32"))))
    rng = np.random.default_rng(1)
    values = {w: rng.standard_normal([int(d) for d in w.shape]).astype(F) * np.float32(0.3) for w in ws}
    values[step] = np.array(4, np.uint32)
    return Graph((x, y), (loss, h), tuple(updates), "net"), values, rng


def batch(rng, size):
    return [rng.standard_normal((size, 13)).astype(F), rng.standard_normal((size, 3)).astype(F)]


def copies(values):
    return {k: np.array(v) for k, v in values.items()}


def test_training_steps_follow_the_interpreter_for_any_batch_size():
    graph, values, rng = network()
    mine, theirs = copies(values), copies(values)
    exe = compile_graph(graph, mine)
    for size in (64, 1, 2, 7, 33, 7):
        arrays = batch(rng, size)
        want, updates = run_full(graph, arrays, theirs)
        theirs.update(updates)
        close(exe(arrays), want)
        for v in theirs:
            np.testing.assert_allclose(mine[v], theirs[v], rtol=1e-4, atol=1e-5)
    assert exe.binds == 5                                # one per distinct batch size, nothing else is made anew


@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
def test_every_vector_width_gives_right_results(lanes):
    graph, values, rng = network()
    arrays = batch(rng, 37)
    want, updates = run_full(graph, arrays, values)
    mine = copies(values)
    exe = Executable(run_passes(graph), mine, target=with_lanes(host_target(), lanes))
    close(exe(arrays), want)
    for v, value in updates.items():
        np.testing.assert_allclose(mine[v], value, rtol=1e-4, atol=1e-5)


def test_the_bits_do_not_depend_on_the_number_of_threads(executors, monkeypatch):
    monkeypatch.setattr("graphk.runtime.bind.SMALL_COST", 0)
    graph, values, rng = network()
    arrays = batch(rng, 301)
    results = []
    for executor in executors:
        mine = copies(values)
        out = Executable(run_passes(graph), mine, executor=executor)(arrays)
        results.append([a.tobytes() for a in [*out, *mine.values()]])
    assert all(r == results[0] for r in results[1:])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_scans_and_their_gradients(steps, reverse, executors, monkeypatch):
    monkeypatch.setattr("graphk.runtime.bind.SMALL_COST", 0)
    x, h0, w = inp(F, t, n, 3), inp(F, n, 4), inp(F, 3, 4)
    h, xt, wi = inp(F, n, 4), inp(F, n, 3), inp(F, 3, 4)
    new = tanh(add(h, dot(xt, wi)))
    last, all_h = scan(Graph((h, xt, wi), (new, mul(new, new))), [h0], [x], [w], reverse=reverse)
    loss = add(sum_(all_h), sum_(last))
    graph = Graph((x, h0, w), (loss, all_h, *gradients(loss, [x, h0, w])))
    rng = np.random.default_rng(2)
    arrays = [rng.standard_normal(s).astype(F) for s in ((steps, 2, 3), (2, 4), (3, 4))]
    want = run_graph(graph, arrays)
    for executor in executors[:3]:
        close(Executable(run_passes(graph), {}, executor=executor)(arrays), want)


@pytest.mark.parametrize("rows", [1, 3, 4, 13])
@pytest.mark.parametrize("lanes", [1, 8, 16])
def test_elementwise_work_on_a_contractions_operands_is_part_of_it(rows, lanes, executors, monkeypatch):
    monkeypatch.setattr("graphk.runtime.bind.SMALL_COST", 0)
    x, s, w, wt = inp(F, n, 11), inp(F, 11), inp(F, 11, 35), inp(F, 35, 11)
    scaled = mul(sub(x, 0.5), s)
    rng = np.random.default_rng(3)
    a, b, c, d = (rng.standard_normal(z).astype(F) for z in ((rows, 11), (11,), (11, 35), (35, 11)))
    cases = [((x, s, w), dot(scaled, w), [a, b, c]), ((x, w), relu(dot(x, relu(w))), [a, c]),
             ((x, s, w), dot(scaled, mul(w, 2.0)), [a, b, c]),
             ((x, s, wt), dot(scaled, mul(wt, 2.0), contract=((1,), (1,))), [a, b, d])]
    for inputs, out, arrays in cases:
        graph = Graph(inputs, (out,))
        result = run_passes(graph)
        assert [s.kernel.schedule.kind for s in result.program.steps] == ["tile"]
        for executor in executors[:2]:
            exe = Executable(result, {}, target=with_lanes(host_target(), lanes), executor=executor)
            close(exe(arrays), run_graph(graph, arrays))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("inner_reverse", [False, True])
def test_a_loop_inside_a_loop_walks_its_slice(reverse, inner_reverse, executors, monkeypatch):
    monkeypatch.setattr("graphk.runtime.bind.SMALL_COST", 0)
    x, s = inp(F, t, n, 3), inp(F, 3)
    row, total = inp(F, n, 3), inp(F, 3)
    acc, item = inp(F, 3), inp(F, 3)
    inner = Graph((acc, item), (add(mul(acc, 0.5), item), mul(acc, item)))
    last, ys = scan(inner, [total], [row], reverse=inner_reverse)
    outer_last, all_ys = scan(Graph((total, row), (last, ys)), [s], [x], reverse=reverse)
    graph = Graph((x, s), (outer_last, all_ys, *gradients(add(sum_(all_ys), sum_(outer_last)), [x, s])))
    rng = np.random.default_rng(4)
    for shape in ((3, 4, 3), (1, 1, 3), (2, 0, 3)):
        arrays = [rng.standard_normal(shape).astype(F), rng.standard_normal(3).astype(F)]
        want = run_graph(graph, arrays)
        for executor in executors[:2]:
            close(Executable(run_passes(graph), {}, executor=executor)(arrays), want)


@pytest.mark.parametrize("reverse", [False, True])
def test_what_a_loop_stacks_is_made_in_its_place(reverse, executors, monkeypatch):
    """Read in its step as it is, and as a view; only the state that a step began with is copied."""
    monkeypatch.setattr("graphk.runtime.bind.SMALL_COST", 0)
    x, h0, w = inp(F, t, n, 6), inp(F, n, 6), inp(F, 6, 6)
    h, xt, wi = inp(F, n, 6), inp(F, n, 6), inp(F, 6, 6)
    pre = add(dot(h, wi), xt)
    new = tanh(add(dot(pre, wi), reshape(sum_(reshape(pre, shape=(n, 2, 3)), axes=(1, 2)), shape=(n, 1))))
    last, old, stacked, again = scan(Graph((h, xt, wi), (new, h, pre, pre)), [h0], [x], [w], reverse=reverse)
    result = run_passes(Graph((x, h0, w), (last, old, stacked, again)))
    labels = [s.kernel.label for s in flat_steps(result.program.steps)]
    assert labels.count("stack") == 2                          # `h`, and `pre` a second time
    rng = np.random.default_rng(5)
    for shape in ((4, 5, 6), (1, 1, 6), (0, 3, 6)):
        arrays = [rng.standard_normal(z).astype(F) * F_(0.3) for z in (shape, shape[1:], (6, 6))]
        want = run_graph(Graph((x, h0, w), (last, old, stacked, again)), arrays)
        for executor in executors[:3]:
            close(Executable(result, {}, executor=executor)(arrays), want)


@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
def test_rows_are_shared_out_evenly_among_tiles(lanes, executors, monkeypatch):
    """Each number of rows that a tile may have, in place and packed, gives the same bits on any number of threads."""
    monkeypatch.setattr("graphk.runtime.bind.SMALL_COST", 0)
    x, y, w = inp(F, n, 19), inp(F, 19, n), inp(F, 19, 37)
    graph = Graph((x, y, w), (dot(x, w), dot(y, w, contract=((0,), (0,)))))
    result, rng = run_passes(graph), np.random.default_rng(6)
    exes = [Executable(result, {}, target=with_lanes(host_target(), lanes), executor=e) for e in executors[:3]]
    for rows in range(1, 34):
        a, b = rng.standard_normal((rows, 19)).astype(F), rng.standard_normal((19, 37)).astype(F)
        arrays = [a, np.ascontiguousarray(a.T), b]
        first, *others = [exe(arrays) for exe in exes]
        close(first, [a @ b, a @ b])
        for other in others:
            for p, q in zip(first, other):
                np.testing.assert_array_equal(p, q)


def test_a_loop_over_what_may_be_nothing():
    x = inp(F, t, n, 2)
    h, xt = inp(F, n, 2), inp(F, n, 2)
    first, rest = slice_axis(x, 0, 0, 1), slice_axis(x, 0, 1, t - 1)
    last, = scan(Graph((h, xt), (add(h, xt),)), [reshape(first, shape=(n, 2))], [rest])
    exe = compile_graph(Graph((x,), (last,)), {})
    for length in (1, 2, 5):
        a = np.random.default_rng(0).standard_normal((length, 3, 2)).astype(F)
        close(exe([a]), [a.sum(0)])


def test_constants_are_joined_only_where_the_result_is_a_normal_number():
    x = inp(F, n)
    a = np.array([1e-30, 0, 1e-38], F)
    close(compile_graph(Graph((x,), (mul(mul(x, 1e30), 1e30), div(x, 2.0 ** -130))), {})([a]),
          [a * F_(1e30) * F_(1e30), a / F_(2.0 ** -130)])


@pytest.mark.parametrize("op", [argmax, argmin])
def test_the_first_nan_is_the_extreme(op):
    x = inp(F, n, 5)
    a = np.array([[1, np.nan, 3, np.nan, 0], [2, 5, 5, 1, 1], [np.nan] * 5], F)
    close(compile_graph(Graph((x,), (op(x, axis=1),)), {})([a]), run_graph(Graph((x,), (op(x, axis=1),)), [a]))


# ------------------------------------------------------------------ generated source
@pytest.mark.parametrize("keepdims", [False, True])
def test_log_of_a_sum_of_exponentials_of_infinities(keepdims):
    """The safe form is as right as the plain one where that one is: at both infinities."""
    x = inp(F, n, 3)
    inf = np.inf
    values = np.array([[-inf] * 3, [inf, 1, 2], [-inf, 1, -inf], [100, 0, 0], [inf, -inf, 0]], F)
    got, = compile_graph(Graph((x,), (log(sum_(exp(x), axes=1, keepdims=keepdims)),)), {})([values])
    np.testing.assert_allclose(got.reshape(-1), [-inf, inf, 1, 100, inf], rtol=1e-6)


@pytest.mark.parametrize("lanes", [1, 4])
def test_the_generated_source_runs_as_plain_python(lanes):
    """The same text that Numba compiles, executed by the Python interpreter on the bound arguments."""
    graph, values, rng = network()
    arrays = batch(rng, 5)
    want, updates = run_full(graph, arrays, values)
    exe = Executable(run_passes(graph), copies(values), target=with_lanes(host_target(), lanes))
    bound = exe.bind(exe.dims_of(arrays))
    outs = [np.empty(shape, dtype) for shape, dtype in bound.outputs]
    words = bound.binding.words
    patches = words[words[loop.B_PATCHES]:][:3 * words[loop.B_PATCH_COUNT]].reshape(-1, 3)
    for extern, slot, offset in patches.tolist():
        Pointer(slot, "int64")[0] = int([*arrays, *outs][extern].ctypes.data + offset)
    rows = words[words[loop.B_STEPS]:][:4 * words[loop.B_STEP_COUNT]].reshape(-1, 4).tolist()
    for step in exe.program.steps:
        source = exe.kernels[step.kernel].source
        namespace = python_namespace(lanes)
        exec(compile(source.text, "<kernel>", "exec"), namespace)
        for entry in source.entries:
            namespace[entry](Pointer(rows.pop(0)[2], "int64"), 0, 1)
    assert not rows
    close(outs, want)
    for v, value in updates.items():
        np.testing.assert_allclose(exe.variables[v], value, rtol=1e-4, atol=1e-5)


def test_equal_structure_is_one_kernel_whatever_the_shapes():
    x, a, b = inp(F, n, 8), inp(F, 8, 16), inp(F, 16, 5)
    program = run_passes(Graph((x, a, b), (relu(dot(relu(dot(x, a)), b)),))).program
    assert len(program.steps) == 2
    assert len({s.kernel.key() for s in program.steps}) == 1


# ------------------------------------------------------------------ calls
def test_a_wrong_array_is_refused_and_changes_nothing():
    graph, values, rng = network()
    mine = copies(values)
    exe = compile_graph(graph, mine)
    exe(batch(rng, 4))
    before = copies(mine)
    with pytest.raises(ValueError, match=r"axes"):
        exe([np.zeros(13, F), np.zeros((4, 3), F)])
    with pytest.raises(ValueError, match=r"shape \(4, 12\)"):
        exe([np.zeros((4, 12), F), np.zeros((4, 3), F)])
    with pytest.raises(ValueError, match="expected"):
        exe([np.zeros((4, 13), F), np.zeros((5, 3), F)])
    assert all(np.array_equal(mine[v], before[v]) for v in mine)


@pytest.mark.parametrize("names", [("x2", "x", "x"), ("x", "x", "x1"), ("t3", "t4", "t5"), ("", "x y", "x\ny")])
def test_inputs_of_equal_names_stay_apart(names):
    xs = [new_input(TensorType(F, (2,)), name) for name in names]
    arrays = [np.full(2, k, F_) for k in (1, 10, 100)]
    close(compile_graph(Graph(tuple(xs), (add(add(xs[0], xs[1]), xs[2]),)), {})(arrays), [np.full(2, 111, F_)])


def test_strided_and_misaligned_arrays_are_copied():
    x = inp(F, n, 6)
    exe = compile_graph(Graph((x,), (mul(x, 2.0),)), {})
    base = np.arange(48, dtype=F).reshape(8, 6)
    raw = np.zeros(8 * 6 * 4 + 1, np.uint8)[1:].view()
    odd = np.frombuffer(raw.tobytes(), F).reshape(8, 6)
    for a in (base, base[::2], np.asfortranarray(base), odd):
        close(exe([a]), [a * 2])


def test_threads_may_call_one_executable_at_once():
    graph, values, rng = network()
    exe = compile_graph(Graph(graph.inputs, graph.outputs), values)
    inputs = [batch(rng, 3 + i % 4) for i in range(16)]
    want = [run_graph(Graph(graph.inputs, graph.outputs), a, values) for a in inputs]
    errors = []

    def work(i):
        try:
            for _ in range(20):
                close(exe(inputs[i]), want[i])
        except BaseException as e:
            errors.append(e)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    [x.start() for x in threads]
    [x.join() for x in threads]
    assert not errors


@pytest.mark.parametrize("new", [
    lambda a, b, x: (b, a), lambda a, b, x: (b, x), lambda a, b, x: (x, a), lambda a, b, x: (mul(a, x), a),
    lambda a, b, x: (b, add(b, x)), lambda a, b, x: (add(a, b), a), lambda a, b, x: (add(a, b), sub(a, b))])
def test_a_variable_may_take_the_old_value_of_another(new):
    """Whichever of its readers runs last."""
    x = inp(F, 2, 2)
    a, b = (new_variable(TensorType(F, (2, 2)), name) for name in "ab")
    graph = Graph((x,), (dot(dot(x, x), b), dot(a, x)), tuple(zip((a, b), new(a, b, x))))
    rng = np.random.default_rng(0)
    mine = {v: rng.standard_normal((2, 2)).astype(F) for v in (a, b)}
    theirs = copies(mine)
    exe = compile_graph(graph, mine)
    for _ in range(2):
        arrays = [rng.standard_normal((2, 2)).astype(F)]
        want, updates = run_full(graph, arrays, theirs)
        theirs.update(updates)
        close(exe(arrays), want)
        close([mine[a], mine[b]], [theirs[a], theirs[b]])


@pytest.mark.parametrize("dtype", [F, "int32"])
def test_a_contraction_of_single_elements_has_no_loop(dtype):
    """1x1 by 1x1, a column by a row, and what comes behind them."""
    a, b, c = inp(dtype, 1, 1), inp(dtype, n, 1), inp(dtype, 1, 3)
    graph = Graph((a, b, c), (mul(dot(a, a), 2), sub(dot(b, c), dot(a, a)), add(dot(a, c), 1)))
    arrays = [np.array(x, dtype) for x in ([[3]], [[1], [2]], [[4, 5, 6]])]
    close(compile_graph(graph, {})(arrays), run_graph(graph, arrays))


def test_an_operand_that_is_a_result_too_is_stored_before_it_is_packed():
    """Also where what it is made of is the other operand."""
    x = inp("int32", n)
    y = mul(x, 3)
    z = sub(0, y)
    graph = Graph((x,), (z, dot(z, y)))
    close(compile_graph(graph, {})([np.arange(5, dtype="int32")]), run_graph(graph, [np.arange(5, dtype="int32")]))


def test_a_result_is_stored_though_the_loop_that_reads_it_is_empty():
    x, y, z = inp(F, n, t), inp(F, n, 1), inp(F, n, 3, 1)
    a, b = tanh(y), relu(z)
    graph = Graph((x, y, z), (a, mul(x, a), b, mul(b, reshape(x, (n, 1, t)))))
    exe = compile_graph(graph, {})
    for size in ((2, 0), (0, 2), (2, 3)):
        arrays = [np.random.default_rng(0).standard_normal(s).astype(F) for s in (size, (size[0], 1), (size[0], 3, 1))]
        close(exe(arrays), run_graph(graph, arrays))


def test_reused_memory_has_room_at_every_size():
    """n*n numbers give way to 20*n, which is more for a small n."""
    x, w, v = inp(F, n, 4), inp(F, 4, 20), inp(F, 20, 2)
    graph = Graph((x, w, v), (dot(dot(dot(dot(x, transpose(x)), x), w), v),))
    exe = compile_graph(graph, {})
    rng = np.random.default_rng(0)
    for size in (1, 3, 5, 40):
        arrays = [rng.standard_normal(s).astype(F) for s in ((size, 4), (4, 20), (20, 2))]
        close(exe(arrays), run_graph(graph, arrays))


def test_updates_that_swap_variables_read_before_they_write():
    a, b = (new_variable(TensorType(F, (3,)), s) for s in "ab")
    values = {a: np.array([1, 2, 3], F), b: np.array([4, 5, 6], F)}
    compile_graph(Graph((), (), ((a, b), (b, a))), values)([])
    assert values[a].tolist() == [4, 5, 6] and values[b].tolist() == [1, 2, 3]


def test_a_guard_names_the_op_that_asks_for_it():
    x = inp(F, n, t)
    exe = compile_graph(Graph((x,), (reshape(x, shape=(n, -1, 2)),)), {})
    assert exe([np.ones((2, 4), F_)])[0].shape == (2, 2, 2)
    with pytest.raises(ValueError, match=r"they are 6 and 4: `reshape` of f32\[n,t\] to .* \(.*test_compile.py:"):
        exe([np.ones((2, 3), F_)])


def test_long_chains_and_their_gradients_are_several_kernels():
    x, w = inp(F, n, 3), inp(F, 3)
    y = x
    for _ in range(300):
        y = add(mul(y, w), 0.1)
    graph = Graph((x, w), (y, *gradients(sum_(y), [x, w])))
    exe = compile_graph(graph, {})
    assert max(str(s.kernel).count(" = ") for s in exe.program.steps) < 300
    arrays = [np.full((5, 3), 0.7, F_), np.full(3, 0.99, F_)]
    close(exe(arrays), run_graph(graph, arrays), 1e-4)


class Interrupted(list):
    """Inputs during whose reading another call comes, as a signal's handler may make it."""
    def __init__(self, arrays, call):
        super().__init__(arrays)
        self.call = call

    def __iter__(self):
        for i, a in enumerate(list.__iter__(self)):
            yield a
            if i == 0:
                self.call()


def test_a_call_may_interrupt_another():
    x, y = inp(F, n, 3), inp(F, n, 3)
    exe = compile_graph(Graph((x, y), (sub(x, y),)), {})
    a, b = np.full((4, 3), 5, F_), np.full((4, 3), 2, F_)
    found = []
    for other in (4, 4, 900):                          # the same size, and one for which memory grows
        exe([a, b])
        big = np.full((other, 3), 40, F_), np.full((other, 3), 1, F_)
        (got,) = exe(Interrupted([a, b], lambda big=big: found.extend(exe(list(big)))))
        np.testing.assert_array_equal(got, 3)
    assert [(f.shape, set(f.flat)) for f in found] == [((4, 3), {39.}), ((4, 3), {39.}), ((900, 3), {39.})]
