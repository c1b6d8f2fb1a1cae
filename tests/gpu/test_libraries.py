"""Steps that a vendor's library computes: which ones, described how, and the same numbers as the interpreter's.

On the simulated GPU it is numpy's, or calls of a cuBLASLt in Python; on a real one (`make test-gpu`) it is the
vendor's, where that is installed.
"""
import dataclasses

import numpy as np
import pytest

from graphk.frontend import config
from graphk.ir.dims import sym
from graphk.ir.interp import run_full
from graphk.ir.node import Graph
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops.contract import dot
from graphk.ir.ops.leaves import new_input
from graphk.ir.ops.reduce import sum_
from graphk.ir.ops.window import windows
from graphk.ir.types import TensorType
from graphk.layers import Conv2D, Dense, Flatten
from graphk.models import Sequential
from graphk.passes.autodiff import gradients
from graphk.passes.mixed import mixed
from graphk.passes.pipeline import run_passes
from graphk.runtime import library, library_match
from graphk.runtime.gpu import GpuExecutable
from graphk.runtime.library import Convolution, Matrix, Product, Tensor
from graphk.runtime.library_sim import NumpyLibrary
from graphk.runtime.mirrors import current
from tests.codegen.cuda_models import MODELS, train_step
from tests.gpu import test_models
from tests.gpu.conftest import PTX, SIMULATED
from tests.graphs import random_graph
from tests.programs import mlp_train, scan_graph, values_for

n = sym("n")


@pytest.fixture(params=["numpy", "nvidia"] if SIMULATED else ["nvidia"])
def lent(device, monkeypatch, request):
    """A device with a library, whatever the number of contracted places: numpy's on the simulator, and graphk's
    calls of cuBLASLt and cuDNN on a driver, a cuBLASLt and a cuDNN in Python."""
    monkeypatch.setattr(library_match, "LONG", 1)
    if SIMULATED and request.param == "nvidia":
        from tests.gpu import fake_cublaslt, fake_cudnn
        from tests.gpu.test_driver import made
        driver, device = made()
        fake_cublaslt.installed(driver, device)
        fake_cudnn.installed(driver, device)
    elif SIMULATED:
        from graphk.runtime.device_sim import SimDevice
        device = SimDevice()
        device.libraries = dict.fromkeys((Product, Convolution), NumpyLibrary(device.view))
    if Product not in device.libraries:
        pytest.skip("cuBLASLt is not installed")
    return device


@pytest.fixture
def convolving(lent):
    """A device with a library of convolutions."""
    if Convolution not in lent.libraries:
        pytest.skip("cuDNN is not installed")
    return lent


def run(graph, arrays, device, state=None, tol=1e-4, phase=1):
    """The executable, after its outputs and updated variables were compared with the interpreter's."""
    mine = {v: a.copy() for v, a in (state or {}).items()}
    result = run_passes(graph, phase=phase, convolves=Convolution in device.libraries)
    exe = GpuExecutable(result, mine, device)
    outs = exe(arrays)
    want, updates = run_full(graph, arrays, state or {}, phase)
    for got, expected in zip([*outs, *(current(mine[v]) for v in updates)], [*want, *updates.values()], strict=True):
        assert got.shape == expected.shape and got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, rtol=tol, atol=tol * max(1, np.abs(expected).max(initial=0)))
    return exe


def products(exe, **env):
    """(product, number of kernels around it) of each contraction as it is asked for first, or why there is none."""
    found = [exe.calls._find(s, env, 0) for s in exe.calls._contractions()]
    return [f if isinstance(f, str) else
            (f.match.ask, len(f.match.packs) + (f.match.epilogue is not None)) for f in found]


def inputs(*shapes, dtype="float32"):
    return [new_input(TensorType(dtype, s), f"x{i}") for i, s in enumerate(shapes)]


def values(ins, seed=0, **env):
    return values_for([i.t for i in ins], env, seed=seed)


# ------------------------------------------------------------------ what is recognized
def layer(x, w, b):
    return ew.relu(ew.add(dot(x, w), b))


