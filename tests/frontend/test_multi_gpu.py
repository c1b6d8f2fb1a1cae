"""Models whose batches are split among replicas."""
import doctest

import numpy as np
import pytest

import graphk
from graphk import backend as K
from graphk import layers as L
from graphk.frontend.engine import split_step
from graphk.frontend.utils import multi_gpu
from graphk.inspection.subjects import subjects_of
from graphk.models import Model, Sequential, clone_model, load_model
from graphk.runtime import device_cuda
from graphk.runtime.device import device as named
from graphk.utils import multi_gpu_model
from graphk.utils.multi_gpu_utils import multi_gpu_model as same


def model():
    a, b = L.Input((4,)), L.Input((3,))
    return Model([a, b], [L.Dense(2, name="p")(L.concatenate([a, b])), L.Dense(1, name="q")(b)])


@pytest.mark.parametrize("replicas", [2, 3])
def test_replicas_share_the_weights(replicas):
    single = model()
    several = multi_gpu_model(single, [f"/cpu:{i}" for i in range(replicas)])
    assert several.output_names == single.output_names and several.count_params() == single.count_params()
    assert several.output_shape == [(None, 2), (None, 1)] and same is multi_gpu_model
    random = np.random.RandomState(0)
    for rows in (1, 2, 7, 8):                                   # also fewer rows than replicas
        x = [random.rand(rows, 4), random.rand(rows, 3)]
        for mine, want in zip(several.predict(x), single.predict(x)):
            np.testing.assert_allclose(mine, want, rtol=1e-5)
    twin = model()
    twin.set_weights(single.get_weights())
    y = [np.ones((8, 2)), np.ones((8, 1))]
    for m in (several, twin):
        m.compile("sgd", "mse")
        m.fit(x, y, batch_size=5, epochs=2, shuffle=False, verbose=0)
    for mine, want in zip(single.get_weights(), twin.get_weights()):
        np.testing.assert_allclose(mine, want, rtol=1e-4, atol=1e-6)


SIMULATORS = ["simulator:0", "/simulator:1"]


def trained(m, rows=6, epochs=2):
    random = np.random.RandomState(1)
    x, y = random.rand(rows, 4).astype("float32"), random.rand(rows, 2).astype("float32")
    history = m.fit(x, y, batch_size=rows // 2, epochs=epochs, verbose=0, shuffle=False,
                    validation_data=(x, y)).history
    return history, m.predict(x), m.evaluate(x, y, verbose=0)


def net(weights=None):
    m = Sequential([L.Dense(3, activation="tanh", input_shape=(4,), kernel_regularizer="l2"), L.Dense(2)])
    if weights is not None:
        m.set_weights(weights)
    return m


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_replicas_on_two_devices_train_as_one_model_does(optimizer):
    single, twin = net(), None
    twin = net(single.get_weights())
    several = multi_gpu_model(single, SIMULATORS)
    for m in (several, twin):
        m.compile(optimizer, "mse", metrics=["mae"])
    got, want = trained(several), trained(twin)
    for name in want[0]:
        np.testing.assert_allclose(got[0][name], want[0][name], rtol=1e-4)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-4)
    np.testing.assert_allclose(got[2], want[2], rtol=1e-4)
    devices = [f.executable(1).device.name for f in several.train_function.replicas.functions.values()]
    assert devices == ["simulator", "simulator:1"]
    for mine, theirs in zip(single.get_weights(), twin.get_weights()):     # the template has the trained weights
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


def test_the_template_predicts_on_the_host_and_is_saved_with_what_devices_trained(tmp_path):
    single = net()
    several = multi_gpu_model(single, SIMULATORS)
    several.compile("sgd", "mse")
    x = np.ones((4, 4), "float32")
    first = single.predict(x)                                      # compiled for the host before devices write
    several.train_on_batch(x, np.ones((4, 2), "float32"))
    second = single.predict(x)
    assert not np.allclose(first, second)
    np.testing.assert_allclose(second, several.predict(x), rtol=1e-5)
    single.compile("sgd", "mse")
    single.train_on_batch(x, np.ones((4, 2), "float32"))           # the host writes, and devices learn of it
    np.testing.assert_allclose(single.predict(x), several.predict(x), rtol=1e-5)
    assert not np.allclose(second, single.predict(x))
    single.save(str(tmp_path / "single.h5"))
    np.testing.assert_allclose(load_model(str(tmp_path / "single.h5")).predict(x), single.predict(x), rtol=1e-5)


