"""What `graphk doctor` says of GPUs: each piece that running on one needs, and the line that brings a missing one.

In: this machine's driver and installed packages.  Out: findings.  What always holds: a missing GPU is no problem unless
the setting `device` asks for one; what `auto` means here is told with the reason; a piece of the wrong CUDA version is
named with the one that the driver supports.
"""
from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import warnings
from typing import Any, Protocol


class Says(Protocol):
    """What findings are told."""

    def say(self, name: str, text: str) -> None: ...
    def fault(self, text: str) -> None: ...


# What each piece is for, and the packages that hold it, for CUDA 13 and 12.
PIECES = (("numba-cuda", "compiles kernels", ("numba-cuda",)),
          ("cuda-bindings", "calls the driver", ("cuda-bindings",)),
          ("NVVM", "turns kernels into PTX", ("nvidia-nvvm", "nvidia-cuda-nvcc-cu12")))
# What graphk's own kernels do where a vendor's library is missing.
LIBRARIES = (("cuBLASLt", "computes matrix products", ("nvidia-cublas", "nvidia-cublas-cu12"), ("cuda13", "cuda12")),
             ("cuDNN", "computes convolutions", ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12"), ("cudnn", "cudnn12")))


def gpu(out: Says) -> None:
    """The GPUs of this machine, and what is missing to use them."""
    from graphk.frontend import config
    devices, driver = cuda_devices()
    wanted = config.get("device")
    extra = "cuda12" if 0 < driver < 13000 else "cuda13"
    missing = []
    found = []
    for name, what, packages in PIECES:
        at = next((f"{p} {v}" for p in packages if (v := _version(p))), "")
        if at:
            found.append(at)
        else:
            missing.append(f"{name}, which {what}")
    slower = []
    for name, what, packages, extras in LIBRARIES:
        at = next((f"{p} {v}" for p in packages if (v := _version(p))), "")
        if at:
            found.append(at)
        else:
            slower.append(f"{name}, which {what}: pip install 'graphk[{extras[extra == 'cuda12']}]'")
    if not devices:
        out.say("GPU", "none (no NVIDIA driver answers)" + (f"; {', '.join(found)}" if found else ""))
    else:
        out.say("GPU", f"{', '.join(devices)}; driver for CUDA {driver // 1000}.{driver % 1000 // 10}")
        if found:
            out.say("", ", ".join(found))
        bindings = _version("cuda-bindings")
        if bindings and 1000 * int(bindings.split(".")[0]) > driver // 1000 * 1000:
            missing.append(f"a cuda-bindings that the driver supports: {bindings} is newer than CUDA {driver // 1000}")
    binding = _version("nccl4py")
    if binding:
        out.say("", f"nccl4py {binding}, through which NCCL adds up over several GPUs")
    elif len(devices) > 1:
        out.say("", "not installed, so that the first GPU or the host adds up over several: NCCL: pip install "
                    f"'graphk[{'nccl12' if extra == 'cuda12' else 'nccl'}]'")
    if missing:
        out.say("", f"missing for GPU code: {'; '.join(missing)}. Install: pip install 'graphk[{extra}]'")
    if slower and (devices or found):
        out.say("", f"not installed, so that graphk's own kernels do it: {'; '.join(slower)}")
    if wanted.startswith("gpu"):
        if missing or not devices:
            why = "no NVIDIA driver answers" if not devices else f"{missing[0]} is missing"
            out.fault(f"the setting device={wanted} asks for a GPU, but {why}; "
                      + ("install the driver (nvidia-smi must list a GPU), or set" if not devices else
                         f"pip install 'graphk[{extra}]', or set") + " device=cpu")
        else:
            _self_test(out, wanted)
    if wanted == "auto":
        _automatic(out, bool(devices) and not missing)


def _automatic(out: Says, complete: bool) -> None:
    """What the setting `auto` means here.  complete: a GPU and all packages are there."""
    from graphk.frontend import automatic
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                # the reason is told below
        name, why = automatic.found()
    out.say("", f"device=auto is {name} here: {why}")
    if name != "cpu":
        _self_test(out, name)
    elif complete:
        out.fault(f"a GPU and its packages are there, but the setting device=auto means the CPU: {why}")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _self_test(out: Says, name: str) -> None:
    """A small graph on the GPU, beside the interpreter."""
    import numpy as np

    from graphk.inspection.installation import SMALL, small_inputs
    from graphk.ir.interp import run_graph
    from graphk.ir.text import parse_graph
    from graphk.runtime.gpu import compile_graph
    graph, inputs = parse_graph(SMALL), small_inputs()
    got = compile_graph(graph, {}, 0, name)(inputs)
    worst = max(float(np.abs(a - b).max()) for a, b in zip(got, run_graph(graph, inputs)))
    out.say("", f"a small graph ran on {name}; it differs from the interpreter by at most {worst:.1e}")
    if worst > 1e-4:
        out.fault(f"{name} and the interpreter differ by {worst:.1e} on a small graph (expected less than 1e-4); "
                  "please report it with the lines above")


def cuda_devices(library: Any = None) -> tuple[list[str], int]:
    """Names of the GPUs, and the CUDA version that the driver supports (13000 is 13.0); no name, 0 without a driver."""
    try:
        driver = library or ctypes.CDLL("libcuda.so.1")
    except OSError:
        return [], 0
    number, version = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(number)) != 0:
        return [], 0
    driver.cuDriverGetVersion(ctypes.byref(version))
    names = []
    for i in range(number.value):
        text = ctypes.create_string_buffer(128)
        driver.cuDeviceGetName(text, 128, i)
        names.append(text.value.decode(errors="replace"))
    return names, version.value


__all__ = ["cuda_devices", "gpu"]
