"""Convolutions and pooling as the compiler sees them: windows, products and reductions, with their gradients.

The reference is the numpy interpreter; shapes cover strides, dilations, many images, single rows and none.
"""
import numpy as np
import pytest

from graphk.codegen import micro, tile
from graphk.codegen.target import host_target, with_lanes
from graphk.codegen.workspace import BLOCK_ROWS
from graphk.ir.dims import sym
from graphk.ir.interp import run_graph
from graphk.ir.node import Graph
from graphk.ir.ops.contract import dot
from graphk.ir.ops.elementwise import add, mul, relu
from graphk.ir.ops.leaves import new_input
from graphk.ir.ops.reduce import max_, sum_
from graphk.ir.ops.shape import pad
from graphk.ir.ops.window import fold, windows
from graphk.ir.types import TensorType
from graphk.passes.autodiff import gradients
from graphk.passes.pipeline import run_passes
from graphk.runtime.bind import Binder
from graphk.runtime.compile import Executable, compile_graph
from graphk.runtime.executor import Executor

F = "float32"


def convolve(x, w, strides, dilations):
    """x (batch, places…, channels), w (window…, channels, filters): what `K.conv` builds."""
    rank = len(strides)
    seen = windows(x, axes=range(1, rank + 1), sizes=w.shape[:rank], strides=strides, dilations=dilations)
    return dot(seen, w, contract=(tuple(range(rank + 1, 2 * rank + 2)), tuple(range(rank + 1))))


def layer(places, channels, window, filters, strides, dilations, padding=1):
    """A convolution with its bias and relu, and the gradients of the sum of its squares."""
    x = new_input(TensorType(F, (sym("n"), *places, channels)), "x")
    w = new_input(TensorType(F, (*window, channels, filters)), "w")
    b = new_input(TensorType(F, (filters,)), "b")
    edge = (0, *[padding] * len(places), 0)
    y = relu(add(convolve(pad(x, edge, edge), w, strides, dilations), b))
    return Graph((x, w, b), (y, *gradients(sum_(mul(y, y), axes=tuple(range(y.ndim))), [x, w, b])), name="conv")


def arrays_for(graph, batch, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal([batch if d == sym("n") else d for d in i.shape]).astype(F) for i in graph.inputs]


def agree(got, want, tol=2e-4):
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol * max(1.0, float(np.abs(b).max()) if b.size else 1.0))


CASES = {"plain": ((8, 9), 3, (3, 3), 5, (1, 1), (1, 1)), "one-by-one": ((8, 9), 3, (1, 1), 17, (1, 1), (1, 1)),
         "one-by-one-strided": ((8, 9), 3, (1, 1), 5, (2, 2), (1, 1)),
         "strided": ((9, 9), 4, (3, 3), 20, (2, 2), (1, 1)),
         "dilated": ((9, 10), 4, (3, 2), 20, (1, 1), (2, 3)), "one-channel": ((9, 10), 1, (3, 3), 33, (1, 1), (1, 1)),
         "line": ((12,), 3, (4,), 6, (1,), (2,)), "volume": ((5, 4, 6), 2, (2, 3, 2), 5, (1, 2, 1), (1, 1, 1)),
         "narrow": ((7, 1), 3, (3, 1), 4, (1, 1), (1, 1))}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("batch", [2, 0])
def test_convolutions_and_their_gradients(case, batch):
    graph = layer(*CASES[case])
    arrays = arrays_for(graph, batch)
    agree(compile_graph(graph, {})(arrays), run_graph(graph, arrays))


@pytest.mark.parametrize("lanes", [1, 4, 16])
def test_every_vector_width(lanes):
    for case in ("plain", "dilated", "volume"):
        graph = layer(*CASES[case])
        arrays = arrays_for(graph, 3)
        got = Executable(run_passes(graph), {}, target=with_lanes(host_target(), lanes))(arrays)
        agree(got, run_graph(graph, arrays))


def test_many_blocks_and_threads_give_the_same_bits(monkeypatch):
    """70 images of 12 x 10 are more rows than a packed block of the weight gradient holds."""
    graph = layer((12, 10), 5, (3, 3), 33, (1, 1), (1, 1), padding=0)
    arrays = arrays_for(graph, 70)
    assert 70 * 10 * 8 > BLOCK_ROWS
    monkeypatch.setattr("graphk.runtime.bind.SMALL_COST", 0)
    results = []
    for threads in (1, 2, 3):
        executor = Executor(threads=threads)
        results.append(Executable(run_passes(graph), {}, executor=executor)(arrays))
        executor.close()
    agree(results[0], run_graph(graph, arrays), 1e-3)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("images", [1, 5])
