"""Calls of vendors' libraries: what cuBLASLt is told, in Python, and the real one as far as that needs no GPU."""
import ctypes
from dataclasses import replace

import numpy as np
import pytest

from graphk.runtime.device import DeviceError
from graphk.runtime.library import Matrix, Places, Product, Refused
from graphk.runtime.library_cublas import (ALIGNMENT_B, BATCH_COUNT, BATCH_OFFSET, BIAS_POINTER, EPILOGUE,
                                           MAX_WORKSPACE, TRANSA, TRANSB, CublasLt, Heuristic, find_cublaslt)
from graphk.runtime.library_sim import compute
from tests.gpu.fake_cublaslt import installed
from tests.gpu.test_driver import made

DENSE = Product(3, 5, 4, 1, "float32", Matrix(4, 1), Matrix(5, 1), Matrix(5, 1), bias=True, relu=True)
NEEDS_LIBRARY = pytest.mark.skipif(find_cublaslt() is None, reason="cuBLASLt is not installed: "
                                   "pip install graphk[cuda13]")


def random_product(seed):
    """A product, and arrays large enough for it; all transposes, gaps between rows, batches, epilogues, types."""
    rng = np.random.default_rng(seed)
    m, n, k = (int(x) for x in rng.integers(1, 6, 3))
    batch = int(rng.integers(1, 4))

    def matrix(rows, columns, transposed):
        inner, outer = (rows, columns) if transposed else (columns, rows)
        leading = inner + int(rng.integers(3))
        return Matrix(*((1, leading) if transposed else (leading, 1)), leading * outer + int(rng.integers(3)))
    dtype = str(rng.choice(["float32", "float32", "float64", "float16", "bfloat16"]))
    left, right = matrix(m, k, rng.integers(2)), matrix(k, n, rng.integers(2))
    out, added = matrix(m, n, False), matrix(m, n, False)
    p = Product(m, n, k, batch, dtype, left, right, out, bool(rng.integers(2)), added if rng.integers(2) else None,
                bool(rng.integers(2)), tf32=dtype == "float32" and bool(rng.integers(2)))
    sizes = [left.reach(m, k, batch), right.reach(k, n, batch), out.reach(m, n, batch), n, added.reach(m, n, batch)]
    arrays = [rng.standard_normal(size).astype(p.result) for size in sizes]
    if dtype == "float16":
        arrays[:2] = (a.astype("float16") for a in arrays[:2])
    elif dtype == "bfloat16":
        arrays[:2] = (np.ascontiguousarray(a.view(np.uint16)[1::2]) for a in arrays[:2])
    return p, arrays


@pytest.mark.parametrize("seed", range(60))
def test_a_product_in_columns_is_the_product_in_rows(seed):
    """The call of cuBLASLt against numpy's reading of the same description; at addresses of any alignment."""
    p, arrays = random_product(seed)
    driver, device = made()
    installed(driver, device)
    at = [device.allocate(a.nbytes + 64) + 8 * (seed % 5) for a in arrays]
    for address, a in zip(at, arrays):
        device.upload(address, a)
    places = Places(at[0], at[1], at[2], at[3] if p.bias else 0, at[4] if p.added else 0)

    def work(w):
        w.lane(seed % 3)
        w.call(device.libraries[Product].ask(p, places))
    device.record(work)()
    memory = dict(zip(at, (a.copy() for a in arrays)))
    compute(lambda address, dtype: memory[address], p, places)
    for address, want in memory.items():
        got = np.empty_like(want)
        device.download(got, address)
        if want.dtype == np.uint16:
            np.testing.assert_array_equal(got, want)
        else:
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_an_algorithm_is_asked_for_once_for_a_product_and_an_alignment():
    driver, device = made()
    fake = installed(driver, device)
    at = device.allocate(4096)
    for offset in (0, 256, 512, 4, 12):
        device.libraries[Product].ask(DENSE, Places(at, at + 1024 + offset, at + 2048, at + 3072))
    assert fake.asked == 2
    assert [x["kind"] for x in fake.alive.values()].count("preference") == 0


