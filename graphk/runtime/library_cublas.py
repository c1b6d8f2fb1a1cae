"""Matrix products by cuBLASLt.

In: a `Product` and addresses.  Out: what calls `cublasLtMatmul` on a stream.  What always holds: cuBLASLt thinks in
columns, so it is asked for the transposed product: its first matrix is the right operand, its rows are the result's
columns, which is where it adds a bias; its memory is taken beforehand, a piece for each lane, so that a call may be
captured; an algorithm is asked for once for a product and the alignment of its addresses; TF32 is used only where the
product allows it.

Numbers of enumerators are those of cublasLt.h and cublas_api.h, the same in CUDA 12 and 13.
"""
from __future__ import annotations

import ctypes
from typing import Any

from graphk.runtime.device import DeviceError
from graphk.runtime.library import Ask, Library, Matrix, Places, Product, Refused, Run, aligned

TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}         # cudaDataType
COMPUTE_32F, COMPUTE_32F_FAST_TF32, COMPUTE_64F = 68, 77, 70               # cublasComputeType_t
TRANSA, TRANSB, EPILOGUE, BIAS_POINTER, AUX_POINTER, AUX_ROW = 3, 4, 7, 8, 11, 12    # ...MatmulDescAttributes_t
# cublasLtEpilogue_t: parts that add up.  Its A is our right operand: the sums of A's rows are those of our columns.
EPILOGUE_DEFAULT, EPILOGUE_BIAS, EPILOGUE_AUX, EPILOGUE_SUMS_OF_A = 1, 4, 128, 256
EPILOGUE_ACTIVATION, EPILOGUE_SLOPE = {"": 0, "relu": 2, "gelu": 32}, {"relu": 8, "gelu": 64}
BATCH_COUNT, BATCH_OFFSET = 5, 6                                           # cublasLtMatrixLayoutAttribute_t
MAX_WORKSPACE, ALIGNMENT_A, ALIGNMENT_B, ALIGNMENT_C, ALIGNMENT_D = 1, 5, 6, 7, 8    # ...MatmulPreferenceAttributes_t
NOT_SUPPORTED = 15                                                         # cublasStatus_t
CHOICES = 4                       # algorithms to ask for: the first that can run is taken


