"""Rule tables: patterns over the graph and the loop that applies them.

In: rules `Rule(name, pattern, rewrite)`.  Out: a rewritten graph.  What always holds: a rewrite keeps a
node's dtype and shape (checked here, the rule named if not), so rules need no type bookkeeping; the rule's
name becomes part of the origin of the nodes that it builds.

A pattern is `(op, *patterns)`, a string (binds any node; the same string twice must be the same node), a
number (a constant of that value), or `"c:name"` (binds a one-element constant).
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Iterable

from graphk.ir.node import Graph, Node, origin, replace_inputs, replaced, topological
from graphk.ir.opdef import const_value
from graphk.ir.ops.shape import broadcast_to
from graphk.ir.types import TensorType

COMMUTATIVE = frozenset(("add", "mul", "max", "min", "and", "or", "eq", "ne"))
Pattern = Any
Bound = dict[str, Node]


@dataclass(frozen=True, slots=True)
class Rule:
    """`rewrite(node, **bound)` replaces a node that matches `pattern`, or returns None to decline."""
    name: str
    pattern: Pattern
    rewrite: Callable[..., Node | None]


def match(pattern: Pattern, node: Node, bound: Bound) -> Bound | None:
    """The bindings under which `node` matches, else None."""
    if isinstance(pattern, str):
        if pattern.startswith("c:"):
            if const_value(node) is None:
                return None
            pattern = pattern[2:]
        if pattern in bound:
            return bound if bound[pattern] is node else None
        return {**bound, pattern: node}
    if isinstance(pattern, (int, float)):
        return bound if const_value(node) == pattern else None
    if node.op.name != pattern[0]:
        return None
    args = pattern[1:]
    if not args:
        return bound
    if len(args) != len(node.inputs):
        return None
    orders = [args, args[::-1]] if len(args) == 2 and pattern[0] in COMMUTATIVE else [args]
    for order in orders:
        out: Bound | None = bound
        for p, n in zip(order, node.inputs):
            out = match(p, n, out) if out is not None else None
        if out is not None:
            return out
    return None


class RuleSet:
    """Rules by the op that they start with."""

    def __init__(self, rules: Iterable[Rule]):
        self.by_op: dict[str, list[Rule]] = {}
        for r in rules:
            self.by_op.setdefault(r.pattern[0], []).append(r)

    def apply(self, node: Node) -> Node | None:
        """The first rule's result for `node`, of its type, else None."""
        for rule in self.by_op.get(node.op.name, ()):
            bound = match(rule.pattern, node, {})
            if bound is None:
                continue
            with origin(like=node, rule=rule.name):
                new = rule.rewrite(node, **bound)
                if new is None or new is node:
                    continue
                return replaced(node, fit(new, node, rule.name), rule.name)
        return None


def fit(new: Node, old: Node, rule: str) -> Node:
    """`new` broadcast to the shape of `old`; TypeError naming the rule if dtypes differ."""
    if isinstance(old.type, TensorType):
        if new.dtype != old.dtype:
            raise TypeError(f"the rule `{rule}` turned {old!r} into {new!r}: the dtype changed")
        return broadcast_to(new, shape=old.shape)
    return new


def rewrite_fixpoint(graph: Graph, step: Callable[[Node], Node | None], limit: int = 20) -> Graph:
    """Bottom-up rewriting until nothing changes; each replacement is looked at again, `limit` times at most."""
    memo: dict[Node, Node] = {}
    for node in topological(graph.roots()):
        here = replace_inputs(node, tuple(memo[i] for i in node.inputs))
        memo[node] = _settle(here, step, memo, limit)
    return graph.map(lambda n: memo[n])


def _settle(node: Node, step: Callable[[Node], Node | None], memo: dict[Node, Node], limit: int) -> Node:
    for _ in range(limit):
        if node in memo:
            return memo[node]
        new = step(node)
        if new is None or new is node:
            break
        node = _rebuild(new, step, memo, limit - 1)
    memo[node] = node
    return node


def _rebuild(node: Node, step: Callable[[Node], Node | None], memo: dict[Node, Node], limit: int) -> Node:
    """Settle the new nodes that a rewrite made, below `node`."""
    if limit <= 0:
        return node
    fresh = topological([node], memo)[:-1]
    for n in fresh:
        here = replace_inputs(n, tuple(memo.get(i, i) for i in n.inputs))
        memo[n] = here if here in memo else _settle(here, step, memo, limit)
    return replace_inputs(node, tuple(memo.get(i, i) for i in node.inputs))
