"""Recurrent layers as one node: the loops they stand for, calls of a library that compute the same, and reasons."""
import itertools

import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.frontend.tensor import variable_of
from graphk.ir.interp import run_full
from graphk.ir.node import Graph
from graphk.ir.ops.recurrent import Form
from graphk.ir.text import parse_graph, parse_program, print_graph
from graphk.ir.verify import verify_graph
from graphk.passes.pipeline import run_passes
from graphk.passes.recurrent import has_recurrences, recurrent
from graphk.passes.specialize import specialize

LAYERS = {
    "lstm": lambda **k: L.LSTM(4, recurrent_activation="sigmoid", **k),
    "lstm without bias": lambda **k: L.LSTM(4, recurrent_activation="sigmoid", use_bias=False, **k),
    "gru": lambda **k: L.GRU(4, recurrent_activation="sigmoid", reset_after=True, **k),
    "gru without bias": lambda **k: L.GRU(4, recurrent_activation="sigmoid", reset_after=True, use_bias=False, **k),
    "tanh": lambda **k: L.SimpleRNN(4, **k),
    "relu": lambda **k: L.SimpleRNN(4, activation="relu", **k),
    "cudnn lstm": lambda **k: L.CuDNNLSTM(4, **k),
    "cudnn gru": lambda **k: L.CuDNNGRU(4, **k),
    "a cell": lambda **k: L.RNN(L.LSTMCell(4, recurrent_activation="sigmoid"), **k),
}
OPTIONS = [dict(zip(("return_sequences", "go_backwards", "unroll"), on)) for on in itertools.product([False, True],
                                                                                                     repeat=3)]


def filled(layer, seed=0):
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.uniform(-1, 1, w.shape) for w in layer.get_weights()])
    return layer


def graph_of(x, outputs, weights, seeds=()):
    """Outputs, a loss over them, and its gradients by inputs and weights."""
    loss = sum((K.sum(K.square(y) * (i + 2.)) for i, y in enumerate(outputs)), K.constant(0.))
    grads = K.gradients(loss, [*x, *weights])
    return Graph(tuple(i.node for i in x), tuple(t.node for t in (*outputs, loss, *grads)))


def arrays_for(graph, seed=1, **sizes):
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, [sizes.get(str(d), d if isinstance(d, int) else 2) for d in n.shape]).astype("float32")
            for n in graph.inputs]


def ops(graph):
    return [n.op.name for n in graph.nodes()]


def compare(graph, arrays, calls=1, tol=1e-5):
    """What calls compute is what loops do; both are what the enclosed steps do; the graph of calls."""
    state = {v: variable_of(v).array for v in graph.variables()}
    one_phase = specialize(graph, 1)
    want, updates = run_full(one_phase, arrays, state, 1)
    loops, notes = recurrent(one_phase)
    assert not notes and not has_recurrences(loops) and not {"rnn", "rnn_gradient"} & set(ops(loops))
    called, notes = recurrent(one_phase, lambda form: "")
    assert not notes and not has_recurrences(called) and "scan" not in ops(called)
    assert ops(called).count("rnn") == ops(called).count("rnn_gradient") == calls
    for new in (loops, called):
        verify_graph(new)
        got, written = run_full(new, arrays, state, 1)
        assert list(written) == list(updates)
        for a, b in zip([*got, *written.values()], [*want, *updates.values()], strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=tol, atol=tol)
    return called


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: ",".join(k for k, on in o.items() if on) or "plain")
@pytest.mark.parametrize("name", LAYERS)
def test_a_call_computes_what_the_steps_do(name, options):
    if name.startswith("cudnn") and options["unroll"]:
        options = {**options, "unroll": False}
    layer = LAYERS[name](**options)
    x = L.Input((5, 3))
    y = layer(x)
    filled(layer)
    graph = graph_of([x], [y], layer.weights)
    compare(graph, arrays_for(graph))
    again = parse_graph(print_graph(graph))
    assert has_recurrences(again) and print_graph(again) == print_graph(graph)
    program = run_passes(graph, 1, refuses=lambda form: "").program
    assert str(parse_program(str(program))) == str(program)


