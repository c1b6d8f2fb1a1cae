"""HDF5 files, read with suspicion and written whole or not at all.

In: a path, an open h5py file or group, a file object.  Out: `Place`, a group whose attributes and arrays are checked
before they are read; a group to write into.  What always holds: reading follows hard links only, never leaves the
file, and takes no more memory than the file stores; an interrupted write leaves the old file as it was.
"""
from __future__ import annotations

import contextlib
import io
import math
import os
import stat
from typing import Any, Iterator, Sequence

import h5py
import numpy as np

from graphk.frontend.saving import headers
from graphk.frontend.saving.chunks import check_chunks
from graphk.frontend.saving.errors import GraphkFormatError, malformed
from graphk.frontend.utils.io_utils import H5Dict

# Larger attributes do not fit into an object's header: Keras splits lists of names into `name0`, `name1`, …
HEADER_LIMIT = 64512
_COMPRESSION = 1100                 # deflate makes at most 1032 bytes of one
_KINDS = {"f", "i", "u", "b"}
_LINKS = {h5py.h5l.TYPE_SOFT: "SoftLink", h5py.h5l.TYPE_EXTERNAL: "ExternalLink"}


class Place:
    """A group of an open file.

    file: what messages call the file; path: the group's path in it; source: the file's bytes, from which attributes
    are read; None for a file that the caller opened, for which h5py reads them.
    """

    def __init__(self, group: Any, file: str, path: str = "", source: headers.Bytes | None = None):
        self._group, self.file, self.path, self._source = group, file, path, source

    def error(self, reason: str, name: str = "") -> GraphkFormatError:
        """An error about something in this group."""
        return GraphkFormatError(self.file, self._at(name), reason)

    def _at(self, name: str) -> str:
        return "/".join(part for part in (self.path, name) if part) or "/"

    def _address(self) -> int:
        """Where the group's header stands."""
        with malformed(self.file, self.path, "the group's header cannot be found"):
            return int(h5py.h5o.get_info(self._group.id).addr)

    # ---------------------------------------------------------------- attributes
    def has_attribute(self, name: str) -> bool:
        """Whether the group has the attribute `name`."""
        with malformed(self.file, self._at(name), "the attribute cannot be looked up"):
            return name in self._group.attrs

    def text(self, name: str) -> str | None:
        """A text attribute, None if there is none."""
        found = self._texts(name) if self.has_attribute(name) else None
        if found is not None and len(found) != 1:
            raise self.error(f"expected text, found {len(found)} texts", name)
        return found[0] if found else None

    def texts(self, name: str) -> list[str] | None:
        """A list of texts, which may be split into `name0`, `name1`, …; None if there is none."""
        if self.has_attribute(name):
            return self._texts(name)
        found: list[str] = []
        part = 0
        while self.has_attribute(f"{name}{part}"):
            found += self._texts(f"{name}{part}")
            part += 1
        return found if part else None

    def _texts(self, name: str) -> list[str]:
        with malformed(self.file, self._at(name), "the attribute cannot be read as text"):
            if self._source is not None:
                found = headers.texts(self._source, self._address(), name)
                return [x.decode("utf-8") for x in found]
            stored = self._group.attrs.get_id(name)
            if stored.shape and not math.prod(stored.shape):
                return []
            if not isinstance(stored.get_type(), h5py.h5t.TypeStringID):
                raise ValueError("expected text, found data of another type")
            value = self._group.attrs[name]
            cells = [] if isinstance(value, h5py.Empty) else np.asarray(value).reshape(-1).tolist()
            return [_decoded(x) for x in cells]

    # ---------------------------------------------------------------- groups and arrays
    def keys(self) -> list[str]:
        """The names in this group."""
        with malformed(self.file, self.path, "the group cannot be listed"):
            names = list(self._group)
        wrong = [n for n in names if not isinstance(n, str)]
        if wrong:
            raise self.error(f"the name {wrong[0]!r} is not text")
        return names

    def __contains__(self, name: str) -> bool:
        with malformed(self.file, self._at(name), "the name cannot be looked up"):
            return name in self._group

    def _open(self, name: str) -> Any:
        """The object at `name`, every step of whose path is a hard link."""
        steps = [s for s in name.split("/") if s]
        if not steps or {".", ".."} & set(steps) or "\0" in name:
            raise self.error("this is no name of an object", name)
        with malformed(self.file, self._at(name), "the object cannot be opened"):
            for i, step in enumerate(steps):
                try:
                    link = self._group.id.links.get_info("/".join(steps[:i + 1]).encode("utf-8"))
                    kind = link.type
                except KeyError:
                    raise self.error("there is nothing by this name", name) from None
                if kind != h5py.h5l.TYPE_HARD:
                    raise self.error(f"`{step}` is a {_LINKS.get(kind, 'link of another kind')}; links are refused, "
                                     "since they lead to other places and files. Copy the data into the file", name)
                if self._source is not None:
                    headers.check_names(self._source, link.u)
            return self._group["/".join(steps)]

    def group(self, name: str) -> "Place":
        """The group at `name`."""
        found = self._open(name)
        if not isinstance(found, h5py.Group):
            raise self.error(f"expected a group, found {type(found).__name__}", name)
        return Place(found, self.file, self._at(name), self._source)

    def unreadable(self, most: int = 100) -> list[str]:
        """What is wrong with the links and arrays in here, at any depth."""
        found: list[str] = []
        waiting, seen = [self], set()
        while waiting and len(found) < most:
            place = waiting.pop()
            address = place._address()
            if address in seen:                        # hard links may go round in circles
                continue
            seen.add(address)
            for name in place.keys():
                try:
                    if isinstance(place._open(name), h5py.Group):
                        waiting.append(place.group(name))
                    else:
                        place.array(name)
                except GraphkFormatError as e:
                    found.append(f"{e.place}: {e.reason}")
        return found

    def array(self, name: str) -> "Stored":
        """The array at `name`, not yet read."""
        found = self._open(name)
        if not isinstance(found, h5py.Dataset):
            raise self.error(f"expected an array, found {type(found).__name__}", name)
        return Stored(found, self, name)


