"""`python -m graphk doctor`: what graphk runs on, and whether it works here.

In: this process and machine.  Out: lines of text, and whether something is broken.  What always holds: each problem
says how to mend it; a missing GPU is no problem; the check compiles and runs a small graph and compares it with
the interpreter, so "ok" means that it was tried.
"""
from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import stat
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable

from graphk.inspection.installation_gpu import gpu

if TYPE_CHECKING:
    import numpy as np

PACKAGES = ("numpy", "numba", "llvmlite", "h5py", "PyYAML", "networkx")
SHOWN_FEATURES = ("sse4.2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512bf16",
                  "avx512vnni", "amx-bf16", "neon", "sve")


@dataclass
class Findings:
    """Lines to print, and what is broken."""
    lines: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def say(self, name: str, text: str) -> None:
        self.lines.append(f"{name:<18} {text}")

    def fault(self, text: str) -> None:
        self.broken.append(text)


def examine() -> Findings:
    """All checks.  One that fails unexpectedly is a finding, not a crash."""
    out = Findings()
    checks: tuple[tuple[str, Callable[[Findings], None]], ...] = (
        ("versions", versions), ("configuration", configuration), ("processor", processor), ("cache", cache_state),
        ("GPU", gpu), ("self-test", self_test))
    for name, check in checks:
        try:
            check(out)
        except Exception as error:
            out.fault(f"{name}: {type(error).__name__}: {error}")
    return out


def doctor() -> int:
    """Print the findings; 1 if something is broken."""
    found = examine()
    print("\n".join(found.lines))
    for text in found.broken:
        print(f"BROKEN: {text}")
    many = "1 problem" if len(found.broken) == 1 else f"{len(found.broken)} problems"
    print(f"{many}, see BROKEN above" if found.broken else "graphk works here: everything it needs was found and tried")
    return 1 if found.broken else 0


# ------------------------------------------------------------------ versions
def versions(out: Findings) -> None:
    import graphk
    out.say("graphk", graphk.__version__)
    out.say("python", f"{platform.python_version()} ({platform.python_implementation()}), {platform.system()} "
            f"{platform.machine()}")
    wanted = _requirements()
    for name in PACKAGES:
        try:
            have = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            out.say(name, "missing")
            out.fault(f"the package {name} is not installed; pip install '{name}{wanted.get(name.lower(), '')}'")
            continue
        out.say(name, have)
        need = wanted.get(name.lower(), "")
        if need and not _fits(have, need):
            out.fault(f"{name} {have} does not fit; graphk needs {name}{need}: pip install '{name}{need}'")
    import llvmlite.binding as llvm
    out.say("LLVM", ".".join(map(str, llvm.llvm_version_info)))


def _requirements() -> dict[str, str]:
    """Package -> version specifier of the installed graphk; empty where it runs from a folder without metadata."""
    try:
        lines = importlib.metadata.requires("graphk") or []
    except importlib.metadata.PackageNotFoundError:
        lines = ["numba>=0.68,<0.69", "llvmlite>=0.50,<0.51", "numpy>=1.26"]
    out = {}
    for line in lines:
        if ";" in line:
            continue
        at = next((i for i, ch in enumerate(line) if ch in "<>=!~ "), len(line))
        out[line[:at].lower()] = line[at:].strip()
    return out


def _fits(have: str, need: str) -> bool:
    """Whether a version meets bounds such as `>=0.68,<0.69`."""
    def key(text: str) -> tuple[int, ...]:
        digits = ["".join(ch for ch in part if ch.isdigit()) for part in text.split(".")[:3]]
        return tuple(int(d) for d in digits if d)
    tests = {">=": lambda a, b: a >= b, "<": lambda a, b: a < b, "==": lambda a, b: a == b, ">": lambda a, b: a > b,
             "<=": lambda a, b: a <= b}
    for part in need.split(","):
        word = part.strip()
        mark = next((m for m in (">=", "<=", "==", "<", ">") if word.startswith(m)), "")
        if mark and not tests[mark](key(have), key(word[len(mark):])):
            return False
    return True


# ------------------------------------------------------------------ configuration
def configuration(out: Findings) -> None:
    from graphk.frontend import config
    settings = config.load()
    flags = os.environ.get("GRAPHK_FLAGS", "").strip()
    out.say("configuration", str(config.path()) + (f", and over it GRAPHK_FLAGS={flags}" if flags else ""))
    out.say("", ", ".join(f"{name} {value}" for name, value in settings.items()))


