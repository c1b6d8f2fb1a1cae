"""Gradients of replicas and of processes that NCCL adds up in the memory of (simulated) GPUs."""
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphk
from graphk import layers as L
from graphk.frontend import automatic, config
from graphk.models import Sequential
from graphk.runtime import library, nccl
from graphk.runtime.device import DeviceError
from graphk.runtime.device import device as named
from graphk.runtime.exchange import DeviceArray
from graphk.runtime.mirrors import mirrored
from graphk.utils import multi_gpu_model
from tests.frontend import nccl_ranks
from tests.frontend.test_multi_gpu import net, trained
from tests.frontend.test_split_step import CASES, ROWS, made, rows
from tests.gpu.fake_nccl import Nccl
from tests.mpi import ENVIRONMENT, MPIRUN, REASON

NAMES = ["simulator:0", "simulator:1", "simulator:2", "simulator:3"]
ROOT = Path(__file__).parents[2]


def devices_of(count):
    return [named(config.device_name(n, "test")) for n in NAMES[:count]]


@pytest.fixture
def fake(monkeypatch):
    """NCCL over simulated devices."""
    module = Nccl(devices_of(4))
    monkeypatch.setattr(nccl, "KIND", "simulator")
    monkeypatch.setattr(nccl, "installed", lambda: True)
    monkeypatch.setattr(nccl, "binding", lambda: module)
    monkeypatch.setattr(nccl, "_within", {})
    return module


# ------------------------------------------------------------------ replicas of one process
@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_replicas_train_as_one_model_does(fake, optimizer, count):
    single = net()
    twin = net(single.get_weights())
    several = multi_gpu_model(single, NAMES[:count])
    for m in (several, twin):
        m.compile(optimizer, "mse", metrics=["mae"])
    got, want = trained(several, rows=8), trained(twin, rows=8)
    for name in want[0]:
        np.testing.assert_allclose(got[0][name], want[0][name], rtol=1e-4)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-4)
    for mine, theirs in zip(single.get_weights(), twin.get_weights()):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
    assert fake.sums == 4 and fake.made == 1                   # steps


@pytest.mark.parametrize("case", ["clipped", "weighted", "activity", "outputs", "mask", "scaled"])
def test_losses_of_all_kinds(fake, case):
    twin = made(case)
    several = multi_gpu_model(made(case, twin.get_weights()), NAMES[:2])
    settings = CASES[case][1]
    opt = settings["optimizer"]
    several.compile(**{**settings, "optimizer": opt() if callable(opt) else opt})
    data = CASES[case][2]
    for part in (slice(0, 8), slice(4, 12)):
        want, got = (m.train_on_batch(**rows(data, part)) for m in (twin, several))
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)
    for mine, theirs in zip(several.get_weights(), twin.get_weights()):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-5)
    assert fake.sums == 2


def step(m, count=4):
    return m.train_on_batch(ROWS["x"][:count], ROWS["y"][:count])


def test_neither_gradients_nor_weights_travel(fake):
    several = multi_gpu_model(net(), NAMES[:2])
    several.compile("sgd", "mse")
    step(several)
    devices = devices_of(2)
    before = [(d.uploads, d.downloads, d.fetches) for d in devices]
    step(several)
    inputs = 5                                                 # x, y, weights of rows, factors, share
    for d, (u, v, f) in zip(devices, before):
        assert (d.uploads - u, d.downloads - v, d.fetches - f) == (inputs, 1, 0)   # 1: the loss
    weights = several.get_weights()
    assert devices[0].downloads - before[0][1] == 1 + len(weights) and devices[1].downloads - before[1][1] == 1
    for w in several.weights:                                  # both have them, in the same bits
        copies = mirrored[id(w.array)]
        seen = [m.device.view(m.address, "float32")[:w.array.size] for m in copies]
        assert len(copies) == 2 and not any(m.stale for m in copies)
        np.testing.assert_array_equal(*seen)


def test_fewer_rows_than_devices(fake):
    single = net()
    twin, several = net(single.get_weights()), multi_gpu_model(single, NAMES[:3])
    for m in (several, twin):
        m.compile("adam", "mse")
    for count in (1, 5, 2, 6):
        np.testing.assert_allclose(step(several, count), step(twin, count), rtol=1e-4)
    for mine, theirs in zip(single.get_weights(), twin.get_weights()):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
    assert fake.sums == 4                                      # devices without a row add nothing


def test_weights_that_the_host_sets_reach_all_devices_and_files_hold_what_they_trained(fake, tmp_path):
    single = net()
    several = multi_gpu_model(single, NAMES[:2])
    several.compile("sgd", "mse")
    step(several)
    twin = net([w * 2 for w in single.get_weights()])
    twin.compile("sgd", "mse")
    single.set_weights(twin.get_weights())
    np.testing.assert_allclose(step(several), step(twin), rtol=1e-5)
    single.save_weights(str(tmp_path / "w.h5"))
    again = net()
    again.load_weights(str(tmp_path / "w.h5"))
    for mine, theirs in zip(again.get_weights(), twin.get_weights()):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-7)


