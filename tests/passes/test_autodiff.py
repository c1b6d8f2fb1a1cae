"""Symbolic gradients: against float64 central differences where the graph branches, loops or nests."""
import numpy as np
import pytest

from graphk.ir.dims import sym
from graphk.ir.interp import run_graph
from graphk.ir.node import Graph, origin, origin_of
from graphk.ir.opdef import OpDef
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops.contract import dot
from graphk.ir.ops.control import item, phase_select, scan
from graphk.ir.ops.elementwise import add, exp, mul, sigmoid, tanh, zeros_like
from graphk.ir.ops.leaves import learning_phase, new_input
from graphk.ir.ops.nn import log_softmax, softmax
from graphk.ir.ops.reduce import mean, sum_
from graphk.ir.ops.shape import concat, gather, slice_axis
from graphk.ir.types import TensorType
from graphk.ir.verify import verify_graph
from graphk.passes.autodiff import backward, gradients
from tests.graphs import random_graph

n, t = sym("n"), sym("t")
RNG = np.random.default_rng(0)


def f64(*shape):
    return RNG.uniform(-1, 1, shape)


def leaf(*shape):
    return new_input(TensorType("float64", shape))


def check(build, arrays, shapes=None, tol=1e-7, eps=1e-6, dtype=None):
    """Every element of every float operand, by central differences of the (summed) result."""
    types = [TensorType(a.dtype.name, tuple(s)) for a, s in zip(arrays, shapes or [a.shape for a in arrays])]
    ins = tuple(new_input(x) for x in types)
    loss = sum_(build(*ins))
    wrt = [x for x in ins if x.t.is_float]
    grads = [zeros_like(x) if g is None else g for g, x in zip(gradients(loss, wrt), wrt)]
    graph, backward_graph = Graph(ins, (loss,)), Graph(ins, tuple(grads))
    verify_graph(backward_graph, "autodiff")
    got = run_graph(backward_graph, arrays)
    for g, x in zip(got, wrt):
        k = ins.index(x)
        for at in np.ndindex(*arrays[k].shape):
            up, down = (run_graph(graph, [a if i != k else _moved(a, at, e) for i, a in enumerate(arrays)])[0]
                        for e in (eps, -eps))
            want = (up - down) / (2 * eps)
            assert abs(g[at] - want) < tol * max(1, abs(want)) + 1e-8, (k, at, g[at], want)


def _moved(a, at, e):
    b = a.copy()
    b[at] += e
    return b


@pytest.mark.parametrize("build, shapes", [
    (lambda x: mul(x, x), [(3,)]), (lambda x: add(exp(x), mul(x, exp(x))), [(2, 2)]),
    (lambda x, w: softmax(dot(tanh(dot(x, w)), w)), [(2, 3), (3, 3)]),
    (lambda x, b: add(x, b), [(2, 3), (3,)]), (lambda x, b: mul(x, b), [(2, 3), (2, 1)]),
    (lambda x: mul(sum_(x), x), [(4,)]), (lambda x: mul(mean(x, axes=0, keepdims=True), x), [(3, 2)]),
    (lambda x: mul(log_softmax(x), 0.3), [(2, 4)]), (lambda x, y: mul(concat(x, y, x), 2.0), [(2, 1), (2, 2)]),
    (lambda x: ew.select(ew.gt(x, 0.0), mul(x, 3.0), exp(x)), [(5,)]),
    (lambda x: mul(gather(x, np.array([1, 1, 0], "int32")), f64(3, 2)), [(3, 2)]),
])
def test_small_graphs(build, shapes):
    consts = np.random.default_rng(3)
    check(lambda *xs: mul(build(*xs), float(consts.uniform(0.5, 1))), [f64(*s) for s in shapes])


