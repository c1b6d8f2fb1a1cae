"""ONNX files, read with suspicion.

In: the path of an ONNX file.  Out: a description of its graph in plain dicts and lists, which a layer's config can
hold, and the arrays of its weights.  What always holds: nothing outside the file is opened and nothing in it is
executed; memory stays in proportion to the file; every value is defined once, before it is read, so there are no
cycles.
"""
from __future__ import annotations

import base64
import math
import os
from typing import Any, Iterator

import numpy as np

from graphk.frontend.saving.errors import GraphkFormatError, malformed
from graphk.frontend.utils.optional import need
from graphk.ir.types import DTYPES

OPSETS = range(7, 22)
_DEPTH = 16                                     # bodies within bodies
# Operands that are numbers of the operator, not weights of the model, by operator.
_SETTINGS = {"Resize": (1, 2), "Upsample": (1,), "Pad": (2,), "Clip": (1, 2), "OneHot": (2,)}
_FIXED = {"BatchNormalization": (3, 4)}         # statistics: weights that training does not move


def read_onnx(path: Any) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The description of a file's graph, and its weights in the description's order.

    Raises FileNotFoundError, or GraphkFormatError saying what is wrong with the file.
    """
    onnx = need("onnx", "onnx", "ONNX import")
    name = os.fspath(path)
    with open(name, "rb") as file:
        data = file.read()
    try:
        model = onnx.ModelProto.FromString(data)
    except need("google.protobuf.message", "onnx", "ONNX import").DecodeError as e:
        raise GraphkFormatError(name, "", f"it is not an ONNX file (or is damaged): {e}") from e
    if not model.HasField("graph") or not model.graph.output:
        raise GraphkFormatError(name, "", "it is not an ONNX file (or is damaged): it holds no graph with outputs")
    with malformed(name, "", "the model cannot be read"):
        return _Reader(onnx, name).model(model)


class _Reader:
    """file: what messages call the file."""

    def __init__(self, onnx: Any, file: str):
        self.onnx, self.file = onnx, file

    def error(self, place: str, reason: str) -> GraphkFormatError:
        return GraphkFormatError(self.file, place, reason)

    def text(self, name: Any) -> str:
        """A name; protobuf gives bytes where they are no text."""
        if not isinstance(name, str):
            raise self.error("", f"it is not an ONNX file (or is damaged): {name!r:.80} is a name, and not UTF-8 text")
        return name

    # ---------------------------------------------------------------- the model
    def model(self, model: Any) -> tuple[dict[str, Any], list[np.ndarray]]:
        if model.functions:
            raise self.error("functions", f"the model defines {len(model.functions)} operators of its own "
                                          f"({model.functions[0].name}, …); export it with its functions inlined")
        arrays = self.arrays(model.graph)
        graph = self.graph(model.graph, set(), arrays, 0)
        fixed = self.weights(graph, arrays)
        weights = list(fixed)
        graph["inputs"] = [self.input(x) for x in model.graph.input if self.text(x.name) not in arrays]
        graph["opset"] = self.opset(model)
        graph["weights"] = [[n, list(arrays[n].shape), arrays[n].dtype.name, not fixed[n]] for n in weights]
        graph["constants"] = {n: packed(a) for n, a in arrays.items() if n not in fixed}
        return graph, [arrays[n] for n in weights]

    def opset(self, model: Any) -> int:
        own = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
        if len(own) != 1 or own[0] not in OPSETS:
            raise self.error("opset_import", f"the opset is {own or 'missing'}; graphk reads the opsets {OPSETS.start} "
                                             f"to {OPSETS.stop - 1}. Convert it with onnx.version_converter")
        return int(own[0])

    def input(self, info: Any) -> list[Any]:
        place, kind = f"input `{info.name}`", info.type.tensor_type
        if not info.type.HasField("tensor_type") or not kind.HasField("shape"):
            raise self.error(place, "expected a tensor with a declared number of axes")
        shape = [int(d.dim_value) if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim]
        if not shape:
            raise self.error(place, "it is a scalar; inputs of models have a batch axis")
        return [info.name, self.dtype(kind.elem_type, place), shape]

    def dtype(self, number: int, place: str) -> str:
        with malformed(self.file, place, "its type is unknown"):
            name = str(np.dtype(self.onnx.helper.tensor_dtype_to_np_dtype(number)))
        if name not in DTYPES:
            raise self.error(place, f"it is of type {name}; graphk has {', '.join(sorted(DTYPES))}")
        return name

    # ---------------------------------------------------------------- arrays
    def arrays(self, graph: Any) -> dict[str, np.ndarray]:
        """Initializers, and what Constant nodes hold."""
        if graph.sparse_initializer:
            raise self.error("sparse_initializer", "sparse weights are not read; store them dense")
        out: dict[str, np.ndarray] = {}
        for t in graph.initializer:
            if self.text(t.name) in out:
                raise self.error(f"initializer `{t.name}`", "there are two of this name")
            out[t.name] = self.array(t, f"initializer `{t.name}`")
        for n in graph.node:
            if n.op_type == "Constant" and len(n.output) == 1:
                if n.output[0] in out:
                    raise self.error(f"Constant `{n.output[0]}`", "there is an initializer of this name")
                out[n.output[0]] = self.constant(n)
        return out

    def constant(self, node: Any) -> np.ndarray:
        place = f"Constant `{node.output[0]}`"
        if len(node.attribute) != 1:
            raise self.error(place, f"expected one attribute, found {len(node.attribute)}")
        a = node.attribute[0]
        if a.name == "value" and a.type == a.TENSOR:
            return self.array(a.t, place)
        kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
        if a.name not in kinds:
            raise self.error(place, f"its attribute `{a.name}` is none that graphk reads: value, {', '.join(kinds)}")
        return np.array(self.onnx.helper.get_attribute_value(a), kinds[a.name])

    def array(self, tensor: Any, place: str) -> np.ndarray:
        """A tensor's numbers; the sizes are compared with what is stored before anything is made of them."""
        if tensor.data_location == tensor.EXTERNAL or tensor.external_data:
            raise self.error(place, "its data lies in another file, which is refused: store it in the file itself "
                                    "(onnx.save with save_as_external_data=False)")
        dtype = self.dtype(tensor.data_type, place)
        shape = tuple(tensor.dims)
        stored = len(tensor.raw_data) // np.dtype(dtype).itemsize if tensor.HasField("raw_data") else max(
            len(tensor.float_data), len(tensor.int32_data), len(tensor.int64_data), len(tensor.double_data),
            len(tensor.uint64_data))
        if any(d < 0 for d in shape) or math.prod(shape) != stored:
            raise self.error(place, f"it declares the shape {shape} of {dtype}, but stores {stored} numbers")
        with malformed(self.file, place, "it cannot be read"):
            return np.asarray(self.onnx.numpy_helper.to_array(tensor))

    # ---------------------------------------------------------------- nodes
    def graph(self, graph: Any, around: set[str], arrays: dict[str, np.ndarray], depth: int) -> dict[str, Any]:
        """Nodes and outputs; `around`: the values that a body may read."""
        if depth > _DEPTH:
            raise self.error(graph.name, f"there are more than {_DEPTH} bodies within each other")
        known = around | {x.name for x in graph.input} | set(arrays)
        nodes = []
        for i, n in enumerate(graph.node):
            place = f"node `{n.name or i}` ({n.op_type})"
            if n.op_type == "Constant":
                continue
            lost = [x for x in n.input if x and x not in known]
            if lost:
                raise self.error(place, f"it reads `{lost[0]}`, which nothing before it makes: the graph has a cycle, "
                                        "is not in order, or lacks a node")
            twice = [x for x in n.output if x and x in known]
            if twice:
                raise self.error(place, f"it makes `{twice[0]}`, which there is already")
            op = self.text(n.op_type if n.domain in ("", "ai.onnx") else f"{n.domain}.{n.op_type}")
            attributes = {self.text(a.name): self.attribute(a, place, known, depth) for a in n.attribute}
            known |= {self.text(x) for x in n.output if x}
            nodes.append([op, list(n.input), list(n.output), attributes])
        lost = [x.name for x in graph.output if x.name not in known]
        if lost:
            raise self.error("outputs", f"nothing makes the output `{lost[0]}`")
        return {"nodes": nodes, "outputs": [x.name for x in graph.output]}

    def attribute(self, a: Any, place: str, known: set[str], depth: int) -> Any:
        with malformed(self.file, place, f"the attribute `{a.name}` cannot be read"):
            if a.type == a.GRAPH:
                arrays = self.arrays(a.g)
                body = self.graph(a.g, known, arrays, depth + 1)
                body["inputs"] = [[x.name, self.dtype(x.type.tensor_type.elem_type, place), []] for x in a.g.input]
                body["constants"] = {n: packed(v) for n, v in arrays.items()}
                return body
            if a.type == a.TENSOR:
                return packed(self.array(a.t, place))
            value = self.onnx.helper.get_attribute_value(a)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if isinstance(value, (int, float)):
            return value
        if not isinstance(value, (list, tuple)) and not hasattr(value, "__iter__"):
            raise self.error(place, f"the attribute `{a.name}` is a {type(value).__name__}, which graphk does not read")
        return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in value]

    def weights(self, graph: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, bool]:
        """The arrays of floats that nodes compute with, in the order of reading; True: not moved by training."""
        found: dict[str, bool] = {}
        for op, name, at in _readings(graph):
            floats = name in arrays and arrays[name].dtype.kind == "f" and arrays[name].ndim
            if floats and at not in _SETTINGS.get(op, ()):
                found[name] = found.get(name, True) and at in _FIXED.get(op, ())
        return found


def _readings(graph: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    """(operator, value, position) of every operand, in bodies too."""
    for op, inputs, _, attributes in graph["nodes"]:
        for at, name in enumerate(inputs):
            yield op, name, at
        for value in attributes.values():
            if isinstance(value, dict) and "nodes" in value:
                yield from _readings(value)


def packed(array: np.ndarray) -> dict[str, Any]:
    """An array as JSON holds it."""
    return {"dtype": array.dtype.name, "shape": list(array.shape),
            "data": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")}


def unpacked(stored: dict[str, Any]) -> np.ndarray:
    """The array that `packed` stored; ValueError if it is none."""
    if stored["dtype"] not in DTYPES:
        raise ValueError(f"an array of type {stored['dtype']!r}; graphk has {', '.join(sorted(DTYPES))}")
    raw = base64.b64decode(stored["data"], validate=True)
    return np.frombuffer(raw, stored["dtype"]).reshape(stored["shape"])


__all__ = ["OPSETS", "packed", "read_onnx", "unpacked"]
