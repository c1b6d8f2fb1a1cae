"""The iteration domain of a fused group: which axis of the loop nest each node's axes run along.

In: nodes, consumers before producers.  Out: a `Domain`, or the reason why a node does not fit it.  What
always holds: every placed node varies along all axes (full level), or, in a group with reductions, along kept
axes only (row level); reductions of one group reduce the same axes; a group has at most one contraction.
This is the one legality function of fusion; the fuse pass asks it, the lower pass replays it.
"""
from __future__ import annotations

from dataclasses import dataclass, field

from graphk.ir.dims import Dim
from graphk.ir.node import Node, users
from graphk.ir.types import TensorType

AxisMap = tuple["int | None", ...]
GENERATORS = frozenset(("const", "dim", "iota", "uniform01"))
MOVERS = frozenset(("transpose", "slice", "gather", "windows"))          # read their (first) operand from memory
# cheap enough to be computed again by every thread that packs a contraction's operand
CHEAP = frozenset(("add", "sub", "mul", "div", "neg", "abs", "sign", "max", "min", "square", "relu", "cast", "select",
                   "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "broadcast", "reshape", "stop_gradient"))
REDUCERS = frozenset(("sum", "prod", "reduce_max", "reduce_min", "any", "all"))


def is_pointwise(n: Node) -> bool:
    """Whether each element of the result comes from elements at the same place."""
    return n.op.kind in ("elementwise", "random") or n.op.name in ("broadcast", "dim") or is_trivial_reshape(n) \
        or (n.op.name == "const" and n.t.size == 1) or n.op.name == "iota"


def is_trivial_reshape(n: Node) -> bool:
    """A reshape that only adds or drops axes of extent 1."""
    if n.op.name != "reshape":
        return False
    return [d for d in n.shape if d != 1] == [d for d in n.inputs[0].shape if d != 1]


def is_fusable(n: Node) -> bool:
    return isinstance(n.type, TensorType) and (
        is_pointwise(n) or n.op.name in REDUCERS or n.op.name in MOVERS or n.op.name == "dot")


@dataclass
class Domain:
    """Axes (by id) with extents, the reduced ones, and the map of each node's axes to them."""
    order: list[int] = field(default_factory=list)
    extent: dict[int, Dim] = field(default_factory=dict)
    red: set[int] = field(default_factory=set)
    maps: dict[Node, AxisMap] = field(default_factory=dict)
    in_maps: dict[Node, AxisMap] = field(default_factory=dict)      # of a reduction's operand
    dot: Node | None = None
    has_reduce: bool = False
    dot_maps: tuple[AxisMap, AxisMap] = ((), ())                    # of the contraction's operands
    k_axes: list[int] = field(default_factory=list)                 # contracted axes: of operands only, not in `order`
    prologue: set[Node] = field(default_factory=set)                # nodes computed while an operand is packed

    def copy(self) -> "Domain":
        return Domain(list(self.order), dict(self.extent), set(self.red), dict(self.maps), dict(self.in_maps),
                      self.dot, self.has_reduce, self.dot_maps, list(self.k_axes), set(self.prologue))

    @property
    def kind(self) -> str:
        return "dot" if self.dot is not None else "reduce" if self.has_reduce else "map"

    @property
    def kept(self) -> list[int]:
        return [a for a in self.order if a not in self.red]

    def extents(self) -> str:
        """The loop extents, for a reader."""
        return f"({', '.join(str(self.extent[a]) for a in self.order)})"

    def new_axis(self, extent: Dim, at: int | None = None) -> int:
        axis = len(self.extent)
        self.extent[axis] = extent
        self.order.insert(len(self.order) if at is None else at, axis)
        return axis

    # -------------------------------------------------------------- entry points
    def seed(self, node: Node) -> str:
        """Place a node without consumers here; the reason if it does not fit, else ''."""
        if not self.order and not self.maps:
            self.maps[node] = tuple(None if d == 1 else self.new_axis(d) for d in node.shape)
            return self._join(node) or self._producers_agree(node)
        dims = [d for d in node.shape if d != 1]
        for axes in (self.order, self.kept):
            if dims == [self.extent[a] for a in axes]:
                it = iter(axes)
                self.maps[node] = tuple(None if d == 1 else next(it) for d in node.shape)
                return self._join(node) or self._producers_agree(node)
        return f"another iteration space: {node.t} in a loop over {self.extents()}"

    def place(self, node: Node, consumers: list[Node]) -> str:
        """Place a producer whose consumers (those in this group) are placed; '' or the reason against it."""
        wanted: AxisMap | None = None
        for c in consumers:
            got = self._demand(node, c)
            if isinstance(got, str):
                return got
            if wanted is not None and got != wanted:
                return "its consumers read it through different index maps"
            wanted = got
        assert wanted is not None
        self.maps[node] = wanted
        if any(c is self.dot or c in self.prologue for c in consumers):
            why = self._join_prologue(node, consumers)
            if why:
                del self.maps[node]
            return why
        why = self._full_level_consumer(node, consumers) or self._join(node) or self._producers_agree(node)
        if why:
            del self.maps[node]
        return why

    def unwritten(self, node: Node) -> str:
        """Why a store of `node` might not run, or run several times: a loop around it that it does not vary along may
        be empty, and a contraction's epilogue runs for each of its results; else ''."""
        if self.has_reduce:                                     # what varies along kept axes is stored in their loops
            return ""
        for a in self.order:
            d = self.extent[a]
            if a not in self.maps[node] and self.dot is not None:
                return f"it is stored, and a contraction's kernel would store it for each of {self.extents()}"
            if a not in self.maps[node] and not (isinstance(d, int) and d > 0):
                return f"it is stored, and a loop over {self.extents()} may be empty where {node.t} is not"
        return ""

    # -------------------------------------------------------------- what a consumer asks of a producer
    def _demand(self, p: Node, c: Node) -> "AxisMap | str":
        out = self.maps[c]
        if c.op.name == "dot":
            if c.inputs[0] is c.inputs[1]:
                return "both operands of the contraction: read through different index maps"
            return self.dot_maps[0 if c.inputs[0] is p else 1]
        if c.op.name == "gather":
            return out[:p.ndim] if c.inputs[0] is not p else "a gather reads its table from memory"
        if c.op.name in MOVERS:
            return f"`{c.op.name}` moves elements: its operand must be in memory"
        if c in self.in_maps:
            return self.in_maps[c]
        if is_trivial_reshape(c):
            axes = iter([a for a, d in zip(out, c.shape) if d != 1])
            return tuple(None if d == 1 else next(axes) for d in p.shape)
        lead = c.ndim - p.ndim
        return tuple(None if p.shape[j] == 1 else out[lead + j] for j in range(p.ndim))

    def _full_level_consumer(self, p: Node, consumers: list[Node]) -> str:
        """A full reduction runs in chunks: no element in its group may wait for a scalar that the group computes."""
        scalar = not set(self.maps[p]) - {None}
        if scalar and self.has_reduce and not self.kept and any(set(self.maps[c]) - {None} for c in consumers):
            return "a scalar that all elements of a full reduction wait for: a pass of its own"
        return ""

    def _producers_agree(self, node: Node) -> str:
        """When groups are united, a node may come after its producers: they must run where it reads them."""
        for p in node.inputs:
            if p in self.maps:
                got = self._demand(p, node)
                if isinstance(got, str):
                    return got
                if got != self.maps[p]:
                    return "its consumers read it through different index maps"
                if why := self._full_level_consumer(p, [node]):
                    return why
        return ""

    # -------------------------------------------------------------- joining
    def _join(self, node: Node) -> str:
        if node.op.name in REDUCERS:
            return self._join_reduction(node)
        if node.op.name == "dot":
            return self._join_dot(node)
        axes = [a for a in self.maps[node] if a is not None]
        if len(set(axes)) != len(axes):
            return "one loop axis would run along two of its axes"
        return self._level_reason(axes, node)

    def _level_reason(self, axes: list[int], node: Node) -> str:
        if len(axes) == len(self.order) or node.op.name in GENERATORS:
            return ""
        if self.red and set(axes) <= set(self.kept) and (len(axes) == len(self.kept) or not self.kept):
            return ""
        if not self.red and axes and axes == self.order[:len(axes)]:
            return ""
        if not axes:
            return "a scalar: computed once, in a kernel of its own"
        return f"{node.t} would be computed again for every element of {self.extents()}"

    def _join_reduction(self, r: Node) -> str:
        if self.dot is not None:
            return "a reduction inside a contraction's group would need all of its tiles"
        source = r.inputs[0].shape
        red_dims = [i for i in r.attr("axes") if source[i] != 1]
        mine = [a for a in self.maps[r] if a is not None]
        others = [n for n in self.maps if n is not r]
        if self.has_reduce:
            if mine != self.kept or [source[i] for i in red_dims] != [self.extent[a] for a in self._red_order()]:
                return "it reduces other axes"
        elif len(mine) == len(self.order):
            why = self._grow(r, red_dims)
            if why:
                return why
        else:
            rest = [a for a in self.order if a not in mine]
            if not mine:
                return "a scalar reduction that all elements wait for: a second pass over the whole tensor"
            if [self.extent[a] for a in rest] != [source[i] for i in red_dims]:
                return "its axes are not those of the group"
            self.red = set(rest)
        self.has_reduce = True
        self._note_input_map(r, red_dims)
        for n in others:
            why = self._level_reason([a for a in self.maps[n] if a is not None], n)
            if why:
                return why
        return ""

    def _red_order(self) -> list[int]:
        return [a for a in self.order if a in self.red]

    def _grow(self, r: Node, red_dims: list[int]) -> str:
        """The group was the reduction's epilogue: reduced axes join the domain where the operand has them."""
        source = r.inputs[0].shape
        kept = [a for a in self.maps[r] if a is not None]
        kept_dims = [i for i in range(len(source)) if i not in r.attr("axes") and source[i] != 1]
        if len(kept) != len(kept_dims):
            return "its kept axes do not match"
        order, self.order = dict(zip(kept_dims, kept)), []
        for i in range(len(source)):
            if i in order:
                self.order.append(order[i])
            elif i in red_dims:
                self.red.add(self.new_axis(source[i]))
        return ""

    def _note_input_map(self, r: Node, red_dims: list[int]) -> None:
        kept, red = iter([a for a in self.maps[r] if a is not None]), iter(self._red_order())
        self.in_maps[r] = tuple(
            None if d == 1 else next(red) if i in red_dims else next(kept)
            for i, d in enumerate(r.inputs[0].shape))

    def _join_dot(self, d: Node) -> str:
        if self.dot is not None:
            return "the group has a contraction already"
        if self.has_reduce:
            return "a contraction cannot feed a reduction inside one kernel: the reduction needs all of its tiles"
        if [a for a in self.maps[d] if a is not None] != self.order:
            return "the contraction would be repeated along a broadcast axis"
        self.dot = d
        self._note_operand_maps(d)
        return ""

    def _note_operand_maps(self, d: Node) -> None:
        """Operands: batch and free axes as in the result, contracted axes new."""
        (ca, cb), (ba, bb) = d.attr("contract"), d.attr("batch")
        a, b = d.inputs
        out, free = self.maps[d], iter(self.maps[d][len(ba):])
        ma: dict[int, int | None] = {}
        mb: dict[int, int | None] = {}
        for at, (i, j) in enumerate(zip(ba, bb)):
            ma[i] = out[at] if a.shape[i] != 1 else None
            mb[j] = out[at] if b.shape[j] != 1 else None
        for i, j in zip(ca, cb):
            ma[i] = mb[j] = None if a.shape[i] == 1 else len(self.extent)
            if a.shape[i] != 1:
                self.k_axes.append(len(self.extent))
                self.extent[len(self.extent)] = a.shape[i]
        for full, node in ((ma, a), (mb, b)):
            for i in range(node.ndim):
                if i not in full:
                    full[i] = next(free)
        self.dot_maps = (tuple(ma[i] for i in range(a.ndim)), tuple(mb[i] for i in range(b.ndim)))

    def _join_prologue(self, node: Node, consumers: list[Node]) -> str:
        """An operand's elementwise producers may run while it is packed, if nothing else needs their results."""
        if not all(c is self.dot or c in self.prologue for c in consumers):
            return "it is read both by the contraction and by its epilogue: stored"
        if node.op.name == "windows" and consumers == [self.dot]:
            self.prologue.add(node)
            return ""
        if node.op.name not in CHEAP or not is_pointwise(node):
            return "operands of a contraction are read from memory: packed by every thread, reused many times"
        axes = [a for a in self.maps[node] if a is not None]
        if not any(len(axes) == sum(a is not None for a in m) and set(axes) == set(m) - {None} for m in self.dot_maps):
            return f"{node.t} would be computed again for every element of the operand"
        self.prologue.add(node)
        return ""


def analyze(members: list[Node]) -> Domain:
    """The domain of a group given whole, in the order in which the fuse pass built it."""
    uses = users(members)
    domain = Domain()
    for node in members:
        consumers = [c for c in uses[node] if c in domain.maps]
        why = domain.place(node, consumers) if consumers else domain.seed(node)
        if why:
            raise ValueError(f"{node!r} does not fit its group: {why}")
    return domain
