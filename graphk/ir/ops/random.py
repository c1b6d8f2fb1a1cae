"""Random numbers from a counter: the same bits on any target, for any number of threads.

In: `step`, a scalar uint32 node that counts calls (a variable updated by each call), and a seed
attribute that is unique to the op.  Out: tensors of random numbers.  What always holds: element i is
a pure function of (seed, step, i), so a kernel may recompute it instead of storing it.

The generator is Philox2x32 with 7 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
SC 2011): counter (i, step), key = seed.
"""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphk.ir.dims import Shape
from graphk.ir.node import Node
from graphk.ir.opdef import OpDef, ZERO_GRAD, composite, register
from graphk.ir.ops.elementwise import add, cast, cos, log, lt, mul, sqrt, sub
from graphk.ir.types import NARROW, TensorType

ROUNDS, MULTIPLIER, WEYL = 7, 0xD256D193, 0x9E3779B9


def philox2x32(lo: np.ndarray, hi: np.ndarray, key: int) -> np.ndarray:
    """The first output word of Philox2x32-7 for uint32 counters."""
    lo, hi = lo.astype(np.uint64), hi.astype(np.uint64)
    mask = np.uint64(0xFFFFFFFF)
    for r in range(ROUNDS):
        prod = lo * np.uint64(MULTIPLIER)
        k = np.uint64((key + r * WEYL) & 0xFFFFFFFF)
        lo, hi = (prod >> np.uint64(32)) ^ k ^ hi, prod & mask
    return lo.astype(np.uint32)


def _uniform_ref(step: np.ndarray, seed: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    n = math.prod(shape)
    bits = philox2x32(np.arange(n, dtype=np.uint32), np.full(n, step, np.uint32), seed)
    wide = np.dtype(NARROW.get(dtype, dtype))                    # a word is more than a narrow type holds
    return ((bits >> np.uint32(8)).astype(wide) * wide.type(2.0 ** -24)).astype(dtype).reshape(shape)


def _uniform_scalar(s: Any, index: Any, step: Any, seed: int, dtype: str) -> Any:
    bits = s.philox2x32(index, step, s.lit(seed, "uint32"))
    return s.cast(s.u01(bits), dtype)


def _uniform_infer(step: TensorType, seed: int, shape: Shape, dtype: str) -> TensorType:
    if step != TensorType("uint32", ()):
        raise TypeError(f"random numbers are drawn at a step that is a uint32 scalar, received {step}; cast it")
    return TensorType(dtype, shape)


uniform01_op: OpDef = register(OpDef(
    "uniform01", "random", _uniform_infer, _uniform_ref, ZERO_GRAD,
    scalar=_uniform_scalar, doc="Uniform numbers in [0, 1) with 24 random bits.",
    samples=lambda rng: [([np.array(3, np.uint32)], {"seed": 7, "shape": (5, 9), "dtype": "float32"})]))


def uniform01(step: Node, seed: int, shape: Shape, dtype: str = "float32") -> Node:
    """Uniform in [0, 1)."""
    return uniform01_op(step, seed=int(seed) & 0xFFFFFFFF, shape=tuple(shape), dtype=dtype)


def uniform(step: Node, seed: int, shape: Shape, low: float = 0.0, high: float = 1.0, dtype: str = "float32") -> Node:
    """Uniform in [low, high)."""
    return add(mul(uniform01(step, seed, shape, dtype), high - low), low)


def _second_seed(seed: int) -> int:
    return (seed * 0x9E3779B1 + 0x7F4A7C15) & 0xFFFFFFFF


def _normal(step: Node, seed: int, shape: Shape, dtype: str) -> Node:
    u1 = sub(1.0, uniform01(step, seed, shape, dtype))           # in (0, 1]: its logarithm is finite
    u2 = uniform01(step, _second_seed(seed), shape, dtype)
    return mul(sqrt(mul(log(u1), -2.0)), cos(mul(u2, 2 * math.pi)))


def _normal_ref(step: np.ndarray, seed: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    wide = NARROW.get(dtype, dtype)
    u1, u2 = (_uniform_ref(step, s, shape, wide).astype("float64") for s in (seed, _second_seed(seed)))
    return (np.sqrt(-2 * np.log(1 - u1)) * np.cos(2 * np.pi * u2)).astype(dtype)


normal_op: OpDef = composite("normal", _normal, ref=_normal_ref, doc="Standard normal numbers (Box and Muller, 1958).",
                      samples=lambda rng: [([np.array(3, np.uint32)], {"seed": 7, "shape": (5, 9),
                                                                       "dtype": "float32"})])
bernoulli_op: OpDef = composite(
    "bernoulli", lambda step, p, seed, shape, dtype: cast(lt(uniform01(step, seed, shape, "float32"), p), dtype),
    ref=lambda step, p, seed, shape, dtype: (_uniform_ref(step, seed, shape, "float32") < p).astype(dtype),
    doc="1 with probability p (a scalar node), else 0.",
    samples=lambda rng: [([np.array(3, np.uint32), np.array(0.3, "float32")],
                          {"seed": 7, "shape": (5, 9), "dtype": "float32"})])


def normal(step: Node, seed: int, shape: Shape, mean: float = 0.0, stddev: float = 1.0,
           dtype: str = "float32") -> Node:
    """Normal numbers."""
    z = normal_op(step, seed=int(seed) & 0xFFFFFFFF, shape=tuple(shape), dtype=dtype)
    return add(mul(z, stddev), mean)


def bernoulli(step: Node, seed: int, shape: Shape, p: Any, dtype: str = "float32") -> Node:
    """1 with probability p, else 0."""
    from graphk.ir.opdef import as_node
    return bernoulli_op(step, as_node(p, "float32"), seed=int(seed) & 0xFFFFFFFF, shape=tuple(shape), dtype=dtype)
