"""The device that runs what no setting names a device for: the setting `device` is `auto`.

In: this machine.  Out: `gpu:0`, or another number where several processes share a machine's GPUs, else `cpu`.  What
always holds: it is found out once, when something is compiled; without the packages of `graphk[cuda12]` or
`graphk[cuda13]`, or without NVIDIA's driver, that costs a look at the file system and imports nothing; a GPU is taken
when a kernel has run on it, and one that was to be had and does not work is told by a warning, with the reason.

A GPU without those packages is passed over in silence (`graphk doctor` and `GRAPHK_LOG=library` tell it): most who
install graphk alone on such a machine want no more, and a warning in each of their runs would teach them nothing new.
"""
from __future__ import annotations

import ctypes
import functools
import importlib.util
import warnings

from graphk.frontend import config

INSTALL = "pip install 'graphk[cuda13]' (or 'graphk[cuda12]' where the driver is older than CUDA 13)"
share = 0                             # which of the machine's GPUs, counted round: `graphk.distributed` sets it


def chosen() -> str:
    """The device in force for what names none: `cpu`, `gpu:NUMBER`, `simulator` or `simulator:NUMBER`."""
    named: str = config.get("device")
    return named if named != "auto" else found()[0]


def possible() -> bool:
    """Whether `chosen` may be another device than the CPU, without asking the driver."""
    named: str = config.get("device")
    return named != "cpu" and (named != "auto" or not _lacking())


@functools.lru_cache(maxsize=1)
def _lacking() -> str:
    """What is not there of that which a GPU needs; "" if it is worth asking."""
    if importlib.util.find_spec("numba_cuda") is None:
        return f"the packages for GPUs are not installed: {INSTALL}"
    return "" if _driver() else "no NVIDIA driver answers"


def _driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


@functools.lru_cache(maxsize=1)
def found() -> tuple[str, str]:
    """What `auto` is on this machine, and why."""
    lacking = _lacking()
    return ("cpu", lacking) if lacking else _tried()


@functools.lru_cache(maxsize=1)
def tell() -> None:
    """For `GRAPHK_LOG=library`, once, if the setting is `auto`."""
    from graphk.runtime.library import WATCHERS
    if config.get("device") == "auto" and WATCHERS:
        device, why = found()
        idle = "there is an NVIDIA driver, but " if why == _lacking() and _driver() else ""
        for watch in WATCHERS:
            watch(f"device=auto is {device}: {idle}{why}")


def _tried() -> tuple[str, str]:
    """A GPU on which a kernel has run, or the CPU."""
    from graphk.runtime.device_cuda import Driver, find_driver
    try:
        count = int(Driver(find_driver()).cuDeviceGetCount())
        if not count:
            return "cpu", "no GPU is visible"
        name = f"gpu:{share % count}"
        _try(name)
    except Exception as e:  # noqa: BLE001 - what drivers, compilers and packages raise differs by version
        if "CUDA_ERROR_NO_DEVICE" in str(e):
            return "cpu", "no GPU is visible"
        text = f"{type(e).__name__}: {str(e).rstrip('.')}"
        warnings.warn(f"A GPU is to be had and does not work, so that this program runs on the CPU. {text}. `python -m "
                      "graphk doctor` looks closer; GRAPHK_FLAGS=device=cpu chooses the CPU, and silences this.",
                      stacklevel=2)
        return "cpu", text
    return name, "a kernel ran there"


def _try(name: str) -> None:
    """Add up three numbers on a device: any error of driver, compiler or packages, RuntimeError for a wrong sum."""
    import numpy as np

    from graphk.ir.text import parse_graph
    from graphk.passes.pipeline import run_passes
    from graphk.runtime.device import device
    from graphk.runtime.gpu import GpuExecutable
    graph = parse_graph("graph automatic(%x: f32[3]) {\n  %0 = sum(%x; axes=(0,), keepdims=false)\n  return %0\n}\n")
    got = float(GpuExecutable(run_passes(graph, 0), {}, device(name))([np.arange(3, dtype="float32")])[0])
    if got != 3.:
        raise RuntimeError(f"the sum of 0, 1 and 2 is {got} on {name}")


def forget() -> None:
    """Find out anew when something is compiled next."""
    found.cache_clear()
    tell.cache_clear()
    _lacking.cache_clear()


__all__ = ["INSTALL", "chosen", "forget", "found", "possible", "tell"]
