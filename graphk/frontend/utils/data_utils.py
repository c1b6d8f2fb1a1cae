"""Data sets that are asked for batches by number, and queues that compute batches ahead of their use.

In: a Sequence or generator of the user's.  Out: its batches, computed in other threads or processes.  What always
holds: batches of a Sequence come in order, and all of a round before the next begins; an error raised where a batch is
computed is raised again where it is asked for; no batch is begun after `stop`.
"""
from __future__ import annotations

import random
import threading
import warnings
import weakref
from collections import deque
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Callable, Iterator

import numpy as np


class Sequence:
    """Base class: define `__len__`, the number of batches, and `__getitem__(i)`, batch i as (x, y) or (x, y, weights).

    `on_epoch_end`, if defined, is called after each round.

    >>> class Squares(Sequence):
    ...     def __len__(self): return 2
    ...     def __getitem__(self, i): return [[i]], [[i ** 2]]
    >>> [y for x, y in Squares()]
    [[[0]], [[1]]]
    """

    use_sequence_api = True

    def __getitem__(self, index: int) -> Any:
        """Batch number `index`."""
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__(index), which returns a batch")

    def __len__(self) -> int:
        """The number of batches."""
        raise NotImplementedError(f"{type(self).__name__} must define __len__(), the number of batches")

    def on_epoch_end(self) -> None:
        """After each round."""

    def __iter__(self) -> Iterator[Any]:
        for i in range(len(self)):
            yield self[i]


def is_sequence(source: Any) -> bool:
    """Whether batches are asked for by number."""
    return hasattr(source, "__getitem__") and hasattr(source, "__len__")


# ------------------------------------------------------------------ what runs in a worker process
class _Ended:
    """What stands for the batch after a generator's last; a class, since those stay themselves between processes."""


_shared: Any = None


def _receive(source: Any, seed: int | None, number: Any) -> None:
    """A process starts: it keeps its copy of `source`; `number` counts the processes, so that seeds differ."""
    global _shared
    _shared = source
    if seed is not None:
        with number.get_lock():
            np.random.seed(seed + number.value)
            number.value += 1


def _item(index: int) -> Any:
    return _shared[index]


def _following() -> Any:
    return next(_shared, _Ended)


# ------------------------------------------------------------------ the queues
class _Threads:
    """Threads that compute tasks in the order of their submission; they do not keep a program from ending."""

    def __init__(self, count: int):
        self._tasks: Any = SimpleQueue()
        self._count = count
        for _ in range(count):
            threading.Thread(target=self._work, daemon=True).start()

    def submit(self, task: Callable[[], Any]) -> Callable[[], Any]:
        """What waits for the task's value."""
        slot: Any = SimpleQueue()
        self._tasks.put((task, slot))
        return partial(_outcome, slot)

    def close(self) -> None:
        """Forget what is not begun."""
        with suppress(Empty):
            while True:
                self._tasks.get_nowait()
        for _ in range(self._count):
            self._tasks.put(None)

    def _work(self) -> None:
        for task, slot in iter(self._tasks.get, None):
            try:
                slot.put((task(), None))
            except BaseException as e:                          # raised again by whoever waits for the value
                slot.put((None, e))


def _outcome(slot: Any) -> Any:
    value, error = slot.get()
    if error is not None:
        raise error
    return value


