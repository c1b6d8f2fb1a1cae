"""Names by which scripts written for TensorFlow read a tensor.

In: a tensor of graphk.  Out: its static shape and what computed it, under TensorFlow's names.  What always holds: a
shape equals its tuple; nothing here changes a tensor.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphk.ir.node import Node

_TYPES = {"input": "Placeholder", "variable": "VariableV2", "const": "Const", "dot": "MatMul", "max": "Maximum",
          "min": "Minimum", "div": "RealDiv"}


class StaticShape(tuple):
    """A tensor's shape, None for unknown axes.

    >>> StaticShape((None, 3)).as_list()
    [None, 3]
    """

    @property
    def ndims(self) -> int:
        """The number of axes."""
        return len(self)

    def as_list(self) -> list[int | None]:
        """The sizes in a list."""
        return list(self)


@dataclass(frozen=True)
class Operation:
    """What computed a tensor: `inputs` are the tensors it was computed from, `type` the like of 'Softmax'."""

    name: str
    type: str
    inputs: list[Any]
    outputs: list[Any]


class Foreign:
    """The part of a tensor that is TensorFlow's, which many programs use to find what lies before a softmax.

    >>> from graphk import backend as K
    >>> x = K.placeholder((None, 3), name="x")
    >>> op = K.softmax(x).op
    >>> op.type, op.inputs[0].name, x.get_shape().as_list()
    ('Softmax', 'x', [None, 3])
    """

    node: Node
    name: str

    @property
    def shape(self) -> StaticShape:
        """The static shape, None for unknown axes."""
        return StaticShape(d if isinstance(d, int) else None for d in self.node.shape)

    def get_shape(self) -> StaticShape:
        """The same."""
        return self.shape

    def set_shape(self, shape: Any) -> None:
        """Sizes that the program knows: a tuple with None for axes to be left as they are.  An open axis takes
        the size, which calls then check; ValueError where a known size is another one."""
        from graphk.ir.ops.shape import reshape
        sizes, mine = tuple(shape), self.shape
        if len(sizes) != len(mine) or any(None not in (a, b) and int(a) != b for a, b in zip(sizes, mine)):
            raise ValueError(f"set_shape({sizes}): the tensor `{self.name}` has the shape {mine}")
        wanted = tuple(d if size is None else int(size) for d, size in zip(self.node.shape, sizes))
        if wanted != self.node.shape:
            self.node = reshape(self.node, shape=wanted)

    @property
    def op(self) -> Operation:
        """What computed the tensor."""
        from graphk.frontend.tensor import tensor_of
        kind = self.node.op.name
        return Operation(self.name.split(":")[0], _TYPES.get(kind, kind.title().replace("_", "")),
                         [tensor_of(n) for n in self.node.inputs], [self])
