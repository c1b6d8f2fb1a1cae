"""Op definitions and the registry: an op is defined once, all else follows.

In: one call of a constructor (`elementwise`, `reduction`, `index_map`, `contraction`, `composite`,
`leaf`) per op.  Out: a callable `OpDef` that builds nodes.  What always holds: `ref` is an
independent numpy oracle, never derived from `scalar`; every op that is not a composite has a gradient
or says that it has none; a name is registered once.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Sequence, Union

import numpy as np

from graphk.ir.dims import Dim, DimExpr
from graphk.ir.node import ArrayValue, Node, make, user_line
from graphk.ir.types import FLOATS, INTS, TensorType, Type, in_shapes, require, shape_text

NodeLike = Union[Node, int, float, bool, np.ndarray, np.generic]
ZERO_GRAD = "zero"        # a vjp of this value: the op passes no gradient to any input

REGISTRY: dict[str, "OpDef"] = {}


@dataclass(frozen=True, eq=False)
class OpDef:
    """What graphk knows of an op.  Call it to build a node."""
    name: str
    kind: str                                   # leaf, elementwise, reduction, index_map, contraction, random, …
    infer: Callable[..., Type]
    ref: Callable[..., Any] | None = None       # numpy arrays + attrs -> array(s)
    vjp: Any = None                             # (g, y, *xs, **attrs) -> gradients (None = no gradient)
    scalar: Callable[..., Any] | None = None    # elementwise: loop body; reduction: (init, combine)
    expand: Callable[..., Node] | None = None   # composite: the same in other ops
    samples: Callable[..., Any] | None = None   # (rng) -> list of (arrays, attrs) to test on
    prepare: Callable[..., tuple[tuple[Node, ...], dict[str, Any]]] | None = None
    doc: str = ""

    def __call__(self, *inputs: NodeLike, **attrs: Any) -> Node:
        try:
            if self.prepare is not None:
                nodes, attrs = self.prepare(*inputs, **attrs)
            else:
                nodes = tuple(as_node(i) for i in inputs)
            return make(self, nodes, tuple(sorted(attrs.items())))
        except (TypeError, ValueError) as e:           # the one place where types become the shapes that users know
            if len(e.args) == 1 and isinstance(e.args[0], str):
                at = user_line()
                e.args = (in_shapes(e.args[0]) + (f" (at {at})" if at and " (at " not in e.args[0] else ""),)
            raise

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (get_op, (self.name,))


def register(op: OpDef) -> OpDef:
    if op.name in REGISTRY:
        raise ValueError(f"the op `{op.name}` is already defined; choose another name")
    REGISTRY[op.name] = op
    return op


def get_op(name: str) -> OpDef:
    """The op of that name; KeyError with near names if there is none."""
    try:
        return REGISTRY[name]
    except KeyError:
        import difflib
        near = difflib.get_close_matches(name, REGISTRY)
        raise KeyError(f"no op `{name}`" + (f"; did you mean {' or '.join(near)}?" if near else "")) from None


# ------------------------------------------------------------------ leaves and constants
def leaf(name: str, doc: str = "", ref: Callable[..., Any] | None = None) -> OpDef:
    """An op without inputs whose type is given, not inferred."""
    def infer(**_: Any) -> Type:
        raise TypeError(f"a `{name}` node is built with its type")
    return register(OpDef(name, "leaf", infer, ref=ref, vjp=ZERO_GRAD, doc=doc))


const_op = leaf("const", "A constant array (attribute `value`).", ref=lambda value: value.array)


def const(value: Any, dtype: str | None = None) -> Node:
    """A constant node; python scalars default to int32/float32/bool."""
    if dtype is None:
        if isinstance(value, (bool, np.bool_)):
            dtype = "bool"
        elif isinstance(value, int):
            dtype = "int32"
        elif isinstance(value, float):
            dtype = "float32"
    array = np.array(value, dtype=dtype)
    return make(const_op, (), (("value", ArrayValue(array)),),
                TensorType(array.dtype.name, tuple(int(d) for d in array.shape)))


def as_node(x: NodeLike, dtype: str | None = None) -> Node:
    if isinstance(x, Node):
        return x
    if isinstance(x, DimExpr):
        from graphk.ir.ops.shape import dim_value
        return dim_value(x, dtype or "int64")
    if isinstance(x, (int, float, bool, np.generic, np.ndarray, list, tuple)):
        return const(x, dtype)
    raise TypeError(f"expected a tensor, an array or a number; received {x!r:.80}, a {type(x).__name__}")


def const_value(n: Node) -> Any:
    """The value of a constant node with one element, else None."""
    if n.op is const_op:
        array = n.attr("value").array
        if array.size == 1:
            return array.reshape(()).item()
    return None


# ------------------------------------------------------------------ broadcasting and promotion
def broadcast_dims(a: Dim, b: Dim) -> Dim:
    """The extent of an axis of extents `a` and `b`; two unequal symbols are taken to be equal at run time
    (the `shapes` pass turns that into a guard)."""
    if isinstance(a, int) and a == 1:
        return b
    if isinstance(b, int) and b == 1:
        return a
    if isinstance(a, int) and isinstance(b, int) and a != b:
        raise ValueError(f"extents {a} and {b} do not broadcast: they must be equal, or one of them 1")
    return b if isinstance(b, int) and not isinstance(a, int) else a


def broadcast_shapes(shapes: Sequence[tuple[Dim, ...]]) -> tuple[Dim, ...]:
    """The numpy broadcast of shapes; ValueError naming both shapes."""
    if all(s == shapes[0] for s in shapes):
        return tuple(shapes[0]) if shapes else ()
    rank = max((len(s) for s in shapes), default=0)
    out: list[Dim] = [1] * rank
    for s in shapes:
        for i, d in enumerate(s):
            at = rank - len(s) + i
            try:
                out[at] = broadcast_dims(out[at], d)
            except ValueError as e:
                text = " and ".join(map(shape_text, shapes))
                raise ValueError(f"shapes {text} do not broadcast: {e}") from None
    return tuple(out)


_RANK = {name: i for i, name in enumerate(("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64",
                                            "float16", "float32", "float64"))}


def promote(dtypes: Sequence[str]) -> str:
    """The widest dtype: any float beats any integer beats bool."""
    return max(dtypes, key=_RANK.__getitem__)


def coerce(xs: Sequence[NodeLike]) -> tuple[Node, ...]:
    """Operands of an elementwise op brought to one dtype; python numbers take the tensors' dtype."""
    from graphk.ir.ops.elementwise import cast
    fixed = [x.dtype for x in xs if isinstance(x, Node)] + [
        x.dtype.name for x in xs if isinstance(x, (np.ndarray, np.generic))]
    weak = [x for x in xs if isinstance(x, (bool, int, float)) and not isinstance(x, np.generic)]
    dtype = promote(fixed) if fixed else "bool" if all(isinstance(w, bool) for w in weak) else \
        "float32" if any(isinstance(w, float) for w in weak) else "int32"
    if any(isinstance(w, float) for w in weak) and dtype not in FLOATS:
        dtype = "float32"
    elif dtype == "bool" and any(not isinstance(w, bool) for w in weak):
        dtype = "int32"
    nodes = [as_node(x, dtype) for x in xs]
    return tuple(n if n.dtype == dtype else cast(n, dtype=dtype) for n in nodes)


