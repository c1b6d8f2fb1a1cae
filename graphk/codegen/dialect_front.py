"""Kernel source to typed Numba IR, in one walk over its syntax tree.

In goes a function's tree and the names it may use; out comes its IR with the type of every variable (``Typed``), as
Numba's lowering wants it. It always holds that a variable has the type of its first assignment, that blocks stand in
the order of the text, and that ``once`` names variables whose only assignment comes before every use, on every path.

Numba's own way there (bytecode, its control flow, a network of type constraints) serves code that may be anything; a
kernel's variables are typed where they are assigned, and its control flow is what the text says.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from numba.core import errors, ir, types, typing

Resolve = Callable[[Any, tuple[types.Type, ...]], typing.Signature]

_BINARY: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_UNARY: dict[type, Callable[..., Any]] = {ast.USub: operator.neg, ast.Invert: operator.invert, ast.Not: operator.not_}
_LITERALS: dict[type, types.Type] = {bool: types.boolean, int: types.int64, float: types.float64}


# The operation that gives a loop's next count; it does not overflow.
ADVANCE = "advance"


@dataclass
class Typed:
    """A function as Numba's lowering takes it."""

    name: str
    arguments: tuple[str, ...]
    result: types.Type
    loc: ir.Loc
    blocks: dict[int, ir.Block] = field(default_factory=dict)
    types: dict[str, types.Type] = field(default_factory=dict)
    calls: dict[Any, typing.Signature] = field(default_factory=dict)
    once: set[str] = field(default_factory=set)


