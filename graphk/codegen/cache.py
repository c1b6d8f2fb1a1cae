"""Compiled kernels on disk and in memory.

In goes kernel source, entry names and a target; out come the addresses of the entries (``get_kernels``), from this
process's memory, else from the cache directory (``store``), else from the compiler: processes of its own (``batch``),
or this one where there are none. It always holds that a file is used only if its digest fits its content, and that
neither a hit nor a kernel compiled by such a process imports Numba or LLVM here.

A file is ``MAGIC``, the SHA-256 digest of the rest, an 8-byte length, metadata as JSON, and the object's bytes. Where
the directory cannot be used the cache works in memory and says so in one ``CacheWarning``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphk.codegen import batch, objects, store
from graphk.codegen.store import CacheWarning
from graphk.codegen.target import Target, host_is_known
from graphk.codegen.versions import versions

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = b"GKOBJ001"
SUFFIX = ".gko"


class CorruptError(ValueError):
    """A cache file whose content does not fit its digest or its name."""


AHEAD = 3                         # jobs that a process is given at once before anybody waits for them
PATIENCE_S = 1.0                  # seconds of compiling after which a terminal is told
_LOCK = threading.RLock()
_MEMORY: dict[str, dict[str, int]] = {}
# Made by compiler processes for ``prefetch``, not asked for yet.
_READY: dict[str, objects.CompiledObject] = {}
_STATS: dict[str, float] = {}
# Called with what happened ("memory", "disk", "compiled"), a kernel's key, and its bytes (0 in memory).
WATCHERS: list[Callable[[str, str, int], None]] = []
_ZERO: dict[str, float] = {
    "memory_hits": 0,
    "disk_hits": 0,
    "compiled": 0,
    "corrupt": 0,
    "refused": 0,
    "lost": 0,
    "compile_seconds": 0.0,
    "load_seconds": 0.0,
}
_STATS.update(_ZERO)


def key_of(source: str, entries: tuple[str, ...], target: Target) -> str:
    """Digest of everything that decides the object's bytes."""
    parts = (source, "\0".join(entries), target.key(), versions())
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _pack(compiled: objects.CompiledObject) -> bytes:
    meta = json.dumps(
        {
            "entries": compiled.entries,
            "needs": compiled.needs,
            "target": compiled.target.key(),
            "made": versions(),
        }
    ).encode()
    rest = len(meta).to_bytes(8, "little") + meta + compiled.data
    return MAGIC + hashlib.sha256(rest).digest() + rest


def _unpack(data: bytes, entries: tuple[str, ...], target: Target) -> objects.CompiledObject:
    head = len(MAGIC)
    rest = data[head + 32 :]
    if data[:head] != MAGIC or hashlib.sha256(rest).digest() != data[head : head + 32]:
        raise CorruptError("header or digest does not fit")
    size = int.from_bytes(rest[:8], "little")
    meta = json.loads(rest[8 : 8 + size])
    if tuple(meta["entries"]) != entries or meta["target"] != target.key():
        raise CorruptError("the file holds another kernel than its name says")
    return objects.CompiledObject(rest[8 + size :], entries, target, tuple(meta["needs"]))


def _from_disk(path: str, entries: tuple[str, ...], target: Target) -> objects.CompiledObject | None:
    try:
        data = store.read(path)
    except store.RefusedError as error:
        _STATS["refused"] += 1
        store.warn("file", f"the cached kernel {path} is refused: {error}; it is compiled again.")
        return None
    if data is None:
        return None
    try:
        compiled = _unpack(data, entries, target)
    except (CorruptError, ValueError, KeyError):
        # Not an error of the user's: a torn disk or a stray edit. The kernel is made again.
        _STATS["corrupt"] += 1
        with contextlib.suppress(OSError):
            os.unlink(path)
        return None
    _STATS["disk_hits"] += 1
    _tell_watchers("disk", os.path.basename(path).removesuffix(SUFFIX), len(data))
    return compiled


def _tell_watchers(event: str, key: str, size: int) -> None:
    for see in WATCHERS:
        see(event, key, size)


# --- fetching --------------------------------------------------------------------------------------------------


def _pool(count: int) -> batch.Pool | None:
    """``batch.pool``; where no process can be started, this one compiles and says so."""
    try:
        return batch.pool(count)
    except OSError as error:
        store.warn("pool", f"no compiler process can be started ({error}); kernels are compiled in this process.")
        return None


