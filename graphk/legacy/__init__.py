"""Keras's `legacy` package: what Keras 1 had and Keras 2 keeps for old models."""
from graphk.legacy import interfaces, layers

__all__ = ["interfaces", "layers"]
