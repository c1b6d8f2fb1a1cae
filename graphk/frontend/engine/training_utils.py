"""Checks and conversions of what users pass to fit, evaluate and predict, and batches.

In: arrays, lists, dicts, DataFrames, weights.  Out: lists of arrays in the model's order.  What always
holds: errors are ValueErrors in Keras's wording, raised before any computation starts.
"""
from __future__ import annotations

import warnings
from functools import partial
from typing import Any, Callable, Sequence

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend import config, losses
from graphk.frontend.loss_classes import widened
from graphk.frontend.sparse import dense, with_rows
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.blame import naming
from graphk.frontend.utils.generic_utils import check_for_unexpected_keys, slice_arrays
from graphk.runtime.exchange import DeviceArray, adopted


# ------------------------------------------------------------------ data
def as_columns(x: Any) -> Any:
    """A DataFrame's values; 1-D arrays as (n, 1); sparse matrices with rows that can be taken; arrays of other
    libraries in the memory where they are."""
    if x is None or isinstance(x, Tensor):
        return x
    x = adopted(x)
    if isinstance(x, DeviceArray):
        return x.column() if x.ndim == 1 else x
    if x.__class__.__name__ in ("DataFrame", "Series"):
        x = x.values
    x = with_rows(x)
    return np.expand_dims(x, 1) if getattr(x, "ndim", None) == 1 else x


def _by_name(data: dict[str, Any], names: Sequence[str]) -> list[Any]:
    for name in names:
        if name not in data:
            raise ValueError(f'No data provided for "{name}". Need data for each key in: {list(names)}. Received the '
                             f"keys {list(data)}.")
    return [data[name] for name in names]


def _as_list(data: Any, names: Sequence[str]) -> list[Any]:
    if isinstance(data, dict):
        return _by_name(data, names)
    if isinstance(data, (list, tuple)):
        data = list(data)
        if data and isinstance(data[0], (list, tuple)):
            return [np.asarray(d) for d in data]
        if len(names) == 1 and data and isinstance(data[0], (float, int, np.generic)):
            return [np.asarray(data)]
        return data
    return [data]


def standardize_input_data(data: Any, names: Sequence[str], shapes: Sequence[Any] | None = None,
                           check_batch_axis: bool = True, exception_prefix: str = "") -> list[Any]:
    """`data` as a list of arrays in the order of `names`, checked against `shapes` (None entries match all)."""
    prefix = exception_prefix
    if not names:
        if data is not None and hasattr(data, "__len__") and len(data):
            raise ValueError("Error when checking model " + prefix + ": expected no data, but got:" + str(data)[:200])
        return []
    if data is None:
        return [None] * len(names)
    arrays = [as_columns(x) for x in _as_list(data, names)]
    arrays = [x if x is None or hasattr(x, "shape") or not isinstance(x, list) else as_columns(np.asarray(x))
              for x in arrays]
    if len(arrays) != len(names):
        _complain_count(arrays, names, prefix, data)
    for x in arrays:
        if x is not None and not hasattr(x, "shape"):
            raise TypeError(f"Error when checking model {prefix}: data should be a Numpy array, or list/dict of Numpy "
                            f"arrays. Found: {str(data)[:200]}...")
    arrays = [_numbers(name, x, prefix) for name, x in zip(names, arrays)]
    for name, x, shape in zip(names, arrays, shapes or [None] * len(names)):
        if shape is not None and x is not None and not isinstance(x, Tensor):
            _check_shape(name, x.shape, tuple(shape), check_batch_axis, prefix)
    return arrays


def _numbers(name: str, x: Any, prefix: str) -> Any:
    """Arrays of Python objects or texts as numbers; ValueError naming the input if they are none."""
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "OUSVMm":
        return x
    try:
        if x.dtype.kind in "Mm":
            raise TypeError("dates and times are no numbers")
        if x.dtype.kind == "O" and any(v is None for v in x.flat):
            at = next(i for i, v in np.ndenumerate(x) if v is None)
            raise TypeError(f"None at {at}; use np.nan for what is missing, or leave these samples out")
        return x.astype(K.floatx())
    except (TypeError, ValueError) as e:
        raise ValueError(f"Error when checking {prefix}: expected {name} to hold numbers, but got array of dtype "
                         f"{x.dtype} with shape {x.shape} ({e}). Convert it to numbers first, such as class indices."
                         ) from None


