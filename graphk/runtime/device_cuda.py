"""NVIDIA GPUs, through the driver: memory, modules, and one CUDA graph for each recording.

In: a GPU's number.  Out: a `Device`.  What always holds: the device's primary context is used, so that memory may be
shared with other libraries; lanes are streams that fork from the first one and join it again, captured as branches of
the graph; each failure names the call, the driver's word for it, and what to do where that is known.
"""
from __future__ import annotations

import contextlib
import ctypes
import re
import weakref
from typing import Any, Callable, Iterator, Sequence

import numpy as np

from graphk.codegen import cuda_compile
from graphk.codegen.cuda import THREADS, TILE, CudaSource
from graphk.runtime import dlpack
from graphk.runtime.device import LANES, Device, DeviceError, OutOfDeviceMemory, Recording, Work
from graphk.runtime.library import Convolution, Product, Run, find_library
from graphk.runtime.library_cublas import CublasLt
from graphk.runtime.library_cudnn import Cudnn
from graphk.runtime.library_cudnn_rnn import CudnnRecurrent

WORKSPACE = 32 << 20              # bytes for libraries on each lane: what NVIDIA advises for cuBLASLt on Hopper

ADVICE = {
    "CUDA_ERROR_UNSUPPORTED_PTX_VERSION": "The GPU's driver is older than the CUDA packages: update it, or install "
                                          "those of the version before, `pip install graphk[cuda12]`.",
    "CUDA_ERROR_NO_DEVICE": "No GPU is visible: look at `nvidia-smi` and CUDA_VISIBLE_DEVICES.",
    "CUDA_ERROR_INVALID_DEVICE": "There is no GPU of this number: look at `nvidia-smi` and CUDA_VISIBLE_DEVICES.",
    "CUDA_ERROR_NOT_INITIALIZED": "A process that was forked from one that uses the GPU cannot use it: start it anew "
                                  "(multiprocessing's method `spawn`), or let it run with device=cpu.",
    "CUDA_ERROR_ILLEGAL_ADDRESS": "The GPU cannot be used by this process any more. Please report this, with the "
                                  "output of `python -m graphk doctor`.",
}


def find_driver() -> Any:
    """The module of the driver's functions; `DeviceError` says what is missing."""
    try:
        from cuda.bindings import driver
    except ImportError:
        raise DeviceError("GPUs need the package `cuda-bindings`, which is not installed. Install what graphk needs "
                          "with `pip install graphk[cuda13]` (or `graphk[cuda12]` for drivers before CUDA 13)."
                          ) from None
    try:
        error, = driver.cuInit(0)
    except Exception as e:  # noqa: BLE001 - what the bindings raise where there is no driver differs by version
        raise DeviceError(f"no NVIDIA driver answers on this machine ({type(e).__name__}); install the driver, and see "
                          "that `nvidia-smi` lists a GPU. Use device=cpu meanwhile.") from None
    Driver(driver).check("cuInit", (error,))
    return driver


class Driver:
    """Calls of the driver, each checked: `driver.cuMemAlloc(8)` is its result."""

    def __init__(self, module: Any):
        self.module = module

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.module, name)
        return lambda *args: self.check(name, function(*args))

    def check(self, name: str, answer: tuple[Any, ...]) -> Any:
        """What a call returned, or `DeviceError`."""
        error, *values = answer
        if int(error) != 0:
            word = str(getattr(error, "name", error))
            raise DeviceError(f"{name} failed: {word} ({int(error)}). {ADVICE.get(word, '')}".rstrip())
        return values[0] if len(values) == 1 else tuple(values)


class CudaWork(Work):
    """Work while a stream is captured."""

    def __init__(self, device: CudaDevice, streams: Sequence[Any]):
        self.device, self.driver = device, device.driver
        self.streams = streams
        self.at = 0
        self.forked = {0}

    def lane(self, number: int) -> None:
        if number not in self.forked:
            self.driver.cuStreamWaitEvent(self.streams[number], self._event(0), 0)
            self.forked.add(number)
        self.at = number

    def _event(self, lane: int) -> Any:
        """An event behind all that the lane holds."""
        event = self.device.event()
        self.driver.cuEventRecord(event, self.streams[lane])
        return event

    def join(self) -> None:
        for lane in sorted(self.forked - {0}):
            self.driver.cuStreamWaitEvent(self.streams[0], self._event(lane), 0)
        self.at, self.forked = 0, {0}

    def launch(self, function: object, blocks: int, threads: tuple[int, ...], args: Sequence[int]) -> None:
        x, y, z = (*threads, 1, 1)[:3]
        values = np.array(args, np.int64)
        places = values.ctypes.data + 8 * np.arange(len(args), dtype=np.uint64)
        self.driver.cuLaunchKernel(function, blocks, 1, 1, x, y, z, 0, self.streams[self.at],
                                   int(places.ctypes.data), 0)

    def call(self, run: Run) -> None:
        run(self.streams[self.at], self.at)

    def upload(self, address: int, staging: np.ndarray) -> None:
        if staging.nbytes:
            self.driver.cuMemcpyHtoDAsync(address, staging.ctypes.data, staging.nbytes, self.streams[self.at])

    def download(self, staging: np.ndarray, address: int) -> None:
        if staging.nbytes:
            self.driver.cuMemcpyDtoHAsync(staging.ctypes.data, address, staging.nbytes, self.streams[self.at])


