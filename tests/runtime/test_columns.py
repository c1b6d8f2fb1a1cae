"""Reductions over rows (one result per column) against the interpreter: every width, thread count and odd shape."""
import numpy as np
import pytest

from graphk.codegen.pyspace import Pointer, python_namespace
from graphk.codegen.cpu import print_kernel
from graphk.codegen.target import GROUP, host_target, with_lanes
from graphk.ir.dims import sym
from graphk.ir.interp import run_graph
from graphk.ir.loop import Loop, walk
from graphk.ir.node import Graph
from graphk.ir.ops.elementwise import add, cast, gt, mul, rsqrt, select, square, sub
from graphk.ir.ops.leaves import new_input
from graphk.ir.ops.reduce import all_, any_, argmax, max_, mean, sum_
from graphk.ir.text import parse_kernel
from graphk.ir.types import TensorType
from graphk.ir.verify_kernel import verify_kernel
from graphk.passes.pipeline import run_passes
from graphk.passes.row_chunks import in_row_chunks
from graphk.runtime.compile import Executable
from graphk.runtime.executor import Executor

F = "float32"
n, m = sym("n"), sym("m")


@pytest.fixture(scope="module")
def executors():
    made = [Executor(threads=k) for k in (1, 2, 3)]
    yield made
    for e in made:
        e.close()


def inp(dtype, *shape):
    return new_input(TensorType(dtype, shape), "x")


def normalized(rows, columns):
    """What a gradient of BatchNormalization has: loops over rows one after another, the last one storing."""
    x, g, scale = inp(F, rows, columns), inp(F, rows, columns), inp(F, columns)
    kept = select(gt(x, 0.0), g, 0.0)
    centred = sub(x, mean(x, axes=0, keepdims=True))
    factor = mul(rsqrt(add(mean(square(centred), axes=0), 1e-3)), scale)
    total = sum_(kept, axes=0)
    dot = sum_(mul(kept, centred), axes=0)
    return Graph((x, g, scale), (sub(mul(kept, factor), mul(centred, dot)), add(total, scale), sub(scale, dot)))


def arrays_of(graph, rows, columns):
    rng = np.random.default_rng(rows + columns)
    shapes = [tuple({"n": rows, "m": columns}.get(str(d), d) for d in i.type.shape) for i in graph.inputs]
    return [rng.standard_normal(s).astype(F) for s in shapes]


def columns_kernels(exe):
    return [s.kernel for s in exe.program.steps if s.kernel.schedule.kind == "columns"]


def close(got, want):
    for a, b in zip(got, want):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * max(1., float(np.abs(b).max()) if b.size else 1.))


@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
@pytest.mark.parametrize("known", [False, True])
def test_the_gradient_of_a_normalization(lanes, known, executors, monkeypatch):
    """Open sizes keep one phase, many known rows are split into chunks; bits do not depend on the number of threads."""
    monkeypatch.setattr("graphk.runtime.bind.SMALL_COST", 0)
    shapes = [(1301, 131)] if known else [(1, 1), (2, GROUP + 37), (33, 10), (150, 67), (1000, 9)]
    graph = normalized(*(shapes[0] if known else (n, m)))
    for rows, columns in shapes:
        arrays = arrays_of(graph, rows, columns)
        want = run_graph(graph, arrays)
        bits = []
        for executor in executors:
            exe = Executable(run_passes(graph), {}, executor=executor, target=with_lanes(host_target(), lanes))
            assert columns_kernels(exe)
            assert any(k.schedule.axes[0] == "c" for k in columns_kernels(exe)) == known
            got = exe(arrays)
            close(got, want)
            bits.append([a.tobytes() for a in got])
        assert bits[0] == bits[1] == bits[2]


@pytest.mark.parametrize("rows", [0, 1, 100])
def test_sums_of_no_rows_and_of_chunks(rows, executors, monkeypatch):
    monkeypatch.setattr("graphk.runtime.bind.SMALL_COST", 0)
    x = inp(F, n, 49, 96)
    graph = Graph((x,), (sum_(x, axes=(0, 1)), max_(x, axes=(0, 1))))
    array = np.random.default_rng(0).standard_normal((rows, 49, 96)).astype(F)
    want = run_graph(graph, [array])
    for executor in executors:
        exe = Executable(run_passes(graph), {}, executor=executor)
        assert {k.schedule.axes[0] for k in columns_kernels(exe)} == {"c"}
        close(exe([array]), want)


