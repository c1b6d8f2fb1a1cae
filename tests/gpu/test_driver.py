"""`CudaDevice` on a driver written in Python: what it asks for, in which order, and what it says when that fails."""
import gc

import numpy as np
import pytest

from graphk.ir.interp import run_full
from graphk.passes.pipeline import run_passes
from graphk.runtime import device_cuda
from graphk.runtime.device import DeviceError, OutOfDeviceMemory
from graphk.runtime.device_sim import SimDevice
from graphk.runtime.exchange import DeviceArray
from graphk.runtime.gpu import GpuExecutable
from graphk.runtime.mirrors import current, mirror_of, wrote
from tests.gpu.conftest import CAPABILITY, PTX, SIMULATED, ptx_device
from tests.programs import mlp_train, scan_graph, values_for

pytestmark = pytest.mark.skipif(not SIMULATED, reason="the driver is played in Python")


def made(**options):
    """A driver in Python, and its device; kernels are run from their sources, or from PTX."""
    if PTX:
        return ptx_device(**options)
    from tests.gpu.fake_driver import FakeDriver, compile_source
    driver = FakeDriver(**options)
    device = device_cuda.CudaDevice(driver, 0, compile_source)
    device.threads, device.tile = 8, 4
    return driver, device


@pytest.mark.parametrize("seed", range(3))
def test_training_steps(seed):
    """Replays in any order that the captured graph allows; a recording is made once for a batch size."""
    driver, device = made(seed=seed)
    assert device.name == "gpu:0 (Fake GPU)" and device.capability == CAPABILITY
    graph, v = mlp_train()
    state = dict(zip(v.values(), values_for([x.t for x in v.values()], {}, seed=1)))
    mine, want = {k: a.copy() for k, a in state.items()}, {k: a.copy() for k, a in state.items()}
    exe = GpuExecutable(run_passes(graph, phase=1), mine, device)
    handles = []
    for batch in (2, 3, 2, 3):
        arrays = values_for([i.t for i in graph.inputs], {"n": batch}, seed=batch)
        outs, updates = run_full(graph, arrays, want, 1)
        want.update(updates)
        for a, b in zip(exe(arrays), outs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        handles.append(driver.handles)
    assert handles[1] > handles[0] and handles[3] == handles[1]
    for k in v.values():
        np.testing.assert_allclose(current(mine[k]), want[k], rtol=1e-4, atol=1e-5)
    kinds = [kind for kind, _ in driver.alive.values()]
    assert kinds.count("ready") <= 2 and "graph" not in kinds and "event" not in kinds


def test_inputs_in_its_memory():
    driver, device = made()
    graph, v = mlp_train()
    state = dict(zip(v.values(), values_for([x.t for x in v.values()], {}, seed=1)))
    exe = GpuExecutable(run_passes(graph, phase=1), {k: a.copy() for k, a in state.items()}, device)
    arrays = values_for([i.t for i in graph.inputs], {"n": 3})
    want, _ = run_full(graph, arrays, state, 1)
    device.enter()
    there = [DeviceArray(device.allocate(a.nbytes), a.shape, a.dtype, None) for a in arrays]
    for d, a in zip(there, arrays):
        device.upload(d.address, a)
    assert device.holds(there[0].address) and not device.holds(8)
    uploads = driver.sim.uploads
    for a, b in zip(exe(there), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert driver.sim.uploads - uploads == sum(b.place in ("variable", "const") for b in exe._fixed)


def test_a_variable_goes_from_one_device_to_another():
    driver, one = made()
    other = device_cuda.CudaDevice(driver, 1, one._compile)
    value = np.arange(4, dtype="float32")
    mirror_of(value, one).refresh()
    wrote(value, [one])
    before = driver.sim.uploads, driver.sim.downloads
    mirror_of(value, other).refresh()
    assert (driver.sim.uploads, driver.sim.downloads) == before
    there = np.zeros(4, "float32")
    other.download(there, mirror_of(value, other).address)
    assert there.tolist() == value.tolist() and not mirror_of(value, other).stale
    assert not one.fetch(0, SimDevice(), 0, 4)


def test_loops():
    driver, device = made()
    graph = scan_graph(True, True)
    arrays = values_for([i.t for i in graph.inputs], {"n": 2, "t": 3})
    got = GpuExecutable(run_passes(graph), {}, device)(arrays)
    for a, b in zip(got, run_full(graph, arrays, {}, 0)[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_everything_is_given_back():
    driver, device = made()
    graph = scan_graph()
    exe = GpuExecutable(run_passes(graph), {}, device)
    exe(values_for([i.t for i in graph.inputs], {"n": 2, "t": 3}))
    assert driver.sim.memory and driver.pinned
    del exe
    gc.collect()
    assert not driver.sim.memory and not driver.pinned
    assert "ready" not in [kind for kind, _ in driver.alive.values()]


def test_what_fails_while_it_is_recorded_leaves_no_capture():
    driver, device = made()

    def work(w):
        w.lane(2)
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        device.record(work)
    assert driver.capturing is None
    device.record(lambda w: None)()


def test_out_of_memory():
    _, device = made(nbytes=1000)
    with pytest.raises(OutOfDeviceMemory, match=r"gpu:0 \(Fake GPU\) has no room for a buffer of 1,001 bytes: 1,000 of "
                                                "its 1,000"):
        device.allocate(1001)


def test_errors_name_the_call_and_the_cure(monkeypatch):
    from tests.gpu.fake_driver import CUresult
    driver, device = made()
    monkeypatch.setattr(driver, "cuModuleLoadData", lambda _: (CUresult.CUDA_ERROR_UNSUPPORTED_PTX_VERSION, None))
    with pytest.raises(DeviceError, match=r"cuModuleLoadData failed: CUDA_ERROR_UNSUPPORTED_PTX_VERSION \(222\). The "
                                          r"GPU's driver is older .* `pip install graphk\[cuda12\]`"):
        GpuExecutable(run_passes(scan_graph()), {}, device)
