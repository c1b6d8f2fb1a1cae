"""Compiled kernels on disk and in memory.

In goes kernel source, entry names and a target; out come the addresses of the entries (``get_kernels``), from this
process's memory, else from the cache directory, else from the compiler: processes of its own (``batch``), or this one
where there are none. It always holds that a file is used only if it and its directory belong to this user and nobody
else can write them, and if its digest fits its content; that a file appears whole or not at all (written aside, then
renamed), so any number of processes may share a directory; and that neither a hit nor a kernel compiled by such a
process imports Numba here.

A file is ``MAGIC``, the SHA-256 digest of the rest, an 8-byte length, metadata as JSON, and the object's bytes. The
directory is ``$GRAPHK_CACHE_DIR``, else ``~/.graphk/cache``. Where it cannot be used the cache works in memory
and says so in one ``CacheWarning``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from graphk.codegen import batch, native
from graphk.codegen.target import Target

MAGIC = b"GKOBJ001"
SUFFIX = ".gko"


class CacheWarning(UserWarning):
    """The kernel cache cannot use its directory or a file in it."""


class CorruptError(ValueError):
    """A cache file whose content does not fit its digest or its name."""


_LOCK = threading.RLock()
_MEMORY: dict[str, dict[str, int]] = {}
# Made by compiler processes for ``prefetch``, not asked for yet.
_READY: dict[str, native.CompiledObject] = {}
_WARNED: set[str] = set()
_STATS: dict[str, float] = {}
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


def directory() -> Path:
    """Where compiled kernels are kept."""
    named = os.environ.get("GRAPHK_CACHE_DIR", "").strip()
    if named:
        return Path(named).expanduser()
    try:
        home = Path.home()
    except RuntimeError:                        # this user has no home
        import tempfile
        home = Path(tempfile.gettempdir())
    return home / ".graphk" / "cache"


def key_of(source: str, entries: tuple[str, ...], target: Target) -> str:
    """Digest of everything that decides the object's bytes."""
    parts = (source, "\0".join(entries), target.key(), native.versions())
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _warn(topic: str, message: str) -> None:
    """One warning per topic and process: a cache that cannot be used is told once, not per kernel."""
    if topic not in _WARNED:
        _WARNED.add(topic)
        warnings.warn(message, CacheWarning, stacklevel=4)


def _untrusted(info: os.stat_result) -> str:
    """Why something with this stat must not be used; empty when it may."""
    if info.st_uid != os.geteuid():
        return f"it belongs to user {info.st_uid}, this process runs as user {os.geteuid()}"
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"other users may write it (mode {stat.S_IMODE(info.st_mode):o})"
    return ""


def _make_private(path: Path) -> None:
    """Create missing parents and ``path``, each readable by this user only; races are harmless."""
    for part in [*reversed(path.parents), path]:
        if not part.exists():
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o700)


def _usable_directory() -> Path | None:
    """The cache directory if it exists (or could be created) and is this user's own."""
    path = directory()
    try:
        _make_private(path)
        info = os.stat(path)
    except OSError as error:
        _warn(
            "dir",
            f"the kernel cache directory {path} cannot be used ({error}); kernels are kept in memory only. "
            "Set GRAPHK_CACHE_DIR to a writable directory.",
        )
        return None
    reason = "it is not a directory" if not stat.S_ISDIR(info.st_mode) else _untrusted(info)
    if reason:
        _warn(
            "dir",
            f"the kernel cache directory {path} is refused: {reason}; kernels are kept in memory only. "
            "Set GRAPHK_CACHE_DIR to a directory of your own (mode 700).",
        )
        return None
    return path


def _pack(compiled: native.CompiledObject) -> bytes:
    meta = json.dumps(
        {
            "entries": compiled.entries,
            "needs": compiled.needs,
            "target": compiled.target.key(),
            "made": native.versions(),
        }
    ).encode()
    rest = len(meta).to_bytes(8, "little") + meta + compiled.data
    return MAGIC + hashlib.sha256(rest).digest() + rest


