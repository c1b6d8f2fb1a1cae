"""Batches of pictures in files: a folder with one folder per class, or a frame that lists names and labels.

In: a folder, a frame.  Out: batches (x), (x, y) or (x, y, sample_weight).  What always holds: a file is read when its
batch is made, not before; files are in the order of their paths, or of the frame's rows.
"""
from __future__ import annotations

import os
import warnings
from typing import Any, Iterator as Iterates

import numpy as np

from graphk.frontend import backend as K
from graphk.preprocessing.image.convert import CHANNELS, img_to_array, layout, load_img
from graphk.preprocessing.image.iterators import Pictures, subset_bounds


_LABELLED = ("categorical", "binary", "sparse")


def _is_picture(name: str, formats: Any) -> bool:
    return os.path.splitext(name)[1][1:].lower() in formats


def _pictures_in(folder: str, formats: Any, follow_links: bool = False) -> Iterates[str]:
    """The paths of all pictures in a folder and the folders in it, in order; formats: their endings."""
    for root, _, names in sorted(os.walk(folder, followlinks=follow_links), key=lambda found: found[0]):
        for name in sorted(names):
            if name.lower().endswith(".tiff"):
                warnings.warn("Using '.tiff' files with multiple bands will cause distortion. Please verify your "
                              "output.", stacklevel=4)
            if _is_picture(name, formats):
                yield os.path.join(root, name)


class PictureFiles(Pictures):
    """An iterator over files: whoever derives from it sets `filenames`, `filepaths`, `classes` and `class_mode`."""

    filenames: list[str]
    filepaths: list[str]
    classes: Any
    class_indices: dict[Any, int]
    class_mode: str | None
    modes: tuple[str | None, ...] = ()
    sample_weight: np.ndarray | None = None
    _targets: Any = None                                        # what stands in the columns of a frame

    def _set_input(self, generator: Any, target_size: Any, color_mode: str, data_format: str | None,
                   class_mode: str | None, interpolation: str, dtype: Any) -> None:
        if color_mode not in CHANNELS:
            raise ValueError(f'Invalid color mode: {color_mode}; expected "rgb", "rgba", or "grayscale".')
        if class_mode not in self.modes:
            raise ValueError(f"Invalid class_mode: {class_mode}; expected one of: "
                             + ", ".join("None" if m is None else f'"{m}"' for m in self.modes))
        if np.shape(target_size) != (2,):
            raise ValueError(f"`target_size` should be (rows, columns). Received: {target_size}")
        self.image_data_generator, self.target_size = generator, tuple(target_size)
        self.color_mode, self.class_mode, self.interpolation = color_mode, class_mode, interpolation
        self.dtype = K.floatx() if dtype is None else dtype
        channels = CHANNELS[color_mode]
        last = layout(data_format) == "channels_last"
        self.image_shape = (*self.target_size, channels) if last else (channels, *self.target_size)

    def _bounds(self, subset: str | None, n: int) -> slice:
        return slice(0, n) if subset is None else subset_bounds(subset, self.image_data_generator._validation_split, n)

    def _load(self, path: str) -> np.ndarray:
        img = load_img(path, color_mode=self.color_mode, target_size=self.target_size, interpolation=self.interpolation)
        x = img_to_array(img, self.data_format, self.dtype)
        img.close()
        return self._changed(x)

    def _get_batches_of_transformed_samples(self, index_array: np.ndarray) -> Any:
        batch = np.zeros((len(index_array), *self.image_shape), dtype=self.dtype)
        for i, row in enumerate(index_array):
            batch[i] = self._load(self.filepaths[row])
        self._save(batch, index_array, 10_000_000)
        if self.class_mode is None:
            return batch
        weights = () if self.sample_weight is None else (self.sample_weight[index_array],)
        return (batch, self._labels(batch, index_array), *weights)

    def _labels(self, batch: np.ndarray, rows: np.ndarray) -> Any:
        if self.class_mode == "input":
            return batch.copy()
        if self.class_mode == "multi_output":
            return [column[rows] for column in self._targets]
        if self.class_mode in ("other", "raw"):
            return self._targets[rows]
        if self.class_mode == "categorical":
            y = np.zeros((len(batch), len(self.class_indices)), dtype=self.dtype)
            for i, row in enumerate(rows):
                y[i, self.classes[row]] = 1.
            return y
        return np.asarray(self.classes)[rows].astype(self.dtype if self.class_mode == "binary" else "int32")


