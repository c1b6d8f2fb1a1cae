"""What is done with a sum, as far as a vendor's library may do it.

In: the statements behind a contraction's sum.  Out: an `Ending`.  What always holds: relu, its gradient and what is
added are told from the expression's form; gelu, which can be written in many ways, from its values: an expression of
nothing but arithmetic and tanh, exp or sigmoid, which agrees with gelu at 97 places, is gelu.

gelu is here the one of libraries, `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))` (Hendrycks and Gimpel 2016); the
exact one, of erf, differs from it by up to 5e-4 and stays graphk's.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Mapping, Sequence

import numpy as np

from graphk.ir.loop import Acc, Call, Expr, Let, Lit, Load, Ref, Stmt, Store

Values = np.ndarray
# all of them smooth, but for division by zero: a function of these that agrees with another at many places is the other
SMOOTH: dict[str, Callable[..., Values]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative, "tanh": np.tanh,
    "square": np.square, "pow": np.power, "exp": np.exp, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}
PLACES = np.linspace(-5.3, 4.9, 97)
OTHERS = np.linspace(-1.7, 2.3, 97)[np.arange(97) * 31 % 97]
NEAR = 1e-5                        # of values up to 5: constants in kernels are float32


@dataclass(frozen=True, slots=True)
class Ending:
    """`store = activation(sum + each of added)`, or `store = sum * slope of the activation at what was read`.

    activation: "", "relu" or "gelu".  kept: where what gelu is taken of is stored, too.  at: what the slope is taken
    at: relu's results (or what it is taken of), or what gelu is taken of.
    """
    store: Store
    added: tuple[Load, ...] = ()
    activation: str = ""
    kept: Store | None = None
    at: Load | None = None


def gelu(x: Values) -> Values:
    """The library's gelu."""
    return .5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + .044715 * x ** 3)))


def gelu_slope(x: Values) -> Values:
    """Its derivative."""
    t = np.tanh(np.sqrt(2 / np.pi) * (x + .044715 * x ** 3))
    return .5 * (1 + t) + .5 * x * (1 - t * t) * np.sqrt(2 / np.pi) * (1 + 3 * .044715 * x * x)


def ending_of(acc: Acc, epilogue: Sequence[Stmt]) -> Ending | None:
    """What stands behind a sum, None if no library does it."""
    named = {s.name: s.expr for s in epilogue if isinstance(s, Let)}
    stores = [s for s in epilogue if isinstance(s, Store)]
    if not 1 <= len(stores) <= 2 or any(s.accumulate for s in stores):
        return None
    if len(stores) == 2:
        return _kept(acc, named, stores) or _kept(acc, named, stores[::-1])
    store, top = stores[0], _named(stores[0].expr, named)
    zero = Lit(0.0, acc.dtype)
    if isinstance(top, Call) and top.fn == "max" and zero in top.args:
        return _plus(acc, named, store, next((a for a in top.args if a != zero), top), "relu")
    return _plus(acc, named, store, top, "") or _relu_slope(acc, named, store, top) or _gelu(acc, named, store) or (
        _gelu_slope(acc, named, store))


def _named(e: Expr, named: Mapping[str, Expr]) -> Expr:
    while isinstance(e, Ref) and e.name in named:
        e = named[e.name]
    return e


def _plus(acc: Acc, named: Mapping[str, Expr], store: Store, e: Expr, activation: str) -> Ending | None:
    """An activation of a sum to which up to two arrays are added."""
    def terms(e: Expr) -> list[Expr]:
        e = _named(e, named)
        return [t for a in e.args for t in terms(a)] if isinstance(e, Call) and e.fn == "add" else [e]
    parts = terms(e)
    added = tuple(p for p in parts if isinstance(p, Load) and p.dtype == acc.dtype)
    own = [p for p in parts if isinstance(p, Ref) and p.name == acc.name]
    fits = len(own) == 1 and len(added) <= 2 and 1 + len(added) == len(parts)
    return Ending(store, added, activation) if fits else None


def _relu_slope(acc: Acc, named: Mapping[str, Expr], store: Store, top: Expr) -> Ending | None:
    """The sum where an array is above 0, else 0."""
    if not (isinstance(top, Call) and top.fn == "select" and top.args[2] == Lit(0.0, acc.dtype)):
        return None
    test, value = (_named(a, named) for a in top.args[:2])
    if not (isinstance(test, Call) and test.fn == "gt" and isinstance(value, Ref) and value.name == acc.name):
        return None
    at, bound = (_named(a, named) for a in test.args)
    if not isinstance(at, Load) or at.dtype != acc.dtype or bound != Lit(0.0, acc.dtype):
        return None
    return Ending(store, activation="relu", at=at)


def _gelu(acc: Acc, named: Mapping[str, Expr], store: Store) -> Ending | None:
    """gelu of a sum to which up to two arrays are added."""
    for inner in (*named, acc.name):
        of = _plus(acc, named, store, Ref(inner, acc.dtype), "gelu")
        if of is not None and _agrees(store.expr, named, {inner: PLACES}, gelu(PLACES)):
            return of
    return None


def _gelu_slope(acc: Acc, named: Mapping[str, Expr], store: Store) -> Ending | None:
    """The sum times gelu's slope at an array's values."""
    loads = {e for e in named.values() if isinstance(e, Load)}
    if len(loads) != 1:
        return None
    at, = loads
    values: dict[str | Load, Values] = {acc.name: OTHERS, at: PLACES}
    agrees = at.dtype == acc.dtype and _agrees(store.expr, named, values, OTHERS * gelu_slope(PLACES))
    return Ending(store, activation="gelu", at=at) if agrees else None


def _kept(acc: Acc, named: Mapping[str, Expr], stores: Sequence[Store]) -> Ending | None:
    """gelu of a sum that is stored, too."""
    inner, outer = stores
    of = _plus(acc, named, outer, inner.expr, "gelu")
    if of is None or not isinstance(inner.expr, Ref) or inner.index != outer.index:
        return None
    if not _agrees(outer.expr, named, {inner.expr.name: PLACES}, gelu(PLACES)):
        return None
    return Ending(outer, of.added, "gelu", kept=inner)


def _agrees(e: Expr, named: Mapping[str, Expr], values: Mapping[str | Load, Values], want: Values) -> bool:
    """Whether a smooth expression of the given values is what is wanted."""
    known: dict[str | Load, Values | None] = dict(values)

    def at(e: Expr) -> Values | None:
        if isinstance(e, Ref):
            if e.name not in known:
                known[e.name] = at(named[e.name]) if e.name in named else None
            return known[e.name]
        if isinstance(e, Load):
            return known.get(e)
        if isinstance(e, Lit):
            return np.full_like(want, e.value)
        if not isinstance(e, Call) or e.fn not in SMOOTH:
            return None
        args = [at(a) for a in e.args]
        return None if any(a is None for a in args) else SMOOTH[e.fn](*args)
    with np.errstate(all="ignore"):
        found = at(e)
    return found is not None and bool(np.all(np.abs(found - want) < NEAR))


__all__ = ["Ending", "ending_of", "gelu", "gelu_slope"]
