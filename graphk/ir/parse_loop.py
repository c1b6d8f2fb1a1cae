"""Reading the text forms of Kernel and Program (`graphk.ir.loop` and `graphk.ir.program` show and print them).

In: text.  Out: a Kernel, or a Program.  What always holds: printing what was read gives the text again; dtypes of
loads, references and calls follow from the parameters and lets, they are not in the text; a variable of a
Program's text becomes a fresh variable node; every error is a `ParseError` with line and column.
"""
from __future__ import annotations

import math
from typing import Any, Callable

from graphk.ir.dims import Dim
from graphk.ir.loop import (COMBINE, Acc, Expr, Index, Kernel, Let, Lit, Load, Loop, Param, Ref, Schedule, Stmt, Store,
                            Update, call)
from graphk.ir.node import ArrayValue, Node
from graphk.ir.opdef import const
from graphk.ir.ops.leaves import new_variable
from graphk.ir.parse import Parser, Token
from graphk.ir.program import AnyStep, Buffer, LoopStep, Program, RowBlock, Step
from graphk.ir.types import FLOATS, LONG, TensorType

ROLES = ("in", "out", "temp")


def parse_kernel(text: str) -> Kernel:
    """The kernel whose text is `text`; `ParseError` with line and column if it is not one.

    >>> k = parse_kernel("kernel k(p0: f32 in, p1: f32 out; ) { t0 = max(p0[0], 0.0:f32) p1[0] = t0 }")
    >>> k.body[0].expr.dtype
    'float32'
    """
    return _whole(text, lambda p: p.kernel()[1])


def parse_program(text: str) -> Program:
    """The program whose text is `text`; `ParseError` with line and column if it is not one."""
    return _whole(text, lambda p: p.program())


def _whole(text: str, read: "Callable[[LoopParser], Any]") -> Any:
    parser = LoopParser(text)
    out = read(parser)
    if parser.here.kind != "end":
        parser.fail("the end of the text after the closing `}`")
    return out


