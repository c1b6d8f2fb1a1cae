"""Loops and their gradients as the compiler arranges them: how many, what they save, what is left for after them."""
import numpy as np
import pytest

from graphk.ir.dims import sym
from graphk.ir.interp import run_graph
from graphk.ir.node import Graph
from graphk.ir.ops.contract import dot
from graphk.ir.ops.control import scan
from graphk.ir.ops.elementwise import add, mul, sigmoid, tanh
from graphk.ir.ops.leaves import new_input
from graphk.ir.ops.reduce import sum_
from graphk.ir.ops.shape import pad, slice_axis
from graphk.ir.ops.window import windows
from graphk.ir.program import LoopStep, flat_steps
from graphk.ir.types import TensorType
from graphk.passes.autodiff import gradients
from graphk.passes.pipeline import run_passes
from graphk.runtime.compile import Executable

F, n, t = "float32", sym("n"), sym("t")


def leaf(*shape):
    return new_input(TensorType(F, shape))


def arrays_for(graph, seed=0, **dims):
    rng = np.random.default_rng(seed)
    shapes = [[dims[str(d)] if str(d) in dims else d for d in i.shape] for i in graph.inputs]
    return [(rng.standard_normal(s) / 2).astype(F) for s in shapes]


def agree(graph, **dims):
    arrays = arrays_for(graph, **dims)
    for got, want in zip(Executable(run_passes(graph), {})(arrays), run_graph(graph, arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * max(1, np.abs(want).max(initial=0)))


def gated(units=4):
    """A step with two gates cut from one product, as recurrent layers have them; its last state, and all."""
    xs, h0, u, b = leaf(t, n, 2 * units), leaf(n, units), leaf(units, 2 * units), leaf(2 * units)
    h, x, m, c = leaf(n, units), leaf(n, 2 * units), leaf(units, 2 * units), leaf(2 * units)
    z = add(add(dot(h, m), x), c)
    new = mul(sigmoid(slice_axis(z, 1, 0, units)), tanh(slice_axis(z, 1, units, units)))
    new = add(new, mul(h, 0.5))
    last, every = scan(Graph((h, x, m, c), (new, new)), [h0], [xs], [u, b])
    return (xs, h0, u, b), last, every


def loops(program):
    return [s for s in program.steps if isinstance(s, LoopStep)]


@pytest.mark.parametrize("every_step", [False, True])
def test_one_loop_there_and_one_back(every_step):
    inputs, last, every = gated()
    loss = sum_(mul(every, every), axes=(0, 1, 2)) if every_step else sum_(mul(last, last), axes=(0, 1))
    graph = Graph(inputs, (loss, *gradients(loss, inputs)))
    program = run_passes(graph).program
    there, back = loops(program)
    assert [sum(s.kernel.schedule.kind == "tile" for s in flat_steps((loop,))) for loop in (there, back)] == [1, 1]
    assert not [s for loop in (there, back) for s in flat_steps((loop,)) if s.kernel.label == "carry"], "made in place"
    carried = {b.type.shape for b in program.buffers if b.name.startswith("carry")}
    assert carried == {(n, 4)}, "the weights' gradients are no carries"
    for steps in (5, 1, 0):
        agree(graph, n=3, t=steps)


def test_states_that_change_places_are_copied():
    """What a step writes to one state another still reads: nothing may be made in place too early."""
    a0, b0, c0 = leaf(n, 4), leaf(n, 4), leaf(n, 4)
    a, b, c = leaf(n, 4), leaf(n, 4), leaf(n, 4)
    steps = {
        "swap": (b, a, c), "rotate": (b, c, a), "mixed": (add(a, b), a, mul(b, c)), "late": (tanh(b), add(a, c), b)}
    for outputs in steps.values():
        found = scan(Graph((a, b, c), (*outputs, a, add(b, c))), [a0, b0, c0], [], length=5)
        agree(Graph((a0, b0, c0), found), n=3)


def test_a_state_that_a_product_reads_is_not_overwritten_under_it():
    h0, w = leaf(n, 4), leaf(4, 4)
    h, m = leaf(n, 4), leaf(4, 4)
    found = scan(Graph((h, m), (dot(h, m), h)), [h0], [], [w], length=6)
    agree(Graph((h0, w), found), n=5)


def test_loops_over_other_operands_stay_apart():
    inputs, last, _ = gated()
    h, x = leaf(n, 4), leaf(n, 8)
    other = scan(Graph((h, x), (add(h, slice_axis(x, 1, 0, 4)),)), [inputs[1]], [inputs[0]])[0]
    graph = Graph(inputs, (last, other))
    assert len(loops(run_passes(graph).program)) == 2
    agree(graph, n=2, t=4)


def test_equal_loops_become_one():
    """The same steps, from which two results are asked by two scans."""
    h0, xs = leaf(n, 4), leaf(t, n, 4)
    h, x = leaf(n, 4), leaf(n, 4)
    new = tanh(add(h, x))
    one = scan(Graph((h, x), (new, mul(new, 2.0))), [h0], [xs])
    two = scan(Graph((h, x), (new, mul(new, 3.0), h)), [h0], [xs])
    graph = Graph((h0, xs), (one[0], one[1], two[0], two[1], two[2]))
    assert len(loops(run_passes(graph).program)) == 1
    agree(graph, n=2, t=3)


def test_a_recurrent_convolution_saves_no_windows():
    xs, h0, w = leaf(t, n, 6, 6, 3), leaf(n, 6, 6, 3), leaf(3, 3, 3, 3)
    h, x, m = leaf(n, 6, 6, 3), leaf(n, 6, 6, 3), leaf(3, 3, 3, 3)
    seen = windows(pad(h, (0, 1, 1, 0), (0, 1, 1, 0)), axes=(1, 2), sizes=(3, 3))
    new = tanh(add(dot(seen, m, contract=((3, 4, 5), (0, 1, 2))), x))
    last = scan(Graph((h, x, m), (new,)), [h0], [xs], [w])[0]
    loss = sum_(mul(last, last), axes=(0, 1, 2, 3))
    graph = Graph((xs, h0, w), (loss, *gradients(loss, [xs, h0, w])))
    program = run_passes(graph).program
    assert len(loops(program)) == 2
    assert max(len(b.type.shape) for b in program.buffers) == 5, "images of all steps, but not their windows"
    agree(graph, n=2, t=3)


def test_a_gradient_that_is_no_contraction_is_carried():
    h0, xs, s = leaf(n, 4), leaf(t, n, 4), leaf(n, 4)
    h, x, c = leaf(n, 4), leaf(n, 4), leaf(n, 4)
    last = scan(Graph((h, x, c), (tanh(add(mul(h, c), x)),)), [h0], [xs], [s])[0]
    loss = sum_(mul(last, last), axes=(0, 1))
    graph = Graph((h0, xs, s), (loss, *gradients(loss, [h0, xs, s])))
    agree(graph, n=2, t=3)


def test_weights_that_a_step_reads_twice():
    """A sum of a contraction and of another's transpose."""
    h0, xs, w = leaf(n, 4), leaf(t, n, 4), leaf(4, 4)
    h, x, m = leaf(n, 4), leaf(n, 4), leaf(4, 4)
    new = tanh(add(dot(h, m), dot(x, m, contract=((1,), (1,)))))
    last = scan(Graph((h, x, m), (new,)), [h0], [xs], [w])[0]
    loss = sum_(mul(last, last), axes=(0, 1))
    graph = Graph((h0, xs, w), (loss, *gradients(loss, [h0, xs, w])))
    agree(graph, n=2, t=5)
