"""Lower: a fused Graph becomes a Program of kernels on buffers.

In: a Graph of fusion nodes and the few ops that are no group (reshape, concat, embed, fold, scatter_add, places, scan,
rnn and its gradient).
Out: a Program whose buffers have no offsets yet.  What always holds: every value has one buffer; a reshape is
an alias; each output has a buffer of its own; each update ends in a copy into its variable, which
`memory` removes where the producer may write in place.
"""
from __future__ import annotations

from dataclasses import replace

from graphk.ir.dims import Dim, floordiv, product, substitute, sym
from graphk.ir.loop import (Call, Expr, Index, Kernel, Let, Lit, Load, Loop, Param, Ref, Schedule, Stmt, Store, Update,
                            call, expressions)
from graphk.ir.node import Graph, Node, origin_of
from graphk.ir.ops.recurrent import GATES, rnn, rnn_gradient
from graphk.ir.program import AnyStep, Buffer, LoopStep, Program, Step
from graphk.ir.types import FLOATS, ITEMSIZE, TensorType, TupleType
from graphk.passes.fuse import Note
from graphk.passes.kernels import Built, build, finish


class Lowering:
    """Buffers and steps under construction."""

    def __init__(self) -> None:
        self.buffers: dict[str, Buffer] = {}
        self.of: dict[Node, str] = {}
        self.parts: dict[tuple[Node, int], str] = {}
        self.steps: list[AnyStep] = []
        self.kernels: dict[Kernel, Kernel] = {}
        self.memo: dict[tuple[Graph, str], Built] = {}

    # -------------------------------------------------------------- buffers
    def new(self, type_: TensorType, place: str = "arena", hint: str = "t", **extra: object) -> str:
        hint = "".join(ch if ch.isalnum() or ch == "_" else "_" for ch in hint) or "t"
        name, n = hint if hint != "t" else f"t{len(self.buffers)}", len(self.buffers)
        while name in self.buffers:
            name, n = f"{hint}{n}", n + 1
        self.buffers[name] = Buffer(name, type_, place, **extra)       # type: ignore[arg-type]
        return name

    def root(self, name: str) -> str:
        """The buffer that `name` is, looking through aliases."""
        while self.buffers[name].place == "alias":
            name = self.buffers[name].base
        return name

    def buffer_of(self, node: Node) -> str:
        if node not in self.of:
            self.of[node] = self._leaf(node)
        return self.of[node]

    def _leaf(self, node: Node) -> str:
        if node.op.name in ("const", "variable"):
            return self.new(node.t, node.op.name, node.attr("name") or "c", node=node)
        raise KeyError(f"{node!r} is read before it is computed, or is not among the graph's inputs")

    # -------------------------------------------------------------- steps
    def emit(self, built: Built, buffers: tuple[str, ...], node: Node | None, label: str,
             cost: Dim | None = None, group: Node | None = None) -> None:
        """A step; cost: its scalar operations where the loops' extents do not tell; group: what it is the kernel of."""
        kernel = replace(built.kernel, label=label)
        kernel = self.kernels.setdefault(kernel, kernel)          # equal ones as one object: compared in no time
        origin = str(origin_of(node)) if node is not None else ""
        cost = step_cost(kernel, built.sizes) if cost is None else cost
        self.steps.append(Step(kernel, buffers, built.sizes, origin=origin, cost=cost, group=group))

    def copy(self, source: str, target: str, node: Node | None = None, label: str = "copy") -> None:
        t = self.buffers[source].type
        self.emit(_copy_kernel(t.dtype, t.size), (source, target), node, label)

    def run(self, nodes: tuple[Node, ...]) -> None:
        for node in nodes:
            if node.op.kind != "leaf" and node not in self.of:
                self._node(node)

    def _node(self, node: Node) -> None:
        name = node.op.name
        if name == "fusion":
            self._fusion(node)
        elif name == "item":
            self.of[node] = self.parts[node.inputs[0], node.attr("index")]
        elif name == "reshape":
            base = self.buffer_of(node.inputs[0])
            self.of[node] = self.new(node.t, "alias", base=base)
        elif name == "concat":
            self._concat(node)
        elif name == "embed":
            self._embed(node)
        elif name == "fold":
            self._fold(node)
        elif name == "scatter_add":
            self._scatter(node)
        elif name == "places":
            self._places(node)
        elif name == "scan":
            self._scan(node)
        elif node.op in (rnn, rnn_gradient):
            self._library(node)
        else:
            raise NotImplementedError(f"no lowering for the op `{name}`: {node!r} ({origin_of(node)})")

    def _fusion(self, node: Node) -> None:
        body, kind = node.attr("body"), node.attr("kind")
        ins = [self.buffer_of(i) for i in node.inputs]
        outs = []
        for i, o in enumerate(body.outputs):
            outs.append(self.new(o.t, origin=str(origin_of(o))))
            self.parts[node, i] = outs[-1]
        label = group_label(body)
        self.emit(build(body, kind, node.attr("order"), label), (*ins, *outs), body.outputs[0], label, group=node)

    # -------------------------------------------------------------- ops that are no group
    def _concat(self, node: Node) -> None:
        out = self.of[node] = self.new(node.t)
        axis = node.attr("axis")
        if product(node.shape[:axis]) != 1:
            self.emit(_concat_kernel(node), (*map(self.buffer_of, node.inputs), out), node, "concat", 2 * node.t.size)
            return
        at: Dim = 0
        for x in node.inputs:
            outer, tail = product(x.shape[:axis]), product(x.shape[axis + 1:])
            self.emit(_strided_copy(node.dtype, outer, x.shape[axis] * tail, node.shape[axis] * tail, at * tail),
                      (self.buffer_of(x), out), node, "concat")
            at = at + x.shape[axis]

    def clear(self, buffer: str, node: Node) -> None:
        t = self.buffers[buffer].type
        zero = False if t.dtype == "bool" else 0.0 if t.is_float else 0
        e = sym("e0")
        loop = Loop("a0", e, (Store("p0", sym("a0"), Lit(zero, t.dtype)),))
        self.emit(finish("fill", [Param("p0", t.dtype, "out")], (loop,), {"e0": t.size}), (buffer,), node, "fill")

    def _embed(self, node: Node) -> None:
        out = self.of[node] = self.new(node.t)
        x = node.inputs[0]
        if x.ndim and all(s == 1 for s in node.attr("steps")):
            self.emit(pad_kernel(node), (self.buffer_of(x), out), node, "pad", cost=2 * node.t.size)
            return
        self.clear(out, node)
        dims: dict[str, Dim] = {}
        src: Dim = 0
        dst: Dim = 0
        stride: Dim = 1
        out_stride: Dim = 1
        for d in range(x.ndim - 1, -1, -1):
            dims[f"e{d}"], dims[f"x{d}"], dims[f"o{d}"] = x.shape[d], node.shape[d], node.attr("starts")[d]
            src = src + sym(f"a{d}") * stride
            dst = dst + (sym(f"a{d}") * node.attr("steps")[d] + sym(f"o{d}")) * out_stride
            stride, out_stride = stride * sym(f"e{d}"), out_stride * sym(f"x{d}")
        body: tuple[Stmt, ...] = (Let("t0", Load("p0", src, x.dtype)), Store("p1", dst, Ref("t0", x.dtype)))
        for d in range(x.ndim - 1, -1, -1):
            body = (Loop(f"a{d}", sym(f"e{d}"), body),)
        params = [Param("p0", x.dtype, "in"), Param("p1", x.dtype, "out")]
        self.emit(finish("embed", params, body, dims), (self.buffer_of(x), out), node, "embed")

    def _fold(self, node: Node) -> None:
        """Every window is added where it came from, the places of a window one after another.

        Where windows lie side by side they are put there.
        """
        g, axes = node.inputs[0], node.attr("axes")
        out = self.of[node] = self.new(node.t)
        behind, places = axes[-1] + 1, len(axes)
        sizes, strides, apart = node.attr("sizes"), node.attr("strides"), _apart(node)
        if not apart or any(g.shape[a] * k != node.shape[a] or k != s for a, k, s in zip(axes, sizes, strides)):
            self.clear(out, node)
        dims: dict[str, Dim] = {f"e{i}": d for i, d in enumerate(g.shape)}
        at = [sym(f"a{i}") for i in range(g.ndim)]
        src: Dim = 0
        for i in range(g.ndim):
            src = src * sym(f"e{i}") + at[i]
        dst: Dim = 0
        for d in range(node.ndim):
            own = d if d < behind else d + places
            here: Dim = at[own]
            if d in axes:
                i = axes.index(d)
                here = here * strides[i] + at[behind + i] * node.attr("dilations")[i]
                dims[f"x{d}"] = node.shape[d]
                dst = dst * sym(f"x{d}") + here
            else:
                dst = dst * sym(f"e{own}") + here
        order = [*range(axes[0]), *range(behind, behind + places), *range(axes[0], behind)]
        if apart:                                # as the result lies in memory
            order = [i for a in range(behind) for i in ((a, behind + axes.index(a)) if a in axes else (a,))]
        order += range(behind + places, g.ndim)
        body: tuple[Stmt, ...] = (Store("p1", dst, Load("p0", src, g.dtype), accumulate=not apart),)
        for i in reversed(order):
            body = (Loop(f"a{i}", sym(f"e{i}"), body),)
        if not axes[0] and not apart:            # no axis without windows stands outside: one thread does it all
            body = (Loop("z", 1, body),)
        params = [Param("p0", g.dtype, "in"), Param("p1", g.dtype, "out")]
        self.emit(finish("fold", params, body, dims), (self.buffer_of(g), out), node, "fold")

    def _scatter(self, node: Node) -> None:
        idx, g = node.inputs
        out = self.of[node] = self.new(node.t)
        self.clear(out, node)
        inner = Store("p2", sym("t0") * sym("e1") + sym("a1"), Load("p1", sym("a0") * sym("e1") + sym("a1"), g.dtype),
                      accumulate=True)
        body: tuple[Stmt, ...] = (Loop("a0", sym("e0"), (*_row(idx), Loop("a1", sym("e1"), (inner,)))),)
        dims: dict[str, Dim] = {"e0": idx.t.size, "e1": product(g.shape[idx.ndim:]), "x0": node.attr("rows") - 1}
        params = [Param("p0", idx.dtype, "in"), Param("p1", g.dtype, "in"), Param("p2", g.dtype, "out")]
        self.emit(finish("scatter_add", params, body, dims), (self.buffer_of(idx), self.buffer_of(g), out), node,
                  "scatter_add")

    def _places(self, node: Node) -> None:
        idx = node.inputs[0]
        out = self.of[node] = self.new(node.t)
        self.clear(out, node)
        body = (Loop("a0", sym("e0"), (*_row(idx), Store("p1", sym("t0"), Index(sym("a0") + 1, node.dtype)))),)
        params = [Param("p0", idx.dtype, "in"), Param("p1", node.dtype, "out")]
        self.emit(finish("places", params, body, {"e0": idx.t.size, "x0": node.attr("rows") - 1}),
                  (self.buffer_of(idx), out), node, "places")

    def _scan(self, node: Node) -> None:
        body, nc, nx, length = (node.attr(k) for k in ("body", "n_carry", "n_xs", "length"))
        carries = []
        for i in range(nc):
            carries.append(self.new(node.inputs[i].t, hint="carry"))
            self.copy(self.buffer_of(node.inputs[i]), carries[-1], node, "carry")
            self.parts[node, i] = carries[-1]
        windows: list[tuple[str, str, Dim]] = []
        inner = Lowering()
        inner.buffers = self.buffers
        for i, leaf in enumerate(body.inputs):
            if i < nc:
                inner.of[leaf] = carries[i]
            elif i < nc + nx:
                inner.of[leaf] = self._window(self.buffer_of(node.inputs[i]), leaf.t, windows)
            else:
                inner.of[leaf] = self.buffer_of(node.inputs[i])
        every = range(nc, len(body.outputs))

        def stack(outputs: list[int]) -> None:
            for i in outputs:
                o = body.outputs[i]
                whole = self.new(TensorType(o.dtype, (length,) + o.shape), hint="stack")
                self.parts[node, i] = whole
                inner.copy(inner.buffer_of(o), self._window(whole, o.t, windows), node, "stack")
        stack([i for i in every if body.outputs[i] in body.inputs])          # before a step changes what it began with
        inner.run(body.nodes())
        stack([i for i in every if body.outputs[i] not in body.inputs])
        inner.carry_over([inner.buffer_of(o) for o in body.outputs[:nc]], carries, node)
        self.steps.append(LoopStep(length, tuple(inner.steps), tuple(windows), node.attr("reverse"),
                                   origin=str(origin_of(node))))

    def _library(self, node: Node) -> None:
        """A recurrent layer that a library computes: a step without loops."""
        outs = []
        for i, t in enumerate(node.type.items if isinstance(node.type, TupleType) else ()):
            outs.append(self.new(t, origin=str(origin_of(node))))
            self.parts[node, i] = outs[-1]
        time, samples, features = node.inputs[0].shape
        units = node.inputs[2].shape[-1]                     # of its outputs, or its first states
        cell, biases = node.attr("cell"), node.attr("biases")
        what = "gradient" if node.op is rnn_gradient else "training" if node.attr("training") else "forward"
        params = tuple(Param(f"p{i}", "float32", "in" if i < len(node.inputs) else "out")
                       for i in range(len(node.inputs) + len(outs)))
        kernel = Kernel(f"{cell}_{what}", params, ("s0", "s1", "s2", "s3"), (),
                        Schedule("library", (cell, ("none", "one", "two")[biases], what)))
        products = GATES[cell] * units * (features + units) * (2 if what == "gradient" else 1)
        self.steps.append(Step(self.kernels.setdefault(kernel, kernel), (*map(self.buffer_of, node.inputs), *outs),
                               (time, samples, features, units), origin=str(origin_of(node)),
                               cost=2 * time * samples * products))

    def _window(self, whole: str, type_: TensorType, windows: list[tuple[str, str, Dim]]) -> str:
        name = self.new(type_, "alias", "window", base=whole)
        windows.append((name, whole, type_.size * ITEMSIZE[type_.dtype]))
        return name

    def carry_over(self, sources: list[str], carries: list[str], node: Node) -> None:
        """New carries into the carry buffers; those that are other carries are saved first."""
        saved = []
        for s, c in zip(sources, carries):
            if self.root(s) in carries and self.root(s) != c:
                spare = self.new(self.buffers[s].type)
                self.copy(s, spare, node, "carry")
                s = spare
            saved.append(s)
        for s, c in zip(saved, carries):
            if self.root(s) != c:
                self.copy(s, c, node, "carry")


