"""Batches that are handed to a device while it computes the one before: the same bits, weights of whole steps."""
import numpy as np
import pytest

from graphk import backend as K
from graphk.callbacks import Callback, CallbackList, EarlyStopping, LambdaCallback, TerminateOnNaN
from graphk.frontend import config
from graphk.frontend.callbacks import BaseLogger, History, ProgbarLogger
from graphk.frontend.callbacks.base import patient
from graphk.passes.pipeline import run_passes
from graphk.runtime import overlap
from graphk.runtime.device import OutOfDeviceMemory
from graphk.runtime.device_sim import SimDevice
from graphk.runtime.gpu import GpuExecutable
from graphk.runtime.mirrors import current
from tests.gpu.conftest import PTX, SIMULATED
from tests.gpu.test_driver import made as on_fake_driver
from tests.gpu.test_models import MODELS, data, model
from tests.programs import mlp_train, values_for

pytestmark = pytest.mark.skipif(PTX, reason="whole fits, which take minutes on PTX in Python")

simulated = pytest.mark.skipif(not SIMULATED, reason="looks into the simulator")


class Looks(Callback):
    """A callback that looks at each batch, so that nothing overlaps."""

    def on_batch_end(self, batch, logs=None):
        pass

    def on_test_batch_end(self, batch, logs=None):
        pass

    def on_predict_batch_end(self, batch, logs=None):
        pass


def history(kind, looks, rows=7):
    """Losses of a fit whose last batch is smaller, an evaluation, a prediction and the weights."""
    x, y = data(kind, rows)
    callbacks = [Looks()] if looks else None
    made = model(kind)
    np.random.seed(1)
    losses = made.fit(x, y, batch_size=2, epochs=2, verbose=0, validation_data=(x, y), callbacks=callbacks).history
    return (losses, made.evaluate(x, y, batch_size=3, verbose=0, callbacks=callbacks),
            made.predict(x, batch_size=3, callbacks=callbacks), made.get_weights())


def same(a, b):
    assert a[0] == b[0] and a[1] == b[1]
    np.testing.assert_array_equal(a[2], b[2])
    for v, w in zip(a[3], b[3], strict=True):
        np.testing.assert_array_equal(v, w)


@pytest.mark.parametrize("kind", MODELS)
def test_results_are_the_same_bits(kind, on_device, monkeypatch):
    begun = counted(monkeypatch)
    want = history(kind, True)
    assert not begun
    same(history(kind, False), want)
    assert len(begun) == 2 * (4 + 4) + 3 + 3                           # steps, validations, evaluation, prediction


def counted(monkeypatch):
    """The calls that are begun."""
    begun, start = [], overlap.Overlap.start

    def counting(self, exe, inputs):
        begun.append(exe)
        return start(self, exe, inputs)
    monkeypatch.setattr(overlap.Overlap, "start", counting)
    return begun


@simulated
@pytest.mark.parametrize("seed", range(4))
def test_any_order_that_streams_allow_gives_the_same(seed, on_device):
    on_device.random.seed(seed)
    want = history("dense", True)
    same(history("dense", False), want)


@simulated
def test_a_batch_is_handed_over_before_the_last_is_waited_for(on_device):
    made = model("dense")
    made.train_on_batch(*data("dense", 2))
    f, (x, y), seen = made.train_function, data("dense", 6), []
    made.fit(x, y, batch_size=2, verbose=0)                        # makes its recordings
    ones = np.ones(2, "float32")
    for i in range(3):
        waiting = f.start([x[2 * i:2 * i + 2], y[2 * i:2 * i + 2], ones], 1)
        seen.append(len(on_device.begun))
    assert seen[0] == 3 and seen[1] == 6                           # copies in, step, copies out, of each
    assert seen[2] > 3                                             # the first was waited for: its staging is used again
    waiting()
    on_device.finish()


def steps(device, count=5, rows=(2,) * 5):
    """A training step, its variables, inputs of steps and what comes of them one after another."""
    graph, v = mlp_train()
    state = dict(zip(v.values(), values_for([x.t for x in v.values()], {}, seed=1)))
    inputs = [values_for([i.t for i in graph.inputs], {"n": n}, seed=i) for i, n in zip(range(count), rows)]
    one, mine = ({k: a.copy() for k, a in state.items()} for _ in range(2))
    plain = GpuExecutable(run_passes(graph, phase=1), one, SimDevice(8, 4))
    want = [plain(x) for x in inputs]
    return GpuExecutable(run_passes(graph, phase=1), mine, device), mine, inputs, want, {
        k: current(a).copy() for k, a in one.items()}


