"""Models as ONNX files.

In: a built model and a path.  Out: a file in which the model's test phase is a graph of ONNX's operators, its weights
are initializers by their names, and every value is called after the layer that it comes from.  What always holds: what
ONNX cannot say is refused by name, and then no file is written; the file appears whole or not at all.
"""
from __future__ import annotations

import os
from typing import Any, Sequence

import numpy as np

from graphk.frontend.saving.hdf5 import replacing
from graphk.frontend.tensor import node_of, variable_of
from graphk.ir.dims import DimExpr, SymDim
from graphk.ir.node import Graph, Node, attr_symbols, origin, origin_of, rewrite
from graphk.ir.opdef import const
from graphk.ir.ops.control import scan_op
from graphk.onnx.rules import RULES
from graphk.onnx.windows import PLANS, Plan
from graphk.onnx.writer import Writer, layer_of
from graphk.passes.decompose import with_body
from graphk.passes.recurrent import recurrent
from graphk.passes.shapes import shapes
from graphk.passes.simplify import simplify
from graphk.passes.specialize import specialize

OPSETS = range(17, 22)
_FORMATS = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10}             # the version of the file format that came with an opset
_RANDOM = {"uniform01", "normal", "bernoulli"}
_FOLDED = 1 << 16                                           # elements of a constant that is computed here
_LIMIT = 2 ** 31 - 2 ** 20                                  # what one protobuf message holds, less the graph


def export_model(model: Any, path: Any, opset: int = 17) -> None:
    """Write what `model.predict` computes as an ONNX file.

    path: a text or path-like, replaced as a whole when everything has been written; opset: the version of ONNX's
    operators, 17 to 21.  Raises NotImplementedError naming the operation, its layer and its line if ONNX has nothing
    for it.  Needs the package onnx (`pip install graphk[onnx]`).
    """
    data = model_proto(model, opset).SerializeToString()
    with replacing(os.fspath(path)) as aside, open(aside, "wb") as file:
        file.write(data)


def model_proto(model: Any, opset: int = 17) -> Any:
    """The `onnx.ModelProto` of a model."""
    if opset not in OPSETS:
        raise ValueError(f"ONNX export writes the opsets {OPSETS.start} to {OPSETS.stop - 1}; received {opset!r}")
    _check(model)
    inputs = [node_of(x) for x in model._feed_inputs]
    graph = prepared(Graph(tuple(inputs), tuple(node_of(y) for y in model.outputs), name=model.name))
    w = Writer(opset)
    given = [_input(w, node, name) for node, name in zip(graph.inputs, model._feed_input_names)]
    for node in graph.variables():
        variable = variable_of(node)
        w.values[node] = w.weight(variable.name, variable.get_value())
    outputs = [w.names.fresh(name) for name in model.output_names]
    write_graph(w, graph)
    results = [w.values[o] for o in graph.outputs]
    return _assembled(w, model.name, given, _named(w, results, outputs), graph.outputs)


def _check(model: Any) -> None:
    if not getattr(model, "built", False) or not getattr(model, "outputs", None):
        raise ValueError(f"the model `{getattr(model, 'name', model)}` has no graph to export yet: give its first "
                         "layer `input_shape=`, or call `model.build(shape)` or `predict` first")
    if model.state_updates:
        names = [layer.name for layer in model.layers if getattr(layer, "stateful", False)]
        raise NotImplementedError(f"the model `{model.name}` keeps states from call to call (layers "
                                  f"{', '.join(names)}), which an ONNX graph cannot. Export a copy made with "
                                  "stateful=False, or one whose states are inputs and outputs (return_state=True, "
                                  "initial_state=…)")


# ------------------------------------------------------------------ the graph
def prepared(graph: Graph) -> Graph:
    """`graph` in the test phase, of ops that the tables have, with constants computed; refuses what they lack."""
    graph = simplify(shapes(recurrent(specialize(graph, 0))[0]), parts=False)
    graph = _primitive(graph)
    _refuse(graph)
    return graph


def _primitive(graph: Graph) -> Graph:
    """Composites without a rule in primitives; small constants computed."""
    def fn(node: Node) -> Node | None:
        if node.op.name == "scan":
            return _without_unread(with_body(node, _primitive(node.attr("body"))))
        if node.op.expand is not None and node.op.name not in RULES and node.op.name not in _RANDOM:
            with origin(like=node):
                inner = node.op.expand(*node.inputs, **dict(node.attrs))
                return rewrite([inner], fn)[inner]
        return _computed(node)
    table = rewrite(graph.roots(), fn)
    return graph.map(lambda n: table[n])