def _apart(node: Node) -> bool:
    """Whether no two windows of a `fold` share a place."""
    return all(d == 1 and s >= k for s, k, d in zip(*(node.attr(a) for a in ("strides", "sizes", "dilations"))))


# ------------------------------------------------------------------ small kernels
def _row(idx: Node) -> tuple[Let, Let]:
    """`t0`: the row that the index `p0` names at place `a0`, of rows whose last is the size `x0`."""
    named = call("cast:int64", Load("p0", sym("a0"), idx.dtype))
    return (Let("last", Index(sym("x0"), "int64")),
            Let("t0", call("max", call("min", named, Ref("last", "int64")), 0)))


def _concat_kernel(node: Node) -> Built:
    """Rows of all parts, one part's piece after another."""
    axis = node.attr("axis")
    dims: dict[str, Dim] = {"e0": product(node.shape[:axis]), "w": product(node.shape[axis:])}
    row, v, loops = sym("a0"), sym("v"), []
    at: Dim = 0
    for i, x in enumerate(node.inputs):
        dims[f"w{i}"] = product(x.shape[axis:])
        width = sym(f"w{i}")
        loops.append(Loop("v", width, (Let(f"t{i}", Load(f"p{i}", row * width + v, x.dtype)),
                                       Store(f"p{len(node.inputs)}", row * sym("w") + at + v, Ref(f"t{i}", x.dtype)))))
        at = at + width
    params = [Param(f"p{i}", node.dtype, "in") for i in range(len(node.inputs))]
    params.append(Param(f"p{len(node.inputs)}", node.dtype, "out"))
    return finish("concat", params, (Loop("a0", sym("e0"), tuple(loops)),), dims)


