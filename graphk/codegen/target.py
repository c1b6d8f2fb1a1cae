"""The machine a kernel is compiled for.

In goes a feature-set name or nothing (the host); out comes a ``Target``: lanes per float32 vector, LLVM CPU
name and LLVM feature string, plus what the contraction blocks derive from them (registers, tile shapes). It
always holds that equal targets produce equal objects, so a target is part of every cache key.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass

import llvmlite.binding as llvm

from graphk.codegen.scalars import ITEMSIZE

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
            return (14, 2) if self.wide else (6, 1)
        return 6, 2

    def tile_shape(self, dtype: str) -> tuple[int, int]:
        """(MR, NR) in elements."""
        rows, vectors = self.tile(dtype)
        return rows, vectors * self.vector_lanes(dtype)

    def key(self) -> str:
        """Text that names this target in a cache key."""
        return f"{self.triple}|{self.lanes}|{self.cpu}|{self.features}|{int(self.wide)}"


def _forced_lanes() -> int | None:
    text = os.environ.get("GRAPHK_LANES", "").strip()
    if not text:
        return None
    if not text.isdigit() or int(text) not in LANE_CHOICES:
        raise ValueError(f"GRAPHK_LANES is {text!r}; expected one of {LANE_CHOICES}. Unset it to use the host's width.")
    return int(text)


@functools.lru_cache(maxsize=None)
def _host() -> tuple[str, str, dict[str, bool], str]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    return llvm.get_host_cpu_name(), features.flatten(), dict(features), llvm.get_process_triple()


def host_target() -> Target:
    """The machine this process runs on; ``GRAPHK_LANES`` overrides the vector width."""
    cpu, flat, features, triple = _host()
    wide = bool(features.get("avx512f") and features.get("avx512vl") and features.get("avx512dq"))
    lanes = 16 if wide else 8 if features.get("avx") else 4
    forced = _forced_lanes()
    return Target(forced or lanes, cpu, flat, wide, triple)


def named_target(name: str) -> Target:
    """A fixed x86 feature set ("scalar", "sse", "avx2", "avx512") or "host"."""
    if name == "host":
        return host_target()
    if name not in _NAMED:
        raise ValueError(f"unknown target {name!r}; expected 'host' or one of {sorted(_NAMED)}.")
    lanes, cpu, features = _NAMED[name]
    return Target(lanes, cpu, features, name == "avx512", llvm.get_process_triple())


def with_lanes(target: Target, lanes: int) -> Target:
    """The same machine with another vector width (LLVM splits vectors wider than its registers)."""
    return Target(lanes, target.cpu, target.features, target.wide, target.triple)
