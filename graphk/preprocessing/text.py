"""Texts made ready for models: words, their numbers, counts of them.

In: texts.  Out: lists of words or numbers, arrays.  What always holds: number 0 stands for no word, and words are
numbered by how often they occur, the first to occur first among equals.
"""
from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter, OrderedDict, defaultdict
from typing import Any, Callable, Iterable, Iterator

import numpy as np

FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'


def base_filter() -> str:
    """Keras 1's: the characters that are left out of texts."""
    return FILTERS


def text_to_word_sequence(text: str, filters: str = FILTERS, lower: bool = True, split: str = " ") -> list[str]:
    """The words of a text: parts between `split`, characters of `filters` taken for it, too.

    >>> text_to_word_sequence("Yes, we can!")
    ['yes', 'we', 'can']
    """
    if lower:
        text = text.lower()
    return [w for w in text.translate({ord(c): split for c in filters}).split(split) if w]


def one_hot(text: str, n: int, filters: str = FILTERS, lower: bool = True, split: str = " ") -> list[int]:
    """Numbers from 1 to n - 1 for the words of a text, by Python's `hash`, which differs between processes."""
    return hashing_trick(text, n, hash, filters, lower, split)


def hashing_trick(text: str, n: int, hash_function: Any = None, filters: str = FILTERS, lower: bool = True,
                  split: str = " ") -> list[int]:
    """Numbers from 1 to n - 1 for the words of a text, by a hash function; different words may get the same number.

    hash_function: None for Python's `hash`, which differs between processes, 'md5', or a function of a text.

    >>> hashing_trick("to be or not to be", 100, "md5")[0] == hashing_trick("to", 100, "md5")[0]
    True
    """
    number: Callable[[str], int] = hash if hash_function is None else hash_function
    if hash_function == "md5":
        def number(w: str) -> int:
            return int(hashlib.md5(w.encode(), usedforsecurity=False).hexdigest(), 16)
    return [number(w) % (n - 1) + 1 for w in text_to_word_sequence(text, filters, lower, split)]


