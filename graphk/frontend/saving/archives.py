"""`.keras` archives: a zip of `config.json`, `metadata.json` and `model.weights.h5`.

In: a path or a file object.  Out: the texts, and the weights as an open HDF5 file.  What always holds: nothing is
unpacked to a disk, no more is read than the archive stores times a small factor, members are known by exact names.
"""
from __future__ import annotations

import contextlib
import io
import json
import os
import zipfile
from typing import Any, Callable, Iterator, NamedTuple

import h5py

from graphk.frontend.saving import headers
from graphk.frontend.saving.errors import GraphkFormatError, malformed
from graphk.frontend.saving.hdf5 import Place, file_name, replacing
from graphk.frontend.saving.text import load_json

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_EXPANDS = 50                          # bytes that a stored byte may become; weights hardly compress at all
_FREE = 1 << 20                        # and as many besides
_LOCAL_HEADER = 30


class Archive(NamedTuple):
    """What a `.keras` file holds."""
    file: str
    config: Any
    metadata: dict[str, Any]
    weights: Place


class _Window(io.RawIOBase):
    """The bytes of a stored member where they lie in the archive."""

    def __init__(self, file: Any, start: int, size: int):
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self._size - self._at))
        self._file.seek(self._start + self._at)
        done = self._file.readinto(memoryview(buffer)[:count]) or 0
        self._at += done
        return int(done)


def is_archive(filepath: Any) -> bool:
    """Whether a path or an open file begins as a zip does."""
    if isinstance(filepath, (str, os.PathLike)):
        if not os.path.isfile(filepath):
            return False
        with open(filepath, "rb") as f:
            return f.read(4) == b"PK\x03\x04"
    if isinstance(filepath, h5py.Group) or not (hasattr(filepath, "read") and hasattr(filepath, "seek")):
        return False
    at = filepath.tell()
    head = filepath.read(4)
    filepath.seek(at)
    return bool(head == b"PK\x03\x04")


@contextlib.contextmanager
def opened(filepath: Any) -> Iterator[Archive]:
    """The archive at a path or in a file object."""
    name = file_name(filepath)
    with contextlib.ExitStack() as stack:
        with malformed(name, "", "the archive cannot be opened"):
            file = stack.enter_context(open(filepath, "rb")) if isinstance(filepath, (str, os.PathLike)) else filepath
            zipped = stack.enter_context(zipfile.ZipFile(file))
        found = _members(name, zipped)
        config = load_json(_read(name, zipped, found[CONFIG]), name, CONFIG)
        metadata = load_json(_read(name, zipped, found[METADATA]), name, METADATA) if METADATA in found else {}
        if not isinstance(config, dict) or not isinstance(metadata, dict):
            raise GraphkFormatError(name, CONFIG, f"expected a JSON object, found {str(config):.60}")
        with malformed(name, WEIGHTS, "the weights cannot be opened as HDF5"):
            source = _weights(name, file, zipped, found[WEIGHTS])
            headers.check_root(source)
            weights = stack.enter_context(h5py.File(source, "r"))
            data = headers.opened(source, weights.userblock_size)
        yield Archive(name, config, metadata, Place(weights, f"{name}: {WEIGHTS}", source=data))


def _members(name: str, zipped: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The three members, each there once, neither encrypted nor packed in a way that is not a zip's usual one."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in zipped.infolist():
        if info.filename not in (CONFIG, METADATA, WEIGHTS):
            continue
        if info.filename in found:
            raise GraphkFormatError(name, info.filename, "the archive has it twice")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise GraphkFormatError(name, info.filename, "it is encrypted, or compressed by other means than deflate")
        if info.file_size > _EXPANDS * info.compress_size + _FREE:
            raise GraphkFormatError(name, info.filename, f"{info.compress_size} bytes stand for {info.file_size}; more "
                                    f"than {_EXPANDS} times as many are refused")
        found[info.filename] = info
    missing = [m for m in (CONFIG, WEIGHTS) if m not in found]
    if missing:
        raise GraphkFormatError(name, "", f"the archive has no {' and no '.join(missing)}; a `.keras` file has. It "
                                          f"holds {zipped.namelist()[:8]}")
    return found


def _read(name: str, zipped: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with malformed(name, info.filename, "it cannot be read"):
        with zipped.open(info) as member:
            data = member.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise GraphkFormatError(name, info.filename, f"it declares {info.file_size} bytes and has {len(data)}")
    return data


def _weights(name: str, file: Any, zipped: zipfile.ZipFile, info: zipfile.ZipInfo) -> Any:
    """The weights' bytes: where they lie if they are not compressed, as a rule, else in memory."""
    if info.compress_type != zipfile.ZIP_STORED or not hasattr(file, "readinto"):
        return io.BytesIO(_read(name, zipped, info))
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    start = info.header_offset + _LOCAL_HEADER + int.from_bytes(header[26:28], "little") \
        + int.from_bytes(header[28:30], "little")
    end = file.seek(0, 2)
    if header[:4] != b"PK\x03\x04" or info.file_size != info.compress_size or start + info.file_size > end:
        raise GraphkFormatError(name, info.filename, "the archive is cut off, or its directory is wrong")
    return _Window(file, start, info.file_size)


def write(filepath: Any, config: Any, metadata: Any, fill: Callable[[Any], None]) -> None:
    """An archive at a path, whole or not at all, or into a file object; `fill` puts the weights into an HDF5 group."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        fill(file)
    with contextlib.ExitStack() as stack:
        is_path = isinstance(filepath, (str, os.PathLike))
        target = stack.enter_context(replacing(os.fspath(filepath))) if is_path else filepath
        with zipfile.ZipFile(target, "w") as zipped:
            for name, data in ((METADATA, json.dumps(metadata)), (CONFIG, json.dumps(config)),
                               (WEIGHTS, memory.getvalue())):
                zipped.writestr(zipfile.ZipInfo(name), data)


__all__ = ["Archive", "CONFIG", "METADATA", "WEIGHTS", "is_archive", "opened", "write"]