def test_batch_normalization_dropout_and_a_learning_rate_that_changes(fake):
    def build(weights=None):
        m = Sequential([L.Dense(4, input_shape=(4,)), L.BatchNormalization(), L.Dropout(.5, seed=3), L.Dense(2)])
        if weights:
            m.set_weights(weights)
        return m
    single = build()
    weights = single.get_weights()
    runs = []
    for use in (True, False):                                  # the host's way computes the same
        config.put("nccl", use)
        try:
            again = build(weights)
            several = multi_gpu_model(again, NAMES[:2])
            several.compile("sgd", "mse")
            for rate in (.1, .01):
                several.optimizer.lr = rate
                step(several, 6)
            runs.append(again.get_weights())
        finally:
            config.put("nccl", True)
    assert fake.sums == 2
    for mine, theirs in zip(*runs):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


def test_numbers_that_are_not_finite_are_found_and_change_nothing(fake):
    several = multi_gpu_model(net(), NAMES[:2])
    several.compile("sgd", "mse")
    step(several)
    before = several.get_weights()
    with graphk.debug(), pytest.raises(FloatingPointError, match="NaN"):
        several.train_on_batch(np.full((4, 4), np.nan, "float32"), np.ones((4, 2), "float32"))
    for a, b in zip(before, several.get_weights()):
        np.testing.assert_array_equal(a, b)
    with graphk.debug():
        step(several)
    twin = net(before)
    twin.compile("sgd", "mse")
    step(twin)
    for a, b in zip(twin.get_weights(), several.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------------ without NCCL, and its failures
@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(library, "WATCHERS", lines)
    monkeypatch.setattr(nccl, "WATCHERS", [lines.append])
    return lines


def test_who_adds_up_is_told(fake, monkeypatch, said):
    for change, devices, words in (
            (lambda: None, NAMES[:2], "sums over devices: simulator, simulator:1: NCCL"),
            (lambda: None, ["simulator:1"] * 2, r"without NCCL (simulator:1, simulator:1 are not different GPUs)"),
            (lambda: None, ["simulator:0", "cpu:0"], "without NCCL (cpu is no GPU)"),
            (lambda: monkeypatch.setattr(nccl, "installed", lambda: False), NAMES[:2], "pip install 'graphk[nccl]'"),
            (lambda: monkeypatch.setitem(config._in_force, "nccl", False), NAMES[:2], "the setting nccl is false")):
        change()
        several = multi_gpu_model(net(), devices)
        several.compile("sgd", "mse")
        several._make_train_function()
        assert words in said[-1]
    assert fake.made == 0                                      # nothing is joined before the first step


@pytest.mark.parametrize("call, words", [
    ("comm_init_all", "NCCL failed to join simulator, simulator:1: NCCLError: UnhandledCudaError"),
    ("all_reduce", "NCCL failed to add up"), ("group_end", "NCCL failed to add up")])
def test_failures_name_the_call_and_the_way_without(fake, call, words):
    several = multi_gpu_model(net(), NAMES[:2])
    several.compile("sgd", "mse")
    before = several.get_weights()
    fake.broken = call
    with pytest.raises(DeviceError, match=f"{words}.*GRAPHK_FLAGS=nccl=false"):
        step(several)
    for a, b in zip(before, several.get_weights()):
        np.testing.assert_array_equal(a, b)
    fake.broken = ""
    assert np.isfinite(step(several))                          # the group was closed


def test_a_binding_that_cannot_be_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "nccl.bindings.nccl", None)
    with pytest.raises(DeviceError, match=r"cannot be loaded.*pip install 'graphk\[nccl\]'"):
        nccl.binding()


@pytest.mark.skipif(not nccl.installed(), reason="NCCL's binding is not installed: pip install graphk[nccl]")
def test_the_real_binding_takes_what_is_passed():
    module = nccl.binding()
    assert len(nccl.group_name(0, lambda mine: [mine])) == 128
    assert all(hasattr(module.DataType, name) for name in nccl.TYPES.values()) and int(module.RedOp["Sum"]) == 0
    if not automatic._driver():                                # without GPUs joining fails inside of NCCL, and says so
        with pytest.raises(DeviceError, match="NCCL failed to join simulator, simulator:1: NCCLError"):
            nccl.Clique.within(devices_of(2))
        with pytest.raises(DeviceError, match="NCCL failed to join 4 GPUs of several processes: NCCLError"):
            nccl.Clique.among(devices_of(2), 2, 4, nccl.group_name(0, lambda mine: [mine]))
        with nccl._together(module, "do nothing"):             # the group was closed
            pass


