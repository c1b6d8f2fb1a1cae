"""Convolutions in Winograd's way beside the interpreter: shapes, edges, widths, threads, and origins of the weights."""
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from graphk.codegen import winograd
from graphk.codegen.pyspace import Pointer, python_namespace
from graphk.codegen.target import host_target, with_lanes
from graphk.ir.dims import sym
from graphk.ir.interp import run_full, run_graph
from graphk.ir.loop import Schedule
from graphk.ir.node import Graph
from graphk.ir.ops.control import scan
from graphk.ir.ops.elementwise import add, cast, lt, mul, relu, sub, tanh
from graphk.ir.ops.leaves import new_input, new_variable
from graphk.ir.ops.random import uniform01
from graphk.ir.ops.reduce import sum_
from graphk.ir.ops.shape import pad
from graphk.ir.program import flat_steps
from graphk.ir.types import TensorType
from graphk.passes.autodiff import gradients
from graphk.passes.pipeline import run_passes
from graphk.passes.winograd import in_winograds_way
from graphk.runtime.compile import Executable
from graphk.runtime.executor import Executor
from tests.codegen.kernels import WIDTHS, build, call
from tests.runtime.test_convolution import agree, arrays_for, convolve, layer

F = "float32"
n = sym("n")


def kinds(program):
    return [s.kernel.schedule.kind for s in program.steps]


# --- the transforms ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", winograd.POINTS)
def test_the_matrices_are_exact(m):
    """A^T [(G g) * (B^T d)] is the window's sum, as an identity of rational numbers."""
    at, g, bt = winograd.matrices(m)
    for k in range(3):
        for i in range(m + 2):                               # unit vectors span everything: the map is bilinear
            product = [g[p][k] * bt[p][i] for p in range(m + 2)]
            out = [sum((a * x for a, x in zip(row, product, strict=True)), Fraction(0)) for row in at]
            assert out == [Fraction(i == r + k) for r in range(m)]


BLOCKS = """
def into(args, tid, nt):
    winograd{m}_input(ptr_f32(args, 0), arg_i64(args, 1), arg_i64(args, 2), arg_i64(args, 3), arg_i64(args, 4),
                      arg_i64(args, 5), ptr_f32(args, 6), arg_i64(args, 7))

def weights(args, tid, nt):
    winograd{m}_weights(ptr_f32(args, 0), arg_i64(args, 1), arg_i64(args, 2), arg_i64(args, 3), arg_i64(args, 4),
                        ptr_f32(args, 5), arg_i64(args, 6))

def back(args, tid, nt):
    winograd{m}_output(ptr_f32(args, 0), arg_i64(args, 1), ptr_f32(args, 2))
"""


def block(m, lanes, name, arguments):
    call(build(BLOCKS.format(m=m), ("into", "weights", "back"), lanes)[name], arguments)


def plain(m, lanes, name, arguments):
    """The same in plain Python."""
    full = {"into": "input", "weights": "weights", "back": "output"}[name]
    values = [Pointer(a.ctypes.data, F, a) if isinstance(a, np.ndarray) else a for a in arguments]
    python_namespace(lanes)[f"winograd{m}_{full}"](*values)


