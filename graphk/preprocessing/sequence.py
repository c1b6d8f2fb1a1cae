"""Sequences made ready for models: padding, skip-grams, windows of time series.

In: lists of numbers, arrays.  Out: arrays.  What always holds: random choices come from Python's and numpy's global
generators, as in Keras, so that seeding them repeats a program.
"""
from __future__ import annotations

import json
import random
from typing import Any, Sequence

import numpy as np

from graphk.frontend.utils.data_utils import Sequence as Batches

_EULER_GAMMA = 0.577


def pad_sequences(sequences: Any, maxlen: int | None = None, dtype: Any = "int32", padding: str = "pre",
                  truncating: str = "pre", value: Any = 0.) -> np.ndarray:
    """Sequences of different lengths as one array (samples, maxlen, …).

    maxlen: the longest one's length by default; padding, truncating: 'pre' or 'post', where shorter ones are filled
    with `value` and longer ones cut; dtype: of the result, `object` for texts of different lengths.  Raises ValueError
    for sequences that are none, or whose items have different shapes.

    >>> pad_sequences([[1], [2, 3, 4]], maxlen=2).tolist()
    [[0, 1], [3, 4]]
    """
    for name, given in (("truncating", truncating), ("padding", padding)):
        if given not in ("pre", "post"):
            raise ValueError(f'{name.capitalize()} type "{given}" not understood; expected \'pre\' or \'post\'.')
    if not hasattr(sequences, "__len__"):
        raise ValueError("`sequences` must be iterable.")
    for x in sequences:
        if not hasattr(x, "__len__"):
            raise ValueError("`sequences` must be a list of iterables. Found non-iterable: " + str(x))
    if maxlen is None:
        maxlen = max(map(len, sequences), default=0)
    item = next((np.asarray(s).shape[1:] for s in sequences if len(s)), ())
    is_text = np.issubdtype(dtype, np.str_)
    if isinstance(value, str) and np.dtype(dtype) != np.dtype(object) and not is_text:
        raise ValueError(f"`dtype` {dtype} is not compatible with `value`'s type: {type(value)}\nYou should set "
                         "`dtype=object` for variable length strings.")
    out = np.full((len(sequences), maxlen, *item), value, dtype=dtype)
    for i, s in enumerate(sequences):
        if not len(s) or not maxlen:
            continue
        kept = np.asarray(s[-maxlen:] if truncating == "pre" else s[:maxlen], dtype=dtype)
        if kept.shape[1:] != item:
            raise ValueError(f"Shape of sample {kept.shape[1:]} of sequence at position {i} is different from expected "
                             f"shape {item}")
        out[i, slice(-len(kept), None) if padding == "pre" else slice(len(kept))] = kept
    return out


def make_sampling_table(size: int, sampling_factor: float = 1e-05) -> np.ndarray:
    """For words by rank, the probability to keep each in `skipgrams`: frequent words are kept less often.

    Frequencies follow Zipf's law; a word of frequency f is kept with min(1, sqrt(sampling_factor / f)).

    >>> table = make_sampling_table(3)
    >>> table.shape, bool((table <= 1).all())
    ((3,), True)
    """
    rank = np.arange(size)
    rank[:1] = 1
    inverse_frequency = rank * (np.log(rank) + _EULER_GAMMA) + 0.5 - 1. / (12. * rank)
    f = sampling_factor * inverse_frequency
    return np.minimum(1., f / np.sqrt(f))


def skipgrams(sequence: Sequence[int], vocabulary_size: int, window_size: int = 4, negative_samples: float = 1.,
              shuffle: bool = True, categorical: bool = False, sampling_table: Any = None, seed: int | None = None
              ) -> tuple[list[list[int]], list[Any]]:
    """Pairs of words near each other (label 1), and pairs of random words (label 0).

    sequence: word numbers, 0 stands for no word; negative_samples: random pairs per real one; categorical: labels
    [0, 1] and [1, 0]; sampling_table: probability to keep a word, by its number.

    >>> couples, labels = skipgrams([1, 2], vocabulary_size=5, negative_samples=0, shuffle=False)
    >>> couples, labels
    ([[1, 2], [2, 1]], [1, 1])
    """
    couples: list[list[int]] = []
    for i, word in enumerate(sequence):
        if not word or (sampling_table is not None and sampling_table[word] < random.random()):
            continue
        around = range(max(0, i - window_size), min(len(sequence), i + window_size + 1))
        couples += [[word, sequence[j]] for j in around if j != i and sequence[j]]
    labels: list[Any] = [[0, 1] if categorical else 1 for _ in couples]
    if negative_samples > 0:
        count = int(len(labels) * negative_samples)
        words = [c[0] for c in couples]
        random.shuffle(words)
        couples += [[words[i % len(words)], random.randint(1, vocabulary_size - 1)] for i in range(count)]
        labels += [[1, 0] if categorical else 0] * count
    if shuffle:
        seed = random.randint(0, 10_000_000) if seed is None else seed
        for part in (couples, labels):
            random.seed(seed)
            random.shuffle(part)
    return couples, labels


