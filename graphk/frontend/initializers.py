"""First values of weights.

In: a shape and a dtype.  Out: a numpy array, or how to draw it later (`_later`).  What always holds: without a seed
the values follow from numpy's global generator at the time of the call, so `np.random.seed` makes a model
repeatable; with a seed each call gives the same values.
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Callable, Sequence

import numpy as np

from graphk.frontend import seeds
from graphk.frontend.backend.common import floatx
from graphk.frontend.utils.families import Family
from graphk.frontend.utils.generic_utils import config_of
from graphk.runtime import writes

TRUNCATED_STD = .87962566103423978      # of a standard normal cut at two standard deviations
WITHIN_TWO = .9544997361036416          # of its numbers lie there
# sqrt(2) * erfinv(u) / u as a polynomial in -log(1 - u**2) - 2.5 (Giles, 2010), good to float32 for |u| < 0.996.
INVERSE_ERF = tuple(np.float32(2 ** .5 * c) for c in (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, .00021858087, -.00125372503, -.00417768164,
    .246640727, 1.50140941))
CHUNK = 1 << 15                         # numbers that stay in cache from one step to the next
Fill = Callable[[np.ndarray], None]


def _rng(seed: Any) -> np.random.Generator:
    """A generator for `seed`; for None one that the global numpy seed determines."""
    return np.random.Generator(np.random.SFC64(seeds.drawn(10 ** 9) if seed is None else seed))


def _drawn(dtype: str) -> Any:
    """The type in which numbers for `dtype` are drawn."""
    return np.float32 if np.dtype(dtype).name in ("float16", "float32") else np.float64


class Initializer:
    """Base class: `__call__(shape, dtype=None)` returns an array."""

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(shape, dtype=None)")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Initializer":
        """An initializer from `get_config()`."""
        config = config_of(cls, config)
        config.pop("dtype", None)
        return cls(**config)


class Zeros(Initializer):
    """All 0."""

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> np.ndarray:
        return np.zeros(shape, dtype or floatx())


class Ones(Initializer):
    """All 1."""

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> np.ndarray:
        return np.ones(shape, dtype or floatx())


class Constant(Initializer):
    """All `value` (a number, or an array of the weight's shape)."""

    def __init__(self, value: Any = 0):
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> np.ndarray:
        value = np.asarray(self.value, dtype or floatx())
        if value.ndim and value.size == np.prod(shape):
            return value.reshape(shape)
        return np.broadcast_to(value, shape).copy()

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value}


class _Random(Initializer, ABC):
    """Base class of those that draw each number by itself, from a seed that is taken when they are called."""

    @abstractmethod
    def drawing(self, shape: Sequence[int], dtype: str) -> Fill:
        """What draws the numbers of a weight into its array."""

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> np.ndarray:
        out = np.empty(shape, dtype or floatx())
        self.drawing(shape, out.dtype.name)(out)
        return out


class RandomNormal(_Random):
    """Normal numbers."""

    def __init__(self, mean: float = 0., stddev: float = 0.05, seed: int | None = None):
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def drawing(self, shape: Sequence[int], dtype: str) -> Fill:
        return _fill(self.seed, _normal, _drawn(dtype), self.stddev, self.mean)

    def get_config(self) -> dict[str, Any]:
        return {"mean": self.mean, "stddev": self.stddev, "seed": self.seed}


