"""Recurrent layers that a vendor's library computes: train steps and whole models beside the interpreter and the CPU.

On the simulated GPU the library is numpy's, or calls of a cuDNN in Python; on a real one (`make test-gpu`) it is
cuDNN, where that is installed.
"""
import gc

import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.frontend import config
from graphk.frontend.tensor import variable_of
from graphk.ir.interp import run_full
from graphk.ir.node import Graph
from graphk.ir.ops.control import item
from graphk.ir.ops.leaves import new_input
from graphk.ir.ops.recurrent import Form, rnn
from graphk.ir.types import TensorType
from graphk.models import Model, Sequential
from graphk.passes.pipeline import run_passes
from graphk.runtime import library
from graphk.runtime.device import DeviceError
from graphk.runtime.gpu import GpuExecutable
from graphk.runtime.library import Convolution, Product, Refused
from graphk.runtime.library_rnn import Recurrent
from graphk.runtime.library_sim_rnn import NumpyRecurrent
from graphk.runtime.mirrors import current
from tests.gpu.conftest import PTX, SIMULATED
from tests.passes.test_recurrent import LAYERS, arrays_for, filled, graph_of


@pytest.fixture(params=["numpy", "cudnn"] if SIMULATED else ["cudnn"])
def lent(device, request):
    """A device with a library of recurrent layers; `fake`: the cuDNN in Python, if it is that one."""
    if SIMULATED and request.param == "cudnn":
        from tests.gpu import fake_cublaslt, fake_cudnn_rnn
        from tests.gpu.test_driver import made
        driver, device = made()
        fake_cublaslt.installed(driver, device)
        device.fake = fake_cudnn_rnn.installed(driver, device)
    elif SIMULATED:
        from graphk.runtime.device_sim import SimDevice
        device = SimDevice()
        device.recurrent = NumpyRecurrent(device.view)
    if device.recurrent is None:
        pytest.skip("cuDNN is not installed")
    return device


def compiled(graph, device, state, phase=1, tf32=False):
    result = run_passes(graph, phase, refuses=lambda form: device.recurrent.refusal(form, tf32))
    return GpuExecutable(result, state, device, tf32)


def run(graph, arrays, device, phase=1, tol=1e-4):
    """The executable, after its outputs and updated variables were compared with the interpreter's."""
    state = {v: variable_of(v).array.copy() for v in graph.variables()}
    mine = {v: a.copy() for v, a in state.items()}
    exe = compiled(graph, device, mine, phase)
    for _ in range(2):                                       # a recording, and its second replay
        want, updates = run_full(graph, arrays, state, phase)
        state.update(updates)
        outs = exe(arrays)
        for got, expected in zip([*outs, *(current(mine[v]) for v in updates)], [*want, *updates.values()],
                                 strict=True):
            assert got.shape == expected.shape and got.dtype == expected.dtype
            np.testing.assert_allclose(got, expected, rtol=tol, atol=tol * max(1, np.abs(expected).max(initial=0)))
    return exe


def asked(exe, **env):
    return [exe.layers.find(s, env) for s in exe.layers.steps]


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_and_their_gradients(name, back, lent):
    layer = LAYERS[name](return_sequences=True, return_state=True, go_backwards=back)
    x = L.Input((None, 3))
    outs = layer(x)
    filled(layer)
    graph = graph_of([x], outs, layer.weights)
    exe = run(graph, arrays_for(graph, t=3), lent)
    env = exe.dims_of(arrays_for(graph))
    there, way_back = asked(exe, **env)
    assert there.training and way_back.gradient and there.form == way_back.form and there.form.units == 4
    if SIMULATED and hasattr(lent, "fake"):
        assert lent.fake.ways == ["training", "data", "weights"] * 2 and set(lent.fake.math) == {3}
    forward = Graph(graph.inputs, graph.outputs[:len(outs)])
    exe = run(forward, arrays_for(graph), lent, phase=0)
    what, = asked(exe, **env)
    assert not what.training and not what.gradient


