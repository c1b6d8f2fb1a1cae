"""Compiled kernels on disk and in memory.

In goes kernel source, entry names and a target; out come the addresses of the entries (``get_kernel``), from this
process's memory, else from the cache directory, else from the compiler. It always holds that a file is used only if
it and its directory belong to this user and nobody else can write them, and if its digest fits its content; that a file
appears whole or not at all (written aside, then renamed), so any number of processes may share a directory; and that
a hit imports llvmlite but never Numba.

A file is ``MAGIC``, the SHA-256 digest of the rest, an 8-byte length, metadata as JSON, and the object's bytes. The
directory is ``$GRAPHK_CACHE_DIR``, else ``~/.graphk/cache``. Where it cannot be used the cache works in memory
and says so in one ``CacheWarning``.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import stat
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from graphk.codegen import native
from graphk.codegen.target import Target

MAGIC = b"GKOBJ001"
SUFFIX = ".gko"


class CacheWarning(UserWarning):
    """The kernel cache cannot use its directory or a file in it."""


class CorruptError(ValueError):
    """A cache file whose content does not fit its digest or its name."""


_LOCK = threading.RLock()
_MEMORY: dict[str, dict[str, int]] = {}
_WARNED: set[str] = set()
_STATS: dict[str, float] = {}
_ZERO: dict[str, float] = {
    "memory_hits": 0,
    "disk_hits": 0,
    "compiled": 0,
    "corrupt": 0,
    "refused": 0,
    "compile_seconds": 0.0,
    "load_seconds": 0.0,
}
_STATS.update(_ZERO)


def directory() -> Path:
    """Where compiled kernels are kept."""
    named = os.environ.get("GRAPHK_CACHE_DIR", "").strip()
    return Path(named).expanduser() if named else Path.home() / ".graphk" / "cache"


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
    with os.fdopen(handle, "rb") as file:
        info = os.fstat(handle)
        reason = _untrusted(info) if stat.S_ISREG(info.st_mode) else "it is not a regular file"
        if reason:
            _refuse(path, reason)
            return None
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


def _timed(make: Callable[[], native.CompiledObject]) -> native.CompiledObject:
    start = time.perf_counter()
    compiled = make()
    _STATS["compiled"] += 1
    _STATS["compile_seconds"] += time.perf_counter() - start
    return compiled


def _object(
    key: str, entries: tuple[str, ...], target: Target, make: Callable[[], native.CompiledObject]
) -> native.CompiledObject:
    """From disk if it is there; otherwise made and put there."""
    place = _usable_directory()
    if place is None:
        return _timed(make)
    path = place / (key + SUFFIX)
    found = _from_disk(path, entries, target)
    if found is None:
        found = _timed(make)
        _write(path, _pack(found))
    return found


def get_object(source: str, entries: tuple[str, ...], target: Target) -> native.CompiledObject:
    """The object, from disk if it is there; otherwise compiled and put there."""
    with _LOCK:
        key = key_of(source, entries, target)
        return _object(key, entries, target, lambda: native.compile_source(source, entries, target))


def _loaded(key: str, get: Callable[[], native.CompiledObject]) -> dict[str, int]:
    with _LOCK:
        known = _MEMORY.get(key)
        if known is not None:
            _STATS["memory_hits"] += 1
            return known
        compiled = get()
        start = time.perf_counter()
        addresses = native.load(compiled, get_block)
        _STATS["load_seconds"] += time.perf_counter() - start
        _MEMORY[key] = addresses
        return addresses


def get_kernel(source: str, entries: tuple[str, ...], target: Target) -> dict[str, int]:
    """Entry name to address, valid for the life of the process. Safe to call from any thread."""
    return _loaded(key_of(source, entries, target), lambda: get_object(source, entries, target))


def get_block(symbol: str, target: Target) -> int:
    """Address of a contraction block that kernels call; cached like a kernel."""
    key = key_of("block", (symbol,), target)
    make = functools.partial(native.compile_block, symbol, target)
    return _loaded(key, lambda: _object(key, (symbol,), target, make))[symbol]


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
        _WARNED.clear()
        _STATS.update(_ZERO)
