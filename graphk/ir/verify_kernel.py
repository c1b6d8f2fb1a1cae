"""The verifier of Kernel: what must hold of any loop nest, scheduled or not.

In: a Kernel, the name of the pass that made it and where its nodes come from.  Out: nothing, or a `VerifyError` that
names the pass, the kernel, the statement and the broken rule.  What always holds: one walk in order of
execution, with the names that are visible at each statement; a name means one thing wherever it is visible.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Iterator, Mapping

from graphk.ir.dims import Dim, symbols
from graphk.ir.loop import (COMBINE, Acc, Expr, Index, Kernel, Let, Lit, Load, Loop, Param, Ref, Schedule, Stmt,
                            Store, Update, stmt_lines, walk)
from graphk.ir.node import Node
from graphk.ir.ops.recurrent import STATES
from graphk.ir.scalar_rules import EVERY, FLOATS, HELD, INTS, NUMBERS, result_dtype

SCHEDULES = {"map": 2, "rows": 2, "columns": 2, "chunks": 2, "tile": 3, "blocks": 3, "winograd2": 3,
             "winograd4": 3, "serial": 0, "library": 3}                                          # kind: number of axes
KERNEL_RULES = {
    "names": "every name is defined before it is used, and once where it is visible",
    "dtypes": "operands have the dtypes that the scalar table asks for, stored values those of their buffers",
    "loads": "only inputs are loaded, and private buffers that an earlier phase filled",
    "stores": "only outputs and private buffers are stored to, and all lets of a body precede its stores",
    "indices": "indices and extents speak of sizes, axes of loops around them and integer lets",
    "updates": "an update combines into an accumulator of a loop around it",
    "schedule": "the schedule is one of those that exist, over axes of the kernel",
}


class VerifyError(AssertionError):
    """Something that breaks a rule; `rule` is the rule's name, `node` the offending node of a graph or None."""

    def __init__(self, message: str, rule: str, node: Node | None = None):
        super().__init__(message)
        self.rule, self.node = rule, node


@dataclass(frozen=True)
class Broken:
    """What breaks a rule of kernels."""
    rule: str
    message: str
    statement: Stmt | None = None


@dataclass
class Scope:
    """What is visible: values by dtype, accumulators, loop axes."""
    values: dict[str, str]
    accs: dict[str, Acc]
    axes: frozenset[str] = frozenset()

    def inner(self, axis: str) -> "Scope":
        return Scope(dict(self.values), dict(self.accs), self.axes | {axis})


