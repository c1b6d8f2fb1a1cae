"""The verifier of Graph: what must hold of any graph, checked after every pass that changed one.

In: a Graph, the name of the pass that made it, and predicates that must still hold (`ensures`).  Out:
nothing, or a `VerifyError` that names the pass, the node, the layer, the user's line and the broken
rule.  What always holds: each rule is one function of `RULES` or `PREDICATES` that yields what breaks it;
bodies of scans and fusions are checked by the same rules; what holds of a node for good (that it is interned, and its
type) is checked once.  (Kernel and Program: `verify_kernel`, `verify_program`.)
"""
from __future__ import annotations

from typing import Callable, Iterable, Iterator, NamedTuple, Sequence

from graphk.ir.dims import Dim, DimExpr, symbols
from graphk.ir.node import Graph, Node, is_interned, note_sound, origin_of
from graphk.ir.types import NARROW, TensorType, TupleType, Type
from graphk.ir.values import plain
from graphk.ir.verify_program import VerifyError, blame, verify_kernel, verify_program


class Broken(NamedTuple):
    """What breaks a rule: the node (None: the graph itself) and a sentence."""
    node: Node | None
    message: str


Rule = Callable[[Graph], Iterable[Broken]]


def verify_graph(graph: Graph, after: str = "", ensures: Sequence[Rule] = ()) -> None:
    """Check `graph` against every rule and the predicates in `ensures`.

    >>> from graphk.ir.text import parse_graph
    >>> verify_graph(parse_graph("graph g(%x: f32[n]) { %0 = exp(%x) return %0 }"), ensures=[no_phase])
    """
    _verify_rules(graph, after, (*RULES, *ensures))


def _verify_rules(graph: Graph, after: str, rules: Sequence[Rule]) -> None:
    for rule in rules:
        for node, message in rule(graph):
            raise VerifyError(_report(graph, after, rule, node, message), rule.__name__, node)
    for node in graph.nodes():
        note_sound(node)
    inner = [r for r in rules if r not in WITH_BODIES]
    for node, bodies in graph.bodies:
        for body in bodies:
            try:
                _verify_rules(body, after, inner)
            except VerifyError as e:
                where = _line(node, graph)
                raise VerifyError(f"in the body of {where}:\n{e}", e.rule, e.node) from None


def _line(node: Node, graph: Graph | None = None) -> str:
    """The line of a node in the text of its graph."""
    from graphk.ir.text import node_names, node_text      # only an error needs it
    return node_text(node, node_names(graph) if graph is not None else None)


def _report(graph: Graph, after: str, rule: Rule, node: Node | None, message: str) -> str:
    lines = [f"the graph `{graph.name}` is not valid after {after or 'construction'}: {message}",
             f"  rule: {rule.__name__} ({(rule.__doc__ or '').strip().splitlines()[0].rstrip('.')})"]
    if node is not None:
        where = origin_of(node)
        lines.append(f"  node: {_line(node, graph)}")
        lines += [f"  {word}: {text}" for word, text in
                  (("layer", where.layer), ("your line", where.line), ("made by rule", where.rule)) if text]
    return "\n".join(lines + blame(after))


# ------------------------------------------------------------------ rules
def operands_first(graph: Graph) -> Iterator[Broken]:
    """Each node comes after its operands: there is no cycle."""
    seen: set[Node] = set()
    for node in graph.nodes():
        for i in node.inputs:
            if i not in seen:
                yield Broken(node, f"its operand %{i.id} depends on the node itself")
        seen.add(node)


def inputs_declared(graph: Graph) -> Iterator[Broken]:
    """Every input that is read is declared, each once, and only leaves are declared."""
    declared: set[Node] = set()
    for node in graph.inputs:
        if node.op.name not in ("input", "phase"):
            yield Broken(node, f"a graph's inputs must be `input` or `phase` nodes, received a `{node.op.name}`")
        if node in declared:
            yield Broken(node, "it is declared as an input twice")
        declared.add(node)
    for node in graph.nodes():
        if node.op.name == "input" and node not in declared:
            yield Broken(node, f"the input `{node.attr('name') or node.id}` is read but is not among the graph's "
                               "inputs")


