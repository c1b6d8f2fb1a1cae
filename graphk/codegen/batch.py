"""Compiler processes: kernels compiled side by side, so that the process that uses graphk imports no Numba.

In go jobs, each under a key (``Pool.submit``); out come objects in the order in which they are done (``Pool.next``).
The processes are fresh Python ones, started as one and forked once Numba is imported there; each takes pickled jobs
from a socket and sends objects back (``serve``). It always holds that a job that fails, or whose process ends, comes
back without an object, for who asked to compile it and meet the error itself; that processes end by themselves when
nobody asks them for ``IDLE_SECONDS``, and at once with the process that started them; and that they touch neither its
streams nor its signals. There are at most ``$GRAPHK_COMPILE_PROCESSES`` (default: one per core and executor thread);
with 0, and where the interpreter cannot be started again, there are none.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import pickle
import select
import signal
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from graphk.codegen import objects
from graphk.codegen.target import host_target

if TYPE_CHECKING:
    import socket

# A compiler process that nobody asks for this long ends.
IDLE_SECONDS = 10.0
MOST_PROCESSES = 8
# Seconds without any answer after which a process is given up.
PATIENCE = 300.0
BLOCK_COST = 3000
_BOOT = "import sys; sys.path[:] = {path!r}; from graphk.codegen import batch; batch.serve({channels!r})"


def process_count() -> int:
    """Compiler processes to use at most: ``$GRAPHK_COMPILE_PROCESSES``, else one per core and executor thread."""
    text = os.environ.get("GRAPHK_COMPILE_PROCESSES", "").strip()
    if text:
        if not text.isdigit():
            raise ValueError(f"GRAPHK_COMPILE_PROCESSES is {text!r}; expected a whole number, 0 for none.")
        return int(text)
    # Another program may embed Python: only something that calls itself Python can be started as one.
    name = os.path.basename(sys.executable or "").lower()
    if not hasattr(os, "fork") or getattr(sys, "frozen", False) or not name.startswith(("python", "pypy")):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = os.environ.get("GRAPHK_NUM_THREADS", "").strip()
    return min(cores, int(threads) if threads.isdigit() and int(threads) else cores, MOST_PROCESSES)


def send(channel: socket.socket, thing: Any) -> None:
    """One pickled object with its length in front; OSError if the other side is gone."""
    data = pickle.dumps(thing)
    channel.sendall(len(data).to_bytes(8, "little") + data)


def _read(channel: socket.socket, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        part = channel.recv(min(count, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def receive(channel: socket.socket) -> Any:
    """What ``send`` sent; OSError or EOFError if the other side is gone (or idle, where the channel has a timeout)."""
    return pickle.loads(_read(channel, int.from_bytes(_read(channel, 8), "little")))


# --- in a compiler process ---------------------------------------------------------------------------------------


def serve(channels: Sequence[int]) -> None:
    """The life of a group of compiler processes, one per socket: answer jobs with objects, or None for an error.

    This process imports Numba once and is then forked; it has no other thread.
    """
    import socket

    gc.disable()  # what an import makes stays
    # Numba would read settings with the one and check the other's version, which takes longer than most kernels do.
    sys.modules["yaml"] = sys.modules["scipy"] = None  # type: ignore[assignment]
    from graphk.codegen import native

    sockets = [socket.socket(fileno=number) for number in channels]
    native.compile_job("def k(args, tid, nt):\n    pass\n", ("k",), host_target())
    gc.freeze()  # its pages stay shared
    gc.enable()
    gc.set_threshold(50_000)
    mine = sockets[0]
    children: list[int] = []
    for channel in sockets[1:]:
        child = os.fork()
        if child == 0:
            mine, children = channel, []
            break
        children.append(child)
    for channel in sockets:
        if channel is not mine:
            channel.close()
    _answer(mine)
    mine.close()  # before waiting: who asks must see that nobody listens
    for child in children:
        os.waitpid(child, 0)


def _answer(channel: socket.socket) -> None:
    from graphk.codegen import native

    channel.settimeout(IDLE_SECONDS)
    while True:
        try:
            job: objects.Job = receive(channel)
        except (OSError, EOFError):
            return
        made: objects.CompiledObject | None = None
        try:
            made = native.compile_job(*job)
        except Exception:  # noqa: BLE001 - who asked compiles it again and meets the error itself
            gc.collect()
        try:
            send(channel, made)
        except OSError:
            return


# --- in the process that asks ------------------------------------------------------------------------------------


def _cost(job: objects.Job) -> int:
    """What compiling takes, in characters of source: blocks say nothing of it, and take as long as a kernel."""
    return BLOCK_COST if job[0] == objects.BLOCK else len(job[0])


class Pool:
    """Fresh Python processes that compile, the costliest first."""

    def __init__(self, count: int) -> None:
        import socket
        import subprocess

        self.owner = os.getpid()
        self.used = time.monotonic()
        self.waiting: dict[str, objects.Job] = {}
        pairs = [socket.socketpair() for _ in range(count)]
        # What each process was given and has not answered, in that order.
        self.given: dict[socket.socket, list[tuple[str, objects.Job]]] = {ours: [] for ours, _ in pairs}
        theirs = [channel.fileno() for _, channel in pairs]
        flags = [f for f, on in (("-B", sys.dont_write_bytecode), ("-E", sys.flags.ignore_environment)) if on]
        code = _BOOT.format(path=[p for p in sys.path if isinstance(p, str)], channels=theirs)
        # Numpy's thread pools would only make forking unsafe; a session of its own keeps Ctrl-C from it.
        alone = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        null = subprocess.DEVNULL
        try:
            self.process = subprocess.Popen(
                [sys.executable, *flags, "-c", code], stdin=null, stdout=null, stderr=null,
                env={**os.environ, **alone}, pass_fds=theirs, start_new_session=True,
            )  # fmt: skip
        except BaseException:
            self._hang_up()
            raise
        finally:
            for _, channel in pairs:
                channel.close()

    def _hang_up(self) -> None:
        for channel in self.given:
            channel.close()
        self.given = {}

    def close(self) -> None:
        """End the processes at once; a process forked from the one that started them only lets go of them."""
        self._hang_up()
        if self.owner == os.getpid():
            if self.process.poll() is None:
                with contextlib.suppress(OSError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        else:
            self.process.returncode = 0  # not ours to wait for

    def alive(self) -> bool:
        """Whether a process is left that is not about to end because nobody asks it."""
        if self.owner != os.getpid() or time.monotonic() - self.used > IDLE_SECONDS - 2:
            return False
        free = [channel for channel, given in self.given.items() if not given]
        for channel in select.select(free, [], [], 0)[0] if free else ():
            self._lose(channel)
        return bool(self.given)

    def _lose(self, channel: socket.socket) -> None:
        """Without this process; what it had not begun waits again."""
        channel.close()
        self.waiting.update(self.given.pop(channel))

    def submit(self, key: str, job: objects.Job) -> None:
        if key not in self.waiting and not any(key == known for given in self.given.values() for known, _ in given):
            self.waiting[key] = job

    def start(self, ahead: int = 1) -> None:
        """Give work to those who have less than ``ahead`` jobs."""
        self.used = time.monotonic()
        while self.waiting and self.given:
            channel = min(self.given, key=lambda c: len(self.given[c]))
            if len(self.given[channel]) >= ahead:
                return
            key = max(self.waiting, key=lambda k: _cost(self.waiting[k]))
            try:
                send(channel, self.waiting[key])
            except OSError:
                self._lose(channel)
                continue
            self.given[channel].append((key, self.waiting.pop(key)))

    def next(self) -> tuple[str, objects.CompiledObject | None, str]:
        """A finished job's key and object; None where it failed, or where its process ended, and then why it did."""
        self.start()
        busy = [channel for channel, given in self.given.items() if given]
        if not busy:
            return self.waiting.popitem()[0], None, ""
        ready = select.select(busy, [], [], PATIENCE)[0]
        channel = ready[0] if ready else busy[0]
        key, _ = self.given[channel].pop(0)
        try:
            if not ready:
                raise TimeoutError(f"no answer for {PATIENCE:.0f} s")
            made: objects.CompiledObject | None = receive(channel)
        except (OSError, EOFError) as error:
            self._lose(channel)
            return key, None, repr(error)
        self.start()
        return key, made, ""


_RUNNING: list[Pool] = []


def pool(count: int) -> Pool | None:
    """Running compiler processes, at least one; None where ``count`` kernels are to be compiled here.

    Here is where processes are switched off, and where one kernel is missing and Numba is already imported, so that
    a process would only cost time. OSError where they cannot be started.
    """
    if _RUNNING and _RUNNING[0].alive():
        return _RUNNING[0]
    close()
    count = min(count, process_count())
    if count < 1 or (count == 1 and "graphk.codegen.dialect" in sys.modules):
        return None
    _RUNNING.append(Pool(count))
    return _RUNNING[0]


@atexit.register
def close() -> None:
    """End the compiler processes, if any are running."""
    while _RUNNING:
        _RUNNING.pop().close()


__all__ = ["IDLE_SECONDS", "MOST_PROCESSES", "Pool", "close", "pool", "process_count", "serve"]
