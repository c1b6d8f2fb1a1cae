"""Layers on devices of their own: the same numbers as on one."""
import doctest

import numpy as np
import pytest

import graphk
from graphk import backend as K
from graphk import layers as L
from graphk.codegen.cuda_compile import CudaMissing
from graphk.frontend import config, scopes
from graphk.ir.interp import run_full
from graphk.ir.node import Graph
from graphk.models import Model, Sequential, load_model
from graphk.passes.place import is_placed, parts_of
from graphk.runtime.device import DeviceError
from graphk.runtime.device import device as named

RANDOM = np.random.RandomState(0)
X, Y = RANDOM.rand(4, 3).astype("float32"), RANDOM.rand(4, 2).astype("float32")
IDS = RANDOM.randint(0, 5, (4, 3))


class nowhere:
    def __init__(self, name):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass


def dense(scope):
    x = L.Input((3,))
    with scope("/simulator:0"):
        h = L.Dense(4, activation="tanh", kernel_regularizer="l2")(x)
    with scope("/simulator:1"):
        h = L.Dense(3, activation="relu")(h)
    with scope("/simulator:0"):                                # and back
        return Model(x, L.Dense(2)(h))


def branches(scope):
    x = L.Input((3,))
    with scope("simulator:0"):
        a = L.Dense(2, name="a")(x)
    with scope("simulator:1"):
        b = L.BatchNormalization()(L.Dense(2, name="b")(x))
    return Model(x, L.Dense(2)(L.add([a, b])))


def partly(scope):
    with scope("simulator:1"):
        return Sequential([L.Dense(4, input_shape=(3,)), L.Dropout(.5, seed=1), L.Dense(2)])


def recurrent(scope):
    x = L.Input((3,))
    with scope("simulator:0"):
        h = L.Embedding(5, 2, mask_zero=True)(x)
    with scope("simulator:1"):
        h = L.LSTM(2)(h)
    return Model(x, L.Dense(2)(h))


BUILT = {"dense": dense, "branches": branches, "partly": partly, "recurrent": recurrent}


def numbers(build, scope, optimizer, weights=None, **settings):
    """Losses of a fit, a prediction, an evaluation and the weights."""
    K.clear_session()
    np.random.seed(3)
    model = build(scope)
    model.compile(optimizer, "mse", metrics=["mae"], **settings)
    x = IDS if build is recurrent else X
    history = model.fit(x, Y, batch_size=3, epochs=2, shuffle=False, verbose=0).history      # 3 rows, and 1
    return history["loss"], model.predict(x), model.evaluate(x, Y, verbose=0), model.get_weights(), model


def close(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind, optimizer", [("dense", "sgd"), ("dense", "adam"), ("branches", "sgd"),
                                             ("partly", "sgd"), ("recurrent", "sgd")])
def test_scopes_change_no_number(kind, optimizer):
    want = numbers(BUILT[kind], nowhere, optimizer)
    got = numbers(BUILT[kind], graphk.device_scope, optimizer)
    for a, b in zip(got[:2], want[:2]):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    close(got[2], want[2])
    close(got[3], want[3])
    assert "simulator:1" in got[4].train_function.executable(1).name


def test_clipping_and_scaling_see_all_gradients():
    from graphk.optimizers import SGD
    for settings in ({}, {"mixed_precision": "float16", "loss_scale": "dynamic"}):
        want = numbers(dense, nowhere, SGD(.1, clipnorm=.01), **settings)
        got = numbers(dense, graphk.device_scope, SGD(.1, clipnorm=.01), **settings)
        close(got[3], want[3])


def test_each_part_is_on_its_device_and_weights_stay_there():
    *_, model = numbers(dense, graphk.device_scope, "sgd")
    parts = model.train_function.executable(1).parts
    assert {p.device for p in parts} == {"simulator", "simulator:1", "cpu"}           # cpu: the number of steps
    read = {v.attr("name"): p.device for p in parts for v in p.graph.variables() if "dense" in v.attr("name")}
    assert {device for name, device in read.items() if "dense_2" in name} == {"simulator:1"}
    x, y = X[:3], Y[:3]
    model.train_on_batch(x, y)
    one, other = named("simulator"), named("simulator:1")
    before = other.uploads, other.downloads, other.fetches, one.downloads
    model.train_on_batch(x, y)
    inputs = sum(n in model.train_function.executable(1).graph.inputs for p in parts if p.device == "simulator:1"
                 for n in p.takes)
    given = {n for p in parts if p.device == "simulator" for n in p.gives}
    handed = sum(n in given for p in parts if p.device == "simulator:1" for n in p.takes)
    assert (other.uploads, other.downloads, other.fetches) == (before[0] + inputs, before[1], before[2] + handed)
    assert one.downloads == before[3] + 2 and handed           # the loss and the metric alone reach the host


