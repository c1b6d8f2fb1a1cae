"""Arrays that HDF5 stores in chunks, checked before the HDF5 library reads them.

In: an open dataset.  Out: nothing, or a ValueError.  What always holds: every chunk unpacks to exactly the bytes that
the library takes for granted; it reads past the end of a chunk that unpacks to fewer, and unpacks one of more whole.
"""
from __future__ import annotations

import math
import zlib
from typing import Any

# Those of HDF5's own filters that compressed weights have.  Others are code of other libraries, or plug-ins.
_DEFLATE, _SHUFFLE, _FLETCHER = 1, 2, 3
_CHECKSUM = 4                             # bytes behind a chunk
_MOST = 1 << 24                           # bytes of a chunk of an array that is smaller


def check_chunks(data: Any, properties: Any) -> None:
    """ValueError if a chunk of the dataset `data` is not what it should be; `properties`: how it was made."""
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    other = set(filters) - {_DEFLATE, _SHUFFLE, _FLETCHER}
    if other:
        raise ValueError(f"it is stored by the filters {sorted(other)}; only deflate, shuffle and checksums are read, "
                         "others may be plug-ins: code. Write it anew by h5py")
    if len(set(filters)) < len(filters):
        raise ValueError(f"it goes through one filter twice: {filters}")
    size = math.prod(properties.get_chunk()) * data.get_type().get_size()
    if size > max(_MOST, math.prod(data.shape) * data.get_type().get_size()):
        raise ValueError(f"its chunks declare {size} bytes each, more than the array of shape {data.shape} has")
    data.chunk_iter(lambda found: _check(data, found, filters, size))


def _check(data: Any, found: Any, filters: list[int], size: int) -> None:
    if found.size > 2 * size + 1024:                   # deflate adds a few bytes at most
        raise ValueError(f"a chunk of {size} bytes is stored in {found.size}")
    if not filters:
        unpacked = found.size
    else:
        mask, raw = data.read_direct_chunk(found.chunk_offset)
        on = [f for i, f in enumerate(filters) if not mask & 1 << i]
        unpacked = _unpacked(bytes(raw), [f for f in reversed(on) if f != _SHUFFLE], size)
    if unpacked != size:
        raise ValueError(f"a chunk unpacks to {unpacked} bytes, expected {size}")


def _unpacked(raw: bytes, filters: list[int], size: int) -> int:
    """How many bytes come out of the filters, in the order of reading; more than `size` are not counted to the end."""
    for kind in filters:
        raw = raw[:-_CHECKSUM] if kind == _FLETCHER else zlib.decompressobj().decompress(raw, size + _CHECKSUM + 1)
    return len(raw)


__all__ = ["check_chunks"]
