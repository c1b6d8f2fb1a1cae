"""Mixed precision: contractions of rounded operands, on the interpreter, compiled at every width, and on the GPU played
in Python."""
import numpy as np
import pytest

from graphk.codegen import scalars
from graphk.codegen.cuda import PLAIN
from graphk.codegen.target import host_target, with_lanes
from graphk.ir.dims import sym
from graphk.ir.interp import run_full, run_graph
from graphk.ir.node import Graph
from graphk.ir.ops.contract import dot
from graphk.ir.ops.control import scan
from graphk.ir.ops.elementwise import add, cast, exp, round_bf16, tanh
from graphk.ir.ops.leaves import new_input
from graphk.ir.ops.reduce import sum_
from graphk.ir.ops.shape import pad, transpose
from graphk.ir.ops.window import windows
from graphk.ir.text import parse_graph, print_graph
from graphk.ir.types import TensorType
from graphk.passes.autodiff import gradients
from graphk.passes.mixed import NARROWED, mixed
from graphk.passes.pipeline import run_passes
from graphk.runtime.compile import Executable, compile_graph
from graphk.runtime.device_sim import run_program
from graphk.runtime.executor import Executor
from tests.codegen.cuda_models import train_step
from tests.codegen.kernels import WIDTHS
from tests.codegen.test_scalars import run as run_scalar

RNG = np.random.default_rng(0)


def inp(*shape, dtype="float32"):
    return new_input(TensorType(dtype, shape), "x")


def by_hand(a, dtype):
    """An array as the narrow type has it: for bfloat16 with the bits of the nearest, computed in float64."""
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return a.astype("float16").astype("float32")
    unit = 2.0 ** (np.frexp(a)[1] - 8)
    return (np.rint(a.astype("float64") / unit) * unit).astype("float32")


@pytest.mark.parametrize("dtype", NARROWED)
def test_a_product_and_its_gradients_are_those_of_operands_rounded_by_hand(dtype):
    x, w, g = inp(4, 5), inp(5, 3), inp(4, 3)
    arrays = [RNG.standard_normal(s).astype("f") for s in ((4, 5), (5, 3), (4, 3))]
    y = dot(x, w)
    graph = mixed(Graph((x, w, g), (y, *gradients(y, [x, w], g), exp(x))), dtype)
    a, b, c = (by_hand(v, dtype) for v in arrays)
    with np.errstate(all="ignore"):
        want = [a @ b, c @ b.T, a.T @ c, np.exp(arrays[0])]
    for run in (lambda: run_graph(graph, arrays), lambda: compile_graph(graph, {})(arrays)):
        for have, should in zip(run(), want, strict=True):
            np.testing.assert_allclose(have, should, rtol=2e-6, atol=2e-6)


def test_float64_stays_and_nothing_is_rounded_twice():
    x, w = inp(4, 5, dtype="float64"), inp(5, 3, dtype="float64")
    wide = Graph((x, w), (dot(x, w),))
    assert print_graph(mixed(wide, "bfloat16")) == print_graph(wide)
    a, b = inp(4, 4), inp(4, 4)
    graph = mixed(Graph((a, b), (dot(dot(a, b), a), sum_(a))), "bfloat16")
    assert sum(n.op is round_bf16 for n in graph.nodes()) == 3
    assert print_graph(parse_graph(print_graph(graph, origins=False)), origins=False) == print_graph(
        graph, origins=False)


def test_what_moves_elements_stays_next_to_the_product():
    x, w = inp(2, 6, 3), inp(3, 3, 4)
    seen = windows(pad(x, (0, 1, 0), (0, 1, 0)), axes=(1,), sizes=(3,))
    node, = mixed(Graph((x, w), (dot(seen, w, contract=((2, 3), (0, 1))),)), "float16").outputs
    assert node.inputs[0].op is windows and node.inputs[1].op.name == "cast"


@pytest.mark.parametrize("dtype", NARROWED)
def test_a_loop_rounds_its_weights_once_before_it(dtype):
    h, x, w = inp(2, 4), inp(2, 4), inp(4, 4)
    body = Graph((h, x, w), (tanh(add(dot(h, transpose(w)), x)),))
    h0, xs, weights = inp(2, 4), inp(5, 2, 4), inp(4, 4)
    last, = scan(body, [h0], [xs], [weights])
    graph = mixed(Graph((h0, xs, weights), (last, *gradients(sum_(last), [weights, xs]))), dtype)
    loops = [n for n in graph.nodes() if n.op.name == "scan"]
    assert loops and all(n.inputs[-1].op.name in ("cast", "round_bf16") for n in loops)
    arrays = [RNG.standard_normal(s).astype("f") for s in ((2, 4), (5, 2, 4), (4, 4))]
    for have, want in zip(compile_graph(graph, {})(arrays), run_graph(graph, arrays), strict=True):
        np.testing.assert_allclose(have, want, rtol=2e-3, atol=2e-3)       # a sum's last bit may tip a rounding


