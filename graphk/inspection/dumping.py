"""Dumps: a folder per compiled graph with the result of every pass, the kernels, the memory plan and the times.

In: subjects (or, through `Recorder`, graphs as they are being compiled), a folder, and what to write.  Out: files, and
one `index.html` that leads to them.  What always holds: `.gk` files of graphs parse back; results of passes are written
as soon as they exist, so a compilation that fails leaves everything up to the failing pass; values of variables are
never written.
"""
from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Callable, Sequence

from graphk.codegen import cuda_compile
from graphk.inspection import arena, forms
from graphk.inspection.facts import PassTable, pass_rows, step_rows
from graphk.inspection.listing import block_listing, distinct_kernels
from graphk.inspection.page import Page, graph_text, write_whole
from graphk.inspection.subjects import PHASES, Subject, dims_for, subject_of, without_folders
from graphk.ir.node import Graph
from graphk.ir.text import print_graph
from graphk.passes.pipeline import PASSES, Record

FORMATS = ("text", "dot", "json", "html", "svg")
USUAL = FORMATS[:-1]                  # a page has the drawings already


@dataclass(frozen=True)
class Options:
    """What is written.  `after`: only the result of this pass; `kernels`: machine code, too; `show`: makes of each
    subject what is told, such as the same for another target."""
    formats: tuple[str, ...] = USUAL
    after: str | None = None
    kernels: bool = True
    batch: int = 32
    show: Callable[[Subject], Subject] = lambda s: s

    def __post_init__(self) -> None:
        wrong = [f for f in self.formats if f not in FORMATS]
        if wrong:
            raise ValueError(f"a dump has no format {wrong[0]!r}; expected some of {', '.join(FORMATS)}")
        names = ["captured", *(p.name for p in PASSES)]
        if self.after is not None and self.after not in names:
            raise ValueError(f"there is no pass {self.after!r}; expected one of {', '.join(names)}")


ENDINGS = {"text": "gk"}


def stage_text(name: str, ir: Any, form: str) -> str:
    """The result of one pass in one of `FORMATS`; `text` parses back."""
    if form == "dot":
        return forms.dot(ir)
    if form == "json":
        return json.dumps(forms.as_json(ir), ensure_ascii=False, indent=1) + "\n"
    text = print_graph(ir) if isinstance(ir, Graph) else without_folders(str(ir)) + "\n"
    if form == "text":
        return text
    from graphk.inspection import drawing                         # networkx, which only drawings need
    return drawing.svg(ir) if form == "svg" else drawing.html(f"{ir.name} after {name}", ir, graph_text(ir))


@dataclass
class Folder:
    """The files of one compiled graph, while they are being written."""
    path: Path
    options: Options
    count: int = 0
    files: list[str] = field(default_factory=list)

    def write(self, name: str, text: str) -> None:
        at = self.path / name
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(text, encoding="utf-8")
        self.files.append(name)

    def stage(self, name: str, ir: Any) -> None:
        """The result of one pass (number 00: the graph as captured)."""
        stem = f"{self.count:02d}-{name}"
        self.count += 1
        if self.options.after not in (None, name):
            return
        for form in self.options.formats:
            if form != "html" or self.options.after is not None:           # a page of all stages comes at the end
                self.write(f"{stem}.{ENDINGS.get(form, form)}", stage_text(name, ir, form))

    def finish(self, subject: Subject) -> None:
        """What is known only when the whole graph is compiled."""
        if self.options.after is None and "text" in self.options.formats:
            self._texts(subject)
            self._kernels(subject)
        if self.options.after is None and "html" in self.options.formats:
            page = Page(f"{subject.name}, {subject.phase} phase", [subject], batch=self.options.batch,
                        listings=self.options.kernels)
            write_whole(str(self.path / "page.html"), page.html())
            self.files.append("page.html")

    def _texts(self, s: Subject) -> None:
        env = dims_for(s.program, self.options.batch)
        self.write("program.gk", without_folders(str(s.program)) + "\n")
        self.write("notes.txt", "".join(f"{n}\n" for n in s.executable.result.notes) or "no fusion was considered\n")
        self.write("passes.txt", str(PassTable(pass_rows(s))) + "\n")
        self.write("memory.txt", arena.text(s, env))
        lines = [f"{r.index:3d} {'barrier ' if r.step.barrier else '':8}{r.step.kernel.label:40} "
                 f"{', '.join(f'{n}={v}' for n, v in zip(r.step.kernel.sizes, r.sizes)):40} ~{r.operations} "
                 f"operations, "
                 f"{r.bytes} bytes{'  ' + r.loop if r.loop else ''}  # {r.origin}" for r in step_rows(s.program, env)]
        self.write("steps.txt", "\n".join(lines) + "\n")

    def _kernels(self, s: Subject) -> None:
        done: set[str] = set()
        for view in distinct_kernels([s]).values():
            stem = f"kernels/{view.id}-{view.label}"
            self.write(f"{stem}.gk", f"{view.kernel}\n")
            self.write(f"{stem}.py", view.text + "\n")
            if not self.options.kernels:
                continue
            if view.cuda:
                if s.gpu is None or cuda_compile.available():          # a simulated GPU needs no PTX
                    self.write(f"{stem}.ptx", view.ptx())
                continue
            made = view.listing()
            self.write(f"{stem}.ll", made.ir)
            self.write(f"{stem}.s", f"# {made.counts}\n" + made.asm)
            for symbol in made.blocks:
                if symbol not in done:
                    done.add(symbol)
                    block = block_listing(symbol, view.target)
                    self.write(f"kernels/{symbol}.ll", block.ir)
                    self.write(f"kernels/{symbol}.s", f"# {block.counts}\n" + block.asm)