class DirectoryIterator(PictureFiles):
    """Batches of the pictures in a folder that has one folder per class.

    image_data_generator: what changes and normalizes pictures, or None; target_size: (rows, columns) that all are
    stretched to; color_mode: 'rgb', 'rgba' or 'grayscale'; classes: names of folders, by default all, in order;
    class_mode: labels are rows of 0 and 1 ('categorical'), 0 or 1 ('binary'), numbers ('sparse'), the pictures
    themselves ('input'), or none (None); follow_links: into linked folders; subset: 'training' or 'validation', the
    part of each class that the generator's `validation_split` puts there; the rest as for `NumpyArrayIterator`.
    """

    modes = ("categorical", "binary", "sparse", "input", None)

    def __init__(self, directory: Any, image_data_generator: Any, target_size: Any = (256, 256),
                 color_mode: str = "rgb", classes: Any = None, class_mode: str | None = "categorical",
                 batch_size: int = 32, shuffle: bool = True, seed: int | None = None, data_format: str | None = None,
                 save_to_dir: Any = None, save_prefix: str = "", save_format: str = "png", follow_links: bool = False,
                 subset: str | None = None, interpolation: str = "nearest", dtype: Any = None):
        self._set_input(image_data_generator, target_size, color_mode, data_format, class_mode, interpolation, dtype)
        self._set_output(data_format, save_to_dir, save_prefix, save_format)
        self.directory, self.follow_links, self.subset = os.fspath(directory), follow_links, subset
        names = list(classes) if classes else sorted(
            name for name in os.listdir(directory) if os.path.isdir(os.path.join(self.directory, name)))
        self.num_classes, self.class_indices = len(names), {name: i for i, name in enumerate(names)}
        self.filepaths = []
        numbers: list[int] = []
        for i, name in enumerate(names):
            found = list(_pictures_in(os.path.join(self.directory, name), self.white_list_formats, follow_links))
            self.filepaths += found[self._bounds(subset, len(found))]
            numbers += [i] * (len(self.filepaths) - len(numbers))
        self.filenames = [os.path.relpath(path, self.directory) for path in self.filepaths]
        self.classes, self.samples = np.array(numbers, dtype="int32"), len(numbers)
        print(f"Found {self.samples} images belonging to {self.num_classes} classes.")
        super().__init__(self.samples, batch_size, shuffle, seed)


class DataFrameIterator(PictureFiles):
    """Batches of the pictures that a frame lists.

    dataframe: a pandas DataFrame; directory: where the files are, or None for absolute paths; x_col: the column of
    their names; y_col: the column of labels, or several; has_ext: whether the names have their endings; weight_col: the
    column of sample weights; classes: names of classes, the others are left out; class_mode: 'categorical' (a label may
    be a list of several), 'binary', 'sparse', 'input', None, or labels as they are: 'raw' or 'other' (an array) and
    'multi_output' (a list, one array per column); validate_filenames: leave out what is no picture's file.  The rest is
    as for `DirectoryIterator`; a subset is a part of the frame.
    """

    modes = ("categorical", "binary", "sparse", "input", "multi_output", "other", "raw", None)

    def __init__(self, dataframe: Any, directory: Any = None, image_data_generator: Any = None,
                 x_col: str = "filename", y_col: Any = "class", has_ext: bool = True, target_size: Any = (256, 256),
                 color_mode: str = "rgb", classes: Any = None, class_mode: str | None = "categorical",
                 batch_size: int = 32, shuffle: bool = True, seed: int | None = None, data_format: str | None = None,
                 save_to_dir: Any = None, save_prefix: str = "", save_format: str = "png", subset: str | None = None,
                 interpolation: str = "nearest", weight_col: str | None = None, validate_filenames: bool = True,
                 dtype: Any = None):
        self._set_input(image_data_generator, target_size, color_mode, data_format, class_mode, interpolation, dtype)
        self._set_output(data_format, save_to_dir, save_prefix, save_format)
        self.directory, self.subset = os.fspath(directory or ""), subset
        names = _texts(dataframe, x_col) if has_ext else self._with_endings(_texts(dataframe, x_col))
        paths = [os.path.join(self.directory, name) for name in names]
        rows = _valid(paths, x_col, self.white_list_formats) if validate_filenames else list(range(len(paths)))
        labels = _column(dataframe, y_col, class_mode, classes)
        if class_mode in _LABELLED:
            rows = self._set_classes(labels, rows, classes)
        rows = rows[self._bounds(subset, len(rows))]
        self.filenames, self.filepaths = [names[i] for i in rows], [paths[i] for i in rows]
        if class_mode in _LABELLED:
            self.classes = [self.classes[i] for i in rows]
        elif class_mode == "multi_output":
            self._targets = [column[rows] for column in labels]
        elif class_mode in ("other", "raw"):
            self._targets = labels[rows]
        if weight_col is not None:
            self.sample_weight = _numbers(dataframe, weight_col)[rows]
        self.samples = len(rows)
        print(f"Found {self.samples} {'' if validate_filenames else 'non-'}validated image filenames"
              + (f" belonging to {len(self.class_indices)} classes." if class_mode in _LABELLED else "."))
        super().__init__(self.samples, batch_size, shuffle, seed)

    def _with_endings(self, names: list[str]) -> list[str]:
        """The files' names, for names that lack their endings."""
        found = _pictures_in(self.directory, self.white_list_formats)
        known = {os.path.splitext(name)[0]: name for name in (os.path.relpath(path, self.directory) for path in found)}
        return [known.get(os.path.normpath(name), name) for name in names]

    def _set_classes(self, labels: list[Any], rows: list[int], classes: Any) -> list[int]:
        """Number the classes; the rows that have one."""
        several = [list(v) if isinstance(v, (list, tuple)) else [v] for v in labels]
        names = dict.fromkeys(classes) if classes else sorted({name for i in rows for name in several[i]})
        self.class_indices = {name: i for i, name in enumerate(names)}
        self.num_classes = len(self.class_indices)
        numbers = [[self.class_indices[name] for name in v if name in self.class_indices] for v in several]
        self.classes = [n[0] if n and isinstance(v, str) else n for n, v in zip(numbers, labels)]
        return [i for i in rows if numbers[i]]


