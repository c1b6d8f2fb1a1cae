"""What PTX instructions compute, on arrays of one value for each thread.

In: an instruction's name with its modifiers.  Out: its operands' types and a numpy function.  What always holds: floats
are rounded once, in the way that the modifiers say; what a GPU computes approximately is an ulp off, so that nobody
relies on more; a modifier that is not listed for an instruction is an error.

The rules are those of NVIDIA's manual, "Parallel Thread Execution ISA".
"""
from __future__ import annotations

import ctypes
import ctypes.util
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np

from tests.gpu.ptx_text import PtxError

TYPES: dict[str, Any] = {"pred": np.bool_, "f16": np.float16, "f32": np.float32, "f64": np.float64}
TYPES.update({f"{k}{n}": np.dtype(f"{'i' if k == 's' else 'u'}{n // 8}").type for k in "bsu" for n in (8, 16, 32, 64)})
WIDER = {"u16": "u32", "s16": "s32", "u32": "u64", "s32": "s64"}
ROUNDING = "rn rz rm rp"
CARRY = "%cc"                     # the condition code's carry, a register of its own
TINY = np.float32(2.0 ** -126)    # the least normal float32
_fma64 = np.frompyfunc(ctypes.CFUNCTYPE(*[ctypes.c_double] * 4)(("fma", ctypes.CDLL(ctypes.util.find_library("m")))),
                       3, 1)


@dataclass(frozen=True)
class Rule:
    """Types of results and operands, and what computes one from the other; `carry`: "in", "out" or "in out"."""
    results: tuple[str, ...]
    operands: tuple[str, ...]
    run: Callable[..., Any]
    carry: str = ""


RULES: dict[str, tuple[set[str], Callable[[list[str], set[str]], Rule]]] = {}


def rule(names: str, modifiers: str = "") -> Callable[[Callable[..., Rule]], Callable[..., Rule]]:
    def keep(make: Callable[..., Rule]) -> Callable[..., Rule]:
        for name in names.split():
            RULES[name] = set(modifiers.split()), lambda kinds, mods, name=name: make(name, kinds, mods)
        return make
    return keep


def rule_of(opcode: str) -> Rule:
    """What an instruction such as `fma.rn.f32` does."""
    name, *words = opcode.split(".")
    if name not in RULES:
        raise PtxError(f"the instruction `{opcode}` is unknown")
    allowed, make = RULES[name]
    kinds, mods = [w for w in words if w in TYPES], {w for w in words if w not in TYPES}
    if not mods <= allowed or not kinds:
        raise PtxError(f"the instruction `{opcode}` has modifiers that are unknown: {sorted(mods - allowed) or kinds}")
    try:
        return make(kinds, mods)
    except KeyError as e:
        raise PtxError(f"the instruction `{opcode}` is unknown: {e}") from e


# ------------------------------------------------------------------ rounding
def odd(s: Any, rest: Any) -> Any:
    """s + rest rounded to an odd last bit: rounding that to float32 rounds the exact sum once, in any direction."""
    bits = s.view(np.int64)
    fix = (rest != 0) & np.isfinite(s) & (bits & 1 == 0)
    return np.where(fix, bits + np.where((rest > 0) == (s > 0), 1, -1), bits).view(np.float64)


def exact_sum(a: Any, b: Any) -> Any:
    """The sum of two float64 that are far from their limits, rounded to odd."""
    s = a + b
    t = s - a
    return odd(s, (a - (s - t)) + (b - t))


def to32(x: Any, mode: str) -> Any:
    """float64 to float32."""
    y = x.astype(np.float32)
    wide = y.astype(np.float64)
    inf = np.float32(np.inf)
    if mode == "rz":
        return np.where(np.abs(wide) > np.abs(x), np.nextafter(y, np.float32(0)), y)
    if mode == "rm":
        return np.where(wide > x, np.nextafter(y, -inf), y)
    return np.where(wide < x, np.nextafter(y, inf), y) if mode == "rp" else y


def flushed(x: Any) -> Any:
    return np.where(np.abs(x) < TINY, np.copysign(np.float32(0), x), x)


