"""Two processes against one on the batches of both; ranks that do different things."""
import doctest
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphk.distributed as hvd
from graphk import optimizers
from graphk.frontend import distributed
from graphk.models import load_model
from tests.frontend import mpi_ranks
from tests.frontend.mpi_ranks import OPTIMIZERS, X, Y
from tests.mpi import ENVIRONMENT, MPIRUN, REASON

mpi = pytest.mark.skipif(MPIRUN is None, reason=REASON)
ROOT = Path(__file__).parent.parent.parent


def run(case, folder):
    """What two processes print."""
    env = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    return subprocess.run([MPIRUN, "-n", "2", sys.executable, mpi_ranks.__file__, case, str(folder)], env=env,
                          capture_output=True, text=True, timeout=280)


@mpi
def test_two_processes_train_as_one_does_on_both_batches(tmp_path):
    done = run("train", tmp_path)
    assert done.returncode == 0, done.stderr
    found = [np.load(tmp_path / f"rank{i}.npz") for i in (0, 1)]
    for name, make in OPTIMIZERS.items():
        one = mpi_ranks.model(make())
        seen = mpi_ranks.Losses()
        one.fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=[seen])
        one.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
        one.train_on_batch(X, Y)
        for i, want in enumerate(one.get_weights()):
            np.testing.assert_allclose(found[0][f"{name}{i}"], want, rtol=1e-4, atol=1e-6)
            np.testing.assert_array_equal(found[0][f"{name}{i}"], found[1][f"{name}{i}"])
        want = [[e["loss"], e["mean_absolute_error"]] for e in seen.epochs]
        np.testing.assert_allclose(found[0][f"{name}_logs"], want, rtol=1e-4)
        np.testing.assert_array_equal(found[0][f"{name}_logs"], found[1][f"{name}_logs"])
        again = load_model(str(tmp_path / f"{name}.h5"))            # in a process that knows no other
        assert type(again.optimizer) is type(make()) and not hasattr(again.optimizer, "reducer")
        assert int(again.optimizer.get_weights()[0]) == 9
        again.train_on_batch(X, Y)
    for i, rank in enumerate(found):
        assert rank["who"].tolist() == [i, 2, i, 2]
        assert rank["mean"].tolist() == [.5, 1.5, 2.5, 3.5] and rank["sum"] == 3 and rank["first"].tolist() == [6.]
        assert rank["half"].tolist() == [2.] * 3 and rank["half"].dtype == np.float16


@mpi
@pytest.mark.parametrize("case, words", [
    ("steps", ["about to do different things", "rank 0: a training step", "rank 1: the end of the program",
               "steps_per_epoch"]),
    ("failing", ["this rank's own trouble", "rank 0: a training step", "A rank at its end may also have failed"]),
    ("rows", ["rank 0: the gradients of a training step", "rank 1: the end of the program", "is not in [0, 5)"]),
    ("shapes", ["rank 0: a training step of weights float32[4, 2]", "rank 1: a training step of weights float32[4, 3"]),
    ("again", ["rank 0: the gradients of a training step", "rank 1: a comparison of the weights before a training"]),
    ("losses", ["rank 0: a training step", "with 1 losses", "with 2 losses"]),
    ("values", ["has not the same values on all ranks", "BroadcastGlobalVariablesCallback(0)"])])
def test_ranks_that_differ_end_with_an_error(tmp_path, case, words):
    done = run(case, tmp_path)
    assert done.returncode != 0
    for text in words:
        assert text in done.stderr, done.stderr


def test_before_init():
    assert not distributed._reducer
    for call in (hvd.rank, hvd.size, hvd.local_rank, hvd.local_size, lambda: hvd.allreduce(1.),
                 lambda: hvd.DistributedOptimizer("sgd")):
        with pytest.raises(RuntimeError, match=r"call graphk\.distributed\.init\(\) first"):
            call()


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r"needs mpi4py and an MPI library .*pip install graphk\[mpi\]"):
        hvd.init()


class Comm:
    """An MPI communicator of one process."""

    def Dup(self):                                                     # noqa: N802 - MPI's names
        return self

    def Get_rank(self):                                                # noqa: N802
        return 0

    def Get_size(self):                                                # noqa: N802
        return 1

    def Split_type(self, kind):                                        # noqa: N802
        return self

    def Allgather(self, mine, found):                                  # noqa: N802
        found[...] = mine

    def Allreduce(self, how, array):                                   # noqa: N802
        assert array.dtype != np.float16

    def Bcast(self, array, root):                                      # noqa: N802
        assert array.dtype == np.uint8

    def allgather(self, value):
        return [value]


@pytest.fixture
def alone(monkeypatch):
    """As after `init()` in a program that was started without mpirun."""
    class Module:
        COMM_TYPE_SHARED = IN_PLACE = None
    monkeypatch.setattr(distributed, "_reducer", [distributed.MpiReducer(Comm(), Module)])


def test_examples_run(alone):
    assert doctest.testmod(distributed).failed == 0


def test_one_process_trains_as_without(alone):
    models = [mpi_ranks.model(hvd.DistributedOptimizer(optimizers.Adam())), mpi_ranks.model("adam")]
    models[1].set_weights(models[0].get_weights())
    logs = [m.fit(X, Y, batch_size=8, shuffle=False, epochs=2, verbose=0, callbacks=given).history for m, given in zip(
        models, ([hvd.callbacks.BroadcastGlobalVariablesCallback(0), hvd.callbacks.MetricAverageCallback()], []))]
    for a, b in zip(models[0].get_weights(), models[1].get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    np.testing.assert_allclose(logs[0]["loss"], logs[1]["loss"], rtol=1e-5)
    assert hvd.allreduce([1, 2]).tolist() == [1., 2.] and hvd.broadcast([3.]).tolist() == [3.]
    with pytest.raises(TypeError, match="adds up numbers; received an array of type bool: True"):
        hvd.allreduce(True)
    with pytest.raises(ValueError, match="`root_rank` is a number from 0 to 0; received 1"):
        hvd.broadcast([3.], 1)


def test_a_mean_is_taken_in_a_type_that_holds_the_sum(alone, monkeypatch):
    reducer = distributed._reducer[0]
    monkeypatch.setattr(reducer, "size", 2)
    monkeypatch.setattr(reducer, "agree", lambda what: None)
    monkeypatch.setattr(reducer, "total", lambda flat: np.multiply(flat, flat.dtype.type(2), out=flat))
    assert hvd.allreduce(np.int8(100)) == 100 and hvd.allreduce(np.float16(60000)) == 60000
    assert hvd.allreduce(np.float16([1.])).dtype == np.float16 and hvd.allreduce(np.float32(1)).dtype == np.float32


def test_logs_that_are_no_numbers_stay(alone):
    logs = {"loss": 2., "note": "of a callback", "nothing": None, "count": np.int64(3)}
    hvd.callbacks.MetricAverageCallback().on_epoch_end(0, logs)
    assert logs == {"loss": 2., "note": "of a callback", "nothing": None, "count": 3.}
