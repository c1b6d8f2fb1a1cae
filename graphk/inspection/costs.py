"""What each step of a compiled graph computes and moves, and for which layer.

In: a `Subject` and values of the symbolic dims.  Out: a `StepCost` per kernel call, with a `Share` for each layer whose
nodes the kernel computes.  What always holds: a FLOP is one float operation of the kernel's own loop nest (a fused
multiply-add counts two, a call of `exp` one); bytes are of buffers, each read once and written once by a step, and
never more than its loops load; the shares of a step add up to it.
"""
from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Iterable, Mapping

from graphk.inspection.facts import StepRow, step_rows
from graphk.inspection.sections import layer_in
from graphk.inspection.subjects import Subject, value
from graphk.ir.dims import Dim, product, substitute, sym, symbols
from graphk.ir.effects import root_of
from graphk.ir.loop import Call, Kernel, Let, Load, Loop, Stmt, Store, Update, expressions
from graphk.ir.node import Graph, Node, origin_of
from graphk.ir.ops.recurrent import GATES
from graphk.ir.program import Program, Step
from graphk.ir.types import FLOATS, ITEMSIZE, TensorType

FREE = ("select", "u01")                       # of the scalar table, on floats, but no arithmetic
OUTSIDE = "outside layers"                     # the optimizer's updates, and what belongs to no single layer


@dataclass(frozen=True)
class Share:
    """What a layer has of a step: FLOPs, multiply-adds of contractions, bytes read and written."""
    layer: str
    flops: float
    macs: float
    bytes: float


@dataclass(frozen=True)
class StepCost:
    """A kernel call (all trips of the loops around it), and the layers that it computes for."""
    row: StepRow
    flops: int
    bytes: int
    shares: tuple[Share, ...]

    @property
    def intensity(self) -> float:
        """FLOPs for each byte."""
        return self.flops / self.bytes if self.bytes else 0.0

    @property
    def layers(self) -> str:
        """The layers, those with most FLOPs first."""
        return ", ".join(s.layer for s in sorted(self.shares, key=lambda s: (-s.flops, -s.bytes)))


# ------------------------------------------------------------------ kernels
def kernel_flops(kernel: Kernel) -> Dim:
    """Float operations, a polynomial of the kernel's sizes; of a library's call those of its products."""
    if kernel.called:
        return 2 * called_macs(kernel)
    floats = {p.name: p.dtype in FLOATS for p in kernel.params}

    def one(s: Stmt) -> int:
        if not isinstance(s, (Let, Update, Store)):
            return 0
        calls = [e for e in expressions(s.expr) if isinstance(e, Call) and e.dtype in FLOATS]
        adds = isinstance(s, Update) and s.expr.dtype in FLOATS or isinstance(s, Store) and s.accumulate and \
            floats[s.buffer]
        return int(adds) + sum(2 if e.fn == "fma" else 1 for e in calls
                               if e.fn not in FREE and not e.fn.startswith("cast:"))

    def of(stmts: Iterable[Stmt]) -> Dim:
        total: Dim = 0
        for s in stmts:
            total = total + (s.extent * of(s.body) if isinstance(s, Loop) else one(s))
        return total
    return of(kernel.body)


def called_macs(kernel: Kernel) -> Dim:
    """Multiply-adds of a recurrent layer that a library computes; the way back has the products of the way there
    twice, for data and for weights."""
    assert kernel.schedule is not None
    cell, _, what = kernel.schedule.axes
    time, samples, features, units = map(sym, kernel.sizes)
    return time * samples * GATES[cell] * units * (features + units) * (2 if what == "gradient" else 1)


def kernel_loads(kernel: Kernel) -> dict[str, Dim]:
    """How many elements the loops load of each parameter: it may be less than the buffer has (rows of a table)."""
    out: dict[str, Dim] = defaultdict(int)

    def walk(stmts: Iterable[Stmt], times: Dim) -> None:
        for s in stmts:
            if isinstance(s, Loop):
                walk(s.body, times * s.extent)
            elif isinstance(s, (Let, Update, Store)):
                for e in expressions(s.expr):
                    if isinstance(e, Load):
                        out[e.buffer] = out[e.buffer] + times
    walk(kernel.body, 1)
    return out


