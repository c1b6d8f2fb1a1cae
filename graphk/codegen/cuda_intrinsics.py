"""What CUDA kernels call besides numba.cuda and math: memory in pieces of four elements, the bits of a number.

In: pointers and indices.  Out: LLVM loads and stores of four elements at once, which become one access of up to 16
bytes.  What always holds: imported by `cuda_compile` alone, as it needs Numba; `graphk.codegen.cuda.PLAIN` are the
same functions in plain Python.
"""
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.cuda.extending import intrinsic

WIDEST = 16                       # bytes of one access


def _vector(context: Any, builder: Any, pointer_type: Any, pointer: Any, index: Any) -> tuple[Any, Any, int]:
    """The address of four elements as that of a vector, its type and its alignment."""
    element = context.get_data_type(pointer_type.dtype)
    vector = ir.VectorType(element, 4)
    place = builder.bitcast(builder.gep(pointer, [index]), vector.as_pointer())
    return place, vector, min(WIDEST, 4 * context.get_abi_sizeof(element))


@intrinsic
def load4(typingctx: Any, pointer: Any, index: Any) -> Any:
    """Four elements from `index` on, which must lie on a multiple of their bytes (or of 16, if that is less)."""
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place, _, align = _vector(context, builder, signature.args[0], *args)
        vector = builder.load(place, align=align)
        parts = [builder.extract_element(vector, ir.IntType(32)(k)) for k in range(4)]
        return context.make_tuple(builder, signature.return_type, parts)
    return types.UniTuple(pointer.dtype, 4)(pointer, types.int64), code


@intrinsic
def store4(typingctx: Any, pointer: Any, index: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """The counterpart of `load4`."""
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place, kind, align = _vector(context, builder, signature.args[0], *args[:2])
        vector: Any = ir.Constant(kind, ir.Undefined)
        for k, x in enumerate(args[2:]):
            vector = builder.insert_element(vector, x, ir.IntType(32)(k))
        builder.store(vector, place, align=align)
        return context.get_dummy_value()
    return types.void(pointer, types.int64, *[pointer.dtype] * 4), code


@intrinsic
def aligned(typingctx: Any, pointer: Any) -> Any:
    """Whether an address is a multiple of 16."""
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(64)
        return builder.icmp_unsigned("==", builder.and_(builder.ptrtoint(args[0], word), word(WIDEST - 1)), word(0))
    return types.boolean(pointer), code


@intrinsic
def pointer(typingctx: Any, array: Any) -> Any:
    """An array's first element: reads through it know no wrapped indices."""
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, args[0]).data
    return types.CPointer(array.dtype)(array), code


@intrinsic
def quotient(typingctx: Any, a: Any, b: Any) -> Any:
    """a // b of numbers that are not negative, without the cases that Python's division tells apart."""
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.udiv(*args)
    return types.int64(types.int64, types.int64), code


@intrinsic
def choose(typingctx: Any, flag: Any, a: Any, b: Any) -> Any:
    """a if flag else b, both being computed: no branch."""
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(*args)
    return a(types.boolean, a, a), code


@intrinsic
def bits_of(typingctx: Any, x: Any) -> Any:
    """The bits of a float32."""
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))
    return types.int32(types.float32), code


@intrinsic
def of_bits(typingctx: Any, bits: Any) -> Any:
    """The float32 that has these bits."""
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())
    return types.float32(types.int32), code


NAMES: dict[str, Any] = {"choose": choose, "bits_of": bits_of, "of_bits": of_bits, "quotient": quotient,
                         "pointer": pointer, "load4": load4, "store4": store4, "aligned": aligned}
