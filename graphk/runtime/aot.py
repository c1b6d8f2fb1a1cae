"""Ahead of time: a program as a C library that needs no Python.

In: a planned Program, its variables, a target, the sizes it will be called with.  Out: a folder with the kernels'
object files, a C driver, a header, the weights, an example, and (where a C compiler is found) the shared library.  What
always holds: the kernels are those that a call in Python runs on one thread; sizes, offsets and strides are numbers in
the driver; the folder is whole or not there.
"""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from typing import Any, Mapping, Sequence

import numpy as np

from graphk.codegen import cache
from graphk.codegen.cpu import Source, print_kernel
from graphk.codegen.objects import BLOCK
from graphk.codegen.target import Target
from graphk.ir.dims import compile_dims, evaluate
from graphk.ir.effects import root_of, touched
from graphk.ir.loop import Kernel
from graphk.ir.node import Node
from graphk.ir.program import ALIGN, AnyStep, Buffer, Step, flat_steps
from graphk.ir.types import ITEMSIZE
from graphk.passes.pipeline import Result
from graphk.runtime.aot_text import EXAMPLE, HEADER, SOURCE, c_type, distinct, identifier
from graphk.runtime.calls import Calls
from graphk.runtime.panels import pack_job, packable


class ExportError(RuntimeError):
    """What keeps a program from being exported, or its library from being linked."""


@dataclass
class Layout:
    """What all sizes have in common: bytes of the weights' file, panels, kernels."""
    places: dict[str, int] = field(default_factory=dict)           # variable or constant -> place in the weights
    weights: list[bytes] = field(default_factory=list)
    nbytes: int = 0
    state: dict[str, int] = field(default_factory=dict)            # variable that is written -> place in the state
    state_bytes: int = 0
    panels: dict[Any, tuple[int, str]] = field(default_factory=dict)   # matrix -> (place, statement that packs it)
    panel_bytes: int = 0


