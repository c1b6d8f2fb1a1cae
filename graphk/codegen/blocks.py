"""Every function of the kernel dialect as a symbol with a typing rule and an LLVM body.

In goes a dialect name and its operands (``Operand``); out comes first the result operand (``resolve``), then a
symbol such as ``gk.s_add.8.f32x8.f32`` and, from the symbol alone, its LLVM text (``body``). It always holds that
a symbol determines its body for a given target, so bodies are made once per process, and that this module
needs llvmlite only, not Numba. Small bodies are ``alwaysinline``; contraction blocks stay calls, because
their register allocation must not mix with the caller's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir

from graphk.codegen import arith, micro, scalars, sync, winograd
from graphk.codegen.emitter import I8T, I32T, I64T, Emitter, Operand, storage
from graphk.codegen.scalars import BOOL, FLOATS, I32, I64, ITEMSIZE, SHORT
from graphk.codegen.target import Target

Operands = tuple[Operand, ...]
Rule = Callable[[Operands, int], Operand | None]
Body = Callable[[ir.IRBuilder, Operands, tuple[ir.Value, ...], Target], ir.Value | None]

_INT = Operand(I64)


@dataclass(frozen=True, slots=True)
class Block:
    """One dialect function: ``rule`` types it (None: no result), ``body`` emits it."""

    name: str
    arity: int
    rule: Rule
    body: Body
    inline: bool = True


BLOCKS: dict[str, Block] = {}


def _refuse(expected: str, operands: Operands) -> TypeError:
    got = ", ".join(o.code() for o in operands)
    return TypeError(f"expected ({expected}), received ({got}).")


def _lanes(operands: Operands) -> int:
    return max(o.lanes for o in operands)


def _broadcast(e: Emitter, operand: Operand, value: ir.Value) -> ir.Value:
    return e.splat(value) if operand.lanes < e.n else value


# --- the scalar table ------------------------------------------------------------------------------------------


def _table_block(entry: scalars.Scalar) -> Block:
    def rule(operands: Operands, lanes: int) -> Operand:
        if any(o.pointer for o in operands):
            raise _refuse("values, not pointers", operands)
        return Operand(entry.result(tuple(o.dtype for o in operands)), _lanes(operands))

    def body(b: ir.IRBuilder, operands: Operands, args: tuple[ir.Value, ...], target: Target) -> ir.Value:
        e = Emitter(b, _lanes(operands))
        values = tuple(_broadcast(e, o, v) for o, v in zip(operands, args, strict=True))
        return arith.TABLE[entry.name](e, operands[-1].dtype, values)

    return Block(scalars.dialect_name(entry.name), entry.arity, rule, body)


# --- memory ----------------------------------------------------------------------------------------------------


def _is_int(o: Operand) -> bool:
    return not o.pointer and o.dtype == I64 and o.lanes == 1


def _memory_rule(pattern: str, result: str) -> Rule:
    """pattern letters: p pointer, i int64 scalar, j int64 vector, x value of the pointer's dtype."""

    def rule(operands: Operands, lanes: int) -> Operand | None:
        dtype = operands[0].dtype
        for letter, o in zip(pattern, operands, strict=True):
            fits = {
                "p": o.pointer,
                "i": _is_int(o),
                "j": not o.pointer and o.dtype == I64 and o.lanes == lanes,
                "x": not o.pointer and o.dtype == dtype and o.lanes in (1, lanes),
            }[letter]
            if not fits:
                words = {"p": "pointer", "i": "int64", "j": "int64 vector", "x": f"{dtype} value"}
                raise _refuse(", ".join(words[c] for c in pattern), operands)
        return {"v": Operand(dtype, lanes), "p": operands[0], "": None}[result]

    return rule


def _element(b: ir.IRBuilder, p: ir.Value, i: ir.Value) -> ir.Value:
    return b.gep(p, [i])


def _from_storage(e: Emitter, dtype: str, value: ir.Value) -> ir.Value:
    return e.b.icmp_signed("!=", value, e.const(I8T, 0)) if dtype == BOOL else value


def _to_storage(e: Emitter, dtype: str, value: ir.Value) -> ir.Value:
    return e.b.zext(value, e.type(I8T)) if dtype == BOOL else value


def _vload(b: ir.IRBuilder, ops: Operands, args: tuple[ir.Value, ...], target: Target) -> ir.Value:
    e, dtype = Emitter(b, target.lanes), ops[0].dtype
    p = b.bitcast(_element(b, args[0], args[1]), e.type(storage(dtype)).as_pointer())
    return _from_storage(e, dtype, b.load(p, align=ITEMSIZE[dtype]))


