"""What the processes of tests/frontend/test_distributed.py do: `mpirun -n 2 python mpi_ranks.py CASE FOLDER`."""
import os
import sys

import numpy as np

import graphk.distributed as hvd
from graphk import layers as L
from graphk import optimizers
from graphk.callbacks import Callback
from graphk.models import Model, Sequential

X = np.random.RandomState(0).rand(16, 4).astype("float32")
Y = np.random.RandomState(1).rand(16, 2).astype("float32")
OPTIMIZERS = {"sgd": lambda: optimizers.SGD(.1, momentum=.9), "adam": lambda: optimizers.Adam(.01, clipnorm=.1)}


def model(optimizer, seed=1):
    np.random.seed(seed)
    out = Sequential([L.Dense(5, activation="tanh", input_shape=(4,), kernel_regularizer="l2"), L.Dense(2)])
    out.compile(optimizer, "mse", metrics=["mae"])
    return out


class Losses(Callback):
    def on_train_begin(self, logs=None):
        self.epochs = []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(dict(logs))


def train(folder):
    """The three ways to train; every rank writes what it has at the end."""
    out = {}
    for name, make in OPTIMIZERS.items():
        mine = model(hvd.DistributedOptimizer(make()), hvd.rank() + 1)  # other weights on every rank
        part = slice(hvd.rank(), None, hvd.size())                      # rows 0, 2, 4 ...: batches of 4 are of rows 0-7
        seen = Losses()
        mine.fit(X[part], Y[part], batch_size=4, epochs=3, shuffle=False, verbose=0, callbacks=[
            hvd.callbacks.BroadcastGlobalVariablesCallback(0), hvd.callbacks.MetricAverageCallback(), seen])

        def batches(part=part):
            while True:
                for start in (0, 4):
                    yield X[part][start:start + 4], Y[part][start:start + 4]
        mine.fit_generator(batches(), steps_per_epoch=2, epochs=1, verbose=0)
        mine.train_on_batch(X[part], Y[part])
        out.update({f"{name}{i}": w for i, w in enumerate(mine.get_weights())})
        out[f"{name}_logs"] = np.array([[e["loss"], e["mean_absolute_error"]] for e in seen.epochs])
        path = os.path.join(folder, f"{name}.h5")
        if hvd.rank() == 0:
            mine.save(path)
        hvd.allreduce(0.)                                                # the file is there
        again = hvd.load_model(path)
        again.train_on_batch(X[part], Y[part])
        mine.train_on_batch(X[part], Y[part])
        for a, b in zip(again.get_weights(), mine.get_weights()):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    small = np.arange(4, dtype="float32") + hvd.rank()
    out["mean"], out["sum"] = hvd.allreduce(small), hvd.allreduce(np.int64(hvd.rank() + 1), average=False)
    out["half"] = hvd.allreduce(np.ones(3, "float16"), average=False)
    out["first"] = hvd.broadcast([hvd.rank() + 5.], 1)
    out["who"] = np.array([hvd.rank(), hvd.size(), hvd.local_rank(), hvd.local_size()])
    np.savez(os.path.join(folder, f"rank{hvd.rank()}.npz"), **out)


def steps(folder):
    """One rank has fewer batches."""
    mine = model(hvd.DistributedOptimizer("sgd"))
    rows = 16 if hvd.rank() == 0 else 8
    mine.fit(X[:rows], Y[:rows], batch_size=4, verbose=0,
             callbacks=[hvd.callbacks.BroadcastGlobalVariablesCallback(0)])


def failing(folder):
    """One rank raises."""
    mine = model(hvd.DistributedOptimizer("sgd"))

    class Fails(Callback):
        def on_batch_end(self, batch, logs=None):
            if hvd.rank() == 1:
                raise KeyError("this rank's own trouble")
    mine.fit(X, Y, batch_size=4, verbose=0, callbacks=[hvd.callbacks.BroadcastGlobalVariablesCallback(0), Fails()])


def rows(folder):
    """One rank's batch cannot be computed, after the ranks have begun the step together."""
    mine = Sequential([L.Embedding(5, 2, input_length=1), L.Flatten(), L.Dense(2)])
    mine.compile(hvd.DistributedOptimizer("sgd"), "mse")
    hvd.broadcast_variables(mine.weights, 0)
    mine.train_on_batch(np.full((4, 1), 9 * hvd.rank()), Y[:4])


def shapes(folder):
    """The ranks have different models."""
    mine = Sequential([L.Dense(2 + hvd.rank(), input_shape=(4,)), L.Dense(2)])
    mine.compile(hvd.DistributedOptimizer("sgd"), "mse")
    mine.train_on_batch(X, Y)


def values(folder):
    """Nobody broadcasts the weights."""
    model(hvd.DistributedOptimizer("sgd"), hvd.rank() + 1).train_on_batch(X, Y)


def again(folder):
    """One rank makes its training function anew."""
    mine = model(hvd.DistributedOptimizer("sgd"))
    mine.train_on_batch(X, Y)
    if hvd.rank() == 1:
        mine.compile(hvd.DistributedOptimizer("sgd"), "mse")
    mine.train_on_batch(X, Y)


def losses(folder):
    """Of the same outputs, the ranks have losses of different ones."""
    x, shared = L.Input((4,)), L.Dense(2)
    mine = Model(x, [shared(x), L.Dense(2)(shared(x))])
    mine.compile(hvd.DistributedOptimizer("sgd"), ["mse" if hvd.rank() else None, "mse"])
    mine.train_on_batch(X, [Y, Y] if hvd.rank() else Y)


if __name__ == "__main__":
    hvd.init()
    globals()[sys.argv[1]](sys.argv[2])
