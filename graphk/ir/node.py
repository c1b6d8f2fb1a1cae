"""Nodes of the symbolic graph, and Graph.

In: an op, input nodes and hashable attributes.  Out: interned, immutable `Node`s, typed when built:
asking twice for the same op on the same inputs gives the same object, so common subexpressions never
exist twice and dead ones are never reached.  What always holds: node identity is node equality;
leaves that must not merge (inputs, variables) carry a unique id; names, layers and the
user's lines live in the side table `origin_of`, never in the node.
"""
from __future__ import annotations

import contextlib
import hashlib
import importlib
import itertools
import os
import sys
import weakref
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Callable, Container, Iterable, Iterator, Mapping

import numpy as np

from graphk.ir.dims import DimExpr, substitute, symbols
from graphk.ir.types import TensorType, TupleType, Type

if TYPE_CHECKING:
    from graphk.ir.opdef import OpDef

Attrs = tuple[tuple[str, Any], ...]
_ids = itertools.count()
_NONE: frozenset[str] = frozenset()


class Node:
    """One value of the graph.  Build nodes by calling an op (`graphk.ir.ops`), never directly."""
    __slots__ = ("op", "inputs", "attrs", "type", "id", "symbols", "sound", "__weakref__")
    op: "OpDef"
    inputs: tuple["Node", ...]
    attrs: Attrs
    type: Type
    id: int
    symbols: frozenset[str]         # the symbolic dims in its type and attributes
    sound: bool                     # known to be interned and typed as its op infers (by `make`, or by `verify`)

    def __init__(self, op: "OpDef", inputs: tuple["Node", ...], attrs: Attrs, type_: Type, sound: bool = False):
        set_ = object.__setattr__
        set_(self, "op", op)
        set_(self, "inputs", inputs)
        set_(self, "attrs", attrs)
        set_(self, "type", type_)
        set_(self, "id", next(_ids))
        set_(self, "sound", sound)
        items = type_.items if isinstance(type_, TupleType) else (type_,)
        set_(self, "symbols", attr_symbols((*(t.shape for t in items), *(v for _, v in attrs))))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("nodes are immutable; build a new one")

    def attr(self, name: str, default: Any = None) -> Any:
        for k, v in self.attrs:
            if k == name:
                return v
        return default

    @property
    def t(self) -> TensorType:
        """The tensor type; TypeError for a node with several results."""
        if isinstance(self.type, TensorType):
            return self.type
        raise TypeError(f"{self} has several results {self.type}; take one with `item`")

    @property
    def shape(self) -> tuple[Any, ...]:
        return self.t.shape

    @property
    def dtype(self) -> str:
        return self.t.dtype

    @property
    def ndim(self) -> int:
        return len(self.t.shape)

    def __repr__(self) -> str:
        args = ", ".join(f"%{i.id}" for i in self.inputs)
        extra = "".join(f", {k}={v}" for k, v in self.attrs if k != "uid")
        return f"%{self.id}: {self.type} = {self.op.name}({args}{extra})"


class ArrayValue:
    """A constant array as a hashable attribute (equal when dtype, shape and bytes are)."""
    __slots__ = ("array", "_key")

    def __init__(self, array: np.ndarray):
        array = np.array(array, order="C")
        array.setflags(write=False)
        self.array = array
        raw = array.tobytes()
        self._key = (array.dtype.str, array.shape, raw if len(raw) <= 64 else hashlib.sha256(raw).digest())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArrayValue) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return repr(self.array.tolist()) if self.array.size <= 8 else f"<{self.array.size} values>"


_table: "weakref.WeakValueDictionary[tuple[Any, ...], Node]" = weakref.WeakValueDictionary()


def make(op: "OpDef", inputs: tuple[Node, ...], attrs: Attrs, type_: Type | None = None) -> Node:
    """The one node for (op, inputs, attrs); its type is inferred unless given (leaves)."""
    key = (op.name, inputs, attrs, type_)
    node = _table.get(key)
    if node is None:
        inferred = op.infer(*[i.type for i in inputs], **dict(attrs)) if type_ is None else type_
        node = Node(op, inputs, attrs, inferred, sound=type_ is None)
        _table[key] = node
        record_origin(node)
    return node


def is_interned(node: Node) -> bool:
    """Whether building `node` again would give this very object."""
    return any(_table.get((node.op.name, node.inputs, node.attrs, given)) is node for given in (None, node.type))


