"""Callbacks that show, keep and draw what is logged, and those that steer by it."""
import io
import sys
import warnings

import numpy as np
import pytest

from graphk import backend as K
from graphk import callbacks as C
from graphk import layers as L
from graphk.frontend.callbacks import base
from graphk.models import Sequential
from graphk.utils import Progbar

X = np.arange(8.).reshape(8, 1) / 8


def model(**options):
    m = Sequential([L.Dense(1, input_shape=(1,), kernel_initializer="ones")])
    m.compile("sgd", "mse", **options)
    return m


def scores(*values, name="val_loss"):
    """A callback that logs these values, one per epoch."""
    left = list(values)
    return C.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update({name: left.pop(0)}))


def epochs(m, *callbacks, count=20):
    return m.fit(X, X, epochs=count, verbose=0, callbacks=list(callbacks)).epoch[-1] + 1


# ------------------------------------------------------------------ steering
@pytest.mark.parametrize("values, options, last", [
    ([3, 2, 1, 1, 1], {}, 4), ([3, 2, 1, 1, 1], {"patience": 2}, 5), ([1, 2, 3, 3], {"mode": "max"}, 4),
    ([3, 2.9, 2.8], {"min_delta": .2}, 2), ([3, 3, 3], {"baseline": 2.5, "patience": 2}, 2),
    ([3, 2, 2, 2], {"baseline": 2.5, "patience": 2}, 4), ([1, 1], {"baseline": .5}, 1)])
def test_early_stopping(values, options, last):
    assert epochs(model(), scores(*values, *[0] * 20), C.EarlyStopping(**options)) == last


def test_early_stopping_forgets_the_run_before(capsys):
    m, stop = model(), C.EarlyStopping(baseline=2.5, patience=2, restore_best_weights=True, verbose=1)
    epochs(m, scores(2, 3, 3), stop)
    said = capsys.readouterr().out
    assert said == "Restoring model weights from the end of the best epoch\nEpoch 00003: early stopping\n"
    m.set_weights([[[5.]], [5.]])
    epochs(m, scores(3, 3), stop)                              # never below the baseline: there is no best epoch
    assert m.get_weights()[0] > 2 and capsys.readouterr().out == "Epoch 00002: early stopping\n"


def test_plateaus(capsys):
    m, plateau = model(), C.ReduceLROnPlateau(factor=.5, patience=2, cooldown=2, min_lr=.002, verbose=1)
    K.set_value(m.optimizer.lr, .01)
    history = m.fit(X, X, epochs=16, verbose=0, callbacks=[scores(*[1.] * 16), plateau]).history
    np.testing.assert_allclose(history["lr"], [.01] * 3 + [.005] * 3 + [.0025] * 3 + [.002] * 7, rtol=1e-5)
    assert capsys.readouterr().out.startswith("\nEpoch 00003: ReduceLROnPlateau reducing learning rate to 0.004999")


def test_modes_that_are_unknown_are_said_once():
    with pytest.warns(RuntimeWarning, match="Learning Rate Plateau Reducing mode up is unknown, fallback to auto") as w:
        epochs(model(), C.ReduceLROnPlateau("loss", mode="up"), count=1)
    assert len(w) == 1
    with pytest.warns(UserWarning, match="`epsilon` argument is deprecated"):
        assert C.ReduceLROnPlateau(epsilon=.5).min_delta == .5
    with pytest.warns(RuntimeWarning, match="EarlyStopping mode up is unknown, fallback to auto mode"):
        assert C.EarlyStopping("val_acc", mode="up").monitor_op is np.greater


def test_schedules(capsys):
    m = model()
    seen = m.fit(X, X, epochs=3, verbose=0, callbacks=[
        C.LearningRateScheduler(lambda epoch, lr: lr / 2, verbose=1)]).history["lr"]
    np.testing.assert_allclose(seen, [.005, .0025, .00125], rtol=1e-5)
    assert "\nEpoch 00003: LearningRateScheduler setting learning rate to 0.001249" in capsys.readouterr().out
    with pytest.raises(ValueError, match='The output of the "schedule" function should be float'):
        m.fit(X, X, verbose=0, callbacks=[C.LearningRateScheduler(lambda epoch: 1)])
    with pytest.raises(TypeError, match="unsupported operand"):    # what went wrong inside
        m.fit(X, X, verbose=0, callbacks=[C.LearningRateScheduler(lambda epoch, lr: lr + "x")])