def check_not_empty(arrays: Sequence[Any], names: Sequence[str], what: str) -> None:
    """ValueError if there is not one sample."""
    for x, name in zip(arrays, names):
        if getattr(x, "shape", (None,))[:1] == (0,):
            raise ValueError(f"{what}() received 0 samples: the array for `{name}` has shape {x.shape}. Expected at "
                             "least one sample.")


def check_split(split: Any) -> bool:
    """Whether a part is split off for validation; ValueError outside [0, 1)."""
    if not isinstance(split, (int, float, np.number)) and split is not None:
        raise TypeError(f"`validation_split` must be a number; received {split!r}.")
    if split and not 0. < split < 1.:
        raise ValueError(f"`validation_split` must be at least 0 and less than 1; received {split}.")
    return bool(split)


def _complain_count(arrays: list[Any], names: Sequence[str], prefix: str, data: Any) -> None:
    sizes = {np.shape(a) for a in arrays}
    if len(names) == 1 and arrays and isinstance(data[0], (list, tuple)) and len(sizes) > 1:
        raise ValueError(f"Error when checking model {prefix}: the list passed for `{names[0]}` has rows of different "
                         f"lengths, so it is no array: {str(data)[:200]}. Pad them to one length.")
    fix = f". Pass one array for each of {list(names)}"
    if len(names) == 1 and arrays:
        fix = ". If these are the rows of one array, pass np.array(...) of the list" \
            + (", padded to one length" if len(sizes) > 1 else "")
    if arrays and hasattr(arrays[0], "shape"):
        raise ValueError(f"Error when checking model {prefix}: the list of Numpy arrays that you are passing to your "
                         f"model is not the size the model expected. Expected to see {len(names)} array(s), but "
                         f"instead got the following list of {len(arrays)} arrays: {str(data)[:200]}...{fix}.")
    texts = ", after numbering the texts" if any(isinstance(a, str) for a in arrays) else ""
    raise ValueError(f"Error when checking model {prefix}: you are passing a list as input to your model, but the "
                     f"model expects a list of {len(names)} Numpy arrays instead. The list you passed was: "
                     f"{str(data)[:200]}{fix}{texts}.")


def _check_shape(name: str, got: tuple[int, ...], want: tuple[Any, ...], check_batch_axis: bool, prefix: str,
                 also: str | None = None) -> None:
    also = _shape_advice(tuple(got), want) if also is None else also
    if len(got) != len(want):
        raise ValueError(f"Error when checking {prefix}: expected {name} to have {len(want)} dimensions, but got array "
                         f"with shape {tuple(got)}{also}")
    if not check_batch_axis:
        got, want = got[1:], want[1:]
    if any(w and g != w for g, w in zip(got, want)):
        raise ValueError(f"Error when checking {prefix}: expected {name} to have shape {want} but got array with shape "
                         f"{tuple(got)}{also}")


def _shape_advice(got: tuple[int, ...], want: tuple[Any, ...]) -> str:
    """What to do about an array of shape `got` where `want` (batch axis included) is expected."""
    rest = want[1:]
    if len(got) == len(want) > 2 and None not in rest and got[1:] != rest:
        for source, target in ((1, -1), (-1, 1)):
            if tuple(np.moveaxis(np.empty((0, *got[1:])), source, target).shape[1:]) == rest:
                return f". Is an axis in another place? np.moveaxis(x, {source}, {target}) has the shape {want}."
    if got in (rest, (*rest, 1)):
        return ". One sample needs an axis of samples, too: x[np.newaxis]."
    if None not in rest and np.prod(got[1:]) == np.prod(rest):
        return f". Reshape it: x.reshape({(-1, *rest)})."
    return f". Expected arrays of shape {want}, where None is any size and the first axis counts samples."


def check_counts(**counts: Any) -> None:
    """TypeError or ValueError for a number of batches, epochs, … that is no integer, or too small.  None is fine, but
    for epochs."""
    for name, n in counts.items():
        least = 0 if "epoch" in name and "steps" not in name else 1
        if n is None and least:
            continue
        words = "a positive integer" if least else "an integer that is not negative"
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
            raise TypeError(f"`{name}` must be {words}; received {n!r:.80}, a {type(n).__name__}. Write "
                            f"{name}=int(...).")
        if n < least:
            raise ValueError(f"`{name}` must be {words}; received {n}.")


