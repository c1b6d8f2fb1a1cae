"""Graphs and programs as dot and as JSON.

In: a Graph or a Program.  Out: text for Graphviz, or lists and dictionaries ready for JSON.  What always holds: names
are those of the text form, so the three can be read side by side; values of constants longer than 16 are left out.
"""
from __future__ import annotations

import json
import os
from typing import Any

from graphk.inspection.subjects import without_folders
from graphk.inspection.views import is_scalar_const, nested, safe_text
from graphk.ir.effects import root_of, touched
from graphk.ir.node import Graph, Node, origin_of
from graphk.ir.program import AnyStep, LoopStep, Program
from graphk.ir.text import node_names

PALETTE = ("#a6cee3", "#fdbf6f", "#b2df8a", "#fb9a99", "#cab2d6", "#ffff99", "#8dd3c7", "#fccde5", "#d9d9d9", "#bebada")


def dot(ir: Graph | Program) -> str:
    """The Graphviz text: nodes coloured by layer, fused groups and loops as clusters."""
    lines = _dot_graph(ir) if isinstance(ir, Graph) else _dot_program(ir)
    head = ["digraph {", "  node [shape=box, style=filled, fillcolor=white, fontname=Helvetica, fontsize=10];"]
    return "\n".join([*head, *("  " + x for x in lines), "}"]) + "\n"


def _dot_graph(graph: Graph) -> list[str]:
    colours: dict[str, str] = {}
    ids: dict[Node, str] = {}
    out: list[str] = []

    def declare(g: Graph, inside: bool) -> None:
        names = node_names(g)
        for n in g.nodes():
            if n.op.name == "item" or is_scalar_const(n) or (inside and n in g.inputs):
                continue
            ids[n] = f"n{len(ids)}"
            body = nested(n)
            if body is not None:
                out.append(f"subgraph cluster_{ids[n]} "
                           f"{{ label={_quoted(n.op.name + ' ' + str(n.attr('kind') or ''))};")
                declare(body, True)
                out.append("}")
                continue
            layer = origin_of(n).layer
            colour = colours.setdefault(layer, PALETTE[len(colours) % len(PALETTE)]) if layer else "white"
            out.append(f"{ids[n]} [label={_quoted(f'{_title(n)}{chr(10)}{n.type}')}, fillcolor={_quoted(colour)}, "
                       f"tooltip={_quoted(safe_text(n, names))}];")

    def wire(g: Graph, bound: dict[Node, Node]) -> None:
        for n in g.nodes():
            body = nested(n)
            if body is not None:
                wire(body, {**bound, **{leaf: bound.get(i, i) for leaf, i in zip(body.inputs, n.inputs)}})
            elif n in ids:
                out.extend(f"{ids[s]} -> {ids[n]};" for s in (_maker(bound.get(i, i),
                                                                     bound) for i in n.inputs) if s in ids)
    declare(graph, False)
    wire(graph, {})
    return out


def _maker(node: Node, bound: dict[Node, Node]) -> Node:
    """The innermost drawn node that makes a value.  (Two loops may have one body, so its leaves are those of the loop
    that was entered, not what `bound` says of them.)"""
    node = bound.get(node, node)
    while node.op.name == "item":
        maker = node.inputs[0]
        body = nested(maker)
        if body is None:
            return maker
        made = body.outputs[node.attr("index")]
        at = body.inputs.index(made) if made in body.inputs else -1
        node = made if at < 0 else bound.get(maker.inputs[at], maker.inputs[at])
    return node


def _title(node: Node) -> str:
    return node.attr("name") or node.op.name


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _dot_program(program: Program) -> list[str]:
    """Steps, in boxes, and an edge from each writer of a buffer to its readers."""
    roots = root_of(program)
    written: dict[str, int] = {}
    out: list[str] = []
    for i, s in enumerate(program.steps):
        out.append(f"s{i} [label={_quoted(f'{i}: {_step_title(s)}')}];")
        reads, writes = touched(s, roots)
        out += [f"s{written[b]} -> s{i} [label={_quoted(b)}, fontsize=8];" for b in sorted(reads) if b in written]
        written.update(dict.fromkeys(writes, i))
    return out


def _step_title(s: AnyStep) -> str:
    return f"loop {s.length}" if isinstance(s, LoopStep) else s.kernel.label


# ------------------------------------------------------------------ JSON
def as_json(ir: Graph | Program) -> dict[str, Any]:
    """Nodes and edges by name, or buffers and steps."""
    return _graph_json(ir) if isinstance(ir, Graph) else _program_json(ir)


def _graph_json(graph: Graph) -> dict[str, Any]:
    names = node_names(graph)

    def entry(n: Node) -> dict[str, Any]:
        o = origin_of(n)
        out: dict[str, Any] = {"name": names[n], "op": n.op.name, "type": str(n.type),
                               "inputs": [names[i] for i in n.inputs], "text": safe_text(n, names), "layer": o.layer,
                               "line": os.path.basename(o.line), "rule": o.rule}
        body = nested(n)
        return {**out, "body": _graph_json(body)} if body is not None else out
    return {"graph": graph.name, "inputs": [names[n] for n in graph.inputs], "nodes": [entry(n) for n in graph.nodes()],
            "outputs": [names[n] for n in graph.outputs],
            "updates": [[names[v], names[x]] for v, x in graph.updates],
            "guards": [[str(a), str(b)] for a, b in graph.guards]}


def _program_json(program: Program) -> dict[str, Any]:
    def step(s: AnyStep) -> dict[str, Any]:
        if isinstance(s, LoopStep):
            return {"loop": str(s.length), "reverse": s.reverse, "barrier": s.barrier,
                    "body": [step(x) for x in s.body],
                    "windows": [[w, b, str(d)] for w, b, d in s.windows]}
        return {"kernel": s.kernel.label, "buffers": list(s.buffers), "sizes": [str(d) for d in s.sizes],
                "barrier": s.barrier, "cost": str(s.cost), "origin": without_folders(s.origin)}
    buffers = [{"name": b.name, "type": str(b.type), "place": b.place, "offset": str(b.offset), "base": b.base,
                "origin": without_folders(b.origin)} for b in program.buffers]
    return {"program": program.name, "dims": list(program.dims), "arena": str(program.arena), "buffers": buffers,
            "steps": [step(s) for s in program.steps],
            "blocks": [{"first": b.first, "last": b.last, "rows": str(b.rows)} for b in program.blocks],
            "guards": [[str(a), str(b)] for a, b in program.guards]}


__all__ = ["as_json", "dot"]
