"""The parts of the page that no script draws: tables, kernels, the memory timeline, the fusion notes.

In: subjects and what `facts`, `arena` and `listing` say of them.  Out: HTML text.  What always holds: every text that
comes from a model or a program is escaped.
"""
from __future__ import annotations

import re
from html import escape
from typing import Any, Iterable, Mapping, Sequence

from graphk.inspection import arena
from graphk.inspection.facts import StepRow, human, pass_rows, step_rows
from graphk.inspection.listing import Counts, KernelView, block_listing
from graphk.inspection.subjects import Subject
from graphk.inspection.timing import Times
from graphk.ir.node import Graph

GOLDEN = 137.508                    # degrees: neighbours in the list of layers get hues far apart
Hues = Mapping[str, int]


def table(head: Sequence[str], rows: Iterable[Sequence[str]], css: str = "", numeric: Sequence[int] = ()) -> str:
    """An HTML table of ready-made cells; columns in `numeric` are set right."""
    def cell(tag: str, i: int, text: str) -> str:
        return f'<{tag}{" class=n" if i in numeric else ""}>{text}</{tag}>'
    top = "".join(cell("th", i, escape(h)) for i, h in enumerate(head))
    body = "\n".join("<tr>" + "".join(cell("td", i, c) for i, c in enumerate(r)) + "</tr>" for r in rows)
    return (f'<div class="scroll"><table class="{css}"><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table>'
            "</div>")


def hues_of(layers: Iterable[str]) -> dict[str, int]:
    """A hue in degrees for each layer; -1 (grey) for what belongs to none."""
    return {name: -1 if " " in name else round(210 + i * GOLDEN) % 360 for i, name in enumerate(layers)}


def plural(n: int, word: str) -> str:
    return f"{n} {word}" + ("" if n == 1 else "s")


def swatch(hue: int) -> str:
    return f'<i class="swatch" style="--h:{hue};--s:{0 if hue < 0 else 62}%"></i>'


def layer_in(origin: str) -> str:
    """The layer that an origin's text names."""
    found = re.match(r"layer ([^,]+)", origin)
    return found[1] if found else ""


# ------------------------------------------------------------------ the model
def model_table(thing: Any, hues: Hues) -> str:
    """The layers of a model, or the inputs and outputs of a function."""
    if hasattr(thing, "layers"):
        rows = _layer_rows(thing.layers, hues)
        total = sum(layer.count_params() for layer in thing.layers)
        return table(["layer", "class", "output shape", "parameters", "reads"], rows, "model", [3]) + \
            f"<p class=dim>{total:,} parameters. Their values are not in this page.</p>"
    rows = [[word, escape(str(getattr(t, "name", t))), escape(str(getattr(t, "shape", ""))),
             escape(str(getattr(t, "dtype", "")))]
            for word, ts in (("input", getattr(thing, "inputs", ())), ("output", getattr(thing, "outputs",
                                                                                         ()))) for t in ts
            if hasattr(t, "name")]
    return table(["", "name", "shape", "dtype"], rows, "model") if rows else ""


def _layer_rows(layers: Sequence[Any], hues: Hues, depth: int = 0) -> list[list[str]]:
    """A row for each, and behind a model, whose nodes are its layers', indented ones for these."""
    rows = []
    for layer in layers:
        name, inner = escape(layer.name), getattr(layer, "layers", ()) if hasattr(layer, "get_layer") else ()
        said = name if inner else f'<button class="layer" data-layer="{name}">{name}</button>'
        rows.append(["&emsp;" * depth + swatch(hues.get(layer.name, -1)) + said, escape(type(layer).__name__),
                     escape(_shape(layer)), f"{layer.count_params():,}", escape(", ".join(_feeds(layer)))])
        rows += _layer_rows(inner, hues, depth + 1)
    return rows


def _shape(layer: Any) -> str:
    try:
        return str(layer.output_shape)
    except AttributeError:
        return "several"


def _feeds(layer: Any) -> list[str]:
    nodes = getattr(layer, "_inbound_nodes", [])
    return list(dict.fromkeys(source.name for node in nodes for source in node.inbound_layers))


