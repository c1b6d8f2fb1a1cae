"""LLVM bodies of the scalar table for the CPU.

In goes an ``Emitter`` (which fixes the lanes), the operand dtype and LLVM operands already broadcast to that
many lanes; out comes the result value. It always holds that integer division never traps, float ``max``/``min``
propagate NaN, and that an entry exists here for every name in ``scalars.TABLE`` (tested).
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from graphk.codegen.emitter import F32T, F64T, I1, I32T, I64T, LLVM_TYPES, Emitter
from graphk.codegen.scalars import (BOOL, F16, F32, F64, FLOATS, I8, I16, I32, I64, ITEMSIZE, PHILOX_M, PHILOX_ROUNDS,
                                    PHILOX_W, U8, U16, U32)
from graphk.codegen.vector_math import F32_FUNCTIONS, F64_FUNCTIONS

Emit = Callable[[Emitter, str, tuple[ir.Value, ...]], ir.Value]


def _const(e: Emitter, dtype: str, value: float) -> ir.Value:
    return e.const(LLVM_TYPES[dtype], value if dtype in FLOATS else int(value))


def _pair(float_op: str, int_op: str) -> Emit:
    def emit(e: Emitter, dtype: str, a: tuple[ir.Value, ...]) -> ir.Value:
        if dtype in FLOATS:
            return getattr(e, float_op)(*a)
        return getattr(e.b, int_op)(*a)

    return emit


def _compare(op: str) -> Emit:
    def emit(e: Emitter, dtype: str, a: tuple[ir.Value, ...]) -> ir.Value:
        if dtype in FLOATS:
            # Only != is true for NaN.
            return (e.b.fcmp_unordered if op == "!=" else e.b.fcmp_ordered)(op, *a)
        return (e.b.icmp_signed if dtype in (I32, I64) else e.b.icmp_unsigned)(op, *a)

    return emit


def _bits(op: str) -> Emit:
    return lambda e, dtype, a: getattr(e.b, op)(*a)


def _extreme(op: str) -> Emit:
    def emit(e: Emitter, dtype: str, a: tuple[ir.Value, ...]) -> ir.Value:
        x, y = a
        if dtype not in FLOATS:
            return e.select(_compare(op)(e, dtype, a), x, y)
        # "y if y > x else x" keeps a NaN in x and is one instruction; the second select restores one in y
        # (and folds away when y is a constant).
        best = e.select(e.b.fcmp_ordered(op, y, x), y, x)
        return e.select(e.is_nan(y), y, best)

    return emit


def _div(e: Emitter, dtype: str, a: tuple[ir.Value, ...]) -> ir.Value:
    return e.div(*a)


def _safe_divisor(e: Emitter, dtype: str, b: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
    """(divisor that cannot trap, b == 0, b == -1)."""
    zero = e.b.icmp_signed("==", b, _const(e, dtype, 0))
    minus = e.b.icmp_signed("==", b, _const(e, dtype, -1))
    bad = zero if dtype == U32 else e.b.or_(zero, minus)
    return e.select(bad, _const(e, dtype, 1), b), zero, minus


def _int_mod(e: Emitter, dtype: str, a: ir.Value, b: ir.Value) -> ir.Value:
    """Remainder with the divisor's sign; 0 for b in {0, -1}."""
    safe, zero, minus = _safe_divisor(e, dtype, b)
    nil = _const(e, dtype, 0)
    if dtype == U32:
        return e.select(zero, nil, e.b.urem(a, safe))
    r = e.b.srem(a, safe)
    fix = e.b.and_(e.b.icmp_signed("!=", r, nil), e.b.icmp_signed("<", e.b.xor(r, safe), nil))
    r = e.select(fix, e.b.add(r, safe), r)
    return e.select(e.b.or_(zero, minus), nil, r)


def _int_floordiv(e: Emitter, dtype: str, a: ir.Value, b: ir.Value) -> ir.Value:
    safe, zero, minus = _safe_divisor(e, dtype, b)
    nil = _const(e, dtype, 0)
    if dtype == U32:
        return e.select(zero, nil, e.b.udiv(a, safe))
    q, r = e.b.sdiv(a, safe), e.b.srem(a, safe)
    fix = e.b.and_(e.b.icmp_signed("!=", r, nil), e.b.icmp_signed("<", e.b.xor(r, safe), nil))
    q = e.select(fix, e.b.sub(q, _const(e, dtype, 1)), q)
    q = e.select(minus, e.b.sub(nil, a), q)
    return e.select(zero, nil, q)


