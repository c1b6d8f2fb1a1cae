"""The CUDA column of the scalar table: every function on every dtype that it takes, on edge values, and as PTX."""
import itertools

import numpy as np
import pytest

from graphk.codegen import cuda_compile
from graphk.codegen.cuda import print_cuda
from graphk.codegen.cuda_sim import launch
from graphk.codegen.scalars import DTYPES, NARROW, TABLE
from graphk.ir.dims import sym
from graphk.ir.loop import Call, Kernel, Let, Load, Loop, Param, Ref, Schedule, Store

FLOATS = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.0, 1e-3, 7.25, -7.25, 80.0, -80.0, 1e10, -1e10,
          3e38, -3e38, np.inf, -np.inf, np.nan]
AT = sym("i0") * sym("s1")           # a stride, so that nothing is done for four elements at once: quicker to compile
INTS = [0, 1, -1, 2, -2, 3, 7, -7, 31, 100, 127, -128]
EXACT = {"add", "sub", "mul", "neg", "abs", "sign", "max", "min", "square", "floor", "ceil", "round", "is_nan",
         "is_inf", "select", "mod", "floordiv", "round_bf16"}


def edges(dtype):
    if dtype == "bool":
        return np.array([False, True])
    if dtype.startswith("float"):
        with np.errstate(over="ignore"):
            return np.array(FLOATS, "float64").astype(dtype)
    info = np.iinfo(dtype)
    return np.array([x for x in INTS if info.min <= x <= info.max] + [info.min, info.max], dtype)


def cases(dtype):
    """(function, dtypes of its operands) for all functions whose last operand may be of a dtype."""
    for name, scalar in TABLE.items():
        for first in dict.fromkeys((dtype, "bool")):
            dtypes = (first, *[dtype] * (scalar.arity - 1))
            try:
                yield name, dtypes, scalar.result(dtypes)
            except TypeError:
                continue


def kernel_of(found):
    """One kernel with all of these: operands, then a result for each."""
    kinds = list(dict.fromkeys((d, i) for _, dtypes, _ in found for i, d in enumerate(dtypes)))
    ins = {kind: Param(f"p{k}", kind[0], "in") for k, kind in enumerate(kinds)}
    outs = [Param(f"p{len(kinds) + k}", result, "out") for k, (_, _, result) in enumerate(found)]
    lets = [Let(f"t{k}", Load(p.name, AT, p.dtype)) for k, p in enumerate(ins.values())]
    refs = {kind: Ref(let.name, kind[0]) for kind, let in zip(kinds, lets)}
    stores = [Store(p.name, AT, Call(name, tuple(refs[d, i] for i, d in enumerate(dtypes)), result))
              for p, (name, dtypes, result) in zip(outs, found)]
    body = Loop("i0", sym("s0"), (*lets, *stores))
    return Kernel("all", (*ins.values(), *outs), ("s0", "s1"), (body,), Schedule("map", ("i0", "i0"))), kinds


def operands(kinds):
    """All combinations of edge values of each position's dtype, as many of them as are quick."""
    count = max(i for _, i in kinds) + 1
    columns = {}
    for kind in kinds:
        values = edges(kind[0])
        at = [x[kind[1]] for x in itertools.islice(itertools.product(range(24), repeat=count), 0, 24**2 * 20, 1 + 6 * (
            count > 2))]
        columns[kind] = values[np.array(at) % len(values)]
    return columns


@pytest.mark.parametrize("dtype", [*DTYPES, *NARROW])
def test_every_function_on_edge_values(dtype):
    found = list(cases(dtype))
    assert len(found) >= len(DTYPES + NARROW)
    kernel, kinds = kernel_of(found)
    columns = operands(kinds)
    n = len(next(iter(columns.values())))
    results = [np.full(n, 1, result) for _, _, result in found]
    source = print_cuda(kernel, 32)
    launch(source, 0, 1, [*columns.values(), *results], [n, 1])
    edges_hold(found, columns, results)


def edges_hold(found, columns, results):
    """Whether results are what numpy computes."""
    for (name, dtypes, _), got in zip(found, results):
        args = [columns[d, i] for i, d in enumerate(dtypes)]
        with np.errstate(all="ignore"):
            want = np.asarray(TABLE[name].ref(*args))
        assert want.dtype == got.dtype, name
        if got.dtype.kind != "f" or name in EXACT or name.startswith("cast:"):
            np.testing.assert_array_equal(got, want, f"{name}{dtypes}")
        else:
            with np.errstate(all="ignore"):
                scale = np.abs(args[0] * args[1]) * 1e-6 if name == "fma" else 0   # infinite: twice rounded
                close = np.isclose(got, want, rtol=2e-6, atol=1e-30, equal_nan=True) | (
                    np.abs(got - want) <= scale) | np.isinf(scale)
            assert close.all(), (name, dtypes, [a[~close][:3] for a in args], got[~close][:3], want[~close][:3])


@pytest.mark.skipif(not cuda_compile.available(), reason="PTX needs the package numba-cuda")
@pytest.mark.parametrize("dtype", [*DTYPES, *NARROW])
def test_every_function_compiles(dtype):
    kernel, _ = kernel_of(list(cases(dtype)))
    text, = cuda_compile.compile_ptx(print_cuda(kernel)).values()
    assert ".extern .func" not in text, "nothing is left to link"
