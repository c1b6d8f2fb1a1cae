"""Symbolic dimensions: integers, symbols and polynomials over them.

In: Python ints, `SymDim` names (a batch size, a sequence length) and arithmetic on them.
Out: a `Dim` is either a plain `int` or a `DimExpr` in normal form: a sum of integer multiples of
products of atoms, an atom being a symbol, a floor division, or a maximum.  What always holds: equal
expressions are equal (and hash equal) as Python values, a constant expression is an `int`, and a
`DimExpr` prints as text that `parse_dim` reads back.
"""
from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Callable, Iterable, Mapping, Union


@dataclass(frozen=True, slots=True, order=True)
class SymDim:
    """An atom: the size of an axis that is known only when a function is called."""
    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class OpDim:
    """An atom that polynomials cannot express: `floordiv(a, b)` or `max(a, b)`."""
    op: str
    a: "Dim"
    b: "Dim"

    def __str__(self) -> str:
        return f"{self.op}({self.a}, {self.b})"


Atom = Union[SymDim, OpDim]
Monomial = tuple[Atom, ...]


class DimExpr:
    """A polynomial in normal form.  Build one with `sym`, arithmetic and `floordiv`/`dim_max`."""
    __slots__ = ("terms", "_hash", "_text", "_symbols")
    terms: tuple[tuple[Monomial, int], ...]

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]):
        self.terms = terms
        self._hash = hash(terms)
        self._text: str | None = None
        self._symbols: frozenset[str] | None = None

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, DimExpr) and self.terms == other.terms)

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: "Dim") -> "Dim":
        return _combine(self, other, 1)

    __radd__ = __add__

    def __sub__(self, other: "Dim") -> "Dim":
        return _combine(self, other, -1)

    def __rsub__(self, other: "Dim") -> "Dim":
        return _combine(other, self, -1)

    def __neg__(self) -> "Dim":
        return self * -1

    def __mul__(self, other: "Dim") -> "Dim":
        return _multiply(self, other)

    __rmul__ = __mul__

    def __floordiv__(self, other: "Dim") -> "Dim":
        return floordiv(self, other)

    def __str__(self) -> str:
        if self._text is None:
            self._text = "+".join(_term_text(m, c) for m, c in self.terms).replace("+-", "-")
        return self._text

    def __repr__(self) -> str:
        return f"Dim({self})"

    def __index__(self) -> int:
        raise TypeError(f"the dimension `{self}` is symbolic: it has no value until the function is called")


Dim = Union[int, DimExpr]
Shape = tuple[Dim, ...]


def _atom_key(a: Atom) -> str:
    return str(a)


def _term_text(mono: Monomial, coef: int) -> str:
    if not mono:
        return str(coef)
    text = "*".join(str(a) for a in mono)
    return text if coef == 1 else f"-{text}" if coef == -1 else f"{coef}*{text}"


def _terms(d: Dim) -> dict[Monomial, int]:
    return dict(d.terms) if isinstance(d, DimExpr) else ({(): int(d)} if d else {})


def _build(terms: Mapping[Monomial, int]) -> Dim:
    kept = [(m, c) for m, c in terms.items() if c]
    if not kept:
        return 0
    if len(kept) == 1:
        return DimExpr((kept[0],)) if kept[0][0] else kept[0][1]
    kept.sort(key=lambda t: (-len(t[0]), [_atom_key(a) for a in t[0]]))
    return DimExpr(tuple(kept))


# Passes and kernels do the same sums and products of the same few dims thousands of times.
@lru_cache(maxsize=1 << 12)
def _combine(a: Dim, b: Dim, sign: int) -> Dim:
    out = _terms(a)
    for m, c in _terms(b).items():
        out[m] = out.get(m, 0) + sign * c
    return _build(out)


@lru_cache(maxsize=1 << 12)
def _multiply(a: Dim, b: Dim) -> Dim:
    out: dict[Monomial, int] = {}
    for m1, c1 in _terms(a).items():
        for m2, c2 in _terms(b).items():
            m = tuple(sorted(m1 + m2, key=_atom_key)) if m1 and m2 else m1 or m2
            out[m] = out.get(m, 0) + c1 * c2
    return _build(out)


@lru_cache(maxsize=1 << 12)
def sym(name: str) -> DimExpr:
    """The dimension named `name`.

    >>> n = sym("n"); n * 2 + n
    Dim(3*n)
    """
    return DimExpr((((SymDim(name),), 1),))


def floordiv(a: Dim, b: Dim) -> Dim:
    """`a // b`, exact where the polynomial divides (`(n*10) // 10` is `n`)."""
    if isinstance(a, int) and isinstance(b, int):
        if b == 0:
            raise ZeroDivisionError(f"floor division of the dimension {a} by zero")
        return a // b
    if b == 1 or a == 0:
        return a
    exact = divide_exact(a, b)
    return exact if exact is not None else DimExpr((((OpDim("floordiv", a, b),), 1),))


def divide_exact(a: Dim, b: Dim) -> Dim | None:
    """`a / b` if the polynomial `b` divides `a` (`(n*m + n) / (m + 1)` is `n`), else None."""
    if a == b:
        return 1
    terms = list(_terms(b).items())
    if len(terms) < 2:
        return _divide_by_term(a, *terms[0]) if terms else None
    out: Dim = 0
    while a != 0:                                                # long division: the first term is the leading one
        lead = next(iter(_terms(a).items()))
        part = _divide_by_term(_build(dict([lead])), *terms[0])
        if part is None:
            return None
        out, a = out + part, a - part * b
    return out


