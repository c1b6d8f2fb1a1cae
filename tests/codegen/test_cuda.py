"""CUDA without a GPU: golden sources, the whole programs on Numba's simulator, and compilation to PTX."""
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graphk.codegen import cuda_compile
from graphk.codegen.cuda import CudaSource, Launch, load_functions, print_cuda
from graphk.codegen.cuda_sim import CudaFault, launch
from graphk.codegen.cuda_values import inline, typed
from graphk.codegen.scalars import CUDA_HELPERS, TABLE, philox2x32
from graphk.ir.dims import evaluate, sym, symbols
from graphk.ir.loop import Kernel, Schedule
from graphk.ir.node import Graph
from graphk.ir.ops import elementwise as ew, nn, reduce, shape
from graphk.ir.ops.contract import dot
from graphk.ir.ops.leaves import new_input
from graphk.ir.ops.random import uniform
from graphk.ir.program import flat_steps
from graphk.ir.text import parse_kernel
from graphk.ir.types import TensorType
from graphk.passes.pipeline import run_passes
from tests.codegen.simulate import GROUPS, check
from tests.programs import f32, graphs, mlp_train

ROOT = Path(__file__).parents[2]
NEEDS_PACKAGE = pytest.mark.skipif(not cuda_compile.available(), reason="PTX needs the package numba-cuda: "
                                   "pip install graphk[cuda13]")


# ------------------------------------------------------------------ golden sources
def inputs(*shapes):
    return tuple(new_input(TensorType("float32", s), f"x{i}") for i, s in enumerate(shapes))


def small_graphs() -> dict[str, Graph]:
    n = sym("n")
    x, b = inputs((n, 4), (4,))
    a, w = inputs((n, 4), (4, 5))
    c, = inputs((5,))
    step = new_input(TensorType("uint32", ()), "step")
    table, g = new_input(TensorType("int32", (3,)), "rows"), new_input(f32(3, 2), "g")
    return {
        "elementwise": Graph((x, b), (ew.mul(ew.tanh(ew.add(x, b)), ew.sigmoid(x)),)),
        "rows": Graph((x,), (nn.softmax(x),)),
        "columns": Graph((x,), (reduce.mean(x, axes=0), reduce.variance(x, axes=0))),
        "full_reduction": Graph((x,), (reduce.sum_(ew.square(x)),)),
        "scalars": Graph((step,), (ew.add(step, 1),)),
        "transpose": Graph((x,), (shape.transpose(x),)),
        "slice_and_concat": Graph((x,), (shape.concat(shape.slice_axis(x, 1, 1, 2), x, axis=1),)),
        "gather": Graph((x, table), (shape.gather(shape.transpose(x), table),)),
        "scatter": Graph((table, g), (shape.scatter_add(table, g, rows=4),)),
        "dot_with_epilogue": Graph((a, w, c), (ew.relu(ew.add(dot(a, w), c)),)),
        "random": Graph((step,), (uniform(step, 7, (5, 3), -1.0, 1.0),)),
    }


def kernels(graph: Graph) -> list[Kernel]:
    return list(dict.fromkeys(s.kernel for s in flat_steps(run_passes(graph).program.steps)))


def sources(graph: Graph, **extents) -> list[CudaSource]:
    return [print_cuda(k, **extents) for k in kernels(graph)]


@pytest.mark.parametrize("name", small_graphs())
def test_golden(name, golden):
    golden(f"cuda/{name}.txt", listing(small_graphs()[name]))


def listing(graph: Graph) -> str:
    """Every kernel's source and its launches."""
    out = []
    for s in sources(graph):
        launches = [f"# {x.name}: ({x.blocks}) blocks of {' x '.join(map(str, x.threads))} threads" for x in s.launches]
        out.append("\n".join([*launches, s.text]))
    return "\n".join(out)


