"""`graphk.debug(nan=True)`: which op made the first NaN or infinity.

In: the calls of functions while the switch is on.  Out: their results, or a `FloatingPointError` that names the first
op, its layer and the user's line.  What always holds: while it is off nothing is kept and nothing is looked at; a call
that is refused leaves every variable as it was before; what is blamed ran in the interpreter, on the graph that was
compiled (before fusion), from the state before the call, random numbers included.
"""
from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Sequence

import numpy as np

from graphk.frontend import function as functions
from graphk.frontend.function import Function, with_random_step
from graphk.frontend.tensor import variable_of
from graphk.ir.interp import run_full, watched
from graphk.ir.node import Graph, Node, origin_of
from graphk.frontend.printing import Executable
from graphk.runtime.exchange import DeviceArray, Resident
from graphk.runtime.writes import write


class debug:
    """Look for NaN and infinity in the results of every call, and name the op that made the first.

    A switch (`graphk.debug(nan=True)` … `graphk.debug(nan=False)`), or a context manager, which puts back what was
    set before. While it is on, each call copies the variables that it updates and looks at its results; a call whose
    outputs or variables come out as NaN or infinite raises FloatingPointError, and its variables keep their values.

    >>> import graphk
    >>> from graphk import backend as K
    >>> x = K.placeholder(shape=(None, 2))
    >>> f = K.function([x], [K.log(x) + 1])
    >>> with graphk.debug(nan=True):
    ...     f([[[1., 0.]]])                                                       # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    FloatingPointError: -inf in output 0 ...
    """

    def __init__(self, nan: bool = True):
        if not isinstance(nan, bool):
            raise TypeError(f"debug(nan=…) is a switch: expected True or False, received {nan!r}")
        self._before = functions.CHECKED[0]
        functions.CHECKED[0] = checked if nan else None

    def __enter__(self) -> "debug":
        return self

    def __exit__(self, *exc: object) -> None:
        functions.CHECKED[0] = self._before


def checked(function: Function, run: Executable, inputs: Sequence[np.ndarray], phase: int) -> list[np.ndarray]:
    """The results of a call, which `run` makes; FloatingPointError where one is NaN or infinite."""
    executable = function.executable(phase)
    graph = with_random_step(function._graph, phase)
    arrays = {v: variable_of(v).array for v in graph.variables()}
    before = {v: arrays[v].copy() for v, _ in graph.updates}
    values = run(inputs)
    bad = _bad(function, values, before)
    if not bad:
        return values
    for v, old in before.items():
        write(arrays[v], old)
    search = Search()
    compiled = _graph_of(executable, graph)
    inputs = [np.asarray(a) if isinstance(a, Resident) else a for a in inputs]
    with watched(search):
        run_full(compiled, inputs, arrays, phase)
    raise FloatingPointError(_message(function, bad, search, [(n.attr("name"), a) for n, a in zip(
        (*graph.inputs, *arrays), (*inputs, *arrays.values()))]))


def _graph_of(executable: Any, captured: Graph) -> Graph:
    """What was compiled: the graph before fusion; what was captured where nothing is compiled."""
    records = getattr(getattr(executable, "result", None), "records", ())
    return next((r.before for r in records if r.name == "fuse"), captured)


def _bad(function: Function, values: Sequence[Any], before: dict[Node, np.ndarray]) -> str:
    """What is not finite among outputs and updated variables, and was before; '' if all is well."""
    for i, a in enumerate(values):
        if what := kind(a):
            return f"{what} in output {i} of `{function.name}`"
    for v, old in before.items():
        if (what := kind(variable_of(v).array)) and not kind(old):
            return f"{what} in the new value of the variable `{v.attr('name')}`, which `{function.name}` updates"
    return ""


def kind(a: Any) -> str:
    """`NaN`, `inf` or `-inf` if an array has one; '' if all its numbers are finite."""
    if isinstance(a, DeviceArray) and not isinstance(a, Resident):         # what reads it is checked
        return ""
    a = np.asarray(a)
    if a.dtype.kind != "f" or np.isfinite(a).all():
        return ""
    return "NaN" if np.isnan(a).any() else "inf" if (a == np.inf).any() else "-inf"


# ------------------------------------------------------------------ the search
@dataclass
class Found:
    """A node whose result is not finite, its operands, and how often it had run before."""
    node: Node
    operands: list[Any]
    value: np.ndarray
    trip: int


@dataclass
class Search:
    """Sees every node that the interpreter runs: keeps the first that is not finite though its operands are, and the
    first NaN from operands without one."""
    first: Found | None = None
    nan: Found | None = None
    runs: "Counter[Node]" = field(default_factory=Counter)

    def __call__(self, node: Node, operands: list[Any], value: Any) -> None:
        self.runs[node] += 1
        if not node.inputs or not isinstance(value, np.ndarray) or self.nan is not None:
            return
        what = kind(value)
        if what and self.first is None and not any(kind(x) for x in operands if isinstance(x, np.ndarray)):
            self.first = Found(node, operands, value, self.runs[node])
        if what == "NaN" and not any(kind(x) == "NaN" for x in operands if isinstance(x, np.ndarray)):
            self.nan = Found(node, operands, value, self.runs[node])


def _message(function: Function, bad: str, search: Search, given: Sequence[tuple[str, Any]]) -> str:
    lines = [bad + "; the variables have their values from before the call."]
    lines += [f"`{name}` had {what} in it before the call." for name, a in given if (what := kind(a))][:4]
    if search.first is not None:
        lines.append(f"The first op to make one out of finite numbers: {_told(search.first)}")
    if search.nan is not None and (search.first is None or search.nan.node is not search.first.node):
        lines.append(f"The first NaN: {_told(search.nan)}")
    if len(lines) == 1:
        lines.append("The interpreter finds none in the same call: only the compiled code overflows there, by another "
                     "order of the same operations; values are at the edge of their type.")
    return "\n".join(lines)


def _told(found: Found) -> str:
    """An op with its layer, the user's line, what it made and out of what."""
    o = origin_of(found.node)
    line = os.path.basename(o.line) if o.line else ""
    where = ", ".join(p for p in (o.layer and f"layer `{o.layer}`", line) if p)
    bad = ~np.isfinite(found.value)
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    trip = f", in trip {found.trip} of a loop" if found.trip > 1 else ""
    out = [f"`{found.node.op.name}` {found.node.type}{f' ({where})' if where else ''}{trip} made "
           f"{kind(found.value)}, {int(bad.sum())} of {found.value.size} values not finite, the first at {at}"]
    for node, a in zip(found.node.inputs, found.operands):
        if isinstance(a, np.ndarray) and a.size:
            name = node.attr("name") if node.op.kind == "leaf" and node.attr("name") else node.op.name
            low, high = (np.nanmin(a), np.nanmax(a)) if not np.isnan(a.astype(float)).all() else (a.flat[0],) * 2
            here = f", {a[at]} there" if a.shape == found.value.shape else ""
            out.append(f"    of {name} {node.type}, from {low} to {high}{here}")
    return "\n".join(out)


__all__ = ["checked", "debug"]
