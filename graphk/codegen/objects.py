"""Compiled kernels: what they are, and how they get into the process.

In goes a ``CompiledObject``; out come the addresses of its entries, valid for the life of the process. It always holds
that ``elf`` maps what it knows, so that a process which compiles nothing imports neither LLVM nor Numba; that LLVM's
loader takes the rest; and that both give code that does the same.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphk.codegen import elf
from graphk.codegen.target import Target
from graphk.codegen.versions import versions


class KernelError(RuntimeError):
    """A kernel source that cannot be compiled; the message ends with the numbered source."""


@dataclass(frozen=True, slots=True)
class CompiledObject:
    """``data``: ELF bytes that refer to the block symbols ``needs``; ``ir``, ``asm`` are empty unless asked for."""

    data: bytes
    entries: tuple[str, ...]
    target: Target
    needs: tuple[str, ...] = ()
    ir: str = ""
    asm: str = ""


# As a source: the entry is a contraction block's symbol, not a function.
BLOCK = "block"
Job = tuple[str, tuple[str, ...], Target]


def load(compiled: CompiledObject, resolve: Callable[[str, Target], int]) -> dict[str, int]:
    """Map the object into this process for good; entry name to address. ``resolve`` finds the blocks it needs."""
    needed = {symbol: resolve(symbol, compiled.target) for symbol in compiled.needs}
    try:
        return elf.load(compiled.data, compiled.entries, lambda name: needed.get(name) or elf.c_function(name))
    except elf.NotLoadable:
        return load_by_llvm(compiled, needed)


_ENGINE_LOCK = threading.Lock()


@functools.lru_cache(maxsize=1)
def _engine() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # Symbols of the C math library must be visible to the loader even where Python was linked without it.
    if sys.platform.startswith("linux"):
        llvm.load_library_permanently("libm.so.6")
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(reloc="pic", codemodel="small")
    return llvm.create_lljit_compiler(machine, use_jit_link=True)


_LOADED: list[Any] = []
# Code stays mapped even while the interpreter is torn down: a daemon thread may still be running in it.
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_LOADED))


def load_by_llvm(compiled: CompiledObject, needed: dict[str, int]) -> dict[str, int]:
    """``load`` on any machine and for any object, by LLVM; ``needed``: the addresses of its blocks."""
    import llvmlite.binding as llvm

    with _ENGINE_LOCK:
        builder = llvm.JITLibraryBuilder().add_object_img(compiled.data).add_current_process()
        for symbol, address in needed.items():
            builder.import_symbol(symbol, address)
        for name in compiled.entries:
            builder.export_symbol(name)
        library = builder.link(_engine(), f"kernel{len(_LOADED)}")
        _LOADED.append((library, _engine()))
        return {name: library[name] for name in compiled.entries}


__all__ = ["BLOCK", "CompiledObject", "Job", "KernelError", "load", "load_by_llvm", "versions"]
