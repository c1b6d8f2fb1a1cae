"""Random graphs of everything at once, compiled against the interpreter.

In: seeds.  What always holds: a graph has two symbolic extents (0 among their values), inputs of floats, integers and
bools, scans, updates of variables, and gradients; one executable runs it twice at each of several sizes, each time
after its own updates; equal seeds give equal graphs; values stay small, and nothing that jumps (a comparison, a cast
to integers) is applied to computed floats, so that rounding does not grow.
"""
from __future__ import annotations

from typing import Callable

import numpy as np
import pytest

from graphk.ir.dims import Dim, sym
from graphk.ir.interp import run_full
from graphk.ir.node import Graph, Node
from graphk.ir.opdef import const
from graphk.ir.ops import elementwise as ew, nn, reduce, shape
from graphk.ir.ops.contract import dot
from graphk.ir.ops.control import scan
from graphk.ir.ops.leaves import new_input, new_variable
from graphk.ir.text import parse_graph, print_graph
from graphk.ir.types import TensorType
from graphk.passes.autodiff import gradients
from graphk.runtime.compile import compile_graph
from tests.programs import values_for

SIZES = ((3, 2), (1, 5), (0, 3), (4, 0), (3, 2))
n, m = sym("n"), sym("m")
TYPES: tuple[tuple[str, tuple[Dim, ...]], ...] = (
    ("float32", (n, 4)), ("float32", (m, n, 3)), ("float32", (4, 3)), ("float32", (n, m)), ("float32", ()),
    ("float64", (m, 2)), ("int32", (n, 4)), ("int32", (m,)), ("int64", (3,)), ("bool", (n, 4)))


class NoneFits(Exception):
    """No node that a step could take; another step is tried."""


