"""Attributes of HDF5 objects, read from the bytes of the file: lists of texts, which is all that Keras keeps there.

In: a file's bytes, the address of an object's header.  Out: the texts of an attribute.  What always holds: the HDF5
library is not asked, which believes what types and lengths an attribute declares; no more is read than the file holds.
"""
from __future__ import annotations

import math
import struct
from typing import Any, Iterator, NamedTuple

_ATTRIBUTE, _CONTINUATION, _SYMBOLS = 0x0C, 0x10, 0x11
_LAST = 1                                 # in place of a next free piece of a group's names: there is none
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_TEXT, _VARIABLE = 3, 9                   # classes of types; of the second those that begin with _OF_LETTERS are texts
_OF_LETTERS = 1
_NULL = 2                                 # a data space that holds nothing
_REFERENCE = 16                           # bytes for a text that lies in a heap: its length, the heap, its number there
_HEAP = b"GCOL\x01"


class Bytes(NamedTuple):
    """A file's bytes: a file object, where HDF5 begins in it, how many there are."""
    file: Any
    base: int
    size: int

    def read(self, start: int, count: int) -> bytes:
        """Exactly these bytes; ValueError if the file has not all of them."""
        if start < 0 or count < 0 or self.base + start + count > self.size:
            raise ValueError(f"{count} bytes at {start} are not within the {self.size} bytes of the file")
        self.file.seek(self.base + start)
        return bytes(self.file.read(count))


def opened(file: Any, base: int) -> Bytes:
    """The bytes of a file object in which HDF5 begins at `base`; ValueError if its addresses are not of 8 bytes."""
    source = Bytes(file, base, file.seek(0, 2))
    head = source.read(0, 16)
    widths = head[13:15] if head[8] < 2 else head[9:11]
    if widths != b"\x08\x08":
        raise ValueError(f"its addresses and lengths have {widths[0]} and {widths[1]} bytes; only 8 are read")
    return source


def check_root(file: Any) -> None:
    """`check_names` of the root group of a file object, before the HDF5 library opens it."""
    size, base = file.seek(0, 2), 0
    while base < size:
        source = Bytes(file, base, size)
        head = source.read(0, min(80, size - base))
        if head[:8] == _SIGNATURE and len(head) == 80:
            at = {0: 64, 1: 68, 2: 36, 3: 36}.get(head[8])
            if at is not None:
                check_names(source, struct.unpack_from("<Q", head, at)[0])
            return
        base = 2 * base or 512


def check_names(source: Bytes, address: int) -> None:
    """ValueError if the names of the group whose header stands at `address` have a list of free pieces without an end.

    The HDF5 library follows that list when it opens a group.  Headers that cannot be followed are left to it.
    """
    try:
        groups = [struct.unpack_from("<QQ", body)[1] for kind, body in _messages(source, address) if kind == _SYMBOLS]
        heaps = [(heap, *struct.unpack_from("<QQQ", source.read(heap, 32), 8)) for heap in groups]
    except (ValueError, IndexError, struct.error):
        return
    for heap, size, free, data in heaps:
        seen: set[int] = set()
        while free != _LAST and free + 16 <= size:
            if free in seen:
                raise ValueError(f"the free pieces of a group's names (at {heap}) lead back to one another")
            seen.add(free)
            free = struct.unpack("<Q", source.read(data + free, 8))[0]


def texts(source: Bytes, address: int, name: str) -> list[bytes]:
    """The texts of the attribute `name` of the object whose header stands at `address`; ValueError if it has others."""
    for kind, body in _messages(source, address):
        if kind == _ATTRIBUTE:
            label, type_, space, data = _parts(body)
            if label == name.encode("utf-8"):
                return _texts(source, type_, space, data)
    raise ValueError("it is stored apart from its object, which is not read: copy the file with h5py")


