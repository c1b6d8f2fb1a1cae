"""Kernel: target-neutral loop nests over buffers.

In: the lowering of one fused group.  Out: frozen loops, lets, accumulators and stores, over expressions of
the scalar table.  What always holds: extents and indices are polynomials (`Dim`) over the kernel's size
parameters `s0, s1, …`, loop axes and integer lets, so one kernel serves every shape of its kind, and two
groups of equal structure give equal text and compile once; all lets of a loop body precede its stores.

Text form (`str(kernel)`, parsed by `graphk.ir.text`):

    kernel map(p0: f32 in, p1: f32 out; s0) schedule map(i0) {
      for i0 in s0 {
        t0 = max(p0[i0], 0.0:f32)
        p1[i0] = t0
      }
    }
"""
from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Iterator, Union

from graphk.ir.dims import Dim, DimExpr, SymDim, OpDim, substitute, symbols
from graphk.ir.types import FLOATS, SHORT
from graphk.ir.values import identifier, quote

BOOL_RESULT = frozenset(("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "is_nan", "is_inf"))
COMBINE = frozenset(("add", "mul", "max", "min", "and", "or"))


# ------------------------------------------------------------------ expressions
@dataclass(frozen=True, slots=True)
class Ref:
    """The value of a let or accumulator."""
    name: str
    dtype: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Lit:
    """A number."""
    value: Any
    dtype: str

    def __str__(self) -> str:
        return f"{self.value!r}:{SHORT[self.dtype]}"


@dataclass(frozen=True, slots=True)
class Load:
    """One element of a buffer."""
    buffer: str
    index: Dim
    dtype: str

    def __str__(self) -> str:
        return f"{self.buffer}[{self.index}]"


@dataclass(frozen=True, slots=True)
class Index:
    """An index polynomial used as a value."""
    index: Dim
    dtype: str

    def __str__(self) -> str:
        return f"index[{self.index}]:{SHORT[self.dtype]}"


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the scalar table."""
    fn: str
    args: tuple["Expr", ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.fn}({', '.join(map(str, self.args))})"


Expr = Union[Ref, Lit, Load, Index, Call]


# ------------------------------------------------------------------ statements
@dataclass(frozen=True, slots=True)
class Let:
    """A named value."""
    name: str
    expr: Expr


@dataclass(frozen=True, slots=True)
class Acc:
    """An accumulator, set to the identity of `combine` ("add", "mul", "max", "min", "and", "or")."""
    name: str
    combine: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Update:
    """acc = combine(acc, expr)."""
    name: str
    expr: Expr


@dataclass(frozen=True, slots=True)
class Store:
    """buffer[index] = expr; `accumulate` adds instead."""
    buffer: str
    index: Dim
    expr: Expr
    accumulate: bool = False


@dataclass(frozen=True, slots=True)
class Loop:
    """for axis in 0 … extent-1."""
    axis: str
    extent: Dim
    body: tuple["Stmt", ...]


Stmt = Union[Let, Acc, Update, Store, Loop]


@dataclass(frozen=True, slots=True)
class Param:
    """A buffer of a kernel: role "in", "out", or "temp" (private to the kernel, of `size` elements)."""
    name: str
    dtype: str
    role: str
    size: Dim = 0


@dataclass(frozen=True, slots=True)
class Schedule:
    """How loops become code: `kind` and the axes it speaks of.

    map(p, v): axis p in parallel, axis v in vectors; rows / columns(p, v): the same, with reductions (phases of a
    `columns` kernel without a loop p are one thread's);
    tile(m, n, k): a matrix product in register tiles; blocks(m, n, k): the same, block after block of k;
    winograd2, winograd4(m, n, k): the same of a 3x3 convolution, in Winograd's way with output tiles of 2x2 or 4x4;
    serial(): one thread;
    library(layer, biases, what): no loops, a call of a vendor's library (`runtime/library_rnn.py`): a recurrent layer
    "lstm", "gru", "tanh" or "relu", with biases "none", "one" or "two", and of it "forward", "training" or "gradient".
    """
    kind: str
    axes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(self.axes)})"

    @property
    def tiled(self) -> bool:
        """Whether the kernel is a contraction: operands are read many times, a tile's results at a time."""
        return self.kind in ("tile", "blocks", "winograd2", "winograd4")


@dataclass(frozen=True, slots=True)
class Kernel:
    """Buffers, sizes and statements.  Each top-level loop is a phase: a barrier stands between two."""
    label: str
    params: tuple[Param, ...]
    sizes: tuple[str, ...]
    body: tuple[Stmt, ...]
    schedule: Schedule | None = None
    _hash: int = field(default=0, init=False, repr=False, compare=False)

    def __hash__(self) -> int:
        """Computed once: kernels are keys of many tables, and hashing walks the whole loop nest."""
        if not self._hash:
            parts = (self.label, self.params, self.sizes, self.body, self.schedule)
            object.__setattr__(self, "_hash", hash(parts) or 1)
        return self._hash

    def __str__(self) -> str:
        return "\n".join(self.lines(identifier(self.label) or "k"))

    def lines(self, name: str) -> list[str]:
        """The text under a name, with the label in quotes where it is another one."""
        args = ", ".join(f"{p.name}: {SHORT[p.dtype]} {p.role}" + (f"[{p.size}]" if p.role == "temp" else "")
                         for p in self.params)
        sched = f" schedule {self.schedule}" if self.schedule else ""
        label = "" if name == self.label else f" {quote(self.label)}"
        return [f"kernel {name}{label}({args}; {', '.join(self.sizes)}){sched} {{",
                *(line for s in self.body for line in stmt_lines(s, 1)), "}"]

    @property
    def called(self) -> bool:
        """Whether there are no loops to compile: a library of the device computes it."""
        return self.schedule is not None and self.schedule.kind == "library"

    def key(self) -> str:
        """The text without the label: what makes two kernels the same."""
        return str(replace(self, label="k"))

    def param(self, name: str) -> Param:
        return next(p for p in self.params if p.name == name)


def stmt_lines(s: Stmt, depth: int) -> list[str]:
    """The text of a statement."""
    pad = "  " * depth
    if isinstance(s, Let):
        return [f"{pad}{s.name} = {s.expr}"]
    if isinstance(s, Acc):
        return [f"{pad}acc {s.name}: {SHORT[s.dtype]} = {s.combine}"]
    if isinstance(s, Update):
        return [f"{pad}{s.name} <- {s.expr}"]
    if isinstance(s, Store):
        return [f"{pad}{s.buffer}[{s.index}] {'+=' if s.accumulate else '='} {s.expr}"]
    inner = [line for b in s.body for line in stmt_lines(b, depth + 1)]
    return [f"{pad}for {s.axis} in {s.extent} {{", *inner, pad + "}"]


# ------------------------------------------------------------------ building and walking
def call(fn: str, *args: Any) -> Expr:
    """A table function on expressions; Python numbers take the dtype of the other operands."""
    known = [a for a in args if isinstance(a, (Ref, Lit, Load, Index, Call))]
    at = known[1:] if fn == "select" and len(known) > 1 else known
    dtype = at[0].dtype if at else "float32"
    full = tuple(a if isinstance(a, (Ref, Lit, Load, Index, Call)) else Lit(_number(a, dtype), dtype) for a in args)
    if fn in BOOL_RESULT:
        return Call(fn, full, "bool")
    if fn.startswith("cast:"):
        return Call(fn, full, fn[5:])
    if fn == "u01":
        return Call(fn, full, "float32")
    return Call(fn, full, dtype)


def _number(value: Any, dtype: str) -> Any:
    return float(value) if dtype in FLOATS else bool(value) if dtype == "bool" else int(value)


class ScalarBuilder:
    """The `s` that an op's `scalar` is written with: `s.add(x, 1.0)` builds a Call."""

    def __getattr__(self, fn: str) -> Any:
        return lambda *args: call(fn, *args)

    def cast(self, x: Expr, dtype: str) -> Expr:
        return x if x.dtype == dtype else Call("cast:" + dtype, (x,), dtype)

    def lit(self, value: Any, dtype: str) -> Expr:
        return Lit(_number(value, dtype), dtype)


def identity_of(combine: str, dtype: str) -> Any:
    """The value that `combine` leaves unchanged."""
    if combine in ("max", "min"):
        sign = -1 if combine == "max" else 1
        if dtype in FLOATS:
            return sign * math.inf
        lo, hi = {"int32": (-2**31, 2**31 - 1), "int64": (-2**63, 2**63 - 1), "uint32": (0, 2**32 - 1),
                  "bool": (False, True)}[dtype]
        return lo if combine == "max" else hi
    return {"add": 0, "mul": 1, "and": True, "or": False}[combine]


def walk(stmts: tuple[Stmt, ...]) -> Iterator[Stmt]:
    """Every statement, outer before inner."""
    for s in stmts:
        yield s
        if isinstance(s, Loop):
            yield from walk(s.body)


def expressions(e: Expr) -> Iterator[Expr]:
    yield e
    if isinstance(e, Call):
        for a in e.args:
            yield from expressions(a)


def loads(stmt: Stmt) -> list[Load]:
    """The loads of one statement (not of nested ones)."""
    if isinstance(stmt, (Let, Update, Store)):
        return [e for e in expressions(stmt.expr) if isinstance(e, Load)]
    return []


def coefficient(index: Dim, axis: str) -> Dim:
    """The stride of `index` along `axis`: its coefficient in a polynomial linear in `axis`.

    ValueError if `axis` occurs otherwise (squared, or inside floordiv or max).
    """
    if axis not in symbols(index):
        return 0
    assert isinstance(index, DimExpr)
    out: Dim = 0
    for mono, c in index.terms:
        hits = [a for a in mono if isinstance(a, SymDim) and a.name == axis]
        if any(isinstance(a, OpDim) and axis in symbols(DimExpr((((a,), 1),))) for a in mono) or len(hits) > 1:
            raise ValueError(f"the index {index} is not linear in {axis}")
        if hits:
            rest = list(mono)
            rest.remove(hits[0])
            out = out + (DimExpr(((tuple(rest), c),)) if rest else c)
    return out


def without(index: Dim, axis: str) -> Dim:
    """`index` where `axis` is 0."""
    return substitute(index, {axis: 0})
