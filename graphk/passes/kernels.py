"""From the body of one fused group to a Kernel.

In: a body Graph (of a `fusion` node).  Out: a `Kernel` without schedule, and for each of its size parameters the
`Dim` of the program that it stands for.  What always holds: the kernel speaks of loop extents and strides
by name only, so groups of equal structure give equal kernels; adjacent axes that every access walks as one are
one loop; values that do not change along inner loops are computed outside of them.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Callable, Iterable

from graphk.ir.dims import Dim, DimExpr, OpDim, SymDim, substitute, sym, symbols
from graphk.ir.loop import (Acc, Call, Expr, Index, Kernel, Let, Lit, Load, Loop, Param, Ref, ScalarBuilder, Stmt,
                            Store, Update, call, coefficient, expressions, walk)
from graphk.ir.node import Graph, Node
from graphk.ir.opdef import const_value
from graphk.passes.domain import MOVERS, REDUCERS, AxisMap, Domain, analyze, is_trivial_reshape

COMBINE = {"sum": "add", "prod": "mul", "reduce_max": "max", "reduce_min": "min", "any": "or", "all": "and"}


@dataclass
class Built:
    """A kernel and the program dims that its sizes stand for."""
    kernel: Kernel
    sizes: tuple[Dim, ...]


@dataclass
class Value:
    """A node's expression in this kernel and the axes along which it varies."""
    expr: Expr
    varying: frozenset[int]
    depth: int = 0               # reductions that must be finished first


