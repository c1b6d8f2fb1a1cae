"""Batches of pictures, by number or one after the other, from arrays in memory.

In: arrays, and the generator that changes and normalizes pictures.  Out: a Sequence that is also an endless iterator of
batches (x), (x, y) or (x, y, sample_weight).  What always holds: with a seed, the batch that is made n-th draws from
numpy's global generator seeded with `seed + n`; a round has one order, also where copies in other processes make it.
"""
from __future__ import annotations

import os
import threading
import warnings
from typing import Any, Iterator as Iterates

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.utils.data_utils import Sequence
from graphk.preprocessing.image.convert import FORMATS, array_to_img, layout


class Iterator(Sequence):
    """Base class: define `_get_batches_of_transformed_samples(index_array)`, the batch of the rows with these numbers.

    n: rows; batch_size: rows in a batch, the last of a round may have fewer; shuffle: in another order each round;
    seed: of the order and of all that is drawn to make a batch.
    """

    white_list_formats = FORMATS

    def __init__(self, n: int, batch_size: int, shuffle: bool, seed: int | None):
        self.n, self.batch_size, self.shuffle, self.seed = n, batch_size, shuffle, seed
        self.batch_index = self.total_batches_seen = 0
        self.index_array: Any = None
        self._make_unshared()

    def _make_unshared(self) -> None:
        """What no two copies share, and no other process can be sent."""
        self.lock = threading.Lock()
        self.index_generator = self._flow_index()

    def __getstate__(self) -> dict[str, Any]:
        if self.index_array is None:                            # else each copy would walk in an order of its own
            self._seed_batch()
            self._set_index_array()
        return {k: v for k, v in self.__dict__.items() if k not in ("lock", "index_generator")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make_unshared()

    def _set_index_array(self) -> None:
        """The order of a round."""
        self.index_array = np.random.permutation(self.n) if self.shuffle else np.arange(self.n)

    def _seed_batch(self) -> None:
        if self.seed is not None:
            np.random.seed(self.seed + self.total_batches_seen)

    def __len__(self) -> int:
        return (self.n + self.batch_size - 1) // self.batch_size

    def __getitem__(self, idx: int) -> Any:
        if idx >= len(self):
            raise ValueError(f"Asked to retrieve element {idx}, but the Sequence has length {len(self)}")
        self._seed_batch()
        self.total_batches_seen += 1
        if self.index_array is None:
            self._set_index_array()
        return self._get_batches_of_transformed_samples(self.index_array[self.batch_size * idx:][:self.batch_size])

    def on_epoch_end(self) -> None:
        """Choose the order of the next round."""
        self._set_index_array()

    def reset(self) -> None:
        """Let `next` begin a new round."""
        self.batch_index = 0

    def _flow_index(self) -> Iterates[np.ndarray]:
        """The rows of batch after batch, round after round."""
        while True:
            self._seed_batch()
            if self.batch_index == 0:
                self._set_index_array()
            start = self.batch_index * self.batch_size
            self.batch_index = self.batch_index + 1 if start + self.batch_size < self.n else 0
            self.total_batches_seen += 1
            yield self.index_array[start:start + self.batch_size]

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self) -> Any:
        """The next batch.  Threads may call it at once: the choice of rows is locked, the work on them is not."""
        with self.lock:
            rows = next(self.index_generator)
        return self._get_batches_of_transformed_samples(rows)

    def _get_batches_of_transformed_samples(self, index_array: np.ndarray) -> Any:
        """The batch of the rows with these numbers."""
        raise NotImplementedError(f"{type(self).__name__} must define _get_batches_of_transformed_samples("
                                  "index_array), which returns the batch of the rows with these numbers")


def subset_bounds(subset: str | None, validation_split: float, n: int) -> slice:
    """Which of `n` rows are the subset 'training' or 'validation', the first ones, or None, all."""
    if subset is None:
        return slice(0, n)
    if subset not in ("training", "validation"):
        raise ValueError(f'Invalid subset name: {subset}; expected "training" or "validation".')
    split = int(validation_split * n)
    return slice(0, split) if subset == "validation" else slice(split, n)


