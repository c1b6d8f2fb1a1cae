"""Narrow types: computed in wide ones, rounded or wrapped where they should be; compiled code and interpreter agree."""
import numpy as np
import pytest

from graphk.ir.interp import run_full
from graphk.ir.node import Graph
from graphk.ir.ops.contract import dot
from graphk.ir.ops.control import scan
from graphk.ir.ops.elementwise import add, cast, exp, mul, sub
from graphk.ir.ops.leaves import new_input, new_variable
from graphk.ir.ops.reduce import mean, sum_
from graphk.ir.ops.shape import iota
from graphk.ir.text import parse_graph, print_graph
from graphk.ir.types import NARROW, TensorType
from graphk.ir.verify import VerifyError, no_narrow, verify_graph
from graphk.passes.pipeline import run_passes
from graphk.passes.widen import widen
from graphk.runtime.compile import compile_graph

RNG = np.random.default_rng(0)
INTS = ("int8", "uint8", "int16", "uint16")


def inp(dtype, *shape):
    return new_input(TensorType(dtype, shape), "x")


def run(graph, arrays, variables=()):
    variables = dict(variables)
    return compile_graph(graph, variables)(arrays)


def drawn(dtype, *shape):
    return RNG.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


def test_only_edges_stay_narrow():
    x = inp("float16", 4, 3)
    graph = Graph((x,), (exp(mul(x, 2.0)), x, cast(mean(x), "float64")))
    with pytest.raises(VerifyError, match="computes float16; it must be widened by now"):
        verify_graph(graph, "widen", [no_narrow])
    out = widen(graph)
    verify_graph(out, "widen", [no_narrow])
    assert [o.dtype for o in out.outputs] == ["float16", "float16", "float64"] and out.outputs[1] is x
    assert print_graph(widen(out)) == print_graph(out)
    assert print_graph(parse_graph(print_graph(out, origins=False)), origins=False) == print_graph(out, origins=False)
    plain = Graph((inp("float32", 2),), ())
    assert widen(plain) is plain


@pytest.mark.parametrize("dtype", INTS)
def test_integers_wrap_around(dtype):
    x, y = inp(dtype, 5, 7), inp(dtype, 7)
    a, b = drawn(dtype, 5, 7), drawn(dtype, 7)
    outs = (add(x, y), sub(x, y), mul(mul(x, y), x), sum_(x, axes=1), cast(add(x, y), "float32"), dot(x, y))
    got = run(Graph((x, y), outs), [a, b])
    with np.errstate(over="ignore"):
        want = [a + b, a - b, a * b * a, a.sum(1, dtype=dtype), (a + b).astype("f"), a @ b]
    for g, w in zip(got, want):
        assert g.dtype == w.dtype
        np.testing.assert_array_equal(g, w)


@pytest.mark.parametrize("dtype", INTS)
def test_casts_to_integers(dtype):
    x = inp("float32", 9)
    info = np.iinfo(dtype)
    a = np.array([0, 1.9, -1.9, 300, -300, 1e9, -1e9, np.nan, 7], "f")
    want = np.clip(np.nan_to_num(np.trunc(a)), info.min, info.max).astype(dtype)
    np.testing.assert_array_equal(run(Graph((x,), (cast(x, dtype),)), [a])[0], want)


def test_float16_is_rounded_at_the_end_and_where_the_user_casts():
    x = inp("float16", 3)
    y = inp("float32", 3)
    a = np.array([1, 1000, 60000], "float16")
    b = np.array([1 + 2**-12, 0.1, 70000], "float32")
    got = run(Graph((x, y), (sub(add(x, 2.0 ** -12), 1.0), mul(cast(cast(y, "float16"), "float32"), 1.0),
                             mul(mul(x, 2.0), 0.5))), [a, b])
    assert got[0][0] == np.float16(2.0 ** -12)             # not lost in a sum of halves
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(got[1], b.astype("float16").astype("f"))
    np.testing.assert_array_equal(got[2], a)               # no infinity on the way


def test_variables_are_narrow_in_memory():
    w = new_variable(TensorType("float16", (3, 4)), "w")
    x = inp("float16", 5, 3)
    a, value = RNG.normal(size=(5, 3)).astype("float16"), RNG.normal(size=(3, 4)).astype("float16")
    graph = Graph((x,), (dot(x, w),), ((w, sub(w, mul(w, 0.25))),))
    want, updates = run_full(graph, [a], {w: value.copy()}, 0)
    held = value.copy()
    got = run(graph, [a], {w: held})
    np.testing.assert_allclose(got[0].astype("f"), want[0].astype("f"), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(held.astype("f"), updates[w].astype("f"), rtol=1e-3)
    assert held.dtype == np.float16 and not np.array_equal(held, value)


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_scans(dtype):
    h0, xs, h, x = inp(dtype, 4), inp(dtype, 6, 4), inp(dtype, 4), inp(dtype, 4)
    last, stack = scan(Graph((h, x), (add(h, x), mul(h, x))), [h0], [xs])
    a = [RNG.integers(-9, 9, s).astype(dtype) for s in ((4,), (6, 4))]
    got = run(Graph((h0, xs), (last, stack)), a)
    want = run_full(Graph((h0, xs), (last, stack)), a, {}, 0)[0]
    for g, w in zip(got, want):
        assert g.dtype == w.dtype
        np.testing.assert_array_equal(g, w)


def test_generated_values():
    got = run(Graph((), (cast(iota(300, "uint8"), "int32"), iota(5, "float16"))), [])
    np.testing.assert_array_equal(got[0], np.arange(300) % 256)
    np.testing.assert_array_equal(got[1], np.arange(5, dtype="float16"))


def test_every_narrow_type_has_a_wide_one_that_holds_its_values():
    for narrow, wide in NARROW.items():
        assert np.can_cast(narrow, wide)
        assert run_passes(Graph((x := inp(narrow, 2),), (add(x, x),))).program.buffers