class Recorder:
    """Writes a folder for each graph that is compiled while it is registered in `graphk.runtime.observed.OBSERVERS`."""

    def __init__(self, directory: str | os.PathLike[str], options: Options = Options()):
        self.directory, self.options = Path(directory), options
        self.rows: list[tuple[str, str, str, list[str]]] = []

    def __call__(self, graph: Graph, phase: int) -> "Compilation":
        """A graph is about to be compiled."""
        return Compilation(self, graph, phase)

    def folder(self, name: str, phase: str) -> Folder:
        """The next numbered folder; numbers go on where an earlier dump into the same directory stopped."""
        self.directory.mkdir(parents=True, exist_ok=True)
        used = [int(m[1]) for m in (re.match(r"(\d{3,})-", p.name) for p in self.directory.iterdir()) if m]
        number = max(used, default=0) + 1
        while True:
            stem = "-".join([f"{number:03d}", re.sub(r"\W+", "_", name) or "graph", *([phase] if phase else [])])
            try:
                (self.directory / stem).mkdir()
            except FileExistsError:                  # another process writes here, too
                number += 1
                continue
            return Folder(self.directory / stem, self.options)

    def done(self, folder: Folder, title: str, result: str) -> None:
        """Add a folder to `index.html`."""
        self.rows.append((folder.path.name, title, result, list(folder.files)))
        write_whole(str(self.directory / "index.html"), index_page(self.rows))


class Compilation:
    """One graph on its way through the compiler."""

    def __init__(self, recorder: Recorder, graph: Graph, phase: int):
        depends = any(n.op.name == "phase" for n in graph.nodes())
        self.phase = PHASES[phase] if depends else "any"       # one executable serves both where nothing depends on it
        self.recorder, self.name = recorder, graph.name
        self.folder = recorder.folder(graph.name, self.phase)
        self.folder.stage("captured", graph)

    def passed(self, record: Record) -> None:
        self.folder.stage(record.name, record.after)

    def finished(self, executable: Any) -> None:
        subject = self.recorder.options.show(subject_of(self.name, self.phase, executable))
        self.folder.finish(subject)
        program = subject.program
        self.recorder.done(self.folder, f"{self.name}, {self.phase} phase",
                           f"{len(program.steps)} steps, {len(distinct_kernels([subject]))} kernels, "
                           f"{sum(r.seconds for r in subject.records) * 1e3:.0f} ms in passes")

    def failed(self, error: BaseException) -> None:
        self.folder.write("error.txt", f"{type(error).__name__}: {without_folders(str(error))}\n")
        self.recorder.done(self.folder, f"{self.name}, {self.phase} phase", "failed, see error.txt")


INDEX_STYLE = """body { font: 14px/1.6 system-ui, sans-serif; margin: 24px; color: #1d2129; background: #fbfbfa; }
table { border-collapse: collapse; } td, th { text-align: left; padding: 4px 14px 4px 0; vertical-align: top; }
tr { border-bottom: 1px solid #e2e4e8; } a { color: #2f5fd0; } details a { display: block; }"""


def index_page(rows: Sequence[tuple[str, str, str, list[str]]]) -> str:
    """The page that leads to every file of a dump."""
    out = []
    for name, title, result, files in rows:
        page = f'<a href="{name}/page.html">page</a>' if "page.html" in files else ""
        links = "".join(f'<a href="{name}/{escape(f)}">{escape(f)}</a>' for f in files)
        out.append(f"<tr><td>{escape(name)}</td><td>{escape(title)}</td><td>{escape(result)}</td><td>{page}</td>"
                   f"<td><details><summary>{len(files)} files</summary>{links}</details></td></tr>")
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>graphk dump</title><style>'
            + INDEX_STYLE
            + f"</style></head><body><h1>graphk dump: {len(rows)} compiled "
              f"graphs</h1><table><tr><th>folder</th><th>graph</th>"
            "<th>result</th><th></th><th></th></tr>\n" + "\n".join(out) + "</table></body></html>\n")


def dump(subjects: Sequence[Subject], directory: str | os.PathLike[str], options: Options) -> str:
    """Write every stage of compiled graphs into `directory`; returns it."""
    recorder = Recorder(directory, options)
    for s in subjects:
        work = Compilation(recorder, s.captured, int(s.phase == "train"))
        for record in s.records:
            work.passed(record)
        work.finished(s.executable)
    return os.fspath(directory)


# ------------------------------------------------------------------ GRAPHK_DUMP
_installed: dict[str, Recorder] = {}


def observer_from_environment() -> Callable[[Graph, int], Compilation]:
    """The recorder that `GRAPHK_DUMP=directory` asks for, one per directory."""
    directory = os.environ["GRAPHK_DUMP"]
    if directory not in _installed:
        try:
            os.makedirs(directory, exist_ok=True)
        except OSError as e:
            raise OSError(f"GRAPHK_DUMP={directory}: no such folder can be made ({e.strerror}). Name a folder that can "
                          f"be written, or unset GRAPHK_DUMP.") from None
        _installed[directory] = Recorder(os.path.abspath(directory))
    return _installed[directory]


__all__ = ["FORMATS", "USUAL", "stage_text", "Compilation", "Options", "Recorder", "dump", "observer_from_environment"]
