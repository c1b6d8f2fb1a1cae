"""Every scalar intrinsic, compiled at every width, against its reference or against float64 truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from graphk.codegen import arith, scalars
from graphk.codegen.cuda import PLAIN
from tests.codegen.kernels import WIDTHS, build, call

SPECIALS = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-38, 3e38, -3e38, 1.1754944e-38]

# name: (ulp bound, truth in float64, low, high)
MATH = {
    "exp": (2, np.exp, -104.0, 89.0),
    "expm1": (3, np.expm1, -30.0, 89.0),
    "log": (2, np.log, 1e-45, 3e38),
    "log1p": (3, np.log1p, -0.999, 3e38),
    "tanh": (3, np.tanh, -12.0, 12.0),
    "sigmoid": (4, lambda x: 1 / (1 + np.exp(-x)), -104.0, 30.0),
    "erf": (3, np.vectorize(math.erf), -5.0, 5.0),
    "sin": (2, np.sin, -1e8, 1e8),
    "cos": (2, np.cos, -1e8, 1e8),
    "rsqrt": (2, lambda x: 1 / np.sqrt(x), 1e-38, 3e38),
}

LOOP = """
def {entry}(args, tid, nt):
    n = arg_i64(args, 0)
    y = ptr_{out}(args, 1)
{pointers}
    i = 0
    while i + V <= n:
        vstore(y, i, {function}({vectors}))
        i += V
    while i < n:
        y[i] = {function}({elements})
        i += 1
"""


def loop(name: str, dtypes: tuple[str, ...]) -> str:
    """A kernel applying one intrinsic to arrays, with a scalar tail."""
    short = [scalars.SHORT[d] for d in dtypes]
    out = scalars.SHORT[scalars.lookup(name).result(dtypes)]
    return LOOP.format(
        entry=entry_name(name, dtypes),
        out=out,
        function=scalars.dialect_name(name),
        pointers="\n".join(f"    x{i} = ptr_{s}(args, {i + 2})" for i, s in enumerate(short)),
        vectors=", ".join(f"vload(x{i}, i)" for i in range(len(short))),
        elements=", ".join(f"x{i}[i]" for i in range(len(short))),
    )


def entry_name(name: str, dtypes: tuple[str, ...]) -> str:
    return f"k_{name.replace(':', '_')}_{'_'.join(dtypes)}"


def cases() -> list[tuple[str, tuple[str, ...]]]:
    """Every (intrinsic, operand dtypes) the table's rules allow, one dtype per operand group."""
    out = []
    for name, entry in scalars.TABLE.items():
        for dtype in scalars.DTYPES + scalars.NARROW:
            dtypes = ("bool", dtype, dtype) if name == "select" else (dtype,) * entry.arity
            try:
                entry.result(dtypes)
            except TypeError:
                continue
            out.append((name, dtypes))
    return out


CASES = cases()


def groups() -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    out: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for name, dtypes in CASES:
        out.setdefault(dtypes[-1], []).append((name, dtypes))
    return out


def run(name: str, dtypes: tuple[str, ...], inputs: list[np.ndarray], lanes: int) -> np.ndarray:
    """Apply one intrinsic; all intrinsics of a dtype share one compiled module per width."""
    group = tuple(groups()[dtypes[-1]])
    source = "".join(loop(*item) for item in group)
    functions = build(source, tuple(entry_name(*item) for item in group), lanes)
    result = scalars.lookup(name).result(dtypes)
    out = np.zeros(inputs[0].size, result)
    call(functions[entry_name(name, dtypes)], [out.size, out, *inputs])
    return out