class Maker:
    """A pool of nodes that grows by random steps."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.inputs = [new_input(TensorType(d, s), f"x{i}") for i, (d, s) in enumerate(TYPES)]
        self.variables = [new_variable(TensorType("float32", s), f"v{i}") for i, s in enumerate([(4, 3), (4, 3), (4,)])]
        self.pool: list[Node] = [*self.inputs, *self.variables]

    def flip(self, k: int = 2) -> int:
        return int(self.rng.integers(k))

    def pick(self, want: Callable[[Node], bool] = lambda x: True) -> Node:
        """A node that fits, later ones more often."""
        fit = [x for x in self.pool if want(x)]
        if not fit:
            raise NoneFits
        return fit[max(self.flip(len(fit)), self.flip(len(fit)))]

    def real(self, want: Callable[[Node], bool] = lambda x: True) -> Node:
        return self.pick(lambda x: x.t.is_float and want(x))

    def partner(self, x: Node) -> Node:
        """A node of the same dtype that broadcasts with `x`."""
        return self.pick(lambda y: y.dtype == x.dtype and all(
            a == b or a == 1 or b == 1 for a, b in zip(x.shape[::-1], y.shape[::-1])))

    def axis(self, x: Node, want: Callable[[Dim], bool] = lambda d: True) -> int:
        fit = [i for i, d in enumerate(x.shape) if want(d)]
        if not fit:
            raise NoneFits
        return fit[self.flip(len(fit))]

    def graph(self, steps: int, name: str) -> Graph:
        while len(self.pool) < len(self.inputs) + len(self.variables) + steps:
            try:
                made = STEPS[self.flip(len(STEPS))](self)
            except NoneFits:
                continue
            self.pool += [x for x in ([made] if isinstance(made, Node) else made) if x.ndim <= 4]
        made = self.pool[len(self.inputs) + len(self.variables):]
        outs = [made[-1], *(made[self.flip(len(made))] for _ in range(3))]
        loss = [x for x in outs if x.t.is_float]
        if loss and self.flip():
            grads = gradients(reduce.sum_(ew.tanh(loss[0])), [*self.inputs[:6], *self.variables])
            outs += [ew.tanh(g) for g in grads if g is not None][:2]
        updates = [(v, x) for v in self.variables for x in [self.new_value(v)] if x is not None]
        return Graph(tuple(self.inputs), tuple(outs), tuple(updates), name)

    def new_value(self, v: Node) -> Node | None:
        fit = [x for x in self.pool if x.t == v.t and x is not v]
        return fit[self.flip(len(fit))] if fit and self.flip(4) else None


# ------------------------------------------------------------------ steps
def unary(k: Maker) -> Node:
    return (ew.tanh, ew.sigmoid, ew.neg, ew.abs, ew.relu, ew.softplus, ew.sin, ew.square)[k.flip(8)](
        ew.tanh(k.real()))


def binary(k: Maker) -> Node:
    x = k.pick(lambda x: x.dtype != "bool")
    y = k.partner(x)
    f = (ew.add, ew.sub, ew.max, ew.min, ew.mul)[k.flip(5)]
    if f is ew.mul and x.t.is_float:
        y = ew.tanh(y)
    return f(x, y) if x.t.is_float else ew.mod(f(x, y), 97)


def integer(k: Maker) -> Node:
    x = k.pick(lambda x: x.dtype.startswith("int"))
    return [lambda: ew.floordiv(x, int(k.rng.choice([-3, 2, 5]))), lambda: ew.mod(x, int(k.rng.choice([-3, 2, 5]))),
            lambda: ew.cast(x, "float32"), lambda: ew.cast(x, "int32"), lambda: ew.neg(x),
            lambda: ew.cast(x, "bool")][k.flip(6)]()


def logic(k: Maker) -> Node:
    x = k.pick(lambda x: x.dtype == "bool")
    y = k.partner(x)
    return (ew.logical_and, ew.logical_or, ew.eq, ew.ne, lambda a, b: ew.logical_not(a))[k.flip(5)](x, y)


def compare(k: Maker) -> Node:
    x = k.pick(lambda x: x.dtype.startswith("int"))
    return (ew.lt, ew.ge, ew.eq)[k.flip(3)](x, k.partner(x))


def select(k: Maker) -> Node:
    c = k.pick(lambda x: x.dtype == "bool")
    x = k.pick(lambda y: all(a == b or a == 1 or b == 1 for a, b in zip(c.shape[::-1], y.shape[::-1])))
    return ew.select(c, x, const(0, x.dtype) if x.dtype != "bool" else const(True))


def reduced(k: Maker) -> Node:
    x = k.pick(lambda x: x.ndim > 0)
    axes = tuple(i for i in range(x.ndim) if k.flip()) or (k.flip(x.ndim),)
    keep = bool(k.flip())
    if x.dtype == "bool":
        return (reduce.any_, reduce.all_)[k.flip()](x, axes=axes, keepdims=keep)
    if not x.t.is_float:
        return ew.mod((reduce.sum_, reduce.max_, reduce.min_)[k.flip(3)](x, axes=axes, keepdims=keep), 89)
    f = (reduce.sum_, reduce.max_, reduce.min_, reduce.mean, reduce.variance, reduce.prod)[k.flip(6)]
    return ew.tanh(f(ew.tanh(x), axes=axes, keepdims=keep))


def extreme(k: Maker) -> Node:
    x = k.pick(lambda x: x.ndim > 0 and x in k.inputs and x.dtype != "bool")
    axis = k.axis(x, lambda d: isinstance(d, int))
    return (reduce.argmax, reduce.argmin)[k.flip()](x, axis=axis)


def normal(k: Maker) -> Node:
    x = k.real(lambda x: x.ndim > 0)
    return (nn.softmax, nn.log_softmax, nn.logsumexp)[k.flip(3)](x, k.axis(x))


def centred(k: Maker) -> Node:
    x = k.real(lambda x: x.ndim > 0)
    return ew.sub(x, reduce.mean(x, axes=k.axis(x), keepdims=True))


def move(k: Maker) -> Node:
    x = k.pick(lambda x: x.ndim >= 2)
    if k.flip():
        return shape.transpose(x, perm=tuple(int(p) for p in k.rng.permutation(x.ndim)))
    i = k.flip(x.ndim - 1)
    return shape.reshape(x, (*x.shape[:i], x.shape[i] * x.shape[i + 1], *x.shape[i + 2:]))


def cut(k: Maker) -> Node:
    x = k.pick(lambda x: x.ndim > 0)
    axis = k.axis(x, lambda d: isinstance(d, int) and d >= 2)
    d = x.shape[axis]
    return [lambda: shape.slice_axis(x, axis, 1, d - 1), lambda: shape.slice_axis(x, axis, d - 1, d, -1),
            lambda: shape.slice_axis(x, axis, 0, (d + 1) // 2, 2), lambda: shape.slice_axis(x, axis, 0, 0)][k.flip(4)]()


def join(k: Maker) -> Node:
    x = k.pick(lambda x: x.ndim > 0)
    axis = k.axis(x)
    y = k.pick(lambda y: y.dtype == x.dtype and y.ndim == x.ndim and all(
        a == b for i, (a, b) in enumerate(zip(x.shape, y.shape)) if i != axis))
    if k.flip():
        return shape.concat(x, y, x, axis=axis)
    whole = shape.concat(x, y, axis=axis)
    return shape.slice_axis(whole, axis, x.shape[axis], y.shape[axis])


def padded(k: Maker) -> Node:
    x = k.pick(lambda x: 0 < x.ndim <= 3)
    return shape.pad(x, [k.flip() for _ in x.shape], [k.flip(3) for _ in x.shape])


def spread(k: Maker) -> Node:
    x = k.pick(lambda x: x.ndim <= 2)
    return shape.broadcast_to(x, ((n, m, 2)[k.flip(3)], *x.shape))


def rows(k: Maker) -> Node:
    x = k.pick(lambda x: x.ndim > 0 and isinstance(x.shape[0], int) and x.shape[0] > 0)
    i = ew.mod(ew.cast(k.pick(lambda i: i.dtype.startswith("int") and i.ndim <= 2), "int32"), x.shape[0])
    return shape.gather(x, i)


def scattered(k: Maker) -> Node:
    i = k.pick(lambda i: i.dtype.startswith("int") and i.ndim == 1)
    x = k.real(lambda x: x.ndim > 0 and x.shape[0] == i.shape[0])
    return ew.tanh(shape.scatter_add(ew.mod(i, 5), x, rows=5))


def encoded(k: Maker) -> Node:
    return nn.one_hot(k.pick(lambda i: i.dtype.startswith("int") and i.ndim <= 2), 3)


def product(k: Maker) -> Node:
    """A contraction over any axis that two nodes share, with or without a batch axis."""
    x = k.pick(lambda x: x.ndim > 0 and x.dtype != "bool")
    i = k.axis(x)
    y = k.pick(lambda y: y.dtype == x.dtype and x.shape[i] in y.shape)
    j = k.axis(y, lambda d: d == x.shape[i])
    more = [(p, q) for p in range(x.ndim) for q in range(y.ndim) if p != i and q != j and x.shape[p] == y.shape[q]]
    batch = more[k.flip(len(more))] if more and k.flip() else None
    out = dot(x, y, contract=((i,), (j,)), batch=((batch[0],), (batch[1],)) if batch else ((), ()))
    return ew.tanh(ew.mul(out, 0.25)) if x.t.is_float else ew.mod(out, 83)


def loop(k: Maker) -> list[Node]:
    """A scan over a leading axis, with a carry, a constant and, sometimes, another scan or a reduction inside."""
    xs = k.real(lambda x: 0 < x.ndim <= 3)
    init = k.real(lambda x: x.ndim == 2 and x.dtype == xs.dtype)
    c, x, w = (new_input(TensorType(xs.dtype, s)) for s in (init.shape, xs.shape[1:], ()))
    step = ew.tanh(ew.add(ew.mul(c, w), reduce.sum_(x) if x.ndim else x))
    ys = [ew.mul(x, 2.0), reduce.mean(step, axes=1), shape.transpose(step)][:1 + k.flip(3)]
    body = Graph((c, x, w), (step, *ys), name="body")
    factor = ew.cast(k.real(lambda x: x.ndim == 0), xs.dtype)
    return list(scan(body, [init], [xs], [factor], reverse=bool(k.flip())))


STEPS: tuple[Callable[[Maker], "Node | list[Node]"], ...] = (
    unary, binary, binary, integer, logic, compare, select, reduced, reduced, extreme, normal, centred, move, move, cut,
    cut, join, padded, spread, rows, scattered, encoded, product, product, product, loop)


# ------------------------------------------------------------------ the test
def wild_graph(seed: int) -> Graph:
    return Maker(seed).graph(14, f"wild_{seed}")


def check(seed: int) -> None:
    graph = wild_graph(seed)
    variables = graph.variables()
    mine = dict(zip(variables, values_for([v.t for v in variables], {}, seed)))
    theirs = {v: a.copy() for v, a in mine.items()}
    exe = compile_graph(graph, mine)
    for i, (a, b) in enumerate(SIZES):
        arrays = values_for([x.t for x in graph.inputs], {"n": a, "m": b}, seed + i)
        for _ in range(2):
            want, updates = run_full(graph, arrays, theirs)
            got = exe(arrays)
            close([*got, *(mine[v] for v in updates)], [*want, *updates.values()], f"seed {seed} at n={a}, m={b}")
            for v, new in updates.items():          # of empty means: NaN, which later steps must not meet
                theirs[v] = np.where(np.isfinite(new), new, 0).astype(new.dtype)
                mine[v][...] = theirs[v]


def close(got: list[np.ndarray], want: list[np.ndarray], note: str) -> None:
    for k, (a, b) in enumerate(zip(got, want, strict=True)):
        assert a.dtype == b.dtype and a.shape == b.shape, note
        fine = np.isfinite(b)
        np.testing.assert_allclose(a[fine], b[fine], rtol=1e-3, atol=2e-4 * max(1.0, float(np.abs(b[fine]).max(
            initial=0))), err_msg=f"{note}, value {k}")


@pytest.mark.parametrize("seed", range(40))
def test_wild_graphs(seed: int) -> None:
    check(seed)


def test_wild_graphs_depend_on_the_seed_alone_and_print() -> None:
    for seed in range(5):
        text = print_graph(wild_graph(seed), origins=False)
        assert text == print_graph(wild_graph(seed), origins=False) == print_graph(parse_graph(text), origins=False)