def _decoded(x: Any) -> str:
    """h5py's text; it lets wrong bytes through."""
    return x.decode("utf-8") if isinstance(x, bytes) else x.encode("utf-8", "surrogateescape").decode("utf-8")


class Stored:
    """An array in a file.  shape, dtype: what reading gives."""

    def __init__(self, dataset: Any, place: Place, name: str):
        self._data, self._place, self.name = dataset.id, place, name
        with malformed(place.file, place._at(name), "the array cannot be described"):
            self.dtype: np.dtype = self._data.dtype
            if self.dtype.kind not in _KINDS:          # before the library looks for values in heaps
                raise self.error(f"expected numbers, found data of type {self.dtype}")
            self._properties = self._data.get_create_plist()
            if self._data.get_space().get_simple_extent_type() == h5py.h5s.NULL:
                raise self.error("the array is empty (it has a null data space)")
            self.shape: tuple[int, ...] = tuple(int(n) for n in self._data.shape)
            self.ndim, self.size = len(self.shape), math.prod(self.shape)
            self._check()

    def _check(self) -> None:
        data, properties = self._data, self._properties
        if properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count():
            raise self.error("its data lies in other files, which is refused. Copy it into the file")
        filtered = properties.get_nfilters() > 0
        stored, declared = data.get_storage_size(), self.size * self.dtype.itemsize
        stored = min(stored, h5py.h5i.get_file_id(data).get_filesize())          # whatever it declares
        if declared > stored * (_COMPRESSION if filtered else 1):
            raise self.error(f"it declares the shape {self.shape} of {self.dtype}, {declared} bytes, but the file "
                             f"stores {stored}")
        if properties.get_layout() == h5py.h5d.CHUNKED and self.size:
            check_chunks(data, properties)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.read().astype(dtype or self.dtype, copy=False)

    def error(self, reason: str) -> GraphkFormatError:
        return self._place.error(reason, self.name)

    def lies_plain(self) -> bool:
        """Whether the numbers lie as they are, all within the file: reading them fails only where the disk does."""
        with malformed(self._place.file, self._place._at(self.name), "the array cannot be described"):
            start, end = self._data.get_offset(), h5py.h5i.get_file_id(self._data).get_filesize()
            return self._properties.get_layout() == h5py.h5d.CONTIGUOUS and start is not None and \
                start + self.size * self.dtype.itemsize <= end

    def read(self) -> np.ndarray:
        """The values."""
        out = np.empty(self.shape, self.dtype)
        self.read_into(out)
        return out

    def read_into(self, array: np.ndarray) -> None:
        """The values, converted to the type of `array`, which has the same shape."""
        with malformed(self._place.file, self._place._at(self.name), "the array cannot be read"):
            if self.size:
                self._data.read(h5py.h5s.ALL, h5py.h5s.ALL, array)


