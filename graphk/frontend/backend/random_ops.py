"""Random tensors: drawn anew at each call, the same for the same seeds whatever the thread count.

In: shapes and parameters.  Out: tensors.  What always holds: numbers are a pure function of the op's
seed and of a step counter, which each call of a function that draws numbers advances; the counter of
an op begins at 0, so that ops of equal seeds draw the same, whatever ran before they were made;
an op without a seed takes one from numpy's global generator, so `np.random.seed` makes a model, and
the same model made again, repeatable; ops inside a loop's body draw anew at each step.
"""
from __future__ import annotations

import weakref
from contextlib import contextmanager
from typing import Any, Iterable, Iterator

import numpy as np

from graphk.frontend import seeds
from graphk.frontend.backend.common import computed_dtype, floatx
from graphk.frontend.tensor import Tensor, Variable, as_shape, variable_of
from graphk.ir.dims import Dim
from graphk.ir.node import Node
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops import random as rnd
from graphk.ir.ops import shape as sh

_step: Variable | None = None
_counters: "weakref.WeakSet[Node]" = weakref.WeakSet()
_draws: "weakref.WeakKeyDictionary[Tensor, int]" = weakref.WeakKeyDictionary()     # how often K.eval drew from it
_inner: list[Node] = []                # what ops inside loop bodies read instead
APART = 0x9E3779B1                     # 2^32 over the golden ratio: counters of a call's steps do not meet later calls'


def random_step() -> Variable:
    """The uint32 counter of calls that random ops made now read: it still stands at 0."""
    global _step
    if _step is None or _step.array.any():
        _step = Variable(np.zeros((), np.uint32), name="random_step", trainable=False)
        _counters.add(_step.node)
    return _step


def step_node() -> Node:
    """What a random op made now reads: the counter, or inside a loop's body the counter of its step."""
    return _inner[-1] if _inner else random_step().node


def in_a_loop() -> bool:
    """Whether what is built now is a step of a loop."""
    return bool(_inner)


@contextmanager
def inside_loop(stand_in: Node) -> Iterator[None]:
    """Random ops made inside read `stand_in`."""
    _inner.append(stand_in)
    try:
        yield
    finally:
        _inner.pop()


def loop_steps(length: Dim) -> Node:
    """One counter for each step of a loop; multiplied once more, so that steps i, j of nested loops are not j, i."""
    apart = ew.mul(ew.cast(sh.iota(length, "int64"), "uint32"), np.uint32(APART))
    return ew.mul(ew.add(apart, step_node()), np.uint32(0x85EBCA6B))


def counters_among(nodes: Iterable[Node]) -> list[Variable]:
    """The counters that `nodes` read."""
    return [variable_of(n) for n in nodes if n in _counters]


def reset_step() -> None:
    """Ops made from now on begin to count anew."""
    global _step
    _step = None
    _draws.clear()


def next_draw(x: Tensor, nodes: Iterable[Node]) -> dict[Node, np.ndarray]:
    """The counters among `nodes` for the next evaluation of `x` alone: first what a call of a function would read."""
    counters = counters_among(nodes)
    times = _draws.get(x, 0)
    if counters:
        _draws[x] = times + 1
    return {c.node: np.asarray((int(c.array) + times * 0x85EBCA6B) & 0xFFFFFFFF, np.uint32) for c in counters}


def _kind(dtype: Any) -> str:
    return computed_dtype(dtype or floatx(), "a random tensor")


def _seed(seed: int | None) -> int:
    return seeds.drawn(2 ** 31 - 1) if seed is None else int(seed)


def random_uniform(shape: Any, minval: Any = 0.0, maxval: Any = 1.0, dtype: str | None = None,
                   seed: int | None = None) -> Tensor:
    """Uniform numbers in [minval, maxval), whole ones for an integer dtype; the limits may be tensors.

    >>> K.random_uniform((2, 3), -1., 1., seed=1).shape
    (2, 3)
    """
    dtype = _kind(dtype)
    whole = not dtype.startswith("float")
    u = Tensor(rnd.uniform01(step_node(), _seed(seed), as_shape(shape), "float64" if whole else dtype))
    out = u * (maxval - minval) + minval
    return Tensor(ew.cast(ew.floor(out.node), dtype)) if whole else out


def random_normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: str | None = None,
                  seed: int | None = None) -> Tensor:
    """Normal numbers of mean `mean` and standard deviation `stddev`.

    >>> bool(abs(K.eval(K.mean(K.random_normal((1000,), mean=5., seed=1))) - 5.) < 0.2)
    True
    """
    z = rnd.normal_op(step_node(), seed=_seed(seed) & 0xFFFFFFFF, shape=as_shape(shape), dtype=_kind(dtype))
    return Tensor(z) * stddev + mean


def random_binomial(shape: Any, p: Any = 0.0, dtype: str | None = None, seed: int | None = None) -> Tensor:
    """1 with probability `p`, else 0.

    >>> sorted(set(K.eval(K.random_binomial((100,), p=.5, seed=1)).tolist()))
    [0.0, 1.0]
    """
    return Tensor(bernoulli(as_shape(shape), p, _kind(dtype), seed))


def bernoulli(shape: Any, p: Any, dtype: str, seed: int | None) -> Node:
    """A node of zeros and ones."""
    p = ew.cast(p.node, "float32") if isinstance(p, Tensor) else float(p)
    return rnd.bernoulli(step_node(), _seed(seed), shape, p, dtype)


def truncated_normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: str | None = None,
                     seed: int | None = None) -> Tensor:
    """Normal numbers within two standard deviations of the mean, from the inverse of the distribution
    function (Acklam's rational approximation of the normal quantile, error below 1.2e-9).

    >>> bool(K.eval(K.max(K.abs(K.truncated_normal((1000,), seed=1)))) <= 2.)
    True
    """
    dtype = _kind(dtype)
    fine = "float32" if dtype == "float16" else dtype             # a probability near 1 has too few places in float16
    u = rnd.uniform(step_node(), _seed(seed), as_shape(shape), 0.022750131948179195, 0.9772498680518208, fine)
    return Tensor(ew.cast(_quantile(u), dtype)) * stddev + mean


_A = (-3.969683028665376e+01, 2.209460984245205e+02, -2.759285104469687e+02, 1.383577518672690e+02,
      -3.066479806614716e+01, 2.506628277459239e+00)
_B = (-5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02, 6.680131188771972e+01,
      -1.328068155288572e+01, 1.0)
_C = (-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00, -2.549732539343734e+00,
      4.374664141464968e+00, 2.938163982698783e+00)
_D = (7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00, 3.754408661907416e+00, 1.0)


def _poly(x: Node, coefficients: tuple[float, ...]) -> Node:
    out: Any = coefficients[0]
    for c in coefficients[1:]:
        out = ew.add(ew.mul(out, x), c)
    return out


def _quantile(u: Node) -> Node:
    """The normal quantile: a central rational function, and one in sqrt(-2 log) for the tails."""
    q = ew.sub(u, 0.5)
    r = ew.square(q)
    centre = ew.div(ew.mul(_poly(r, _A), q), _poly(r, _B))
    tail = ew.min(u, ew.sub(1.0, u))
    t = ew.sqrt(ew.mul(ew.log(tail), -2.0))
    low = ew.div(_poly(t, _C), _poly(t, _D))
    return ew.select(ew.ge(tail, 0.02425), centre, ew.select(ew.lt(q, 0.0), low, ew.neg(low)))


__all__ = ["random_uniform", "random_normal", "random_binomial", "truncated_normal"]