# ------------------------------------------------------------------ processor
def processor(out: Findings) -> None:
    import llvmlite.binding as llvm

    from graphk.codegen.target import host_target
    from graphk.runtime.executor import thread_count
    target = host_target()
    features = dict(llvm.get_host_cpu_features())
    out.say("CPU", target.cpu)
    out.say("features", ", ".join(f for f in SHOWN_FEATURES if features.get(f)) or "none of those that graphk uses")
    mr, nr = target.tile_shape("float32")
    out.say("vectors", f"{target.lanes} float32 lanes ({target.lanes * 32} bits), {32 if target.wide else 16} vector "
                       f"registers; matrix products in tiles of {mr} x {nr}"
            + (" (as GRAPHK_LANES says)" if os.environ.get("GRAPHK_LANES") else ""))
    out.say("threads", f"{thread_count()} of {os.cpu_count()} cores"
            + (" (as GRAPHK_NUM_THREADS says)" if os.environ.get("GRAPHK_NUM_THREADS") else ""))


# ------------------------------------------------------------------ cache
def cache_state(out: Findings) -> None:
    from graphk.codegen import cache
    path = cache.directory()
    source = "from GRAPHK_CACHE_DIR" if os.environ.get("GRAPHK_CACHE_DIR", "").strip() else "the default"
    out.say("kernel cache", f"{path} ({source})")
    if not path.exists():
        out.say("", "not there yet; it is made when the first kernel is compiled")
        return
    if not path.is_dir():
        out.fault(f"the kernel cache {path} is not a directory; remove it or set GRAPHK_CACHE_DIR")
        return
    info = path.stat()
    files = [p.stat() for p in path.glob(f"*{cache.SUFFIX}")]
    mine, shared = info.st_uid == os.geteuid(), bool(info.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    writable = os.access(path, os.W_OK)
    out.say("", f"{len(files)} compiled kernels, {sum(f.st_size for f in files) / 1e6:.2f} MB, mode "
                f"{stat.S_IMODE(info.st_mode):o}, "
            f"{'writable' if writable else 'not writable'}, {'yours' if mine else f'of user {info.st_uid}'}")
    if not mine or shared:
        why = "it belongs to another user" if not mine else f"others may write it (mode {stat.S_IMODE(info.st_mode):o})"
        out.fault(f"the kernel cache {path} is not used because {why}; chmod 700 it, or set GRAPHK_CACHE_DIR to a "
                  f"directory "
                  "of your own")
    elif not writable:
        out.fault(f"the kernel cache {path} is not writable, so every process compiles anew; set GRAPHK_CACHE_DIR")


# ------------------------------------------------------------------ does it work?
SMALL = """graph doctor(%x: f32[n,8], %w: f32[8,4]) {
  %0 = dot(%x, %w)
  %1 = exp(%0)
  %2 = sum(%1; axes=(1,), keepdims=false)
  return %1, %2
}
"""


def small_inputs() -> list[np.ndarray]:
    """Arrays for `SMALL`."""
    import numpy as np
    return [np.linspace(-1, 1, 40, dtype="float32").reshape(5, 8),
            np.linspace(-1, 1, 32, dtype="float32").reshape(8, 4)]


def self_test(out: Findings) -> None:
    """Compile a small graph, run it, compare with the interpreter."""
    import time

    import numpy as np

    from graphk.ir.interp import run_graph
    from graphk.ir.text import parse_graph
    from graphk.runtime.compile import compile_graph
    start = time.perf_counter()
    graph = parse_graph(SMALL)
    inputs = small_inputs()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        got = compile_graph(graph, {})(inputs)
    for w in heard:
        out.fault(f"self-test: {w.message}")
    worst = max(float(np.abs(a - b).max()) for a, b in zip(got, run_graph(graph, inputs)))
    out.say("self-test", f"a small graph was compiled (or found in the cache) and run in "
                         f"{time.perf_counter() - start:.2f} s; it differs from the interpreter by at most {worst:.1e}")
    if worst > 1e-4:
        out.fault(f"self-test: compiled code and interpreter differ by {worst:.1e} (expected less than 1e-4); delete "
                  f"the "
                  "kernel cache, and report it with the lines above if it stays")


__all__ = ["Findings", "doctor", "examine"]
