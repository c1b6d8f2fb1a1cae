"""Transcendental functions as LLVM, for one lane or many.

In goes an ``Emitter`` and float operands; out comes the value of ``exp``, ``log``, … It always holds that float32
functions are branch-free polynomials (so vectors stay vectors) accurate to the ulp bound in each docstring, over
the whole range unless stated, with IEEE special values (0, inf, NaN, subnormals); float64 functions call the C
library once per lane. Coefficients without another source are those of Cephes' single precision library
(S. Moshier) and of FreeBSD's msun; all bounds are tested.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from llvmlite import ir

from graphk.codegen.emitter import F32T, F64T, I32T, I64T, Emitter

_INF, _NAN = float("inf"), float("nan")
_LOG2E = 1.4426950408889634
# ln 2 in two float32 parts: the high one has 9 trailing zero bits, so n*hi is exact for |n| < 512.
_LN2_HI, _LN2_LO = 0.693359375, -2.12194440e-4
# 1.5*2^23: adding it rounds to an integer held in the low mantissa bits.
_MAGIC = 12582912.0
_EXP_TAIL = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
# The same for expm1(2r)/2 and expm1(-r).
_HALF_EXPM1_TAIL = tuple(c * 2.0 ** (6 - i) for i, c in enumerate(_EXP_TAIL))
_MINUS_EXPM1_TAIL = tuple(c * (-1.0) ** (5 - i) for i, c in enumerate(_EXP_TAIL))
_LOG_POLY = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
_ERF_SMALL = (-5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1)
_SIN_POLY = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COS_POLY = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)


def _clamp(e: Emitter, x: ir.Value, low: ir.Value, high: ir.Value) -> ir.Value:
    """Limit x; NaN passes through because both comparisons are ordered."""
    x = e.select(e.lt(x, low), low, x)
    return e.select(e.gt(x, high), high, x)


def _exp_reduce(e: Emitter, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """(n as int32, expm1(r)) with x = n ln2 + r, |r| <= 0.35; x must be below 2^22 in magnitude."""
    shifted = e.fma(x, e.f(_LOG2E), e.f(_MAGIC))
    whole = e.exact_sub(shifted, e.f(_MAGIC))
    n = e.b.sub(e.bits(shifted), e.bits(e.f(_MAGIC)))
    r = e.fma(whole, e.f(-_LN2_HI), x)
    r = e.fma(whole, e.f(-_LN2_LO), r)
    return n, _expm1_of_rest(e, r, r, _EXP_TAIL)


def _expm1_of_rest(e: Emitter, first: ir.Value, r: ir.Value, tail: Sequence[float]) -> ir.Value:
    """first + r² P(r), P of degree 5 in three steps that wait for each other instead of five."""
    square = e.mul(r, r)
    high, middle, low = (e.fma(e.f(tail[i]), r, e.f(tail[i + 1])) for i in (0, 2, 4))
    return e.fma(square, e.fma(e.fma(high, square, middle), square, low), first)


def _pow2(e: Emitter, n: ir.Value) -> ir.Value:
    """2^n as float32 for n in [-126, 127]."""
    return e.bits(e.b.shl(e.b.add(n, e.i(127)), e.i(23)), F32T)


def _scale(e: Emitter, x: ir.Value, n: ir.Value) -> ir.Value:
    """x * 2^n in two steps, so that n outside the normal range over- or underflows gradually."""
    half = e.b.ashr(n, e.i(1))
    return e.b.fmul(e.b.fmul(x, _pow2(e, half)), _pow2(e, e.b.sub(n, half)))


def exp32(e: Emitter, x: ir.Value) -> ir.Value:
    """<= 2 ulp, subnormal results included."""
    n, m = _exp_reduce(e, _clamp(e, x, e.f(-105.0), e.f(90.0)))
    return _scale(e, e.exact_add(m, e.f(1.0)), n)


def expm1_32(e: Emitter, x: ir.Value) -> ir.Value:
    """<= 3 ulp; near 0 the reduction is exact, so the relative error stays bounded."""
    n, m = _exp_reduce(e, _clamp(e, x, e.f(-30.0), e.f(89.0)))
    half = _pow2(e, e.b.sub(n, e.i(1)))
    y = e.fma(half, m, e.exact_sub(half, e.f(0.5)))
    y = e.b.fmul(y, e.f(2.0))
    # x itself for the tiniest arguments: keeps -0 and subnormals.
    return e.select(e.lt(e.abs(x), e.f(1e-30)), x, y)


def _log_reduce(e: Emitter, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """(k as float, m - 1) with x = m 2^k, m in [sqrt(1/2), sqrt(2)); x positive, finite, normal."""
    u = e.b.add(e.bits(x), e.i(0x3F800000 - 0x3F3504F3))
    k = e.b.sub(e.b.lshr(u, e.i(23)), e.i(127))
    m = e.bits(e.b.add(e.b.and_(u, e.i(0x7FFFFF)), e.i(0x3F3504F3)), F32T)
    return e.b.sitofp(k, e.type(F32T)), e.exact_sub(m, e.f(1.0))


def _log_finish(e: Emitter, k: ir.Value, f: ir.Value, low: ir.Value) -> ir.Value:
    """k ln2 + log(1 + f) + low."""
    z = e.mul(f, f)
    y = e.mul(e.mul(f, z), e.poly(f, _LOG_POLY))
    y = e.add(e.fma(k, e.f(_LN2_LO), y), low)
    y = e.fma(z, e.f(-0.5), y)
    return e.fma(k, e.f(_LN2_HI), e.add(f, y))


def _log_specials(e: Emitter, x: ir.Value, pole: float, y: ir.Value) -> ir.Value:
    """-inf at the pole, NaN below it and for NaN, inf at inf."""
    y = e.select(e.eq(x, e.f(_INF)), e.f(_INF), y)
    y = e.select(e.eq(x, e.f(pole)), e.f(-_INF), y)
    return e.select(e.b.fcmp_unordered("<", x, e.f(pole)), e.f(_NAN), y)


def log32(e: Emitter, x: ir.Value) -> ir.Value:
    """<= 2 ulp, subnormal arguments included."""
    small = e.lt(x, e.f(1.1754943508222875e-38))
    scaled = e.select(small, e.b.fmul(x, e.f(8388608.0)), x)
    k, f = _log_reduce(e, scaled)
    k = e.exact_sub(k, e.select(small, e.f(23.0), e.f(0.0)))
    return _log_specials(e, x, 0.0, _log_finish(e, k, f, e.f(0.0)))


def log1p32(e: Emitter, x: ir.Value) -> ir.Value:
    """<= 3 ulp; with u = 1 + x rounded, log1p(x) = log(u) + (rest of x)/u."""
    u = e.exact_add(x, e.f(1.0))
    k, f = _log_reduce(e, u)
    rest_small = e.exact_sub(x, e.exact_sub(u, e.f(1.0)))
    rest_large = e.exact_sub(e.f(1.0), e.exact_sub(u, x))
    rest = e.div(e.select(e.gt(x, e.f(1.0)), rest_large, rest_small), u)
    unscaled = e.eq(k, e.f(0.0))
    f = e.select(unscaled, x, f)
    rest = e.select(unscaled, e.f(0.0), rest)
    y = _log_finish(e, k, f, rest)
    y = e.select(e.lt(e.abs(x), e.f(1e-30)), x, y)
    return _log_specials(e, x, -1.0, y)


def tanh32(e: Emitter, x: ir.Value) -> ir.Value:
    """<= 3 ulp, odd: h/(h + 1) with h = expm1(2|x|)/2, which is exact enough near 0; from 9.02 on it is 1."""
    a = e.abs(x)
    a = e.select(e.gt(a, e.f(9.02)), e.f(9.02), a)
    shifted = e.fma(a, e.f(2 * _LOG2E), e.f(_MAGIC))
    whole = e.exact_sub(shifted, e.f(_MAGIC))
    r = e.fma(whole, e.f(-math.log(2) / 2), a)                     # whole is 26 at most: one part of ln 2 will do
    m = _expm1_of_rest(e, r, r, _HALF_EXPM1_TAIL)
    scale = _pow2(e, e.b.sub(e.bits(shifted), e.bits(e.f(_MAGIC))))
    h = e.fma(scale, m, e.fma(scale, e.f(0.5), e.f(-0.5)))
    return e.copysign(e.div(h, e.exact_add(h, e.f(1.0))), x)


def sigmoid32(e: Emitter, x: ir.Value) -> ir.Value:
    """<= 4 ulp on both sides, subnormal results included.

    exp(-|x|) is q/p, with the power of two shared between both so that neither is subnormal; the result is q/(p + q) or
    p/(p + q). What is computed of |x| alone serves sigmoid(-x), which gradients need, too.
    """
    a = e.abs(x)
    a = e.select(e.gt(a, e.f(105.0)), e.f(105.0), a)
    shifted = e.fma(a, e.f(-_LOG2E), e.f(_MAGIC))
    whole = e.exact_sub(shifted, e.f(_MAGIC))
    n = e.b.sub(e.bits(shifted), e.bits(e.f(_MAGIC)))
    r = e.fma(whole, e.f(_LN2_HI), a)
    r = e.fma(whole, e.f(_LN2_LO), r)                              # -a = n ln2 - r
    m = _expm1_of_rest(e, e.b.fneg(r), r, _MINUS_EXPM1_TAIL)
    half = e.b.ashr(n, e.i(1))
    p, scale = _pow2(e, e.b.neg(half)), _pow2(e, e.b.sub(n, half))
    q = e.fma(scale, m, scale)
    return e.div(e.select(e.lt(x, e.f(0.0)), q, p), e.exact_add(p, q))


def erf32(e: Emitter, x: ir.Value) -> ir.Value:
    """<= 3 ulp: x + x P(x^2) below 0.921875, else 1 - exp(Q(|x|)) (minimax fits published by N. Juffa)."""
    s = e.mul(x, x)
    near = e.fma(e.poly(s, _ERF_SMALL), x, x)
    a = e.abs(x)
    t = e.select(e.gt(a, e.f(4.0)), e.f(4.0), a)
    tt = e.mul(t, t)
    r = e.fma(e.f(-1.72853470e-5), t, e.f(3.83197126e-4))
    u = e.fma(e.f(-3.88396438e-3), t, e.f(2.42546219e-2))
    r = e.fma(r, tt, u)
    for c in (-1.06777877e-1, -6.34846687e-1, -1.28717512e-1):
        r = e.fma(r, t, e.f(c))
    r = e.fma(r, t, e.b.fneg(t))
    far = e.copysign(e.exact_sub(e.f(1.0), exp32(e, r)), x)
    return e.select(e.gt(a, e.f(0.921875)), far, near)


def _trig_reduce(e: Emitter, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """(quadrant int32, remainder float32); the subtraction of n*pi/2 happens in float64."""
    wide = e.type(F64T)
    xd = e.b.fpext(x, wide)
    # Beyond 2^30 the quadrant no longer fits; the clamp keeps the conversion defined, inf/NaN give NaN later.
    limit = float(2**30)
    xd = _clamp(e, xd, e.d(-limit), e.d(limit))
    n = e.intrinsic("roundeven", e.b.fmul(xd, e.d(2 / math.pi)))
    r = e.fma(n, e.d(-1.57079632673412561417e00), xd)
    r = e.fma(n, e.d(-6.07710050650619224932e-11), r)
    quadrant = e.b.fptosi(e.select(e.is_nan(n), e.d(0.0), n), e.type(I32T))
    return quadrant, e.b.fptrunc(r, e.type(F32T))


def _sin_cos(e: Emitter, x: ir.Value, shift: int) -> ir.Value:
    q, r = _trig_reduce(e, x)
    q = e.b.add(q, e.i(shift))
    z = e.mul(r, r)
    sin = e.fma(e.mul(z, r), e.poly(z, _SIN_POLY), r)
    cos = e.fma(e.mul(z, z), e.poly(z, _COS_POLY), e.fma(z, e.f(-0.5), e.f(1.0)))
    odd = e.b.icmp_signed("!=", e.b.and_(q, e.i(1)), e.i(0))
    y = e.select(odd, cos, sin)
    sign = e.b.shl(e.b.and_(q, e.i(2)), e.i(30))
    y = e.bits(e.b.xor(e.bits(y), sign), F32T)
    finite = e.lt(e.abs(x), e.f(_INF))
    return e.select(finite, y, e.f(_NAN))


def sin32(e: Emitter, x: ir.Value) -> ir.Value:
    """<= 2 ulp for |x| <= 2^27; beyond 2^30 the argument is taken as 2^30."""
    y = _sin_cos(e, x, 0)
    return e.select(e.lt(e.abs(x), e.f(1e-30)), x, y)


def cos32(e: Emitter, x: ir.Value) -> ir.Value:
    """<= 2 ulp for |x| <= 2^27; beyond 2^30 the argument is taken as 2^30."""
    return _sin_cos(e, x, 1)


def _log2_wide(e: Emitter, x: ir.Value) -> ir.Value:
    """log2 of a positive finite float32 held in float64, relative error 1e-11."""
    bits = e.bits(x, I64T)
    magic = e.const(I64T, 0x3FF0000000000000 - 0x3FE6A09E667F3BCD)
    u = e.b.add(bits, magic)
    k = e.b.sub(e.b.lshr(u, e.const(I64T, 52)), e.const(I64T, 1023))
    low = e.b.and_(u, e.const(I64T, (1 << 52) - 1))
    m = e.bits(e.b.add(low, e.const(I64T, 0x3FE6A09E667F3BCD)), F64T)
    s = e.div(e.b.fsub(m, e.d(1.0)), e.b.fadd(m, e.d(1.0)))
    z = e.mul(s, s)
    series = e.poly(z, [2 / (2 * i + 1) / math.log(2) for i in range(7, -1, -1)], F64T)
    whole = e.b.sitofp(e.b.trunc(k, e.type(I32T)), e.type(F64T))
    return e.fma(s, series, whole)


def _exp2_wide(e: Emitter, t: ir.Value) -> ir.Value:
    """2^t in float64 for |t| clamped to 1000, relative error 1e-11."""
    t = _clamp(e, t, e.d(-1000.0), e.d(1000.0))
    n = e.intrinsic("roundeven", t)
    r = e.b.fmul(e.b.fsub(t, n), e.d(math.log(2)))
    m = e.poly(r, [1 / math.factorial(i) for i in range(9, -1, -1)], F64T)
    whole = e.b.fptosi(e.select(e.is_nan(n), e.d(0.0), n), e.type(I32T))
    biased = e.b.sext(e.b.add(whole, e.i(1023)), e.type(I64T))
    return e.b.fmul(m, e.bits(e.b.shl(biased, e.const(I64T, 52)), F64T))


def pow32(e: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
    """<= 1 ulp through float64: exp2(y log2|x|), then C99's special cases."""
    wide = e.type(F64T)
    xd, yd = e.b.fpext(x, wide), e.b.fpext(y, wide)
    a = e.abs(xd)
    log2 = _log2_wide(e, a)
    log2 = e.select(e.eq(a, e.d(0.0)), e.d(-_INF), log2)
    log2 = e.select(e.eq(a, e.d(_INF)), e.d(_INF), log2)
    log2 = e.select(e.is_nan(a), a, log2)
    power = e.b.fptrunc(_exp2_wide(e, e.b.fmul(yd, log2)), e.type(F32T))
    whole = e.eq(e.intrinsic("floor", yd), yd)
    half = e.b.fmul(yd, e.d(0.5))
    # An infinite y counts as even: floor(inf) == inf on both lines.
    odd = e.b.and_(whole, e.b.not_(e.eq(e.intrinsic("floor", half), half)))
    power = e.select(odd, e.copysign(power, x), power)
    negative = e.b.and_(e.lt(x, e.f(0.0)), e.gt(x, e.f(-_INF)))
    power = e.select(e.b.and_(negative, e.b.not_(whole)), e.f(_NAN), power)
    power = e.select(e.is_nan(y), y, power)
    unit = e.b.and_(e.eq(e.abs(x), e.f(1.0)), e.eq(e.abs(y), e.f(_INF)))
    one = e.b.or_(e.b.or_(e.eq(x, e.f(1.0)), e.eq(y, e.f(0.0))), unit)
    return e.select(one, e.f(1.0), power)


def _libm(name: str) -> Callable[..., ir.Value]:
    def emit(e: Emitter, *args: ir.Value) -> ir.Value:
        return e.per_lane(lambda *lane: e.call(name, F64T, *lane), *args)

    return emit


def sigmoid64(e: Emitter, x: ir.Value) -> ir.Value:
    """<= 3 ulp, exp of -|x| from the C library."""
    y = _libm("exp")(e, e.b.fneg(e.abs(x)))
    top = e.select(e.lt(x, e.d(0.0)), y, e.d(1.0))
    return e.div(top, e.exact_add(y, e.d(1.0)))


F32_FUNCTIONS: dict[str, Callable[..., ir.Value]] = {
    "exp": exp32,
    "expm1": expm1_32,
    "log": log32,
    "log1p": log1p32,
    "tanh": tanh32,
    "sigmoid": sigmoid32,
    "erf": erf32,
    "sin": sin32,
    "cos": cos32,
    "pow": pow32,
}
LIBM: tuple[str, ...] = ("exp", "expm1", "log", "log1p", "tanh", "erf", "sin", "cos", "pow")
F64_FUNCTIONS: dict[str, Callable[..., ir.Value]] = {**{n: _libm(n) for n in LIBM}, "sigmoid": sigmoid64}
