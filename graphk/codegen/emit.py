"""The printer that all targets share: expressions, index polynomials, indentation.

In: pieces of a Kernel.  Out: lines of Python source.  What always holds: integer arithmetic is printed as plain
Python on int64 values; everything else goes through a target's spelling (`Spelling`), so a kernel reads the
same for every target.
"""
from __future__ import annotations

import math
from typing import Any

from graphk.ir.dims import Atom, Dim, DimExpr, SymDim
from graphk.ir.loop import Call, Expr, Index, Lit, Load, Ref

SHORT = {"float32": "f32", "float64": "f64", "int32": "i32", "int64": "i64", "uint32": "u32", "bool": "bool",
         "float16": "f16", "int8": "i8", "uint8": "u8", "int16": "i16", "uint16": "u16"}


def short(dtype: str) -> str:
    """The short name of a dtype that kernels can hold."""
    if dtype not in SHORT:
        raise TypeError(f"kernels cannot hold {dtype} values; expected one of {', '.join(SHORT)}. Cast first.")
    return SHORT[dtype]


def dim_code(d: Dim, maximum: str = "max") -> str:
    """A polynomial as Python source."""
    if not isinstance(d, DimExpr):
        return str(d)

    def atom(a: Atom) -> str:
        if isinstance(a, SymDim):
            return a.name
        x, y = dim_code(a.a, maximum), dim_code(a.b, maximum)
        return f"(({x}) // ({y}))" if a.op == "floordiv" else f"{maximum}({x}, {y})"

    def term(mono: tuple[Atom, ...], c: int) -> str:
        parts = ([] if c in (1, -1) and mono else [str(abs(c))]) + [atom(a) for a in mono]
        return "*".join(parts)
    out = ""
    for mono, c in d.terms:
        out += (" - " if c < 0 else " + ") + term(mono, c)
    return out[3:] if out.startswith(" + ") else "-" + out[3:]


def number(value: Any, dtype: str) -> str:
    """A literal's digits; infinities as overflowing literals, NaN as their difference."""
    if dtype == "bool":
        return "1" if value else "0"
    if isinstance(value, float) and math.isinf(value):
        return "1e999" if value > 0 else "-1e999"
    if isinstance(value, float) and math.isnan(value):
        return "1e999 - 1e999"
    return repr(float(value)) if dtype.startswith("float") else repr(int(value))


class Lines:
    """Indented source lines."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.depth = 0

    def add(self, text: str) -> None:
        self.out.append("    " * self.depth + text)

    def text(self) -> str:
        return "\n".join(self.out) + "\n"


class Spelling:
    """How a target writes scalar values; subclasses override what differs."""

    def lit(self, e: Lit) -> str:
        return f"{short(e.dtype)}({number(e.value, e.dtype)})"

    def function(self, fn: str) -> str:
        return "to_" + short(fn[5:]) if fn.startswith("cast:") else "s_" + fn

    def ref(self, e: Ref) -> str:
        return e.name

    def load(self, e: Load) -> str:
        return f"{e.buffer}[{dim_code(e.index)}]"

    def index(self, e: Index) -> str:
        return f"to_{short(e.dtype)}({dim_code(e.index)})"

    def call(self, e: Call) -> str:
        return f"{self.function(e.fn)}({', '.join(self.expr(a) for a in e.args)})"

    def expr(self, e: Expr) -> str:
        if isinstance(e, Ref):
            return self.ref(e)
        if isinstance(e, Lit):
            return self.lit(e)
        if isinstance(e, Load):
            return self.load(e)
        if isinstance(e, Index):
            return self.index(e)
        return self.call(e)
