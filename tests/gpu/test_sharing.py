"""What a device has, and other libraries: capsules, CUDA's interface, streams, on the driver in Python."""
import gc

import numpy as np
import pytest

import graphk
from graphk import backend as K
from graphk.passes.pipeline import run_passes
from graphk.runtime import dlpack
from graphk.runtime.device_sim import SimDevice
from graphk.runtime.exchange import adopted
from graphk.runtime.gpu import GpuExecutable
from graphk.runtime.mirrors import in_place
from tests.gpu.conftest import SIMULATED
from tests.gpu.test_driver import made

pytestmark = pytest.mark.skipif(not SIMULATED, reason="the driver is played in Python")
X = np.random.RandomState(0).rand(8, 3).astype("float32")


def on_driver(x, seed=0):
    """A result on the driver in Python, which is not computed yet: driver, device, array."""
    driver, device = made(seed=seed)
    p = K.placeholder((None, 3))
    exe = GpuExecutable(run_passes(K.function([p], [p * 2])._graph), {}, device)
    exe.staying([x])
    driver.exe = exe
    return driver, device, exe.staying([x])[0]


def read_in(driver, stream, address, out):
    """A kernel of another library that reads, in a stream of its own."""
    driver.enqueue(stream, lambda: driver.sim.get(out, address))


@pytest.mark.parametrize("seed", range(4))
def test_who_takes_a_capsule_finds_the_result_computed(seed):
    driver, device, there = on_driver(X, seed)
    assert there.__dlpack_device__() == (dlpack.CUDA, 0) and not there.owner.shown
    stream = driver.cuStreamCreate(1)[1]
    alive = len(driver.alive)
    capsule = there.__dlpack__(stream=stream)
    assert driver.begun and there.owner.shown and len(driver.alive) == alive       # nobody waits, nothing is left
    seen, out = dlpack.read(capsule), np.zeros((8, 3), "float32")
    assert (seen.ctypes.data, seen.shape, seen.dtype) == (there.address, (8, 3), np.dtype("float32"))
    read_in(driver, stream, seen.ctypes.data, out)
    driver.cuCtxSynchronize()
    np.testing.assert_array_equal(out, X * 2)


@pytest.mark.parametrize("seed", range(4))
def test_what_another_library_still_reads_is_not_overwritten(seed):
    driver, device, there = on_driver(X, seed)
    stream, out = driver.cuStreamCreate(1)[1], np.zeros((8, 3), "float32")
    seen = dlpack.read(there.__dlpack__(stream=stream))
    del there
    gc.collect()
    read_in(driver, stream, seen.ctypes.data, out)
    address = seen.ctypes.data
    del seen                                                   # while its kernel has not run
    again = [driver.exe.staying([X * k])[0] for k in (3, 5)]
    assert again[0].address == address                         # its memory is used again, once that is done
    np.testing.assert_array_equal(out, X * 2)
    np.testing.assert_array_equal(np.asarray(again[0]), X * 6)


@pytest.mark.parametrize("seed", range(4))
def test_what_another_library_writes_is_found(seed):
    driver, device, there = on_driver(X, seed)
    stream = driver.cuStreamCreate(1)[1]
    there.__dlpack__(stream=stream)
    driver.enqueue(stream, lambda: driver.sim.put(there.address, X * 7))
    got = driver.exe.staying([there])[0]
    np.testing.assert_array_equal(np.asarray(got), X * 14)


def test_cudas_interface():
    driver, device, there = on_driver(X)
    assert driver.begun
    told = there.__cuda_array_interface__
    assert not driver.begun                                    # some do not look at the stream
    assert told == {"version": 3, "shape": (8, 3), "typestr": "<f4", "strides": None, "data": (there.address, False),
                    "stream": device.stream} and device.stream > 2
    assert there.owner.shown and adopted(there) is there
    assert there[:0].__cuda_array_interface__["data"] == (0, False)
    assert there[1:].__cuda_array_interface__["data"][0] == there.address + 12


