"""One self-contained HTML page about a model or a function.

In: a model or a function, where the page goes, and a batch size.  Out: the page's path.  What always holds: the page
fetches nothing (no link, script, font or image from elsewhere, and a policy in it that forbids them), holds no value of
any weight, names files without their folders, and is written whole or not at all; what is not looked at when it opens
(drawings of other stages, long tables, texts) lies in it packed.
"""
from __future__ import annotations

import base64
import json
import os
import re
import zlib
from html import escape
from pathlib import Path
from typing import Any, Mapping, Sequence

import graphk
from graphk.codegen import cuda_compile
from graphk.inspection import sections
from graphk.inspection.facts import fusion_of_nodes, graph_records, same, step_rows, successors, twins
from graphk.inspection.listing import KernelView, block_listing, distinct_kernels
from graphk.inspection.subjects import Subject, of_phase, sized, without_folders
from graphk.inspection.timing import fits, measure
from graphk.inspection.views import NO_LAYER, GraphView, NodeTable
from graphk.ir.node import Graph
from graphk.ir.text import print_graph

_DATA = re.compile(r'base64 "[A-Za-z0-9+/=]{24,}"')
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


class Page:
    """Builds the page of some subjects.  `listings`: compile the kernels once more, for LLVM IR and assembly (or PTX);
    `times`: run them on arrays of their own, to say how long each step takes, where their target is here."""

    def __init__(self, title: str, subjects: Sequence[Subject], thing: Any = None, batch: int = 32,
                 dims: Mapping[str, int] | None = None, listings: bool = True, times: bool = False):
        self.title, self.subjects, self.thing, self.batch = title, list(subjects), thing, batch
        self.listings = listings and (cuda_compile.available() or not any(s.cuda for s in self.subjects))
        self.env = [env for _, env in sized(self.subjects, batch, dims)]
        self.times = [measure(s, env) if times and s.timed and fits(s, env) else None
                      for s, env in zip(self.subjects, self.env)]
        self.kernels = distinct_kernels(self.subjects)
        self.views: list[KernelView] = list(self.kernels.values())
        self.texts: dict[str, str] = {}
        self.parts: dict[str, str] = {}                    # what the page unpacks when it is looked at
        self.nodes = NodeTable()
        for layer in getattr(thing, "layers", ()):
            self.nodes.layers.setdefault(layer.name, len(self.nodes.layers))
        self.stages = [self._stages(i, s) for i, s in enumerate(self.subjects)]
        self.hues = sections.hues_of(self.nodes.layers)
        self.blocks: dict[str, str] = {}
        self.counts = {v.id: self._listing(v) for v in self.views} if self.listings else {}

    # -------------------------------------------------------------- data for the script
    def _stages(self, number: int, s: Subject) -> list[dict[str, Any]]:
        """Each stage's name, drawing and text; a pass that changed nothing shares its predecessor's."""
        steps = {row.step.group: (self.kernels[row.step.kernel.key()].id, row.index)
                 for row in step_rows(s.program, self.env[number]) if row.step.group is not None}
        became = {n: steps[f] for n, f in fusion_of_nodes(s).items() if f in steps}
        for before, after in graph_records(s):
            for new, old in successors(before, after).items():
                self.nodes.link(new, old)
        for copy, original in twins(s).items():
            self.nodes.alias(copy, original)
        out: list[dict[str, Any]] = []
        last: Any = None
        for name, ir in sections.graph_sizes(s):
            if out and same(last, ir):
                out.append({**out[-1], "name": name, "same": True})
                continue
            last, key = ir, f"text:{number}:{name}"
            self.texts[key] = graph_text(ir)
            view = GraphView(ir, self.nodes, became).data() if isinstance(ir, Graph) else None
            out.append({"name": name, "text": key, "view": view})
        return out

    def _listing(self, v: KernelView) -> Any:
        if v.cuda:
            self.texts[f"asm:{v.id}"] = v.ptx()
            return None
        made = v.listing()
        self.texts[f"ir:{v.id}"], self.texts[f"asm:{v.id}"] = made.ir, made.asm
        for symbol in made.blocks:
            if symbol not in self.blocks:
                ident = self.blocks[symbol] = f"b{len(self.blocks)}"
                block = block_listing(symbol, v.target)
                self.texts[f"ir:{ident}"], self.texts[f"asm:{ident}"] = block.ir, block.asm
        return made.counts

    def data(self) -> dict[str, Any]:
        """What is needed at once: names, colours, times; `self.parts` gets the drawings, which stages share."""
        phases = []
        for s, stages, times in zip(self.subjects, self.stages, self.times):
            shown, used = [], set[int]()
            for stage in stages:
                view = stage["view"]
                if view is not None and not stage.get("same"):
                    self.parts[f"view{len(self.parts)}"] = compact(view)
                    used |= {self.nodes.rows[n[0]][3] for n in view["nodes"]}
                shown.append({"name": stage["name"], "text": stage["text"], "same": bool(stage.get("same")),
                              "boxes": bool(view and view["boxes"]),
                              "view": list(self.parts)[-1] if view is not None else ""})
            micro = [round(t * 1e6, 2) for t in times.steps] if times else []
            phases.append({"title": s.title, "stages": shown, "layers": sorted(used), "times": micro})
        layers = [[name, self.hues[name]] for name in self.nodes.layers]
        return {"lines": self.nodes.code, "layers": layers, "phases": phases,
                "kernels": {v.id: v.label for v in self.views}}

    # -------------------------------------------------------------- HTML
    def html(self) -> str:
        here = Path(__file__).parent
        css, *js = [(here / f).read_text(encoding="utf-8") for f in ("page.css", "page_graph.js", "page.js")]
        data = script_json(self.data())
        tabs = "".join(f'<button class="tab" data-phase="{i}">{escape(s.title)}</button>'
                       for i, s in enumerate(self.subjects))
        body = "".join(self._phase(i, s) for i, s in enumerate(self.subjects)) + self._kernels()
        self.parts["nodes"] = compact(self.nodes.rows)
        self.parts.update((k, t) for k, t in self.texts.items() if k.startswith("text:"))
        self.parts["listings"] = compact({k: t for k, t in self.texts.items() if not k.startswith("text:")})
        parts = "".join(f'<script type="text/plain" id="part:{escape(k)}">{packed(t)}</script>\n'
                        for k, t in self.parts.items())
        return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
                f'content="width=device-width"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
                f"<title>graphk: {escape(self.title)}</title><style>\n{css}</style></head>\n<body>\n{self._header()}"
                f'<nav><span class="tabs">{tabs}</span><span class="jump"></span></nav>\n<main>\n'
                f"<noscript><p>Tables of passes are below; drawings, steps, memory and kernels are packed and need "
                f"scripts.</p></noscript>\n{body}</main>\n"
                f'<script type="application/json" id="data">{data}</script>\n{parts}'
                f'<script>\n{"".join(js)}</script>\n</body></html>\n')

    def _header(self) -> str:
        s = self.subjects[0]
        machine = "no kernels" if not self.views else s.told if s.cuda else f"{s.told}, {s.target.lanes} float32 lanes"
        sizes = ", ".join(sorted({f"{k} = {v}" for env in self.env for k, v in env.items()}))
        model = sections.model_table(self.thing, self.hues) if self.thing is not None else ""
        kind = type(self.thing).__name__ if self.thing is not None else "compiled graph"
        return (f'<header><h1><span class="mark">graphk</span> {escape(self.title)}</h1>'
                f'<p class="dim">{escape(kind)} · graphk {graphk.__version__} · {escape(machine)} · sizes shown for '
                f'{escape(sizes or "fixed shapes")} · {sections.plural(len(self.subjects), "graph")}, '
                f'{sections.plural(len(self.views), "distinct kernel")}</p>'
                f'<div class="top"><div>{model}</div>{sections.GUIDE}</div></header>\n')

    def _phase(self, i: int, s: Subject) -> str:
        env, times = self.env[i], self.times[i]
        self.parts[f"steps{i}"] = sections.steps_table(s, env, self.kernels, self.hues, times)
        self.parts[f"memory{i}"] = sections.memory_svg(s, env, self.hues)
        self.parts[f"fusion{i}"] = sections.notes_table(s)
        out = [f'<section class="phase" data-phase="{i}" id="p{i}"><h2>{escape(s.title)}</h2>',
               sections.cards(s, env, times),
               f'<h3 data-jump>Graph</h3><div class="explorer" data-phase="{i}"></div>',
               "<h3 data-jump>Passes</h3>", sections.passes_table(s),
               "<h3 data-jump>Steps</h3>", place(f"steps{i}"), "<h3 data-jump>Memory</h3>", place(f"memory{i}"),
               "<h3 data-jump>Fusion</h3>", sections.notes_head(s, f"fusion{i}"), place(f"fusion{i}"), "</section>\n"]
        return "".join(out)

    def _kernels(self) -> str:
        what = "" if self.listings else (" PTX is not shown: it needs the package numba-cuda." if self.subjects[0].cuda
                                         else " Machine code was not asked for.")
        self.parts["kernels"] = (sections.kernel_section(self.views, self.counts, self.blocks, self.listings)
                                 + sections.block_section(self.blocks, self.views))
        return ('<section id="kernels"><h2 data-jump>Kernels</h2><p class="dim">Equal kernels compile once, whatever '
                f"the shapes and layers they serve: sizes are run-time numbers.{what} "
                '<input class="filter" type="search" data-for="kernels" placeholder="search kernels" size="28"><span '
                'class="hits"></span></p>' + place("kernels") + "</section>")