@pytest.mark.parametrize("seed", range(25))
def test_random_graphs(seed):
    """The directional derivative of a whole random graph (float32, so with a coarse step)."""
    graph, arrays = random_graph(seed, batch=3, steps=10)
    loss = mean(ew.square(graph.outputs[0]))
    grads = [zeros_like(x) if g is None else g for g, x in zip(gradients(loss, graph.inputs), graph.inputs)]
    full = Graph(graph.inputs, (loss, *grads))
    verify_graph(full, "autodiff")
    rng = np.random.default_rng(seed)
    along = [rng.standard_normal(a.shape).astype("float32") for a in arrays]
    got = sum(float((g.astype("float64") * d).sum()) for g, d in zip(run_graph(full, arrays)[1:], along))
    slopes = []
    for eps in (2e-3, 4e-3):                       # a kink between the two points makes the slopes differ: skip
        up, down = (float(run_graph(full, [a + np.float32(s * eps) * d for a, d in zip(arrays, along)])[0])
                    for s in (1, -1))
        slopes.append((up - down) / (2 * eps))
    if abs(slopes[0] - slopes[1]) < 0.01 * max(1, abs(slopes[0])):
        assert abs(got - slopes[0]) < 0.03 * max(1, abs(slopes[0])), (got, slopes)


def test_no_path_is_none():
    x, y = leaf(3), leaf(3)
    assert gradients(sum_(exp(x)), [y]) == [None]
    assert gradients(sum_(ew.stop_gradient(x)), [x]) == [None] and gradients(ew.floor(x), [x]) == [None]


def test_seed_and_several_outputs():
    x = leaf(3)
    g = backward([mul(x, 2.0), exp(x)], [x, None], [x])[0]
    assert run_graph(Graph((x,), (g,)), [np.array([1.0, 2.0, 3.0])])[0].tolist() == [2, 4, 6]
    with_seed = gradients(mul(x, 2.0), [x], seed=mul(x, 10.0))[0]
    assert run_graph(Graph((x,), (with_seed,)), [np.ones(3)])[0].tolist() == [20] * 3


def test_gradient_of_an_intermediate_node():
    x = leaf(3)
    h = tanh(x)
    g = gradients(sum_(mul(h, h)), [h])[0]
    np.testing.assert_allclose(run_graph(Graph((x,), (g,)), [np.ones(3)])[0], 2 * np.tanh(np.ones(3)))


def test_second_derivatives():
    x = leaf(4)
    first = gradients(sum_(mul(x, mul(x, x))), [x])[0]
    second = gradients(sum_(first), [x])[0]
    at = f64(4)
    np.testing.assert_allclose(run_graph(Graph((x,), (first, second)), [at]), [3 * at**2, 6 * at], rtol=1e-12)


def test_phase_chooses_the_branch_of_the_gradient():
    x = leaf(3)
    g = gradients(phase_select(learning_phase(), mul(x, 2.0), mul(x, 5.0)), [x])[0]
    assert [run_graph(Graph((x,), (g,)), [np.ones(3)], phase=p)[0][0] for p in (0, 1)] == [5, 2]


def test_gradient_nodes_belong_to_their_layer():
    x = leaf(3)
    with origin(layer="dense_7", line="net.py:3"):
        y = exp(x)
    g = gradients(sum_(mul(y, 1.25)), [x])[0]
    assert origin_of(g).layer == "dense_7" and origin_of(g).line == "net.py:3"


def test_an_op_without_a_rule_is_an_error():
    x = leaf(3)
    op = OpDef("unruly", "elementwise", lambda a: a, lambda a: a)
    with pytest.raises(NotImplementedError, match="the op `unruly` has no gradient"):
        gradients(op(x), [x])


def test_deep_graphs_need_no_recursion():
    x = y = leaf(2)
    for _ in range(3000):
        y = mul(y, 0.999)
    g = gradients(y, [x])[0]
    np.testing.assert_allclose(run_graph(Graph((x,), (g,)), [np.ones(2)])[0], 0.999**3000, rtol=1e-5)


# ------------------------------------------------------------------ scan
T, B, D, H = 4, 2, 3, 3


def rnn_body(extra=lambda h, x: ()):
    h, x, w, u = leaf(n, H), leaf(n, D), leaf(D, H), leaf(H, H)
    new = tanh(add(dot(x, w), dot(h, u)))
    return Graph((h, x, w, u), (new, mul(new, new), *extra(new, x)), name="rnn")


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("use", ["carry", "outputs", "both"])
def test_scan(reverse, use):
    def build(x, h0, w, u):
        last, ys = scan(rnn_body(), [h0], [x], [w, u], reverse=reverse)
        return {"carry": mul(last, 3.0), "outputs": mul(ys, ys), "both": add(mul(last, 3.0), mul(ys, 0.5))}[use]
    check(build, [f64(T, B, D), f64(B, H), f64(D, H), f64(H, H)], [(t, n, D), (n, H), (D, H), (H, H)])


