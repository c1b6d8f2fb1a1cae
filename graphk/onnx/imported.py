"""ONNX files as models.

In: the path of an ONNX file.  Out: a model of one layer, `OnnxGraph`, that computes what the file's graph says and
whose weights are the file's.  What always holds: the layer's config is the whole graph in plain data, so
that the model is saved, copied and trained like any other; operators that graphk lacks are all named at once, before
anything is built.
"""
from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

from graphk.frontend.engine.base_layer import Layer, unwritten_weights
from graphk.frontend.engine.input_layer import Input
from graphk.frontend.engine.training import Model
from graphk.frontend.saving.errors import GraphkFormatError, malformed
from graphk.frontend.tensor import Tensor, node_of
from graphk.frontend.utils.generic_utils import to_list, unpack_singleton
from graphk.ir.interp import run_graph
from graphk.ir.node import Graph, Node
from graphk.onnx.operators import OPERATORS
from graphk.onnx.operators_loops import LOOPS
from graphk.onnx.operators_nn import NETWORK
from graphk.onnx.reading import read_onnx, unpacked
from graphk.onnx.values import Call, Value, as_value, of_dims

TABLE = {**OPERATORS, **NETWORK, **LOOPS}
_COMPUTED = 1 << 16                             # elements of a value that is computed while the graph is read
_WRITTEN_OUT = 1 << 18                          # nodes, each as often as the loops around it run
# What operators raise about operands and attributes that make no sense.
_NONSENSE = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError, StopIteration,
             TypeError, ValueError)


def import_model(path: Any) -> Model:
    """A model that computes what an ONNX file says, with the file's weights.

    Raises FileNotFoundError, GraphkFormatError if the file is malformed, NotImplementedError naming all operators that
    graphk does not have.  Needs the package onnx (`pip install graphk[onnx]`).
    """
    file = os.fspath(path)
    graph, weights = read_onnx(file)
    inputs = [Input(batch_shape=shape, dtype=dtype, name=_plain(name)) for name, dtype, shape in graph["inputs"]]
    if not inputs:
        raise GraphkFormatError(file, "inputs", "the graph has none; a model computes from something")
    layer = OnnxGraph(graph, name=_plain(os.path.splitext(os.path.basename(file))[0]))
    layer.file = file
    with unwritten_weights():
        outputs = to_list(layer(unpack_singleton(inputs)))
    layer.set_weights([w for _, w in sorted(enumerate(weights), key=lambda p: not graph["weights"][p[0]][3])])
    return Model(inputs, outputs)


def _plain(name: str) -> str:
    return re.sub(r"[^\w.\-]", "_", name) or "onnx"


class OnnxGraph(Layer):
    """A graph of ONNX's operators as a layer.  graph: what `read_onnx` says of a file, without the weights.

    To load a model with such a layer from a file of Keras, pass custom_objects={'OnnxGraph': OnnxGraph}.
    """

    def __init__(self, graph: dict[str, Any], **kwargs: Any):
        super().__init__(**kwargs)
        self.graph = graph
        self.file = self.name                   # what messages call the graph
        with malformed(self.file, "", "the graph cannot be read"):
            unknown = sorted({op for op in _operators(graph) if op not in TABLE})
        if unknown:
            raise NotImplementedError(f"{self.name}: graphk does not have the operators {', '.join(unknown)} of ONNX. "
                                      "Export the model without them, or compute them outside the model")

    def build(self, input_shape: Any) -> None:
        """The weights: those that training moves first."""
        with malformed(self.file, "weights", "they cannot be made"):
            for name, shape, dtype, moves in self.graph["weights"]:
                self.add_weight(name, tuple(shape), dtype, "zeros", trainable=moves)
        self.built = True

    def call(self, inputs: Any) -> Any:
        """The graph's outputs, a list if there are several."""
        declared = [name for name, _, _ in self.graph["inputs"]]
        given = to_list(inputs)
        if len(given) != len(declared):
            raise ValueError(f"Layer {self.name}: the graph takes the inputs {declared}, received {len(given)} "
                             "tensors.")
        values: dict[str, Value] = {n: node_of(x) for n, x in zip(declared, given)}
        kept = {True: iter(self._trainable_weights), False: iter(self._non_trainable_weights)}
        values.update((name, node_of(next(kept[moves]))) for name, _, _, moves in self.graph["weights"])
        self._left = _WRITTEN_OUT
        made = self._results(self.graph, values)
        return unpack_singleton([Tensor(as_value(v)) for v in made])

    def get_config(self) -> dict[str, Any]:
        """The graph, without the weights' values."""
        return {**super().get_config(), "graph": self.graph}

    # ---------------------------------------------------------------- running
    def _results(self, graph: dict[str, Any], values: dict[str, Value]) -> list[Value]:
        with malformed(self.file, "constants", "they cannot be read"):
            known = {**values, **{n: unpacked(v) for n, v in graph["constants"].items()}}
        for op, inputs, outputs, attributes in graph["nodes"]:
            place = f"node `{(outputs or ['?'])[0]}` ({op})"
            self._left -= 1
            if self._left < 0:
                raise GraphkFormatError(self.file, place, f"with its loops written out, the graph has more than "
                                                          f"{_WRITTEN_OUT} nodes")
            with malformed(self.file, place, "it cannot be read"):
                call = Call(op, [known[n] if n else None for n in inputs], attributes, [o for o in outputs if o],
                            self.graph["opset"], lambda body, given: self._results(body, {**known, **given}))
            made = self._computed(call, place)
            if len([o for o in outputs if o]) > len(made):
                raise NotImplementedError(f"{self.file}: {place}: {len(outputs)} results are asked for; graphk makes "
                                          f"{len(made)}")
            known.update((name, value) for name, value in zip(outputs, made) if name)
        return [known[name] for name in graph["outputs"]]

    def _computed(self, call: Call, place: str) -> list[Value]:
        """A node's results; as arrays where all operands are."""
        try:
            given = [x for x in call.inputs if x is not None]
            arrays = [x for x in given if isinstance(x, np.ndarray)]
            if len(arrays) == len(given) and any(x.dtype == object for x in arrays):
                of_shapes = of_dims(call)
                if of_shapes is not None:
                    return [of_shapes]
            out = TABLE[call.op](call)
            made = list(out) if isinstance(out, (list, tuple)) else [out]
            known = len(arrays) == len(given) and not any(x.dtype == object for x in arrays)
            return _folded(made) if known and call.op not in LOOPS else made
        except NotImplementedError as e:
            raise NotImplementedError(f"{self.file}: {place}: {e}") from e
        except GraphkFormatError:
            raise
        except _NONSENSE as e:
            raise GraphkFormatError(self.file, place, f"{type(e).__name__}: {e}") from e


def _folded(values: list[Value]) -> list[Value]:
    """What needs no data, computed now, if it is small."""
    nodes = [v for v in values if isinstance(v, Node)]
    if any(not isinstance(n.t.size, int) or n.t.size > _COMPUTED for n in nodes):
        return values
    arrays = iter(run_graph(Graph((), tuple(nodes)), []))
    return [next(arrays) if isinstance(v, Node) else v for v in values]



def _operators(graph: dict[str, Any]) -> list[str]:
    """The operators of a graph and its bodies."""
    found = []
    for op, _, _, attributes in graph["nodes"]:
        found.append(op)
        for value in attributes.values():
            if isinstance(value, dict) and "nodes" in value:
                found += _operators(value)
    return found


__all__ = ["OnnxGraph", "import_model"]
