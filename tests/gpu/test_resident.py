"""Results that stay on a device: whose memory they are in, and who reads them when."""
import copy
import gc
import itertools
import pickle
import sys
import threading

import numpy as np
import pytest

import graphk
from graphk import backend as K
from graphk import layers as L
from graphk.frontend import config
from graphk.ir.interp import run_full
from graphk.models import Model, Sequential
from graphk.passes.pipeline import run_passes
from graphk.runtime import pool
from graphk.runtime.device import OutOfDeviceMemory
from graphk.runtime.device_sim import SimDevice
from graphk.runtime.exchange import Resident
from graphk.runtime.gpu import GpuExecutable
from tests.gpu.conftest import SIMULATED
from tests.gpu.test_driver import made
from tests.programs import mlp_train, values_for

played = pytest.mark.skipif(not SIMULATED, reason="the driver is played in Python")
X = np.random.RandomState(0).rand(8, 3).astype("float32")


def net():
    return Sequential([L.Dense(4, activation="tanh", input_shape=(3,)), L.Dense(2)])


def travels(device):
    """Copies from and to the host, so far."""
    return device.uploads, device.downloads


# ------------------------------------------------------------------ functions
def test_results_have_memory_of_their_own(on_device):
    m = net()
    stay, here = (K.function(m.inputs, m.outputs, results=r) for r in ("device", "host"))
    first, second = stay([X])[0], stay([2 * X])[0]
    assert isinstance(first, Resident) and (first.shape, first.dtype, first.ndim) == ((8, 2), np.dtype("float32"), 2)
    assert (first.size, first.nbytes, len(first), first.device) == (16, 64, 8, on_device)
    assert repr(first) == f"<array float32[8, 2] on {on_device.name}>"
    third = stay([X[:3]])[0]
    for got, x in ((first, X), (second, 2 * X), (third, X[:3])):
        np.testing.assert_array_equal(np.asarray(got), here([x])[0])
    np.testing.assert_array_equal(np.asarray(first[2:5]), here([X])[0][2:5])
    np.testing.assert_array_equal(np.asarray(first, "float64"), here([X])[0].astype("float64"))
    with pytest.raises(ValueError, match="is no array of the host's without a copy"):
        np.asarray(first, copy=False)


@played
def test_from_function_to_function_nothing_travels(device, on_device):
    if not isinstance(device, SimDevice):
        pytest.skip("counts of the simulator")
    a, b = K.placeholder((None, 3)), K.placeholder((None, 3))
    double = K.function([a], [a * 2], results="device")
    add = K.function([a, b], [a + b], results="device")
    x = double([X])[0]
    add([x, x])                                                # records
    before = travels(device)
    for _ in range(3):
        x = add([x, double([x])[0]])[0]
    assert travels(device) == before
    np.testing.assert_allclose(np.asarray(x), X * 2 * 27, rtol=1e-6)
    assert travels(device) == (before[0], before[1] + 1)


def test_models_take_and_give_them(on_device):
    m, y = net(), np.ones((8, 2), "float32")
    m.compile("sgd", "mse")
    x = K.function([], [K.constant(X)], results="device")([])[0]
    np.testing.assert_array_equal(m.predict(x, batch_size=3), m.predict(X, batch_size=3))
    out = m.predict_on_batch(x, results="device")
    assert isinstance(out, Resident)
    np.testing.assert_array_equal(np.asarray(out), m.predict_on_batch(X))
    assert m.test_on_batch(x, out) == 0
    twin = net()
    twin.compile("sgd", "mse")
    twin.set_weights(m.get_weights())
    assert m.train_on_batch(x, y) == twin.train_on_batch(X, y)
    for mine, theirs in zip(m.get_weights(), twin.get_weights()):
        np.testing.assert_array_equal(mine, theirs)
    several = Model(m.inputs, [m.layers[0].output, m.output])
    hidden, out = several.predict_on_batch(X, results="device")
    for got, want in zip((hidden, out), several.predict_on_batch(X)):
        np.testing.assert_array_equal(np.asarray(got), want)