@pytest.mark.parametrize("m", winograd.POINTS)
@pytest.mark.parametrize("lanes", WIDTHS)
def test_blocks(m, lanes):
    rng, p = np.random.default_rng(m), (m + 2) ** 2
    at, g, bt = (np.array(x, np.float64) for x in winograd.matrices(m))
    for run in (block, plain):
        for rows, columns, channels in ((m + 2, m + 2, 21), (3, m + 4, 8), (m + 1, 4, 3)):
            x = np.full((rows, columns + 2, channels + 5), np.nan, F)
            x[:, :columns, :channels] = rng.normal(size=(rows, columns, channels))
            v = np.full((p, channels + 3), np.nan, F)
            run(m, lanes, "into", [x, x.shape[1] * x.shape[2], x.shape[2], rows, columns, channels, v, v.shape[1]])
            i, j = np.minimum(np.arange(m + 2), rows - 1), np.minimum(np.arange(m + 2), columns - 1)
            want = np.einsum("ai,ijc,bj->abc", bt, x[i][:, j, :channels].astype("f8"), bt)
            np.testing.assert_allclose(v[:, :channels].reshape(want.shape), want, rtol=1e-5, atol=1e-5)
            assert np.isnan(v[:, channels:]).all()
        width = with_lanes(host_target(), lanes).tile_shape(F)[1]
        for columns, turned in ((width, False), (width, True), (1, False), (width - 1, True)):
            w = rng.normal(size=(3, 3, columns, 2) if turned else (3, 3, columns)).astype(F)
            u = np.full((p, width + 1), np.nan, F)
            step = 2 if turned else 1
            run(m, lanes, "weights", [w, 3 * columns * step, columns * step, step, columns, u, width + 1])
            want = np.einsum("ai,ijc,bj->abc", g, (w[..., 0] if turned else w).astype("f8"), g)
            np.testing.assert_allclose(u[:, :columns].reshape(want.shape), want, rtol=1e-5, atol=1e-6)
            assert not u[:, columns:width].any() and np.isnan(u[:, width]).all()
        products, y = rng.normal(size=(p, width + 4)).astype(F), np.empty((m * m, width), F)
        run(m, lanes, "back", [products, width + 4, y])
        want = np.einsum("ai,ijc,bj->abc", at, products[:, :width].reshape(m + 2, m + 2, width).astype("f8"), at)
        np.testing.assert_allclose(y.reshape(want.shape), want, rtol=1e-4, atol=1e-4)


# --- whole convolutions -----------------------------------------------------------------------------------------


def forward(places, channels, filters, padding=1, weights="variable"):
    x = new_input(TensorType(F, (n, *places, channels)), "x")
    kind = TensorType(F, (3, 3, channels, filters))
    w = new_variable(kind, "w") if weights == "variable" else new_input(kind, "w")
    b = new_input(TensorType(F, (filters,)), "b")
    edge = (0, *[padding] * 2, 0)
    y = relu(add(convolve(pad(x, edge, edge), w, (1, 1), (1, 1)), b))
    return Graph((x, b) if weights == "variable" else (x, b, w), (y,), name="conv"), w


SHAPES = [((4, 4), 16, 16, 1), ((14, 14), 24, 40, 1), ((13, 18), 17, 33, 0), ((3, 30), 32, 20, 1),
          ((10, 10), 33, 48, 0), ((1, 1), 64, 64, 1), ((29, 8), 40, 19, 1)]


@pytest.mark.parametrize("places, channels, filters, padding", SHAPES)
def test_shapes_and_batches(places, channels, filters, padding):
    graph, w = forward(places, channels, filters, padding)
    kernel = np.random.default_rng(5).normal(size=w.shape).astype(F)
    exe = Executable(run_passes(graph), {w: kernel})
    assert kinds(exe.program)[-1].startswith("winograd") or places == (1, 1)
    for batch in (1, 5, 0):
        arrays = arrays_for(graph, batch, batch)
        agree(exe(arrays), run_graph(graph, arrays, {w: kernel}), 2e-5)
    kernel[:] = 0
    from graphk.runtime.writes import note_write
    note_write()
    arrays = arrays_for(graph, 2)
    np.testing.assert_array_equal(exe(arrays)[0], np.broadcast_to(np.maximum(arrays[1], 0), exe(arrays)[0].shape))


@pytest.mark.parametrize("lanes", WIDTHS)
def test_every_width(lanes):
    for weights in ("variable", "input"):
        graph, w = forward((9, 11), 19, 37, weights=weights)
        kernel = np.random.default_rng(5).normal(size=w.shape).astype(F)
        variables = {w: kernel} if weights == "variable" else {}
        arrays = arrays_for(graph, 3)
        got = Executable(run_passes(graph), variables, target=with_lanes(host_target(), lanes))(arrays)
        agree(got, run_graph(graph, arrays, variables), 2e-5)