CASES = {
    "plain": (lambda x, w: dot(x, w), [(n, 4), (4, 5)], Product(3, 5, 4, 1, "float32", Matrix(4, 1), Matrix(5, 1),
                                                                 Matrix(5, 1))),
    "float64 with a bias": (layer, [(n, 4), (4, 5), (5,)], (Product(3, 5, 4, 1, "float64", Matrix(4, 1), Matrix(5, 1),
                                                                   Matrix(5, 1)), 1)),
    "float64": (lambda x, w: dot(x, w), [(n, 4), (4, 5)], Product(3, 5, 4, 1, "float64", Matrix(4, 1), Matrix(5, 1),
                                                                   Matrix(5, 1))),
    "dense": (layer, [(n, 4), (4, 5), (5,)], Product(3, 5, 4, 1, "float32", Matrix(4, 1), Matrix(5, 1), Matrix(5, 1),
                                                      bias=True, activation="relu")),
    "recurrent": (lambda x, w, y: ew.add(y, dot(x, w)), [(n, 4), (4, 5), (n, 5)],
                  Product(3, 5, 4, 1, "float32", Matrix(4, 1), Matrix(5, 1), Matrix(5, 1), added=Matrix(5, 1))),
    "both": (lambda x, w, b, y: ew.add(ew.add(y, dot(x, w)), b), [(n, 4), (4, 5), (5,), (n, 5)],
             Product(3, 5, 4, 1, "float32", Matrix(4, 1), Matrix(5, 1), Matrix(5, 1), bias=True, added=Matrix(5, 1))),
    "data gradient": (lambda g, w: dot(g, w, contract=((1,), (1,))), [(n, 5), (4, 5)],
                      Product(3, 4, 5, 1, "float32", Matrix(5, 1), Matrix(1, 5), Matrix(4, 1))),
    "weight gradient": (lambda x, g: dot(x, g, contract=((0,), (0,))), [(n, 4), (n, 5)],
                        Product(4, 5, 3, 1, "float32", Matrix(1, 4), Matrix(5, 1), Matrix(5, 1))),
    "batch": (lambda x, y: dot(x, y, contract=((2,), (1,)), batch=((0,), (0,))), [(n, 2, 4), (n, 4, 5)],
              Product(2, 5, 4, 3, "float32", Matrix(4, 1, 8), Matrix(5, 1, 20), Matrix(5, 1, 10))),
    "heads": (lambda x, y: dot(x, y, contract=((3,), (3,)), batch=((0, 2), (0, 2))), [(2, n, 4, 5), (2, n, 4, 5)],
              (Product(3, 3, 5, 8, "float32", Matrix(5, 1, 15), Matrix(1, 5, 15), Matrix(3, 1, 9)), 2)),
    "many axes": (lambda x, w: dot(x, w), [(n, 2, 4), (4, 5)],
                  Product(6, 5, 4, 1, "float32", Matrix(4, 1), Matrix(5, 1), Matrix(5, 1))),
    "two contracted": (lambda x, w: dot(x, w, contract=((1, 2), (0, 1))), [(n, 2, 4), (2, 4, 5)],
                       Product(3, 5, 8, 1, "float32", Matrix(8, 1), Matrix(5, 1), Matrix(5, 1))),
    "one row": (lambda x, w: dot(x, w), [(1, 4), (4, 5)], None),
    "one column": (lambda x, w: dot(x, w), [(n, 4), (4, 1)], None),
    "one place": (layer, [(n, 1), (1, 5), (5,)], None),
}


@pytest.mark.parametrize("name", CASES)
def test_products_are_described_as_they_lie(name, lent):
    make_it, shapes, want = CASES[name]
    dtype = "float64" if name.startswith("float64") else "float32"
    ins = inputs(*shapes, dtype=dtype)
    exe = run(Graph(tuple(ins), (make_it(*ins),)), values(ins, n=3), lent)
    found = products(exe, n=3)
    assert len(found) <= 1, "one kernel"
    if want is None:
        assert not found or isinstance(found[0], tuple), "a product, or a kernel that is no contraction"
    else:
        assert found == [want if isinstance(want, tuple) else (want, 0)]


def test_a_column_at_a_time_is_no_bias(lent):
    """What is added to each column is not what a library calls a bias: a kernel behind adds it."""
    x, w, b = ins = inputs((n, 4), (4, 5), (n, 1))
    exe = run(Graph((*ins,), (layer(x, w, b),)), values(ins, n=3), lent)
    (product, around), = products(exe, n=3)
    assert (product.bias, product.activation, around) == (False, "", 1)


@pytest.mark.parametrize("behind", [ew.tanh, ew.sigmoid, lambda r: ew.mul(r, 2.0), lambda r: ew.max(r, 1.0),
                                    lambda r: ew.relu(ew.neg(r))])
