"""The text form of Graph: printing, and parsing what was printed.  (Kernel and Program: the same names here.)

In: a Graph, or its text.  Out: the text, or a Graph that computes the same.  What always holds:
`print_graph(parse_graph(print_graph(g))) == print_graph(g)`, and both graphs give equal bits in the
interpreter: floats are printed with enough digits, constant arrays that digits cannot carry are printed
as base64 of their little-endian bytes.  A trailing comment says where a node comes from; parsing
restores it, and does without it.

    graph main(%x: f32[n,64]) {
      var %dense_1_kernel: f32[64,10] "dense_1/kernel"
      %0: f32[n,10] = dot(%x, %dense_1_kernel)                # layer dense_1, train.py:12
      return %0
    }

Operands come first, then attributes after `;`.  `dot` omits the attributes of a plain matrix product.  The
type of a node may be left out; if it is there it is checked.  A leaf whose name is not an identifier has
it in quotes after its type; `%_0`, `%_1`, ... are leaves without a name.
"""
from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

from graphk.ir.dims import Dim, DimExpr, symbols
from graphk.ir.node import ArrayValue, Graph, Node, Origin, origin_of
from graphk.ir.loop import Kernel
from graphk.ir.parse import UNNAMED, WORDS, ParseError, dot_defaults, parse_graph
from graphk.ir.parse_loop import parse_kernel, parse_program
from graphk.ir.program import Program
from graphk.ir.types import TensorType, TupleType, Type
from graphk.ir.values import array_text, identifier, quote, word

COMMENT_COLUMN = 62                        # from the indentation on


def print_graph(graph: Graph, origins: bool = True) -> str:
    """The text of `graph`; with `origins`, each line says which layer and user's line it stems from."""
    return "\n".join(_graph_lines(graph, origins)) + "\n"


def print_kernel_text(kernel: Kernel) -> str:
    """The text of `kernel` (`graphk.ir.loop` shows the form)."""
    return str(kernel) + "\n"


def print_program(program: Program) -> str:
    """The text of `program` (`graphk.ir.program` shows the form)."""
    return str(program) + "\n"


def node_text(node: Node, names: dict[Node, str] | None = None) -> str:
    """The line of one node, without nested graphs; names default to the leaf names and node numbers."""
    names = names if names is not None else node_names(Graph((), (node,)))
    return _statement(node, names, False, brief=True)


def node_names(graph: Graph) -> dict[Node, str]:
    """The name that each node of `graph` has in its text (without `%`)."""
    nodes = graph.nodes()
    leaves = dict.fromkeys([*graph.inputs, *(n for n in nodes if n.op.name in ("input", "variable")),
                            *graph.variables()])
    names: dict[Node, str] = {}
    taken: set[str] = set()
    unnamed = 0
    for leaf in leaves:
        base = _identifier(leaf.attr("name") or ("learning_phase" if leaf.op.name == "phase" else ""))
        if not base:
            base, unnamed = f"_{unnamed}", unnamed + 1
        name, n = base, 1
        while name in taken:
            n += 1
            name = f"{base}_{n}"
        taken.add(name)
        names[leaf] = name
    for i, node in enumerate(n for n in nodes if n not in names):
        names[node] = str(i)
    return names


def _identifier(name: str) -> str:
    text = identifier(name)
    return "v" + text if UNNAMED.fullmatch(text) else text


def _graph_lines(graph: Graph, origins: bool) -> list[str]:
    names = node_names(graph)
    declared = set(graph.inputs)
    variables = graph.variables()
    params = ", ".join(_leaf(n, names, "phase " if n.op.name == "phase" else "") for n in graph.inputs)
    out = [f"graph {word(graph.name)}({params}) {{"]
    for node in variables:
        out.append("  " + _comment(_leaf(node, names, "var "), node, origins))
    for node in graph.nodes():
        if node in declared or node.op.name == "variable":
            continue
        if node.op.name == "input":            # an error that the verifier names; printed so that it can be seen
            out.append("  " + _leaf(node, names, "free "))
            continue
        out.extend("  " + line for line in _statement(node, names, origins).split("\n"))
    if graph.outputs:
        out.append("  return " + ", ".join("%" + names[o] for o in graph.outputs))
    out += [f"  update %{names[v]} = %{names[x]}" for v, x in graph.updates]
    out += [f"  guard {_dim(a)} == {_dim(b)}" for a, b in graph.guards]
    return out + ["}"]