def test_updates_and_variables(on_device):
    v = K.variable(np.arange(4, dtype="float32"))
    count = K.function([], [v, v * 2], [K.update_add(v, 1.)], results="device")
    kept = [count([]) for _ in range(3)]
    for i, (value, double) in enumerate(kept):                 # as it was before the update, and stays
        np.testing.assert_array_equal(np.asarray(value), np.arange(4) + i)
        np.testing.assert_array_equal(np.asarray(double), 2 * (np.arange(4) + i))
    np.testing.assert_array_equal(K.get_value(v), np.arange(4) + 3)


def test_values_that_are_printed_or_computed_later(on_device, capsys):
    x = K.placeholder((None, 2))
    f = K.function([x], [K.print_tensor(x * 2, "x is ")], results="device")
    assert isinstance(f([np.ones((1, 2))])[0], Resident) and "x is [[2. 2.]]" in capsys.readouterr().out
    scores = np.log(np.random.RandomState(1).dirichlet(np.ones(4), (2, 5)))
    y, n = K.placeholder((None, None, 4)), K.placeholder((None,), dtype="int32")
    decoded, _ = K.ctc_decode(K.exp(y), n, greedy=False)
    stay, here = (K.function([y, n], [decoded[0], y], results=r) for r in ("device", "host"))
    got, want = stay([scores, [5, 5]]), here([scores, [5, 5]])
    np.testing.assert_array_equal(got[0], want[0])
    assert isinstance(got[1], Resident)


def test_numbers_that_are_not_finite_are_found(on_device):
    x = K.placeholder((None, 2))
    f = K.function([x], [K.log(x) + 1], results="device")
    good = f([np.ones((1, 2))])[0]
    with graphk.debug():
        assert isinstance(f([good])[0], Resident)
        with pytest.raises(FloatingPointError, match="-inf in output 0"):
            f([K.function([], [K.zeros((1, 2))], results="device")([])[0]])


def test_none_at_all(on_device):
    x = K.placeholder((None, 3))
    f = K.function([x], [x * 2, K.sum(x, 0)], results="device")
    for _ in range(2):
        none, total = f([f([X[:0]])[0]])
        assert none.shape == (0, 3) and np.asarray(none).shape == (0, 3)
        np.testing.assert_array_equal(np.asarray(total), np.zeros(3))


def test_on_the_host_results_are_numpys(monkeypatch):
    x = K.placeholder((None, 3))
    f = K.function([x], [x * 2], device="cpu", results="device")
    first, second = f([X])[0], f([X * 2])[0]
    assert type(first) is np.ndarray
    np.testing.assert_array_equal(first, X * 2)
    np.testing.assert_array_equal(np.from_dlpack(second), X * 4)
    monkeypatch.setitem(config._in_force, "device", "cpu")
    assert type(net().predict_on_batch(X, results="device")) is np.ndarray


# ------------------------------------------------------------------ variables
def test_a_variable_is_seen_where_it_is(device, on_device):
    m, y = net(), np.ones((8, 2), "float32")
    m.compile("sgd", "mse")
    m.train_on_batch(X, y)
    weight = m.weights[0]
    before = travels(device) if isinstance(device, SimDevice) else None
    there = graphk.value_on_device(weight)
    assert before is None or travels(device) == before
    np.testing.assert_array_equal(np.asarray(there), K.get_value(weight))
    assert there.device is device and (there.shape, there.dtype) == ((3, 4), np.dtype("float32"))
    x = K.placeholder((None, 4))
    copy = K.function([x], [x * 1], results="device")([there])[0]
    old = K.get_value(weight)
    m.train_on_batch(X, y)
    np.testing.assert_array_equal(np.asarray(there), K.get_value(weight))      # the device wrote it in place
    np.testing.assert_array_equal(np.asarray(copy), old)
    K.set_value(weight, old * 3)
    np.testing.assert_array_equal(np.asarray(graphk.value_on_device(weight)), old * 3)
    with pytest.raises(TypeError, match="takes a variable, received .*results='device'"):
        graphk.value_on_device(x)


def test_a_variable_lasts_as_long_as_somebody_sees_it():
    v = K.variable(X)
    there = graphk.value_on_device(v, "simulator:1")
    device, address = there.device, there.address
    part = there[2:4]
    del v, there
    gc.collect()
    np.testing.assert_array_equal(np.asarray(part), X[2:4])
    del part
    gc.collect()
    assert address not in device.memory