def test_more_threads_than_panels_or_images_share_as_a_grid(monkeypatch, images):
    monkeypatch.setattr("graphk.runtime.bind.SMALL_COST", 0)
    x, w, v = (new_input(TensorType(F, s)) for s in ((sym("n"), 9, 8, 5), (3, 3, 5, 36), (36, 20)))
    y = relu(convolve(pad(x, (0, 1, 0, 0), (0, 1, 0, 0)), w, (2, 1), (1, 1)))
    graph = Graph((x, w, v), (y, dot(y, v), *gradients(y, [w])))
    arrays, found = arrays_for(graph, images), []
    for threads in (1, 5, 24):
        executor = Executor(threads=threads)
        found.append(Executable(run_passes(graph), {}, executor=executor)(arrays))
        executor.close()
    agree(found[0], run_graph(graph, arrays), 1e-3)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_one_kernel_per_convolution():
    """Windows are never in memory: the products read the padded input, and the epilogue is part of their kernel."""
    program = run_passes(Graph(*_forward())).program
    assert [s.kernel.schedule.kind for s in program.steps] == ["map", "tile"]
    sizes = {b.name: b.type.shape for b in program.buffers if b.place == "arena"}
    assert list(sizes.values()) == [(sym("n"), 10, 11, 3)], sizes


def _forward():
    x = new_input(TensorType(F, (sym("n"), 8, 9, 3)), "x")
    w = new_input(TensorType(F, (3, 3, 3, 5)), "w")
    b = new_input(TensorType(F, (5,)), "b")
    return (x, w, b), (relu(add(convolve(pad(x, (0, 1, 1, 0), (0, 1, 1, 0)), w, (1, 1), (1, 1)), b)),)


@pytest.mark.parametrize("size, stride", [((2, 2), (2, 2)), ((3, 4), (3, 4)), ((2, 2), (3, 2)), ((3, 2), (1, 2)),
                                          ((3, 3), (2, 2))])
def test_pooling_and_its_gradient(size, stride):
    x = new_input(TensorType(F, (sym("n"), 9, 8, 5)), "x")
    seen = windows(x, axes=(1, 2), sizes=size, strides=stride)
    outs = [reducer(seen, axes=(3, 4)) for reducer in (max_, sum_)]
    graph = Graph((x,), (*outs, *[gradients(sum_(mul(y, y), axes=(0, 1, 2, 3)), [x])[0] for y in outs]))
    arrays = arrays_for(graph, 3)
    agree(compile_graph(graph, {})(arrays), run_graph(graph, arrays))


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("seed", range(30))
def test_transposed_convolutions(seed, first):
    """Strides over and under the window's size, places left over, dilations, one to three axes, any weights; channels
    behind the places, or (`first`) before them."""
    rng = np.random.default_rng(seed)
    axes = tuple(range(1, 2 + int(rng.integers(3))))
    sizes, strides = (tuple(int(d) for d in rng.integers(1, 5, len(axes))) for _ in range(2))
    dilations = tuple(int(rng.integers(1, 3)) if s == 1 or seed % 5 == 0 else 1 for s in strides)
    places, left = rng.integers(1, 5, len(axes)), [int(rng.integers(0, s)) for s in strides]
    want = [(p - 1) * s + (k - 1) * d + 1 + more
            for p, s, k, d, more in zip(places.tolist(), strides, sizes, dilations, left)]
    channels, filters, turned = int(rng.integers(1, 6)), int(rng.integers(1, 4)), bool(rng.integers(2))
    shape = (sym("n"), channels, *places.tolist()) if first else (sym("n"), *places.tolist(), channels)
    g = new_input(TensorType(F, shape), "g")
    w = new_input(TensorType(F, (*sizes, *((channels, filters) if turned else (filters, channels)))), "w")
    made = dot(g, w, contract=((1 if first else g.ndim - 1,), (len(axes) + (not turned),)))
    out = fold(made, shape=(sym("n"), *want, filters), axes=axes, sizes=sizes, strides=strides, dilations=dilations)
    graph = Graph((g, w), (relu(out), *gradients(sum_(mul(out, out)), [g, w])))
    arrays = arrays_for(graph, 3, seed)
    agree(compile_graph(graph, {})(arrays), run_graph(graph, arrays))
    if max(strides) > 1 and max(sizes) > 1 and all(d == 1 or s == 1 for d, s in zip(dilations, strides)):
        assert not any(s.kernel.label in ("fold", "embed") for s in run_passes(Graph((g, w), (out,))).program.steps)


