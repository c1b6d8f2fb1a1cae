"""Contraction blocks at every width: edges, strides, thread counts, bounds."""

from __future__ import annotations

import numpy as np
import pytest

from graphk.codegen import micro, native
from graphk.codegen.pyspace import python_namespace
from tests.codegen.kernels import MATMUL_SOURCE, WIDTHS, build, call, slots, target

WRAP = """
def tiled_{t}(args, tid, nt):
    gemm_tile(ptr_{t}(args, 0), arg_i64(args, 1), arg_i64(args, 2), arg_i64(args, 3),
              ptr_{t}(args, 4), arg_i64(args, 5), ptr_{t}(args, 6), 1000000007)

def tiled_add_{t}(args, tid, nt):
    gemm_tile_add(ptr_{t}(args, 0), arg_i64(args, 1), arg_i64(args, 2), arg_i64(args, 3),
                  ptr_{t}(args, 4), arg_i64(args, 5), ptr_{t}(args, 6), -1, arg_i64(args, 7), arg_i64(args, 8))

def packb_{t}(args, tid, nt):
    pack_b(ptr_{t}(args, 0), arg_i64(args, 1), arg_i64(args, 2), arg_i64(args, 3), arg_i64(args, 4), ptr_{t}(args, 5))

def gemv_{t}(args, tid, nt):
    gemv_rows(ptr_{t}(args, 0), arg_i64(args, 1), arg_i64(args, 2), arg_i64(args, 3), ptr_{t}(args, 4),
              arg_i64(args, 5), arg_i64(args, 6), arg_i64(args, 7), ptr_{t}(args, 8), arg_i64(args, 9))

def gemvp_{t}(args, tid, nt):
    gemv_panels(ptr_{t}(args, 0), arg_i64(args, 1), arg_i64(args, 2), arg_i64(args, 3), ptr_{t}(args, 4),
                arg_i64(args, 5), arg_i64(args, 6), ptr_{t}(args, 7), arg_i64(args, 8))

def packa_{t}(args, tid, nt):
    pack_a(ptr_{t}(args, 0), arg_i64(args, 1), arg_i64(args, 2), arg_i64(args, 3), arg_i64(args, 4), ptr_{t}(args, 5))
"""
SHORT = {"float32": "f32", "float64": "f64"}


def source(dtype: str) -> tuple[str, tuple[str, ...]]:
    t = SHORT[dtype]
    names = ("matmul", f"gemv_{t}", f"gemvp_{t}", f"packa_{t}", f"packb_{t}", f"tiled_{t}", f"tiled_add_{t}")
    return MATMUL_SOURCE.format(t=t) + WRAP.format(t=t), names


def run(dtype: str, lanes: int, name: str, arguments: list[object], nt: int = 1) -> None:
    text, names = source(dtype)
    call(build(text, names, lanes)[name], arguments, nt)


