"""What one library's call does for another step: relu's bits, sums of columns; and gelu in a product.

On the simulated GPU the library is numpy's, or calls of a cuBLASLt in Python; on a real one it is the vendor's.
"""
import math

import numpy as np
import pytest

from graphk.frontend import backend as K
from graphk.ir.node import Graph
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops.contract import dot
from graphk.ir.ops.reduce import sum_
from graphk.layers import Dense
from graphk.models import Sequential
from graphk.passes.autodiff import gradients
from graphk.passes.pipeline import Result, run_passes
from graphk.runtime import library, library_match
from graphk.runtime.gpu import GpuExecutable
from graphk.runtime.library import Product
from graphk.runtime.library_joins import Chosen
from tests.codegen.cuda_models import MODELS, train_step
from tests.gpu.conftest import SIMULATED
from tests.gpu.test_libraries import inputs, lent, n, products, run, values  # noqa: F401  (lent: a fixture)

RELU_BITS, RELU_SLOPE, SUMS, GELU_BIAS, GELU_KEPT, GELU_SLOPE = 134, 136, 256, 36, 164, 192


def tanh_gelu(x):
    inner = ew.mul(ew.add(x, ew.mul(ew.mul(ew.mul(x, x), x), 0.044715)), math.sqrt(2 / math.pi))
    return ew.mul(ew.mul(x, 0.5), ew.add(ew.tanh(inner), 1.0))


def asked(exe, **env):
    return [f for f in exe.calls.plan(env).found.values() if isinstance(f, Chosen)]


def network(monkeypatch, lent, activation, widths=(6, 5), batch=3, optimizer="sgd"):  # noqa: F811
    """A step of a network of dense layers, compared with the interpreter's; the executable, and its calls."""
    def build():
        return Sequential([*(Dense(w, activation=activation, input_shape=(4,)) for w in widths),
                           Dense(3, activation="softmax")])
    monkeypatch.setitem(MODELS, "network", (build, (4,), optimizer))
    graph, arrays, state = train_step("network", batch)
    exe = run(graph, arrays, lent, state)
    return exe, asked(exe, **exe.dims_of(arrays))


# ------------------------------------------------------------------ relu
@pytest.mark.parametrize("widths", [(6, 5), (130, 257), (128, 2, 7)])
def test_relus_gradient_reads_bits_that_the_layer_before_wrote(widths, lent, monkeypatch):  # noqa: F811
    _, calls = network(monkeypatch, lent, "relu", widths)
    products = [c.match.ask for c in calls]
    written = [p for p in products if p.activation == "relu" and p.aux is not None and not p.slope]
    read = [p for p in products if p.slope]
    assert len(written) == len(read) == len(widths)
    assert sorted(p.n for p in written) == sorted(p.n for p in read) and all(p.aux.row % 128 == 0 for p in products
                                                                            if p.aux is not None)
    places = [c.aux for c in calls if c.match.ask.aux is not None and not c.match.ask.slope]
    assert len(set(places)) == len(places), "memory of its own for each layer"
    if not SIMULATED or not hasattr(lent.libraries[Product], "functions"):
        return
    ran = lent.libraries[Product].functions.epilogues
    assert ran.count(RELU_BITS) == ran.count(RELU_SLOPE) == len(read) and SUMS in ran


@pytest.mark.skipif(not SIMULATED, reason="the library in Python can be told to refuse")
@pytest.mark.parametrize("epilogue", [RELU_BITS, RELU_SLOPE, SUMS])
def test_a_library_that_cannot_share_is_asked_for_the_product_alone(epilogue, lent, monkeypatch):  # noqa: F811
    if not hasattr(lent.libraries[Product], "functions"):
        pytest.skip("numpy's model refuses nothing")
    said = []
    monkeypatch.setattr(library, "WATCHERS", [said.append])
    fake = lent.libraries[Product].functions
    fake.unknown = (epilogue,)
    exe, calls = network(monkeypatch, lent, "relu")
    assert epilogue not in fake.epilogues and fake.epilogues
    assert any(": by itself: cuBLASLt refused" in line for line in said)
    assert not any("graphk's kernel" in line for line in said)
    bits, sums = (any(x >= 0 for x in places) for places in ([c.aux for c in calls], [c.totals for c in calls]))
    assert (bits, sums) == ((True, False) if epilogue == SUMS else (False, True))
    lines = exe.calls.lines({"n": 3})
    assert len(lines) == len(calls)


