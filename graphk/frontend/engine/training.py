"""Model: a network that can be compiled, trained, tested and asked to predict.

In: a loss, an optimizer, arrays.  Out: trained weights, histories, predictions.  What always holds: the
set of trainable weights is fixed when `compile` is called; the three compiled functions are made when
first needed; predicting needs no `compile`.
"""
from __future__ import annotations

import warnings
from typing import Any, Sequence

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend import optimizers
from graphk.frontend.engine import training_arrays, training_generator
from graphk.frontend.engine.layer_state import flag_changes
from graphk.frontend.engine.mixed_precision import FULL, LossScale, MixedPrecision
from graphk.frontend.engine.network import Network
from graphk.frontend.engine.streaming import STREAMING
from graphk.frontend.engine.training_setup import TrainingSetup
from graphk.frontend.engine.training_generator import check_generator_arguments, is_generator
from graphk.frontend.engine.training_utils import (check_array_length_consistency, check_counts,
                                                   check_loss_and_target_compatibility, check_not_empty,
                                                   check_num_samples, check_split, check_validation_steps, split_off,
                                                   standardize_class_weights, standardize_input_data,
                                                   standardize_sample_weights, standardize_weights)
from graphk.frontend.function import SEEN_LIMIT, Function, signature, stays
from graphk.frontend.legacy import modernize_methods
from graphk.frontend.tensor import Tensor
from graphk.frontend.utils.advice import advice, keywords_of
from graphk.frontend.utils.blame import unchanged
from graphk.frontend.utils.generic_utils import has_arg, unpack_singleton
from graphk.ir.node import topological


