"""Files as programs see them: `HDF5Matrix`, `h5dict`, and the question before a file is replaced.

In: paths, arrays.  Out: slices of data sets in files, entries of HDF5 files.  What always holds: h5py is imported with
the first file.
"""
from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any, Callable, Iterator

import numpy as np


class HDF5Matrix:
    """A data set in an HDF5 file, from sample `start` to `end`, that is read as it is used.

    normalizer: applied to what is read.

    >>> import h5py, numpy as np, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "data.h5")
    >>> with h5py.File(path, "w") as f:
    ...     _ = f.create_dataset("x", data=np.arange(10.))
    >>> HDF5Matrix(path, "x", 2, 8)[1:3].tolist()
    [3.0, 4.0]
    """

    refs: "defaultdict[str, Any]" = defaultdict(int)

    def __init__(self, datapath: str, dataset: str, start: int = 0, end: int | None = None,
                 normalizer: Callable[[Any], Any] | None = None):
        import h5py
        if datapath not in self.refs:
            self.refs[datapath] = h5py.File(datapath, "r")
        self.data = self.refs[datapath].get(dataset)
        if not getattr(self.data, "shape", None):
            raise KeyError(f"HDF5Matrix: the file {datapath} has no data set {dataset!r} of samples; it has "
                           f"{list(self.refs[datapath])}")
        samples = self.data.shape[0]
        self.start, self.end = start, samples if end is None else end
        if not 0 <= self.start <= self.end <= samples:
            raise ValueError(f"HDF5Matrix: start={start} and end={end} are no part of the {samples} samples of "
                             f"{dataset!r} in {datapath}; expected 0 <= start <= end <= {samples}")
        self.normalizer = normalizer
        first = self.data[0:1] if normalizer is None else normalizer(self.data[0:1])
        self._base_dtype, self._base_shape = first.dtype, first.shape[1:]

    def __len__(self) -> int:
        return int(self.end - self.start)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            start, stop = (len(self) + i if i is not None and i < 0 else i for i in (key.start, key.stop))
            start, stop = start or 0, len(self) if stop is None else stop
            if min(start, stop) < 0 or stop > len(self) or (key.step or 1) < 1:
                raise IndexError(f"HDF5Matrix: the samples {key} are not among its {len(self)}")
            idx: Any = slice(start + self.start, stop + self.start, key.step)
        elif isinstance(key, (int, np.integer)):
            if not -len(self) <= key < len(self):
                raise IndexError(f"HDF5Matrix: there is no sample {key} among its {len(self)}")
            idx = self.start + (int(key) % len(self))
        elif isinstance(key, (list, np.ndarray)):
            wanted = np.asarray(key)
            if wanted.dtype == bool:
                wanted = np.arange(len(self))[wanted]        # IndexError unless it has a place for each sample
            if wanted.size and not (0 <= wanted.min() and wanted.max() < len(self)):
                raise IndexError(f"HDF5Matrix: samples from {wanted.min()} to {wanted.max()} are not all among its "
                                 f"{len(self)}")
            return self._in_order(wanted + self.start)
        else:
            raise IndexError(f"HDF5Matrix takes a number, a slice, a list or an array; received {key!r}")
        found = self.data[idx]
        return found if self.normalizer is None else self.normalizer(found)

    def _in_order(self, wanted: np.ndarray) -> Any:
        """Samples in any order, also several times; h5py wants each once, in rising order."""
        once, places = np.unique(wanted, return_inverse=True)
        found = self.data[once.tolist()][places]
        return found if self.normalizer is None else self.normalizer(found)

    @property
    def shape(self) -> tuple[int, ...]:
        """(samples, …)."""
        return (len(self), *self._base_shape)

    @property
    def dtype(self) -> Any:
        """Of what is read."""
        return self._base_dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape))

    @staticmethod
    def release(datapath: str) -> None:
        """Close a file; who uses it is not counted."""
        file = HDF5Matrix.refs.pop(datapath, None)
        if file is not None:
            file.close()


def ask_to_proceed_with_overwrite(filepath: Any) -> bool:
    """Whether the user, asked on the terminal, lets a file be replaced."""
    answer = input(f"[WARNING] {filepath} already exists - overwrite? [y/n]").strip().lower()
    while answer not in ("y", "n"):
        answer = input("Enter 'y' (overwrite) or 'n' (cancel).").strip().lower()
    if answer == "n":
        return False
    print("[TIP] Next time specify overwrite=True!")
    return True


