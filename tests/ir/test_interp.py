"""The interpreter: binding of shapes, variables, updates, the phase, scan, and its errors."""
import numpy as np
import pytest

from graphk.ir.dims import sym
from graphk.ir.interp import run_full, run_graph
from graphk.ir.node import Graph
from graphk.ir.opdef import const
from graphk.ir.ops.control import phase_select, scan
from graphk.ir.ops.elementwise import add, mul, stop_gradient
from graphk.ir.ops.leaves import learning_phase, new_input, new_variable
from graphk.ir.ops.shape import dim_value, gather, iota
from graphk.ir.types import TensorType

n, t = sym("n"), sym("t")
F = TensorType("float32", (n, 3))
ONES = np.ones((4, 3), "float32")


def test_updates_read_before_they_write():
    x, v, w = new_input(F), new_variable(F, "v"), new_variable(F, "w")
    g = Graph((x,), (add(v, x),), ((v, add(v, x)), (w, v)))
    start = {v: ONES, w: ONES * 5}
    outputs, new = run_full(g, [ONES], start)
    assert (outputs[0] == 2).all() and (new[v] == 2).all() and (new[w] == 1).all() and (start[v] == 1).all()


def test_phase():
    x = new_input(F)
    g = Graph((x,), (phase_select(learning_phase(), x, mul(x, 2.0)),))
    assert run_graph(g, [ONES], phase=1)[0][0, 0] == 1 and run_graph(g, [ONES], phase=0)[0][0, 0] == 2


def test_symbolic_sizes_have_values():
    x = new_input(F)
    out = run_graph(Graph((x,), (dim_value(n * 2 + 1), iota(n))), [ONES])
    assert out[0] == 9 and out[1].tolist() == [0, 1, 2, 3]


def test_outputs_do_not_alias_inputs():
    x = new_input(F)
    array = ONES.copy()
    run_graph(Graph((x,), (stop_gradient(x),)), [array])[0][:] = 7
    assert (array == 1).all()


@pytest.mark.parametrize("length, reverse", [(5, False), (5, True), (1, False), (0, False)])
def test_scan_is_a_loop(length, reverse):
    h, x = new_input(TensorType("float32", (n,))), new_input(TensorType("float32", (n,)))
    new = add(mul(h, 0.5), x)
    body = Graph((h, x), (new, mul(new, x)), name="body")
    h0, xs = new_input(TensorType("float32", (n,))), new_input(TensorType("float32", (t, n)))
    a, b = np.ones(2, "float32"), np.arange(length * 2, dtype="float32").reshape(length, 2)
    last, ys = run_graph(Graph((h0, xs), scan(body, [h0], [xs], reverse=reverse)), [a, b])
    want = np.zeros((length, 2), "float32")
    for i in range(length)[::-1 if reverse else 1]:
        a = a * np.float32(0.5) + b[i]
        want[i] = a * b[i]
    np.testing.assert_array_equal(ys, want)
    np.testing.assert_array_equal(last, a)


def test_a_scan_of_no_steps_knows_the_dims_around_it():
    h, x = new_input(TensorType("float32", (3,))), new_input(TensorType("float32", (n * 2,)))
    body = Graph((h, x), (h, mul(x, 2.0)), name="body")
    h0, xs, y = (new_input(TensorType("float32", s)) for s in ((3,), (t, n * 2), (n,)))
    _, ys = run_graph(Graph((h0, xs, y), scan(body, [h0], [xs])), [np.ones(3), np.ones((0, 4)), np.ones(2)])
    assert ys.shape == (0, 4)


def test_errors():
    x, y, v = new_input(F, "x"), new_input(F, "y"), new_variable(F, "w/k")
    g = Graph((x, y), (add(x, y),))
    with pytest.raises(ValueError, match="main takes 2 inputs, received 1"):
        run_graph(g, [ONES])
    with pytest.raises(ValueError, match=r"input `y`: received an array of shape \(2, 3\), expected \(n, 3\).*'n': 4"):
        run_graph(g, [ONES, ONES[:2]])
    with pytest.raises(KeyError, match="no value for the variable `w/k`"):
        run_graph(Graph((), (v,)), [])
    with pytest.raises(KeyError, match="not among its inputs"):
        run_graph(Graph((x,), (add(x, y),)), [ONES])
    with pytest.raises(IndexError, match="gather.*test_interp.py"):
        run_graph(Graph((x,), (gather(x, const(np.array([9], "int32"))),)), [ONES])
