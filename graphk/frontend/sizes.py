"""Sizes and shapes out of tensors that are computed from `K.shape`.

In: a node of integers, such as `K.shape(x)[1:3] * 2` or `cast(round(K.shape(x)[1] / 4), 'int32')`.  Out: its elements
as dims.  What always holds: nothing runs for it; of open sizes, what floats are computed in between are fractions here,
so without rounding errors; what depends on more than shapes and numbers is a TypeError that names it.
"""
from __future__ import annotations

from fractions import Fraction
from typing import Callable

import numpy as np

from graphk.ir.dims import Dim, DimExpr, OpDim, dim_max, floordiv
from graphk.ir.interp import run_graph
from graphk.ir.node import Graph, Node, topological

Ratio = tuple[Dim, int]                                # a numerator, and a denominator above 0
_FINEST = 4096                                         # the denominator of a number below which it is no rounded one


def sizes_of(node: Node) -> tuple[Dim, ...]:
    """The elements of a tensor of integers, in order; TypeError where they are not known before the call."""
    name = node.op.name
    if name == "dim":
        return (node.attr("size"),)
    if not node.dtype.startswith(("int", "uint")):
        raise TypeError(f"sizes are integers, but {node!r} is {node.dtype}: cast it with K.cast(…, 'int32')")
    order = topological([node])
    if name != "const" and all(n.op.name == "const" or n.inputs for n in order):
        return tuple(np.asarray(run_graph(Graph((), (node,)), [])[0]).ravel().tolist())
    found: dict[Node, list[Ratio]] = {}
    for n in order:
        found[n] = _ratios(n, [found[i] for i in n.inputs])
    return tuple(n for n, _ in found[node])


def is_size(node: Node) -> bool:
    """Whether it is known before a call."""
    try:
        sizes_of(node)
    except TypeError:
        return False
    return True