def strides(array: np.ndarray) -> list[int]:
    return [s // array.itemsize for s in array.strides]


def guarded(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(whole buffer with NaN around, the same values inside it): reading outside poisons the result."""
    flat = np.full(values.size + 64, np.nan, values.dtype)
    inside = flat[32 : 32 + values.size].reshape(values.shape)
    inside[:] = values
    return flat, inside


def matmul_args(a: np.ndarray, b: np.ndarray, c: np.ndarray, lanes: int, nt: int) -> list[object]:
    (m, k), n = a.shape, b.shape[1]
    columns = target(lanes).tile_shape(str(a.dtype))[1]
    work = np.full(max(1, nt * k * columns), np.nan, a.dtype)
    return [a, b, c, work, m, n, k, *strides(a), *strides(b), n]


SHAPES = [(1, 1, 1), (5, 7, 3), (6, 16, 16), (13, 33, 50), (29, 9, 130), (3, 0, 4)]


@pytest.mark.parametrize("dtype", SHORT)
@pytest.mark.parametrize("lanes", WIDTHS)
def test_matmul_all_layouts_and_thread_counts(dtype: str, lanes: int) -> None:
    rng = np.random.default_rng(0)
    for m, k, n in SHAPES:
        for turn_a in (False, True):
            for turn_b in (False, True):
                a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
                a = guarded(np.ascontiguousarray(a.T))[1].T if turn_a else guarded(a)[1]
                b = guarded(np.ascontiguousarray(b.T))[1].T if turn_b else guarded(b)[1]
                results = []
                for nt in (1, 2, 3, 4):
                    c = np.full((m, n), np.nan, dtype)
                    run(dtype, lanes, "matmul", matmul_args(a, b, c, lanes, nt), nt)
                    results.append(c)
                wide = a.astype(np.float64) @ b.astype(np.float64)
                tolerance = 1e-5 if dtype == "float32" else 1e-13
                np.testing.assert_allclose(results[0], wide, rtol=tolerance, atol=tolerance * max(1, k))
                for other in results[1:]:
                    np.testing.assert_array_equal(results[0], other)


@pytest.mark.parametrize("lanes", WIDTHS)
def test_widths_give_equal_bits(lanes: int) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(11, 37)).astype(np.float32), rng.normal(size=(37, 21)).astype(np.float32)
    results = []
    for width in (1, lanes):
        c = np.zeros((11, 21), np.float32)
        run("float32", width, "matmul", matmul_args(a, b, c, width, 1))
        results.append(c)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("dtype", SHORT)
@pytest.mark.parametrize("lanes", WIDTHS)
def test_pack_b_and_tile(dtype: str, lanes: int) -> None:
    rows, width = target(lanes).tile_shape(dtype)
    rng = np.random.default_rng(2)
    k, t = 19, SHORT[dtype]
    for ncols in {1, width // 2, width - 1, width} - {0}:
        for layout in ("C", "F", "strided"):
            b = rng.normal(size=(k, ncols)).astype(dtype)
            held = (
                np.zeros((2 * k, 3 * ncols), dtype)[::2, ::3]
                if layout == "strided"
                else np.empty((k, ncols), dtype, order=layout)
            )  # type: ignore[call-overload]
            held[:] = b
            packed = np.full((k, width), np.nan, dtype)
            run(dtype, lanes, f"packb_{t}", [held, *strides(held), k, ncols, packed])
            np.testing.assert_array_equal(packed[:, :ncols], b)
            assert not packed[:, ncols:].any()
            for m in range(1, rows + 1):
                a, c = rng.normal(size=(m, k)).astype(dtype), np.full((rows, width), np.nan, dtype)
                run(dtype, lanes, f"tiled_{t}", [guarded(a)[1], k, 1, m, packed, k, c])
                np.testing.assert_allclose(c[:m, :ncols], a @ b, rtol=1e-4, atol=1e-5)
                run(dtype, lanes, f"tiled_add_{t}", [guarded(a)[1], k, 1, m, packed, k, c, 1, 0])
                np.testing.assert_allclose(c[:m, :ncols], 2 * (a @ b), rtol=1e-4, atol=1e-5)
                run(dtype, lanes, f"tiled_add_{t}", [guarded(a)[1], k, 1, m, packed, 5, c, 3, 6])
                parts = sum(a[:, 6 * i:6 * i + 5] @ b[5 * i:5 * i + 5] for i in range(3))
                np.testing.assert_allclose(c[:m, :ncols], 2 * (a @ b) + parts, rtol=1e-4, atol=1e-4)
                run(dtype, lanes, f"tiled_add_{t}", [guarded(a)[1], k, 1, m, packed, 5, c, 0, 6])
                np.testing.assert_allclose(c[:m, :ncols], 2 * (a @ b) + parts, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", SHORT)
@pytest.mark.parametrize("lanes", WIDTHS)
def test_pack_a_feeds_the_tile(dtype: str, lanes: int) -> None:
    rows = target(lanes).tile_shape(dtype)[0]
    rng = np.random.default_rng(4)
    for m in {1, rows}:
        a = rng.normal(size=(9, m)).astype(dtype).T
        packed = np.full((9, rows), np.nan, dtype)
        run(dtype, lanes, f"packa_{SHORT[dtype]}", [guarded(a.T)[1], 1, m, m, 9, packed])
        np.testing.assert_array_equal(packed[:, :m], a.T)
        assert not packed[:, m:].any()


@pytest.mark.parametrize("dtype", SHORT)
@pytest.mark.parametrize("lanes", WIDTHS)
def test_gemv_rows(dtype: str, lanes: int) -> None:
    rng = np.random.default_rng(3)
    for m in range(1, micro.GEMV_ROWS + 1):
        for k, n in ((1, 1), (8, 16), (21, 37), (0, 5)):
            a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
            c = np.full((m, n), np.nan, dtype)
            run(dtype, lanes, f"gemv_{SHORT[dtype]}", [a, k, 1, m, guarded(b)[1], n, k, n, c, n])
            np.testing.assert_allclose(c, a.astype(np.float64) @ b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", SHORT)
@pytest.mark.parametrize("lanes", WIDTHS)
def test_gemv_panels_gives_the_bits_of_gemv_rows(dtype: str, lanes: int) -> None:
    rng, t, width = np.random.default_rng(6), SHORT[dtype], target(lanes).tile_shape(dtype)[1]
    for m in range(1, micro.GEMV_ROWS + 1):
        for k, n in ((1, 1), (9, width), (21, 3 * width + 1), (7, 5 * width - 1), (16, 9 * width), (0, 5)):
            a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
            panels = np.zeros((-(-n // width), k, width), dtype)
            for j in range(n):
                panels[j // width, :, j % width] = b[:, j]
            whole = len(panels) * width
            c, want = np.full((m, whole + 3), np.nan, dtype), np.full((m, n), np.nan, dtype)
            run(dtype, lanes, f"gemvp_{t}", [guarded(a)[1], k, 1, m, guarded(panels)[1], k, n, c, whole + 3])
            run(dtype, lanes, f"gemv_{t}", [a, k, 1, m, b, n, k, n, want, n])
            np.testing.assert_array_equal(c[:, :n], want)
            assert np.isnan(c[:, whole:]).all()


@pytest.mark.parametrize("lanes", [1, 8])
def test_plain_python_agrees(lanes: int) -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(7, 5)).astype(np.float32), rng.normal(size=(5, 19)).astype(np.float32)
    scope = python_namespace(lanes)
    exec(MATMUL_SOURCE.format(t="f32"), scope)
    c = np.zeros((7, 19), np.float32)
    arguments = matmul_args(a, b, c, lanes, 2)
    for tid in range(2):
        scope["matmul"](slots(arguments), tid, 2)
    np.testing.assert_allclose(c, a @ b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "registers", "accumulators"), [("avx2", "ymm", 12), ("avx512", "zmm", 24)])
def test_accumulators_stay_in_registers(name: str, registers: str, accumulators: int) -> None:
    machine = native.named_target(name)
    asm = native.compile_source(MATMUL_SOURCE.format(t="f32"), ("matmul",), machine, texts=True).asm
    tile = asm[asm.index(f"gk.gemm_tile.{machine.lanes}") :]
    loop = max(tile.split(".LBB"), key=lambda part: part.count("vfmadd"))
    assert loop.count("vfmadd") == accumulators * micro.unroll(machine, "float32")
    assert "(%rsp)" not in "".join(line for line in loop.splitlines() if registers in line)
