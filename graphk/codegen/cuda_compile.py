"""CUDA sources to PTX, on machines with or without a GPU.

In: a `CudaSource` and a compute capability.  Out: for each launch the PTX of a module with one entry of the launch's
name (what `cuModuleGetFunction` is asked for), whose arguments are 64-bit words: the address of each buffer, then each
size.  What always holds: only the package `numba-cuda` and what it brings along are needed; where it is missing, the
error says what to install; what is in the cache directory (`store`) is not compiled again, nor is Numba imported.
"""
from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import math
import os
import re
from collections.abc import Callable
from typing import Any

from graphk.codegen import store
from graphk.codegen.cuda import CudaSource, load_functions

CAPABILITIES = ((7, 5), (8, 0), (9, 0), (10, 0))
# The oldest PTX that knows a GPU ("PTX ISA", "Release Notes"): 7.8 all up to 9.0, but these.  From 8.1 on, a
# kernel may have arguments of more than 4096 bytes.
VERSIONS = {(8, 8): "9.0", (10, 0): "8.6", (12, 0): "8.7", (10, 3): "8.8", (12, 1): "8.8", (11, 0): "9.0"}
FEW_ARGUMENTS = 4096              # bytes
_MEMORY: dict[str, dict[str, str]] = {}


class CudaMissing(ImportError):
    """The packages that compile for CUDA are not installed."""


def available() -> bool:
    """Whether the package `numba-cuda` is installed."""
    return importlib.util.find_spec("numba_cuda") is not None


def require() -> Any:
    """The module `numba.cuda` of the package `numba-cuda`; `CudaMissing` says how to get it."""
    if not available():
        raise CudaMissing("CUDA kernels are compiled by the package `numba-cuda`, which is not installed.  Install it "
                          "with `pip install graphk[cuda13]` (or `graphk[cuda12]` for drivers before CUDA 13)")
    from numba import cuda
    return cuda


def compile_ptx(source: CudaSource, capability: tuple[int, int] = (9, 0)) -> dict[str, str]:
    """The PTX of each function of `source` for a compute capability such as (9, 0)."""
    return kept(key_of(source, capability), lambda: _compile(source, capability))


def _compile(source: CudaSource, capability: tuple[int, int]) -> dict[str, str]:
    cuda = require()
    from numba import errors, types

    from graphk.codegen.cuda_intrinsics import NAMES
    signature = (*(types.CPointer(types.uint8 if d == "bool" else getattr(types, d)) for d in source.dtypes),
                 *(types.int64 for _ in source.sizes))
    out, threads = {}, {x.name: math.prod(x.threads) for x in source.launches}
    for name, function in load_functions(source, cuda, NAMES).items():
        try:
            ptx = str(cuda.compile_ptx(function, signature, cc=capability)[0])
        except errors.NumbaError as e:
            raise RuntimeError(f"the CUDA function `{name}` does not compile for compute capability "
                               f"{capability[0]}.{capability[1]}: {e}\n{source.text}") from e
        out[name] = _finished(ptx, name, threads[name], capability)
    return out


def _finished(ptx: str, name: str, threads: int, capability: tuple[int, int]) -> str:
    """PTX whose entry has a short name and says how many threads it has, so that these find enough registers; without
    the symbol that only Numba's own loader reads; of the oldest version that there is for the GPU, since a driver
    refuses what is newer than itself, whatever stands in it."""
    many = ptx.count(".param .u64") * 8 > FEW_ARGUMENTS
    version = VERSIONS.get(capability, ("8.1" if many else "7.8") if capability <= (9, 0) else None)
    if version is not None:
        ptx = re.sub(r"^\.version \S+", f".version {version}", ptx, count=1, flags=re.M)
    entry = re.search(r"\.entry\s+([\w$]+)", ptx)
    assert entry is not None
    text = "\n".join(line for line in ptx.split("\n") if "NumbaEnv" not in line).replace(entry[1], name)
    return text.replace("\n)\n{", f"\n)\n.maxntid {threads}, 1, 1\n{{", 1)


# ------------------------------------------------------------------ kept on disk
def kept(key: str, make: Callable[[], dict[str, str]]) -> dict[str, str]:
    """What was made for a key before, by this process or another one; else what `make` makes, which is kept."""
    if key not in _MEMORY:
        found = _from_disk(key)
        if found is None:
            found = make()
            place = store.usable_directory()
            if place is not None:
                store.write(os.path.join(place, key + store.PTX_SUFFIX), _pack(found))
        _MEMORY[key] = found
    return dict(_MEMORY[key])


def key_of(source: CudaSource, capability: tuple[int, int]) -> str:
    """Digest of all that decides what a source becomes."""
    launches = [(x.name, x.threads) for x in source.launches]
    parts = (source.text, source.dtypes, len(source.sizes), launches, capability, tools())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@functools.lru_cache(maxsize=1)
def tools() -> str:
    """What decides PTX besides source and capability: versions of the packages that compile, and the modules here."""
    spec = importlib.util.find_spec("numba_cuda")
    if spec is None or spec.origin is None:
        return "absent"
    site = os.path.dirname(os.path.dirname(spec.origin))
    wanted = ("numba", "llvmlite", "nvidia_", "cuda_")
    packages = [n for n in sorted(os.listdir(site)) if n.endswith(".dist-info") and n.lower().startswith(wanted)]
    folder, digest = os.path.dirname(os.path.abspath(__file__)), hashlib.sha256()
    for name in ("cuda_compile.py", "cuda_intrinsics.py", "cuda_link.py"):
        with open(os.path.join(folder, name), "rb") as file:
            digest.update(file.read())
    toolkits = [os.environ.get(x, "") for x in ("CUDA_HOME", "CUDA_PATH", "NUMBA_CUDA_USE_NVIDIA_BINDING")]
    return " ".join([*packages, *toolkits, digest.hexdigest()])


def _pack(ptx: dict[str, str]) -> bytes:
    body = json.dumps(ptx).encode()
    return hashlib.sha256(body).digest() + body


def _from_disk(key: str) -> dict[str, str] | None:
    place = store.usable_directory()
    if place is None:
        return None
    path = os.path.join(place, key + store.PTX_SUFFIX)
    try:
        data = store.read(path)
    except store.RefusedError as error:
        store.warn("file", f"the cached kernel {path} is refused: {error}; it is compiled again.")
        return None
    if data is None or hashlib.sha256(data[32:]).digest() != data[:32]:
        return None
    return {str(k): str(v) for k, v in json.loads(data[32:]).items()}


__all__ = ["CAPABILITIES", "CudaMissing", "available", "compile_ptx", "kept", "key_of", "require", "tools"]