@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize("rows, columns", [(2, 3), (40, 21), (700, 200)])
def test_extremes_counts_and_conditions(rows, columns, lanes, executors, monkeypatch):
    """Other combinations and dtypes than sums of floats: each column of an argmax has two accumulators."""
    monkeypatch.setattr("graphk.runtime.bind.SMALL_COST", 0)
    x = inp(F, rows, columns)
    big = gt(x, 1.0)
    outs = (argmax(x, axis=0), max_(x, axes=0), any_(big, axes=0), all_(big, axes=0), sum_(cast(big, "int32"), axes=0),
            sum_(cast(x, "float64"), axes=0))
    graph = Graph((x,), outs)
    array = np.random.default_rng(1).standard_normal((rows, columns)).astype(F)
    want = run_graph(graph, [array])
    for executor in executors:
        exe = Executable(run_passes(graph), {}, executor=executor, target=with_lanes(host_target(), lanes))
        assert columns_kernels(exe)
        close(exe([array]), want)


def test_several_axes_and_columns_of_each_image(executors):
    x = inp(F, n, 5, 7, 35)
    graph = Graph((x,), (sum_(x, axes=(1, 2)), sum_(x, axes=(0, 2)), max_(x, axes=(0, 1))))
    array = np.random.default_rng(2).standard_normal((3, 5, 7, 35)).astype(F)
    exe = Executable(run_passes(graph), {}, executor=executors[1])
    assert columns_kernels(exe)
    close(exe([array]), run_graph(graph, [array]))


KERNEL = """kernel k(p0: f32 in, p1: f32 in, p2: f32 out, p3: f32 out; s0, s1) schedule columns(i0, i0) {
  for i0 in s0 {
    t0 = p1[i0]
    t1 = mul(t0, 2.0:f32)
    t2 = add(t1, 1.0:f32)
    acc r0: f32 = add
    for i1 in s1 {
      t3 = p0[i1*s0+i0]
      t4 = mul(t3, t0)
      r0 <- t4
    }
    for i1 in s1 {
      t3 = p0[i1*s0+i0]
      t5 = mul(t3, r0)
      t6 = add(t5, t2)
      p2[i1*s0+i0] = t6
    }
    p3[i0] = r0
  }
}"""


def run_as_python(kernel, rows, columns):
    """The results of the kernel's source as plain Python, each entry by two threads one after the other."""
    source = print_kernel(kernel)
    scope = python_namespace(4)
    exec(compile(source.text, "<kernel>", "exec"), scope)
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((rows, columns)).astype(F), rng.standard_normal(columns).astype(F)
    out, total = np.zeros((rows, columns), F), np.zeros(columns, F)
    temps = [np.zeros((rows // 128 + 1) * columns, F) for p in kernel.params if p.role == "temp"]
    buffers = [x, y, out, total, *temps]
    args = np.array([*(b.ctypes.data for b in buffers), columns, rows], np.int64)
    for entry, parallel in zip(source.entries, source.parallel):
        for tid in range(2 if parallel else 1):
            scope[entry](Pointer(args.ctypes.data, "int64"), tid, 2 if parallel else 1)
    sums = (x * y).sum(0)
    return (out, total), (x * sums + (y * 2 + 1), sums)


def test_a_result_of_one_loop_that_the_next_one_reads():
    """Split into chunks or not, every value reaches the loops that need it, and only loads are repeated."""
    kernel = parse_kernel(KERNEL)
    close(*run_as_python(kernel, 9, 6))
    split = in_row_chunks(kernel, {"s0": 256, "s1": 3136 * n})
    verify_kernel(split)
    assert [s.axis for s in split.body if isinstance(s, Loop)] == ["c", "i0", "c", "i0"]
    assert sorted(p.name for p in split.params if p.role == "temp") == ["cr0", "wr0", "wt2"]
    close(*run_as_python(split, 130, 6))
    assert parse_kernel(str(split)) == split


def test_few_rows_stay_one_phase():
    kernel = parse_kernel(KERNEL)
    for sizes in ({"s0": 512, "s1": n}, {"s0": 10, "s1": 4096}, {"s0": 4096, "s1": 64}):
        assert in_row_chunks(kernel, sizes) is kernel
    assert len([s for s in walk(kernel.body) if isinstance(s, Loop)]) == 3