class H5Dict:
    """An HDF5 file, group or dict with one way to store arrays, texts, numbers and lists of texts under names.

    path: a path, a dict or an h5py group; mode: as for h5py.File.  `d[name]` of a name that does not exist makes a
    group of it, unless the mode is 'r'; then it is a KeyError.

    >>> d = H5Dict({})
    >>> d["x"], d["g"]["y"] = np.ones(2), [b"a", b"b"]
    >>> sorted(d), d["g"]["y"]
    (['g', 'x'], [b'a', b'b'])
    """

    def __init__(self, path: Any, mode: str = "a"):
        import h5py
        self.read_only = mode == "r"
        self._is_file = False
        if isinstance(path, (h5py.Group, dict)):
            self.data: Any = path
        elif isinstance(path, str) or hasattr(path, "__fspath__"):
            self.data, self._is_file = h5py.File(path, mode), True
        else:
            raise TypeError(f"h5dict: Required Group, str or dict. Received: {type(path)}.")

    def __setitem__(self, name: str, value: Any) -> None:
        if self.read_only:
            raise ValueError(f"Cannot set item in read only mode: `{name}`.")
        if name in self:
            raise KeyError(f"Cannot set attribute. Group with name `{name}` exists.")
        if isinstance(self.data, dict):
            self.data[name] = value
        elif isinstance(value, (list, tuple)) and all(isinstance(v, (str, bytes)) for v in value):
            from graphk.frontend.saving.hdf5 import put_texts
            put_texts(self.data, name, [v if isinstance(v, str) else v.decode("utf-8") for v in value])
        elif isinstance(value, np.ndarray):
            from graphk.frontend.saving.hdf5 import put_array
            put_array(self.data, name, value)
        elif isinstance(value, (list, tuple)):
            self.data.attrs[name] = np.asarray(value)
        else:
            self.data.attrs[name] = value

    def __getitem__(self, name: str) -> Any:
        if isinstance(self.data, dict):
            if name not in self.data:
                self._missing(name)
                self.data[name] = {}
            found = self.data[name]
            return H5Dict(found, "r" if self.read_only else "a") if isinstance(found, dict) else found
        if name in self.data.attrs:
            return _texts(self.data.attrs[name])
        if f"{name}0" in self.data.attrs:
            parts = itertools.takewhile(self.data.attrs.__contains__, (f"{name}{i}" for i in itertools.count()))
            return _texts(np.concatenate([self.data.attrs[part] for part in parts]))
        if name not in self.data:
            self._missing(name)
            return H5Dict(self.data.create_group(name))
        found = self.data[name]
        return found[()] if hasattr(found, "dtype") else H5Dict(found, "r" if self.read_only else "a")

    def _missing(self, name: str) -> None:
        if self.read_only:
            raise KeyError(f"Cannot create group in read-only mode: there is no `{name}`. Known: {sorted(self)}")

    def __contains__(self, name: str) -> bool:
        attributes = () if isinstance(self.data, dict) else self.data.attrs
        return name in self.data or name in attributes or f"{name}0" in attributes

    def __iter__(self) -> Iterator[str]:
        return iter([*self.data, *(() if isinstance(self.data, dict) else self.data.attrs)])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def get(self, name: str, default: Any = None) -> Any:
        """`self[name]`, or `default` if there is nothing by that name."""
        return self[name] if name in self else default

    def keys(self) -> list[str]:
        """The names."""
        return list(self)

    def update(self, *others: Any) -> None:
        """Store everything that the dicts hold."""
        for other in others:
            for name in other:
                self[name] = other[name]

    def close(self) -> None:
        """Close the file that was opened."""
        if self._is_file:
            self.data.close()

    def flush(self) -> None:
        """Write what was stored to the file that was opened."""
        if self._is_file:
            self.data.flush()

    def __enter__(self) -> "H5Dict":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _texts(value: Any) -> Any:
    """Arrays of texts as lists, other values as they are."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind == "S" else value


h5dict = H5Dict
__all__ = ["H5Dict", "HDF5Matrix", "ask_to_proceed_with_overwrite", "h5dict"]