# ------------------------------------------------------------------ one graph
def cards(s: Subject, env: Mapping[str, int], times: Times | None = None) -> str:
    """The numbers that one wants first."""
    steps, a = step_rows(s.program, env), arena.plan(s.program, env)
    rows = pass_rows(s)
    groups = max((r.groups for r in rows), default=0)
    items = [(str(rows[0].before if rows else 0), "nodes captured"), (str(groups), "fused groups"),
             (str(len(steps)), "kernel calls"), (str(len({x.step.kernel.key() for x in steps})), "distinct kernels"),
             *([(_duration(times.call), "a call, measured")] if times else []),
             (human(sum(x.operations for x in steps)), "scalar operations, estimated"), (human(a.bytes, "B"), "arena"),
             (human(a.saved, "B"), "saved by sharing"), (f"{sum(r.milliseconds for r in rows):.0f} ms",
                                                         "in all passes")]
    return '<div class="cards">' + "".join(f"<div><b>{escape(v)}</b><span>{k}</span></div>" for v,
                                           k in items) + "</div>"


def _duration(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs" if seconds < 1e-2 else f"{seconds * 1e3:.0f} ms"


def passes_table(s: Subject) -> str:
    rows = pass_rows(s)
    most = max((r.milliseconds for r in rows), default=0) or 1
    cells = []
    for r in rows:
        change = f"{r.after - r.before:+d}" if r.before != r.after and r.name != "lower" else ""
        bar = f'<span class="bar" style="width:{max(1, 160 * r.milliseconds / most):.0f}px"></span>'
        note = f"{r.groups} groups" if r.groups else "" if r.changed else "unchanged"
        cells.append([f"<b>{escape(r.name)}</b>", str(r.before), str(r.after), r.unit, change, note,
                      f"{r.milliseconds:.2f}", bar])
    return table(["pass", "before", "after", "", "change", "", "ms", ""], cells, "passes", [1, 2, 4, 6])


def steps_table(s: Subject, env: Mapping[str, int], kernels: Mapping[str, KernelView], hues: Hues,
                times: Times | None = None) -> str:
    """What runs, in order, with sizes for `env`; the bars are times where they were measured, else operations."""
    rows = step_rows(s.program, env)
    most = (max(times.steps, default=0) if times else max((r.operations for r in rows), default=0)) or 1
    cells = []
    seen: set[int] = set()
    for r in rows:
        k = kernels[r.step.kernel.key()]
        sizes = ", ".join(f"{n}={v}" for n, v in zip(r.step.kernel.sizes, r.sizes))
        link = f'<a href="#{k.id}">{escape(r.step.kernel.label)}</a>'
        first = r.index not in seen                  # a loop's time stands in its first row
        seen.add(r.index)
        part = (times.steps[r.index] if first else 0.) if times else r.operations
        bar = f'<span class="bar" style="width:{max(1, 120 * part / most):.0f}px"></span>' if first or not times else ""
        taken = f"{part * 1e6:.1f}" if times and first else ""
        origin = swatch(hues.get(layer_in(r.origin), -1)) + escape(r.origin.removeprefix("layer "))
        cells.append([str(r.index) + (f" <small>{escape(r.loop)}</small>" if r.loop else ""), _wait(r), origin, link,
                      escape(sizes), taken, bar, human(r.operations), human(r.bytes, "B"),
                      f"{r.operations / r.bytes:.1f}" if r.bytes else ""])
    note = ("Times are measured on this machine, each step run by itself at its place, with random inputs; below about "
            "0.5 µs they are noise. " if times else "Times were not measured: the bars are operations. ")
    return f'<p class="dim">{note}Operations and bytes are the compiler\'s estimates.</p>' + table(
        ["step", "", "layer", "kernel", "sizes", "µs" if times else "", "", "operations", "bytes", "ops/byte"], cells,
        "steps", [0, 5, 7, 8, 9])


def _wait(r: StepRow) -> str:
    if not r.step.barrier:
        return ""
    return '<span title="waits until all threads have finished the steps before">barrier</span>'


def notes_head(s: Subject, part: str) -> str:
    """How many pairs were considered, and a search box for the rows of `notes_table`, which is that part."""
    notes = s.executable.result.notes
    yes = sum(n.fused for n in notes)
    return (f'<p class="dim">{yes} fused, {len(notes) - yes} considered and refused. '
            f'<input class="filter" type="search" data-for="{part}" placeholder="search: a layer, an op, a reason" '
            'size="36">'
            '<span class="hits"></span></p>')


def notes_table(s: Subject) -> str:
    """Why nodes were fused or kept apart."""
    cells = [['<b class="yes">fused</b>' if n.fused else '<b class="no">apart</b>', escape(n.producer),
              escape(n.consumer), escape(n.reason)]
             for n in sorted(s.executable.result.notes, key=lambda n: n.fused)]
    return table(["", "producer", "reader", "reason"], cells, "notes")


# ------------------------------------------------------------------ memory
ROW, COLUMN, LABEL = 15, 26, 96


def memory_svg(s: Subject, env: Mapping[str, int], hues: Hues) -> str:
    """Arena slots by steps: each bar is a buffer's life; below, the bytes in use."""
    a = arena.plan(s.program, env, arena.beside(s, env))
    steps = len(s.program.steps)
    if not a.slots:
        return "<p>Nothing is stored between the steps: every result goes straight to an output or a variable.</p>"
    biggest = max(x.bytes for x in a.slots) or 1
    wide = max(COLUMN, min(60, 1100 // max(1, steps)))
    parts, y = [], 20.0
    for slot in a.slots:
        tall = ROW + 34 * slot.bytes / biggest
        parts.append(f'<text class="slot" x="{LABEL - 6}" y="{y + tall / 2 + 4:.0f}">{human(slot.bytes, "B")}</text>'
                     f'<rect class="lane" x="{LABEL}" y="{y:.0f}" width="{steps * wide}" height="{tall - 2:.0f}"/>')
        parts += [_life(x, y, ROW + 34 * x.bytes / biggest, wide, hues) for x in slot.lives]
        y += tall
    parts += [f'<text class="step" x="{LABEL + i * wide + wide / 2:.0f}" y="13">{i}</text>' for i in range(steps)]
    graph, height = _live(a, y + 14, wide)
    total = human(sum(a.outside.values()), "B")
    return (f'<p class="dim">Each row is a place in the arena, each bar a buffer from its first to its last step, '
            f'the higher the more bytes. Arena '
            f'{human(a.bytes, "B")}; most in use at once {human(a.peak, "B")} (a place counts with its largest '
            f'buffer); '
            f'without sharing it would be {human(a.unshared, "B")}, so sharing saves <b>{human(a.saved, "B")}</b>. '
            f'Outside: {total} of inputs, outputs, variables, constants, packed weights and workspace.</p>'
            f'<div class="scroll tall"><svg class="memory" width="{LABEL + steps * wide + 8}" height="{height:.0f}">'
            + "".join(parts) + graph + "</svg></div>")


def _life(x: arena.Life, y: float, tall: float, wide: float, hues: Hues) -> str:
    left, width = LABEL + x.first * wide + 1, (x.last - x.first + 1) * wide - 2
    hue = hues.get(layer_in(x.origin), -1)
    label = f"{x.name} {x.type}"
    room = width - wide                            # the next buffer may begin in this one's last step
    label = label if len(label) * 6 < room else x.name if len(x.name) * 6 < max(room, width / 2) else ""
    tip = escape(f"%{x.name}: {x.type}, {x.bytes} bytes, steps {x.first} to {x.last}"
                 + (f", {x.origin}" if x.origin else ""))
    return (f'<g><title>{tip}</title><rect class="life" style="--h:{hue};--s:{0 if hue < 0 else 62}%" x="{left:.0f}" '
            f'y="{y + 1:.0f}" width="{width:.0f}" height="{tall - 4:.0f}" rx="3"/>'
            f'<text x="{left + 5:.0f}" y="{y + tall / 2 + 3:.0f}">{escape(label)}</text></g>')


def _live(a: arena.Arena, y: float, wide: float) -> tuple[str, float]:
    """Columns of the bytes in use, and where the drawing ends."""
    tall, most = 70, a.peak or 1
    out = [f'<text class="slot" x="{LABEL - 6}" y="{y + 12:.0f}">{human(a.peak, "B")}</text>',
           f'<text class="slot" x="{LABEL - 6}" y="{y + tall:.0f}">in use</text>']
    for i, n in enumerate(a.live):
        h = tall * n / most
        css = "peak" if n == a.peak else "use"
        out.append(f'<rect class="{css}" x="{LABEL + i * wide + 1:.0f}" y="{y + tall - h:.1f}" width="{wide - 2:.0f}" '
                   f'height="{h:.1f}"><title>step {i}: {n} bytes in use</title></rect>')
    return "".join(out), y + tall + 6


# ------------------------------------------------------------------ kernels
def kernel_section(views: Iterable[KernelView], counts: Mapping[str, Counts], blocks: Mapping[str, str],
                   listings: bool) -> str:
    """Every distinct kernel.  `counts`: by kernel, of a processor's code; `blocks`: contraction block -> its id;
    `listings`: whether the page has machine code."""
    return "\n".join(_kernel(v, counts.get(v.id), blocks, listings) for v in views)


def _kernel(v: KernelView, c: Counts | None, blocks: Mapping[str, str], listings: bool) -> str:
    used = ", ".join(f"{plural(n, 'call')} in {escape(t)}" for t, n in v.users.items())
    also = f' <span class="dim">also called {escape(", ".join(v.labels[1:]))}</span>' if len(v.labels) > 1 else ""
    count = f'<p class="counts">{escape(str(c))}</p>' if c else ""
    calls = ""
    if c:
        links = ", ".join(f'<a href="#{blocks[b]}">{escape(short_symbol(b))}</a> '
                          f'({block_listing(b, v.target).counts.fma} '
                          "fused multiply-adds)" for b in v.listing().blocks)
        calls = f"<p class=dim>calls {links}</p>" if links else ""
    source = escape(v.text)
    code = f"<details><summary>generated source</summary><pre>{source}</pre></details>"
    if listings:
        code = (f'<details><summary>{"CUDA source beside PTX" if v.cuda else "source beside assembly"}</summary>'
                f'<div class="sides"><pre>{source}</pre><pre data-text="asm:{v.id}"></pre></div></details>')
    if c:
        code += f'<details><summary>LLVM IR</summary><pre data-text="ir:{v.id}"></pre></details>'
    return (f'<article class="kernel" id="{v.id}"><h4><code>{escape(v.label)}</code> '
            f'<span class="tag">{escape(str(v.kernel.schedule))}</span> <span '
            f'class="dim">{used}</span>{also}</h4>{count}{calls}'
            f'<pre class="ir">{escape(str(v.kernel))}</pre>{code}</article>')


def block_section(blocks: Mapping[str, str], views: Sequence[KernelView]) -> str:
    """The contraction blocks that kernels share."""
    if not blocks:
        return ""
    target = views[0].target
    out = []
    for symbol, ident in blocks.items():
        made = block_listing(symbol, target)
        out.append(f'<article class="kernel" id="{ident}"><h4><code>{escape(short_symbol(symbol))}</code> '
                   f'<span class="dim">{escape(symbol)}</span></h4><p class="counts">{escape(str(made.counts))}</p>'
                   f'<details><summary>LLVM IR</summary><pre data-text="ir:{ident}"></pre></details>'
                   f'<details><summary>assembly</summary><pre data-text="asm:{ident}"></pre></details></article>')
    return "<h3>Blocks shared by matrix products</h3>" + "".join(out)


def short_symbol(symbol: str) -> str:
    """`gk.gemm_tile.16.pf32…` as `gemm_tile`."""
    parts = symbol.split(".")
    return parts[1] if len(parts) > 1 else symbol


GUIDE = """<aside class="guide"><p><b>Graph</b>: what the layers and the loss built (<i>captured</i>), and the same
after each pass, ready for comparison. A colour is a layer; rounded dashed nodes are inputs and variables. After
<i>fuse</i>, a blue box is one kernel.</p><p><b>Steps</b>: the kernel calls that one call of the compiled
function makes, in order. <b>Memory</b>: where their results lie, and for how long. <b>Fusion</b>: why nodes share a
kernel, or do not. <b>Kernels</b>: loops, source, LLVM IR and assembly.</p></aside>"""


def graph_sizes(s: Subject) -> list[tuple[str, Any]]:
    """("captured", graph), then (pass, result) in order."""
    out: list[tuple[str, Any]] = [("captured", s.captured)]
    return out + [(r.name, r.after) for r in s.records]


def is_graph(ir: Any) -> bool:
    return isinstance(ir, Graph)


__all__ = ["GUIDE", "block_section", "cards", "graph_sizes", "hues_of", "is_graph", "kernel_section", "memory_svg",
           "model_table", "notes_head", "notes_table", "passes_table", "plural", "short_symbol", "steps_table",
           "swatch", "table"]
