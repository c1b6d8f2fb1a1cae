"""Weights packed once: as fresh as the variables, shared, freed, and used by loops; the oracle is numpy."""
import gc
import threading
from dataclasses import replace

import numpy as np
import pytest

from graphk.codegen.target import host_target, with_lanes
from graphk.codegen.tile import FAR, SHORT
from graphk.ir.dims import sym
from graphk.ir.node import Graph
from graphk.ir.ops.contract import dot
from graphk.ir.ops.control import scan
from graphk.ir.ops.elementwise import add, exp, mul, relu, sub, tanh
from graphk.ir.ops.leaves import new_input, new_variable
from graphk.ir.ops.reduce import sum_
from graphk.ir.ops.shape import gather, transpose
from graphk.ir.ops.window import windows
from graphk.ir.types import TensorType
from graphk.passes.pipeline import run_passes
from graphk.runtime.bind import Binder
from graphk.runtime.compile import Executable
from graphk.runtime.executor import Executor, Loop
from graphk.runtime.panels import Panels
from graphk.runtime.writes import note_write

n = sym("n")


def variable(*shape, seed=0):
    return new_variable(TensorType("float32", shape), "w"), np.random.default_rng(seed).normal(size=shape).astype("f")


def inp(*shape, dtype="float32"):
    return new_input(TensorType(dtype, shape), "x")


def executable(inputs, outputs, variables, updates=(), **kw):
    return Executable(run_passes(Graph(tuple(inputs), tuple(outputs), tuple(updates))), variables, **kw)


def rows(count, k, seed=1):
    return np.random.default_rng(seed).normal(size=(count, k)).astype("f")


def close(got, want, tol=2e-5):
    np.testing.assert_allclose(got, want, rtol=tol, atol=tol * max(1, np.abs(want).max(initial=0)))


def packed(exe):
    """Panels that its bindings hold."""
    return list({id(p): p for bound in exe._bound.values() for p, _ in bound.panels}.values())


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
def test_product_with_packed_weights(lanes, turned):
    x = inp(n, 21)
    node, w = variable(*((37, 21) if turned else (21, 37)))
    exe = executable([x], [relu(dot(x, transpose(node, (1, 0)) if turned else node))], {node: w},
                     target=with_lanes(host_target(), lanes))
    for count in (4, 33, 3, 1, 0):
        a = rows(count, 21)
        for _ in range(2):
            close(exe([a])[0], np.maximum(a @ (w.T if turned else w), 0) if count else np.zeros((0, 37)))
    assert packed(exe)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
def test_one_to_three_rows_read_large_weights_from_panels(lanes, threads):
    x, (node, w) = inp(n, 380), variable(380, 381)
    for a in (x, exp(x)):                                # rows in memory, and rows that are computed
        exe = executable([x], [relu(dot(a, node))], {node: w}, target=with_lanes(host_target(), lanes),
                         executor=Executor(threads))
        many = exe([rows(7, 380)])[0]
        assert len(packed(exe)) == 1
        for count in (1, 2, 3) * 3:
            np.testing.assert_array_equal(exe([rows(7, 380)[:count]])[0], many[:count])      # from what was packed
        w *= 2
        note_write()
        np.testing.assert_allclose(exe([rows(7, 380)[:1]])[0], 2 * many[:1], rtol=1e-6)
        w /= 2
        note_write()


def test_few_rows_read_in_place_for_two_calls_after_a_write():
    x, (node, w) = inp(n, 380), variable(380, 381)
    state = new_variable(TensorType("float32", ()), "s")
    plain = executable([x], [dot(x, node)], {node: w})
    writes = executable([x], [dot(x, node)], {node: w, state: np.float32([0]).reshape(())}, [(state, add(state, 1.0))])
    a = rows(2, 380)
    for exe in (plain, writes):                          # its own writes, of something else, do not count
        for _ in range(2):
            calls, seen = [], []
            for _ in range(4):
                calls.append(exe([a])[0])
                (panels, slot), = next(iter(exe._bound.values())).panels
                seen.append(int(slot[0]) == panels.address)
            assert seen == [False, False, True, True]
            for y in calls[1:]:
                np.testing.assert_array_equal(y, calls[0])
            close(calls[0], a @ w)
            w *= 2
            note_write()
    many = rows(9, 380)
    want = plain([many])[0]                              # more rows pack at once, for few ones, too
    np.testing.assert_array_equal(plain([many[:1]])[0], want[:1])
    (panels, slot), = next(b for key, b in plain._bound.items() if key == (1,)).panels
    assert int(slot[0]) == panels.address


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("count", [4, 25, 100])
def test_weights_from_afar_give_the_bits_of_any(count, threads):
    x, (node, w), y = inp(n, 401), variable(401, 403), inp(401, 403)
    assert w.size > FAR
    exe = executable([x], [dot(x, node)], {node: w}, executor=Executor(threads))
    other = executable([x, y], [dot(x, y)], {})
    a = rows(count, 401)
    np.testing.assert_array_equal(exe([a])[0], other([a, w])[0])
    assert packed(exe) and not packed(other)


