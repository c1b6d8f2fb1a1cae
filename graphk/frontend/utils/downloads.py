"""Files from the network, kept in a cache, checked, unpacked safely.

In: a name, an address, a hash.  Out: the path of the file in the cache.  What always holds: what is in the cache under
its name is whole; an archive writes nothing outside the cache; without a network, the error says where to put the file.
"""
from __future__ import annotations

import contextlib
import os
from typing import Any, Iterator, Sequence

from graphk.frontend import config
from graphk.frontend.utils.generic_utils import Progbar

_CHUNK = 1 << 16


def homes() -> list[str]:
    """Folders that may hold files downloaded earlier: graphk's own, into which new ones go, and Keras's."""
    keras = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    return [str(config.path().parent), keras]


def get_file(fname: str, origin: str, untar: bool = False, md5_hash: Any = None, file_hash: Any = None,
             cache_subdir: str = "datasets", hash_algorithm: str = "auto", extract: bool = False,
             archive_format: Any = "auto", cache_dir: str | None = None) -> str:
    """The path of a file in the cache, downloaded from `origin` if it is not there yet, or has another hash.

    fname: its name in the cache; untar: it is an archive `fname.tar.gz`, whose folder `fname` is wanted; file_hash: MD5
    or SHA-256, or a list of those to accept; cache_subdir: folder in the cache; extract: unpack it beside itself;
    archive_format: 'auto', 'tar', 'zip', a list of those, or None; cache_dir: the cache (by default ~/.graphk, and
    ~/.keras for what is there already).  Raises OSError if it cannot be downloaded, ValueError if what was has another
    hash or an archive would write outside its folder.
    """
    if md5_hash is not None and file_hash is None:
        file_hash, hash_algorithm = md5_hash, "md5"
    caches = [os.path.expanduser(cache_dir)] if cache_dir else homes()
    folders = [os.path.join(home, cache_subdir) for home in caches]
    target = fname + ".tar.gz" if untar else fname
    for folder in folders:
        path = _inside(folder, target)
        if untar and os.path.isdir(_inside(folder, fname)) and not os.path.exists(path):
            return _inside(folder, fname)                     # unpacked, and the archive deleted since
        if os.path.exists(path) and _accepted(path, file_hash, hash_algorithm):
            break
    else:
        folder = _writable(folders[0])
        path = _inside(folder, target)
        _download(origin, path, file_hash, hash_algorithm)
    if untar:
        if not os.path.exists(_inside(folder, fname)):
            _extract_archive(path, folder, "tar")
        return _inside(folder, fname)
    if extract:
        _extract_archive(path, folder, archive_format)
    return path


def _inside(folder: str, name: str) -> str:
    path = os.path.join(folder, name)
    if not os.path.isabs(name) and os.path.relpath(path, folder).split(os.sep)[0] == os.pardir:
        raise ValueError(f"get_file: the name {name!r} leads out of the cache folder {folder}")
    return path


def _writable(folder: str) -> str:
    with contextlib.suppress(OSError):
        os.makedirs(folder, exist_ok=True)
    if os.access(folder, os.W_OK):
        return folder
    import tempfile
    other = os.path.join(tempfile.gettempdir(), ".graphk", os.path.basename(folder))
    os.makedirs(other, exist_ok=True)
    return other


def _accepted(path: str, file_hash: Any, algorithm: str) -> bool:
    """Whether a file that exists is the one wanted; says so if it is not."""
    if file_hash is None or validate_file(path, file_hash, algorithm):
        return True
    print(f"A local file was found, but it seems to be incomplete or outdated because the {algorithm} file hash of "
          f"{path} does not match the original value of {file_hash}, so we will re-download the data.")
    return False


def _download(origin: str, path: str, file_hash: Any, algorithm: str) -> None:
    """Download to a file aside, check it, put it into place."""
    import urllib.request
    print("Downloading data from", origin)
    aside = f"{path}.{os.getpid()}.part"
    os.makedirs(os.path.dirname(path), exist_ok=True)         # the name may hold folders
    try:
        try:
            with urllib.request.urlopen(origin) as source, open(aside, "wb") as out:
                _copy(source, out)
        except OSError as e:                                  # URLError, timeouts, broken connections
            code = getattr(e, "code", None) or e.errno
            reason = (f"{code} -- " if code else "") + str(getattr(e, "reason", None) or e)
            raise OSError(f"URL fetch failure on {origin}: {reason}. Without a network, put the file at {path} "
                          "yourself.") from e
        if file_hash is not None and not validate_file(aside, file_hash, algorithm):
            raise ValueError(f"The file downloaded from {origin} has the hash {_hash_file(aside)} (SHA-256), not "
                             f"{file_hash}: it is damaged, or another file. It was deleted.")
        os.replace(aside, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)


