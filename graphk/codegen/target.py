"""The machine a kernel is compiled for.

In goes a feature-set name or nothing (the host); out comes a ``Target``: lanes per float32 vector, LLVM CPU
name and LLVM feature string, plus what the contraction blocks derive from them (registers, tile shapes). It
always holds that equal targets produce equal objects, so a target is part of every cache key.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from dataclasses import dataclass

from graphk.codegen import store
from graphk.codegen.scalars import ITEMSIZE
from graphk.codegen.versions import tools

# Columns that reductions over rows walk together, and one thread takes.  Memory is read several times faster where a
# row is read whole than where each thread reads a piece of every row; sums of more would not stay in the first cache.
GROUP = 1024
LANE_CHOICES: tuple[int, ...] = (1, 4, 8, 16)

_NAMED: dict[str, tuple[int, str, str]] = {
    "scalar": (1, "x86-64", ""),
    "sse": (4, "x86-64-v2", ""),
    "avx2": (8, "x86-64-v3", ""),
    "avx512": (16, "x86-64-v4", ""),
}


@dataclass(frozen=True, slots=True)
class Target:
    """``lanes`` float32 lanes; ``wide`` says that 32 registers of 64 bytes exist (AVX-512)."""

    lanes: int
    cpu: str
    features: str
    wide: bool = False
    triple: str = ""

    def __post_init__(self) -> None:
        if self.lanes not in LANE_CHOICES:
            raise ValueError(f"Target.lanes is {self.lanes}; expected one of {LANE_CHOICES}.")

    def vector_lanes(self, dtype: str) -> int:
        """Elements of ``dtype`` in one machine vector of the contraction blocks."""
        return max(1, self.lanes * 4 // max(4, ITEMSIZE[dtype]))

    def tile(self, dtype: str) -> tuple[int, int]:
        """(MR rows, NV vectors) of the register tile: accumulators + NV panel loads + 1 broadcast fit."""
        if self.lanes == 1:
            return 4, 2
        if self.lanes == 16:
            return (12, 2) if self.wide else (6, 1)      # of more than 12 rows, LLVM keeps some in memory
        return 6, 2

    def tile_shape(self, dtype: str) -> tuple[int, int]:
        """(MR, NR) in elements."""
        rows, vectors = self.tile(dtype)
        return rows, vectors * self.vector_lanes(dtype)

    def block_tiles(self, dtype: str) -> int:
        """Tiles of a convolution that one block transforms: enough that a panel read from memory serves them all."""
        return block_tiles(self.tile(dtype)[0])

    def key(self) -> str:
        """Text that names this target in a cache key."""
        return f"{self.triple}|{self.lanes}|{self.cpu}|{self.features}|{int(self.wide)}"


def block_tiles(rows: int) -> int:
    """About 28, in whole register tiles of ``rows``."""
    return rows * max(2, 28 // rows)


def _forced_lanes() -> int | None:
    text = os.environ.get("GRAPHK_LANES", "").strip()
    if not text:
        return None
    if not text.isdigit() or int(text) not in LANE_CHOICES:
        raise ValueError(f"GRAPHK_LANES is {text!r}; expected one of {LANE_CHOICES}. Unset it to use the host's width.")
    return int(text)


# What tells two processors apart in /proc/cpuinfo; the rest (speeds, numbers of cores) changes.
_TELLING = ("vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "flags",
            "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features")  # fmt: skip


def _machine_text() -> str:
    """The first processor and the kernel that shows its features; empty where this system does not tell."""
    with contextlib.suppress(OSError, UnicodeDecodeError), open("/proc/cpuinfo", encoding="ascii") as file:
        lines = file.read(1 << 14).split("\n\n")[0].splitlines()
        told = [line for line in lines if line.split("\t")[0].split(":")[0].strip() in _TELLING]
        if any(line.startswith(("flags", "Features")) for line in told):
            return "\n".join([*told, *os.uname()[2:]])
    return ""


def _ask_llvm() -> tuple[str, str, str]:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), llvm.get_process_triple()


def _place() -> str:
    """Where what LLVM calls this machine is kept; empty if it cannot be."""
    machine = _machine_text()
    folder = store.usable_directory() if machine else None
    if folder is None:
        return ""
    return os.path.join(folder, hashlib.sha256(f"{tools()}|{machine}".encode()).hexdigest() + store.HOST_SUFFIX)


def host_is_known() -> bool:
    """Whether LLVM need not be asked: where it must be, no process has compiled anything for this machine."""
    return bool(_host.cache_info().currsize) or os.path.exists(_place())


@functools.lru_cache(maxsize=1)
def _host() -> tuple[str, str, str]:
    """(CPU, features, triple) in LLVM's words: asked once per machine, kernel and version of LLVM, then kept."""
    path = _place()
    found = _kept(path) if path else None
    if found is None:
        found = _ask_llvm()
        text = "\n".join(found)
        if path:
            store.write(path, f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}".encode())
    return found


def _kept(path: str) -> tuple[str, str, str] | None:
    """What an earlier process kept, if it is whole and nobody else's."""
    try:
        digest, text = (store.read(path) or b"\n").decode().split("\n", 1)
        cpu, features, triple = text.split("\n")
    except (store.RefusedError, ValueError):
        return None
    return (cpu, features, triple) if hashlib.sha256(text.encode()).hexdigest() == digest else None


def host_target() -> Target:
    """The machine this process runs on; ``GRAPHK_LANES`` overrides the vector width."""
    cpu, flat, triple = _host()
    features = set(flat.split(","))
    wide = {"+avx512f", "+avx512vl", "+avx512dq"} <= features
    lanes = 16 if wide else 8 if "+avx" in features else 4
    forced = _forced_lanes()
    return Target(forced or lanes, cpu, flat, wide, triple)


def named_target(name: str) -> Target:
    """A fixed x86 feature set ("scalar", "sse", "avx2", "avx512") or "host"."""
    if name == "host":
        return host_target()
    if name not in _NAMED:
        raise ValueError(f"unknown target {name!r}; expected 'host' or one of {sorted(_NAMED)}.")
    lanes, cpu, features = _NAMED[name]
    return Target(lanes, cpu, features, name == "avx512", _host()[2])


def with_lanes(target: Target, lanes: int) -> Target:
    """The same machine with another vector width (LLVM splits vectors wider than its registers)."""
    return Target(lanes, target.cpu, target.features, target.wide, target.triple)
