"""Inspection: every stage of a compilation, as a page, as files, as tables.

In: a model, or what `K.function` returns.  Out: `report` writes one HTML page, `dump` a folder of text files, `passes`
gives the table of the passes.  What always holds: nothing is changed by looking (what is timed runs on copies); no
weight is written anywhere; importing graphk, or this package, loads none of it until one of the functions is called.
"""
from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Mapping, Sequence

if TYPE_CHECKING:
    from graphk.inspection.facts import PassTable


def report(model_or_function: Any, path: str | os.PathLike[str], batch: int = 32,
           dims: Mapping[str, int] | None = None, times: bool = True) -> str:
    """Write one self-contained HTML page about a model or function; returns its path.

    batch: the number of samples for which sizes, times and memory are shown; dims: values of other symbolic dims by
    name (16 unless given); times: measure each step, on copies of the weights and random inputs (a few seconds).
    TypeError for anything but a model or function.

    >>> import os, tempfile
    >>> from graphk import backend as K
    >>> x = K.placeholder(shape=(None, 4))
    >>> page = report(K.function([x], [K.softmax(x)]), os.path.join(tempfile.mkdtemp(), "softmax.html"))
    >>> "kernel" in open(page).read()
    True
    """
    from graphk.inspection.page import report as write
    return write(model_or_function, path, batch, dims, times)


def dump(model_or_function: Any, directory: str | os.PathLike[str], formats: Sequence[str] = ("text", "dot", "json",
                                                                                              "html"),
         after: str | None = None, kernels: bool = True, batch: int = 32) -> str:
    """Write every stage into `directory`, a folder per compiled graph, and `index.html`; returns the directory.

    formats: which of text, dot, json, html, svg; after: only what this pass made; kernels: LLVM IR and assembly, too (each
    kernel is compiled once more for them).
    """
    from graphk.inspection.dumping import dump as write
    return write(model_or_function, directory, formats, after, kernels, batch)


def passes(model_or_function: Any) -> "PassTable":
    """The passes of each compiled graph: nodes before and after, groups, milliseconds; prints as a table.

    >>> from graphk import backend as K
    >>> x = K.placeholder(shape=(None, 4))
    >>> [row.name for row in passes(K.function([x], [x + x]))][:2]
    ['specialize', 'shapes']
    """
    from graphk.inspection.facts import PassTable, pass_rows
    from graphk.inspection.subjects import subjects_of
    return PassTable(row for s in subjects_of(model_or_function) for row in pass_rows(s))


def export(model: Any, directory: str | os.PathLike[str], name: str = "network", batches: Sequence[int] = (1,),
           dims: Mapping[str, int] | None = None, cpu: str = "host", triple: str = "",
           compiler: str | None = None) -> str:
    """Compile a model's prediction ahead of time, as a C library that needs no Python; returns the library's path.

    `directory` is made, and gets `lib<name>.so`, `<name>.h`, the driver `<name>.c`, the kernels' objects, the weights
    and `example.c`.  batches: the numbers of samples that the library can be called with; dims: values of other open
    sizes by name (16 unless given); cpu: `host`, `scalar`, `sse`, `avx2`, `avx512`, or LLVM's name of a processor;
    triple: of another machine; compiler: a C compiler (default: cc, gcc or clang; for another machine none, and then
    the driver's path is returned).  ValueError for an unknown processor or size, RuntimeError where `directory` exists
    or linking fails.

    >>> import os, tempfile
    >>> from graphk.layers import Dense
    >>> from graphk.models import Sequential
    >>> model = Sequential([Dense(2, input_shape=(3,))])
    >>> made = export(model, os.path.join(tempfile.mkdtemp(), "net"), compiler="")
    >>> os.path.basename(made)
    'network.c'
    """
    from graphk.inspection.exporting import export as write
    return write(model, directory, name, batches, dims, cpu, triple, compiler)


__all__ = ["dump", "export", "passes", "report"]