def place(part: str) -> str:
    """Where the script puts a part when it comes near."""
    return f'<div class="place" data-part="{part}"></div>'


def packed(text: str) -> str:
    """A part as the page holds it."""
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def compact(data: Any) -> str:
    """JSON without spaces."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def graph_text(ir: Any) -> str:
    """The text form, large constants by their length and files without folders."""
    text = print_graph(ir) if isinstance(ir, Graph) else without_folders(str(ir))
    return _DATA.sub(lambda m: f'base64 "… {len(m[0]) - 9} characters …"', text)


def script_json(data: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return compact(data).replace("</", "<\\/").replace("<!--", "<\\u0021--")


def write_whole(path: str, text: str) -> str:
    """Write a file aside, then rename it over the final one."""
    parent = os.path.dirname(os.path.abspath(path))
    os.makedirs(parent, exist_ok=True)
    aside = f"{path}.{os.getpid()}.tmp"
    try:
        with open(aside, "w", encoding="utf-8") as f:
            f.write(text)
        os.replace(aside, path)
    except OSError as e:
        if os.path.exists(aside):
            os.unlink(aside)
        raise OSError(e.errno, f"the page cannot be written ({e.strerror}); give a path in a writable folder",
                      path) from e
    return path


def report(model_or_function: Any, path: Any, batch: int = 32, dims: Mapping[str, int] | None = None,
           times: bool = True, phase: str | None = None, target: str | None = None) -> str:
    """Write the page of a model or function; returns the path.

    batch: the number of samples that sizes, times and memory are shown for; dims: values of other symbolic dims by
    name (a number of time steps; 16 unless given); times: measure how long each step takes (a few seconds); phase: this
    graph alone; target: for whom kernels are shown (`Subject.on`).

    >>> import os, tempfile
    >>> from graphk import backend as K
    >>> x = K.placeholder(shape=(None, 4))
    >>> page = report(K.function([x], [K.softmax(x)]), os.path.join(tempfile.mkdtemp(), "softmax.html"))
    >>> "softmax" in open(page).read()
    True
    """
    subjects = of_phase(model_or_function, phase, target)
    title = getattr(model_or_function, "name", "") or subjects[0].name
    return write_whole(os.fspath(path), Page(title, subjects, model_or_function, batch, dims, times=times).html())


__all__ = ["NO_LAYER", "Page", "graph_text", "report", "write_whole"]
