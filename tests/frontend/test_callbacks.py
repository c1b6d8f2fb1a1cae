"""Callbacks, generators and utilities."""
import numpy as np
import pytest

from graphk import backend as K
from graphk import callbacks as C
from graphk import layers as L
from graphk.models import Sequential
from graphk.utils import CustomObjectScope, Progbar, get_custom_objects, normalize, to_categorical

X = np.arange(8.).reshape(8, 1) / 8


def model(lr=.1):
    m = Sequential([L.Dense(1, input_shape=(1,), kernel_initializer="ones")])
    m.compile("sgd", "mse")
    K.set_value(m.optimizer.lr, lr)
    return m


def test_order_of_calls():
    calls = []
    names = ["on_train_begin", "on_epoch_begin", "on_batch_begin", "on_batch_end", "on_epoch_end", "on_train_end"]
    spy = C.LambdaCallback(**{n: (lambda *a, n=n: calls.append(n)) for n in names})
    model().fit(X, X, batch_size=4, verbose=0, callbacks=[spy])
    assert calls == names[:2] + names[2:4] * 2 + names[4:]


@pytest.mark.parametrize("layers", [[], [L.Dropout(.5)]])
def test_validation_data_ends_with_the_phase_where_the_model_asks_for_it(layers):
    m = Sequential([L.Dense(1, input_shape=(1,)), *layers])
    m.compile("sgd", "mse")
    seen = []
    spy = C.LambdaCallback(on_train_begin=lambda logs: seen.append(spy.validation_data))
    m.fit(X, X, verbose=0, validation_data=(X, X), callbacks=[spy])
    m.fit(X, X, verbose=0, validation_split=.5, callbacks=[spy])
    m.fit_generator(((X, X) for _ in range(2)), 1, verbose=0, validation_data=(X, X), callbacks=[spy])
    assert [len(data) for data in seen] == [3 + len(layers)] * 3
    assert all(data[3:] == [0.] * len(layers) for data in seen)
    m.fit(X, X, verbose=0, callbacks=[spy])
    assert seen[-1] == []


def test_early_stopping_restores_the_best_weights():
    m = model()
    values = iter([3., 1., 2., 2., 2.])
    feed = C.LambdaCallback(on_epoch_end=lambda e, logs: logs.update(score=next(values)))
    weights = []
    keep = C.LambdaCallback(on_epoch_end=lambda e, logs: weights.append(m.get_weights()))
    stop = C.EarlyStopping("score", patience=2, restore_best_weights=True)
    h = m.fit(X, X * 3, epochs=9, verbose=0, callbacks=[feed, keep, stop])
    assert h.epoch == [0, 1, 2, 3] and stop.stopped_epoch == 3
    assert all((a == b).all() for a, b in zip(m.get_weights(), weights[1]))
    with pytest.warns(RuntimeWarning, match="Early stopping conditioned on metric `nope` which is not available"):
        m.fit(X, X, verbose=0, callbacks=[C.EarlyStopping("nope")])


def test_acc_and_accuracy_are_the_same_name():
    assert C.monitored({"val_acc": 1.}, "val_accuracy") == 1. and C.monitored({"accuracy": 2.}, "acc") == 2.


def test_learning_rates():
    m = model()
    h = m.fit(X, X, epochs=3, verbose=0, callbacks=[C.LearningRateScheduler(lambda epoch: .5 / (epoch + 1))])
    np.testing.assert_allclose(h.history["lr"], [.5, .25, .5 / 3])
    m = model(0.)
    K.set_value(m.optimizer.lr, 1e-9)
    h = m.fit(
        X, X * 3, epochs=5, verbose=0, callbacks=[C.ReduceLROnPlateau("loss", factor=0.5, patience=2, min_delta=1.0)]
    )
    np.testing.assert_allclose(np.array(h.history["lr"]) * 1e9, [1, 1, 1, .5, .5], rtol=1e-5)
    with pytest.raises(ValueError, match="does not support a factor >= 1.0"):
        C.ReduceLROnPlateau(factor=1.)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_terminate_on_nan(bad, capsys):
    m = model()
    y = X.copy()
    y[0] = bad
    with pytest.warns(UserWarning, match=r"array for `dense_\d+_target` holds 1 numbers .*, the first at \(0, 0\)"):
        h = m.fit(X, y, epochs=3, verbose=0, callbacks=[C.TerminateOnNaN()])
    assert h.epoch == [0] and "Invalid loss, terminating training" in capsys.readouterr().out


def test_csv_logger(tmp_path):
    path = tmp_path / "log.csv"
    model().fit(X, X, epochs=2, verbose=0, callbacks=[C.CSVLogger(path)])
    model().fit(X, X, epochs=1, verbose=0, callbacks=[C.CSVLogger(path, append=True)])
    rows = path.read_text().splitlines()
    assert rows[0] == "epoch,loss" and [r.split(",")[0] for r in rows[1:]] == ["0", "1", "0"]