def test_weights_travel_only_from_the_device_that_updates_to_the_others():
    several = multi_gpu_model(net(), SIMULATORS)
    several.compile("sgd", "mse")
    x, y = np.ones((4, 4), "float32"), np.ones((4, 2), "float32")
    several.train_on_batch(x, y)
    devices = [named(n) for n in ("simulator", "simulator:1")]
    before = [(d.uploads, d.downloads, d.fetches) for d in devices]
    several.train_on_batch(x, y)
    first, second = [(d.uploads - u, d.downloads - v, d.fetches - f) for d, (u, v, f) in zip(devices, before)]
    inputs, gradients, weights = 5, 4, 4                       # inputs: x, y, weights of rows, factors, share
    assert first == (inputs, 1, gradients)                     # 1: the loss; the other's gradients do not pass the host
    assert second == (inputs, 1, weights)
    several.get_weights()
    assert devices[0].downloads - before[0][1] == 1 + weights


def test_fewer_rows_than_devices_and_one_device_twice():
    for devices in ([*SIMULATORS, "simulator:2"], ["simulator:1", "simulator:1"], ["simulator:0", "cpu:0"]):
        single = net()
        twin, several = net(single.get_weights()), multi_gpu_model(single, devices)
        for m in (several, twin):
            m.compile("sgd", "mse")
        for rows in (1, 2, 5):
            x, y = np.ones((rows, 4), "float32"), np.ones((rows, 2), "float32")
            np.testing.assert_allclose(several.train_on_batch(x, y), twin.train_on_batch(x, y), rtol=1e-5)
        for mine, theirs in zip(single.get_weights(), twin.get_weights()):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-7)


def test_no_rows_give_no_rows():
    assert multi_gpu_model(net(), ["cpu:0", "cpu:1"]).predict_on_batch(np.ones((0, 4), "float32")).shape == (0, 2)


@pytest.mark.parametrize("size", [1, 4, 5, None])
def test_many_batches_are_predicted_one_after_another(size):
    several, x = multi_gpu_model(net(), ["cpu:0", "cpu:1"]), np.random.RandomState(0).rand(34, 4)
    want = several.predict_on_batch(x)
    for _ in range(2):
        np.testing.assert_allclose(several.predict(x, batch_size=size), want, rtol=1e-5, atol=1e-7)


def test_numbers_that_are_not_finite_are_found():
    several = multi_gpu_model(net(), SIMULATORS)
    several.compile("sgd", "mse")
    with graphk.debug(), pytest.raises(FloatingPointError, match="NaN"):
        several.train_on_batch(np.full((4, 4), np.nan, "float32"), np.ones((4, 2), "float32"))


def test_inputs_of_a_fixed_number_of_rows_are_refused():
    m = Sequential([L.Dense(2, batch_input_shape=(4, 3))])
    with pytest.raises(ValueError, match=r"splits batches, but the inputs .*\(4, 3\).* fixed number of samples"):
        multi_gpu_model(m, ["cpu:0", "cpu:1"])


def test_masks_reach_the_loss():
    single = Sequential([L.Masking(0., input_shape=(3, 2)), L.LSTM(3, return_sequences=True), L.Dense(1)])
    several = multi_gpu_model(single, ["cpu:0", "cpu:1"])
    twin = clone_model(single)
    twin.set_weights(single.get_weights())
    x, y = np.random.RandomState(0).rand(6, 3, 2).astype("float32"), np.ones((6, 3, 1), "float32")
    x[1, 1:] = x[5, 2:] = 0.
    for m in (several, twin):
        m.compile("sgd", "mse", metrics=["mae"])
    for _ in range(3):
        np.testing.assert_allclose(several.train_on_batch(x, y), twin.train_on_batch(x, y), rtol=1e-4)
    for mine, want in zip(single.get_weights(), twin.get_weights()):
        np.testing.assert_allclose(mine, want, rtol=1e-4, atol=1e-6)


def test_what_is_compiled_is_shown():
    several = multi_gpu_model(net(), ["cpu:0", "cpu:1"])
    several.compile("sgd", "mse", metrics=["mae"])
    assert [s.name for s in subjects_of(several)] == [
        "train_function_amounts", "train_function_of_slice", "train_function_update", "train_function_metrics",
        "test_function_amounts", "test_function_of_slice", "test_function_metrics", "predict_function_of_slice"]


def test_gpus_are_counted_and_named_by_number(monkeypatch):
    class Driver:
        @staticmethod
        def cuDeviceGetCount():                                    # noqa: N802 - the driver's name
            return 0, 2
    monkeypatch.setattr(device_cuda, "find_driver", lambda: Driver)
    assert K._get_available_gpus() == ["/device:GPU:0", "/device:GPU:1"]
    for gpus, want in ((None, ("gpu:0", "gpu:1")), (2, ("gpu:0", "gpu:1")), ([1, 0], ("gpu:1", "gpu:0")),
                       (["/gpu:1", "/cpu:0"], ("gpu:1", "cpu"))):
        assert multi_gpu_model(net(), gpus)._devices == want
    with pytest.raises(ValueError, match=r"expect the following devices to be available: .*'/gpu:2'\]. However this "
                                         r"machine only has: \['/cpu:0', '/gpu:0', '/gpu:1'\]"):
        multi_gpu_model(net(), 3)


