"""The PTX of graphk's kernels, run: `CudaDevice` as it is, on a driver in Python whose GPU runs PTX (`ptx_machine`).

Compared with the interpreter: ops and their gradients, reductions, products, random numbers, train steps.  Where
`GRAPHK_TEST_DEVICE=ptx`, all gradients; else some, as each kernel takes a while to compile.
"""
import zlib

import numpy as np
import pytest

from graphk.codegen import cuda_compile
from graphk.codegen.cuda import print_cuda
from graphk.ir.dims import evaluate, sym
from graphk.ir.interp import run_full
from graphk.ir.node import Graph
from graphk.ir.opdef import REGISTRY
from graphk.ir.ops import elementwise as ew, nn, reduce, shape
from graphk.ir.ops.contract import dot
from graphk.ir.ops.leaves import new_input, new_variable
from graphk.ir.ops.random import uniform
from graphk.ir.types import ITEMSIZE, TensorType
from graphk.passes.autodiff import gradients
from graphk.passes.mixed import mixed
from graphk.passes.pipeline import run_passes
from graphk.runtime import device_cuda
from graphk.runtime.gpu import GpuExecutable
from graphk.runtime.mirrors import current
from tests.codegen.cuda_models import MODELS, capability_of, train_step
from tests.codegen.test_cuda import small_graphs, sources
from tests.codegen.test_cuda_scalars import cases, edges_hold, kernel_of, operands
from tests.codegen.test_cuda_scalars import DTYPES, NARROW
from tests.gpu.conftest import PTX
from tests.gpu.ptx_driver import PtxDriver
from tests.gpu.ptx_machine import program
from tests.programs import NOT_LOWERED, f32, scan_graph, values_for

pytestmark = pytest.mark.skipif(not cuda_compile.available(), reason="PTX needs the package numba-cuda: "
                                "pip install graphk[cuda13]")
n = sym("n")
PARTS = 4


def compiled(source, _):
    """PTX for a capability that the source decides, so that it is compiled once for all tests."""
    return cuda_compile.compile_ptx(source, capability_of(source))


def made(tile=16, **options):
    """(driver, device); small tiles are quick to compile."""
    driver = PtxDriver(capability=(10, 0), **options)
    device = device_cuda.CudaDevice(driver, 0, compiled)
    device.tile = tile
    return driver, device


class Apart(GpuExecutable):
    """Each buffer in memory of its own, so that no kernel touches another one's; `shift` elements behind a multiple of
    16 bytes, so that nothing may be read in pieces of four."""
    shift = 0

    def _addresses(self, env, starts):
        at, base = super()._addresses(env, starts), {b.name: b.base for b in self.program.buffers if b.place == "alias"}
        for b in self.program.buffers:
            if b.place in ("arena", "input", "output"):
                before = self.shift * ITEMSIZE[b.type.dtype]
                at[b.name] = self.device.allocate(max(evaluate(b.nbytes, env) + before, 1)) + before
        for name, whole in base.items():
            while whole in base:
                whole = base[whole]
            at[name] = at[whole]
        return at


