"""Arrays of other libraries, without copies: torch, JAX, CuPy and all that speak DLPack or CUDA's array interface.

In: anything that a user passes for an array.  Out: a numpy array of the same memory where that is the host's, a
`DeviceArray` where it is a GPU's, and what was passed where it is neither.  What always holds: the memory is read,
never written, and the library that owns it keeps it as long as what came of it is in use.
"""
from __future__ import annotations

from typing import Any

import numpy as np

HOST = (1, 3, 13)                     # DLPack's kinds of memory that the host reads: its own, pinned, managed by CUDA


class DeviceArray:
    """An array in a GPU's memory, contiguous in C's order; `owner` keeps it, or is the `Device` that computed it, and
    will overwrite it when it computes the same again."""
    __slots__ = ("address", "shape", "dtype", "owner")

    def __init__(self, address: int, shape: tuple[int, ...], dtype: np.dtype, owner: Any):
        self.address, self.shape, self.dtype, self.owner = address, shape, dtype, owner

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> "DeviceArray":
        """The rows of a slice of step 1, in place."""
        if not isinstance(rows, slice) or rows.step not in (None, 1):
            raise self._elsewhere()
        start, stop, _ = rows.indices(len(self))
        each = self.nbytes // max(len(self), 1)
        return DeviceArray(self.address + start * each, (max(stop - start, 0), *self.shape[1:]), self.dtype, self.owner)

    def column(self) -> "DeviceArray":
        """With an axis of one element at the end."""
        return DeviceArray(self.address, (*self.shape, 1), self.dtype, self.owner)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise self._elsewhere()

    def _elsewhere(self) -> TypeError:
        return TypeError(f"an array {self.dtype}{list(self.shape)} of {type(self.owner).__module__.split('.')[0]} lies "
                         "in a GPU's memory, and is wanted in the host's. Batches are read where they lie by predict, "
                         "train_on_batch, test_on_batch and functions that run on that GPU (device=gpu), as long as "
                         "they hold no row numbers of an embedding. Copy it otherwise: x.cpu(), cupy.asnumpy(x) or "
                         "jax.device_get(x)")


def adopted(x: Any) -> Any:
    """An array of another library as a numpy array or a `DeviceArray` of the same memory; all else as it is."""
    if isinstance(x, np.ndarray):
        return x
    if hasattr(x, "__cuda_array_interface__"):
        return _on_gpu(x, x.__cuda_array_interface__)
    if not hasattr(x, "__dlpack__") or not hasattr(x, "__dlpack_device__"):
        return x
    try:
        kind = int(x.__dlpack_device__()[0])
        if kind in HOST:
            return np.from_dlpack(x)
    except (BufferError, RuntimeError, TypeError, ValueError) as e:
        raise TypeError(f"a {type(x).__name__} of {type(x).__module__.split('.')[0]} cannot be read ({e}); convert it "
                        "to a numpy array first") from None
    raise TypeError(f"an array of {type(x).__module__.split('.')[0]} lies in the memory of a device of DLPack's "
                    f"kind {kind}, without CUDA's array interface; copy it to the host first")


def _on_gpu(x: Any, told: dict[str, Any]) -> DeviceArray:
    shape, dtype = tuple(told["shape"]), np.dtype(told["typestr"])
    strides = told.get("strides")
    if told.get("mask") is not None or strides is not None and tuple(strides) != _in_c_order(shape, dtype.itemsize):
        raise TypeError(f"an array of shape {shape} and strides {strides} on a GPU is masked or not contiguous; make a "
                        "contiguous one first")
    return DeviceArray(int(told["data"][0]), shape, dtype, x)


def _in_c_order(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    out: list[int] = []
    for d in reversed(shape):
        out.append(itemsize)
        itemsize *= d
    return tuple(reversed(out))


__all__ = ["DeviceArray", "adopted"]
