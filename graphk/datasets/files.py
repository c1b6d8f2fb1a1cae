"""Arrays in downloaded files, read without executing anything.

In: paths.  Out: arrays, dicts.  What always holds: of pickles, which old data sets are, only plain values and numpy's
arrays are read; anything else is refused by name.
"""
from __future__ import annotations

import pickle
import zipfile
from typing import Any

import numpy as np

STORE = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"


def _known() -> dict[tuple[str, str], Any]:
    """What a pickle of arrays and plain values may name."""
    from numpy._core import multiarray
    found: dict[tuple[str, str], Any] = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype,
                                         ("_codecs", "encode"): _encode}
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        found[module, "_reconstruct"] = multiarray._reconstruct
        found[module, "scalar"] = multiarray.scalar
    return found


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"the encoding {encoding!r} is not one of arrays")
    return text.encode("latin1")


class _Plain(pickle.Unpickler):
    """Reads plain values and arrays."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (known := _known()):
            return known[module, name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of arrays and plain values: refused")


def unpickle(file: Any, path: str, encoding: str = "ASCII") -> Any:
    """The value in an open file; ValueError for what is more than arrays and plain values."""
    try:
        return _Plain(file, encoding=encoding).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError, TypeError) as e:
        raise ValueError(f"{path} is not a data set that can be read: {e}. Delete it, to download it again.") from e


def load_npz(path: str) -> dict[str, np.ndarray]:
    """All arrays of a .npz file, those of objects (lists of different lengths) too; ValueError for anything else."""
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                arrays[name.removesuffix(".npy")] = _array(file, path)
    return arrays


def _array(file: Any, path: str) -> np.ndarray:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        return np.asarray(unpickle(file, path, "latin1")).reshape(shape)
    data = np.frombuffer(file.read(), dtype)
    return data.reshape(shape, order="F" if fortran else "C").copy()


def split(arrays: dict[str, np.ndarray]) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """`(x_train, y_train), (x_test, y_test)` of arrays by these names."""
    return (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])


__all__ = ["STORE", "load_npz", "split", "unpickle"]
