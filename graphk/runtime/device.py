"""Devices: memory elsewhere, and kernels that run on it.

In: a device's name (`gpu:0`).  Out: a `Device`.  What always holds: work is recorded once and replayed, in the
order in which it was recorded except where lanes say otherwise; an address stays valid until it is freed; what is
missing (driver, packages, memory) is named by the error, with what to do.
"""
from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Callable, ContextManager, Sequence

import numpy as np

from graphk.runtime.library import Library, Run
from graphk.runtime.pool import Pool

if TYPE_CHECKING:
    from graphk.codegen.cuda import CudaSource
    from graphk.runtime.library_rnn import RecurrentLibrary

LANES = 4                         # of work that may run at the same time


class DeviceError(RuntimeError):
    """A device, or what it needs, is not there or has failed."""


class OutOfDeviceMemory(MemoryError):
    """A device has no room for `needed` bytes; `free` and `total` are what it has."""

    def __init__(self, device: str, needed: int, free: int, total: int, what: str = "a buffer"):
        super().__init__(f"{device} has no room for {what} of {needed:,} bytes: {free:,} of its {total:,} bytes are "
                         "free")
        self.needed, self.free, self.total = needed, free, total


class Work(ABC):
    """What a recording consists of; it goes to lane 0 until `lane` says otherwise."""

    @abstractmethod
    def launch(self, function: object, blocks: int, threads: tuple[int, ...], args: Sequence[int]) -> None:
        """A kernel on `blocks` blocks of `threads` threads; `args`: addresses and sizes."""

    @abstractmethod
    def call(self, run: Run) -> None:
        """What a library's function records."""

    @abstractmethod
    def upload(self, address: int, staging: np.ndarray) -> None:
        """Copy staging memory (`Device.staging`) to the device, as it is when the recording is replayed."""

    @abstractmethod
    def download(self, staging: np.ndarray, address: int) -> None:
        """Copy from the device to staging memory."""

    @abstractmethod
    def lane(self, number: int) -> None:
        """What follows may run beside what other lanes (0 to LANES - 1) hold since the last `join`."""

    @abstractmethod
    def join(self) -> None:
        """What follows, on any lane, waits for all that was recorded before."""


class Rehearsal(Work):
    """Records nothing: what recording asks for is made ready."""

    def launch(self, function: object, blocks: int, threads: tuple[int, ...], args: Sequence[int]) -> None:
        pass

    def call(self, run: Run) -> None:
        pass

    def upload(self, address: int, staging: np.ndarray) -> None:
        pass

    def download(self, staging: np.ndarray, address: int) -> None:
        pass

    def lane(self, number: int) -> None:
        pass

    def join(self) -> None:
        pass


class Recording:
    """Work that can be had again: `start` begins it behind all that the device was told to do before, and `wait` until
    it is done; a call does both."""

    def __init__(self, start: Callable[[], None], wait: Callable[[], None]):
        self.start, self.wait = start, wait

    def __call__(self) -> None:
        self.start()
        self.wait()


class Device(ABC):
    """One device.

    `place` is where it is in its machine, by whatever name it goes in a process: no two have the same.  `threads` and
    `tile` are the extents of its kernels' blocks; `libraries` are its vendor's, by what they compute; `pool` has memory
    for results.  For other libraries: its `kind` as DLPack has it, its `number`, and the handle of the `stream` in
    which recordings run.
    """
    name: str
    place: str
    kind: int
    threads: int
    tile: int
    number: int
    stream: int

    def __init__(self) -> None:
        self.lock = threading.RLock()              # held by whoever uses staging memory or replays
        self.libraries: dict[type, Library] = {}   # `Product` or `Convolution` -> what computes it
        self.recurrent: RecurrentLibrary | None = None       # what computes recurrent layers
        self.pool = Pool(self)

    def allocate(self, nbytes: int) -> int:
        """The address of memory, aligned to 256 bytes; `OutOfDeviceMemory` where there is none left."""
        try:
            return self.allocate_once(nbytes)
        except OutOfDeviceMemory:
            if not self.pool.clear():
                raise
            return self.allocate_once(nbytes)

    @abstractmethod
    def allocate_once(self, nbytes: int) -> int:
        """`allocate`, where the pool keeps what it has."""

    @abstractmethod
    def free(self, address: int) -> None:
        """Give memory back."""

    @abstractmethod
    def room(self) -> tuple[int, int]:
        """Free bytes, and all of them."""

    @abstractmethod
    def staging(self, nbytes: int) -> np.ndarray:
        """Bytes on the host that the device copies from and to."""

    @abstractmethod
    def upload(self, address: int, array: np.ndarray) -> None:
        """Copy an array to the device, after all that was started, and wait."""

    @abstractmethod
    def download(self, array: np.ndarray, address: int) -> None:
        """Copy from the device into an array, after all that was started, and wait."""

    @abstractmethod
    def holds(self, address: int) -> bool:
        """Whether an address, whoever allocated it, is in this device's memory."""

    @abstractmethod
    def copy(self, address: int, source: int, nbytes: int) -> None:
        """Copy inside the device, after all that others have started there, and wait."""

    @abstractmethod
    def move(self, address: int, source: int, nbytes: int) -> None:
        """Copy inside the device behind what was started in its stream; what is started there later finds the copy."""

    @abstractmethod
    def before(self, stream: int) -> None:
        """Have a stream of another library wait for what was started; `DeviceError` where there is no such stream."""

    def fetch(self, address: int, other: Device, source: int, nbytes: int) -> bool:
        """Copy from another device, and wait; False where there is no way but through the host."""
        return False

    @abstractmethod
    def load(self, source: CudaSource) -> list[object]:
        """Functions to launch, one for each launch of a source."""

    @abstractmethod
    def record(self, work: Callable[[Work], None], before: Callable[[Work], None] | None = None,
               behind: Callable[[Work], None] | None = None) -> Recording:
        """Let `work` record.  before: what need not wait for earlier recordings; behind: what later ones need not wait
        for.  Each is done in the order of the recordings; whoever gives them sees to it that memory is not used twice
        at a time."""

    @abstractmethod
    def finish(self) -> None:
        """Wait until all that was started is done."""

    @abstractmethod
    def enter(self) -> None:
        """Have this thread's calls of the vendor's libraries mean this device."""

    def visit(self) -> ContextManager[None]:
        """`enter`, and have them mean what they meant before when it is over: for what runs inside of other libraries'
        code, such as the end of an object that nobody refers to any more."""
        return contextlib.nullcontext()


# ------------------------------------------------------------------ by name
_devices: dict[str, Device] = {}
_lock = threading.Lock()


def device(name: str) -> Device:
    """The device `gpu:NUMBER`, `simulator` or `simulator:NUMBER`; `DeviceError` says what is missing."""
    with _lock:
        if name not in _devices:
            if name.partition(":")[0] == "simulator":
                from graphk.runtime.device_sim import SimDevice
                _devices[name] = SimDevice(name=name)
            else:
                from graphk.runtime.device_cuda import open_device
                _devices[name] = open_device(int(name.removeprefix("gpu:")))
        return _devices[name]


def gpu_count() -> int:
    """How many GPUs there are; 0 where the driver or the packages that call it are missing."""
    from graphk.runtime.device_cuda import Driver, find_driver
    try:
        return int(Driver(find_driver()).cuDeviceGetCount())
    except DeviceError:
        return 0


__all__ = ["Device", "DeviceError", "LANES", "OutOfDeviceMemory", "Recording", "Rehearsal", "Work", "device",
           "gpu_count"]
