"""Arrays that libraries hand each other without copies: torch, JAX, CuPy and all that speak DLPack or CUDA's interface.

In: anything that a user passes for an array; what a device has computed.  Out: a numpy array of the same memory where
that is the host's, a `DeviceArray` where it is a GPU's, and what was passed where it is neither; `Resident` for what
graphk has on a device.  What always holds: the memory of others is read, never written, and the library that owns it
keeps it as long as what came of it is in use; who reads a `Resident`, in whichever stream, finds it computed.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from graphk.runtime import dlpack

if TYPE_CHECKING:
    from graphk.runtime.device import Device


class DeviceArray:
    """An array in a GPU's memory, contiguous in C's order.  `owner`: another library's array, or the `Device` that
    computed it, and will overwrite it when it computes the same again; `held`: what else keeps it."""
    __slots__ = ("address", "shape", "dtype", "owner", "held")

    def __init__(self, address: int, shape: tuple[int, ...], dtype: np.dtype, owner: Any, held: Any = None):
        self.address, self.shape, self.dtype, self.owner, self.held = address, shape, dtype, owner, held

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("an array without axes has no length")
        return self.shape[0]

    def __getitem__(self, rows: Any) -> "DeviceArray":
        """The rows of a slice of step 1, in place."""
        if not isinstance(rows, slice) or rows.step not in (None, 1):
            raise self.elsewhere()
        start, stop, _ = rows.indices(len(self))
        each = self.nbytes // max(len(self), 1)
        return type(self)(self.address + start * each, (max(stop - start, 0), *self.shape[1:]), self.dtype, self.owner,
                          self.held)

    def column(self) -> "DeviceArray":
        """With an axis of one element at the end."""
        return type(self)(self.address, (*self.shape, 1), self.dtype, self.owner, self.held)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise self.elsewhere()

    def __reduce__(self) -> Any:
        raise self.elsewhere()                         # for pickle and copy: its memory has one owner

    def elsewhere(self) -> TypeError:
        """The error of who needs it in the host's memory."""
        return TypeError(f"an array {self.dtype}{list(self.shape)} of {type(self.owner).__module__.split('.')[0]} lies "
                         "in a GPU's memory, and is wanted in the host's. Batches are read where they lie by predict, "
                         "train_on_batch, test_on_batch and functions that run on that GPU (device=gpu), as long as "
                         "they hold no row numbers of an embedding. Copy it otherwise: "
                         + ("numpy.asarray(x)" if isinstance(self, Resident) else
                            "x.cpu(), cupy.asnumpy(x) or jax.device_get(x)"))


class Resident(DeviceArray):
    """What graphk has on a device: a result (`results="device"`), in memory that is its own, or a variable.

    `numpy.asarray` fetches it.  `cupy.asarray`, `torch.from_dlpack`, `jax.dlpack.from_dlpack` and all that know DLPack
    or `__cuda_array_interface__` take it without a copy; functions of graphk that run on its device do not take it over
    the host either.  `owner` has the `device`, and learns in `shown` that another library may read or write the memory.
    """
    __slots__ = ()
    read_only = False

    @property
    def device(self) -> "Device":
        """Where it is."""
        return self.owner.device

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __repr__(self) -> str:
        return f"<array {self.dtype}{list(self.shape)} on {self.device.name}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError(f"{self!r} is no array of the host's without a copy")
        out = np.empty(self.shape, self.dtype)
        with self.device.lock, self.device.visit():
            self.device.download(out, self.address)
        return out if dtype is None else out.astype(dtype, copy=False)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        device = self.device
        if device.kind != dlpack.CUDA:
            raise AttributeError(f"{self!r} is in no memory of CUDA's")
        self.owner.shown = True
        with device.lock, device.visit():
            device.finish()                            # torch, for one, does not look at `stream`
        return {"version": 3, "shape": self.shape, "typestr": self.dtype.str, "strides": None,
                "data": (self.address if self.size else 0, self.read_only), "stream": device.stream}

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device.kind, self.device.number

    def __dlpack__(self, *, stream: Any = None, max_version: tuple[int, int] | None = None,
                   dl_device: tuple[int, int] | None = None, copy: bool | None = None) -> Any:
        if dl_device is not None and tuple(dl_device) == (dlpack.CPU, 0) and copy is not False:
            there = np.asarray(self)
            return dlpack.made(there.ctypes.data, there.shape, there.dtype, there, (dlpack.CPU, 0), False, max_version)
        if dl_device is not None and tuple(dl_device) != self.__dlpack_device__() or copy:
            raise BufferError(f"{self!r} is handed out where it is, without a copy; asked for: device {dl_device}, "
                              f"copy={copy}. numpy.asarray(x) copies it to the host")
        self._computed_for(stream)
        self.owner.shown = True
        return dlpack.made(self.address, self.shape, self.dtype, self, self.__dlpack_device__(), self.read_only,
                           max_version)

    def _computed_for(self, stream: Any) -> None:
        """Let a stream wait for what was started: see DLPack's Python specification."""
        if stream is not None and (isinstance(stream, bool) or not isinstance(stream, int) or stream == 0
                                   or stream < -1):
            raise BufferError(f"{self!r} was asked for in the stream {stream!r}; expected the address of a stream of "
                              "CUDA's, 1 for the legacy default stream, 2 for the thread's, or -1 for none")
        if stream == -1:
            return
        try:
            with self.device.lock, self.device.visit():
                self.device.before(1 if stream is None else stream)
        except RuntimeError as e:
            raise BufferError(f"{self!r} was asked for in the stream {stream}, which is none of that GPU's, or was "
                              f"destroyed: {e}") from None


class ResidentVariable(Resident):
    """A variable's own memory on a device."""
    __slots__ = ()
    read_only = True


def adopted(x: Any) -> Any:
    """An array of another library as a numpy array or a `DeviceArray` of the same memory; all else as it is."""
    if isinstance(x, (np.ndarray, DeviceArray)):
        return x
    library = type(x).__module__.split(".")[0]
    try:
        if hasattr(x, "__cuda_array_interface__"):
            array = _interfaced(x, x.__cuda_array_interface__)
        elif not hasattr(x, "__dlpack__") or not hasattr(x, "__dlpack_device__"):
            return x
        else:
            kind = int(x.__dlpack_device__()[0])
            if kind in dlpack.HOST:
                return np.from_dlpack(x)
            if kind != dlpack.CUDA:
                raise BufferError(f"it is on a device of DLPack's kind {kind}, neither the host nor a GPU of CUDA's")
            # In the legacy default stream, which all know: who copies from there waits for all streams.
            array = dlpack.read(x.__dlpack__(stream=1))
    except (BufferError, RuntimeError, TypeError, ValueError) as e:
        raise TypeError(f"a {type(x).__name__} of {library} cannot be read ({e}); convert it to a numpy array first"
                        ) from None
    if not array.flags.c_contiguous:
        raise TypeError(f"an array of {library} on a GPU, of shape {array.shape} and strides {array.strides}, is not "
                        "contiguous; make a contiguous one first")
    return DeviceArray(array.ctypes.data, array.shape, array.dtype, x, array)


def _interfaced(x: Any, told: dict[str, Any]) -> np.ndarray:
    """What `__cuda_array_interface__` tells, as `dlpack.seen` has it."""
    if told.get("mask") is not None:
        raise ValueError("it has a mask")
    return dlpack.seen(int(told["data"][0]), tuple(told["shape"]), np.dtype(told["typestr"]), x, told.get("strides"))


__all__ = ["DeviceArray", "Resident", "ResidentVariable", "adopted"]