def _float_divmod(e: Emitter, dtype: str, a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
    """numpy's float divmod: remainder with the divisor's sign, quotient rounded to the nearest whole."""
    nil, one = _const(e, dtype, 0.0), _const(e, dtype, 1.0)
    r = e.b.frem(a, b)
    q = e.div(e.b.fsub(a, r), b)
    off = e.b.and_(e.b.fcmp_unordered("!=", r, nil), e.b.xor(e.lt(b, nil), e.lt(r, nil)))
    mod = e.select(off, e.b.fadd(r, b), r)
    mod = e.select(e.eq(mod, nil), e.copysign(nil, b), mod)
    q = e.select(off, e.b.fsub(q, one), q)
    whole = e.intrinsic("floor", q)
    whole = e.select(e.gt(e.b.fsub(q, whole), _const(e, dtype, 0.5)), e.b.fadd(whole, one), whole)
    ratio = e.div(a, b)
    whole = e.select(e.eq(q, nil), e.copysign(nil, ratio), whole)
    by_zero = e.eq(b, nil)
    return e.select(by_zero, ratio, whole), e.select(by_zero, r, mod)


def _floordiv(e: Emitter, dtype: str, a: tuple[ir.Value, ...]) -> ir.Value:
    return _float_divmod(e, dtype, *a)[0] if dtype in FLOATS else _int_floordiv(e, dtype, *a)


def _mod(e: Emitter, dtype: str, a: tuple[ir.Value, ...]) -> ir.Value:
    return _float_divmod(e, dtype, *a)[1] if dtype in FLOATS else _int_mod(e, dtype, *a)


def _neg(e: Emitter, dtype: str, a: tuple[ir.Value, ...]) -> ir.Value:
    return e.b.fneg(a[0]) if dtype in FLOATS else e.b.sub(_const(e, dtype, 0), a[0])


def _abs(e: Emitter, dtype: str, a: tuple[ir.Value, ...]) -> ir.Value:
    if dtype in FLOATS:
        return e.abs(a[0])
    if dtype == U32:
        return a[0]
    return e.select(e.b.icmp_signed("<", a[0], _const(e, dtype, 0)), _neg(e, dtype, a), a[0])


def _sign(e: Emitter, dtype: str, a: tuple[ir.Value, ...]) -> ir.Value:
    x, nil, one = a[0], _const(e, dtype, 0), _const(e, dtype, 1)
    above = e.select(_compare(">")(e, dtype, (x, nil)), one, x)
    if dtype == U32:
        return above
    return e.select(_compare("<")(e, dtype, (x, nil)), _const(e, dtype, -1), above)


def _square(e: Emitter, dtype: str, a: tuple[ir.Value, ...]) -> ir.Value:
    return TABLE["mul"](e, dtype, (a[0], a[0]))


def _intrinsic(name: str) -> Emit:
    return lambda e, dtype, a: e.intrinsic(name, *a)


def _rsqrt(e: Emitter, dtype: str, a: tuple[ir.Value, ...]) -> ir.Value:
    """<= 2 ulp: a real square root and division, since the fast instruction differs between machines."""
    return e.div(_const(e, dtype, 1.0), e.intrinsic("sqrt", a[0]))


def _math(name: str) -> Emit:
    def emit(e: Emitter, dtype: str, a: tuple[ir.Value, ...]) -> ir.Value:
        return (F32_FUNCTIONS if dtype == F32 else F64_FUNCTIONS)[name](e, *a)

    return emit


def _round_bf16(e: Emitter, dtype: str, a: tuple[ir.Value, ...]) -> ir.Value:
    x, bits = a[0], e.bits(a[0])
    tie = e.b.and_(e.b.lshr(bits, e.i(16)), e.i(1))
    near = e.b.and_(e.b.add(e.b.add(bits, e.i(0x7FFF)), tie), e.i(-65536))
    return e.select(e.is_nan(x), x, e.bits(near, F32T))


def _is_inf(e: Emitter, dtype: str, a: tuple[ir.Value, ...]) -> ir.Value:
    return e.eq(e.abs(a[0]), _const(e, dtype, float("inf")))


def _select(e: Emitter, dtype: str, a: tuple[ir.Value, ...]) -> ir.Value:
    return e.select(*a)


def _shift(op: str) -> Emit:
    """Shifts by 32 or more give 0, like numpy's."""

    def emit(e: Emitter, dtype: str, a: tuple[ir.Value, ...]) -> ir.Value:
        small = e.b.icmp_unsigned("<", a[1], e.i(32))
        return e.select(small, getattr(e.b, op)(a[0], e.b.and_(a[1], e.i(31))), e.i(0))

    return emit


def _mulhi(e: Emitter, dtype: str, a: tuple[ir.Value, ...]) -> ir.Value:
    wide = e.type(I64T)
    product = e.b.mul(e.b.zext(a[0], wide), e.b.zext(a[1], wide))
    return e.b.trunc(e.b.lshr(product, e.const(I64T, 32)), e.type(I32T))


def _philox(e: Emitter, dtype: str, a: tuple[ir.Value, ...]) -> ir.Value:
    x0, x1, key = a
    m = e.i(PHILOX_M)
    for _ in range(PHILOX_ROUNDS):
        x0, x1 = e.b.xor(e.b.xor(_mulhi(e, dtype, (x0, m)), key), x1), e.b.mul(x0, m)
        key = e.b.add(key, e.i(PHILOX_W))
    return x0


def _u01(e: Emitter, dtype: str, a: tuple[ir.Value, ...]) -> ir.Value:
    # 24 bits are non-negative as int32, and the signed conversion is one instruction everywhere.
    whole = e.b.sitofp(e.b.lshr(a[0], e.i(8)), e.type(F32T))
    return e.b.fmul(whole, e.f(2.0**-24))


def _to_float(e: Emitter, source: str, to: str, x: ir.Value) -> ir.Value:
    kind = e.type(LLVM_TYPES[to])
    if source in FLOATS:
        return e.b.fpext(x, kind) if to == F64 else e.b.fptrunc(x, kind)
    if source in (BOOL, U8, U16, U32):
        return e.b.uitofp(x, kind)
    return e.b.sitofp(x, kind)


def _to_int(e: Emitter, source: str, to: str, x: ir.Value) -> ir.Value:
    kind = e.type(LLVM_TYPES[to])
    if source in FLOATS:
        name = "fptoui" if to in (U8, U16, U32) else "fptosi"
        lanes = "" if e.n == 1 else f"v{e.n}"
        suffix = f"{lanes}i{ITEMSIZE[to] * 8}.{lanes}{'f32' if source == F32 else 'f64'}"
        return e.call(f"llvm.{name}.sat.{suffix}", kind, x)
    if source != BOOL and ITEMSIZE[to] == ITEMSIZE[source]:
        return x
    if ITEMSIZE[to] < ITEMSIZE[source]:
        return e.b.trunc(x, kind)
    return e.b.sext(x, kind) if source in (I8, I16, I32) else e.b.zext(x, kind)


def _to_half(e: Emitter, source: str, x: ir.Value) -> ir.Value:
    """Rounded once: what float32 cannot hold goes through its neighbour with an odd mantissa, so no tie is made."""
    if source != F32:
        wide = x if source == F64 else _to_float(e, source, F64, x)
        near = e.b.fptrunc(wide, e.type(F32T))
        back, odd = e.b.fpext(near, e.type(F64T)), e.bits(near)
        towards_zero = e.b.sub(odd, e.b.zext(e.gt(e.abs(back), e.abs(wide)), e.type(I32T)))
        inexact = e.b.fcmp_ordered("!=", back, wide)
        x = e.bits(e.select(inexact, e.b.or_(towards_zero, e.i(1)), odd), F32T)
    return e.b.fptrunc(x, e.type(LLVM_TYPES[F16]))


def _cast(to: str) -> Emit:
    def emit(e: Emitter, source: str, a: tuple[ir.Value, ...]) -> ir.Value:
        if source == to:
            return a[0]
        if source == F16:
            return emit(e, F32, (e.b.fpext(a[0], e.type(F32T)),))
        if to == BOOL:
            return _compare("!=")(e, source, (a[0], _const(e, source, 0)))
        if to == F16:
            return _to_half(e, source, a[0])
        return (_to_float if to in FLOATS else _to_int)(e, source, to, a[0])

    return emit


def _not(e: Emitter, dtype: str, a: tuple[ir.Value, ...]) -> ir.Value:
    return e.b.xor(a[0], e.const(I1, 1))


TABLE: dict[str, Emit] = {
    "add": _pair("add", "add"),
    "sub": _pair("sub", "sub"),
    "mul": _pair("mul", "mul"),
    "div": _div,
    "floordiv": _floordiv,
    "mod": _mod,
    "neg": _neg,
    "abs": _abs,
    "sign": _sign,
    "max": _extreme(">"),
    "min": _extreme("<"),
    "square": _square,
    "sqrt": _intrinsic("sqrt"),
    "rsqrt": _rsqrt,
    "floor": _intrinsic("floor"),
    "ceil": _intrinsic("ceil"),
    "round": _intrinsic("roundeven"),
    "round_bf16": _round_bf16,
    "fma": lambda e, dtype, a: e.fma(*a),
    "and": _bits("and_"),
    "or": _bits("or_"),
    "not": _not,
    "select": _select,
    "is_nan": lambda e, dtype, a: e.is_nan(a[0]),
    "is_inf": _is_inf,
    "bit_and": _bits("and_"),
    "bit_or": _bits("or_"),
    "bit_xor": _bits("xor"),
    "shl": _shift("shl"),
    "shr": _shift("lshr"),
    "mulhi_u32": _mulhi,
    "mullo_u32": _bits("mul"),
    "philox2x32": _philox,
    "u01": _u01,
}
TABLE.update(
    {
        name: _compare(op)
        for name, op in zip(("eq", "ne", "lt", "le", "gt", "ge"), ("==", "!=", "<", "<=", ">", ">="), strict=True)
    }
)
TABLE.update({name: _math(name) for name in F32_FUNCTIONS})
TABLE.update({f"cast:{dtype}": _cast(dtype) for dtype in LLVM_TYPES})
