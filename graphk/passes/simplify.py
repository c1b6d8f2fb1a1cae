"""Simplify: algebra, constant folding and numerically safe forms, as one table of rules.

In: any Graph.  Out: an equal one, usually smaller.  What always holds: results agree with the graph before
for finite values (x - x becomes 0, which NaN and infinity would not), and where they differ the new form is the
more accurate one: log(softmax(x)), log(sum(exp(x))), log(1 + exp(x)), log(sigmoid(x)), log(1 + x), exp(x) - 1.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from graphk.ir.node import Graph, Node, make, origin, replaced
from graphk.ir.opdef import const, const_value
from graphk.ir.ops import elementwise as e
from graphk.ir.ops import nn, shape
from graphk.ir.ops.contract import dot
from graphk.ir.ops.window import fold_in_parts, fold_of_filter, fold_of_product, windows
from graphk.ir.types import NARROW, TensorType
from graphk.passes.decompose import with_body
from graphk.passes.match import Rule, RuleSet, rewrite_fixpoint

FOLD_LIMIT = 4096                # elements: larger constants are left to run time


def _like(node: Node, value: float) -> Node:
    return const(value, node.dtype)


# ------------------------------------------------------------------ rewrites that need a condition
def _div_const(node: Node, x: Node, c: Node) -> Node | None:
    """x / c as x * (1/c) where 1/c is exact (a power of two)."""
    value = const_value(c)
    if not value or not np.isfinite(value) or np.frexp(value)[0] not in (0.5, -0.5):
        return None
    if not _normal(1 / value, node.dtype):
        return None
    return e.mul(x, _like(node, 1.0 / value))


def _pow_const(node: Node, x: Node, c: Node) -> Node | None:
    value = const_value(c)
    if value == 1:
        return x
    if value == 2:
        return e.square(x)
    if value == 0.5:
        return e.sqrt(x)
    return e.div(_like(node, 1.0), x) if value == -1 else None


def _lse(node: Node, x: Node) -> Node | None:
    total = node.inputs[0]
    return nn.logsumexp(x, axes=total.attr("axes"), keepdims=total.attr("keepdims"))


def _mean_broadcast(node: Node, x: Node) -> Node | None:
    """The sum of a scalar repeated n times is n times it."""
    source = node.inputs[0]
    if x.t.size != 1 or not node.t.is_float:
        return None
    from graphk.ir.dims import product
    count = shape.dim_value(product([source.shape[a] for a in node.attr("axes")]), node.dtype)
    return e.mul(shape.reshape(x, shape=()), count)


def _transposes(node: Node, x: Node) -> Node | None:
    outer, inner = node.attr("perm"), node.inputs[0].attr("perm")
    return shape.transpose(x, perm=tuple(inner[p] for p in outer))


def _same_perm(node: Node, x: Node) -> Node | None:
    perm = node.attr("perm")
    moved = [p for p in perm if x.shape[p] != 1]
    if perm == tuple(range(len(perm))):
        return x
    return shape.reshape(x, shape=node.shape) if moved == sorted(moved) else None


def _turned_rows(x: Node, rows: int) -> tuple[int, ...] | None:
    """How a transpose orders the first `rows` axes, if it moves no other."""
    perm: tuple[int, ...] = x.attr("perm")
    return perm[:rows] if perm[rows:] == tuple(range(rows, x.ndim)) else None


def _gather_in_order(node: Node, x: Node, i: Node) -> Node | None:
    """Rows of a table are gathered in the order in which they are wanted."""
    perm = _turned_rows(node, i.ndim)
    return None if perm is None else shape.gather(x, shape.transpose(i, perm=perm))


def _scatter_in_order(node: Node, i: Node, g: Node) -> Node | None:
    """Rows are added in the order in which they lie."""
    perm = _turned_rows(node.inputs[1], i.ndim)
    if perm is None:
        return None
    back = tuple(perm.index(a) for a in range(i.ndim))
    return shape.scatter_add(shape.transpose(i, perm=back), g, rows=node.attr("rows"))


def _dot_of_transpose(node: Node, **_: Node) -> Node | None:
    """dot(transpose(a), b): the contraction reads a's own axes instead (free axes must keep their order)."""
    args, contract, batch = list(node.inputs), list(node.attr("contract")), list(node.attr("batch"))
    changed = False
    for i, x in enumerate(args):
        if x.op.name != "transpose":
            continue
        perm = x.attr("perm")
        free = [perm[p] for p in range(len(perm)) if p not in contract[i] and p not in batch[i]]
        if free != sorted(free):
            continue
        args[i] = x.inputs[0]
        contract[i], batch[i] = (tuple(perm[p] for p in pair[i]) for pair in (contract, batch))
        changed = True
    return dot(*args, contract=tuple(contract), batch=tuple(batch)) if changed else None


