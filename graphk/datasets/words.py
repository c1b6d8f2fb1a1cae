"""What IMDB and Reuters share: texts as lists of word numbers, by how often the words occur.

In: lists of numbers and labels.  Out: the same, shuffled, cut, and renumbered as asked.  What always holds: a seed
gives the order that Keras gives; as there, the rarest word of all counts as too rare where num_words is not given.
"""
from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np

from graphk.frontend.utils.downloads import get_file
from graphk.preprocessing.sequence import _remove_long_seq


def shuffled(x: Any, y: Any, random: np.random.RandomState) -> tuple[Any, Any]:
    """Samples in a random order."""
    order = np.arange(len(x))
    random.shuffle(order)
    return x[order], y[order]


def renumbered(xs: Any, labels: Any, num_words: int | None, skip_top: int, maxlen: int | None, start_char: int | None,
               oov_char: int | None, index_from: int) -> tuple[list[list[int]], Any]:
    """Texts that begin with `start_char`, whose words count from `index_from`, in which words that are too rare or too
    frequent are `oov_char` (None: left out), and the labels; texts of `maxlen` words and more are left out."""
    first = [start_char] if start_char is not None else []
    xs = [first + [int(w) + (index_from or 0) for w in x] for x in xs]
    if maxlen:
        xs, labels = _remove_long_seq(maxlen, xs, labels)
        if not xs:
            raise ValueError(f"After filtering for sequences shorter than maxlen={maxlen}, no sequence was kept. "
                             "Increase maxlen.")
    most = num_words or max(max(x) for x in xs if x)
    if oov_char is not None:
        return [[w if skip_top <= w < most else oov_char for w in x] for x in xs], labels
    return [[w for w in x if skip_top <= w < most] for x in xs], labels


def objects(xs: list[list[int]]) -> np.ndarray:
    """Lists of different lengths as an array of lists."""
    out = np.empty(len(xs), dtype=object)
    out[:] = xs
    return out


def legacy(kwargs: dict[str, Any], num_words: int | None) -> int | None:
    """`num_words`, by its old name, too; TypeError for any other."""
    if "nb_words" in kwargs:
        warnings.warn("The `nb_words` argument in `load_data` has been renamed `num_words`.", stacklevel=3)
        num_words = kwargs.pop("nb_words")
    if kwargs:
        raise TypeError("Unrecognized keyword arguments: " + str(kwargs))
    return num_words


def word_index(path: str, origin: str, file_hash: str) -> dict[str, int]:
    """Numbers by word."""
    with open(get_file(path, origin=origin, file_hash=file_hash), encoding="utf-8") as f:
        return dict(json.load(f))