class _Batch:
    """Objects of several kernels and of the blocks they call, from disk or made together."""

    def __init__(self) -> None:
        self.done: dict[str, objects.CompiledObject] = {}
        self.missing: dict[str, objects.Job] = {}

    def want(self, key: str, job: objects.Job) -> None:
        if key in self.done or key in self.missing:
            return
        place = store.usable_directory()
        found = _READY.pop(key, None)
        if found is None and place is not None:
            found = _from_disk(os.path.join(place, key + SUFFIX), job[1], job[2])
        if found is None:
            self.missing[key] = job
        else:
            self._accept(key, found)

    def _accept(self, key: str, made: objects.CompiledObject) -> None:
        self.done[key] = made
        for symbol in made.needs:
            job = (objects.BLOCK, (symbol,), made.target)
            block = key_of(*job)
            if block not in _MEMORY:
                self.want(block, job)

    def complete(self) -> dict[str, objects.CompiledObject]:
        """Compile what is missing; the first error is raised, and what was made until then is kept on disk."""
        start, told = time.perf_counter(), False
        try:
            while self.missing:
                self._step(_pool(len(self.missing)))
                told = told or _tell(len(self.missing), time.perf_counter() - start)
        except Exception:
            raise
        except BaseException:
            batch.close()  # an answer may have been read in part
            raise
        finally:
            _STATS["compile_seconds"] += time.perf_counter() - start
        return self.done

    def _step(self, pool: batch.Pool | None) -> None:
        made: objects.CompiledObject | None = None
        if pool is None:
            key = next(iter(self.missing))
        else:
            for wanted, job in self.missing.items():
                pool.submit(wanted, job)
            key, made, lost = pool.next()
            if lost:
                _STATS["lost"] += 1
                store.warn("pool", f"a compiler process ended early ({lost}); its kernel is compiled in this process.")
        mine = self.missing.pop(key, None)
        if mine is None:
            if made is not None:
                _READY[key] = _put(key, made)
                for symbol in made.needs:
                    _submit((objects.BLOCK, (symbol,), made.target))
            return
        self._accept(key, _put(key, _compile_here(mine) if made is None else made))


def _tell(left: int, seconds: float) -> bool:
    """Once, a line for a person who waits for the compiler; nothing where nobody reads along."""
    if not left or seconds < PATIENCE_S or not getattr(sys.stderr, "isatty", bool)():
        return False
    print(f"graphk is compiling: {left} more kernels; kept in {store.directory()}", file=sys.stderr, flush=True)
    return True


def _compile_here(job: objects.Job) -> objects.CompiledObject:
    from graphk.codegen import native

    return native.compile_job(*job)


def _put(key: str, made: objects.CompiledObject) -> objects.CompiledObject:
    """Count and write what was just made."""
    _STATS["compiled"] += 1
    _tell_watchers("compiled", key, len(made.data))
    place = store.usable_directory()
    if place is not None:
        store.write(os.path.join(place, key + SUFFIX), _pack(made))
    return made


def _on_disk(key: str) -> bool:
    """Whether there is a file of that name, as far as one can see."""
    return os.path.exists(os.path.join(store.directory(), key + SUFFIX))


# Blocks that nearly every network calls, with their operands: p float32 pointer, i int64.
USUAL_BLOCKS: dict[str, str] = {"gemm_tile": "piiipipi", "gemv_rows": "piiipiiipi", "gemv_panels": "piiipiipi",
                                "pack_b": "piiiip"}


def begin(make: Callable[[], objects.Job]) -> None:
    """Where nothing was compiled for this machine yet, begin with what every network needs: ``make`` and blocks."""
    with _LOCK:
        if host_is_known() or _pool(batch.MOST_PROCESSES) is None:
            return
        job = make()
        _submit(job, AHEAD)
        for name, pattern in USUAL_BLOCKS.items():
            codes = ".".join({"p": "pf32", "i": "i64"}[letter] for letter in pattern)
            _submit((objects.BLOCK, (f"gk.{name}.{job[2].lanes}.{codes}",), job[2]), AHEAD)


def prefetch(make: Callable[[], objects.Job]) -> None:
    """Begin to compile a kernel that will be fetched soon; nothing where it is there, or no process can do it."""
    with _LOCK:
        if not host_is_known():  # nothing is there, and processes start while this one asks LLVM what machine this is
            _pool(batch.MOST_PROCESSES)
        _submit(make(), AHEAD)


def _submit(job: objects.Job, ahead: int = 1) -> None:
    key = key_of(*job)
    if key in _MEMORY or key in _READY or _on_disk(key):
        return
    pool = _pool(batch.MOST_PROCESSES)
    if pool is not None:
        pool.submit(key, job)
        pool.start(ahead)


