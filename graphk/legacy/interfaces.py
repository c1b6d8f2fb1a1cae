"""Keras's `legacy.interfaces` module: decorators with which other libraries take Keras 1's arguments."""
from graphk.frontend.optimizers import both_orders as legacy_get_updates_support

__all__ = ["legacy_get_updates_support"]