# ------------------------------------------------------------------ errors
def test_mistakes(on_device):
    x = K.placeholder((None, 3))
    for wrong in ("gpu", None, True):
        with pytest.raises(ValueError, match=f"`function` was given results={wrong!r}; expected 'host'.* or 'device'"):
            K.function([x], [x], results=wrong)
        with pytest.raises(ValueError, match="predict_on_batch was given results="):
            net().predict_on_batch(X, results=wrong)
    there = K.function([x], [x * 2], results="device")([X])[0]
    whole = K.placeholder((None, 3), dtype="int32")
    with pytest.raises(TypeError, match=r"is an array float32\[8, 3\] on a GPU; expected i32\[\w+,3\] there"):
        K.function([whole], [whole * 2])([there])
    with pytest.raises(TypeError, match=r"of graphk lies in a GPU's memory, and is wanted.*otherwise: numpy.asarray"):
        K.function([x], [x * 2], device="cpu")([there])
    with pytest.raises(TypeError, match="wanted in the host's"):
        there[0]
    with pytest.raises(ValueError, match="expects shape"):
        y = K.placeholder((None, 4))
        K.function([y], [y])([there])
    ids = L.Input((3,))
    with pytest.raises(TypeError, match="as they hold no row numbers of an embedding"):
        Model(ids, L.Embedding(5, 2)(ids)).predict_on_batch(there)


@pytest.mark.parametrize("how", [pickle.dumps, copy.copy, copy.deepcopy])
def test_their_memory_is_not_copied_by_accident(how, on_device):
    """An object that had the address, and nothing that keeps the memory, would be left behind."""
    x = K.placeholder((None, 3))
    there = K.function([x], [x * 2], results="device")([X])[0]
    with pytest.raises(TypeError, match="of graphk lies in a GPU's memory.*otherwise: numpy.asarray"):
        how(there)
    del there
    gc.collect()                                               # pytest tells of errors in the end of objects


def test_one_without_axes(on_device):
    x = K.placeholder((None, 3))
    total = K.function([x], K.sum(x), results="device")([X])
    assert total.shape == () and float(np.asarray(total)) == pytest.approx(X.sum())
    for wrong in (len, lambda a: a[:1]):
        with pytest.raises(TypeError, match="an array without axes has no length"):
            wrong(total)


def test_replicas_say_that_they_cannot():
    from graphk.utils import multi_gpu_model
    several = multi_gpu_model(net(), ["simulator:0", "simulator:1"])
    with pytest.raises(ValueError, match="cut into slices for simulator, simulator:1. Ask the model that"):
        several.predict_on_batch(X, results="device")


# ------------------------------------------------------------------ several devices
def test_another_device_takes_them_without_the_host():
    from graphk.runtime.device import device as named
    x = K.placeholder((None, 3))
    one, two = (K.function([x], [x * 2], device=d, results="device") for d in ("simulator:0", "simulator:1"))
    first, second = named("simulator"), named("simulator:1")
    there = one([X])[0]
    two([there])
    before, fetched = (travels(first), travels(second)), second.fetches
    got = two([there])[0]
    assert (travels(first), travels(second)) == before and second.fetches == fetched + 1
    assert got.device is second
    np.testing.assert_array_equal(np.asarray(got), X * 4)


def test_layers_on_devices_of_their_own():
    images = L.Input((3,))
    with graphk.device_scope("/simulator:0"):
        a = L.Dense(4)(images)
    with graphk.device_scope("/cpu:0"):
        b = L.Dense(4)(a)
    with graphk.device_scope("/simulator:1"):
        c = L.Dense(2)(b)
    m = Model(images, [a, b, c])
    got, want = m.predict_on_batch(X, results="device"), m.predict_on_batch(X)
    assert [g.device.name if isinstance(g, Resident) else "cpu" for g in got] == ["simulator", "cpu", "simulator:1"]
    again = m.predict_on_batch(2 * X, results="device")
    for g, w, a in zip(got, want, again):
        np.testing.assert_allclose(np.asarray(g), w, rtol=1e-6)
        assert not np.allclose(np.asarray(a), w)


