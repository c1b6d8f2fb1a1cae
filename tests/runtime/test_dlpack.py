"""DLPack capsules of memory that is not the host's: what is written in them, beside other libraries."""
import gc
import weakref

import numpy as np
import pytest

from graphk.runtime import dlpack

DTYPES = ["float16", "float32", "float64", "int8", "int32", "int64", "uint8", "uint32", "bool"]
PINNED, CUDA = 3, dlpack.CUDA


class Owner:
    pass


class Given:
    """Host memory, said to be a device's."""

    def __init__(self, array, device=(dlpack.CPU, 0), owner=None, read_only=False):
        self.array, self.device, self.owner, self.read_only = array, device, owner, read_only

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, stream=None, max_version=None, **_):
        a = self.array
        return dlpack.made(a.ctypes.data, a.shape, a.dtype, self.owner or a, self.device, self.read_only, max_version)


def some(dtype, shape=(2, 3)):
    return np.asarray(np.random.RandomState(0).rand(*shape) * 4).astype(dtype)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0, 3), (1, 2, 1)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_takes_what_is_made(dtype, shape):
    """Pinned memory is the one that numpy takes beside its own: so the device is where numpy looks for it."""
    a = some(dtype, shape)
    got = np.from_dlpack(Given(a, (PINNED, 0)))
    assert got.dtype == a.dtype and got.shape == a.shape and (np.shares_memory(got, a) or not a.size)
    np.testing.assert_array_equal(got, a)
    with pytest.raises(RuntimeError, match="Unsupported device"):
        np.from_dlpack(Given(a, (CUDA, 0)))


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0, 3), (1, 2, 1)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_made_is_read_again(dtype, shape):
    a = some(dtype, shape)
    seen = dlpack.read(Given(a, (CUDA, 3)).__dlpack__())
    assert (seen.shape, seen.dtype, seen.flags.c_contiguous) == (a.shape, a.dtype, True)
    assert seen.ctypes.data == a.ctypes.data or not a.size


def test_what_others_make_is_read():
    a = some("float32", (4, 6))
    for part in (a, a[::2], a.T, a[:, 1:3], a[1]):
        seen = dlpack.read(part.__dlpack__())
        assert (seen.ctypes.data, seen.shape, seen.strides) == (part.ctypes.data, part.shape, part.strides)
        assert seen.flags.c_contiguous == part.flags.c_contiguous


def test_memory_lasts_as_long_as_somebody_has_the_capsule_or_what_came_of_it():
    a, owner = some("float32"), Owner()
    gone = weakref.ref(owner)
    capsule = Given(a, (CUDA, 0), owner).__dlpack__()
    seen = dlpack.read(capsule)
    part = seen[1:]
    del owner, capsule, seen
    gc.collect()
    assert gone() is not None
    del part
    gc.collect()
    assert gone() is None
    owner = Owner()
    gone = weakref.ref(owner)
    capsule = Given(a, (CUDA, 0), owner).__dlpack__()
    del owner, capsule                                         # nobody took it
    gc.collect()
    assert gone() is None


def test_a_capsule_is_taken_once():
    capsule = Given(some("float32"), (CUDA, 0)).__dlpack__()
    dlpack.read(capsule)
    with pytest.raises(BufferError, match="expected a DLPack capsule, received <capsule object \"used_dltensor\""):
        dlpack.read(capsule)


def test_a_type_that_numpy_does_not_know_leaves_the_capsule():
    import ctypes
    capsule = Given(some("float16"), (CUDA, 5)).__dlpack__()
    place = dlpack._device_in(capsule)
    kind = ctypes.c_uint8.from_address(ctypes.addressof(place) + 12)      # behind the device: axes, then the type
    assert kind.value == 2
    kind.value = 4                                             # bfloat16
    with pytest.raises((RuntimeError, BufferError)):
        dlpack.read(capsule)
    assert list(dlpack._device_in(capsule)) == [CUDA, 5]


@pytest.mark.skipif(not dlpack._VERSIONED, reason="numpy makes no capsules of version 1")
def test_memory_that_is_only_to_be_read():
    a = some("float32")
    assert not np.from_dlpack(Given(a, (PINNED, 0), read_only=True)).flags.writeable
    assert np.from_dlpack(Given(a, (PINNED, 0))).flags.writeable
    with pytest.raises(BufferError, match="from version 1 on, which was not asked for"):
        Given(a, (CUDA, 0), read_only=True).__dlpack__()
    versioned = Given(a, (CUDA, 1)).__dlpack__(max_version=(1, 0))
    assert "versioned" in repr(versioned) and list(dlpack._device_in(versioned)) == [CUDA, 1]
    np.testing.assert_array_equal(dlpack.read(versioned), a)


@pytest.mark.peers
@pytest.mark.parametrize("library", ["torch", "jax"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_other_libraries_take_and_give(library, dtype):
    module = pytest.importorskip(library)
    if library == "jax":
        from jax import dlpack as theirs
        if np.dtype(dtype).itemsize == 8:
            pytest.skip("jax has 32 bits unless it is told")
    else:
        theirs = module
    a = some(dtype, (4, 2))
    there = theirs.from_dlpack(Given(a))
    np.testing.assert_array_equal(np.asarray(there), a)
    seen = dlpack.read(there.__dlpack__())
    assert (seen.shape, seen.dtype) == (a.shape, a.dtype)
    np.testing.assert_array_equal(seen, a)
    with pytest.raises((BufferError, TypeError), match="(?i)unsupported.*device.?type"):
        theirs.from_dlpack(Given(a, (99, 0)))                  # they read the device where it is written