def _remove_long_seq(maxlen: int, seq: Any, label: Any) -> tuple[list[Any], list[Any]]:
    """The sequences shorter than `maxlen`, and their labels."""
    kept = [(x, y) for x, y in zip(seq, label) if len(x) < maxlen]
    return [x for x, _ in kept], [y for _, y in kept]


class TimeseriesGenerator(Batches):
    """Batches of windows of a time series, and what comes after each.

    data, targets: arrays of the same length; length: of a window, of which every `sampling_rate`-th row is taken;
    stride: rows between windows; start_index, end_index: the rows to use; shuffle: random windows; reverse: windows
    backwards.

    >>> data = np.arange(6).reshape(6, 1)
    >>> x, y = TimeseriesGenerator(data, data, length=2, batch_size=2)[0]
    >>> x[:, :, 0].tolist(), y[:, 0].tolist()
    ([[0, 1], [1, 2]], [2, 3])
    """

    def __init__(self, data: Any, targets: Any, length: int, sampling_rate: int = 1, stride: int = 1,
                 start_index: int = 0, end_index: int | None = None, shuffle: bool = False, reverse: bool = False,
                 batch_size: int = 128):
        if len(data) != len(targets):
            raise ValueError(f"Data and targets have to be of same length. Data length is {len(data)} while target "
                             f"length is {len(targets)}")
        self.data, self.targets, self.length = data, targets, length
        self.sampling_rate, self.stride, self.batch_size = sampling_rate, stride, batch_size
        self.start_index = start_index + length
        self.end_index = len(data) - 1 if end_index is None else end_index
        self.shuffle, self.reverse = shuffle, reverse
        if self.start_index > self.end_index:
            raise ValueError(f"`start_index+length={self.start_index} > end_index={self.end_index}` is disallowed, as "
                             "no part of the sequence would be left to be used as current step.")

    def __len__(self) -> int:
        step = self.batch_size * self.stride
        return (self.end_index - self.start_index + step) // step

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if self.shuffle:
            rows = np.random.randint(self.start_index, self.end_index + 1, size=self.batch_size)
        else:
            first = self.start_index + self.batch_size * self.stride * index
            rows = np.arange(first, min(first + self.batch_size * self.stride, self.end_index + 1), self.stride)
        x = np.array([self.data[row - self.length:row:self.sampling_rate] for row in rows])
        y = np.array([self.targets[row] for row in rows])
        return (x[:, ::-1, ...] if self.reverse else x), y

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; TypeError for data that JSON cannot hold."""
        series = {}
        for name in ("data", "targets"):
            value = getattr(self, name)
            value = value.tolist() if isinstance(value, np.ndarray) else value
            try:
                series[name] = json.dumps(value)
            except TypeError:
                raise TypeError(f"{name.capitalize()} not JSON Serializable: {value!r:.200}") from None
        return {**series, "length": self.length, "sampling_rate": self.sampling_rate, "stride": self.stride,
                "start_index": self.start_index - self.length, "end_index": self.end_index, "shuffle": self.shuffle,
                "reverse": self.reverse, "batch_size": self.batch_size}

    def to_json(self, **kwargs: Any) -> str:
        """JSON that `timeseries_generator_from_json` reads; keyword arguments go to `json.dumps`."""
        return json.dumps({"class_name": type(self).__name__, "config": self.get_config()}, **kwargs)


def timeseries_generator_from_json(json_string: str) -> TimeseriesGenerator:
    """A generator from `TimeseriesGenerator.to_json()`."""
    config = dict(json.loads(json_string)["config"])
    for name in ("data", "targets"):
        config[name] = np.array(json.loads(config[name]))
    return TimeseriesGenerator(**config)


__all__ = ["TimeseriesGenerator", "make_sampling_table", "pad_sequences", "skipgrams", "timeseries_generator_from_json",
           "_remove_long_seq"]
