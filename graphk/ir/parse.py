"""Reading the text form of Graph (`graphk.ir.text` describes it and prints it).

In: text.  Out: a Graph of interned nodes, typed by the ops' own inference.  What always holds: a type in
the text that the operands contradict is an error; every error is a `ParseError` that names line, column,
what was expected and what was there; the provenance in trailing comments goes into the origin table.
"""
from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import Any, Callable, NoReturn

import numpy as np

import graphk.ir.ops  # noqa: F401  (fills the registry in which names of ops are looked up)
from graphk.ir.dims import Dim, dim_max, floordiv, sym
from graphk.ir.node import NO_ORIGIN, ArrayValue, Graph, Node, Origin, exactly, make, set_origin
from graphk.ir.opdef import get_op
from graphk.ir.ops.leaves import learning_phase, new_input, new_variable
from graphk.ir.types import LONG, TensorType, TupleType, Type
from graphk.ir.values import plain, scalar

WORDS = frozenset({"inf", "nan", "true", "false", "none", "max", "floordiv", "array", "base64"})
UNNAMED = re.compile(r"_\d+")                # leaves without a name are %_0, %_1, ... in the text


class ParseError(ValueError):
    """Text that is not a graph, kernel or program; `line` and `column` (from 1) say where."""

    def __init__(self, message: str, line: int, column: int, source: str = ""):
        super().__init__(f"line {line}, column {column}: {message}"
                         + (f"\n  {source}\n  {' ' * (column - 1)}^" if source else ""))
        self.line, self.column = line, column


def dot_defaults(inputs: tuple[Node, ...]) -> dict[str, Any]:
    """The attributes of `dot` that the text leaves out: last axis of a, second to last of b."""
    a, b = inputs
    return {"contract": ((a.ndim - 1,), (max(b.ndim - 2, 0),)), "batch": ((), ())}


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    line: int
    column: int


_TOKENS = re.compile(r'''(?P<space>[ \t\r]+)|(?P<newline>\n)|(?P<comment>\#[^\n]*)
    |(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<ref>%\w+)|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<name>[^\W\d]\w*)|(?P<mark>==|<-|[()\[\]{}:;,=+*\-])''', re.VERBOSE)
_ORIGIN_PART = re.compile(r'\s*(layer |rule )?(?:("(?:[^"\\]|\\.)*")|([^,]*?))\s*(?:,|$)')


def parse_graph(text: str) -> Graph:
    """The graph whose text is `text`; `ParseError` with line and column if it is not one.

    >>> g = parse_graph("graph g(%x: f32[n,3]) { %0 = exp(%x) return %0 }")
    >>> str(g.outputs[0].type)
    'f32[n,3]'
    """
    parser = Parser(text)
    graph = parser.graph()
    if parser.here.kind != "end":
        parser.fail("the end of the text after the closing `}`")
    return graph