def _touch_rows(b: ir.IRBuilder, ops: Operands, args: tuple[ir.Value, ...], target: Target) -> None:
    """Ask for the cache lines of element i and, by steps of the last operand, of the further rows of a tile."""
    p, i, step = args
    for _ in range(target.tile("float32")[0]):
        micro.prefetch(b, _element(b, p, i), micro.L1)
        i = b.add(i, step)


def _vstore(b: ir.IRBuilder, ops: Operands, args: tuple[ir.Value, ...], target: Target) -> None:
    e, dtype = Emitter(b, target.lanes), ops[0].dtype
    p = b.bitcast(_element(b, args[0], args[1]), e.type(storage(dtype)).as_pointer())
    value = _to_storage(e, dtype, _broadcast(e, ops[2], args[2]))
    b.store(value, p, align=ITEMSIZE[dtype])


def _lane_index(b: ir.IRBuilder, index: ir.Value, stride: ir.Value | None, lane: int, lanes: int) -> ir.Value:
    if stride is not None:
        return b.add(index, b.mul(stride, I64T(lane)))
    return index if lanes == 1 else b.extract_element(index, I32T(lane))


def _load_lanes(b: ir.IRBuilder, dtype: str, p: ir.Value, index: ir.Value, stride: ir.Value | None, n: int) -> ir.Value:
    e = Emitter(b, n)
    out: ir.Value = ir.Constant(e.type(storage(dtype)), ir.Undefined)
    for lane in range(n):
        value = b.load(_element(b, p, _lane_index(b, index, stride, lane, n)), align=ITEMSIZE[dtype])
        out = value if n == 1 else b.insert_element(out, value, I32T(lane))
    return _from_storage(e, dtype, out)


def _store_lanes(e: Emitter, dtype: str, p: ir.Value, index: ir.Value, stride: ir.Value | None, x: ir.Value) -> None:
    x = _to_storage(e, dtype, x)
    for lane in range(e.n):
        value = x if e.n == 1 else e.b.extract_element(x, I32T(lane))
        place = _element(e.b, p, _lane_index(e.b, index, stride, lane, e.n))
        e.b.store(value, place, align=ITEMSIZE[dtype])


def _vload_strided(b: ir.IRBuilder, ops: Operands, args: tuple[ir.Value, ...], target: Target) -> ir.Value:
    return _load_lanes(b, ops[0].dtype, args[0], args[1], args[2], target.lanes)


def _vgather(b: ir.IRBuilder, ops: Operands, args: tuple[ir.Value, ...], target: Target) -> ir.Value:
    return _load_lanes(b, ops[0].dtype, args[0], args[1], None, target.lanes)


def _vstore_strided(b: ir.IRBuilder, ops: Operands, args: tuple[ir.Value, ...], target: Target) -> None:
    e = Emitter(b, target.lanes)
    _store_lanes(e, ops[0].dtype, args[0], args[1], args[2], _broadcast(e, ops[3], args[3]))


def _vscatter(b: ir.IRBuilder, ops: Operands, args: tuple[ir.Value, ...], target: Target) -> None:
    e = Emitter(b, target.lanes)
    _store_lanes(e, ops[0].dtype, args[0], args[1], None, _broadcast(e, ops[2], args[2]))


def _ptr_block(dtype: str) -> Block:
    def body(b: ir.IRBuilder, ops: Operands, args: tuple[ir.Value, ...], target: Target) -> ir.Value:
        address = b.load(_element(b, args[0], args[1]), align=8)
        return b.inttoptr(address, storage(dtype).as_pointer())

    def rule(operands: Operands, lanes: int) -> Operand:
        _memory_rule("pi", "p")(operands, lanes)
        return Operand(dtype, pointer=True)

    return Block(f"ptr_{SHORT[dtype]}", 2, rule, body)


def _arg_i64(b: ir.IRBuilder, ops: Operands, args: tuple[ir.Value, ...], target: Target) -> ir.Value:
    return b.load(_element(b, args[0], args[1]), align=8)


def _at(b: ir.IRBuilder, ops: Operands, args: tuple[ir.Value, ...], target: Target) -> ir.Value:
    return _element(b, args[0], args[1])


# --- lanes -----------------------------------------------------------------------------------------------------