def test_scan_of_no_steps():
    def build(x, h0, w, u):
        last, ys = scan(rnn_body(), [h0], [x], [w, u])
        return add(sum_(mul(last, 3.0)), sum_(ys))
    check(build, [f64(0, B, D), f64(B, H), f64(D, H), f64(H, H)], [(t, n, D), (n, H), (D, H), (H, H)])


def test_shared_constants_accumulate():
    """One weight used outside the loop, twice inside it, and by a second loop."""
    def build(x, h0, w):
        h, s, a, b = leaf(n, H), leaf(n, H), leaf(H, H), leaf(H, H)
        body = Graph((h, s, a, b), (tanh(add(dot(s, a), dot(h, b))),), name="shared")
        one = scan(body, [h0], [x], [w, w])[0]
        two = scan(body, [one], [x], [w, mul(w, 0.5)], reverse=True)[0]
        return dot(mul(two, 2.0), w)
    check(build, [f64(T, B, H), f64(B, H), f64(H, H)], [(t, n, H), (n, H), (H, H)])


def test_unused_results_and_operands():
    """An output nobody reads, a constant the body ignores, an integer sequence and an integer carry."""
    def build(x, h0, w, u, idx):
        h, k, s, i, a, b = leaf(n, H), new_input(TensorType("int32", ())), leaf(n, D), new_input(
            TensorType("int32", ())), leaf(D, H), leaf(H, H)
        new = mul(tanh(add(dot(s, a), h)), ew.cast(add(k, i), "float64"))
        body = Graph((h, k, s, i, a, b), (new, add(k, i), exp(new), mul(s, 2.0)), name="mixed")
        start = ew.cast(sum_(mul(idx, 0)), "int32")
        last, _, _, ys = scan(body, [h0, start], [x, idx], [w, u])
        return add(mul(sum_(ys), 0.5), sum_(mul(last, last)))
    check(build, [f64(T, B, D), f64(B, H), f64(D, H), f64(H, H), np.array([1, 0, 1, 2], "int32")],
          [(t, n, D), (n, H), (D, H), (H, H), (t,)])


def test_carries_that_pass_through_or_swap():
    def build(x, a0, b0):
        a, b, s = leaf(n, H), leaf(n, H), leaf(n, H)
        body = Graph((a, b, s), (b, mul(a, s), a), name="swap")
        last_a, last_b, ys = scan(body, [a0, b0], [x])
        return add(mul(last_a, last_b), slice_axis(ys, 0, 1, 1))
    check(build, [f64(T, B, H), f64(B, H), f64(B, H)], [(t, n, H), (n, H), (n, H)])


def nested_body():
    """One outer step runs an inner loop over the columns of its slice."""
    h, x, w = leaf(n), leaf(D, n), leaf(n)
    c, s, k = leaf(n), leaf(n), leaf(n)
    inner = Graph((c, s, k), (sigmoid(add(mul(c, k), s)),), name="inner")
    last = scan(inner, [h], [x], [w])[0]
    return Graph((h, x, w), (last, exp(last)), name="outer")


@pytest.mark.parametrize("reverse", [False, True])
def test_nested_scans(reverse):
    def build(x, h0, w):
        last, ys = scan(nested_body(), [h0], [x], [w], reverse=reverse)
        return add(mul(last, last), mul(ys, 0.5))
    check(build, [f64(T, D, B), f64(B), f64(B)], [(t, D, n), (n,), (n,)])


def test_second_derivative_through_a_scan():
    def build(x, h0):
        h, s = leaf(n), leaf(n)
        last = scan(Graph((h, s), (tanh(mul(h, s)),), name="b"), [h0], [x])[0]
        return mul(gradients(sum_(last), [h0])[0], x)
    check(build, [f64(3, B), f64(B)], [(3, n), (n,)], tol=1e-6)


def test_scan_results_are_taken_with_item():
    last, ys = scan(rnn_body(), [leaf(n, H)], [leaf(t, n, D)], [leaf(D, H), leaf(H, H)])
    assert last is item(last.inputs[0], 0) and str(ys.type) == "f64[t,n,3]"
