"""Calls of vendors' libraries: what cuBLASLt is told, in Python, and the real one as far as that needs no GPU."""
import ctypes
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graphk.codegen import cuda_compile
from graphk.codegen.cuda import print_cuda
from graphk.ir.program import flat_steps
from graphk.passes.mixed import mixed
from graphk.passes.pipeline import run_passes
from graphk.runtime import library_match
from graphk.runtime.device import DeviceError
from graphk.runtime.device_sim import SimDevice
from graphk.runtime.library import Convolution, Matrix, Places, Product, Refused, Tensor, find_library
from graphk.runtime.library_cublas import (ALIGNMENT_B, AUX_POINTER, AUX_ROW, BATCH_COUNT, BATCH_OFFSET, BIAS_POINTER,
                                           EPILOGUE, MAX_WORKSPACE, TRANSA, TRANSB, CublasLt, Heuristic)
from graphk.runtime.library_sim import NumpyLibrary, compute
from graphk.runtime.library_steps import LibrarySteps
from tests.codegen.cuda_models import MODELS, train_step
from tests.gpu.fake_cublaslt import installed
from tests.gpu.fake_cudnn import installed as convolving
from tests.gpu.test_driver import made

DENSE = Product(3, 5, 4, 1, "float32", Matrix(4, 1), Matrix(5, 1), Matrix(5, 1), bias=True, activation="relu")
NEEDS_LIBRARY = pytest.mark.skipif(find_library("cublasLt") is None, reason="cuBLASLt is not installed: "
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
                str(rng.choice(["", "relu", "gelu"])), tf32=dtype == "float32" and bool(rng.integers(2)))
    beside = rng.integers(4) if batch == 1 else 0
    if beside and p.activation:                    # it writes what a slope needs, or reads it
        p = replace(p, aux=Matrix(128 if p.activation == "relu" else 8, 1), slope=beside == 1,
                    **({"bias": False, "added": None} if beside == 1 else {}))
    elif beside:
        p = replace(p, bias=False, totals=True)
    sizes = [left.reach(m, k, batch), right.reach(k, n, batch), out.reach(m, n, batch), n, added.reach(m, n, batch),
             8 * m, n]
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
    at = [device.allocate(a.nbytes + 64) + (16 if i == 5 else 8) * (seed % 5) for i, a in enumerate(arrays)]
    for address, a in zip(at, arrays):
        device.upload(address, a)
    places = Places(at[0], at[1], at[2], at[3] if p.bias else 0, at[4] if p.added else 0, at[5] if p.aux else 0,
                    at[6] if p.totals else 0)

    run = device.libraries[Product].ask(p, places)

    def work(w):
        w.lane(seed % 3)
        w.call(run)
    device.record(work)()
    memory = dict(zip(at, (a.copy() for a in arrays)))
    compute(lambda address, dtype: memory[address].view(dtype), p, places)
    for address, want in memory.items():
        got = np.empty_like(want)
        device.download(got, address)
        if address == at[5] and p.activation == "relu" and p.aux:
            bits = (np.unpackbits(a.view(np.uint8)[:16 * p.m].reshape(p.m, 16), axis=1, bitorder="little")[:, :p.n]
                    for a in (got, want))
            np.testing.assert_array_equal(*bits)
        elif want.dtype == np.uint16:
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


# ------------------------------------------------------------------ convolutions
IMAGE = Convolution(Tensor((2, 3, 6, 7), (126, 1, 21, 3)), Tensor((4, 3, 2, 3), (18, 1, 9, 3)),
                    Tensor((2, 4, 5, 5), (100, 1, 20, 4)), (1, 1), (1, 1), "float32")


def random_convolution(seed):
    """A convolution, or the gradient of its filters, and arrays for x, w and y; any layout, with gaps."""
    rng = np.random.default_rng(seed)
    rank = int(rng.choice([2, 2, 3]))
    window, steps, dilations, places = (tuple(int(v) for v in rng.integers(1, top, rank)) for top in (4, 3, 3, 4))
    extents = [(p - 1) * s + (k - 1) * d + 1 for p, s, k, d in zip(places, steps, window, dilations)]
    pads = tuple((int(b) % e, int(a) % (e - int(b) % e)) for e, (b, a) in zip(extents, rng.integers(0, 3, (rank, 2))))
    extents = [e - b - a for e, (b, a) in zip(extents, pads)]
    n, c, f = (int(v) for v in rng.integers(1, 4, 3))
    last = bool(rng.integers(2))

    def tensor(first, second, rest, gap):
        order = [0, *range(2, 2 + rank), 1] if last else range(2 + rank)
        sizes, strides, step = (first, second, *rest), [0] * (2 + rank), 1
        for d in reversed(order):
            strides[d] = step
            step = step * sizes[d] + gap
        return Tensor(sizes, tuple(strides))
    dtype = str(rng.choice(["float32", "float64", "float16", "bfloat16"]))
    asked = Convolution(tensor(n, c, extents, int(rng.integers(2))), tensor(f, c, window, 0), tensor(n, f, places, 0),
                        steps, dilations, dtype, bool(rng.integers(2)), paddings=pads if any(map(any, pads)) else ())
    if not asked.gradient:
        z = tensor(n, f, places, 0)
        asked = replace(asked, bias=bool(rng.integers(2)), added=z if rng.integers(2) else None,
                        activation=str(rng.choice(["", "relu"])))
    kinds = [dtype, asked.result, dtype] if asked.gradient else [dtype, dtype, asked.result]
    arrays = [bits(rng.standard_normal(t.reach), kind) for t, kind in zip((asked.x, asked.w, asked.y, asked.y), [
        *kinds, asked.result])]
    return asked, [*arrays, rng.standard_normal(f).astype(asked.result)]


