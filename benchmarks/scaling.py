"""How a compiled step would be shared by more threads than this machine has: `python -m benchmarks.scaling`.

In: networks through the plain Keras API.  Out: for each number of threads the time of the busiest one, as a part of
one thread's, with steps weighted by their time measured on one thread; the steps that cannot be shared further; the
barriers.  What always holds: a kernel's share is what its own source computes (`share_lo`, `share_hi`), evaluated for
every thread; caches, memory bandwidth and the barriers' own time are left out, and the table says so.
"""
from __future__ import annotations

import re
from typing import Any, Callable

import numpy as np

from graphk.codegen.cpu import Source
from graphk.codegen.pyspace import python_namespace
from graphk.codegen.target import Target, host_target
from graphk.inspection.subjects import Subject, subjects_of
from graphk.inspection.timing import measure
from graphk.ir.dims import evaluate
from graphk.ir.program import Step

THREADS = (1, 2, 4, 8, 16, 32, 64)
_ENDS = {"m1": "m0", "n1": "n0", "l1": "l0", "h1": "h0", "stop_": "begin_"}      # names of shares, beside x_lo and x_hi


def header(source: Source) -> str:
    """The first entry's scalar lines before its first loop: what decides a thread's share."""
    body = source.text.split("\ndef ")[0].split("\n")
    first = next(i for i, line in enumerate(body) if line.startswith("def "))
    out = []
    for line in body[first + 1:]:
        if re.match(r"    (for |while |if m_ <=)", line):             # few rows go another way, shared alike
            break
        if not re.search(r"^ +t\d+(_v)? = |ptr_|vload|vsplat|\bat\(|tile_|\w\[", line):
            out.append(line[4:])
    return "\n".join(out)


def share(source: Source, sizes: list[int], params: int, target: Target, threads: int) -> float:
    """The busiest thread's part of a step's first phase (1: it is not shared)."""
    if not source.parallel[0]:
        return 1.0
    space = {k: v for k, v in python_namespace(target.lanes).items() if not k.startswith("ptr_")}
    words = [0] * params + sizes + [0, 0, 1]                       # panels are packed
    space["arg_i64"] = lambda args, i: args[i]
    code = compile(header(source), "share", "exec")

    def extents(tid: int, nt: int) -> dict[str, int]:
        names: dict[str, Any] = {**space, "args": words, "tid": tid, "nt": nt}
        exec(code, names)
        ends = {n: n[:-3] + "_lo" for n in names if n.endswith("_hi") and n not in space} | _ENDS
        return {end: max(0, names[end] - names[start]) for end, start in ends.items() if {end, start} <= set(names)}
    whole = extents(0, 1)
    parts = [np.prod([e / max(1, whole[k]) for k, e in extents(t, threads).items()]) for t in range(threads)]
    return float(max(parts)) if whole else 1.0


def table(subject: Subject, env: dict[str, int]) -> list[tuple[int, float, list[tuple[float, str]]]]:
    """For each number of threads: the time of a call as a part of one thread's, and the steps that weigh most."""
    times = measure(subject, env)
    assert times is not None
    exe, target = subject.executable, host_target()
    total, out = sum(times.steps), []
    for threads in THREADS:
        steps = []
        for step, seconds in zip(subject.program.steps, times.steps):
            part = 1.0
            if isinstance(step, Step):
                sizes = [int(evaluate(d, env)) for d in step.sizes]
                source = exe.kernels[step.kernel].source
                part = share(source, sizes, len(step.kernel.params), target, threads)
            label = f"{step.kernel.label} {step.kernel.schedule}" if isinstance(step, Step) else "loop"
            steps.append((part * seconds / total, label))
        out.append((threads, sum(p for p, _ in steps), sorted(steps, reverse=True)[:3]))
    return out


def networks() -> dict[str, Callable[[], tuple[Any, int]]]:
    """Models, and the batch they are asked for."""
    from graphk.applications.resnet50 import ResNet50
    from graphk.layers import Conv2D, Dense, Flatten, MaxPooling2D
    from graphk.models import Sequential

    def mlp() -> tuple[Any, int]:
        m = Sequential([Dense(512, activation="relu", input_shape=(784,)), Dense(512, activation="relu"), Dense(10)])
        m.compile("rmsprop", "mse")
        return m, 128

    def cnn() -> tuple[Any, int]:
        m = Sequential([Conv2D(32, 3, activation="relu", input_shape=(28, 28, 1)), Conv2D(64, 3, activation="relu"),
                        MaxPooling2D(), Flatten(), Dense(128, activation="relu"), Dense(10)])
        m.compile("sgd", "mse")
        return m, 128
    return {"MLP": mlp, "CNN": cnn, "ResNet50": lambda: (ResNet50(weights=None), 8)}


def main() -> None:
    """Print the tables."""
    from graphk.inspection.subjects import dims_for
    for name, make in networks().items():
        model, batch = make()
        for subject in subjects_of(model):
            barriers = sum(s.barrier for s in subject.program.steps) + 1
            print(f"{name}, {subject.program.name}, batch {batch}: {len(subject.program.steps)} steps, "
                  f"{barriers} barriers")
            for threads, part, worst in table(subject, dims_for(subject.program, batch)):
                what = ", ".join(f"{p:.1%} {label}" for p, label in worst)
                print(f"  {threads:3d} threads: {1 / part:5.1f} times as fast; most of it: {what}", flush=True)


if __name__ == "__main__":
    main()