# ------------------------------------------------------------------ what always holds
@pytest.mark.parametrize("name, graph", [pytest.param(n, g, id=n) for n, g in graphs(4)])
def test_every_kernel_prints(name, graph):
    for step in flat_steps(run_passes(graph, phase=1).program.steps):
        source = print_cuda(step.kernel)
        compile(source.text, name, "exec")
        assert [x.name for x in source.launches] == [f"k_{i}" for i in range(len(source.launches))]
        assert len(source.dtypes) == len(step.kernel.params) and source.sizes == step.kernel.sizes
        for x in source.launches:
            assert symbols(x.blocks) <= set(source.sizes), "a grid follows from the sizes alone"
            assert evaluate(x.blocks, dict.fromkeys(source.sizes, 0)) >= 1, "a grid is never empty"
        assert "@" not in source.text and "gk_" not in source.text, "nothing to call but numba.cuda, math and `PLAIN`"


def test_the_text_depends_on_the_kernel_alone():
    kernel = flat_steps(run_passes(mlp_train()[0], 1).program.steps)[0].kernel
    assert print_cuda(kernel).text == print_cuda(parse_kernel(str(kernel))).text


def test_errors():
    kernel = parse_kernel("kernel k(p0: f32 out; s0) { for i0 in s0 { p0[i0] = 1.0:f32 } }")
    with pytest.raises(ValueError, match="`k` has no schedule: run the pass `schedule` first"):
        print_cuda(kernel)
    with pytest.raises(ValueError, match="expected a power of two, received 96"):
        print_cuda(replace(kernel, schedule=Schedule("map", ("i0", "i0"))), threads=96)


def test_numba_cuda_is_imported_in_two_files():
    found = {p.name for p in (ROOT / "graphk").rglob("*.py")
             if re.search(r"^\s*(from numba import .*\bcuda\b|(from|import) numba\.cuda)", p.read_text(), re.M)}
    assert found == {"cuda_compile.py", "cuda_intrinsics.py"}


# ------------------------------------------------------------------ helpers, inlined
def run_inlined(name, *values):
    names = [f"arg{i}" for i in range(len(values))]
    lines, result = inline(name, names, "_9", "float64" if "float" in name or name == "gk_round" else "int64")
    space = {"math": math, "np": np, **dict(zip(names, values))}
    exec("\n".join(lines), space)
    return space[result]


def called(name, *values):
    space = {"math": math, "np": np}
    exec(CUDA_HELPERS[name], space)
    return space[name](*values)


@pytest.mark.parametrize("name, values", [
    ("gk_round", [0.5, 1.5, 2.5, -0.5, -1.5, 2.4, 2.6, -7.0]), ("gk_int_mod", [(7, 3), (-7, 3), (7, -3), (7, 0)]),
    ("gk_int_floordiv", [(7, 3), (-7, 3), (7, -3), (7, 0)]), ("gk_float_mod", [(7.5, 2.0), (-7.5, 2.0), (7.5, -2.0)]),
    ("gk_float_floordiv", [(7.5, 2.0), (-7.5, 2.0), (7.5, -2.0), (6.0, 3.0)]), ("gk_mulhi_u32", [(2**31, 6)])])
def test_inlining_is_calling(name, values):
    for v in values:
        args = v if isinstance(v, tuple) else (v,)
        assert run_inlined(name, *args) == called(name, *args), args


def test_every_helper_inlines():
    for name in CUDA_HELPERS:
        lines, result = inline(name, ["a", "b", "c"], "_1", "float32")
        assert "return" not in "\n".join(lines) and result == "out_1"
    used = {t.split("(")[0] for s in TABLE.values() for t in (s.cuda, s.cuda_float) if t.startswith("gk_")}
    assert used <= set(CUDA_HELPERS)


def test_philox_has_the_same_bits():
    rng = np.random.default_rng(0)
    for lo, hi, key in rng.integers(0, 2**32, (50, 3), dtype=np.uint32):
        assert run_inlined("gk_philox2x32", lo, hi, key) == philox2x32(lo, hi, key)


def test_integers_in_templates_become_floats():
    assert typed(TABLE["sigmoid"].cuda, "float32") == "(np.float32(1) / (np.float32(1) + math.exp(-{0})))"
    assert typed(TABLE["sign"].cuda, "int32") == TABLE["sign"].cuda
    assert typed(TABLE["u01"].cuda, "uint32") == TABLE["u01"].cuda