@dataclass
class Builder:
    """Turns one body into loops."""
    body: Graph
    order: tuple[int, ...]
    domain: Domain = field(init=False)
    lets: list[tuple[Let, Value]] = field(default_factory=list)
    values: dict[tuple[Node, AxisMap], Value] = field(default_factory=dict)
    extras: dict[str, Dim] = field(default_factory=dict)       # strides and offsets that are no loop's extent
    s: ScalarBuilder = field(default_factory=ScalarBuilder)
    accs: dict[Node, tuple[str, Value]] = field(default_factory=dict)
    contraction: tuple[list[int], Value, Value] | None = None

    def __post_init__(self) -> None:
        nodes = self.body.nodes()
        self.domain = analyze([nodes[i] for i in self.order])
        self.names = {n: f"p{i}" for i, n in enumerate(self.body.inputs)}

    # -------------------------------------------------------------- names
    @staticmethod
    def axis(a: int) -> str:
        return f"a{a}"

    @staticmethod
    def extent(a: int) -> Dim:
        return sym(f"e{a}")

    def extra(self, d: Dim) -> Dim:
        """A size parameter for a dim that is no loop's extent (0 and 1 stay numbers)."""
        if isinstance(d, int) and d in (0, 1):
            return d
        for name, have in self.extras.items():
            if have == d:
                return sym(name)
        name = f"x{len(self.extras)}"
        self.extras[name] = d
        return sym(name)

    def let(self, expr: Expr, varying: Iterable[int], depth: int) -> Value:
        """Name an expression (refs and numbers stay as they are)."""
        axes = frozenset(varying)
        if isinstance(expr, (Ref, Lit)):
            return Value(expr, axes, depth)
        for have, value in self.lets:
            if have.expr == expr:
                return value
        name = f"t{len(self.lets)}"
        value = Value(Ref(name, expr.dtype), axes, depth)
        self.lets.append((Let(name, expr), value))
        return value

    # -------------------------------------------------------------- index polynomials
    def index(self, shape: tuple[Dim, ...], amap: AxisMap) -> tuple[Dim, set[int]]:
        """The row-major index of the element that the loops are at, and the axes in it."""
        out: Dim = 0
        stride: Dim = 1
        for d, a in zip(reversed(shape), reversed(amap)):
            if a is not None:
                out = out + sym(self.axis(a)) * stride
            stride = stride * (self.extent(a) if a is not None else self.extra(d))
        return out, {a for a in amap if a is not None}

    # -------------------------------------------------------------- values
    def value(self, node: Node, amap: AxisMap) -> Value:
        """The value of `node` where its axes run along `amap`."""
        key = (node, amap)
        if key not in self.values:
            self.values[key] = self._compute(node, amap)
        return self.values[key]

    def operand(self, node: Node, i: int, amap: AxisMap) -> Value:
        """Operand i of a placed or generated node."""
        p = node.inputs[i]
        if p in self.domain.maps:
            return self.value(p, self.domain.maps[p])
        if node in self.domain.maps:
            got = self.domain._demand(p, node)
            if isinstance(got, str):
                raise ValueError(f"{node!r}: {got}")
            return self.value(p, got)
        scratch = Domain(maps={node: amap})
        got = scratch._demand(p, node)
        assert not isinstance(got, str)
        return self.value(p, got)

    def _compute(self, node: Node, amap: AxisMap) -> Value:
        op = node.op
        if node in self.names:
            index, axes = self.index(node.shape, amap)
            return self.let(Load(self.names[node], index, node.dtype), axes, 0)
        if op.name == "const":
            return Value(Lit(const_value(node), node.dtype), frozenset())
        if op.name == "dim":
            return self.let(Index(self.extra(node.attr("size")), node.dtype), (), 0)
        if op.name == "iota":
            index, axes = self.index(node.shape, amap)
            return self.let(Index(index, node.dtype), axes, 0)
        if op.name == "uniform01":
            return self._random(node, amap)
        if op.name in REDUCERS:
            return self._reduction(node)
        if op.name == "dot":
            return self._dot(node)
        if op.name in MOVERS:
            return self._moved(node, amap)
        args = [self.operand(node, i, amap) for i in range(len(node.inputs))]
        if op.name == "broadcast" or is_trivial_reshape(node):
            return args[0]
        attrs = dict(node.attrs)
        expr = op.scalar(self.s, *[a.expr for a in args], **attrs) if op.scalar else None
        if expr is None:
            raise NotImplementedError(f"the op `{op.name}` has no scalar form: it cannot be lowered to a kernel")
        return self.let(expr, frozenset().union(*(a.varying for a in args)), max((a.depth for a in args), default=0))

    def _random(self, node: Node, amap: AxisMap) -> Value:
        step = self.operand(node, 0, ())
        index, axes = self.index(node.shape, amap)
        scalar = node.op.scalar
        assert scalar is not None
        seed = Index(self.extra(node.attr("seed") or 1), "uint32")
        expr = scalar(_SeedBuilder(seed), Index(index, "uint32"), step.expr, node.attr("seed"), node.attr("dtype"))
        return self.let(expr, axes, 0)

    def _reduction(self, node: Node) -> Value:
        source = self.operand(node, 0, ())
        name = f"r{len(self.accs)}"
        self.accs[node] = (name, source)
        return Value(Ref(name, node.dtype), frozenset(self.domain.kept), source.depth + 1)

    def _dot(self, node: Node) -> Value:
        left, right = (self.value(x, m) for x, m in zip(node.inputs, self.domain.dot_maps))
        self.contraction = (self.domain.k_axes, left, right)
        return Value(Ref("r0", node.dtype), frozenset(self.domain.order), 1)

    def _moved(self, node: Node, amap: AxisMap) -> Value:
        table = node.inputs[0]
        strides: list[Dim] = [1] * table.ndim
        names: list[Dim] = [self._moved_extent(node, d, amap) for d in range(table.ndim)]
        for d in range(table.ndim - 2, -1, -1):
            strides[d] = strides[d + 1] * names[d + 1]
        index: Dim = 0
        varying: set[int] = {a for a in amap if a is not None}
        depth = 0
        if node.op.name == "gather":
            idx_rank = node.ndim - table.ndim + 1
            at = self.operand(node, 1, amap)
            last = Index(self.extra(table.shape[0] - 1), "int64")
            row = call("max", call("min", self.s.cast(at.expr, "int64"), last), 0)
            named = self.let(row, at.varying, at.depth)
            assert isinstance(named.expr, Ref)
            index, depth = sym(named.expr.name) * strides[0], at.depth
            for d, a in enumerate(amap[idx_rank:], start=1):
                index = index + (sym(self.axis(a)) * strides[d] if a is not None else 0)
        elif node.op.name == "windows":
            return self._window(node, amap, strides)
        else:
            for d, a in enumerate(amap):
                here = sym(self.axis(a)) if a is not None else 0
                if node.op.name == "transpose":
                    index = index + here * strides[node.attr("perm")[d]]
                else:
                    start = self.extra(node.attr("starts")[d])
                    index = index + (here * node.attr("steps")[d] + start) * strides[d]
        return self.let(Load(self.names[table], index, node.dtype), varying, depth)

    def _window(self, node: Node, amap: AxisMap, strides: list[Dim]) -> Value:
        """An element of sliding windows, 0 around their operand: there the edge is read (`effects.padded` knows it)."""
        table, axes, behind = node.inputs[0], node.attr("axes"), node.attr("axes")[-1] + 1
        here: list[Dim] = [sym(self.axis(a)) if a is not None else 0 for a in amap]
        places = dict(zip(axes, here[behind:behind + len(axes)]))
        steps = {a: (s, d) for a, s, d in zip(axes, node.attr("strides"), node.attr("dilations"))}
        around = {a: pair for a, pair in zip(axes, node.attr("padding", ())) if pair != (0, 0)}
        varying = {a for a in amap if a is not None}
        inside: list[Expr] = []
        out: Dim = 0
        for d, at in enumerate(here[:behind] + here[behind + len(axes):]):
            if d in places:
                stride, dilation = steps[d]
                at = at * stride + places[d] * dilation
            if d in around:
                own = {amap[d], amap[behind + axes.index(d)]} - {None}
                place = self.let(Index(at - self.extra(around[d][0]), "int64"), own, 0)
                last = Index(self.extra(table.shape[d] - 1), "int64")
                near = self.let(call("max", call("min", place.expr, last), 0), own, 0)
                assert isinstance(near.expr, Ref)
                inside.append(call("eq", place.expr, near.expr))
                at = sym(near.expr.name)
            out = out + at * strides[d]
        read = self.let(Load(self.names[table], out, node.dtype), varying, 0)
        if not inside:
            return read
        test = reduce(partial(call, "and"), inside)
        return self.let(call("select", test, read.expr, Lit(0.0, node.dtype)), varying, 0)

    def _moved_extent(self, node: Node, d: int, amap: AxisMap) -> Dim:
        """The extent of axis d of a moved operand: a loop's, where the loop runs along all of it."""
        table = node.inputs[0]
        if table.shape[d] == 1:
            return 1
        a: int | None = None
        if node.op.name == "transpose":
            a = amap[node.attr("perm").index(d)]
        elif node.op.name == "gather" and d:
            a = amap[node.ndim - table.ndim + d]
        elif node.op.name == "slice" and node.shape[d] == table.shape[d]:
            a = amap[d]
        elif node.op.name == "windows" and d not in node.attr("axes"):
            a = amap[d if d < node.attr("axes")[-1] else d + len(node.attr("axes"))]
        return self.extent(a) if a is not None else self.extra(table.shape[d])

    # -------------------------------------------------------------- statements
    def outputs(self) -> list[tuple[str, Node, Value]]:
        """Parameter name, node and value of each output, computed in order."""
        out = []
        for i, o in enumerate(self.body.outputs):
            amap = self.domain.maps[o]
            out.append((f"p{len(self.body.inputs) + i}", o, self.value(o, amap)))
        return out

    def store(self, param: str, node: Node, value: Value) -> Store:
        index, _ = self.index(node.shape, self.domain.maps[node])
        return Store(param, index, value.expr)


