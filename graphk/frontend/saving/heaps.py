"""Global heaps of HDF5 files, checked before the HDF5 library reads them.

In: an open file, as bytes and as h5py sees it.  Out: nothing, or a GraphkFormatError.  What always holds: the objects
of each heap fill it one after another; the library follows their sizes and, for a free object of size 0, for ever.  Of
files over 16 MiB, what lies inside arrays is not searched for heaps: no file that a library wrote has any there.
"""
from __future__ import annotations

import struct
from typing import Any, Iterator

import h5py

from graphk.frontend.saving.errors import GraphkFormatError, malformed

_SIGNATURE = b"GCOL\x01\0\0\0"            # with version and reserved bytes: eight bytes that are no accident
_HEADER = 16                              # of a heap, and of each object: index, references, reserved, size
_SMALL = 1 << 24


def check_heaps(source: Any, file: Any, name: str) -> None:
    """GraphkFormatError for a heap in the file object `source`, open as `file`, whose objects do not fill it."""
    size = source.seek(0, 2)
    with malformed(name, "", "the file's arrays cannot be listed"):
        arrays = _extents(file) if size > _SMALL else []
    at = 0
    for start, end in [*sorted(arrays), (size, size)]:
        for heap in _found(source, at, min(start + len(_SIGNATURE), size)):
            _check(source, heap, size, name)
        at = max(at, end)


def _extents(file: Any) -> list[tuple[int, int]]:
    """Where the arrays lie that lie in one piece."""
    found: list[tuple[int, int]] = []

    def visit(name: bytes, about: Any) -> None:
        if about.type == h5py.h5o.TYPE_DATASET:
            data = h5py.h5d.open(file.id, name)
            if (start := data.get_offset()) is not None:
                found.append((start, start + data.get_storage_size()))
    h5py.h5o.visit(file.id, visit, info=True)
    return found


def _found(source: Any, start: int, end: int) -> Iterator[int]:
    """Places of the signature between two places."""
    if end - start < len(_SIGNATURE):
        return
    source.seek(start)
    piece = source.read(end - start)
    at = piece.find(_SIGNATURE)
    while at >= 0:
        yield start + at
        at = piece.find(_SIGNATURE, at + 1)


def _check(source: Any, at: int, size: int, name: str) -> None:
    def words(place: int) -> tuple[int, int]:
        source.seek(place)
        index, _, _, length = struct.unpack("<HHIQ", source.read(_HEADER))
        return index, length
    if at + _HEADER > size:
        return                                         # the library finds this out by itself
    end = at + words(at)[1]
    at += _HEADER
    while at + _HEADER <= min(end, size):
        index, length = words(at)
        taken = length if index == 0 else _HEADER + -(-length // 8) * 8
        if taken < _HEADER or at + taken > end:
            raise GraphkFormatError(name, f"byte {at}", f"an object of {length} bytes does not fit into its global "
                                    f"heap, which ends at byte {end}: the file is damaged")
        at += taken


__all__ = ["check_heaps"]