def floats(run: Callable[..., Any], mods: set[str]) -> Callable[..., Any]:
    """`.ftz` and `.sat` around a function of float32."""
    if not mods & {"ftz", "sat"}:
        return run

    def around(*args: Any) -> Any:
        if "ftz" in mods:
            args = tuple(flushed(a) for a in args)
        y = run(*args)
        if "ftz" in mods:
            y = flushed(y)
        return np.where(y > 0, np.minimum(y, y.dtype.type(1)), y.dtype.type(0)) if "sat" in mods else y
    return around


def rounding(mods: set[str]) -> str:
    return next((m for m in ROUNDING.split() if m in mods), "rn")


def approximate(run: Callable[[Any], Any], exact: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of float32 through float64, one ulp off wherever it is not exact on a GPU either."""
    def one(x: Any) -> Any:
        y = run(x.astype(np.float64)).astype(np.float32)
        off = np.where(x.view(np.uint32) & 1, np.float32(np.inf), np.float32(-np.inf))
        return np.where(exact(x) | ~np.isfinite(y) | (np.abs(y) < TINY), y, np.nextafter(y, off))
    return one


# ------------------------------------------------------------------ arithmetic
@rule("add sub", f"{ROUNDING} ftz sat cc")
def _add(name: str, kinds: list[str], mods: set[str]) -> Rule:
    kind, = kinds
    if "cc" in mods:
        return _carried("add.cc" if name == "add" else "sub.cc", kind)
    plain, mode = np.add if name == "add" else np.subtract, rounding(mods)
    if kind != "f32" or mode == "rn":
        if kind[0] != "f" and mods or (kind == "f64" and mode != "rn"):
            raise KeyError(f"{kind} with {mods}")
        return Rule((kind,), (kind, kind), floats(plain, mods))
    sign = 1 if name == "add" else -1
    return Rule((kind,), (kind, kind), floats(lambda a, b: to32(
        exact_sum(a.astype(np.float64), sign * b.astype(np.float64)), mode), mods))


@rule("addc subc", "cc")
def _addc(name: str, kinds: list[str], mods: set[str]) -> Rule:
    return _carried(name + (".cc" if "cc" in mods else ""), kinds[0])


def _carried(name: str, kind: str) -> Rule:
    """Words of 32 bits with a carry (or a borrow)."""
    if TYPES[kind]().itemsize != 4:
        raise KeyError(f"{name} of {kind}")
    takes, gives, sign = name[3] == "c", name.endswith(".cc"), 1 if name[:3] == "add" else -1

    def run(a: Any, b: Any, carry: Any = 0) -> Any:
        total = low(a) + sign * (low(b) + carry)
        word = (total & 0xFFFFFFFF).astype(TYPES[kind])
        return (word, (total >> 32) != 0) if gives else word
    return Rule((kind,), (kind, kind), run, " ".join(["in"] * takes + ["out"] * gives))


def low(x: Any) -> Any:
    return x.astype(np.int64) & 0xFFFFFFFF


@rule("mul", f"{ROUNDING} ftz sat lo hi wide")
def _mul(name: str, kinds: list[str], mods: set[str]) -> Rule:
    kind, = kinds
    if kind[0] == "f":
        mode = rounding(mods)
        if kind == "f32" and mode != "rn":
            return Rule((kind,), (kind, kind), floats(
                lambda a, b: to32(a.astype(np.float64) * b.astype(np.float64), mode), mods))
        if mode != "rn":
            raise KeyError(f"{kind} with {mode}")
        return Rule((kind,), (kind, kind), floats(np.multiply, mods))
    if "wide" in mods:
        wide = TYPES[WIDER[kind]]
        return Rule((WIDER[kind],), (kind, kind), lambda a, b: a.astype(wide) * b.astype(wide))
    return Rule((kind,), (kind, kind), high(kind) if "hi" in mods else np.multiply)


def high(kind: str) -> Callable[[Any, Any], Any]:
    """The upper half of a product."""
    if kind in WIDER:
        wide, bits = TYPES[WIDER[kind]], 8 * TYPES[kind]().itemsize
        return lambda a, b: (a.astype(wide) * b.astype(wide) >> wide(bits)).astype(TYPES[kind])

    def whole(a: Any, b: Any) -> Any:
        return np.array([int(x) * int(y) >> 64 & (1 << 64) - 1 for x, y in zip(a, b)], np.uint64).view(TYPES[kind])
    return whole


@rule("mad fma", f"{ROUNDING} ftz sat lo hi wide cc")
def _mad(name: str, kinds: list[str], mods: set[str]) -> Rule:
    kind, = kinds
    if kind[0] == "f":
        return Rule((kind,), (kind,) * 3, floats(fused(kind, rounding(mods)), mods))
    if "cc" in mods:
        return _mad_carried("mad", kinds, mods)
    product = _mul("mul", kinds, mods)
    wide = product.results[0]
    return Rule((wide,), (kind, kind, wide), lambda a, b, c: product.run(a, b) + c)


def fused(kind: str, mode: str) -> Callable[..., Any]:
    """a * b + c, rounded once."""
    if kind == "f64":
        if mode != "rn":
            raise KeyError(f"fma.{mode}.f64")
        return lambda a, b, c: _fma64(a, b, c).astype(np.float64)
    return lambda a, b, c: to32(exact_sum(a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)), mode)


@rule("madc", "lo hi cc")
def _mad_carried(name: str, kinds: list[str], mods: set[str]) -> Rule:
    if kinds != ["u32"]:
        raise KeyError(f"{name} of {kinds}")
    takes, gives = name == "madc", "cc" in mods

    def run(a: Any, b: Any, c: Any, carry: Any = 0) -> Any:
        product = a.astype(np.uint64) * b.astype(np.uint64)
        total = low(product >> np.uint64(32 if "hi" in mods else 0)) + low(c) + carry
        word = (total & 0xFFFFFFFF).astype(np.uint32)
        return (word, (total >> 32) != 0) if gives else word
    return Rule(("u32",), ("u32",) * 3, run, " ".join(["in"] * takes + ["out"] * gives))


@rule("div", f"{ROUNDING} approx full ftz")
def _div(name: str, kinds: list[str], mods: set[str]) -> Rule:
    kind, = kinds
    if kind[0] != "f":
        return Rule((kind,), (kind, kind), truncated(kind)[0])
    if rounding(mods) != "rn":
        raise KeyError(f"division with {mods}")
    if not mods & {"approx", "full"}:
        return Rule((kind,), (kind, kind), floats(np.divide, mods))

    def near(a: Any, b: Any) -> Any:
        y = a / b
        off = np.where(b.view(np.uint32) & 1, np.float32(np.inf), np.float32(-np.inf))
        plain = ~np.isfinite(y) | (np.abs(y) < TINY) | (np.abs(b.view(np.uint32) & 0x7FFFFF) == 0)
        y = np.where(plain, y, np.nextafter(y, off))
        beyond = (np.abs(b) > 2.0 ** 126) & np.isfinite(b)             # the divisor's reciprocal is subnormal
        return np.where(beyond & ("approx" in mods), np.where(np.isinf(a), np.float32(np.nan), y * 0), y)
    return Rule((kind,), (kind, kind), floats(near, mods))


def truncated(kind: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Quotient and remainder towards zero; by zero, a GPU gives what it likes: here all bits set."""
    word = np.dtype(TYPES[kind])
    whole = np.dtype(f"u{word.itemsize}")

    def quotient(a: Any, b: Any) -> Any:
        q = (np.abs(a).view(whole) // np.where(b == 0, 1, np.abs(b)).astype(word).view(whole)).view(word)
        q = np.where((a < 0) != (b < 0), -q, q) if word.kind == "i" else q
        return np.where(b == 0, ~word.type(0), q)
    return quotient, lambda a, b: np.where(b == 0, ~word.type(0), a - quotient(a, b) * b)


@rule("rem")
def _rem(name: str, kinds: list[str], mods: set[str]) -> Rule:
    return Rule((kinds[0],), (kinds[0],) * 2, truncated(kinds[0])[1])


@rule("min max", "ftz NaN")
def _extreme(name: str, kinds: list[str], mods: set[str]) -> Rule:
    kind, = kinds
    plain = np.minimum if name == "min" else np.maximum
    if kind[0] != "f":
        return Rule((kind,), (kind, kind), plain)
    pick, zero = (np.fmin if name == "min" else np.fmax), np.logical_or if name == "min" else np.logical_and

    def run(a: Any, b: Any) -> Any:
        y = (plain if "NaN" in mods else pick)(a, b)
        signed = np.where(zero(np.signbit(a), np.signbit(b)), -np.zeros_like(y), np.zeros_like(y))
        return np.where((a == 0) & (b == 0), signed, y)
    return Rule((kind,), (kind, kind), floats(run, mods))


@rule("neg abs", "ftz")
def _sign(name: str, kinds: list[str], mods: set[str]) -> Rule:
    return Rule((kinds[0],), (kinds[0],), floats(np.negative if name == "neg" else np.abs, mods))


@rule("copysign")
def _copysign(name: str, kinds: list[str], mods: set[str]) -> Rule:
    return Rule((kinds[0],), (kinds[0],) * 2, lambda a, b: np.copysign(b, a))


@rule("sqrt", f"{ROUNDING} approx ftz")
def _sqrt(name: str, kinds: list[str], mods: set[str]) -> Rule:
    if rounding(mods) != "rn":
        raise KeyError(f"roots with {mods}")
    run = approximate(np.sqrt, lambda x: np.zeros(x.shape, bool)) if "approx" in mods else np.sqrt
    return Rule((kinds[0],), (kinds[0],), floats(run, mods))


@rule("rcp rsqrt", f"{ROUNDING} approx ftz")
def _reciprocal(name: str, kinds: list[str], mods: set[str]) -> Rule:
    kind, = kinds
    whole: Callable[[Any], Any] = (lambda x: 1 / x) if name == "rcp" else lambda x: 1 / np.sqrt(x)
    if "approx" not in mods:
        if rounding(mods) != "rn" or name != "rcp":
            raise KeyError(f"{name} with {mods}")
        return Rule((kind,), (kind,), floats(lambda x: x.dtype.type(1) / x, mods))
    if kind == "f64":                                          # of the upper words alone

        def gross(x: Any) -> Any:
            upper = (x.view(np.uint64) >> np.uint64(32) << np.uint64(32)).view(np.float64)
            upper = np.where(np.abs(upper) < 2.0 ** -1022, np.copysign(0.0, upper), upper)
            y = (whole(upper).view(np.uint64) >> np.uint64(32) << np.uint64(32)).view(np.float64)
            return np.where(np.abs(y) < 2.0 ** -1022, np.copysign(0.0, y), y)
        return Rule((kind,), (kind,), gross)
    return Rule((kind,), (kind,), floats(approximate(whole, lambda x: x.view(np.uint32) & 0x7FFFFF == 0), mods))


@rule("ex2 lg2 sin cos tanh", "approx ftz")
def _special(name: str, kinds: list[str], mods: set[str]) -> Rule:
    if kinds != ["f32"] or "approx" not in mods:
        raise KeyError(str(kinds))
    run = {"ex2": np.exp2, "lg2": np.log2, "sin": np.sin, "cos": np.cos, "tanh": np.tanh}[name]
    exact: Callable[[Any], Any] = {"ex2": lambda x: x == np.rint(x), "lg2": lambda x: x.view(np.uint32) & 0x7FFFFF == 0
                                   }.get(name, lambda x: x == 0)
    return Rule(("f32",), ("f32",), floats(approximate(run, exact), mods))


# ------------------------------------------------------------------ bits
@rule("and or xor")
def _logic(name: str, kinds: list[str], mods: set[str]) -> Rule:
    return Rule((kinds[0],), (kinds[0],) * 2, {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}[name])


@rule("not cnot")
def _not(name: str, kinds: list[str], mods: set[str]) -> Rule:
    kind, = kinds
    return Rule((kind,), (kind,), np.invert if name == "not" else lambda a: (a == 0).astype(TYPES[kind]))


@rule("shl shr")
def _shift(name: str, kinds: list[str], mods: set[str]) -> Rule:
    kind, = kinds
    word = TYPES[kind]
    bits = 8 * word().itemsize

    def run(a: Any, b: Any) -> Any:
        by = np.minimum(b, bits - 1).astype(word)
        if name == "shl":
            return np.where(b < bits, a << by, word(0))
        return a >> by if kind[0] == "s" else np.where(b < bits, a >> by, word(0))
    return Rule((kind,), (kind, "u32"), run)


@rule("shf", "l r wrap clamp")
def _funnel(name: str, kinds: list[str], mods: set[str]) -> Rule:
    def run(a: Any, b: Any, c: Any) -> Any:
        by = (np.minimum(c, 32) if "clamp" in mods else c & 31).astype(np.uint64)
        both = b.astype(np.uint64) << np.uint64(32) | a
        return (both >> by if "r" in mods else both >> (np.uint64(32) - by)).astype(np.uint32)
    return Rule(("b32",), ("b32", "b32", "u32"), run)


@rule("bfe")
def _bfe(name: str, kinds: list[str], mods: set[str]) -> Rule:
    kind, = kinds
    bits = 8 * TYPES[kind]().itemsize

    def one(a: int, at: int, count: int) -> int:
        at, count = at & 255, count & 255
        found = (a & (1 << bits) - 1) >> at & (1 << count) - 1 if count else 0
        if kind[0] == "s" and count and (a >> min(at + count - 1, bits - 1)) & 1:
            found |= -1 << min(count, max(bits - at, 0))
        return found & (1 << bits) - 1
    return Rule((kind,), (kind, "u32", "u32"), _one_by_one(one, kind))


@rule("bfi")
def _bfi(name: str, kinds: list[str], mods: set[str]) -> Rule:
    kind, = kinds
    bits = 8 * TYPES[kind]().itemsize

    def one(a: int, b: int, at: int, count: int) -> int:
        hole = ((1 << (count & 255)) - 1) << (at & 255)
        return (b & ~hole | (a << (at & 255)) & hole) & (1 << bits) - 1
    return Rule((kind,), (kind, kind, "u32", "u32"), _one_by_one(one, kind))


@rule("brev clz popc")
def _count(name: str, kinds: list[str], mods: set[str]) -> Rule:
    kind, = kinds
    bits = 8 * TYPES[kind]().itemsize
    run = {"brev": lambda a: int(f"{a:0{bits}b}"[::-1], 2), "clz": lambda a: bits - a.bit_length(),
           "popc": lambda a: a.bit_count()}[name]
    result = kind if name == "brev" else "u32"
    return Rule((result,), (kind,), _one_by_one(run, result))


@rule("prmt")
def _prmt(name: str, kinds: list[str], mods: set[str]) -> Rule:
    def one(a: int, b: int, c: int) -> int:
        data, out = (b << 32 | a).to_bytes(8, "little"), 0
        for k in range(4):
            pick = c >> 4 * k & 15
            byte = data[pick & 7]
            out |= (byte if pick < 8 else 255 * (byte >> 7)) << 8 * k
        return out
    return Rule(("b32",), ("b32", "b32", "b32"), _one_by_one(one, "b32"))


def _one_by_one(run: Callable[..., int], kind: str) -> Callable[..., Any]:
    """A function of Python's integers, for each thread."""
    word = np.dtype(TYPES[kind])

    def each(*columns: Any) -> Any:
        return np.array([run(*map(int, row)) for row in zip(*columns)], f"u{word.itemsize}").view(word)
    return each


# ------------------------------------------------------------------ comparisons and conversions
COMPARE: dict[str, Callable[..., Any]] = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal}
ORDERED = ("eq", "ne", "lt", "le", "gt", "ge")


def comparison(name: str, kind: str) -> Callable[..., Any]:
    if kind[0] != "f":
        return COMPARE[name]
    if name in ("num", "nan"):
        return lambda a, b: (np.isnan(a) | np.isnan(b)) == (name == "nan")
    if name in ORDERED:                                        # false where one is no number
        return lambda a, b: COMPARE[name](a, b) & ~(np.isnan(a) | np.isnan(b))
    return lambda a, b: COMPARE[name[:-1]](a, b) | np.isnan(a) | np.isnan(b)


@rule("setp set", " ".join([*COMPARE, *(f"{x}u" for x in ORDERED), "num", "nan", "and", "or", "xor", "ftz"]))
def _setp(name: str, kinds: list[str], mods: set[str]) -> Rule:
    kind = kinds[-1]
    how = mods & {"and", "or", "xor"}
    which, = mods - {"and", "or", "xor", "ftz"}
    run: Callable[..., Any] = comparison(which, kind)
    if "ftz" in mods:
        run = lambda a, b, plain=run: plain(flushed(a), flushed(b))  # noqa: E731
    if name == "set":
        result = kinds[0]
        ones = TYPES[result](1) if result[0] == "f" else ~TYPES[result](0)
        return Rule((result,), (kind, kind), lambda a, b: np.where(run(a, b), ones, TYPES[result](0)))
    if how:
        join = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}[how.pop()]
        return Rule(("pred",), (kind, kind, "pred"), lambda a, b, c: join(run(a, b), c))
    return Rule(("pred",), (kind, kind), run)