def check_validation_steps(validates: bool, steps_per_epoch: int | None, validation_steps: int | None) -> None:
    """ValueError unless steps are given for training and for validation, or for neither."""
    if validation_steps and steps_per_epoch is None:
        raise ValueError("Can only use `validation_steps` when doing step-wise training, i.e. `steps_per_epoch` must "
                         "be set.")
    if validates and steps_per_epoch and not validation_steps:
        raise ValueError("Must specify `validation_steps` to perform validation when doing step-wise training "
                         f"(steps_per_epoch={steps_per_epoch}).")


def split_off(parts: Sequence[list[Any]], split: float) -> tuple[list[list[Any]], list[Any]]:
    """Inputs, targets and weights without the part at the end that validates, and that part in one list."""
    x = parts[0]
    if any(isinstance(a, Tensor) for a in x):
        raise ValueError("If your data is in the form of symbolic tensors, you cannot use `validation_split`.")
    at = int(int(x[0].shape[0]) * (1.0 - split))
    if at == 0:
        raise ValueError(
            f"Training data contains {x[0].shape[0]} samples, which is not sufficient to be split into a validation "
            f"and training set as specified by `validation_split={split}`. Either provide more data, or a different "
            "value for the `validation_split` argument."
        )
    return [slice_arrays(p, 0, at) for p in parts], [a for p in parts for a in slice_arrays(p, at)]


def standardize_sample_or_class_weights(x_weight: Any, output_names: Sequence[str], weight_type: str) -> list[Any]:
    """One weight (array, dict or None) per output."""
    if x_weight is not None and not hasattr(x_weight, "__len__"):
        raise TypeError(f"`{weight_type}` must be an array with one weight per sample, or a dict; received "
                        f"{x_weight!r}.")
    if x_weight is None or len(x_weight) == 0:
        return [None] * len(output_names)
    if len(output_names) == 1:
        if isinstance(x_weight, list) and len(x_weight) == 1:
            return x_weight
        if isinstance(x_weight, dict) and output_names[0] in x_weight:
            return [x_weight[output_names[0]]]
        if isinstance(x_weight, dict) and weight_type == "sample_weight":
            raise ValueError(f"Unknown entry in sample_weight dictionary: {list(x_weight)}. Only expected the "
                             f"following keys: {list(output_names)}")
        return [x_weight]
    if isinstance(x_weight, list):
        if len(x_weight) != len(output_names):
            raise ValueError(f"Provided `{weight_type}` was a list of {len(x_weight)} elements, but the model has "
                             f"{len(output_names)} outputs. You should provide one `{weight_type}` array per model "
                             "output.")
        return x_weight
    if isinstance(x_weight, dict):
        known = set(x_weight) & set(output_names)
        if known or weight_type == "sample_weight":
            check_for_unexpected_keys(weight_type, x_weight, output_names)
        if not known:                                     # as for one output: from classes to weights
            warnings.warn(f"`{weight_type}` is ignored: its keys {str(list(x_weight))[:100]} are none of the outputs "
                          f"{list(output_names)}.", stacklevel=6)
        return [x_weight.get(name) for name in output_names]
    raise TypeError(f"The model has multiple outputs, so `{weight_type}` should be either a list or a dict. Provided "
                    f"`{weight_type}` type not understood: {x_weight}")


def standardize_class_weights(class_weight: Any, output_names: Sequence[str]) -> list[Any]:
    """One class_weight dict (or None) per output."""
    return standardize_sample_or_class_weights(class_weight, output_names, "class_weight")


def standardize_sample_weights(sample_weight: Any, output_names: Sequence[str]) -> list[Any]:
    """One sample weight array (or None) per output."""
    return standardize_sample_or_class_weights(sample_weight, output_names, "sample_weight")


