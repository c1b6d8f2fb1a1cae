"""Leaves of the graph: inputs, variables and the learning phase.

In: a type and a name.  Out: nodes with a unique id, so that two never merge.  What always holds: a
`variable` node stands for storage that outlives a call; an `input` is fed anew at each call; `phase` is
the one learning-phase scalar (int32: 1 train, 0 test) that the specialize pass makes a constant.
"""
from __future__ import annotations

import itertools

from graphk.ir.node import Node, make
from graphk.ir.opdef import leaf
from graphk.ir.types import TensorType

_uids = itertools.count(1)
input_op = leaf("input", "A value fed at each call.")
variable_op = leaf("variable", "A value that lives across calls.")
phase_op = leaf("phase", "The learning phase: int32, 1 in training and 0 in testing.")


def new_input(type_: TensorType, name: str = "") -> Node:
    """A fresh graph input."""
    return make(input_op, (), (("name", name), ("uid", next(_uids))), type_)


def new_variable(type_: TensorType, name: str = "") -> Node:
    """A fresh variable."""
    return make(variable_op, (), (("name", name), ("uid", next(_uids))), type_)


def fresh_input(type_: TensorType) -> Node:
    return new_input(type_, "")


def learning_phase() -> Node:
    """The learning-phase scalar."""
    return make(phase_op, (), (), TensorType("int32", ()))