def run(graph, arrays, device=None, state=None, tol=3e-5, calls=1, shift=0):
    """Outputs and updated variables after some calls, beside the interpreter's."""
    device = device or made()[1]
    mine, want = ({v: a.copy() for v, a in (state or {}).items()} for _ in range(2))
    exe = Apart(run_passes(graph, phase=1), mine, device)
    exe.shift = shift
    for _ in range(calls):
        outs, updates = run_full(graph, arrays, want, 1)
        got = exe(arrays)
        want.update(updates)
    for a, b in zip([*got, *(current(mine[v]) for v in want)], [*outs, *want.values()], strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        rough = max(tol, 2e-3) if a.dtype == "float16" else tol
        largest = np.abs(b[np.isfinite(b)]).max(initial=1) if b.dtype.kind == "f" else 0
        np.testing.assert_allclose(a, b, rtol=rough, atol=rough * largest)
    return exe


def samples():
    for op in REGISTRY.values():
        if op.name not in NOT_LOWERED:
            for k, (arrays, attrs) in enumerate(op.samples(np.random.default_rng(0)) if op.samples else ()):
                yield f"{op.name}-{k}", op, arrays, attrs


def reported(failed):
    assert not failed, "\n".join(f"{name}: {error}" for name, error in failed)


@pytest.mark.parametrize("part", range(PARTS))
def test_every_op(part):
    failed, device, count = [], made()[1], 0
    for name, op, arrays, attrs in samples():
        if zlib.crc32(name.encode()) % PARTS == part:
            ins = tuple(new_input(TensorType(a.dtype.name, a.shape)) for a in arrays)
            count += 1
            try:
                run(Graph(ins, (op(*ins, **attrs),)), arrays, device, shift=part % 2)
            except Exception as e:  # noqa: BLE001 - all that are wrong are shown
                failed.append((name, e))
    reported(failed)
    assert count > 40


# Gradients whose kernels differ from each other, for every day.
SOME = ("dot-0", "max-1", "prod-0", "gather-0", "scatter_add-0", "concat-0", "logsumexp-0", "windows-0", "cumsum-0",
        "tanh-0", "variance-0", "reshape-0", "pow-0")


@pytest.mark.parametrize("part", range(PARTS))
def test_gradients(part):
    failed, device, count = [], made()[1], 0
    for name, op, arrays, attrs in samples():
        if not (PTX and zlib.crc32(name.encode()) % PARTS == part or not PTX and name in SOME[part::PARTS]):
            continue
        ins = tuple(new_input(TensorType(a.dtype.name, a.shape)) for a in arrays)
        asked, y = [i for i in ins if i.t.is_float], op(*ins, **attrs)
        if not asked or not y.t.is_float:
            continue
        found = [g for g in gradients(reduce.sum_(ew.mul(y, ew.sigmoid(y))), asked) if g is not None]
        count += 1
        try:
            narrow = any(a.dtype == "float16" for a in arrays) or "float16" in map(str, attrs.values())
            if found:
                run(Graph(ins, tuple(found)), arrays, device, tol=5e-3 if narrow else 2e-4)
        except Exception as e:  # noqa: BLE001
            failed.append((name, e))
    reported(failed)
    assert count


@pytest.mark.parametrize("dtype", [*DTYPES, *NARROW])
def test_every_function_on_edge_values(dtype):
    found = list(cases(dtype))
    kernel, kinds = kernel_of(found)
    columns = operands(kinds)
    count = len(next(iter(columns.values())))
    results = [np.full(count, 1, result) for _, _, result in found]
    arrays = [*columns.values(), *results]
    source = print_cuda(kernel)
    text, = cuda_compile.compile_ptx(source).values()
    sizes = dict(zip(source.sizes, [count, 1]))
    launched(text, source, 0, arrays, list(sizes.values()), evaluate(source.launches[0].blocks, sizes))
    edges_hold(found, columns, results)


def launched(text, source, number, arrays, sizes, blocks, offset=0, apart=False):
    """Run a launch of a source on arrays, which change; they lie `offset` bytes behind a multiple of 256."""
    memory, args = {}, []
    for k, a in enumerate(arrays):
        memory[(k + 1) << 40] = np.concatenate([np.full(offset, 0xAB, np.uint8), a.view(np.uint8)])
        args.append(((k + 1) << 40) + offset)
    launch = source.launches[number]
    program(text).launch(launch.name, (blocks, 1, 1), (launch.threads[0], 1, 1), 0, [
        int(x).to_bytes(8, "little", signed=True) for x in [*args, *sizes]], memory.get, apart)
    for a, m in zip(arrays, memory.values()):
        a.view(np.uint8)[...] = m[offset:]


@pytest.mark.parametrize("name", ["elementwise", "rows", "columns", "full_reduction", "transpose", "dot_with_epilogue",
                                  "scatter"])
def test_any_grid_and_any_place_in_memory_give_the_same_bits(name):
    """And any order of warps.  Four neighbours are read at once only where addresses allow it; an access that is not
    aligned is an error."""
    for source in sources(small_graphs()[name], tile=16):
        texts, sizes = compiled(source, None), dict.fromkeys(source.sizes, 20)
        seen = set()
        for blocks, offset in ((None, 0), (1, 0), (3, 8), (40, 16), (None, 4), (2, 12), (5, 0)):
            rng = np.random.default_rng(1)
            if offset % max(np.dtype(d).itemsize for d in source.dtypes):
                continue
            arrays = [rng.integers(0, 20, 400).astype(d) if d.startswith("int") else rng.uniform(-1, 1, 400).astype(d)
                      for d in source.dtypes]
            for i, x in enumerate(source.launches):
                grid = blocks or evaluate(x.blocks, sizes)
                launched(texts[x.name], source, i, arrays, list(sizes.values()), grid, offset, blocks == 5)
            seen.add(b"".join(a.tobytes() for a in arrays))
        assert len(seen) == 1, source.text


@pytest.mark.parametrize("shift", [0, 1])
def test_numbers_of_every_width_are_moved_four_at_once(shift):
    """Where addresses allow it; the last ones, and what lies elsewhere, one by one."""
    ins = [new_input(TensorType(d, (n,)), f"x{k}") for k, d in enumerate([*DTYPES, *NARROW])]
    flag = new_input(TensorType("bool", (n,)), "flag")
    graph = Graph((flag, *ins), tuple(ew.logical_and(flag, x) if x.t.dtype == "bool" else ew.select(flag, x, ew.neg(x))
                                      for x in ins))
    for count in (1, 8, 531):
        arrays = values_for([i.t for i in graph.inputs], {"n": count})
        exe = run(graph, arrays, None, shift=shift)
    texts = "".join(text for s in exe.sources.values() for text in compiled(s, None).values())
    for piece in ("ld.global.v4.u8", "ld.global.v4.u16", "ld.global.v4.", "st.global.v4.u8", ".v2."):
        assert piece in texts, piece


def test_random_numbers_are_the_same_bits():
    step = new_input(TensorType("uint32", ()), "step")
    graph = Graph((step,), (uniform(step, 7, (5, 31), -1.0, 1.0), uniform(step, 2**31 + 3, (129,), 0.0, 1.0)))
    exe = GpuExecutable(run_passes(graph), {}, made()[1])
    for value in (0, 1, 2**32 - 1):
        arrays = [np.array(value, "uint32")]
        for a, b in zip(exe(arrays), run_full(graph, arrays, {}, 0)[0], strict=True):
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("apart", [False, True])
def test_reductions_of_all_sizes(apart):
    """Teams that are a part of a warp, a warp, a block; columns with few and many rows; chunks, combined by a second
    launch."""
    rng = np.random.default_rng(0)
    x = new_input(TensorType("float32", (n, sym("m"))), "x")
    graph = Graph((x,), (nn.softmax(x), reduce.max_(x, axes=1), reduce.mean(x, axes=0),
                         reduce.any_(ew.gt(x, 2.0), axes=0), reduce.sum_(ew.square(x))))
    exe = None
    for rows, columns in ((3, 5), (70, 40), (2, 700), (40, 33), (1, 1), (300, 3)):
        array = rng.standard_normal((rows, columns)).astype("float32")
        exe = exe or GpuExecutable(run_passes(graph), {}, made(apart=apart)[1])
        for a, b in zip(exe([array]), run_full(graph, [array], {}, 0)[0], strict=True):
            np.testing.assert_allclose(a, b, rtol=3e-5, atol=3e-5)
    y = new_input(f32(30000), "y")
    graph = Graph((y,), (reduce.sum_(y), reduce.max_(y)))
    run(graph, [rng.standard_normal(30000).astype("float32")], made(apart=apart)[1], tol=3e-4)


@pytest.mark.parametrize("dtype, rows, inner, columns", [
    ("float32", 70, 150, 45), ("float32", 1030, 3, 500), ("float32", 1, 130, 7), ("float64", 40, 35, 33)])
def test_products_in_squares_of_all_sizes(dtype, rows, inner, columns):
    rng = np.random.default_rng(0)
    a, b = new_input(TensorType(dtype, (rows, inner)), "a"), new_input(TensorType(dtype, (inner, columns)), "b")
    graph = Graph((a, b), (ew.tanh(ew.mul(dot(a, b), 0.1)),))
    run(graph, [rng.standard_normal(s).astype(dtype) for s in ((rows, inner), (inner, columns))],
        made(tile=64, apart=inner > 20)[1])


# ------------------------------------------------------------------ train steps
@pytest.mark.parametrize("name", MODELS)
def test_train_steps(name):
    graph, arrays, state = train_step(name)
    run(graph, arrays, made(tile=64)[1], state, tol=1e-4, calls=2, shift=1)


def test_a_train_step_in_mixed_precision():
    graph, arrays, state = train_step("mlp")
    run(mixed(graph, "float16"), arrays, made()[1], state, tol=5e-3)


@pytest.mark.parametrize("seed", range(3))
def test_loops_and_any_order_that_the_captured_graph_allows(seed):
    graph = scan_graph(True, seed == 1)
    device = made(seed=seed, apart=seed == 2)[1]
    run(graph, values_for([i.t for i in graph.inputs], {"n": 3, "t": 4}), device, tol=1e-4, calls=3)


def test_rows_of_a_large_table_are_trained():
    """Gradients for the rows that a batch reads, and additions at places that are data."""
    table, rows = new_variable(f32(5000, 3), "table"), new_input(TensorType("int32", (n,)), "rows")
    found = shape.gather(table, rows)
    g, = gradients(reduce.sum_(ew.square(found)), [table])
    graph = Graph((rows,), (found,), ((table, ew.sub(table, ew.mul(g, 0.25))),))
    state = {table: np.random.default_rng(0).standard_normal((5000, 3)).astype("float32")}
    run(graph, [np.array([4, 4999, 4, 0, 17, 4], "int32")], None, state, calls=2)


def test_arguments_are_those_that_the_entry_takes(monkeypatch):
    """As many as it has parameters, each a word of 64 bits; blocks have the threads that it was compiled for."""
    driver, device = made()
    seen, old = [], device_cuda.CudaWork.launch

    def launch(self, function, blocks, threads, args):
        _, entry = driver._of(function, "function")
        seen.append((len(args), [v.size for v in entry.params], threads, entry.limits["maxntid"]))
        old(self, function, blocks, threads, args)
    monkeypatch.setattr(device_cuda.CudaWork, "launch", launch)
    graph, arrays, state = train_step("mlp")
    run(graph, arrays, device, state)
    assert len(seen) > 5
    for count, params, threads, most in seen:
        assert params == [8] * count and threads[0] == most[0]