def _splat_block(dtype: str) -> Block:
    entry = scalars.lookup(f"cast:{dtype}")

    def rule(operands: Operands, lanes: int) -> Operand:
        if operands[0].pointer or operands[0].lanes != 1:
            raise _refuse("scalar", operands)
        return Operand(entry.result((operands[0].dtype,)), lanes)

    def body(b: ir.IRBuilder, ops: Operands, args: tuple[ir.Value, ...], target: Target) -> ir.Value:
        scalar = arith.TABLE[entry.name](Emitter(b, 1), ops[0].dtype, args)
        return Emitter(b, target.lanes).splat(scalar)

    return Block(f"vsplat_{SHORT[dtype]}", 1, rule, body)


def _viota(b: ir.IRBuilder, ops: Operands, args: tuple[ir.Value, ...], target: Target) -> ir.Value:
    e = Emitter(b, target.lanes)
    if e.n == 1:
        return args[0]
    steps = ir.Constant(e.type(I64T), [I64T(i) for i in range(e.n)])
    return b.add(e.splat(args[0]), steps)


def _horizontal_block(name: str, table: str) -> Block:
    entry = scalars.lookup(table)

    def rule(operands: Operands, lanes: int) -> Operand:
        dtype = operands[0].dtype
        if operands[0].pointer:
            raise _refuse("vector", operands)
        return Operand(entry.result((dtype, dtype)), 1)

    def body(b: ir.IRBuilder, ops: Operands, args: tuple[ir.Value, ...], target: Target) -> ir.Value:
        value, n = args[0], ops[0].lanes
        while n > 1:
            n //= 2
            halves = [_part(b, value, n, start) for start in (0, n)]
            value = arith.TABLE[table](Emitter(b, n), ops[0].dtype, (halves[0], halves[1]))
        return value

    return Block(name, 1, rule, body)


def _part(b: ir.IRBuilder, value: ir.Value, count: int, start: int) -> ir.Value:
    if count == 1:
        return b.extract_element(value, I32T(start))
    mask = ir.Constant(ir.VectorType(I32T, count), [I32T(start + i) for i in range(count)])
    return b.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), mask)


# --- threads ---------------------------------------------------------------------------------------------------


def _share(offset: int) -> Body:
    """Bound tid+offset: units of ``grain`` are dealt evenly, the last one may be short."""

    def body(b: ir.IRBuilder, ops: Operands, args: tuple[ir.Value, ...], target: Target) -> ir.Value:
        n, tid, nt, grain = args
        units = b.sdiv(b.add(n, b.sub(grain, I64T(1))), grain)
        cut = b.mul(b.sdiv(b.mul(units, b.add(tid, I64T(offset))), nt), grain)
        return b.select(b.icmp_signed("<", cut, n), cut, n)

    return body


def _parts(b: ir.IRBuilder, ops: Operands, args: tuple[ir.Value, ...], target: Target) -> ir.Value:
    """As many parts of at least ``grain`` as ``n`` has, at most ``nt``, one at least."""
    nt, n, grain = args
    units = b.sdiv(b.add(n, b.sub(grain, I64T(1))), grain)
    least = b.select(b.icmp_signed("<", units, nt), units, nt)
    return b.select(b.icmp_signed("<", least, I64T(1)), I64T(1), least)


def _ints_rule(operands: Operands, lanes: int) -> Operand:
    if not all(_is_int(o) for o in operands):
        raise _refuse(", ".join(["int64"] * len(operands)), operands)
    return _INT


# --- contractions ----------------------------------------------------------------------------------------------


def _micro_block(item: micro.Building) -> Block:
    def rule(operands: Operands, lanes: int) -> Operand | None:
        first = operands[0].dtype
        for letter, o in zip(item.pattern, operands, strict=True):
            if not (_is_int(o) if letter == "i" else o.pointer and o.dtype == first and first in FLOATS):
                words = {"i": "int64", "p": "float pointer"}
                raise _refuse(", ".join(words[c] for c in item.pattern), operands)
        return None

    def body(b: ir.IRBuilder, ops: Operands, args: tuple[ir.Value, ...], target: Target) -> None:
        item.emit(b, ops[0].dtype, args, target)

    return Block(item.name, len(item.pattern), rule, body, inline=False)


_SYNC_RESULTS: dict[str, Operand | None] = {
    "": None,
    "i": _INT,
    "P": Operand(I64, pointer=True),
    "W": Operand(I32, pointer=True),
}


