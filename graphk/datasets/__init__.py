"""Data sets, as numpy arrays: `graphk.datasets.digits` comes with the package and needs no download."""
from graphk.datasets import digits

__all__ = ["digits"]
