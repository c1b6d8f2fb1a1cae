"""Names by which scripts written for TensorFlow read a tensor.

In: a tensor of graphk.  Out: its static shape and what computed it, under TensorFlow's names.  What always holds: a
shape equals its tuple; only `set_shape` changes a tensor, only `load` a variable's value.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphk.ir.node import Node

_TYPES = {"input": "Placeholder", "variable": "VariableV2", "const": "Const", "dot": "MatMul", "max": "Maximum",
          "min": "Minimum", "div": "RealDiv"}


class Size(int):
    """A known size, which is a number, and which TensorFlow 1 had in an object of its own.

    >>> Size(3) + 1, Size(3).value
    (4, 3)
    """

    @property
    def value(self) -> int:
        """The number."""
        return int(self)

    _value = value


class StaticShape(tuple):
    """A tensor's shape, None for unknown axes.

    >>> StaticShape((None, 3)).as_list(), StaticShape((None, 3, 4))[1:].as_list()
    ([None, 3], [3, 4])
    """

    @property
    def ndims(self) -> int:
        """The number of axes."""
        return len(self)

    def __getitem__(self, at: Any) -> Any:
        found = tuple.__getitem__(self, at)
        return StaticShape(found) if isinstance(at, slice) else found

    def as_list(self) -> list[int | None]:
        """The sizes in a list."""
        return [None if d is None else int(d) for d in self]


@dataclass(frozen=True)
class Operation:
    """What computed a tensor: `inputs` are the tensors it was computed from, `type` the like of 'Softmax'."""

    name: str
    type: str
    inputs: list[Any]
    outputs: list[Any]


class ForeignVariable:
    """The part of a variable that is TensorFlow's.

    >>> from graphk import backend as K
    >>> v = K.variable(1.)
    >>> K.get_session().run([v.assign_add(2.), v.value()])
    [array(3., dtype=float32), array(1., dtype=float32)]
    """

    @property
    def initializer(self) -> Any:
        """What gives it its first value again, by `.run()` or in a session."""
        from graphk.frontend.first_values import FirstValues
        return FirstValues([self])                     # type: ignore[list-item]

    def assign(self, value: Any) -> Any:
        """An update to `value`, for a session."""
        from graphk.frontend import backend as K
        return K.update(self, value)                   # type: ignore[arg-type]

    def assign_add(self, value: Any) -> Any:
        """An update that adds."""
        return self.assign(self + value)

    def assign_sub(self, value: Any) -> Any:
        """An update that subtracts."""
        return self.assign(self - value)

    def value(self) -> Any:
        """It as a tensor."""
        from graphk.frontend import backend as K
        return K.identity(self)                        # type: ignore[arg-type]

    read_value = value

    def load(self, value: Any, session: Any = None) -> None:
        """Set it now."""
        self.set_value(value)                          # type: ignore[attr-defined]


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
        return StaticShape(Size(d) if isinstance(d, int) else None for d in self.node.shape)

    def set_shape(self, shape: Any) -> None:
        """Say what is known of the sizes, None for nothing; ValueError where they are others."""
        if shape is None:
            return
        given = [None if d is None else int(d) for d in shape]
        if len(given) != len(self.node.shape) or any(
                isinstance(d, int) and g not in (None, d) for g, d in zip(given, self.node.shape)):
            raise ValueError(f"set_shape: the tensor `{self.name}` has the shape {self.shape}, which is not {shape}")
        known = tuple(d if g is None else g for g, d in zip(given, self.node.shape))
        if known != self.node.shape:
            from graphk.ir.ops.shape import reshape
            self.node = reshape(self.node, shape=known)

    def get_shape(self) -> StaticShape:
        """The same."""
        return self.shape

    @property
    def op(self) -> Operation:
        """What computed the tensor."""
        from graphk.frontend.tensor import tensor_of
        kind = self.node.op.name
        return Operation(self.name.split(":")[0], _TYPES.get(kind, kind.title().replace("_", "")),
                         [tensor_of(n) for n in self.node.inputs], [self])
