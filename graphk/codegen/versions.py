"""What decides an object's bytes besides its source and its target: the versions of all that compiles.

In goes nothing; out come texts for keys of the cache. It always holds that two processes with the same text compile
the same source to the same bytes, and that nothing is imported to know it: a start with a full cache needs neither
Numba nor LLVM.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os

# These print, keep or simulate kernels: what they decide stands in the source text, which is part of every key.
_NOT_COMPILING = frozenset(
    {"batch.py", "cache.py", "columns.py", "cpu.py", "cuda.py", "cuda_compile.py", "cuda_intrinsics.py", "cuda_link.py",
     "cuda_map.py", "cuda_reduce.py", "cuda_sim.py", "cuda_tile.py", "cuda_values.py", "emit.py", "other_cpu.py",
     "panels.py", "pyspace.py", "tile.py", "tile_places.py", "tile_winograd.py", "workspace.py"}
)


def _package(name: str) -> str:
    """A package's version file, revision included, as a digest, and the sizes of the libraries that it brings."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return "absent"
    folder = os.path.dirname(spec.origin)
    digest = hashlib.sha256(_bytes(os.path.join(folder, "_version.py"))).hexdigest()
    binding = os.path.join(folder, "binding")
    names = sorted(os.listdir(binding)) if os.path.isdir(binding) else []
    return f"{digest} {[os.stat(os.path.join(binding, n)).st_size for n in names if 'llvmlite' in n]}"


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


@functools.lru_cache(maxsize=1)
def tools() -> str:
    """The compilers: Numba, and llvmlite with its LLVM."""
    return f"{_package('numba')}|{_package('llvmlite')}"


@functools.lru_cache(maxsize=1)
def versions() -> str:
    """The compilers and the modules of this package that compile."""
    digest = hashlib.sha256()
    folder = os.path.dirname(os.path.abspath(__file__))
    for name in sorted(os.listdir(folder)):
        if name.endswith(".py") and name not in _NOT_COMPILING:
            digest.update(_bytes(os.path.join(folder, name)))
    return f"{tools()}|{digest.hexdigest()}"


__all__ = ["tools", "versions"]
