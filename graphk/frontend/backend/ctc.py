"""Connectionist temporal classification (Graves et al., 2006): the loss, and the labels that a prediction spells.

In: probabilities (samples, time, classes), whose last class is the blank; label and time lengths (samples, 1).
Out: the negative log probability of the labels, or decoded labels.  What always holds: the loss is one `scan` over time
in log space, whose gradient is finite; a labelling that no alignment can spell costs inf and passes no gradient.
"""
from __future__ import annotations

import math
from collections import defaultdict
from functools import partial
from typing import Any

import numpy as np

from graphk.frontend.backend import creation
from graphk.frontend.backend import math_ops as m
from graphk.frontend.backend.common import epsilon
from graphk.frontend.backend.control import cumsum, loop
from graphk.frontend.later import later
from graphk.frontend.tensor import Tensor, node_of
from graphk.ir.node import Node, topological
from graphk.ir.opdef import const
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops import nn
from graphk.ir.ops import reduce as red
from graphk.ir.ops import shape as sh
from graphk.ir.types import TensorType, shape_text

_NEVER = -1e30                               # log 0 that can be subtracted from itself


# ------------------------------------------------------------------ the loss
def ctc_batch_cost(y_true: Any, y_pred: Any, input_length: Any, label_length: Any) -> Tensor:
    """-log of the probability that `y_pred` spells `y_true`, summed over all alignments: (samples, 1).

    y_true: (samples, labels), classes; y_pred: (samples, time, classes), probabilities, the last class is the blank;
    input_length, label_length: (samples, 1), how many steps and labels of each row count.

    >>> from graphk import backend as K
    >>> cost = K.ctc_batch_cost([[0]], K.constant([[[.5, .5], [.5, .5]]]), [[2]], [[1]])
    >>> K.eval(K.exp(-cost)).round(3).tolist()
    [[0.75]]
    """
    logs = nn.log_softmax(_logs(y_pred), -1)
    if logs.ndim != 3:
        raise ValueError(f"K.ctc_batch_cost: `y_pred` must have the shape (samples, time, classes); received "
                         f"{shape_text(logs.shape)}.")
    steps, count = _column(input_length), _column(label_length)
    labels = _counted(y_true, count)
    classes, width = logs.shape[-1], labels.shape[1]
    emitted = m.batch_dot(Tensor(logs), Tensor(nn.one_hot(labels, classes, logs.dtype)), axes=(2, 2)).node
    blank = sh.slice_axis(logs, 2, classes - 1, 1)
    new = ew.ne(sh.slice_axis(_after(labels, -1), 1, 0, width), labels)
    blanks, spelt = _forward(emitted, blank, new, steps)
    ends = [ew.select(ew.eq(_places(width + 1), count), blanks, _NEVER),
            ew.select(ew.eq(_places(width), ew.sub(count, 1)), spelt, _NEVER)]
    total = nn.logsumexp(sh.concat(*ends, axis=1), 1, keepdims=True)
    return Tensor(ew.select(ew.gt(total, _NEVER / 2), ew.neg(total), const(math.inf, logs.dtype)))


def _counted(labels: Any, count: Node) -> Node:
    """The labels of each row, and 0 behind the first `count`."""
    node = ew.cast(node_of(labels), "int32")
    return ew.select(ew.lt(_places(node.shape[1]), count), node, 0)


def ctc_label_dense_to_sparse(labels: Any, label_lengths: Any) -> Tensor:
    """The labels (samples, longest) that count, `label_lengths` (samples,) of each row, as a sparse int32 tensor: what
    is behind them is not stored, which is to say 0.

    >>> from graphk import backend as K
    >>> K.eval(K.ctc_label_dense_to_sparse(K.constant([[3, 1, 9], [2, 9, 9]]), [2, 1])).tolist()
    [[3, 1, 0], [2, 0, 0]]
    """
    return creation.mark_sparse(Tensor(_counted(labels, _column(label_lengths))))


