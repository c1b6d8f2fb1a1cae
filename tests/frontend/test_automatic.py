"""What the setting `device=auto` is: with and without packages, driver and a GPU that works."""
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from graphk import backend as K
from graphk.frontend import automatic, config
from graphk.inspection import installation as doctor
from graphk.inspection import installation_gpu as doctor_gpu
from graphk.layers import Dense
from graphk.models import Sequential
from graphk.runtime import device as devices
from graphk.runtime import device_cuda, gpu
from graphk.runtime.device import DeviceError
from graphk.runtime.device_sim import SimDevice

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
import numpy as np
from graphk.layers import Dense
from graphk.models import Sequential
print(Sequential([Dense(2, input_shape=(3,))]).predict(np.ones((1, 3))).shape)
from graphk.frontend import automatic
print(automatic.found()[0], sorted({m.partition(".")[0] for m in sys.modules} & {"numba", "cuda", "numba_cuda"}),
      sorted(m for m in sys.modules if m.startswith("graphk") and ("cuda" in m or "gpu" in m)))
"""


@pytest.fixture
def auto():
    """The setting, on a machine of which nothing is known yet."""
    before = config.get("device")
    config.put("device", "auto")
    automatic.forget()
    yield
    config.put("device", before)
    automatic.forget()


class Driver:
    """A driver with GPUs."""
    count = 2

    @classmethod
    def cuDeviceGetCount(cls):                                 # noqa: N802 - the driver's name
        return 0, cls.count


@pytest.fixture
def machine(auto, monkeypatch):
    """A machine with two GPUs, which are simulated, and all packages."""
    monkeypatch.setattr(automatic, "_lacking", lambda: "")
    monkeypatch.setattr(automatic._lacking, "cache_clear", lambda: None, raising=False)
    monkeypatch.setattr(device_cuda, "find_driver", lambda: Driver)
    made = {f"gpu:{i}": SimDevice(name=f"gpu:{i}") for i in range(2)}
    monkeypatch.setattr(devices, "_devices", {**devices._devices, **made})
    return made


def small():
    np.random.seed(0)
    m = Sequential([Dense(3, activation="tanh", input_shape=(2,)), Dense(1)])
    m.compile("sgd", "mse")
    return m


def run(folder, **env):
    out = subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, timeout=120,
                         env={**os.environ, "GRAPHK_FLAGS": "device=auto", "PYTHONPATH": f"{ROOT}:{folder}", **env})
    assert out.returncode == 0, out.stderr
    return out


@pytest.mark.parametrize("packages", [False, True])
@pytest.mark.skipif(automatic._driver(), reason="this machine has a driver")
def test_without_a_gpu_it_is_the_cpu_and_nothing_is_imported(tmp_path, packages):
    if packages:                                               # they are there, the driver is not
        (tmp_path / "numba_cuda").mkdir()
        (tmp_path / "numba_cuda" / "__init__.py").write_text("raise RuntimeError('imported')")
    assert run(tmp_path).stdout == "(1, 2)\ncpu [] []\n"


def test_a_log_tells_why_it_is_the_cpu(tmp_path):
    said = [x for x in run(tmp_path, GRAPHK_LOG="library").stderr.splitlines() if "device=auto" in x]
    assert len(said) == 1 and said[0].startswith("graphk library: device=auto is cpu: ")


def test_a_gpu_with_its_packages_is_taken_at_the_first_compilation(machine):
    m = small()
    assert not machine["gpu:0"].memory and automatic.possible()
    m.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    assert m.train_function.executable(1).device is machine["gpu:0"] and not machine["gpu:1"].memory
    assert automatic.found() == ("gpu:0", "a kernel ran there")
    want = m.predict(np.ones((2, 2)))
    config.put("device", "cpu")
    twin = small()
    twin.set_weights(m.get_weights())
    np.testing.assert_allclose(twin.predict(np.ones((2, 2))), want, rtol=1e-5)


def test_processes_of_one_machine_take_its_gpus_in_turn(machine, monkeypatch):
    for share, name in ((1, "gpu:1"), (2, "gpu:0")):
        monkeypatch.setattr(automatic, "share", share)
        automatic.forget()
        assert automatic.chosen() == name


def test_no_gpu_that_is_visible_is_no_reason_to_warn(machine, monkeypatch):
    monkeypatch.setattr(Driver, "count", 0)
    assert automatic.chosen() == "cpu"

    def hidden():
        raise DeviceError("cuInit failed: CUDA_ERROR_NO_DEVICE (100).")
    monkeypatch.setattr(device_cuda, "find_driver", hidden)
    automatic.forget()
    assert automatic.found() == ("cpu", "no GPU is visible")


class Broken(SimDevice):
    """One whose driver does not know the PTX."""

    def load(self, source):
        raise DeviceError("cuModuleLoadData failed: CUDA_ERROR_UNSUPPORTED_PTX_VERSION (222). The GPU's driver is "
                          "older than the CUDA packages.")


def test_a_gpu_that_does_not_work_is_told_once_and_the_cpu_runs(machine, monkeypatch):
    monkeypatch.setitem(devices._devices, "gpu:0", Broken())
    m = small()
    with pytest.warns(UserWarning, match=r"does not work, so that this program runs on the CPU. DeviceError: cuModuleLo"
                                         r"adData .*older than the CUDA packages.*device=cpu .* silences") as seen:
        m.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
        m.predict(np.ones((2, 2)))
    assert len(seen) == 1 and automatic.chosen() == "cpu"
    config.put("device", "gpu:0")
    with pytest.raises(DeviceError, match="UNSUPPORTED_PTX_VERSION"):      # asked for, it is an error
        small().predict(np.ones((2, 2)))


@pytest.mark.parametrize("error", [MemoryError("no room"), ImportError("libNVVM cannot be found"), KeyError("odd")])
def test_whatever_fails_has_its_reason_told(machine, monkeypatch, error):
    def fails(*_):
        raise error
    monkeypatch.setattr(gpu.GpuExecutable, "__init__", fails)
    with pytest.warns(UserWarning, match=type(error).__name__):
        assert automatic.chosen() == "cpu"


def test_a_wrong_sum_is_found(machine, monkeypatch):
    monkeypatch.setattr(gpu.GpuExecutable, "__call__", lambda self, inputs: [np.float32(4)])
    with pytest.warns(UserWarning, match="the sum of 0, 1 and 2 is 4.0 on gpu:0"):
        assert automatic.chosen() == "cpu"


def test_functions_and_scopes_have_no_automatic_device():
    x = K.placeholder((2,))
    with pytest.raises(ValueError, match="unknown value of device: 'auto'. Expected 'cpu'"):
        K.function([x], [x], device="auto")


# ------------------------------------------------------------------ what is told
ALL = {"numba-cuda": "0.30.4", "cuda-bindings": "13.5.0", "nvidia-nvvm": "13.4.92"}


def told(monkeypatch, packages=ALL):
    monkeypatch.setattr(doctor_gpu, "cuda_devices", lambda: (["H"], 13000))
    monkeypatch.setattr(doctor_gpu, "_version", lambda p: packages.get(p, ""))
    out = doctor.Findings()
    doctor_gpu.gpu(out)
    return "\n".join(out.lines), out.broken


def test_doctor_says_what_it_is(machine, monkeypatch):
    text, broken = told(monkeypatch)
    assert "device=auto is gpu:0 here: a kernel ran there" in text and "a small graph ran on gpu:0" in text
    assert not broken


def test_doctor_says_that_a_gpu_does_not_work(machine, monkeypatch):
    monkeypatch.setitem(devices._devices, "gpu:0", Broken())
    text, broken = told(monkeypatch)
    assert "device=auto is cpu here: DeviceError: cuModuleLoadData" in text
    assert broken and broken[0].startswith("a GPU and its packages are there, but the setting device=auto means the C")


@pytest.mark.skipif(automatic._driver(), reason="this machine has a driver")
def test_doctor_names_the_packages_of_a_gpu_that_lies_idle(auto, monkeypatch):
    text, broken = told(monkeypatch, {})
    assert "Install: pip install 'graphk[cuda13]'" in text and "device=auto is cpu here: " in text and not broken


@pytest.mark.parametrize("variable", ["GRAPHK_DUMP", "GRAPHK_LOG"])
def test_compilations_for_a_device_are_dumped_and_logged_as_the_cpus(tmp_path, variable, monkeypatch):
    values = {"GRAPHK_DUMP": str(tmp_path / "out"), "GRAPHK_LOG": "passes,fusion,recompile,cache"}
    out = run(tmp_path, GRAPHK_FLAGS="device=simulator", **{variable: values[variable]})
    if variable == "GRAPHK_DUMP":
        folder = tmp_path / "out" / "001-predict_function-any"
        assert "blockIdx" in "".join(p.read_text() for p in folder.glob("kernels/*.py"))
        assert (folder / "page.html").exists()
    else:
        assert "graphk passes: predict_function" in out.stderr and "recompile: predict_function: compiled" in out.stderr