def sample(dtype: str, count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, count).astype(bool)
    if dtype.startswith("float"):
        values = rng.normal(size=count) * 10.0 ** rng.integers(-3, 3, count)
        values[: count // 8] = np.round(values[: count // 8])
        values[-len(SPECIALS) :] = rng.permutation(SPECIALS)
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    info = np.iinfo(dtype)
    values = rng.integers(max(info.min, -50), 50, count).astype(dtype)
    values[-4:] = rng.permutation(np.array([info.min, info.max, 0, 1], dtype))
    return values


def ulps(got: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distance in units of the last place of the float32 nearest to the truth."""
    with np.errstate(all="ignore"):
        nearest = truth.astype(np.float32)
        unit = np.spacing(np.abs(nearest)).astype(np.float64)
        error = np.abs(got.astype(np.float64) - truth) / unit
    same = (np.isnan(got) & np.isnan(truth)) | (got == nearest)
    return np.where(same, 0.0, error)


def spread(low: float, high: float, count: int) -> np.ndarray:
    """Uniform and log-uniform points of both signs inside [low, high]."""
    rng = np.random.default_rng(7)
    top = max(abs(low), abs(high))
    logs = np.exp(rng.uniform(np.log(1e-44), np.log(top), count))
    points = np.concatenate([rng.uniform(low, high, count), logs, -logs])
    return np.clip(points, low, high).astype(np.float32)


@pytest.mark.parametrize("name", MATH)
def test_float32_math_keeps_its_ulp_bound(name: str) -> None:
    bound, truth, low, high = MATH[name]
    x = spread(low, high, 60_001)
    got = run(name, ("float32",), [x], 8)
    with np.errstate(all="ignore"):
        error = ulps(got, truth(x.astype(np.float64)))
    worst = int(np.nanargmax(error))
    assert not np.isnan(error).any()
    assert error[worst] <= bound, f"{name}({x[worst]!r}) = {got[worst]!r}, off by {error[worst]:.2f} ulp"


def test_pow_keeps_its_ulp_bound() -> None:
    rng = np.random.default_rng(3)
    x = np.exp(rng.uniform(-20, 20, 40_001)).astype(np.float32)
    y = rng.uniform(-6, 6, 40_001).astype(np.float32)
    got = run("pow", ("float32", "float32"), [x, y], 8)
    with np.errstate(all="ignore"):
        assert ulps(got, x.astype(np.float64) ** y.astype(np.float64)).max() <= 1


def test_pow_special_values() -> None:
    values = np.array([*SPECIALS, -2.0, 3.0, -3.0, 0.25, -0.5, 5.0], np.float32)
    x, y = (a.ravel().copy() for a in np.meshgrid(values, values))
    got = run("pow", ("float32", "float32"), [x, y], 8)
    with np.errstate(all="ignore"):
        want = np.power(x, y)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_allclose(got, want, rtol=3e-7)
    np.testing.assert_array_equal(np.signbit(got[~np.isnan(got)]), np.signbit(want[~np.isnan(want)]))


@pytest.mark.parametrize("name", MATH)
def test_float32_math_special_values(name: str) -> None:
    x = np.array(SPECIALS, np.float32)
    got = run(name, ("float32",), [x], 8)
    with np.errstate(all="ignore"):
        want = MATH[name][1](x.astype(np.float64)).astype(np.float32)
    huge = (np.abs(x) > 2.0**27) & np.isfinite(x) if name in ("sin", "cos") else np.zeros(x.size, bool)
    np.testing.assert_allclose(got[~huge], want[~huge], rtol=4e-7, atol=0)
    assert (np.abs(got[huge]) <= 1).all()


@pytest.mark.parametrize("lanes", [1, 8])
def test_casts_to_float16_round_once(lanes: int) -> None:
    """float64 values at, and next to, the middle between two halves; all halves come back from every float."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    for dtype in ("float32", "float64"):
        exact = halves.astype(dtype)
        np.testing.assert_array_equal(run("cast:float16", (dtype,), [exact], lanes), halves)
    finite = halves[np.isfinite(halves)].astype(np.float64)
    ordered = np.unique(finite)
    middle = (ordered[1:] + ordered[:-1]) / 2
    for x in (middle, np.nextafter(middle, np.inf), np.nextafter(middle, -np.inf), middle * (1 + 2.0**-40)):
        with np.errstate(over="ignore"):
            want = x.astype(np.float16)
        np.testing.assert_array_equal(run("cast:float16", ("float64",), [x], lanes), want)


@pytest.mark.parametrize("dtype", scalars.DTYPES + scalars.NARROW)
@pytest.mark.parametrize("lanes", WIDTHS)
def test_compiled_matches_reference(dtype: str, lanes: int) -> None:
    """Integers and comparisons exactly, floats to a few ulp; widths agree to the bit."""
    for index, (name, dtypes) in enumerate(groups()[dtype]):
        inputs = [sample(d, 203, 10 * index + i) for i, d in enumerate(dtypes)]
        if name.startswith("cast") and dtype in scalars.FLOATS and name[5:] not in scalars.FLOATS:
            inputs[0] = np.concatenate([inputs[0], np.array([1e10, -1e10, 2.0**31, -(2.0**31), 2.0**63], dtype)])
        got = run(name, dtypes, inputs, lanes)
        entry = scalars.lookup(name)
        want = np.asarray(entry.ref(*inputs), got.dtype)
        if name in ("sin", "cos"):
            keep = ~(np.abs(inputs[0]) > 2.0**27) | ~np.isfinite(inputs[0])
            got, want = got[keep], want[keep]
        if got.dtype.kind == "f":
            rtol = {2: 0, 4: 1e-6, 8: 1e-14}[got.dtype.itemsize]
            atol = 1e-6 * 1e3 if name == "fma" else 1e-44
            np.testing.assert_allclose(got, want, rtol=rtol, atol=atol, err_msg=f"{name} {dtypes}")
        else:
            np.testing.assert_array_equal(got, want, err_msg=f"{name} {dtypes}")
        one = run(name, dtypes, inputs, 1)
        both_nan = (one != one) & (run(name, dtypes, inputs, lanes) != run(name, dtypes, inputs, lanes))
        same = one.view(np.uint8).reshape(one.size, -1) == run(name, dtypes, inputs, lanes).view(np.uint8).reshape(
            one.size, -1
        )
        assert (same.all(axis=1) | both_nan).all(), f"{name} {dtypes} differs between 1 and {lanes} lanes"


def test_table_is_complete() -> None:
    assert set(arith.TABLE) == set(scalars.TABLE)
    assert {name for name, _ in CASES} == set(scalars.TABLE)
    for entry in scalars.TABLE.values():
        assert entry.cost > 0
        entry.cuda.format(*"abc"[: entry.arity])


def test_cuda_templates_mean_the_reference() -> None:
    """The templates are Python: run them on the host, one value at a time."""
    scope: dict[str, object] = {"math": math, "np": np, **PLAIN}
    for text in scalars.CUDA_HELPERS.values():
        exec(text, scope)
    finite = [0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.7, -3.7]
    whole = [0, 1, 3, 7, 4000000000]
    for name, dtypes in CASES:
        values = finite if dtypes[-1].startswith("float") else [True, False] if dtypes[-1] == "bool" else whole[:4]
        if dtypes[-1] == "uint32":
            values = whole
        for a in values:
            for b in values:
                operands = [(a, b, values[1])[i] for i in range(len(dtypes))]
                if name == "select":
                    operands[0] = bool(a)
                typed = [np.dtype(d).type(v) for v, d in zip(operands, dtypes)]
                want = scalars.lookup(name).ref(*typed)
                # The device's own conversion saturates, the host's wraps.
                clamps = name in ("cast:uint32", "cast:uint8", "cast:uint16") and a < 0
                if not np.isfinite(np.asarray(want, np.float64)) or clamps or (name in ("shl", "shr") and b > 31):
                    continue
                text = scalars.lookup(name).cuda_for(dtypes[-1]).format(*"abc")
                with np.errstate(all="ignore"):
                    got = eval(text, scope, dict(zip("abc", typed)))
                np.testing.assert_allclose(
                    np.asarray(got).astype(np.asarray(want).dtype), want, rtol=1e-5, err_msg=f"{text} {operands}"
                )


def test_philox_known_answers() -> None:
    """Vectors published with the Random123 library for philox2x32 with 7 rounds."""
    known = {
        (0, 0, 0): 0x257A3673,
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF): 0xAB302C4D,
        (0x243F6A88, 0x85A308D3, 0x13198A2E): 0xBEDBBE6B,
    }
    inputs = [np.array(column, np.uint32) for column in zip(*known, strict=True)]
    want = np.array(list(known.values()), np.uint32)
    np.testing.assert_array_equal(scalars.philox2x32(*inputs), want)
    np.testing.assert_array_equal(run("philox2x32", ("uint32",) * 3, inputs, 4), want)


def test_u01_is_in_the_half_open_interval() -> None:
    got = run("u01", ("uint32",), [np.array([0, 255, 256, 2**32 - 1], np.uint32)], 4)
    np.testing.assert_array_equal(got, np.array([0, 0, 2.0**-24, 1 - 2.0**-24], np.float32))


def test_rules_refuse_mixed_dtypes() -> None:
    with pytest.raises(TypeError, match="cast the operands"):
        scalars.lookup("add").result(("float32", "float64"))
    with pytest.raises(TypeError, match="takes 2 operand"):
        scalars.lookup("add").result(("float32",))
    with pytest.raises(KeyError, match="no scalar intrinsic"):
        scalars.lookup("softplus")