def check(got, want, mine, after):
    for outs, expected in zip(got, want, strict=True):
        for a, b in zip(outs, expected, strict=True):
            np.testing.assert_array_equal(a, b)
    for k, a in after.items():
        np.testing.assert_array_equal(current(mine[k]), a)


@pytest.mark.parametrize("seed", range(3))
def test_the_driver_is_asked_for_the_next_batch_before_it_is_waited_for_the_last(seed):
    driver, device = on_fake_driver(seed=seed)
    exe, mine, inputs, want, after = steps(device)
    exe.start(inputs[0])()
    driver.calls.clear()
    copies, compute, results = device.ends[0], device.streams[0], device.ends[1]
    waiting, got = [exe.start(x) for x in inputs[1:3]], [want[0]]
    assert driver.calls == 2 * [("launch", s) for s in (copies, compute, results)]     # and nobody has waited
    got += [w() for w in waiting]
    assert [name for name, _ in driver.calls[6:]] == ["wait", "wait"]
    got += [w() for w in [exe.start(x) for x in inputs[3:]]]
    check(got, want, mine, after)


@pytest.mark.parametrize("seed", range(4))
def test_batches_of_other_sizes_and_plain_calls_in_between(seed):
    rows = [2, 3, 2, 5, 2, 4, 1, 5, 2]
    device = SimDevice(8, 4)
    device.random.seed(seed)
    exe, mine, inputs, want, after = steps(device, len(rows), rows)
    got = [exe(x) if i in (4, 7) else exe.start(x) for i, x in enumerate(inputs)]
    got = [g() if callable(g) else g for g in reversed(got)][::-1]          # asked for in another order
    check(got, want, mine, after)


def test_many_sizes_are_recorded_anew(monkeypatch):
    monkeypatch.setattr(overlap, "KEPT", 2)
    rows = [1, 2, 3, 1, 2, 3, 4]
    exe, mine, inputs, want, after = steps(SimDevice(8, 4), len(rows), rows)
    got = [exe.start(x) for x in inputs]
    check([g() for g in got], want, mine, after)
    assert len(exe.overlap.recorded) <= 2 and exe.sizes[-1] == {"n": 4}


def test_variables_that_the_host_reads_and_writes_meanwhile():
    exe, mine, inputs, want, after = steps(SimDevice(8, 4))
    got = [exe.start(x) for x in inputs[:3]]
    values = {k: current(a).copy() for k, a in mine.items()}          # of three whole steps
    twin, theirs, *_ = steps(SimDevice(8, 4))
    for x in inputs[:3]:
        twin(x)
    for k, a in values.items():
        np.testing.assert_array_equal(a, current(dict(zip(mine, theirs.values()))[k]))
    check([g() for g in got], want[:3], mine, values)
    got = [exe.start(x) for x in inputs[3:]]
    check([g() for g in got], want[3:], mine, after)


def test_without_room_for_a_second_pair_of_ends_it_is_one_after_another(monkeypatch):
    device = SimDevice(8, 4)
    exe, mine, inputs, want, after = steps(device)
    exe(inputs[0])
    refused, allocate = [], device.allocate

    def counting(nbytes):
        try:
            return allocate(nbytes)
        except OutOfDeviceMemory:
            refused.append(nbytes)
            raise
    monkeypatch.setattr(device, "allocate", counting)
    device.nbytes = device.nbytes - device.room()[0] + 64
    got = [exe.start(x) for x in inputs[1:]]
    assert len(refused) == 1                                          # it is asked for once
    check([g() for g in got], want[1:], mine, after)


def test_everything_is_given_back():
    device = SimDevice(8, 4)
    exe, mine, inputs, *_ = steps(device)
    for x in inputs:
        exe.start(x)
    del exe
    assert len(device.memory) == len(mine)                            # of variables: freed with their arrays
    assert not device.begun


def test_an_interrupt_between_calls_of_the_driver():
    driver, device = on_fake_driver()
    exe, mine, inputs, want, _ = steps(device)
    exe.start(inputs[0])()
    launch, left = driver.cuGraphLaunch, [2]

    def interrupted(*args):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return launch(*args)
    driver.cuGraphLaunch = interrupted
    with pytest.raises(KeyboardInterrupt):
        exe.start(inputs[1])                                          # its results do not travel, the step was made
    driver.cuGraphLaunch = launch
    assert not driver.begun
    check([exe.start(x)() for x in inputs[2:]], want[2:], mine, {})


