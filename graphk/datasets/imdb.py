"""IMDB: 50,000 film reviews as lists of word numbers, and whether they are kind (A. Maas et al., 2011).

In: which words to keep.  Out: `(x_train, y_train), (x_test, y_test)`.  What always holds: without a network, the error
says where the file must lie.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from graphk.datasets.files import STORE, load_npz, split
from graphk.datasets.words import legacy, objects, renumbered, shuffled, word_index
from graphk.frontend.utils.downloads import get_file

_HASHES = ["69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f", "599dadb1135973df5b59232a0e9a887c"]


def load_data(path: str = "imdb.npz", num_words: int | None = None, skip_top: int = 0, maxlen: int | None = None,
              seed: int = 113, start_char: int | None = 1, oov_char: int | None = 2, index_from: int = 3,
              **kwargs: Any) -> Any:
    """25,000 and 25,000 reviews and labels 0 or 1.

    num_words: words with larger numbers become `oov_char`, as do those below skip_top; maxlen: longer reviews are left
    out; start_char: begins each review; index_from: words count from here.
    """
    num_words = legacy(kwargs, num_words)
    (x, y), (x_test, y_test) = split(load_npz(get_file(path, origin=STORE + "imdb.npz", file_hash=_HASHES)))
    random = np.random.RandomState(seed)
    x, y = shuffled(x, y, random)
    x_test, y_test = shuffled(x_test, y_test, random)
    xs, labels = renumbered(np.concatenate([x, x_test]), np.concatenate([y, y_test]), num_words, skip_top, maxlen,
                            start_char, oov_char, index_from)
    at = len(x)
    return (objects(xs[:at]), np.array(labels[:at])), (objects(xs[at:]), np.array(labels[at:]))


def get_word_index(path: str = "imdb_word_index.json") -> dict[str, int]:
    """Numbers by word, before index_from is added."""
    return word_index(path, STORE + "imdb_word_index.json", "bfafd718b763782e994055a2d397834f")