class Pictures(Iterator):
    """An Iterator over pictures: each is changed at random and normalized, and written to a folder if one is named."""

    image_data_generator: Any
    dtype: Any

    def _set_output(self, data_format: str | None, save_to_dir: Any, save_prefix: str, save_format: str) -> None:
        self.data_format = layout(data_format)
        self.save_to_dir, self.save_prefix, self.save_format = save_to_dir, save_prefix, save_format

    def _changed(self, x: np.ndarray) -> np.ndarray:
        generator = self.image_data_generator
        if generator is None:
            return x
        return generator.standardize(generator.apply_transform(x, generator.get_random_transform(x.shape)))

    def _save(self, batch: np.ndarray, rows: np.ndarray, names: int) -> None:
        """Write the pictures of a batch; `names`: how many different random numbers stand in the names."""
        for x, row in zip(batch, rows if self.save_to_dir else ()):
            name = f"{self.save_prefix}_{row}_{np.random.randint(names)}.{self.save_format}"
            array_to_img(x, self.data_format, scale=True).save(os.path.join(self.save_to_dir, name))


def expect_channels(shape: tuple[int, ...], data_format: str, who: str, stacklevel: int) -> None:
    """Warn of a batch that does not look like pictures in this layout."""
    channel_axis = 3 if data_format == "channels_last" else 1
    if shape[channel_axis] not in (1, 3, 4):
        warnings.warn(f'{who} the data format convention "{data_format}" (channels on axis {channel_axis}), i.e. '
                      f"expected either 1, 3, or 4 channels on axis {channel_axis}. However, it was passed an array "
                      f"with shape {shape} ({shape[channel_axis]} channels).", stacklevel=stacklevel)


def _same_length(x: Any, other: Any, name: str) -> None:
    if other is not None and len(x) != len(other):
        raise ValueError(f"`x` (images tensor) and {name} should have the same length. Found: x.shape = {np.shape(x)}, "
                         f"{name.split()[0].strip('`')}.shape = {np.shape(other)}")


class NumpyArrayIterator(Pictures):
    """Batches of pictures in an array.

    x: an array of rank 4, or a pair of one and a list of further inputs, which are not changed; y, sample_weight:
    arrays of the same length, or None; image_data_generator: what changes and normalizes; subset: 'training' or
    'validation', the rows that its `validation_split` puts there; save_to_dir, save_prefix, save_format: a folder that
    every picture is written to, and the beginning and the ending of its name; dtype: of x, by default `K.floatx()`.
    """

    def __init__(self, x: Any, y: Any, image_data_generator: Any, batch_size: int = 32, shuffle: bool = False,
                 sample_weight: Any = None, seed: int | None = None, data_format: str | None = None,
                 save_to_dir: Any = None, save_prefix: str = "", save_format: str = "png", subset: str | None = None,
                 dtype: Any = None):
        self.dtype = K.floatx() if dtype is None else dtype
        misc = []
        if isinstance(x, (tuple, list)):
            if len(x) != 2:
                raise ValueError(f"`x` is a list of {len(x)}; expected an array of pictures, or a list of two: that "
                                 "array and a list of further inputs. To make an array of a list: np.array(x)")
            x, misc = x[0], [np.asarray(xx) for xx in (x[1] if isinstance(x[1], list) else [x[1]])]
        for xx in misc:
            if len(x) != len(xx):
                raise ValueError("All of the arrays in `x` should have the same length. Found a pair with: len(x[0]) = "
                                 f"{len(x)}, len(x[?]) = {len(xx)}")
        _same_length(x, y, "`y` (labels)")
        _same_length(x, sample_weight, "`sample_weight`")
        kept = slice(None) if subset is None else subset_bounds(subset, image_data_generator._validation_split, len(x))
        self.x, self.x_misc = np.asarray(x, dtype=self.dtype)[kept], [xx[kept] for xx in misc]
        self.y = None if y is None else np.asarray(y)[kept]
        self.sample_weight = None if sample_weight is None else np.asarray(sample_weight)[kept]
        if self.x.ndim != 4:
            raise ValueError("Input data in `NumpyArrayIterator` should have rank 4. You passed an array with shape "
                             f"{self.x.shape}")
        self._set_output(data_format, save_to_dir, save_prefix, save_format)
        expect_channels(self.x.shape, self.data_format, "NumpyArrayIterator is set to use", stacklevel=4)
        self.image_data_generator = image_data_generator
        super().__init__(len(self.x), batch_size, shuffle, seed)

    def _get_batches_of_transformed_samples(self, index_array: np.ndarray) -> Any:
        batch = np.zeros((len(index_array), *self.x.shape[1:]), dtype=self.dtype)
        for i, row in enumerate(index_array):
            batch[i] = self._changed(self.x[row].astype(self.dtype))
        self._save(batch, index_array, 10_000)
        x = [batch, *[xx[index_array] for xx in self.x_misc]] if self.x_misc else batch
        if self.y is None:
            return x
        weights = () if self.sample_weight is None else (self.sample_weight[index_array],)
        return (x, self.y[index_array], *weights)
