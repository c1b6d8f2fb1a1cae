"""What a vendor's library is asked for, computed by numpy: for tests, on the simulator's memory.

In: a `Product` or `Convolution`, and addresses.  Out: what computes it.  What always holds: only what the
description says is read and written; sums are float32 (float64 for float64), of operands rounded as it says.
"""
from __future__ import annotations

from typing import Callable

import numpy as np

from graphk.runtime.library import Ask, Convolution, Library, Matrix, Places, Product, Run, Tensor
from graphk.runtime.library_ending import gelu, gelu_slope


class NumpyLibrary(Library):
    """`view(address, dtype)`: the elements from an address on; `asked`: everything so far."""
    name = "numpy"

    def __init__(self, view: Callable[[int, str], np.ndarray]):
        self.view = view
        self.asked: list[Ask] = []

    def ask(self, what: Ask, at: Places) -> Run:
        self.asked.append(what)
        return lambda stream, lane: compute(self.view, what, at)


View = Callable[[int, str], np.ndarray]


def compute(view: View, what: Ask, at: Places) -> None:
    """What is asked for, on memory."""
    if isinstance(what, Product):
        multiply(view, what, at)
    else:
        convolve(view, what, at)


def multiply(view: View, p: Product, at: Places) -> None:
    """A product."""
    def matrix(address: int, x: Matrix, rows: int, columns: int, dtype: str) -> np.ndarray:
        flat = view(address, "uint16" if dtype == "bfloat16" else dtype)
        if not 0 < x.reach(rows, columns, p.batch) <= len(flat):
            raise IndexError(f"{x} of {rows}x{columns} reaches beyond its memory")
        size = flat.itemsize
        return np.lib.stride_tricks.as_strided(flat, (p.batch, rows, columns),
                                               (x.batch * size, x.row * size, x.column * size))
    left = widened(matrix(at.left, p.left, p.m, p.k, p.dtype), p)
    right = widened(matrix(at.right, p.right, p.k, p.n, p.dtype), p)
    out = np.matmul(left, right)
    if p.added is not None:
        out = out + matrix(at.added, p.added, p.m, p.n, p.result)
    if p.bias:
        out = out + view(at.bias, p.result)[:p.n]
    if p.activation == "relu":
        out = np.where(_bits(view, p, at, None), out, 0) if p.slope else np.maximum(out, 0)
        if p.aux is not None and not p.slope:
            _bits(view, p, at, out > 0)
    elif p.activation == "gelu":
        assert p.aux is not None or not p.slope
        aux = matrix(at.aux, p.aux, p.m, p.n, p.result) if p.aux is not None else np.empty_like(out)
        if p.slope:
            out = out * gelu_slope(aux)
        else:
            aux[...] = out
            out = gelu(out)
    if p.totals:
        view(at.totals, p.result)[:p.n] = right.sum(axis=(0, 1))
    matrix(at.out, p.out, p.m, p.n, p.result)[...] = out


def _bits(view: View, p: Product, at: Places, write: np.ndarray | None) -> np.ndarray:
    """The bits of relu's slope, as rows of booleans; what is not a result's bit is set to anything."""
    assert p.aux is not None and p.aux.row % 128 == 0 and p.aux.row >= p.n and p.batch == 1
    rows = view(at.aux, "uint8")[:p.m * p.aux.row // 8].reshape(p.m, p.aux.row // 8)
    if write is not None:
        padded = np.pad(write[0], ((0, 0), (0, p.aux.row - p.n)), constant_values=True)
        rows[...] = np.packbits(padded, axis=1, bitorder="little")
    return np.unpackbits(rows, axis=1, bitorder="little")[None, :, :p.n].astype(bool)


def convolve(view: View, c: Convolution, at: Places) -> None:
    """A convolution, or the gradient of its filters."""
    def tensor(address: int, x: Tensor, dtype: str = c.result) -> np.ndarray:
        flat = view(address, "uint16" if dtype == "bfloat16" else dtype)
        if x.reach > len(flat):
            raise IndexError(f"{x} reaches beyond its memory")
        return np.lib.stride_tricks.as_strided(flat, x.extents, [s * flat.itemsize for s in x.strides])
    out, other = (c.w, c.y) if c.gradient else (c.y, c.w)
    x = np.pad(tensor(at.left, c.x, c.dtype), [(0, 0), (0, 0), *(c.paddings or [(0, 0)] * len(c.steps))])
    moved = [s * n for s, n in zip(x.strides[2:], c.steps)], [s * n for s, n in zip(x.strides[2:], c.dilations)]
    places, window = c.y.extents[2:], c.w.extents[2:]
    if any((p - 1) * s + (r - 1) * d >= e for p, s, r, d, e in zip(places, c.steps, window, c.dilations, x.shape[2:])):
        raise IndexError(f"a window of {c} lies beyond its image")
    windows = widened(np.lib.stride_tricks.as_strided(x, (*x.shape[:2], *places, *window),
                                                      (*x.strides[:2], *moved[0], *moved[1])), c)
    rank = len(places)
    of_places, of_window = [*range(2, 2 + rank)], [*range(2 + rank, 2 + 2 * rank)]
    read = widened(tensor(at.right, other, c.dtype), c)
    if c.gradient:
        made = np.tensordot(read, windows, ([0, *of_places], [0, *of_places]))
    else:
        made = np.moveaxis(np.tensordot(windows, read, ([1, *of_window], [1, *of_places])), -1, 1)
    if c.added is not None:
        made = made + tensor(at.added, c.added)
    if c.bias:
        made = made + view(at.bias, c.result)[:c.w.extents[0]].reshape(-1, *[1] * rank)
    tensor(at.out, out)[...] = np.maximum(made, 0) if c.activation == "relu" else made


def widened(x: np.ndarray, p: Ask) -> np.ndarray:
    """Operands as numbers to multiply: float32 where they are narrower, of 10 bits of mantissa with `tf32`."""
    if p.dtype == "bfloat16":
        return (x.astype(np.uint32) << 16).view(np.float32)
    x = x.astype(p.result)
    return ((x.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32) if p.tf32 else x


__all__ = ["NumpyLibrary", "compute", "widened"]