def nodes_interned(graph: Graph) -> Iterator[Broken]:
    """Each node is the one node of its op, operands and attributes."""
    for node in graph.nodes():
        if not node.sound and not is_interned(node):
            yield Broken(node, "it was not built by calling its op, so an equal node may exist beside it")


def types_match(graph: Graph) -> Iterator[Broken]:
    """The type of each node is what its op infers from the operands."""
    for node in graph.nodes():
        if node.sound:
            continue
        if node.op.name == "const":
            value = node.attr("value").array
            inferred: Type = TensorType(value.dtype.name, tuple(int(d) for d in value.shape))
        elif node.op.kind == "leaf":
            continue
        else:
            try:
                inferred = node.op.infer(*[i.type for i in node.inputs], **dict(node.attrs))
            except Exception as e:                 # whatever an op's inference raises, the operands do not fit it
                yield Broken(node, f"`{node.op.name}` does not take these operands: {plain(e)}")
                continue
        if not unifies(node.type, inferred):
            yield Broken(node, f"it is typed {node.type}, but its op infers {inferred}")


def unifies(a: Type, b: Type) -> bool:
    """Whether two types can be equal at run time: same dtype and rank, and no axis that must differ."""
    if isinstance(a, TupleType) or isinstance(b, TupleType):
        return isinstance(a, TupleType) and isinstance(b, TupleType) and len(a.items) == len(b.items) \
            and all(unifies(x, y) for x, y in zip(a.items, b.items))
    return a.dtype == b.dtype and a.ndim == b.ndim and all(map(_dims_unify, a.shape, b.shape))


def _dims_unify(a: Dim, b: Dim) -> bool:
    """False only where the difference is a number other than 0 (5 and 6, n and n+1)."""
    return a == b or isinstance(a - b, DimExpr)


def outputs_are_tensors(graph: Graph) -> Iterator[Broken]:
    """Outputs are tensors: results of a scan or a fusion are taken apart with `item`."""
    for node in graph.outputs:
        if not isinstance(node.type, TensorType):
            yield Broken(node, f"an output must be a tensor, received {node.type}")


def updates_target_variables(graph: Graph) -> Iterator[Broken]:
    """An update writes a variable, once, with a value of the variable's dtype and shape."""
    seen: set[Node] = set()
    for target, value in graph.updates:
        if target.op.name != "variable":
            yield Broken(target, f"an update must target a variable, received a `{target.op.name}`")
        if target in seen:
            yield Broken(target, f"the variable `{target.attr('name')}` is updated twice in one call")
        if not unifies(target.type, value.type):
            yield Broken(value, f"it updates the variable `{target.attr('name')}` of type {target.type} "
                                f"with a value of type {value.type}")
        seen.add(target)


def _with_bodies(graph: Graph) -> Iterator[Graph]:
    """The graph and the bodies in it at any depth; they speak of the same symbols."""
    yield graph
    for _, bodies in graph.bodies:
        for body in bodies:
            yield from _with_bodies(body)


def symbols_known(graph: Graph) -> Iterator[Broken]:
    """Each symbolic dim comes from the shape of an input or a variable."""
    every = list(_with_bodies(graph))
    known = frozenset[str]().union(*(n.t.symbols() for g in every for n in (*g.inputs, *g.variables())))
    for node in (n for g in every for n in g.nodes()):
        if unknown := node.symbols - known:
            yield Broken(node, f"the symbolic dim(s) {', '.join(sorted(unknown))} are in no shape of an input or "
                               f"variable (known: {', '.join(sorted(known)) or 'none'})")
    for a, b in graph.guards:
        if unknown := (symbols(a) | symbols(b)) - known:
            yield Broken(None, f"the guard {a} == {b} speaks of {', '.join(sorted(unknown))}, which are in no shape "
                               "of an input or variable")


