"""fit_generator, evaluate_generator, predict_generator, and the queues behind them."""
import random
import threading
import traceback

import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.callbacks import Callback, LambdaCallback
from graphk.models import Model, Sequential
from graphk.utils import GeneratorEnqueuer, OrderedEnqueuer, Sequence, SequenceEnqueuer

# Processes that fork from one with threads: what Keras does, and what later Pythons warn of.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
X = np.random.RandomState(0).randn(7, 2)
Y = X @ [[1.], [2.]]
WORKERS = [{"workers": 0}, {"workers": 1}, {"workers": 3, "max_queue_size": 2},
           {"workers": 2, "use_multiprocessing": True}]
IDS = ["main", "thread", "threads", "processes"]


class Rows(Sequence):
    """Three batches, the last one short; counts its rounds, and how many batches this process computed."""

    def __init__(self, rounds_change=0.):
        self.rounds, self.rounds_change, self.made = 0, rounds_change, 0

    def __len__(self):
        return 3

    def __getitem__(self, i):
        self.made += 1
        rows = slice(3 * i, 3 * i + 3)
        return X[rows] + self.rounds_change * self.rounds, Y[rows]

    def on_epoch_end(self):
        self.rounds += 1


def line(**kwargs):
    K.clear_session()
    m = Sequential([L.Dense(1, kernel_initializer="ones", input_shape=(2,))])
    m.compile("sgd", "mse", metrics=["mae"], **kwargs)
    return m


def loop(source=None):
    source = source or Rows()
    while True:
        yield from (source[i] for i in range(3))


@pytest.mark.parametrize("how", WORKERS, ids=IDS)
def test_any_workers_give_what_arrays_give(how):
    want, got = line(), line()
    a = want.fit(X, Y, batch_size=3, shuffle=False, epochs=3, verbose=0, validation_data=(X, Y))
    rows = Rows()
    b = got.fit_generator(rows, shuffle=False, epochs=3, verbose=0, validation_data=(X, Y), **how)
    assert list(a.history) == list(b.history) and rows.rounds == 3
    for k in a.history:
        np.testing.assert_allclose(a.history[k], b.history[k], rtol=1e-5)
    assert (rows.made == 0) == bool(how.get("use_multiprocessing"))
    np.testing.assert_allclose(got.evaluate_generator(Rows(), **how), got.evaluate(X, Y, verbose=0), rtol=1e-5)
    np.testing.assert_allclose(got.predict_generator(Rows(), **how), got.predict(X), rtol=1e-6)


@pytest.mark.parametrize("how", [{"workers": 0}, {"workers": 1}, {"workers": 1, "use_multiprocessing": True}])
def test_plain_generators(how):
    want, got = line(), line()
    a = want.fit(X, Y, batch_size=3, shuffle=False, epochs=2, verbose=0)
    b = got.fit_generator(loop(), 3, epochs=2, verbose=0, **how)
    np.testing.assert_allclose(a.history["loss"], b.history["loss"], rtol=1e-5)
    np.testing.assert_allclose(got.predict_generator((x for x, _ in loop()), 3, **how), got.predict(X), rtol=1e-6)


def test_where_batches_are_computed():
    names = set()

    def noting():
        while True:
            names.add(threading.current_thread() is threading.main_thread())
            yield X, Y
    m = line()
    m.fit_generator(noting(), 2, verbose=0, workers=0)
    assert names == {True}
    names.clear()
    m.fit_generator(noting(), 2, verbose=0)
    assert names == {False}


def test_on_epoch_end_reaches_the_processes():
    rows, want = Rows(rounds_change=1.), []
    queue = OrderedEnqueuer(rows, use_multiprocessing=True)
    queue.start(workers=2, max_queue_size=4)
    batches = queue.get()
    want = [next(batches)[0].mean() for _ in range(9)]
    queue.stop()
    np.testing.assert_allclose(want, [X[3 * i:3 * i + 3].mean() + r for r in range(3) for i in range(3)])
    assert not queue.is_running() and rows.rounds == 3