@contextlib.contextmanager
def reading(filepath: Any) -> Iterator[Place]:
    """The root of the file (or the group) that `filepath` stands for.

    Raises FileNotFoundError if there is no such file and GraphkFormatError if it is not HDF5.
    """
    filepath = filepath.data if isinstance(filepath, H5Dict) else filepath
    if isinstance(filepath, h5py.Group):
        yield Place(filepath, getattr(filepath.file, "filename", "<memory>") or "<memory>", filepath.name.strip("/"))
        return
    name = file_name(filepath)
    if isinstance(filepath, (str, os.PathLike)):
        _refuse_foreign(os.fspath(filepath))
    elif not hasattr(filepath, "read"):
        raise TypeError(f"expected a path, an h5py file or group, or a file object open for reading; received "
                        f"{filepath!r:.80}, a {type(filepath).__name__}")
    with malformed(name, "", "the file cannot be opened as HDF5"):
        with contextlib.ExitStack() as looking:
            headers.check_root(looking.enter_context(open(filepath, "rb")) if isinstance(filepath, (str, os.PathLike))
                               else filepath)
        file = h5py.File(filepath, "r")
    with file, contextlib.ExitStack() as opened:
        is_path = isinstance(filepath, (str, os.PathLike))
        source = opened.enter_context(open(filepath, "rb")) if is_path else filepath
        with malformed(name, "", "the file cannot be opened as HDF5"):
            data = headers.opened(source, file.userblock_size)
        yield Place(file, name, source=data)


def file_name(filepath: Any) -> str:
    """What messages call a file."""
    if isinstance(filepath, (str, os.PathLike)):
        return os.fspath(filepath)
    return str(getattr(filepath, "name", f"<{type(filepath).__name__}>"))


def _refuse_foreign(path: str) -> None:
    """Say what a file that is not HDF5 is, before h5py says that it is not."""
    if not os.path.exists(path):
        raise FileNotFoundError(2, f"Unable to open file (no such file, looked for in {os.getcwd()})", path)
    if os.path.isdir(path):
        inside = sorted(os.listdir(path))[:5]
        what = "a TensorFlow SavedModel, which graphk does not read: save it as HDF5 (`model.save('model.h5')`)" \
            if "saved_model.pb" in inside else f"a folder; it holds {inside}"
        raise GraphkFormatError(path, "", f"expected an HDF5 file, found {what}")
    if not h5py.is_hdf5(path):
        with open(path, "rb") as f:
            head = f.read(16)
        raise GraphkFormatError(path, "", f"it is not an HDF5 file (or is damaged): {os.path.getsize(path)} bytes, "
                                          f"beginning with {head!r}. Expected a file written by `model.save` or "
                                          "`model.save_weights`")


