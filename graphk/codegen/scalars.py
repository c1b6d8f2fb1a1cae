"""The one table of scalar intrinsics.

In goes nothing; out comes ``TABLE``, a mapping from intrinsic name to its arity, the rule for its result
dtype, an independent numpy reference, a Python expression usable inside a ``numba.cuda`` kernel and a cost in
approximate flops. It always holds that every target (vector CPU code, CUDA, plain Python) takes its list of
names and dtype rules from here, and that this module imports nothing but numpy.

CUDA templates use ``math``, ``np`` scalar types, conditional expressions and the ``gk_*`` device helpers whose source
``CUDA_HELPERS`` holds; they evaluate an operand more than once, so operands must be names or literals, and
Numba widens small integers, so the printer casts a result to ``Scalar.result``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

BOOL, I32, I64, U32, F32, F64 = "bool", "int32", "int64", "uint32", "float32", "float64"
F16, I8, U8, I16, U16 = "float16", "int8", "uint8", "int16", "uint16"
DTYPES: tuple[str, ...] = (BOOL, I32, I64, U32, F32, F64)
NARROW: tuple[str, ...] = (F16, I8, U8, I16, U16)             # loaded, stored and cast, nothing else
FLOATS: tuple[str, ...] = (F32, F64)
INTS: tuple[str, ...] = (I32, I64, U32)
SHORT: dict[str, str] = {BOOL: "bool", I32: "i32", I64: "i64", U32: "u32", F32: "f32", F64: "f64",
                         F16: "f16", I8: "i8", U8: "u8", I16: "i16", U16: "u16"}
LONG: dict[str, str] = {short: name for name, short in SHORT.items()}
ITEMSIZE: dict[str, int] = {BOOL: 1, I32: 4, I64: 8, U32: 4, F32: 4, F64: 8, F16: 2, I8: 1, U8: 1, I16: 2, U16: 2}

Rule = Callable[[tuple[str, ...]], str]
Reference = Callable[..., Any]

PHILOX_ROUNDS = 7
PHILOX_M = 0xD256D193
PHILOX_W = 0x9E3779B9


@dataclass(frozen=True, slots=True)
class Scalar:
    """One intrinsic: ``rule`` maps operand dtypes to the result dtype or raises TypeError."""

    name: str
    arity: int
    rule: Rule
    ref: Reference
    cuda: str
    cost: float
    cuda_float: str = ""

    def cuda_for(self, dtype: str) -> str:
        """The CUDA template for operands of ``dtype``: some differ between floats and integers."""
        return self.cuda_float if self.cuda_float and dtype in FLOATS else self.cuda

    def result(self, dtypes: tuple[str, ...]) -> str:
        """Result dtype for operand dtypes; TypeError says what was expected."""
        if len(dtypes) != self.arity:
            raise TypeError(f"{self.name} takes {self.arity} operand(s), received {len(dtypes)}: {dtypes}.")
        return self.rule(dtypes)


def _refuse(expected: str, got: tuple[str, ...]) -> TypeError:
    return TypeError(f"expected {expected}, received {got}; cast the operands with to_<dtype>.")


def _same(allowed: tuple[str, ...], result: str | None = None) -> Rule:
    def rule(dtypes: tuple[str, ...]) -> str:
        if len(set(dtypes)) != 1 or dtypes[0] not in allowed:
            raise _refuse(f"equal dtypes out of {allowed}", dtypes)
        return result or dtypes[0]

    return rule


def _select_rule(dtypes: tuple[str, ...]) -> str:
    if dtypes[0] != BOOL or dtypes[1] != dtypes[2]:
        raise _refuse("a bool condition and two operands of one dtype", dtypes)
    return dtypes[1]


def _cast_rule(to: str) -> Rule:
    def rule(dtypes: tuple[str, ...]) -> str:
        if dtypes[0] not in DTYPES + NARROW:
            raise _refuse(f"a dtype out of {DTYPES + NARROW}", dtypes)
        return to

    return rule


def _quiet(fn: Reference) -> Reference:
    """Special values are part of the contract, so references never warn about them."""

    def call(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            return fn(*args)

    return call


def _int_or(fn_int: Reference, fn_float: Reference) -> Reference:
    def call(a: Any, b: Any) -> Any:
        return fn_float(a, b) if np.asarray(a).dtype.kind == "f" else fn_int(a, b)

    return call


def _sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    one = np.ones_like(e)
    return np.where(np.less(x, 0), e, one) / (one + e)


def _erf(x: Any) -> Any:
    array = np.asarray(x)
    out = np.array([math.erf(v) for v in array.ravel().tolist()], dtype=np.float64).reshape(array.shape)
    return out.astype(array.dtype)[()]


def _fma(a: Any, b: Any, c: Any) -> Any:
    """float32 is fused up to double rounding (products are exact in float64); float64 rounds twice."""
    dtype = np.result_type(a)
    if dtype == np.float32:
        return np.float32(np.float64(a) * np.float64(b) + np.float64(c))
    return a * b + c


def _cast(to: str) -> Reference:
    """float to int truncates and saturates, NaN gives 0; anything to bool is ``x != 0``."""

    def call(x: Any) -> Any:
        array = np.asarray(x)
        if to == BOOL:
            return (array != 0)[()]
        if array.dtype.kind != "f" or np.dtype(to).kind == "f":
            return array.astype(to)[()]
        info = np.iinfo(to)
        wide = np.trunc(array.astype(np.float64))
        inside = (wide > float(info.min) - 1) & (wide < float(info.max) + 1)
        out = np.where(inside, wide, 0).astype(to)
        out = np.where(wide >= float(info.max), info.max, out)
        return np.where(wide <= float(info.min), info.min, out).astype(to)[()]

    return call


def _shl(a: Any, b: Any) -> Any:
    return np.left_shift(a, b)


def _mulhi(a: Any, b: Any) -> Any:
    return ((np.asarray(a).astype(np.uint64) * np.asarray(b).astype(np.uint64)) >> np.uint64(32)).astype(np.uint32)[()]


def _mullo(a: Any, b: Any) -> Any:
    return np.multiply(np.asarray(a, np.uint32), np.asarray(b, np.uint32))[()]


@_quiet
def philox2x32(ctr_lo: Any, ctr_hi: Any, key: Any) -> Any:
    """First word of Philox2x32-7 on uint32 arrays or scalars.

    Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011; multiplier
    0xD256D193, Weyl key increment 0x9E3779B9, 7 rounds.
    """
    x0, x1, k = (np.asarray(v, np.uint32) for v in (ctr_lo, ctr_hi, key))
    for _ in range(PHILOX_ROUNDS):
        x0, x1 = _mulhi(x0, np.uint32(PHILOX_M)) ^ k ^ x1, _mullo(x0, np.uint32(PHILOX_M))
        k = k + np.uint32(PHILOX_W)
    return x0[()]


def _u01(x: Any) -> Any:
    return ((np.asarray(x, np.uint32) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24))[()]


def _rsqrt(x: Any) -> Any:
    return np.ones_like(x) / np.sqrt(x)


def _round_bf16(x: Any) -> Any:
    """The nearest float32 whose lower 16 bits are zero, a tie to the even one; a NaN stays one."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    near = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(x), x, near.view(np.float32).reshape(np.shape(x)))[()]