def test_what_no_library_does_with_a_result_is_a_kernel_behind(behind, lent):
    x, w, b = ins = inputs((n, 4), (4, 5), (5,))
    exe = run(Graph((*ins,), (behind(ew.add(dot(x, w), b)),)), values(ins, n=3), lent)
    (product, around), = products(exe, n=3)
    assert (product.bias, product.activation, around) == (False, "", 1)


def test_relu_keeps_what_is_not_a_number(lent):
    """As graphk's own kernels do; a model that goes wrong must show it."""
    x, w, b = ins = inputs((n, 4), (4, 5), (5,))
    arrays = values(ins, n=3)
    arrays[0][1, 2] = np.nan
    exe = GpuExecutable(run_passes(Graph((*ins,), (layer(x, w, b),))), {}, lent)
    out, = exe(arrays)
    assert isinstance(products(exe, n=3)[0], tuple)
    assert np.isnan(out[1]).all() and np.isfinite(out[[0, 2]]).all()


@pytest.mark.parametrize("seed", range(12 if SIMULATED else 100))
def test_random_products(seed, lent):
    """Axes in any order on both sides, batch axes, transposed operands, epilogues of all kinds."""
    rng = np.random.default_rng(seed)
    extents = rng.integers(1, 4, 6)
    b, m, k = (list(range(6))[i * 2:i * 2 + rng.integers(0 if i == 0 else 1, 3)] for i in range(3))
    size = {a: int(extents[a]) for a in [*b, *m, *k]}
    free = [10 + i for i in range(rng.integers(1, 3))]
    size.update({a: int(rng.integers(1, 5)) for a in free})
    left, right = ([int(a) for a in rng.permutation([*b, *own, *k])] for own in (m, free))
    x, y = ins = inputs(tuple(size[a] for a in left), tuple(size[a] for a in right))
    k_of, b_of = [tuple(s.index(a) for a in k) for s in (left, right)], [tuple(s.index(a) for a in b)
                                                                         for s in (left, right)]
    out = dot(x, y, contract=tuple(k_of), batch=tuple(b_of))
    kind = rng.integers(4)
    extra = inputs(out.shape[-1:]) if kind == 1 else inputs(out.shape) if kind == 2 else []
    if extra:
        out = ew.add(out, extra[0])
    if rng.integers(2):
        out = ew.relu(out)
    if kind == 3:
        out = ew.tanh(out)
    ins = (*ins, *extra)
    run(Graph(ins, (out,)), values(ins, seed), lent)


# ------------------------------------------------------------------ convolutions
def convolution(x, w, steps, dilations):
    """x: (batch, places…, channels), w: (window…, channels, filters)."""
    rank = len(steps)
    axes = tuple(range(1, 1 + rank))
    view = windows(x, axes=axes, sizes=w.shape[:rank], strides=steps, dilations=dilations)
    return dot(view, w, contract=(tuple(range(1 + rank, view.ndim)), tuple(range(rank + 1))))


