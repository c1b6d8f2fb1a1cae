"""Passes on the text of a graph: some of them, timed, and what they made compared with the interpreter.

In: a Graph, and names of passes.  Out: what the last of them made, the milliseconds of each, or a `Comparison`.  What
always holds: passes run in their own order and are verified as in a compilation; one whose conditions the graph does
not meet is refused, not run.
"""
from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from graphk.inspection.subjects import OTHER_SIZE
from graphk.ir import verify
from graphk.ir.dims import compile_dims, symbols
from graphk.ir.interp import run_full
from graphk.ir.node import Graph, Node, origin_of
from graphk.ir.program import Program, flat_steps
from graphk.ir.text import parse_graph, parse_program
from graphk.ir.types import TensorType
from graphk.passes.pipeline import IR, PASSES, Pass, Result, State, check

NAMES = tuple(p.name for p in PASSES)
LOWERING = ("lower", "schedule", "memory")            # from a graph to a planned program
NEEDS = {"schedule": "lower", "memory": "schedule"}


@dataclass(frozen=True)
class Optimized:
    """What the passes made, and the milliseconds that each took."""
    ir: IR
    milliseconds: tuple[tuple[str, float], ...]

    def times(self) -> str:
        """A table of the times."""
        rows = [f"{name:<12} {ms:9.3f} ms" for name, ms in self.milliseconds]
        return "\n".join([*rows, f"{'all':<12} {sum(ms for _, ms in self.milliseconds):9.3f} ms"])


def chosen(names: Sequence[str] | None) -> list[Pass]:
    """The passes of these names (None: all); ValueError for an unknown one or the wrong order."""
    if names is None:
        return list(PASSES)
    for name in names:
        if name not in NAMES:
            raise ValueError(f"there is no pass {name!r}; expected some of {', '.join(NAMES)}")
    at = [NAMES.index(n) for n in names]
    for i, (a, b) in enumerate(zip(at, at[1:])):
        if b <= a and not (names[i + 1].startswith("simplify") or b == a):
            raise ValueError(f"`{names[i + 1]}` comes before `{names[i]}`: passes run in the order {', '.join(NAMES)}")
    return [PASSES[i] for i in at]


def parsed(text: str) -> IR:
    """The graph or the program of a text; `graphk.ir.text.ParseError` where it is neither."""
    return parse_program(text) if text.lstrip().startswith("program ") else parse_graph(text)


def optimize(graph: IR, names: Sequence[str] | None = None, phase: int = 0) -> Optimized:
    """A graph, or a program, after the passes `names`, in one learning phase (1 train, 0 test).  By default all, for a
    graph of `fuse` or a program those that come after it.

    ValueError for an unknown pass, one out of order, or one that needs what an earlier pass ensures.

    >>> from graphk.ir.text import parse_graph, print_graph
    >>> g = parse_graph("graph g(%x: f32[n,3]) { %0 = exp(%x) %1 = log(%0) return %1 }")
    >>> optimize(g, ["simplify"]).ir.outputs[0] is g.inputs[0]
    True
    """
    passes, state, ir, times = chosen(left(graph) if names is None else names), State(phase), graph, []
    check(ir, "the text", ())
    ensured: tuple[verify.Rule, ...] = ()
    for p in passes:
        _ready(p.name, ir)
        start = time.perf_counter()
        ir = p.run(ir, state)
        times.append((p.name, (time.perf_counter() - start) * 1e3))
        if isinstance(ir, Graph) and p.name not in LOWERING:
            ensured += tuple(r for r in p.ensures if r not in ensured)
        check(ir, p.name, ensured)
    return Optimized(ir, tuple(times))


def left(ir: IR) -> tuple[str, ...]:
    """The passes that `ir` has not been through: all for a graph without fused groups."""
    if isinstance(ir, Graph):
        return LOWERING if any(n.op.name == "fusion" for n in ir.nodes()) else NAMES
    if ir.planned:
        return ()
    return LOWERING[2:] if all(s.kernel.schedule is not None for s in flat_steps(ir.steps)) else LOWERING[1:]


def _ready(name: str, ir: IR) -> None:
    """ValueError where `ir` is not what a pass takes."""
    want = "a program" if name in ("schedule", "memory") else "a graph"
    if isinstance(ir, Graph) and want == "a program":
        raise ValueError(f"the pass `{name}` takes a program, and this is a graph: run `{NEEDS[name]}` before it")
    if not isinstance(ir, Graph) and want == "a graph":
        raise ValueError(f"the pass `{name}` takes a graph, and this is a program, which no pass turns back")
    if not isinstance(ir, Graph):
        return
    fused = any(n.op.name == "fusion" for n in ir.nodes())
    if fused and name != "lower":
        raise ValueError(f"the pass `{name}` takes a graph without fused groups: it runs before `fuse`")
    if name == "lower" and not fused and any(n.op.kind == "elementwise" or n.op.name == "dot" for n in ir.nodes()):
        raise ValueError("the pass `lower` makes kernels of groups, and this graph has none: run `fuse` before it")
    if name in ("compact", "slices", "fuse"):
        for n in ir.nodes():
            if n.op.expand is not None:
                raise ValueError(f"the pass `{name}` takes primitives, and `{n.op.name}` is a composite "
                                 f"({origin_of(n) or 'of the text'}): run `decompose` before it")
            if n.op.name.startswith("phase"):
                raise ValueError(f"the pass `{name}` takes a graph of one learning phase, and this has a "
                                 f"`{n.op.name}`: run `specialize` before it")


