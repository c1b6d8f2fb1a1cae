"""Kernel source to object code.

In goes dialect source with the names of its entry functions and a ``Target``; out comes a ``CompiledObject``: an
ELF object exporting one C function ``void name(int64_t *args, int64_t tid, int64_t nt)`` per entry (``int64_t`` for an
entry annotated ``-> "i64"``). It always holds that the object refers to no Python or Numba symbol (only to the C
library where a float64 function needs it), and that compiling is deterministic. Only what compiles imports this
module: ``objects`` loads without it.
"""

from __future__ import annotations

import ast
import functools
import gc
import re
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import llvmlite.binding as llvm

from graphk.codegen import objects
from graphk.codegen.objects import BLOCK, CompiledObject, Job, KernelError
from graphk.codegen.target import Target, host_target, named_target, with_lanes

# What an object may leave to the C library: float64 (and remainder) functions, and memory intrinsics.
_ALLOWED_EXTERNS = frozenset(
    "exp expm1 log log1p tanh erf sin cos pow fmod fmodf memcpy memset memmove roundeven roundevenf "
    "floor floorf ceil ceilf sched_yield sem_wait sem_post".split()
)
# LLVM's levels of optimisation. A kernel prints what it loads once only, which is most of what level 2 would look for.
KERNEL_LEVEL, BLOCK_LEVEL = 1, 2
_ENTRY_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def _numbered(source: str) -> str:
    return "\n".join(f"{i:4d} | {line}" for i, line in enumerate(source.splitlines(), 1))


def _check_entries(source: str, entries: tuple[str, ...]) -> None:
    for name in entries:
        if not _ENTRY_NAME.match(name):
            raise KernelError(f"entry {name!r} is no identifier; expected a Python function name.")
    if not entries or len(set(entries)) != len(entries):
        raise KernelError(f"entries are {entries}; expected at least one name, each once.\n{_numbered(source)}")


@functools.lru_cache(maxsize=16)
def _machine(target: Target) -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    triple = target.triple or llvm.get_process_triple()
    if triple != host_target().triple:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel="small"
    )


def _functions(source: str, entries: tuple[str, ...]) -> list[ast.FunctionDef]:
    try:
        tree = ast.parse(source, "<kernel>")
    except SyntaxError as error:
        raise KernelError(f"kernel source is not valid Python: {error}\n{_numbered(source)}") from error
    found = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    missing = [name for name in entries if name not in found]
    if missing:
        raise KernelError(f"kernel source defines no function {missing}; entries are {entries}.\n{_numbered(source)}")
    for name in entries:
        taken = len(found[name].args.args)
        if taken != 3:
            raise KernelError(
                f"entry {name} takes {taken} arguments; expected (args, tid, nt).\n{_numbered(source)}"
            )
    return [found[name] for name in entries]


def _bodies_module(symbols: list[str], target: Target) -> str:
    """One module that defines every dialect symbol."""
    from graphk.codegen import blocks

    definitions: dict[str, str] = {}
    declarations: dict[str, str] = {}
    for symbol in symbols:
        definition, others = blocks.body(symbol, target)
        definitions[symbol] = definition
        declarations.update(others)
    return "\n".join([*declarations.values(), *definitions.values()])


class Collector:
    """The part of Numba's code generator interface that its target context touches."""


def process_layout() -> Any:
    """Sizes and alignments of LLVM types in this process."""
    llvm.initialize_native_target()
    return llvm.Target.from_default_triple().create_target_machine().target_data


def _parse(text: str, target: Target) -> Any:
    machine = _machine(target)
    module = llvm.parse_assembly(text)
    module.name = "kernel"
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    return module


def _hide(module: Any, visible: Collection[str]) -> None:
    """Everything defined but the entries becomes internal, so that it can be inlined and dropped."""
    for value in [*module.functions, *module.global_variables]:
        if value.name not in visible and not value.is_declaration:
            value.linkage = "internal"
    module.verify()


def _link(functions: list[ast.FunctionDef], target: Target) -> tuple[Any, tuple[str, ...]]:
    """(one module of all entries and the small bodies they call, names of the big blocks left outside)."""
    from graphk.codegen import blocks, dialect

    lowered = dialect.lower(functions, target)
    symbols = [name for name in lowered.globals if name.startswith("gk.")]
    needs = tuple(sorted(s for s in symbols if not blocks.is_inline(s)))
    inline = [s for s in symbols if s not in needs]
    for symbol in inline:
        del lowered.globals[symbol]  # a declaration, whose definition follows
    module = _parse(f"{lowered}\n{_bodies_module(inline, target)}", target)
    _hide(module, {f.name for f in functions})
    return module, needs


