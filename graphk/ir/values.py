"""How text forms write constant arrays, scalars and strings.

In: arrays and strings, or their text.  Out: text, or values.  What always holds: a printed array reads back bit
for bit: up to `INLINE` elements are digits where digits carry every bit, all else is base64 of the
little-endian bytes.
"""
from __future__ import annotations

import base64
import json
import re
from typing import Any

import numpy as np

INLINE = 16                                # constants of up to this many elements are printed as digits


def scalar(text: str) -> Any:
    """A bool, int or float as the text writes it."""
    return text == "true" if text in ("true", "false") else int(text) if re.fullmatch(r"-?\d+", text) else float(text)


def plain(error: Exception) -> str:
    """The text of an error, without the Python function that an operand or attribute did not suit."""
    return re.sub(r"^[\w.<>]+\(\) ", "it ", str(error))


def quote(text: str) -> str:
    """A string in the quotes and escapes that parsing undoes."""
    return json.dumps(text, ensure_ascii=False)


_WORD = re.compile(r"[^\W\d]\w*")


def word(text: str) -> str:
    """A name of a graph or program: bare where that is one token, else in quotes.

    >>> print(word("main"), word("my model"))
    main "my model"
    """
    return text if _WORD.fullmatch(text) else quote(text)


def identifier(text: str) -> str:
    """A name as one token: other characters become `_`; the empty name stays empty."""
    out = re.sub(r"\W", "_", text)
    return "v" + out if out and not _WORD.fullmatch(out) else out


def array_text(array: np.ndarray) -> str:
    """The values of an array (not its type)."""
    if array.size <= INLINE:
        text = _nested(array)
        flat = np.array([scalar(t) for t in re.findall(r"[^\[\], ]+", text)], array.dtype)
        if flat.tobytes() == array.tobytes():      # not so for NaNs with a payload
            return text
    little = array.astype(array.dtype.newbyteorder("<"))
    return f'base64 "{base64.b64encode(little.tobytes()).decode()}"'


def _nested(array: np.ndarray) -> str:
    if array.ndim:
        return "[" + ", ".join(_nested(a) for a in array) + "]"
    x = array[()]
    return ("true" if x else "false") if array.dtype == bool else str(x)