@pytest.mark.parametrize("sizes", [(0, 3), (2, 0), (0, 0), (1, 1)])
def test_no_samples_no_steps(sizes, lent):
    """Last states are the first ones, and weights have no gradient."""
    layer = LAYERS["lstm"](return_sequences=True, return_state=True)
    x, h, c = L.Input((None, 3)), L.Input((4,)), L.Input((4,))
    outs = layer(x, initial_state=[h, c])
    filled(layer)
    graph = graph_of([x, h, c], outs, layer.weights)
    n, t = sizes
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, s).astype("float32") for s in ((n, t, 3), (n, 4), (n, 4))]
    run(graph, arrays, lent)


def test_several_batch_sizes_and_layers(lent):
    """What one layer kept for its way back is not another's; memory grows with the batch."""
    one, two, three = (LAYERS[k](return_sequences=True, go_backwards=k == "gru") for k in ("lstm", "gru", "tanh"))
    x = L.Input((None, 3))
    y = K.concatenate([two(one(x)), three(x)])
    layers = (one, two, three)
    for layer in layers:
        filled(layer)
    graph = graph_of([x], [y], [w for layer in layers for w in layer.weights])
    state = {v: variable_of(v).array.copy() for v in graph.variables()}
    exe = compiled(graph, lent, state)
    rng = np.random.default_rng(0)
    for samples, time in [(2, 3), (5, 4), (2, 3), (1, 6)]:
        a = rng.uniform(-1, 1, (samples, time, 3)).astype("float32")
        want, _ = run_full(graph, [a], state, 1)
        for got, expected in zip(exe([a]), want, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * max(1, np.abs(expected).max()))
    assert len(exe.layers.steps) == 6 and len(exe._recorded) == 3


def test_calls_side_by_side_are_one_after_another(lent):
    """They work in the same memory."""
    form = Form("gru", 3, 4, 2)
    x, w, *first = [new_input(TensorType("float32", s)) for s in ((5, 2, 3), (form.size,), (2, 4), (2, 4))]
    calls = [rnn(x, w, h, cell="gru", biases=2, training=0) for h in first]
    graph = Graph((x, w, *first), tuple(item(c, i) for c in calls for i in range(2)))
    exe = run(graph, arrays_for(graph), lent, phase=0)
    assert [s.barrier for s in exe.program.steps] == [False, False]


# ------------------------------------------------------------------ whole models
def stacked():
    return [L.LSTM(4, recurrent_activation="sigmoid", return_sequences=True, input_shape=(5, 3)),
            L.GRU(3, recurrent_activation="sigmoid", reset_after=True, go_backwards=True, return_sequences=True),
            L.SimpleRNN(3), L.Dense(2)]


def unrolled():
    return [L.LSTM(4, recurrent_activation="sigmoid", unroll=True, dropout=.3, implementation=2, input_shape=(5, 3)),
            L.Dense(2)]


def both_ways():
    return [L.Bidirectional(L.CuDNNGRU(3, return_sequences=True), input_shape=(5, 3)), L.CuDNNLSTM(4), L.Dense(2)]


def stateful():
    return [L.GRU(4, recurrent_activation="sigmoid", reset_after=True, stateful=True,
                  batch_input_shape=(2, 5, 3)), L.Dense(2)]


def words():
    return [L.Embedding(7, 3, input_length=5), L.LSTM(4, recurrent_activation="sigmoid", kernel_regularizer="l2",
                                                       recurrent_constraint="max_norm"), L.Dense(2)]


MODELS = {m.__name__: m for m in (stacked, unrolled, both_ways, stateful, words)}