def test_bits_are_not_taken_for_an_array_that_was_not_the_layers_result(lent):  # noqa: F811
    """The gradient of relu at another array of the same shape: a kernel behind the product."""
    x, w, g, v, other = ins = inputs((3, 4), (4, 5), (3, 6), (5, 6), (3, 5))
    y = ew.relu(dot(x, w))
    slope = ew.select(ew.gt(other, 0.0), dot(g, v, contract=((1,), (1,))), 0.0)
    exe = run(Graph(tuple(ins), (y, slope)), values(ins), lent)
    assert not any(c.match.ask.slope or c.match.ask.aux is not None for c in asked(exe))
    assert [found[1] for found in products(exe)].count(1) == 1


def test_bits_of_a_layer_that_two_read(lent):  # noqa: F811
    x, w, g, h, v = ins = inputs((3, 4), (4, 5), (3, 6), (3, 6), (5, 6))
    y = ew.relu(dot(x, w))
    slopes = [ew.select(ew.gt(y, 0.0), dot(d, v, contract=((1,), (1,))), 0.0) for d in (g, h)]
    exe = run(Graph(tuple(ins), (ew.exp(y), *slopes)), values(ins), lent)
    calls = asked(exe)
    assert [c.match.ask.slope for c in calls].count(True) in (0, 2)


def test_a_gradient_above_0_has_no_bits_of_its_own(lent):  # noqa: F811
    """A product that read bits writes none: what is kept where its results are above 0 reads these."""
    x, w, v, u = ins = inputs((3, 4), (4, 5), (5, 6), (5, 6))
    y = ew.relu(dot(x, w))
    first = ew.select(ew.gt(y, 0.0), dot(dot(y, v), u, contract=((1,), (1,))), 0.0)
    second = ew.select(ew.gt(first, 0.0), dot(dot(first, u), v, contract=((1,), (1,))), 0.0)
    exe = run(Graph(tuple(ins), (y, first, second)), values(ins), lent)
    assert [c.match.ask.slope for c in asked(exe)].count(True) == 1


# ------------------------------------------------------------------ sums of columns
def test_a_bias_gradient_is_summed_by_the_product_that_reads_it(lent):  # noqa: F811
    x, g = ins = inputs((7, 4), (7, 5))
    graph = Graph(tuple(ins), (dot(x, g, contract=((0,), (0,))), ew.mul(sum_(g, (0,)), 3.0)))
    exe = run(graph, values(ins), lent)
    call, = asked(exe)
    assert call.match.ask.totals and call.follow is not None
    assert exe.calls.lines({})[0].endswith(f"+ columns' sums, for {call.follow[0].kernel.label}")


@pytest.mark.parametrize("shape", [(3, 1), (5,), (3, 5)])
def test_what_an_outer_loop_reads_for_sums_is_known_inside(shape, lent):  # noqa: F811
    x, g, v = ins = inputs((7, 4), (7, 3, 5), shape)
    graph = Graph(tuple(ins), (dot(x, g, contract=((0,), (0,))), ew.mul(sum_(g, (0,)), v)))
    call, = asked(run(graph, values(ins), lent))
    assert call.match.ask.totals


def test_sums_that_wait_for_others_are_not_the_products(lent):  # noqa: F811
    """What the sums are multiplied by is computed of the product: behind it, and before them."""
    x, g = ins = inputs((7, 4), (7, 5))
    d = dot(x, g, contract=((0,), (0,)))
    exe = run(Graph(tuple(ins), (d, ew.mul(sum_(g, (0,)), sum_(ew.tanh(d))))), values(ins), lent)
    assert not any(c.totals >= 0 for c in asked(exe))


