"""What a vendor's library is asked for, computed by numpy: for tests, on the simulator's memory.

In: a `Product` and addresses.  Out: what computes it.  What always holds: only what the description says is read and
written; sums are float32 (float64 for float64), of operands rounded as the description says.
"""
from __future__ import annotations

from typing import Callable

import numpy as np

from graphk.runtime.library import Library, Matrix, Places, Product, Run


class NumpyLibrary(Library):
    """`view(address, dtype)`: the elements from an address on; `asked`: all products so far."""
    name = "numpy"

    def __init__(self, view: Callable[[int, str], np.ndarray]):
        self.view = view
        self.asked: list[Product] = []

    def product(self, product: Product, at: Places) -> Run:
        self.asked.append(product)
        return lambda stream, lane: compute(self.view, product, at)


def compute(view: Callable[[int, str], np.ndarray], p: Product, at: Places) -> None:
    """The product, on memory."""
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
    matrix(at.out, p.out, p.m, p.n, p.result)[...] = np.maximum(out, 0) if p.relu else out


def widened(x: np.ndarray, p: Product) -> np.ndarray:
    """Operands as numbers to multiply: float32 where they are narrower, of 10 bits of mantissa with `tf32`."""
    if p.dtype == "bfloat16":
        return (x.astype(np.uint32) << 16).view(np.float32)
    x = x.astype(p.result)
    return ((x.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32) if p.tf32 else x


__all__ = ["NumpyLibrary", "compute", "widened"]
