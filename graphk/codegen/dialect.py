"""The kernel dialect for Numba.

In goes a ``Target``; out comes the namespace of a kernel source (``namespace``) and, for functions of such a source,
their unoptimised LLVM module (``lower``). It always holds that this file, ``dialect_front`` and ``dialect_types``
alone import Numba, private names included, and that a dialect function lowers to one call of a ``gk.*`` symbol whose
body ``blocks`` supplies, so Numba only does what it is good at: Python's own operators, and lowering its IR.
"""

from __future__ import annotations

import ast
import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import callconv, cgutils, compiler, cpu, errors, lowering, types, typing
from numba.core import ir as numba_ir
from numba.core.compiler_lock import global_compiler_lock
from numba.core.imputils import builtin_registry
from numba.core.targetconfig import ConfigStack
from numba.core.typing import templates

from graphk.codegen import blocks, dialect_front, micro, native, scalars
from graphk.codegen.dialect_front import Typed
from graphk.codegen.dialect_types import Vec, numba_type, operand_of
from graphk.codegen.emitter import Operand, storage
from graphk.codegen.target import GROUP, Target

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
}
# Numba's are ten blocks and four variables each, the table's is one call.
_DIVISIONS: dict[Callable[..., Any], str] = {operator.floordiv: "s_floordiv", operator.mod: "s_mod"}
# What lowering raises for source outside the dialect.
ERRORS: tuple[type[Exception], ...] = (errors.NumbaError, NotImplementedError)
# int64 slots of one ``stack_i64()``.
STACK_SLOTS = 64
# Elements between two ``group_*`` buffers, so that columns of equal number do not meet in one set of the first cache.
SPREAD = 80
ARGUMENTS = (types.CPointer(types.int64), types.int64, types.int64)


class DialectFunction:
    """A name of the dialect at one vector width; never called, only typed and lowered."""

    def __init__(self, name: str, target: Target) -> None:
        self.name = name
        self.target = target

    def __call__(self, *args: Any) -> Any:
        raise RuntimeError(
            f"{self.name} was called from Python; compile the kernel, or run it under python_namespace(V)."
        )

    def type(self, args: tuple[types.Type, ...]) -> typing.Signature:
        """The signature for these operands; TypingError where the dialect has none."""
        return _block_signature(self.name, args, self.target.lanes)

    def emit(self, builder: ir.IRBuilder, kinds: tuple[types.Type, ...], args: list[ir.Value]) -> ir.Value | None:
        """One call of this function's symbol."""
        return _call_block(builder, self.name, self.target.lanes, kinds, args)


class Space(DialectFunction):
    """A stack buffer in the entry block, so it lives as long as the kernel's call."""

    def __init__(self, name: str, target: Target, dtype: str, count: int) -> None:
        super().__init__(name, target)
        self.dtype, self.count = dtype, count

    def type(self, args: tuple[types.Type, ...]) -> typing.Signature:
        """A pointer, of nothing."""
        if args:
            raise errors.TypingError(f"{self.name}: takes no operand, received {args}.")
        return typing.signature(numba_type(Operand(self.dtype, pointer=True)))

    def emit(self, builder: ir.IRBuilder, kinds: tuple[types.Type, ...], args: list[ir.Value]) -> ir.Value | None:
        """The buffer's address."""
        with builder.goto_entry_block():
            space = builder.alloca(ir.ArrayType(storage(self.dtype), self.count))
            space.align = 64
        return builder.bitcast(space, storage(self.dtype).as_pointer())


@functools.lru_cache(maxsize=4096)
def _block_signature(name: str, args: tuple[types.Type, ...], lanes: int) -> typing.Signature:
    try:
        result = blocks.resolve(name, tuple(operand_of(a, name) for a in args), lanes)
        return typing.signature(numba_type(result), *args)
    except TypeError as error:
        raise errors.TypingError(str(error)) from None


def _call_block(
    builder: ir.IRBuilder, name: str, lanes: int, kinds: tuple[types.Type, ...], args: list[ir.Value]
) -> ir.Value | None:
    symbol, kind = _block_symbol(name, lanes, kinds)
    function = builder.module.globals.get(symbol)
    if function is None:
        function = ir.Function(builder.module, kind, symbol)
    return builder.call(function, args)