def pad_kernel(node: Node, dtype: str = "") -> Built:
    """Zeros around a tensor, each element written once: rows of the result in parallel, contiguous pieces of a row.

    A row is the last padded axis with all behind it; rows outside the operand have a first piece alone.  dtype: what
    float32 numbers are written as; of bfloat16 the upper halves of numbers whose lower ones are zero.
    """
    x, starts = node.inputs[0], node.attr("starts")
    last = max((d for d in range(x.ndim) if x.shape[d] != node.shape[d]), default=0)
    dims: dict[str, Dim] = {"w": product(x.shape[last + 1:])}
    row = sym("a0")
    below: Dim = 1
    src: Dim = 0
    stride: Dim = 1
    inside: list[Expr] = []
    for d in range(last, -1, -1):
        dims[f"e{d}"], dims[f"x{d}"], dims[f"o{d}"] = x.shape[d], node.shape[d], starts[d]
    for d in range(last - 1, -1, -1):
        e, whole, o = sym(f"e{d}"), sym(f"x{d}"), sym(f"o{d}")
        at = floordiv(row, below) - whole * floordiv(row, below * whole) if d else floordiv(row, below)
        src, stride, below = src + (at - o) * stride, stride * e, below * whole
        if x.shape[d] != node.shape[d]:
            inside += [call("ge", Index(at, "int64"), Index(o, "int64")),
                       call("lt", Index(at, "int64"), Index(o + e, "int64"))]
    flag: tuple[Stmt, ...] = ()
    one: Dim = 1
    if inside:
        test = inside[0]
        for other in inside[1:]:
            test = call("and", test, other)
        flag, one = (Let("t0", call("cast:int64", test)),), sym("t0")
    w, e, whole, o = (sym(s) for s in ("w", f"e{last}", f"x{last}", f"o{last}"))
    half, v = dtype == "bfloat16", sym("v")
    kind = "int16" if half else dtype or x.dtype
    read: Expr = Load("p0", (src * e * w + v) * 2 + 1 if half else src * e * w + v, "int16" if half else x.dtype)
    read = Call("cast:float16", (read,), kind) if kind == "float16" else read
    zero = Lit(False if kind == "bool" else 0.0 if kind in FLOATS else 0, kind)
    start = row * whole * w
    body = (*flag, Loop("v", one * o * w + (1 - one) * whole * w, (Store("p1", start + v, zero),)),
            Loop("v", one * e * w, (Let("t1", read), Store("p1", start + o * w + v, Ref("t1", kind)))),
            Loop("v", one * (whole - o - e) * w, (Store("p1", start + (o + e) * w + v, zero),)))
    params = [Param("p0", "int16" if half else x.dtype, "in"), Param("p1", kind, "out")]
    return finish("pad", params, (Loop("a0", below, body),), dims)