def test_queue_size_bounds_what_is_computed_ahead():
    drawn = []

    def counting():
        for i in range(1000):
            drawn.append(i)
            yield i
    queue = GeneratorEnqueuer(counting())
    queue.start(workers=1, max_queue_size=3)
    batches = queue.get()
    assert [next(batches) for _ in range(5)] == [0, 1, 2, 3, 4]
    queue.stop()
    assert 5 <= len(drawn) <= 8
    assert list(batches) == []


def test_shuffling_is_by_batch_and_by_pythons_random():
    def firsts(shuffle):
        random.seed(3)
        queue = OrderedEnqueuer(list(range(10)), shuffle=shuffle)
        queue.start(2, 5)
        batches = queue.get()
        out = [next(batches) for _ in range(20)]
        queue.stop()
        return out
    random.seed(3)
    order = list(range(10))
    random.shuffle(order)
    shuffled = firsts(True)
    assert shuffled[:10] == order and sorted(shuffled[10:]) == list(range(10)) and shuffled[10:] != order
    assert firsts(False) == 2 * list(range(10))


@pytest.mark.parametrize("how", WORKERS, ids=IDS)
def test_errors_come_through_with_the_place_where_they_happened(how):
    class Faulty(Rows):
        def __getitem__(self, i):
            raise IndexError(f"batch {i} is broken")
    with pytest.raises(IndexError, match="batch 0 is broken") as e:
        line().fit_generator(Faulty(), shuffle=False, verbose=0, **how)
    text = "".join(traceback.format_exception(e.type, e.value, e.tb))
    assert 'raise IndexError(f"batch {i} is broken")' in text


def test_a_worker_process_that_dies_is_no_hang():
    class Dies(Rows):
        def __getitem__(self, i):
            import os
            os._exit(1)
    with pytest.raises(RuntimeError, match="process"):
        line().fit_generator(Dies(), verbose=0, workers=1, use_multiprocessing=True)


def test_a_finite_generator():
    m = line()
    with pytest.raises(StopIteration, match="The generator ended before the requested number of steps"):
        m.fit_generator(iter([(X, Y)] * 2), 3, verbose=0)
    assert m.predict_generator(iter([X] * 2), 2).shape == (14, 1)
    with pytest.raises(StopIteration):
        m.evaluate_generator(iter([]), 1)
    queue = GeneratorEnqueuer(iter(range(4)))
    queue.start(workers=2)
    assert sorted(queue.get()) == [0, 1, 2, 3]
    queue.stop()


def test_a_train_on_batch_of_ones_own_needs_no_train_function():
    class Own(Sequential):
        def train_on_batch(self, x, y, **kwargs):
            return self.test_on_batch(x, y)
    m = Own([L.Dense(2, input_shape=(3,))])
    m.compile("sgd", lambda y, p: K.cast(K.argmax(p), "float32") + 1)      # which has no gradient
    found = m.fit_generator(iter([(np.ones((2, 3)), np.ones((2, 2)))] * 2), 2, verbose=0, workers=0)
    assert found.history["loss"][0] >= 1 and m.train_function is None


def test_a_generator_stays_usable_after_training():
    source, m = loop(), line()
    for _ in range(3):
        m.fit_generator(source, 2, verbose=0)
    assert next(source)[0].shape[1] == 2


def test_queues_between_threads_need_no_safe_generator():
    queue = GeneratorEnqueuer(iter((i, i) for i in range(200)))
    queue.start(workers=4, max_queue_size=8)
    batches = queue.get()
    assert sorted(next(batches)[0] for _ in range(200)) == list(range(200))
    queue.stop()


def test_one_generator_may_train_and_validate():
    def slow():
        while True:
            sum(range(3000))
            yield X, Y
    source = slow()
    h = line().fit_generator(source, 20, epochs=2, verbose=0, validation_data=source, validation_steps=10, workers=2)
    assert len(h.history["val_loss"]) == 2