def history(kind):
    """Losses of a fit, predictions and weights."""
    K.clear_session()
    np.random.seed(0)
    model = Sequential(MODELS[kind]())
    model.compile("adam", "mse")
    rng = np.random.default_rng(0)
    x = rng.integers(0, 7, (4, 5)) if kind == "words" else rng.standard_normal((4, 5, 3)).astype("float32")
    y = rng.standard_normal((4, 2)).astype("float32")
    losses = model.fit(x, y, batch_size=2, epochs=2, verbose=0, shuffle=False).history["loss"]
    if kind == "stateful":
        model.reset_states()
    return losses, model.predict(x, batch_size=2), model.get_weights()


def numpy_on(device):
    """The library in numpy, on a simulated GPU's memory."""
    if PTX:
        pytest.skip("the library in numpy works on the memory of the simulator")
    return NumpyRecurrent(device.view)


@pytest.mark.parametrize("kind", MODELS)
def test_models_train_as_on_the_cpu_and_as_without_the_library(kind, device, monkeypatch, request):
    want = history(kind)
    monkeypatch.setenv("GRAPHK_EXECUTOR", "interp")
    runs = [history(kind)]
    monkeypatch.delenv("GRAPHK_EXECUTOR")
    request.getfixturevalue("on_device")
    told = numpy_on(device) if SIMULATED else device.recurrent
    for there in (told, None):
        monkeypatch.setattr(device, "recurrent", there)
        runs.append(history(kind))
    for losses, predicted, weights in runs:
        np.testing.assert_allclose(losses, want[0], rtol=1e-4)
        for a, b in zip([predicted, *weights], [want[1], *want[2]], strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5)
    if SIMULATED:
        ways = {(w.training, w.gradient) for w in told.asked}
        assert ways == {(True, False), (False, True), (False, False)}
        assert len({w.form for w in told.asked}) == {"stacked": 3, "both_ways": 2}.get(kind, 1)


# ------------------------------------------------------------------ what is told, refused, set
def test_the_log_says_what_computes_each_layer(lent, monkeypatch):
    said = []
    monkeypatch.setattr(library, "WATCHERS", [said.append])
    x = L.Input((3, 3))
    known, unknown = L.LSTM(4, recurrent_activation="sigmoid", name="known", return_sequences=True), L.LSTM(
        4, recurrent_activation="hard_sigmoid", name="unknown")
    graph = Graph((x.node,), (unknown(known(x)).node,))
    exe = run(graph, arrays_for(graph), lent, phase=0)
    name = lent.recurrent.name
    lines = [f"lstm_forward of known: {name}: LSTM of 4 units on 3 features, 1 biases a gate, 3 steps of 2 samples",
             "loop of unknown: graphk's steps: its recurrent activation is hard_sigmoid; a library has sigmoid"]
    assert [line for line in said if not line.startswith("dot")] == lines == exe.layers.lines({"n": 2})


@pytest.mark.skipif(not SIMULATED, reason="the simulator's library can be told to refuse")
def test_a_layer_that_the_library_refuses_is_a_loop(lent, monkeypatch):
    x = L.Input((3, 3))
    layer = filled_by(x, "gru")
    graph = Graph((x.node,), (layer(x).node,))

    def refuse(form, tf32):
        raise Refused("not today")
    monkeypatch.setattr(lent.recurrent, "take", refuse)
    exe = run(graph, arrays_for(graph), lent, phase=0)
    assert not exe.layers.steps and exe.layers.scratch({"n": 2}) == 0
    assert exe.layers.lines({"n": 2}) == [
        f"loop of {layer.name}: graphk's steps: {lent.recurrent.name} refused GRU of 4 units on 3 features, 2 biases a "
        "gate: not today"]


def filled_by(x, name):
    layer = LAYERS[name]()
    layer(x)
    return filled(layer)


def test_a_program_for_a_library_needs_it(device):
    from graphk.runtime.device_sim import SimDevice
    x = L.Input((3, 3))
    graph = Graph((x.node,), (LAYERS["lstm"]()(x).node,))
    result = run_passes(graph, 0, refuses=lambda form: "")
    with pytest.raises(DeviceError, match="calls a library for recurrent layers, which simulator does not have"):
        GpuExecutable(result, {v: variable_of(v).array for v in graph.variables()}, SimDevice())