def bits(a, dtype):
    """Numbers of a type; of bfloat16 as it lies in memory."""
    return (a.astype("f").view("uint32") >> 16).astype("uint16") if dtype == "bfloat16" else a.astype(dtype)


@pytest.mark.parametrize("seed", range(60))
def test_a_convolution_is_what_cudnn_computes_from_its_tensors(seed):
    """The call of cuDNN against numpy's reading of the same description; at addresses of any alignment."""
    asked, arrays = random_convolution(seed)
    driver, device = made()
    fake = convolving(driver, device)
    at = [device.allocate(a.nbytes + 64) + 8 * (seed % 5) for a in arrays]
    for address, a in zip(at, arrays):
        device.upload(address, a)
    places = Places(at[0], at[2], at[1]) if asked.gradient else Places(
        at[0], at[1], at[2], at[4] if asked.bias else 0, at[3] if asked.added else 0)

    run = device.libraries[Convolution].ask(asked, places)

    def work(w):
        w.lane(seed % 3)
        w.call(run)
    device.record(work)()
    memory = dict(zip(at, (a.copy() for a in arrays)))
    compute(lambda address, dtype: memory[address], asked, places)
    for address, want in memory.items():
        got = np.empty_like(want)
        device.download(got, address)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    assert fake.called == 1 and fake.taken == [(5,) if asked.dtype == "float32" else (0, 5)]


def test_tensor_cores_only_for_tf32():
    driver, device = made()
    fake = convolving(driver, device)
    at = device.allocate(1 << 14)
    for tf32 in (False, True):
        run = device.libraries[Convolution].ask(replace(IMAGE, tf32=tf32), Places(at, at + 4096, at + 8192))
        device.record(lambda w, run=run: w.call(run))()
    assert fake.taken == [(5,), (0, 5)]


def test_a_plan_is_made_once_for_a_convolution_and_an_alignment():
    driver, device = made()
    fake = convolving(driver, device)
    for offset in (0, 256, 512, 4, 12):
        device.libraries[Convolution].ask(IMAGE, Places(4096, 8192 + offset, 65536))
    assert [d["kind"] for d in fake.alive.values()].count("plan") == 2
    kinds = {d["kind"] for d in fake.alive.values()}
    assert not kinds & {"pack", "engine", "heuristic"}
    assert [d["kind"] for d in fake.alive.values()].count("config") == 2


def test_what_cudnn_has_no_engine_for_is_refused(monkeypatch):
    driver, device = made()
    fake = convolving(driver, device)
    fake.refuse = True
    before = len(fake.alive)
    with pytest.raises(Refused, match="^no engine$"):
        device.libraries[Convolution].ask(IMAGE, Places(4096, 8192, 65536))
    assert len(fake.alive) == before, "it leaves no descriptor"
    fake.refuse = False
    monkeypatch.setattr("tests.gpu.fake_cudnn.ENGINES", [((4,), 0)])
    with pytest.raises(Refused, match="no engine that adds in one order and in all bits"):
        device.libraries[Convolution].ask(replace(IMAGE, tf32=True), Places(4096, 8192, 65536))
    narrow = replace(IMAGE, x=replace(IMAGE.x, extents=(2, 3, 6, 9)))
    with pytest.raises(Refused, match="CUDNN_STATUS_2000"):
        device.libraries[Convolution].ask(narrow, Places(4096, 8192, 65536))


