"""`graphk summary`: the layers of a model, what each computes and moves, and what the model needs of memory.

In: a model that is built, and a number of samples.  Out: a `Summary`, which prints as tables and shows itself as HTML.
What always holds: FLOPs, multiply-adds and bytes are summed over the kernels of the compiled graphs by the layers that
their nodes stem from, so that fused and simplified work counts where it went; shapes and parameters are layers' own.
"""
from __future__ import annotations

import gc
from dataclasses import dataclass
from html import escape
from typing import Any, Callable, Iterator, Mapping, Sequence

from graphk.frontend.engine.training import Model
from graphk.frontend.utils.layer_utils import count_params
from graphk.inspection import arena
from graphk.inspection.costs import Share, by_layer, step_costs
from graphk.inspection.facts import human
from graphk.inspection.sections import table
from graphk.inspection.subjects import Subject, dims_for, of_phase, subjects_of
from graphk.inspection.tables import columns, shortened

HEAD = ("layer (type)", "output shape", "params", "trainable", "mult-adds", "FLOPs", "read + written")
TRAIN_HEAD = ("train FLOPs", "train r + w")
MEMORY_HEAD = ("graph", "batch", "arena", "groups of rows", "workspace", "packed weights", "variables",
               "inputs, outputs", "together")
BATCHES = (1, 8, 32, 128)


@dataclass(frozen=True)
class LayerRow:
    """A layer.  `costs`: its part in the graphs predict and, if the model is compiled, train; None: no part."""
    name: str
    kind: str
    depth: int
    shape: str
    params: int
    trainable: int
    costs: tuple[Share | None, ...]

    @property
    def title(self) -> str:
        return "  " * self.depth + self.name + (f" ({self.kind})" if self.kind else "")


@dataclass(frozen=True)
class MemoryRow:
    """Bytes of one graph at one batch size."""
    graph: str
    batch: int
    bytes: tuple[int, ...]


@dataclass(frozen=True)
class Summary:
    """The tables of one model: `layers`, `total` (a row of the whole), `memory`; `phase`: of this graph alone."""
    model: str
    batch: int
    layers: tuple[LayerRow, ...]
    total: LayerRow
    memory: tuple[MemoryRow, ...]
    phase: str | None = None

    @property
    def _call(self) -> str:
        return f"FLOPs and bytes of one call{f' of {self.phase}' if self.phase else ''} with {self.batch} samples"

    def _head(self) -> tuple[str, ...]:
        return HEAD + (TRAIN_HEAD if len(self.total.costs) > 1 else ())

    def _memory_cells(self) -> list[tuple[str, ...]]:
        return [(m.graph, str(m.batch), *(human(n, "B") for n in m.bytes), human(sum(m.bytes), "B"))
                for m in self.memory]

    def __str__(self) -> str:
        rows = [_cells(r) for r in self.layers]
        t = self.total
        lines = columns(self._head(), [*rows, _cells(t)], (0, 1)).split("\n")
        rule = "=" * max(map(len, lines))
        return "\n".join([f"{self.model}, {self._call}", rule, lines[0], rule,
                          *lines[1:-1], rule, lines[-1], rule,
                          f"parameters: {t.params:,}, trainable {t.trainable:,}, frozen {t.params - t.trainable:,}", "",
                          "memory of a call", columns(MEMORY_HEAD, self._memory_cells())])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [[escape(c) for c in _cells(r)] for r in (*self.layers, self.total)]
        return (f"<p><b>{escape(self.model)}</b>, {self._call}</p>"
                + table(self._head(), rows, numeric=range(2, 9))
                + table(MEMORY_HEAD, self._memory_cells(), numeric=range(1, 9)))


def _cells(r: LayerRow) -> tuple[str, ...]:
    first, *train = [("-", "-", "-") if c is None else (human(c.macs) if c.macs else "-", human(c.flops),
                                                        human(c.bytes, "B")) for c in r.costs]
    return (shortened(r.title, 48), shortened(r.shape, 40), f"{r.params:,}", f"{r.trainable:,}", *first,
            *(x for t in train for x in t[1:]))


