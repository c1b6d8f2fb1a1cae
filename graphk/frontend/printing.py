"""`K.print_tensor`: what it marks is printed after each call of the compiled code.

In: a graph, and the learning phase it will run in.  Out: the graph with what it marks as further outputs, and an
executable that prints these and returns the others.  What always holds: only what the phase computes is printed, in
the order of the graph; a graph that marks nothing is untouched.
"""
from __future__ import annotations

from typing import Any, Callable, Iterator, Sequence

import numpy as np

from graphk.ir.node import Graph, Node

Executable = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


def reached(roots: Sequence[Node], phase: int) -> Iterator[Node]:
    """The nodes that `roots` are computed from when the learning phase is `phase` (not the other branch of a
    switch)."""
    seen: set[Node] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        if node.op.name == "phase_select" and node.inputs[0].op.name == "phase":
            stack.append(node.inputs[1 if phase else 2])
        else:
            stack.extend(node.inputs)


def marked(graph: Graph, phase: int) -> list[Node]:
    """The nodes of `K.print_tensor`; NotImplementedError if one is inside a loop, whose steps cannot print."""
    for node in graph.nodes():
        if node.op.name == "scan" and _any_mark(node.attr("body")):
            raise NotImplementedError(
                "K.print_tensor was used inside a loop (K.rnn, K.map_fn, K.foldl, K.foldr), whose steps run as one "
                "piece of compiled code. Print what the loop returns instead.")
    if not any(node.op.name == "watch" for node in graph.nodes()):
        return []
    live = set(reached(graph.roots(), phase))
    return [node for node in graph.nodes() if node.op.name == "watch" and node in live]


def _any_mark(body: Graph) -> bool:
    return any(n.op.name == "watch" or n.op.name == "scan" and _any_mark(n.attr("body")) for n in body.nodes())


def with_outputs(graph: Graph, more: Sequence[Node]) -> Graph:
    """`graph` with the outputs `more` after its own."""
    return Graph(graph.inputs, (*graph.outputs, *more), graph.updates, graph.name, graph.guards)


def show(marks: Sequence[Node], values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Print the last of `values`, which belong to `marks`, and return the others."""
    own = len(values) - len(marks)
    for node, value in zip(marks, values[own:]):
        print(f"{node.attr('message')}{np.asarray(value)}", flush=True)
    return list(values[:own])


class Shown:
    """An executable that prints."""

    def __init__(self, marks: Sequence[Node], run: Executable):
        self.marks, self.run = marks, run

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return show(self.marks, self.run(inputs))

    def staying(self, inputs: Sequence[Any]) -> list[Any]:
        """A call whose results stay on the device, where it has one."""
        return show(self.marks, getattr(self.run, "staying", self.run)(inputs))