def _copy_kernel(dtype: str, size: Dim) -> Built:
    body = (Loop("a0", sym("e0"), (Let("t0", Load("p0", sym("a0"), dtype)), Store("p1", sym("a0"), Ref("t0", dtype)))),)
    return finish("copy", [Param("p0", dtype, "in"), Param("p1", dtype, "out")], body, {"e0": size})


def _strided_copy(dtype: str, outer: Dim, inner: Dim, row: Dim, offset: Dim) -> Built:
    src, dst = sym("a0") * sym("e1") + sym("a1"), sym("a0") * sym("x0") + sym("a1") + sym("x1")
    body = (Loop("a0", sym("e0"), (Loop("a1", sym("e1"), (
        Let("t0", Load("p0", src, dtype)), Store("p1", dst, Ref("t0", dtype)))),)),)
    return finish("concat", [Param("p0", dtype, "in"), Param("p1", dtype, "out")], body,
                  {"e0": outer, "e1": inner, "x0": row, "x1": offset})


def group_label(body: Graph) -> str:
    """A readable kernel name: the ops that matter, in order."""
    names = [n.op.name for n in body.nodes() if n.op.kind not in ("leaf", "index_map") or n.op.name in (
        "transpose", "gather", "slice")]
    short: list[str] = []
    for n in names:
        if n not in short:
            short.append(n)
    return "_".join(short[:5]) or "copy"


