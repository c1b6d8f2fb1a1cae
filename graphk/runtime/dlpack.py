"""DLPack capsules of memory that is not the host's.

In: an address in a device's memory, or another library's capsule.  Out: a capsule, or what is known of the array.  What
always holds: numpy makes capsules and reads them, and so counts who uses the memory; only the device is written here,
since numpy knows the host's alone.  An array of numpy's that stands for a device's memory is never read, and stays
inside.  Source: DLPack's header `dlpack.h`, versions 0 and 1.
"""
from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

CPU, CUDA, EXTENSION = 1, 2, 12       # kinds of devices; the third is for what DLPack does not know
HOST = (CPU, 3, 13)                   # those whose memory the host reads: its own, pinned, managed by CUDA
# Each kind of capsule, and where in its struct kind and number of the device are: behind the address, which is the
# first thing, or comes after version, manager, deleter and flags.
_DEVICE_AT = {b"dltensor": 8, b"dltensor_versioned": 40}
# Whether numpy makes capsules of version 1, which alone say that memory is only to be read.
_VERSIONED = np.lib.NumpyVersion(np.__version__) >= "2.1.0"

_api = ctypes.pythonapi
_api.PyCapsule_IsValid.argtypes = [ctypes.py_object, ctypes.c_char_p]
_api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_api.PyCapsule_GetPointer.restype = ctypes.c_void_p


class _Memory:
    """What numpy makes an array of; the array keeps it, and it keeps `owner`."""

    def __init__(self, owner: Any, interface: dict[str, Any]):
        self.owner, self.__array_interface__ = owner, {"version": 3, **interface}


class _Capsule:
    """A capsule for `numpy.from_dlpack`."""

    def __init__(self, capsule: Any):
        self.capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return CPU, 0


def _device_in(capsule: Any) -> Any:
    """Kind and number of the device of a capsule that nobody has taken yet, in its memory."""
    for name, at in _DEVICE_AT.items():
        if _api.PyCapsule_IsValid(capsule, name):
            return (ctypes.c_int32 * 2).from_address(_api.PyCapsule_GetPointer(capsule, name) + at)
    raise BufferError(f"expected a DLPack capsule, received {capsule!r}")


def seen(address: int, shape: tuple[int, ...], dtype: np.dtype, owner: Any, strides: tuple[int, ...] | None = None,
         read_only: bool = True) -> np.ndarray:
    """An array of numpy's that says where something is, and keeps `owner`; it is not to be read."""
    return np.asarray(_Memory(owner, {"shape": shape, "typestr": dtype.str, "strides": strides,
                                      "data": (address, read_only)}))


def made(address: int, shape: tuple[int, ...], dtype: np.dtype, owner: Any, device: tuple[int, int],
         read_only: bool = False, max_version: tuple[int, int] | None = None) -> Any:
    """A capsule; whoever takes it keeps `owner`.  BufferError where memory is only to be read, and a capsule of the
    version that is asked for cannot say that."""
    if read_only and not (_VERSIONED and max_version is not None and max_version[0] >= 1):
        raise BufferError("memory that is only to be read is handed out through DLPack from version 1 on, which "
                          f"{'was not asked for' if _VERSIONED else 'numpy has from 2.1 on'}")
    options: dict[str, Any] = {"max_version": max_version} if _VERSIONED else {}
    capsule = seen(address, shape, dtype, owner, None, read_only).__dlpack__(**options)
    _device_in(capsule)[:] = device
    return capsule


def read(capsule: Any) -> np.ndarray:
    """An array of numpy's with the address, shape, strides and type of a capsule's, which keeps the memory; it is not
    to be read.  BufferError or RuntimeError for types that numpy does not know."""
    place = _device_in(capsule)
    device = list(place)
    place[:] = CPU, 0
    try:
        return np.from_dlpack(_Capsule(capsule))
    finally:
        place[:] = device


__all__ = ["CPU", "CUDA", "EXTENSION", "HOST", "made", "read", "seen"]