def _leaf(node: Node, names: dict[Node, str], word: str) -> str:
    name, shown = node.attr("name") or "", names[node]
    quoted = f" {quote(name)}" if name and name != shown else ""
    return f"{word}%{shown}: {_type(node.type)}{quoted}"


def _statement(node: Node, names: dict[Node, str], origins: bool, brief: bool = False) -> str:
    inputs = ", ".join("%" + names.get(i, f"?{i.id}") for i in node.inputs)
    if node.op.name == "const":
        attrs = array_text(node.attr("value").array)
    elif node.op.name in ("input", "variable"):
        attrs = f"name={quote(node.attr('name') or '')}"
    else:
        shown = node.attrs if node.op.name != "dot" or dict(node.attrs) != dot_defaults(node.inputs) else ()
        attrs = ", ".join(f"{k}={_value(v, origins, brief)}" for k, v in shown)
    args = f"{inputs}; {attrs}" if inputs and attrs else inputs or attrs
    line = f"%{names.get(node, f'?{node.id}')}: {_type(node.type)} = {node.op.name}({args})"
    return line if brief else _comment(line, node, origins)


def _comment(line: str, node: Node, origins: bool) -> str:
    text = _origin(origin_of(node)) if origins else ""
    if not text:
        return line
    head, _, last = line.rpartition("\n")
    return (head + "\n" if head else "") + f"{last:<{COMMENT_COLUMN}}  # {text}"


def _origin(o: Origin) -> str:
    """The layer, the file's own name with the line (so that text does not depend on the machine), the rule."""
    parts = [("layer ", o.layer), ("", os.path.basename(o.line)), ("rule ", o.rule)]
    return ", ".join(word + (quote(p) if re.search(r'[,"\x00-\x1f]|^\s|\s$|^layer |^rule ', p) else p)
                     for word, p in parts if p)


def _dim(d: Dim) -> str:
    for name in symbols(d):
        if not name.isidentifier() or name in WORDS:
            raise ValueError(f"the symbolic dimension `{name}` cannot be printed: a symbol's name must be an "
                             f"identifier other than {', '.join(sorted(WORDS))}; rename it where `sym` is called")
    return str(d)


def _type(t: Type) -> str:
    for item in t.items if isinstance(t, TupleType) else (t,):
        for d in item.shape:
            _dim(d)
    return str(t)


def _value(v: Any, origins: bool, brief: bool = False) -> str:
    """An attribute, as text that `Parser.value` reads back."""
    if v is None or isinstance(v, (bool, np.bool_)):
        return "none" if v is None else "true" if v else "false"
    if isinstance(v, (int, np.integer)):
        return str(int(v))
    if isinstance(v, (float, np.floating)):
        return repr(float(v))
    if isinstance(v, str):
        return quote(v)
    if isinstance(v, DimExpr):
        return _dim(v)
    if isinstance(v, tuple):
        return "(" + ", ".join(_value(x, origins, brief) for x in v) + ("," if len(v) == 1 else "") + ")"
    if isinstance(v, ArrayValue):
        t = TensorType(v.array.dtype.name, tuple(int(d) for d in v.array.shape))
        return f"array({t}, {array_text(v.array)})"
    if isinstance(v, (TensorType, TupleType)):
        return _type(v)
    if isinstance(v, Graph):
        return "{…}" if brief else "{\n" + "\n".join("  " + x for x in _graph_lines(v, origins)) + "\n}"
    raise TypeError(f"the text form has no way to write an attribute of type {type(v).__name__}: received {v!r}, "
                    "expected a number, bool, string, dim, tuple, type, array or graph")


__all__ = ["ParseError", "print_graph", "parse_graph", "print_kernel_text", "parse_kernel", "print_program",
           "parse_program", "node_text", "node_names", "dot_defaults"]
