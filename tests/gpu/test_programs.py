"""Programs on a device against the interpreter, and what a call moves; small enough for the simulator."""
import gc

import numpy as np
import pytest

from graphk.ir.dims import sym
from graphk.ir.interp import run_full
from graphk.ir.node import Graph
from graphk.ir.opdef import REGISTRY
from graphk.ir.ops.contract import dot
from graphk.ir.ops.elementwise import add, mul, neg, tanh
from graphk.ir.ops.leaves import new_input, new_variable
from graphk.ir.ops.reduce import sum_
from graphk.ir.types import TensorType
from graphk.passes.pipeline import run_passes
from graphk.runtime.gpu import GpuExecutable
from graphk.runtime.mirrors import current, mirror_of
from graphk.runtime.writes import write
from tests.gpu.conftest import PTX, SIMULATED
from tests.graphs import random_graph
from tests.programs import NOT_LOWERED, f32, mlp_train, scan_graph, swap_graph, values_for

n = sym("n")


def close(got, want, tol=1e-4):
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol * max(1, np.abs(b).max(initial=0)))


def run(graph, arrays, device, state=None):
    """Outputs and updated variables, beside the interpreter's."""
    mine = {v: a.copy() for v, a in (state or {}).items()}
    outs = GpuExecutable(run_passes(graph, phase=1), mine, device)(arrays)
    want, updates = run_full(graph, arrays, state or {}, 1)
    close([*outs, *(current(mine[v]) for v in updates)], [*want, *updates.values()])


@pytest.mark.parametrize("name", [o.name for o in REGISTRY.values() if o.samples and o.name not in NOT_LOWERED])
def test_ops(name, device):
    op = REGISTRY[name]
    for arrays, attrs in op.samples(np.random.default_rng(0)):
        if SIMULATED and not PTX and sum(a.size for a in arrays) > 60:
            continue
        ins = tuple(new_input(TensorType(a.dtype.name, a.shape)) for a in arrays)
        run(Graph(ins, (op(*ins, **attrs),)), arrays, device)
        if SIMULATED and not PTX:
            break


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_loops(gradient, reverse, device):
    graph = scan_graph(gradient, reverse)
    run(graph, values_for([i.t for i in graph.inputs], {"n": 2, "t": 3}), device)
    run(swap_graph(), values_for([i.t for i in swap_graph().inputs], {}), device)


@pytest.mark.parametrize("seed", range(3 if SIMULATED else 60))
def test_random_graphs(seed, device):
    graph, arrays = random_graph(seed)
    run(graph, arrays, device)


def test_training_steps_of_several_batch_sizes(device):
    """Variables stay on the device from step to step; the host's copy is brought up to date when it is read."""
    graph, v = mlp_train()
    state = dict(zip(v.values(), values_for([x.t for x in v.values()], {}, seed=1)))
    mine, want = {k: a.copy() for k, a in state.items()}, {k: a.copy() for k, a in state.items()}
    exe = GpuExecutable(run_passes(graph, phase=1), mine, device)
    for batch in (3, 5, 3, 1):
        arrays = values_for([i.t for i in graph.inputs], {"n": batch}, seed=batch)
        outs, updates = run_full(graph, arrays, want, 1)
        want.update(updates)
        close(exe(arrays), outs)
    close([current(mine[k]) for k in v.values()], [want[k] for k in v.values()])


# ------------------------------------------------------------------ variables
def scaled(value):
    """(variable's array, an executable that multiplies its input by it and adds 1 to it, its node)"""
    x, w = new_input(f32(n, 2), "x"), new_variable(f32(2), "w")
    array = np.array(value, "float32")
    return array, run_passes(Graph((x,), (mul(x, w),), ((w, add(w, 1.0)),))), w


def test_what_the_host_writes_arrives_and_what_the_device_writes_comes_back(device):
    array, result, w = scaled([1, 2])
    exe = GpuExecutable(result, {w: array}, device)
    one = np.ones((1, 2), "float32")
    np.testing.assert_array_equal(exe([one])[0], [[1, 2]])
    np.testing.assert_array_equal(exe([one])[0], [[2, 3]])
    np.testing.assert_array_equal(array, [1, 2])                       # nobody asked for it yet
    np.testing.assert_array_equal(current(array), [3, 4])
    write(array, [10, 20])
    np.testing.assert_array_equal(exe([one])[0], [[10, 20]])
    np.testing.assert_array_equal(current(array), [11, 21])


