"""The driver's calls beside NVIDIA's own declarations: numbers of enumerators, and each call's arguments, through the
real package `cuda-bindings` into a libcuda in Python whose functions have the types of cuda.h."""
import ctypes
import enum
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gpu import fake_driver, fake_libcuda
from tests.gpu.conftest import SIMULATED

HEADER = fake_libcuda.header()
ROOT = Path(__file__).parents[2]
NEEDS_HEADER = pytest.mark.skipif(HEADER is None, reason="cuda.h is not installed: pip install graphk[cuda13]")
NEEDS_BINDINGS = pytest.mark.skipif(importlib.util.find_spec("cuda") is None, reason="cuda-bindings is not installed: "
                                    "pip install graphk[cuda13]")


def enumerations():
    return [x for x in vars(fake_driver).values() if isinstance(x, type) and issubclass(x, enum.IntEnum)
            and x.__module__ == fake_driver.__name__]


def calls():
    """Names of the driver's functions in graphk's text."""
    text = (ROOT / "graphk/runtime/device_cuda.py").read_text()
    return sorted(set(re.findall(r"(?:driver|module)\.(cu[A-Z]\w+)\(", text)))


@NEEDS_HEADER
def test_enumerators_have_the_headers_values():
    real = fake_libcuda.values(HEADER.read_text(errors="replace"))
    assert len(enumerations()) >= 6
    for kind in enumerations():
        for x in kind:
            assert real[x.name] == x.value, x
    text = (ROOT / "graphk/runtime/device_cuda.py").read_text()
    assert set(re.findall(r"\bCU_\w+|CUDA_ERROR_\w+", text)) <= set(real)


@NEEDS_BINDINGS
def test_enumerators_have_the_bindings_values():
    from cuda.bindings import driver
    for kind in enumerations():
        for x in kind:
            assert int(getattr(getattr(driver, kind.__name__), x.name)) == x.value


@NEEDS_HEADER
def test_every_call_is_declared_with_as_many_arguments():
    """The bindings take what is not a result; the driver in Python has the same parameters."""
    import inspect
    declared = fake_libcuda.prototypes(HEADER.read_text(errors="replace"))
    assert len(calls()) >= 30
    for name in calls():
        mine = list(inspect.signature(getattr(fake_driver.FakeDriver, name)).parameters)[1:]
        results = [kind for kind, _ in declared[name] if fake_libcuda.LibCuda._result(name, kind)]
        if name == "cuDeviceGetName":                  # a place for the text, and its length
            results = ["char *"]
        assert len(mine) + len(results) == len(declared[name]), (name, declared[name])


RUN = """
import random, shutil, sys
from pathlib import Path
import numpy as np
from graphk.ir.interp import run_full
from graphk.passes.pipeline import run_passes
from graphk.runtime import device_cuda
from graphk.runtime.device import OutOfDeviceMemory
from graphk.runtime.exchange import DeviceArray
from graphk.runtime.gpu import GpuExecutable
from graphk.runtime.mirrors import current
from tests.gpu import fake_libcuda
from tests.gpu.fake_driver import FakeDriver, compile_source
from tests.programs import mlp_train, values_for

driver = FakeDriver()
lib = fake_libcuda.LibCuda(driver, fake_libcuda.header().read_text(errors="replace"), Path(sys.argv[1]), sys.argv[2])
device_cuda.find_library = lambda name: None
opened = device_cuda.open_device(0)
assert opened.driver.module.__name__ == "cuda.bindings.driver"
opened._compile, opened.threads, opened.tile = compile_source, 8, 4
other = device_cuda.CudaDevice(opened.driver.module, 0, compile_source)
graph, v = mlp_train()
state = dict(zip(v.values(), values_for([x.t for x in v.values()], {}, seed=1)))
mine, want = {k: a.copy() for k, a in state.items()}, dict(state)
exe = GpuExecutable(run_passes(graph, phase=1), mine, opened)
for batch in (2, 3, 2):
    arrays = values_for([i.t for i in graph.inputs], {"n": batch}, seed=batch)
    outs, updates = run_full(graph, arrays, want, 1)
    want.update(updates)
    for a, b in zip(exe(arrays), outs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
begun = []
for seed in range(3):                                  # calls that are begun before the ones before are done
    arrays = values_for([i.t for i in graph.inputs], {"n": 3}, seed=seed)
    outs, updates = run_full(graph, arrays, want, 1)
    want.update(updates)
    begun.append((exe.start(arrays), outs))
for wait, outs in begun:
    for a, b in zip(wait(), outs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
for k in v.values():
    np.testing.assert_allclose(current(mine[k]), want[k], rtol=1e-4, atol=1e-5)
there = [DeviceArray(opened.allocate(a.nbytes), a.shape, a.dtype, None) for a in arrays]
for d, a in zip(there, arrays):
    opened.upload(d.address, a)
assert opened.holds(there[0].address) and not opened.holds(8)
outs, updates = run_full(graph, arrays, want, 1)
for a, b in zip(exe(there), outs, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
want.update(updates)
outs, _ = run_full(graph, arrays, want, 1)
stayed = exe.staying(arrays)
for a, b in zip(stayed, outs, strict=True):
    a.__dlpack__(stream=int(opened.ends[0]))
    np.testing.assert_allclose(np.asarray(a), b, rtol=1e-4, atol=1e-5)
assert other.fetch(there[0].address, opened, there[0].address, 4)
try:
    opened.allocate(1 << 40)
except OutOfDeviceMemory as e:
    print(e)
del outs, updates, want, state, a, b, begun, wait, stayed
def work(w):
    raise KeyboardInterrupt
try:
    opened.record(work)
except KeyboardInterrupt:
    print(opened.name, opened.capability)
for x in there:
    opened.free(x.address)
del exe, mine, k
import gc
gc.collect()
print(" ".join(sorted(lib.called)))
"""


@NEEDS_HEADER
@NEEDS_BINDINGS
@pytest.mark.skipif(not SIMULATED, reason="there is a driver")
def test_every_call_goes_through_the_real_bindings(tmp_path):
    """A train step, and all else that the driver is asked for, in a process of its own."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        compiler = shutil.which("cc") or pytest.skip("there is no compiler of C")
    else:
        pytest.skip("there is a driver")
    run = subprocess.run([sys.executable, "-c", RUN, str(tmp_path), compiler], capture_output=True, text=True,
                         timeout=250, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert run.returncode == 0, run.stdout + run.stderr
    memory, device, called = run.stdout.splitlines()
    assert memory.startswith("gpu:0 (Fake GPU) has no room for a buffer of 1,099,511,627,776 bytes")
    assert device == "gpu:0 (Fake GPU) (9, 0)"
    assert set(calls()) <= set(called.split()), set(calls()) - set(called.split())
