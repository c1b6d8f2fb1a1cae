"""Blocks of rows: which steps form one, and that results keep their bits whatever runs by rows.  The oracles are the
interpreter, and the same program step after step on one thread (which other tests hold against the interpreter)."""
import random
from dataclasses import replace

import numpy as np
import pytest

from graphk import layers
from graphk.codegen.target import host_target, with_lanes
from graphk.ir.dims import compile_dims, sym
from graphk.ir.effects import lifetimes, root_of
from graphk.ir.interp import run_graph
from graphk.ir.node import Graph
from graphk.ir.ops.contract import dot
from graphk.ir.ops.elementwise import add, cast, mul, relu, tanh
from graphk.ir.ops.leaves import new_input, new_variable
from graphk.ir.ops.nn import softmax
from graphk.ir.ops.reduce import max_, mean, sum_
from graphk.ir.ops.shape import broadcast_to, concat, gather, pad, reshape, slice_axis, transpose
from graphk.ir.program import RowBlock
from graphk.ir.types import TensorType
from graphk.ir.verify import VerifyError, verify_program
from graphk.models import Sequential
from graphk.passes.pipeline import run_passes
from graphk.runtime import observed
from graphk.runtime.bind import Binder
from graphk.runtime.compile import Executable
from tests.runtime.test_fuzz import check

n = sym("n")
F = "float32"


def inp(*shape, dtype=F):
    return new_input(TensorType(dtype, shape), "x")


@pytest.fixture
def by_rows(monkeypatch):
    """All blocks run by rows, few at a time, on all threads, however little that gains."""
    monkeypatch.setattr("graphk.runtime.bind.SMALL_COST", 0)
    for name, value in (("NEAR_BYTES", 700), ("FAR_BYTES", 1 << 40), ("FEW_ROWS", 1), ("BALANCED", 1e9),
                        ("AGAIN", 1e9)):
        monkeypatch.setattr(f"graphk.runtime.groups.{name}", value)


def taken(exe, **env):
    """Rows at a time of the blocks that run by rows."""
    return [plan.rows for plan in Binder(exe, env).plans.values()]


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(F)


# ------------------------------------------------------------------ which steps
def two_products(middle):
    """Two products and what stands between them."""
    x, w, u = inp(n, 6), inp(6, 8), inp(8, 3)
    return Graph((x, w, u), (tanh(dot(middle(dot(x, w)), u)),))


@pytest.mark.parametrize("middle", [
    lambda h: softmax(relu(h), axis=1), lambda h: slice_axis(h, 1, 7, 8, -1),
    lambda h: mul(h, mean(h, axes=(1,), keepdims=True)),
    lambda h: slice_axis(pad(h, (0, 2), (0, 1)), 1, 1, 8), lambda h: slice_axis(concat(h, relu(h), axis=1), 1, 3, 8),
    lambda h: reshape(transpose(reshape(h, shape=(n, 2, 4)), (0, 2, 1)), shape=(n, 8)),
    lambda h: sum_(broadcast_to(reshape(h, shape=(n, 1, 8)), (n, 3, 8)), axes=(1,))])
def test_steps_that_keep_to_their_rows_form_a_block(middle, executors, by_rows):
    graph = two_products(middle)
    result = run_passes(graph)
    blocks = result.program.blocks
    assert [(b.first, b.last, str(b.rows)) for b in blocks] == [(0, len(result.program.steps) - 1, "n")]
    made = [Executable(result, {}, executor=e) for e in executors]
    for rows in (1, 5, 32, 0):
        arrays = [normal(rows, rows, 6), normal(1, 6, 8), normal(2, 8, 3)]
        got = [exe(arrays)[0] for exe in made]
        np.testing.assert_allclose(got[0], run_graph(graph, arrays)[0], rtol=1e-4, atol=1e-5)
        assert len({a.tobytes() for a in got}) == 1
    assert all(taken(exe, n=32) for exe in made) and not taken(made[0], n=0)


