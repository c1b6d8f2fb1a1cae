"""Object code into this process, without LLVM.

In go the bytes of a relocatable ELF object for x86-64 Linux, the names of its entries, and a function that gives the
addresses of symbols that it leaves open; out come the addresses of the entries, valid for the life of the process. It
always holds that nothing outside the bytes is read and nothing outside the memory mapped for them written; that this
memory is never writable and executable at once; and that whatever is not known here (a machine, a kind of section or
relocation, a distance that does not fit) raises ``NotLoadable``, and LLVM's loader takes the object instead.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_PROGBITS, _SYMTAB, _RELA = 1, 2, 4
_ALLOC, _EXEC, _KNOWN_FLAGS = 2, 4, 2 | 4 | 0x10 | 0x20  # merging strings and constants is optional
_IGNORED = 0x70000001  # unwind tables: nothing unwinds through kernels
_R_64, _R_PC32, _R_PLT32, _R_GOT = 1, 2, 4, (9, 41, 42)
_PAGE = mmap.PAGESIZE


class NotLoadable(Exception):
    """The object, or this machine, has something that this loader does not know; the message says what."""


def _up(at: int, align: int) -> int:
    return at + -at % align


@functools.lru_cache(maxsize=1)
def _libraries() -> tuple[Any, Any]:
    """(this process with the C library, the mathematical functions), with the calls used here typed."""
    if not sys.platform.startswith("linux") or os.uname().machine != "x86_64" or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise NotLoadable(f"this is {sys.platform} on {os.uname().machine}, not 64-bit x86 Linux")
    process = ctypes.CDLL(None, use_errno=True)
    process.mmap.restype = ctypes.c_void_p
    process.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    process.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    process.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return process, ctypes.CDLL("libm.so.6")


def c_function(name: str) -> int:
    """The address of a function of the C library."""
    for library in _libraries():
        if hasattr(library, name):
            return int(ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0)
    raise NotLoadable(f"no library has the function {name}")


class _Image:
    """Where the parts of an object lie in one stretch of memory: code and jumps to what is outside, then constants."""

    def __init__(self, data: bytes):
        self.data = data
        ident, kind, machine, _, _, _, at, _, _, _, _, size, count, _ = _HEADER.unpack_from(data)
        if ident[:6] != b"\x7fELF\x02\x01" or (kind, machine, size) != (1, 62, _SECTION.size):
            raise NotLoadable("not a relocatable 64-bit ELF object for x86-64")
        self.sections = [_SECTION.unpack_from(data, at + i * size) for i in range(count)]
        tables = [s for s in self.sections if s[1] == _SYMTAB]
        if len(tables) != 1:
            raise NotLoadable(f"{len(tables)} symbol tables")
        content = self.content(tables[0])
        self.symbols = [_SYMBOL.unpack_from(content, i) for i in range(0, len(content), _SYMBOL.size)]
        self.names = self.content(self.sections[tables[0][6]])
        self.place: dict[int, int] = {}
        self.jumps = _up(self._put(0, True), 8)
        self.code = _up(self.jumps + 8 * len(self.symbols), _PAGE)
        self.slots = self.code
        self.size = _up(self._put(self.slots + 8 * len(self.symbols), False), _PAGE)
        self.bytes = bytearray(self.size)

    def content(self, section: tuple[int, ...]) -> bytes:
        found = self.data[section[4] : section[4] + section[5]]
        if len(found) != section[5]:
            raise NotLoadable("a section reaches beyond the end")
        return found

    def _put(self, at: int, code: bool) -> int:
        """Places for the sections that hold code, or for those that do not, from ``at`` on."""
        for i, section in enumerate(self.sections):
            _, kind, flags, _, _, _, _, _, align, _ = section
            if not flags & _ALLOC or kind == _IGNORED or bool(flags & _EXEC) != code:
                continue
            if kind != _PROGBITS or flags & ~_KNOWN_FLAGS or align > _PAGE:
                raise NotLoadable(f"a section of kind {kind}, flags {flags:#x}, alignment {align}")
            self.place[i] = at = _up(at, max(align, 1))
            at += len(self.content(section))
        return at

    def name(self, symbol: tuple[int, ...]) -> str:
        return self.names[symbol[0] : self.names.index(b"\0", symbol[0])].decode()

    def offset(self, symbol: tuple[int, ...]) -> int:
        """Where a symbol that is defined lies in the image."""
        _, _, _, home, value, _ = symbol
        if home not in self.place or value > self.sections[home][5]:
            raise NotLoadable(f"the symbol {self.name(symbol)!r} lies in section {home} at {value}")
        return self.place[home] + int(value)

    def fill(self, base: int, extern: Callable[[str], int]) -> None:
        """The bytes as they are to stand at ``base``."""
        for i, at in self.place.items():
            self.bytes[at : at + self.sections[i][5]] = self.content(self.sections[i])
        for section in self.sections:
            if section[1] == _RELA and section[7] in self.place:
                content = self.content(section)
                for i in range(0, len(content), _RELOCATION.size):
                    at, info, add = _RELOCATION.unpack_from(content, i)
                    self._relocate(base, section[7], at, info, add, extern)

    def _relocate(self, base: int, home: int, at: int, info: int, add: int, extern: Callable[[str], int]) -> None:
        kind, number = info & 0xFFFFFFFF, info >> 32
        symbol = self.symbols[number]
        width = 8 if kind == _R_64 else 4
        if at + width > self.sections[home][5]:
            raise NotLoadable("a relocation beyond its section")
        at += self.place[home]
        outside, slot = symbol[3] == 0, self.slots + 8 * number
        address = extern(self.name(symbol)) if outside else base + self.offset(symbol)
        if outside or kind in _R_GOT:
            struct.pack_into("<Q", self.bytes, slot, address)
        if kind == _R_64:
            struct.pack_into("<Q", self.bytes, at, address + add)
            return
        if kind in _R_GOT:
            goal = slot
        elif kind == _R_PLT32 and outside:  # a jump through the slot, because the distance may not fit
            goal = self.jumps + 8 * number
            struct.pack_into("<Hi", self.bytes, goal, 0x25FF, slot - goal - 6)
        elif kind in (_R_PC32, _R_PLT32) and not outside:
            goal = address - base
        else:
            raise NotLoadable(f"a relocation of kind {kind} to {self.name(symbol)!r}")
        struct.pack_into("<i", self.bytes, at, goal + add - at)


def _mapped(image: _Image, extern: Callable[[str], int]) -> int:
    """Where the image now lies: first written, then made executable or constant."""
    process, _ = _libraries()
    writable, own = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    base = process.mmap(None, image.size, writable, own, -1, 0)
    if base == ctypes.c_void_p(-1).value:
        raise NotLoadable(f"no memory: {os.strerror(ctypes.get_errno())}")
    try:
        image.fill(base, extern)
        ctypes.memmove(base, bytes(image.bytes), image.size)
        parts = ((0, image.code, mmap.PROT_READ | mmap.PROT_EXEC), (image.code, image.size, mmap.PROT_READ))
        if any(process.mprotect(base + start, stop - start, mode) for start, stop, mode in parts):
            raise NotLoadable(f"memory cannot be made executable: {os.strerror(ctypes.get_errno())}")
    except BaseException:
        process.munmap(base, image.size)
        raise
    return int(base)


def load(data: bytes, entries: Sequence[str], extern: Callable[[str], int] = c_function) -> dict[str, int]:
    """Map an object for good; entry name to address."""
    try:
        _libraries()
        image = _Image(data)
        found = {image.name(s): image.offset(s) for s in image.symbols if s[3] and s[1] >> 4}
        missing = set(entries) - set(found)
        if missing:
            raise NotLoadable(f"no entries {sorted(missing)}")
        base = _mapped(image, extern)
    except (struct.error, ValueError, IndexError, OverflowError, OSError) as error:
        raise NotLoadable(f"malformed: {error}") from error
    return {name: base + found[name] for name in entries}


__all__ = ["NotLoadable", "c_function", "load"]
