"""How CUDA source spells scalar values, and statements of one thread.

In: expressions and statements of a Kernel.  Out: lines of Python for numba.cuda.  What always holds: scalars are
spelled by the CUDA column of `graphk.codegen.scalars`, each value cast to its dtype, since Numba widens mixed
arithmetic; truth values are bytes in memory, and bool elsewhere.
"""
from __future__ import annotations

import ast
import copy
import re
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Iterator, Sequence

from graphk.codegen.emit import Lines, dim_code, number
from graphk.codegen.scalars import CUDA_HELPERS, lookup
from graphk.ir.dims import Dim, symbols
from graphk.ir.loop import Acc, Expr, Index, Kernel, Let, Lit, Load, Loop, Ref, Stmt, Store, Update, identity_of, walk


@dataclass(frozen=True, slots=True)
class Launch:
    """One function of a source: `blocks` (a Dim over the kernel's sizes) blocks of `threads` threads."""
    name: str
    blocks: Dim
    threads: tuple[int, ...]


class Printer:
    """The lines of one kernel and its launches."""

    def __init__(self, kernel: Kernel, threads: int, tile: int):
        assert kernel.schedule is not None
        self.kernel, self.threads, self.edge = kernel, threads, tile
        self.kind, self.axes = kernel.schedule.kind, kernel.schedule.axes
        self.lines = Lines()
        self.launches: list[Launch] = []
        self.accs = {s.name: s for s in walk(kernel.body) if isinstance(s, Acc)}
        self.temps = 0

    def add(self, text: str) -> None:
        self.lines.add(text)

    @contextmanager
    def inside(self, header: str) -> Iterator[None]:
        """What is added stands below `header`."""
        self.add(header)
        self.lines.depth += 1
        yield
        self.lines.depth -= 1

    @contextmanager
    def strided(self, name: str, first: str, end: str, step: str) -> Iterator[None]:
        """A loop; as `while`, since Numba's `range` divides to count the trips of a step that it does not know."""
        self.add(f"{name} = {first}")
        with self.inside(f"while {name} < {end}:"):
            yield
            self.add(f"{name} += {step}")

    def header(self, blocks: Dim, threads: tuple[int, ...]) -> None:
        """The next function's first line."""
        self.lines.depth = 0
        if self.launches:
            self.add("")
        name = f"k_{len(self.launches)}"
        self.launches.append(Launch(name, blocks, threads))
        self.add(f"def {name}({', '.join([*(p.name for p in self.kernel.params), *self.kernel.sizes])}):")
        self.lines.depth = 1

    # -------------------------------------------------------------- values
    def atom(self, e: Expr) -> str:
        """A name or number with the value of `e`: templates of the table repeat their operands."""
        if isinstance(e, (Ref, Lit)):
            return self.value(e)
        text = self.value(e)
        name = f"v{self.temps}"
        self.temps += 1
        self.add(f"{name} = {text}")
        return name

    def value(self, e: Expr) -> str:
        if isinstance(e, Ref):
            return e.name
        if isinstance(e, Lit):
            return literal(e.value, e.dtype)
        if isinstance(e, Load):
            return from_memory(f"{e.buffer}[{dim_code(e.index)}]", e.dtype)
        if isinstance(e, Index):
            return f"np.{e.dtype}({dim_code(e.index)})"
        return self.call(e.fn, [self.atom(a) for a in e.args], e.args[0].dtype, e.dtype)

    def call(self, fn: str, args: Sequence[str], operands: str, dtype: str) -> str:
        """A function of the table on names and numbers; what takes statements is printed before."""
        if operands == "float16":                      # which is only stored and cast: Numba compares it in functions
            args, operands = [f"np.float32({a})" for a in args], "float32"    # of a library that nobody links
        template = lookup(fn).cuda_for(operands)
        helper = re.fullmatch(r"(gk_\w+)\(.*\)", template)
        if helper:
            self.temps += 1
            lines, text = inline(helper[1], args, f"_{self.temps}", operands)
            for line in lines:
                self.add(line)
        else:
            text = typed(template, operands).format(*args)
        inner = text[1:-1] if _wrapped(text) else text
        if dtype == "bool":
            return inner
        return text if text.startswith(f"np.{dtype}(") else f"np.{dtype}({inner})"

    def combined(self, acc: Acc, a: str, b: str) -> str:
        return self.call(acc.combine, [a, b], acc.dtype, acc.dtype)

    # -------------------------------------------------------------- statements of one thread
    def statements(self, stmts: Sequence[Stmt]) -> None:
        for s in stmts:
            self.statement(s)

    def statement(self, s: Stmt) -> None:
        if isinstance(s, Let):
            self.add(f"{s.name} = {self.value(s.expr)}")
        elif isinstance(s, Acc):
            self.add(f"{s.name} = {literal(identity_of(s.combine, s.dtype), s.dtype)}")
        elif isinstance(s, Update):
            self.add(f"{s.name} = {self.combined(self.accs[s.name], s.name, self.atom(s.expr))}")
        elif isinstance(s, Store):
            at = f"{s.buffer}[{dim_code(s.index)}]"
            if s.accumulate:
                have = self.atom(Load(s.buffer, s.index, s.expr.dtype))
                self.add(f"{at} = {self.call('add', [have, self.atom(s.expr)], s.expr.dtype, s.expr.dtype)}")
            else:
                self.add(f"{at} = {to_memory(self.value(s.expr), s.expr.dtype)}")
        else:
            with self.inside(f"for {s.axis} in range({dim_code(s.extent)}):"):
                self.statements(s.body)

    # -------------------------------------------------------------- loops that threads or blocks share
    def flatten(self, loop: Loop) -> tuple[list[Loop], list[Stmt]]:
        """Loops that one index can run through, the vector axis last, and what is done at each place."""
        loops, before = [loop], list[Stmt]()
        body = loop.body
        while isinstance(body[-1], Loop) and all(isinstance(s, Let) for s in body[:-1]) and self.known(body[-1].extent):
            before += body[:-1]
            loops.append(body[-1])
            body = body[-1].body
        return self.in_order(loops), [*before, *body]

    def in_order(self, loops: list[Loop]) -> list[Loop]:
        vector = self.axes[1] if len(self.axes) > 1 else ""
        return sorted(loops, key=lambda x: x.axis == vector)

    def known(self, d: Dim) -> bool:
        """Whether a size follows from the kernel's sizes alone."""
        return symbols(d) <= set(self.kernel.sizes)

    def places(self, loops: Sequence[Loop], index: str) -> None:
        """The axes of `loops` at the place `index`, the last axis fastest."""
        for i, x in enumerate(reversed(loops[1:])):
            rest = loops[0].axis if i == len(loops) - 2 else f"{loops[0].axis}_{i}"
            self.add(f"{rest} = quotient({index}, {dim_code(x.extent)})")
            self.add(f"{x.axis} = {index} - {rest} * {paren(x.extent)}")
            index = rest

    @contextmanager
    def shared_loop(self, loops: list[Loop], first: str, step: str, index: str) -> Iterator[None]:
        """A loop over all places of `loops`, from `first` on in steps of `step`."""
        name = loops[0].axis if len(loops) == 1 else index
        with self.strided(name, first, total(loops), step):
            if len(loops) > 1:
                self.places(loops, index)
            yield

    def shared_array(self, name: str, count: int, dtype: str) -> None:
        """Memory of the block."""
        stored = "uint8" if dtype == "bool" else dtype
        self.add(f"{name} = pointer(cuda.shared.array({count}, np.{stored}, alignment=16))")