class Tokenizer:
    """Numbers words (or characters) of texts.

    num_words: only the num_words - 1 most frequent words are used; filters, lower, split: as for text_to_word_sequence;
    char_level: every character is a word; oov_token: stands for words that are not known or not used.

    >>> t = Tokenizer()
    >>> t.fit_on_texts(["the cat", "the dog"])
    >>> t.word_index, t.texts_to_sequences(["dog the mouse"])
    ({'the': 1, 'cat': 2, 'dog': 3}, [[3, 1]])
    """

    def __init__(self, num_words: int | None = None, filters: str = FILTERS, lower: bool = True, split: str = " ",
                 char_level: bool = False, oov_token: str | None = None, document_count: int = 0, **kwargs: Any):
        if "nb_words" in kwargs:
            warnings.warn("The `nb_words` argument in `Tokenizer` has been renamed `num_words`.", stacklevel=2)
            num_words = kwargs.pop("nb_words")
        if kwargs:
            raise TypeError("Unrecognized keyword arguments: " + str(kwargs))
        self.word_counts: OrderedDict[str, int] = OrderedDict()
        self.word_docs: defaultdict[str, int] = defaultdict(int)
        self.filters, self.split, self.lower, self.num_words = filters, split, lower, num_words
        self.document_count, self.char_level, self.oov_token = document_count, char_level, oov_token
        self.index_docs: defaultdict[int, int] = defaultdict(int)
        self.word_index: dict[str, int] = {}
        self.index_word: dict[int, str] = {}

    def _words(self, text: Any) -> Any:
        if not self.char_level and not isinstance(text, list):
            return text_to_word_sequence(text, self.filters, self.lower, self.split)
        if self.lower:
            return [w.lower() for w in text] if isinstance(text, list) else text.lower()
        return text

    def fit_on_texts(self, texts: Iterable[Any]) -> None:
        """Count the words of texts, or of lists of words, and number them."""
        for text in texts:
            self.document_count += 1
            words = self._words(text)
            for w in words:
                self.word_counts[w] = self.word_counts.get(w, 0) + 1
            for w in set(words):
                self.word_docs[w] += 1
        by_count = sorted(self.word_counts.items(), key=lambda item: item[1], reverse=True)
        names = [w for w, _ in by_count]
        if self.oov_token is not None:
            names.insert(0, self.oov_token)
        self.word_index = dict(zip(names, range(1, len(names) + 1)))
        self.index_word = {i: w for w, i in self.word_index.items()}
        for w, count in self.word_docs.items():
            self.index_docs[self.word_index[w]] = count

    def fit_on_sequences(self, sequences: Iterable[Any]) -> None:
        """Count in how many sequences each number occurs, for `sequences_to_matrix(mode='tfidf')`."""
        for numbers in sequences:
            self.document_count += 1
            for i in set(numbers):
                self.index_docs[i] += 1

    def texts_to_sequences(self, texts: Iterable[Any]) -> list[list[int]]:
        """The numbers of the words of each text; unknown words are left out unless there is an oov_token."""
        return list(self.texts_to_sequences_generator(texts))

    def texts_to_sequences_generator(self, texts: Iterable[Any]) -> Iterator[list[int]]:
        """As `texts_to_sequences`, one text after the other."""
        unknown = self.word_index.get(self.oov_token) if self.oov_token is not None else None
        for text in texts:
            numbers = (self.word_index.get(w) for w in self._words(text))
            used = (i if i is not None and not (self.num_words and i >= self.num_words) else unknown for i in numbers)
            yield [i for i in used if i is not None]

    def sequences_to_texts(self, sequences: Iterable[Any]) -> list[str]:
        """Texts of the words that have these numbers, with spaces between; unknown numbers are left out unless there is
        an oov_token."""
        return list(self.sequences_to_texts_generator(sequences))

    def sequences_to_texts_generator(self, sequences: Iterable[Any]) -> Iterator[str]:
        """As `sequences_to_texts`, one sequence after the other."""
        for numbers in sequences:
            words = []
            for i in numbers:
                word = self.index_word.get(i)
                if self.oov_token is not None and (word is None or (self.num_words and i >= self.num_words)):
                    word = self.oov_token
                if word is not None:
                    words.append(word)
            yield " ".join(words)

    def texts_to_matrix(self, texts: Iterable[Any], mode: str = "binary") -> np.ndarray:
        """An array (texts, words); mode: 'binary', 'count', 'freq' or 'tfidf'."""
        return self.sequences_to_matrix(self.texts_to_sequences(texts), mode=mode)

    def sequences_to_matrix(self, sequences: Any, mode: str = "binary") -> np.ndarray:
        """An array (sequences, words); mode: 'binary', 'count', 'freq' or 'tfidf'."""
        if not self.num_words and not self.word_index:
            raise ValueError("Specify a dimension (`num_words` argument), or fit on some text data first.")
        width = self.num_words or len(self.word_index) + 1
        if mode == "tfidf" and not self.document_count:
            raise ValueError("Fit the Tokenizer on some data before using tfidf mode.")
        if mode not in ("binary", "count", "freq", "tfidf"):
            raise ValueError("Unknown vectorization mode:", mode)
        out = np.zeros((len(sequences), width))
        for row, numbers in zip(out, sequences):
            for i, count in Counter(i for i in numbers if i < width).items():
                if mode == "tfidf":
                    row[i] = self._tfidf(i, count)
                else:
                    row[i] = {"binary": 1., "count": count, "freq": count / len(numbers)}[mode]
        return out

    def _tfidf(self, i: int, count: int) -> float:
        return float((1 + np.log(count)) * np.log(1 + self.document_count / (1 + self.index_docs.get(i, 0))))

    def get_config(self) -> dict[str, Any]:
        """Settings and counts."""
        return {"num_words": self.num_words, "filters": self.filters, "lower": self.lower, "split": self.split,
                "char_level": self.char_level, "oov_token": self.oov_token, "document_count": self.document_count,
                **{name: json.dumps(getattr(self, name)) for name in _COUNTS}}

    def to_json(self, **kwargs: Any) -> str:
        """JSON that `tokenizer_from_json` reads; keyword arguments go to `json.dumps`."""
        return json.dumps({"class_name": type(self).__name__, "config": self.get_config()}, **kwargs)


_COUNTS = ("word_counts", "word_docs", "index_docs", "index_word", "word_index")


def tokenizer_from_json(json_string: str) -> Tokenizer:
    """A Tokenizer from `Tokenizer.to_json()`."""
    config = dict(json.loads(json_string)["config"])
    counts = {name: json.loads(config.pop(name)) for name in _COUNTS}
    made = Tokenizer(**config)
    made.word_counts = OrderedDict(counts["word_counts"])
    made.word_docs = defaultdict(int, counts["word_docs"])
    made.index_docs = defaultdict(int, {int(k): v for k, v in counts["index_docs"].items()})
    made.index_word = {int(k): v for k, v in counts["index_word"].items()}
    made.word_index = counts["word_index"]
    return made


__all__ = ["Tokenizer", "base_filter", "hashing_trick", "one_hot", "text_to_word_sequence", "tokenizer_from_json"]