def test_parts_compute_what_the_graph_does():
    with graphk.device_scope("simulator:1"):
        v, w = K.variable([1., 2.]), K.variable([5., 7.])
        a = K.placeholder((None, 2))
        b = a * v
    c = K.exp(b) + w
    with graphk.device_scope("simulator:2"):
        d = c * v + K.cast(K.shape(a)[0], "float32")
    f = K.function([a], [d, b, a, v], [(v, v * 2. + K.sum(b)), (w, v + 1.)])
    assert is_placed(f._graph)
    graph, parts = parts_of(f._graph, 0, "cpu")
    x = np.array([[1., 2.], [3., 4.], [5., 6.]], "float32")
    arrays = {n: K.get_value(var) for n, var in ((v.node, v), (w.node, w))}
    want, updates = run_full(f._graph, [x], arrays, 0)
    written = set()
    for p in parts:                                            # each only once nobody reads it any more
        assert not written & set(p.graph.nodes())
        written |= {variable for variable, _ in p.graph.updates}
    close(f([x]), want)
    close([K.get_value(v), K.get_value(w)], [updates[v.node], updates[w.node]])


def test_a_number_that_was_first_written_in_a_scope_takes_no_one_else_there():
    """Equal constants are one node, whose origin is the first one's."""
    x, y = K.placeholder((None, 2)), K.placeholder((None, 2))
    with graphk.device_scope("/simulator:0"):
        there = x * 17.25 + K.ones((2,)) * 3.5
    other = K.function([y], [y * 17.25 + K.ones((2,)) * 3.5])
    assert is_placed(K.function([x], [there])._graph) and not is_placed(other._graph)
    both = Graph((x.node, y.node), (there.node, (y * 17.25).node))
    assert {p.device: len(p.gives) for p in parts_of(both, 0, "cpu")[1]} == {"simulator": 1, "cpu": 1}


def test_without_scopes_nothing_is_cut():
    x = K.placeholder((None, 2))
    assert not is_placed(K.function([x], [x * 2])._graph)
    with graphk.device_scope("/cpu:0"):
        f = K.function([x], [K.tanh(x)])
    assert f([[[0., 0.]]])[0].tolist() == [[0., 0.]] and f.executable(0).name == "cpu"


def test_names_and_devices_that_are_not_there():
    for name, want in (("/gpu:0", "gpu:0"), ("/device:GPU:1", "gpu:1"), ("cpu:1", "cpu"), ("simulator:0", "simulator"),
                       ("/simulator:3", "simulator:3")):
        assert graphk.device_scope(name).value.device == want
    with pytest.raises(ValueError, match="device_scope: unknown value of device: 'tpu:0'"):
        graphk.device_scope("/tpu:0")
    x = K.placeholder((2,))
    with graphk.device_scope("/gpu:7"):
        y = K.exp(x)
    with pytest.raises((DeviceError, CudaMissing)):
        K.function([x], [y])([[1., 2.]])


def test_examples_run():
    assert doctest.testmod(scopes).failed == 0


def test_a_saved_model_runs_where_it_is_loaded(tmp_path):
    *_, model = numbers(dense, graphk.device_scope, "sgd")
    model.save(str(tmp_path / "model.h5"))
    again = load_model(str(tmp_path / "model.h5"))
    close([again.predict(X)], [model.predict(X)])
    assert not hasattr(again.predict_function.executable(0), "parts")


@pytest.mark.parametrize("default, other", [("cpu", "simulator"), ("simulator", "cpu:0"), ("simulator:1", "simulator")])
def test_a_variable_that_another_gets_is_read_before_it_is_written(default, other):
    a, b = K.variable(1.), K.variable(10.)
    with graphk.device_scope(other):
        twice = a * 2.
    config.put("device", default)
    try:
        K.function([], [], [(a, b), (b, twice)])([])
    finally:
        config.put("device", "cpu")
    assert (K.get_value(a), K.get_value(b)) == (10., 2.)