def _valid(paths: list[str], column: str, formats: Any) -> list[int]:
    """The rows of pictures that are there."""
    rows = [i for i, path in enumerate(paths) if _is_picture(path, formats) and os.path.isfile(path)]
    if len(rows) < len(paths):
        warnings.warn(f'Found {len(paths) - len(rows)} invalid image filename(s) in x_col="{column}". These '
                      "filename(s) will be ignored.", stacklevel=4)
    return rows


def _values(frame: Any, columns: Any, argument: str) -> Any:
    """A column of a frame, or several."""
    missing = [c for c in (columns if isinstance(columns, (list, tuple)) else [columns]) if c not in frame]
    if missing:
        raise KeyError(f"{argument}={columns!r}: the frame has no column {missing[0]!r}; it has {list(frame)}")
    return frame[columns]


def _texts(frame: Any, column: str) -> list[str]:
    values = list(_values(frame, column, "x_col"))
    if not all(isinstance(v, str) for v in values):
        raise TypeError(f"All values in column x_col={column} must be strings.")
    return values


def _numbers(frame: Any, column: str) -> np.ndarray:
    values = np.asarray(_values(frame, column, "weight_col"))
    if not np.issubdtype(values.dtype, np.number):
        raise TypeError(f"Column weight_col={column} must be numeric.")
    return values


def _column(frame: Any, y_col: Any, class_mode: str | None, classes: Any) -> Any:
    """What a frame holds under `y_col`, in the form of the class mode; None where that has no use for it."""
    if class_mode in _LABELLED:
        return _labels_in(frame, y_col, str(class_mode), classes)
    if classes:
        raise ValueError(f"`classes` cannot be set if class_mode is {class_mode!r}, which has no classes; expected "
                         'class_mode "categorical", "binary" or "sparse".')
    if class_mode == "multi_output":
        if not isinstance(y_col, (list, tuple)):
            raise TypeError('If class_mode="multi_output", y_col must be a list. Received '
                            f"{type(y_col).__name__}: {y_col!r}.")
        return [np.array(list(_values(frame, column, "y_col"))) for column in y_col]
    return np.asarray(_values(frame, y_col, "y_col")) if class_mode in ("other", "raw") else None


def _labels_in(frame: Any, column: Any, class_mode: str, classes: Any) -> list[Any]:
    """A frame's labels, which fit the class mode."""
    labels = list(_values(frame, column, "y_col"))
    allowed: tuple[type, ...] = (str, list, tuple) if class_mode == "categorical" else (str,)
    if not all(isinstance(v, allowed) for v in labels):
        kinds = "type string, list or tuple" if class_mode == "categorical" else "strings"
        raise TypeError(f'If class_mode="{class_mode}", y_col="{column}" column values must be {kinds}.')
    if class_mode == "binary" and len(set(classes or labels)) != 2:
        raise ValueError('If class_mode="binary" there must be 2 classes. '
                         + (f"{len(set(classes))} class/es were given." if classes else
                            f"Found {len(set(labels))} classes."))
    return labels
