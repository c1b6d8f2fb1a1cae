"""Attributes of HDF5 objects as they stand in the file, checked before the HDF5 library reads them.

In: the bytes of a file, the address of an object's header.  Out: nothing, or a GraphkFormatError.  What always holds: a
text of variable length declares no more bytes than the file has; the library allocates what it declares before it looks
for it.  Attributes that lie elsewhere than in the header are not looked at.
"""
from __future__ import annotations

import struct
from typing import Any, Iterator

from graphk.frontend.saving.errors import GraphkFormatError

_ATTRIBUTE, _CONTINUATION, _VARIABLE_LENGTH = 0x0C, 0x10, 9
_MOST_BLOCKS = 1000


def check_attributes(source: Any, address: int, name: str) -> None:
    """GraphkFormatError for an attribute of the object whose header stands at `address` that declares too much."""
    size = source.seek(0, 2)
    try:
        for kind, data in _messages(source, address):
            if kind == _ATTRIBUTE:
                _check(data, size, name)
    except (struct.error, IndexError):
        return                                         # cut off or damaged: the library says so by itself


def _read(source: Any, start: int, count: int) -> bytes:
    source.seek(start)
    return bytes(source.read(min(count, 1 << 20)))


def _messages(source: Any, address: int) -> Iterator[tuple[int, bytes]]:
    """(kind, data) of an object header's messages, in its first block and those it goes on in."""
    head = _read(source, address, 64)
    newer = head[:4] == b"OHDR"
    if newer:
        flags = head[5]
        at = 6 + 16 * bool(flags & 0x20) + 4 * bool(flags & 0x10)
        width = 1 << (flags & 3)
        blocks = [(address + at + width, int.from_bytes(head[at:at + width], "little"))]
        layout, extra = "<BHB", 2 * bool(flags & 4)
    else:
        blocks = [(address + 16, struct.unpack_from("<I", head, 8)[0])]
        layout, extra = "<HHB3x", 0
    done = 0
    while done < min(len(blocks), _MOST_BLOCKS):
        data = _read(source, *blocks[done])
        done += 1
        at = 0
        while at + struct.calcsize(layout) <= len(data):
            kind, count, _ = struct.unpack_from(layout, data, at)
            at += struct.calcsize(layout) + extra
            body = data[at:at + count]
            at += count
            if kind == _CONTINUATION:
                start, length = struct.unpack_from("<QQ", body)
                blocks.append((start + 4, length - 8) if newer else (start, length))
            else:
                yield kind, body


def _check(body: bytes, size: int, name: str) -> None:
    version = body[0]
    names, types, spaces = struct.unpack_from("<HHH", body, 2)
    at = 8 + (version == 3)

    def padded(count: int) -> int:
        return -(-count // 8) * 8 if version == 1 else count
    label = body[at:at + names].rstrip(b"\0").decode("utf-8", "replace")
    at += padded(names)
    if body[at] & 0x0F != _VARIABLE_LENGTH:
        return
    at += padded(types) + padded(spaces)
    for place in range(at, len(body) - 15, 16):
        length = struct.unpack_from("<I", body, place)[0]
        if length > size:
            raise GraphkFormatError(name, label, f"a text declares {length} bytes, more than the {size} of the file")


__all__ = ["check_attributes"]