@dataclass
class _Walk:
    """One walk over a kernel."""
    kernel: Kernel
    params: Mapping[str, Param] = field(init=False)
    phase: int = 0
    stored: dict[str, int] = field(default_factory=dict)        # private buffer: the phase that filled it

    def __post_init__(self) -> None:
        self.params = {p.name: p for p in self.kernel.params}

    def run(self) -> Iterator[Broken]:
        k = self.kernel
        names = [*(p.name for p in k.params), *k.sizes]
        for name in {n for n in names if names.count(n) > 1}:
            yield Broken("names", f"the parameter `{name}` is declared twice")
        for p in k.params:
            if p.role not in ("in", "out", "temp"):
                yield Broken("names", f"the parameter `{p.name}` has the role {p.role!r}; expected in, out or temp")
            if p.dtype not in HELD:
                yield Broken("dtypes", f"the parameter `{p.name}` holds {p.dtype}; expected one of {', '.join(HELD)}")
            if unknown := symbols(p.size) - set(k.sizes):
                yield Broken("indices", f"the size {p.size} of `{p.name}` speaks of {_list(unknown)}, "
                                        "which are no sizes of the kernel")
        yield from self.body(k.body, Scope({}, {}))
        yield from self.schedule()

    # -------------------------------------------------------------- statements
    def body(self, stmts: tuple[Stmt, ...], scope: Scope, top: bool = True) -> Iterator[Broken]:
        stores = False
        for s in stmts:
            stores = stores or isinstance(s, Store)
            if isinstance(s, Let) and stores:
                yield Broken("stores", f"the let `{s.name}` stands behind a store of the same body", s)
            self.phase += top and isinstance(s, Loop)
            yield from self.statement(s, scope)

    def statement(self, s: Stmt, scope: Scope) -> Iterator[Broken]:
        if isinstance(s, Loop):
            yield from self.define(s.axis, scope, s)
            yield from self.index(s.extent, scope, s, f"the extent {s.extent}")
            yield from self.body(s.body, scope.inner(s.axis), top=False)
        elif isinstance(s, Acc):
            yield from self.accumulator(s, scope)
        else:
            yield from self.expr(s.expr, scope, s)
            if isinstance(s, Let):
                yield from self.define(s.name, scope, s)
                scope.values[s.name] = s.expr.dtype
            else:
                yield from self.update(s, scope) if isinstance(s, Update) else self.store(s, scope)

    def define(self, name: str, scope: Scope, s: Stmt) -> Iterator[Broken]:
        if name in scope.values or name in scope.axes or name in self.params or name in self.kernel.sizes:
            yield Broken("names", f"`{name}` is defined again where it is visible already", s)

    def accumulator(self, s: Acc, scope: Scope) -> Iterator[Broken]:
        yield from self.define(s.name, scope, s)
        logical = s.combine in ("and", "or")
        if s.combine not in COMBINE:
            yield Broken("updates", f"the accumulator `{s.name}` combines by {s.combine!r}; "
                                    f"expected one of {', '.join(sorted(COMBINE))}", s)
        elif s.dtype not in (("bool",) if logical else NUMBERS):
            yield Broken("dtypes", f"the accumulator `{s.name}` combines {s.dtype} values by {s.combine}", s)
        scope.values[s.name], scope.accs[s.name] = s.dtype, s

    def update(self, s: Update, scope: Scope) -> Iterator[Broken]:
        acc = scope.accs.get(s.name)
        if acc is None:
            yield Broken("updates", f"`{s.name}` is updated, but no accumulator of that name is visible", s)
        elif acc.dtype != s.expr.dtype:
            yield Broken("dtypes", f"the accumulator `{s.name}` is {acc.dtype}, received {s.expr.dtype}", s)

    def store(self, s: Store, scope: Scope) -> Iterator[Broken]:
        param = self.params.get(s.buffer)
        yield from self.index(s.index, scope, s, f"the index {s.index} of `{s.buffer}`")
        if param is None or param.role == "in":
            yield Broken("stores", f"`{s.buffer}` is stored to, but it is no output or private buffer", s)
        elif param.dtype != s.expr.dtype:
            yield Broken("dtypes", f"`{s.buffer}` holds {param.dtype}, received {s.expr.dtype}", s)
        elif param.role == "temp":
            self.stored.setdefault(s.buffer, self.phase)

    # -------------------------------------------------------------- expressions
    def expr(self, e: Expr, scope: Scope, s: Stmt) -> Iterator[Broken]:
        if isinstance(e, Ref):
            if scope.values.get(e.name) is None:
                yield Broken("names", f"`{e.name}` is used where it is not defined", s)
            elif scope.values[e.name] != e.dtype:
                yield Broken("dtypes", f"`{e.name}` is {scope.values[e.name]}, but is used as {e.dtype}", s)
        elif isinstance(e, Lit):
            kind = bool if e.dtype == "bool" else float if e.dtype in FLOATS else int
            if type(e.value) is not kind or e.dtype not in EVERY:
                yield Broken("dtypes", f"the {type(e.value).__name__} {e.value!r} is typed {e.dtype}", s)
        elif isinstance(e, Load):
            yield from self.load(e, scope, s)
        elif isinstance(e, Index):
            yield from self.index(e.index, scope, s, f"the index {e.index}")
            if e.dtype not in NUMBERS:
                yield Broken("dtypes", f"an index is used as {e.dtype}; expected one of {', '.join(NUMBERS)}", s)
        else:
            for a in e.args:
                yield from self.expr(a, scope, s)
            yield from self.call_types(e.fn, tuple(a.dtype for a in e.args), e.dtype, s)

    def call_types(self, fn: str, dtypes: tuple[str, ...], typed: str, s: Stmt) -> Iterator[Broken]:
        try:
            result = result_dtype(fn, dtypes)
        except TypeError as e:
            yield Broken("dtypes", str(e), s)
            return
        if result != typed:
            yield Broken("dtypes", f"`{fn}` gives {result}, but is typed {typed}", s)

    def load(self, e: Load, scope: Scope, s: Stmt) -> Iterator[Broken]:
        param = self.params.get(e.buffer)
        yield from self.index(e.index, scope, s, f"the index {e.index} of `{e.buffer}`")
        if param is None or param.role == "out":
            yield Broken("loads", f"`{e.buffer}` is loaded, but it is no input", s)
        elif param.dtype != e.dtype:
            yield Broken("dtypes", f"`{e.buffer}` holds {param.dtype}, but is loaded as {e.dtype}", s)
        elif param.role == "temp" and self.stored.get(e.buffer, self.phase) >= self.phase:
            yield Broken("loads", f"the private buffer `{e.buffer}` is loaded before an earlier phase filled it", s)

    def index(self, d: Dim, scope: Scope, s: Stmt, what: str) -> Iterator[Broken]:
        ints = {name for name, dtype in scope.values.items() if dtype in INTS}
        if unknown := symbols(d) - scope.axes - ints - set(self.kernel.sizes):
            yield Broken("indices", f"{what} speaks of {_list(unknown)}: no size, axis of a loop around it or "
                                    "integer let", s)

    # -------------------------------------------------------------- the schedule
    def schedule(self) -> Iterator[Broken]:
        sched = self.kernel.schedule
        if sched is None:
            return
        axes = {s.axis for s in walk(self.kernel.body) if isinstance(s, Loop)}
        if SCHEDULES.get(sched.kind) != len(sched.axes):
            yield Broken("schedule", f"there is no schedule {sched}; there are "
                                     + ", ".join(f"{k} of {n} axes" for k, n in SCHEDULES.items()))
        if self.kernel.called:
            yield from self.called(sched)
        if unknown := set(sched.axes) - axes if not self.kernel.called else ():
            yield Broken("schedule", f"the schedule {sched} speaks of {_list(unknown)}; the kernel's axes are "
                                     f"{_list(axes) or 'none'}")


    def called(self, sched: Schedule) -> Iterator[Broken]:
        """A library's call: of what there is, with its operands and results, and no loops."""
        if self.kernel.body:
            yield Broken("schedule", f"the schedule {sched} is a library's, which computes no loops")
        words = (tuple(STATES), ("none", "one", "two"), ("forward", "training", "gradient"))
        if len(sched.axes) != 3 or any(a not in w for a, w in zip(sched.axes, words)):
            yield Broken("schedule", f"there is no schedule {sched}; a library's speaks of "
                                     + ", then ".join(" or ".join(w) for w in words))
            return
        states = STATES[sched.axes[0]]
        want = {"forward": (2 + states, 1 + states), "training": (2 + states, 2 + states),
                "gradient": (5 + 2 * states, 2 + states)}[sched.axes[2]]
        found = [p.role for p in self.kernel.params]
        if found != ["in"] * want[0] + ["out"] * want[1] or len(self.kernel.sizes) != 4:
            yield Broken("schedule", f"the schedule {sched} takes {want[0]} inputs, {want[1]} outputs and 4 sizes; the "
                                     f"kernel has {', '.join(found)} and {len(self.kernel.sizes)} sizes")


