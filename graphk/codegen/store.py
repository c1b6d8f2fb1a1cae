"""Files that graphk keeps for this user between processes.

In go a name and bytes; out come the bytes, in this process or a later one. It always holds that a file is used only if
it and its directory belong to this user and nobody else can write them, and that a file appears whole or not at all
(written aside, then renamed), so any number of processes may share the directory: ``$GRAPHK_CACHE_DIR``, else
``~/.graphk/cache``. Where it cannot be used nothing is kept, and one ``CacheWarning`` says so.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import warnings


class CacheWarning(UserWarning):
    """The kernel cache cannot use its directory or a file in it."""


class RefusedError(Exception):
    """A file that must not be used; the message says why."""


WARNED: set[str] = set()
HOST_SUFFIX = ".host"            # a file that says what LLVM calls this machine (``target``)
PTX_SUFFIX = ".gkptx"            # a kernel for GPUs (``cuda_compile``)


def directory() -> str:
    """Where files are kept."""
    named = os.environ.get("GRAPHK_CACHE_DIR", "").strip()
    if named:
        return os.path.expanduser(named)
    home = os.path.expanduser("~")
    if home.startswith("~"):                    # this user has no home
        import tempfile
        home = tempfile.gettempdir()
    return os.path.join(home, ".graphk", "cache")


def warn(topic: str, message: str) -> None:
    """One warning per topic and process: a cache that cannot be used is told once, not per kernel."""
    if topic not in WARNED:
        WARNED.add(topic)
        warnings.warn(message, CacheWarning, stacklevel=4)


def _untrusted(info: os.stat_result) -> str:
    """Why something with this stat must not be used; empty when it may."""
    if info.st_uid != os.geteuid():
        return f"it belongs to user {info.st_uid}, this process runs as user {os.geteuid()}"
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"other users may write it (mode {stat.S_IMODE(info.st_mode):o})"
    return ""


def _make_private(path: str) -> None:
    """Create missing parents and ``path``, each readable by this user only; races are harmless."""
    parent = os.path.dirname(path)
    if os.path.exists(path) or parent == path:
        return
    if parent:
        _make_private(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)


def usable_directory() -> str | None:
    """The cache directory if it exists (or could be created) and is this user's own."""
    path = directory()
    try:
        _make_private(path)
        info = os.stat(path)
    except OSError as error:
        warn(
            "dir",
            f"the kernel cache directory {path} cannot be used ({error}); kernels are kept in memory only. "
            "Set GRAPHK_CACHE_DIR to a writable directory.",
        )
        return None
    reason = "it is not a directory" if not stat.S_ISDIR(info.st_mode) else _untrusted(info)
    if reason:
        warn(
            "dir",
            f"the kernel cache directory {path} is refused: {reason}; kernels are kept in memory only. "
            "Set GRAPHK_CACHE_DIR to a directory of your own (mode 700).",
        )
        return None
    return path


def read(path: str) -> bytes | None:
    """Bytes of a file; None if it is absent, RefusedError if it is unreadable or not this user's own."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RefusedError(str(error)) from error
    info = os.fstat(handle)
    reason = _untrusted(info) if stat.S_ISREG(info.st_mode) else "it is not a regular file"
    if reason:
        os.close(handle)
        raise RefusedError(reason)
    with os.fdopen(handle, "rb") as file:
        return file.read()


def write(path: str, data: bytes) -> None:
    """Whole file or none: written under a name of its own, then renamed over the final one."""
    folder, name = os.path.split(path)
    aside = os.path.join(folder, f".{os.path.splitext(name)[0]}.{os.getpid()}.{threading.get_ident()}.tmp")
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
        warn(
            "write",
            f"{path} in the kernel cache cannot be written ({error}); it is kept in memory only. "
            "Free space there or set GRAPHK_CACHE_DIR.",
        )


__all__ = [
    "HOST_SUFFIX",
    "PTX_SUFFIX",
    "WARNED",
    "CacheWarning",
    "RefusedError",
    "directory",
    "read",
    "usable_directory",
    "warn",
    "write",
]
