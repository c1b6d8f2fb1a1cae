"""Callbacks that write files or send requests: what they write, and when."""
import json
import sys
import types

import numpy as np
import pytest

from graphk import callbacks as C
from graphk import layers as L
from graphk.models import Sequential, load_model

X = np.arange(8.).reshape(8, 1) / 8


def model():
    m = Sequential([L.Dense(1, input_shape=(1,), kernel_initializer="ones", name="d")])
    m.compile("adam", "mse")
    return m


def scores(*values, name="val_loss"):
    """A callback that logs these values, one per epoch."""
    left = list(values)
    return C.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update({name: left.pop(0)}))


def fit(epochs, *callbacks, verbose=0):
    m = model()
    m.fit(X, 2 * X, epochs=epochs, verbose=verbose, callbacks=list(callbacks))
    return m


def names(path):
    return sorted(p.name for p in path.iterdir())


# ------------------------------------------------------------------ ModelCheckpoint
def test_a_checkpoint_is_the_whole_model(tmp_path):
    m = fit(2, C.ModelCheckpoint(tmp_path / "m.h5"))
    again = load_model(tmp_path / "m.h5")
    for a, b in zip(m.get_weights() + m.optimizer.get_weights(), again.get_weights() + again.optimizer.get_weights()):
        np.testing.assert_array_equal(a, b)
    assert m.train_on_batch(X, X) == again.train_on_batch(X, X) and names(tmp_path) == ["m.h5"]


def test_a_checkpoint_of_weights_alone(tmp_path):
    m, other = fit(1, C.ModelCheckpoint(str(tmp_path / "w.h5"), save_weights_only=True)), model()
    other.load_weights(tmp_path / "w.h5")
    np.testing.assert_array_equal(m.get_weights()[0], other.get_weights()[0])
    with pytest.raises(ValueError):
        load_model(tmp_path / "w.h5")


def test_names_and_periods(tmp_path):
    fit(5, scores(.5, .4, .3, .2, .1), C.ModelCheckpoint(tmp_path / "{epoch:02d}-{val_loss:.1f}.h5", period=2))
    assert names(tmp_path) == ["02-0.4.h5", "04-0.2.h5"]
    with pytest.raises(KeyError, match=r"holds 'val_acc', which is not logged. Known: \['epoch', 'loss'\]"):
        fit(1, C.ModelCheckpoint(tmp_path / "{val_acc}.h5"))
    for wrong in ("{loss:d}.h5", "{}.h5"):
        with pytest.raises(ValueError, match=r"cannot be filled in: .*Expected places such as \{epoch:03d\}"):
            fit(1, C.ModelCheckpoint(tmp_path / wrong))


@pytest.mark.parametrize("monitor, mode, saved", [("val_loss", "auto", "125"), ("val_loss", "max", "14"),
                                                  ("val_acc", "auto", "14"), ("val_fmeasure", "min", "125"),
                                                  ("fmeasure", "auto", "14")])
def test_only_the_best(tmp_path, monitor, mode, saved):
    fit(5, scores(.5, .4, .45, .6, .3, name=monitor),
        C.ModelCheckpoint(tmp_path / "{epoch}.h5", monitor, save_best_only=True, mode=mode))
    assert names(tmp_path) == [f"{n}.h5" for n in saved]


def test_what_a_checkpoint_says(tmp_path, capsys):
    path = tmp_path / "m.h5"
    fit(2, scores(.5, .6), C.ModelCheckpoint(path, save_best_only=True, verbose=1))
    fit(1, C.ModelCheckpoint(path, verbose=1))
    assert capsys.readouterr().out == (
        f"\nEpoch 00001: val_loss improved from inf to 0.50000, saving model to {path}\n"
        "\nEpoch 00002: val_loss did not improve from 0.50000\n"
        f"\nEpoch 00001: saving model to {path}\n")
    with pytest.warns(RuntimeWarning, match="Can save best model only with val_loss available, skipping."):
        fit(1, C.ModelCheckpoint(tmp_path / "none.h5", save_best_only=True))
    with pytest.warns(RuntimeWarning, match="ModelCheckpoint mode best is unknown, fallback to auto mode."):
        assert C.ModelCheckpoint(path, mode="best").monitor_op is np.less
    assert names(tmp_path) == ["m.h5"]


