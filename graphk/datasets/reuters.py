"""Reuters: 11,228 news wires as lists of word numbers, in 46 topics, downloaded once.

In: which words to keep.  Out: `(x_train, y_train), (x_test, y_test)`.  What always holds: without a network, the error
says where the file must lie.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from graphk.datasets.files import STORE, load_npz
from graphk.datasets.words import legacy, objects, renumbered, shuffled, word_index
from graphk.frontend.utils.downloads import get_file

_HASHES = ["d6586e694ee56d7a4e65172e12b3e987c03096cb01eab99753921ef915959916", "87aedbeb0cb229e378797a632c1997b6"]


def load_data(path: str = "reuters.npz", num_words: int | None = None, skip_top: int = 0, maxlen: int | None = None,
              test_split: float = 0.2, seed: int = 113, start_char: int | None = 1, oov_char: int | None = 2,
              index_from: int = 3, **kwargs: Any) -> Any:
    """News and their topics, of which the share `test_split` is for tests; other arguments as for IMDB."""
    num_words = legacy(kwargs, num_words)
    arrays = load_npz(get_file(path, origin=STORE + "reuters.npz", file_hash=_HASHES))
    x, y = shuffled(arrays["x"], arrays["y"], np.random.RandomState(seed))
    xs, labels = renumbered(x, y, num_words, skip_top, maxlen, start_char, oov_char, index_from)
    at = int(len(xs) * (1 - test_split))
    return (objects(xs[:at]), np.array(labels[:at])), (objects(xs[at:]), np.array(labels[at:]))


def get_word_index(path: str = "reuters_word_index.json") -> dict[str, int]:
    """Numbers by word, before index_from is added."""
    return word_index(path, STORE + "reuters_word_index.json", "4d44cc38712099c9e383dc6e5f11a921")
