"""The kernel dialect: memory, lanes, control flow, errors; compiled and as plain Python."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from graphk.codegen import native
from graphk.codegen.pyspace import python_namespace
from tests.codegen.kernels import WIDTHS, build, call, slots, target

SOURCE = """
def lanes_f32(args, tid, nt):
    n = arg_i64(args, 0)
    x = ptr_f32(args, 1)
    out = ptr_f32(args, 2)
    total = vsplat_f32(0.0)
    i = 0
    while i + V <= n:
        total = s_fma(vload(x, i), f32(0.5), total)
        i += V
    rest = hsum(total)
    while i < n:
        rest = s_fma(x[i], f32(0.5), rest)
        i += 1
    out[0] = rest
    first = vload(x, 0)
    out[1] = hmax(first)
    out[2] = hmin(first)
    out[3] = hprod(first)
    out[4] = to_f32(hany(s_gt(first, f32(1.0))))
    out[5] = to_f32(hall(s_gt(first, f32(-1e9))))

def moves(args, tid, nt):
    x = ptr_f32(args, 0)
    flags = ptr_bool(args, 1)
    y = ptr_f32(args, 2)
    mask = ptr_bool(args, 3)
    counts = ptr_i64(args, 4)
    vstore(y, 0, vload_strided(x, 1, 3))
    vstore(y, V, vgather(x, s_mul(viota(2), i64(2))))
    vstore_strided(y, 2 * V, 2, vload(x, 0))
    vscatter(at(y, 4 * V), s_sub(i64(V - 1), viota(0)), vload(x, 0))
    vstore(mask, 0, s_not(vload(flags, 0)))
    mask[V] = s_gt(x[0], f32(0.0))
    vstore(counts, 0, s_add(viota(5), to_i64(vload(flags, 0))))

def branches(args, tid, nt):
    n = arg_i64(args, 0)
    x = ptr_f64(args, 1)
    for i in range(0, n):
        if i % 3 == 0:
            x[i] = s_mul(x[i], f64(2.0))
        elif i % 3 == 1:
            x[i] = s_add(x[i], to_f64(i))
        else:
            x[i] = s_neg(x[i])

def shares(args, tid, nt):
    n = arg_i64(args, 0)
    owner = ptr_i32(args, 1)
    for i in range(share_lo(n, tid, nt, 16), share_hi(n, tid, nt, 16)):
        owner[i] = s_add(owner[i], to_i32(tid + 1))