# ------------------------------------------------------------------ watching
def test_averages_and_last_values():
    logger, logs = C.BaseLogger(stateful_metrics=["seen"]), {}
    logger.set_params({"metrics": ["loss", "seen", "val_loss"]})
    logger.on_epoch_begin(0)
    for size, loss, seen in [(3, 1., 3), (1, 5., 4)]:
        logger.on_batch_end(0, {"batch": 0, "size": size, "loss": loss, "seen": seen})
    logger.on_epoch_end(0, logs)
    assert logs == {"loss": 2., "seen": 4}


@pytest.mark.parametrize("mode, target", [("samples", 8), ("steps", 2)])
def test_what_the_bar_counts(mode, target, capsys):
    bar = C.ProgbarLogger(mode, stateful_metrics=["seen"])
    bar.set_params({"verbose": 1, "epochs": 3, "samples": 8, "steps": 2, "metrics": ["loss", "seen", "val_loss"]})
    bar.on_train_begin()
    bar.on_epoch_begin(1)
    for batch in range(2):
        bar.on_batch_end(batch, {"size": 4, "loss": batch, "seen": 10 * batch})
    bar.on_epoch_end(1, {"loss": .5, "seen": 10, "val_loss": 7.})
    out = capsys.readouterr().out
    assert out.startswith("Epoch 2/3\n") and f"{target}/{target} [====" in out
    assert out.endswith(" - loss: 0.5000 - seen: 10.0000 - val_loss: 7.0000\n")
    with pytest.raises(ValueError, match="Unknown `count_mode`: epochs"):
        C.ProgbarLogger("epochs")


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("place", ["terminal", "notebook", "file"])
def test_bars_in_place_and_in_files(place, monkeypatch):
    out = Screen() if place == "terminal" else io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    if place == "notebook":
        monkeypatch.setitem(sys.modules, "ipykernel", sys)
    else:
        monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    bar = Progbar(3, width=3, interval=0)
    for step in range(3):
        bar.update(step + 1, [("loss", 1.)])
    text = out.getvalue()
    assert not {"\x1b", "\b"} & set(text) and text.endswith("\n") and text.count("loss: 1.0000") == 3
    assert (text.count("\r"), text.count("\n")) == ((0, 3) if place == "file" else (3, 1))


def test_callbacks_that_are_slow(monkeypatch):
    clock = [0.]
    monkeypatch.setattr(base.time, "perf_counter", lambda: clock[0])

    def wait(seconds):
        clock[0] += seconds
    slow = C.LambdaCallback(on_batch_end=lambda batch, logs: wait(.3))
    for batch_takes, warned in [(1., False), (.2, True)]:
        many = C.CallbackList([slow], queue_length=3)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for batch in range(4):
                many.on_batch_begin(batch)
                wait(batch_takes)
                many.on_batch_end(batch)
        assert bool(seen) == warned
    assert str(seen[0].message) == ("Method on_batch_end() is slow compared to the batch update (0.300000). Check your "
                                    "callbacks.")


def test_callbacks_of_fit_can_be_replaced(monkeypatch):
    class Mine(C.History):
        pass
    monkeypatch.setattr(C, "History", Mine)
    assert type(model().fit(X, X, verbose=0)) is Mine


# ------------------------------------------------------------------ curves
def test_curves(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    extra = C.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(lr=.1, val_only=1., many=[1, 2]))
    history = model(metrics=["mae"]).fit(X, X, epochs=3, verbose=0, validation_split=.25, callbacks=[extra])
    history.history["val_loss"].pop()                          # as if the last epoch had been stopped
    figure = history.plot()
    drawn = {axis.get_title(): {line.get_label(): line.get_xydata().tolist() for line in axis.lines}
             for axis in figure.axes}
    assert {k: list(v) for k, v in drawn.items()} == {
        "loss": ["loss", "val_loss"], "mean_absolute_error": ["mean_absolute_error", "val_mean_absolute_error"],
        "lr": ["lr"], "val_only": ["val_only"]}
    np.testing.assert_allclose(drawn["loss"]["loss"], list(zip([1, 2, 3], history.history["loss"])))
    assert len(drawn["loss"]["val_loss"]) == 2
    pyplot.close(figure)
    with pytest.raises(ValueError, match=r"History.plot\(\) has nothing to draw: no epoch has ended yet"):
        C.History().plot()


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"History.plot\(\) needs the package `matplotlib`.*graphk\[plot\]"):
        model().fit(X, X, verbose=0).plot()
