"""Zeros around images become an attribute of the windows that see them.  The oracle is the interpreter."""
import numpy as np
import pytest

from graphk.ir.dims import sym
from graphk.ir.interp import run_graph
from graphk.ir.node import Graph, origin_of
from graphk.ir.ops.contract import dot
from graphk.ir.ops.control import scan
from graphk.ir.ops.elementwise import add
from graphk.ir.ops.leaves import new_input
from graphk.ir.ops.reduce import max_, sum_
from graphk.ir.ops.shape import embed, pad
from graphk.ir.ops.window import windows
from graphk.ir.text import parse_graph, print_graph
from graphk.ir.types import TensorType
from graphk.passes.autodiff import gradients
from graphk.passes.padding import padding
from graphk.passes.pipeline import run_passes
from graphk.runtime.compile import Executable

n, h = sym("n"), sym("h")


def leaf(*shape):
    return new_input(TensorType("float32", shape))


def seen(x, w, **kw):
    """x: (batch, rows, columns, channels), w: (window, channels, filters)."""
    view = windows(x, axes=(1, 2), sizes=w.shape[:2], **kw)
    return dot(view, w, contract=((3, 4, 5), (0, 1, 2)))


def agree(graph, **dims):
    """The pass, and programs with and without it, give what the graph gives; the graph after the pass."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal([dims.get(str(d), d) for d in i.shape]).astype("f") for i in graph.inputs]
    after, want = padding(graph), run_graph(graph, arrays)
    runs = [Executable(run_passes(graph, convolves=on), {})(arrays) for on in (False, True)]
    for found in (run_graph(after, arrays), *runs):
        for a, b in zip(found, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    return after


def paddings(graph):
    return [node.attr("padding", ()) for node in graph.nodes() if node.op is windows]


def embeds(graph):
    return sum(node.op is embed for node in graph.nodes())


def test_a_convolution_and_its_gradients():
    x, w = leaf(n, 5, 6, 2), leaf(3, 3, 2, 4)
    y = seen(pad(x, (0, 1, 0, 0), (0, 1, 2, 0)), w)
    after = agree(Graph((x, w), (y, *gradients(sum_(y), [w]))), n=2)
    assert paddings(after) == [((1, 1), (0, 2))] and not embeds(after)
    view, = (node for node in after.nodes() if node.op is windows)
    assert origin_of(view).rule == "padding"
    assert print_graph(parse_graph(print_graph(after)), False) == print_graph(after, False)


def test_open_extents_and_a_chain():
    x, w = leaf(n, h, 6, 2), leaf(2, 3, 2, 2)
    y = seen(pad(x, (0, 1, 1, 0), (0, h, 1, 0)), w, strides=(2, 1))
    z = seen(pad(y, (0, 0, 1, 0), (0, 1, 1, 0)), w)
    after = agree(Graph((x, w), (z,)), n=2, h=3)
    assert paddings(after) == [((1, h), (1, 1)), ((0, 1), (1, 1))] and not embeds(after)


def test_several_windows_of_one_padded_image():
    x, w, v = leaf(n, 5, 6, 2), leaf(3, 3, 2, 4), leaf(2, 2, 2, 3)
    image = pad(x, (0, 1, 1, 0), (0, 1, 1, 0))
    after = agree(Graph((x, w, v), (seen(image, w), seen(image, v, dilations=(1, 2)))), n=2)
    assert paddings(after) == [((1, 1), (1, 1))] * 2 and not embeds(after)


@pytest.mark.parametrize("kind", ["read elsewhere", "an output", "pooled", "between", "channels", "windows are stored"])
def test_zeros_that_stay_an_array(kind):
    x, w = leaf(n, 5, 6, 2), leaf(3, 3, 2 + (kind == "channels"), 4)
    if kind == "between":
        image = embed(x, starts=(0, 1, 1, 0), steps=(1, 2, 1, 1), shape=(n, 11, 8, 2))
    else:
        image = pad(x, (0, 1, 1, 0), (0, 1, 1, int(kind == "channels")))
    view = windows(image, axes=(1, 2), sizes=(3, 3))
    y = dot(view, w, contract=((3, 4, 5), (0, 1, 2)))
    outs = {"read elsewhere": (y, add(image, 1.0)), "an output": (y, image), "pooled": (y, max_(view, axes=(3, 4))),
            "windows are stored": (y, view)}.get(kind, (y,))
    after = agree(Graph((x, w), outs), n=2)
    assert paddings(after) == [()] and embeds(after) == 1


def test_inside_a_loop():
    x, w = leaf(2, 4, 4, 2), leaf(3, 3, 2, 2)
    state, weights = leaf(2, 4, 4, 2), leaf(3, 3, 2, 2)
    step = seen(pad(state, (0, 1, 1, 0), (0, 1, 1, 0)), weights)
    last, = scan(Graph((state, weights), (step,), name="step"), [x], [], [w], length=3)
    after = agree(Graph((x, w), (last,)))
    body, = (node.attr("body") for node in after.nodes() if node.op.name == "scan")
    assert paddings(body) == [((1, 1), (1, 1))] and not embeds(body)


def test_wrong_padding_is_an_error():
    with pytest.raises(ValueError, match=r"a pair \(before, after\) for each of axes \(1, 2\)"):
        windows(leaf(2, 4, 4, 2), axes=(1, 2), sizes=(3, 3), padding=((1, 1),))