class Parser:
    """Recursive descent over tokens; line ends mean nothing but the end of a comment."""

    def __init__(self, text: str):
        self.lines = text.split("\n")
        self.comments: dict[int, str] = {}
        self.tokens: list[Token] = []
        at, line, start = 0, 1, 0
        while at < len(text):
            m = _TOKENS.match(text, at)
            if m is None:
                self._raise(f"expected a name, number, string or mark, received `{text[at]}`", line, at - start + 1)
            kind = str(m.lastgroup)
            if kind == "comment":
                self.comments[line] = m[0][1:].strip()
            elif kind not in ("space", "newline"):
                self.tokens.append(Token(kind, m[0], line, at - start + 1))
            at = m.end()
            if kind == "newline":
                line, start = line + 1, at
        self.tokens.append(Token("end", "the end of the text", line, at - start + 1))
        self.at = 0

    def _raise(self, message: str, line: int, column: int) -> NoReturn:
        raise ParseError(message, line, column, self.lines[line - 1] if line <= len(self.lines) else "")

    @property
    def here(self) -> Token:
        return self.tokens[self.at]

    def fail(self, expected: str, token: Token | None = None) -> NoReturn:
        t = token or self.here
        self._raise(f"expected {expected}, received `{t.text}`", t.line, t.column)

    def sees(self, text: str) -> bool:
        return self.here.text == text and self.here.kind in ("mark", "name")

    def take(self, text: str) -> bool:
        if self.sees(text):
            self.at += 1
            return True
        return False

    def need(self, text: str) -> Token:
        if not self.sees(text):
            self.fail(f"`{text}`")
        self.at += 1
        return self.tokens[self.at - 1]

    def need_kind(self, kind: str, expected: str) -> Token:
        if self.here.kind != kind:
            self.fail(expected)
        self.at += 1
        return self.tokens[self.at - 1]

    def listed(self, item: Callable[[], Any], close: str) -> list[Any]:
        """Items between commas up to `close`, which is consumed; a trailing comma is allowed."""
        out = []
        while not self.take(close):
            out.append(item())
            if not self.take(","):
                self.need(close)
                break
        return out

    # -------------------------------------------------------------- graphs and statements
    def graph(self) -> Graph:
        self.need("graph")
        name = self.name("the graph's name")
        scope: dict[str, Node] = {}
        self.need("(")
        inputs = self.listed(lambda: self.leaf("phase" if self.take("phase") else "input", scope), ")")
        self.need("{")
        outputs: list[Node] = []
        updates: list[tuple[Node, Node]] = []
        guards: list[tuple[Dim, Dim]] = []
        while not self.take("}"):
            if self.here.kind == "ref":
                self.node(scope)
            elif self.sees("var") or self.sees("free"):
                self.at += 1
                self.leaf("variable" if self.tokens[self.at - 1].text == "var" else "input", scope)
            elif self.take("return"):
                outputs.append(self.ref(scope))
                while self.take(","):
                    outputs.append(self.ref(scope))
            elif self.take("update"):
                target = self.ref(scope)
                self.need("=")
                updates.append((target, self.ref(scope)))
            elif self.take("guard"):
                left = self.dim()
                self.need("==")
                guards.append((left, self.dim()))
            else:
                self.fail("a node (`%0 = ...`), `var`, `return`, `update`, `guard` or `}`")
        return Graph(tuple(inputs), tuple(outputs), tuple(updates), name, tuple(guards))

    def ref(self, scope: dict[str, Node]) -> Node:
        token = self.need_kind("ref", "a value such as `%0`")
        if token.text[1:] not in scope:
            self.fail(f"a value defined before this line (known: {', '.join('%' + k for k in scope) or 'none'})", token)
        return scope[token.text[1:]]

    def define(self, scope: dict[str, Node], token: Token, node: Node) -> Node:
        if token.text[1:] in scope:
            self.fail("a name that is not yet defined", token)
        scope[token.text[1:]] = node
        return node

    def leaf(self, op: str, scope: dict[str, Node]) -> Node:
        token = self.need_kind("ref", "a name such as `%x`")
        self.need(":")
        type_ = self.tensor_type()
        name = token.text[1:]
        if self.here.kind == "string":
            name = self.string()
        elif UNNAMED.fullmatch(name):
            name = ""
        said = self.origin_here()
        with exactly(said):
            node = learning_phase() if op == "phase" else (new_input if op == "input" else new_variable)(type_, name)
        set_origin(node, said)
        return self.define(scope, token, node)

    def node(self, scope: dict[str, Node]) -> None:
        token = self.here
        self.at += 1
        type_ = self.type() if self.take(":") else None
        self.need("=")
        op_token = self.need_kind("name", "the name of an op")
        try:
            op = get_op(op_token.text)
        except KeyError as e:
            self._raise(str(e.args[0]), op_token.line, op_token.column)
        self.need("(")
        if op.name == "const":
            attrs: dict[str, Any] = {"value": self.const(type_, op_token)}
            self.need(")")
            inputs: tuple[Node, ...] = ()
        else:
            inputs, attrs = self.arguments(scope)
        if op.name == "dot" and not attrs and len(inputs) == 2:
            attrs = dot_defaults(inputs)
        given = type_ if op.kind == "leaf" else None
        said = self.origin_here()
        try:
            with exactly(said):
                node = make(op, inputs, tuple(sorted(attrs.items())), given)
        except Exception as e:
            self._raise(f"`{op.name}` does not take these arguments: {plain(e)}", op_token.line, op_token.column)
        if type_ is not None and node.type != type_:
            self._raise(f"expected the type {node.type}, which follows from the operands, received {type_}",
                        token.line, token.column)
        set_origin(node, said)
        self.define(scope, token, node)

    def arguments(self, scope: dict[str, Node]) -> tuple[tuple[Node, ...], dict[str, Any]]:
        inputs: list[Node] = []
        attrs: dict[str, Any] = {}
        while self.here.kind == "ref":
            inputs.append(self.ref(scope))
            if not self.take(","):
                break
        self.take(";")
        while not self.take(")"):
            key = self.need_kind("name", "`)` or an attribute such as `axis=1`").text
            self.need("=")
            attrs[key] = self.value()
            if not self.take(","):
                self.need(")")
                break
        return tuple(inputs), attrs

    def origin_here(self) -> Origin:
        """What the comment at the end of this statement's line says."""
        text = self.comments.get(self.tokens[self.at - 1].line, "")
        if not text or self.here.line == self.tokens[self.at - 1].line:
            return NO_ORIGIN
        found = {"layer ": "", "": "", "rule ": ""}
        for m in _ORIGIN_PART.finditer(text):
            if m[2] or m[3]:
                found[m[1] or ""] = json.loads(m[2]) if m[2] else m[3]
        return Origin(found["layer "], found[""], found["rule "])

    # -------------------------------------------------------------- types, dims and values
    def type(self) -> Type:
        if self.take("("):
            return TupleType(tuple(self.listed(self.tensor_type, ")")))
        return self.tensor_type()

    def tensor_type(self) -> TensorType:
        token = self.need_kind("name", "a type such as `f32[n,64]`")
        if token.text not in LONG:
            self.fail(f"one of {', '.join(sorted(LONG))}", token)
        self.need("[")
        return TensorType(LONG[token.text], tuple(self.listed(self.dim, "]")))

    def dim(self) -> Dim:
        out = self.dim_term()
        while self.here.text in ("+", "-"):
            minus = self.take("-") or not self.need("+")
            out = out - self.dim_term() if minus else out + self.dim_term()
        return out

    def dim_term(self) -> Dim:
        out = self.dim_factor()
        while self.take("*"):
            out = out * self.dim_factor()
        return out

    def dim_factor(self) -> Dim:
        if self.take("-"):
            return self.dim_factor() * -1
        token = self.here
        if token.kind == "number" and token.text.isdigit():
            self.at += 1
            return int(token.text)
        name = self.need_kind("name", "a dimension: an int, a name, + - *, floordiv(a, b) or max(a, b)").text
        if name in ("floordiv", "max"):
            self.need("(")
            a = self.dim()
            self.need(",")
            b = self.dim()
            self.need(")")
            return floordiv(a, b) if name == "floordiv" else dim_max(a, b)
        return sym(name)

    def string(self) -> str:
        token = self.need_kind("string", "a string")
        try:
            return str(json.loads(token.text))
        except json.JSONDecodeError:
            self.fail("a string with JSON's escapes", token)

    def name(self, expected: str) -> str:
        """A bare name, or one in quotes."""
        return self.string() if self.here.kind == "string" else self.need_kind("name", expected).text

    def value(self) -> Any:
        token, after = self.here, self.tokens[min(self.at + 1, len(self.tokens) - 1)]
        if token.kind == "string":
            return self.string()
        if self.take("("):
            return tuple(self.listed(self.value, ")"))
        if self.take("{"):
            graph = self.graph()
            self.need("}")
            return graph
        if token.text in ("true", "false", "none"):
            self.at += 1
            return None if token.text == "none" else token.text == "true"
        if token.text == "array" and after.text == "(":
            self.at += 2
            type_ = self.tensor_type()
            self.need(",")
            out = self.const(type_, token)
            self.need(")")
            return out
        if token.text in LONG and after.text == "[":
            return self.tensor_type()
        number = after if token.text == "-" else token
        if number.text in ("inf", "nan") or (number.kind == "number" and not number.text.isdigit()):
            self.at += 1 + (number is after)
            return -float(number.text) if number is after else float(number.text)
        return self.dim()

    def const(self, type_: Type | None, token: Token) -> ArrayValue:
        """Digits in (nested) brackets or base64; dtype and extents come from the type."""
        if not isinstance(type_, TensorType) or type_.symbols():
            self._raise("expected a type of fixed extents for a constant, e.g. `%0: f32[2] = const([1.0, 2.0])`, "
                        f"received {type_}", token.line, token.column)
        start = self.here
        try:
            if self.take("base64"):
                raw = base64.b64decode(self.string(), validate=True)
                flat = np.frombuffer(raw, np.dtype(type_.dtype).newbyteorder("<")).astype(type_.dtype)
            else:
                flat = np.array(self.numbers(), type_.dtype)
            return ArrayValue(flat.reshape([int(d) for d in type_.shape]))
        except ParseError:
            raise
        except (ValueError, OverflowError) as e:
            self._raise(f"expected values that fill {type_}: {e}", start.line, start.column)

    def numbers(self) -> list[Any]:
        if self.take("["):
            return [x for part in self.listed(self.numbers, "]") for x in part]
        sign = "-" if self.take("-") else ""
        token = self.here
        if token.kind != "number" and token.text not in ("true", "false", "inf", "nan"):
            self.fail("a number, `true`, `false`, `inf`, `nan` or `[`")
        self.at += 1
        return [scalar(sign + token.text)]


__all__ = ["ParseError", "Parser", "Token", "parse_graph", "dot_defaults", "scalar"]