@pytest.mark.parametrize("case", ["rows", "squares", "other", "left", "float64"])
def test_other_sums_are_not_the_products(case, lent):  # noqa: F811
    x, g, h = ins = inputs((5, 5), (5, 5), (5, 5), dtype="float64" if case == "float64" else "float32")
    summed = {"rows": lambda: sum_(g, (1,)), "squares": lambda: sum_(ew.square(g), (0,)),
              "other": lambda: sum_(h, (0,)), "left": lambda: sum_(x, (0,)), "float64": lambda: sum_(g, (0,))}[case]()
    exe = run(Graph(tuple(ins), (dot(x, g, contract=((0,), (0,))), summed)), values(ins), lent)
    assert not any(c.totals >= 0 for c in asked(exe))


@pytest.mark.parametrize("seed", range(8 if SIMULATED else 40))
def test_random_networks(seed, lent, monkeypatch):  # noqa: F811
    """Widths from 1 to 140, one to four layers, activations of each kind."""
    rng = np.random.default_rng(seed)
    widths = tuple(int(rng.choice([1, 2, 5, 8, 16, 127, 128, 129, 140])) for _ in range(rng.integers(1, 5)))
    kind = ["relu", "tanh", "relu", lambda x: .5 * x * (1 + K.tanh(.7978845608 * (x + .044715 * x ** 3)))][seed % 4]
    network(monkeypatch, lent, kind, widths, int(rng.integers(1, 6)), ["sgd", "adam"][seed % 2])


# ------------------------------------------------------------------ gelu
WAYS = {
    "as published": tanh_gelu,
    "with a power": lambda x: ew.mul(ew.mul(x, ew.add(ew.tanh(ew.mul(ew.add(ew.mul(ew.pow(x, 3.0), 0.044715), x),
                                                                     math.sqrt(2 / math.pi))), 1.0)), 0.5),
    "by a sigmoid": lambda x: ew.mul(x, ew.sigmoid(ew.mul(ew.add(x, ew.mul(ew.mul(x, ew.mul(x, x)), 0.044715)),
                                                          2 * math.sqrt(2 / math.pi)))),
}
OTHERS = {
    "exact": lambda x: ew.mul(ew.mul(x, 0.5), ew.add(ew.erf(ew.mul(x, math.sqrt(0.5))), 1.0)),
    "by a short sigmoid": lambda x: ew.mul(x, ew.sigmoid(ew.mul(x, 1.702))),
    "another constant": lambda x: ew.mul(ew.mul(x, 0.5), ew.add(ew.tanh(ew.mul(ew.add(x, ew.mul(ew.mul(ew.mul(
        x, x), x), 0.0448)), math.sqrt(2 / math.pi))), 1.0)),
    "only up to a bound": lambda x: ew.min(tanh_gelu(x), 6.0),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("way", [*WAYS, *OTHERS])
def test_gelu_however_it_is_written(way, bias, lent):  # noqa: F811
    x, w, b = ins = inputs((n, 4), (4, 5), (5,))
    y = dot(x, w)
    exe = run(Graph(tuple(ins), ({**WAYS, **OTHERS}[way](ew.add(y, b) if bias else y),)), values(ins, n=3), lent)
    (product, around), = products(exe, n=3)
    assert (product.activation, product.bias, around) == (("gelu", bias, 0) if way in WAYS else ("", False, 1))


@pytest.mark.parametrize("width", [8, 5])
def test_training_with_gelu(width, lent, monkeypatch):  # noqa: F811
    """The layer keeps what gelu is taken of, in rows of a multiple of 8 numbers.  Its gradient, which is planned to
    overwrite that, is a kernel behind the product: no library says that it may be written over."""
    said = []
    monkeypatch.setattr(library, "WATCHERS", [said.append])

    def gelu(x):
        return 0.5 * x * (1 + K.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * K.pow(x, 3))))
    _, calls = network(monkeypatch, lent, gelu, (width, width))
    found = [(c.match.ask.activation, c.match.ask.aux is not None) for c in calls]
    assert found.count(("gelu", True)) == (2 if width == 8 else 0)
    refused = [line for line in said if line.endswith("the result overwrites what the slope is taken at")]
    assert len(refused) == (2 if width == 8 else 0)


