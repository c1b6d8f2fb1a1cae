"""`graphk export`: which graph of a model becomes a library, and at which sizes.

In: a model.  Out: what `graphk.runtime.aot` writes.  What always holds: it is the prediction, as `predict` computes it.
"""
from __future__ import annotations

import os
from typing import Any, Mapping, Sequence

from graphk.codegen.other_cpu import cpu_target
from graphk.codegen.target import host_target
from graphk.inspection.subjects import batch_symbols, dims_for, subjects_of
from graphk.runtime.aot import export as write


def export(model: Any, directory: str | os.PathLike[str], name: str, batches: Sequence[int],
           dims: Mapping[str, int] | None, cpu: str, triple: str, compiler: str | None) -> str:
    """See `graphk.inspection.export`."""
    subject = subjects_of(model)[-1]
    program = subject.program
    if unknown := set(dims or {}) - set(program.dims):
        raise ValueError(f"the model has no size {sorted(unknown)[0]}; it has {', '.join(program.dims) or 'none'}")
    if not batches:
        raise ValueError("batches is empty; expected at least one number of samples, such as [1]")
    first = sorted(batch_symbols(program))
    if not first:
        fixed = next((int(b.type.shape[0]) for b in subject.executable.inputs if b.type.shape), 1)
        if set(batches) - {1, fixed}:
            raise ValueError(f"the model's batch size is fixed to {fixed}; it cannot be "
                             f"{', '.join(map(str, batches))}")
        batches = [fixed]
    if cpu == "cuda":
        raise ValueError("cpu is 'cuda'; a C library is for a processor: expected host, scalar, sse, avx2, avx512 or "
                         "LLVM's name of one. (`graphk kernel --target cuda` shows the code for a GPU)")
    target = cpu_target("host" if cpu == "cpu" else cpu, triple)
    if compiler is None and target.triple.split("-")[0] != host_target().triple.split("-")[0]:
        compiler = ""
    return write(subject.executable.result, subject.executable.variables, target, name, os.fspath(directory),
                 {b: dims_for(program, b, dims) for b in batches}, getattr(model, "output_names", ()), compiler)


__all__ = ["export"]
