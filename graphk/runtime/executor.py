"""Running a compiled program: one native call from Python, any number of threads.

In go a *binding* (``bind``: guards, patches and steps in one int64 array, laid out as ``native_loop`` says) and the
``externs`` (``pack_externs``: a ctypes array of ``id(array)``); out comes 0 after all steps ran, or i + 1 if extern i
is not the array the binding was made for, in which case nothing ran. It always holds that the result does not depend
on the thread count (that is the kernels' duty, each thread runs its own share), that one-thread programs
touch no worker, and that workers never hold the GIL while they run or spin.

Thread safety: ``Executor.run`` may be called from any thread. Runs with several threads are serialized by the
executor's lock. A binding patches its own argument slots and shares one arena, so two runs of the *same* binding must
not overlap: with one thread, whoever owns the binding must serialize (``Executor.lock`` may be used). After
``fork`` the child starts with no workers and makes its own when first needed.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphk.codegen import cache
from graphk.codegen.target import Target, host_target
from graphk.runtime import native_loop as loop

# numpy's public flag bits.
C_CONTIGUOUS, ALIGNED, WRITEABLE = 0x1, 0x100, 0x400

# Pauses (10-40 ns each) an idle worker spins before it sleeps, and a barrier before it starts to yield: soon, since
# a thread just woken is often put on the core of the one that waits for it.
LINGER_SPINS = 4000
BARRIER_SPINS = 100


@dataclass(frozen=True, slots=True)
class Guard:
    """What an extern must be: C-contiguous, aligned, exactly this dtype and shape; writeable for results."""

    dtype: str
    shape: tuple[int, ...]
    writeable: bool = False

    def words(self) -> list[int]:
        """The guard's row."""
        flags = C_CONTIGUOUS | ALIGNED | (WRITEABLE if self.writeable else 0)
        return [id(np.dtype(self.dtype)), flags, len(self.shape), *self.shape]


@dataclass(frozen=True, slots=True)
class Patch:
    """Put extern ``extern``'s data address, plus ``offset`` bytes, into the argument slot at address ``slot``."""

    extern: int
    slot: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """Call ``function`` (an address) with the argument slots at ``args``, on every thread or on thread 0 only."""

    function: int
    args: int
    barrier: bool = True
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Loop:
    """Run ``body`` ``trips`` times; ``bumps`` are (address of an argument slot, bytes added per trip)."""

    trips: int
    bumps: tuple[tuple[int, int], ...]
    body: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """Thread i runs the i-th list, as one thread that waits for nobody; then all wait for each other."""

    parts: tuple[tuple[Step, ...], ...]


Step = Call | Loop | Parts