def _optimise(module: Any, target: Target, level: int) -> None:
    """Inline what is small, then LLVM's simplification of one function for each that is left.

    The passes over whole modules that come before and after it at the same level double the time and change next to
    nothing: a kernel has one function that matters.
    """
    machine = _machine(target)
    options = llvm.create_pipeline_tuning_options(speed_level=level)
    # The source is already vectorised and unrolled where that pays; LLVM would only grow the scalar tails.
    options.loop_vectorization = False
    options.slp_vectorization = False
    options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, options)
    whole = llvm.create_new_module_pass_manager()
    whole.add_always_inliner_pass()
    whole.add_global_dead_code_eliminate_pass()
    whole.run(module, builder)
    each = builder.getFunctionPassManager()
    for function in module.functions:
        if not function.is_declaration:
            function.add_function_attribute("nounwind")
            each.run(function, builder)


def _check_externs(module: Any, needs: tuple[str, ...], source: str) -> None:
    unknown = [
        f.name
        for f in module.functions
        if f.is_declaration and not f.name.startswith("llvm.") and f.name not in _ALLOWED_EXTERNS | set(needs)
    ]
    if unknown:
        raise KernelError(
            f"the compiled kernel refers to {unknown}, which no process without Numba provides; "
            f"use only the names of the kernel dialect.\n{_numbered(source)}"
        )


def compile_source(source: str, entries: tuple[str, ...], target: Target, *, texts: bool = False) -> CompiledObject:
    """Compile ``entries`` of ``source``; with ``texts`` also keep LLVM IR and assembly (of its blocks, too).

    Raises KernelError for anything the dialect does not have.
    """
    _check_entries(source, entries)
    functions = _functions(source, entries)
    from graphk.codegen.dialect import ERRORS

    try:
        module, needs = _link(functions, target)
    except ERRORS as error:
        raise KernelError(f"kernel leaves the dialect or does not type-check: {error}\n{_numbered(source)}") from error
    _optimise(module, target, KERNEL_LEVEL)
    _check_externs(module, needs, source)
    compiled = _emit(module, entries, target, needs, texts)
    if not texts:
        return compiled
    blocks = [compile_block(symbol, target, texts=True) for symbol in needs]
    ir_text = "\n".join([compiled.ir, *(block.ir for block in blocks)])
    asm_text = "\n".join([compiled.asm, *(block.asm for block in blocks)])
    return replace(compiled, ir=ir_text, asm=asm_text)


def _emit(module: Any, entries: tuple[str, ...], target: Target, needs: tuple[str, ...], texts: bool) -> CompiledObject:
    machine = _machine(target)
    ir_text = str(module) if texts else ""
    asm_text = machine.emit_assembly(module) if texts else ""
    return CompiledObject(machine.emit_object(module), entries, target, needs, ir_text, asm_text)


def compile_block(symbol: str, target: Target, *, texts: bool = False) -> CompiledObject:
    """An object exporting one contraction block, shared by all kernels that call it. Needs no Numba."""
    module = _parse(_bodies_module([symbol], target), target)
    _hide(module, {symbol})
    _optimise(module, target, BLOCK_LEVEL)
    return _emit(module, (symbol,), target, (), texts)


def compile_job(source: str, entries: tuple[str, ...], target: Target) -> CompiledObject:
    """``compile_source``, or ``compile_block`` where the source is ``BLOCK``."""
    if source == BLOCK:
        return compile_block(entries[0], target)
    collecting = gc.isenabled()
    gc.disable()  # Numba makes a million objects that all live until the kernel is done
    try:
        return compile_source(source, entries, target)
    finally:
        if collecting:
            gc.enable()


@functools.lru_cache(maxsize=256)
def block_address(symbol: str, target: Target) -> int:
    """Compile and load a block for this process."""
    return load(compile_block(symbol, target))[symbol]


def load(compiled: CompiledObject) -> dict[str, int]:
    """Map an object into this process for good, with blocks of its own; entry name to address."""
    return objects.load(compiled, block_address)


__all__ = [
    "BLOCK",
    "CompiledObject",
    "Job",
    "KernelError",
    "Target",
    "block_address",
    "compile_block",
    "compile_job",
    "compile_source",
    "host_target",
    "load",
    "named_target",
    "with_lanes",
]