# ------------------------------------------------------------------ the simulator
@pytest.mark.parametrize("group", GROUPS)
def test_simulator(group):
    cases = list(GROUPS[group]())
    assert len(cases) >= 4
    for case in cases:
        try:
            check(case)
        except Exception as e:
            raise AssertionError(f"{case[0]}: {e}") from e


def faulty(body: str, threads: int = 4) -> CudaSource:
    text = "def k_0(p0):\n    tx = cuda.threadIdx.x\n" + "".join(f"    {line}\n" for line in body.split("; "))
    return CudaSource(text, (Launch("k_0", 1, (threads,)),), ("float32",), ())


@pytest.mark.parametrize("body, message", [
    ("p0[tx + 1] = 1.0", r"argument 0\[4\]: the buffer has 4 elements \(block 0 thread 3\)"),
    ("p0[0] = tx", r"argument 0\[0\] is touched by two threads with no barrier between them: block 0 thread 0"),
    ("p0[tx] = p0[tx] + p0[3 - tx]", "with no barrier between them"),
    ("if tx: cuda.syncthreads()", "some threads wait for others that have ended"),
    ("x = cuda.shfl_xor_sync(0xffffffff, tx, 4)", "thread 0 exchanges with 4, which is not in its warp"),
    ("if tx < 2: cuda.shfl_xor_sync(1, tx, 1); if tx > 1: cuda.syncthreads()", "threads wait at different places")])
def test_what_a_gpu_leaves_undefined_is_an_error(body, message):
    with pytest.raises(CudaFault, match=message):
        launch(faulty(body), 0, 1, [np.zeros(4, "float32")], [])


def test_barriers_and_exchanges_work():
    x = np.arange(4, dtype="float32")
    launch(faulty("y = p0[3 - tx]; cuda.syncthreads(); p0[tx] = y + 10 * cuda.shfl_xor_sync(1, tx, 1)"), 0, 1, [x], [])
    assert x.tolist() == [13, 2, 31, 20]
    with pytest.raises(ValueError, match="takes 1 arrays and 0 sizes, received 1 and 1"):
        launch(faulty("x = tx"), 0, 1, [x], [4])


@pytest.mark.parametrize("blocks", [1, 2, 5, 300])
def test_any_grid_gives_the_same_bits(blocks):
    """Kernels stride by the grid, whatever it is; results depend on sizes alone."""
    for name in ("elementwise", "rows", "columns", "full_reduction", "transpose", "dot_with_epilogue", "scatter"):
        for kernel in kernels(small_graphs()[name]):
            source = print_cuda(kernel, 32, 4)
            sizes = dict.fromkeys(source.sizes, 20)
            want, got = (launched(source, kernel, sizes, at, np.random.default_rng(1)) for at in (None, blocks))
            assert all(a.tobytes() == b.tobytes() for a, b in zip(want, got)), name


def launched(source, kernel, sizes, blocks, rng):
    arrays = [rng.integers(0, 20, 400).astype(d) if d.startswith("int") else rng.uniform(-1, 1, 400).astype(d)
              for d in source.dtypes]
    for i, x in enumerate(source.launches):
        launch(source, i, blocks or evaluate(x.blocks, sizes), arrays, list(sizes.values()))
    return arrays