def test_windows_that_do_not_fit_are_refused():
    x = new_input(TensorType(F, (2, 4, 3)), "x")
    with pytest.raises(ValueError, match=r"a window of 3 places \(5 with its dilation 2\) does not fit into axis 1"):
        windows(x, axes=(1,), sizes=(3,), dilations=(2,))


def test_the_workspace_speaks_of_the_block_that_uses_it():
    assert tile.GEMV_ROWS == micro.GEMV_ROWS


@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
@pytest.mark.parametrize("images, rows, columns", [(3, 5, 7), (2, 13, 33), (1, 20, 4), (0, 6, 5)])
def test_products_over_many_places(monkeypatch, lanes, images, rows, columns):
    """The weights' gradient of a 1x1 convolution goes block by block; the same bits for any number of threads."""
    monkeypatch.setattr("graphk.runtime.bind.SMALL_COST", 0)
    x, g = (new_input(TensorType(F, (sym("n"), 131, c))) for c in (rows, columns))
    graph = Graph((x, g), (relu(dot(x, g, contract=((0, 1), (0, 1)))),))
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((images, 131, c)).astype(F) for c in (rows, columns)]
    found = []
    for threads in (1, 2, 3):
        exe = Executable(run_passes(graph), {}, with_lanes(host_target(), lanes), Executor(threads))
        assert [s.kernel.schedule.kind for s in exe.program.steps] == ["blocks"]
        found.append(exe(arrays)[0])
    want = np.maximum(np.einsum("nkr,nkc->rc", *(a.astype("f8") for a in arrays)), 0)
    np.testing.assert_allclose(found[0], want, rtol=1e-4, atol=1e-4)
    assert all((f == found[0]).all() for f in found)


def test_kernels_of_a_program_share_one_workspace():
    """As large as the largest needs; steps that need not wait for one another use their own parts of it."""
    x, y, v, w = (new_input(TensorType(F, s)) for s in ((sym("n"), 40), (sym("n"), 50), (40, 30), (50, 300)))
    exe = Executable(run_passes(Graph((x, y, v, w), (dot(x, v), dot(y, w)))), {}, executor=Executor(2))
    assert [s.barrier for s in exe.program.steps] == [False, False]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s).astype(F) for s in ((700, 40), (700, 50), (40, 30), (50, 300))]
    for a, b in zip(exe(arrays), (arrays[0] @ arrays[2], arrays[1] @ arrays[3])):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    (first, *_), (second, *_) = (words for words, *_ in _scratch_of(exe, {"n": 700}))
    assert first == second


def _scratch_of(exe, env):
    binder = Binder(exe, env)
    binder.whole()
    return binder.scratch


@pytest.mark.parametrize("seed", range(12))
def test_depthwise_convolutions_and_their_gradients(seed):
    """Their windows are in memory for nobody, forward or back."""
    rng = np.random.default_rng(seed)
    rank, many = 1 + seed % 3, 1 + seed % 2 * (seed % 4 == 1)
    sizes, strides, dilations = (tuple(int(d) for d in rng.integers(1, top, rank)) for top in (4, 3, 3))
    places = [(k - 1) * d + 1 + int(rng.integers(0, 6)) for k, d in zip(sizes, dilations)]
    channels = int(rng.choice([1, 3, 8, 17]))
    x = new_input(TensorType(F, (sym("n"), *places, channels, 1)), "x")
    w = new_input(TensorType(F, (*sizes, channels, many)), "w")
    seen = windows(relu(x), axes=range(1, rank + 1), sizes=sizes, strides=strides, dilations=dilations)
    y = relu(sum_(mul(seen, w), axes=tuple(range(1 + rank, 1 + 2 * rank))))
    graph = Graph((x, w), (y, *gradients(sum_(mul(y, y)), [x, w])))
    arrays = arrays_for(graph, 3, seed)
    agree(compile_graph(graph, {})(arrays), run_graph(graph, arrays))
    program = run_passes(graph).program
    if many == 1 and max(sizes) > 1:
        assert not {"fold", "copy", "windows"} & {s.kernel.label for s in program.steps}