def _sync_block(item: sync.Primitive) -> Block:
    def rule(operands: Operands, lanes: int) -> Operand | None:
        for letter, o in zip(item.pattern, operands, strict=True):
            if not (_is_int(o) if letter == "i" else o.pointer and o.dtype == I64):
                words = {"i": "int64", "p": "int64 pointer"}
                raise _refuse(", ".join(words[c] for c in item.pattern), operands)
        return _SYNC_RESULTS[item.result]

    def body(b: ir.IRBuilder, ops: Operands, args: tuple[ir.Value, ...], target: Target) -> ir.Value | None:
        return item.emit(b, args, target)

    return Block(item.name, len(item.pattern), rule, body)


def _register() -> None:
    blocks = [_table_block(entry) for entry in scalars.TABLE.values()]
    blocks += [_ptr_block(dtype) for dtype in scalars.DTYPES + scalars.NARROW]
    blocks += [_splat_block(dtype) for dtype in scalars.DTYPES + scalars.NARROW]
    blocks += [
        Block("arg_i64", 2, lambda o, n: _memory_rule("pi", "p")(o, n) and _INT, _arg_i64),
        Block("at", 2, _memory_rule("pi", "p"), _at),
        Block("vload", 2, _memory_rule("pi", "v"), _vload),
        Block("vstore", 3, _memory_rule("pix", ""), _vstore),
        Block("vload_strided", 3, _memory_rule("pii", "v"), _vload_strided),
        Block("vstore_strided", 4, _memory_rule("piix", ""), _vstore_strided),
        Block("touch_rows", 3, _memory_rule("pii", ""), _touch_rows),
        Block("vgather", 2, _memory_rule("pj", "v"), _vgather),
        Block("vscatter", 3, _memory_rule("pjx", ""), _vscatter),
        Block("viota", 1, lambda o, n: Operand(_ints_rule(o, n).dtype, n), _viota),
        Block("parts", 3, _ints_rule, _parts),
        Block("share_lo", 4, _ints_rule, _share(0)),
        Block("share_hi", 4, _ints_rule, _share(1)),
    ]
    pairs = {"hsum": "add", "hprod": "mul", "hmax": "max", "hmin": "min", "hany": "or", "hall": "and"}
    blocks += [_horizontal_block(name, table) for name, table in pairs.items()]
    blocks += [_micro_block(item) for item in (*micro.BUILDINGS, *winograd.BUILDINGS)]
    blocks += [_sync_block(item) for item in sync.PRIMITIVES]
    BLOCKS.update({block.name: block for block in blocks})


_register()


def resolve(name: str, operands: Operands, lanes: int) -> Operand | None:
    """Result of dialect function ``name``; TypeError says what was received and expected."""
    block = BLOCKS[name]
    try:
        if len(operands) != block.arity:
            raise _refuse(f"{block.arity} operand(s)", operands)
        if any(o.lanes not in (1, lanes) for o in operands):
            raise _refuse(f"vectors of {lanes} lanes", operands)
        return block.rule(operands, lanes)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None


def symbol(name: str, operands: Operands, lanes: int) -> str:
    """The LLVM symbol of this instance."""
    return ".".join(["gk", name, str(lanes), *(o.code() for o in operands)])


def signature(name: str, operands: Operands, lanes: int) -> ir.FunctionType:
    """The LLVM function type of this instance."""
    result = resolve(name, operands, lanes)
    kind = ir.VoidType() if result is None else result.llvm()
    return ir.FunctionType(kind, [o.llvm() for o in operands])


def is_inline(text: str) -> bool:
    """Whether the body of this symbol belongs into every kernel, or is an object of its own."""
    return BLOCKS[text.split(".")[1]].inline


@functools.lru_cache(maxsize=4096)
def body(text: str, target: Target) -> tuple[str, tuple[tuple[str, str], ...]]:
    """(definition, ((declared symbol, declaration), ...)) of a symbol made by ``symbol``."""
    _, name, lanes, *codes = text.split(".")
    operands = tuple(Operand.parse(code) for code in codes)
    module = ir.Module()
    function = ir.Function(module, signature(name, operands, int(lanes)), text)
    block = BLOCKS[name]
    function.attributes.add("alwaysinline" if block.inline else "noinline")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    result = block.body(builder, operands, tuple(function.args), target)
    if result is None:
        builder.ret_void()
    else:
        builder.ret(result)
    others = tuple((g.name, str(g)) for g in module.globals.values() if g is not function)
    return str(function), others
