"""Zeros around an image that a library convolves: asked of the library, in one call; the interpreter is the oracle.

Where the library has no way to pad, a kernel before the call writes them; where it refuses all, graphk's kernel pads.
"""
import numpy as np
import pytest

from graphk.ir.dims import sym
from graphk.ir.interp import run_full
from graphk.ir.node import Graph
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops.reduce import sum_
from graphk.ir.ops.shape import pad, transpose
from graphk.layers import BatchNormalization, Conv2D, Conv3D, ConvLSTM2D, Dense, Flatten
from graphk.models import Sequential
from graphk.passes.autodiff import gradients
from graphk.passes.pipeline import run_passes
from graphk.runtime import library, library_match
from graphk.runtime.compile import Executable
from graphk.runtime.device_sim import SimDevice
from graphk.runtime.gpu import GpuExecutable
from graphk.runtime.library import Convolution, Tensor
from graphk.runtime.library_sim import NumpyLibrary
from tests.codegen.cuda_models import MODELS, train_step
from tests.gpu.conftest import PTX, SIMULATED
from tests.gpu.test_libraries import convolution, convolving, inputs, lent, products, run, values  # noqa: F401

n = sym("n")


def same(x, w, before, after, steps=(1, 1), dilations=(1, 1)):
    return convolution(pad(x, (0, *before, 0), (0, *after, 0)), w, steps, dilations)


@pytest.mark.parametrize("before, after, steps, want", [
    ((1, 1), (1, 1), (1, 1), ((1, 1), (1, 1))), ((1, 0), (1, 0), (1, 1), ((1, 1), (0, 0))),
    ((0, 0), (1, 1), (2, 2), ((0, 0), (0, 1))),          # as many before as after, where that gives the same windows
    ((3, 2), (3, 2), (2, 2), ((3, 3), (2, 2))), ((2, 1), (0, 1), (1, 1), ((2, 0), (1, 1)))])