# Device functions the templates call: name to source, for ``cuda.jit(device=True)`` with ``math`` and ``np`` in scope.
CUDA_HELPERS: dict[str, str] = {
    "gk_round": """
def gk_round(x):
    low = math.floor(x)
    rest = x - low
    if rest != rest:
        return x
    if rest < 0.5 or (rest == 0.5 and math.floor(low * 0.5) * 2 == low):
        return low
    return low + 1
""",
    "gk_round_bf16": """
def gk_round_bf16(x):
    if x != x:
        return np.float32(x)
    bits = bits_of(np.float32(x))
    up = np.int32(np.int32(0x7FFF) + ((bits >> np.int32(16)) & np.int32(1)))
    return of_bits(np.int32(np.int32(bits + up) & np.int32(-65536)))
""",
    "gk_int_mod": """
def gk_int_mod(a, b):
    return a % b if b != 0 else a - a
""",
    "gk_int_floordiv": """
def gk_int_floordiv(a, b):
    return (a * b if b == -1 else a // b) if b != 0 else a - a
""",
    "gk_float_mod": """
def gk_float_mod(a, b):
    r = math.fmod(a, b)
    return r + b if r != 0 and (r < 0) != (b < 0) else r
""",
    "gk_float_floordiv": """
def gk_float_floordiv(a, b):
    if b == 0:
        return a / b
    r = math.fmod(a, b)
    q = (a - r) / b
    if r != 0 and (r < 0) != (b < 0):
        q = q - 1
    w = math.floor(q)
    return w + 1 if q - w > 0.5 else w
""",
    "gk_mulhi_u32": """
def gk_mulhi_u32(a, b):
    return np.uint32((np.uint64(a) * np.uint64(b)) >> np.uint64(32))
""",
    "gk_philox2x32": f"""
def gk_philox2x32(lo, hi, key):
    x = np.uint64(lo)
    y = np.uint64(hi)
    k = np.uint64(key)
    for _ in range({PHILOX_ROUNDS}):
        p = x * np.uint64({PHILOX_M})
        x = (p >> np.uint64(32)) ^ k ^ y
        y = p & np.uint64(0xFFFFFFFF)
        k = (k + np.uint64({PHILOX_W})) & np.uint64(0xFFFFFFFF)
    return np.uint32(x)
""",
}



