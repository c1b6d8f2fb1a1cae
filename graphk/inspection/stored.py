"""What a file of weights alone holds: layers, names, shapes, bytes.

In: the path of an HDF5 file without an architecture, or of a .safetensors file.  Out: a table, or None where the file
is something else.  What always holds: only shapes and types are read, no values; a file that lies about itself ends in
a GraphkFormatError.
"""
from __future__ import annotations

import json
import math
import os
import struct
from dataclasses import dataclass
from typing import Any, Iterator

from graphk.frontend.saving import archives
from graphk.frontend.saving.errors import GraphkFormatError, malformed
from graphk.frontend.saving.hdf5 import Place, reading
from graphk.frontend.saving.layer_folders import has_folders, numbered
from graphk.frontend.saving.weights import has_names, source
from graphk.inspection.facts import human
from graphk.inspection.tables import columns

HEAD = ("layer", "weight", "shape", "dtype", "params", "bytes")
SIGNATURE = b"\x89HDF\r\n\x1a\n"
SAFE_BITS = {"BOOL": 8, "U8": 8, "I8": 8, "F16": 16, "BF16": 16, "I16": 16, "U16": 16, "F32": 32, "I32": 32, "U32": 32,
             "F64": 64, "I64": 64, "U64": 64}
HEADER = 100_000_000                           # bytes that the header of a .safetensors file may have


@dataclass(frozen=True)
class Weight:
    """One array of a file."""
    layer: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    itemsize: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class StoredWeights:
    """All arrays of a file, in its order; prints as a table."""
    file: str
    writer: str
    weights: tuple[Weight, ...]

    def __str__(self) -> str:
        rows, last = [], None
        for w in self.weights:
            rows.append((w.layer if w.layer != last else "", w.name, str(w.shape), w.dtype, f"{w.size:,}",
                         human(w.size * w.itemsize, "B")))
            last = w.layer
        size, nbytes = sum(w.size for w in self.weights), sum(w.size * w.itemsize for w in self.weights)
        lines = columns(HEAD, [*rows, ("total", "", "", "", f"{size:,}", human(nbytes, "B"))], (0, 1, 2, 3)).split("\n")
        rule = "=" * max(map(len, lines))
        return "\n".join([f"{os.path.basename(self.file)}: weights only, {self.writer}", rule, lines[0], rule,
                          *lines[1:-1], rule, lines[-1]])


def stored_weights(path: str) -> StoredWeights | None:
    """What a file of weights holds; None for a file of anything else, a model's included."""
    if path.lower().endswith(".safetensors"):
        return StoredWeights(path, "a safetensors file", tuple(_of_safetensors(path)))
    with open(path, "rb") as f:
        if f.read(len(SIGNATURE)) != SIGNATURE or archives.is_archive(path):
            return None
    with reading(path) as root:
        if root.has_attribute("model_config") or not (has_names(root) or has_folders(root)):
            return None
        if not has_names(root):
            return StoredWeights(path, "of Keras 3, in its folders", tuple(_of_folders(root, "")))
        found = source(root)
        return StoredWeights(path, f"of Keras {found.version} on {found.backend or 'an unnamed back end'}", tuple(
            Weight(layer, s.name, s.shape, str(s.dtype), s.dtype.itemsize) for layer, all_ in found.layers
            for s in all_))


def _of_folders(place: Place, path: str) -> Iterator[Weight]:
    for name in place.keys():
        below = f"{path}/{name}".lstrip("/")
        if name == "vars":
            for s in numbered(place.group(name)):
                yield Weight(path, f"vars/{s.name}", s.shape, str(s.dtype), s.dtype.itemsize)
        elif _is_group(place, name):
            yield from _of_folders(place.group(name), below)


def _is_group(place: Place, name: str) -> bool:
    try:
        place.group(name)
    except GraphkFormatError:
        return False
    return True


def _of_safetensors(path: str) -> Iterator[Weight]:
    with open(path, "rb") as f, malformed(path, "", "it is not a safetensors file"):
        length, = struct.unpack("<Q", f.read(8))
        if length > min(HEADER, os.path.getsize(path)):
            raise ValueError(f"its header is said to have {length} bytes")
        header: dict[str, Any] = json.loads(f.read(length))
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            layer, _, weight = name.partition("/") if "/" in name else name.rpartition(".")
            yield Weight(layer, weight, tuple(int(n) for n in entry["shape"]), entry["dtype"].lower(),
                         SAFE_BITS[entry["dtype"]] // 8)


__all__ = ["StoredWeights", "Weight", "stored_weights"]
