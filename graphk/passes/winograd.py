"""Which convolutions are computed in Winograd's way, with fewer products and more additions.

In: a kernel scheduled as a contraction, and its sizes.  Out: the same kernel, its schedule perhaps `winograd2` or
`winograd4`.  What always holds: it is a 3x3 window of stride 1 over rows of pixels whose channels are neighbours,
in float32, and the operations saved outweigh the transforms; results differ from the direct sum by rounding alone
(about 1e-6 of the largest for `winograd4`).  `GRAPHK_WINOGRAD=0` keeps all convolutions direct.
"""
from __future__ import annotations

import os
from dataclasses import replace
from typing import Mapping

from graphk.ir.dims import Dim, product, substitute
from graphk.ir.effects import contracted_loops, contraction_operands
from graphk.ir.loop import Acc, Kernel, Let, Loop, Schedule, Stmt, coefficient

WEIGHTS_IN_CACHE = 2_000_000      # transformed weights (elements) beyond which reading them again costs more than sums


def in_winograds_way(kernel: Kernel, sizes: Mapping[str, Dim]) -> Kernel:
    """`kernel` with the faster schedule, if it is such a convolution."""
    if kernel.schedule is None or kernel.schedule.kind != "tile" or not _allowed():
        return kernel
    extents = _window(kernel)
    if extents is None:
        return kernel
    m = _best(*(substitute(d, sizes) for d in extents))
    return replace(kernel, schedule=Schedule(f"winograd{m}", kernel.schedule.axes)) if m else kernel


def _allowed() -> bool:
    text = os.environ.get("GRAPHK_WINOGRAD", "").strip()
    if text not in ("", "0", "1"):
        raise ValueError(f"GRAPHK_WINOGRAD is {text!r}; expected 0, which keeps all convolutions direct, or 1.")
    return text != "0"


def _window(kernel: Kernel) -> tuple[Dim, ...] | None:
    """Extents of rows, columns, window rows, window columns, channels in and out; None if there is no such window."""
    body: list[Stmt] = [s for s in kernel.body if not isinstance(s, Let)]
    nest: list[Loop] = []
    while len(body) == 1 and isinstance(body[0], Loop):
        nest.append(body[0])
        body = list(body[0].body)
    inner = contracted_loops(nest[-1])
    parts = contraction_operands(inner[-1])
    acc = nest[-1].body[0]
    if len(nest) < 3 or len(inner) != 3 or parts is None or not isinstance(acc, Acc) or acc.dtype != "float32":
        return None
    a, b = parts[0].load, parts[1].load
    if a is None or b is None:
        return None
    down, across = [coefficient(a.index, x.axis) for x in nest[-3:-1]]
    if [coefficient(a.index, x.axis) for x in inner] != [down, across, 1]:
        return None
    if any(coefficient(b.index, x.axis) != 0 for x in nest[:-1]):
        return None
    return nest[-3].extent, nest[-2].extent, *(x.extent for x in inner), nest[-1].extent


def _best(rows: Dim, columns: Dim, wr: Dim, wc: Dim, k: Dim, n: Dim) -> int:
    """The tile size m of the cheapest form; 0: the direct one.  Costs are vector operations of 4x4 or all pixels."""
    if wr != 3 or wc != 3 or not isinstance(k, int) or not isinstance(n, int):
        return 0
    whole = isinstance(rows, int) and isinstance(columns, int)

    def tiles(m: int) -> float:
        return float(-(-rows // m) * -(-columns // m)) if whole else 16 / m ** 2
    pixels = float(product([rows, columns])) if whole else 16.
    direct = pixels * 9 * k * n
    best, at = 0.8 * direct, 0
    for m in (4, 2):
        p = (m + 2) ** 2
        if m == 4 and whole and tiles(4) <= 4 and p * k * n > WEIGHTS_IN_CACHE:
            continue
        cost = tiles(m) * (p * k * n + 9 * p * k + (9 * p + 16 * m * m) * n)
        if cost < best:
            best, at = cost, m
    return at


__all__ = ["in_winograds_way"]