def _copy(source: Any, out: Any) -> None:
    length = source.headers.get("Content-Length")
    bar, done = Progbar(int(length) if length else None), 0
    while chunk := source.read(_CHUNK):
        out.write(chunk)
        done += len(chunk)
        bar.update(done)
    if length and done < int(length):
        raise OSError(f"the connection ended after {done} of {length} bytes")
    print()


# ------------------------------------------------------------------ hashes
def _hash_file(fpath: str, algorithm: str = "sha256", chunk_size: int = 65535) -> str:
    """The SHA-256 (or, for 'md5', MD5) of a file, in hexadecimal digits."""
    import hashlib
    digest = hashlib.sha256() if algorithm in ("sha256", "auto") else hashlib.md5(usedforsecurity=False)
    with open(fpath, "rb") as f:
        while chunk := f.read(chunk_size):
            digest.update(chunk)
    return digest.hexdigest()


def validate_file(fpath: str, file_hash: Any, algorithm: str = "auto", chunk_size: int = 65535) -> bool:
    """Whether a file has a hash (or one of a list); 'auto' takes one of 64 digits for a SHA-256, others for an MD5.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as f:
    ...     validate_file(f.name, "d41d8cd98f00b204e9800998ecf8427e")
    True
    """
    wanted = [file_hash] if isinstance(file_hash, (str, bytes)) else list(file_hash)
    found: dict[str, str] = {}
    for one in map(str, wanted):
        kind = "sha256" if algorithm == "sha256" or (algorithm == "auto" and len(one) == 64) else "md5"
        found[kind] = found.get(kind) or _hash_file(fpath, kind, chunk_size)
        if found[kind] == one:
            return True
    return False


# ------------------------------------------------------------------ archives
def _extract_archive(file_path: str, path: str = ".", archive_format: Any = "auto") -> bool:
    """Unpack a tar or zip archive into the folder `path`; False if it is none of the formats asked for.

    archive_format: 'auto', 'tar', 'zip', a list of those, or None for nothing.
    """
    import tarfile
    import zipfile
    if archive_format is None:
        return False
    formats: Sequence[str] = ("tar", "zip") if archive_format == "auto" else \
        (archive_format,) if isinstance(archive_format, str) else archive_format
    known = {"tar": (tarfile.is_tarfile, _untar), "zip": (zipfile.is_zipfile, _unzip)}
    for is_one, unpack in [known[kind] for kind in formats if kind in known]:
        if is_one(file_path):
            with _aside(path) as folder, _damaged(file_path):
                unpack(file_path, folder)
            return True
    return False


def _untar(file_path: str, folder: str) -> None:
    import tarfile
    if not hasattr(tarfile, "data_filter"):
        raise RuntimeError("This version of Python cannot unpack tar archives safely (tarfile.data_filter is missing); "
                           "update it to a later patch release.")
    with tarfile.open(file_path) as archive:
        try:
            archive.extractall(folder, filter="data")
        except tarfile.FilterError as e:
            raise ValueError(f"The archive {file_path} holds what may not be unpacked: {e}. Nothing was "
                             "unpacked.") from e


def _unzip(file_path: str, folder: str) -> None:
    import zipfile
    with zipfile.ZipFile(file_path) as archive:
        for name in archive.namelist():
            if os.path.isabs(name) or os.pardir in name.replace("\\", "/").split("/"):
                raise ValueError(f"The archive {file_path} holds {name!r}, which leads out of its folder; nothing was "
                                 "unpacked.")
        archive.extractall(folder)


@contextlib.contextmanager
def _damaged(file_path: str) -> Iterator[None]:
    """What an archive's reader says of damage, as an error that names the file."""
    import tarfile
    import zipfile
    import zlib
    try:
        yield
    except (EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile, NotADirectoryError, IsADirectoryError) as e:
        raise ValueError(f"The archive {file_path} cannot be unpacked: {e}. Nothing was unpacked; delete the file, and "
                         "it will be downloaded again.") from e


@contextlib.contextmanager
def _aside(path: str) -> Iterator[str]:
    """A folder in `path`, whose contents are moved there when the block ends well, and are deleted otherwise."""
    import shutil
    import tempfile
    folder = tempfile.mkdtemp(prefix=".unpacking-", dir=path)
    try:
        yield folder
        for at, _, names in os.walk(folder):
            into = os.path.join(path, os.path.relpath(at, folder))
            os.makedirs(into, exist_ok=True)
            for name in names:
                os.replace(os.path.join(at, name), os.path.join(into, name))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


__all__ = ["get_file", "homes", "validate_file", "_extract_archive", "_hash_file"]