class CudaDevice(Device):
    """One GPU.  `module`: the driver's functions, each returning (error, results ...)."""

    threads, tile, kind = THREADS, TILE, dlpack.CUDA

    def __init__(self, module: Any, number: int,
                 compile_source: Callable[[CudaSource, tuple[int, int]], dict[str, str]] = cuda_compile.compile_ptx):
        super().__init__()
        self.module, self.driver, self._compile = module, Driver(module), compile_source
        self.number = number
        handle = self.driver.cuDeviceGet(number)
        model = bytes(self.driver.cuDeviceGetName(128, handle)).split(b"\0")[0].decode()
        self.name = f"gpu:{number} ({model})"
        kinds = module.CUdevice_attribute
        major, minor, *place = (int(self.driver.cuDeviceGetAttribute(kind, handle)) for kind in (
            kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            kinds.CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID, kinds.CU_DEVICE_ATTRIBUTE_PCI_BUS_ID,
            kinds.CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID))
        self.capability = major, minor
        self.place = "PCI {:04x}:{:02x}:{:02x}".format(*place)
        self.context = self.driver.cuDevicePrimaryCtxRetain(handle)
        self.enter()
        *self.streams, copies, results = [self.driver.cuStreamCreate(module.CUstream_flags.CU_STREAM_NON_BLOCKING)
                                          for _ in range(LANES + 2)]
        self.ends = [copies, results]              # of what comes before recorded work, and what is behind it
        self.stream = int(self.streams[0])
        self._events: list[Any] = []
        self._modules: list[Any] = []

    def enter(self) -> None:
        self.driver.cuCtxSetCurrent(self.context)

    @contextlib.contextmanager
    def visit(self) -> Iterator[None]:
        self.driver.cuCtxPushCurrent(self.context)
        try:
            yield
        finally:
            self.driver.cuCtxPopCurrent()

    def event(self) -> Any:
        self._events.append(self.driver.cuEventCreate(self.module.CUevent_flags.CU_EVENT_DISABLE_TIMING))
        return self._events[-1]

    # -------------------------------------------------------------- memory
    def allocate_once(self, nbytes: int) -> int:
        self.enter()
        error, *address = self.module.cuMemAlloc(max(nbytes, 1))
        if error == self.module.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            raise OutOfDeviceMemory(self.name, nbytes, *self.room())
        return int(self.driver.check("cuMemAlloc", (error, *address)))

    def free(self, address: int) -> None:
        with self.visit():
            self.driver.cuMemFree(address)

    def room(self) -> tuple[int, int]:
        self.enter()
        free, total = self.driver.cuMemGetInfo()
        return int(free), int(total)

    def staging(self, nbytes: int) -> np.ndarray:
        """Pinned memory, which copies without a stop on the way."""
        self.enter()
        address = int(self.driver.cuMemHostAlloc(max(nbytes, 1), 0))
        memory = (ctypes.c_uint8 * max(nbytes, 1)).from_address(address)
        weakref.finalize(memory, self._free_staging, address).atexit = False      # the process takes it along
        array: np.ndarray = np.frombuffer(memory, np.uint8)         # type: ignore[call-overload]
        return array[:nbytes]

    def _free_staging(self, address: int) -> None:
        with self.visit():
            self.driver.cuMemFreeHost(address)

    def upload(self, address: int, array: np.ndarray) -> None:
        array = np.ascontiguousarray(array)
        if array.nbytes:
            self.enter()
            self.driver.cuCtxSynchronize()                              # plain copies do not wait for graphk's streams
            self.driver.cuMemcpyHtoD(address, array.ctypes.data, array.nbytes)
            self.driver.cuCtxSynchronize()                              # a small copy returns before it has arrived

    def download(self, array: np.ndarray, address: int) -> None:
        if array.nbytes:
            self.enter()
            self.driver.cuCtxSynchronize()
            self.driver.cuMemcpyDtoH(array.ctypes.data, address, array.nbytes)

    def holds(self, address: int) -> bool:
        self.enter()
        kind = self.module.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        error, number = self.module.cuPointerGetAttribute(kind, address)
        return int(error) == 0 and int(number) == self.number

    def copy(self, address: int, source: int, nbytes: int) -> None:
        if nbytes:
            self.enter()
            self.driver.cuCtxSynchronize()                              # who wrote it has streams of its own
            self.driver.cuMemcpyDtoD(address, source, nbytes)
            self.driver.cuCtxSynchronize()

    def move(self, address: int, source: int, nbytes: int) -> None:
        if nbytes:
            self.enter()
            self.driver.cuMemcpyDtoDAsync(address, source, nbytes, self.streams[0])

    def before(self, stream: int) -> None:
        self.enter()
        event = self.driver.cuEventCreate(self.module.CUevent_flags.CU_EVENT_DISABLE_TIMING)
        try:
            self.driver.cuEventRecord(event, self.streams[0])
            self.driver.cuStreamWaitEvent(stream, event, 0)
        finally:
            self.driver.cuEventDestroy(event)          # which lasts as long as somebody waits for it

    def fetch(self, address: int, other: Device, source: int, nbytes: int) -> bool:
        if not isinstance(other, CudaDevice):
            return False
        if nbytes:
            for device in (other, self):
                device.enter()
                self.driver.cuCtxSynchronize()
            self.driver.cuMemcpyPeer(address, self.context, source, other.context, nbytes)
            self.driver.cuCtxSynchronize()
        return True

    # -------------------------------------------------------------- kernels
    def load(self, source: CudaSource) -> list[object]:
        self.enter()
        out: list[object] = []
        texts = self._compile(source, self.capability)
        for launch in source.launches:
            text = texts[launch.name]
            entry = re.search(r"\.entry\s+(\w+)", text)
            assert entry is not None
            module = self.driver.cuModuleLoadData(text.encode() + b"\0")
            self._modules.append(module)
            out.append(self.driver.cuModuleGetFunction(module, entry[1].encode()))
        return out

    # -------------------------------------------------------------- recordings
    def record(self, work: Callable[[Work], None], before: Callable[[Work], None] | None = None,
               behind: Callable[[Work], None] | None = None) -> Recording:
        self.enter()
        driver = self.driver
        # What comes before, the work and what is behind it have a stream each, in which each waits for the one before.
        parts = [(what, streams) for what, streams in ((before, self.ends[:1]), (work, self.streams),
                                                       (behind, self.ends[1:])) if what is not None]
        ready = [self._captured(what, streams) for what, streams in parts]
        first = [streams[0] for _, streams in parts]
        done = [driver.cuEventCreate(self.module.CUevent_flags.CU_EVENT_DISABLE_TIMING) for _ in parts[1:] and parts]

        def start() -> None:
            self.enter()
            for i, graph in enumerate(ready):
                if i:
                    driver.cuStreamWaitEvent(first[i], done[i - 1], 0)
                driver.cuGraphLaunch(graph, first[i])
                if done:
                    driver.cuEventRecord(done[i], first[i])

        def wait() -> None:
            self.enter()
            if done:
                driver.cuEventSynchronize(done[-1])
            else:
                driver.cuStreamSynchronize(first[0])
        recording = Recording(start, wait)
        weakref.finalize(recording, self._forget, ready, done).atexit = False
        return recording

    def _captured(self, work: Callable[[Work], None], streams: Sequence[Any]) -> Any:
        """What replays work that is recorded on streams."""
        driver, first = self.driver, streams[0]
        # Relaxed: a library may load its kernels when it is first asked for them.
        driver.cuStreamBeginCapture(first, self.module.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED)
        recorder = CudaWork(self, streams)
        try:
            work(recorder)
            recorder.join()
        except BaseException:
            _, *unfinished = self.module.cuStreamEndCapture(first)      # ends the capture, whatever it holds
            if unfinished and int(unfinished[0]):
                self.module.cuGraphDestroy(unfinished[0])
            raise
        finally:
            events, self._events = self._events, []
        graph = driver.cuStreamEndCapture(first)
        ready = driver.cuGraphInstantiate(graph, 0)
        driver.cuGraphDestroy(graph)
        for event in events:
            driver.cuEventDestroy(event)
        return ready

    def finish(self) -> None:
        self.enter()
        self.driver.cuCtxSynchronize()

    def _forget(self, ready: list[Any], events: list[Any]) -> None:
        with self.visit():
            for graph in ready:
                self.driver.cuGraphExecDestroy(graph)
            for event in events:
                self.driver.cuEventDestroy(event)
        events.clear()                             # in a cycle, who waits for them may be collected later


def open_device(number: int) -> CudaDevice:
    """The GPU of a number; `DeviceError` or `CudaMissing` says what is missing."""
    driver = find_driver()
    cuda_compile.require()
    count = Driver(driver).cuDeviceGetCount()
    if not 0 <= number < count:
        raise DeviceError(f"there is no gpu:{number}: this machine has {count}. See `nvidia-smi` and "
                          f"CUDA_VISIBLE_DEVICES.")
    device = CudaDevice(driver, number)
    found = {Product: (CublasLt, find_library("cublasLt")), Convolution: (Cudnn, find_library("cudnn"))}
    if any(functions is not None for _, functions in found.values()):
        memory = device.allocate(LANES * WORKSPACE)
        device.libraries.update({kind: library(functions, memory, WORKSPACE)
                                 for kind, (library, functions) in found.items() if functions is not None})
    cudnn = device.libraries.get(Convolution)
    if isinstance(cudnn, Cudnn):
        device.recurrent = CudnnRecurrent(cudnn)
    return device


__all__ = ["CudaDevice", "Driver", "find_driver", "open_device"]
