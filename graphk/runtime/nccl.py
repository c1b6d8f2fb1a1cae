"""Sums over GPUs by NVIDIA's NCCL, through its Python binding `nccl4py`.

In: GPUs, of this process or of this and others, and arrays in their memory.  Out: the sums, in
place.  What always holds: an array keeps its address; what is added up are the values behind all that was started on
the devices before, and what is started there later finds the sums; every failure names NCCL's word for it and how to
do without.
"""
from __future__ import annotations

import contextlib
import importlib
import importlib.util
from typing import Any, Callable, Iterator, Sequence

from graphk.runtime.device import Device, DeviceError
from graphk.runtime.exchange import DeviceArray
from graphk.runtime.library import WATCHERS

KIND = "gpu:"                     # what NCCL adds up on begins so
TYPES = {"int8": "Int8", "uint8": "Uint8", "int32": "Int32", "uint32": "Uint32", "int64": "Int64", "uint64": "Uint64",
         "float16": "Float16", "float32": "Float32", "float64": "Float64"}
_within: dict[tuple[Device, ...], Clique] = {}
WITHOUT = "GRAPHK_FLAGS=nccl=false has graphk add up without NCCL"


def installed() -> bool:
    """Whether the binding is there."""
    return importlib.util.find_spec("nccl") is not None


def lacking(names: Sequence[str]) -> str:
    """Why NCCL cannot add up over these devices; "" if it can be tried."""
    if len(set(names)) < len(names):
        return f"{', '.join(names)} are not different GPUs"
    other = next((n for n in names if not n.startswith(KIND)), "")
    if other:
        return f"{other} is no GPU"
    return "" if installed() else ("NCCL's binding is not installed: pip install 'graphk[nccl]' (with CUDA 12 "
                                   "'graphk[nccl12]')")


def tell(what: str) -> None:
    """For `GRAPHK_LOG=library`."""
    for watch in WATCHERS:
        watch(f"sums over devices: {what}")


def binding() -> Any:
    """NCCL's functions: the module `nccl.bindings.nccl` of the package `nccl4py`."""
    try:
        return importlib.import_module("nccl.bindings.nccl")
    except ImportError as e:
        raise DeviceError(f"NCCL's binding cannot be loaded ({e}): pip install 'graphk[nccl]'; {WITHOUT}.") from None


def _call(what: str, function: Callable[..., Any], *args: Any) -> Any:
    """What a function of the binding returns; `DeviceError` for NCCL's errors and those of loading its library."""
    try:
        return function(*args)
    except Exception as e:  # noqa: BLE001 - NCCLError, and what the binding raises where the library is missing
        raise DeviceError(f"NCCL failed to {what}: {type(e).__name__}: {str(e).strip().rstrip('.')}. NCCL_DEBUG=INFO "
                          f"has it say more; {WITHOUT}.") from None


def group_name(rank: int, gather: Callable[[Any], list[Any]]) -> bytes:
    """What the processes that add up together name their group; all must call this, and `DeviceError` is raised in all.
    gather: a value of every process, by rank."""
    name, error = b"", ""
    try:
        module = binding()
        name = bytes(_call("name a group", module.get_unique_id)) if rank == 0 else b""
    except DeviceError as e:
        error = str(e)
    found = gather((name, error))
    failed = "; ".join(f"process {i}: {text}" for i, (_, text) in enumerate(found) if text)
    if failed:
        raise DeviceError(failed)
    return bytes(found[0][0])


@contextlib.contextmanager
def _together(module: Any, what: str) -> Iterator[None]:
    """Calls that NCCL begins as one: those for several devices would wait for each other otherwise."""
    _call("begin a group", module.group_start)
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):                        # what went wrong inside is what is told
            module.group_end()
        raise
    _call(what, module.group_end)


class Clique:
    """Devices of this process that add up, all there are or with those of other processes."""

    def __init__(self, module: Any, devices: Sequence[Device], members: Sequence[Any]):
        self.module, self.devices, self.members = module, devices, members

    @classmethod
    def within(cls, devices: Sequence[Device]) -> Clique:
        """Of devices of this process alone; the same each time."""
        key = tuple(devices)
        if key not in _within:
            module, names = binding(), ", ".join(d.name for d in devices)
            devices[0].enter()
            members = _call(f"join {names}", module.comm_init_all, len(devices), [d.number for d in devices])
            _within[key] = cls(module, devices, list(members))
        return _within[key]

    @classmethod
    def among(cls, devices: Sequence[Device], first: int, size: int, name: bytes) -> Clique:
        """Of devices of this process, numbers `first` and on of `size` in several processes; all must call this with
        the name of their group, and those that do wait for the others."""
        module, what, members = binding(), f"join {size} GPUs of several processes", []
        group = module.UniqueId.from_buffer(bytearray(name))
        with _together(module, what):
            for number, device in enumerate(devices, first):
                device.enter()
                members.append(_call(what, module.comm_init_rank, size, group, number))
        return cls(module, devices, members)

    def total(self, arrays: Sequence[Sequence[DeviceArray]]) -> None:
        """Put into arrays, for each device its own, their sums over all devices.  ValueError where those of a device
        are not like the first one's."""
        first = [(a.shape, a.dtype) for a in arrays[0]]                 # of other processes it is agreed upon before
        for device, own in zip(self.devices, arrays, strict=True):
            if [(a.shape, a.dtype) for a in own] != first or any(a.owner is not device for a in own):
                raise ValueError(f"NCCL adds up arrays of the same shapes on all devices: {device.name} has "
                                 f"{[f'{a.dtype}{list(a.shape)}' for a in own]}, {self.devices[0].name} "
                                 f"{[f'{d}{list(s)}' for s, d in first]}")
        with _together(self.module, "add up"):
            for device, member, own in zip(self.devices, self.members, arrays):
                for a in own:
                    if a.nbytes:
                        _call("add up", self.module.all_reduce, a.address, a.address, a.nbytes // a.dtype.itemsize,
                              int(self.module.DataType[TYPES[a.dtype.name]]), int(self.module.RedOp["Sum"]), member,
                              device.stream)


__all__ = ["Clique", "binding", "group_name", "installed", "lacking", "tell"]