def _forward(emitted: Node, blank: Node, new: Node, steps: Node) -> tuple[Node, Node]:
    """Log probabilities of all prefixes after the last step: that end in a blank (samples, labels + 1), by how many
    labels came before it, and in a label (samples, labels).

    emitted: (samples, time, labels); blank: (samples, time, 1); new: whether a label differs from the one before it.
    """
    samples, time, width = emitted.shape
    never = const(_NEVER, emitted.dtype)
    start = ew.select(ew.eq(_places(width + 1), 0), const(0.0, emitted.dtype), never)
    carry = [sh.broadcast_to(start, (samples, width + 1)), sh.broadcast_to(never, (samples, width))]

    def step(c: list[Node], x: list[Node]) -> tuple[list[Node], list[Node]]:
        blanks, spelt = c
        label, gap, t = x
        before = _after(spelt, _NEVER)                                             # (samples, labels + 1)
        next_blanks = ew.add(_either(blanks, before), gap)
        jump = ew.select(new, sh.slice_axis(before, 1, 0, width), never)
        stay = _either(spelt, sh.slice_axis(blanks, 1, 0, width))
        next_spelt = ew.add(_either(stay, jump), label)
        runs = ew.lt(t, steps)
        return [ew.select(runs, next_blanks, blanks), ew.select(runs, next_spelt, spelt)], []
    xs = [sh.transpose(emitted, perm=(1, 0, 2)), sh.transpose(blank, perm=(1, 0, 2)), sh.iota(time, "int32")]
    last = loop(step, carry, xs, time, name="ctc")[0]
    return last[0], last[1]


def _either(a: Node, b: Node) -> Node:
    """log(exp a + exp b), also where both are `_NEVER`."""
    top = ew.max(a, b)
    return ew.add(top, ew.softplus(ew.neg(ew.sub(top, ew.min(a, b)))))


def _logs(y_pred: Any) -> Node:
    return ew.log(ew.add(node_of(y_pred), epsilon()))


def _column(x: Any) -> Node:
    """Lengths (samples, 1) or (samples,) as int32 (samples, 1)."""
    node = ew.cast(node_of(x), "int32")
    return node if node.ndim == 2 else sh.reshape(node, shape=(node.shape[0], 1))


def _places(count: Any) -> Node:
    """(1, count): 0, 1, 2, …"""
    return sh.reshape(sh.iota(count, "int32"), shape=(1, count))


def _after(x: Node, first: float) -> Node:
    """`x` with a column of `first` before it."""
    return sh.concat(sh.broadcast_to(const(first, x.dtype), (x.shape[0], 1)), x, axis=1)


# ------------------------------------------------------------------ decoding
def ctc_decode(y_pred: Any, input_length: Any, greedy: bool = True, beam_width: int = 100, top_paths: int = 1
               ) -> tuple[list[Tensor], Tensor]:
    """The labels that `y_pred` (samples, time, classes) spells: ([labels], log probability).

    greedy: the best class of each step, and minus the sum of their logs (samples, 1); else a beam search for the
    `top_paths` likeliest labellings, best first, and their log probabilities (samples, top_paths).  Labels are int64
    (samples, longest), with -1 after the last.  Where `y_pred` or `input_length` depends on a placeholder, the greedy
    labels are (samples, time) instead, because the longest is not known before the values are; what a beam search finds
    can be an output of a function then, and nothing can be computed from it.  What needs no placeholder is decoded at
    once, with the values variables have at that time.

    >>> from graphk import backend as K
    >>> p = K.one_hot(K.constant([[0, 0, 2, 0, 1, 2]], dtype='int32'), 3)
    >>> K.get_value(K.ctc_decode(p, [6])[0][0]).tolist()
    [[0, 0, 1]]
    """
    logs, lengths = _logs(y_pred), _column(input_length)
    known = not any(n.op.name in ("input", "phase") for n in topological([logs, lengths]))
    if greedy:
        labels, cost = _best_path(logs, lengths)
        if known:
            values, cost = (creation.eval(x) for x in (labels, cost))
            longest = int((values >= 0).sum(axis=1).max()) if values.size else 0
            labels, cost = _constant(values[:, :longest]), _constant(cost)
        return [labels], cost
    p = nn.log_softmax(logs, -1)
    search = partial(_search, beam_width, top_paths)
    if known:
        *paths, scores = map(_constant, search(creation.eval(Tensor(p)), creation.eval(Tensor(lengths))))
    else:
        kinds = [TensorType("int64", (p.shape[0], creation.fresh_dim())) for _ in range(top_paths)]
        *paths, scores = later(search, (p, lengths), [*kinds, TensorType(p.dtype, (p.shape[0], top_paths))],
                               "what K.ctc_decode(greedy=False) finds")
    return paths, scores