def _transposed_dot(node: Node, x: Node, y: Node) -> Node | None:
    """A product whose operands' axes change places: the product of the operands the other way round."""
    (cx, cy), batch = (node.inputs[0].attr(k) for k in ("contract", "batch"))
    mine, others = x.ndim - len(cx), y.ndim - len(cy)
    if batch != ((), ()) or node.attr("perm") != (*range(mine, mine + others), *range(mine)):
        return None
    return dot(y, x, contract=(cy, cx))


def _windows_of_one(node: Node, x: Node) -> Node | None:
    """Windows of one place each are their operand, or evenly spaced places of it: these are gathered once for all that
    read them, and become the rows of plain products."""
    axes, strides = node.attr("axes"), node.attr("strides")
    if any(k != 1 for k in node.attr("sizes")):
        return None
    if any(s != 1 for s in strides):
        sizes = tuple(node.shape[a] if a in axes else d for a, d in enumerate(x.shape))
        steps = tuple(strides[axes.index(a)] if a in axes else 1 for a in range(x.ndim))
        x = shape.slice_op(x, starts=(0,) * x.ndim, sizes=sizes, steps=steps)
    return shape.reshape(x, shape=node.shape)


def _fold_of_one(node: Node, x: Node) -> Node | None:
    """Folding windows of one place each lays them into zeros; so what made them is not computed for the zeros."""
    axes = node.attr("axes")
    if any(k != 1 for k in node.attr("sizes")):
        return None
    behind = axes[-1] + 1
    flat = shape.reshape(x, shape=(*x.shape[:behind], *x.shape[behind + len(axes):]))
    steps = tuple(node.attr("strides")[axes.index(a)] if a in axes else 1 for a in range(node.ndim))
    return shape.embed(flat, starts=(0,) * node.ndim, steps=steps, shape=node.shape)


def _dot_of_reshape(node: Node, **_: Node) -> Node | None:
    """dot(reshape(a), b) without axes of extent 1: those contracted sum nothing, a reshape's are the result's."""
    args, contract, batch = list(node.inputs), list(node.attr("contract")), list(node.attr("batch"))
    one = [i for i, (p, q) in enumerate(zip(*contract)) if args[0].shape[p] == 1 and args[1].shape[q] == 1]
    free = [[a for a in range(x.ndim) if a not in (*p, *q)] for x, p, q in zip(args, contract, batch)]
    own = [{a for a in axes if x.shape[a] == 1} if x.op.name == "reshape" else set() for axes, x in zip(free, args)]
    own = [set() if len(ones) == len(axes) else ones for ones, axes in zip(own, free)]      # a product keeps its rows
    if all(x.op.name != "reshape" for x in args) or not (one or own[0] or own[1]):
        return None
    for side, x in enumerate(args):
        gone = {contract[side][i] for i in one} | own[side]
        left = [a for a in range(x.ndim) if a not in gone]
        args[side] = shape.reshape(x, shape=tuple(x.shape[a] for a in left))
        contract[side] = tuple(left.index(a) for i, a in enumerate(contract[side]) if i not in one)
        batch[side] = tuple(left.index(a) for a in batch[side])
    out = dot(*args, contract=tuple(contract), batch=tuple(batch))
    return out if out.shape == node.shape else shape.reshape(out, shape=node.shape)


