"""TensorFlow's sums of products by letters, and its functions of diagonals.

In: tensors, arrays.  Out: tensors.  What always holds: a sum of products of two tensors is one `dot`, whatever its
letters.
"""
from __future__ import annotations

from typing import Any

from graphk.frontend import backend as K
from graphk.frontend.tensor import Tensor, as_dim, node_of
from graphk.frontend.tf.names import named
from graphk.ir.dims import Dim
from graphk.ir.node import Node
from graphk.ir.ops import elementwise as ew
from graphk.ir.ops import shape as sh
from graphk.ir.ops.contract import dot
from graphk.ir.ops.shape import transpose

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"                # stand for the axes of an ellipsis


# ------------------------------------------------------------------ products by letters
def _read(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """The letters of each operand, and of the result; ValueError for what is no such equation."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"tf.einsum: {equation!r} names {len(terms)} operands, received {len(ranks)}")
    more = {rank - len(t.replace("...", "")) for t, rank in zip(terms, ranks) if "..." in t}
    if any(c in _LETTERS for c in left) and more:
        raise ValueError(f"tf.einsum: {equation!r} has capital letters beside an ellipsis; write small ones")
    if len(more) > 1:
        raise ValueError(f"tf.einsum: the ellipses of {equation!r} stand for {sorted(more)} axes; expected as many in "
                         "each operand: broadcasting is not done here, reshape first")
    dots = _LETTERS[:max(more, default=0)]
    terms = [t.replace("...", dots) for t in terms]
    if not arrow:
        right = "..." * bool(more) + "".join(sorted(c for c in set("".join(terms)) - set(dots)
                                                    if "".join(terms).count(c) == 1))
    right = right.replace("...", dots)
    for t, rank in zip(terms, ranks):
        if len(t) != rank or not t.isalpha() and t or len(set(t)) != len(t):
            raise ValueError(f"tf.einsum: {t!r} of {equation!r} must have a letter, each once, for each of {rank} axes")
    if len(set(right)) != len(right) or not set(right) <= set("".join(terms)):
        raise ValueError(f"tf.einsum: the letters {right!r} of the result of {equation!r} must be of the operands, "
                         "each once")
    return terms, right


def _summed(x: Node, letters: str, keep: set[str]) -> tuple[Node, str]:
    gone = [i for i, c in enumerate(letters) if c not in keep]
    if gone:
        x = K.sum(Tensor(x), axis=gone).node
    return x, "".join(c for c in letters if c in keep)


@named("einsum", "linalg.einsum")
def einsum(equation: str, *inputs: Any, **kwargs: Any) -> Tensor:
    """Sums of products over the letters that the result lacks: 'bij,bjk->bik' is a product of matrices for each b.

    Operands are multiplied in their order; ValueError for a letter twice in one operand.

    >>> K.eval(einsum("ij,j->i", K.constant([[1., 2.], [3., 4.]]), K.constant([1., 1.]))).tolist()
    [3.0, 7.0]
    """
    if set(kwargs) - {"optimize"}:                     # an order of products that only costs time
        raise TypeError(f"tf.einsum takes an equation, its operands and optimize here; received {sorted(kwargs)}")
    nodes = [node_of(x) for x in inputs]
    terms, right = _read(equation, [n.ndim for n in nodes])
    out, have = nodes[0], terms[0]
    for at in range(1, len(nodes)):
        later = set(right).union(*terms[at + 1:])
        out, have = _summed(out, have, later | set(terms[at]))
        other, names = _summed(nodes[at], terms[at], later | set(have))
        shared = [c for c in have if c in names]
        pairs = [(tuple(have.index(c) for c in some), tuple(names.index(c) for c in some)) for some in
                 ([c for c in shared if c not in later], [c for c in shared if c in later])]
        out = dot(out, other, contract=pairs[0], batch=pairs[1])
        have = "".join([*(c for c in shared if c in later), *(c for c in have + names if c not in shared)])
    out, have = _summed(out, have, set(right))
    return Tensor(transpose(out, perm=tuple(have.index(c) for c in right)) if have != right else out)


# ------------------------------------------------------------------ diagonals
def _on_diagonal(rows: Dim, columns: Dim, dtype: str) -> Node:
    """1 where row and column have the same number, else 0."""
    row = sh.reshape(sh.iota(rows), shape=(rows, 1))
    return ew.cast(ew.eq(row, sh.iota(columns)), dtype)


@named("eye", "linalg.eye")
def eye(num_rows: Any, num_columns: Any = None, batch_shape: Any = None, dtype: str = "float32") -> Tensor:
    """The identity, or the same for each place of `batch_shape`."""
    rows = as_dim(num_rows)
    one = Tensor(_on_diagonal(rows, rows if num_columns is None else as_dim(num_columns), dtype))
    if batch_shape is None:
        return one
    return Tensor(sh.broadcast_to(one.node, (*(as_dim(d) for d in batch_shape), *one.node.shape)))


@named("matrix_diag", "linalg.diag")
def matrix_diag(diagonal: Any) -> Tensor:
    """(…, n) on the diagonals of (…, n, n), 0 elsewhere."""
    x = node_of(diagonal)
    n = x.shape[-1]
    return Tensor(ew.mul(sh.reshape(x, shape=(*x.shape, 1)), _on_diagonal(n, n, x.dtype)))


@named("diag", "linalg.tensor_diag")
def diag(diagonal: Any) -> Tensor:
    """A vector on the diagonal of a matrix; ValueError for more axes."""
    if node_of(diagonal).ndim != 1:
        raise ValueError(f"tf.diag takes a vector here; received {node_of(diagonal).ndim} axes, which "
                         "tf.matrix_diag takes")
    return matrix_diag(diagonal)


@named("matrix_diag_part", "linalg.diag_part", "diag_part", "linalg.tensor_diag_part")
def matrix_diag_part(input: Any) -> Tensor:
    """The diagonals of (…, rows, columns)."""
    x = node_of(input)
    rows, columns = x.shape[-2:]
    if rows != columns:
        raise ValueError(f"tf.matrix_diag_part takes square matrices here; received {Tensor(x).shape}")
    return K.sum(Tensor(ew.select(_on_diagonal(rows, columns, "bool"), x, ew.zeros_like(x))), axis=-1)


@named("trace", "linalg.trace")
def trace(x: Any) -> Tensor:
    """The sums of the diagonals of (…, n, n)."""
    return K.sum(matrix_diag_part(x), axis=-1)
