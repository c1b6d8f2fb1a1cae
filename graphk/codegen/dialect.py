"""The kernel dialect as Numba types and functions.

In goes a ``Target``; out comes the namespace a kernel source is executed in (``namespace``) and, for a Python
function of that namespace, its unoptimised LLVM module (``lower``). It always holds that this is the only file
that imports Numba, private names included, and that a dialect function lowers to one call of a ``gk.*`` symbol
whose body ``blocks`` supplies, so Numba only does what it is good at: typing and control flow.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from types import FunctionType
from typing import Any

from llvmlite import ir
from numba.core import compiler, cpu, errors, typed_passes, types, typing, untyped_passes
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import PassManager
from numba.core.datamodel import models, register_default
from numba.core.imputils import builtin_registry, lower_builtin
from numba.core.typing import templates
from numba.extending import typeof_impl

from graphk.codegen import blocks, micro, scalars
from graphk.codegen.emitter import LLVM_TYPES, Operand, storage, typed
from graphk.codegen.target import Target

_SCALARS: dict[str, types.Type] = {
    "bool": types.boolean,
    "int32": types.int32,
    "int64": types.int64,
    "uint32": types.uint32,
    "float32": types.float32,
    "float64": types.float64,
}
_DTYPES: dict[types.Type, str] = {numba_type: dtype for dtype, numba_type in _SCALARS.items()}
_OPERATORS: dict[Callable[..., Any], str] = {
    operator.add: "s_add",
    operator.sub: "s_sub",
    operator.mul: "s_mul",
    operator.truediv: "s_div",
    operator.lt: "s_lt",
    operator.le: "s_le",
    operator.gt: "s_gt",
    operator.ge: "s_ge",
    operator.eq: "s_eq",
    operator.ne: "s_ne",
    operator.and_: "s_and",
    operator.or_: "s_or",
    operator.xor: "s_ne",
    operator.neg: "s_neg",
    operator.invert: "s_not",
    operator.iadd: "s_add",
    operator.isub: "s_sub",
    operator.imul: "s_mul",
    operator.itruediv: "s_div",
}
# What lowering raises for source outside the dialect.
ERRORS: tuple[type[Exception], ...] = (errors.NumbaError, NotImplementedError)
# int64 slots of one ``stack_i64()``.
STACK_SLOTS = 64
SIGNATURE = (types.CPointer(types.int64), types.int64, types.int64)


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


class DialectFunction:
    """A name of the dialect at one vector width; never called, only typed and lowered."""

    def __init__(self, name: str, target: Target) -> None:
        self.name = name
        self.target = target
        self.__name__ = name

    def __call__(self, *args: Any) -> Any:
        raise RuntimeError(
            f"{self.name} was called from Python; compile the kernel, or run it under python_namespace(V)."
        )


@functools.lru_cache(maxsize=None)
def _vec(dtype: str, lanes: int) -> Vec:
    return Vec(dtype, lanes)


def _operand(numba_type: types.Type, name: str) -> Operand:
    if isinstance(numba_type, Vec):
        return Operand(numba_type.dtype, numba_type.lanes)
    if numba_type == BOOL_PTR:
        return Operand("bool", pointer=True)
    plain = types.unliteral(numba_type)
    if isinstance(plain, types.CPointer) and plain.dtype in _DTYPES:
        return Operand(_DTYPES[plain.dtype], pointer=True)
    if plain in _DTYPES:
        return Operand(_DTYPES[plain])
    raise errors.TypingError(
        f"{name}: received a value of type {numba_type}, which the kernel dialect does not have; "
        f"expected {', '.join(_SCALARS)}, a vector or a pointer of those. Cast it with to_<dtype>."
    )


def _numba_type(result: Operand | None) -> types.Type:
    if result is None:
        return types.none
    if result.pointer:
        if result.dtype == "bool":
            return BOOL_PTR
        return types.CPointer(_SCALARS[result.dtype])
    return _SCALARS[result.dtype] if result.lanes == 1 else _vec(result.dtype, result.lanes)


def _resolve(name: str, operands: tuple[Operand, ...], lanes: int) -> types.Type:
    try:
        return _numba_type(blocks.resolve(name, operands, lanes))
    except TypeError as error:
        raise errors.TypingError(str(error)) from None


def _emit_call(
    context: Any, builder: ir.IRBuilder, name: str, lanes: int, operands: tuple[Operand, ...], args: Any
) -> ir.Value:
    symbol = blocks.symbol(name, operands, lanes)
    function = builder.module.globals.get(symbol)
    if function is None:
        function = ir.Function(builder.module, blocks.signature(name, operands, lanes), symbol)
    result = builder.call(function, args)
    return context.get_dummy_value() if isinstance(function.ftype.return_type, ir.VoidType) else result


def _typing_template(name: str, lanes: int) -> Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]:
    def generic(self: Any, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        if kws:
            raise errors.TypingError(f"{name}: keyword arguments {sorted(kws)} received; pass operands by position.")
        operands = tuple(_operand(a, name) for a in args)
        return typing.signature(_resolve(name, operands, lanes), *(types.unliteral(a) for a in args))

    return generic


def _publish(function: DialectFunction, template: type) -> None:
    templates.builtin_registry.register(template)
    templates.builtin_registry.register_global(function, types.Function(template))


def _register(function: DialectFunction) -> None:
    name, lanes = function.name, function.target.lanes
    body = {"key": function, "generic": _typing_template(name, lanes)}
    template = type(f"Typing_{name}", (templates.AbstractTemplate,), body)
    _publish(function, template)

    @lower_builtin(function, types.VarArg(types.Any))
    def lower(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        operands = tuple(_operand(a, name) for a in sig.args)
        return _emit_call(context, builder, name, lanes, operands, args)


def _register_space(function: DialectFunction, dtype: str, count: int) -> None:
    """A stack buffer in the entry block, so it lives as long as the kernel's call."""
    pointer = types.CPointer(_SCALARS[dtype])

    def generic(self: Any, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        if args or kws:
            raise errors.TypingError(f"{function.name}: takes no operand, received {args}.")
        return typing.signature(pointer)

    template = type("Typing_space", (templates.AbstractTemplate,), {"key": function, "generic": generic})
    _publish(function, template)

    @lower_builtin(function)
    def lower(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        with builder.goto_entry_block():
            space = builder.alloca(ir.ArrayType(storage(dtype), count))
            space.align = 64
        return builder.bitcast(space, storage(dtype).as_pointer())


def _register_operator(function: Callable[..., Any], name: str) -> None:
    def generic(self: Any, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        lanes = max((a.lanes for a in args if isinstance(a, Vec)), default=0)
        if not lanes:
            return None
        operands = tuple(_operand(a, name) for a in args)
        return typing.signature(_resolve(name, operands, lanes), *(types.unliteral(a) for a in args))

    template = type("Typing_operator", (templates.AbstractTemplate,), {"key": function, "generic": generic})
    templates.infer_global(function)(template)

    def lower(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        operands = tuple(_operand(a, name) for a in sig.args)
        return _emit_call(context, builder, name, max(o.lanes for o in operands), operands, args)

    arity = scalars.lookup(name[2:]).arity
    patterns = [(Vec,)] if arity == 1 else [(Vec, Vec), (Vec, types.Any), (types.Any, Vec)]
    for pattern in patterns:
        lower_builtin(function, *pattern)(lower)


for _function, _name in _OPERATORS.items():
    _register_operator(_function, _name)


@typeof_impl.register(DialectFunction)
def _typeof_dialect(value: DialectFunction, context: Any) -> types.Type | None:
    """Dialect functions are found among the typing context's globals, not by value."""
    return None


@functools.lru_cache(maxsize=None)
def namespace(target: Target) -> dict[str, Any]:
    """Globals of a kernel source for ``target``; copy before use."""
    out: dict[str, Any] = {"V": target.lanes, **micro.constants(target)}
    for name in blocks.BLOCKS:
        out[name] = DialectFunction(name, target)
        _register(out[name])
    spaces = {f"tile_{scalars.SHORT[d]}": (d, math.prod(target.tile_shape(d))) for d in scalars.FLOATS}
    spaces["stack_i64"] = ("int64", STACK_SLOTS)
    for name, (dtype, count) in spaces.items():
        out[name] = DialectFunction(name, target)
        _register_space(out[name], dtype, count)
    for short in scalars.LONG:
        if short != "bool":
            out[short] = out[f"to_{short}"]
    return out


class _TypingContext(typing.BaseContext):
    """Only Numba's builtin typing: kernels use integers, ranges and pointers."""

    def load_additional_registries(self) -> None:
        self.install_registry(templates.builtin_registry)


class _Library:
    """Collects the module Numba lowers to, without optimising it or giving it to an engine."""

    def __init__(self, codegen: _Codegen, name: str) -> None:
        self.codegen = codegen
        self.name = name
        self.modules: list[ir.Module] = []
        self.recorded_timings: list[Any] = []
        self._reload_init: set[Any] = set()

    def create_ir_module(self, name: str) -> ir.Module:
        return self.codegen._create_empty_module(name)

    def add_ir_module(self, module: ir.Module) -> None:
        self.modules.append(module)

    def add_linking_library(self, library: Any) -> None:
        raise RuntimeError(
            f"kernel {self.name} needs the Numba library {library}; use only the names of the kernel dialect."
        )

    def enable_object_caching(self) -> None:
        return None

    def finalize(self) -> None:
        return None


class _Codegen:
    """The part of Numba's code generator interface that lowering touches."""

    def __init__(self, triple: str, layout: str) -> None:
        self.triple = triple
        self.layout = layout

    def _create_empty_module(self, name: str) -> ir.Module:
        module = ir.Module(name)
        module.triple = self.triple
        module.data_layout = self.layout
        return module

    def create_library(self, name: str, **_: Any) -> _Library:
        return _Library(self, name)


class _Context(cpu.CPUContext):
    """Numba's CPU lowering on a code generator that stops at unoptimised LLVM."""

    def init(self) -> None:
        import llvmlite.binding as llvm

        self.is32bit = False
        self._internal_codegen = _Codegen(llvm.get_process_triple(), "")

    @functools.cached_property
    def target_data(self) -> Any:
        import llvmlite.binding as llvm

        return llvm.create_target_data(str(_machine_layout()))

    def load_additional_registries(self) -> None:
        from numba.cpython import builtins, numbers, rangeobj, tupleobj  # noqa: F401

        self.install_registry(builtin_registry)

    def post_lowering(self, mod: Any, library: Any) -> None:
        return None

    def get_executable(self, library: Any, fndesc: Any, env: Any) -> None:
        return None


@functools.lru_cache(maxsize=None)
def _machine_layout() -> str:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    machine = llvm.Target.from_default_triple().create_target_machine()
    return str(machine.target_data)


@functools.lru_cache(maxsize=None)
def _contexts() -> tuple[_TypingContext, _Context]:
    typing_context = _TypingContext()
    return typing_context, _Context(typing_context, "cpu")


class _Compiler(compiler.CompilerBase):
    """The passes a flat, single-typed kernel needs: no closures, overload inlining, SSA or rewrites."""

    def define_pipelines(self) -> list[Any]:
        manager = PassManager("kernel")
        for step in (
            untyped_passes.TranslateByteCode,
            untyped_passes.FixupArgs,
            untyped_passes.IRProcessing,
            typed_passes.NopythonTypeInference,
            typed_passes.IRLegalization,
            typed_passes.NativeLowering,
            typed_passes.NoPythonBackend,
        ):
            manager.add_pass(step, step.__name__)
        manager.finalize()
        return [manager]


def _flags() -> Any:
    flags = compiler.Flags()
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.error_model = "numpy"
    return flags


def _result_type(function: FunctionType) -> types.Type:
    """Kernels return nothing; an entry annotated ``-> "i64"`` returns an int64 to its C caller."""
    return types.int64 if function.__annotations__.get("return") == "i64" else types.none


@global_compiler_lock
def lower(function: FunctionType) -> tuple[ir.Module, str]:
    """(unoptimised module, symbol of the function in Numba's calling convention)."""
    typing_context, context = _contexts()
    typing_context.refresh()
    context.refresh()
    library = context.codegen().create_library(function.__name__)
    result = compiler.compile_extra(
        typing_context, context, function, SIGNATURE, _result_type(function), _flags(), {}, library, _Compiler
    )
    (module,) = library.modules
    return module, result.fndesc.llvm_func_name