def _sum_of_embeds(node: Node) -> Node | None:
    """Parts laid into zeros side by side and added up, as gradients of slices are: the parts one after another."""
    parts: list[Node] = []
    stack = list(node.inputs)
    while stack:
        x = stack.pop()
        if x.op.name == "add" and len(parts) + len(stack) < 32:
            stack += x.inputs
        elif x.op.name == "embed" and x.shape == node.shape and all(s == 1 for s in x.attr("steps")):
            parts.append(x)
        else:
            return None
    cut = {a for x in parts for a in range(node.ndim) if x.inputs[0].shape[a] != node.shape[a]}
    if len(cut) != 1 or not all(isinstance(x.attr("starts")[a], int) and isinstance(x.inputs[0].shape[a], int)
                                for x in parts for a in cut):
        return None
    axis = cut.pop()
    parts.sort(key=lambda x: x.attr("starts")[axis])
    ends = [x.attr("starts")[axis] + x.inputs[0].shape[axis] for x in parts]
    if ends[:-1] != [x.attr("starts")[axis] for x in parts[1:]]:
        return None
    pieces = [p for x in parts for p in (x.inputs[0].inputs if x.inputs[0].op is shape.concat
                                         and x.inputs[0].attr("axis") == axis else (x.inputs[0],))]
    return shape.embed(shape.concat(*pieces, axis=axis), starts=parts[0].attr("starts"), steps=(1,) * node.ndim,
                       shape=node.shape)


def _embed_all(node: Node, x: Node) -> Node | None:
    """A tensor laid into no zeros at all."""
    plain = x.shape == node.shape and all(s == 0 for s in node.attr("starts"))
    return x if plain and all(s == 1 for s in node.attr("steps")) else None


def _slice_of_embed(node: Node, x: Node) -> Node | None:
    """A part of a tensor laid into zeros that holds all of the tensor: laid into fewer zeros."""
    inner = node.inputs[0]
    starts, steps = inner.attr("starts"), inner.attr("steps")
    if any(s != 1 for s in node.attr("steps")) or any(s < 1 for s in steps):
        return None
    moved = tuple(s - cut for s, cut in zip(starts, node.attr("starts")))
    for start, step, count, size in zip(moved, steps, x.shape, node.shape):
        room = size - start - (count - 1) * step                        # behind the last element's place, and its own
        if not (isinstance(start, int) and start >= 0 and isinstance(room, int) and room >= 1):
            return None
    return shape.embed(x, starts=moved, steps=steps, shape=node.shape)


def _slice_of_slice(node: Node, x: Node) -> Node:
    """A part of a part."""
    (first, second), (step, further) = ([y.attr(k) for y in (node.inputs[0], node)] for k in ("starts", "steps"))
    return shape.slice_op(x, starts=tuple(a + s * b for a, s, b in zip(first, step, second)), sizes=node.shape,
                          steps=tuple(s * t for s, t in zip(step, further)))


def _slice_of_convolution(node: Node, x: Node, w: Node) -> Node | None:
    """A part of what windows of step 1 give needs a part of their operand only."""
    product = node.inputs[0]
    seen = _part_of_windows(node, product.inputs[0])
    if seen is None or product.attr("batch") != ((), ()) or min(product.attr("contract")[0]) <= seen.attr("axes")[-1]:
        return None
    return dot(seen, w, contract=product.attr("contract"))


def _slice_of_filter(node: Node, x: Node, w: Node) -> Node | None:
    """The same of windows that are weighed and summed channel by channel."""
    total = node.inputs[0]
    seen = _part_of_windows(node, total.inputs[0].inputs[0])
    if seen is None or total.attr("keepdims") or min(total.attr("axes")) <= seen.attr("axes")[-1] \
            or w.ndim >= seen.ndim - seen.attr("axes")[-1]:                # not the same for all windows
        return None
    return total.op(e.mul(seen, w), axes=total.attr("axes"))