@pytest.mark.skipif(not SIMULATED, reason="looks at what the simulator's library was asked for")
@pytest.mark.parametrize("on", [False, True])
def test_the_setting_tf32_holds_for_layers(on, on_device, monkeypatch):
    told = numpy_on(on_device)
    monkeypatch.setattr(on_device, "recurrent", told)
    before = config.get("tf32")
    config.put("tf32", on)
    try:
        Sequential([L.SimpleRNN(3, input_shape=(4, 2))]).predict(np.ones((2, 4, 2), "f"))
    finally:
        config.put("tf32", before)
    assert [w.tf32 for w in told.asked if w.samples] and {w.tf32 for w in told.asked} == {on}


@pytest.mark.skipif(not SIMULATED, reason="counts what the simulator's library was asked for")
def test_mixed_precision_keeps_graphks_steps(on_device, monkeypatch):
    """Which round what they multiply: a library's layer would not."""
    told = numpy_on(on_device)
    monkeypatch.setattr(on_device, "recurrent", told)
    model = Sequential([L.LSTM(3, recurrent_activation="sigmoid", input_shape=(4, 2)), L.Dense(1)])
    model.compile("sgd", "mse", mixed_precision="bfloat16")
    said = []
    monkeypatch.setattr(library, "WATCHERS", [said.append])
    model.train_on_batch(np.ones((2, 4, 2)), np.ones((2, 1)))
    assert not told.asked
    name = model.layers[0].name
    assert said == [f"loop of {name}: graphk's steps: mixed precision rounds what its steps multiply to bfloat16"]


def test_what_is_shown_of_a_layer(on_device, monkeypatch):
    """Costs of its products, no code; where the processor is shown, the loop that it would run."""
    from graphk.inspection import cost, kernel, memory, profile
    if SIMULATED:
        monkeypatch.setattr(on_device, "recurrent", numpy_on(on_device))
    elif on_device.recurrent is None:
        pytest.skip("cuDNN is not installed")
    model = Sequential([L.LSTM(4, recurrent_activation="sigmoid", input_shape=(3, 5), name="steps"), L.Dense(2)])
    model.compile("sgd", "mse")
    assert "lstm_gradient" in str(profile(model, batch=2, phase="train"))
    step, = (line for line in str(cost(model, batch=2, phase="predict")).splitlines() if "lstm_forward" in line)
    flops = 2 * 3 * 2 * 4 * 4 * (5 + 4)
    assert f"{flops / 1000:.2f} k" in step and step.rstrip().endswith("steps"), step
    assert "# no loops: library(lstm, one, forward) of the device computes it" in str(kernel(model, "lstm_forward"))
    with pytest.raises(ValueError, match="there is no kernel 'lstm_forward'"):
        kernel(model, "lstm_forward", "text", target="cpu")
    assert "slice_sigmoid_mul_tanh_add" in str(kernel(model, "steps", "text", target="cpu"))
    assert str(memory(model, target="cpu")) != str(memory(model))


def test_a_program_of_calls_is_none_for_a_processor():
    from graphk.runtime.compile import Executable
    x = L.Input((3, 3))
    graph = Graph((x.node,), (LAYERS["lstm"]()(x).node,))
    state = {v: variable_of(v).array for v in graph.variables()}
    with pytest.raises(RuntimeError, match="whose library computes `lstm_forward`; compile its graph for the CPU"):
        Executable(run_passes(graph, 0, refuses=lambda form: ""), state)([np.ones((1, 3, 3), "f")])