# ------------------------------------------------------------------ making it
def summary(model: Any, batch: int = 32, dims: Mapping[str, int] | None = None, phase: str | None = None,
            show: Callable[[Subject], Subject] = lambda s: s) -> Summary:
    """The tables of `model`, of its graphs predict and train or of one `phase` (train, test, predict).

    show: makes of each subject what is told.  TypeError for anything but a model, RuntimeError if it is not built,
    ValueError for a phase that it lacks and for a name in `dims` that no graph of it has.
    """
    if not isinstance(model, Model):
        raise TypeError(f"summary shows the layers of a model: received {type(model).__name__}, expected a Model or a "
                        "Sequential")
    subjects = of_phase(model, phase) if phase else [s for s in subjects_of(model)[::-1] if s.title != "test"]
    subjects = [show(s) for s in subjects]
    known = {d for s in subjects for d in s.program.dims}
    wrong = sorted(set(dims or ()) - known)
    if wrong:
        raise ValueError(f"the model `{model.name}` has no size {wrong[0]}; it has "
                         f"{', '.join(sorted(known)) or 'none'}")
    costs = [by_layer(step_costs(s, dims_for(s.program, batch, dims))) for s in subjects]
    layers = list(_rows(model, costs, 0))
    seen = {r.name for r in layers}
    layers += [LayerRow(name, "", 0, "", 0, 0, tuple(c.get(name) for c in costs))
               for name in dict.fromkeys(k for c in costs for k in c) if name not in seen]
    params = count_params(model.weights)
    sums = tuple(Share("total", *(sum(getattr(s, f) for s in c.values()) for f in ("flops", "macs", "bytes")))
                 for c in costs)
    total = LayerRow("total", "", 0, "", params, count_params(model.trainable_weights), sums)
    title = f"{type(model).__name__} {model.name}"
    return Summary(title, batch, tuple(layers), total, tuple(_memory(subjects, batch, dims)), phase)


def _rows(model: Any, costs: Sequence[Mapping[str, Share]], depth: int) -> Iterator[LayerRow]:
    """The layers, those of models inside behind them."""
    for layer in model.layers:
        yield LayerRow(layer.name, type(layer).__name__, depth, shape_of(layer), layer.count_params(),
                       count_params(layer.trainable_weights), tuple(c.get(layer.name) for c in costs))
        if isinstance(layer, Model):
            yield from _rows(layer, costs, depth + 1)


def shape_of(layer: Any) -> str:
    """The output shape as text."""
    try:
        return str(layer.output_shape)
    except AttributeError:
        return "several"


def _memory(subjects: Sequence[Subject], batch: int, dims: Mapping[str, int] | None) -> Iterator[MemoryRow]:
    for s in subjects:
        for n in sorted({*BATCHES, batch}):
            env = dims_for(s.program, n, dims)
            a = arena.plan(s.program, env, arena.beside(s, env))
            o = {"groups of rows": 0, "workspace": 0, "packed weights": 0, **a.outside}
            yield MemoryRow(s.title, n, (a.bytes, o["groups of rows"], o["workspace"], o["packed weights"],
                                         o["variable"] + o["const"], o["input"] + o["output"]))


# ------------------------------------------------------------------ the models of a script
class Models:
    """Keeps the models that are alive when one of their graphs is compiled; an observer of compilations."""

    def __init__(self) -> None:
        self.found: dict[int, Any] = {}

    def __call__(self, graph: Any, phase: int) -> Models:
        return self

    def passed(self, record: Any) -> None:
        """Nothing is kept of passes."""

    def failed(self, error: BaseException) -> None:
        """What did not compile is told by the script."""

    def finished(self, executable: Any) -> None:
        self.found.update((id(m), m) for m in gc.get_objects() if isinstance(m, Model))

    def outer(self) -> list[Any]:
        """Those with a compiled graph."""
        return [m for m in self.found.values()
                if any(getattr(m, f"{p}_function", None) is not None for p in ("train", "test", "predict"))]


__all__ = ["LayerRow", "MemoryRow", "Models", "Summary", "shape_of", "summary"]
