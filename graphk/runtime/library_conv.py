"""Convolutions in the text of kernels.

In: a contraction kernel one of whose operands is windows, and numbers for its sizes.  Out: its `Convolution`.  What
always holds: a window's place and the place in it are a pair of axes, one of the results and one contracted, whose
strides are multiples of one stride, that of an axis of the image; of all such pairings that tell the same addresses,
the one with the smallest image is taken, and only if no two places of the image share an element.  Zeros around an
image are read from the text (`effects.padded`), and asked of the library, or written by a kernel before.

The gradient of filters is the same sum with larger windows than results; it is asked for as what it is.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product as combinations
from math import gcd, prod
from typing import Iterator, Mapping, Sequence

from graphk.ir.dims import evaluate, substitute
from graphk.ir.effects import Edge, padded
from graphk.ir.loop import Kernel
from graphk.ir.ops.leaves import fresh_input
from graphk.ir.ops.shape import pad
from graphk.ir.types import ITEMSIZE, TensorType
from graphk.passes.lower import pad_kernel
from graphk.passes.schedule import schedule_kernel
from graphk.runtime import library_match
from graphk.runtime.library import NARROW, Convolution, Refused, Tensor
from graphk.runtime.library_ending import Ending
from graphk.runtime.library_match import Match, Nest, Numbers, Pack, Source, Strides, behind, exact_in_tf32, with_rest

RANKS = (2, 3)                    # axes of an image


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of the image: the axes of the loops that walk it (None: one place), its extent and stride, how many
    of its places a step of either is, and how many zeros are before and after it."""
    result: str | None
    summed: str | None
    extent: int
    stride: int
    step: int = 1
    dilation: int = 1
    around: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Image:
    """The operand of windows: its axes, and the loops that are no part of a window (one axis each)."""
    axes: tuple[Axis, ...]
    results: tuple[str, ...]
    sums: tuple[str, ...]


def match_convolution(nest: Nest, sizes: Mapping[str, int], narrow: tuple[str, str] = ("", ""),
                      tf32: bool = False, plain: bool = False, apart: bool = False, wide: bool = False) -> Match:
    """The convolution that a nest is at these sizes; raises `Refused` with the reason.

    Images are read where they lie; if both operands were rounded to one narrow type (`narrow`), they are written as
    such, but not if `wide`: tf32 holds them exactly, too.  plain: whether nothing may be done with a sum.  apart:
    whether zeros around the image are not for the library.
    """
    numbers = Numbers(nest, sizes, tf32 or exact_in_tf32(narrow))
    if numbers.depth < library_match.LONG:
        raise Refused(f"{numbers.depth} contracted places are too few for a convolution of a library")
    if numbers.batch:
        raise Refused("there are several convolutions in one")
    reasons: dict[str, None] = {}
    attempts: list[_Attempt] = []
    for side in (0, 1):
        try:
            attempts.append(_Attempt(numbers, side))
        except Refused as e:
            reasons[str(e)] = None
    kind = narrow[0] if narrow[0] == narrow[1] and not wide else ""
    for dtype in (kind, nest.acc.dtype) if kind else (nest.acc.dtype,):
        for attempt in attempts:
            for alone in (False, True):
                try:
                    return attempt.match(alone, plain, apart, dtype)
                except Refused as e:
                    reasons[str(e)] = None
    raise Refused("; ".join(reasons))