"""
ENTRIES = ("lanes_f32", "moves", "branches", "shares")


def both(name: str, lanes: int, arguments: list[object], nt: int = 1) -> list[list[object]]:
    """Run compiled and as plain Python on copies of the arguments; both argument lists."""
    results = []
    scope = python_namespace(lanes)
    exec(SOURCE, scope)
    for compiled in (True, False):
        copies = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
        if compiled:
            call(build(SOURCE, ENTRIES, lanes)[name], copies, nt)
        else:
            packed = slots(copies)
            for tid in range(nt):
                scope[name](packed, tid, nt)
        results.append(copies)
    return results


@pytest.mark.parametrize("lanes", WIDTHS)
@pytest.mark.parametrize("n", [16, 37])
def test_reductions(lanes: int, n: int) -> None:
    x = np.random.default_rng(0).normal(size=n).astype(np.float32)
    native_args, python_args = both("lanes_f32", lanes, [n, x, np.zeros(6, np.float32)])
    np.testing.assert_allclose(native_args[2], python_args[2], rtol=1e-5)
    np.testing.assert_allclose(native_args[2][0], 0.5 * x.sum(), rtol=1e-5)
    assert native_args[2][1] == x[:lanes].max() and native_args[2][2] == x[:lanes].min()


@pytest.mark.parametrize("lanes", WIDTHS)
def test_moves(lanes: int) -> None:
    rng = np.random.default_rng(1)
    flags = rng.integers(0, 2, lanes).astype(bool)
    arguments = [
        np.arange(1, 80, dtype=np.float32),
        flags,
        np.zeros(6 * lanes, np.float32),
        np.zeros(lanes + 1, bool),
        np.zeros(lanes, np.int64),
    ]
    native_args, python_args = both("moves", lanes, arguments)
    for got, want in zip(native_args, python_args, strict=True):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(native_args[2][:lanes], np.arange(2, 2 + 3 * lanes, 3))
    np.testing.assert_array_equal(native_args[3][:lanes], ~flags)
    np.testing.assert_array_equal(native_args[4], np.arange(5, 5 + lanes) + flags)


@pytest.mark.parametrize("lanes", WIDTHS)
def test_control_flow_and_shares(lanes: int) -> None:
    native_args, python_args = both("branches", lanes, [10, np.arange(10.0)])
    np.testing.assert_array_equal(native_args[1], python_args[1])
    for nt in (1, 2, 3, 4):
        native_args, python_args = both("shares", lanes, [53, np.zeros(53, np.int32)], nt)
        np.testing.assert_array_equal(native_args[1], python_args[1])
        assert set(native_args[1]) <= set(range(1, nt + 1)) and native_args[1].all()


FLOW = """
def flow(args, tid, nt):
    n = arg_i64(args, 0)
    out = ptr_i64(args, 1)
    stop = n
    k = 0
    for i in range(1, stop, 3):
        stop = 2
        k += i
        i = 100
    out[0] = k
    for i in range(n):
        last = i
        for i in range(i, n):
            k = k * 3 % 1000003 + i
    out[1] = last
    out[2] = k
    j = 0
    while j < n and not (out[0] == 1 and j > 3) or j < 2:
        if j % 2 == 0:
            half = j // 2
        elif j != 5:
            half = -j // 2
        out[3] = out[3] + half * (j - 3)
        j += 1
        if j > 6:
            out[4] = j
            return
    out[4] = -j

def divisions(args, tid, nt):
    out = ptr_i64(args, 0)
    for a in range(-7, 8):
        for b in range(-3, 4):
            at_ = ((a + 7) * 7 + b + 3) * 2
            if b != 0 or arg_i64(args, 1) == 0:
                out[at_] = a // b
                out[at_ + 1] = a % b
"""


@pytest.mark.parametrize("n", [1, 4, 5, 9])
def test_control_flow_is_pythons(n: int) -> None:
    scope = python_namespace(1)
    exec(FLOW, scope)
    got, want = np.zeros(5, np.int64), np.zeros(5, np.int64)
    call(build(FLOW, ("flow", "divisions"), 1)["flow"], [n, got])
    scope["flow"](slots([n, want]), 0, 1)
    np.testing.assert_array_equal(got, want)


def test_divisions_round_like_pythons_and_give_0_by_zero() -> None:
    out = np.full((15, 7, 2), -99)
    call(build(FLOW, ("flow", "divisions"), 1)["divisions"], [out, 0])
    want = [[divmod(a, b) if b else (0, 0) for b in range(-3, 4)] for a in range(-7, 8)]
    np.testing.assert_array_equal(out, want)


OPERATORS = """
def ops(args, tid, nt):
    x = vload(ptr_f32(args, 0), 0)
    y = vload(ptr_f32(args, 1), 0)
    out = ptr_f32(args, 2)
    z = (x + y) * x - y / f32(3.0)
    z += -x
    keep = (x < y) & ~(y >= f32(1.0)) | (x == y) ^ (x != y)
    vstore(out, 0, s_select(keep, z, f32(0.0)))
"""


def test_operators_mean_the_table_functions() -> None:
    x, y, out = (
        np.linspace(-1, 1, 8, dtype=np.float32),
        np.linspace(2, -2, 8, dtype=np.float32),
        np.zeros(8, np.float32),
    )
    call(build(OPERATORS, ("ops",), 8)["ops"], [x, y, out])
    keep = (x < y) & ~(y >= 1) | (x == y) ^ (x != y)
    np.testing.assert_allclose(out, np.where(keep, (x + y) * x - y / np.float32(3) - x, 0), rtol=1e-5, atol=1e-6)


def test_vector_math_stays_in_vector_registers() -> None:
    source = """