def _list(names: "set[str] | frozenset[str]") -> str:
    return ", ".join(f"`{n}`" for n in sorted(names))


@lru_cache(maxsize=4096)
def kernel_broken(kernel: Kernel) -> Broken | None:
    """The first broken rule of a kernel, or None."""
    return next(_Walk(kernel).run(), None)


def verify_kernel(kernel: Kernel, after: str = "", origin: str = "") -> None:
    """Check `kernel` against every rule of `KERNEL_RULES`.

    >>> from graphk.ir.text import parse_kernel
    >>> verify_kernel(parse_kernel("kernel k(p0: f32 out; s0) { for i0 in s0 { p0[i0] = 1.0:f32 } }"))
    """
    broken = kernel_broken(kernel)
    if broken is None:
        return
    lines = [f"the kernel `{kernel.label}` is not valid after {after or 'construction'}: {broken.message}",
             f"  rule: {broken.rule} ({KERNEL_RULES[broken.rule]})"]
    if broken.statement is not None:
        lines.append(f"  statement: {stmt_lines(broken.statement, 0)[0]}")
    lines += [f"  from: {origin}"] if origin else []
    lines += [f"  {line}" for line in str(kernel).split("\n")]
    raise VerifyError("\n".join(lines + blame(after)), broken.rule)


def blame(after: str) -> list[str]:
    """Whose error it is."""
    return [f"  this is an error in the pass `{after}`, not in your model: please report it with this text"] \
        if after else []


__all__ = ["Broken", "KERNEL_RULES", "VerifyError", "blame", "kernel_broken", "verify_kernel"]
