"""CUDA sources to PTX, on machines with or without a GPU.

In: a `CudaSource` and a compute capability.  Out: the PTX text of each function.  What always holds: only the package
`numba-cuda` and what it brings along are needed; where it is missing, the error says what to install.
"""
from __future__ import annotations

import importlib.util
from typing import Any

from graphk.codegen.cuda import CudaSource, load_functions

CAPABILITIES = ((7, 5), (8, 0), (9, 0), (10, 0))


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
    cuda = require()
    from numba import errors, types
    scalars = {"bool": types.boolean}
    signature = (*(types.Array(scalars.get(d) or getattr(types, d), 1, "C") for d in source.dtypes),
                 *(types.int64 for _ in source.sizes))
    out = {}
    for name, function in load_functions(source, cuda).items():
        try:
            out[name] = str(cuda.compile_ptx(function, signature, cc=capability)[0])
        except errors.NumbaError as e:
            raise RuntimeError(f"the CUDA function `{name}` does not compile for compute capability "
                               f"{capability[0]}.{capability[1]}: {e}\n{source.text}") from e
    return out


__all__ = ["CAPABILITIES", "CudaMissing", "available", "compile_ptx", "require"]