def k(args, tid, nt):
    x = ptr_f32(args, 0)
    for i in range(0, arg_i64(args, 1), V):
        vstore(x, i, s_tanh(s_log1p(s_exp(vload(x, i)))))
"""
    compiled = native.compile_source(source, ("k",), native.named_target("avx2"), texts=True)
    assert compiled.asm.count("vfmadd") > 20 and "ymm" in compiled.asm
    assert "call" not in compiled.asm.replace("gk.", "") and "vextract" not in compiled.asm
    assert "<8 x float>" in compiled.ir


@pytest.mark.parametrize("name", ["scalar", "sse", "avx2", "avx512"])
def test_fixed_feature_sets_compile(name: str) -> None:
    machine = native.named_target(name)
    compiled = native.compile_source(OPERATORS, ("ops",), machine, texts=True)
    assert ("zmm" in compiled.asm) == (name == "avx512")
    assert ("ymm" in compiled.asm) == (name == "avx2")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x = s_add(f32(1.0), f64(1.0))", "cast the operands"),
        ("x = s_add(f32(1.0))", "expected \\(2 operand"),
        ("vstore(ptr_f32(args, 0), 0, f64(1.0))", "float32 value"),
        ("x = vload(ptr_f32(args, 0), f32(0.0))", "expected"),
        ("x = unknown(3)", "unknown"),
        ("x = s_exp(i64(3))", "float32"),
        ("x = min(3, tid)", "leaves the dialect"),
        ("gemm_tile(ptr_i32(args, 0), 1, 1, 1, ptr_i32(args, 1), 1, ptr_i32(args, 2), 0)", "float pointer"),
        ("x = (", "not valid Python"),
        ("x = 1\n    x = f32(1.0)", "x is int64 and is assigned float32"),
        ("if tid:\n        pass", "a condition is bool"),
        ("for i in range(f32(1.0)):\n        pass", "expected one to three int64"),
        ("x, y = 1, 2", "no statement"),
        ("x = 1 if tid > 0 else 2", "no expression"),
        ("return 3", "expected none"),
    ],
)
def test_errors_name_the_function_and_quote_the_source(body: str, message: str) -> None:
    source = f"def k(args, tid, nt):\n    {body}\n"
    with pytest.raises(native.KernelError, match=message) as caught:
        native.compile_source(source, ("k",), target(8))
    assert "1 | def k(args, tid, nt):" in str(caught.value)


def test_missing_or_bad_entries_are_refused() -> None:
    with pytest.raises(native.KernelError, match="defines no function"):
        native.compile_source("x = 1\n", ("k",), target(8))
    with pytest.raises(native.KernelError, match="no identifier"):
        native.compile_source("x = 1\n", ("k k",), target(8))
    with pytest.raises(native.KernelError, match="at least one name"):
        native.compile_source("x = 1\n", (), target(8))


def test_compilation_is_deterministic_across_processes() -> None:
    script = (
        "import hashlib, sys; from graphk.codegen import native; "
        "s = sys.stdin.read(); print(hashlib.sha256(native.compile_source(s, ('ops',), "
        "native.named_target('avx2')).data).hexdigest())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script], input=OPERATORS, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_lanes_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHK_LANES", "4")
    assert native.host_target().lanes == 4
    monkeypatch.setenv("GRAPHK_LANES", "5")
    with pytest.raises(ValueError, match="GRAPHK_LANES"):
        native.host_target()


def test_numba_is_imported_in_few_files() -> None:
    """Only the dialect touches Numba (and its private names); the CUDA compiler takes public ones."""
    root = pathlib.Path(native.__file__).parent
    users = {p.name for p in root.rglob("*.py") if re.search(r"^\s*(import|from) numba\b", p.read_text(), re.MULTILINE)}
    assert users == {"dialect.py", "dialect_front.py", "dialect_types.py", "cuda_compile.py",
                     "cuda_intrinsics.py"}
    assert not any("numba.core" in (root / name).read_text() for name in ("cuda_compile.py", "cuda_intrinsics.py"))