# ------------------------------------------------------------------ running it
@dataclass(frozen=True)
class Comparison:
    """How the compiled code differs from the interpreter (a program's: from the simulated GPU) on the same random
    arrays, value by value."""
    sizes: Mapping[str, int]
    rows: tuple[tuple[str, str, float, float], ...]           # name, type, largest difference, in units of the largest
    oracle: str = "interpreted"

    def __str__(self) -> str:
        sizes = ", ".join(f"{k} = {v}" for k, v in self.sizes.items()) or "fixed sizes"
        rows = [f"{name:<24} {kind:<20} " + ("equal bits" if gap == 0 else f"differs by {gap:.3g} at most, "
                f"{share:.2g} of the largest value") for name, kind, gap, share in self.rows]
        return "\n".join([f"compiled against {self.oracle}, {sizes}:", *rows])


def compare(graph: IR, after: IR, phase: int = 0, sizes: Mapping[str, int] | None = None,
            target: str = "cpu") -> Comparison:
    """Run `graph` in the interpreter and, compiled, what passes made of it, on the same random inputs.

    A program cannot be interpreted: it runs on the simulated GPU instead.  sizes: values of the symbolic dims (16
    unless given); target: whose code runs: `cpu`, another processor whose code this one runs, or `cuda`, on a simulated
    GPU.  ValueError for a size that there is not, for a target that is not here, and for a program on `cuda`.
    """
    from graphk.inspection.timing import aligned_copy
    from graphk.runtime.mirrors import current
    if not isinstance(graph, Graph) and target == "cuda":
        raise ValueError("a program is compared with the simulated GPU, and so not on cuda; expected another target, "
                         "or the text of a graph, which is compared with the interpreter")
    ins, outs, held = _values(graph)
    names = {s for t in ins for d in t.shape for s in symbols(d)}
    if extra := set(sizes or {}) - names:
        raise ValueError(f"the {'graph' if isinstance(graph, Graph) else 'program'} has no size {sorted(extra)[0]!r}; "
                         f"it has {', '.join(sorted(names)) or 'none'}")
    env = {**dict.fromkeys(sorted(names), OTHER_SIZE), **(sizes or {})}
    rng = np.random.RandomState(0)
    inputs = [_random(t, env, rng) for t in ins]
    variables = {v: _random(v.t, env, rng) for v in held}
    wanted, updated = _oracle(graph, inputs, {v: a.copy() for v, a in variables.items()}, phase)
    arrays = {v: aligned_copy(a) for v, a in variables.items()}
    got = _executable(_finished(after, phase), arrays, target)(inputs)
    rows = [_row(f"output {i}", t, a, b) for i, (t, a, b) in enumerate(zip(outs, wanted, got))]
    rows += [_row(str(v.attr("name")), v.t, a, current(arrays[v])) for v, a in updated.items()]
    return Comparison(env, tuple(rows), "interpreted" if isinstance(graph, Graph) else "simulated")


def _values(ir: IR) -> tuple[list[TensorType], list[TensorType], list[Node]]:
    """The types of the inputs and of the outputs, and the variables."""
    if isinstance(ir, Graph):
        return [n.t for n in ir.inputs], [n.t for n in ir.outputs], list(ir.variables())
    ins, outs = ([b.type for b in sorted((b for b in ir.buffers if b.place == place), key=lambda b: b.index)]
                 for place in ("input", "output"))
    return ins, outs, [b.node for b in ir.buffers if b.place == "variable" and b.node is not None]


def _oracle(ir: IR, inputs: Sequence[np.ndarray], variables: Mapping[Node, np.ndarray],
            phase: int) -> tuple[Sequence[np.ndarray], Mapping[Node, np.ndarray]]:
    """Outputs, and new values of variables, by what shares no code generator with a compiled program."""
    if isinstance(ir, Graph):
        return run_full(ir, inputs, variables, phase)
    from graphk.runtime.device_sim import run_program
    outputs, after = run_program(Result(_finished(ir, phase)), inputs, variables)
    return outputs, {v: a for v, a in after.items() if not np.array_equal(a, variables[v])}


def _executable(program: Program, arrays: dict[Node, np.ndarray], target: str) -> Callable[[Any], list[np.ndarray]]:
    from graphk.codegen.other_cpu import cpu_target, runs_here
    from graphk.runtime.compile import Executable
    from graphk.runtime.device import device
    from graphk.runtime.gpu import GpuExecutable
    if target == "cuda":
        return GpuExecutable(Result(program), arrays, device("simulator"))
    other = None if target == "cpu" else cpu_target(target)
    if other and not runs_here(other):
        raise ValueError(f"code for {target} does not run on this machine's processor; expected cpu, cuda (on a "
                         "simulated GPU), or scalar, sse, avx2 or avx512 as far as the processor has them")
    return Executable(Result(program), arrays, other)


def _finished(ir: IR, phase: int) -> Program:
    """What the passes make of `ir` that it has not been through yet."""
    if names := left(ir):
        ir = optimize(ir, names, phase).ir
    assert isinstance(ir, Program)
    return ir


def _random(t: TensorType, env: Mapping[str, int], rng: np.random.RandomState) -> np.ndarray:
    """Numbers in [-1, 1), or zeros of a type that may choose rows."""
    shape = tuple(compile_dims(t.shape)(env))
    return np.asarray(rng.rand(*shape) * 2 - 1, t.dtype) if t.is_float else np.zeros(shape, t.dtype)


def _row(name: str, t: TensorType, want: np.ndarray, got: np.ndarray) -> tuple[str, str, float, float]:
    a, b = np.asarray(want, np.float64), np.asarray(got, np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(all="ignore"):
        gap = float(np.max(np.where(same, 0., np.nan_to_num(np.abs(a - b), nan=np.inf)), initial=0.))
        most = float(np.max(np.abs(a), initial=0., where=np.isfinite(a)))
    return name, str(t), gap, gap / most if most else gap


__all__ = ["Comparison", "NAMES", "Optimized", "compare", "optimize", "parsed"]
