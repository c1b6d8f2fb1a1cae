"""Types of values: `TensorType(dtype, shape)` and tuples of them.

In: dtype names and shapes of ints or symbolic dims.  Out: frozen values that print as `f32[n,64]`
and parse back.  What always holds: `dtype` is one of `DTYPES`, the shape is a tuple of `Dim`.
"""
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Union

import numpy as np

from graphk.ir.dims import Dim, Shape, parse_dim, product, symbols

SHORT = {"bool": "b1", "int32": "i32", "int64": "i64", "uint32": "u32",
         "float16": "f16", "float32": "f32", "float64": "f64", "int8": "i8", "uint8": "u8",
         "int16": "i16", "uint16": "u16"}
LONG = {v: k for k, v in SHORT.items()}
DTYPES = frozenset(SHORT)
FLOATS = ("float16", "float32", "float64")
INTS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64")
# Types that values are stored in but not computed in, and the type that computes them (the widen pass).
NARROW = {"float16": "float32", "int8": "int32", "uint8": "int32", "int16": "int32", "uint16": "int32"}
# What an op may ask of an operand's dtype: the dtypes, what they are called, how to get one.
KINDS = {
    "any": (tuple(SHORT), "values", ""),
    "number": (INTS + FLOATS, "numbers", "cast it first: cast(x, 'int32')"),
    "floating": (FLOATS, "floats", "cast it first: cast(x, 'float32')"),
    "float32": (("float32",), "float32", "cast it first: cast(x, 'float32')"),
    "integer": (INTS, "integers", "cast it first: cast(x, 'int32')"),
    "bool": (("bool",), "bools", "compare first, e.g. x != 0"),
}
ITEMSIZE = {name: np.dtype(name).itemsize for name in DTYPES}


@dataclass(frozen=True, slots=True)
class TensorType:
    """The type of a dense row-major array."""
    dtype: str
    shape: Shape

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise TypeError(f"unknown dtype {self.dtype!r}; expected one of {', '.join(sorted(DTYPES))}")

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> Dim:
        return product(self.shape)

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    def with_dtype(self, dtype: str) -> "TensorType":
        return TensorType(dtype, self.shape)

    def with_shape(self, shape: Shape) -> "TensorType":
        return TensorType(self.dtype, shape)

    def symbols(self) -> set[str]:
        return set().union(*(symbols(d) for d in self.shape)) if self.shape else set()

    def __str__(self) -> str:
        return f"{SHORT[self.dtype]}[{','.join(map(str, self.shape))}]"


_PRINTED = re.compile(r"\b(?:b1|[iuf](?:8|16|32|64))\[([^\[\]]*)\]")


def shape_text(shape: Shape) -> str:
    """The shape as users write it, None for open extents.

    >>> shape_text((8, 5)), shape_text(parse_type("f32[n]").shape)
    ('(8, 5)', '(None,)')
    """
    return str(tuple(d if isinstance(d, int) else None for d in shape))


def in_shapes(text: str) -> str:
    """`text` with the types in it as users write shapes.

    >>> in_shapes("dot of f32[n,5] and f32[3]")
    'dot of (None, 5) and (3,)'
    """
    return _PRINTED.sub(lambda m: shape_text(tuple(parse_dim(d) for d in split_top(m[1]))), text)


def require(what: str, kind: str, *types: TensorType) -> None:
    """TypeError unless the operands `types` of `what` have one dtype, of that kind (a key of `KINDS`).

    >>> require("`sum`", "number", TensorType("float32", (3,)))
    """
    allowed, called, remedy = KINDS[kind]
    for t in types:
        if t.dtype not in allowed:
            raise TypeError(f"{what} takes {called}, received {t.dtype} of shape {shape_text(t.shape)}; {remedy}")
        if t.dtype != types[0].dtype:
            raise TypeError(f"{what} takes operands of one dtype, received {types[0].dtype} and {t.dtype}; cast one")


@dataclass(frozen=True, slots=True)
class TupleType:
    """The type of a node with several results (a scan, a fusion); `item` nodes take them apart."""
    items: tuple[TensorType, ...]

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.items))})"


Type = Union[TensorType, TupleType]


def split_top(text: str, sep: str = ",") -> list[str]:
    """`text` split at `sep` outside all brackets and quotes."""
    out, depth, last, quote = [], 0, 0, ""
    for i, ch in enumerate(text):
        if quote:
            quote = "" if ch == quote and text[i - 1] != "\\" else quote
        elif ch in "\"'":
            quote = ch
        elif ch in "([{":
            depth += 1
        elif ch in ")]}":
            depth -= 1
        elif ch == sep and depth == 0:
            out.append(text[last:i])
            last = i + 1
    tail = text[last:]
    return out + [tail] if tail.strip() or out else []


def parse_type(text: str) -> Type:
    """The type printed as `text`, e.g. `f32[n,64]` or `(f32[n], i32[])`."""
    text = text.strip()
    if text.startswith("(") and text.endswith(")"):
        items = tuple(parse_type(t) for t in split_top(text[1:-1]))
        return TupleType(tuple(t for t in items if isinstance(t, TensorType)))
    m = re.fullmatch(r"(\w+)\[(.*)\]", text)
    if not m or m[1] not in LONG:
        raise ValueError(f"`{text}` is not a type: expected e.g. f32[n,64]")
    return TensorType(LONG[m[1]], tuple(parse_dim(d) for d in split_top(m[2])))


__all__ = ["Dim", "Shape", "TensorType", "TupleType", "Type", "parse_type", "DTYPES", "SHORT", "LONG", "FLOATS",
           "INTS", "ITEMSIZE", "KINDS", "NARROW", "in_shapes", "require", "shape_text", "split_top"]