@pytest.mark.parametrize("shape", [(21, 37), (1100, 60), (3, 800_000)])
def test_one_to_three_rows_read_other_weights_in_place(shape):
    x, (node, w) = inp(n, shape[0]), variable(*shape)
    exe = executable([x], [dot(x, node)], {node: w})
    close(exe([rows(2, shape[0])])[0], rows(2, shape[0]) @ w)
    assert not packed(exe) and exe.packed_bytes({"n": 2}) == 0 and exe.packed_bytes({"n": 4})


def test_one_to_three_rows_of_a_step_read_what_it_writes_in_place():
    x, (node, w) = inp(n, 380), variable(380, 381)
    exe = executable([x], [dot(x, node)], {node: w}, [(node, mul(node, 2.0))])
    before = w.copy()
    close(exe([rows(2, 380)])[0], rows(2, 380) @ before)
    assert not packed(exe)


def test_written_weights_are_packed_again():
    x, (node, w) = inp(n, 8), variable(8, 40)
    exe, a = executable([x], [dot(x, node)], {node: w}), rows(5, 8)
    close(exe([a])[0], a @ w)
    w *= 2
    close(exe([a])[0], a @ (w / 2))                      # nobody said so
    note_write()
    close(exe([a])[0], a @ w)


def test_a_program_that_writes_weights_tells_those_that_read_them():
    x, (node, w) = inp(n, 8), variable(8, 40)
    predict = executable([x], [dot(x, node)], {node: w})
    step = executable([x], [], {node: w}, [(node, sub(node, mul(sum_(x), 0.5)))])
    a = rows(5, 8)
    for _ in range(3):
        close(predict([a])[0], a @ w)
        before = w.copy()
        step([a])
        assert not np.array_equal(w, before)
    close(predict([a])[0], a @ w)


def test_a_step_keeps_what_it_does_not_write():
    """Frozen weights stay packed while the program trains others; what it writes itself is never kept."""
    x, (frozen, f), (free, w) = inp(n, 8), variable(8, 40), variable(40, 40, seed=5)
    h = dot(x, frozen)
    exe = executable([x], [dot(h, free)], {frozen: f, free: w}, [(free, mul(free, 0.5))])
    a = rows(5, 8)
    for _ in range(3):
        want = (a @ f) @ w
        close(exe([a])[0], want)
    (panels,) = packed(exe)
    seen = panels.seen
    exe([a])
    assert panels.seen == seen + 1                       # it took its own number without packing again
    np.copyto(f, 1)
    note_write()
    close(exe([a])[0], (a @ f) @ (w * 2))


def test_programs_share_panels_and_drop_them():
    x, (node, w) = inp(n, 21), variable(21, 37)
    executor = Executor(threads=2)
    exes = [executable([x], [out], {node: w}, executor=executor) for out in (dot(x, node), relu(dot(x, node)))]
    for exe in exes:
        for count in (5, 6, 7):
            exe([rows(count, 21)])
    assert len(executor.panels) == 1 and len({id(p) for e in exes for p in packed(e)}) == 1
    del exe, exes
    gc.collect()
    assert not executor.panels


def test_convolution_keeps_all_places_of_its_kernel():
    x, (node, w) = inp(n, 9, 5), variable(3, 5, 20)
    seen = windows(x, axes=(1,), sizes=(3,))
    exe = executable([x], [dot(seen, node, contract=((2, 3), (0, 1)))], {node: w})
    for count in (1, 4):
        a = np.random.default_rng(2).normal(size=(count, 9, 5)).astype("f")
        want = sum(a[:, i:i + 7] @ w[i] for i in range(3))
        close(exe([a])[0], want)
    assert len({id(p) for p in packed(exe)}) == 1


def test_loops_read_packed_weights_of_this_call():
    """A loop's weights are packed once a call even where the program writes them later."""
    (node, w), xs, h0 = variable(16, 16), inp(6, n, 16), inp(n, 16)
    h, x, m = inp(n, 16), inp(n, 16), inp(16, 16)
    last = scan(Graph((h, x, m), (tanh(add(dot(h, m), x)),)), [h0], [xs], [node])[0]
    a, start = np.random.default_rng(4).normal(size=(6, 5, 16)).astype("f"), rows(5, 16)

    def want():
        s = start
        for t in range(6):
            s = np.tanh(s @ w + a[t])
        return s
    reads = executable([xs, h0], [last], {node: w})
    close(reads([a, start])[0], want())
    assert packed(reads)
    trains = executable([xs, h0], [last], {node: w}, [(node, mul(node, 0.5))])
    for _ in range(3):
        expected = want()
        close(trains([a, start])[0], expected)
        assert not packed(trains)
    close(reads([a, start])[0], want())