class _Attempt:
    """One operand as the image."""

    def __init__(self, numbers: Numbers, side: int):
        self.numbers, self.nest, self.side = numbers, numbers.nest, side
        found = padded(self.nest.sides[side])
        self.load = found.load if found else numbers.plain(side)
        self.first = numbers.source(replace(self.load, index=found.first) if found else self.load)
        self.strides = numbers.strides(self.load.index)
        self.edges = [self.edge(e) for e in found.edges] if found else []
        other = self.nest.sides[1 - side].load
        lie = numbers.strides(other.index) if other is not None else {}
        self.filters = sorted(numbers.own[1 - side], key=lambda a: -lie.get(a, 0))
        self.last = True                           # channels lie side by side, behind the axes
        self.image = self.smallest()

    # -------------------------------------------------------------- the image
    def smallest(self) -> Image:
        """The image of the fewest elements that has the operand's addresses."""
        found: list[tuple[int, int, int, Image]] = []
        for image in self.images():
            own = [(self.numbers.count(g), self.strides[g[-1]]) for g in (image.results, image.sums) if g]
            extents = [*own, *((a.extent, a.stride) for a in image.axes)]
            reach = 0
            for extent, stride in sorted(extents, key=lambda x: x[1]):
                if extent > 1 and stride <= reach:
                    break
                reach += (extent - 1) * stride
            else:
                found.append((prod(e for e, _ in extents), len(image.axes), len(found), image))
        if not found:
            raise Refused("no operand is windows of an image")
        return min(found)[-1]

    def images(self) -> Iterator[Image]:
        """Each way to read the operand's axes; at least one window has several places."""
        walked = {a for e in self.edges for a in (e.result, e.summed)}
        results, sums = ([a for a in loops if a not in walked] for loops in (
            self.numbers.own[self.side], self.numbers.sums))
        s = self.strides
        if any(not s[a] for a in (*results, *sums)):
            return
        for partner in combinations(("", None, *sums), repeat=len(results)):
            taken = [p for p in partner if p]
            if not (taken or self.edges) or len(set(taken)) < len(taken):
                continue
            rest = [a for a in sums if a not in taken]
            for single in combinations((False, True), repeat=len(rest)):
                axes = [*self.edges, *(self.axis(a, p) for a, p in zip(results, partner) if p != "")]
                axes += [self.axis(None, a) for a, own in zip(rest, single) if own]
                groups = ([a for a, p in zip(results, partner) if p == ""],
                          [a for a, own in zip(rest, single) if not own])
                if len(axes) > RANKS[-1]:
                    continue
                try:
                    merged = [self.numbers.group(g, [s], "members") for g in groups]
                except Refused:
                    continue
                yield Image(tuple(sorted(axes, key=lambda a: -a.stride)), merged[0], merged[1])

    def edge(self, e: Edge) -> Axis:
        """An axis with zeros around it, as the text says which it is."""
        n = self.numbers
        by = {a: c for a, c in n.strides(e.at).items() if c}
        results, sums = [a for a in by if a in n.results], [a for a in by if a in n.sums]
        if len(results) > 1 or len(sums) > 1 or not by:
            raise Refused(f"zeros are around an axis that {len(by)} loops walk")
        if evaluate(e.last, n.sizes) < 0:
            raise Refused("there are zeros around an image that has no places")
        result, summed = (next(iter(loops), None) for loops in (results, sums))
        start = substitute(e.at, dict.fromkeys(n.extent, 0))
        extent, before = (int(evaluate(d, n.sizes)) for d in (e.last + 1, -start))
        seen = sum((n.extent[a] - 1) * c for a, c in by.items()) + 1 - before         # places from the first one on
        return Axis(result, summed, extent, int(evaluate(e.stride, n.sizes)), by.get(result or "", 1),
                    by.get(summed or "", 1), (before, seen - extent))

    def around(self, axis: Axis, gradient: bool) -> tuple[int, int]:
        """Zeros before and after an axis: as many on either side, if that gives as many windows.

        Libraries know more ways then.
        """
        before, after = axis.around
        step = axis.dilation if gradient else axis.step
        if axis not in self.edges:
            return 0, 0
        if 0 <= before - after < step:
            return before, before
        if after <= -step or before < 0:
            raise Refused(f"there are places that no window reaches, {-after} behind the last one")
        return before, max(after, 0)

    def axis(self, result: str | None, summed: str | None) -> Axis:
        s, extent = self.strides, self.numbers.extent
        if result is None or summed is None:
            only = result or summed
            assert only is not None
            return Axis(result, summed, extent[only], s[only])
        base = gcd(s[result], s[summed])
        step, dilation = s[result] // base, s[summed] // base
        places = (extent[result] - 1) * step + (extent[summed] - 1) * dilation + 1
        return Axis(result, summed, places, base, step, dilation)

    # -------------------------------------------------------------- the call
    def match(self, alone: bool, plain: bool, apart: bool, dtype: str) -> Match:
        """The call, with the second operand packed where it does not lie as the library wants it, and both where they
        are to be of a narrow `dtype`.

        alone: what is done with the result is a kernel of its own; plain: the library must not do it.  apart: a kernel
        writes the image with what is around it.
        """
        n, axes = self.numbers, self.image.axes
        windows, places = (prod(n.count([x]) for x in names if x) for names in (
            [a.summed for a in axes], [a.result for a in axes]))
        gradient = windows > places
        ending = None if alone else self.nest.ending
        if not alone and (ending is None or ending.activation not in ("", "relu") or ending.at is not None or (
                (gradient or plain) and (ending.added or ending.activation))):
            raise Refused("what is done with the result is not a library's")
        rest = (1,) * max(RANKS[0] - len(axes), 0)
        of_result, of_sum = (*(a.step for a in axes), *rest), (*(a.dilation for a in axes), *rest)
        results, sums = self.image.results, self.image.sums
        batch, channels = (sums, results) if gradient else (results, sums)
        self.last = not channels or self.strides[channels[-1]] < min(a.stride for a in axes)
        x = self.tensor((batch, channels), [(self.whole(a, gradient), a.stride) for a in axes], self.strides)
        summed, shown = ([a.summed for a in axes], [a.result for a in axes])
        read, source, packs = self.read((batch, self.filters) if gradient else (self.filters, channels), summed, dtype)
        groups = (self.filters, channels) if gradient else (batch, self.filters)
        made, target, epilogue, room = self.made(groups, shown, ending)
        bias, added, tensor = self.extras(groups, shown, ending)
        image, around = self.first, tuple(self.around(a, gradient) for a in axes) + ((0, 0),) * len(rest)
        if not any(map(any, around)):
            around = ()
        if dtype in NARROW or around and apart:
            x, pack = self.written(x, around if apart else (), dtype)
            image, around, packs = Source(""), () if apart else around, (pack, *packs)
        ask = Convolution(x, made if gradient else read, read if gradient else made,
                          of_sum if gradient else of_result, of_result if gradient else of_sum, dtype, gradient,
                          n.tf32 and dtype == "float32", bias is not None, tensor,
                          ending.activation if ending is not None else "", around)
        return Match(ask, image, source, target, bias, added, packs=packs, epilogue=epilogue, room=room)

    def written(self, x: Tensor, around: Sequence[tuple[int, int]], dtype: str) -> tuple[Tensor, Pack]:
        """An image of a type, with zeros around it, and the kernel that writes it."""
        order = sorted(range(len(x.extents)), key=lambda d: (-x.strides[d], x.extents[d] == 1))
        pairs = [((0, 0), (0, 0), *(around or [(0, 0)] * len(order)))[d] for d in order]
        extents = [x.extents[d] for d in order]
        if any(x.extents[d] > 1 and x.strides[d] != prod(extents[i + 1:]) for i, d in enumerate(order)):
            raise Refused("an image that is to be written has gaps")
        whole = [e + sum(pair) for e, pair in zip(extents, pairs)]
        built = pad_kernel(pad(fresh_input(TensorType(self.nest.acc.dtype, tuple(extents))), *zip(*pairs)), dtype)
        pack = Pack(0, schedule_kernel(built.kernel), prod(whole) * ITEMSIZE["float16" if dtype in NARROW else dtype],
                    (self.first, tuple(int(evaluate(d, {})) for d in built.sizes)))
        place = [order.index(d) for d in range(len(order))]
        return Tensor(tuple(whole[i] for i in place), tuple(prod(whole[i + 1:]) for i in place)), pack

    def extras(self, groups: tuple[Sequence[str], Sequence[str]], axes: Sequence[str | None], ending: Ending | None
               ) -> tuple[Source | None, Source | None, Tensor | None]:
        """What is added to a sum: a number for each filter, and a tensor like the result."""
        n, bias, added, tensor = self.numbers, None, None, None
        for load in ending.added if ending is not None else ():
            strides = n.strides(load.index)
            if not any(s for a, s in strides.items() if a not in self.filters):
                if bias is not None or n.dense(self.filters) != strides:
                    raise Refused("what is added for each filter does not lie side by side")
                bias = n.source(load)
            elif added is not None or not all(strides[a] for a in n.results) or any(
                    n.group(g, [strides], "members") != tuple(g) for g in groups):
                raise Refused("what is added does not lie as the result does")
            else:
                added, tensor = n.source(load), self.of_loops(groups, axes, strides)
        return bias, added, tensor

    def whole(self, axis: Axis, gradient: bool) -> int:
        """The extent of an image's axis, with places at its end that no window reaches, if so the image has no gaps:
        libraries know more ways then.  They are the image's own, as it begins where the buffer does."""
        wider = [s for s in (*(a.stride for a in self.image.axes), *(self.strides[g[-1]] for g in (
            self.image.results, self.image.sums) if g)) if s > axis.stride]
        step = axis.dilation if gradient else axis.step
        if axis in self.edges or not wider or min(wider) % axis.stride or self.first.offset:
            return axis.extent
        full = min(wider) // axis.stride
        return full if axis.extent <= full < axis.extent + step else axis.extent

    def tensor(self, groups: tuple[Sequence[str], Sequence[str]], axes: Sequence[tuple[int, int]],
               strides: Strides) -> Tensor:
        """A tensor of two groups of loops and (extent, stride) of each axis; what has one place gets a stride that
        fits between the others'."""
        dims = [(self.numbers.count(g), strides[g[-1]] if g else 0) for g in groups]
        dims += [*axes, *((1, 0) for _ in range(RANKS[0] - len(axes)))]
        order = (0, *range(2, len(dims)), 1) if self.last else range(len(dims))
        step, out = 1, [0] * len(dims)
        for d in reversed(order):
            out[d] = dims[d][1] or step
            step = out[d] * dims[d][0]
        return Tensor(tuple(e for e, _ in dims), tuple(out))

    def of_loops(self, groups: tuple[Sequence[str], Sequence[str]], axes: Sequence[str | None],
                 strides: Strides) -> Tensor:
        sizes = [(self.numbers.extent[a], strides[a]) if a else (1, 0) for a in axes]
        return self.tensor(groups, sizes, strides)

    def order(self, groups: tuple[Sequence[str], Sequence[str]], axes: Sequence[str | None]) -> tuple[str, ...]:
        """The loops as a tensor without gaps lies in memory, outermost first."""
        own = [a for a in axes if a]
        return (*groups[0], *own, *groups[1]) if self.last else (*groups[0], *groups[1], *own)

    def read(self, groups: tuple[Sequence[str], Sequence[str]], axes: Sequence[str | None], dtype: str
             ) -> tuple[Tensor, Source, tuple[Pack, ...]]:
        """The second operand: as it lies, if it lies without gaps and is of that type, or packed."""
        n, side = self.numbers, 1 - self.side
        order = self.order(groups, axes)
        dense = n.dense(order)
        load = self.nest.sides[side].load
        if dtype == "bfloat16" and load is None:
            raise Refused("an operand of bfloat16 is computed while it is read")
        if load is not None and dtype not in NARROW and all(n.strides(load.index)[a] == dense[a] for a in order):
            return self.of_loops(groups, axes, dense), n.source(load), ()
        pack = replace(n.packed(side, order, dtype), role=1)
        return self.of_loops(groups, axes, dense), Source(""), (pack,)

    def made(self, groups: tuple[Sequence[str], Sequence[str]], axes: Sequence[str | None], ending: Ending | None
             ) -> tuple[Tensor, Source, Kernel | None, int]:
        """The result: where the kernel stores it, or for an epilogue."""
        n = self.numbers
        if ending is not None:
            strides = n.strides(ending.store.index)
            for group in groups:
                if n.group(group, [strides], "members") != tuple(group):
                    raise Refused("the result does not lie as its operands do")
            return self.of_loops(groups, axes, strides), n.source(ending.store), None, 0
        order = self.order(groups, axes)
        kernel = behind(self.nest, with_rest([x.axis for x in self.nest.results], order))
        return (self.of_loops(groups, axes, n.dense(order)), Source(""), kernel,
                n.count(order) * ITEMSIZE[self.nest.acc.dtype])


__all__ = ["match_convolution"]