@rule("selp")
def _selp(name: str, kinds: list[str], mods: set[str]) -> Rule:
    return Rule((kinds[0],), (kinds[0], kinds[0], "pred"), lambda a, b, p: np.where(p, a, b))


@rule("mov cvta", "to global local shared")
def _mov(name: str, kinds: list[str], mods: set[str]) -> Rule:
    """Moves; addresses of all spaces are apart, so that those of one are addresses of all."""
    return Rule((kinds[0],), (kinds[0],), lambda a: a)


@rule("cvt", f"{ROUNDING} rni rzi rmi rpi ftz sat")
def _cvt(name: str, kinds: list[str], mods: set[str]) -> Rule:
    to, of = kinds
    target = np.dtype(TYPES[to])
    whole = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}.get(
        next((m for m in mods if m in ("rni", "rzi", "rmi", "rpi")), ""))
    if of[0] == "f" and to[0] != "f":
        if whole is None:
            raise KeyError("a conversion to integers says how it rounds")
        return Rule((to,), (of,), _to_integer(target, of, whole))
    if to[0] != "f":
        if "sat" not in mods:
            return Rule((to,), (of,), lambda a: a.astype(target))
        lim = np.iinfo(target)
        return Rule((to,), (of,), lambda a: np.array([min(max(int(x), lim.min), lim.max) for x in a], target))
    mode = rounding(mods)
    if mode != "rn" and (of, to) != ("f64", "f32"):
        raise KeyError(f"conversions with .{mode}")
    run = (lambda a: to32(a, mode)) if mode != "rn" else lambda a: a.astype(target)
    if whole is not None:
        run = lambda a: whole(a).astype(target)  # noqa: E731
    return Rule((to,), (of,), floats(run, mods) if to == of == "f32" or "sat" in mods else run)


def _to_integer(target: Any, of: str, whole: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Clamped to what the target holds; what is no number is 0, or the target's upper bit where 64 bits take part."""
    lim = np.iinfo(target)
    none = (1 << 8 * target.itemsize - 1) if of == "f64" or target.itemsize == 8 else 0
    nothing = np.array([none], f"u{target.itemsize}").view(target)[0]

    def run(a: Any) -> Any:
        x = whole(a.astype(np.float64))
        inside = (x > lim.min) & (x < float(lim.max))
        y = np.where(inside, x, 0).astype(target)
        y = np.where(inside | np.isnan(x), y, np.where(x > 0, lim.max, lim.min).astype(target))
        return np.where(np.isnan(x), nothing, y)
    return run


__all__ = ["CARRY", "Rule", "TYPES", "rule_of"]