@pytest.mark.parametrize("results", ["host", "device"])
def test_what_is_asked_for_twice_has_memory_of_its_own_each_time(results):
    x = K.placeholder((None, 3))
    with graphk.device_scope("/simulator:0"):
        a = x * 2
    with graphk.device_scope("/simulator:1"):
        b = a + 1
    f = K.function([x], [a, a, b, x, x], results=results)
    got = f([X])
    for g, want in zip(got, (2 * X, 2 * X, 2 * X + 1, X, X)):
        np.testing.assert_array_equal(np.asarray(g), want)
    at = {g.address if isinstance(g, Resident) else g.ctypes.data for g in got}
    assert len(at) == 5 and isinstance(got[0], Resident) is (results == "device")


# ------------------------------------------------------------------ memory
def test_memory_goes_back_and_is_used_again():
    device = SimDevice()
    free = device.pool.take(1000)
    at = free.address
    del free
    again = device.pool.take(700)                              # as large, rounded up
    assert again.address == at and device.pool.take(1000).address != at
    other = device.pool.take(5000)
    assert other.address not in (at,)
    del other, again
    assert device.pool.clear() and not device.memory and not device.pool.clear()


def test_what_nobody_uses_is_given_back_where_it_is_much(monkeypatch):
    monkeypatch.setattr(pool, "KEPT", 2048)
    device = SimDevice()
    blocks = [device.pool.take(1024) for _ in range(3)]
    blocks.pop()
    blocks.pop()
    assert len(device.memory) == 3
    blocks.pop()
    assert not device.memory


def test_threads_never_share_memory(monkeypatch):
    monkeypatch.setattr(pool, "KEPT", 4096)
    lock, interval, held = threading.Lock(), sys.getswitchinterval(), []
    live, wrong, given, addresses = set(), [], set(), itertools.count()

    class Addresses:
        """A device's, for any number of threads."""

        def allocate(self, nbytes):
            given.add(address := next(addresses))
            return address

        def free(self, address):
            given.remove(address)                              # KeyError where it was given back before

        def finish(self):
            pass
    blocks = pool.Pool(Addresses())

    def work(seed):
        random, mine = np.random.RandomState(seed), []
        held.append(mine)
        for _ in range(300):
            block = blocks.take(int(random.choice([100, 1000, 3000])))
            block.shown = bool(random.rand() < .3)
            with lock:
                wrong.extend([block.address] if block.address in live else [])
                live.add(block.address)
            mine.append(block)
            if len(mine) > 3:
                i = int(random.randint(len(mine)))
                with lock:
                    live.remove(mine[i].address)
                del block, mine[i]
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    try:
        sys.setswitchinterval(1e-6)
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong and next(addresses) < 4 * 300             # some were used again
    del held[:]
    blocks.clear()
    assert not given


def test_many_results_that_go_at_once_are_counted_once():
    """Each that goes is added to a sum: who added up all that were gone took 17 seconds for 20,000 of them."""
    device, added = SimDevice(), []

    class Counted(int):
        def __radd__(self, other):
            added.append(self)
            return other + int(self)
    blocks = [device.pool.take(100) for _ in range(200)]
    while blocks:
        block = blocks.pop()
        block.nbytes = Counted(block.nbytes)
        del block
    assert len(added) == 200
    assert device.pool.clear() and not device.memory


def test_memory_that_is_kept_makes_room():
    device = SimDevice(nbytes=4096)
    block = device.pool.take(4000)
    with pytest.raises(OutOfDeviceMemory):
        device.allocate(1000)
    del block
    device.free(device.allocate(1000))


def test_a_batch_whose_results_have_no_room_changes_nothing():
    v = K.variable(0.)
    device = SimDevice()
    x = K.placeholder((None, 3))
    graph = K.function([x], [x * 2], [K.update_add(v, 1.)])._graph
    array = v.array
    exe = GpuExecutable(run_passes(graph), {v.node: array}, device)
    exe([X])
    kept = exe.staying([X])
    device.nbytes = device.nbytes - device.room()[0]           # all is in use
    with pytest.raises(OutOfDeviceMemory):
        exe.staying([X])
    assert K.get_value(v) == 2
    del kept
    exe.staying([X])
    assert K.get_value(v) == 3