def test_gelus_slope_by_itself(lent):  # noqa: F811
    x, g, w = ins = inputs((3, 8), (3, 5), (8, 5))
    y = tanh_gelu(x)
    into = dot(g, w, contract=((1,), (1,)))
    grad, = gradients(sum_(ew.mul(y, into)), [x])
    exe = run(Graph(tuple(ins), (grad,)), values(ins), lent)
    assert [(c.match.ask.activation, c.match.ask.slope) for c in asked(exe)] == [("gelu", True)]


@pytest.mark.skipif(not SIMULATED, reason="reads the simulator's books")
@pytest.mark.parametrize("between, shared", [
    ("y", False),                                     # y is written again: the bits are of what it was
    ("elsewhere", False),                             # another part of the same array is read than was written
    ("z", True)])
def test_bits_are_of_the_last_who_wrote(between, shared, monkeypatch):
    from graphk.ir.parse_loop import parse_program
    from graphk.runtime.device_sim import SimDevice
    from graphk.runtime.library_sim import NumpyLibrary
    monkeypatch.setattr(library_match, "LONG", 1)
    further, between = ("+5", "z") if between == "elsewhere" else ("", between)
    text = f"""
program main() arena 384 {{
  buffer %x: f32[3,4] input 0
  buffer %w: f32[4,5] input 1
  buffer %y: f32[4,5] arena+0
  buffer %z: f32[4,5] arena+128
  buffer %g: f32[3,5] output 0
  kernel dot_relu(p0: f32 in, p1: f32 in, p2: f32 out; s0, s1, s2) schedule tile(i0, i1, i2) {{
    for i0 in s0 {{
      for i1 in s1 {{
        acc r0: f32 = add
        for i2 in s2 {{
          t0 = p0[i0*s2+i2]
          t1 = p1[i2*s1+i1]
          r0 <- mul(t0, t1)
        }}
        t2 = max(r0, 0.0:f32)
        p2[i0*s1+i1] = t2
      }}
    }}
  }}
  kernel other(p0: f32 out; ) schedule serial() {{
    for i in 20 {{
      p0[i] = 1.0:f32
    }}
  }}
  kernel slope(p0: f32 in, p1: f32 in, p2: f32 in, p3: f32 out; s0, s1, s2) schedule tile(i0, i1, i2) {{
    for i0 in s0 {{
      for i1 in s1 {{
        acc r0: f32 = add
        for i2 in s2 {{
          t0 = p0[i0*s2+i2]
          t1 = p1[i2*s1+i1]
          r0 <- mul(t0, t1)
        }}
        t2 = p2[i0*s1+i1{further}]
        t3 = gt(t2, 0.0:f32)
        t4 = select(t3, r0, 0.0:f32)
        p3[i0*s1+i1] = t4
      }}
    }}
  }}
  step dot_relu(%x, %w, %y; 3, 5, 4)
  barrier;
  step other(%{between}; )
  barrier;
  step slope(%x, %w, %y, %g; 3, 5, 4)
}}
"""
    result = Result(parse_program(text))
    arrays = [np.random.default_rng(i).standard_normal((3, 4) if i == 0 else (4, 5)).astype("f") for i in range(2)]
    want, = GpuExecutable(result, {}, SimDevice())(arrays)
    device = SimDevice()
    device.libraries = {Product: NumpyLibrary(device.view)}
    exe = GpuExecutable(result, {}, device)
    got, = exe(arrays)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    assert any(c.match.ask.slope for c in asked(exe)) == shared


def test_models_from_the_outside(lent):  # noqa: F811
    """An executable that is run at several batch sizes keeps each one's own places."""
    x, w, g, v = ins = inputs((n, 4), (4, 130), (n, 6), (130, 6))
    y = ew.relu(dot(x, w))
    graph = Graph(tuple(ins), (dot(y, v), ew.select(ew.gt(y, 0.0), dot(g, v, contract=((1,), (1,))), 0.0)))
    exe = GpuExecutable(run_passes(graph), {}, lent)
    for rows in (3, 9, 1, 3):
        arrays = values(ins, seed=rows, n=rows)
        _, slope = exe(arrays)
        want = np.where(arrays[0] @ arrays[1] > 0, arrays[2] @ arrays[3].T, 0)
        np.testing.assert_allclose(slope, want, rtol=1e-4, atol=1e-4)