class Binding:
    """The int64 words of one program with its concrete addresses; ``address`` is what ``run`` takes."""

    def __init__(self, guards: Sequence[Guard], patches: Sequence[Patch], steps: Sequence[Step]) -> None:
        self._tables: list[np.ndarray] = []
        rows: list[list[int]] = []
        self._flatten(steps, rows, 0)
        guard_words = [w for guard in guards for w in guard.words()]
        patch_words = [w for p in patches for w in (p.extern, p.slot, p.offset)]
        for patch in patches:
            if not 0 <= patch.extern < len(guards):
                raise ValueError(f"patch names extern {patch.extern}, but there are {len(guards)} guards.")
        guards_at = loop.HEADER_WORDS
        patches_at = guards_at + len(guard_words)
        steps_at = patches_at + len(patch_words)
        header = [0] * loop.HEADER_WORDS
        header[loop.B_MAGIC] = loop.MAGIC
        header[loop.B_GUARDS], header[loop.B_GUARD_COUNT] = guards_at, len(guards)
        header[loop.B_PATCHES], header[loop.B_PATCH_COUNT] = patches_at, len(patches)
        header[loop.B_STEPS], header[loop.B_STEP_COUNT] = steps_at, len(rows)
        header[loop.B_TYPE] = id(np.ndarray)
        self.words = np.array([*header, *guard_words, *patch_words, *(w for row in rows for w in row)], np.int64)
        self.address: int = self.words.ctypes.data
        # Guards compare dtype objects by address: keep them alive.
        self._dtypes = [np.dtype(g.dtype) for g in guards]

    def _table(self, words: Sequence[int]) -> int:
        """The address of words that live as long as the binding."""
        self._tables.append(np.array(words, np.int64))
        return int(self._tables[-1].ctypes.data)

    def _parts(self, step: Parts, rows: list[list[int]], depth: int) -> None:
        starts: list[int] = []
        ends: list[list[int]] = []
        rows.append(head := [loop.PARTS, 0, 0, 0])
        for part in step.parts:
            starts.append(len(rows))
            self._flatten(part, rows, depth, own=True)
            ends.append([loop.PART_END, 0, 0, 0])
            rows.append(ends[-1])
        head[1] = self._table(starts)
        for end in ends:
            end[1] = len(rows) - 1

    def _flatten(self, steps: Sequence[Step], rows: list[list[int]], depth: int, own: bool = False) -> None:
        if depth > loop.MAX_DEPTH:
            raise ValueError(f"loops nest deeper than {loop.MAX_DEPTH}; unroll the innermost ones.")
        for step in steps:
            if isinstance(step, Call):
                flags = loop.BARRIER_AFTER if step.barrier else 0
                kind = loop.PART_CALL if own else loop.CALL0 if step.alone else loop.CALL
                rows.append([kind, step.function, step.args, 0 if own else flags])
                continue
            if isinstance(step, Parts):
                self._parts(step, rows, depth)
                continue
            begin = len(rows)
            table = self._table([len(step.bumps), *(w for bump in step.bumps for w in bump)])
            rows.append([loop.LOOP_BEGIN, step.trips, table, 0])
            self._flatten(step.body, rows, depth + 1, own)
            rows[begin][3] = len(rows)
            rows.append([loop.LOOP_END, begin, int(own), 0])


def pack_externs(arrays: Sequence[Any]) -> ctypes.Array[ctypes.c_int64]:
    """``id`` of each array; the caller keeps the arrays alive during the run; ``addressof`` gives the address."""
    return (ctypes.c_int64 * len(arrays))(*map(id, arrays))


def thread_count() -> int:
    """``$GRAPHK_NUM_THREADS``, else the cores this process may use."""
    text = os.environ.get("GRAPHK_NUM_THREADS", "").strip()
    if not text:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdigit() or not 1 <= int(text) <= loop.MAX_THREADS:
        raise ValueError(f"GRAPHK_NUM_THREADS is {text!r}; expected a whole number from 1 to {loop.MAX_THREADS}.")
    return int(text)


# Words of every Python object before its own fields.
_HEAD_WORDS = object.__basicsize__ // 8


def native_job() -> tuple[str, tuple[str, ...], Target]:
    """What every executor asks the kernel cache for: source and entries of the native part, and the target."""
    return loop.source(_HEAD_WORDS), loop.ENTRIES, host_target()


def check_array_layout() -> None:
    """Compare the fields native code reads with what numpy says; RuntimeError where they are laid out otherwise."""
    probe = np.zeros((3, 5), np.float32)
    words = (ctypes.c_int64 * (_HEAD_WORDS + 7)).from_address(id(probe))
    head = _HEAD_WORDS
    nd, flags = words[head + 1] & 0xFFFFFFFF, words[head + 6]
    seen = (words[head - 1], words[head], nd, words[head + 5], flags & (C_CONTIGUOUS | ALIGNED | WRITEABLE))
    dims = (ctypes.c_int64 * 2).from_address(words[head + 2])
    want = (id(np.ndarray), probe.ctypes.data, 2, id(probe.dtype), C_CONTIGUOUS | ALIGNED | WRITEABLE)
    if seen != want or tuple(dims) != probe.shape:
        raise RuntimeError(
            f"numpy arrays are laid out in an unknown way: read {seen} {tuple(dims)}, expected {want} {probe.shape}. "
            "graphk's executor needs CPython with numpy 1.22 or newer."
        )


check_array_layout()

_ENTRY = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


class _Native:
    """The four entries as ctypes functions (which release the GIL)."""

    def __init__(self) -> None:
        kernel = cache.get_kernel(*native_job())
        self.execute, self.launch, self.stop, self.worker = (_ENTRY(kernel[name]) for name in loop.ENTRIES)


