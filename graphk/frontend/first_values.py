"""The first values of variables once more, and steps that a session runs: TensorFlow's initializers and train ops.

In: variables, each of which knows its first value or how to draw it; updates.  Out: `FirstValues` and `Step`, which
`K.get_session().run` runs.  What always holds: numbers of initializers without a seed are drawn anew; a variable
whose first value nobody knows is refused by name, before anything is written.
"""
from __future__ import annotations

from typing import Any, Iterable, Sequence

from graphk.frontend.tensor import Tensor, Update, Variable, variables


class FirstValues:
    """Variables, or without any all there are, that get their first values when it is run.

    >>> from graphk import backend as K
    >>> v = K.variable([1., 2.])
    >>> K.set_value(v, [3., 4.])
    >>> K.get_session().run(v.initializer)
    >>> K.get_value(v).tolist()
    [1.0, 2.0]
    """

    def __init__(self, of: Iterable[Variable] | None = None):
        self.of = None if of is None else list(of)

    def run(self, feed_dict: Any = None, session: Any = None) -> None:
        """Write them; ValueError for a variable whose first value is not known."""
        from graphk.frontend.backend.values import eval
        found = variables() if self.of is None else self.of
        for v in found:
            if v.first is None:
                raise ValueError(f"The first value of the variable `{v.name}` of shape {tuple(v.shape)} is not known "
                                 "any more; give it one with K.set_value(variable, value)")
        for v in found:
            value = v.first()                          # type: ignore[misc]
            v.set_value(eval(value) if isinstance(value, Tensor) else value)


class Step:
    """Updates that `K.get_session().run` makes together, as one of TensorFlow's train ops."""

    def __init__(self, updates: Sequence[Update]):
        self.updates = list(updates)

    def run(self, feed_dict: Any = None, session: Any = None) -> None:
        """Make them once."""
        from graphk.frontend.backend.session import get_session
        get_session().run(self, feed_dict)


__all__ = ["FirstValues", "Step"]