def get_object(source: str, entries: tuple[str, ...], target: Target) -> objects.CompiledObject:
    """The object, from disk if it is there; otherwise compiled and put there."""
    with _LOCK:
        key, work = key_of(source, entries, target), _Batch()
        work.want(key, (source, entries, target))
        return work.complete()[key]


def get_kernels(jobs: Sequence[objects.Job], later: Sequence[objects.Job] = ()) -> list[dict[str, int]]:
    """For each (source, entries, target): entry name to address, valid for the life of the process.

    What is neither in memory nor on disk is compiled in parallel, and where anything is, so is what will probably be
    asked for ``later``. Safe to call from any thread.
    """
    with _LOCK:
        keys, work = [key_of(*job) for job in jobs], _Batch()
        for key, job in zip(keys, jobs, strict=True):
            if key in _MEMORY:
                _STATS["memory_hits"] += 1
                _tell_watchers("memory", key, 0)
            else:
                work.want(key, job)
        for job in later if work.missing else ():
            _submit(job)
        made = work.complete()
        start = time.perf_counter()
        # Blocks call nothing, so they come first and are there when a kernel asks for them.
        for key, item in sorted(made.items(), key=lambda pair: len(pair[1].needs)):
            _MEMORY[key] = objects.load(item, lambda symbol, at: _MEMORY[key_of(objects.BLOCK, (symbol,), at)][symbol])
        _STATS["load_seconds"] += time.perf_counter() - start
        return [_MEMORY[key] for key in keys]


def get_kernel(source: str, entries: tuple[str, ...], target: Target) -> dict[str, int]:
    """``get_kernels`` of one."""
    return get_kernels([(source, entries, target)])[0]


def get_block(symbol: str, target: Target) -> int:
    """Address of a contraction block that kernels call; cached like a kernel."""
    return get_kernel(objects.BLOCK, (symbol,), target)[symbol]


def directory() -> Path:
    """Where compiled kernels are kept."""
    from pathlib import Path

    return Path(store.directory())


def stats() -> dict[str, float]:
    """Counts and seconds of this process."""
    with _LOCK:
        return dict(_STATS)


@dataclass(frozen=True, slots=True)
class Held:
    """A kernel's file: bytes, when it was written (seconds of the epoch), its entries, the target's key, and whether
    this version of graphk and its tools made it (one of another is never used again)."""

    path: str
    bytes: int
    written: float
    entries: tuple[str, ...]
    target: str
    current: bool


def held() -> list[Held]:
    """The kernels' files, oldest first; what is no whole file of this user's is left out."""
    place, out = store.directory(), []
    for name in os.listdir(place) if os.path.isdir(place) else ():
        path = os.path.join(place, name)
        if not name.endswith(SUFFIX):
            continue
        try:
            data, when = store.read(path) or b"", os.stat(path).st_mtime
            at = len(MAGIC) + 40
            meta = json.loads(data[at : at + int.from_bytes(data[at - 8 : at], "little")])
            made = meta.get("made") == versions()
            out.append(Held(path, len(data), when, tuple(meta["entries"]), meta["target"], made))
        except (store.RefusedError, OSError, ValueError, KeyError):
            continue
    return sorted(out, key=lambda h: (h.written, h.path))


def clear() -> int:
    """Delete this user's cached files; returns how many. Kernels already loaded stay loaded."""
    place, count = store.directory(), 0
    for name in os.listdir(place) if os.path.isdir(place) else ():
        ours = (SUFFIX, store.PTX_SUFFIX, store.HOST_SUFFIX)
        if name.endswith(ours) or (name.startswith(".") and name.endswith(".tmp")):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(place, name))
                count += not name.endswith(store.HOST_SUFFIX)
    return count


def forget() -> None:
    """Drop the in-process memo, the counters and the record of warnings (addresses stay valid)."""
    with _LOCK:
        _MEMORY.clear()
        _READY.clear()
        store.WARNED.clear()
        _STATS.update(_ZERO)


__all__ = [
    "MAGIC",
    "SUFFIX",
    "USUAL_BLOCKS",
    "WATCHERS",
    "CacheWarning",
    "CorruptError",
    "Held",
    "begin",
    "clear",
    "directory",
    "forget",
    "get_block",
    "get_kernel",
    "get_kernels",
    "get_object",
    "held",
    "key_of",
    "prefetch",
    "stats",
]