def _search(beam_width: int, top_paths: int, p: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """The best labels of all samples, the second best, …, and the log probabilities."""
    found = [_beam(row[:int(n[0])], beam_width, top_paths) for row, n in zip(p, lengths)]
    paths = [_padded([f[k][0] for f in found]) for k in range(top_paths)]
    return [*paths, np.array([[score for _, score in f] for f in found], p.dtype).reshape(-1, top_paths)]


def _constant(value: np.ndarray) -> Tensor:
    return creation.constant(value, dtype=value.dtype.name)


def _best_path(logs: Node, lengths: Node) -> tuple[Tensor, Tensor]:
    """The best class of each step without repeats and blanks, moved to the front: (samples, time); and its cost."""
    samples, time, classes = logs.shape
    best = red.argmax(logs, axis=-1)
    counts = ew.lt(_places(time), lengths)
    new = ew.ne(best, sh.slice_axis(_after(best, -1), 1, 0, time))
    kept = ew.logical_and(ew.logical_and(counts, new), ew.lt(best, sh.dim_value(classes - 1, "int64")))
    place = ew.sub(cumsum(Tensor(ew.cast(kept, "int32")), 1).node, 1)

    def across(x: Node) -> Node:                                                  # (samples, 1, time)
        return sh.reshape(x, shape=(*x.shape[:1], 1, time))
    hits = ew.logical_and(across(kept), ew.eq(across(place), sh.reshape(sh.iota(time, "int32"), shape=(1, time, 1))))
    labels = red.max_(ew.select(hits, across(best), const(-1, "int64")), axes=-1)
    top = ew.select(counts, red.max_(logs, axes=-1), const(0.0, logs.dtype))
    return Tensor(labels), Tensor(ew.neg(red.sum_(top, axes=1, keepdims=True)))


def _beam(logs: np.ndarray, beam_width: int, top_paths: int) -> list[tuple[tuple[int, ...], float]]:
    """The likeliest labellings of one sample (time, classes) and their log probabilities, best first.

    Each prefix carries two sums of alignments, those that end in a blank and those that end in its last label.
    """
    blank = logs.shape[-1] - 1
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}
    for row in logs.astype("float64"):
        grown: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [-math.inf, -math.inf])

        def give(prefix: tuple[int, ...], end: int, score: float, grown: Any = grown) -> None:
            grown[prefix][end] = np.logaddexp(grown[prefix][end], score)
        for prefix, (gap, label) in beam.items():
            both = np.logaddexp(gap, label)
            give(prefix, 0, both + row[blank])
            for c in range(blank):
                if prefix and c == prefix[-1]:
                    give(prefix, 1, label + row[c])
                    give((*prefix, c), 1, gap + row[c])
                else:
                    give((*prefix, c), 1, both + row[c])
        order = sorted(grown, key=lambda k: -np.logaddexp(grown[k][0], grown[k][1]))[:beam_width]
        beam = {k: (grown[k][0], grown[k][1]) for k in order}
    out = [(k, float(np.logaddexp(*v))) for k, v in beam.items()][:top_paths]
    if len(out) < top_paths:
        raise ValueError(f"K.ctc_decode: top_paths={top_paths} labellings were asked for, and a beam of {beam_width} "
                         f"over {len(logs)} steps holds {len(out)}; ask for fewer, or widen the beam.")
    return out


def _padded(paths: list[tuple[int, ...]]) -> np.ndarray:
    out = np.full((len(paths), max((len(p) for p in paths), default=0)), -1, "int64")
    for row, path in zip(out, paths):
        row[:len(path)] = path
    return out


__all__ = ["ctc_batch_cost", "ctc_decode", "ctc_label_dense_to_sparse"]