class Model(TrainingSetup, Network):
    """A model: layers between `inputs` and `outputs`, with training.

    >>> from graphk.layers import Input, Dense
    >>> x = Input((4,))
    >>> model = Model(x, Dense(2)(x))
    >>> model.output_shape
    (None, 2)
    """

    train_function: Any = None
    _devices: tuple[str, ...] = ()                 # of `multi_gpu_model`: a batch is cut into slices for them
    _mixed = FULL
    loss_scale: Any = LossScale()
    _consistent_at = -1                            # `flag_changes()` when the weights last were those of `compile`
    _plain_weights: dict[Any, list[np.ndarray]] = {}

    def compile(self, optimizer: Any, loss: Any = None, metrics: Any = None, loss_weights: Any = None,
                sample_weight_mode: Any = None, weighted_metrics: Any = None, target_tensors: Any = None,
                *, mixed_precision: str | None = None, loss_scale: Any = None, **kwargs: Any) -> None:
        """Prepare for training.

        optimizer: name or instance; loss: name, function, or a list or dict of them by output; metrics: list, or dict
        by output; loss_weights: list or dict; sample_weight_mode: None or 'temporal', or by output; weighted_metrics:
        metrics that the sample weights apply to; target_tensors: tensors to use as targets.  graphk's own:
        mixed_precision: "float16" or "bfloat16", which contractions round their operands to; loss_scale: a number, or
        "dynamic", by which the loss is multiplied where gradients are taken.
        """
        if kwargs:
            name = sorted(kwargs)[0]
            raise ValueError(f"compile() does not understand `{name}`: arguments of a TensorFlow session have no "
                             "meaning here" + advice(name, keywords_of(Model.compile), "arguments"))
        with unchanged(self):
            self._keep_arguments(optimizer, loss, metrics, loss_weights, sample_weight_mode, weighted_metrics,
                                 target_tensors)
            self._mixed = MixedPrecision(mixed_precision, loss_scale)
            self._compiled_later = not self.built  # a Sequential without input shape: see `_set_inputs`
            if self.built:
                self._setup_training()

    def _keep_arguments(self, optimizer: Any, loss: Any, metrics: Any, loss_weights: Any, sample_weight_mode: Any,
                        weighted_metrics: Any, target_tensors: Any) -> None:
        self.optimizer = optimizers.get(optimizer)
        self.loss = loss if loss is not None else []
        self.metrics = metrics or []
        self.loss_weights = loss_weights
        self.sample_weight_mode = sample_weight_mode
        self.weighted_metrics = weighted_metrics
        self._target_tensors_given = target_tensors
        self._unit_axes: dict[str, Any] = {}       # see `_fit_targets`

    # ---------------------------------------------------------------- compiled functions
    def _check_trainable_weights_consistency(self) -> None:
        if not hasattr(self, "_collected_trainable_weights"):
            return
        if len({id(w) for w in self.trainable_weights}) == len(self._collected_trainable_weights):
            self._consistent_at = flag_changes()
        else:
            warnings.warn(
                UserWarning(
                    "Discrepancy between trainable weights and collected trainable weights, did you set "
                    "`model.trainable` without calling `model.compile` after ?"
                ),
                stacklevel=3,
            )

    @property
    def _is_compiled(self) -> bool:
        return getattr(self, "total_loss_ready", False)

    def _need_compile(self, what: str) -> None:
        if not self._is_compiled:
            raise RuntimeError(f"You must compile a model before {what}. Use `model.compile(optimizer, loss)`.")

    def _make_train_function(self) -> None:
        self._need_compile("training/testing")
        self._check_trainable_weights_consistency()
        reducer = getattr(self.optimizer, "reducer", None)
        if reducer and self.train_function and getattr(self.train_function, "reducer", None) is not reducer:
            raise RuntimeError(f"The model `{self.name}` was given a distributed optimizer after it was compiled. "
                               "Compile it with that, or load it by graphk.distributed.load_model.")
        if self.train_function is None and (reducer or self._devices):
            from graphk.frontend.engine.reducers import ALONE
            from graphk.frontend.engine.split_step import SplitFunction
            self.train_function = SplitFunction(self, self._devices or (None,), reducer or ALONE)
        elif self.train_function is None:
            self.train_function = Function(
                self._all_feeds() + self._phase(),
                [self.total_loss, *self.metrics_tensors],
                updates=[*self._train_updates(), *self.metrics_updates],
                name="train_function",
                mixed_precision=self._mixed.dtype,
            )

    def _train_updates(self, take: Any = None) -> list[Any]:
        """The updates of a training step but for metrics'.  take: see `MixedPrecision.updates`."""
        params = self._weights_to_train()
        with K.name_scope("training"), K.name_scope(self.optimizer.__class__.__name__):
            return self._mixed.updates(self.optimizer, lambda: self._optimizer_updates(params), self.updates, take)

    def _optimizer_updates(self, params: list[Any]) -> list[Any]:
        if has_arg(self.optimizer.get_updates, "constraints"):           # a Keras 1 optimizer of the user's
            constraints = {p: p.constraint for p in params if p.constraint is not None}
            return self.optimizer.get_updates(params, constraints, self.total_loss)
        return self.optimizer.get_updates(params=params, loss=self.total_loss)

    def _weights_to_train(self) -> list[Any]:
        """The trainable weights, without those that only lead to outputs that have no loss."""
        if all(fn is not None for fn in self.loss_functions):
            return self._collected_trainable_weights
        read = set(topological([self.total_loss.node]))
        return [w for w in self._collected_trainable_weights if w.node in read]

    def _make_test_function(self) -> None:
        self._need_compile("training/testing")
        if self.test_function is None and self._devices:
            from graphk.frontend.engine.split_step import SplitFunction
            self.test_function = SplitFunction(self, self._devices, train=False)
        elif self.test_function is None:
            self.test_function = Function(self._all_feeds() + self._phase(), [self.total_loss, *self.metrics_tensors],
                                          updates=[*self.state_updates, *self.metrics_updates], name="test_function",
                                          mixed_precision=self._mixed.dtype)

    def _make_predict_function(self) -> None:
        if getattr(self, "predict_function", None) is None and self._devices:
            from graphk.frontend.engine.split_step import SplitPrediction
            self.predict_function = SplitPrediction(self, self._devices)
        elif getattr(self, "predict_function", None) is None:
            self.predict_function = Function(self._feed_inputs + self._phase(), self.outputs,
                                             updates=self.state_updates, name="predict_function",
                                             mixed_precision=self._mixed.dtype)

    def _phase(self) -> list[Any]:
        """The learning phase, which whoever calls the functions directly gives last, as Keras has it."""
        phase = K.learning_phase()
        return [phase] if self.uses_learning_phase and not isinstance(phase, int) else []

    def _all_feeds(self) -> list[Tensor]:
        return [*self._feed_inputs, *self._feed_targets, *self._feed_sample_weights]

    # ---------------------------------------------------------------- standardization
    def _set_inputs(self, x: Any) -> None:
        """Build a Sequential, or a subclassed model, whose input shape the data tells."""
        if not self.built and self._is_subclassed:
            self._call_on_data(x)
        elif not self.built:
            first: Any = x[0] if isinstance(x, (list, tuple)) and len(x) and hasattr(x[0], "shape") else x
            if isinstance(first, dict):
                first = next(iter(first.values()))
            shape = np.shape(getattr(first, "values", first) if not callable(getattr(first, "values", None)) else first)
            self.build((None,) + (tuple(shape[1:]) if len(shape) > 1 else (1,)))
        if getattr(self, "_compiled_later", False):
            self.compile(self.optimizer, self.loss, self.metrics, self.loss_weights, self.sample_weight_mode,
                         self.weighted_metrics, self._target_tensors_given, **self._mixed.settings())

    def _standardize_user_data(self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None,
                               check_array_lengths: bool = True, batch_size: int | None = None
                               ) -> tuple[list[Any], list[Any], list[Any]]:
        if not self.built or getattr(self, "_compiled_later", False):
            self._set_inputs(x)
        if y is not None or getattr(self, "_feed_targets", None):
            self._need_compile("training/testing")
        x = standardize_input_data(x, self._feed_input_names, self._feed_input_shapes, check_batch_axis=False,
                                   exception_prefix="input")
        self._check_given(x, self._feed_input_names, "input")
        if y is None:
            self._check_batch_of_stateful(x, batch_size)
            return x, [], []
        y = standardize_input_data(y, self._feed_output_names, [None] * len(self._feed_output_names),
                                   check_batch_axis=False, exception_prefix="target")
        self._check_given(y, self._feed_output_names, "target")
        check_loss_and_target_compatibility(y, self._feed_loss_fns, [x.shape for x in self._feed_outputs],
                                            self._feed_output_names, self._feed_output_shapes)
        self._fit_targets(y)
        weights = self._standardize_all_weights(y, sample_weight, class_weight)
        if check_array_lengths:
            check_array_length_consistency(x, y, weights)
        self._check_batch_of_stateful(x, batch_size)
        return x, y, weights

    @staticmethod
    def _check_given(arrays: list[Any], names: list[str], what: str) -> None:
        for a, name in zip(arrays, names):
            if a is None:
                raise ValueError(f"Error when checking {what}: received None for {name}. Pass an array, or a list or "
                                 f"dict of one array for each of {names}.")

    def _standardize_all_weights(self, y: list[Any], sample_weight: Any, class_weight: Any) -> list[Any]:
        sw = standardize_sample_weights(sample_weight, self._feed_output_names)
        cw = standardize_class_weights(class_weight, self._feed_output_names)
        return [standardize_weights(a, s, c, mode) for a, s, c, mode in zip(y, sw, cw, self._feed_sample_weight_modes)]

    def _check_batch_of_stateful(self, x: list[Any], batch_size: int | None) -> None:
        if self.stateful and batch_size and x and x[0].shape[0] % batch_size:
            raise ValueError("In a stateful network, you should only pass inputs with a number of samples that can be "
                             f"divided by the batch size. Found: {x[0].shape[0]} samples. Batch size: {batch_size}.")

    # ---------------------------------------------------------------- whole data sets
    def fit(self, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1, verbose: int = 1,
            callbacks: Any = None, validation_split: float = 0.0, validation_data: Any = None, shuffle: Any = True,
            class_weight: Any = None, sample_weight: Any = None, initial_epoch: int = 0,
            steps_per_epoch: int | None = None, validation_steps: int | None = None, **kwargs: Any) -> Any:
        """Train for `epochs - initial_epoch` epochs; returns a History.

        x, y: arrays, lists or dicts of arrays by name; validation_split: fraction at the end used for validation;
        shuffle: True, False or 'batch'; class_weight: dict class -> weight; sample_weight: array, one per sample.
        """
        epochs, queue = _keyword_arguments(kwargs, epochs)
        if is_generator(x):
            check_generator_arguments(y, sample_weight, validation_split, batch_size)
            return self.fit_generator(x, steps_per_epoch, epochs, verbose, callbacks, validation_data, validation_steps,
                                      class_weight, shuffle=bool(shuffle), initial_epoch=initial_epoch, **queue)
        check_counts(epochs=epochs, initial_epoch=initial_epoch, batch_size=batch_size, steps_per_epoch=steps_per_epoch,
                     validation_steps=validation_steps)
        if x is None and y is None and steps_per_epoch is None:
            raise ValueError("If fitting from data tensors, you should specify the `steps_per_epoch` argument.")
        batch_size = 32 if batch_size is None and steps_per_epoch is None else batch_size
        parts = list(self._standardize_user_data(x, y, sample_weight, class_weight, batch_size=batch_size))
        self._check_targets(parts[1], "fit()")
        check_not_empty(parts[0], self._feed_input_names, "fit")
        val = None
        if validation_data is not None and not (isinstance(validation_data, (list, tuple)) and not validation_data):
            val = self._validation_arrays(validation_data, batch_size)
        elif check_split(validation_split):
            parts, val = split_off(parts, validation_split)
        elif validation_steps:
            val = []                                   # the model's own tensors
        check_validation_steps(val is not None, steps_per_epoch, validation_steps)
        ins = [a for part in parts for a in part]
        self._prepare_fit(ins, val)
        return training_arrays.fit_loop(self, ins, val, range(initial_epoch, epochs), batch_size=batch_size,
                                        verbose=verbose, callbacks=callbacks, shuffle=shuffle,
                                        steps_per_epoch=steps_per_epoch, validation_steps=validation_steps)

    def _check_targets(self, y: list[Any], what: str) -> None:
        self._need_compile("training/testing")
        if not y and self._feed_targets:
            raise ValueError(f"{what} needs targets `y` for the outputs {self._feed_output_names}; received None.")

    def _prepare_fit(self, ins: list[Any], val: list[Any] | None) -> None:
        """Make the functions, and check row and class numbers in all data, before the first step changes a weight."""
        self._make_train_function()
        self.train_function.check_ranges(ins)
        if val is not None:
            self._make_test_function()
            self.test_function.check_ranges(val)

    def _validation_arrays(self, data: Any, batch_size: int | None) -> list[Any]:
        if not isinstance(data, (list, tuple)) or len(data) not in (2, 3):
            raise ValueError("When passing validation_data, it must contain 2 (x_val, y_val) or 3 (x_val, y_val, "
                             "val_sample_weights) items, however it contains %s" % (
                                 "%d items" % len(data) if isinstance(data, (list, tuple)) else "a " +
                                 type(data).__name__))
        x, y, w = self._standardize_user_data(data[0], data[1], data[2] if len(data) == 3 else None,
                                              batch_size=batch_size)
        self._check_targets(y, "validation_data")
        return [*x, *y, *w]

    def evaluate(self, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: int = 1,
                 sample_weight: Any = None, steps: int | None = None, callbacks: Any = None) -> Any:
        """The loss, or [loss, metrics…] in the order of `metrics_names`, over a data set."""
        if is_generator(x):
            check_generator_arguments(y, sample_weight, 0., batch_size)
            return self.evaluate_generator(x, steps, verbose=verbose, callbacks=callbacks)
        check_counts(batch_size=batch_size, steps=steps)
        batch_size = 32 if batch_size is None and steps is None else batch_size
        x, y, w = self._standardize_user_data(x, y, sample_weight, batch_size=batch_size)
        self._check_targets(y, "evaluate()")
        check_not_empty(x, self._feed_input_names, "evaluate")
        self._make_test_function()
        return training_arrays.test_loop(self, [*x, *y, *w], batch_size=batch_size, verbose=verbose, steps=steps,
                                         callbacks=callbacks)

    def predict(self, x: Any, batch_size: int | None = None, verbose: int = 0, steps: int | None = None,
                callbacks: Any = None) -> Any:
        """The outputs for `x`: an array, or a list of arrays for several outputs."""
        f, alone = getattr(self, "predict_function", None), False
        if f is not None and type(x) is np.ndarray and not (verbose or callbacks) and steps is None and (
                batch_size is None or type(batch_size) is int):
            size = 32 if batch_size is None else batch_size
            if (x.dtype, x.shape) in f._seen and 0 < len(x) <= size:
                return unpack_singleton(f.run_checked((x,), 0))    # one batch, like one seen before
            if (x.dtype, (size, *x.shape[1:])) in f._seen and not self.stateful and 0 < size < len(x):
                outs = f.many((x,), size)                          # several of them
                if outs:
                    return unpack_singleton(outs)
                alone = True                                       # each takes long: not to be found out again
        elif f is not None and type(x) is list and x and not (verbose or callbacks) and steps is None \
                and batch_size is None and signature(x) in f._seen and 0 < len(x[0]) <= 32:
            return unpack_singleton(f.run_checked(x, 0))
        if is_generator(x):
            return self.predict_generator(x, steps, verbose=verbose, callbacks=callbacks)
        check_counts(batch_size=batch_size, steps=steps)
        batch_size = 32 if batch_size is None and steps is None else batch_size
        if x is None and (not self.built or self._feed_inputs):
            raise ValueError("predict() needs data for the inputs " + str(getattr(self, "_feed_input_names", ["x"])) +
                             "; received None. Pass an array, or a list or dict of arrays.")
        if not self.built:
            self._set_inputs(x)
        x = standardize_input_data(x, self._feed_input_names, self._feed_input_shapes, check_batch_axis=False,
                                   exception_prefix="input")
        self._check_given(x, self._feed_input_names, "input")
        check_array_length_consistency(x, [], [])
        check_num_samples(x, batch_size, steps, "steps")
        if batch_size and x and x[0].shape[0] > batch_size:
            self._check_batch_of_stateful(x, batch_size)
        self._make_predict_function()
        return training_arrays.predict_loop(self, x, batch_size=batch_size, verbose=verbose, steps=steps,
                                            callbacks=callbacks, alone=alone)

    # ---------------------------------------------------------------- one batch
    def train_on_batch(self, x: Any, y: Any, sample_weight: Any = None, class_weight: Any = None,
                       reset_metrics: bool = STREAMING) -> Any:
        """One training step; the loss, or [loss, metrics…].  reset_metrics: metrics with state begin again."""
        if reset_metrics:
            self.reset_stateful_metrics()
        if class_weight is None and self.train_function is not None and self._consistent_at == flag_changes():
            arrays = self._like_before(x, y, sample_weight)
            if arrays is not None:
                return _scalars(self.train_function.run(arrays, 1))
        given = x, y, sample_weight
        x, y, w = self._train_inputs(x, y, sample_weight, class_weight)
        if class_weight is None:
            self._remember(given, x, y, w)
        return _scalars(self.train_function.run([*x, *y, *w], 1))

    def _like_before(self, *given: Any) -> list[np.ndarray] | None:
        """What a batch (x, y, weights) is for the functions, where dtypes and shapes like its were looked at before."""
        ones = self._plain_weights.get(_key(given))
        return None if ones is None else [*(a for part in given if part is not None for a in _listed(part)), *ones]

    def _remember(self, given: tuple[Any, Any, Any], x: list[Any], y: list[Any], w: list[Any]) -> None:
        """That arrays like those given need no change, and the weights of ones where none were given."""
        key, ones = _key(given), w if given[2] is None else []
        arrays = [a for part in given if part is not None for a in _listed(part)]
        if key and x and len(x[0]) and len(self._plain_weights) < SEEN_LIMIT \
                and list(map(id, [*arrays, *ones])) == list(map(id, [*x, *y, *w])):
            self._plain_weights[key] = ones

    def _train_inputs(self, x: Any, y: Any, sample_weight: Any, class_weight: Any
                      ) -> tuple[list[Any], list[Any], list[Any]]:
        """What `train_function`, which is made where there is none, takes for a batch."""
        x, y, w = self._standardize_user_data(x, y, sample_weight, class_weight)
        self._check_targets(y, "train_on_batch()")
        check_not_empty(x, self._feed_input_names, "train_on_batch")
        self._make_train_function()
        return x, y, w

    def _keeps_method(self, method: str) -> bool:
        """Whether a method is this class's, so that what it does may be done otherwise."""
        return getattr(getattr(self, method), "__func__", None) is vars(Model)[method]

    def test_on_batch(self, x: Any, y: Any, sample_weight: Any = None, reset_metrics: bool = STREAMING) -> Any:
        """The loss, or [loss, metrics…], of one batch."""
        if reset_metrics:
            self.reset_stateful_metrics()
        if getattr(self, "test_function", None) is not None:
            arrays = self._like_before(x, y, sample_weight)
            if arrays is not None:
                return _scalars(self.test_function.run(arrays, 0))
        given = x, y, sample_weight
        x, y, w = self._test_inputs(x, y, sample_weight)
        self._remember(given, x, y, w)
        return _scalars(self.test_function.run([*x, *y, *w], 0))

    def _test_inputs(self, x: Any, y: Any, sample_weight: Any) -> tuple[list[Any], list[Any], list[Any]]:
        """What `test_function`, which is made where there is none, takes for a batch."""
        parts = self._standardize_user_data(x, y, sample_weight)
        self._check_targets(parts[1], "test_on_batch()")
        self._make_test_function()
        return parts

    def predict_on_batch(self, x: Any, *, results: str = "host") -> Any:
        """The outputs for one batch.  graphk's own: results: "device" leaves them on the GPU, as for `K.function`."""
        f = getattr(self, "predict_function", None)
        if results == "host" and f is not None and type(x) is np.ndarray and (x.dtype, x.shape) in f._seen:
            return unpack_singleton(f.run_checked((x,), 0))    # a batch like one seen before
        if results == "host" and f is not None and type(x) is list and signature(x) in f._seen:
            return unpack_singleton(f.run_checked(x, 0))
        stay = stays(results, "predict_on_batch")
        x, _, _ = self._standardize_user_data(x)
        self._make_predict_function()
        return unpack_singleton(self.predict_function.run(x, 0, stay))

    # ---------------------------------------------------------------- generators
    fit_generator = training_generator.fit_generator
    evaluate_generator = training_generator.evaluate_generator
    predict_generator = training_generator.predict_generator

    def _get_callback_model(self) -> "Model":
        return getattr(self, "callback_model", None) or self