def test_examples_run():
    for module in (multi_gpu, split_step):
        assert doctest.testmod(module).failed == 0


def test_relocation_replicates_a_copy():
    single = model()
    several = multi_gpu_model(single, ["cpu:0", "CPU:1"], cpu_relocation=True)
    several.set_weights([w + 1 for w in several.get_weights()])
    assert not any(np.allclose(a, b) for a, b in zip(single.get_weights(), several.get_weights()))


@pytest.mark.parametrize("gpus, words", [
    (None, r"`gpus >= 2`. Received: `gpus=0`"), (1, r"`gpus >= 2`. Received: `gpus=1`"),
    (["cpu:0"], r"`len\(gpus\) >= 2`"),
    (2, r"with `gpus=2`, we expect .* available: \['/cpu:0', '/gpu:0', '/gpu:1'\]. However .* only has: \['/cpu:0'\]"),
    ([0, 1], "Try reducing `gpus`, or name CPU replicas"), (["gpu:0", "cpu:1"], "only has")])
def test_devices_that_are_not_there(gpus, words):
    assert K._get_available_gpus() == []
    with pytest.raises(ValueError, match=words):
        multi_gpu_model(model(), gpus)
    with pytest.raises(TypeError, match="`gpus` of multi_gpu_model is a number, or a list .* received 'cpu:0'"):
        multi_gpu_model(model(), "cpu:0")


class Looks(graphk.callbacks.Callback):
    """Acts on batches, so that none begins before the one before is done."""

    def on_test_batch_end(self, batch, logs=None):
        pass

    def on_predict_batch_end(self, batch, logs=None):
        pass


def counted(monkeypatch):
    """The calls that devices were given ahead of the ones before."""
    begun, start = [], split_step.Replicas.start
    monkeypatch.setattr(split_step.Replicas, "start", lambda self, *args: begun.append(1) or start(self, *args))
    return begun


@pytest.mark.parametrize("devices", [SIMULATORS, ["simulator:1", "simulator:1"]])
@pytest.mark.parametrize("seed", range(2))
def test_batches_of_replicas_overlap_where_nothing_is_updated(devices, seed, monkeypatch):
    for i in (0, 1):
        named("simulator" + i * ":1").random.seed(seed)
    several, begun = multi_gpu_model(net(), devices), counted(monkeypatch)
    several.compile("sgd", "mse", metrics=["mae"])
    random = np.random.RandomState(seed)
    x, y = random.rand(9, 4).astype("float32"), random.rand(9, 2).astype("float32")

    def batches():
        rows = np.empty((2, 4), "float32"), np.empty((2, 2), "float32")        # the same arrays each time
        for i in (0, 2, 4, 6):
            rows[0][...], rows[1][...] = x[i:i + 2], y[i:i + 2]
            yield rows
    found = []
    for callbacks in ([Looks()], None):
        found.append([several.evaluate(x, y, batch_size=2, verbose=0, callbacks=callbacks),
                      several.evaluate_generator(batches(), 4, callbacks=callbacks, workers=0),
                      several.predict(x, batch_size=2, callbacks=callbacks),
                      several.predict_generator(batches(), 4, callbacks=callbacks, workers=0)])
        assert len(begun) == (0 if callbacks else 5 + 4 + 5 + 4)
    want, got = found
    assert got[:2] == want[:2]
    for a, b in zip(got[2:], want[2:]):
        np.testing.assert_array_equal(a, b)
    several.fit(x, y, verbose=0)
    assert len(begun) == 18                                    # steps do not


def test_batches_of_replicas_wait_for_each_other_where_the_next_one_reads_what_is_updated(monkeypatch):
    begun = counted(monkeypatch)
    x = L.Input((4,))
    drawn = Model(x, L.Lambda(lambda t: t + K.random_uniform(K.shape(t)))(x))
    for m, devices in ((drawn, SIMULATORS), (net(), ["simulator:0", "cpu:0"])):
        several = multi_gpu_model(m, devices)
        several.compile("sgd", "mse")
        several.predict(np.ones((6, 4)), batch_size=2)
        several.evaluate(np.ones((6, 4)), np.ones((6, several.output_shape[1])), batch_size=2, verbose=0)
    assert not begun