def samples():
    """Contractions whose operands have few bits, so that every order of their sums gives the same."""
    a = RNG.integers(-8, 9, (9, 33)).astype("f") + np.float32(2.0 ** -14)  # rounds to the integer in both types
    b = RNG.integers(-8, 9, (33, 21)).astype("f") * np.float32(1 + 2.0 ** -13)
    return a, b


@pytest.fixture(scope="module")
def executors():
    made = [Executor(k) for k in (1, 2, 3)]
    yield made
    for executor in made:
        executor.close()


@pytest.mark.parametrize("lanes", WIDTHS)
@pytest.mark.parametrize("dtype", NARROWED)
def test_compiled_at_every_width(dtype, lanes, executors):
    a, b = samples()
    x, w = inp(sym("n"), 33), inp(33, 21)
    graph = mixed(Graph((x, w), (dot(x, w),)), dtype)
    want, = run_graph(graph, [a, b])
    for executor in executors:
        exe = Executable(run_passes(graph), {}, executor=executor, target=with_lanes(host_target(), lanes))
        np.testing.assert_array_equal(exe([a, b])[0], want)


@pytest.mark.parametrize("name, settings", [("mlp", {"mixed_precision": "bfloat16"}), (
    "lstm", {"mixed_precision": "float16", "loss_scale": "dynamic"})])
def test_a_train_step_on_the_simulated_gpu(name, settings):
    graph, arrays, state = train_step(name, **settings)
    assert any(n.op is round_bf16 or n.dtype == "float16" for n in graph.nodes())
    outs, after = run_program(run_passes(graph, phase=1), arrays, state, 8, 4)
    want, updates = run_full(graph, arrays, state, 1)
    for got, expected in zip([*outs, *(after[v] for v in updates)], [*want, *updates.values()], strict=True):
        np.testing.assert_allclose(got, expected, rtol=2e-3, atol=2e-3)    # as a sum's last bit may tip a rounding


@pytest.mark.parametrize("dtype", NARROWED)
def test_on_the_simulated_gpu(dtype):
    a, b = samples()
    x, w = inp(9, 33), inp(33, 21)
    graph = mixed(Graph((x, w), (dot(x, w),)), dtype)
    (got,), _ = run_program(run_passes(graph), [a, b], {}, 8, 4)
    np.testing.assert_array_equal(got, run_graph(graph, [a, b])[0])


def every_upper_half():
    """All upper halves of a float32, with lower halves at, beside and away from the middle."""
    high = np.arange(2 ** 16, dtype=np.uint32) << 16
    return np.concatenate([high | np.uint32(low) for low in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF)]).view("f")


def same_bits(a, b):
    return ((a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b))).all()


def test_bfloat16_of_every_upper_half():
    """The op's reference computes with numbers, the table's with bits; compiled code at two widths; the GPU's text."""
    x = every_upper_half()
    want = round_bf16.ref(x)
    assert same_bits(scalars.lookup("round_bf16").ref(x), want)
    for lanes in (1, 8):
        assert same_bits(run_scalar("round_bf16", ("float32",), [x], lanes), want)
    scope = {"np": np, **PLAIN}
    exec(scalars.CUDA_HELPERS["gk_round_bf16"], scope)
    some = x[::97]
    assert same_bits(np.array([scope["gk_round_bf16"](v) for v in some], "f"), want[::97])
    finite = np.isfinite(x) & np.isfinite(want)
    assert not (want[finite].view(np.uint32) & 0xFFFF).any()
    np.testing.assert_allclose(want[finite], x[finite], rtol=2.0 ** -8, atol=2.0 ** -134)


def test_bfloat16_is_of_float32():
    with pytest.raises(TypeError, match="`round_bf16` takes float32, received float64"):
        round_bf16(inp(2, dtype="float64"))
    assert round_bf16(cast(inp(2, dtype="float64"), "float32")).dtype == "float32"