class Exporter(Calls):
    """Writes one program."""

    def __init__(self, result: Result, variables: Mapping[Node, np.ndarray], target: Target, name: str,
                 outputs: Sequence[str] = ()):
        super().__init__(result)
        self.variables, self.target, self.name = variables, target, identifier(name)
        self.table = {b.name: b for b in self.program.buffers}
        self.roots = root_of(self.program)
        self.sources: dict[Kernel, Source] = {
            k: print_kernel(replace(k, label="k")) for k in dict.fromkeys(s.kernel for s in flat_steps(
                self.program.steps))}
        self.numbers = {k: i for i, k in enumerate(self.sources)}
        self.lasting = packable(self.program, {k: s.panels.param for k, s in self.sources.items() if s.panels})
        self.packers: dict[Any, int] = {}
        self.out = Layout()
        own = [self.name, *(f"{self.name}_{word}" for word in ("open", "predict", "close", "weights"))]
        self.in_names = distinct((b.name for b in self.inputs), own)
        self.out_names = distinct(outputs or [f"output_{i}" for i in range(len(self.outputs))], own + self.in_names)
        self._place_weights()

    # -------------------------------------------------------------- weights
    def _place_weights(self) -> None:
        written = set().union(*(touched(s, self.roots)[1] for s in self.program.steps), set())
        for b in self.program.buffers:
            if b.place not in ("variable", "const"):
                continue
            assert b.node is not None
            array = b.node.attr("value").array if b.place == "const" else self.variables[b.node]
            data = np.ascontiguousarray(array, b.type.dtype).tobytes()
            self.out.places[b.name] = self.out.nbytes
            self.out.weights.append(data + bytes(-len(data) % ALIGN))
            self.out.nbytes += len(self.out.weights[-1])
            if b.name in written:
                self.out.state[b.name] = self.out.state_bytes
                self.out.state_bytes += len(self.out.weights[-1])

    # -------------------------------------------------------------- one size
    def size_code(self, number: int, env: Mapping[str, int]) -> tuple[str, int]:
        """The C function that runs the program at `env`, and the bytes of memory that it needs."""
        arena = evaluate(self.program.arena, env)
        code = SizeCode(self, env, -(-arena // ALIGN) * ALIGN)
        code.steps(self.program.steps, 1)
        ends = ", ".join([*(f"const {c_type(b.type.dtype)} *{n}" for b, n in zip(self.inputs, self.in_names)),
                          *(f"{c_type(b.type.dtype)} *{n}" for b, n in zip(self.outputs, self.out_names))])
        text = "\n".join([f"static void run_{number}({self.name} *m, {ends}) {{", *code.lines, "}"])
        return text, code.scratch_at + code.scratch + code.spare

    # -------------------------------------------------------------- kernels
    def jobs(self) -> list[tuple[str, tuple[str, ...], Target]]:
        """Every kernel's source, under names of its own."""
        out = []
        for k, source in self.sources.items():
            text, names = source.text, tuple(f"gk{self.numbers[k]}_{e}" for e in source.entries)
            for old, new in zip(source.entries, names):
                text = re.sub(rf"^def {old}\(", f"def {new}(", text, flags=re.M)
            out.append((text, names, self.target))
        for (form, dtype), i in self.packers.items():
            text, _, target = pack_job(form, dtype, self.target)
            out.append((text.replace("def pack(", f"def gkp{i}_pack("), (f"gkp{i}_pack",), target))
        return out


class SizeCode:
    """The statements of a program at given sizes."""

    def __init__(self, exporter: Exporter, env: Mapping[str, int], scratch_at: int):
        self.x, self.env, self.scratch_at = exporter, env, scratch_at
        self.scratch = self.spare = 0
        self.lines: list[str] = []
        self.shift: dict[str, str] = {}                       # window -> C expression of its bytes from its buffer
        self.depth = 0
        for s in flat_steps(exporter.program.steps):          # the spare memory lies behind all scratch
            self.scratch = max(self.scratch, self._scratch(s))

    def _kernel_env(self, s: Step) -> dict[str, int]:
        return dict(zip(s.kernel.sizes, compile_dims(s.sizes)(self.env)))

    def _scratch(self, s: Step) -> int:
        source = self.x.sources[s.kernel]
        if source.workspace is None:
            return 0
        values = list(compile_dims(source.workspace.dims())(self._kernel_env(s)))
        each = source.workspace.elements(self.x.target.tile_shape(source.dtype), values) * ITEMSIZE[source.dtype]
        return -(-each // ALIGN) * ALIGN

    def steps(self, steps: Sequence[AnyStep], indent: int) -> None:
        pad = "  " * indent
        for s in steps:
            if isinstance(s, Step):
                self._call(s, pad)
                continue
            trips, *strides = compile_dims((s.length, *(d for _, _, d in s.windows)))(self.env)
            self.depth += 1
            t = f"t{self.depth}"
            head = f"for (int64_t {t} = {trips} - 1; {t} >= 0; {t}--)" if s.reverse else \
                f"for (int64_t {t} = 0; {t} < {trips}; {t}++)"
            self.lines.append(f"{pad}{head} {{")
            for (window, _, _), stride in zip(s.windows, strides):
                self.shift[window] = f" + {t} * {stride}"
            self.steps(s.body, indent + 1)
            self.lines.append(f"{pad}}}")
            self.depth -= 1

    def address(self, name: str) -> str:
        """A buffer's address as C."""
        b, shift = self.x.table[name], ""
        while b.place == "alias":
            shift += self.shift.get(b.name, "")
            b = self.x.table[b.base]
        if b.place == "arena":
            return f"(int64_t)m->memory + {evaluate(b.offset, self.env)}{shift}"
        if b.place == "input":
            return f"(int64_t){self.x.in_names[b.index]}{shift}"
        if b.place == "output":
            return f"(int64_t){self.x.out_names[b.index]}{shift}"
        if b.name in self.x.out.state:
            return f"(int64_t)m->state + {self.x.out.state[b.name]}{shift}"
        return f"(int64_t){self.x.name}_weights + {self.x.out.places[b.name]}{shift}"

    def _call(self, s: Step, pad: str) -> None:
        source, env = self.x.sources[s.kernel], self._kernel_env(s)
        words = [self.address(b) for b in s.buffers] + [str(env[n]) for n in s.kernel.sizes]
        if source.workspace:
            words += [f"(int64_t)m->memory + {self.scratch_at}", str(self._scratch(s) // ITEMSIZE[source.dtype])]
        if source.panels:
            words.append(self._packed(s, source, env, pad))
        self.lines.append(f"{pad}{{ int64_t a[] = {{{', '.join(words)}}};" + "".join(
            f" gk{self.x.numbers[s.kernel]}_{e}(a, 0, 1);" for e in source.entries) + " }"
            + (f"  /* {s.origin} */" if s.origin and "*/" not in s.origin else ""))

    def _packed(self, s: Step, source: Source, env: Mapping[str, int], pad: str) -> str:
        """Where the packed matrix lies, as C; 0 where the kernel packs it itself, or reads it in place."""
        form = source.panels
        assert form is not None
        base, rs, cs, k, n, rh, rw, few, rows = compile_dims(form.dims())(env)
        if not form.wanted(k, n, few, self.x.lasting.get(id(s)) is True):
            return "0"
        name, item = s.buffers[form.param], ITEMSIZE[source.dtype]
        nbytes = -(-form.elements(self.x.target.tile_shape(source.dtype), k, n) * item // ALIGN) * ALIGN
        at = f"{self.address(name)} + {base * item}, {rs}, {cs}, {k}, {n}, {rh}, {rw}"
        if self.x.lasting.get(id(s)):
            packer = self._packer(form, source.dtype)
            place, _ = self.x.out.panels.setdefault((at, packer), (
                self.x.out.panel_bytes, f"  {{ int64_t a[] = {{{at}, (int64_t)m->panels + {self.x.out.panel_bytes}}}; "
                                        f"gkp{packer}_pack(a, 0, 1); }}"))
            self.x.out.panel_bytes = max(self.x.out.panel_bytes, place + nbytes)
            return f"(int64_t)m->panels + {place}"
        if not form.each_time(n, rows):
            return "0"
        packer, where = self._packer(form, source.dtype), f"(int64_t)m->memory + {self.scratch_at + self.scratch}"
        self.lines.append(f"{pad}{{ int64_t a[] = {{{at}, {where}}}; gkp{packer}_pack(a, 0, 1); }}")
        self.spare = max(self.spare, nbytes)
        return where

    def _packer(self, form: Any, dtype: str) -> int:
        """The number of the kernel that packs such panels."""
        known = {pack_job(f, d, self.x.target): i for (f, d), i in self.x.packers.items()}
        job = pack_job(form, dtype, self.x.target)
        if job not in known:
            self.x.packers[form, dtype] = known[job] = len(self.x.packers)
        return known[job]


# ------------------------------------------------------------------ files
def export(result: Result, variables: Mapping[Node, np.ndarray], target: Target, name: str, directory: str,
           sizes: Mapping[int, Mapping[str, int]], outputs: Sequence[str] = (), compiler: str | None = None) -> str:
    """Write the library of a program into `directory`, which must not exist; returns the path of the library.

    sizes: for each batch size that the library knows the values of the program's dims; compiler: a C compiler ("" for
    none: then the path returned is the driver's).  ExportError if linking fails.
    """
    x = Exporter(result, variables, target, name, outputs)
    if os.path.exists(directory):
        raise ExportError(f"{directory} exists; name a folder that does not")
    bodies = [x.size_code(i, env) for i, env in enumerate(sizes.values())]
    objects = _objects(x)
    found = compiler if compiler is not None else next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), "")
    parent = os.path.dirname(os.path.abspath(directory))
    os.makedirs(parent, exist_ok=True)
    aside = tempfile.mkdtemp(prefix=".export-", dir=parent)
    try:
        _write(x, aside, bodies, objects, sizes)
        made = _link(x, aside, found, [n for n, _ in objects]) if found else f"{x.name}.c"
        os.chmod(aside, 0o755)
        os.rename(aside, directory)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return os.path.join(directory, made)


def _objects(x: Exporter) -> list[tuple[str, bytes]]:
    """(file name, ELF object) of each kernel and block."""
    made = [cache.get_object(*job) for job in x.jobs()]
    symbols = sorted({s for o in made for s in o.needs})
    made += [cache.get_object(BLOCK, (s,), x.target) for s in symbols]
    return [(f"kernel_{i}.o", o.data) for i, o in enumerate(made)]


def _write(x: Exporter, folder: str, bodies: Sequence[tuple[str, int]], objects: Sequence[tuple[str, bytes]],
           sizes: Mapping[int, Mapping[str, int]]) -> None:
    def put(name: str, data: bytes) -> None:
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)
    for name, data in objects:
        put(name, data)
    put(f"{x.name}.weights", b"".join(x.out.weights) or bytes(ALIGN))
    entries = [e for _, names, _ in x.jobs() for e in names]
    ins = [f"const {c_type(b.type.dtype)} *{n}" for b, n in zip(x.inputs, x.in_names)]
    outs = [f"{c_type(b.type.dtype)} *{n}" for b, n in zip(x.outputs, x.out_names)]
    shapes = [[compile_dims(b.type.shape)(env) for b in (*x.inputs, *x.outputs)] for env in sizes.values()]
    fill: dict[str, Any] = {
        "name": x.name, "NAME": x.name.upper(), "ends": ", ".join([*ins, *outs]),
        "names": ", ".join([*x.in_names, *x.out_names]), "cpu": x.target.cpu,
        "kernels": "\n".join(f"extern void {e}(int64_t *a, int64_t tid, int64_t nt);" for e in entries),
        "bodies": "\n\n".join(text for text, _ in bodies), "memory": max([n for _, n in bodies] + [ALIGN]),
        "panels": max(x.out.panel_bytes, ALIGN), "state": max(x.out.state_bytes, ALIGN),
        "load_state": "\n".join(
            f"  memcpy(m->state + {at}, {x.name}_weights + {x.out.places[n]}, {_nbytes(x.table[n])});"
            for n, at in x.out.state.items()),
        "pack": "\n".join(text for _, text in x.out.panels.values()),
        "cases": "\n".join(f"    case {b}: run_{i}(m, {', '.join([*x.in_names, *x.out_names])}); return 0;"
                           for i, b in enumerate(sizes)),
        "batches": ", ".join(map(str, sizes)), "first": next(iter(sizes)),
        "shapes": "\n".join(f"     batch {b}: " + ", ".join(
            f"{n} {'x'.join(map(str, s)) or 'scalar'}" for n, s in zip([*x.in_names, *x.out_names], shape))
            for b, shape in zip(sizes, shapes)),
        "declare": "\n".join(f"  static {c_type(b.type.dtype)} {n}[{max(int(np.prod(s)), 1)}];"
                             for b, n, s in zip((*x.inputs, *x.outputs), [*x.in_names, *x.out_names], shapes[0])),
        "read": "\n".join(_read_line(n, int(np.prod(s))) for n, s in zip(x.in_names, shapes[0])),
        "write": "\n".join(f"  fwrite({n}, sizeof *{n}, {int(np.prod(s))}, stdout);"
                           for n, s in zip(x.out_names, shapes[0][len(x.inputs):])),
    }
    for file, text in ((f"{x.name}.h", HEADER), (f"{x.name}.c", SOURCE), ("example.c", EXAMPLE)):
        put(file, re.sub(r"@(\w+)@", lambda m: str(fill[m[1]]), text).encode())
    put(f"{x.name}.map", f"{{ global: {x.name}_open; {x.name}_predict; {x.name}_close; local: *; }};\n".encode())


def _read_line(name: str, count: int) -> str:
    return (f"  if (fread({name}, sizeof *{name}, {count}, stdin) != {count}) {{\n"
            f'    fprintf(stderr, "{name}: standard input ended before its {count} numbers\\n");\n    return 3;\n  }}')


def _nbytes(b: Buffer) -> int:
    return int(compile_dims((b.nbytes,))({})[0])


def _link(x: Exporter, folder: str, compiler: str, objects: Sequence[str]) -> str:
    made = f"lib{x.name}.so"
    command = [compiler, "-O2", "-fPIC", "-shared", "-o", made, f"{x.name}.c", *objects,
               f"-Wl,--version-script={x.name}.map", "-lm"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as e:
        raise ExportError(f"the C compiler {compiler} cannot be started: {e.strerror}") from e
    if done.returncode:
        raise ExportError(f"`{' '.join(command)}` failed: {done.stderr.strip()[-2000:]}")
    return made


__all__ = ["ExportError", "Exporter", "export"]
