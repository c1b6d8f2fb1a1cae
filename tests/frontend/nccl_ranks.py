"""What the processes of tests/frontend/test_nccl.py do: `mpirun -n 2 python nccl_ranks.py CASE FOLDER`.

Each has simulated GPUs of its own; what NCCL would exchange between them goes through MPI."""
import os
import sys

import numpy as np

import graphk.distributed as hvd
from graphk import layers as L
from graphk.frontend import config, distributed
from graphk.models import Sequential
from graphk.runtime import nccl
from graphk.runtime.device import DeviceError
from graphk.runtime.device import device as named
from graphk.runtime.mirrors import mirrored
from graphk.utils import multi_gpu_model
from tests.gpu.fake_nccl import Nccl

X = np.random.RandomState(0).rand(8, 4).astype("float32")
Y = np.random.RandomState(1).rand(8, 2).astype("float32")


def model(optimizer, outputs=2):
    np.random.seed(1)
    out = Sequential([L.Dense(outputs, activation="tanh", input_shape=(4,)), L.Dense(2)])
    out.compile(optimizer, "mse")
    return out


def steps(folder, fake, **kwargs):
    mine = model(hvd.DistributedOptimizer("adam"), **kwargs)
    part = slice(hvd.rank(), None, hvd.size())
    for _ in range(3):
        mine.train_on_batch(X[part], Y[part])
    np.savez(os.path.join(folder, f"rank{hvd.rank()}.npz"), sums=fake.sums,
             **{f"w{i}": w for i, w in enumerate(mine.get_weights())})


def train(folder, fake):
    steps(folder, fake)


def replicas(folder, fake, devices, rows=slice(None)):
    """A model on several devices of each rank; rows: those of this rank's part."""
    plain = model("sgd")
    several = multi_gpu_model(plain, devices) if len(devices) > 1 else plain
    config.put("device", devices[0])
    several.compile(hvd.DistributedOptimizer("adam"), "mse")
    part = slice(hvd.rank(), None, hvd.size())
    for _ in range(3):
        several.train_on_batch(X[part][rows], Y[part][rows])
    copies = [len(mirrored[id(w.storage.drawn)]) for w in plain.weights if id(w.storage.drawn) in mirrored]
    stale = any(m.stale for w in plain.weights for m in mirrored.get(id(w.storage.drawn), ()))
    np.savez(os.path.join(folder, f"rank{hvd.rank()}.npz"), sums=fake.sums, copies=copies, stale=stale,
             **{f"w{i}": w for i, w in enumerate(plain.get_weights())})


def several(folder, fake):
    """Two devices in each rank."""
    replicas(folder, fake, [f"simulator:{2 * hvd.rank()}", f"simulator:{2 * hvd.rank() + 1}"])


def uneven(folder, fake):
    """Three devices in one rank, one in the other."""
    replicas(folder, fake, ["simulator:0", "simulator:1", "simulator:2"] if hvd.rank() == 0 else ["simulator:3"])


def few_rows(folder, fake):
    """One rank has fewer rows than devices."""
    replicas(folder, fake, [f"simulator:{2 * hvd.rank()}", f"simulator:{2 * hvd.rank() + 1}"],
             slice(0, 1) if hvd.rank() else slice(None))


def shared(folder, fake):
    """A device of one rank is another's, too."""
    replicas(folder, fake, ["simulator:0", "simulator:1"] if hvd.rank() else ["simulator:1", "simulator:2"])


def with_cpu(folder, fake):
    """One rank has a device that is no GPU."""
    replicas(folder, fake, ["simulator:0", "cpu:0"] if hvd.rank() else ["simulator:1", "simulator:2"])


def one_without(folder, fake):
    """A rank where NCCL is not installed: all go through the host."""
    nccl.installed = lambda: hvd.rank() == 0
    steps(folder, fake)


def one_gpu(folder, fake):
    """Two ranks on the same device."""
    config.put("device", "simulator")
    steps(folder, fake)


def one_seen(folder, fake):
    """Each rank sees a GPU of its own alone, so that all call it by the same name."""
    config.put("device", "simulator")
    named("simulator").place = f"slot {hvd.rank()}"
    steps(folder, fake)


def no_library(folder, fake):
    """A rank whose binding does not load."""
    if hvd.rank() == 1:
        def binding():
            raise DeviceError("NCCL's binding cannot be loaded")
        nccl.binding = binding
    steps(folder, fake)


def fails(folder, fake):
    """A rank that cannot join, while the other waits for it."""
    if hvd.rank() == 1:
        fake.broken = "comm_init_rank"
    else:
        fake.comm_init_rank = lambda *_: distributed._reducer[0].comm.Barrier()
    steps(folder, fake)


def counts(folder, fake):
    """The ranks have different models."""
    steps(folder, fake, outputs=2 + hvd.rank())


def ends(folder, fake):
    """A rank cannot compute its second batch."""
    mine = model(hvd.DistributedOptimizer("sgd"))
    mine.train_on_batch(X, Y)
    if hvd.rank() == 1:
        replicas = mine.train_function.replicas
        replicas.run = lambda *_: 1 / 0
    mine.train_on_batch(X, Y)


if __name__ == "__main__":
    hvd.init()
    config.put("device", f"simulator:{hvd.rank()}")
    nccl.KIND, nccl.installed = "simulator", lambda: True

    def exchange(lists):
        return distributed._reducer[0].comm.allgather(lists)
    made = Nccl([named("simulator" + (f":{i}" if i else "")) for i in range(4)], exchange)
    nccl.binding = lambda: made
    globals()[sys.argv[1]](sys.argv[2], made)