def note_sound(node: Node) -> None:
    """It has been checked that `node` is interned and that its type is what its op infers: both hold for good."""
    if not node.sound:
        object.__setattr__(node, "sound", True)


# ------------------------------------------------------------------ where a node comes from
@dataclass(frozen=True, slots=True)
class Origin:
    """The layer, the user's source line and the rewrite rule that a node stems from, the device that it is to run on,
    and the layers (models, wrappers) that the layer is inside of, the outermost first; no text keeps those."""
    layer: str = ""
    line: str = ""
    rule: str = ""
    device: str = ""
    around: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        parts = [f"layer {self.layer}" if self.layer else "", self.line, f"rule {self.rule}" if self.rule else ""]
        return ", ".join(p for p in parts if p)


_origins: "weakref.WeakKeyDictionary[Node, Origin]" = weakref.WeakKeyDictionary()
_package = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_example = _package + "demo.py"             # in the package, but written as a user would
_command = os.sep + "graphk"                # the program that pip makes of the entry point
_scope: list[Origin] = []
NO_ORIGIN = Origin()


def _is_ours(file: str) -> bool:
    if file.startswith(_package):
        return file != _example
    return file == contextlib.__file__ or file.startswith("<frozen ") or file.endswith(_command)


def user_line() -> str:
    """`file:line` of the innermost caller outside graphk (and outside what enters its contexts and starts it)."""
    frame = sys._getframe(1)
    while frame is not None and _is_ours(frame.f_code.co_filename):
        frame = frame.f_back          # type: ignore[assignment]
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""


def record_origin(node: Node) -> None:
    """Note where `node` was first asked for: the enclosing `origin` scope, else the user's line."""
    if _scope:
        _origins[node] = _scope[-1]
    else:
        _origins[node] = Origin(line=user_line())


def set_origin(node: Node, value: Origin) -> None:
    """Say where `node` comes from: what was read decides, even if an equal node (a constant, say) was there."""
    _origins[node] = value


def origin_of(node: Node) -> Origin:
    return _origins.get(node, NO_ORIGIN)


class origin:
    """Context manager: nodes built inside come from this layer, line or (in a pass) source node.

    >>> with origin(layer="dense_1"): pass
    """
    __slots__ = ("value",)

    def __init__(self, layer: str = "", line: str = "", rule: str = "", like: Node | None = None, device: str = ""):
        base = origin_of(like) if like is not None else (_scope[-1] if _scope else NO_ORIGIN)
        if like is None and not base.line and not line:
            line = user_line()
        around = base.around
        if layer and base.layer and layer != base.layer:
            around = (*around, base.layer)
        self.value = Origin(layer or base.layer, line or base.line, rule or base.rule, device or base.device, around)

    def __enter__(self) -> "origin":
        _scope.append(self.value)
        return self

    def __exit__(self, *exc: object) -> None:
        _scope.pop()


class exactly:
    """Context manager: nodes built inside have exactly this origin, even an empty one."""
    __slots__ = ("value",)

    def __init__(self, value: Origin):
        self.value = value

    def __enter__(self) -> None:
        _scope.append(self.value)

    def __exit__(self, *exc: object) -> None:
        _scope.pop()


# ------------------------------------------------------------------ what became of a node
Replacement = tuple[Node, Node, str]         # (old, new, rule); no rule: the same on other inputs
_watchers: list[list[Replacement]] = []


def replaced(old: Node, new: Node, rule: str) -> Node:
    """`new`, which stands for `old` from here on; who watches is told."""
    if _watchers and new is not old:
        for seen in _watchers:
            seen.append((old, new, rule))
    return new


@contextlib.contextmanager
def replacements() -> Iterator[list[Replacement]]:
    """The list of what passes replace meanwhile: nothing is kept while nobody watches."""
    seen: list[Replacement] = []
    _watchers.append(seen)
    try:
        yield seen
    finally:
        _watchers[:] = [w for w in _watchers if w is not seen]


