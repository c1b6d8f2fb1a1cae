"""What an ONNX graph is written with: names, nodes, constants, and dims as values.

In: names of operators, values and attributes.  Out: the nodes and initializers of an ONNX graph.  What always holds: a
name is given once in the whole model, bodies of loops included; equal constants are stored once; a symbolic dim is
read from the shape of an input, in the outermost graph, where every body sees it.
"""
from __future__ import annotations

import hashlib
import re
from typing import Any, Sequence

import numpy as np

from graphk.frontend.utils.optional import need
from graphk.ir.dims import Dim, DimExpr, SymDim
from graphk.ir.node import Node, origin_of

TO_THE_FRONT = -2 ** 63             # the end of a slice that walks backwards and takes the first element, too


class Names:
    """Names that are given once each."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def fresh(self, wanted: str) -> str:
        """`wanted`, or with a number behind it."""
        name = wanted
        while name in self._taken:
            self._taken[wanted] += 1
            name = f"{wanted}_{self._taken[wanted]}"
        self._taken[name] = 0
        return name


class Writer:
    """One ONNX graph that is being written; the body of a loop is a Writer whose `outer` is the graph around it.

    opset: the version of ONNX's operators; values: the name of each node's value, a list for several; layer: the name
    that what is written now starts with.
    """

    def __init__(self, opset: int, outer: "Writer | None" = None):
        self.onnx: Any = outer.onnx if outer else need("onnx", "onnx", "ONNX export")
        self.opset, self.outer = opset, outer
        self.root: Writer = outer.root if outer else self
        self.names: Names = outer.names if outer else Names()
        self.nodes: list[Any] = []
        self.values: dict[Node, Any] = dict(outer.values) if outer else {}
        self.layer = ""
        self.weights: dict[str, np.ndarray] = {}            # of the outermost graph, by name
        self._constants: dict[Any, str] = {}
        self._dims: dict[Dim, str] = {}
        self._turned: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._reshaped: dict[str, tuple[str, Sequence[Dim]]] = {}
        self.axes_of_inputs: dict[str, tuple[str, int]] = {}    # symbol: the input and axis whose extent it is

    # ---------------------------------------------------------------- nodes
    def emit(self, op: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> Any:
        """The name of the value of a new node; a list of them for several outputs."""
        name = self.names.fresh(f"{self.layer}/{op}" if self.layer else op)
        given = [name] if outputs == 1 else [self.names.fresh(f"{name}:{i}") for i in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), given, name=name, **attributes))
        return given[0] if outputs == 1 else given

    def constant(self, value: Any, dtype: str | None = None, name: str = "const") -> str:
        """The name of a constant."""
        array = np.ascontiguousarray(value, dtype).reshape(np.shape(value))
        raw = array.tobytes()
        long = len(raw) > 64
        key = (array.dtype.str, array.shape, hashlib.sha256(raw).digest() if long else raw, name if long else "")
        root = self.root
        if key not in root._constants:
            given = self.names.fresh(name)
            root.weights[given] = array
            root._constants[key] = given
        return root._constants[key]

    def weight(self, name: str, value: np.ndarray) -> str:
        """The name of an initializer of its own."""
        given = self.names.fresh(name)
        self.root.weights[given] = value
        return given

    def ints(self, values: Sequence[int]) -> str:
        """A constant vector of int64."""
        return self.constant(np.array(values, np.int64))

    # ---------------------------------------------------------------- dims
    def dims(self, values: Sequence[Dim]) -> str:
        """A vector of int64 that holds `values`."""
        if all(isinstance(v, int) for v in values):
            return self.ints([int(v) for v in values if isinstance(v, int)])
        parts: list[str] = []
        known: list[int] = []
        for v in values:
            if isinstance(v, int):
                known.append(v)
                continue
            parts += [self.ints(known)] * bool(known) + [self.root._dim(v)]
            known = []
        parts += [self.ints(known)] * bool(known)
        return parts[0] if len(parts) == 1 else str(self.emit("Concat", parts, axis=0))

    def scalar(self, d: Dim, dtype: str = "int64") -> str:
        """A scalar that holds `d`."""
        if isinstance(d, int):
            return self.constant(np.array(d, dtype))
        value = self.emit("Squeeze", [self.root._dim(d), self.ints([0])])
        return value if dtype == "int64" else str(self.cast(value, dtype))

    def _dim(self, d: Dim) -> str:
        """A vector of one element, `d`; only in the outermost graph, once."""
        if isinstance(d, int):
            return self.ints([d])
        if d not in self._dims:
            layer, self.layer = self.layer, "shape"
            total = ""
            for atoms, factor in d.terms:
                value = self.ints([factor]) if factor != 1 or not atoms else ""
                for atom in atoms:
                    value = self._pair("Mul", value, self._atom(atom))
                total = self._pair("Add", total, value)
            self._dims[d], self.layer = total, layer
        return self._dims[d]

    def _pair(self, op: str, a: str, b: str) -> str:
        return str(self.emit(op, [a, b])) if a else b

    def _atom(self, atom: Any) -> str:
        alone = DimExpr((((atom,), 1),))
        if alone not in self._dims:
            if isinstance(atom, SymDim):
                source, axis = self.axes_of_inputs[atom.name]
                value = self.emit("Shape", [source], start=axis, end=axis + 1)
            else:
                a, b = self._dim(atom.a), self._dim(atom.b)
                value = self.floordiv(a, b) if atom.op == "floordiv" else self.emit("Max", [a, b])
            self._dims[alone] = value
        return self._dims[alone]

    # ---------------------------------------------------------------- what several rules need
    def floordiv(self, a: str, b: str) -> str:
        """Integers divided and rounded down (ONNX rounds towards zero)."""
        return str(self.emit("Div", [self.emit("Sub", [a, self.emit("Mod", [a, b])]), b]))

    def cast(self, value: str, dtype: str) -> str:
        """`value` in another type."""
        return str(self.emit("Cast", [value], to=self.type_number(dtype)))

    def type_number(self, dtype: str) -> int:
        """ONNX's number for a type."""
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def transpose(self, value: str, perm: Sequence[int]) -> str:
        """`value` with its axes in another order; two transpositions become one, or none."""
        perm = tuple(perm)
        if value in self._turned:
            value, before = self._turned[value]
            perm = tuple(before[p] for p in perm)
        if perm == tuple(range(len(perm))):
            return value
        out = self.emit("Transpose", [value], perm=perm)
        self._turned[out] = (value, perm)
        return str(out)

    def reshape(self, value: str, before: Sequence[Dim], after: Sequence[Dim]) -> str:
        """`value`, of the shape `before`, in the shape `after`; of two in a row the second alone is needed."""
        if value in self._reshaped:
            value, before = self._reshaped[value]
        if tuple(before) == tuple(after):
            return value
        target: list[Any] = [0 if i < len(before) and before[i] == d and not isinstance(d, int) else d
                             for i, d in enumerate(after)]
        open_ = [i for i, d in enumerate(target) if not isinstance(d, int)]
        if any(d == 0 for d in after if isinstance(d, int)):
            out = self.emit("Reshape", [value, self.dims(after)], allowzero=1)
        else:
            if len(open_) == 1:
                target[open_[0]] = -1
            out = self.emit("Reshape", [value, self.dims(target)])
        self._reshaped[out] = (value, tuple(before))
        return str(out)

    def pad(self, value: str, before: Sequence[Dim], after: Sequence[Dim], fill: str = "") -> str:
        """`value` with zeros (or `fill`) around."""
        if all(isinstance(d, int) and d == 0 for d in (*before, *after)):
            return value
        return str(self.emit("Pad", [value, self.dims([*before, *after]), *([fill] if fill else [])]))

    def above_zero(self, value: str, dtype: str) -> str:
        """`value`, on its way into a MaxPool: the zeros of a Pad before it become the smallest number above 0.

        ONNX Runtime (1.31) joins a Pad of zeros and a MaxPool, whose own padding is the lowest number, not 0.
        """
        source, perm = self._turned.get(value, (value, ()))
        made = next((n for n in self.nodes if source in n.output), None)
        if made is None or made.op_type != "Pad" or len(made.input) > 2:
            return value
        out = str(self.emit("Pad", [*made.input, self.constant(np.finfo(dtype).smallest_subnormal, dtype)]))
        return self.transpose(out, perm) if perm else out

    def slice(self, value: str, axes: Sequence[int], starts: Sequence[Dim], sizes: Sequence[Dim],
              steps: Sequence[int]) -> str:
        """starts + i * steps, `sizes` of them, along `axes`."""
        if not axes:
            return value
        ends = [a + n * s for a, n, s in zip(starts, sizes, steps)]
        ends = [TO_THE_FRONT if isinstance(e, int) and e < 0 else e for e in ends]
        return str(self.emit("Slice", [value, self.dims(starts), self.dims(ends), self.ints(axes), self.ints(steps)]))

    def reduce(self, op: str, value: str, axes: Sequence[int], keepdims: bool) -> str:
        """A reduction; its axes became an input with opset 18 (of ReduceSum before)."""
        if not axes:
            return value
        if op == "ReduceSum" or self.opset >= 18:
            return str(self.emit(op, [value, self.ints(axes)], keepdims=int(keepdims)))
        return str(self.emit(op, [value], axes=list(axes), keepdims=int(keepdims)))


def layer_of(node: Node) -> str:
    """What values of `node` are called after: its layer, in the letters that names of files allow."""
    return re.sub(r"[^\w.\-/]", "_", origin_of(node).layer)


__all__ = ["Names", "TO_THE_FRONT", "Writer", "layer_of"]
