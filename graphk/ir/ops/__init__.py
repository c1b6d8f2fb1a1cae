"""Every primitive and composite op, by family; importing this package fills the registry."""
from graphk.ir.ops import contract, control, elementwise, leaves, nn, random, recurrent, reduce, shape, watch, window

__all__ = ["leaves", "elementwise", "reduce", "shape", "contract", "nn", "random", "control", "recurrent", "watch",
           "window"]