def _init_semaphore(address: int) -> None:
    """A POSIX semaphore of count 0 at `address`, for the threads of this process."""
    if ctypes.CDLL(None, use_errno=True).sem_init(ctypes.c_void_p(address), 0, 0):
        raise OSError(ctypes.get_errno(), "graphk's worker threads need POSIX semaphores: sem_init failed")


class Executor:
    """Persistent worker threads and the native entry points.

    >>> executor = Executor(threads=1)
    >>> executor.run(Binding((), (), ()).address, 0, 1)
    0
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = thread_count() if threads is None else threads
        if not 1 <= self.threads <= loop.MAX_THREADS:
            raise ValueError(f"an executor needs 1 to {loop.MAX_THREADS} threads, received {threads}.")
        self._native = _Native()
        self._execute: Callable[[int, int, int], int] = self._native.execute
        self.panels: weakref.WeakValueDictionary[Any, Any] = weakref.WeakValueDictionary()     # graphk.runtime.panels
        self._reset()
        _EXECUTORS.add(self)

    def _reset(self) -> None:
        """No workers; also what a forked child needs, since threads do not survive ``fork``."""
        self.lock = threading.RLock()
        self._workers: list[threading.Thread] = []
        self._state = (ctypes.c_int64 * loop.state_words(self.threads))()
        self._state_address = ctypes.addressof(self._state)
        for tid in range(1, self.threads):
            _init_semaphore(self._state_address + 8 * (loop.S_WORKERS + tid * loop.LINE + loop.W_SEMAPHORE))
        crowded = self.threads > (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
        self._state[loop.S_SPIN] = 0 if crowded else BARRIER_SPINS
        self._state[loop.S_LINGER] = 0 if crowded else LINGER_SPINS

    @property
    def execute(self) -> Callable[[int, int, int], int]:
        """``run`` for one thread without a Python frame: call it as ``execute(binding, externs, 1)``."""
        return self._execute

    def run(self, binding: int, externs: int, nt: int) -> int:
        """Check guards, patch, run all steps on ``nt`` threads. 0: done; i + 1: extern i does not fit, nothing ran."""
        if nt == 1:
            return self._execute(binding, externs, 1)
        return self._run_many(binding, externs, nt)

    def _run_many(self, binding: int, externs: int, nt: int) -> int:
        if not 1 < nt <= self.threads:
            raise ValueError(
                f"run on {nt} threads, but this executor has {self.threads}; expected 1 to {self.threads}."
            )
        with self.lock:
            if len(self._workers) < nt - 1:
                self._start(nt - 1)
            self._state[loop.S_THREADS] = nt
            return self._native.launch(self._state_address, binding, externs)

    def _start(self, count: int) -> None:
        while len(self._workers) < count:
            tid = len(self._workers) + 1
            # The array a worker uses is bound now: after a fork the attribute belongs to the child.
            thread = threading.Thread(
                target=_work, args=(self._native, self._state, tid), name=f"graphk-{tid}", daemon=True
            )
            self._state[loop.S_WORKERS + tid * loop.LINE + loop.W_LAST] = self._state[loop.S_JOB]
            # Counted once it runs: if a signal comes between, another is started, which finds its place taken and ends.
            thread.start()
            self._workers.append(thread)

    def close(self) -> None:
        """Stop and join the workers; the executor may be used again afterwards."""
        with self.lock:
            self._native.stop(self._state_address, 0, self.threads)
            for thread in self._workers:
                thread.join(timeout=5.0)
            self._reset()


def _work(native: _Native, state: ctypes.Array[ctypes.c_int64], tid: int) -> None:
    """A worker's life: run, spin and sleep, all in native code."""
    native.worker(ctypes.addressof(state), tid, 0)


_EXECUTORS: weakref.WeakSet[Executor] = weakref.WeakSet()


def _after_fork() -> None:
    for executor in list(_EXECUTORS):
        executor._reset()


def _at_exit() -> None:
    for executor in list(_EXECUTORS):
        with contextlib.suppress(RuntimeError):
            executor.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)

_DEFAULT: list[Executor] = []
_DEFAULT_LOCK = threading.Lock()


def default_executor() -> Executor:
    """The process-wide executor, made on first use."""
    with _DEFAULT_LOCK:
        if not _DEFAULT:
            _DEFAULT.append(Executor())
        return _DEFAULT[0]