class _SeedBuilder(ScalarBuilder):
    """A scalar builder whose literal seed is a size parameter, so that layers share one kernel."""

    def __init__(self, seed: Expr):
        self._seed = seed

    def lit(self, value: object, dtype: str) -> Expr:
        return self._seed


# ------------------------------------------------------------------ loop nests by kind
def needed(b: Builder, exprs: Iterable[Expr]) -> list[tuple[Let, Value]]:
    """The lets that `exprs` use, in order."""
    by_name = {let.name: (let, v) for let, v in b.lets}
    want: set[str] = set()
    stack = list(exprs)
    while stack:
        for e in expressions(stack.pop()):
            names = {e.name} if isinstance(e, Ref) else symbols(e.index) if isinstance(e, (Load, Index)) else set()
            for n in names & by_name.keys() - want:
                want.add(n)
                stack.append(by_name[n][0].expr)
    return [p for p in b.lets if p[0].name in want]


def nest(b: Builder, axes: list[int], inner: list[Stmt], hoisted: list[tuple[Let, Value]]) -> tuple[Stmt, ...]:
    """Loops over `axes` around `inner`, each hoisted let in the outermost loop where its value is known."""
    def level(v: Value) -> int:
        return max((axes.index(a) + 1 for a in v.varying if a in axes), default=0)
    body = [let for let, v in hoisted if level(v) == len(axes)] + inner
    for at in range(len(axes) - 1, -1, -1):
        loop = Loop(b.axis(axes[at]), b.extent(axes[at]), tuple(body))
        body = [*(let for let, v in hoisted if level(v) == at), loop]
    return tuple(body)