def _messages(source: Bytes, address: int) -> Iterator[tuple[int, bytes]]:
    """(kind, data) of an object header's messages, in its first block and those it goes on in."""
    head = source.read(address, 16)
    newer = head[:4] == b"OHDR"
    if newer:
        flags = head[5]
        at = 6 + 16 * bool(flags & 0x20) + 4 * bool(flags & 0x10)
        width = 1 << (flags & 3)
        count = int.from_bytes(source.read(address + at, width), "little")
        blocks = [(address + at + width, count)]
        layout, extra = "<BHB", 2 * bool(flags & 4)
    else:
        blocks = [(address + 16, struct.unpack_from("<I", head, 8)[0])]
        layout, extra = "<HHB3x", 0
    for start, count in blocks:                        # which grow
        data = source.read(start, count)
        at = 0
        while at + struct.calcsize(layout) <= len(data):
            kind, length, _ = struct.unpack_from(layout, data, at)
            at += struct.calcsize(layout) + extra
            body = data[at:at + length]
            at += length
            if kind == _CONTINUATION:
                start, length = struct.unpack_from("<QQ", body)
                blocks.append((start + 4, length - 8) if newer else (start, length))
                if sum(count for _, count in blocks) > source.size:
                    raise ValueError("its header is longer than the file")
            else:
                yield kind, body


def _parts(body: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """An attribute's name, type, data space and data."""
    version, flags = body[0], body[1]
    sizes = struct.unpack_from("<HHH", body, 2)
    if version not in (1, 2, 3) or version > 1 and flags:
        raise ValueError("its type is shared with other objects, or of an unknown version")
    at, out = 8 + (version == 3), []
    for size in sizes:
        out.append(body[at:at + size])
        at += -(-size // 8) * 8 if version == 1 else size
    return out[0].rstrip(b"\0"), out[1], out[2], body[at:]


def _texts(source: Bytes, type_: bytes, space: bytes, data: bytes) -> list[bytes]:
    cls, size = type_[0] & 0x0F, struct.unpack_from("<I", type_, 4)[0]
    version, rank = space[0], space[1]
    if version == 2 and space[3] == _NULL:
        return []
    count = math.prod(struct.unpack_from(f"<{rank}Q", space, 8 if version == 1 else 4))
    if not count:                                      # Keras writes a list of no names as one of no numbers
        return []
    width = _REFERENCE if cls == _VARIABLE else size
    if cls not in (_TEXT, _VARIABLE) or cls == _VARIABLE and type_[1] & 0x0F != _OF_LETTERS:
        raise ValueError(f"expected text, found data of another type (HDF5's class {cls})")
    if not size or cls == _VARIABLE and size != _REFERENCE or count * width > len(data):
        raise ValueError(f"it declares {count} texts of {size} bytes, and stores {len(data)} bytes")
    cells = [data[i * width:(i + 1) * width] for i in range(count)]
    return [c.rstrip(b"\0") for c in cells] if cls == _TEXT else _from_heaps(source, cells)


def _from_heaps(source: Bytes, references: list[bytes]) -> list[bytes]:
    heaps: dict[int, dict[int, tuple[int, int]]] = {}
    out, total = [], 0
    for reference in references:
        length, heap, index = struct.unpack("<IQI", reference)
        if not length:
            out.append(b"")
            continue
        if heap not in heaps:
            heaps[heap] = _objects(source, heap)
        if index not in heaps[heap] or heaps[heap][index][1] < length:
            raise ValueError(f"a text of {length} bytes is not in its heap (object {index} at {heap})")
        total += length
        if total > source.size:
            raise ValueError(f"its texts declare {total} bytes and more, the file has {source.size}")
        out.append(source.read(heaps[heap][index][0], length).rstrip(b"\0"))
    return out


def _objects(source: Bytes, heap: int) -> dict[int, tuple[int, int]]:
    """Start and size of the objects in a global heap, which they fill one after another."""
    head = source.read(heap, 16)
    if head[:5] != _HEAP:
        raise ValueError(f"there is no global heap at {heap}")
    at, end = 16, struct.unpack_from("<Q", head, 8)[0]
    data = source.read(heap, end)
    found: dict[int, tuple[int, int]] = {}
    while at + 16 <= end:
        index, length = struct.unpack_from("<H6xQ", data, at)
        if not index:                                  # what is free, up to the end
            break
        if at + 16 + length > end:
            raise ValueError(f"an object of {length} bytes does not fit into its global heap, which has {end} bytes")
        found[index] = (heap + at + 16, length)
        at += 16 + -(-length // 8) * 8
    return found


__all__ = ["Bytes", "check_names", "check_root", "opened", "texts"]