class RandomUniform(_Random):
    """Uniform numbers in [minval, maxval)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None):
        self.minval, self.maxval, self.seed = minval, maxval, seed

    def drawing(self, shape: Sequence[int], dtype: str) -> Fill:
        return _fill(self.seed, _uniform, _drawn(dtype), self.maxval - self.minval, self.minval)

    def get_config(self) -> dict[str, Any]:
        return {"minval": self.minval, "maxval": self.maxval, "seed": self.seed}


class TruncatedNormal(RandomNormal):
    """Normal numbers within two standard deviations of the mean; others are drawn again."""

    def drawing(self, shape: Sequence[int], dtype: str) -> Fill:
        return _fill(self.seed, _truncated, np.float32, self.stddev, self.mean)


def _normal(rng: np.random.Generator, out: np.ndarray) -> None:
    rng.standard_normal(dtype=out.dtype, out=out)


def _uniform(rng: np.random.Generator, out: np.ndarray) -> None:
    rng.random(dtype=out.dtype, out=out)


def _truncated(rng: np.random.Generator, out: np.ndarray) -> None:
    """Normal numbers within two standard deviations, from uniform ones by the inverse of their distribution."""
    u = rng.bit_generator.random_raw(-(-len(out) // 2)).view(np.int32)[:len(out)].astype(np.float32)
    u *= np.float32(WITHIN_TWO / 2 ** 31)
    w = np.float32(-2.5) - np.log(1 - u * u)
    np.multiply(w, INVERSE_ERF[0], out=out)
    for c in INVERSE_ERF[1:-1]:
        out += c
        out *= w
    out += INVERSE_ERF[-1]
    out *= u


def _fill(seed: Any, draw: Callable[[np.random.Generator, np.ndarray], None], kind: Any, factor: float, offset: float
          ) -> Fill:
    """What fills an array with `draw(...) * factor + offset`, computed in the type `kind`; each time with the same
    numbers, as a call may be interrupted."""
    start = _rng(seed).bit_generator.state

    def fill(array: np.ndarray) -> None:
        rng = _rng(0)
        rng.bit_generator.state = start
        flat = array.reshape(-1)
        for at in range(0, len(flat), CHUNK):
            part = flat[at:at + CHUNK]
            z = part if part.dtype == kind else np.empty(len(part), kind)
            draw(rng, z)
            z *= kind(factor)
            z += kind(offset)
            if z is not part:
                part[...] = z
    return fill


def _later(make: Any, shape: tuple[int, ...], dtype: str) -> writes.Unwritten | None:
    """The first value that an initializer gives, to be drawn when it is read; None where it may do anything."""
    return writes.Unwritten(shape, dtype, make.drawing(shape, dtype)) if type(make) in _DRAWN else None


class VarianceScaling(_Random):
    """Numbers whose variance is scale / n, n the fan in, fan out or their mean.

    distribution 'normal' (truncated at two standard deviations) or 'uniform'.
    """

    def __init__(self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "normal", seed: int | None = None):
        if scale <= 0.:
            raise ValueError(f"`scale` must be a positive float. Got: {scale!r}")
        mode, distribution = mode.lower(), distribution.lower()
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError('Invalid `mode` argument: expected one of {"fan_in", "fan_out", "fan_avg"} but got '
                             + mode)
        if distribution not in ("normal", "uniform"):
            raise ValueError('Invalid `distribution` argument: expected one of {"normal", "uniform"} but got '
                             + distribution)
        self.scale, self.mode, self.distribution, self.seed = scale, mode, distribution, seed

    def drawing(self, shape: Sequence[int], dtype: str) -> Fill:
        fan_in, fan_out = _compute_fans(shape)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1., n)
        if self.distribution == "normal":
            return _fill(self.seed, _truncated, np.float32, np.sqrt(variance) / TRUNCATED_STD, 0.)
        limit = np.sqrt(3. * variance)
        return _fill(self.seed, _uniform, _drawn(dtype), 2 * limit, -limit)

    def get_config(self) -> dict[str, Any]:
        return {"scale": self.scale, "mode": self.mode, "distribution": self.distribution, "seed": self.seed}


class Orthogonal(Initializer):
    """A (semi-)orthogonal matrix times `gain`, from the SVD of normal numbers (Saxe et al., 2013)."""

    def __init__(self, gain: float = 1., seed: int | None = None):
        self.gain, self.seed = gain, seed

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> np.ndarray:
        flat = (int(np.prod(shape[:-1])), int(shape[-1]))
        u, _, v = np.linalg.svd(_rng(self.seed).standard_normal(flat), full_matrices=False)
        q = u if u.shape == flat else v
        return (self.gain * q.reshape(shape)).astype(dtype or floatx())

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain, "seed": self.seed}


class Identity(Initializer):
    """The identity matrix times `gain`; ValueError unless the weight is a square matrix."""

    def __init__(self, gain: float = 1.):
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> np.ndarray:
        if len(shape) != 2:
            raise ValueError("Identity matrix initializer can only be used for 2D matrices.")
        return (self.gain * np.eye(shape[0], shape[1])).astype(dtype or floatx())

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain}


def _scaled(name: str, scale: float, mode: str, distribution: str) -> Any:
    def make(seed: int | None = None) -> VarianceScaling:
        return VarianceScaling(scale, mode, distribution, seed)
    make.__name__ = name
    make.__doc__ = f"VarianceScaling(scale={scale}, mode='{mode}', distribution='{distribution}')."
    return make


lecun_uniform = _scaled("lecun_uniform", 1., "fan_in", "uniform")
lecun_normal = _scaled("lecun_normal", 1., "fan_in", "normal")
glorot_uniform = _scaled("glorot_uniform", 1., "fan_avg", "uniform")
glorot_normal = _scaled("glorot_normal", 1., "fan_avg", "normal")
he_uniform = _scaled("he_uniform", 2., "fan_in", "uniform")
he_normal = _scaled("he_normal", 2., "fan_in", "normal")
zero = zeros = Zeros
one = ones = Ones
constant = Constant
uniform = random_uniform = RandomUniform
normal = random_normal = RandomNormal
truncated_normal = TruncatedNormal
identity = Identity
orthogonal = Orthogonal


def _compute_fans(shape: Sequence[int], data_format: str = "channels_last") -> tuple[float, float]:
    """(fan in, fan out) of a kernel: receptive field times channels in, and out."""
    if len(shape) == 2:
        return shape[0], shape[1]
    if len(shape) in (3, 4, 5):
        if data_format == "channels_first":
            field = np.prod(shape[2:])
            return shape[1] * field, shape[0] * field
        if data_format != "channels_last":
            raise ValueError("Invalid data_format: " + data_format)
        field = np.prod(shape[:-2])
        return shape[-2] * field, shape[-1] * field
    root = np.sqrt(np.prod(shape))
    return root, root


_DRAWN = (RandomNormal, RandomUniform, TruncatedNormal, VarianceScaling)
_FACTORIES = (lecun_uniform, lecun_normal, glorot_uniform, glorot_normal, he_uniform, he_normal)
_TABLE: dict[str, Any] = {k: v for k, v in list(globals().items()) if k not in ("Initializer", "_Random") and (
    (isinstance(v, type) and issubclass(v, Initializer)) or v in _FACTORIES)}
_FAMILY = Family("initializer", _TABLE, globals(), _FACTORIES)
serialize, deserialize, get = _FAMILY.serialize, _FAMILY.deserialize, _FAMILY.get