def test_a_checkpoint_that_fails_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "m.h5"
    before = fit(1, C.ModelCheckpoint(path)).get_weights()
    monkeypatch.setattr("h5py.Group.create_dataset", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        fit(1, C.ModelCheckpoint(path))
    monkeypatch.undo()
    np.testing.assert_array_equal(load_model(path).get_weights()[0], before[0])
    assert names(tmp_path) == ["m.h5"]


# ------------------------------------------------------------------ CSVLogger
def test_rows_of_several_runs(tmp_path):
    path, log = tmp_path / "log.tsv", C.CSVLogger(str(tmp_path / "log.tsv"), separator="\t")
    fit(2, log)
    assert [line.split("\t")[0] for line in path.read_text().splitlines()] == ["epoch", "0", "1"]
    fit(1, log)                                                              # begins again
    assert len(path.read_text().splitlines()) == 2
    fit(1, C.CSVLogger(path, separator="\t", append=True))                   # one header, whoever goes on
    fit(1, C.CSVLogger(path, separator="\t", append=True))
    assert [line.split("\t")[0] for line in path.read_text().splitlines()] == ["epoch", "0", "0", "0"]
    fit(1, C.CSVLogger(tmp_path / "new.csv", append=True))
    assert (tmp_path / "new.csv").read_text().startswith("epoch,loss\n")


def test_values_that_are_no_numbers(tmp_path):
    path = tmp_path / "log.csv"
    logged = {"a": [1, 2], "b": np.array(3.), "c": "text", "d": np.arange(2), "e": (4,)}
    fit(1, C.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(logged)), C.CSVLogger(path))
    header, row = path.read_text().splitlines()
    assert header == "epoch,a,b,c,d,e,loss"
    assert row.startswith('0,"""[1, 2]""",3.0,text,"""[0, 1]""","""[4]""",')


def test_a_run_that_nan_ends_has_a_row_for_its_last_epoch(tmp_path, capsys):
    path, m = tmp_path / "log.csv", model()

    def spoil(epoch, logs):
        if epoch == 2:
            m.set_weights([[[np.nan]], [0.]])
    history = m.fit(X, X, batch_size=4, epochs=9, verbose=0, validation_data=(X, X), callbacks=[
        C.LambdaCallback(on_epoch_begin=spoil), C.TerminateOnNaN(), C.CSVLogger(path)]).history
    rows = [line.split(",") for line in path.read_text().splitlines()]
    assert rows[0] == ["epoch", "loss", "val_loss"] and [r[0] for r in rows[1:]] == ["0", "1", "2"]
    assert rows[3][1:] == ["nan", "NA"] and len(history["loss"]) == 3 and len(history["val_loss"]) == 2
    assert "Batch 0: Invalid loss, terminating training" in capsys.readouterr().out


# ------------------------------------------------------------------ RemoteMonitor
class Requests(types.ModuleType):
    """Stands for the package `requests`."""

    def __init__(self, fails=False):
        super().__init__("requests")
        self.sent, self.fails = [], fails
        self.exceptions = types.SimpleNamespace(RequestException=ConnectionError)

    def post(self, url, data=None, json=None, headers=None):
        self.sent.append((url, data, json, headers))
        if self.fails:
            raise ConnectionError


def test_requests(monkeypatch):
    requests = Requests()
    monkeypatch.setitem(sys.modules, "requests", requests)
    logged = C.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(
        a=np.float32(.5), b=np.arange(2), c="text", d=np.array([3])))
    fit(1, logged, C.RemoteMonitor(), C.RemoteMonitor("http://h", "/p", "f", {"x": "y"}, send_as_json=True))
    (url, data, body, headers), (url2, data2, body2, headers2) = requests.sent
    assert (url, body, headers) == ("http://localhost:9000/publish/epoch/end/", None, None)
    assert (url2, data2, headers2) == ("http://h/p", None, {"x": "y"})
    assert list(data) == ["data"] and json.loads(data["data"]) == body2
    assert {**body2, "loss": 0} == {"epoch": 0, "loss": 0, "a": .5, "b": [0, 1], "c": "text", "d": 3}


def test_a_server_that_cannot_be_reached(monkeypatch):
    monkeypatch.setitem(sys.modules, "requests", Requests(fails=True))
    with pytest.warns(UserWarning, match="could not reach RemoteMonitor root server at http://localhost:9000"):
        fit(1, C.RemoteMonitor())


def test_without_requests(monkeypatch):
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(ImportError, match=r"RemoteMonitor needs the package `requests`.*graphk\[remote\]"):
        fit(1, C.RemoteMonitor())