# ------------------------------------------------------------------ constructors by kind
def elementwise(name: str, *, ref: Callable[..., Any], scalar: Callable[..., Any], vjp: Any = ZERO_GRAD,
                dtype: str = "any", result: str = "same", samples: Any = None, doc: str = "",
                casts: bool = True) -> OpDef:
    """An op on each element, operands broadcast like numpy's.

    dtype: what operands must be: "any", "floating", "number" or "bool"; with `casts` bools become int32 where
    numbers, and numbers float32 where floats are asked for.  result: "same" or "bool".
    vjp(g, y, *xs) is written as if all operands had the result's shape: sums over broadcast axes are added here.
    """
    def prepare(*xs: NodeLike, **attrs: Any) -> tuple[tuple[Node, ...], dict[str, Any]]:
        nodes = coerce(xs)
        have = nodes[0].dtype
        from graphk.ir.ops.elementwise import cast
        if casts and dtype == "floating" and have not in FLOATS:
            nodes = tuple(cast(n, dtype="float32") for n in nodes)
        elif casts and dtype == "number" and have == "bool":
            nodes = tuple(cast(n, dtype="int32") for n in nodes)
        return nodes, attrs

    def infer(*ts: TensorType) -> TensorType:
        require(f"`{name}`", dtype, *ts)
        shape = broadcast_shapes([t.shape for t in ts])
        return TensorType("bool" if result == "bool" else ts[0].dtype, shape)

    def full_vjp(g: Node, y: Node, *xs: Node, **attrs: Any) -> list[Node | None]:
        grads = vjp(g, y, *xs, **attrs)
        return [None if d is None else unbroadcast(d, x) for d, x in zip(grads, xs)]

    return register(OpDef(name, "elementwise", infer, ref, vjp if vjp == ZERO_GRAD else full_vjp, scalar,
                          samples=samples, prepare=prepare, doc=doc))