@pytest.mark.parametrize("steps, dilations", [((1, 1), (1, 1)), ((2, 1), (1, 1)), ((1, 1), (1, 2)), ((3, 2), (2, 3))])
def test_convolutions_are_described_as_they_lie(steps, dilations, convolving):
    x, w = ins = inputs((n, 9, 8, 2), (3, 2, 2, 4))
    exe = run(Graph((*ins,), (convolution(x, w, steps, dilations),)), values(ins, n=2), convolving)
    (ask, around), = products(exe, n=2)
    rows, columns = ((e - (k - 1) * d - 1) // s + 1 for e, k, d, s in zip((9, 8), (3, 2), dilations, steps))
    assert ask == Convolution(Tensor((2, 2, 9, 8), (144, 1, 16, 2)), Tensor((4, 2, 3, 2), (12, 1, 4, 2)),
                              Tensor((2, 4, rows, columns), (rows * columns * 4, 1, columns * 4, 4)), steps, dilations,
                              "float32")
    assert around == 1, "the filters are written filter by filter"


@pytest.mark.parametrize("seed", range(30 if SIMULATED else 100))
def test_random_convolutions_and_their_gradients(seed, convolving):
    """One to three axes, any strides and dilations, odd sizes; forward, and by image and filters."""
    rng = np.random.default_rng(seed)
    rank = int(rng.choice([1, 2, 2, 3]))
    window, steps, dilations = (tuple(int(x) for x in rng.integers(1, top, rank)) for top in (4, 3, 3))
    places = tuple(int(x) for x in rng.integers(1, 4, rank))
    extents = [(p - 1) * s + (k - 1) * d + 1 + int(rng.integers(2)) for p, s, k, d in
               zip(places, steps, window, dilations)]
    batch, channels, filters = (int(x) for x in rng.integers(1, 4, 3))
    x, w = ins = inputs((batch, *extents, channels), (*window, channels, filters))
    y = convolution(x, w, steps, dilations)
    y = [ew.relu, ew.tanh, ew.neg, lambda v: v][seed % 4](y)
    grads = gradients(sum_(ew.square(y)), [x, w])
    run(Graph((*ins,), (y, *grads)), values(ins, seed), convolving)


ENDINGS = {"bias": (True, False, ""), "relu": (False, False, "relu"), "bias and relu": (True, False, "relu"),
           "added": (False, True, ""), "all": (True, True, "relu")}


def ended(kind, convolving):
    """A convolution with something done with its sums, compared; what the library was asked for, and maps around it."""
    bias, added, relu = ENDINGS[kind]
    x, w, b, z = inputs((2, 6, 7, 3), (3, 2, 3, 4), (4,), (2, 4, 6, 4))
    y = convolution(x, w, (1, 1), (1, 1))
    y = ew.add(y, z) if added else y
    y = ew.add(y, b) if bias else y
    ins = (x, w, *([b] if bias else []), *([z] if added else []))
    exe = run(Graph(ins, (ew.relu(y) if relu else y,)), values(ins), convolving)
    (ask, around), = products(exe)
    return exe, ask, around


@pytest.mark.parametrize("kind", ENDINGS)
def test_what_is_done_with_a_convolutions_sums(kind, convolving):
    _, ask, around = ended(kind, convolving)
    assert (ask.bias, ask.added is not None, ask.activation) == ENDINGS[kind] and around == 1
    assert str(ask).endswith("".join(f" + {x}" for x in ("added" if ask.added else "", "bias" if ask.bias else "",
                                                         ask.activation) if x))
    library = convolving.libraries[Convolution]
    if SIMULATED and hasattr(library, "functions"):
        assert library.functions.chains == [[0] * (ask.added is not None) + [0] * ask.bias + [100] * (
            ask.activation == "relu")]


@pytest.mark.skipif(not SIMULATED, reason="the library in Python can be told to refuse")
def test_a_convolution_alone_where_there_is_no_engine_for_more(convolving):
    library = convolving.libraries[Convolution]
    if not hasattr(library, "functions"):
        pytest.skip("numpy's model refuses nothing")
    library.functions.alone = True
    exe, _, _ = ended("all", convolving)
    call, = (c for c in exe.calls.plan({}).found.values())
    assert call.match.ask.plain and call.match.epilogue is not None and library.functions.chains == [[]]
    alive = {k: v["kind"] for k, v in library.functions.alive.items()}
    ended("all", convolving)
    again = {k: v["kind"] for k, v in library.functions.alive.items()}
    assert [*alive.values()].count("tensor") == [*again.values()].count("tensor"), "what was refused is given back"


def test_other_endings_are_kernels_behind(convolving):
    """A bias along another axis, what is added twice, another activation."""
    x, w, b, z = inputs((2, 6, 7, 3), (3, 2, 3, 4), (6, 1), (2, 4, 6, 4))
    y = convolution(x, w, (1, 1), (1, 1))
    for out, ins in ((ew.add(y, b), (x, w, b)), (ew.add(ew.add(y, z), ew.mul(z, 2.0)), (x, w, z)),
                     (ew.tanh(ew.add(y, z)), (x, w, z)), (ew.add(ew.relu(y), z), (x, w, z))):
        exe = run(Graph(ins, (out,)), values(ins), convolving)
        (ask, around), = products(exe)
        assert ask.plain and around == 2


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_a_convolutional_networks_step(layout, convolving, monkeypatch):
    """Forward, the gradient by the image and that by the filters are convolutions, or products."""
    shape = (5, 6, 2) if layout == "channels_last" else (2, 5, 6)

    def build():
        return Sequential([Conv2D(3, 3, padding="same", activation="relu", data_format=layout, input_shape=shape),
                           Conv2D(2, (2, 3), data_format=layout), Conv2D(2, 3, strides=2, data_format=layout),
                           Flatten(), Dense(3, activation="softmax")])
    monkeypatch.setitem(MODELS, "network", (build, shape, "sgd"))
    graph, arrays, state = train_step("network", 2)
    exe = run(graph, arrays, convolving, state)
    found = products(exe, **exe.dims_of(arrays))
    kinds = [f[0].gradient for f in found if isinstance(f, tuple) and isinstance(f[0], Convolution)]
    assert kinds.count(False) >= 3 and kinds.count(True) >= 2, found
    assert not [f for f in found if isinstance(f, str)]


# ------------------------------------------------------------------ whole programs
@pytest.mark.parametrize("seed", range(3 if SIMULATED else 40))
def test_random_graphs(seed, lent):
    graph, arrays = random_graph(seed)
    run(graph, arrays, lent)


@pytest.mark.parametrize("name", MODELS)
def test_a_train_step(name, lent):
    graph, arrays, state = train_step(name)
    exe = run(graph, arrays, lent, state, tol=1e-4)
    env = exe.dims_of(arrays)
    found = products(exe, **env)
    assert found and (name == "cnn" or all(isinstance(f, tuple) for f in found)), found
    assert len(exe.calls.lines(env)) == len(found)


def test_loops_and_several_batch_sizes(lent):
    graph = scan_graph(True, True)
    exe = run(graph, values_for([i.t for i in graph.inputs], {"n": 2, "t": 3}), lent)
    assert any(isinstance(f, tuple) for f in products(exe, n=2, t=3))
    graph, v = mlp_train()
    state = dict(zip(v.values(), values_for([x.t for x in v.values()], {}, seed=1)))
    mine, want = {k: a.copy() for k, a in state.items()}, {k: a.copy() for k, a in state.items()}
    exe = GpuExecutable(run_passes(graph, phase=1), mine, lent)
    for batch in (3, 5, 3, 1):
        arrays = values_for([i.t for i in graph.inputs], {"n": batch}, seed=batch)
        outs, updates = run_full(graph, arrays, want, 1)
        want.update(updates)
        for got, expected in zip(exe(arrays), outs, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    for k in v.values():
        np.testing.assert_allclose(current(mine[k]), want[k], rtol=1e-4, atol=1e-4)


def test_short_sums_with_a_map_around_them_stay_graphks(device, lent, monkeypatch):
    monkeypatch.setattr(library_match, "LONG", 5)
    x, w = ins = inputs((n, 4), (4, 5))
    exe = run(Graph((*ins,), (ew.tanh(dot(x, w)),)), values(ins, n=3), lent)
    assert products(exe, n=3)[0].startswith("what is done with the result is not a library's; 4 contracted places are "
                                            "too few for a map before or behind them")
    assert exe.calls.scratch({"n": 3}) == 0
    assert exe.calls.lines({"n": 3})[0].startswith("dot_tanh: graphk's kernel: what is done")


@pytest.mark.parametrize("kind", test_models.MODELS)
@pytest.mark.parametrize("settings", [{}, {"mixed_precision": "bfloat16"}, {"mixed_precision": "float16"}])
def test_models_train_as_on_the_cpu(kind, settings, device, monkeypatch, request):
    """Losses, predictions and weights of a whole `fit`."""
    monkeypatch.setattr(library_match, "LONG", 1)
    monkeypatch.setattr(test_models, "SETTINGS", settings)
    asked = NumpyLibrary(device.view) if SIMULATED and not PTX else None
    if SIMULATED:
        monkeypatch.setattr(device, "libraries", dict.fromkeys((Product, Convolution), asked) if asked else {})
    if PTX:
        from tests.gpu import fake_cublaslt, fake_cudnn
        fake_cublaslt.installed(device.module, device)
        fake_cudnn.installed(device.module, device)
    want = test_models.history(kind)
    request.getfixturevalue("on_device")
    test_models.compare(test_models.history(kind), want, 1e-2 if settings else 1e-4)
    if asked is not None:
        assert {type(x) for x in asked.asked} == {Product} | ({Convolution} if kind == "convolutions" else set())


# ------------------------------------------------------------------ rounded operands
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["mlp", "lstm"])
def test_rounded_operands_are_multiplied_as_narrow_numbers(name, dtype, lent):
    graph, arrays, state = train_step(name)
    rounded = mixed(graph, dtype)
    exe = run(rounded, arrays, lent, state, tol=2e-3)
    kinds = [f[0].dtype for f in products(exe, **exe.dims_of(arrays)) if isinstance(f, tuple)]
    assert dtype in kinds
    if name == "mlp" and dtype == "float16":
        assert set(kinds) == {dtype}, "every operand was rounded"


def test_a_rounded_and_an_exact_operand_are_multiplied_as_float32(lent):
    x, w = ins = inputs((n, 4), (4, 5))
    exe = run(Graph((*ins,), (dot(ew.cast(ew.cast(x, "float16"), "float32"), w),)), values(ins, n=3), lent)
    (product, _), = products(exe, n=3)
    assert (product.dtype, product.tf32) == ("float32", False)


# ------------------------------------------------------------------ the switch, the log, what a library refuses
def test_short_sums_of_rounded_operands_are_exact_as_tf32(lent, monkeypatch):
    """Where writing them as narrow numbers is not worth its way."""
    monkeypatch.setattr(library_match, "LONG", 100)
    x, w = ins = inputs((n, 4), (4, 5))
    exe = run(mixed(Graph((*ins,), (dot(ew.tanh(x), ew.tanh(w)),)), "bfloat16"), values(ins, n=3), lent, tol=1e-6)
    (product, around), = products(exe, n=3)
    assert (product.dtype, product.tf32, around) == ("float32", True, 0)


@pytest.mark.skipif(not SIMULATED, reason="knows how the simulator's library rounds")
def test_tf32_only_where_it_is_asked_for(lent):
    x, w = ins = inputs((n, 4), (4, 5))
    arrays, graph = values(ins, n=3), Graph((*ins,), (dot(x, w),))
    exact, = GpuExecutable(run_passes(graph), {}, lent)(arrays)
    exe = GpuExecutable(run_passes(graph), {}, lent, tf32=True)
    rough, = exe(arrays)
    assert products(exe, n=3)[0][0].tf32
    assert 1e-6 < np.abs(rough - exact).max() < 1e-2


@pytest.mark.skipif(not SIMULATED or PTX, reason="looks at what the simulator's library was asked for")
@pytest.mark.parametrize("on", [False, True])
def test_the_setting_tf32_holds_for_models(on, on_device, monkeypatch):
    asked = NumpyLibrary(on_device.view)
    monkeypatch.setattr(on_device, "libraries", {Product: asked})
    before = config.get("tf32")
    config.put("tf32", on)
    try:
        Sequential([Dense(3, input_shape=(4,))]).predict(np.ones((2, 4), "f"))
    finally:
        config.put("tf32", before)
    assert {p.tf32 for p in asked.asked} == {on}


@pytest.mark.skipif(not SIMULATED, reason="the simulator's library can be told to refuse")
def test_what_the_library_refuses_is_graphks_and_told(lent, monkeypatch):
    said = []
    monkeypatch.setattr(library, "WATCHERS", [said.append])
    x, w, b = ins = inputs((n, 4), (4, 5), (5,))
    graph = Graph((*ins,), (layer(x, w, b),))
    run(graph, values(ins, n=3), lent)
    name = lent.libraries[Product].name
    assert said == [f"dot_add_relu: {name}: 3x4 by 4x5 float32 + bias + relu"]

    def refuse(product, at):
        raise library.Refused("not today")
    monkeypatch.setattr(lent.libraries[Product], "ask", refuse)
    run(graph, values(ins, n=3), lent)
    assert said[-2:] == [f"dot_add_relu: by itself: {name} refused 3x4 by 4x5 float32 + bias + relu: not today",
                         f"dot_add_relu: graphk's kernel: {name} refused 3x4 by 4x5 float32: not today"]


@pytest.mark.skipif(not SIMULATED, reason="reads the simulator's books")
def test_a_product_reads_and_writes_inside_its_memory():
    from graphk.runtime.library import Places
    from graphk.runtime.library_sim import compute
    p = Product(2, 2, 2, 1, "float32", Matrix(2, 1), Matrix(2, 1), Matrix(2, 1))
    memory = {1: np.ones(4, "f"), 2: np.ones(4, "f"), 3: np.zeros(4, "f"), 4: np.zeros(3, "f")}
    compute(lambda at, dtype: memory[at], p, Places(1, 2, 3))
    assert memory[3].tolist() == [2, 2, 2, 2]
    with pytest.raises(IndexError, match="of 2x2 reaches beyond its memory"):
        compute(lambda at, dtype: memory[at], p, Places(1, 2, 4))
    with pytest.raises(IndexError):
        compute(lambda at, dtype: memory[at], dataclasses.replace(p, k=3), Places(1, 2, 3))