class Batches:
    """A Sequence: 3 batches, the last one short."""

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return X[3 * i:3 * i + 3], 2 * X[3 * i:3 * i + 3]


def test_generators_agree_with_arrays():
    def loop():
        while True:
            yield from (Batches()[i] for i in range(3))
    a, b, c = model(), model(), model()
    want = a.fit(X, 2 * X, batch_size=3, shuffle=False, epochs=2, verbose=0, validation_data=(X, X)).history
    got = b.fit_generator(loop(), steps_per_epoch=3, epochs=2, verbose=0, validation_data=(X, X)).history
    seq = c.fit_generator(Batches(), shuffle=False, epochs=2, verbose=0, validation_data=(X, X)).history
    for h in (got, seq):
        assert list(h) == list(want)
        for k in want:
            np.testing.assert_allclose(h[k], want[k], rtol=1e-5)
    np.testing.assert_allclose(a.evaluate_generator(Batches()), a.evaluate(X, 2 * X, verbose=0), rtol=1e-5)
    np.testing.assert_allclose(a.predict_generator(Batches()), a.predict(X), rtol=1e-6)
    with pytest.raises(ValueError, match="Please specify `steps_per_epoch`"):
        a.fit_generator(loop())
    with pytest.raises(ValueError, match="Output of generator should be a tuple"):
        a.fit_generator(iter([3]), steps_per_epoch=1)


def test_utils():
    assert to_categorical([[0], [2]]).tolist() == [[1, 0, 0], [0, 0, 1]] and to_categorical([1], 3).shape == (1, 3)
    with pytest.raises(IndexError, match="class 3 is out of range"):
        to_categorical([3], 2)
    np.testing.assert_allclose(normalize(np.array([[3., 4.], [0., 0.]])), [[.6, .8], [0., 0.]])
    with CustomObjectScope({"mine": K.abs}):
        assert L.Activation("mine").activation is K.abs
    assert "mine" not in get_custom_objects()


def test_progbar(capsys):
    bar = Progbar(4, width=4, interval=0)
    bar.update(2, [("loss", 1.)])
    bar.update(4, [("loss", 3.)])
    out = capsys.readouterr().out
    assert "2/4 [=>..]" in out and "4/4 [====]" in out and "loss: 2.0000" in out


def test_one_line_an_epoch_starts_with_the_seconds(capsys):
    bar = Progbar(2, verbose=2)
    bar.update(1, [("loss", 3.0)])
    bar.update(2, [("loss", 1.0)])
    assert capsys.readouterr().out == " - 0s - loss: 2.0000\n"


class Moments(C.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []


for _name in ("on_train_batch_end", *(f"on_{_p}_{_w}" for _p in ("test", "predict") for _w in (
        "begin", "batch_begin", "batch_end", "end"))):
    setattr(Moments, _name, lambda self, *args, name=_name: self.seen.append((name, *args[:-1], sorted(args[-1]))))


def test_moments_of_keras_2_3():
    m = Sequential([L.Dense(1, input_shape=(2,))])
    m.compile("sgd", "mse")
    x, y, seen = np.ones((5, 2)), np.ones((5, 1)), Moments()
    test = [("on_test_begin", []), ("on_test_batch_begin", 0, ["batch", "size"]),
            ("on_test_batch_end", 0, ["batch", "loss", "size"]), ("on_test_batch_begin", 1, ["batch", "size"]),
            ("on_test_batch_end", 1, ["batch", "loss", "size"]), ("on_test_end", [])]
    trained = [("on_train_batch_end", i, ["batch", "loss", "size"]) for i in (0, 1)]
    predicted = [("on_predict_begin", []), ("on_predict_batch_begin", 0, ["batch", "size"]),
                 ("on_predict_batch_end", 0, ["batch", "outputs", "size"]), ("on_predict_end", [])]
    m.fit(x, y, batch_size=3, verbose=0, validation_data=(x, y), callbacks=[seen])
    assert seen.seen == trained + test
    for run, want in ((lambda: m.evaluate(x, y, 3, verbose=0, callbacks=[seen]), test),
                      (lambda: m.predict(x, callbacks=[seen]), predicted),
                      (lambda: m.predict(x, steps=1, callbacks=[seen]), predicted),
                      (lambda: m.evaluate_generator(iter([(x, y)] * 2), 2, callbacks=[seen]), test),
                      (lambda: m.predict_generator(iter([x]), 1, callbacks=[seen]), predicted),
                      (lambda: m.fit_generator(iter([(x, y)] * 2), 2, verbose=0, validation_data=iter([(x, y)] * 9),
                                               validation_steps=2, callbacks=[seen]), trained + test)):
        seen.seen = []
        run()
        assert seen.seen == want
    assert seen.model is m
    with pytest.raises(TypeError, match="received the class `Moments`"):
        m.predict(x, callbacks=[Moments])