@pytest.mark.parametrize("seed", range(4))
@played
def test_any_order_that_the_stream_allows(seed):
    """Calls that nobody waits for, on the driver in Python, which is as late as it may be."""
    driver, device = made(seed=seed)
    graph, v = mlp_train()
    state = dict(zip(v.values(), values_for([x.t for x in v.values()], {}, seed=1)))
    mine, want = {k: a.copy() for k, a in state.items()}, dict(state)
    exe = GpuExecutable(run_passes(graph, phase=1), mine, device)
    got, wanted = [], []
    rng = np.random.RandomState(seed)
    for step in range(9):
        arrays = values_for([i.t for i in graph.inputs], {"n": int(rng.randint(2, 4))}, seed=step)
        outs, updates = run_full(graph, arrays, want, 1)
        want.update(updates)
        got.append(exe.staying(arrays))
        wanted.append(outs)
        if rng.rand() < .4:                                    # what somebody lets go is the next results' memory
            i = rng.randint(len(got))
            got.pop(i)
            wanted.pop(i)
    assert driver.begun                                        # nobody has waited
    for outs, right in zip(got, wanted):
        for a, b in zip(outs, right, strict=True):
            np.testing.assert_allclose(np.asarray(a), b, rtol=1e-4, atol=1e-5)
    held = len(driver.sim.memory)
    assert held < 40
    del outs, a, got, exe
    gc.collect()
    device.pool.clear()
    assert not driver.pinned and "ready" not in [kind for kind, _ in driver.alive.values()]


@played
def test_staging_memory_lasts_until_it_is_read():
    driver, device = made()
    p = K.placeholder((None, 3))
    exe = GpuExecutable(run_passes(K.function([p], [p * 2])._graph), {}, device)
    there = exe.staying([X])[0]
    assert driver.begun and driver.pinned
    del exe
    gc.collect()
    assert not driver.begun and not driver.pinned              # its end waited for what was begun
    np.testing.assert_array_equal(np.asarray(there), X * 2)


def test_a_signals_handler_finds_that_results_are_handed_on(monkeypatch):
    device = SimDevice()
    p = K.placeholder((None, 3))
    exe = GpuExecutable(run_passes(K.function([p], [p * 2])._graph), {}, device)
    move = device.move

    def interrupted(*args):
        exe([X])
        move(*args)
    monkeypatch.setattr(device, "move", interrupted)
    with pytest.raises(RuntimeError, match="was called by a signal's handler while it hands on results"):
        exe.staying([X])
    monkeypatch.setattr(device, "move", move)
    stage = exe.stage

    def before(*args):
        monkeypatch.setattr(exe, "stage", stage)
        np.testing.assert_array_equal(np.asarray(exe.staying([X * 3])[0]), X * 6)
        stage(*args)
    monkeypatch.setattr(exe, "stage", before)
    np.testing.assert_array_equal(np.asarray(exe.staying([X])[0]), X * 2)


@pytest.mark.parametrize("inner", ["__call__", "staying", "start"])
@pytest.mark.parametrize("outer", ["__call__", "staying", "start"])
def test_a_signals_handler_does_not_take_the_memory_that_a_call_runs_in(outer, inner, monkeypatch):
    exe = GpuExecutable(run_passes(K.function([p := K.placeholder((None, 3))], [p * 2])._graph), {}, SimDevice())
    stage, large = exe.stage, np.ones((900, 3), "float32")

    def values(how, x):
        out = getattr(exe, how)([x])
        return np.asarray((out() if how == "start" else out)[0])

    def before(*args):
        monkeypatch.setattr(exe, "stage", stage)
        with pytest.raises(RuntimeError, match="by a signal's handler while it runs, with a batch that needs more"):
            values(inner, large)
        stage(*args)
    values(outer, X)
    monkeypatch.setattr(exe, "stage", before)
    np.testing.assert_array_equal(values(outer, X), X * 2)
    np.testing.assert_array_equal(values(inner, large), large * 2)