def _without_unread(scan: Node) -> Node:
    """A loop that is given only what its body reads: the masks of a dropout are for training."""
    body, carries, slices = scan.attr("body"), scan.attr("n_carry"), scan.attr("n_xs")
    read = set(body.nodes())
    keep = [i for i, leaf in enumerate(body.inputs) if i < carries or leaf in read]
    if len(keep) == len(body.inputs):
        return scan
    smaller = Graph(tuple(body.inputs[i] for i in keep), body.outputs, name=body.name)
    with origin(like=scan):
        return scan_op(*[scan.inputs[i] for i in keep], body=smaller, n_carry=carries, length=scan.attr("length"),
                       n_xs=sum(carries <= i < carries + slices for i in keep), reverse=scan.attr("reverse"))


def _computed(node: Node) -> Node | None:
    """A node that needs only constants as a constant, if it is small."""
    if node.op.kind in ("leaf", "control", "random") or node.op.ref is None or any(
            i.op.name != "const" for i in node.inputs) or node.op.expand is not None:
        return None
    size = node.t.size
    if not isinstance(size, int) or size > _FOLDED or attr_symbols(tuple(v for _, v in node.attrs)):
        return None
    with origin(like=node), np.errstate(all="ignore"):
        return const(node.op.ref(*[i.attr("value").array for i in node.inputs], **dict(node.attrs)), node.dtype)


def _refuse(graph: Graph) -> None:
    """NotImplementedError that lists all that ONNX lacks."""
    wrong: dict[str, str] = {}
    for node in _all_nodes(graph):
        name = node.op.name
        if name in _RANDOM:
            wrong[name] = f"random numbers (`{name}`, {origin_of(node)}): ONNX has no generator like graphk's"
        elif name not in RULES and name != "scan" and node.op.kind != "leaf":
            wrong[name] = f"the operation `{name}` ({origin_of(node)})"
    if wrong:
        raise NotImplementedError("ONNX export cannot express " + "; ".join(wrong.values())
                                  + ". Export a model that ends before it, or make the layer of other functions of K")


def _all_nodes(graph: Graph) -> list[Node]:
    found = []
    for node in graph.nodes():
        found.append(node)
        if node.op.name == "scan":
            found += _all_nodes(node.attr("body"))
    return found


def write_graph(w: Writer, graph: Graph) -> None:
    """Write the nodes that the outputs need; plans reach past nodes that nothing else needs."""
    order, plans = graph.nodes(), {}
    needed = set(graph.outputs)
    for node in reversed(order):
        if node in needed and node not in w.values:
            plan = PLANS[node.op.name](node) if node.op.name in PLANS else None
            if plan is not None:
                plans[node] = plan
            needed.update(plan.inputs if plan is not None else node.inputs)
    for node in order:
        if node in needed and node not in w.values:
            w.layer = layer_of(node)
            w.values[node] = _write(w, node, plans.get(node))


def _write(w: Writer, node: Node, plan: Plan | None) -> Any:
    if plan is not None:
        return plan.emit(w)
    return _scan(w, node) if node.op.name == "scan" else RULES[node.op.name](w, node)


def _scan(w: Writer, node: Node) -> list[str]:
    """A loop; what does not change from step to step is read from the graph around."""
    body, carries, slices = node.attr("body"), node.attr("n_carry"), node.attr("n_xs")
    given = [w.values[i] for i in node.inputs]
    inner = Writer(w.opset, w)
    names = [w.names.fresh(f"{w.layer}/{x.attr('name')}") for x in body.inputs[:carries + slices]]
    inner.values.update(zip(body.inputs, [*names, *given[carries + slices:]]))
    write_graph(inner, body)
    inner.layer = w.layer
    results = [inner.emit("Identity", [inner.values[o]]) for o in body.outputs]
    sequences, types = given[carries:carries + slices], [x.t for x in body.inputs[:carries + slices]]
    infos = [_info(w, name, t.dtype, t.shape) for name, t in zip(names, types)]
    if not sequences:                               # a loop over nothing but its length
        sequences = [w.emit("Range", [w.scalar(0), w.scalar(node.attr("length")), w.scalar(1)])]
        infos.append(_info(w, w.names.fresh(f"{w.layer}/step"), "int64", ()))
    outs = [_info(w, name, o.dtype, o.shape) for name, o in zip(results, body.outputs)]
    graph = w.onnx.helper.make_graph(_living(inner.nodes, results), w.names.fresh(f"{w.layer}/{body.name}"), infos,
                                     outs)
    back = int(node.attr("reverse"))
    made = w.emit("Scan", [*given[:carries], *sequences], len(results), body=graph, num_scan_inputs=len(sequences),
                  scan_input_directions=[back] * len(sequences), **(
                      {"scan_output_directions": [back] * (len(results) - carries)} if len(results) > carries else {}))
    return made if isinstance(made, list) else [made]