def map_body(b: Builder) -> tuple[Stmt, ...]:
    stores: list[Stmt] = [b.store(*o) for o in b.outputs()]
    lets = needed(b, [s.expr for s in stores if isinstance(s, Store)])
    return nest(b, b.domain.order, stores, lets)


def dot_body(b: Builder) -> tuple[Stmt, ...]:
    """All lets stay in the innermost loop: they are the epilogue of a tile."""
    outs = b.outputs()
    assert b.contraction is not None and b.domain.dot is not None
    ks, left, right = b.contraction
    stores: list[Stmt] = [b.store(*o) for o in outs]
    operands = needed(b, [left.expr, right.expr])
    inner = [p for p in operands if p[1].varying]
    times = call("mul", left.expr, right.expr)
    update: tuple[Stmt, ...] = (*(let for let, _ in inner), Update("r0", times) if ks else Let("r0", times))
    for k in reversed(ks):
        update = (Loop(b.axis(k), b.extent(k), update),)
    mine = {let.name for let, _ in inner}
    after = [p for p in needed(b, [s.expr for s in stores if isinstance(s, Store)]) if p[0].name not in mine]
    fixed = [p for p in operands if not p[1].varying]
    top = [let for let, v in b.lets if (let, v) in fixed or ((let, v) in after and not v.varying and not v.depth)]
    rest = [let for let, v in after if v.varying or v.depth]
    acc = [Acc("r0", "add", b.domain.dot.dtype)] if ks else []         # contracted extents of 1: nothing to sum
    return (*top, *nest(b, b.domain.order, [*acc, *update, *rest, *stores], []))


def reduce_body(b: Builder) -> tuple[Stmt, ...]:
    """Kept axes outside; inside, one loop over the reduced axes per stage of reductions that wait for each other."""
    outs = b.outputs()
    kept, red = b.domain.kept, [a for a in b.domain.order if a in b.domain.red]
    stores = [(b.store(*o), o[2]) for o in outs]
    kept_set = frozenset(kept)
    last = max([src.depth for _, src in b.accs.values()] + [
        v.depth for s, v in stores if not axes_of(b, s) <= kept_set])
    inner: list[Stmt] = []
    outer: list[tuple[Let, Value]] = []
    seen: set[str] = set()
    for stage in range(last + 1):
        row = [p for p in b.lets if p[1].varying <= kept_set and p[1].depth == stage and p[0].name not in seen]
        seen.update(let.name for let, _ in row)
        if stage == 0:
            outer = row
        else:
            inner += [let for let, _ in row]
        inner += _stage(b, stage, kept_set, red, stores)
    rest = [let for let, v in b.lets if v.varying <= kept_set and let.name not in seen]
    inner += [*rest, *(s for s, _ in stores if axes_of(b, s) <= kept_set)]
    return nest(b, kept, inner, outer)


