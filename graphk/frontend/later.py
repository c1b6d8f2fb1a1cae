"""Outputs that Python computes from arrays, after the compiled part of a call: what no kernel can do.

In: a function of arrays, and the tensors whose values it takes.  Out: tensors that stand for what it returns.  What
always holds: such a tensor may be an output of a function, and nothing can be computed from it; one call of a function
calls the Python function once for all outputs it gives.
"""
from __future__ import annotations

import weakref
from typing import Any, Callable, Sequence

import numpy as np

from graphk.frontend.tensor import Tensor
from graphk.ir.node import Node
from graphk.ir.ops.leaves import new_input
from graphk.ir.types import TensorType

Compute = Callable[..., Sequence[np.ndarray]]
_made: "weakref.WeakKeyDictionary[Node, tuple[Compute, tuple[Node, ...], int]]" = weakref.WeakKeyDictionary()


def later(compute: Compute, sources: Sequence[Node], types: Sequence[TensorType], name: str) -> list[Tensor]:
    """A tensor of each of `types`, which `compute` gives from the values of `sources`."""
    nodes = [new_input(t, name) for t in types]
    _made.update({node: (compute, tuple(sources), i) for i, node in enumerate(nodes)})
    return [Tensor(node) for node in nodes]


def is_later(node: Node) -> bool:
    """Whether Python computes `node`."""
    return node in _made


class Outputs:
    """The outputs of a function.  nodes: what the compiled part computes for them."""

    def __init__(self, wanted: Sequence[Node]):
        self._plan = [_made.get(n, (None, (n,), 0)) for n in wanted]
        self.nodes = tuple(dict.fromkeys(n for _, sources, _ in self._plan for n in sources)) \
            if any(n in _made for n in wanted) else tuple(wanted)
        self.direct = self.nodes == tuple(wanted)

    def __call__(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs from the values of `nodes`."""
        known = dict(zip(self.nodes, values))
        done: dict[Any, Sequence[np.ndarray]] = {}
        for compute, sources, _ in self._plan:
            if compute is not None and compute not in done:
                done[compute] = compute(*(np.asarray(known[s]) for s in sources))
        return [known[sources[0]] if compute is None else done[compute][i] for compute, sources, i in self._plan]


__all__ = ["Outputs", "is_later", "later"]