def test_validation_data_of_every_kind():
    m, seen = line(), []

    def validating():
        for i in range(100):
            seen.append(i)
            yield X[:3], Y[:3]
    m.fit_generator(loop(), 3, epochs=2, verbose=0, validation_data=validating(), validation_steps=2,
                    max_queue_size=1)
    assert 4 <= len(seen) <= 5, "one queue serves all epochs: no batch is lost between them"
    got = m.fit_generator(loop(), 3, verbose=0, validation_data=Rows()).history["val_loss"]
    np.testing.assert_allclose(got, m.evaluate(X, Y, verbose=0)[0], rtol=1e-5)
    with pytest.raises(ValueError, match="Please specify `validation_steps`"):
        m.fit_generator(loop(), 3, verbose=0, validation_data=loop())
    data = []
    note = LambdaCallback(on_train_begin=lambda logs: data.append(note.validation_data))
    w = np.arange(1., 8.)
    h = m.fit_generator(loop(), 3, verbose=0, validation_data=(X, Y, w), callbacks=[note])
    assert [a.shape for a in data[0]] == [(7, 2), (7, 1), (7,)]
    assert np.isfinite(h.history["val_loss"]).all()


def test_weights_classes_and_sizes():
    m, y = line(), np.array([0, 0, 1])

    def weighted():
        while True:
            yield X[:3], y, np.array([1., 0., 2.])
    first = m.get_weights()
    got = m.fit_generator(weighted(), 1, verbose=0).history["loss"]
    m.set_weights(first)
    np.testing.assert_allclose(got, m.test_on_batch(X[:3], y, sample_weight=np.array([1., 0., 2.]))[0], rtol=1e-6)
    got = m.fit_generator(iter([(X[:3], y)]), 1, verbose=0, class_weight={0: 1., 1: 3.}, workers=0).history["loss"]
    m.set_weights(first)
    np.testing.assert_allclose(got, m.train_on_batch(X[:3], y, class_weight={0: 1., 1: 3.})[0], rtol=1e-6)
    sizes = []
    m.fit_generator(Rows(), shuffle=False, verbose=0,
                    callbacks=[LambdaCallback(on_batch_begin=lambda i, logs: sizes.append(logs["size"]))])
    assert sizes == [3, 3, 1]
    with pytest.raises(ValueError, match="Received an empty batch"):
        m.evaluate_generator(iter([(X[:0], Y[:0])]), 1)


def test_inputs_of_every_form():
    a, b = L.Input((2,), name="a"), L.Input((1,), name="b")
    m = Model([a, b], L.Dense(1, name="out")(L.concatenate([a, b])))
    m.compile("sgd", "mse")
    forms = [([X, Y], Y), ({"a": X, "b": Y}, {"out": Y})]
    h = m.fit_generator(iter(forms), 2, verbose=0)
    assert h.params["steps"] == 2
    assert m.predict_generator(iter([[X, Y], {"a": X, "b": Y}]), 2).shape == (14, 1)
    with pytest.raises(ValueError, match=r"Output of generator should be a tuple `\(x, y, sample_weight\)`"):
        m.predict_generator(iter([(X, Y, Y, Y)]), 1)


def test_stopping_and_epochs(capsys):
    class Stops(Callback):
        def on_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1
    m = line()
    h = m.fit_generator(loop(), 3, epochs=5, initial_epoch=2, verbose=0, callbacks=[Stops()], validation_data=Rows())
    assert h.epoch == [2] and "val_loss" not in h.history
    h = m.fit_generator(loop(), 2, epochs=5, verbose=0, callbacks=[Stops()], validation_data=Rows())
    assert h.epoch == [0] and len(h.history["val_loss"]) == 1        # the epoch was whole
    h = m.fit(X, Y, batch_size=4, epochs=5, verbose=0, callbacks=[Stops()], validation_data=(X, Y))
    assert h.epoch == [0] and "val_loss" not in h.history
    m.fit_generator(loop(), 3, epochs=1, verbose=1)
    out = capsys.readouterr().out
    assert out.startswith("Epoch 1/1\n") and "3/3 [====" in out
    m.evaluate_generator(Rows(), verbose=1)
    assert "3/3 [====" in capsys.readouterr().out