def axes_of(b: Builder, s: Store) -> frozenset[int]:
    return frozenset(a for a in b.domain.extent if b.axis(a) in symbols(s.index))


def _stage(b: Builder, stage: int, kept: frozenset[int], red: list[int],
           stores: list[tuple[Store, Value]]) -> list[Stmt]:
    accs = [(n, name, src) for n, (name, src) in b.accs.items() if src.depth == stage]
    full = [s for s, v in stores if not axes_of(b, s) <= kept and v.depth == stage]
    if not accs and not full:
        return []
    updates: list[Stmt] = [Update(name, src.expr) for _, name, src in accs]
    lets = needed(b, [*(src.expr for _, _, src in accs), *(s.expr for s in full)])
    inside = [p for p in lets if not p[1].varying <= kept]
    out: list[Stmt] = [Acc(name, COMBINE[n.op.name], n.dtype) for n, name, _ in accs]
    return out + list(nest(b, red, [*updates, *full], inside))


# ------------------------------------------------------------------ collapsing and naming
def collapse(stmts: tuple[Stmt, ...], extents: dict[str, Dim]) -> tuple[Stmt, ...]:
    """Adjacent loops that every access walks as one become one loop; `extents` (by symbol) follows."""
    changed = True
    while changed:
        changed = False
        for outer, inner in _perfect_pairs(stmts):
            e_outer, e_inner = "e" + outer[1:], "e" + inner[1:]
            if all(_walked_as_one(d, outer, inner, e_outer, e_inner) for d in indices(stmts)):
                extents[e_inner] = extents[e_inner] * extents.pop(e_outer)
                env = {outer: 0, e_outer: 1}
                stmts = map_dims(_drop_loop(stmts, outer), partial(substitute, env=env))
                changed = True
                break
    return stmts


def _walked_as_one(d: Dim, outer: str, inner: str, e_outer: str, e_inner: str) -> bool:
    """Whether `d` steps along `outer` as if `inner` went on, and needs their extents only as a product."""
    if coefficient(d, outer) != coefficient(d, inner) * sym(e_inner):
        return False
    rest = substitute(d, {outer: 0})
    for mono, _ in rest.terms if isinstance(rest, DimExpr) else ():
        names = [a.name if isinstance(a, SymDim) else str(a) for a in mono]
        if (e_outer in names) != (e_inner in names) or any(
                isinstance(a, OpDim) and {e_outer, e_inner} & symbols(DimExpr((((a,), 1),))) for a in mono):
            return False
    return True


def _perfect_pairs(stmts: tuple[Stmt, ...]) -> list[tuple[str, str]]:
    """Axes (a, b) where every loop over a holds exactly one loop, over b."""
    inner: dict[str, set[str | None]] = {}
    for s in walk(stmts):
        if isinstance(s, Loop):
            only = s.body[0] if len(s.body) == 1 else None
            inner.setdefault(s.axis, set()).add(only.axis if isinstance(only, Loop) else None)
    return [(a, next(iter(bs)) or "") for a, bs in inner.items() if len(bs) == 1 and None not in bs]


def indices(stmts: tuple[Stmt, ...]) -> list[Dim]:
    """Every index polynomial of the statements."""
    out: list[Dim] = []
    for s in walk(stmts):
        if isinstance(s, Store):
            out.append(s.index)
        if isinstance(s, (Let, Update, Store)):
            out += [e.index for e in expressions(s.expr) if isinstance(e, (Load, Index))]
    return out


def _drop_loop(stmts: tuple[Stmt, ...], axis: str) -> tuple[Stmt, ...]:
    out: list[Stmt] = []
    for s in stmts:
        if isinstance(s, Loop):
            body = _drop_loop(s.body, axis)
            out += body if s.axis == axis else [Loop(s.axis, s.extent, body)]
        else:
            out.append(s)
    return tuple(out)