def check_array_length_consistency(inputs: Any, targets: Any, weights: Any = None) -> None:
    """ValueError unless all arrays have the same number of samples; None counts as 0 samples, an empty list as any."""
    def sizes(arrays: Any) -> set[int]:
        return {0} if arrays is None else {0 if x is None else int(x.shape[0]) for x in arrays
                                           if not isinstance(x, Tensor)}
    set_x, set_y, set_w = sizes(inputs), sizes(targets), sizes(weights)
    for what, found, arrays in (("input arrays (x)", set_x, inputs), ("target arrays (y)", set_y, targets),
                                ("sample_weight arrays", set_w, weights)):
        if len(found) > 1:
            raise ValueError(f"All {what} should have the same number of samples. Got array shapes: "
                             f"{[x.shape for x in arrays if x is not None]}")
    if set_x and set_y and set_x != set_y:
        raise ValueError("Input arrays should have the same number of samples as target arrays. Found "
                         f"{min(set_x)} input samples and {min(set_y)} target samples.")
    if set_y and set_w and set_y != set_w:
        raise ValueError("Sample_weight arrays should have the same number of samples as target arrays. Got "
                         f"{min(set_y)} input samples and {min(set_w)} target samples.")


_HINT = ("If your targets are integer classes, you can convert them to the expected format via:\n```\nfrom keras.utils "
         "import to_categorical\ny_binary = to_categorical(y_int)\n```\n\nAlternatively, you can use the loss function "
         "`sparse_categorical_crossentropy` instead, which does expect integer targets.")


_FLATTEN = ". If the output should have fewer axes, put Flatten or a global pooling before the last layer, or give " \
    "the last recurrent layer return_sequences=False."
_OF_OUTPUT_SHAPE = (losses.mean_squared_error, losses.binary_crossentropy, losses.categorical_crossentropy)


def check_loss_and_target_compatibility(targets: Sequence[Any], loss_fns: Sequence[Any], output_shapes: Sequence[Any],
                                        names: Sequence[str] | None = None, target_shapes: Sequence[Any] | None = None
                                        ) -> None:
    """ValueError if a target cannot fit its loss.  target_shapes: what the losses want, None where all goes."""
    if names is None or target_shapes is None:
        names = [f"output {i}" for i in range(len(targets))]
        target_shapes = [s if fn in _OF_OUTPUT_SHAPE else None for fn, s in zip(loss_fns, output_shapes)]
    for y, name, loss, want, out in zip(targets, names, loss_fns, target_shapes, output_shapes):
        loss = losses.plain(loss)
        if y is None or loss is None or isinstance(y, Tensor):
            continue
        if loss is losses.categorical_crossentropy and y.shape[-1] == 1:
            raise ValueError(
                "You are passing a target array of shape " + str(y.shape) + " while using as loss "
                "`categorical_crossentropy`. `categorical_crossentropy` expects targets to be binary matrices "
                f"(1s and 0s) of shape (samples, classes), here {out} for the output `{name}`. "
                + (_HINT if out[-1] != 1 else "With one output unit, use `binary_crossentropy`.")
            )
        if want is not None:
            _check_shape(name, y.shape, tuple(want), False, "target", _loss_advice(loss, y.shape, out))


def _loss_advice(loss: Any, got: tuple[int, ...], out: tuple[Any, ...]) -> str:
    """What to do about targets of a shape that `loss` does not take."""
    if loss is losses.sparse_categorical_crossentropy:
        return ". The loss `sparse_categorical_crossentropy` takes one class number per sample" + (
            ": use `categorical_crossentropy` for one-hot targets, or pass y.argmax(-1)." if got == (got[0], *out[1:])
            else f" for the output of shape {out}" + _FLATTEN)
    return f". The loss `{getattr(loss, '__name__', loss)}` takes targets of the output's shape {out}" + (
        "; change the units of the last layer, or the targets." if len(got) == len(out) else _FLATTEN)


# ------------------------------------------------------------------ weights
CLASSES_TOO = config.keras_semantics() == "2.3"         # weights of classes and of samples multiply


