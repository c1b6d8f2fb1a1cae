"""One kernel in all its forms: text, source, LLVM IR, assembly, CUDA source and PTX.

In: subjects, and a kernel's name (its label, the name that a program's text gives it, or `k3` as pages number them).
Out: tables and texts.  What always holds: each text begins with the steps that run the kernel, their layers and the
user's lines, and with the pass that made it; PTX needs no GPU.
"""
from __future__ import annotations

from typing import Mapping, Sequence

from graphk.inspection.facts import StepRow, around_steps, human, layers_of_steps, step_rows
from graphk.inspection.listing import KernelView, block_listing, distinct_kernels
from graphk.inspection.subjects import Subject, dims_for
from graphk.ir.program import kernel_names

VIEWS = ("text", "source", "llvm", "asm", "cuda", "ptx")
MADE = {"text": "the pass `schedule`", "source": "`graphk.codegen.cpu`, from the kernel that the pass `schedule` made",
        "llvm": "Numba and LLVM, from the source", "asm": "LLVM, from the source",
        "cuda": "`graphk.codegen.cuda`, from the kernel that the pass `schedule` made",
        "ptx": "numba-cuda, from the CUDA source"}


def views_for(subjects: Sequence[Subject], views: Sequence[str]) -> list[str]:
    """The views that show some views of subjects on their target: a GPU has its own, source and PTX.

    ValueError for a view that it has not.
    """
    if not any(s.cuda for s in subjects):
        return list(views) or ["text"]
    if "llvm" in views:
        raise ValueError("for cuda a kernel has its source and PTX, and no LLVM IR here; expected source, asm or ptx")
    return [{"text": "cuda", "source": "cuda", "asm": "ptx"}.get(v, v) for v in views] or ["cuda"]


class Kernels:
    """The distinct kernels of some compiled graphs, and the steps that run them."""

    def __init__(self, subjects: Sequence[Subject], batch: int = 32, dims: Mapping[str, int] | None = None):
        self.views = distinct_kernels(subjects)
        self.rows: dict[str, list[tuple[Subject, StepRow]]] = {key: [] for key in self.views}
        self.layers: dict[int, list[str]] = {}                        # by the identity of the row
        self.around: dict[int, set[str]] = {}
        self.names: dict[str, set[str]] = {key: {v.id, *v.labels} for key, v in self.views.items()}
        for s in subjects:
            known = {k: v for k, v in (dims or {}).items() if k in s.program.dims}
            layers, around = layers_of_steps(s.program), around_steps(s.program)
            for i, row in enumerate(step_rows(s.program, dims_for(s.program, batch, known))):
                self.rows[row.step.kernel.key()].append((s, row))
                self.layers[id(row)] = layers.get(i) or [row.origin.split(", ")[0].removeprefix("layer ")]
                self.around[id(row)] = around.get(i, set())
            for kernel, name in kernel_names(s.program.steps).items():
                self.names[kernel.key()].add(name)

    def find(self, name: str) -> list[str]:
        """The keys of the kernels that have this name, or else of the layer; ValueError with all names if none."""
        exact = [key for key, v in self.views.items() if v.id == name]
        found = exact or [key for key, names in self.names.items() if name in names] or [
            key for key, rows in self.rows.items()
            if any(name in self.layers[id(r)] or name in self.around[id(r)] for _, r in rows)]
        if not found:
            raise ValueError(f"there is no kernel {name!r}, and no layer of that name has one; there are "
                             + ", ".join(f"{v.id} ({v.label})" for v in self.views.values()))
        return found

    def table(self) -> str:
        """A line per kernel, the most operations first."""
        lines = [f"{'kernel':<6} {'label':<40} {'steps':>5} {'operations':>10} {'bytes':>10}  layers"]
        total = {key: sum(r.operations for _, r in rows) for key, rows in self.rows.items()}
        for key in sorted(self.views, key=lambda k: -total[k]):
            view, rows = self.views[key], self.rows[key]
            layers = list(dict.fromkeys(x for _, r in rows for x in self.layers[id(r)] if x))
            more = f", … ({len(layers)})" if len(layers) > 4 else ""
            lines.append(f"{view.id:<6} {view.label:<40} {len(rows):>5} {human(total[key]):>10} "
                         f"{human(sum(r.bytes for _, r in rows), 'B'):>10}  {', '.join(layers[:4])}{more}")
        return "\n".join(lines)

    # -------------------------------------------------------------- one kernel
    def head(self, key: str, what: str, mark: str) -> str:
        """Who runs the kernel, and what made the text below."""
        view = self.views[key]
        processor = f", for {view.target.cpu or 'this CPU'}" * (what in ("llvm", "asm"))
        lines = [f"kernel {view.id} `{view.label}`, {what}: made by {MADE[what]}{processor}"]
        for s, r in self.rows[key]:
            sizes = ", ".join(f"{k} = {v}" for k, v in zip(r.step.kernel.sizes, r.sizes))
            layers = [x for x in self.layers[id(r)] if x]
            line = r.origin.split(", ")[-1] if ":" in r.origin else ""
            where = ", ".join(x for x in (layers and f"layers {', '.join(layers)}", line) if x)
            lines.append(f"{s.title}, step {r.index}: {where or 'outside layers'}" + (f"; {sizes}" if sizes else "")
                         + f"; {human(r.operations)} operations, {human(r.bytes, 'B')}"
                         + f"; {r.loop}" * bool(r.loop))
        return "".join(f"{mark} {x}\n" for x in lines)

    def text(self, key: str, what: str) -> str:
        """One of `VIEWS` of a kernel, with its head; ImportError where PTX needs a package that is missing."""
        view = self.views[key]
        mark = {"llvm": ";", "ptx": "//"}.get(what, "#")
        return self.head(key, what, mark) + _body(view, what, mark)


def _body(view: KernelView, what: str, mark: str) -> str:
    if what == "text":
        return f"{view.kernel}\n"
    if what == "source":
        return view.source.text + "\n"
    if what in ("llvm", "asm"):
        made = view.listing()
        parts = [f"{mark} {made.counts}\n", made.ir if what == "llvm" else made.asm]
        for symbol in made.blocks:
            block = block_listing(symbol, view.target)
            parts += [f"{mark} the contraction block {symbol}: {block.counts}\n",
                      block.ir if what == "llvm" else block.asm]
        return "".join(parts)
    return view.cuda_source().text + "\n" if what == "cuda" else view.ptx()


__all__ = ["Kernels", "VIEWS", "views_for"]
