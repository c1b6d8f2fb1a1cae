"""PTX to machine code, and what a kernel takes of a GPU, on machines with or without one.

In: a `CudaSource` and a compute capability.  Out: for each launch the binary that `cuModuleLoadData` loads without
compiling (the entry has the launch's name), or its registers, shared memory, spills and occupancy.  What always holds:
only nvJitLink is needed, which comes with `numba-cuda`'s extras; binaries are kept on disk as PTX is.
"""
from __future__ import annotations

import base64
import importlib.util
import math
import re
from dataclasses import dataclass
from typing import Any

from graphk.codegen.cuda import CudaSource
from graphk.codegen.cuda_compile import CudaMissing, compile_ptx, kept, key_of

# Warps, blocks and bytes of shared memory that a multiprocessor holds (CUDA C++ Programming Guide, "Technical
# Specifications per Compute Capability").
LIMITS: dict[tuple[int, int], tuple[int, int, int]] = {
    (7, 5): (32, 16, 64 << 10), (8, 0): (64, 32, 164 << 10), (8, 6): (48, 16, 100 << 10), (8, 9): (48, 24, 100 << 10),
    (9, 0): (64, 32, 228 << 10), (10, 0): (64, 32, 228 << 10), (12, 0): (48, 24, 100 << 10)}
REGISTERS, REGISTER_UNIT = 65536, 256     # of a multiprocessor; what a warp is given at once
SYSTEM_SHARED = 1024                      # bytes of each block that are the system's, from 8.0 on


@dataclass(frozen=True, slots=True)
class Resources:
    """What one launch takes: registers of a thread, bytes of shared memory of a block, bytes spilled by a thread, and
    the part of a multiprocessor's warps that can be there at once."""
    registers: int
    shared: int
    spills: int
    occupancy: float


def available() -> bool:
    """Whether nvJitLink's binding is installed."""
    return importlib.util.find_spec("cuda") is not None and importlib.util.find_spec("cuda.bindings") is not None


def compile_binary(source: CudaSource, capability: tuple[int, int] = (9, 0)) -> dict[str, bytes]:
    """The machine code of each launch of `source` for one compute capability."""
    texts = kept("binary" + key_of(source, capability), lambda: {
        name: base64.b64encode(_link(ptx, capability)[0]).decode() for name, ptx in
        compile_ptx(source, capability).items()})
    return {name: base64.b64decode(text) for name, text in texts.items()}


def resources(source: CudaSource, capability: tuple[int, int] = (9, 0)) -> dict[str, Resources]:
    """What each launch of `source` takes of a GPU of that compute capability."""
    texts, out = compile_ptx(source, capability), {}
    for launch in source.launches:
        ptx = texts[launch.name]
        said = _link(ptx, capability)[1]
        registers, spills = _number(r"[Uu]sed (\d+) registers", said), _number(r"(\d+) bytes spill stores", said)
        shared = sum(map(int, re.findall(r"\.shared[^;\n]*\[(\d+)\];", ptx)))
        out[launch.name] = Resources(registers, shared, spills,
                                     occupancy(registers, shared, math.prod(launch.threads), capability))
    return out


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


def _link(ptx: str, capability: tuple[int, int]) -> tuple[bytes, str]:
    """Machine code, and what the assembler says of it."""
    if not available():
        raise CudaMissing("PTX becomes machine code by nvJitLink, which is not installed.  Install it with "
                          "`pip install graphk[cuda13]` (or `graphk[cuda12]` for drivers before CUDA 13)")
    from cuda.bindings import nvjitlink
    options, data = [f"-arch=sm_{capability[0]}{capability[1]}", "-verbose"], ptx.encode()
    link = nvjitlink.create(len(options), options)
    try:
        nvjitlink.add_data(link, nvjitlink.InputType.PTX, data, len(data), "kernel")
        nvjitlink.complete(link)
        code = _read(link, nvjitlink.get_linked_cubin_size, nvjitlink.get_linked_cubin)
        return code, _read(link, nvjitlink.get_info_log_size, nvjitlink.get_info_log).decode(errors="replace")
    except nvjitlink.nvJitLinkError as e:
        said = _read(link, nvjitlink.get_error_log_size, nvjitlink.get_error_log).decode(errors="replace")
        raise RuntimeError(f"a kernel's PTX does not become machine code for compute capability {capability[0]}."
                           f"{capability[1]}: {e}\n{said}") from e
    finally:
        nvjitlink.destroy(link)


def _read(link: Any, size: Any, read: Any) -> bytes:
    out = bytearray(size(link))
    read(link, out)
    return bytes(out)


def occupancy(registers: int, shared: int, threads: int, capability: tuple[int, int]) -> float:
    """The part of a multiprocessor's warps that blocks of `threads` threads can fill."""
    below = [c for c in sorted(LIMITS) if c <= capability] or sorted(LIMITS)
    most, blocks, memory = LIMITS[below[-1]]
    warps = -(-threads // 32)
    of_warp = -(-max(registers, 1) * 32 // REGISTER_UNIT) * REGISTER_UNIT
    of_block = shared + (SYSTEM_SHARED if capability >= (8, 0) else 0)
    fit = min(blocks, most // warps, REGISTERS // of_warp // warps, memory // of_block if of_block else blocks)
    return fit * warps / most


__all__ = ["LIMITS", "Resources", "available", "compile_binary", "occupancy", "resources"]
