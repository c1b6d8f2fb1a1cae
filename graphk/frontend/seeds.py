"""Where seeds come from that nobody gave.

In: `set_seed`, or nothing.  Out: whole numbers below a limit.  What always holds: without `set_seed` they are drawn
from numpy's global generator, so that `np.random.seed` settles everything; with it, numpy's generator is left alone.
"""
from __future__ import annotations

import numpy as np

_own: np.random.RandomState | None = None


def drawn(limit: int) -> int:
    """A whole number from 0 to `limit` - 1."""
    return int(np.random.randint(limit) if _own is None else _own.randint(limit))


def set_seed(seed: int | None) -> None:
    """Draw from a generator of our own from now on, as `tf.random.set_seed` asks; None: from numpy's again.

    >>> from graphk import backend as K
    >>> def draw():
    ...     set_seed(3)
    ...     return K.eval(K.random_uniform((2,))).tolist()
    >>> draw() == draw()
    True
    >>> set_seed(None)
    """
    global _own
    _own = None if seed is None else np.random.RandomState(seed)


__all__ = ["drawn", "set_seed"]