def test_threads_give_the_same_bits(monkeypatch):
    monkeypatch.setattr("graphk.runtime.bind.SMALL_COST", 0)
    for batch, filters in ((1, 80), (9, 24)):                 # threads share the columns, or the tiles
        graph, w = forward((14, 10), 20, filters)
        kernel = np.random.default_rng(5).normal(size=w.shape).astype(F)
        arrays, results = arrays_for(graph, batch), []
        for threads in (1, 2, 3, 4):
            executor = Executor(threads=threads)
            results.append(Executable(run_passes(graph), {w: kernel}, executor=executor)(arrays)[0])
            executor.close()
        for other in results[1:]:
            np.testing.assert_array_equal(results[0], other)


@pytest.mark.parametrize("seed", range(6))
def test_gradients(seed):
    """The input's gradient is such a convolution, too: its kernel is turned around, and packed in each call."""
    rng = np.random.default_rng(seed)
    places, channels, filters = tuple(rng.integers(8, 20, 2).tolist()), *rng.integers(16, 50, 2).tolist()
    graph = layer(places, channels, (3, 3), filters, (1, 1), (1, 1), padding=int(rng.integers(2)))
    program = run_passes(graph).program
    assert any(k.startswith("winograd") for k in kinds(program))
    arrays = arrays_for(graph, int(rng.integers(1, 4)), seed)
    agree(Executable(run_passes(graph), {})(arrays), run_graph(graph, arrays), 2e-4)


def test_a_step_of_training_uses_the_weights_before_it():
    """Panels packed for one call, for two convolutions one after another, and an update behind them."""
    x = new_input(TensorType(F, (n, 8, 8, 16)), "x")
    nodes = [new_variable(TensorType(F, (3, 3, 16, 16)), f"w{i}") for i in range(3)]
    y = x
    for w in nodes:
        y = relu(convolve(pad(y, (0, 1, 1, 0), (0, 1, 1, 0)), w, (1, 1), (1, 1)))
    loss = sum_(mul(y, y), axes=(0, 1, 2, 3))
    updates = tuple((w, sub(w, mul(g, 1e-4))) for w, g in zip(nodes, gradients(loss, nodes), strict=True))
    graph = Graph((x,), (loss,), updates)
    variables = {w: np.random.default_rng(i).normal(size=w.shape).astype(F) / 12 for i, w in enumerate(nodes)}
    exe = Executable(run_passes(graph), variables)
    assert sum(k.startswith("winograd") for k in kinds(exe.program)) == 5
    other = {w: a.copy() for w, a in variables.items()}
    for seed in range(3):
        arrays = arrays_for(graph, 2, seed)
        want, other = run_full(graph, arrays, other)
        agree(exe(arrays), want, 1e-4)
    for w in nodes:
        np.testing.assert_allclose(variables[w], other[w], rtol=1e-4, atol=1e-5)


def test_inside_a_loop():
    """A recurrent convolution: one with weights packed before the loop, one whose weights each step computes."""
    image, kind, edge = (n, 8, 8, 16), TensorType(F, (3, 3, 16, 16)), (0, 1, 1, 0)
    xs, start = new_input(TensorType(F, (5, *image)), "xs"), new_input(TensorType(F, image), "h0")
    w = new_variable(kind, "w")
    h, x, m = new_input(TensorType(F, image), "h"), new_input(TensorType(F, image), "x"), new_input(kind, "m")
    own = convolve(pad(h, edge, edge), m, (1, 1), (1, 1))
    new = tanh(add(own, convolve(pad(x, edge, edge), mul(m, sum_(x, axes=(0, 1, 2, 3))), (1, 1), (1, 1))))
    last, every = scan(Graph((h, x, m), (new, mul(new, 2.0))), [start], [xs], [w])
    graph = Graph((xs, start), (last, every))
    steps = flat_steps(run_passes(graph).program.steps)
    assert sum(s.kernel.schedule.kind.startswith("winograd") for s in steps) == 2
    kernel = np.random.default_rng(0).normal(size=w.shape).astype(F) / 50
    arrays = [a / 10 for a in arrays_for(graph, 2)]
    agree(Executable(run_passes(graph), {w: kernel})(arrays), run_graph(graph, arrays, {w: kernel}), 1e-4)


