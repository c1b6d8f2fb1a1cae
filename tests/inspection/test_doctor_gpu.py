"""What doctor and a first call say where pieces of a GPU are missing; nothing here needs one."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from graphk.inspection import installation as doctor
from graphk.inspection import installation_gpu as doctor_gpu

ROOT = Path(__file__).parents[2]
ALL = {"numba-cuda": "0.30.4", "cuda-bindings": "13.5.0", "nvidia-nvvm": "13.4.92"}


class Driver:
    """What answers as libcuda does."""

    def __init__(self, names, version):
        self.names, self.version = names, version

    def cuInit(self, _):
        return 0

    def cuDeviceGetCount(self, out):
        out._obj.value = len(self.names)
        return 0

    def cuDriverGetVersion(self, out):
        out._obj.value = self.version

    def cuDeviceGetName(self, text, room, i):
        text.value = self.names[i].encode()


def found(monkeypatch, devices, driver, packages, wanted="cpu"):
    monkeypatch.setattr(doctor_gpu, "cuda_devices", lambda: (devices, driver))
    monkeypatch.setattr(doctor_gpu, "_version", lambda p: packages.get(p, ""))
    monkeypatch.setattr("graphk.frontend.config.get", lambda name: wanted)
    out = doctor.Findings()
    doctor_gpu.gpu(out)
    return "\n".join(out.lines), out.broken


def test_the_driver_is_asked():
    assert doctor_gpu.cuda_devices(Driver(["One", "Two"], 12040)) == (["One", "Two"], 12040)
    assert doctor_gpu.cuda_devices(Driver([], 12040)) == ([], 12040)


def test_a_machine_without_a_gpu_is_fine(monkeypatch):
    text, broken = found(monkeypatch, [], 0, {})
    assert "none (no NVIDIA driver answers)" in text and not broken


@pytest.mark.parametrize("absent, name", [("numba-cuda", "numba-cuda, which compiles kernels"),
                                          ("cuda-bindings", "cuda-bindings, which calls the driver"),
                                          ("nvidia-nvvm", "NVVM, which turns kernels into PTX")])
@pytest.mark.parametrize("driver, extra", [(13000, "cuda13"), (12040, "cuda12")])
def test_each_missing_piece_is_named_with_the_line_that_brings_it(absent, name, driver, extra, monkeypatch):
    packages = {k: v.replace("13.5", "12.9") for k, v in ALL.items() if k != absent}
    text, broken = found(monkeypatch, ["H"], driver, packages)
    assert f"missing for GPU code: {name}. Install: pip install 'graphk[{extra}]'" in text and not broken
    _, broken = found(monkeypatch, ["H"], driver, packages, "gpu:0")
    assert broken and broken[0].startswith(f"the setting device=gpu:0 asks for a GPU, but {name} is missing")


def test_a_missing_library_is_named_and_no_fault(monkeypatch):
    text, broken = found(monkeypatch, ["H"], 12040, ALL)
    assert "graphk's own kernels do it: cuBLASLt, which computes matrix products: pip install 'graphk[cuda12]'; " \
           "cuDNN, which computes convolutions: pip install 'graphk[cudnn12]'" in text
    assert not broken and "missing for GPU code" not in found(monkeypatch, ["H"], 13000, ALL)[0]
    text, _ = found(monkeypatch, ["H"], 13000, {**ALL, "nvidia-cublas": "13.1"})
    assert "nvidia-cublas 13.1" in text and "cuBLASLt" not in text
    assert "cuDNN, which computes convolutions: pip install 'graphk[cudnn]'" in text


def test_packages_newer_than_the_driver(monkeypatch):
    text, _ = found(monkeypatch, ["H"], 12080, ALL)
    assert "H; driver for CUDA 12.8" in text
    assert "a cuda-bindings that the driver supports: 13.5.0 is newer than CUDA 12. Install: pip install " \
           "'graphk[cuda12]'" in text


@pytest.mark.parametrize("driver, extra", [(13000, "nccl"), (12040, "nccl12")])
def test_nccl_is_named_where_there_are_several_gpus(monkeypatch, driver, extra):
    text, broken = found(monkeypatch, ["H", "H"], driver, {})
    assert f"adds up over several: NCCL: pip install 'graphk[{extra}]'" in text and not broken
    assert "NCCL" not in found(monkeypatch, ["H"], driver, {})[0]
    assert "nccl4py 0.6.0, through which NCCL" in found(monkeypatch, ["H", "H"], driver, {"nccl4py": "0.6.0"})[0]


def test_a_gpu_asked_for_where_there_is_none(monkeypatch):
    _, broken = found(monkeypatch, [], 0, ALL, "gpu:0")
    assert broken == ["the setting device=gpu:0 asks for a GPU, but no NVIDIA driver answers; install the driver "
                      "(nvidia-smi must list a GPU), or set device=cpu"]


@pytest.mark.skipif(bool(doctor_gpu.cuda_devices()[0]), reason="this machine has a GPU")
def test_a_model_says_what_is_missing_and_keeps_its_weights():
    message = "DeviceError: (GPUs need the package `cuda-bindings`.*pip install graphk.cuda13|no NVIDIA driver answers)"
    code = ("import numpy as np\nfrom graphk.models import Sequential\nfrom graphk.layers import Dense\n"
            "m = Sequential([Dense(1, input_shape=(2,))])\nm.compile('sgd', 'mse')\nw = m.get_weights()\n"
            "x = np.ones((3, 2))\ntry:\n    m.fit(x, x[:, :1], verbose=0)\n"
            "except Exception as e:\n    print(type(e).__name__ + ': ' + str(e))\n"
            "print(all((a == b).all() for a, b in zip(w, m.get_weights())))\n")
    env = {**os.environ, "GRAPHK_FLAGS": "device=gpu", "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=env)
    lines = run.stdout.splitlines()
    assert len(lines) == 2 and lines[1] == "True", run.stderr
    assert re.match(message, lines[0]), lines[0]