def bodies_closed(graph: Graph) -> Iterator[Broken]:
    """The body of a scan or fusion reads its own inputs only, and they fit what the node passes in."""
    for node, bodies in graph.bodies:
        for body in bodies:
            if body.updates:
                yield Broken(node, "its body has updates; only the outer graph may update variables")
            inside = set(body.inputs)
            for n in body.nodes():
                if n.op.name in ("input", "variable", "phase") and n not in inside:
                    yield Broken(node, f"its body reads {_line(n)}, which is not among the body's inputs")
            if len(body.inputs) != len(node.inputs):
                yield Broken(node, f"its body takes {len(body.inputs)} inputs, received {len(node.inputs)}")
            for k, (inner, outer) in enumerate(zip(body.inputs, _passed(node))):
                if not unifies(inner.type, outer):
                    yield Broken(node, f"input {k} of its body is {inner.type}, but it is passed {outer}")
            for k in range(node.attr("n_carry") or 0):
                if not unifies(body.outputs[k].type, body.inputs[k].type):
                    yield Broken(node, f"carry {k} enters its body as {body.inputs[k].type} and leaves it as "
                                       f"{body.outputs[k].type}")


def _passed(node: Node) -> list[Type]:
    """The types that a node passes to its body: for a scan, slices of the sequences."""
    nc, nx = node.attr("n_carry") or 0, node.attr("n_xs") or 0
    return [i.t.with_shape(i.shape[1:]) if nc <= k < nc + nx else i.type for k, i in enumerate(node.inputs)]


RULES: tuple[Rule, ...] = (operands_first, inputs_declared, nodes_interned, types_match, outputs_are_tensors,
                           updates_target_variables, bodies_closed, symbols_known)


# ------------------------------------------------------------------ what passes ensure
def no_phase(graph: Graph) -> Iterator[Broken]:
    """The learning phase is a constant: nothing that depends on it is left."""
    for node in (*graph.inputs, *graph.nodes()):
        if node.op.name in ("phase", "phase_select", "phase_gate"):
            yield Broken(node, "the learning phase must be a constant by now")


def no_recurrences(graph: Graph) -> Iterator[Broken]:
    """Recurrent layers are loops, or calls of a library."""
    for node in graph.nodes():
        if node.op.vjp == "recurrence":
            yield Broken(node, f"the `{node.op.name}` must be a loop or a library's call by now")


def no_composites(graph: Graph) -> Iterator[Broken]:
    """Composite ops are expanded into primitives."""
    for node in graph.nodes():
        if node.op.expand is not None:
            yield Broken(node, f"the composite op `{node.op.name}` must be expanded by now")


def no_narrow(graph: Graph) -> Iterator[Broken]:
    """Narrow types are those of leaves and casts alone: everything else is computed in wide ones."""
    for node in graph.nodes():
        if isinstance(node.type, TupleType):                   # a scan or a fusion; a library's call has no body
            yield from no_narrow(node.attr("body") or Graph((), ()))
        elif node.op.name not in ("input", "variable", "cast", "item") and node.dtype in NARROW:
            yield Broken(node, f"`{node.op.name}` computes {node.t.dtype}; it must be widened by now")


def all_shapes_bound(graph: Graph) -> Iterator[Broken]:
    """Each symbolic dim can be read off the arrays of a call: it is an axis of an input or variable by itself."""
    leaves = [*graph.inputs, *graph.variables()]
    bound = {str(d) for n in leaves for d in n.shape if symbols(d) == {str(d)}}
    for _ in graph.guards:                         # a guard n == 2*m binds n once m is bound
        for a, b in graph.guards:
            for left, right in ((a, b), (b, a)):
                if symbols(left) == {str(left)} and symbols(right) <= bound:
                    bound.add(str(left))
    for node in (*leaves, *(n for g in _with_bodies(graph) for n in g.nodes())):
        if missing := node.symbols - bound:
            yield Broken(node, f"nothing gives {', '.join(sorted(missing))} a value when the function is called")


WITH_BODIES: tuple[Rule, ...] = (symbols_known, all_shapes_bound)        # these look into bodies by themselves
PREDICATES: tuple[Rule, ...] = (no_phase, no_recurrences, no_composites, no_narrow, all_shapes_bound)

__all__ = ["Broken", "PREDICATES", "RULES", "Rule", "VerifyError", "all_shapes_bound", "no_composites", "no_narrow",
           "no_phase", "no_recurrences", "unifies", "verify_graph", "verify_kernel", "verify_program"]
