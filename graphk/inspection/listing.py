"""Kernels as machines see them: LLVM IR, assembly, and what the assembly consists of.

In: subjects.  Out: one `KernelView` per distinct kernel, in the order of the steps, with its IR, its generated source
and (on demand) a `Listing`, or PTX.  What always holds: equal kernels appear once; a listing is made from the
same source and with the same options as the code that runs (objects in the cache carry no text, so it is compiled once
more), for the subject's target; contraction blocks that several kernels call are listed once each.
"""
from __future__ import annotations

import functools
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Iterable

from graphk.codegen import native
from graphk.codegen.cpu import Source
from graphk.codegen.cuda import CudaSource, print_cuda
from graphk.codegen.cuda_compile import compile_ptx
from graphk.codegen.target import Target
from graphk.inspection.subjects import CAPABILITY, Subject
from graphk.ir.loop import Kernel
from graphk.ir.program import flat_steps


@dataclass(frozen=True)
class Counts:
    """Instructions of a listing: all, packed ones by the widest register they name, scalar float ones, and FMAs."""
    total: int
    vector: int
    widths: dict[str, int] = field(default_factory=dict)
    scalar: int = 0
    fma: int = 0

    def __str__(self) -> str:
        wide = ", ".join(f"{n} {w}" for w, n in self.widths.items() if n)
        return (f"{self.total} instructions: {self.vector} vector" + (f" ({wide})" if wide else "")
                + f", {self.fma} fused multiply-adds, {self.scalar} scalar float")


@dataclass(frozen=True)
class Listing:
    """LLVM IR and assembly of a kernel without its blocks; `blocks` names those."""
    ir: str
    asm: str
    blocks: tuple[str, ...]
    counts: Counts


@dataclass
class KernelView:
    """A distinct kernel: `labels` that steps know it by, and who uses it (subject title -> number of steps).  cuda: the
    compute capability where a GPU is the target."""
    id: str
    kernel: Kernel
    source: Source
    target: Target
    labels: list[str]
    users: Counter[str] = field(default_factory=Counter)
    cuda: tuple[int, int] | None = None

    @property
    def label(self) -> str:
        return self.labels[0]

    @property
    def text(self) -> str:
        """The source for the target."""
        if self.kernel.called:
            return f"# no loops: {self.kernel.schedule} of the device computes it\n"
        return self.source.text if self.cuda is None else self.cuda_source().text

    def listing(self) -> Listing:
        """What the target's processor runs."""
        return listing(self.source.text, self.source.entries, self.target)

    def cuda_source(self) -> CudaSource:
        return print_cuda(replace(self.kernel, label="k"))

    def ptx(self) -> str:
        """What a GPU of the compute capability `cuda` (9.0) is given; ImportError where numba-cuda is missing."""
        return "\n".join(compile_ptx(self.cuda_source(), self.cuda or CAPABILITY).values())


def distinct_kernels(subjects: Iterable[Subject]) -> dict[str, KernelView]:
    """Kernel text without its label -> view, over all `subjects`."""
    out: dict[str, KernelView] = {}
    for s in subjects:
        for step in flat_steps(s.program.steps):
            key = step.kernel.key()
            view = out.get(key)
            if view is None:
                source = s.executable.kernels[step.kernel].source
                view = out[key] = KernelView(f"k{len(out)}", step.kernel, source, s.target, [], cuda=s.cuda)
            if step.kernel.label not in view.labels:
                view.labels.append(step.kernel.label)
            view.users[s.title] += 1
    return out


# ------------------------------------------------------------------ compiling for the text
@functools.lru_cache(maxsize=1024)
def block_listing(symbol: str, target: Target) -> Listing:
    """One contraction block."""
    made = native.compile_block(symbol, target, texts=True)
    return Listing(made.ir, made.asm, (), count(made.asm))


@functools.lru_cache(maxsize=1024)
def listing(source: str, entries: tuple[str, ...], target: Target) -> Listing:
    """A kernel's texts; what `compile_source` appends for its blocks is cut off again, since blocks are shared."""
    made = native.compile_source(source, entries, target, texts=True)
    blocks = [block_listing(symbol, target) for symbol in made.needs]
    ir = made.ir.removesuffix("".join("\n" + b.ir for b in blocks))
    asm = made.asm.removesuffix("".join("\n" + b.asm for b in blocks))
    return Listing(ir, asm, made.needs, count(asm))


# ------------------------------------------------------------------ counting
_REGISTER = re.compile(r"%([xyz]mm)\d+")
_PACKED = re.compile(r"p[sdh]$|^v?p(?!ush|op|refetch|ause|ext|dep)|^v(broadcast|perm|extract|insert|gather|"
                     r"scatter|movdq)|"
                     r"^v?mov[au]p|^v?movdq|^v?shuf|^v?unpck|^v?blend|^vcompress|^vexpand")
_FMA = re.compile(r"^vfn?m(add|sub)|^fml[as]$")
_SCALAR = re.compile(r"(ss|sd|sh)$")
_NEON = re.compile(r"\bv\d+\.\d*[bhsd]\b")


def count(asm: str) -> Counts:
    """What the instructions of an assembly text are (x86 in AT&T syntax, or AArch64)."""
    total = scalar = fma = 0
    widths: Counter[str] = Counter()
    for line in asm.splitlines():
        text = line.split("#")[0].strip()
        if not line.startswith("\t") or not text or text.startswith("."):
            continue
        total += 1
        op = text.split()[0]
        fma += bool(_FMA.match(op))
        names = _REGISTER.findall(text)
        if _NEON.search(text):
            widths["neon"] += 1
        elif names and ("ymm" in names or "zmm" in names or (_PACKED.search(op) and not _SCALAR.search(op))):
            widths[max(names)] += 1
        elif names and _SCALAR.search(op):
            scalar += 1
    order = {w: widths[w] for w in ("zmm", "ymm", "xmm", "neon") if widths[w]}
    return Counts(total, sum(order.values()), order, scalar, fma)


__all__ = ["Counts", "KernelView", "Listing", "block_listing", "count", "distinct_kernels", "listing"]