def _cuda_saturating(dtype: str) -> str:
    """A device function from floats to integers: what the instruction does beyond the ends differs between types."""
    info = np.iinfo(dtype)
    return f"""
def gk_cast_{dtype}(x):
    if x != x:
        return np.{dtype}(0)
    if x <= {info.min}:
        return np.{dtype}({f"{info.min + 1} - 1" if info.min else 0})
    if x >= {info.max}:
        return np.{dtype}({info.max})
    return np.{dtype}(x)
"""


CUDA_HELPERS |= {f"gk_cast_{dtype}": _cuda_saturating(dtype) for dtype in (I8, U8, I16, U16, I32, U32, I64)}

TABLE: dict[str, Scalar] = {}


def _add(name: str, arity: int, rule: Rule, ref: Reference, cuda: str, cost: float, cuda_float: str = "") -> None:
    TABLE[name] = Scalar(name, arity, rule, _quiet(ref), cuda, cost, cuda_float)


_NUM, _FLT, _INT = _same(INTS + FLOATS), _same(FLOATS), _same(INTS)
_CMP, _BOOL, _U32 = _same(DTYPES, BOOL), _same((BOOL,)), _same((U32,))
_ORD = _same(INTS + FLOATS, BOOL)

_add("add", 2, _NUM, np.add, "({0} + {1})", 1)
_add("sub", 2, _NUM, np.subtract, "({0} - {1})", 1)
_add("mul", 2, _NUM, np.multiply, "({0} * {1})", 1)
_add("div", 2, _FLT, np.divide, "({0} / {1})", 6)
_add("floordiv", 2, _NUM, np.floor_divide, "gk_int_floordiv({0}, {1})", 20, "gk_float_floordiv({0}, {1})")
_add("mod", 2, _NUM, np.mod, "gk_int_mod({0}, {1})", 20, "gk_float_mod({0}, {1})")
_add("pow", 2, _FLT, np.power, "math.pow({0}, {1})", 60)
_add("neg", 1, _NUM, np.negative, "(-{0})", 1)
_add("abs", 1, _NUM, np.abs, "abs({0})", 1)
_add("sign", 1, _NUM, np.sign, "(1 if {0} > 0 else (-1 if {0} < 0 else {0}))", 3)
_add("max", 2, _NUM, np.maximum, "({0} if ({0} > {1} or {0} != {0}) else {1})", 2)
_add("min", 2, _NUM, np.minimum, "({0} if ({0} < {1} or {0} != {0}) else {1})", 2)
_add("square", 1, _NUM, np.square, "({0} * {0})", 1)
_add("sqrt", 1, _FLT, np.sqrt, "math.sqrt({0})", 8)
_add("rsqrt", 1, _FLT, _rsqrt, "(1 / math.sqrt({0}))", 14)
_add("exp", 1, _FLT, np.exp, "math.exp({0})", 16)
_add("expm1", 1, _FLT, np.expm1, "math.expm1({0})", 18)
_add("log", 1, _FLT, np.log, "math.log({0})", 22)
_add("log1p", 1, _FLT, np.log1p, "math.log1p({0})", 32)
_add("tanh", 1, _FLT, np.tanh, "math.tanh({0})", 34)
_add("sigmoid", 1, _FLT, _sigmoid, "(1 / (1 + math.exp(-{0})))", 26)
_add("erf", 1, _FLT, _erf, "math.erf({0})", 40)
_add("sin", 1, _FLT, np.sin, "math.sin({0})", 30)
_add("cos", 1, _FLT, np.cos, "math.cos({0})", 30)
_add("floor", 1, _FLT, np.floor, "math.floor({0})", 1)
_add("ceil", 1, _FLT, np.ceil, "math.ceil({0})", 1)
_add("round", 1, _FLT, np.rint, "gk_round({0})", 1)
_add("round_bf16", 1, _same((F32,)), _round_bf16, "gk_round_bf16({0})", 4)
_add("fma", 3, _FLT, _fma, "({0} * {1} + {2})", 2)
_add("eq", 2, _CMP, np.equal, "({0} == {1})", 1)
_add("ne", 2, _CMP, np.not_equal, "({0} != {1})", 1)
_add("lt", 2, _ORD, np.less, "({0} < {1})", 1)
_add("le", 2, _ORD, np.less_equal, "({0} <= {1})", 1)
_add("gt", 2, _ORD, np.greater, "({0} > {1})", 1)
_add("ge", 2, _ORD, np.greater_equal, "({0} >= {1})", 1)
_add("and", 2, _BOOL, np.logical_and, "({0} and {1})", 1)
_add("or", 2, _BOOL, np.logical_or, "({0} or {1})", 1)
_add("not", 1, _BOOL, np.logical_not, "(not {0})", 1)
_add("select", 3, _select_rule, np.where, "({1} if {0} else {2})", 1)
_add("is_nan", 1, _same(FLOATS, BOOL), np.isnan, "({0} != {0})", 1)
_add("is_inf", 1, _same(FLOATS, BOOL), np.isinf, "math.isinf({0})", 2)
_add("bit_and", 2, _INT, np.bitwise_and, "({0} & {1})", 1)
_add("bit_or", 2, _INT, np.bitwise_or, "({0} | {1})", 1)
_add("bit_xor", 2, _INT, np.bitwise_xor, "({0} ^ {1})", 1)
_add("shl", 2, _U32, _shl, "np.uint32({0} << {1})", 1)
_add("shr", 2, _U32, np.right_shift, "np.uint32({0} >> {1})", 1)
_add("mulhi_u32", 2, _U32, _mulhi, "gk_mulhi_u32({0}, {1})", 3)
_add("mullo_u32", 2, _U32, _mullo, "np.uint32({0} * {1})", 1)
_add("philox2x32", 3, _U32, philox2x32, "gk_philox2x32({0}, {1}, {2})", 45)
_add("u01", 1, _same((U32,), F32), _u01, "(np.float32({0} >> 8) * np.float32(2.0**-24))", 3)
for _dtype in DTYPES + NARROW:
    _cuda = "({0} != 0)" if _dtype == BOOL else f"np.{_dtype}({{0}})"
    _add(f"cast:{_dtype}", 1, _cast_rule(_dtype), _cast(_dtype), _cuda, 1,
         f"gk_cast_{_dtype}({{0}})" if f"gk_cast_{_dtype}" in CUDA_HELPERS else "")


def lookup(name: str) -> Scalar:
    """The entry called ``name``; KeyError lists what exists."""
    try:
        return TABLE[name]
    except KeyError:
        raise KeyError(f"no scalar intrinsic is called {name!r}; there are: {', '.join(TABLE)}.") from None


def dialect_name(name: str) -> str:
    """How the kernel dialect spells entry ``name``: ``s_exp``, ``to_f32``."""
    if name.startswith("cast:"):
        return "to_" + SHORT[name[5:]]
    return "s_" + name