# ------------------------------------------------------------------ graphs
@dataclass(frozen=True)
class Graph:
    """Inputs (leaf nodes), outputs, and updates `(variable, new value)` applied after all reads."""
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    updates: tuple[tuple[Node, Node], ...] = ()
    name: str = "main"
    guards: tuple[tuple[Any, Any], ...] = field(default=())     # pairs of dims equal at call time

    def roots(self) -> tuple[Node, ...]:
        return self.outputs + tuple(v for _, v in self.updates)

    @cached_property
    def _nodes(self) -> tuple[Node, ...]:
        return tuple(topological(self.roots()))

    def nodes(self) -> tuple[Node, ...]:
        """All nodes that the outputs and updates need, inputs before users."""
        return self._nodes

    def _repr_svg_(self) -> str | None:
        """What a notebook shows; inspection is loaded when it asks."""
        drawn: str | None = importlib.import_module("graphk.inspection.notebook").graph_svg(self)
        return drawn

    def variables(self) -> list[Node]:
        seen = {n: None for n in self._nodes if n.op.name == "variable"}
        seen.update((v, None) for v, _ in self.updates)
        return list(seen)

    @cached_property
    def bodies(self) -> tuple[tuple[Node, tuple["Graph", ...]], ...]:
        """The nodes that have bodies (scans and fusions) with them."""
        found = ((n, tuple(v for _, v in n.attrs if isinstance(v, Graph))) for n in self._nodes)
        return tuple((n, graphs) for n, graphs in found if graphs)

    def map(self, fn: Callable[[Node], Node]) -> "Graph":
        """The graph with `fn` applied to the roots (updates keep their variables)."""
        return Graph(self.inputs, tuple(map(fn, self.outputs)), tuple((v, fn(x)) for v, x in self.updates),
                     self.name, self.guards)


def topological(roots: Iterable[Node], known: Container[Node] = ()) -> list[Node]:
    """Every node reachable from `roots`, each after its inputs, but not through those `known` already; iterative, so
    depth has no limit."""
    done: set[Node] = set()
    order: list[Node] = []
    for root in roots:
        stack: list[tuple[Node, Iterator[Node]]] = []
        if root not in done:
            done.add(root)
            stack.append((root, iter(root.inputs)))
        while stack:
            node, it = stack[-1]
            for child in it:
                if child not in done and child not in known:
                    done.add(child)
                    stack.append((child, iter(child.inputs)))
                    break
            else:
                order.append(node)
                stack.pop()
    return order


def users(nodes: Iterable[Node]) -> dict[Node, list[Node]]:
    """For each node, the nodes that read it (in order, once per reading)."""
    out: dict[Node, list[Node]] = {}
    for n in nodes:
        out.setdefault(n, [])
        for i in n.inputs:
            out.setdefault(i, []).append(n)
    return out


def replace_inputs(node: Node, inputs: tuple[Node, ...]) -> Node:
    """`node` on other inputs (same object if they are the same ones), typed afresh."""
    if inputs == node.inputs:
        return node
    with origin(like=node):
        return replaced(node, make(node.op, inputs, node.attrs, node.type if not node.inputs else None), "")


def rewrite(roots: Iterable[Node], fn: Callable[[Node], Node | None], rule: str = "") -> dict[Node, Node]:
    """Bottom-up rewriting: `fn` sees each node on rewritten inputs and may return a replacement, by this rule."""
    new: dict[Node, Node] = {}
    for node in topological(roots):
        here = replace_inputs(node, tuple(new[i] for i in node.inputs))
        out = fn(here)
        new[node] = here if out is None else replaced(here, out, rule)
    return new


def substitute_nodes(graph: Graph, table: Mapping[Node, Node]) -> Graph:
    """The graph with some nodes replaced by others."""
    new: dict[Node, Node] = {}
    for node in topological(graph.roots()):
        new[node] = table[node] if node in table else replace_inputs(node, tuple(new[i] for i in node.inputs))
    return graph.map(lambda n: new[n])


# ------------------------------------------------------------------ attributes that hold dims
def attr_symbols(value: Any) -> frozenset[str]:
    if isinstance(value, DimExpr):
        return symbols(value)
    found = _NONE
    if isinstance(value, tuple):
        for v in value:
            if isinstance(v, (DimExpr, tuple)):
                found |= attr_symbols(v)
    return found


def bind_attr(value: Any, env: Mapping[str, Any]) -> Any:
    """An attribute with the symbolic dims in it replaced."""
    if isinstance(value, DimExpr):
        return substitute(value, env)
    if isinstance(value, tuple):
        return tuple(bind_attr(v, env) for v in value)
    return value


def bind_type(t: Type, env: Mapping[str, Any]) -> Type:
    if isinstance(t, TupleType):
        return TupleType(tuple(TensorType(i.dtype, bind_attr(i.shape, env)) for i in t.items))
    return TensorType(t.dtype, bind_attr(t.shape, env))