def standardize_weights(y: Any, sample_weight: Any = None, class_weight: Any = None,
                        sample_weight_mode: str | None = None) -> np.ndarray:
    """The weight of each sample (or, in mode 'temporal', of each timestep)."""
    sample_weight = adopted(sample_weight)
    if sample_weight_mode is not None and sample_weight_mode != "temporal":
        raise ValueError('"sample_weight_mode should be None or "temporal". Found: ' + str(sample_weight_mode))
    if sample_weight_mode == "temporal":
        if y.ndim < 3:
            raise ValueError(f"Found a sample_weight array for an input with shape {y.shape}. Timestep-wise sample "
                             'weighting (use of sample_weight_mode="temporal") is restricted to outputs that are at '
                             "least 3D, i.e. that have a time dimension.")
        if sample_weight is not None and np.ndim(sample_weight) != 2:
            raise ValueError(f"Found a sample_weight array with shape {np.shape(sample_weight)}. In order to use "
                             "timestep-wise sample weighting, you should pass a 2D sample_weight array.")
    elif sample_weight is not None and np.ndim(sample_weight) != 1:
        raise ValueError(f"Found a sample_weight array with shape {np.shape(sample_weight)}. In order to use "
                         'timestep-wise sample weights, you should specify sample_weight_mode="temporal" in compile(). '
                         "If you just mean to use sample-wise weights, make sure your sample_weight array is 1D.")
    both = sample_weight is not None and class_weight is not None
    if both and not CLASSES_TOO:
        warnings.warn("Found both `sample_weight` and `class_weight`: `class_weight` argument will be ignored.",
                      stacklevel=5)
    if sample_weight is not None:
        sample_weight = _numbers("sample_weight", np.asarray(sample_weight), "weights")
        _check_weight_shape(y, sample_weight)
        return sample_weight * _class_weights(y, class_weight) if both and CLASSES_TOO else sample_weight
    if isinstance(class_weight, dict):
        return _class_weights(y, class_weight)
    if class_weight is not None:
        warnings.warn(f"`class_weight` is ignored: expected a dict from class to weight, received {class_weight!r}.",
                      stacklevel=5)
    return np.ones(y.shape[:2] if sample_weight_mode == "temporal" else y.shape[:1], dtype=K.floatx())


def _check_weight_shape(y: Any, w: np.ndarray) -> None:
    if w.ndim > y.ndim:
        raise ValueError(f"Found a sample_weight with shape {w.shape}. Expected sample_weight with rank less than or "
                         f"equal to {y.ndim}")
    if y.shape[:w.ndim] != w.shape:
        raise ValueError(f"Found a sample_weight array with shape {w.shape} for an input with shape {y.shape}. "
                         "sample_weight cannot be broadcast: expected one weight per "
                         + ("sample" if w.ndim == 1 else "timestep") + f", shape {y.shape[:w.ndim]}.")


def _class_weights(y: Any, class_weight: dict[Any, float]) -> np.ndarray:
    if y.ndim > 2:
        raise ValueError("`class_weight` not supported for 3+ dimensional targets.")
    y = dense(y)
    classes = np.argmax(y, axis=1) if y.ndim == 2 and y.shape[1] > 1 else np.reshape(y, (y.shape[0],))
    missing = set(np.unique(classes).tolist()) - set(class_weight)
    if missing:
        raise ValueError(f"`class_weight` must contain all classes in the data. The classes {missing} exist in the "
                         f"data but not in `class_weight`. Its keys are {list(class_weight)}.")
    return _numbers("class_weight", np.asarray([class_weight[c] for c in classes.tolist()]), "weights")


# ------------------------------------------------------------------ objectives
def weighted_masked_objective(fn: Callable[..., Tensor] | None) -> Any:
    """`fn` as a mean with weights and mask.  Keras 2.2 divides scores by the means of the mask and of the weights that
    are not zero, 2.3 does not."""
    if isinstance(fn, losses.Loss):
        return partial(_of_object, fn)
    return None if fn is None else partial(_objective, fn)


def _of_object(loss: losses.Loss, y_true: Tensor, y_pred: Tensor, weights: Tensor | None, mask: Tensor | None = None
               ) -> Tensor:
    """What a loss that is an object says of weighted samples, which it reduces itself."""
    return loss.reduced(scores(loss.call, y_true, y_pred), mask, weights)


def scores(fn: Callable[..., Any], y_true: Tensor, y_pred: Tensor) -> Tensor:
    """What the loss or metric `fn` gives; a number as a tensor."""
    name = str(getattr(fn, "__name__", type(fn).__name__))
    with naming(name, lambda: f"in the loss or metric `{name}`, which is called with y_true of shape "
                f"{K.int_shape(y_true)} and y_pred of shape {K.int_shape(y_pred)}"):
        score = fn(y_true, y_pred)
    if isinstance(score, Tensor):
        return score
    if not isinstance(score, (int, float, np.number)):
        raise TypeError(f"The loss or metric `{name}` returned {score!r}; expected a tensor of "
                        "one value per sample. Compute it with functions of K.")
    return K.constant(score)