# ------------------------------------------------------------------ the file
def _info(w: Writer, name: str, dtype: str, shape: Sequence[Any]) -> Any:
    """A value's type; extents that are no plain symbol are left open."""
    def size(d: Any) -> Any:
        if not isinstance(d, DimExpr):
            return d
        (atoms, factor), *more = d.terms
        plain = not more and factor == 1 and len(atoms) == 1 and isinstance(atoms[0], SymDim)
        return str(d) if plain else None
    return w.onnx.helper.make_tensor_value_info(name, w.type_number(dtype), [size(d) for d in shape])


def _input(w: Writer, node: Node, name: str) -> Any:
    given = w.values[node] = w.names.fresh(name)
    for axis, d in enumerate(node.shape):
        if isinstance(d, DimExpr):
            w.axes_of_inputs.setdefault(str(d), (given, axis))
    return _info(w, given, node.dtype, node.shape)


def _named(w: Writer, values: Sequence[str], names: Sequence[str]) -> list[str]:
    """The outputs under their names; one that is an input, a weight, or there twice becomes a value of its own."""
    made, own = {o for n in w.nodes for o in n.output}, {}
    for value, name in zip(values, names):
        if value in made and value not in own:
            own[value] = name
    for node in w.nodes:
        _rename(node, own)
    for value, name in zip(values, names):
        if own.get(value) != name:
            w.nodes.append(w.onnx.helper.make_node("Identity", [own.get(value, value)], [name],
                                                   name=f"{name}/Identity"))
    return list(names)


def _rename(node: Any, table: dict[str, str]) -> None:
    """Give values other names, where a body reads them, too."""
    for field in (node.input, node.output):
        for i, name in enumerate(field):
            field[i] = table.get(name, name)
    for a in node.attribute:
        for inner in a.g.node if a.HasField("g") else ():
            _rename(inner, table)


def _living(nodes: list[Any], results: Sequence[str]) -> list[Any]:
    """The nodes that the results need: a transposition that another undid is needed no more."""
    needed, kept = set(results), []
    for node in reversed(nodes):
        if any(o in needed for o in node.output):
            kept.append(node)
            needed.update(_read(node))
    return kept[::-1]


def _read(node: Any) -> list[str]:
    """The values that a node reads, its body's included."""
    return [*node.input, *(name for a in node.attribute if a.HasField("g") for n in a.g.node for name in _read(n)),
            *(o.name for a in node.attribute if a.HasField("g") for o in a.g.output)]


def _assembled(w: Writer, name: str, inputs: list[Any], outputs: list[str], nodes: Sequence[Node]) -> Any:
    import graphk
    helper = w.onnx.helper
    living = _living(w.nodes, outputs)
    read = {v for n in living for v in _read(n)}
    kept = {k: v for k, v in w.weights.items() if k in read}
    total = sum(v.nbytes for v in kept.values())
    if total > _LIMIT:
        raise NotImplementedError(f"the model `{name}` has {total} bytes of weights; one ONNX file holds 2 GB, and "
                                  "graphk writes no weights beside it. Export parts of the model")
    graph = helper.make_graph(
        living, name, inputs, [_info(w, o, n.dtype, n.shape) for o, n in zip(outputs, nodes)],
        [w.onnx.numpy_helper.from_array(v, k) for k, v in kept.items()])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", w.opset)], producer_name="graphk",
                             producer_version=graphk.__version__)
    made.ir_version = _FORMATS[w.opset]
    return made


__all__ = ["OPSETS", "export_model", "model_proto", "prepared"]