@functools.lru_cache(maxsize=4096)
def _block_symbol(name: str, lanes: int, kinds: tuple[types.Type, ...]) -> tuple[str, ir.FunctionType]:
    operands = tuple(operand_of(k, name) for k in kinds)
    return blocks.symbol(name, operands, lanes), blocks.signature(name, operands, lanes)


@functools.lru_cache(maxsize=None)
def namespace(target: Target) -> dict[str, Any]:
    """What a kernel source for ``target`` may name."""
    out: dict[str, Any] = {"V": target.lanes, "GROUP": GROUP, **micro.constants(target)}
    out |= {name: DialectFunction(name, target) for name in blocks.BLOCKS}
    spaces = {f"tile_{scalars.SHORT[d]}": (d, math.prod(target.tile_shape(d))) for d in scalars.FLOATS}
    spaces |= {f"group_{short}": (dtype, GROUP + SPREAD) for short, dtype in scalars.LONG.items()}
    spaces["stack_i64"] = ("int64", STACK_SLOTS)
    out |= {name: Space(name, target, dtype, count) for name, (dtype, count) in spaces.items()}
    return out | {short: out[f"to_{short}"] for short in scalars.LONG}


def _lanes(kinds: tuple[types.Type, ...]) -> int:
    """Lanes of an operator's vectors; 0 where it has none and is Python's own."""
    return max((k.lanes for k in kinds if isinstance(k, Vec)), default=0)


def _block_name(function: Any, kinds: tuple[types.Type, ...]) -> str:
    """The table's function that an operator stands for; empty where it is Python's own."""
    if _lanes(kinds):
        return _OPERATORS.get(function, "")
    return _DIVISIONS.get(function, "") if kinds == (types.int64, types.int64) else ""


@functools.lru_cache(maxsize=4096)
def _signature(function: Any, args: tuple[types.Type, ...]) -> typing.Signature:
    """How a dialect function or one of Python's operators is called with such operands."""
    if isinstance(function, DialectFunction):
        return function.type(args)
    name = _block_name(function, args)
    if name:
        return _block_signature(name, args, max(_lanes(args), 1))
    typing_context, _ = _contexts()
    found = typing_context.resolve_function_type(typing_context.resolve_value_type(function), args, {})
    if found is None:
        raise errors.TypingError(f"{function.__name__} received {', '.join(map(str, args))}, which it does not take.")
    return found


@functools.lru_cache(maxsize=4096)
def _implementation(function: Any, args: tuple[types.Type, ...]) -> Any:
    """Numba's code for one of Python's operators."""
    typing_context, context = _contexts()
    return context.get_function(typing_context.resolve_value_type(function), _signature(function, args))


class _TypingContext(typing.BaseContext):
    """Only Numba's builtin typing: kernels use integers, ranges and pointers."""

    def load_additional_registries(self) -> None:
        self.install_registry(templates.builtin_registry)


class _Context(cpu.CPUContext):
    """Numba's CPU lowering on a code generator that stops at unoptimised LLVM."""

    def init(self) -> None:
        self.is32bit = False
        self._internal_codegen = native.Collector()

    @functools.cached_property
    def target_data(self) -> Any:
        return native.process_layout()

    def load_additional_registries(self) -> None:
        from numba.cpython import builtins, numbers  # noqa: F401

        self.install_registry(builtin_registry)


@functools.lru_cache(maxsize=None)
def _contexts() -> tuple[_TypingContext, _Context]:
    typing_context = _TypingContext()
    context = _Context(typing_context)
    context.error_model = callconv.create_error_model("numpy", context)  # integer division by zero gives 0
    typing_context.refresh()
    context.load_additional_registries()  # a refresh would type all of numpy, too
    return typing_context, context


