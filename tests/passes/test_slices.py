"""Slices move before products: what is thrown away is not computed.  The oracle is the interpreter."""
import numpy as np
import pytest

from graphk.ir.dims import sym
from graphk.ir.interp import run_graph
from graphk.ir.node import Graph, origin_of
from graphk.ir.ops.contract import dot
from graphk.ir.ops.elementwise import add, mul, relu
from graphk.ir.ops.leaves import new_input
from graphk.ir.ops.shape import slice_axis, slice_op
from graphk.ir.ops.window import windows
from graphk.ir.types import TensorType
from graphk.passes.pipeline import run_passes
from graphk.passes.slices import slices
from graphk.runtime.compile import Executable

n = sym("n")


def leaf(*shape):
    return new_input(TensorType("float32", shape))


def products(graph):
    return [node.shape for node in graph.nodes() if node.op.name == "dot"]


def agree(graph, **dims):
    """The pass, and the whole pipeline, give what the graph gives; the graph after the pass."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal([dims.get(str(d), d) for d in i.shape]).astype("f") for i in graph.inputs]
    after, want = slices(graph), run_graph(graph, arrays)
    for found in (run_graph(after, arrays), Executable(run_passes(graph), {})(arrays)):
        for a, b in zip(found, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    return after


def test_through_elementwise_operations_to_the_rows_of_a_product():
    x, w, b, r = leaf(n, 6, 8, 5), leaf(5, 4), leaf(4), leaf(n, 6, 1, 4)
    y = relu(add(add(dot(x, w), b), r))
    cut = slice_op(y, starts=(0, 1, 7, 0), sizes=(n, 2, 4, 4), steps=(1, 2, -2, 1))
    after = agree(Graph((x, w, b, r), (cut,)), n=3)
    assert products(after) == [(n, 2, 4, 4)]
    assert {node.shape for node in after.nodes() if node.op.name == "slice"} == {(n, 2, 4, 5), (n, 2, 1, 4)}
    new, = (node for node in after.nodes() if node.op.name == "dot")
    assert origin_of(new).rule == "slices" and origin_of(new).line == origin_of(y).line


def test_through_a_chain_of_products():
    x, v, w = leaf(n, 7, 5), leaf(5, 6), leaf(6, 4)
    after = agree(Graph((x, v, w), (slice_axis(dot(relu(dot(x, v)), w), 1, 6, 1),)), n=2)
    assert products(after) == [(n, 1, 6), (n, 1, 4)]


def test_a_batched_product_of_computed_operands():
    x, y = leaf(2, n, 7, 5), leaf(2, n, 5, 3)
    batched = dot(x, y, contract=((3,), (2,)), batch=((0, 1), (0, 1)))
    after = agree(Graph((x, y), (slice_axis(batched, 2, 1, 2),)), n=3)
    assert products(after) == [(2, n, 2, 3)]


X, W = leaf(n, 6, 5), leaf(5, 4)
PRODUCT = dot(X, W)
SEEN = windows(leaf(n, 8, 5), axes=(1,), sizes=(3,))


@pytest.mark.parametrize("outputs", [
    (slice_axis(PRODUCT, 1, 0, 2), PRODUCT),                                    # a result
    (slice_axis(relu(PRODUCT), 1, 0, 2), mul(PRODUCT, 2.0)),                    # read whole by others
    (slice_axis(PRODUCT, 2, 0, 2),),                                            # columns
    (slice_axis(PRODUCT, 1, 5, 6, -1),),                                        # nothing is thrown away
    (slice_axis(relu(X), 1, 0, 2),),                                            # no product
    (slice_axis(dot(SEEN, leaf(3, 5, 4), contract=((2, 3), (0, 1))), 1, 0, 2),),
], ids=["result", "read", "columns", "turned", "elementwise", "windows"])
def test_what_stays(outputs):
    inputs = tuple(i for i in Graph((), outputs).nodes() if i.op.name == "input")
    graph = Graph(inputs, outputs)
    assert slices(graph) is graph
    agree(graph, n=2)