class LoopParser(Parser):
    """Recursive descent over the tokens of a Kernel or Program."""

    def __init__(self, text: str):
        super().__init__(text)
        self.dtypes: dict[str, str] = {}            # of the parameters, lets and accumulators of this kernel
        self.accs: set[str] = set()

    def word(self, expected: str) -> str:
        return self.need_kind("name", expected).text

    def dtype(self) -> str:
        token = self.need_kind("name", "a dtype such as `f32`")
        if token.text not in LONG:
            self.fail(f"one of {', '.join(sorted(LONG))}", token)
        return LONG[token.text]

    def next_text(self) -> str:
        return self.tokens[min(self.at + 1, len(self.tokens) - 1)].text

    # -------------------------------------------------------------- kernels
    def kernel(self) -> tuple[str, Kernel]:
        """The name that the text gives it, and the kernel."""
        self.need("kernel")
        name = self.word("the kernel's name")
        label = self.string() if self.here.kind == "string" else name
        self.need("(")
        self.dtypes, self.accs = {}, set()
        params = tuple(self.listed(self.param, ";"))
        sizes = tuple(self.listed(lambda: self.word("a size such as `s0`"), ")"))
        schedule = None
        if self.take("schedule"):
            kind = self.word("a schedule such as `map(i0)`")
            self.need("(")
            schedule = Schedule(kind, tuple(self.listed(lambda: self.word("an axis"), ")")))
        self.need("{")
        return name, Kernel(label, params, sizes, self.statements(), schedule)

    def param(self) -> Param:
        token = self.need_kind("name", "a parameter such as `p0: f32 in`")
        self.need(":")
        dtype = self.dtype()
        if self.here.text not in ROLES:
            self.fail(f"a role, one of {', '.join(ROLES)}")
        role = self.word("a role")
        size: Dim = 0
        if role == "temp":
            self.need("[")
            size = self.dim()
            self.need("]")
        self.define_name(token, dtype)
        return Param(token.text, dtype, role, size)

    def define_name(self, token: Token, dtype: str) -> None:
        """A name may come back in a later loop (a second pass over a row), as the same kind of value."""
        if self.dtypes.get(token.text, dtype) != dtype:
            self.fail(f"a value of dtype {self.dtypes[token.text]}, as before under this name", token)
        self.dtypes[token.text] = dtype

    def statements(self) -> tuple[Stmt, ...]:
        out: list[Stmt] = []
        while not self.take("}"):
            out.append(self.statement())
        return tuple(out)

    def statement(self) -> Stmt:
        token = self.need_kind("name", "a statement (`t0 = ...`, `p0[...] = ...`, `acc`, `for`) or `}`")
        if token.text == "for":
            axis = self.word("an axis such as `i0`")
            self.need("in")
            extent = self.dim()
            self.need("{")
            return Loop(axis, extent, self.statements())
        if token.text == "acc":
            return self.accumulator()
        if self.take("<-"):
            if token.text not in self.accs:
                self.fail(f"an accumulator (known: {', '.join(sorted(self.accs)) or 'none'})", token)
            return Update(token.text, self.expression())
        if self.take("["):
            self.known(token)
            index = self.dim()
            self.need("]")
            accumulate = self.take("+")
            self.need("=")
            return Store(token.text, index, self.expression(), accumulate)
        self.need("=")
        expr = self.expression()
        self.define_name(token, expr.dtype)
        return Let(token.text, expr)

    def accumulator(self) -> Acc:
        token = self.need_kind("name", "the name of an accumulator")
        self.need(":")
        dtype = self.dtype()
        self.need("=")
        if self.here.text not in COMBINE:
            self.fail(f"one of {', '.join(sorted(COMBINE))}")
        self.define_name(token, dtype)
        self.accs.add(token.text)
        return Acc(token.text, self.word("a combination"), dtype)

    def known(self, token: Token) -> str:
        """The dtype of a name."""
        if token.text not in self.dtypes:
            self.fail(f"a name defined before this line (known: {', '.join(self.dtypes) or 'none'})", token)
        return self.dtypes[token.text]

    # -------------------------------------------------------------- expressions
    def expression(self) -> Expr:
        if self.here.kind == "number" or self.sees("-") or (self.here.kind == "name" and self.next_text() == ":"
                                                            and self.here.text != "cast"):
            return self.literal()
        token = self.need_kind("name", "an expression")
        if token.text == "cast" and self.take(":"):
            to = self.need_kind("name", "the dtype to cast to")
            if to.text not in LONG.values():
                self.fail(f"one of {', '.join(sorted(LONG.values()))}", to)
            self.need("(")
            return self.arguments_of(f"cast:{to.text}")
        if self.take("("):
            return self.arguments_of(token.text)
        if self.take("["):
            index = self.dim()
            self.need("]")
            if token.text != "index":
                return Load(token.text, index, self.known(token))
            self.need(":")
            return Index(index, self.dtype())
        return Ref(token.text, self.known(token))

    def arguments_of(self, fn: str) -> Expr:
        args = self.listed(self.expression, ")")
        if not args:
            self.fail(f"an operand of `{fn}`", self.tokens[self.at - 1])
        return call(fn, *args)

    def literal(self) -> Lit:
        start, sign = self.here, -1 if self.take("-") else 1
        token = self.here
        self.at += 1
        self.need(":")
        dtype = self.dtype()
        try:
            if dtype == "bool":
                return Lit({"True": True, "False": False}[token.text], dtype)
            if dtype in FLOATS:
                value = float(token.text)
                return Lit(math.copysign(value, sign) if sign < 0 else value, dtype)
            return Lit(sign * int(token.text), dtype)
        except (ValueError, KeyError):
            self.fail(f"a number of dtype {dtype}", start)

    # -------------------------------------------------------------- programs
    def program(self) -> Program:
        self.need("program")
        name = self.name("the program's name")
        self.need("(")
        dims = tuple(self.listed(lambda: self.word("a dimension's name"), ")"))
        arena = self.dim() if self.take("arena") else -1
        self.need("{")
        buffers: dict[str, Buffer] = {}
        kernels: dict[str, Kernel] = {}
        while self.sees("buffer"):
            self.buffer(buffers)
        while self.sees("kernel"):
            token = self.tokens[self.at + 1]
            key, kernel = self.kernel()
            if key in kernels:
                self.fail("a kernel's name that is not yet defined", token)
            kernels[key] = kernel
        steps = self.steps(buffers, kernels)
        blocks: list[RowBlock] = []
        while self.take("rows"):
            blocks.append(self.row_block(steps))
        guards: list[tuple[Dim, Dim]] = []
        while self.take("guard"):
            left = self.dim()
            self.need("==")
            guards.append((left, self.dim()))
        self.need("}")
        return Program(name, dims, tuple(buffers.values()), steps, arena, tuple(guards), blocks=tuple(blocks))

    def row_block(self, steps: tuple[AnyStep, ...]) -> RowBlock:
        rows = self.dim()
        self.need("of")
        self.need("steps")
        first = self.number()
        self.need("to")
        token, last = self.here, self.number()
        if not first <= last < len(steps):
            self.fail(f"the number of a step, {first} to {len(steps) - 1}", token)
        return RowBlock(first, last, rows)

    def comment_here(self) -> str:
        """The comment at the end of the line that the last token stands on."""
        line = self.tokens[self.at - 1].line
        return self.comments.get(line, "") if self.here.line != line else ""

    def buffer(self, buffers: dict[str, Buffer]) -> None:
        self.need("buffer")
        token = self.need_kind("ref", "a buffer such as `%x`")
        if token.text[1:] in buffers:
            self.fail("a buffer's name that is not yet defined", token)
        self.need(":")
        type_ = self.tensor_type()
        place, name = self.need_kind("name", "a place such as `input 0` or `arena+0`"), token.text[1:]
        extra: dict[str, Any] = {}
        if place.text in ("input", "output"):
            extra["index"] = self.number()
        elif place.text == "arena":
            self.need("+")
            extra["offset"] = self.dim()
        elif place.text == "alias":
            extra["base"] = self.need_kind("ref", "the buffer that it is a view of").text[1:]
        elif place.text in ("variable", "const"):
            extra["node"] = self.storage(place, type_)
        else:
            self.fail("one of input, output, arena, alias, variable, const", place)
        buffers[name] = Buffer(name, type_, place.text, origin=self.comment_here(), **extra)

    def storage(self, place: Token, type_: TensorType) -> Node:
        if place.text == "variable":
            return new_variable(type_, self.string() if self.here.kind == "string" else "")
        value: ArrayValue = self.const(type_, place)
        return const(value.array, type_.dtype)

    def number(self) -> int:
        token = self.need_kind("number", "an index")
        if not token.text.isdigit():
            self.fail("an index", token)
        return int(token.text)

    def buffer_ref(self, buffers: dict[str, Buffer]) -> str:
        token = self.need_kind("ref", "a buffer such as `%x`")
        if token.text[1:] not in buffers:
            self.fail(f"a buffer (known: {', '.join('%' + b for b in buffers) or 'none'})", token)
        return token.text[1:]

    def steps(self, buffers: dict[str, Buffer], kernels: dict[str, Kernel]) -> tuple[AnyStep, ...]:
        out: list[AnyStep] = []
        while self.here.text in ("barrier", "step", "loop"):
            barrier = self.take("barrier")
            if barrier:
                self.need(";")
            out.append(self.loop_step(barrier, buffers, kernels) if self.sees("loop")
                       else self.step(barrier, buffers, kernels))
        return tuple(out)

    def step(self, barrier: bool, buffers: dict[str, Buffer], kernels: dict[str, Kernel]) -> Step:
        self.need("step")
        token = self.need_kind("name", "a kernel's name")
        if token.text not in kernels:
            self.fail(f"a kernel (known: {', '.join(kernels) or 'none'})", token)
        self.need("(")
        args = tuple(self.listed(lambda: self.buffer_ref(buffers), ";"))
        sizes = tuple(self.listed(self.dim, ")"))
        cost = self.dim() if self.take("cost") else 0
        return Step(kernels[token.text], args, sizes, barrier, self.comment_here(), cost)

    def loop_step(self, barrier: bool, buffers: dict[str, Buffer], kernels: dict[str, Kernel]) -> LoopStep:
        self.need("loop")
        length = self.dim()
        reverse = self.take("reversed")
        rows = self.dim() if self.take("rows") else 0

        def window() -> tuple[str, str, Dim]:
            view = self.buffer_ref(buffers)
            self.need("of")
            whole = self.buffer_ref(buffers)
            self.need("by")
            return view, whole, self.dim()
        self.need("(")
        windows = tuple(self.listed(window, ")"))
        self.need("{")
        origin = self.comment_here()
        body = self.steps(buffers, kernels)
        self.need("}")
        return LoopStep(length, body, windows, reverse, barrier, origin, rows)


__all__ = ["parse_kernel", "parse_program"]