@pytest.mark.parametrize("name", ["lstm", "gru", "tanh"])
def test_states_given_kept_and_returned(name):
    """States that layers made, that a stateful layer keeps, and those returned; gradients flow into all."""
    layer = LAYERS[name](return_state=True, return_sequences=True)
    x = L.Input((None, 3))
    first = [L.Input((4,)) for _ in range(2 if name == "lstm" else 1)]
    outs = layer(x, initial_state=first)
    filled(layer)
    graph = graph_of([x, *first], outs, layer.weights)
    compare(graph, arrays_for(graph))
    stateful = LAYERS[name](stateful=True, go_backwards=True)
    x = L.Input(batch_shape=(2, 5, 3))
    y = stateful(x)
    filled(stateful)
    K.batch_set_value([(v, np.full(v.shape, .3)) for v in stateful.states])
    graph = graph_of([x], [y], stateful.weights)
    graph = Graph(graph.inputs, graph.outputs, tuple((u.variable.node, u.value.node) for u in stateful.updates))
    compare(graph, arrays_for(graph))


def test_one_sequence_and_state_in_several_roles():
    """Both states are one value, made of the sequence: each receives the sum of its gradients."""
    layer = LAYERS["lstm"]()
    x = L.Input((4, 3))
    h = L.Lambda(lambda v: K.concatenate([v[:, 0], v[:, 1, :1]], axis=-1))(x)
    y = layer(x, initial_state=[h, h])
    filled(layer)
    graph = graph_of([x], [y], layer.weights)
    compare(graph, arrays_for(graph))


def test_layers_above_each_other_and_shared_ones():
    one, two = LAYERS["lstm"](return_sequences=True), LAYERS["gru"](return_sequences=True, go_backwards=True)
    x, z = L.Input((None, 3)), L.Input((None, 3))
    outs = [two(one(v)) for v in (x, z)]
    for layer in (one, two):
        filled(layer)
    graph = graph_of([x, z], outs, [*one.weights, *two.weights])
    called = compare(graph, arrays_for(graph), calls=4)
    program = run_passes(called, 1).program
    above = [s for s in program.steps if getattr(s, "kernel", None) and s.kernel.label == "gru_training"]
    assert len(above) == 2


def test_bidirectional_layers_and_dropout_of_inputs():
    layer = L.Bidirectional(L.LSTM(4, recurrent_activation="sigmoid", dropout=.4, implementation=2,
                                   return_sequences=True))
    x = L.Input((4, 3))
    y = layer(x)
    filled(layer)
    graph = graph_of([x], [y], layer.weights)
    compare(graph, arrays_for(graph), calls=2)


def test_gradients_of_several_losses_have_calls_of_their_own():
    """A library's way back uses up what the way there kept."""
    layer = LAYERS["gru"]()
    x = L.Input((4, 3))
    y = layer(x)
    filled(layer)
    losses = [K.sum(y), K.sum(K.square(y))]
    grads = [g for loss in losses for g in K.gradients(loss, layer.weights)]
    graph = Graph((x.node,), tuple(t.node for t in (y, *grads)))
    compare(graph, arrays_for(graph), calls=2)


def test_gradients_of_gradients_are_loops():
    layer = LAYERS["lstm"]()
    x = L.Input((3, 2))
    y = layer(x)
    filled(layer)
    first, = K.gradients(K.sum(y), [x])
    second, = K.gradients(K.sum(K.square(first)), [x])
    graph = Graph((x.node,), (first.node, second.node))
    arrays = arrays_for(graph)
    state = {v: variable_of(v).array for v in graph.variables()}
    want, _ = run_full(graph, arrays, state, 0)
    called, _ = recurrent(specialize(graph, 0), lambda form: "")
    got, _ = run_full(called, arrays, state, 0)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    h = 1e-3
    for at in [(0, 0, 0), (1, 2, 1)]:
        moved = []
        for sign in (1, -1):
            a = arrays[0].copy()
            a[at] += sign * h
            moved.append(np.square(run_full(graph, [a], state, 0)[0][0]).sum())
        assert abs((moved[0] - moved[1]) / (2 * h) - want[1][at]) < 2e-2 * max(1, np.abs(want[1]).max())


def test_a_layer_without_gradient_is_not_trained():
    x = L.Input((4, 3))
    graph = specialize(Graph((x.node,), (LAYERS["lstm"]()(x).node,)), 0)
    call, = (n for n in recurrent(graph, lambda form: "")[0].nodes() if n.op.name == "rnn")
    assert call.attr("training") == 0 and len(call.type.items) == 3


def test_weights_in_cudnns_order_are_not_turned():
    x = L.Input((4, 3))
    graph = specialize(Graph((x.node,), (LAYERS["cudnn lstm"]()(x).node,)), 0)
    assert ops(recurrent(graph, lambda form: "")[0]).count("transpose") == 1, "that of the sequence"


