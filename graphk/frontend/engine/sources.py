"""Which inputs a tensor comes from.

In: a tensor that layers made.  Out: the Input tensors that it was computed from.  What always holds: each is
listed once.
"""
from __future__ import annotations

from typing import Any


def get_source_inputs(tensor: Any, layer: Any = None, node_index: int | None = None) -> list[Any]:
    """The Input tensors that `tensor` depends on; `[tensor]` if it is an input or no layer made it."""
    if not hasattr(tensor, "_keras_history"):
        return [tensor]
    if layer is None or node_index:
        layer, node_index, _ = tensor._keras_history
    found: dict[int, Any] = {}
    seen: set[int] = set()
    stack = [(tensor, layer._inbound_nodes[node_index or 0])]
    while stack:
        x, node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if not node.inbound_layers:
            found.update((id(t), t) for t in (node.output_tensors if x is tensor else [x]))
            continue
        for t, source, i in zip(
            reversed(node.input_tensors), reversed(node.inbound_layers), reversed(node.node_indices)
        ):
            if source is None:
                found[id(t)] = t
            else:
                stack.append((t, source._inbound_nodes[i]))
    return list(found.values())