def total(loops: Sequence[Loop]) -> str:
    """How many places `loops` have, as source."""
    return dim_code(loops[0].extent) if len(loops) == 1 else "*".join(paren(x.extent) for x in loops)


def paren(d: Dim) -> str:
    """A polynomial as an operand of `//`, `%` and `*`."""
    text = dim_code(d)
    return text if text.isidentifier() or text.isdigit() else f"({text})"


def from_memory(text: str, dtype: str) -> str:
    """A stored value as one to compute with."""
    return f"{text} != 0" if dtype == "bool" else text


def to_memory(text: str, dtype: str) -> str:
    """The opposite."""
    if dtype != "bool":
        return text
    return f"np.uint8(1 if {text if text.isidentifier() else f'({text})'} else 0)"


def typed(template: str, dtype: str) -> str:
    """A template with its integers as floats, where operands are: Numba mixes int64 and float32 in float64."""
    if not dtype.startswith("float"):
        return template
    return re.sub(r"(?<![\w.{])(\d+)(?![\w.}])", rf"np.{dtype}(\1)", template)


@lru_cache(maxsize=None)
def _helper(name: str) -> ast.FunctionDef:
    function = ast.parse(CUDA_HELPERS[name]).body[0]
    assert isinstance(function, ast.FunctionDef)
    return function


