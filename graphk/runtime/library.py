"""Libraries of a device's vendor: what they are asked for, and by whom they are offered.

In: a `Product` or a `Convolution`, and addresses.  Out: what calls the library.  What always holds: a description is
plain numbers, so that the numpy model (`library_sim`) and the vendor's library are asked for the same thing; what a
library cannot do is `Refused`, with the reason, and computed by graphk's own kernel; memory is taken beforehand.
"""
from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Callable, Sequence, Union

Run = Callable[[Any, int], None]                   # (stream's handle, number of the lane)
NARROW = ("float16", "bfloat16")                   # operands; what they give is float32
WATCHERS: list[Callable[[str], None]] = []         # of what libraries were asked for (`GRAPHK_LOG=library`)


class Refused(Exception):
    """A library, or graphk's description for it, cannot express a step; the text says why."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Where elements lie: number b's (i, j) is `b*batch + i*row + j*column` elements behind the address.

    Rows lie one behind the other with their elements side by side (`in_rows`), or else columns do.
    """
    row: int
    column: int
    batch: int = 0

    def in_rows(self, columns: int) -> bool:
        """Whether rows of so many elements lie one behind the other."""
        return self.column == 1 and self.row >= columns

    def reach(self, rows: int, columns: int, batch: int) -> int:
        """Elements from the address to the end of the last one."""
        return (rows - 1) * self.row + (columns - 1) * self.column + (batch - 1) * self.batch + 1


@dataclass(frozen=True, slots=True)
class Product:
    """`out = activation?(left @ right + bias? + added?)` for each of a batch: (m, k) by (k, n).

    dtype: of the operands; sums, bias, what is added and the result are float32 (float64 for float64).  bias: n numbers
    side by side, the same for each row.  added: a matrix like the result, which may be the result's own memory.
    activation: "", "relu" or "gelu" (the one of tanh).  aux: where what its gradient needs is written: for relu a bit
    for each result, whether it is above 0, in rows of `aux.row` bits; for gelu what it is taken of.  slope: instead,
    aux is read, and results are multiplied by the activation's slope there.  totals: the sums of the right operand's
    columns are written, too.  tf32: whether products may be rounded to 10 bits of the mantissa.
    """
    m: int
    n: int
    k: int
    batch: int
    dtype: str
    left: Matrix
    right: Matrix
    out: Matrix
    bias: bool = False
    added: Matrix | None = None
    activation: str = ""
    aux: Matrix | None = None
    slope: bool = False
    totals: bool = False
    tf32: bool = False

    @property
    def result(self) -> str:
        """The dtype of sums and results."""
        return "float32" if self.dtype in NARROW else self.dtype

    @property
    def plain(self) -> bool:
        """Whether nothing is done with a sum, and nothing for others."""
        return not (self.bias or self.added or self.activation or self.totals)

    def __str__(self) -> str:
        extras = [name for name, on in (("added", self.added), ("bias", self.bias)) if on]
        if self.activation:
            extras.append(self.activation + ("'s slope" if self.slope else ", and its slope" if self.aux else ""))
        extras += ["columns' sums"] if self.totals else []
        return (f"{f'{self.batch} times ' if self.batch > 1 else ''}{self.m}x{self.k} by {self.k}x{self.n} {self.dtype}"
                + (" as tf32" if self.tf32 else "") + "".join(f" + {x}" for x in extras))


@dataclass(frozen=True, slots=True)
class Tensor:
    """Extents of axes, and elements from one place of each to the next."""
    extents: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def reach(self) -> int:
        """Elements from the address to the end of the last one."""
        return 1 + sum((e - 1) * s for e, s in zip(self.extents, self.strides))


@dataclass(frozen=True, slots=True)
class Convolution:
    """`y[n, f, p…] = activation?(sum of x[n, c, p*step + r*dilation - before…] * w[f, c, r…] + added? + bias?[f])`, the
    sum over c and r…, with zeros around x.

    dtype: of the operands; sums, bias, what is added and the result are float32 (float64 for float64).
    x: (batch, channels, places…), w: (filters, channels, window…), y: (batch, filters, places…).  bias: a number for
    each filter, side by side.  added: a tensor like y.  activation: "" or "relu".  gradient: it is w that is computed,
    from x and y: `w[f, c, r…] = sum of x[…] * y[n, f, p…]` over n and p….  paddings: how many zeros there are before
    and after x along each axis of places; () for none.
    """
    x: Tensor
    w: Tensor
    y: Tensor
    steps: tuple[int, ...]
    dilations: tuple[int, ...]
    dtype: str
    gradient: bool = False
    tf32: bool = False
    bias: bool = False
    added: Tensor | None = None
    activation: str = ""
    paddings: tuple[tuple[int, int], ...] = ()

    @property
    def result(self) -> str:
        """The dtype of sums and results."""
        return "float32" if self.dtype in NARROW else self.dtype

    @property
    def plain(self) -> bool:
        """Whether nothing is done with a sum."""
        return not (self.bias or self.added or self.activation)

    def __str__(self) -> str:
        def by(numbers: Sequence[int | str]) -> str:
            return "x".join(map(str, numbers))
        return (f"{'gradient of the filters of a ' if self.gradient else ''}{by(self.w.extents[2:])} convolution of "
                f"{by(self.x.extents)} with {self.w.extents[0]} filters, {self.dtype}"
                + (f", steps {by(self.steps)}" if set(self.steps) != {1} else "")
                + (f", dilated {by(self.dilations)}" if set(self.dilations) != {1} else "")
                + (f", padded {by([b if b == a else f'{b}+{a}' for b, a in self.paddings])}" if self.paddings else "")
                + (" as tf32" if self.tf32 else "") + (" + added" if self.added else "")
                + (" + bias" if self.bias else "") + (f" + {self.activation}" if self.activation else ""))


Ask = Union[Product, Convolution]


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses of what is asked for (0 where there is none); a convolution's x is `left`."""
    left: int
    right: int
    out: int
    bias: int = 0
    added: int = 0
    aux: int = 0
    totals: int = 0


class Library(ABC):
    """What computes products or convolutions on a device."""
    name: str

    @abstractmethod
    def ask(self, what: Ask, at: Places) -> Run:
        """What records the call on a stream; `Refused` where the library has no way to compute it."""


def aligned(address: int) -> int:
    """The power of two, 256 at most, of which an address is a multiple."""
    return min(address & -address, 256) if address else 256


def find_library(name: str) -> Any:
    """A shared library of NVIDIA's (`cublasLt`, `cudnn`), None where neither a package nor the system has it."""
    try:
        from cuda.pathfinder import DynamicLibNotFoundError, load_nvidia_dynamic_lib
    except ImportError:
        return None
    try:
        path = load_nvidia_dynamic_lib(name).abs_path
    except (DynamicLibNotFoundError, RuntimeError):
        return None
    return ctypes.CDLL(path)


def tell(text: str) -> None:
    """A line for whoever watches."""
    for watcher in WATCHERS:
        watcher(text)


__all__ = ["Ask", "Convolution", "Library", "Matrix", "NARROW", "Places", "Product", "Refused", "Run", "Tensor",
           "WATCHERS", "aligned", "find_library", "tell"]