def _renormalized(fn: Callable[..., Tensor], y_true: Tensor, y_pred: Tensor, weights: Tensor | None,
                  mask: Tensor | None = None) -> Tensor:
    score = scores(fn, y_true, y_pred)
    if mask is not None:
        mask = K.cast(mask, score.dtype)
        score = score * mask / K.mean(mask)
    if weights is not None:
        if score.ndim > weights.ndim:
            score = K.mean(score, axis=list(range(weights.ndim, score.ndim)))
        score = score * weights / K.mean(K.cast(K.not_equal(weights, 0), score.dtype))
    return K.mean(score) if score.ndim else score


def _plain(fn: Callable[..., Tensor], y_true: Tensor, y_pred: Tensor, weights: Tensor | None,
           mask: Tensor | None = None) -> Tensor:
    score = scores(fn, y_true, y_pred)
    for w in (mask, weights):
        if w is not None:
            score = score * widened(K.cast(w, score.dtype), score.ndim)
    return K.mean(score) if score.ndim else score


_objective = _plain if config.keras_semantics() == "2.3" else _renormalized


def collect_metrics(metrics: Any, output_names: Sequence[str]) -> list[list[Any]]:
    """One list of metrics per output, from a list (for all), a list of lists, or a dict by output name."""
    if not metrics:
        return [[] for _ in output_names]
    if isinstance(metrics, (list, tuple)) and not all(isinstance(m, (list, tuple)) for m in metrics):
        return [list(metrics) for _ in output_names]
    if isinstance(metrics, (list, tuple, dict)):
        found = by_output(metrics, output_names, "metrics", [])
        return [list(m) if isinstance(m, (list, tuple)) else [m] for m in found]
    raise TypeError("Type of `metrics` argument not understood. Expected a list or dictionary, found: " + str(metrics)
                    + f". Write metrics=[{metrics!r:.100}].")


def by_output(given: Any, names: Sequence[str], what: str, missing: Any = None) -> list[Any]:
    """One entry per output, from a list or from a dict by output name; ValueError for other names and counts."""
    if isinstance(given, dict):
        check_for_unexpected_keys(what, given, names)
        return [given.get(name, missing) for name in names]
    if len(given) != len(names):
        raise ValueError(f"When passing a list as {what}, it should have one entry per model output. The model has "
                         f"{len(names)} outputs, but you passed {what}={given}")
    return list(given)


# ------------------------------------------------------------------ batches
def make_batches(size: Any, batch_size: Any) -> list[tuple[int, int]]:
    """(start, stop) of each batch; the last may be short.

    >>> make_batches(5, 2)
    [(0, 2), (2, 4), (4, 5)]
    """
    if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise ValueError(f"`batch_size` must be a positive integer; received {batch_size!r}.")
    return [(i, min(size, i + batch_size)) for i in range(0, size, batch_size)]


def batch_shuffle(index_array: np.ndarray, batch_size: int) -> np.ndarray:
    """Whole batches in random order, the short one last."""
    count = len(index_array) // batch_size
    tail = index_array[count * batch_size:]
    blocks = index_array[:count * batch_size].reshape((count, batch_size))
    np.random.shuffle(blocks)
    return np.append(blocks.flatten(), tail)


def check_num_samples(ins: Any, batch_size: int | None = None, steps: int | None = None,
                      steps_name: str = "steps") -> int | None:
    """The number of samples, None if steps rule; ValueError if both or neither are given."""
    if steps is not None and batch_size is not None:
        raise ValueError("If " + steps_name + " is set, the `batch_size` must be None.")
    if not ins or any(isinstance(x, Tensor) for x in ins):
        if steps is None:
            raise ValueError("If your data is in the form of symbolic tensors, you should specify the `" + steps_name
                             + "` argument (instead of the `batch_size` argument).")
        return None
    return int(ins[0].shape[0]) if hasattr(ins[0], "shape") else None