def _ratios(node: Node, parts: list[list[Ratio]]) -> list[Ratio]:
    """The elements of a scalar or vector, from those of its inputs."""
    name = node.op.name
    if name == "const":
        return [_number(v, node) for v in node.attr("value").array.ravel().tolist()]
    if name == "dim":
        return [(node.attr("size"), 1)]
    if all(n.ndim <= 1 and n.dtype != "bool" for n in (node, *node.inputs)):
        if name in _STEPS:
            return [_STEPS[name](n, d) for n, d in parts[0]]
        if name == "cast" and not node.t.is_float:
            return [_truncate(n, d) for n, d in parts[0]]
        if name in _PAIRS:
            size = max(len(p) for p in parts)
            return [_PAIRS[name](a, b) for a, b in zip(*[p * (size // len(p)) for p in parts])]
        if name in _PLACES:
            return _place(node, parts)
    raise TypeError(f"a size was expected, but {node!r} is not computed from K.shape or integers alone: its value is "
                    "not known before the call")


def _number(v: float, node: Node) -> Ratio:
    whole = Fraction(v)
    if whole.denominator > _FINEST:
        raise TypeError(f"a size was expected, but it is computed with {node!r}, which floats round: what comes out "
                        "of an open size would depend on rounding. Write it with integers, such as n * 7 // 10")
    return whole.numerator, whole.denominator


def _place(node: Node, parts: list[list[Ratio]]) -> list[Ratio]:
    """What takes elements as they are, to other places."""
    name, whole = node.op.name, parts[0]
    if name == "concat":
        return [r for p in parts for r in p]
    if name == "slice":
        (start,), (size,), (step,) = node.attr("starts"), node.attr("sizes"), node.attr("steps")
        return [whole[start + i * step] for i in range(size)]
    if name in ("sum", "prod"):
        total = whole[0] if whole else (int(name == "prod"), 1)
        for r in whole[1:]:
            total = _PAIRS["add" if name == "sum" else "mul"](total, r)
        return [total]
    return whole * (int(node.t.size) // len(whole)) if name == "broadcast" else whole


# ------------------------------------------------------------------ one element
_noted_ratios: dict[Dim, Ratio] = {}                   # of what was rounded: the ratio


def _noted(out: Dim, n: Dim, d: int) -> Ratio:
    if isinstance(out, DimExpr):
        _noted_ratios[out] = n, d
    return out, 1


def is_part(at: Dim, whole: Dim) -> bool:
    """Whether `at` is known to be at most `whole`, as a rounded part of it."""
    n, d = _noted_ratios.get(at, (at, 1))
    return _never_negative(whole * d - n)


def _never_negative(n: Dim) -> bool:
    """Whether `n` is known to be 0 or more: sums and products of sizes and of whole parts of such."""
    if isinstance(n, int):
        return n >= 0
    return all(c >= 0 and all(not isinstance(a, OpDim) or (any if a.op == "max" else all)(
        _never_negative(part) for part in (a.a, a.b)) for a in atoms) for atoms, c in n.terms)


def is_positive(n: Dim) -> bool:
    """Whether `n` is known to be above 0, as a number less a remainder below it is: `8 - size % 8`."""
    if isinstance(n, int):
        return n > 0
    for atoms, factor in n.terms:
        if len(atoms) == 1 and isinstance(atoms[0], OpDim) and atoms[0].op == "floordiv" and atoms[0].b == factor:
            rest = n + atoms[0].a - floordiv(atoms[0].a, factor) * factor       # n is this less a remainder of `factor`
            return isinstance(rest, int) and rest >= factor
    return False


def _floor(n: Dim, d: int) -> Ratio:
    return (n, 1) if d == 1 else _noted(floordiv(n, d), n, d)


def _negative(n: Dim, d: int) -> Ratio:
    return -n, d


def _ceil(n: Dim, d: int) -> Ratio:
    return -_floor(-n, d)[0], 1


def _round(n: Dim, d: int) -> Ratio:
    """To the next whole number, halves to the even one."""
    if d == 1:
        return n, 1
    odd = 1 if d % 2 else floordiv(n, d) - floordiv(n, d * 2) * 2   # a half goes up above an odd number
    return _noted(floordiv(n + (d - 1) // 2 + odd - d % 2, d), n, d)


def _truncate(n: Dim, d: int) -> Ratio:
    """Towards 0, as casts to integers do."""
    if d == 1 or _never_negative(n):
        return _floor(n, d)
    return floordiv(dim_max(n, 0), d) - floordiv(dim_max(-n, 0), d), 1


# ------------------------------------------------------------------ two elements
def _add(a: Ratio, b: Ratio) -> Ratio:
    return (a[0] + b[0], a[1]) if a[1] == b[1] else (a[0] * b[1] + b[0] * a[1], a[1] * b[1])


def _multiply(a: Ratio, b: Ratio) -> Ratio:
    return a[0] * b[0], a[1] * b[1]


def _divide(a: Ratio, b: Ratio) -> Ratio:
    if not isinstance(b[0], int) or b[0] == 0:
        raise TypeError(f"a size was expected, but it is computed by dividing by {b[0]}: divide by a number other than "
                        "0, or take the whole part with //")
    sign = 1 if b[0] > 0 else -1
    return a[0] * b[1] * sign, a[1] * b[0] * sign


def _floor_divide(a: Ratio, b: Ratio) -> Ratio:
    if a[1] == b[1] == 1 and b[0] != 0:
        return floordiv(a[0], b[0]), 1
    return _floor(*_divide(a, b))


def _remainder(a: Ratio, b: Ratio) -> Ratio:
    return _add(a, _negative(*_multiply(b, _floor_divide(a, b))))


def _largest(a: Ratio, b: Ratio) -> Ratio:
    return dim_max(a[0] * b[1], b[0] * a[1]), a[1] * b[1]


def _smallest(a: Ratio, b: Ratio) -> Ratio:
    return _negative(*_largest(_negative(*a), _negative(*b)))


_STEPS: dict[str, Callable[[Dim, int], Ratio]] = {
    "neg": _negative, "floor": _floor, "ceil": _ceil, "round": _round}
_PAIRS: dict[str, Callable[[Ratio, Ratio], Ratio]] = {
    "add": _add, "sub": lambda a, b: _add(a, _negative(*b)), "mul": _multiply, "div": _divide,
    "floordiv": _floor_divide, "mod": _remainder, "max": _largest, "min": _smallest}
_PLACES = ("cast", "reshape", "transpose", "broadcast", "concat", "slice", "sum", "prod")
