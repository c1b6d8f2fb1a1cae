"""Event files, which TensorBoard reads: numbers, histograms, pictures of arrays, graphs.

In: tags, steps and arrays; the tensors of a model.  Out: a file of events in a directory.  What always holds: the
package `tensorboard` is imported with the first file, and TensorFlow never asked for; what is written before `flush`
is on the disk after it.
"""
from __future__ import annotations

import os
import re
import struct
import sys
import time
import warnings
import zlib
from types import ModuleType
from typing import Any, Iterable, Mapping, Sequence

import numpy as np

from graphk.frontend.compat import stands_for_tensorflow
from graphk.frontend.utils.optional import need
from graphk.ir.node import Node, origin_of, topological
from graphk.ir.types import TensorType

OWNER = "TensorBoard"


def _proto(module: str) -> Any:
    return need(f"tensorboard.compat.proto.{module}_pb2", "tensorboard", OWNER)


class EventFile:
    """A file of events in `log_dir`, which is made if it is not there; ImportError without `tensorboard`."""

    def __init__(self, log_dir: Any):
        if stands_for_tensorflow():                    # the package writes files by itself where it finds this module
            sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
        self._writer = need("tensorboard.summary.writer.event_file_writer", "tensorboard", OWNER).EventFileWriter(
            os.fspath(log_dir))

    def _add(self, step: int, **content: Any) -> None:
        self._writer.add_event(_proto("event").Event(wall_time=time.time(), step=step, **content))

    def _add_value(self, step: int, tag: str, **value: Any) -> None:
        summary = _proto("summary").Summary
        self._add(step, summary=summary(value=[summary.Value(tag=tag, **value)]))

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        """Numbers by their tags; what is no number is left out with a warning."""
        for tag, value in values.items():
            if np.size(value) != 1 or isinstance(value, str):
                warnings.warn(f"TensorBoard draws curves of numbers: `{tag}`, which is {value!r}, is left out.",
                              stacklevel=2)
            else:
                self._add_value(step, tag, simple_value=float(np.asarray(value).item()))

    def histogram(self, tag: str, values: "Histogram", step: int) -> None:
        """How often each size of number occurs; with a warning if there are some that are not finite."""
        if values.strange:
            warnings.warn(f"TensorBoard: `{tag}` holds {values.strange} numbers that are NaN or infinite; the "
                          "histogram is of the others.", stacklevel=2)
        self._add_value(step, tag, histo=_proto("summary").HistogramProto(**values.fields()))

    def images(self, tag: str, images: np.ndarray, step: int) -> None:
        """The first three of gray pictures (count, height, width)."""
        image = _proto("summary").Summary.Image
        for i, picture in enumerate(images[:3]):
            height, width = picture.shape
            self._add_value(step, f"{tag}/image" + (f"/{i}" if len(images) > 1 else ""), image=image(
                height=height, width=width, colorspace=1, encoded_image_string=png(gray(picture))))

    def graph(self, outputs: Iterable[Node]) -> None:
        """What the outputs are computed from."""
        self._add(0, graph_def=graph_def(outputs).SerializeToString())

    def flush(self) -> None:
        """Put everything on the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Put everything on the disk and close the file."""
        self._writer.close()


# ------------------------------------------------------------------ histograms
def _limits() -> np.ndarray:
    """The upper bounds of the buckets of TensorBoard's histograms: each a tenth above the one before, on both sides."""
    above = [*1e-12 * 1.1 ** np.arange(776), np.finfo(float).max]
    return np.array([*(-x for x in reversed(above)), 0., *above])


class Histogram:
    """Counts of numbers in fixed buckets, to which more can be added.

    >>> h = Histogram()
    >>> h.add(np.array([1., 1., 2., np.nan]))
    >>> h.fields()["num"], h.fields()["sum"], h.strange
    (3.0, 4.0, 1)
    """

    limits = _limits()

    def __init__(self) -> None:
        self.counts = np.zeros(len(self.limits))
        self.low, self.high, self.sum, self.squares, self.strange = np.inf, -np.inf, 0., 0., 0

    def add(self, values: np.ndarray) -> None:
        """Count these too."""
        finite = np.asarray(values, "float64").ravel()
        finite = finite[np.isfinite(finite)]
        self.strange += np.size(values) - finite.size
        if finite.size:
            places = np.minimum(np.searchsorted(self.limits, finite, "right"), len(self.limits) - 1)
            self.counts += np.bincount(places, minlength=len(self.limits))
            self.low, self.high = min(self.low, finite.min()), max(self.high, finite.max())
            self.sum += finite.sum()
            self.squares += np.square(finite).sum()

    def fields(self) -> dict[str, Any]:
        """What the event file holds: of a run of empty buckets, only the last, which is where the next one begins."""
        full = np.flatnonzero(self.counts)
        if not full.size:
            return {"bucket_limit": [0.], "bucket": [0.]}
        kept = np.unique([*full, *(full[1:] - 1)])
        return {"min": self.low, "max": self.high, "num": self.counts.sum(), "sum": self.sum,
                "sum_squares": self.squares, "bucket_limit": self.limits[kept], "bucket": self.counts[kept]}


# ------------------------------------------------------------------ pictures
def gray(picture: np.ndarray) -> np.ndarray:
    """Bytes from black to white; where there are negative numbers, zero is the middle.

    >>> gray(np.array([[-1., 0., 1.]])).tolist(), gray(np.array([[0., 2.]])).tolist()
    ([[1, 128, 255]], [[0, 255]])
    """
    picture = np.nan_to_num(np.asarray(picture, "float64"))
    largest = np.abs(picture).max(initial=0.) or 1.
    signed = picture.min(initial=0.) < 0
    return (picture / largest * (127 if signed else 255) + (128 if signed else 0)).astype("uint8")


def png(pixels: np.ndarray) -> bytes:
    """A gray picture (height, width) of bytes as a PNG file."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    height, width = pixels.shape
    rows = np.hstack([np.zeros((height, 1), "uint8"), pixels]).tobytes()          # each with its filter: none
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


# ------------------------------------------------------------------ graphs
_KINDS = {"input": "Placeholder", "variable": "VariableV2", "const": "Const"}


def graph_def(outputs: Iterable[Node]) -> Any:
    """The operations that `outputs` need as a `GraphDef`, each under the name of its layer."""
    graph = _proto("graph").GraphDef()
    shape = _proto("tensor_shape").TensorShapeProto
    names: dict[Node, str] = {}
    used: dict[str, int] = {}
    for node in topological(outputs):
        names[node] = name = _unique(_name(node), used)
        kind = _KINDS.get(node.op.name, node.op.name)
        made = graph.node.add(name=name, op=kind, input=[names[i] for i in node.inputs])
        for t in _types(node):
            sizes = [shape.Dim(size=d if isinstance(d, int) else -1) for d in t.shape]
            made.attr["_output_shapes"].list.shape.append(shape(dim=sizes))
    return graph


def _types(node: Node) -> Sequence[Any]:
    return (node.type,) if isinstance(node.type, TensorType) else node.type.items


def _name(node: Node) -> str:
    if node.op.name == "phase":
        return "keras_learning_phase"
    layer = origin_of(node).layer
    given = dict(node.attrs).get("name")
    name = given.split(":")[0] if given else f"{layer}/{node.op.name}" if layer else node.op.name
    return re.sub(r"[^\w./-]", "_", name, flags=re.ASCII)


def _unique(name: str, used: dict[str, int]) -> str:
    found = name
    while found in used:
        used[name] += 1
        found = f"{name}_{used[name]}"
    used[found] = 0
    return found
