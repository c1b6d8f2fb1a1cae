"""The values of the kernel dialect as Numba types.

In goes an ``Operand`` (dtype, lanes, pointer); out comes its Numba type, and back. It always holds that memory and
value agree but for bool, a byte in memory, and that Numba knows how to load and store what is pointed at.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

from llvmlite import ir
from numba.core import errors, types, typing
from numba.core.datamodel import models, register_default
from numba.core.imputils import lower_builtin
from numba.core.typing import templates

from graphk.codegen.emitter import LLVM_TYPES, Operand, storage, typed


class Half(types.Type):
    """float16: Numba has it for GPUs only."""

    def __init__(self) -> None:
        super().__init__(name="Half")


HALF = Half()


@register_default(Half)
class _HalfModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Half) -> None:
        super().__init__(dmm, fe_type, LLVM_TYPES["float16"])


SCALARS: dict[str, types.Type] = {
    "bool": types.boolean,
    "int32": types.int32,
    "int64": types.int64,
    "uint32": types.uint32,
    "float32": types.float32,
    "float64": types.float64,
    "float16": HALF,
    "int8": types.int8,
    "uint8": types.uint8,
    "int16": types.int16,
    "uint16": types.uint16,
}
_DTYPES: dict[types.Type, str] = {kind: dtype for dtype, kind in SCALARS.items()}


class Vec(types.Type):
    """``lanes`` values of ``dtype`` in one LLVM vector."""

    def __init__(self, dtype: str, lanes: int) -> None:
        self.dtype = dtype
        self.lanes = lanes
        super().__init__(name=f"Vec({dtype}, {lanes})")


@register_default(Vec)
class _VecModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vec) -> None:
        super().__init__(dmm, fe_type, typed(LLVM_TYPES[fe_type.dtype], fe_type.lanes))


class BoolPtr(types.Type):
    """Pointer to bytes read and written as bool (Numba's own pointers do not convert)."""

    def __init__(self) -> None:
        super().__init__(name="BoolPtr")


BOOL_PTR = BoolPtr()


@register_default(BoolPtr)
class _BoolPtrModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: BoolPtr) -> None:
        super().__init__(dmm, fe_type, storage("bool").as_pointer())


@templates.infer_global(operator.getitem)
class _BoolGet(templates.AbstractTemplate):
    key = operator.getitem

    def generic(self, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        if args[0] == BOOL_PTR and isinstance(args[1], types.Integer):
            return typing.signature(types.boolean, BOOL_PTR, types.int64)
        return None


@templates.infer_global(operator.setitem)
class _BoolSet(templates.AbstractTemplate):
    key = operator.setitem

    def generic(self, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        if args[0] == BOOL_PTR and isinstance(args[1], types.Integer):
            return typing.signature(types.none, BOOL_PTR, types.int64, types.boolean)
        return None


@lower_builtin(operator.getitem, BoolPtr, types.Integer)
def _bool_get(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
    byte = builder.load(builder.gep(args[0], [args[1]]))
    return builder.icmp_unsigned("!=", byte, byte.type(0))


@lower_builtin(operator.setitem, BoolPtr, types.Integer, types.Boolean)
def _bool_set(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
    builder.store(builder.zext(args[2], storage("bool")), builder.gep(args[0], [args[1]]))
    return context.get_dummy_value()


@functools.lru_cache(maxsize=None)
def _vec(dtype: str, lanes: int) -> Vec:
    return Vec(dtype, lanes)


def operand_of(kind: types.Type, name: str) -> Operand:
    if isinstance(kind, Vec):
        return Operand(kind.dtype, kind.lanes)
    if kind == BOOL_PTR:
        return Operand("bool", pointer=True)
    plain = types.unliteral(kind)
    if isinstance(plain, types.CPointer) and plain.dtype in _DTYPES:
        return Operand(_DTYPES[plain.dtype], pointer=True)
    if plain in _DTYPES:
        return Operand(_DTYPES[plain])
    raise errors.TypingError(
        f"{name}: received a value of type {kind}, which the kernel dialect does not have; "
        f"expected {', '.join(SCALARS)}, a vector or a pointer of those. Cast it with to_<dtype>."
    )


def numba_type(result: Operand | None) -> types.Type:
    if result is None:
        return types.none
    if result.pointer:
        if result.dtype == "bool":
            return BOOL_PTR
        return types.CPointer(SCALARS[result.dtype])
    return SCALARS[result.dtype] if result.lanes == 1 else _vec(result.dtype, result.lanes)