def _unpack(data: bytes, entries: tuple[str, ...], target: Target) -> native.CompiledObject:
    head = len(MAGIC)
    rest = data[head + 32 :]
    if data[:head] != MAGIC or hashlib.sha256(rest).digest() != data[head : head + 32]:
        raise CorruptError("header or digest does not fit")
    size = int.from_bytes(rest[:8], "little")
    meta = json.loads(rest[8 : 8 + size])
    if tuple(meta["entries"]) != entries or meta["target"] != target.key():
        raise CorruptError("the file holds another kernel than its name says")
    return native.CompiledObject(rest[8 + size :], entries, target, tuple(meta["needs"]))


def _read(path: Path) -> bytes | None:
    """Bytes of a trusted file; None if absent, unreadable or not this user's own."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        _refuse(path, str(error))
        return None
    info = os.fstat(handle)
    reason = _untrusted(info) if stat.S_ISREG(info.st_mode) else "it is not a regular file"
    if reason:
        os.close(handle)
        _refuse(path, reason)
        return None
    with os.fdopen(handle, "rb") as file:
        return file.read()


def _refuse(path: Path, reason: str) -> None:
    _STATS["refused"] += 1
    _warn("file", f"the cached kernel {path} is refused: {reason}; it is compiled again.")


def _write(path: Path, data: bytes) -> None:
    """Whole file or none: written under a name of its own, then renamed over the final one."""
    aside = path.with_name(f".{path.stem}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(aside, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(aside)
            raise
    except OSError as error:
        _warn(
            "write",
            f"the compiled kernel {path} cannot be written ({error}); it is kept in memory only. "
            "Free space there or set GRAPHK_CACHE_DIR.",
        )


def _from_disk(path: Path, entries: tuple[str, ...], target: Target) -> native.CompiledObject | None:
    data = _read(path)
    if data is None:
        return None
    try:
        compiled = _unpack(data, entries, target)
    except (CorruptError, ValueError, KeyError):
        # Not an error of the user's: a torn disk or a stray edit. The kernel is made again.
        _STATS["corrupt"] += 1
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    _STATS["disk_hits"] += 1
    return compiled


# --- fetching --------------------------------------------------------------------------------------------------


def _pool(count: int) -> batch.Pool | None:
    """``batch.pool``; where no process can be started, this one compiles and says so."""
    try:
        return batch.pool(count)
    except OSError as error:
        _warn("pool", f"no compiler process can be started ({error}); kernels are compiled in this process.")
        return None


class _Batch:
    """Objects of several kernels and of the blocks they call, from disk or made together."""

    def __init__(self) -> None:
        self.done: dict[str, native.CompiledObject] = {}
        self.missing: dict[str, native.Job] = {}

    def want(self, key: str, job: native.Job) -> None:
        if key in self.done or key in self.missing:
            return
        place = _usable_directory()
        found = _READY.pop(key, None)
        if found is None and place is not None:
            found = _from_disk(place / (key + SUFFIX), job[1], job[2])
        if found is None:
            self.missing[key] = job
        else:
            self._accept(key, found)

    def _accept(self, key: str, made: native.CompiledObject) -> None:
        self.done[key] = made
        for symbol in made.needs:
            job = (native.BLOCK, (symbol,), made.target)
            block = key_of(*job)
            if block not in _MEMORY:
                self.want(block, job)

    def complete(self) -> dict[str, native.CompiledObject]:
        """Compile what is missing; the first error is raised, and what was made until then is kept on disk."""
        start = time.perf_counter()
        try:
            while self.missing:
                self._step(_pool(len(self.missing)))
        except Exception:
            raise
        except BaseException:
            batch.close()  # an answer may have been read in part
            raise
        finally:
            _STATS["compile_seconds"] += time.perf_counter() - start
        return self.done

    def _step(self, pool: batch.Pool | None) -> None:
        made: native.CompiledObject | None = None
        if pool is None:
            key = next(iter(self.missing))
        else:
            for wanted, job in self.missing.items():
                pool.submit(wanted, job)
            key, made, lost = pool.next()
            if lost:
                _STATS["lost"] += 1
                _warn("pool", f"a compiler process ended early ({lost}); its kernel is compiled in this process.")
        mine = self.missing.pop(key, None)
        if mine is None:
            if made is not None:
                _READY[key] = _put(key, made)
            return
        self._accept(key, _put(key, native.compile_job(*mine) if made is None else made))


def _put(key: str, made: native.CompiledObject) -> native.CompiledObject:
    """Count and write what was just made."""
    _STATS["compiled"] += 1
    place = _usable_directory()
    if place is not None:
        _write(place / (key + SUFFIX), _pack(made))
    return made


def _on_disk(key: str) -> bool:
    """Whether there is a file of that name, as far as one can see."""
    try:
        return (directory() / (key + SUFFIX)).exists()
    except OSError:
        return False


def prefetch(source: str, entries: tuple[str, ...], target: Target) -> None:
    """Begin to compile a kernel that will be fetched soon; nothing where it is there, or no process can do it."""
    with _LOCK:
        key = key_of(source, entries, target)
        if key in _MEMORY or key in _READY or _on_disk(key):
            return
        pool = _pool(batch.MOST_PROCESSES)
        if pool is not None:
            pool.submit(key, (source, entries, target))
            pool.start()


def get_object(source: str, entries: tuple[str, ...], target: Target) -> native.CompiledObject:
    """The object, from disk if it is there; otherwise compiled and put there."""
    with _LOCK:
        key, work = key_of(source, entries, target), _Batch()
        work.want(key, (source, entries, target))
        return work.complete()[key]


def get_kernels(jobs: Sequence[native.Job]) -> list[dict[str, int]]:
    """For each (source, entries, target): entry name to address, valid for the life of the process.

    What is neither in memory nor on disk is compiled in parallel. Safe to call from any thread.
    """
    with _LOCK:
        keys, work = [key_of(*job) for job in jobs], _Batch()
        for key, job in zip(keys, jobs, strict=True):
            if key in _MEMORY:
                _STATS["memory_hits"] += 1
            else:
                work.want(key, job)
        made = work.complete()
        start = time.perf_counter()
        # Blocks call nothing, so they come first and are there when a kernel asks for them.
        for key, item in sorted(made.items(), key=lambda pair: len(pair[1].needs)):
            _MEMORY[key] = native.load(item, lambda symbol, at: _MEMORY[key_of(native.BLOCK, (symbol,), at)][symbol])
        _STATS["load_seconds"] += time.perf_counter() - start
        return [_MEMORY[key] for key in keys]


def get_kernel(source: str, entries: tuple[str, ...], target: Target) -> dict[str, int]:
    """``get_kernels`` of one."""
    return get_kernels([(source, entries, target)])[0]


def get_block(symbol: str, target: Target) -> int:
    """Address of a contraction block that kernels call; cached like a kernel."""
    return get_kernel(native.BLOCK, (symbol,), target)[symbol]


def stats() -> dict[str, float]:
    """Counts and seconds of this process."""
    with _LOCK:
        return dict(_STATS)


def clear() -> int:
    """Delete this user's cached files; returns how many. Kernels already loaded stay loaded."""
    place = directory()
    if not place.is_dir():
        return 0
    count = 0
    for path in [*place.glob(f"*{SUFFIX}"), *place.glob(".*.tmp")]:
        with contextlib.suppress(OSError):
            path.unlink()
            count += 1
    return count


def forget() -> None:
    """Drop the in-process memo, the counters and the record of warnings (addresses stay valid)."""
    with _LOCK:
        _MEMORY.clear()
        _READY.clear()
        _WARNED.clear()
        _STATS.update(_ZERO)
