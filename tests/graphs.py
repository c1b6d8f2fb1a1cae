"""Random graphs for tests: seeded, finite-valued, with a symbolic batch dim.

In: a seed.  Out: a Graph and an array for each of its inputs.  What always holds: equal seeds give equal
graphs; values stay within a few hundred, so that float32 results can be compared; no op that jumps
(floor, round) is applied to computed values, so rounding differences do not grow.
"""
from __future__ import annotations

from typing import Callable

import numpy as np

from graphk.ir.dims import sym
from graphk.ir.node import Graph, Node
from graphk.ir.opdef import const
from graphk.ir.ops import elementwise as ew, nn, reduce, shape
from graphk.ir.ops.contract import dot
from graphk.ir.ops.leaves import new_input
from graphk.ir.types import TensorType

Step = Callable[[np.random.Generator, list[Node]], "Node | None"]
UNARY = (ew.tanh, ew.sigmoid, ew.neg, ew.abs, ew.relu, ew.softplus, ew.sin, ew.erf)
BINARY = (ew.add, ew.sub, ew.max, ew.min)


def random_graph(seed: int, batch: int | None = None, steps: int = 16) -> tuple[Graph, list[np.ndarray]]:
    """A graph of about `steps` ops over inputs whose first axis is the symbol `n`, and arrays to run it on."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([1, 2, 5, 8])) if batch is None else batch
    shapes = [(sym("n"), 4), (sym("n"), 3), (sym("n"), 2, 3), (4, 3)]
    inputs = [new_input(TensorType("float32", s), f"x{i}") for i, s in enumerate(shapes)]
    arrays = [rng.uniform(-2, 2, [d if isinstance(d, int) else n for d in s]).astype("float32") for s in shapes]
    pool: list[Node] = list(inputs)
    while len(pool) < len(inputs) + steps:
        made = STEPS[rng.integers(len(STEPS))](rng, pool)
        if made is not None and made.ndim <= 4:
            pool.append(made)
    outputs = [pool[-1], *(pool[i] for i in rng.choice(np.arange(len(inputs), len(pool) - 1), 2, replace=False))]
    return Graph(tuple(inputs), tuple(outputs), name=f"random_{seed}"), arrays


def _pick(rng: np.random.Generator, pool: list[Node], want: Callable[[Node], bool] = lambda n: True) -> Node | None:
    """A node that fits, later ones more often (deeper graphs)."""
    fit = [n for n in pool if want(n)]
    return fit[max(int(rng.integers(len(fit))), int(rng.integers(len(fit))))] if fit else None


def _fixed_axes(node: Node) -> list[int]:
    return [i for i, d in enumerate(node.shape) if isinstance(d, int)]


def _unary(rng: np.random.Generator, pool: list[Node]) -> Node | None:
    return UNARY[rng.integers(len(UNARY))](_pick(rng, pool))


def _partner(rng: np.random.Generator, pool: list[Node], x: Node) -> Node | None:
    def fits(y: Node) -> bool:
        pairs = zip(x.shape[::-1], y.shape[::-1])
        return all(a == b or a == 1 or b == 1 for a, b in pairs)
    return _pick(rng, pool, fits)


def _binary(rng: np.random.Generator, pool: list[Node]) -> Node | None:
    x = _pick(rng, pool)
    y = _partner(rng, pool, x)
    return None if y is None else BINARY[rng.integers(len(BINARY))](x, y)


def _product(rng: np.random.Generator, pool: list[Node]) -> Node | None:
    x = _pick(rng, pool)
    y = _partner(rng, pool, x)
    return None if y is None else ew.mul(x, ew.sigmoid(y))


def _scaled(rng: np.random.Generator, pool: list[Node]) -> Node | None:
    return ew.add(ew.mul(_pick(rng, pool), float(rng.choice([0.5, -1.0, 1.0, 0.0]))), float(rng.choice([0.0, 1.0])))


def _select(rng: np.random.Generator, pool: list[Node]) -> Node | None:
    x = _pick(rng, pool)
    y = _partner(rng, pool, x)
    return None if y is None else ew.select(ew.lt(x, 0.1), y, ew.tanh(x))


def _reduce(rng: np.random.Generator, pool: list[Node]) -> Node | None:
    x = _pick(rng, pool, lambda n: bool(_fixed_axes(n)))
    if x is None:
        return None
    fn = (reduce.mean, reduce.max_, reduce.min_, reduce.sum_)[rng.integers(4)]
    out = fn(x, axes=int(rng.choice(_fixed_axes(x))), keepdims=bool(rng.integers(2)))
    return ew.tanh(out) if fn is reduce.sum_ else out


def _batch_mean(rng: np.random.Generator, pool: list[Node]) -> Node | None:
    x = _pick(rng, pool, lambda n: n.ndim > 0)
    return None if x is None else ew.sub(x, reduce.mean(x, axes=0, keepdims=True))


def _move(rng: np.random.Generator, pool: list[Node]) -> Node | None:
    x = _pick(rng, pool, lambda n: n.ndim >= 2)
    if x is None:
        return None
    if rng.integers(2):
        return shape.transpose(x, perm=tuple(int(p) for p in rng.permutation(x.ndim)))
    return shape.reshape(x, shape=(*x.shape[:-2], x.shape[-2] * x.shape[-1]))


def _cut(rng: np.random.Generator, pool: list[Node]) -> Node | None:
    x = _pick(rng, pool, lambda n: any(n.shape[i] >= 2 for i in _fixed_axes(n)))
    if x is None:
        return None
    axis = int(rng.choice([i for i in _fixed_axes(x) if x.shape[i] >= 2]))
    kind, extent = rng.integers(4), x.shape[axis]
    if kind == 0:
        return shape.slice_axis(x, axis, 1, extent - 1)
    if kind == 1:
        return shape.slice_axis(x, axis, extent - 1, extent, -1)
    if kind == 2:
        return shape.concat(x, ew.neg(x), axis=axis)
    ones = [int(i == axis) for i in range(x.ndim)]
    return shape.pad(x, ones, ones)


def _spread(rng: np.random.Generator, pool: list[Node]) -> Node | None:
    x = _pick(rng, pool, lambda n: n.ndim <= 2)
    return None if x is None else shape.broadcast_to(x, (2, *x.shape))


def _dot(rng: np.random.Generator, pool: list[Node]) -> Node | None:
    x = _pick(rng, pool, lambda n: n.ndim >= 2 and isinstance(n.shape[-1], int))
    if x is None:
        return None
    k = x.shape[-1]
    w = _pick(rng, pool, lambda n: n.ndim == 2 and n.shape[0] == k)
    if w is None or rng.integers(2):
        w = const(rng.uniform(-1, 1, (k, int(rng.integers(1, 6)))).astype("float32"))
    return ew.mul(dot(x, w), 1.0 / max(k, 1))


def _softmax(rng: np.random.Generator, pool: list[Node]) -> Node | None:
    x = _pick(rng, pool, lambda n: n.ndim > 0 and isinstance(n.shape[-1], int))
    return None if x is None else (nn.softmax, nn.log_softmax)[rng.integers(2)](x)


def _table(rng: np.random.Generator, pool: list[Node]) -> Node | None:
    x = _pick(rng, pool, lambda n: n.ndim >= 1 and isinstance(n.shape[0], int) and n.shape[0] >= 1)
    return None if x is None else shape.gather(x, const(rng.integers(0, x.shape[0], (3,)).astype("int32")))


STEPS: tuple[Step, ...] = (_unary, _unary, _binary, _binary, _product, _scaled, _select, _reduce, _reduce, _batch_mean,
                           _move, _cut, _spread, _dot, _dot, _softmax, _table)