# ------------------------------------------------------------------ PTX
@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("GRAPHK_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(cuda_compile, "_MEMORY", {})
    return tmp_path


def test_without_the_package_the_error_says_what_to_install(monkeypatch, empty_cache):
    monkeypatch.setattr(cuda_compile, "available", lambda: False)
    with pytest.raises(cuda_compile.CudaMissing, match=r"pip install graphk\[cuda13\]"):
        cuda_compile.compile_ptx(sources(small_graphs()["elementwise"])[0])


@NEEDS_PACKAGE
@pytest.mark.parametrize("capability", cuda_compile.CAPABILITIES, ids=lambda c: f"{c[0]}.{c[1]}")
@pytest.mark.parametrize("name", ["elementwise", "rows", "columns", "full_reduction", "transpose", "slice_and_concat",
                                  "gather", "dot_with_epilogue"])
def test_ptx(name, capability):
    for source in sources(small_graphs()[name]):
        ptx = cuda_compile.compile_ptx(source, capability)
        assert set(ptx) == {x.name for x in source.launches}
        for text in ptx.values():
            assert f".target sm_{capability[0]}{capability[1]}" in text and ".entry" in text
            assert ".f64" not in text, "float32 kernels compute in float32"


@NEEDS_PACKAGE
def test_ptx_of_a_train_step():
    for source in sources(mlp_train()[0]):
        assert cuda_compile.compile_ptx(source)


@NEEDS_PACKAGE
def test_a_source_that_does_not_compile_is_shown():
    broken = CudaSource("def k_0(p0):\n    p0[0] = nothing(p0)\n", sources(small_graphs()["scalars"])[0].launches,
                        ("float32",), ())
    with pytest.raises(RuntimeError, match="(?s)`k_0` does not compile for compute capability 9.0.*nothing"):
        cuda_compile.compile_ptx(broken)


def test_loading_gives_functions():
    assert set(load_functions(sources(small_graphs()["elementwise"])[0], None)) == {"k_0"}


@NEEDS_PACKAGE
def test_arguments_are_one_word_each():
    """Addresses and sizes, as `cuLaunchKernel` takes them; the entry has the launch's name."""
    x, flag = new_input(f32(sym("n"), 4), "x"), new_input(TensorType("bool", (sym("n"), 4)), "flag")
    for source in sources(Graph((x, flag), (ew.select(flag, x, 0.0), reduce.any_(flag, axes=1)))):
        for name, text in cuda_compile.compile_ptx(source).items():
            words = re.findall(r"^\s*\.param \.(\w+) (\w+)", text, re.M)
            assert words == [("u64", f"{name}_param_{i}") for i in range(len(source.dtypes) + len(source.sizes))]
            assert re.findall(r"\.entry (\w+)", text) == [name] and "NumbaEnv" not in text
            assert f".maxntid {source.launches[0].threads[0]}, 1, 1" in text


@NEEDS_PACKAGE
def test_neighbours_are_read_and_written_at_once():
    for source in sources(small_graphs()["elementwise"]):
        text, = cuda_compile.compile_ptx(source).values()
        assert "ld.global.v4.f32" in text and "st.global.v4.f32" in text


@NEEDS_PACKAGE
def test_rounding_to_bfloat16_compiles():
    x = new_input(f32(sym("n"), 4), "x")
    for source in sources(Graph((x,), (ew.round_bf16(x),))):
        text, = cuda_compile.compile_ptx(source).values()
        assert "st.global" in text and "call" not in text


@NEEDS_PACKAGE
def test_products_are_fused_and_read_from_shared_memory_four_at_once():
    for source in sources(small_graphs()["dot_with_epilogue"]):
        text, = cuda_compile.compile_ptx(source).values()
        assert "ld.shared.v4.f32" in text and text.count("fma.rn.f32") >= 40 and "ld.local" not in text


@NEEDS_PACKAGE
def test_what_is_in_the_cache_is_not_compiled(empty_cache, monkeypatch):
    source = sources(small_graphs()["elementwise"])[0]
    made = cuda_compile.compile_ptx(source)
    file, = empty_cache.iterdir()
    cuda_compile._MEMORY.clear()
    monkeypatch.setattr(cuda_compile, "require", lambda: pytest.fail("Numba is not needed"))
    assert cuda_compile.compile_ptx(source) == made
    cuda_compile._MEMORY.clear()
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(pytest.fail.Exception):                     # a torn file is compiled again
        cuda_compile.compile_ptx(source)


def test_what_compiles_is_in_the_key():
    a, b = sources(small_graphs()["elementwise"])[0], sources(small_graphs()["scalars"])[0]
    keys = {cuda_compile.key_of(s, c) for s in (a, b, replace(a, dtypes=("bool",))) for c in ((8, 0), (9, 0))}
    assert len(keys) == 6
