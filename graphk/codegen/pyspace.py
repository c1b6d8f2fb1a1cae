"""The kernel dialect as plain Python.

In goes a lane count; out comes a namespace in which a kernel source can be executed by the Python interpreter
(``python_namespace``) on real memory. It always holds that a name means what the compiled one means, computed by
numpy from the references of the scalar table and checked by the same dtype rules, so running a kernel here and
compiled is a comparison of two independent implementations. A vector is a numpy array of V elements.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphk.codegen import micro, scalars, winograd
from graphk.codegen.scalars import DTYPES, ITEMSIZE, NARROW, SHORT
from graphk.codegen.target import GROUP, host_target, with_lanes


class Pointer:
    """An address and a dtype; indexing reads and writes memory, as unchecked as in the compiled kernel."""

    def __init__(self, address: int, dtype: str, owner: Any = None) -> None:
        self.address = int(address)
        self.dtype = dtype
        self.owner = owner

    def view(self, start: int, count: int) -> np.ndarray:
        """``count`` elements from ``start`` on, sharing memory."""
        size = ITEMSIZE[self.dtype]
        if count == 0:
            return np.empty(0, self.dtype)
        buffer = (ctypes.c_char * (count * size)).from_address(self.address + int(start) * size)
        view: np.ndarray = np.ndarray((count,), np.dtype(self.dtype), memoryview(buffer))
        return view

    def __getitem__(self, index: int) -> Any:
        return self.view(index, 1)[0]

    def __setitem__(self, index: int, value: Any) -> None:
        _check_dtype("p[i] = x", self.dtype, value)
        self.view(index, 1)[0] = value


def _dtype_of(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64"
    return str(np.asarray(value).dtype)


def _check_dtype(name: str, dtype: str, value: Any) -> None:
    got = _dtype_of(value)
    if got != dtype:
        raise TypeError(f"{name}: expected {dtype}, received {got}; cast with to_{SHORT[dtype]}.")


def _scalar_function(entry: scalars.Scalar) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        dtypes = tuple(_dtype_of(a) for a in args)
        result = entry.result(dtypes)
        typed = [np.asarray(a, d) for a, d in zip(args, dtypes, strict=True)]
        return np.asarray(entry.ref(*typed), result)[()]

    call.__name__ = scalars.dialect_name(entry.name)
    return call


def _ptr(dtype: str) -> Callable[[Any, int], Pointer]:
    return lambda args, k: Pointer(int(args[k]), dtype)


def _at(p: Pointer, i: int) -> Pointer:
    return Pointer(p.address + int(i) * ITEMSIZE[p.dtype], p.dtype, p.owner)


def _share(offset: int) -> Callable[[int, int, int, int], int]:
    def cut(n: int, tid: int, nt: int, grain: int) -> int:
        units = (n + grain - 1) // grain
        return int(min(n, units * (tid + offset) // nt * grain))

    return cut


def _horizontal(entry: scalars.Scalar) -> Callable[[Any], Any]:
    def call(value: Any) -> Any:
        array = np.atleast_1d(np.asarray(value))
        while array.size > 1:
            half = array.size // 2
            array = np.asarray(entry.ref(array[:half], array[half:]))
        return array[0]

    return call


def _memory(lanes: int) -> dict[str, Callable[..., Any]]:
    def shape(array: Any) -> Any:
        return array[0] if lanes == 1 else array

    def indices(start: int, stride: int) -> list[int]:
        return [int(start) + lane * int(stride) for lane in range(lanes)]

    def vgather(p: Pointer, idx: Any) -> Any:
        return shape(np.array([p[int(i)] for i in np.atleast_1d(idx)], p.dtype))

    def vscatter(p: Pointer, idx: Any, x: Any) -> None:
        _check_dtype("vscatter", p.dtype, x)
        for i, value in zip(np.atleast_1d(idx), np.broadcast_to(x, (lanes,)), strict=True):
            p[int(i)] = value

    def vstore(p: Pointer, i: int, x: Any) -> None:
        _check_dtype("vstore", p.dtype, x)
        p.view(i, lanes)[:] = x

    return {
        "vload": lambda p, i: shape(p.view(i, lanes).copy()),
        "vstore": vstore,
        "touch_rows": lambda p, i, step: None,
        "vgather": vgather,
        "vscatter": vscatter,
        "vload_strided": lambda p, i, s: vgather(p, np.array(indices(i, s))),
        "vstore_strided": lambda p, i, s, x: vscatter(p, np.array(indices(i, s)), x),
        "viota": lambda i: shape(np.arange(lanes, dtype=np.int64) + int(i)),
    }


def _strided(p: Pointer, rows: int, columns: int, rs: int, cs: int) -> np.ndarray:
    out = np.empty((rows, columns), p.dtype)
    for i in range(rows):
        for j in range(columns):
            out[i, j] = p[i * rs + j * cs]
    return out


def _contractions(rows: int, columns: int) -> dict[str, Callable[..., None]]:
    def gemm(width: int, add: bool = False) -> Callable[..., None]:
        def call(a: Pointer, rsa: int, csa: int, m: int, bp: Pointer, k: int, c: Pointer, ahead: int,
                 parts: int = 1, step: int = 0) -> None:
            out = c.view(0, rows * width)
            out[:] *= add
            for i in range(parts):
                block = _strided(_at(a, i * step), m, k, rsa, csa)[np.minimum(np.arange(rows), m - 1)]
                out[:] += (block @ bp.view(i * k * width, k * width).reshape(k, width)).ravel()

        return call

    def pack(width: int) -> Callable[..., None]:
        def call(b: Pointer, rsb: int, csb: int, k: int, ncols: int, bp: Pointer) -> None:
            panel = bp.view(0, k * width).reshape(k, width)
            panel[:] = 0
            panel[:, :ncols] = _strided(b, k, ncols, rsb, csb)

        return call

    def gemv(
        a: Pointer, rsa: int, csa: int, m: int, b: Pointer, rsb: int, k: int, n: int, c: Pointer, ldc: int
    ) -> None:
        product = _strided(a, m, k, rsa, csa) @ _strided(b, k, n, rsb, 1)
        for i in range(m):
            c.view(i * ldc, n)[:] = product[i]

    def gemv_panels(
        a: Pointer, rsa: int, csa: int, m: int, bp: Pointer, k: int, n: int, c: Pointer, ldc: int
    ) -> None:
        for j in range(0, n, columns):
            product = _strided(a, m, k, rsa, csa) @ bp.view(j * k, k * columns).reshape(k, columns)
            for i in range(m):
                c.view(i * ldc + j, columns)[:] = product[i]

    return {
        "gemm_tile": gemm(columns),
        "gemm_tile_add": gemm(columns, add=True),
        "pack_b": pack(columns),
        "pack_a": lambda a, rsa, csa, m, k, ap: pack(rows)(a, csa, rsa, k, m, ap),
        "gemv_rows": gemv,
        "gemv_panels": gemv_panels,
    }


def _winograd(m: int, width: int) -> dict[str, Callable[..., None]]:
    at, g, bt = (np.array(x, np.float64) for x in winograd.matrices(m))
    n = m + 2

    def both(a: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.asarray(np.einsum("ai,ijc,bj->abc", a, x, a)).reshape(-1, x.shape[2])

    def into(x: Pointer, rs: int, cs: int, rows: int, columns: int, channels: int, v: Pointer, vs: int) -> None:
        seen = np.array([[x.view(min(i, rows - 1) * rs + min(j, columns - 1) * cs, channels) for j in range(n)]
                         for i in range(n)])
        for i, plane in enumerate(both(bt, seen)):
            v.view(i * vs, channels)[:] = plane

    def weights(w: Pointer, rh: int, rw: int, cs: int, columns: int, u: Pointer, us: int) -> None:
        places = np.zeros((3, 3, width))
        for i in range(3):
            for k in range(3):
                places[i, k, :columns] = [w[i * rh + k * rw + j * cs] for j in range(columns)]
        for i, plane in enumerate(both(g, places)):
            u.view(i * us, width)[:] = plane

    def back(p: Pointer, ps: int, y: Pointer) -> None:
        products = np.array([p.view(i * ps, width) for i in range(n * n)]).reshape(n, n, width)
        y.view(0, m * m * width)[:] = both(at, products).ravel()

    return {f"winograd{m}_input": into, f"winograd{m}_weights": weights, f"winograd{m}_output": back}


def _by_dtype(tables: dict[str, dict[str, Callable[..., None]]], name: str) -> Callable[..., None]:
    """Contraction blocks take their tile shape from the dtype of their first pointer."""

    def call(*args: Any) -> None:
        tables[args[0].dtype][name](*args)

    return call


def _swap(p: Pointer, i: int, x: int) -> int:
    old = int(p[i])
    p[i] = int(x)
    return old


def _call_kernel(function: int, args: int, tid: int, nt: int) -> None:
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    kind(int(function))(int(args), int(tid), int(nt))


def _sync() -> dict[str, Callable[..., Any]]:
    """The executor's primitives for one thread: atomics are plain accesses, waiting does nothing."""
    return {
        "load_acquire": lambda p, i: int(p[i]),
        "store_release": _swap,
        "fetch_add": lambda p, i, x: _swap(p, i, int(p[i]) + int(x)),
        "swap": _swap,
        "pause": lambda: None,
        "yield_cpu": lambda: None,
        "call_kernel": _call_kernel,
        "i64_ptr": lambda address: Pointer(address, "int64"),
        "i32_ptr": lambda address: Pointer(address, "int32"),
        "address_of": lambda p: p.address,
    }