class _Rename(ast.NodeTransformer):
    """A helper's names: parameters become what is passed, locals get a suffix; numbers get the operands' dtype."""

    def __init__(self, table: dict[str, ast.expr], suffix: str, dtype: str):
        self.table, self.suffix, self.dtype = table, suffix, dtype

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if isinstance(node.ctx, ast.Store):
            self.table.setdefault(node.id, ast.Name(node.id + self.suffix, ast.Store()))
        return self.table.get(node.id, node)

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        text = f"np.{self.dtype}({node.value!r})"
        return ast.parse(text, mode="eval").body if self.dtype.startswith("float") else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """A number that is given a dtype keeps it."""
        names = [x for x in ast.walk(node.args[0]) if isinstance(x, ast.Name)]
        return self.generic_visit(node) if names else node


def _returning(stmts: list[ast.stmt], result: str) -> list[ast.stmt]:
    """Statements whose `return x` is `result = x`; what follows a branch that returns goes into its else."""
    for i, s in enumerate(stmts):
        if isinstance(s, ast.Return) and s.value is not None:
            return [*stmts[:i], ast.Assign([ast.Name(result, ast.Store())], s.value, lineno=0)]
        if isinstance(s, ast.If) and any(isinstance(x, ast.Return) for x in ast.walk(s)):
            orelse = _returning([*s.orelse, *stmts[i + 1:]], result)
            return [*stmts[:i], ast.If(s.test, _returning(s.body, result), orelse)]
    return stmts


def inline(name: str, args: Sequence[str], suffix: str, dtype: str) -> tuple[list[str], str]:
    """The lines of a helper at a call on operands of a dtype, and the name of its result; locals get a suffix.

    Helpers are not called: Numba compiles a device function for the GPU that is there, and fails where none is.
    """
    function = _helper(name)
    table: dict[str, ast.expr] = {p.arg: ast.parse(a, mode="eval").body for p, a in zip(function.args.args, args)}
    result = "out" + suffix
    table[result] = ast.Name(result, ast.Store())
    rename = _Rename(table, suffix, dtype)
    renamed = [rename.visit(s) for s in _returning(copy.deepcopy(function.body), result)]
    return [line for s in renamed for line in ast.unparse(s).split("\n")], result


def literal(value: Any, dtype: str) -> str:
    """A number of a dtype."""
    if dtype == "bool":
        return "True" if value else "False"
    return f"np.{dtype}({number(value, dtype)})"


def _wrapped(text: str) -> bool:
    """Whether the first bracket closes at the end."""
    if not text.startswith("("):
        return False
    depth = 0
    for i, ch in enumerate(text):
        depth += (ch == "(") - (ch == ")")
        if depth == 0:
            return i == len(text) - 1
    return False


__all__ = ["Launch", "Printer", "from_memory", "inline", "literal", "paren", "to_memory", "total", "typed"]