def unbroadcast(g: Node, x: Node) -> Node:
    """The gradient of a broadcast operand: `g` summed over the axes that `x` lacks or has with extent 1."""
    from graphk.ir.ops.reduce import sum_
    from graphk.ir.ops.shape import reshape
    if g.shape == x.shape:
        return g
    lead = g.ndim - x.ndim
    axes = tuple(range(lead)) + tuple(
        lead + i for i, d in enumerate(x.shape) if d == 1 and g.shape[lead + i] != 1)
    out = sum_(g, axes=axes, keepdims=False) if axes else g
    return out if out.shape == x.shape else reshape(out, shape=x.shape)


def normalize_axes(axes: Any, ndim: int) -> tuple[int, ...]:
    """Axes as a sorted tuple of non-negative ints; None means all."""
    if axes is None:
        return tuple(range(ndim))
    axes = (axes,) if isinstance(axes, (int, np.integer)) else tuple(axes)
    if not all(isinstance(a, (int, np.integer)) for a in axes):
        raise TypeError(f"axes are integers, or None for all; received {axes} for a tensor of {ndim} axes")
    out = sorted({int(a) + ndim if a < 0 else int(a) for a in axes})
    if any(a < 0 or a >= ndim for a in out):
        raise ValueError(f"axis out of range: received {axes} for a tensor of {ndim} axes "
                         f"(expected {-ndim} to {ndim - 1})")
    return tuple(out)


def check_axes(what: str, axes: tuple[int, ...], ndim: int, ordered: bool = True) -> None:
    """ValueError unless `axes` name axes of a tensor of `ndim` axes, from 0, each once, and `ordered` in that order."""
    if any(type(a) is not int or not 0 <= a < ndim for a in axes) or len(set(axes)) < len(axes) or (
            ordered and list(axes) != sorted(axes)):
        raise ValueError(f"{what}: axes {axes}; expected some of 0 to {ndim - 1}, each once"
                         + (", in this order" if ordered else ""))


def reduced_shape(shape: tuple[Dim, ...], axes: tuple[int, ...], keepdims: bool) -> tuple[Dim, ...]:
    return tuple((1 if i in axes else d) for i, d in enumerate(shape) if keepdims or i not in axes)


def reduction(name: str, *, ref: Callable[..., Any], scalar: Any, vjp: Any = ZERO_GRAD,
              dtype: str = "number", samples: Any = None, doc: str = "") -> OpDef:
    """An op that combines the elements along `axes`; attributes `axes` and `keepdims`.  dtype: what they must be."""
    def prepare(x: NodeLike, axes: Any = None, keepdims: bool = False) -> tuple[tuple[Node, ...], dict[str, Any]]:
        node = as_node(x)
        return (node,), {"axes": normalize_axes(axes, node.ndim), "keepdims": bool(keepdims)}

    def infer(t: TensorType, *, axes: tuple[int, ...], keepdims: bool) -> TensorType:
        require(f"`{name}`", dtype, t)
        check_axes(f"`{name}` of {t}", axes, t.ndim)
        return t.with_shape(reduced_shape(t.shape, axes, keepdims))

    return register(OpDef(name, "reduction", infer, ref, vjp, scalar, samples=samples, prepare=prepare, doc=doc))


def composite(name: str, expand: Callable[..., Node], *, ref: Callable[..., Any], dtype: str = "any",
              vjp: Any = None, samples: Any = None, doc: str = "") -> OpDef:
    """An op that is other ops: its type, and without a `vjp` its gradient, are those of `expand`, until `decompose`."""
    def infer(*ts: TensorType, **attrs: Any) -> Type:
        for t in ts:
            require(f"`{name}`", dtype, t)
        from graphk.ir.ops.leaves import fresh_input
        return expand(*[fresh_input(t) for t in ts], **attrs).type

    return register(OpDef(name, "composite", infer, ref, vjp, expand=expand, samples=samples, doc=doc))


__all__ = ["OpDef", "REGISTRY", "ZERO_GRAD", "register", "get_op", "leaf", "const", "as_node", "const_value",
           "elementwise",
           "reduction", "composite", "broadcast_shapes", "broadcast_dims", "promote", "coerce", "unbroadcast",
           "check_axes", "normalize_axes", "reduced_shape", "NodeLike", "FLOATS", "INTS"]