@pytest.mark.parametrize("middle", [
    lambda h: softmax(h, axis=0), lambda h: slice_axis(h, 0, n - 1, n, -1), lambda h: add(h, max_(h)),
    lambda h: dot(transpose(dot(h, transpose(h, (1, 0))), (1, 0)), h),
    lambda h: mul(h, mean(h, axes=(0,), keepdims=True)),
    lambda h: gather(h, cast(mul(sum_(h, axes=(1,)), 0.0), dtype="int32"))])
def test_steps_in_which_rows_meet_end_it(middle, executors, by_rows):
    graph = two_products(middle)
    result = run_passes(graph)
    assert all(b.last - b.first + 1 < len(result.program.steps) for b in result.program.blocks)
    arrays = [normal(0, 9, 6), normal(1, 6, 8), normal(2, 8, 3)]
    got = [Executable(result, {}, executor=e)(arrays)[0] for e in executors]
    np.testing.assert_allclose(got[0], run_graph(graph, arrays)[0], rtol=1e-4, atol=1e-4)
    assert len({a.tobytes() for a in got}) == 1


def test_steps_of_other_values_go_ahead_of_the_block(executors, by_rows):
    """Weights that are computed from variables do not part the layers that they stand between."""
    x, w, u, v = inp(n, 6), (new_variable(TensorType(F, s), "w") for s in ((6, 8), (8, 8), (8, 3))), None, None
    w, u, v = w
    graph = Graph((x,), (dot(relu(dot(relu(dot(x, tanh(w))), tanh(u))), tanh(v)),), ((v, mul(v, 0.5)),))
    result = run_passes(graph)
    block, = result.program.blocks
    assert block.last - block.first == 2 and block.first >= 3
    for e in executors:
        values = {w: normal(1, 6, 8), u: normal(2, 8, 8), v: normal(3, 8, 3)}
        arrays = [normal(0, 21, 6)]
        want = run_graph(graph, arrays, {k: a.copy() for k, a in values.items()})
        np.testing.assert_allclose(Executable(result, values, executor=e)(arrays)[0], want[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(values[v], normal(3, 8, 3) * np.float32(0.5))


def test_large_weights_end_it():
    x, w, u = inp(n, 1024), inp(1024, 1024), inp(1024, 1024)
    assert not run_passes(Graph((x, w, u), (dot(relu(dot(x, w)), u),))).program.blocks


def test_no_row_is_read_again_for_little(executors, monkeypatch):
    """One thread has nothing to gain from rows that stay in its cache anyway, nor any from groups that read more
    weights again than they hand on."""
    monkeypatch.setattr("graphk.runtime.bind.SMALL_COST", 0)
    one, two = (Executable(run_passes(two_products(relu)), {}, executor=e) for e in executors[:2])
    assert not taken(one, n=64) and not taken(two, n=4) and not taken(two, n=9) and taken(two, n=64) == [32]


# ------------------------------------------------------------------ storage
def test_what_lives_beyond_a_block_shares_no_bytes_with_it():
    """An input of the block's first step is still needed when other rows of the last one are written."""
    x, w, u, v = inp(n, 8), inp(8, 8), inp(8, 8), inp(8, 8)
    before = softmax(dot(x, w), axis=0)                           # no part of the block, nor what follows it
    graph = Graph((x, w, u, v), (softmax(dot(relu(dot(before, u)), v), axis=0),))
    program = run_passes(graph).program
    block, = program.blocks
    life = lifetimes(program, root_of(program))
    ends = [life[b] for b in life if life[b] not in [(block.first, block.last)] and life[b][1] >= block.first
            and life[b][0] <= block.last]
    assert len(ends) == 2 and all(first <= block.first and last >= block.last for first, last in ends)
    assert len({program.buffer(b).offset for b in life if life[b] in ends}) == 2
    moved = replace(program, buffers=tuple(
        replace(b, offset=0) if life.get(b.name) in ends else b for b in program.buffers))
    with pytest.raises(VerifyError, match="share bytes of the arena"):
        verify_program(moved)


def test_the_verifier_refuses_blocks_that_are_none():
    program = run_passes(two_products(lambda h: softmax(h, axis=0))).program
    last = len(program.steps) - 1
    for blocks, says in (((RowBlock(0, last, n),), "may not begin a block of rows of n"),
                         ((RowBlock(0, last + 1, n),), "are not steps of it in order"),
                         ((RowBlock(0, 0, n), RowBlock(0, 0, n)), "are not steps of it in order")):
        with pytest.raises(VerifyError, match=says):
            verify_program(replace(program, blocks=blocks))


# ------------------------------------------------------------------ whole networks
def random_network(rng):
    """Layers for small images, among them all that keep to their rows."""
    same = rng.choice(["same", "valid"])
    makers = (
        lambda: layers.Conv2D(rng.choice([3, 8, 17]), rng.choice([1, 3, (3, 2)]), padding=same, activation="relu"),
        lambda: layers.Conv2D(8, 3, strides=2, padding=same),
        lambda: layers.Conv2D(4, 2, dilation_rate=2, padding="same"),
        lambda: layers.DepthwiseConv2D(3, padding="same", depth_multiplier=rng.choice([1, 2])),
        lambda: layers.SeparableConv2D(6, 3, padding="same"), lambda: layers.Conv2DTranspose(4, 3, padding="same"),
        lambda: layers.BatchNormalization(), lambda: layers.Activation("tanh"), lambda: layers.Dropout(0.25),
        lambda: layers.MaxPooling2D(2, strides=rng.choice([1, 2]), padding="same"),
        lambda: layers.AveragePooling2D(2, 1),
        lambda: layers.ZeroPadding2D(((1, 0), (0, 2))), lambda: layers.UpSampling2D(2), lambda: layers.PReLU(),
        lambda: layers.Permute((2, 1, 3)), lambda: layers.SpatialDropout2D(0.2))
    net = [layers.Conv2D(rng.choice([4, 8]), 3, padding="same", input_shape=(10, 9, rng.choice([1, 3])))]
    net += [rng.choice(makers)() for _ in range(rng.randint(2, 5))]
    net += [layers.Flatten(), layers.Dense(7, activation="relu"), layers.Dense(3, activation="softmax")]
    return Sequential(net)


@pytest.mark.parametrize("seed", range(12))
def test_networks_keep_their_bits(seed, executors, monkeypatch, request):
    rng = random.Random(seed)
    model = random_network(rng)
    model.compile("adam", "mse")
    made = []

    class Watch:
        passed = failed = staticmethod(lambda what: None)
        finished = staticmethod(made.append)
    monkeypatch.setattr(observed, "OBSERVERS", [lambda graph, phase: Watch()])
    x, y = normal(seed, 6, *model.input_shape[1:]), normal(seed + 1, 6, 3)
    model.predict_on_batch(x)
    model.train_on_batch(x, y)
    lanes = rng.choice([1, 4, 8])
    count = 0
    for program in made:
        rows = rng.choice([2, 5, 11])
        arrays = [np.abs(normal(i, *compile_dims(b.type.shape)(dict.fromkeys(program.program.dims, rows)))).astype(
            b.type.dtype) for i, b in enumerate(program.inputs)]

        def run(executor, program=program, arrays=arrays, rows=rows, lanes=lanes):
            values = {v: a.copy() for v, a in program.variables.items()}
            exe = Executable(program.result, values, with_lanes(host_target(), lanes), executor)
            return [a.tobytes() for _ in range(2) for a in (*exe(arrays), *values.values())], len(Binder(
                exe, dict.fromkeys(program.program.dims, rows)).plans)
        want, none = run(executors[0])
        assert none == 0
        with pytest.MonkeyPatch.context() as patch:
            by_rows.__wrapped__(patch)
            for e in executors[:3]:
                got, blocks = run(e)
                assert [i for i, (p, q) in enumerate(zip(got, want)) if p != q] == [], (e.threads, rows, lanes)
                count += blocks
    assert count


@pytest.mark.parametrize("seed", range(200, 225))
def test_wild_graphs_by_rows(seed, by_rows):
    check(seed)
