"""The error that every malformed file ends in.

In: file, place in it, reason.  Out: one message.  What always holds: it is a ValueError, so programs that expect
Keras's errors catch it.
"""
from __future__ import annotations

import contextlib
import zipfile
import zlib
from typing import Any, Iterator

# What h5py, zipfile, json and numpy raise about bytes that do not mean what they should.
_MALFORMED = (OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, MemoryError, RecursionError,
              AttributeError, IndexError, UnicodeError, NotImplementedError, EOFError, zipfile.BadZipFile, zlib.error)


class GraphkFormatError(ValueError):
    """A file does not hold what it should.

    file: its name; place: where in it; reason: what was found, what was expected, how to go on.

    >>> str(GraphkFormatError("m.h5", "model_weights/dense_1", "no weights"))
    'm.h5: model_weights/dense_1: no weights'
    """

    def __init__(self, file: str, place: str, reason: str):
        super().__init__(": ".join(part for part in (file, place, reason) if part))
        self.file, self.place, self.reason = file, place, reason

    def __reduce__(self) -> Any:
        return GraphkFormatError, (self.file, self.place, self.reason)


@contextlib.contextmanager
def malformed(file: str, place: str, what: str) -> Iterator[None]:
    """Whatever a reader raises inside becomes a GraphkFormatError that says `what` could not be done."""
    try:
        yield
    except GraphkFormatError:
        raise
    except _MALFORMED as e:
        reason = str(e) or type(e).__name__
        raise GraphkFormatError(file, place, f"{what}: {reason[:500]}") from e


__all__ = ["GraphkFormatError", "malformed"]
