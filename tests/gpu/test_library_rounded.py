"""Convolutions of operands that were rounded to 16 bits: written as such and multiplied with float32 sums.

The oracle is the interpreter, which rounds and computes float32; nothing differs but the order of sums.
"""
import numpy as np
import pytest

from graphk.ir.dims import sym
from graphk.ir.node import Graph
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops.reduce import sum_
from graphk.passes.autodiff import gradients
from graphk.passes.mixed import mixed
from graphk.runtime import library, library_match
from graphk.runtime.library import Convolution
from tests.codegen.cuda_models import MODELS, train_step
from tests.gpu.conftest import SIMULATED
from tests.gpu.test_libraries import convolution, convolving, inputs, lent, products, run, values  # noqa: F401
from tests.gpu.test_library_padding import network, same, sizes_at_random

n = sym("n")
pytestmark = pytest.mark.parametrize("dtype", ["float16", "bfloat16"])


def convolutions(exe, **env):
    return [f[0] for f in products(exe, **env) if isinstance(f, tuple) and isinstance(f[0], Convolution)]


def test_in_all_directions(dtype, convolving):  # noqa: F811
    x, w = inputs((n, 6, 7, 2), (3, 2, 2, 4))
    y = convolution(x, w, (1, 1), (1, 1))
    graph = mixed(Graph((x, w), (y, *gradients(sum_(ew.square(y)), [x, w]))), dtype)
    exe = run(graph, values([x, w], n=2), convolving, tol=2e-5)
    asked = convolutions(exe, n=2)
    assert [c.dtype for c in asked] == [dtype] * 3 and {c.result for c in asked} == {"float32"}, asked
    assert not any(c.tf32 for c in asked) and f", {dtype}" in str(asked[0])
    calls = [c for c in exe.calls.plan({"n": 2}).found.values() if isinstance(c.match.ask, Convolution)]
    assert all([p.role for p in c.match.packs] == [0, 1] for c in calls), "both operands are written"
    image = next(p for p in calls[0].match.packs if p.role == 0)
    assert image.nbytes == 2 * 6 * 7 * 2 * 2


@pytest.mark.parametrize("seed", range(12 if SIMULATED else 60))
def test_random_padded_convolutions(seed, dtype, convolving):  # noqa: F811
    rng = np.random.default_rng(seed)
    extents, window, around, (batch, channels, filters) = sizes_at_random(rng)
    x, w, b = ins = inputs((batch, *extents, channels), (*window, channels, filters), (filters,))
    y = [ew.relu, ew.tanh][seed % 2](ew.add(same(x, w, *around), b))
    graph = mixed(Graph((*ins,), (y, *gradients(sum_(ew.square(y)), [x, w]))), dtype)
    run(graph, values(ins, seed), convolving, tol=1e-2)        # what is rounded may fall to the other side


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_a_train_step(layout, dtype, convolving, monkeypatch):  # noqa: F811
    shape, build = network(layout)
    monkeypatch.setitem(MODELS, "network", (build, shape, "sgd"))
    graph, arrays, state = train_step("network", 2)
    exe = run(mixed(graph, dtype), arrays, convolving, state, tol=2e-2)
    found = convolutions(exe, **exe.dims_of(arrays))
    assert len(found) >= 6 and {c.dtype for c in found} == {dtype}, found
    assert all(c.paddings for c in found)


@pytest.mark.skipif(not SIMULATED, reason="the library in Python can be told to refuse")
@pytest.mark.parametrize("what, want", [
    ({"wide"}, ("float32", ((1, 0), (1, 1)), True)), ({"tight"}, (None, (), True)),
    ({"alone"}, (None, ((1, 0), (1, 1)), False)), ({"alone", "even"}, (None, (), False)),
    ({"wide", "alone", "even"}, ("float32", (), False))])
def test_what_the_library_refuses(what, want, dtype, convolving, monkeypatch):  # noqa: F811
    """Operands of 16 bits stay float32 only where nothing else helps; then they are exact as tf32."""
    fake = getattr(convolving.libraries[Convolution], "functions", None)
    if fake is None:
        pytest.skip("numpy's model refuses nothing")
    said = []
    monkeypatch.setattr(library, "WATCHERS", [said.append])
    for name in what:
        setattr(fake, name, True)
    x, w, b = ins = inputs((n, 5, 6, 3), (2, 3, 3, 4), (4,))
    graph = mixed(Graph((*ins,), (ew.relu(ew.add(same(x, w, (1, 1), (0, 1)), b)),)), dtype)
    exe = run(graph, values(ins, n=2), convolving, tol=2e-5)
    call, = {id(c): c for c in exe.calls.plan({"n": 2}).found.values() if not isinstance(c, str)}.values()
    ask, (kind, paddings, ends) = call.match.ask, want
    assert (ask.dtype, ask.paddings, not ask.plain) == (kind or dtype, paddings, ends)
    assert ask.tf32 == (ask.dtype == "float32") and call.nbytes <= exe.calls.scratch({"n": 2})
    assert any(": as float32: cuDNN refused " in line for line in said) == ("wide" in what)


def test_an_image_with_gaps_is_read_as_float32(dtype, convolving):  # noqa: F811
    """Every other place of a row: to write all of them would be more than the convolution reads."""
    x, w = inputs((n, 9, 9, 2), (1, 3, 2, 4))
    graph = mixed(Graph((x, w), (convolution(x, w, (2, 1), (1, 1)),)), dtype)
    exe = run(graph, values([x, w], n=2), convolving, tol=2e-5)
    ask, = convolutions(exe, n=2)
    assert (ask.dtype, ask.tf32) == ("float32", True)


def test_short_sums_stay_graphks(dtype, convolving, monkeypatch):  # noqa: F811
    monkeypatch.setattr(library_match, "LONG", 64)
    x, w = inputs((n, 5, 6, 3), (3, 3, 3, 4))
    exe = run(mixed(Graph((x, w), (same(x, w, (1, 1), (1, 1)),)), dtype), values([x, w], n=2), convolving, tol=2e-5)
    assert isinstance(products(exe, n=2)[0], str)