def reason(layer, x=None, *, build=None):
    x = L.Input((4, 3)) if x is None else x
    y = build(layer, x) if build else layer(x)
    graph = specialize(Graph((x.node,), (y.node,)), 1)
    out, notes = recurrent(graph, lambda form: "")
    assert "rnn" not in ops(out)
    note, = notes
    return note


class OwnStep(L.LSTMCell):
    def advance(self, projected, states, training=None):
        return super().advance(projected, states, training)


REFUSED = {
    "its recurrent activation is hard_sigmoid; a library has sigmoid":
        lambda: L.LSTM(4, recurrent_activation="hard_sigmoid"),
    "its activation is relu; a library has tanh": lambda: L.GRU(4, activation="relu", reset_after=True),
    "its activation is sigmoid; a library has tanh or relu": lambda: L.SimpleRNN(4, activation="sigmoid"),
    "it drops out states": lambda: L.LSTM(4, recurrent_activation="sigmoid", recurrent_dropout=.5),
    "it drops out inputs for each gate (implementation=1)":
        lambda: L.LSTM(4, recurrent_activation="sigmoid", dropout=.5, implementation=1),
    "its reset gate multiplies states before their product (reset_after=False)":
        lambda: L.GRU(4, recurrent_activation="sigmoid", reset_after=False),
    "the steps of StackedRNNCells are none that a library has": lambda: L.RNN([L.LSTMCell(4), L.LSTMCell(3)]),
    "the steps of OwnStep are none that a library has": lambda: L.RNN(OwnStep(4)),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_no_library_computes_is_a_loop_and_says_why(why):
    layer = REFUSED[why]()
    assert reason(layer) == f"loop of {layer.name}: graphk's steps: {why}"


def test_masks_functions_and_loops_in_loops():
    masked = reason(L.LSTM(4, recurrent_activation="sigmoid"), build=lambda layer, x: layer(L.Masking()(x)))
    assert masked.endswith("graphk's steps: it has a mask")

    def step(x, states):
        return x + states[0], [x + states[0]]
    own = reason(None, build=lambda _, x: K.rnn(step, x, [K.zeros_like(x[:, 0])])[0])
    assert own == "loop: graphk's steps: its steps are a function of the program's"
    inner = LAYERS["lstm"]()
    x = L.Input((2, 4, 3))
    y = K.map_fn(inner, x)
    graph = specialize(Graph((x.node,), (y.node,)), 0)
    assert not has_recurrences(graph), "a loop inside a loop is a loop"


def test_a_librarys_refusal_and_other_types():
    layer = LAYERS["lstm"]()
    x = L.Input((4, 3))
    graph = specialize(Graph((x.node,), (layer(x).node,)), 0)
    asked = []
    out, notes = recurrent(graph, lambda form: asked.append(form) or "not today")
    assert asked == [Form("lstm", 3, 4, 1)] and "scan" in ops(out)
    assert notes == (f"loop of {layer.name}: graphk's steps: not today",)
    wide = L.Input((4, 3), dtype="float64")
    layer = LAYERS["tanh"](dtype="float64")
    graph = specialize(Graph((wide.node,), (layer(wide).node,)), 0)
    assert recurrent(graph, lambda form: "")[1] == (
        f"loop of {layer.name}: graphk's steps: a library computes float32, not float64",)


@pytest.mark.parametrize("cell, biases", [*itertools.product(["lstm", "gru", "tanh", "relu"], [0, 1, 2])])
def test_the_models_way_back_is_its_way_there_differentiated(cell, biases):
    """Central differences in float64, by everything that goes in."""
    from graphk.ir.ops.recurrent import STATES, backward, forward
    rng = np.random.default_rng(3)
    form = Form(cell, 3, 2, biases)
    args = [rng.uniform(-1, 1, s) for s in ((4, 2, 3), (form.size,), *[(2, 2)] * STATES[cell])]

    def loss(x, w, *first):
        y, last, _ = forward(cell, biases, x, w, first)
        return sum((v * weights).sum() for v, weights in zip([y, *last], seeds))
    y, last, saved = forward(cell, biases, args[0], args[1], args[2:])
    seeds = [rng.uniform(-1, 1, v.shape) for v in (y, *last)]
    dx, dw, first = backward(cell, biases, args[0], args[1], y, args[2:], saved, seeds[0], seeds[1:])
    for a, d in zip(args, [dx, dw, *first], strict=True):
        for at in rng.integers(0, a.size, 12):
            old, h = a.flat[at], 1e-6
            a.flat[at] = old + h
            up = loss(*args)
            a.flat[at] = old - h
            down = loss(*args)
            a.flat[at] = old
            assert abs((up - down) / (2 * h) - d.flat[at]) < 1e-6