def test_other_libraries_keep_their_context():
    driver, device, there = on_driver(X)
    stream, exe = driver.cuStreamCreate(1)[1], driver.exe
    driver.context = "theirs"
    seen = dlpack.read(there.__dlpack__(stream=stream))
    told, here = there.__cuda_array_interface__, np.asarray(there)
    assert driver.context == "theirs" and told["data"][0] == seen.ctypes.data
    np.testing.assert_array_equal(here, X * 2)
    with pytest.raises(BufferError):
        there.__dlpack__(stream=12345)
    del there, seen, exe, driver.exe
    gc.collect()
    assert device.pool.clear() and not driver.pinned and not driver.sim.memory
    assert driver.context == "theirs" and not driver.below


def test_streams_that_are_none():
    driver, device, there = on_driver(X)
    for wrong in (0, -2, "1", 1.5, True):
        with pytest.raises(BufferError, match=f"in the stream {wrong!r}; expected the address of a stream of CUDA's"):
            there.__dlpack__(stream=wrong)
    with pytest.raises(BufferError, match="in the stream 12345, which is none of that GPU's, or was destroyed: "
                                          "cuStreamWaitEvent failed: CUDA_ERROR_INVALID_HANDLE"):
        there.__dlpack__(stream=12345)
    assert not there.owner.shown
    there.__dlpack__(stream=-1)
    assert driver.begun
    other = np.from_dlpack(there, device="cpu") if dlpack._VERSIONED else np.asarray(there)
    np.testing.assert_array_equal(other, X * 2)
    for options in ({"dl_device": (dlpack.CUDA, 1)}, {"copy": True}, {"dl_device": (1, 0), "copy": False}):
        with pytest.raises(BufferError, match="is handed out where it is, without a copy; asked for"):
            there.__dlpack__(stream=-1, **options)


def test_the_simulators_memory_is_nobody_elses():
    x = K.placeholder((None, 3))
    there = K.function([x], [x * 2], device="simulator", results="device")([X])[0]
    assert not hasattr(there, "__cuda_array_interface__") and there.__dlpack_device__()[0] == dlpack.EXTENSION
    with pytest.raises(RuntimeError, match="Unsupported device"):
        np.from_dlpack(there)


class Theirs:
    """A GPU's array of a library that speaks DLPack alone."""

    def __init__(self, device, array, kind=dlpack.CUDA, strides=None):
        self.address = device.allocate(max(array.nbytes, 1))
        device.upload(self.address, array)
        self.array, self.kind, self.asked = array, kind, []

    def __dlpack_device__(self):
        return self.kind, 0

    def __dlpack__(self, **options):
        self.asked.append(options)
        return dlpack.made(self.address, self.array.shape, self.array.dtype, self, (self.kind, 0))


def test_arrays_that_come_as_capsules():
    driver, device = made()
    p = K.placeholder((None, 3))
    exe = GpuExecutable(run_passes(K.function([p], [p * 2])._graph), {}, device)
    for x in (X, X[:0]):
        theirs = Theirs(device, x)
        there = adopted(theirs)
        assert (there.address, there.shape, theirs.asked) == (theirs.address, x.shape, [{"stream": 1}])
        before = driver.sim.downloads
        got = exe.staying([there])[0]
        assert driver.sim.downloads == before
        np.testing.assert_array_equal(np.asarray(got), 2 * x)
        np.testing.assert_array_equal(exe([there])[0], 2 * x)
    with pytest.raises(TypeError, match=r"is an array float64\[8, 3\] on a GPU; expected f32"):
        exe([adopted(Theirs(device, X.astype("float64")))])
    with pytest.raises(TypeError, match="in the memory of another device than gpu:0"):
        exe([adopted(Theirs(SimDevice(), X))])


def test_other_libraries_cannot_write_a_variable():
    driver, device = made()
    there = in_place(X.copy(), device)
    assert there.__cuda_array_interface__["data"] == (there.address, True)
    with pytest.raises(BufferError, match="only to be read"):
        there.__dlpack__()
    if dlpack._VERSIONED:
        assert not dlpack.read(there.__dlpack__(max_version=(1, 0))).flags.writeable
    here = graphk.value_on_device(K.variable(X), "cpu")
    assert not here.flags.writeable
    np.testing.assert_array_equal(here, X)