def test_what_is_asked_for(before, after, steps, want, convolving):  # noqa: F811
    x, w = ins = inputs((n, 9, 8, 2), (3, 3, 2, 4))
    exe = run(Graph((*ins,), (same(x, w, before, after, steps),)), values(ins, n=2), convolving)
    (ask, around), = products(exe, n=2)
    rows, columns = ((e + b + a - 3) // s + 1 for e, b, a, s in zip((9, 8), before, after, steps))
    assert ask == Convolution(Tensor((2, 2, 9, 8), (144, 1, 16, 2)), Tensor((4, 2, 3, 3), (18, 1, 6, 2)),
                              Tensor((2, 4, rows, columns), (rows * columns * 4, 1, columns * 4, 4)), steps, (1, 1),
                              "float32", paddings=want)
    text = "x".join(f"{b}+{a}" if a != b else str(a) for b, a in want)
    assert str(ask).endswith(f", padded {text}") and around == 1 and len(exe.program.steps) == 1


def sizes_at_random(rng):
    """Extents of images and windows of one to three axes; zeros before and after, strides, dilations; three counts."""
    rank = int(rng.choice([1, 2, 2, 3]))
    window, steps, dilations = (tuple(int(x) for x in rng.integers(1, top, rank)) for top in (4, 3, 3))
    before, after = (tuple(int(x) for x in rng.integers(0, 3, rank)) for _ in range(2))
    extents = [max(1, (int(p) - 1) * s + (k - 1) * d + 1 + int(rng.integers(2)) - b - a) for p, s, k, d, b, a in
               zip(rng.integers(1, 4, rank), steps, window, dilations, before, after)]
    batch, channels, filters = (int(x) for x in rng.integers(1, 4, 3))
    return extents, window, (before, after, steps, dilations), (batch, channels, filters)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("seed", range(24 if SIMULATED else 80))
def test_random_padded_convolutions_and_their_gradients(seed, first, convolving):  # noqa: F811
    """One to three axes, any strides and dilations, more zeros on one side; forward, and by image and filters."""
    rng = np.random.default_rng(seed)
    extents, window, around, (batch, channels, filters) = sizes_at_random(rng)
    shape = (batch, channels, *extents) if first else (batch, *extents, channels)
    x, w = ins = inputs(shape, (*window, channels, filters))
    image = transpose(x, perm=(0, *range(2, 2 + len(extents)), 1)) if first else x
    y = same(image, w, *around)
    y = [ew.relu, ew.tanh, ew.neg, lambda v: v][seed % 4](y)
    grads = gradients(sum_(ew.square(y)), [x, w])
    exe = run(Graph((*ins,), (y, *grads)), values(ins, seed), convolving)
    asked = [f[0] for f in products(exe) if isinstance(f, tuple) and isinstance(f[0], Convolution)]
    pads = [c.paddings for c in asked]
    if any(around[0]) and len(asked) == 3 and max(window) > 1 and min(extents) > 1 and not first:
        assert any(pads)


@pytest.mark.skipif(not SIMULATED, reason="the library in Python can be told to refuse")
@pytest.mark.parametrize("even, tight, alone, refuse, want", [
    (True, False, False, False, ((), True, 2, "padded before")), (False, True, False, False, ((), True, 2, "")),
    (False, False, True, False, (((1, 0), (1, 1)), False, 2, "")), (True, False, True, False, ((), False, 3, "")),
    (False, False, False, True, None)])
@pytest.mark.parametrize("by", ["forward", "filters"])
def test_what_the_library_refuses(even, tight, alone, refuse, want, by, convolving, monkeypatch):  # noqa: F811
    """Zeros on one side, zeros anywhere, anything done with sums, both, everything."""
    fake = getattr(convolving.libraries[Convolution], "functions", None)
    if fake is None:
        pytest.skip("numpy's model refuses nothing")
    said = []
    monkeypatch.setattr(library, "WATCHERS", [said.append])
    fake.even, fake.tight, fake.alone, fake.refuse = even, tight, alone, refuse
    x, w, b = inputs((n, 5, 6, 3), (2, 3, 3, 4), (4,))
    y = ew.relu(ew.add(same(x, w, (1, 1), (0, 1)), b))
    if by == "filters":
        y, = gradients(sum_(y), [w])
    exe = run(Graph((x, w, b), (y,)), values([x, w, b], n=2), convolving)
    found, = {id(c): c for c in exe.calls.plan({"n": 2}).found.values() if not isinstance(c, str)
              and isinstance(c.match.ask, Convolution) and c.match.ask.gradient == (by == "filters")}.values()
    ask = found.match.ask
    if want is None:
        assert ": graphk's kernel: cuDNN refused " in said[-1]
        return
    paddings, ends, around, word = want
    if by == "forward":
        assert (ask.paddings, not ask.plain, len(found.match.packs) + (found.match.epilogue is not None)) == (
            paddings, ends, around)
    else:
        assert ask.paddings == paddings
    assert word in "\n".join(said)
    assert exe.calls.scratch({"n": 2}) >= found.nbytes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_graphks_own_kernel_pads(dtype, device):
    """What is no library's: from few contracted places."""
    x, w = ins = inputs((n, 5, 6, 3), (3, 3, 3, 4), dtype=dtype)
    y = ew.relu(same(x, w, (1, 1), (0, 2), (2, 1), (1, 2)))
    graph = Graph((*ins,), (y, *gradients(sum_(ew.square(y)), [x, w])))
    result = run_passes(graph, phase=1, convolves=True)
    arrays = values(ins, n=2)
    want, _ = run_full(graph, arrays, {}, 1)
    kept, device.libraries = device.libraries, {}
    try:
        found = GpuExecutable(result, {}, device)(arrays)
    finally:
        device.libraries = kept
    for outs in (found, Executable(result, {})(arrays)):       # a CPU can run them, too
        for got, expected in zip(outs, want, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def network(layout):
    shape = (6, 7, 2) if layout == "channels_last" else (2, 6, 7)
    return shape, lambda: Sequential([
        Conv2D(3, 3, padding="same", activation="relu", data_format=layout, input_shape=shape),
        Conv2D(4, 3, padding="same", strides=2, data_format=layout), BatchNormalization(),
        Conv2D(2, (2, 3), padding="same", data_format=layout), Flatten(), Dense(3, activation="softmax")])


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_a_train_step_writes_no_padded_image(layout, convolving, monkeypatch):  # noqa: F811
    shape, build = network(layout)
    monkeypatch.setitem(MODELS, "network", (build, shape, "sgd"))
    graph, arrays, state = train_step("network", 2)
    exe = run(graph, arrays, convolving, state)
    found = [f[0] for f in products(exe, **exe.dims_of(arrays)) if isinstance(f, tuple)]
    forward, back = ([c for c in found if isinstance(c, Convolution) and c.gradient is on] for on in (False, True))
    assert len(forward) == 5 and len(back) == 3 and all(c.paddings for c in forward + back), found
    images = [b.type.shape for s in exe.program.steps if s.kernel.label == "pad"
              for b in exe.program.buffers if b.name == s.buffers[-1]]
    assert not [shape for shape in images if "n" in str(shape)], "filters alone are padded, for strides"


@pytest.mark.parametrize("build, shape", [
    (lambda: [Conv3D(3, 3, padding="same", strides=(1, 2, 1), input_shape=(4, 5, 3, 2))], (4, 5, 3, 2)),
    (lambda: [ConvLSTM2D(2, 3, padding="same", input_shape=(3, 4, 5, 2))], (3, 4, 5, 2))])
def test_three_axes_and_loops(build, shape, convolving, monkeypatch):  # noqa: F811
    end = [Flatten(), Dense(3, activation="softmax")]
    monkeypatch.setitem(MODELS, "network", (lambda: Sequential([*build(), *end]), shape, "sgd"))
    graph, arrays, state = train_step("network", 2)
    exe = run(graph, arrays, convolving, state)
    assert [c for c in exe.calls.plan(exe.dims_of(arrays)).found.values() if not isinstance(c, str)
            and isinstance(c.match.ask, Convolution) and c.match.ask.paddings]


def test_a_short_sum_stays_graphks_with_its_zeros(convolving, monkeypatch):  # noqa: F811
    monkeypatch.setattr(library_match, "LONG", 64)
    x, w = ins = inputs((n, 5, 6, 3), (3, 3, 3, 4))
    exe = run(Graph((*ins,), (same(x, w, (1, 1), (1, 1)),)), values(ins, n=2), convolving)
    why, = products(exe, n=2)
    assert "27 contracted places are too few for a convolution" in why


def test_open_extents(convolving):  # noqa: F811
    """How many zeros there are depends on the image; a batch of no images, too."""
    h, v = sym("h"), sym("v")
    x, w = ins = inputs((n, h, v, 2), (3, 2, 2, 3))
    y = ew.relu(same(x, w, (1, 0), (h - 2, 1), (2, 1)))
    graph = Graph((*ins,), (y, *gradients(sum_(ew.square(y)), [x, w])))
    for size in ({"n": 2, "h": 5, "v": 4}, {"n": 1, "h": 3, "v": 1}, {"n": 2, "h": 4, "v": 7}):
        exe = run(graph, values(ins, **size), convolving)
        first = next(f[0] for f in products(exe, **size) if isinstance(f, tuple) and isinstance(f[0], Convolution))
        assert first.x.extents[2:] == (size["h"], size["v"]) and first.paddings[0][0] == 1
    run(graph, values(ins, n=0, h=5, v=4), convolving)


@pytest.mark.skipif(not SIMULATED or PTX, reason="looks at what the simulator's library was asked for")
def test_models_on_a_device_with_a_library_pad_in_its_calls(on_device, monkeypatch):
    asked = NumpyLibrary(on_device.view)
    monkeypatch.setattr(on_device, "libraries", {Convolution: asked})
    monkeypatch.setattr(library_match, "LONG", 1)
    model = Sequential([Conv2D(3, 3, padding="same", input_shape=(4, 5, 2)), Flatten(), Dense(1)])
    model.compile("sgd", "mse")
    model.train_on_batch(np.ones((2, 4, 5, 2), "f"), np.ones((2, 1), "f"))
    model.predict(np.ones((2, 4, 5, 2), "f"))
    assert {c.gradient for c in asked.asked} == {False, True}
    assert all(c.paddings == ((1, 1), (1, 1)) for c in asked.asked)


@pytest.mark.skipif(not SIMULATED or PTX, reason="the library in numpy is told to refuse")
@pytest.mark.parametrize("when", ["the first time", "at other addresses"])
def test_memory_of_padded_images_is_taken_where_a_library_refuses(when, monkeypatch):
    """Not before; a second pair of ends, which lie elsewhere, may be what it refuses."""
    monkeypatch.setattr(library_match, "LONG", 1)
    device, seen = SimDevice(), []

    class Picky(NumpyLibrary):
        def ask(self, what, at):
            seen.append(at.left)
            if isinstance(what, Convolution) and what.paddings and (when == "the first time" or at.left != seen[0]):
                raise library.Refused("no zeros today")
            return super().ask(what, at)
    device.libraries = {Convolution: Picky(device.view)}
    x, w = ins = inputs((n, 5, 6, 3), (3, 3, 3, 4))
    graph = Graph((*ins,), (same(x, w, (1, 1), (1, 1)),))
    arrays, filters = values(ins, n=4), 4 * 4 * 3 * 9
    want, = run_full(graph, arrays, {}, 1)[0]
    exe = GpuExecutable(run_passes(graph, phase=1, convolves=True), {}, device)
    before, padded = exe.calls.scratch({"n": 4}), 4 * 4 * 7 * 8 * 3
    assert filters < before < filters + 1024
    if when == "at other addresses":
        np.testing.assert_allclose(exe(arrays)[0], want, rtol=1e-4, atol=1e-4)
        assert exe.calls.scratch({"n": 4}) == before
    for got in (exe.start(arrays)()[0], exe.start(arrays)()[0], exe(arrays)[0]):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    assert before + padded <= exe.calls.scratch({"n": 4}) < before + padded + 512
