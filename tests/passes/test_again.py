"""Values that several kernels or loops compute: they are the same in all, and what they are made of is in memory.

In: graphs whose values are read by several loops.  Out: the interpreter's numbers from compiled kernels.
"""
import numpy as np
import pytest

from graphk.ir.dims import sym
from graphk.ir.effects import may_overwrite, root_of
from graphk.ir.interp import run_full
from graphk.ir.node import Graph
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops.contract import dot
from graphk.ir.ops.leaves import new_input
from graphk.ir.ops.reduce import max_, sum_
from graphk.ir.ops.window import windows
from graphk.ir.program import flat_steps
from graphk.ir.text import parse_program
from graphk.ir.types import TensorType
from graphk.passes.autodiff import gradients
from graphk.passes.domain import analyze
from graphk.passes.pipeline import run_passes
from graphk.runtime.compile import compile_graph

n = sym("n")


def inputs(*shapes):
    return [new_input(TensorType("float32", s), f"x{i}") for i, s in enumerate(shapes)]


def close(graph, rows):
    rng = np.random.default_rng(rows)
    arrays = [rng.standard_normal([rows if d == n else d for d in i.shape]).astype("f") for i in graph.inputs]
    want, _ = run_full(graph, arrays, {}, 1)
    for got, expected in zip(compile_graph(graph, {}, 1)(arrays), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernels", ["one", "several"])
def test_the_largest_is_found_where_it_was_read(kernels):
    """`x*a + b` is one rounding or two; a gradient goes to the place that equals the maximum."""
    x, a, b = ins = inputs((n, 64), (64,), (64,))
    scaled = ew.mul(x, a)
    largest = max_(ew.add(scaled, b), axes=(1,), keepdims=True)
    if kernels == "one":
        loss = ew.add(sum_(largest), sum_(ew.sin(scaled)))
    else:
        loss = sum_(ew.exp(ew.sub(largest, max_(largest, axes=(0,), keepdims=True))))
    g, = gradients(loss, [x])
    close(Graph(tuple(ins), (g, ew.mul(g, ew.sin(scaled)))), 50)


def test_the_smallest_in_a_kernel_that_others_join():
    """What is read by the comparison's kernel and by another: uniting them brings the comparison into one."""
    x, a, b, c = ins = inputs((n, 64), (64,), (64,), (64,))
    scaled = ew.mul(x, a)
    y = ew.mul(ew.add(scaled, b), c)
    low = ew.neg(max_(ew.neg(y), axes=(1,), keepdims=True))
    where = ew.cast(ew.eq(y, low), "float32")
    spread = ew.div(where, sum_(where, (1,), True))
    close(Graph(tuple(ins), (ew.mul(spread, ew.cos(scaled)), ew.mul(spread, ew.sin(y)))), 40)


def test_windows_that_each_reader_makes_are_in_no_memory():
    """Two kernels read windows; what is computed of them is stored, since no third one could read them."""
    x, = ins = inputs((n, 6))
    w = windows(x, axes=(1,), sizes=(2,))
    y = ew.relu(ew.add(w, 1.0))
    outs = [ew.mul(y, sum_(y)), sum_(ew.exp(w), axes=(0,))]
    close(Graph(tuple(ins), tuple(outs)), 5)


@pytest.mark.parametrize("inner, place, may", [("s1", "i0", False), ("1", "i0", True), ("s1", "i0*s1+i1", True)])
def test_what_a_loop_still_reads_is_not_written_over(inner, place, may):
    """A row's number is stored in each trip of the inner loop: the second would read what the first one wrote."""
    program = parse_program(f"""
program p() arena 256 {{
  buffer %x: f32[15] input 0
  buffer %a: f32[15] arena+0
  buffer %b: f32[15] arena+128
  kernel k(p0: f32 in, p1: f32 out; s0, s1) schedule map(i0, i1) {{
    for i0 in s0 {{
      for i1 in {inner} {{
        t0 = p0[{place}]
        t1 = tanh(t0)
        p1[{place}] = t1
      }}
    }}
  }}
  step k(%a, %b; 3, 5)
}}
""")
    assert may_overwrite(program.steps[0], "a", "b", root_of(program)) == may


def test_a_products_kernel_stores_whole_results_alone():
    """A number for each row would be stored again for each result."""
    x, v, row = inputs((4, 6), (6, 3), (4, 1))
    product, few = dot(x, v), ew.neg(row)
    y = ew.add(product, few)
    assert not analyze([y, few]).unwritten(few)
    assert "contraction" in analyze([y, few, product]).unwritten(few)


@pytest.mark.parametrize("op, arrays", [(ew.tanh, 2), (ew.floor, 3)])
def test_what_jumps_is_stored(op, arrays):
    """The last bit of a product must not decide in one kernel for 2 and in another for 3."""
    x, w, v = ins = inputs((n, 4), (4, 5), (5, 6))
    z = dot(x, w)
    t = op(z)
    back = dot(dot(ew.mul(z, t), v), v, contract=((1,), (1,)))
    graph = Graph(tuple(ins), (ew.mul(back, ew.mul(z, ew.square(t))),))
    first, *_ = flat_steps(run_passes(graph).program.steps)
    assert sum(p.role == "out" for p in first.kernel.params) == arrays
    close(graph, 7)