@pytest.mark.skipif(not SIMULATED, reason="two simulated GPUs")
def test_layers_on_several_devices(monkeypatch):
    """The way there and the way back are parts of one program, or each is whole."""
    import graphk
    from graphk.runtime.device import device as named
    inputs = [np.random.default_rng(0).standard_normal((2, 4, 3)).astype("f"), np.ones((2, 1), "f")]

    def losses(first, second):
        K.clear_session()
        np.random.seed(0)
        x = L.Input((4, 3))
        with graphk.device_scope(first):
            h = L.LSTM(3, recurrent_activation="sigmoid", return_sequences=True)(x)
        with graphk.device_scope(second):
            y = L.Dense(1)(L.GRU(2, recurrent_activation="sigmoid", reset_after=True)(h))
        model = Model(x, y)
        model.compile("sgd", "mse")
        return [model.train_on_batch(*inputs) for _ in range(2)]
    want = losses("cpu", "cpu")
    told = []
    for name in ("simulator", "simulator:1"):
        on = named(name)
        told.append(numpy_on(on))
        monkeypatch.setattr(on, "recurrent", told[-1])
    np.testing.assert_allclose(losses("simulator", "simulator:1"), want, rtol=1e-4)
    assert all(any(w.gradient for w in t.asked) for t in told)
    K.clear_session()
    gc.collect()                                             # nodes that have a device, before others share them


# ------------------------------------------------------------------ cuDNN's own words
@pytest.fixture
def fake(lent):
    if not hasattr(lent, "fake"):
        pytest.skip("asks the cuDNN in Python")
    return lent


def test_weights_that_lie_elsewhere_are_refused(fake):
    form = Form("lstm", 3, 4, 1)
    assert fake.recurrent.refusal(form, False) == ""
    fake.fake.moved = 64
    assert fake.recurrent.refusal(form, False).startswith(
        "cuDNN refused LSTM of 4 units on 3 features, 1 biases a gate: matrix and bias 0 lie at [(64, (4, 3)), (")
    fake.fake.moved, fake.fake.refuse = 0, True
    assert fake.recurrent.refusal(Form("gru", 3, 4, 2), False) == (
        "cuDNN refused GRU of 4 units on 3 features, 2 biases a gate: cudnnSetRNNDescriptor_v8: CUDNN_STATUS_2000")
    kinds = [d["kind"] for d in fake.fake.alive.values()]
    assert kinds.count("layer") == 1, "a descriptor that was refused is destroyed"
    assert kinds.count("states") == 0, "those of weights are, too"


def test_tensor_cores_only_where_tf32_is_allowed(fake):
    for tf32 in (False, True):
        assert fake.recurrent.refusal(Form("tanh", 3, 4, 1), tf32) == ""
    assert fake.fake.math == [3, 0]


def test_nothing_is_made_while_a_stream_is_captured_and_no_descriptor_twice(fake):
    x = L.Input((3, 3))
    layer = filled_by(x, "lstm")
    graph = graph_of([x], [layer(x)], layer.weights)
    exe = run(graph, arrays_for(graph), fake)
    before = len(fake.fake.alive)
    exe.release()
    exe(arrays_for(graph))
    assert len(fake.fake.alive) == before


def test_what_cudnn_fails_at_is_named(fake):
    what = Recurrent(Form("lstm", 3, 4, 1), 3, 2)
    fake.fake.cudnnGetRNNTempSpaceSizes = lambda *args: 4000
    with pytest.raises(DeviceError, match=r"cudnnGetRNNTempSpaceSizes failed: CUDNN_STATUS_4000 \(4000\)"):
        fake.recurrent.needs(what)


def test_libraries_of_products_beside(device, lent):
    """Products outside the layers are still the other library's."""
    if SIMULATED and not hasattr(lent, "fake"):
        from graphk.runtime.library_sim import NumpyLibrary
        lent.libraries = dict.fromkeys((Product, Convolution), NumpyLibrary(lent.view))
    x = L.Input((3, 3))
    layer = filled_by(x, "tanh")
    dense = L.Dense(5)
    y = dense(layer(x))
    graph = graph_of([x], [y], [*layer.weights, *dense.weights])
    exe = run(graph, arrays_for(graph), lent)
    assert len(exe.layers.steps) == 2 and exe.calls is not None