def finish(label: str, params: list[Param], stmts: tuple[Stmt, ...], dims: dict[str, Dim]) -> Built:
    """Canonical names: axes i0, i1, … and lets t0, … as they occur, sizes s0, s1, … in order of first use."""
    stmts = collapse(stmts, dims)
    rename: dict[str, str] = {}
    sizes: dict[str, str] = {}
    for s in walk(stmts):
        if isinstance(s, Loop):
            rename.setdefault(s.axis, f"i{sum(v[0] == 'i' for v in rename.values())}")
        elif isinstance(s, Let):
            rename.setdefault(s.name, f"t{sum(v[0] == 't' for v in rename.values())}")
        used = [s.extent] if isinstance(s, Loop) else indices((s,))
        for d in used:
            for name in sorted(symbols(d) & dims.keys()):
                sizes.setdefault(name, f"s{len(sizes)}")
    env = {old: sym(new) for old, new in {**rename, **sizes}.items()}
    body = rename_names(map_dims(stmts, lambda d: substitute(d, env)), rename)
    kernel = Kernel(label, tuple(params), tuple(sizes.values()), body)
    return Built(kernel, tuple(dims[name] for name in sizes))


def rename_names(stmts: tuple[Stmt, ...], names: dict[str, str]) -> tuple[Stmt, ...]:
    """Statements with axes, lets and accumulators renamed (index polynomials are the caller's)."""
    def expr(e: Expr) -> Expr:
        if isinstance(e, Ref):
            return Ref(names.get(e.name, e.name), e.dtype)
        return Call(e.fn, tuple(expr(a) for a in e.args), e.dtype) if isinstance(e, Call) else e

    def stmt(s: Stmt) -> Stmt:
        if isinstance(s, Let):
            return Let(names.get(s.name, s.name), expr(s.expr))
        if isinstance(s, Update):
            return Update(names.get(s.name, s.name), expr(s.expr))
        if isinstance(s, Acc):
            return Acc(names.get(s.name, s.name), s.combine, s.dtype)
        if isinstance(s, Store):
            return Store(s.buffer, s.index, expr(s.expr), s.accumulate)
        return Loop(names.get(s.axis, s.axis), s.extent, tuple(stmt(x) for x in s.body))
    return tuple(stmt(s) for s in stmts)


def map_dims(stmts: tuple[Stmt, ...], fn: Callable[[Dim], Dim]) -> tuple[Stmt, ...]:
    """The statements with `fn` applied to every index and extent."""
    def expr(e: Expr) -> Expr:
        if isinstance(e, Load):
            return Load(e.buffer, fn(e.index), e.dtype)
        if isinstance(e, Index):
            return Index(fn(e.index), e.dtype)
        return Call(e.fn, tuple(expr(a) for a in e.args), e.dtype) if isinstance(e, Call) else e

    def stmt(s: Stmt) -> Stmt:
        if isinstance(s, Let):
            return Let(s.name, expr(s.expr))
        if isinstance(s, Update):
            return Update(s.name, expr(s.expr))
        if isinstance(s, Store):
            return Store(s.buffer, fn(s.index), expr(s.expr), s.accumulate)
        if isinstance(s, Loop):
            return Loop(s.axis, fn(s.extent), tuple(stmt(x) for x in s.body))
        return s
    return tuple(stmt(s) for s in stmts)


def build(body: Graph, kind: str, order: tuple[int, ...], label: str) -> Built:
    """The kernel of one fused group (the attributes of a `fusion` node)."""
    b = Builder(body, order)
    stmts = {"map": map_body, "dot": dot_body, "reduce": reduce_body}[kind](b)
    outs = [Param(f"p{len(body.inputs) + i}", o.dtype, "out") for i, o in enumerate(body.outputs)]
    params = [Param(name, n.dtype, "in") for n, name in b.names.items()] + outs
    dims = {f"e{a}": d for a, d in b.domain.extent.items()}
    return finish(label, params, stmts, {**dims, **b.extras})