def test_a_model_without_input_shape_learns_it_from_the_first_batch():
    m = Sequential([L.Dense(1)])
    m.compile("sgd", "mse")
    assert len(m.fit_generator(iter([(X, Y)] * 3), 3, verbose=0, max_queue_size=1).epoch) == 1
    assert m.input_shape == (None, 2)


def test_fit_passes_on_what_it_is_told_about_the_queue():
    class Main(Rows):
        def __getitem__(self, i):
            assert threading.current_thread() is threading.main_thread()
            return super().__getitem__(i)
    m = line()
    assert len(m.fit(Main(), epochs=2, verbose=0, workers=0, max_queue_size=3, use_multiprocessing=False).epoch) == 2


def test_steps_may_be_fractions():
    m = line()
    h = m.fit_generator(loop(), steps_per_epoch=7 / 3, verbose=0, validation_data=loop(), validation_steps=3 / 2)
    assert h.params["steps"] == 3 and m.predict_generator((x for x, _ in loop()), 7 / 3).shape == (7, 1)
    assert len(m.evaluate_generator(loop(), steps=.5)) == 2
    for steps, error in ((0, ValueError), (-1.5, ValueError), ("3", TypeError)):
        with pytest.raises(error, match="`steps_per_epoch` must be a positive integer"):
            m.fit_generator(loop(), steps)


def test_mistakes():
    m = line()
    with pytest.raises(TypeError, match="Expected a generator of batches, or a keras.utils.Sequence; received a float"):
        m.fit_generator(3., 1)
    with pytest.warns(UserWarning, match="may duplicate your data"):
        m.fit_generator(loop(), 1, verbose=0, workers=2, use_multiprocessing=True)
    with pytest.warns(DeprecationWarning, match="`wait_time` is not used any more"):
        GeneratorEnqueuer(loop(), wait_time=.1)

    class Empty(Rows):
        def __len__(self):
            return 0
    with pytest.raises(ValueError, match="The Sequence Empty has no batches"):
        m.fit_generator(Empty(), steps_per_epoch=1)
    with pytest.raises(NotImplementedError, match="must define _round"):
        SequenceEnqueuer(Rows()).start()
    with pytest.warns(UserWarning, match="The `show_accuracy` argument of `fit` no longer exists"):
        m.fit(X, Y, verbose=0, show_accuracy=True)


def test_seeds_of_processes():
    def drawing():
        while True:
            yield np.random.randint(10 ** 6)
    queue = GeneratorEnqueuer(drawing(), use_multiprocessing=True, random_seed=5)
    queue.start(workers=1)
    got = [next(queue.get()) for _ in range(2)]
    queue.stop()
    state = np.random.RandomState(5)
    assert got == [state.randint(10 ** 6), state.randint(10 ** 6)]


MODULE = """
from graphk.utils import Sequence
class Numbers(Sequence):
    def __len__(self): return 4
    def __getitem__(self, i): return i * i
"""


def test_spawned_processes(tmp_path, monkeypatch):
    import importlib
    import multiprocessing
    (tmp_path / "numbers_of_a_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    numbers = importlib.import_module("numbers_of_a_test").Numbers()
    monkeypatch.setattr(multiprocessing, "get_context", lambda get=multiprocessing.get_context: get("spawn"))
    queue = OrderedEnqueuer(numbers, use_multiprocessing=True)
    queue.start(workers=1)
    batches = queue.get()
    assert [next(batches) for _ in range(6)] == [0, 1, 4, 9, 0, 1]
    queue.stop()
    with pytest.raises(ValueError, match="processes are started by `spawn`"):
        GeneratorEnqueuer(iter([1]), use_multiprocessing=True).start()