def test_matrices_that_move_are_not_kept():
    """A loop over the matrices of a variable, and rows of it that are looked up."""
    (node, w), h0, h, m = variable(3, 16, 16), inp(n, 16), inp(n, 16), inp(16, 16)
    last = scan(Graph((h, m), (dot(h, m),)), [h0], [node])[0]
    exe, a = executable([h0], [last], {node: w}), rows(5, 16)
    close(exe([a])[0], a @ w[0] @ w[1] @ w[2], 1e-4)
    assert not packed(exe)
    (table, v), ids, x = variable(9, 12, seed=7), inp(7, dtype="int32"), inp(n, 12)
    exe = executable([ids, x], [dot(x, transpose(gather(table, ids), (1, 0)))], {table: v})
    for chosen in (np.arange(7), np.arange(7)[::-1]):
        close(exe([chosen.astype("int32"), rows(5, 12)])[0], rows(5, 12) @ v[chosen].T)


def test_threads_that_predict_and_write():
    """Every prediction is one of weights that stood whole at some time; the last is that of the last weights."""
    x, (node, w) = inp(n, 32), variable(32, 48)
    predict = executable([x], [dot(x, node)], {node: w})
    step = executable([], [], {node: w}, [(node, mul(node, 2.0))])
    a, errors = rows(9, 32), []
    first = w.copy()
    possible = [a @ (first * 2 ** i) for i in range(21)]

    def reader():
        for _ in range(60):
            got = predict([a])[0]
            if not any(np.allclose(got, p, rtol=1e-4, atol=1e-3 * np.abs(p).max()) for p in possible):
                errors.append(got)
    threads = [threading.Thread(target=reader) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        step([])
    for thread in threads:
        thread.join()
    assert not errors
    close(predict([a])[0], possible[-1])


def test_packed_bytes_are_told():
    x, (node, w) = inp(n, 21), variable(21, 37)
    exe = executable([x], [dot(x, node)], {node: w}, target=with_lanes(host_target(), 8))
    exe([rows(5, 21)])
    width = exe.target.tile_shape("float32")[1]
    assert exe.packed_bytes({"n": 5}) == 21 * -(-37 // width) * width * 4 <= packed(exe)[0].nbytes
    assert exe.packed_bytes({"n": 3}) == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_memory_of_panels_that_do_not_last_is_told_once(threads, monkeypatch):
    """Steps share it, one after another; a block that runs by rows packs all that it reads before it begins."""
    monkeypatch.setattr("graphk.runtime.bind.SMALL_COST", 0)
    x, y, m = inp(n, 21), inp(21, 37), inp(37, 21)
    executor = Executor(threads=threads)
    graph = Graph((x, y, m), (dot(dot(x, y), m),))
    exe = Executable(run_passes(graph), {}, with_lanes(host_target(), 8), executor)
    exe([rows(2000, 21), rows(21, 37), rows(37, 21)])
    ahead = {p.address: p.nbytes - 64 for p in exe.bind({"n": 2000}).keep if isinstance(p, Panels)}
    assert (exe._spare.nbytes - 64 if threads == 1 else sum(ahead.values())) == exe.packed_bytes({"n": 2000}) > 0
    assert exe.packed_bytes({"n": 5}) == 0
    executor.close()


@pytest.mark.parametrize("threads", [1, 3])
def test_the_workspace_of_all_kernels_is_told_once(threads, monkeypatch):
    monkeypatch.setattr("graphk.runtime.bind.SMALL_COST", 0)
    x, y, m = inp(n, 21), inp(21, 300), inp(300, 21)
    executor = Executor(threads=threads)
    exe = Executable(run_passes(Graph((x, y, m), (dot(dot(x, y), m),))), {}, executor=executor)
    exe([rows(50, 21), rows(21, 300), rows(300, 21)])
    assert exe._scratch.nbytes - 64 == exe.workspace_bytes({"n": 50}) > 300 * 4 * threads
    assert exe.sizes == [{"n": 50}]
    executor.close()


def test_a_loop_waits_for_the_step_before_it():
    """Its body may pack where that step still reads panels; and a loop that does not run cannot wait for it."""
    xs, h0, w = inp(n, 16), inp(16, 16), inp(16, 16)
    h, m = inp(16, 16), inp(16, 16)
    first = dot(xs, w)
    last = scan(Graph((h, m), (dot(h, m),)), [h0], [], [w], length=3)[0]
    exe = executable([xs, h0, w], [first, last], {})
    steps = Binder(exe, {"n": 2000}).steps([replace(s, barrier=False) for s in exe.program.steps])
    assert any(isinstance(s, Loop) for s in steps)
    assert all(before.barrier for before, s in zip(steps, steps[1:]) if isinstance(s, Loop))


@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
def test_short_and_long_products_ask_for_what_their_epilogue_reads(lanes):
    """A panel ahead, the last panel's neighbour included, or just before a tile: results are the same."""
    for k in (SHORT, SHORT + 1):
        x, r = inp(n, k), inp(n, 77)
        node, w = variable(k, 77)
        exe = executable([x, r], [relu(add(dot(x, node), r))], {node: w}, target=with_lanes(host_target(), lanes))
        kernel, = exe.kernels.values()
        assert kernel.source.text.count(f"if k_ <= {SHORT}: touch_rows(") == 2           # what is added, and the result
        for count in (4, 15, 100):
            a, b = rows(count, k), rows(count, 77, seed=2)
            close(exe([a, b])[0], np.maximum(a @ w + b, 0))