class SequenceEnqueuer:
    """Base of both queues: at most `max_queue_size` batches are computed ahead of `get`, by `workers`.

    sequence: what gives the batches; use_multiprocessing: the workers are processes instead of threads, started as
    `multiprocessing` is set to.  Without workers a batch is computed when it is asked for.
    """

    _seed: int | None = None

    def __init__(self, sequence: Any, use_multiprocessing: bool = False):
        self.sequence, self.use_multiprocessing = sequence, use_multiprocessing
        self._lock = threading.Lock()
        self._running = False
        self._waiting: deque[Callable[[], Any]] = deque()
        self._close: Callable[[], Any] = lambda: None

    def is_running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._running

    def start(self, workers: int = 1, max_queue_size: int = 10) -> None:
        """Begin to compute batches."""
        self.workers, self.max_queue_size = int(workers or 0), max(int(max_queue_size), 1)
        self._tasks = self._round()
        self._start_workers()
        self._running = True
        self._fill()

    def get(self) -> Iterator[Any]:
        """The batches; an error that happened while one was computed is raised here."""
        try:
            while self._running and self._waiting:
                batch = self._waiting.popleft()()
                if batch is _Ended:
                    self._tasks = iter(())                      # one computed ahead may still wait behind it
                    continue
                self._fill()
                if not self._waiting:
                    self._begin_round()
                yield batch
        except Exception:
            self.stop()
            raise

    def stop(self, timeout: float | None = None) -> None:
        """Drop what was computed ahead.  timeout: how many seconds to wait for a batch that is being computed."""
        self._running = False
        self._waiting.clear()
        if self._lock.acquire(timeout=5. if timeout is None else timeout):      # a thread may be inside the generator
            self._lock.release()
        self._close()

    def _round(self) -> Iterator[Callable[[], Any]]:
        """What computes each batch of one round."""
        raise NotImplementedError(f"{type(self).__name__} must define _round")

    def _begin_round(self) -> None:
        """All batches of a round have been computed."""

    def _fill(self) -> None:
        if len(self._waiting) > max(self.max_queue_size // 2, self.workers):
            return                                              # handing over several at once wakes a worker less often
        while self._running and len(self._waiting) < (self.max_queue_size if self.workers else 1):
            task = next(self._tasks, None)
            if task is None:
                return
            self._waiting.append(self._submit(task))

    def _start_workers(self) -> None:
        if not self.workers:
            self._submit: Callable[[Callable[[], Any]], Callable[[], Any]] = lambda task: task
        elif self.use_multiprocessing:
            self._start_processes()
        else:
            threads = _Threads(self.workers)
            self._submit, self._close = threads.submit, threads.close

    def _start_processes(self) -> None:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor      # it tells when a process dies
        context = multiprocessing.get_context()
        if not is_sequence(self.sequence) and context.get_start_method() != "fork":
            raise ValueError(f"use_multiprocessing=True hands a generator over by `fork`; processes are started by "
                             f"`{context.get_start_method()}` here. Use a keras.utils.Sequence, or threads.")
        pool = ProcessPoolExecutor(self.workers, context, _receive, (self.sequence, self._seed, context.Value("i", 0)))
        self._submit = lambda task: pool.submit(task).result
        self._close = partial(pool.shutdown, wait=True, cancel_futures=True)


class OrderedEnqueuer(SequenceEnqueuer):
    """A queue of a Sequence's batches, in order.  shuffle: in another order each round, that of Python's `random`.

    >>> queue = OrderedEnqueuer([10, 20, 30])
    >>> queue.start(workers=2)
    >>> batches = queue.get()
    >>> [next(batches) for _ in range(4)]
    [10, 20, 30, 10]
    >>> queue.stop()
    """

    def __init__(self, sequence: Any, use_multiprocessing: bool = False, shuffle: bool = False):
        super().__init__(sequence, use_multiprocessing)
        self.shuffle = shuffle

    def _round(self) -> Iterator[Callable[[], Any]]:
        order = list(range(len(self.sequence)))
        if not order:
            raise ValueError(f"The Sequence {type(self.sequence).__name__} has no batches: its length is 0. Expected "
                             "at least one.")
        if self.shuffle:
            random.shuffle(order)
        item = _item if self.workers and self.use_multiprocessing else self.sequence.__getitem__
        return (partial(item, i) for i in order)

    def _begin_round(self) -> None:
        ended = getattr(self.sequence, "on_epoch_end", None)
        if ended is not None:
            ended()
            if self.use_multiprocessing and getattr(ended, "__func__", None) is not Sequence.on_epoch_end:
                self._close()                                   # the processes hold copies of what has changed now
                self._start_workers()
        self._tasks = self._round()
        self._fill()


_locks: "weakref.WeakKeyDictionary[Any, Any]" = weakref.WeakKeyDictionary()


def _lock_of(generator: Any) -> Any:
    """One lock for all queues of a generator, which may both train and validate."""
    try:
        return _locks.setdefault(generator, threading.Lock())
    except TypeError:                                           # an iterator of the user's without weak references
        return threading.Lock()


class GeneratorEnqueuer(SequenceEnqueuer):
    """A queue of what a generator yields.

    Threads take turns, so that the generator need not be safe for threads; each process has a copy of the generator of
    its own, so that several of them yield everything several times.  random_seed: process i seeds numpy with
    `random_seed + i`; wait_time: not used any more.
    """

    def __init__(self, generator: Any, use_multiprocessing: bool = False, wait_time: float | None = None,
                 random_seed: int | None = None):
        super().__init__(generator, use_multiprocessing)
        self._lock, self._seed = _lock_of(generator), random_seed
        if wait_time is not None:
            warnings.warn("`wait_time` is not used any more.", DeprecationWarning, stacklevel=2)

    def _round(self) -> Iterator[Callable[[], Any]]:
        task = _following if self.workers and self.use_multiprocessing else self._take_turns
        while True:
            yield task

    def _take_turns(self) -> Any:
        with self._lock:
            return next(self.sequence, _Ended) if self._running else _Ended


def iter_sequence_infinite(seq: Any) -> Iterator[Any]:
    """The batches of a Sequence, again and again."""
    while True:
        yield from seq


__all__ = ["Sequence", "SequenceEnqueuer", "OrderedEnqueuer", "GeneratorEnqueuer", "is_sequence",
           "iter_sequence_infinite"]
