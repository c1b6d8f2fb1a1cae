"""Dialect functions for the program executor: raw addresses, atomics, indirect calls.

In go int64 pointers and scalars; out come int64 values. It always holds that ``load_acquire``, ``store_release``,
``fetch_add`` and ``swap`` are sequentially consistent 64-bit operations on 8-byte aligned words (the executor's
parking protocol needs a store ordered before a later load, which acquire/release alone does not give), that
``sem_wait`` may return early (a signal), and that kernels printed for models never need this file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir

from graphk.codegen.emitter import I32T, I64T
from graphk.codegen.target import Target

Args = tuple[ir.Value, ...]
ORDER = "seq_cst"


@dataclass(frozen=True, slots=True)
class Primitive:
    """``pattern``: p int64 pointer, i int64; ``result``: i int64, P pointer to int64, W to int32, empty none."""

    name: str
    pattern: str
    result: str
    emit: Callable[[ir.IRBuilder, Args, Target], ir.Value | None]


def _load(b: ir.IRBuilder, args: Args, target: Target) -> ir.Value:
    return b.load_atomic(b.gep(args[0], [args[1]]), ORDER, 8)


def _store(b: ir.IRBuilder, args: Args, target: Target) -> None:
    b.store_atomic(args[2], b.gep(args[0], [args[1]]), ORDER, 8)


def _fetch_add(b: ir.IRBuilder, args: Args, target: Target) -> ir.Value:
    return b.atomic_rmw("add", b.gep(args[0], [args[1]]), args[2], ORDER)


def _swap(b: ir.IRBuilder, args: Args, target: Target) -> ir.Value:
    return b.atomic_rmw("xchg", b.gep(args[0], [args[1]]), args[2], ORDER)


def _external(b: ir.IRBuilder, name: str, result: ir.Type) -> ir.Function:
    return ir.Function(b.module, ir.FunctionType(result, []), name)


def _pause(b: ir.IRBuilder, args: Args, target: Target) -> None:
    # The hint exists on x86 only; elsewhere a spinning thread just reads.
    if target.triple.startswith(("x86_64", "i686")):
        b.call(_external(b, "llvm.x86.sse2.pause", ir.VoidType()), [])


def _yield_cpu(b: ir.IRBuilder, args: Args, target: Target) -> None:
    b.call(_external(b, "sched_yield", I32T), [])


def _semaphore(name: str) -> Callable[[ir.IRBuilder, Args, Target], None]:
    def emit(b: ir.IRBuilder, args: Args, target: Target) -> None:
        kind = ir.FunctionType(I32T, [I64T.as_pointer()])
        b.call(ir.Function(b.module, kind, name), [b.gep(args[0], [args[1]])])

    return emit


def _call_kernel(b: ir.IRBuilder, args: Args, target: Target) -> None:
    kind = ir.FunctionType(ir.VoidType(), [I64T.as_pointer(), I64T, I64T])
    function = b.inttoptr(args[0], kind.as_pointer())
    b.call(function, [b.inttoptr(args[1], I64T.as_pointer()), args[2], args[3]])


def _i64_ptr(b: ir.IRBuilder, args: Args, target: Target) -> ir.Value:
    return b.inttoptr(args[0], I64T.as_pointer())


def _i32_ptr(b: ir.IRBuilder, args: Args, target: Target) -> ir.Value:
    return b.inttoptr(args[0], I32T.as_pointer())


def _address(b: ir.IRBuilder, args: Args, target: Target) -> ir.Value:
    return b.ptrtoint(args[0], I64T)


PRIMITIVES: tuple[Primitive, ...] = (
    Primitive("load_acquire", "pi", "i", _load),
    Primitive("store_release", "pii", "", _store),
    Primitive("fetch_add", "pii", "i", _fetch_add),
    Primitive("swap", "pii", "i", _swap),
    Primitive("pause", "", "", _pause),
    Primitive("yield_cpu", "", "", _yield_cpu),
    Primitive("sem_wait", "pi", "", _semaphore("sem_wait")),
    Primitive("sem_post", "pi", "", _semaphore("sem_post")),
    Primitive("call_kernel", "iiii", "", _call_kernel),
    Primitive("i64_ptr", "i", "P", _i64_ptr),
    Primitive("i32_ptr", "i", "W", _i32_ptr),
    Primitive("address_of", "p", "i", _address),
)
