"""The kernel dialect as Numba functions.

In goes a ``Target``; out comes the namespace a kernel source is executed in (``namespace``) and, for a Python
function of that namespace, its unoptimised LLVM module (``lower``). It always holds that this file and
``dialect_types`` alone import Numba, private names included, and that a dialect function lowers to one call of a
``gk.*`` symbol whose body ``blocks`` supplies, so Numba only does what it is good at: typing and control flow.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from types import FunctionType
from typing import Any

from llvmlite import ir
from numba.core import cgutils, compiler, cpu, errors, interpreter, lowering, typed_passes, typeinfer, types, typing
from numba.core import ir as numba_ir
from numba.core.compiler_lock import global_compiler_lock
from numba.core.imputils import builtin_registry, lower_builtin
from numba.core.targetconfig import ConfigStack
from numba.core.typing import templates
from numba.extending import typeof_impl

from graphk.codegen import blocks, micro, native, scalars
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
    operator.iadd: "s_add",
    operator.isub: "s_sub",
    operator.imul: "s_mul",
    operator.itruediv: "s_div",
}
# What lowering raises for source outside the dialect.
ERRORS: tuple[type[Exception], ...] = (errors.NumbaError, NotImplementedError)
# int64 slots of one ``stack_i64()``.
STACK_SLOTS = 64
# Elements between two ``group_*`` buffers, so that columns of equal number do not meet in one set of the first cache.
SPREAD = 80
SIGNATURE = (types.CPointer(types.int64), types.int64, types.int64)


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


def _resolve(name: str, operands: tuple[Operand, ...], lanes: int) -> types.Type:
    try:
        return numba_type(blocks.resolve(name, operands, lanes))
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
        operands = tuple(operand_of(a, name) for a in args)
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
        operands = tuple(operand_of(a, name) for a in sig.args)
        return _emit_call(context, builder, name, lanes, operands, args)


def _register_space(function: DialectFunction, dtype: str, count: int) -> None:
    """A stack buffer in the entry block, so it lives as long as the kernel's call."""
    pointer = numba_type(Operand(dtype, pointer=True))

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
        operands = tuple(operand_of(a, name) for a in args)
        return typing.signature(_resolve(name, operands, lanes), *(types.unliteral(a) for a in args))

    template = type("Typing_operator", (templates.AbstractTemplate,), {"key": function, "generic": generic})
    templates.infer_global(function)(template)

    def lower(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        operands = tuple(operand_of(a, name) for a in sig.args)
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
    out: dict[str, Any] = {"V": target.lanes, "GROUP": GROUP, **micro.constants(target)}
    for name in blocks.BLOCKS:
        out[name] = DialectFunction(name, target)
        _register(out[name])
    spaces = {f"tile_{scalars.SHORT[d]}": (d, math.prod(target.tile_shape(d))) for d in scalars.FLOATS}
    spaces |= {f"group_{short}": (dtype, GROUP + SPREAD) for short, dtype in scalars.LONG.items()}
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

    def __init__(self) -> None:
        self._known: dict[tuple[Any, tuple[types.Type, ...]], Any] = {}
        self._told = -1
        super().__init__()

    def load_additional_registries(self) -> None:
        self.install_registry(templates.builtin_registry)

    def refresh(self) -> None:
        if self._told != namespace.cache_info().currsize:
            self._told = namespace.cache_info().currsize
            super().refresh()

    def resolve_function_type(self, func: Any, args: tuple[types.Type, ...], kws: dict[str, Any]) -> Any:
        """Remembered per operand types: Numba tries every template in turn, at each call site and more than once."""
        if kws:
            return super().resolve_function_type(func, args, kws)
        key = (func, tuple(args))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = super().resolve_function_type(func, args, kws)
        return found


class _Context(cpu.CPUContext):
    """Numba's CPU lowering on a code generator that stops at unoptimised LLVM."""

    def __init__(self, typing_context: _TypingContext) -> None:
        self._told = -1
        super().__init__(typing_context, "cpu")

    def refresh(self) -> None:
        """Numba asks before every function; the registries only change when ``namespace`` makes names."""
        if self._told != namespace.cache_info().currsize:
            self._told = namespace.cache_info().currsize
            super().refresh()

    def init(self) -> None:
        self.is32bit = False
        self._internal_codegen = native.Collector()

    @functools.cached_property
    def target_data(self) -> Any:
        return native.process_layout()

    def load_additional_registries(self) -> None:
        from numba.cpython import builtins, numbers, rangeobj, tupleobj  # noqa: F401

        self.install_registry(builtin_registry)

    def post_lowering(self, mod: Any, library: Any) -> None:
        return None

    def get_executable(self, library: Any, fndesc: Any, env: Any) -> None:
        return None


@functools.lru_cache(maxsize=None)
def _contexts() -> tuple[_TypingContext, _Context]:
    typing_context = _TypingContext()
    return typing_context, _Context(typing_context)


class _Network(typeinfer.ConstraintNetwork):
    """Type constraints; a call is resolved again only where the type of one of its operands has changed."""

    def propagate(self, infer: Any) -> list[Exception]:
        found: list[Exception] = []
        vars_ = infer.typevars
        for constraint in self.constraints:
            if isinstance(constraint, typeinfer.CallConstraint):
                seen = tuple(vars_[a.name].type for a in constraint.args)
                if constraint.signature is not None and seen == constraint.seen:
                    continue
                constraint.seen = seen
            try:
                constraint(infer)
            except errors.TypingError as error:
                found.append(errors.TypingError(str(error), loc=constraint.loc, highlighting=False))
        return found


class _Interpreter(interpreter.Interpreter):
    """Bytecode to Numba's IR without the clean-ups for ``with``, starred calls and dicts, which kernels have not."""

    def post_process(self, peepholes: list[Any], func_ir: Any) -> Any:
        return func_ir


class _Lower(lowering.Lower):
    """Numba's lowering without its texts for debugging, which it makes for every instruction, needed or not."""

    def alloca_lltype(self, name: str, lltype: ir.Type, datamodel: Any = None) -> ir.Value:
        return cgutils.alloca_once(self.builder, lltype, name=name)

    def storevar(self, value: ir.Value, name: str, argidx: int | None = None) -> None:
        """Without reading the old value first, which only reference counts need."""
        self._alloca_var(name, self.typeof(name))
        if name in self._singly_assigned_vars:
            self._blk_local_varmap[name] = value
        else:
            self.builder.store(value, self.getvar(name))

    def lower_block(self, block: Any) -> None:
        self.pre_block(block)
        for inst in block.body:
            self.loc = inst.loc
            try:
                self.lower_inst(inst)
            except ERRORS as error:
                raise errors.LoweringError(f'{error}\nlowering "{inst}"', loc=inst.loc) from error
        self.post_block(block)

    def lower_inst(self, inst: Any) -> None:
        if isinstance(inst, numba_ir.Assign):
            self.storevar(self.lower_assign(self.typeof(inst.target.name), inst), inst.target.name)
        else:
            super().lower_inst(inst)

    def lower_assign(self, ty: types.Type, inst: Any) -> ir.Value:
        if isinstance(ty, types.Function):
            return self.context.get_dummy_value()
        return super().lower_assign(ty, inst)

    def lower_binop(self, resty: types.Type, expr: Any, op: Any) -> ir.Value:
        """Without the three attempts at constant operands, which no operator of the dialect has."""
        wanted = self.fndesc.calltypes[expr]
        known = self.context.typing_context
        function = known.resolve_value_type(op)
        args = [self._cast_var(v, t) for v, t in zip((expr.lhs, expr.rhs), wanted.args, strict=True)]
        signature = known.resolve_function_type(function, wanted.args, {})
        result = self.context.get_function(function, signature)(self.builder, args)
        return self.context.cast(self.builder, result, wanted.return_type, resty)

    def lower_call(self, resty: types.Type, expr: Any) -> ir.Value:
        """Calls of dialect functions go straight to their symbol; what else can be called is Numba's."""
        function = self.typeof(expr.func.name)
        name = getattr(function, "typing_key", None)
        if not isinstance(name, DialectFunction) or name.name not in blocks.BLOCKS or expr.vararg:
            return super().lower_call(resty, expr)
        signature = self.fndesc.calltypes[expr]
        operands = tuple(operand_of(a, name.name) for a in signature.args)
        args = [self._cast_var(v, t) for v, t in zip(expr.args, signature.args, strict=True)]
        result = _emit_call(self.context, self.builder, name.name, name.target.lanes, operands, args)
        return self.context.cast(self.builder, result, signature.return_type, resty)


class _Lowering(typed_passes.BaseNativeLowering):
    _name = "kernel_lowering"

    @property
    def lowering_class(self) -> type[_Lower]:
        return _Lower


def _infer_types(state: Any) -> None:
    """Numba's type inference stage with ``_Network``."""
    infer = typeinfer.TypeInferer(state.typingctx, state.func_ir, errors.WarningsFixer(errors.NumbaWarning))
    infer.constraints = _Network()
    with state.typingctx.callstack.register(state.targetctx.target, infer, state.func_id, state.args):
        for index, (name, kind) in enumerate(zip(infer.func_ir.arg_names, state.args, strict=True)):
            infer.seed_argument(name, index, kind)
        infer.seed_return(state.return_type)
        infer.build_constraint()
        infer.propagate()
        state.typemap, state.return_type, state.calltypes = infer.unify()


class _Compiler(compiler.CompilerBase):
    """The stages a flat, single-typed kernel needs.

    There are no closures, overload inlining, SSA or rewrites, and no liveness analysis either: it serves reference
    counts, which no value of the dialect has. The stages run bare, without Numba's events, timers and re-checks.
    """

    def _compile_core(self) -> Any:
        state = self.state
        with ConfigStack().enter(state.flags.copy()):
            state.func_ir = _Interpreter(state.func_id).interpret(state.bc)
            _infer_types(state)
            _Lowering().run_pass(state)
        return state["cr"]


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
    library = context.codegen().create_library(function.__name__)
    result = compiler.compile_extra(
        typing_context, context, function, SIGNATURE, _result_type(function), _flags(), {}, library, _Compiler
    )
    (module,) = library.modules
    return module, result.fndesc.llvm_func_name