def test_arrays_that_differ_are_refused(fake):
    devices = devices_of(2)
    clique = nccl.Clique.within(devices)
    own = [DeviceArray(d.allocate(64), (4,), np.dtype("float32"), d) for d in devices]
    clique.total([[own[0]], [own[1]]])
    with pytest.raises(ValueError, match=r"simulator:1 has \['float32\[3\]'\], simulator \['float32\[4\]'\]"):
        clique.total([[own[0]], [own[1][:3]]])
    with pytest.raises(ValueError, match="of the same shapes on all devices"):
        clique.total([[own[0]], [own[0]]])                     # of another device
    for a in own:
        a.owner.free(a.address)


# ------------------------------------------------------------------ processes
@pytest.mark.skipif(MPIRUN is None, reason=REASON)
@pytest.mark.parametrize("case, words", [
    ("train", ()), ("one_without", ()), ("one_gpu", ()), ("one_seen", ()),
    ("no_library", ["process 1: NCCL's binding cannot be loaded", "DistributedError"]),
    ("fails", ["graphk.distributed, rank 1: NCCL failed to join 2 GPUs of several processes: NCCLError", "nccl=false"]),
    ("counts", ["rank 0: a training step of weights float32[4, 2]", "rank 1: a training step of weights float32[4, 3"]),
    ("ends", ["rank 0: the gradients of a training step", "rank 1: the end of the program"])])
def test_processes(tmp_path, case, words):
    env = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT), "GRAPHK_LOG": "library"}
    done = subprocess.run([MPIRUN, "-n", "2", sys.executable, nccl_ranks.__file__, case, str(tmp_path)], env=env,
                          capture_output=True, text=True, timeout=280)
    if words:
        assert done.returncode != 0
        for text in words:
            assert text in done.stderr, done.stderr
        return
    assert done.returncode == 0, done.stderr
    found = [np.load(tmp_path / f"rank{i}.npz") for i in (0, 1)]
    one = nccl_ranks.model("adam")
    for _ in range(3):
        one.train_on_batch(nccl_ranks.X, nccl_ranks.Y)
    for i, want in enumerate(one.get_weights()):
        np.testing.assert_array_equal(found[0][f"w{i}"], found[1][f"w{i}"])
        np.testing.assert_allclose(found[0][f"w{i}"], want, rtol=1e-4, atol=1e-6)
    sums, told = {"train": (3, "sums over devices: NCCL, 2 processes"),
                  "one_seen": (3, "sums over devices: NCCL, 2 processes"),
                  "one_without": (0, "through the host (rank 1: NCCL's binding is not installed"),
                  "one_gpu": (0, "through the host (two ranks share a GPU)")}[case]
    assert [int(f["sums"]) for f in found] == [sums] * 2 and done.stderr.count(told) == 2


@pytest.mark.skipif(MPIRUN is None, reason=REASON)
@pytest.mark.parametrize("case, told, copies", [
    ("several", "NCCL, 4 GPUs of 2 processes", (2, 2)), ("uneven", "NCCL, 4 GPUs of 2 processes", (3, 1)),
    ("few_rows", "NCCL, 4 GPUs of 2 processes", (2, 2)), ("shared", "through the host (two ranks share a GPU)", None),
    ("with_cpu", "through the host (rank 1: cpu is no GPU)", None)])
def test_processes_of_several_devices(tmp_path, case, told, copies):
    env = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT), "GRAPHK_LOG": "library"}
    done = subprocess.run([MPIRUN, "-n", "2", sys.executable, nccl_ranks.__file__, case, str(tmp_path)], env=env,
                          capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"sums over devices: {told}") == 2 and done.stderr.count("sums over devices") == 2
    found = [np.load(tmp_path / f"rank{i}.npz") for i in (0, 1)]
    one, rows = nccl_ranks.model("adam"), [0, 2, 4, 6, *([1] if case == "few_rows" else [1, 3, 5, 7])]
    for _ in range(3):
        one.train_on_batch(nccl_ranks.X[rows], nccl_ranks.Y[rows])
    for i, want in enumerate(one.get_weights()):
        np.testing.assert_array_equal(found[0][f"w{i}"], found[1][f"w{i}"])
        np.testing.assert_allclose(found[0][f"w{i}"], want, rtol=1e-4, atol=1e-6)
    assert [int(f["sums"]) for f in found] == [3 if copies else 0] * 2
    if copies:                                                 # each device has made the updates itself
        assert [f["copies"].tolist() for f in found] == [[n] * 4 for n in copies]
        assert not any(f["stale"] for f in found)
