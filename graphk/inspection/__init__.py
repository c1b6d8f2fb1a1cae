"""Inspection: every stage of a compilation, as a page, as files, as tables.

In: a model, or what `K.function` returns.  Out: `report` writes one HTML page, `dump` a folder of text files, `passes`
gives the table of the passes, `summary` that of the layers, `cost` and `profile` those of the kernels.  What always
holds: nothing is changed by looking (what is timed runs on copies); no weight is written anywhere; importing graphk, or
this package, loads none of it until one of the functions is called.
"""
from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Mapping, Sequence

if TYPE_CHECKING:
    from graphk.inspection.costing import CostTable, Profile
    from graphk.inspection.facts import PassTable
    from graphk.inspection.layers import Summary


def report(model_or_function: Any, path: str | os.PathLike[str], batch: int = 32,
           dims: Mapping[str, int] | None = None, times: bool = True) -> str:
    """Write one self-contained HTML page about a model or function; returns its path.

    batch: the number of samples for which sizes, times and memory are shown; dims: values of other symbolic dims by
    name (16 unless given); times: measure each step, on copies of the weights and random inputs (a few seconds).
    TypeError for anything but a model or function.

    >>> import os, tempfile
    >>> from pathlib import Path
    >>> from graphk import backend as K
    >>> x = K.placeholder(shape=(None, 4))
    >>> page = report(K.function([x], [K.softmax(x)]), os.path.join(tempfile.mkdtemp(), "softmax.html"))
    >>> "kernel" in Path(page).read_text()
    True
    """
    from graphk.inspection.page import report as write
    return write(model_or_function, path, batch, dims, times)


def dump(model_or_function: Any, directory: str | os.PathLike[str], formats: Sequence[str] = ("text", "dot", "json",
                                                                                              "html"),
         after: str | None = None, kernels: bool = True, batch: int = 32) -> str:
    """Write every stage into `directory`, a folder per compiled graph, and `index.html`; returns the directory.

    formats: which of text, dot, json, html; after: only what this pass made; kernels: LLVM IR and assembly, too (each
    kernel is compiled once more for them).
    """
    from graphk.inspection.dumping import dump as write
    return write(model_or_function, directory, formats, after, kernels, batch)


def passes(model_or_function: Any) -> "PassTable":
    """The passes of each compiled graph: nodes before and after, groups, milliseconds; prints as a table.

    >>> from graphk import backend as K
    >>> x = K.placeholder(shape=(None, 4))
    >>> [row.name for row in passes(K.function([x], [x + x]))][:2]
    ['specialize', 'scans']
    """
    from graphk.inspection.facts import PassTable, pass_rows
    from graphk.inspection.subjects import subjects_of
    return PassTable(row for s in subjects_of(model_or_function) for row in pass_rows(s))


def summary(model: Any, batch: int = 32, dims: Mapping[str, int] | None = None) -> "Summary":
    """The layers of a model: output shapes, parameters, and the multiply-adds, FLOPs and bytes (read and written) of
    one call with `batch` samples, from its compiled graphs; and the bytes of memory that calls of several sizes need.

    dims: values of other symbolic dims by name (16 unless given).  Prints as tables; in a notebook it is one.  Where
    the model is compiled, training is counted, too.  TypeError for anything but a model, RuntimeError if it is not
    built.

    >>> from graphk.layers import Dense
    >>> from graphk.models import Sequential
    >>> found = summary(Sequential([Dense(4, input_shape=(8,), name="first")]), batch=10)
    >>> found.layers[0].costs[0].macs, found.total.params
    (320.0, 36)
    """
    from graphk.inspection.layers import summary as make
    return make(model, batch, dims)


def cost(model_or_function: Any, batch: int = 32, dims: Mapping[str, int] | None = None) -> "CostTable":
    """What each kernel call and each layer computes (FLOPs) and moves (bytes), and the seconds that this takes at least
    under this machine's roofline: a peak from the target's vectors and the measured clock, a measured bandwidth.

    Nothing of the model is run; the benchmarks take a second, once in a process.  One `GraphCosts` for each compiled
    graph, whose `lines` are in the order in which they run; prints as tables, the longest first.  TypeError for
    anything but a model or function.

    >>> from graphk import backend as K
    >>> x, y = K.placeholder(shape=(None, 4)), K.placeholder(shape=(4, 5))
    >>> table = cost(K.function([x, y], [K.dot(x, y)]), batch=10)
    >>> table[0].lines[0].flops
    400
    """
    from graphk.inspection.costing import CostTable, graph_costs
    from graphk.inspection.subjects import dims_for, subjects_of
    return CostTable(graph_costs(s, dims_for(s.program, batch, dims)) for s in subjects_of(model_or_function))


def profile(model_or_function: Any, batch: int = 32, dims: Mapping[str, int] | None = None) -> "Profile":
    """`cost` with the measured seconds of each step and each layer, on random inputs and copies of the variables.

    Takes about a second for each compiled graph.  `profile(model).trace("trace.json")` writes Chrome trace events.
    TypeError for anything but a model or function; ValueError where variables take more than a gibibyte.

    >>> from graphk import backend as K
    >>> x = K.placeholder(shape=(None, 4))
    >>> found = profile(K.function([x], [K.softmax(x)]))
    >>> found[0].call > 0 and all(line.time >= 0 for line in found[0].lines)
    True
    """
    from graphk.inspection.costing import Profile, graph_costs
    from graphk.inspection.subjects import dims_for, subjects_of
    return Profile(graph_costs(s, dims_for(s.program, batch, dims), timed=True)
                   for s in subjects_of(model_or_function))


__all__ = ["cost", "dump", "passes", "profile", "report", "summary"]