@pytest.mark.skipif(not SIMULATED or PTX, reason="counts the simulator's copies")
def test_nothing_travels_twice(device):
    array, result, w = scaled([1, 2])
    exe = GpuExecutable(result, {w: array}, device)
    one = np.ones((1, 2), "float32")
    exe([one])
    ups, downs = device.uploads, device.downloads
    exe([one])
    assert (device.uploads - ups, device.downloads - downs) == (1, 1)   # the input and the output
    current(array)
    current(array)
    assert device.downloads - downs == 2


@pytest.mark.skipif(not SIMULATED, reason="makes a second simulator")
def test_a_variable_on_two_devices(device):
    from graphk.runtime.device_sim import SimDevice
    array, result, w = scaled([1, 2])
    one, other = GpuExecutable(result, {w: array}, device), GpuExecutable(result, {w: array}, SimDevice())
    x = np.ones((1, 2), "float32")
    for i, exe in enumerate((one, other, other, one, other)):
        np.testing.assert_array_equal(exe([x])[0], [[1 + i, 2 + i]])
    np.testing.assert_array_equal(current(array), [6, 7])


@pytest.mark.skipif(not SIMULATED, reason="reads the simulator's books")
def test_memory_is_given_back(device):
    from graphk.runtime.device_sim import SimDevice
    mine = SimDevice()
    array, result, w = scaled([1, 2])
    exe = GpuExecutable(result, {w: array}, mine)
    exe([np.ones((4, 2), "float32")])
    exe([np.ones((400, 2), "float32")])
    assert len(mine.memory) == 2                                        # the variable, and one arena
    assert mirror_of(array, mine).address in mine.memory
    del exe
    gc.collect()
    assert len(mine.memory) == 1
    del array, result, w
    gc.collect()
    assert not mine.memory


@pytest.mark.skipif(not SIMULATED, reason="interrupts the simulator")
@pytest.mark.parametrize("call", [lambda exe, x: exe([x]), lambda exe, x: exe.start([x])()], ids=["plain", "begun"])
def test_a_call_inside_a_call_keeps_its_hands_off_the_others_arrays(device, monkeypatch, call):
    """As a signal's handler makes one, between the copy of the inputs and the kernels."""
    array, result, w = scaled([1, 2])
    exe = GpuExecutable(result, {w: array}, device)
    exe([np.zeros((2, 2), "float32")])
    seen = []

    def interrupted():
        if not seen:
            seen.append(None)
            seen[0] = call(exe, np.full((2, 2), 5, "float32"))[0]
    monkeypatch.setattr("graphk.runtime.writes.note_write", interrupted)
    out, = call(exe, np.ones((2, 2), "float32"))
    assert seen[0].tolist() == [[10, 15], [10, 15]] and out.tolist() == [[3, 4], [3, 4]]
    assert current(array).tolist() == [4, 5]


# ------------------------------------------------------------------ errors
@pytest.mark.skipif(not SIMULATED, reason="a small device is simulated")
def test_a_batch_that_does_not_fit_is_refused_with_one_that_does(device):
    from graphk.runtime.device import OutOfDeviceMemory
    from graphk.runtime.device_sim import SimDevice
    x, w = new_input(f32(n, 2), "x"), new_variable(f32(2, 4), "w")
    h = tanh(dot(x, w))
    graph = Graph((x,), (sum_(dot(h, neg(h), contract=((0,), (0,)))),), ((w, add(w, 1.0)),))
    array = np.zeros((2, 4), "float32")
    exe = GpuExecutable(run_passes(graph), {w: array}, SimDevice(nbytes=1500, name="small"))
    with pytest.raises(OutOfDeviceMemory, match=r"(?s)small has no room for main \(n=4000\) of [\d,]+ bytes: [\d,]+ "
                       r"of its 1,500 bytes are free. The largest of its buffers is .*f32\[n,4\].* with 64,000 bytes. "
                       r"A batch of \d+ fits. No variable was changed") as e:
        exe([np.zeros((4000, 2), "float32")])
    fits = int(str(e.value).split("A batch of ")[1].split(" ")[0])
    exe([np.zeros((fits, 2), "float32")])
    assert current(array).max() == 1
    with pytest.raises(OutOfDeviceMemory):
        exe([np.zeros((fits + 1, 2), "float32")])
    exe([np.zeros((1, 2), "float32")])
    assert current(array).max() == 2


def test_a_wrong_array_is_refused_and_changes_nothing(device):
    array, result, w = scaled([1, 2])
    exe = GpuExecutable(result, {w: array}, device)
    with pytest.raises(ValueError, match=r"has shape \(3, 4\), expected \(3, 2\)"):
        exe([np.ones((3, 4), "float32")])
    np.testing.assert_array_equal(current(array), [1, 2])