def step_bytes(step: Step, program: Program, roots: Mapping[str, str], env: Mapping[str, int]) -> int:
    """Bytes read and written by one run of a step."""
    table = {b.name: b for b in program.buffers}
    sizes = dict(zip(step.kernel.sizes, step.sizes))
    loaded = kernel_loads(step.kernel)
    moved: dict[tuple[str, str, bool], int] = {}
    for p, name in zip(step.kernel.params, step.buffers):
        b = table[name]
        whole = value(b.nbytes, env)
        if p.role == "in" and step.kernel.called:
            moved[roots[name], str(b.type), False] = whole
        elif p.name in loaded and p.role != "temp":
            count = substitute(loaded[p.name], sizes)
            known = symbols(count) <= set(env)         # else some loop's extent is computed in the kernel
            some = value(count, env) * ITEMSIZE[b.type.dtype] if known else whole
            moved[roots[name], str(b.type), False] = min(whole, some)
        if p.role == "out":
            moved[roots[name], str(b.type), True] = whole
    return sum(moved.values())


# ------------------------------------------------------------------ nodes
def node_macs(node: Node) -> Dim:
    """Multiply-adds of a contraction; 0 of anything else."""
    if node.op.name != "dot":
        return 0
    shared = node.attr("contract")[0]
    return node.t.size * product(tuple(node.inputs[0].shape[i] for i in shared))


def node_flops(node: Node) -> Dim:
    """Float operations of one node, roughly: what a fused kernel's own are shared by."""
    if node.op.name == "dot":
        return 2 * node_macs(node)
    if not isinstance(node.type, TensorType) or not node.t.is_float:
        return 0
    if node.op.kind == "reduction":
        return node.inputs[0].t.size
    return node.t.size if node.op.kind == "elementwise" and node.op.name not in ("cast", "select") else 0


def _layer(node: Node) -> str:
    return origin_of(node).layer or OUTSIDE


def _weights(body: Graph, env: Mapping[str, int]) -> dict[str, list[float]]:
    """For each layer in a fused group: FLOPs, multiply-adds and bytes of its nodes."""
    out: dict[str, list[float]] = defaultdict(lambda: [0., 0., 0.])
    readers: dict[Node, Node] = {}
    for n in body.nodes():
        for i in n.inputs:
            readers.setdefault(i, n)
        if n.op.kind != "leaf":
            out[_layer(n)][0] += value(node_flops(n), env)
            out[_layer(n)][1] += value(node_macs(n), env)
    for leaf, at in [*((i, readers.get(i)) for i in body.inputs), *((o, o) for o in body.outputs)]:
        if at is not None:
            out[_layer(at)][2] += value(leaf.t.size, env) * ITEMSIZE[leaf.dtype]
    return out


def _shares(weights: Mapping[str, list[float]], flops: int, nbytes: int, times: int) -> tuple[Share, ...]:
    """A step's numbers, shared in proportion."""
    all_flops, all_bytes = (sum(w[i] for w in weights.values()) for i in (0, 2))
    return tuple(Share(name, flops * (w[0] / all_flops if all_flops else 1 / len(weights)), times * w[1],
                       nbytes * (w[2] / all_bytes if all_bytes else 1 / len(weights)))
                 for name, w in weights.items())


# ------------------------------------------------------------------ programs
def step_costs(subject: Subject, env: Mapping[str, int]) -> list[StepCost]:
    """Each kernel call at the sizes `env`, in order; kernels in loops with all their trips."""
    program, out = subject.program, []
    roots, formulas = root_of(program), dict[Kernel, Dim]()
    for row in step_rows(program, env):
        step = row.step
        if step.kernel not in formulas:
            formulas[step.kernel] = kernel_flops(step.kernel)
        formula = substitute(formulas[step.kernel], dict(zip(step.kernel.sizes, step.sizes)))
        flops = row.times * value(formula, env) if symbols(formula) <= set(env) else row.operations
        nbytes = row.times * step_bytes(step, program, roots, env)
        weights = _weights(step.group.attr("body"), env) if step.group is not None else {}
        weights = {k: w for k, w in weights.items() if any(w)} or {layer_in(row.origin) or OUTSIDE: [
            0., flops / 2 if step.kernel.called else 0., 0.]}
        out.append(StepCost(row, flops, nbytes, _shares(weights, flops, nbytes, row.times)))
    return out


def by_layer(costs: Iterable[StepCost]) -> dict[str, Share]:
    """The sum of each layer, in the order in which layers are met."""
    out: dict[str, Share] = {}
    for c in costs:
        for s in c.shares:
            have = out.get(s.layer, Share(s.layer, 0., 0., 0.))
            out[s.layer] = Share(s.layer, have.flops + s.flops, have.macs + s.macs, have.bytes + s.bytes)
    return out


__all__ = ["OUTSIDE", "Share", "StepCost", "by_layer", "kernel_flops", "kernel_loads", "node_flops", "node_macs",
           "step_bytes", "step_costs"]
