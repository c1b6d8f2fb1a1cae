"""Sparse matrices (scipy's, known by their methods: nothing here imports scipy) where Keras takes them.

In: what users pass as values.  Out: arrays, or matrices whose rows can be taken.  What always holds: inside, every
tensor is dense; a matrix stays sparse outside a call, and only the rows of a batch are written out for it.
"""
from __future__ import annotations

from typing import Any


def is_sparse_matrix(x: Any) -> bool:
    """Whether `x` is a sparse matrix of values."""
    return hasattr(x, "tocoo") and hasattr(x, "toarray")


def with_rows(x: Any) -> Any:
    """`x`; a sparse matrix in the form (CSR) whose rows can be taken."""
    return x.tocsr() if is_sparse_matrix(x) else x


def dense(x: Any) -> Any:
    """`x`; a sparse matrix as the array it stands for."""
    return x.toarray() if is_sparse_matrix(x) else x