def _divide_by_term(a: Dim, mono: Monomial, coef: int) -> Dim | None:
    out = {}
    for m, c in _terms(a).items():
        rest = list(m)
        for atom in mono:
            if atom not in rest:
                return None
            rest.remove(atom)
        if c % coef:
            return None
        out[tuple(rest)] = c // coef
    return _build(out)


def dim_max(a: Dim, b: Dim) -> Dim:
    """The larger of two dimensions."""
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    if any(isinstance(x, DimExpr) and y in _choices(x) for x, y in ((a, b), (b, a))):                # max(max(a, b), b)
        return a if b in _choices(a) else b
    return a if a == b else DimExpr((((OpDim("max", a, b),), 1),))


def _choices(d: Dim) -> tuple[Dim, ...]:
    """What the larger of is taken, if `d` is that."""
    if isinstance(d, DimExpr) and len(d.terms) == 1 and d.terms[0][1] == 1 and len(d.terms[0][0]) == 1:
        atom = d.terms[0][0][0]
        if isinstance(atom, OpDim) and atom.op == "max":
            return (atom.a, atom.b, *_choices(atom.a))
    return ()


def product(dims: Iterable[Dim]) -> Dim:
    """The product of dimensions, 1 for none."""
    out: Dim = 1
    for d in dims:
        out = d if out == 1 else out if d == 1 else out * d
    return out


_NONE: frozenset[str] = frozenset()


def symbols(d: Dim) -> frozenset[str]:
    """The names of all symbols in `d`."""
    if not isinstance(d, DimExpr):
        return _NONE
    if d._symbols is None:
        atoms = [a for m, _ in d.terms for a in m]
        d._symbols = _NONE.union(*({a.name} if isinstance(a, SymDim) else symbols(a.a) | symbols(a.b) for a in atoms))
    return d._symbols


def substitute(d: Dim, env: Mapping[str, Dim]) -> Dim:
    """`d` with symbols replaced; an `int` once all of them have int values.

    >>> substitute(sym("n") * 10, {"n": 3})
    30
    """
    if not isinstance(d, DimExpr) or symbols(d).isdisjoint(env):
        return d
    total: Dim = 0
    for m, c in d.terms:
        value: Dim = c
        for a in m:
            value = value * _substitute_atom(a, env)
        total = total + value
    return total


def _substitute_atom(a: Atom, env: Mapping[str, Dim]) -> Dim:
    if isinstance(a, SymDim):
        return env[a.name] if a.name in env else DimExpr((((a,), 1),))
    x, y = substitute(a.a, env), substitute(a.b, env)
    return floordiv(x, y) if a.op == "floordiv" else dim_max(x, y)


def evaluate(d: Dim, env: Mapping[str, int]) -> int:
    """The int value of `d`; KeyError naming the symbol if one is unbound."""
    value = substitute(d, env)
    if isinstance(value, DimExpr):
        raise KeyError(f"no value for the symbolic dimension(s) {sorted(symbols(value))} in `{d}`")
    return value


@lru_cache(maxsize=4096)
def compile_dims(dims: tuple[Dim, ...]) -> Callable[[Mapping[str, int]], tuple[int, ...]]:
    """A function from symbol values to the values of `dims`, many times faster than `evaluate`."""
    names: dict[Any, str] = {}                    # of what is computed once: polynomials, and what stands in them
    lines: list[str] = []

    def code(d: Dim) -> str:
        if not isinstance(d, DimExpr):
            return repr(d)
        return names.get(d) or named(d, "+".join("*".join([str(c)] + [atom(a) for a in m]) for m, c in d.terms))

    def atom(a: Atom) -> str:
        if a in names:
            return names[a]
        if isinstance(a, SymDim):
            return named(a, f"e[{a.name!r}]")
        x, y = code(a.a), code(a.b)
        return named(a, f"{x}//{y}" if a.op == "floordiv" else f"max({x},{y})")

    def named(key: Any, text: str) -> str:
        name = names[key] = f"v{len(names)}"
        lines.append(f" {name}={text}\n")
        return name

    results = ",".join(map(code, dims))
    scope: dict[str, Any] = {}
    exec(f"def f(e):\n{''.join(lines)} return ({results}{',' if dims else ''})", scope)
    return scope["f"]


_OPS: dict[type, Callable[[Dim, Dim], Dim]] = {
    ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b}


def parse_dim(text: str) -> Dim:
    """The dimension whose text is `text`; ValueError if it is not one.

    >>> parse_dim("2*n+floordiv(m, 2)")
    Dim(floordiv(m, 2)+2*n)
    """
    def walk(node: ast.AST) -> Dim:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        if isinstance(node, ast.Name):
            return sym(node.id)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return walk(node.operand) * -1
        if isinstance(node, ast.BinOp) and type(node.op) in _OPS:
            return _OPS[type(node.op)](walk(node.left), walk(node.right))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 2:
            a, b = walk(node.args[0]), walk(node.args[1])
            if node.func.id in ("floordiv", "max"):
                return floordiv(a, b) if node.func.id == "floordiv" else dim_max(a, b)
        raise ValueError(f"`{text}` is not a dimension: expected ints, names, + - *, floordiv(a, b), max(a, b)")
    try:
        return walk(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError as e:
        raise ValueError(f"`{text}` is not a dimension: {e.msg}") from None
