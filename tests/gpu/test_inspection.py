"""What is shown of models that run on a device: its kernels and times, and the CPU's where that is asked for."""
import gc

import numpy as np
import pytest

import graphk
from graphk.inspection import cost, diff, dump, kernel, memory, profile, report, summary
from graphk.inspection.cli import main
from graphk.inspection.subjects import subjects_of
from graphk.layers import Conv2D, Dense, Input
from graphk.models import Model, Sequential
from graphk.passes.pipeline import run_passes
from graphk.runtime.gpu import GpuExecutable
from graphk.runtime.library import Convolution
from graphk.runtime.library_sim import NumpyLibrary
from tests.gpu.conftest import PTX, SIMULATED
from tests.programs import scan_graph, values_for


@pytest.fixture
def model(on_device):
    made = Sequential([Dense(8, activation="relu", input_shape=(4,), name="first"), Dense(2, name="second")])
    made.compile("sgd", "mse")
    return made


def test_a_profile_is_of_the_device_and_changes_nothing(model, device):
    x, y = np.ones((3, 4), "f"), np.ones((3, 2), "f")
    model.train_on_batch(x, y)
    before, predicted = model.get_weights(), model.predict(x)
    found = profile(model, batch=3)
    assert [g.device for g in found] == [device.name] * 3 and [g.title for g in found] == ["train", "test", "predict"]
    for g in found:
        assert g.call > 0 and all(line.time > 0 for line in g.lines) and g.machine is None
        assert {"first", "second"} <= set(g.layer_seconds())
    text = str(found)
    assert f"predict (n=3) on {device.name}: a call takes" in text and text.startswith("no floors: of this device")
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(model.predict(x), predicted)


def test_the_processor_is_another_target(model):
    on_cpu = profile(model, batch=3, phase="predict", target="cpu")[0]
    assert on_cpu.device == "" and on_cpu.machine is not None and all(line.floor for line in on_cpu.lines)
    assert "workspace" in str(memory(model, phase="predict", target="cpu"))
    ours, cpu = (str(kernel(model, "dot_add_relu", "source", **asked)) for asked in ({}, {"target": "cpu"}))
    assert "cuda.blockIdx" in ours and "gemm_tile" in cpu


def test_every_table_and_page_is_there(model, device, tmp_path):
    assert "first (Dense)" in str(summary(model)) and "dot_add_relu" in str(cost(model))
    assert f"on {subjects_of(model)[0].gpu.device.name}" in str(profile(model, phase="predict"))
    report(model, tmp_path / "page.html", batch=2)
    assert device.name in (tmp_path / "page.html").read_text(encoding="utf-8")
    dump(model, tmp_path / "dumped")
    assert (tmp_path / "dumped").is_dir()


def test_commands(on_device, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Sequential([Dense(2, input_shape=(3,))]).save("m.h5")
    assert main(["profile", "m.h5", "--batch", "2"]) == 0
    assert f"on {on_device.name}: a call takes" in capsys.readouterr().out
    assert main(["cost", "m.h5", "--roof", "60e12,3e12"]) == 0
    assert "60 TFLOP/s (as given)" in capsys.readouterr().out


@pytest.mark.skipif(not SIMULATED, reason="there may be one GPU alone")
def test_a_graph_on_several_devices_is_shown_in_parts():
    x = Input((4,))
    with graphk.device_scope("simulator:1"):
        h = Dense(3, name="there")(x)
    with graphk.device_scope("/cpu:0"):
        y = Dense(2, name="here")(h)
    model = Model(x, y)
    titles = [s.title for s in subjects_of(model)]
    assert titles == ["predict, part 1 of 2", "predict, part 2 of 2"]
    first, second = profile(model, batch=2, phase="predict")
    assert (first.device, second.device) == ("simulator:1", "")
    assert "there" in first.layer_seconds() and "here" in second.layer_seconds()


@pytest.mark.skipif(not SIMULATED, reason="the driver is played in Python")
def test_recordings_for_measuring_run_one_after_another_and_are_given_back():
    from tests.gpu.test_driver import made
    driver, device = made()
    graph = scan_graph()
    exe = GpuExecutable(run_passes(graph), {}, device)
    inputs = values_for([i.t for i in graph.inputs], {"n": 2, "t": 3})
    before = exe(inputs)
    nothing, *steps = exe.pieces({"n": 2, "t": 3}, 4)
    counts = []
    for replay in (nothing, *steps):
        start = driver.launched
        replay()
        counts.append(driver.launched - start)
    assert counts[0] == 0 and len(steps) == len(exe.program.steps) and all(n and n % 4 == 0 for n in counts[1:])
    for a, b in zip(exe(inputs), before, strict=True):
        np.testing.assert_array_equal(a, b)
    del nothing, steps, replay, exe
    gc.collect()
    assert "ready" not in [kind for kind, _ in driver.alive.values()]


@pytest.mark.skipif(not SIMULATED or PTX, reason="lends the simulator a library")
def test_passes_are_shown_as_they_ran_for_the_device(on_device, monkeypatch):
    """A library of convolutions pads images itself; on the processor they are padded by a kernel."""
    monkeypatch.setattr(on_device, "libraries", {Convolution: NumpyLibrary(on_device.view)})
    model = Sequential([Conv2D(3, 3, padding="same", input_shape=(5, 6, 2), name="seen")])
    found = str(diff(model, "slices", "padding", phase="predict"))
    assert "padding=((1, 1), (1, 1))" in found and "padding" in found
    ours, cpu = (str(cost(model, phase="predict", **asked)) for asked in ({}, {"target": "cpu"}))
    assert "pad " not in ours and "pad " in cpu