def test_what_has_no_algorithm_is_refused_and_leaves_no_descriptor():
    driver, device = made()
    fake = installed(driver, device)
    fake.refuse = True
    before = len(fake.alive)
    for _ in range(2):
        with pytest.raises(Refused, match=r"no algorithm \(CUBLAS_STATUS_15\)"):
            device.libraries[Product].ask(DENSE, Places(256, 512, 1024, 2048))
    assert len(fake.alive) == before and fake.asked == 1


def test_a_status_is_an_error_with_the_function_and_a_cure(monkeypatch):
    driver, device = made()
    fake = installed(driver, device)
    monkeypatch.setattr(fake, "cublasLtMatmulDescCreate", lambda *args: 7)
    with pytest.raises(DeviceError, match=r"cublasLtMatmulDescCreate failed: CUBLAS_STATUS_7 \(7\). cuBLAS must be of "
                                          "the CUDA version"):
        device.libraries[Product].ask(DENSE, Places(256, 512, 1024, 2048))


# ------------------------------------------------------------------ the real one
class Real:
    """Calls of the real library as far as it makes descriptors, which it does without a GPU."""

    def __init__(self):
        self.made = CublasLt.__new__(CublasLt)
        self.made.functions, self.made.size = find_cublaslt(), 1 << 20
        self.made.functions.cublasLtGetStatusName.restype = ctypes.c_char_p

    def read(self, kind, what, attribute, ctype):
        value, written = ctype(), ctypes.c_size_t()
        self.made.check(f"cublasLt{kind}GetAttribute", what, attribute, ctypes.byref(value),
                        ctypes.c_size_t(ctypes.sizeof(value)), ctypes.byref(written))
        assert written.value == ctypes.sizeof(value)
        return value.value


@NEEDS_LIBRARY
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_the_real_library_takes_every_attribute(dtype):
    real = Real()
    p = replace(DENSE, dtype=dtype, left=Matrix(1, 3, 12), right=Matrix(5, 1, 20), out=Matrix(6, 1, 18), batch=2)
    operation = real.made.operation(p)
    real.made._bias(operation, 4096)
    assert real.read("MatmulDesc", operation, TRANSA, ctypes.c_int32) == 0
    assert real.read("MatmulDesc", operation, TRANSB, ctypes.c_int32) == 1
    assert real.read("MatmulDesc", operation, EPILOGUE, ctypes.c_uint32) == 6
    assert real.read("MatmulDesc", operation, BIAS_POINTER, ctypes.c_uint64) == 4096
    assert real.read("MatmulDesc", operation, 0, ctypes.c_uint32) == (70 if dtype == "float64" else 68)
    for layout, want in zip(real.made.layouts(p), [(5, 4, 5, 20), (3, 4, 3, 12), (5, 3, 6, 18), (5, 3, 6, 18)]):
        kinds = (2, ctypes.c_uint64), (3, ctypes.c_uint64), (4, ctypes.c_int64), (BATCH_OFFSET, ctypes.c_int64)
        shape = [real.read("MatrixLayout", layout, a, c) for a, c in kinds]
        assert tuple(shape) == want and real.read("MatrixLayout", layout, BATCH_COUNT, ctypes.c_int32) == 2
    preference = real.made.preference((256, 16, 4, 256))
    assert real.read("MatmulPreference", preference, MAX_WORKSPACE, ctypes.c_uint64) == 1 << 20
    assert real.read("MatmulPreference", preference, ALIGNMENT_B, ctypes.c_uint32) == 16


@NEEDS_LIBRARY
def test_tf32_is_a_type_of_computation_of_its_own():
    real = Real()
    kinds = [real.read("MatmulDesc", real.made.operation(replace(DENSE, tf32=on)), 0, ctypes.c_uint32)
             for on in (False, True)]
    assert kinds == [68, 77]
    assert ctypes.sizeof(Heuristic) == 64 + 8 + 4 + 4 + 16


@NEEDS_LIBRARY
def test_the_real_library_without_a_gpu_says_so():
    from graphk.inspection.installation_gpu import cuda_devices
    if cuda_devices()[0]:
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceError, match=r"cublasLtCreate failed: CUBLAS_STATUS_NOT_INITIALIZED \(1\)"):
        CublasLt(find_cublaslt(), None, 1 << 20)