def step_cost(kernel: Kernel, sizes: tuple[Dim, ...]) -> Dim:
    """Scalar operations of a kernel, as a polynomial in the program's dims."""
    heavy = {"exp": 10, "log": 12, "tanh": 14, "sigmoid": 12, "pow": 30, "philox2x32": 12, "div": 4, "sqrt": 4}

    def of(stmts: tuple[Stmt, ...]) -> Dim:
        total: Dim = 0
        for s in stmts:
            if isinstance(s, Loop):
                total = total + s.extent * of(s.body)
            elif isinstance(s, (Let, Update, Store)):
                total = total + 1 + sum(heavy.get(e.fn, 1) for e in expressions(s.expr) if isinstance(e, Call))
        return total
    return substitute(of(kernel.body), dict(zip(kernel.sizes, sizes)))


# ------------------------------------------------------------------ the pass
def lower(graph: Graph, notes: tuple[Note, ...] = ()) -> Program:
    """`graph` (fused) as a Program."""
    low = Lowering()
    for i, node in enumerate(graph.inputs):
        low.of[node] = low.new(node.t, "input", node.attr("name") or "input", index=i)
    low.run(graph.nodes())
    for i, o in enumerate(graph.outputs):
        _output(low, o, i)
    _assign(low, graph)
    dims = sorted(set().union(*(b.type.symbols() for b in low.buffers.values())) if low.buffers else set())
    return Program(graph.name, tuple(dims), tuple(low.buffers.values()), tuple(low.steps), guards=graph.guards,
                   notes=tuple(str(n) for n in notes))


def _assign(low: Lowering, graph: Graph) -> None:
    """The updates.  A new value that is another updated variable's old one is saved before anything is written."""
    updated = {low.buffer_of(var) for var, _ in graph.updates}
    values = []
    for var, value in graph.updates:
        source, target = low.buffer_of(value), low.buffer_of(var)
        if low.root(source) in updated and low.root(source) != target:
            saved = low.new(value.t)
            low.copy(source, saved, var, "copy")
            source = saved
        values.append((source, target, var))
    for source, target, var in values:
        if source != target:
            low.copy(source, target, var, "assign")


def _output(low: Lowering, node: Node, index: int) -> None:
    """An output's buffer: its producer writes there directly if nothing else lives there."""
    name = low.buffer_of(node)
    have = low.buffers[name]
    if have.place == "arena" and not any(b.base == name for b in low.buffers.values()):
        low.buffers[name] = replace(have, place="output", index=index)
        return
    out = low.new(node.t, "output", f"out{index}", index=index)
    low.copy(name, out, node, "copy")


__all__ = ["lower", "pad_kernel", "step_cost"]