class _Lower(lowering.Lower):
    """Numba's lowering, into plain C functions of one module: no environments, exceptions and reference counts."""

    def __init__(self, module: ir.Module, function: Typed) -> None:
        self.module, self.typed = module, function
        _, self.context = _contexts()
        self.varmap: dict[str, ir.Value] = {}
        self.values: dict[str, ir.Value] = {}
        word = ir.IntType(64)
        result = ir.VoidType() if function.result == types.none else word
        kind = ir.FunctionType(result, [word.as_pointer(), word, word])
        self.function = ir.Function(module, kind, function.name)
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.blkmap = {label: self.function.append_basic_block(f"B{label}") for label in function.blocks}

    def lower(self) -> None:
        entry = self.builder.block
        for label, block in self.typed.blocks.items():
            self.builder.position_at_end(self.blkmap[label])
            for statement in block.body:
                try:
                    self.lower_inst(statement)
                except ERRORS as error:
                    raise errors.LoweringError(f'{error}\nlowering "{statement}"', loc=statement.loc) from error
        self.builder.position_at_end(entry)
        self.builder.branch(self.blkmap[next(iter(self.typed.blocks))])

    def typeof(self, varname: str) -> types.Type:
        return self.typed.types[varname]

    def loadvar(self, name: str) -> ir.Value:
        value = self.values.get(name)
        return self.builder.load(self.varmap[name]) if value is None else value

    def storevar(self, value: ir.Value, name: str, argidx: int | None = None) -> None:
        if name in self.typed.once:
            self.values[name] = value
            return
        if name not in self.varmap:
            self.varmap[name] = cgutils.alloca_once(self.builder, value.type, name=name)
        self.builder.store(value, self.varmap[name])

    def lower_inst(self, inst: Any) -> None:
        match inst:
            case numba_ir.Assign():
                self.storevar(self.lower_assign(self.typeof(inst.target.name), inst), inst.target.name)
            case numba_ir.SetItem():
                self._operator(operator.setitem, inst, (inst.target, inst.index, inst.value))
            case numba_ir.Branch():
                self.builder.cbranch(self.loadvar(inst.cond.name), self.blkmap[inst.truebr], self.blkmap[inst.falsebr])
            case numba_ir.Jump():
                self.builder.branch(self.blkmap[inst.target])
            case numba_ir.Return() if self.typed.result == types.none:
                self.builder.ret_void()
            case numba_ir.Return():
                self.builder.ret(self.loadvar(inst.value.name))

    def lower_assign(self, ty: types.Type, inst: Any) -> ir.Value:
        match inst.value:
            case numba_ir.Arg(index=index):
                return self.function.args[index]
            case numba_ir.Const(value=value) if ty != types.none:
                return ir.Constant(self.context.get_value_type(ty), value)
            case numba_ir.Var(name=name):
                return self.loadvar(name)
        return super().lower_assign(ty, inst)

    def lower_expr(self, resty: types.Type, expr: Any) -> ir.Value:
        match expr.op:
            case "call":
                kinds = self.typed.calls[expr].args
                result = expr.func.emit(self.builder, kinds, [self.loadvar(a.name) for a in expr.args])
                return self.context.get_dummy_value() if resty == types.none else result
            case "getitem":
                return self._operator(operator.getitem, expr, (expr.value, expr.index))
            case "unary":
                return self._operator(expr.fn, expr, (expr.value,))
            case dialect_front.ADVANCE:
                return self.builder.add(self.loadvar(expr.lhs.name), self.loadvar(expr.rhs.name), flags=("nsw",))
        return self._operator(expr.fn, expr, (expr.lhs, expr.rhs))

    def _operator(self, function: Callable[..., Any], expr: Any, operands: Sequence[Any]) -> ir.Value:
        wanted = self.typed.calls[expr].args
        values = [self._cast_var(v, t) for v, t in zip(operands, wanted, strict=True)]
        name = _block_name(function, wanted)
        if name:
            return _call_block(self.builder, name, max(_lanes(wanted), 1), wanted, values)
        return _implementation(function, wanted)(self.builder, values)


@global_compiler_lock
def lower(functions: Sequence[ast.FunctionDef], target: Target) -> ir.Module:
    """An unoptimised module of C functions ``name(args, tid, nt)``."""
    module = ir.Module("kernel")
    names = namespace(target)
    _, context = _contexts()
    with ConfigStack().enter(compiler.Flags()), context.push_code_library(None):
        for tree in functions:
            result = types.int64 if returns_word(tree) else types.none
            _Lower(module, dialect_front.typed(tree, ARGUMENTS, result, names, _signature)).lower()
    return module


def returns_word(tree: ast.FunctionDef) -> bool:
    """Kernels return nothing; an entry annotated ``-> "i64"`` returns an int64 to its C caller."""
    return isinstance(tree.returns, ast.Constant) and tree.returns.value == "i64"