class _Walk:
    """The function so far; ``block`` takes what comes next, None behind a return."""

    def __init__(self, out: Typed, names: Mapping[str, Any], resolve: Resolve) -> None:
        self.out, self.names, self.resolve = out, names, resolve
        self.loc = out.loc
        self.scope = ir.Scope(None, out.loc)
        self.labels = self.temporaries = 0
        self.suites: tuple[int, ...] = ()
        self.homes: dict[str, tuple[int, ...]] = {}
        self.block: ir.Block | None = None
        self.place(self.label())

    # --- blocks and variables

    def refuse(self, message: str) -> NoReturn:
        raise errors.TypingError(message, loc=self.loc)

    def label(self) -> int:
        self.labels += 1
        return self.labels

    def place(self, label: int) -> None:
        """What comes next belongs to the block of this label; whatever came before goes on there."""
        if self.block is not None:
            self.add(ir.Jump(label, self.loc))
        self.block = self.out.blocks[label] = ir.Block(self.scope, self.loc)

    def add(self, statement: Any) -> None:
        assert self.block is not None
        self.block.body.append(statement)
        if statement.is_terminator:
            self.block = None

    def assign(self, name: str, kind: types.Type, value: Any) -> ir.Var:
        known = self.out.types.setdefault(name, kind)
        if known != kind:
            self.refuse(f"{name} is {known} and is assigned {kind}; a variable keeps one type: cast it.")
        if name in self.homes:
            self.out.once.discard(name)
        else:
            self.homes[name] = self.suites
            self.out.once.add(name)
        target = ir.Var(self.scope, name, self.loc)
        self.add(ir.Assign(value, target, self.loc))
        return target

    def hold(self, kind: types.Type, value: Any) -> ir.Var:
        """A new variable for a value."""
        self.temporaries += 1
        return self.assign(f"${self.temporaries}", kind, value)

    def type(self, var: ir.Var) -> types.Type:
        return self.out.types[var.name]

    def variable(self, name: str) -> ir.Var:
        home = self.homes[name]
        if self.suites[: len(home)] != home:
            self.out.once.discard(name)
        return ir.Var(self.scope, name, self.loc)

    # --- expressions

    def value(self, node: ast.expr) -> ir.Var:
        match node:
            case ast.Name(id=name) if name in self.homes:
                return self.variable(name)
            case ast.Name(id=name) if type(self.names.get(name)) in _LITERALS:
                return self.constant(self.names[name])
            case ast.Name(id=name):
                self.refuse(f"unknown name {name!r}: neither assigned before nor of the kernel dialect.")
            case ast.Constant(value=bool() | int() | float() as plain):
                return self.constant(plain)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as plain)):
                return self.constant(-plain)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return self.operation(_BINARY[type(op)], self.value(left), self.value(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _BINARY:
                return self.operation(_BINARY[type(op)], self.value(left), self.value(right))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
                return self.operation(_UNARY[type(op)], self.value(operand))
            case ast.Subscript(value=base, slice=index):
                return self.operation(operator.getitem, self.value(base), self.value(index))
            case ast.Call():
                return self.call(node)
        self.refuse(f"{ast.unparse(node)!r} is no expression of the kernel dialect.")

    def constant(self, plain: bool | int | float) -> ir.Var:
        return self.hold(_LITERALS[type(plain)], ir.Const(plain, self.loc))

    def operation(self, function: Callable[..., Any], *operands: ir.Var) -> ir.Var:
        signature = self.resolve(function, tuple(self.type(o) for o in operands))
        if function is operator.getitem:
            value = ir.Expr.getitem(*operands, self.loc)
        elif len(operands) == 1:
            value = ir.Expr.unary(function, *operands, self.loc)
        else:
            value = ir.Expr.binop(function, *operands, self.loc)
        self.out.calls[value] = signature
        return self.hold(signature.return_type, value)

    def call(self, node: ast.Call) -> ir.Var:
        function = self.names.get(node.func.id) if isinstance(node.func, ast.Name) else None
        if not callable(function) or node.keywords:
            self.refuse(f"{ast.unparse(node)!r} calls unknown functions or names operands; pass operands by position.")
        operands = tuple(self.value(a) for a in node.args)
        signature = self.resolve(function, tuple(self.type(o) for o in operands))
        value = ir.Expr("call", self.loc, func=function, args=operands)
        self.out.calls[value] = signature
        return self.hold(signature.return_type, value)

    def branch(self, node: ast.expr, yes: int, no: int) -> None:
        """Go on at ``yes`` or ``no``; what decides is not evaluated further than needed, as in Python."""
        match node:
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self.branch(operand, no, yes)
            case ast.BoolOp(op=op, values=values):
                for part in values[:-1]:
                    rest = self.label()
                    self.branch(part, *((rest, no) if isinstance(op, ast.And) else (yes, rest)))
                    self.place(rest)
                self.branch(values[-1], yes, no)
            case _:
                condition = self.value(node)
                if self.type(condition) != types.boolean:
                    self.refuse(f"{ast.unparse(node)!r} is {self.type(condition)}; a condition is bool.")
                self.add(ir.Branch(condition, yes, no, self.loc))

    # --- statements

    def suite(self, statements: list[ast.stmt], turn: tuple[str, str] | None = None) -> None:
        """Statements that one block of the text holds; ``turn``: a loop's variable and its counter."""
        outside = self.suites
        self.suites = (*outside, self.label())
        if turn is not None:
            self.store(turn[0], self.variable(turn[1]))
        for statement in statements:
            if self.block is not None:
                self.loc = ir.Loc(self.loc.filename, statement.lineno)
                self.statement(statement)
        self.suites = outside

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.store(name, self.value(value))
            case ast.Assign(targets=[ast.Subscript(value=base, slice=index)], value=value):
                self.store_item(self.value(value), self.value(base), self.value(index))
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value) if (
                name in self.homes and type(op) in _BINARY
            ):
                self.store(name, self.operation(_BINARY[type(op)], self.variable(name), self.value(value)))
            case ast.Expr(value=ast.Call() as call):
                self.call(call)
            case ast.If():
                self.choice(node)
            case ast.While(orelse=[]):
                self.loop(node.test, node.body)
            case ast.For(target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id="range")) as span, orelse=[]):
                self.count(name, [self.value(a) for a in span.args], node.body)
            case ast.Return():
                self.leave(node.value)
            case ast.Pass():
                pass
            case _:
                self.refuse(f"{ast.unparse(node)!r} is no statement of the kernel dialect.")

    def store(self, name: str, value: ir.Var) -> None:
        self.assign(name, self.type(value), value)

    def store_item(self, value: ir.Var, base: ir.Var, index: ir.Var) -> None:
        statement = ir.SetItem(base, index, value, self.loc)
        self.out.calls[statement] = self.resolve(operator.setitem, tuple(map(self.type, (base, index, value))))
        self.add(statement)

    def choice(self, node: ast.If) -> None:
        yes, end = self.label(), self.label()
        no = self.label() if node.orelse else end
        self.branch(node.test, yes, no)
        self.place(yes)
        self.suite(node.body)
        if node.orelse:
            if self.block is not None:
                self.add(ir.Jump(end, self.loc))
            self.place(no)
            self.suite(node.orelse)
        self.place(end)

    def loop(self, test: ast.expr, body: list[ast.stmt]) -> None:
        head, inside, end = self.label(), self.label(), self.label()
        self.place(head)
        self.branch(test, inside, end)
        self.place(inside)
        self.suite(body)
        if self.block is not None:
            self.add(ir.Jump(head, self.loc))
        self.place(end)

    def count(self, name: str, bounds: list[ir.Var], body: list[ast.stmt]) -> None:
        """``for name in range(...)``; the step is positive."""
        if not 1 <= len(bounds) <= 3 or any(self.type(b) != types.int64 for b in bounds):
            self.refuse(f"range received {[str(self.type(b)) for b in bounds]}; expected one to three int64.")
        begin = bounds[0] if len(bounds) > 1 else self.constant(0)
        stop = self.hold(types.int64, bounds[len(bounds) > 1])  # their own: the body may assign what they came from
        step = self.hold(types.int64, bounds[2]) if len(bounds) == 3 else self.constant(1)
        counter = self.hold(types.int64, begin).name
        head, inside, end = self.label(), self.label(), self.label()
        self.place(head)
        self.add(ir.Branch(self.operation(operator.lt, self.variable(counter), stop), inside, end, self.loc))
        self.place(inside)
        self.suite(body, (name, counter))
        if self.block is not None:
            following = ir.Expr(ADVANCE, self.loc, lhs=self.variable(counter), rhs=step)
            self.assign(counter, types.int64, following)
            self.add(ir.Jump(head, self.loc))
        self.place(end)

    def leave(self, node: ast.expr | None) -> None:
        value = self.value(node) if node is not None else self.hold(types.none, ir.Const(None, self.loc))
        if self.type(value) != self.out.result:
            self.refuse(f"{self.out.name} returns {self.type(value)}; expected {self.out.result}.")
        self.add(ir.Return(value, self.loc))


def typed(
    tree: ast.FunctionDef, arguments: tuple[types.Type, ...], result: types.Type, names: Mapping[str, Any],
    resolve: Resolve,
) -> Typed:  # fmt: skip
    """The function of ``tree``; ``resolve`` types the calls of what ``names`` and Python's operators stand for."""
    taken = tuple(a.arg for a in tree.args.args)
    out = Typed(tree.name, taken, result, ir.Loc("<kernel>", tree.lineno))
    walk = _Walk(out, names, resolve)
    for index, (name, kind) in enumerate(zip(taken, arguments, strict=True)):
        walk.assign(name, kind, ir.Arg(name, index, out.loc))
    walk.suite(tree.body)
    if walk.block is not None:
        walk.leave(None)
    return out


__all__ = ["ADVANCE", "Resolve", "Typed", "typed"]