modernize_methods(Model, ("fit_generator", "evaluate_generator", "predict_generator"))
modernize_methods(Model, ("compile", "fit", "evaluate"), {})


def _listed(x: Any) -> Sequence[Any]:
    return x if isinstance(x, (list, tuple)) else (x,)


def _key(batch: Sequence[Any]) -> tuple[Any, ...] | None:
    """How many arrays are inputs, targets and weights, and dtypes and shapes of all; None if others are among them."""
    parts = [() if part is None else _listed(part) for part in batch]
    found = signature([a for part in parts for a in part])
    return None if found is None else (*map(len, parts), *found)


def _scalars(outputs: Sequence[np.ndarray]) -> Any:
    """numpy scalars, or one of them."""
    out = [o[()] for o in outputs]
    return out[0] if len(out) == 1 else out


def _keyword_arguments(kwargs: dict[str, Any], epochs: int) -> tuple[int, dict[str, Any]]:
    """The number of epochs, which Keras 1 called `nb_epoch`, and what Keras 2.3 says about a generator's queue."""
    if "nb_epoch" in kwargs:
        warnings.warn("The `nb_epoch` argument in `fit` has been renamed `epochs`.", stacklevel=4)
        epochs = kwargs.pop("nb_epoch")
    queue: dict[str, Any] = {}
    for k in ("max_queue_size", "workers", "use_multiprocessing"):
        if k in kwargs:
            queue[k] = kwargs.pop(k)
    if kwargs:
        raise TypeError("Unrecognized keyword arguments: " + str(kwargs)
                        + advice(next(iter(kwargs)), keywords_of(Model.fit), "arguments"))
    return epochs, queue