# ------------------------------------------------------------------ writing
@contextlib.contextmanager
def writing(filepath: Any) -> Iterator[Any]:
    """An empty group; what has been put into it stands at `filepath` when the block ends without an error."""
    filepath = filepath.data if isinstance(filepath, H5Dict) else filepath
    if isinstance(filepath, h5py.Group):
        yield filepath
    elif isinstance(filepath, (str, os.PathLike)):
        with replacing(os.fspath(filepath)) as aside, open(aside, "w+b", buffering=0) as raw:
            disk = _Disk(raw)
            with h5py.File(disk, "w") as file:
                yield file
            if disk.error is not None:
                raise disk.error
    elif hasattr(filepath, "write"):
        memory = io.BytesIO()
        with h5py.File(memory, "w") as file:
            yield file
        filepath.write(memory.getvalue())
    else:
        raise TypeError(f"expected a path, an h5py file or group, or a file object open for writing; received "
                        f"{filepath!r:.80}, a {type(filepath).__name__}")


class _Disk(io.RawIOBase):
    """A file that keeps the first error of writing to it: HDF5 cannot close a file whose disk is full."""

    def __init__(self, raw: Any):
        self.raw = raw
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while self.error is None and len(rest):
                rest = rest[self.raw.write(rest):]
        except OSError as e:
            self.error = e
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return int(self.raw.truncate(size)) if self.error is None else size or 0
        except OSError as e:
            self.error = e
            return size or 0

    def readinto(self, buffer: Any) -> int:
        return int(self.raw.readinto(buffer))

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self.raw.seek(offset, whence))

    def tell(self) -> int:
        return int(self.raw.tell())


@contextlib.contextmanager
def replacing(path: str) -> Iterator[str]:
    """A path beside `path`; the file made there takes the place of `path`, durably, when the block ends well."""
    path = os.path.realpath(path)                      # a link stays, the file it leads to is replaced
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        raise IsADirectoryError(21, "cannot write a file here: there is a folder by this name", path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(2, "cannot write a file here: there is no such folder. Make it first", folder)
    mode = stat.S_IMODE(os.stat(path).st_mode) if os.path.exists(path) else None
    aside = os.path.join(folder, f".{os.path.basename(path)[:200]}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        yield aside
        if mode is not None:
            os.chmod(aside, mode)
        _sync(aside)
        os.replace(aside, path)
        _sync(folder)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as e:                               # some file systems cannot sync a folder
        if not os.path.isdir(path):
            raise e
    finally:
        os.close(handle)


def put_texts(group: Any, name: str, texts: Sequence[str]) -> None:
    """A list of texts as an attribute, split where it does not fit into a header; RuntimeError for too long a text."""
    data = [t.encode("utf-8") for t in texts]
    long = [t for t in data if len(t) > HEADER_LIMIT]
    if long:
        raise RuntimeError(f"The following attributes cannot be saved to an HDF5 file because they are larger than "
                           f"{HEADER_LIMIT} bytes: {long!r:.200}")
    whole = np.array(data, dtype=f"S{max(map(len, data), default=1) or 1}")
    if whole.nbytes <= HEADER_LIMIT:
        group.attrs[name] = whole
        return
    per_part = HEADER_LIMIT // whole.itemsize
    for i, at in enumerate(range(0, len(whole), per_part)):
        group.attrs[f"{name}{i}"] = whole[at:at + per_part]


def put_array(group: Any, name: str, value: np.ndarray) -> None:
    """An array as a dataset."""
    dataset = group.create_dataset(name, value.shape, dtype=value.dtype)
    if value.size:
        dataset[() if not value.shape else slice(None)] = value


__all__ = ["HEADER_LIMIT", "Place", "Stored", "file_name", "put_array", "put_texts", "reading", "replacing", "writing"]