# ------------------------------------------------------------------ what ends a training
class Rows:
    """An array whose rows from `bad` on cannot be read."""
    dtype = np.dtype("float32")

    def __init__(self, array, bad, error):
        self.array, self.bad, self.error, self.shape, self.ndim = array, bad, error, array.shape, array.ndim

    def __len__(self):
        return len(self.array)

    def __getitem__(self, at):
        if isinstance(at, slice) and at.stop > self.bad:
            raise self.error
        return self.array[at]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_data_that_cannot_be_read_leave_the_weights_of_the_steps_before(on_device, error):
    x, y = data("dense", 8)
    ended, twin = model("dense"), model("dense")
    with pytest.raises(error):
        ended.fit(Rows(x, 4, error), y, batch_size=2, verbose=0, shuffle=False)
    for i in (0, 2):
        twin.train_on_batch(x[i:i + 2], y[i:i + 2])
    for a, b in zip(ended.get_weights(), twin.get_weights()):
        np.testing.assert_array_equal(a, b)
    ended.fit(x, y, batch_size=2, verbose=0)                          # and it goes on


def test_what_came_before_an_error_is_told_first(on_device):
    class Keeps(Callback):
        seen: list = []

        @patient
        def on_batch_end(self, batch, logs=None):
            self.seen.append((batch, logs["loss"]))
    x, y = data("dense", 8)
    with pytest.raises(ValueError, match="unreadable"):
        model("dense").fit(Rows(x, 4, ValueError("unreadable")), y, batch_size=2, shuffle=False, verbose=0,
                           callbacks=[Keeps()])
    twin = model("dense")
    assert Keeps.seen == [(i, twin.train_on_batch(x[2 * i:2 * i + 2], y[2 * i:2 * i + 2])[0]) for i in (0, 1)]


def test_callbacks_that_act_on_batches_see_each_in_time(on_device):
    x, y = data("dense", 8)
    made, seen = model("dense"), []
    twin = model("dense")
    made.fit(x, y, batch_size=2, verbose=0, shuffle=False, callbacks=[LambdaCallback(
        on_batch_end=lambda batch, logs: seen.append((logs["loss"], made.get_weights()[0])))])
    for i, (loss, weights) in enumerate(seen):
        want = twin.train_on_batch(x[2 * i:2 * i + 2], y[2 * i:2 * i + 2])
        assert loss == want[0]
        np.testing.assert_array_equal(weights, twin.get_weights()[0])