class Heuristic(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t: an algorithm."""
    _fields_ = [("algo", ctypes.c_uint64 * 8), ("workspace", ctypes.c_size_t), ("state", ctypes.c_int),
                ("waves", ctypes.c_float), ("reserved", ctypes.c_int * 4)]


class Ready:
    """A product's descriptors and algorithm."""
    __slots__ = ("operation", "layouts", "algorithm", "alpha", "beta")

    def __init__(self, operation: Any, layouts: tuple[Any, ...], algorithm: Heuristic, alpha: Any, beta: Any):
        self.operation, self.layouts, self.algorithm, self.alpha, self.beta = operation, layouts, algorithm, alpha, beta


class CublasLt(Library):
    """cuBLASLt on one device.

    `functions`: the shared library, or what stands in for it; `memory`: `size` bytes for each lane, one after another.
    """
    name = "cuBLASLt"

    def __init__(self, functions: Any, memory: int, size: int):
        self.functions, self.memory, self.size = functions, memory, size
        functions.cublasLtGetStatusName.restype = ctypes.c_char_p
        self.handle = ctypes.c_void_p()
        self.check("cublasLtCreate", ctypes.byref(self.handle))
        self._ready: dict[Any, Ready | str] = {}

    def check(self, name: str, *args: Any) -> None:
        """Call a function; DeviceError names it and its status."""
        status = getattr(self.functions, name)(*args)
        if status:
            word = self.functions.cublasLtGetStatusName(status)
            raise DeviceError(f"{name} failed: {(word or b'?').decode()} ({status}). cuBLAS must be of the CUDA "
                              "version that the driver supports: see `python -m graphk doctor`.")

    # -------------------------------------------------------------- descriptors
    def operation(self, p: Product) -> Any:
        """What is computed: types, transposes, what is done with a sum."""
        wide = p.result == "float64"
        compute = COMPUTE_64F if wide else COMPUTE_32F_FAST_TF32 if p.tf32 else COMPUTE_32F
        out = ctypes.c_void_p()
        self.check("cublasLtMatmulDescCreate", ctypes.byref(out), compute, TYPES[p.result])
        epilogue = (EPILOGUE_SLOPE if p.slope else EPILOGUE_ACTIVATION)[p.activation] + EPILOGUE_BIAS * p.bias
        epilogue += EPILOGUE_AUX * (p.aux is not None) + EPILOGUE_SUMS_OF_A * p.totals
        for attribute, value in ((TRANSA, ctypes.c_int32(not p.right.in_rows(p.n))),
                                 (TRANSB, ctypes.c_int32(not p.left.in_rows(p.k))),
                                 (EPILOGUE, ctypes.c_uint32(epilogue or EPILOGUE_DEFAULT))):
            self._set("cublasLtMatmulDescSetAttribute", out, attribute, value)
        if p.aux is not None:
            self._set("cublasLtMatmulDescSetAttribute", out, AUX_ROW, ctypes.c_int64(p.aux.row))
        return out

    def layout(self, x: Matrix, rows: int, columns: int, batch: int, dtype: str) -> Any:
        """A matrix, as the columns that its memory holds."""
        down, across, leading = (columns, rows, x.row) if x.in_rows(columns) else (rows, columns, x.column)
        out = ctypes.c_void_p()
        self.check("cublasLtMatrixLayoutCreate", ctypes.byref(out), TYPES[dtype], ctypes.c_uint64(down),
                   ctypes.c_uint64(across), ctypes.c_int64(leading))
        if batch > 1:
            self._set("cublasLtMatrixLayoutSetAttribute", out, BATCH_COUNT, ctypes.c_int32(batch))
            self._set("cublasLtMatrixLayoutSetAttribute", out, BATCH_OFFSET, ctypes.c_int64(x.batch))
        return out

    def layouts(self, p: Product) -> tuple[Any, ...]:
        """Of A, B, C and D: the right operand, the left one, what is added, the result."""
        return (self.layout(p.right, p.k, p.n, p.batch, p.dtype), self.layout(p.left, p.m, p.k, p.batch, p.dtype),
                self.layout(p.added or p.out, p.m, p.n, p.batch, p.result),
                self.layout(p.out, p.m, p.n, p.batch, p.result))

    def preference(self, aligned: tuple[int, ...]) -> Any:
        """What an algorithm may use: memory, and the alignment of A, B, C and D."""
        out = ctypes.c_void_p()
        self.check("cublasLtMatmulPreferenceCreate", ctypes.byref(out))
        self._set("cublasLtMatmulPreferenceSetAttribute", out, MAX_WORKSPACE, ctypes.c_uint64(self.size))
        for attribute, nbytes in zip((ALIGNMENT_A, ALIGNMENT_B, ALIGNMENT_C, ALIGNMENT_D), aligned):
            self._set("cublasLtMatmulPreferenceSetAttribute", out, attribute, ctypes.c_uint32(nbytes))
        return out

    def _set(self, name: str, of: Any, attribute: int, value: Any) -> None:
        self.check(name, of, attribute, ctypes.byref(value), ctypes.c_size_t(ctypes.sizeof(value)))

    def _ends(self, operation: Any, at: Places) -> None:
        """Where an epilogue's own arrays are; a bias and sums of columns are never both."""
        for attribute, address in ((BIAS_POINTER, at.bias or at.totals), (AUX_POINTER, at.aux)):
            if address:
                self._set("cublasLtMatmulDescSetAttribute", operation, attribute, ctypes.c_void_p(address))

    # -------------------------------------------------------------- calls
    def ask(self, what: Ask, at: Places) -> Run:
        assert isinstance(what, Product)
        product = what
        matrices = at.right, at.left, at.added or at.out, at.out
        key = product, tuple(aligned(x) for x in (*matrices, at.bias, at.aux, at.totals))
        if key not in self._ready:
            self._ready[key] = self._choose(product, key[1][:4], at)
        ready = self._ready[key]
        if isinstance(ready, str):
            raise Refused(ready)

        def run(stream: Any, lane: int) -> None:
            self._ends(ready.operation, at)
            a, b, c, d = (ctypes.c_void_p(x) for x in matrices)
            of_a, of_b, of_c, of_d = ready.layouts
            self.check("cublasLtMatmul", self.handle, ready.operation, ctypes.byref(ready.alpha), a, of_a, b, of_b,
                       ctypes.byref(ready.beta), c, of_c, d, of_d, ctypes.byref(ready.algorithm.algo),
                       ctypes.c_void_p(self.memory + lane * self.size), ctypes.c_size_t(self.size),
                       ctypes.c_void_p(int(stream)))
        return run

    def _choose(self, p: Product, aligned: tuple[int, ...], at: Places) -> Ready | str:
        """Descriptors, and the algorithm that cuBLASLt expects to be the fastest; or why there is none."""
        operation, layouts, preference = self.operation(p), self.layouts(p), self.preference(aligned)
        self._ends(operation, at)                  # their alignment counts, too
        found, count = (Heuristic * CHOICES)(), ctypes.c_int()
        status = self.functions.cublasLtMatmulAlgoGetHeuristic(self.handle, operation, *layouts, preference, CHOICES,
                                                               found, ctypes.byref(count))
        self.check("cublasLtMatmulPreferenceDestroy", preference)
        usable = [found[i] for i in range(count.value) if found[i].state == 0 and found[i].workspace <= self.size]
        if status == 0 and usable:
            number = ctypes.c_double if p.result == "float64" else ctypes.c_float
            return Ready(operation, layouts, usable[0], number(1), number(1 if p.added else 0))
        for layout in layouts:
            self.check("cublasLtMatrixLayoutDestroy", layout)
        self.check("cublasLtMatmulDescDestroy", operation)
        word = self.functions.cublasLtGetStatusName(status or NOT_SUPPORTED)
        return f"no algorithm ({(word or b'?').decode()})"


__all__ = ["CublasLt"]