def _space(dtype: str, count: int) -> Callable[[], Pointer]:
    def call() -> Pointer:
        space = np.zeros(count, dtype)
        return Pointer(space.ctypes.data, dtype, space)

    return call


def python_namespace(lanes: int) -> dict[str, Any]:
    """Every name of the dialect at ``lanes`` lanes, for ``exec`` of a kernel source.

    >>> scope = python_namespace(4)
    >>> float(scope["s_max"](scope["f32"](1.5), scope["f32"](-2.0)))
    1.5
    """
    target = with_lanes(host_target(), lanes)
    out: dict[str, Any] = {"V": lanes, "GROUP": GROUP, **micro.constants(target), **_memory(lanes)}
    for entry in scalars.TABLE.values():
        out[scalars.dialect_name(entry.name)] = _scalar_function(entry)
    for dtype in DTYPES + NARROW:
        short = SHORT[dtype]
        cast = out[f"to_{short}"]
        out[f"ptr_{short}"] = _ptr(dtype)
        out[f"vsplat_{short}"] = (lambda c: lambda x: c(x) if lanes == 1 else np.full(lanes, c(x)))(cast)
        if short != "bool":
            out[short] = cast
    out |= {"arg_i64": lambda args, k: int(args[k]), "at": _at, "share_lo": _share(0), "share_hi": _share(1),
            "parts": lambda nt, n, grain: max(1, min(nt, -(-n // grain)))}
    pairs = {"hsum": "add", "hprod": "mul", "hmax": "max", "hmin": "min", "hany": "or", "hall": "and"}
    out |= {name: _horizontal(scalars.TABLE[table]) for name, table in pairs.items()}
    tables = {d: _contractions(*target.tile_shape(d)) for d in ("float32", "float64")}
    for d, table in tables.items():
        for m in winograd.POINTS:
            table |= _winograd(m, target.tile_shape(d)[1])
    out |= {name: _by_dtype(tables, name) for name in tables["float32"]}
    out |= {f"tile_{SHORT[d]}": _space(d, math.prod(target.tile_shape(d))) for d in ("float32", "float64")}
    out |= {f"group_{SHORT[d]}": _space(d, GROUP) for d in DTYPES + NARROW}
    out |= {"stack_i64": _space("int64", 64), **_sync()}
    return out