def test_the_first_bad_number_stops(on_device):
    x, y = data("dense", 8)
    x[2:4] = np.nan
    made, twin = model("dense"), model("dense")
    with pytest.warns(UserWarning, match="holds 8 numbers that are NaN"):
        made.fit(x, y, batch_size=2, verbose=0, shuffle=False, callbacks=[TerminateOnNaN()])
    for i in (0, 2):
        twin.train_on_batch(x[i:i + 2], y[i:i + 2])
    for a, b in zip(made.get_weights(), twin.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_who_can_wait():
    class Derived(BaseLogger):
        def on_batch_end(self, batch, logs=None):
            super().on_batch_end(batch, logs)

    class Foreign:
        def on_epoch_end(self, epoch, logs=None):
            pass

    class Newer(Callback):
        def on_train_batch_end(self, batch, logs=None):
            pass

    class MyList(CallbackList):
        pass
    own = [BaseLogger(), ProgbarLogger(), History(), EarlyStopping(), Foreign()]
    assert all(CallbackList(own).can_wait(phase) for phase in ("train", "test", "predict"))
    for other in (Derived(), Newer(), TerminateOnNaN(), LambdaCallback(on_batch_begin=print)):
        assert not CallbackList([*own, other]).can_wait("train") and CallbackList([*own, other]).can_wait("test")
    assert not CallbackList([Looks()]).can_wait("test") and not MyList(own).can_wait("train")

    class NoHash:
        __hash__ = None

        def __call__(self, batch, logs=None):
            pass
    put = Callback()
    put.on_batch_end = NoHash()
    assert not CallbackList([put]).can_wait("train") and CallbackList([put]).can_wait("test")


def test_on_the_cpu_nothing_overlaps(monkeypatch):
    begun = counted(monkeypatch)
    config.put("device", "cpu")
    history("dense", False)
    assert not begun
    x = K.placeholder((None, 2))
    assert not K.function([x], [x * 2]).overlaps(0)


def test_a_thread_that_reads_while_a_step_is_started_does_not_hide_it():
    device = SimDevice(8, 4)
    exe, mine, inputs, want, after = steps(device, 2)
    exe(inputs[0])
    seen = []
    for recorded in exe.overlap._pair(exe, {"n": 2}):
        start = recorded.replay.start

        def reading(start=start):
            seen.append([current(a).copy() for a in mine.values()])        # as another thread might
            start()
        recorded.replay.start = reading
    check([exe.start(inputs[1])()], want[1:], mine, after)
    assert len(seen) == 1


# ------------------------------------------------------------------ generators
def batches(x, y, size=2):
    while True:
        for i in range(0, len(x), size):
            yield x[i:i + size], y[i:i + size]


@pytest.mark.parametrize("kind", MODELS)
def test_generators_give_the_same_bits(kind, on_device, monkeypatch):
    begun = counted(monkeypatch)
    x, y = data(kind, 7)
    found = []
    for callbacks in ([Looks()], None):
        made = model(kind)
        losses = made.fit_generator(batches(x, y), steps_per_epoch=4, epochs=2, verbose=0, workers=0,
                                    callbacks=callbacks, class_weight={0: 1., 1: 2., 2: 1.}).history
        test = made.evaluate_generator(batches(x, y), 4, workers=0, callbacks=callbacks)
        predicted = made.predict_generator(batches(x, y), 4, workers=0, callbacks=callbacks)
        assert test == made.evaluate_generator(batches(x, y), 4, callbacks=[Looks()])
        np.testing.assert_array_equal(predicted, made.predict(x, batch_size=2, callbacks=[Looks()]))
        found.append((losses, test, predicted, made.get_weights()))
    same(*found)
    assert len(begun) == 2 * 4 + 4 + 4


def test_validation_by_a_generator_overlaps_too(on_device, monkeypatch):
    begun = counted(monkeypatch)
    x, y = data("dense", 6)
    want = None
    for callbacks in ([Looks()], None):
        made = model("dense")
        got = made.fit_generator(batches(x, y), 3, epochs=2, verbose=0, validation_data=batches(x, y),
                                 validation_steps=3, callbacks=callbacks).history
        assert want is None or got == want
        want = got
    assert len(begun) == 2 * (3 + 3)


@simulated
def test_a_generators_next_batch_is_handed_over_before_the_last_is_waited_for(on_device):
    x, y = data("dense", 6)
    made, seen = model("dense"), []
    made.evaluate_generator(batches(x, y), 3)
    made.predict_generator(batches(x, y), 3)                       # makes recordings

    def watched():
        for batch in batches(x, y):
            seen.append(len(on_device.begun))
            yield batch
    made.evaluate_generator(watched(), 3, workers=0)
    made.predict_generator(watched(), 3, workers=0)
    assert [n > 0 for n in seen] == [False, True, True] * 2


def test_a_generator_that_ends_too_soon_or_gives_what_is_no_batch(on_device):
    x, y = data("dense", 4)
    made = model("dense")
    two = [(x[:2], y[:2]), (x[2:], y[2:])]
    for call in (made.evaluate_generator, made.predict_generator):
        with pytest.raises(StopIteration, match="ended before the requested number of steps"):
            call(iter(two), 3)
        with pytest.raises(ValueError, match=r"expected dense_\d+_input to have shape"):
            call(iter([two[0], (x[:, :2], y[:2])]), 2)
    with pytest.raises(ValueError, match="Output of generator should be a tuple"):
        made.evaluate_generator(iter([two[0], x]), 2)
    np.testing.assert_array_equal(made.predict_generator(iter([x[:2], [x[2:]]]), 2), made.predict(x, batch_size=2))


def test_methods_of_the_users_own_are_called_for_batches_of_generators(on_device):
    x, y = data("dense", 4)
    made, seen = model("dense"), []

    def own(name, method):
        return lambda *args, **kwargs: seen.append(name) or method(*args, **kwargs)
    for name in ("test_on_batch", "predict_on_batch"):
        setattr(made, name, own(name, getattr(made, name)))
    made.evaluate_generator(batches(x, y), 2)
    made.predict_generator(batches(x, y), 2)
    assert seen == ["test_on_batch"] * 2 + ["predict_on_batch"] * 2


def test_a_generator_that_ends_too_soon_leaves_the_weights_of_its_steps(on_device):
    x, y = data("dense", 4)
    made, twin = model("dense"), model("dense")
    with pytest.raises(StopIteration, match="ended before the requested number of steps"):
        made.fit_generator(iter([(x[:2], y[:2]), (x[2:], y[2:])]), steps_per_epoch=3, verbose=0)
    for i in (0, 2):
        twin.train_on_batch(x[i:i + 2], y[i:i + 2])
    for a, b in zip(made.get_weights(), twin.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_a_train_on_batch_of_the_users_own_is_called(on_device):
    x, y = data("dense", 4)
    made, seen = model("dense"), []
    own = made.train_on_batch
    made.train_on_batch = lambda *args, **kwargs: seen.append(len(args[0])) or own(*args, **kwargs)
    made.fit_generator(batches(x, y), steps_per_epoch=3, verbose=0)
    assert seen == [2, 2, 2]
