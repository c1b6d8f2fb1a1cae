"""Data sets, as numpy arrays: `digits` comes with the package, the others are downloaded once."""
from graphk.datasets import boston_housing, cifar10, cifar100, digits, fashion_mnist, imdb, mnist, reuters

__all__ = ["boston_housing", "cifar10", "cifar100", "digits", "fashion_mnist", "imdb", "mnist", "reuters"]