def test_error_beside_float64():
    """The promise of the documentation: 1e-4 of the largest value, here with room to spare."""
    graph, w = forward((28, 28), 128, 64)
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=w.shape).astype(F)
    arrays = arrays_for(graph, 1)
    got = Executable(run_passes(graph), {w: kernel})(arrays)[0]
    x = np.pad(arrays[0].astype("f8"), ((0, 0), (1, 1), (1, 1), (0, 0)))
    seen = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))
    want = np.maximum(np.einsum("nhwcij,ijcf->nhwf", seen, kernel.astype("f8"), optimize=True) + arrays[1], 0)
    assert np.abs(got - want).max() < 1e-5 * want.max()


# --- the choice -------------------------------------------------------------------------------------------------


def chosen(places, channels, filters, window=(3, 3), strides=(1, 1), dilations=(1, 1), dtype=F):
    x = new_input(TensorType(dtype, (n, *places, channels)), "x")
    w = new_input(TensorType(dtype, (*window, channels, filters)), "w")
    return kinds(run_passes(Graph((x, w), (convolve(x, w, strides, dilations),))).program)[-1]


def test_which_convolutions(monkeypatch):
    assert chosen((30, 30), 64, 64) == "winograd4"
    assert chosen((9, 9), 512, 512) == "winograd2"                     # 4 tiles of 4x4: the weights' bytes decide
    for other in ({"window": (5, 5)}, {"window": (3, 1)}, {"strides": (2, 2)}, {"dilations": (2, 2)},
                  {"dtype": "float64"}):
        assert chosen((30, 30), 64, 64, **other) == "tile", other
    assert chosen((30, 30), 3, 64) == "tile"                           # few channels: the transforms cost more
    monkeypatch.setenv("GRAPHK_WINOGRAD", "0")
    assert chosen((30, 30), 64, 64) == "tile"
    monkeypatch.setenv("GRAPHK_WINOGRAD", "false")
    with pytest.raises(ValueError, match="GRAPHK_WINOGRAD is 'false'; expected 0"):
        chosen((30, 30), 64, 64)


def test_sizes_known_only_to_a_call():
    x = new_input(TensorType(F, (n, sym("h"), sym("w"), 32)), "x")
    w = new_input(TensorType(F, (3, 3, 32, 32)), "w")
    graph = Graph((x, w), (convolve(x, w, (1, 1), (1, 1)),))
    exe = Executable(run_passes(graph), {})
    assert kinds(exe.program) == ["winograd4"]
    rng = np.random.default_rng(0)
    for h, width in ((3, 3), (12, 9), (40, 4)):
        arrays = [rng.normal(size=s).astype(F) for s in ((2, h, width, 32), (3, 3, 32, 32))]
        agree(exe(arrays), run_graph(graph, arrays), 2e-5)


def test_the_kernel_itself_is_the_same():
    graph, _ = forward((14, 14), 32, 32)
    step = run_passes(graph).program.steps[-1]
    direct = replace(step.kernel, schedule=Schedule("tile", step.kernel.schedule.axes))
    assert in_winograds_way(direct, dict(zip(step.kernel.sizes, step.sizes, strict=True))) == step.kernel


def test_an_epilogue_with_names_of_its_own():
    """Random numbers behind a convolution: their seed is a value outside all loops."""
    x, w = new_input(TensorType(F, (n, 12, 12, 32)), "x"), new_input(TensorType(F, (3, 3, 32, 32)), "w")
    step = new_variable(TensorType("uint32", ()), "step")
    y = convolve(x, w, (1, 1), (1, 1))
    mask = lt(uniform01(step, 7, y.shape), 0.5)
    graph = Graph((x, w), (mul(y, cast(mask, F)),))
    variables = {step: np.array(3, np.uint32)}
    exe = Executable(run_passes(graph), variables)
    assert kinds(exe.program)[-1] == "winograd4"
    arrays = arrays_for(graph, 2)
    agree(exe(arrays), run_graph(graph, arrays, variables), 2e-5)