def _slice_of_parts(node: Node, x: Node, w: Node) -> Node | None:
    """A part of results laid side by side (`fold-parts`): of the convolution behind them, only what the part holds."""
    whole = node.inputs[0]
    moved = whole.inputs[0]
    made = moved.inputs[0]
    product = made.inputs[0]
    axes = product.inputs[0].attr("axes")
    at, lead, places = axes[-1] + 1, axes[0], len(axes)
    order = (*range(lead), *(d for i in range(places) for d in (lead + i, at + i)), *range(at + places, made.ndim))
    if made.shape[:at] != product.shape[:at] or moved.attr("perm") != order or any(s != 1 for s in node.attr("steps")) \
            or whole.shape[:lead] != made.shape[:lead] or whole.shape[at:] != made.shape[at + places:]:
        return None
    starts, first, counts, wide = list(node.attr("starts")), [0] * product.ndim, list(made.shape[:at]), []
    for i, a in enumerate(axes):
        count, step, start, size = made.shape[a], made.shape[at + i], starts[a], node.shape[a]
        if whole.shape[a] != count * step or not (
                isinstance(step, int) and isinstance(start, int) and isinstance(size, int)):
            return None
        first[a], starts[a] = divmod(start, step)
        counts[a] = -(-(start + size) // step) - start // step
        wide.append(counts[a] * step)
    if counts == list(made.shape[:at]):
        return None
    fewer = shape.slice_op(product, starts=tuple(first), sizes=(*counts, *product.shape[at:]),
                           steps=(1,) * product.ndim)
    made = shape.transpose(shape.reshape(fewer, shape=(*counts, *made.shape[at:])), perm=order)
    whole = shape.reshape(made, shape=(*counts[:lead], *wide, *whole.shape[at:]))
    return shape.slice_op(whole, starts=tuple(starts), sizes=node.shape, steps=node.attr("steps"))


def _part_of_windows(node: Node, seen: Node) -> Node | None:
    """The windows `seen` that the slice `node` of their places asks for, of a part of their operand; None if it cuts
    other axes, too."""
    axes, sizes, dilations = (seen.attr(k) for k in ("axes", "sizes", "dilations"))
    cut = [a for a in range(node.ndim) if node.shape[a] != node.inputs[0].shape[a]]
    if any(s != 1 for s in (*node.attr("steps"), *seen.attr("strides"))) or not set(cut) <= set(axes):
        return None
    x, room = seen.inputs[0], [(k - 1) * d for k, d in zip(sizes, dilations)]
    starts = tuple(node.attr("starts")[a] if a in axes else 0 for a in range(x.ndim))
    part = tuple(node.shape[a] + room[axes.index(a)] if a in axes else x.shape[a] for a in range(x.ndim))
    return windows(shape.slice_op(x, starts=starts, sizes=part, steps=(1,) * x.ndim), axes=axes, sizes=sizes,
                   dilations=dilations)


def _consts(fn: Any) -> Any:
    """op(op(x, c), d) with both constants joined."""
    def rewrite(node: Node, x: Node, c: Node, d: Node) -> Node | None:
        if not node.t.is_float:
            return None
        joined = fn(const_value(c), const_value(d))
        return node.op(x, _like(node, joined)) if joined == 0 or _normal(joined, node.dtype) else None
    return rewrite


def _normal(value: float, dtype: str) -> bool:
    """Whether a number is neither infinite nor subnormal in `dtype`: only then may it stand for two."""
    info = np.finfo(dtype)
    return float(info.tiny) <= abs(value) <= float(info.max)


RULES = [
    Rule("add-zero", ("add", "x", 0), lambda n, x: x),
    Rule("sub-zero", ("sub", "x", 0), lambda n, x: x),
    Rule("sub-same", ("sub", "x", "x"), lambda n, x: _like(n, 0)),
    Rule("zero-sub", ("sub", 0, "x"), lambda n, x: e.neg(x)),
    Rule("add-neg", ("add", "x", ("neg", "y")), lambda n, x, y: e.sub(x, y)),
    Rule("sub-neg", ("sub", "x", ("neg", "y")), lambda n, x, y: e.add(x, y)),
    Rule("mul-one", ("mul", "x", 1), lambda n, x: x),
    Rule("mul-minus-one", ("mul", "x", -1), lambda n, x: e.neg(x)),
    Rule("mul-mul", ("mul", ("mul", "x", "c:c"), "c:d"), _consts(lambda c, d: c * d)),
    Rule("add-add", ("add", ("add", "x", "c:c"), "c:d"), _consts(lambda c, d: c + d)),
    Rule("mul-neg-neg", ("mul", ("neg", "x"), ("neg", "y")), lambda n, x, y: e.mul(x, y)),
    Rule("div-one", ("div", "x", 1), lambda n, x: x),
    Rule("div-power-of-two", ("div", "x", "c:c"), _div_const),
    Rule("neg-neg", ("neg", ("neg", "x")), lambda n, x: x),
    Rule("neg-sub", ("neg", ("sub", "x", "y")), lambda n, x, y: e.sub(y, x)),
    Rule("pow-const", ("pow", "x", "c:c"), _pow_const),
    Rule("sqrt-square", ("sqrt", ("square", "x")), lambda n, x: e.abs(x)),
    Rule("abs-abs", ("abs", ("abs", "x")), lambda n, x: e.abs(x)),
    Rule("square-neg", ("square", ("neg", "x")), lambda n, x: e.square(x)),
    Rule("max-same", ("max", "x", "x"), lambda n, x: x),
    Rule("min-same", ("min", "x", "x"), lambda n, x: x),
    Rule("relu-relu", ("relu", ("relu", "x")), lambda n, x: e.relu(x)),
    Rule("not-not", ("not", ("not", "x")), lambda n, x: x),
    Rule("select-same", ("select", "c", "x", "x"), lambda n, c, x: x),
    Rule("select-const", ("select", "c:c", "x", "y"), lambda n, c, x, y: x if const_value(c) else y),
    Rule("stop-gradient", ("stop_gradient", "x"), lambda n, x: x),
    Rule("straight-through", ("straight_through", "x", "y"), lambda n, x, y: shape.broadcast_to(x, n.shape)),
    # numerically safe forms
    Rule("log-softmax", ("log", ("softmax", "x")), lambda n, x: nn.log_softmax(x, axis=n.inputs[0].attr("axis"))),
    Rule("log-sum-exp", ("log", ("sum", ("exp", "x"))), _lse),
    Rule("log-exp", ("log", ("exp", "x")), lambda n, x: x),
    Rule("log-sigmoid", ("log", ("sigmoid", "x")), lambda n, x: e.neg(e.softplus(e.neg(x)))),
    Rule("log1p", ("log", ("add", "x", 1)), lambda n, x: e.log1p(x)),
    Rule("softplus", ("log1p", ("exp", "x")), lambda n, x: e.softplus(x)),
    Rule("expm1", ("sub", ("exp", "x"), 1), lambda n, x: e.expm1(x)),
    Rule("one-minus-sigmoid", ("sub", 1, ("sigmoid", "x")), lambda n, x: e.sigmoid(e.neg(x))),
    # shapes
    Rule("reshape-reshape", ("reshape", ("reshape", "x")), lambda n, x: shape.reshape(x, shape=n.shape)),
    Rule("reshape-same", ("reshape", "x"), lambda n, x: x if x.shape == n.shape else None),
    Rule("broadcast-broadcast", ("broadcast", ("broadcast", "x")), lambda n, x: shape.broadcast_op(x, shape=n.shape)),
    Rule("transpose-transpose", ("transpose", ("transpose", "x")), _transposes),
    Rule("transpose-same", ("transpose", "x"), _same_perm),
    Rule("sum-broadcast", ("sum", ("broadcast", "x")), _mean_broadcast),
    Rule("transpose-gather", ("transpose", ("gather", "x", "i")), _gather_in_order),
    Rule("scatter-transpose", ("scatter_add", "i", ("transpose", "g")), _scatter_in_order),
    Rule("dot-transpose", ("dot", "x", "y"), lambda n, x, y: _dot_of_transpose(n)),
    Rule("transpose-dot", ("transpose", ("dot", "x", "y")), _transposed_dot),
    Rule("windows-of-one", ("windows", "x"), _windows_of_one),
    Rule("fold-of-one", ("fold", "x"), _fold_of_one),
    Rule("dot-of-ones", ("dot", "x", "y"), lambda n, x, y: _dot_of_reshape(n)),
    Rule("fold-parts", ("fold", "x"), lambda n, x: fold_in_parts(n)),
    Rule("fold-dot", ("fold", "x"), lambda n, x: fold_of_product(n)),
    Rule("fold-filter", ("fold", ("mul", "x", "y")), fold_of_filter),
    Rule("embed-all", ("embed", "x"), _embed_all),
    Rule("add-embeds", ("add", ("embed", "x"), "y"), lambda n, x, y: _sum_of_embeds(n)),
    Rule("add-embeds", ("add", "y", ("embed", "x")), lambda n, x, y: _sum_of_embeds(n)),
    Rule("slice-embed", ("slice", ("embed", "x")), _slice_of_embed),
    Rule("slice-slice", ("slice", ("slice", "x")), _slice_of_slice),
    Rule("slice-dot", ("slice", ("dot", ("windows", "x"), "w")), _slice_of_convolution),
    Rule("slice-parts", ("slice", ("reshape", ("transpose", ("reshape", ("dot", ("windows", "x"), "w"))))),
         _slice_of_parts),
    Rule("slice-filter", ("slice", ("sum", ("mul", ("windows", "x"), "w"))), _slice_of_filter),
    Rule("cast-same", ("cast", "x"), lambda n, x: x if x.dtype == n.dtype else None),
]
TABLE = RuleSet(RULES)
WHOLE_TABLE = RuleSet(r for r in RULES if r.name != "fold-parts")
PRIMITIVE_TABLE = RuleSet(r for r in RULES if r.name not in ("log-softmax", "log-sum-exp"))    # these build composites


def _drop_broadcasts(node: Node) -> Node | None:
    """An elementwise op broadcasts by itself: its operands need not be spread beforehand."""
    if node.op.kind != "elementwise" or len(node.inputs) < 2:
        return None
    for i, x in enumerate(node.inputs):
        if x.op.name == "broadcast":
            inputs = node.inputs[:i] + x.inputs + node.inputs[i + 1:]
            if node.op.infer(*[n.type for n in inputs], **dict(node.attrs)) == node.type:
                with origin(like=node, rule="drop-broadcast"):
                    return replaced(node, make(node.op, inputs, node.attrs), "drop-broadcast")
    return None


MONOIDS = ("sum", "prod", "reduce_max", "reduce_min", "any", "all")


def _drop_reduction(node: Node) -> Node | None:
    """A reduction along axes of extent 1 combines nothing."""
    if node.op.name not in MONOIDS or any(node.inputs[0].shape[a] != 1 for a in node.attr("axes")):
        return None
    with origin(like=node, rule="drop-reduction"):
        return replaced(node, e.cast(shape.reshape(node.inputs[0], shape=node.shape), node.dtype), "drop-reduction")


def _fold(node: Node) -> Node | None:
    """A node of constants is a constant."""
    if not node.inputs or node.op.ref is None or node.op.kind in ("random", "control"):
        return None
    if not all(i.op.name == "const" for i in node.inputs) or not isinstance(node.type, TensorType):
        return None
    if node.op.name == "cast" and node.dtype in NARROW:       # a narrow constant would be computed with
        return None
    size = node.t.size
    if not isinstance(size, int) or size > FOLD_LIMIT or node.op.name == "broadcast":
        return None
    with np.errstate(all="ignore"):
        value = node.op.ref(*[i.attr("value").array for i in node.inputs], **dict(node.attrs))
    with origin(like=node, rule="fold"):
        return replaced(node, const(np.asarray(value), node.dtype), "fold")


def simplify(graph: Graph, composites: bool = True, parts: bool = True) -> Graph:
    """The graph with every rule applied until none matches.

    composites: rules may build composite ops; parts: what is one operator for a reader may become several steps.
    """
    table = (TABLE if parts else WHOLE_TABLE) if composites else PRIMITIVE_TABLE

    def step(node: Node) -> Node | None:
        if node.op.kind == "leaf":
            return None
        if node.op.name == "scan":
            new = with_body(node, simplify(node.attr("body"), composites, parts))
            return None if new is node else new
        return _fold(node) or table.apply(node) or _drop_broadcasts(node) or _drop_reduction(node)
    return rewrite_fixpoint(graph, step)


__all__ = ["simplify", "RULES", "TABLE"]
