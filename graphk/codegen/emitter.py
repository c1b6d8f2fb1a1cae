"""A thin layer over llvmlite's builder for code that is the same for a scalar and a vector.

In goes an ``IRBuilder`` and a lane count; out come LLVM values. It always holds that a method given the same
operands emits the same operations for one lane as for sixteen, which is what makes a scalar loop tail give the
same bits as a vector lane. Only ``contract`` is ever set as a fast-math flag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from graphk.codegen.scalars import BOOL, F16, F32, F64, I8, I16, I32, I64, LONG, SHORT, U8, U16, U32

CONTRACT = ("contract",)
I1, I8T, I16T, I32T, I64T, F16T, F32T, F64T = (
    ir.IntType(1),
    ir.IntType(8),
    ir.IntType(16),
    ir.IntType(32),
    ir.IntType(64),
    ir.HalfType(),
    ir.FloatType(),
    ir.DoubleType(),
)
LLVM_TYPES: dict[str, ir.Type] = {BOOL: I1, I32: I32T, I64: I64T, U32: I32T, F32: F32T, F64: F64T,
                                 F16: F16T, I8: I8T, U8: I8T, I16: I16T, U16: I16T}
_SUFFIX = {id(F32T): "f32", id(F64T): "f64", id(I32T): "i32", id(I64T): "i64", id(I1): "i1"}


@dataclass(frozen=True, slots=True)
class Operand:
    """What a dialect function receives: a scalar (lanes 1), a vector, or a pointer."""

    dtype: str
    lanes: int = 1
    pointer: bool = False

    def code(self) -> str:
        """Spelling in a symbol: ``f32``, ``f32x8``, ``pf32``."""
        if self.pointer:
            return "p" + SHORT[self.dtype]
        return SHORT[self.dtype] + (f"x{self.lanes}" if self.lanes > 1 else "")

    @staticmethod
    def parse(code: str) -> Operand:
        """Inverse of ``code``."""
        if code.startswith("p"):
            return Operand(LONG[code[1:]], pointer=True)
        name, _, lanes = code.partition("x")
        return Operand(LONG[name], int(lanes or 1))

    def llvm(self) -> ir.Type:
        """The LLVM type a value of this kind has as an argument."""
        if self.pointer:
            return storage(self.dtype).as_pointer()
        return typed(LLVM_TYPES[self.dtype], self.lanes)


def storage(dtype: str) -> ir.Type:
    """Type of one element in memory (bool takes a byte)."""
    return I8T if dtype == BOOL else LLVM_TYPES[dtype]


def typed(element: ir.Type, lanes: int) -> ir.Type:
    """``element`` itself for one lane, else the vector type."""
    return element if lanes == 1 else ir.VectorType(element, lanes)


class Emitter:
    """Lane-count independent operations; ``b`` is the builder, ``n`` the lanes."""

    def __init__(self, builder: ir.IRBuilder, lanes: int) -> None:
        self.b = builder
        self.n = lanes

    def type(self, element: ir.Type) -> ir.Type:
        """``element`` at this lane count."""
        return typed(element, self.n)

    def const(self, element: ir.Type, value: float | int) -> ir.Value:
        """The constant in every lane."""
        if self.n == 1:
            return ir.Constant(element, value)
        return ir.Constant(ir.VectorType(element, self.n), [ir.Constant(element, value)] * self.n)

    def f(self, value: float) -> ir.Value:
        """float32 constant."""
        return self.const(F32T, value)

    def d(self, value: float) -> ir.Value:
        """float64 constant."""
        return self.const(F64T, value)

    def i(self, value: int) -> ir.Value:
        """32-bit constant."""
        return self.const(I32T, value)

    def add(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Float addition, contractible."""
        return self.b.fadd(a, b, flags=CONTRACT)

    def sub(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Float subtraction, contractible."""
        return self.b.fsub(a, b, flags=CONTRACT)

    def exact_sub(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Float subtraction that must round on its own."""
        return self.b.fsub(a, b)

    def exact_add(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Float addition that must round on its own."""
        return self.b.fadd(a, b)

    def mul(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Float multiplication, contractible."""
        return self.b.fmul(a, b, flags=CONTRACT)

    def div(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """IEEE division."""
        return self.b.fdiv(a, b)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a*b+c, fused where the machine has the instruction (never a library call)."""
        return self.intrinsic("fmuladd", a, b, c)

    def poly(self, x: ir.Value, coefficients: Sequence[float], element: ir.Type = F32T) -> ir.Value:
        """Horner, highest power first."""
        acc = self.const(element, coefficients[0])
        for c in coefficients[1:]:
            acc = self.fma(acc, x, self.const(element, c))
        return acc

    def intrinsic(self, name: str, *args: ir.Value) -> ir.Value:
        """Call ``llvm.<name>`` overloaded on the first operand's type."""
        vtype = args[0].type
        element = vtype.element if isinstance(vtype, ir.VectorType) else vtype
        suffix = (f"v{vtype.count}" if isinstance(vtype, ir.VectorType) else "") + _SUFFIX[id(element)]
        return self.call(f"llvm.{name}.{suffix}", vtype, *args)

    def call(self, symbol: str, result: ir.Type, *args: ir.Value) -> ir.Value:
        """Call an external symbol, declaring it on first use."""
        module = self.b.module
        function = module.globals.get(symbol)
        if function is None:
            function = ir.Function(module, ir.FunctionType(result, [a.type for a in args]), symbol)
        return self.b.call(function, list(args))

    def abs(self, x: ir.Value) -> ir.Value:
        """Float magnitude."""
        return self.intrinsic("fabs", x)

    def copysign(self, x: ir.Value, sign: ir.Value) -> ir.Value:
        """Magnitude of x, sign of ``sign``."""
        return self.intrinsic("copysign", x, sign)

    def select(self, c: ir.Value, a: ir.Value, b: ir.Value) -> ir.Value:
        """Lane-wise choice."""
        return self.b.select(c, a, b)

    def lt(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Ordered a < b."""
        return self.b.fcmp_ordered("<", a, b)

    def gt(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Ordered a > b."""
        return self.b.fcmp_ordered(">", a, b)

    def eq(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Ordered a == b."""
        return self.b.fcmp_ordered("==", a, b)

    def is_nan(self, a: ir.Value) -> ir.Value:
        """NaN lanes."""
        return self.b.fcmp_unordered("uno", a, a)

    def bits(self, x: ir.Value, element: ir.Type = I32T) -> ir.Value:
        """Reinterpret at the same width."""
        return self.b.bitcast(x, self.type(element))

    def splat(self, x: ir.Value) -> ir.Value:
        """Scalar to every lane."""
        if self.n == 1:
            return x
        vector = ir.VectorType(x.type, self.n)
        first = self.b.insert_element(ir.Constant(vector, ir.Undefined), x, I32T(0))
        mask = ir.Constant(ir.VectorType(I32T, self.n), [I32T(0)] * self.n)
        return self.b.shuffle_vector(first, ir.Constant(vector, ir.Undefined), mask)

    def per_lane(self, fn: object, *args: ir.Value) -> ir.Value:
        """Apply a scalar emission function to each lane (for library calls)."""
        assert callable(fn)
        if self.n == 1:
            return fn(*args)
        out: ir.Value | None = None
        for lane in range(self.n):
            value = fn(*(self.b.extract_element(a, I32T(lane)) for a in args))
            if out is None:
                out = ir.Constant(ir.VectorType(value.type, self.n), ir.Undefined)
            out = self.b.insert_element(out, value, I32T(lane))
        return out