# ------------------------------------------------------------------ kernels before and behind
@pytest.mark.skipif(not cuda_compile.available(), reason="PTX needs the package numba-cuda: pip install graphk[cuda13]")
@pytest.mark.parametrize("narrow", ["", "float16", "bfloat16"])
@pytest.mark.parametrize("name", MODELS)
def test_kernels_around_a_call_compile(name, narrow, monkeypatch):
    monkeypatch.setattr(library_match, "LONG", 1)
    graph, arrays, _ = train_step(name)
    program = run_passes(mixed(graph, narrow) if narrow else graph, phase=1).program
    device = SimDevice()
    device.libraries = dict.fromkeys((Product, Convolution), NumpyLibrary(device.view))
    steps = LibrarySteps(program, device)
    found = [steps.find(s, dict.fromkeys(program.dims, 3)) for s in flat_steps(program.steps)]
    matches = [f.match for f in found if not isinstance(f, str)]
    around = {k for m in matches for k in (*(p.kernel for p in m.packs), m.epilogue)}
    for i, kernel in enumerate(k for k in around if k is not None):
        capability = cuda_compile.CAPABILITIES[i % 4]
        for text in cuda_compile.compile_ptx(print_cuda(kernel, tile=16), capability).values():
            assert f".target sm_{capability[0]}{capability[1]}" in text and ".extern .func" not in text
    types = {p.dtype for k in around if k is not None for p in k.params}
    assert len(around) > 1 and (not narrow or {"float16": "float16", "bfloat16": "int16"}[narrow] in types)


# ------------------------------------------------------------------ the real one
class Real:
    """Calls of the real library as far as it makes descriptors, which it does without a GPU."""

    def __init__(self):
        self.made = CublasLt.__new__(CublasLt)
        self.made.functions, self.made.size = find_library("cublasLt"), 1 << 20
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
    real.made._ends(operation, Places(0, 0, 0, 4096))
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
@pytest.mark.parametrize("epilogue, what", [
    (134, {"activation": "relu", "aux": Matrix(128, 1)}), (136, {"activation": "relu", "aux": Matrix(128, 1),
                                                                "slope": True, "bias": False}),
    (36, {"activation": "gelu"}), (164, {"activation": "gelu", "aux": Matrix(8, 1)}),
    (192, {"activation": "gelu", "aux": Matrix(8, 1), "slope": True, "bias": False}),
    (256, {"activation": "", "bias": False, "totals": True})])
def test_the_real_library_takes_what_is_written_for_others(epilogue, what):
    real = Real()
    p = replace(DENSE, **what)
    operation = real.made.operation(p)
    real.made._ends(operation, Places(0, 0, 0, 4096 if p.bias else 0, 0, 8192 if p.aux else 0, 512 if p.totals else 0))
    assert real.read("MatmulDesc", operation, EPILOGUE, ctypes.c_uint32) == epilogue
    assert real.read("MatmulDesc", operation, BIAS_POINTER, ctypes.c_uint64) == (
        4096 if p.bias else 512 if p.totals else 0)
    assert real.read("MatmulDesc", operation, AUX_POINTER, ctypes.c_uint64) == (8192 if p.aux else 0)
    assert real.read("MatmulDesc", operation, AUX_ROW, ctypes.c_int64) == (p.aux.row if p.aux else 0)


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
        CublasLt(find_library("cublasLt"), 0, 1 << 20)


# What real cuDNN says of convolutions: it checks extents and strides when an operation is finished.  It wants a driver
# to be there, and asks it for nothing then: without one, functions of the right names do.
STUB = "".join(f"int {name}() {{ return 100; }}\n" for name in (
    "cuInit", "cuGetErrorString", "cuModuleGetFunction", "cuModuleLoadData", "cuModuleUnload",
    "cuTensorMapEncodeIm2col", "cuTensorMapEncodeTiled"))
CHECK = """
import ctypes
from graphk.runtime.library import Refused, find_library
from graphk.runtime.library_cudnn import Cudnn
from tests.codegen.test_cuda_libs import IMAGE, random_convolution
from dataclasses import replace
cudnn = Cudnn.__new__(Cudnn)
cudnn.functions = find_library("cudnn")
cudnn.functions.cudnnGetErrorString.restype = ctypes.c_char_p
asked = [random_convolution(seed)[0] for seed in range(200)]
kept = []
for c in asked:
    size = 8 if c.result == "float64" else 4
    cudnn.operations(c, {1: size * 2 ** (len(c.steps) % 3), 2: 256, 3: 16, 4: 16, 5: 16}, kept)
try:
    cudnn.operations(replace(IMAGE, x=replace(IMAGE.x, extents=(2, 3, 6, 9))), {1: 256, 2: 256, 3: 256}, kept)
except Refused as e:
    print(len(asked), e)
"""


@pytest.mark.skipif(find_library("cudnn") is None, reason="cuDNN is not installed: pip install graphk[cudnn]")
def test_the_real_cudnn_takes_every_convolution(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        compiler = shutil.which("cc") or pytest.skip("there is neither a driver nor a compiler of C")
        (tmp_path / "stub.c").write_text(STUB)
        subprocess.run([compiler, "-shared", "-fPIC", "-w", "-Wl,-soname,libcuda.so.1", "-o",
                        str(tmp_path / "libcuda.so.1"), str(tmp_path / "stub.c")], check=True)
        env["LD_LIBRARY_PATH"] = f"{tmp_path}:{env.get('LD_LIBRARY_PATH', '')}"
    run = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, timeout=200, env=env)
    assert run.stdout == "200 CUDNN_STATUS_BAD_PARAM\n", run.stdout + run.stderr
