"""Targets other than this machine: a processor by the name that LLVM gives it.

In: a name such as `avx2`, `znver3` or `cortex-a72`, and a triple.  Out: a ``Target``.  It always holds that a name
which LLVM does not know is refused, and that the vector width is the one LLVM uses for that processor: it is read off
an addition of vectors.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

from graphk.codegen.target import Target, host_target, named_target

NAMED = ("host", "scalar", "sse", "avx2", "avx512")
# Features of the processors that x86-64's levels stand for, as far as LLVM's code for them uses more than the last.
_LEVELS = (("x86-64", ""), ("x86-64-v2", "ssse3 sse4.1 sse4.2 popcnt"),
           ("x86-64-v3", "avx2 fma bmi bmi2 f16c lzcnt movbe"),
           ("x86-64-v4", "avx512f avx512bw avx512cd avx512dq avx512vl"))
_ADD = """
define <16 x float> @f(<16 x float> %a, <16 x float> %b) {
  %c = fadd <16 x float> %a, %b
  ret <16 x float> %c
}
"""


def cpu_target(cpu: str = "host", triple: str = "") -> Target:
    """The target of a processor; ValueError if LLVM knows neither it nor its architecture.

    cpu: one of ``NAMED``, or LLVM's name of a processor; triple: such as ``aarch64-linux-gnu`` (this machine's).
    """
    import llvmlite.binding as llvm

    host = host_target()
    if cpu in NAMED and triple in ("", host.triple):
        return named_target(cpu)
    if cpu in NAMED[1:] and triple.split("-")[0] == "x86_64":
        named = named_target(cpu)
        return Target(named.lanes, named.cpu, named.features, named.wide, triple)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        found = llvm.Target.from_triple(triple or host.triple)
    except RuntimeError as error:
        raise ValueError(f"unknown triple {triple!r}: {error}. Expected one such as x86_64-linux-gnu.") from None
    name = "generic" if cpu == "host" else cpu
    machine, said = _machine(found, name)
    if "not a recognized processor" in said:
        raise ValueError(f"LLVM knows no processor {cpu!r} of {found.name}; expected one of {', '.join(NAMED)}, or a "
                         f"name that `clang --print-supported-cpus` lists.")
    module = llvm.parse_assembly(_ADD)
    module.triple = machine.triple
    text = machine.emit_assembly(module)
    lanes = 16 if "zmm" in text else 8 if "ymm" in text else 4
    return Target(lanes, name, "", lanes == 16, triple or host.triple)


def runs_here(target: Target) -> bool:
    """Whether this machine is known to run code for `target`: it is this machine, or a level of x86-64 that it has."""
    host = host_target()
    if target.triple.split("-")[0] != host.triple.split("-")[0]:
        return False
    levels = [level for level, _ in _LEVELS]
    if target.cpu in levels:
        needed = " ".join(words for _, words in _LEVELS[:levels.index(target.cpu) + 1]).split()
        return {f"+{word}" for word in needed} <= set(host.features.split(","))
    return target.cpu == host.cpu


def _machine(target: Any, cpu: str) -> tuple[Any, str]:
    """LLVM's machine, and what it says of the name on standard error: there is no other way to ask."""
    with tempfile.TemporaryFile() as aside:
        kept = os.dup(2)
        os.dup2(aside.fileno(), 2)
        try:
            machine = target.create_target_machine(cpu=cpu, opt=3)
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        aside.seek(0)
        return machine, aside.read().decode(errors="replace")


__all__ = ["NAMED", "cpu_target", "runs_here"]
