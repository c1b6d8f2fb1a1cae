"""A value that is to be shown while a program runs.

In: any tensor and a message.  Out: the same value.  What always holds: `watch` changes no value and no gradient, and
`decompose` removes it; the front end finds it before, and prints what it stands on after each call.
"""
from __future__ import annotations

import itertools

import numpy as np

from graphk.ir.node import Node
from graphk.ir.opdef import OpDef, composite

_uids = itertools.count(1)
watch_op: OpDef = composite(
    "watch", lambda x, message, uid: x, ref=lambda x, message, uid: x,
    samples=lambda rng: [([rng.standard_normal((3, 4)).astype(np.float32)], {"message": "x = ", "uid": 1})],
    doc="The operand itself, shown with `message` whenever it is computed; two of them never merge.")


def watch(x: Node, message: str) -> Node:
    """`x`, to be printed after `message`."""
    return watch_op(x, message=message, uid=next(_uids))
