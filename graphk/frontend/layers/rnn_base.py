"""RNN: any cell as a layer over sequences, and cells stacked into one.

In: sequences (samples, time, features), initial states, constants.  Out: the last output or all of them, and the last
states if asked for.  What always holds: initial states and constants that layers made are inputs of the layer
themselves; the state of a stateful layer lives in variables that every batch reads and updates, prediction included.
"""
from __future__ import annotations

import warnings
from typing import Any, Callable, Sequence

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.backend.recurrence import recur
from graphk.frontend.engine.base_layer import InputSpec, Layer
from graphk.frontend.layers.cells import Cell, one_sequence
from graphk.frontend.tensor import Tensor, Update
from graphk.frontend.utils.generic_utils import config_of, has_arg, to_list
from graphk.ir.ops import shape as sh


def sizes(cell: Any) -> list[int]:
    """The sizes of a cell's states."""
    return list(cell.state_size) if hasattr(cell.state_size, "__len__") else [cell.state_size]


def output_size(cell: Any) -> int:
    """The size of a cell's output: what it declares, else that of its first state."""
    declared = getattr(cell, "output_size", None)
    return sizes(cell)[0] if declared is None else declared


def serialized(layer: Any) -> dict[str, Any]:
    """`{class_name, config}` of a cell or an inner layer."""
    return {"class_name": layer.__class__.__name__, "config": layer.get_config()}


def hoists(cell: Any) -> bool:
    """Whether the cell can take what `project` made of all steps at once: not if its `call` is the user's."""
    return isinstance(cell, Cell) and type(cell).call is Cell.call


def call_cell(cell: Any, x: Tensor, states: Sequence[Tensor], constants: Any, training: Any, projected: bool = False
              ) -> tuple[Tensor, list[Tensor]]:
    """One step of `cell`, with those arguments that it takes."""
    if projected:
        return cell.advance(x, states, training)
    kwargs: dict[str, Any] = {"constants": constants} if constants and has_arg(cell.call, "constants") else {}
    if has_arg(cell.call, "training"):
        kwargs["training"] = training
    if hasattr(cell, "_dropout_mask"):                     # drawn anew for each sequence
        cell._dropout_mask = cell._recurrent_dropout_mask = None
    return cell.call(x, states, **kwargs)


class StackedRNNCells(Layer):
    """Cells on top of each other as one cell; the states are those of the first cell, then of the second, …

    cells: list of cells; reverse_state_order: states of the last cell first, as Keras 2.1 had them.

    >>> StackedRNNCells([Cell(4), Cell(3)]).state_size
    (4, 3)
    """

    def __init__(self, cells: Sequence[Any], **kwargs: Any):
        for cell in cells:
            _check_cell(cell)
        if not cells:
            raise ValueError("StackedRNNCells received no cells; expected a list of at least one.")
        self.cells = list(cells)
        self.reverse_state_order = kwargs.pop("reverse_state_order", False)
        if self.reverse_state_order:
            warnings.warn("`reverse_state_order=True` in `StackedRNNCells` will soon be deprecated. Please update the "
                          "code to work with the natural order of states if you rely on the RNN states, eg "
                          "`RNN(return_state=True)`.", stacklevel=2)
        super().__init__(**kwargs)

    @property
    def state_size(self) -> tuple[int, ...]:
        """The sizes of all states."""
        cells = self.cells[::-1] if self.reverse_state_order else self.cells
        return tuple(n for cell in cells for n in sizes(cell))

    @property
    def output_size(self) -> int:
        """The size of the last cell's output."""
        return output_size(self.cells[-1])

    def build(self, input_shape: Any) -> None:
        constants = []
        if isinstance(input_shape, list):
            input_shape, constants = input_shape[0], input_shape[1:]
        for cell in self.cells:
            build_cell(cell, input_shape, constants)
            input_shape = (input_shape[0], output_size(cell))
        self.built = True

    def call(self, inputs: Tensor, states: Sequence[Tensor], constants: Any = None, training: Any = None
             ) -> tuple[Tensor, list[Tensor]]:
        """One step of all cells."""
        return self.step(inputs, states, constants, training)

    def step(self, x: Tensor, states: Sequence[Tensor], constants: Any, training: Any, projected: bool = False
             ) -> tuple[Tensor, list[Tensor]]:
        """One step of all cells; `projected`: `x` is what the first cell's `project` made of the inputs."""
        order = range(len(self.cells))
        order = order[::-1] if self.reverse_state_order else order
        parts: list[Sequence[Tensor]] = [()] * len(self.cells)
        for i in order:
            count = len(sizes(self.cells[i]))
            parts[i], states = states[:count], states[count:]
        for i, cell in enumerate(self.cells):
            x, parts[i] = call_cell(cell, x, parts[i], constants, training, projected and i == 0)
        return x, [s for i in order for s in parts[i]]

    # ---------------------------------------------------------------- what the cells hold
    def _layers(self) -> list[Layer]:
        return list({id(cell): cell for cell in self.cells if isinstance(cell, Layer)}.values())

    @property
    def trainable_weights(self) -> list[Any]:
        return [w for cell in self._layers() for w in cell.trainable_weights] if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Any]:
        frozen = [w for cell in self._layers() for w in cell.non_trainable_weights]
        return frozen if self.trainable else [w for cell in self._layers() for w in cell.trainable_weights] + frozen

    def get_weights(self) -> list[np.ndarray]:
        """The values of all weights, cell by cell."""
        return K.batch_get_value([w for cell in self._layers() for w in cell.weights])

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set the values of all weights, cell by cell."""
        at = 0
        for cell in self._layers():
            count = len(cell.weights)
            cell.set_weights(weights[at:at + count])
            at += count

    @property
    def losses(self) -> list[Any]:
        return [x for cell in self._layers() for x in cell.losses]

    def get_losses_for(self, inputs: Any = None) -> list[Any]:
        """The penalties of the cells."""
        return [x for cell in self._layers() for x in cell.get_losses_for(inputs)]

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "cells": [serialized(cell) for cell in self.cells]}
        return {**config, "reverse_state_order": True} if self.reverse_state_order else config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "StackedRNNCells":
        from graphk.frontend.layers import deserialize
        config = config_of(cls, config, "cells")
        return cls([deserialize(c, custom_objects=custom_objects) for c in config.pop("cells")], **config)


def _check_cell(cell: Any) -> None:
    """ValueError unless `cell` can do a step of an RNN."""
    if isinstance(cell, type):
        raise ValueError(f"`cell` must be an instance; received the class {cell.__name__}. Write "
                         f"{cell.__name__}(units).")
    if not hasattr(cell, "call"):
        raise ValueError(f"`cell` should have a `call` method. The RNN was passed: {cell!r}. Write "
                         "RNN(LSTMCell(units)), or RNN of a list of cells.")
    if not hasattr(cell, "state_size"):
        raise ValueError("The RNN cell should have an attribute `state_size` (tuple of integers, one integer per RNN "
                         f"state). Received: {cell!r}")


def build_cell(cell: Any, step_shape: Any, constants: list[Any]) -> None:
    """Build a cell that is a layer for steps of `step_shape`, once."""
    if not isinstance(cell, Layer) or cell.built:
        return
    with K.name_scope(cell.name):
        cell.build([step_shape, *constants] if constants and has_arg(cell.call, "constants") else step_shape)
    cell.built = True


def standardize_args(inputs: Any, initial_state: Any, constants: Any, num_constants: int | None
                     ) -> tuple[Any, list[Any] | None, list[Any] | None]:
    """Sequence, initial states and constants, also where all came in one list."""
    if isinstance(inputs, (list, tuple)):
        if initial_state is not None or constants is not None:
            raise ValueError("A recurrent layer was called on a list, whose first entry is the sequence and the others "
                             "its initial states and constants, and received `initial_state` or `constants` as well; "
                             "pass them in one of the two ways.")
        inputs = list(inputs)
        if num_constants:
            inputs, constants = inputs[:-num_constants], inputs[-num_constants:]
        if len(inputs) > 1:
            initial_state = inputs[1:]
        inputs = inputs[0]

    def listed(x: Any) -> list[Any] | None:
        return None if x is None else list(x) if isinstance(x, (list, tuple)) else [x]
    return inputs, listed(initial_state), listed(constants)


def call_with_extra(call: Callable[..., Any], layer: Any, inputs: Tensor, state: list[Any] | None,
                    constants: list[Any] | None, kwargs: dict[str, Any]) -> Any:
    """`call` (Layer.__call__) on the inputs and, where layers made them, the states and constants as further inputs."""
    extra = [*(state or []), *(constants or [])]
    for x in extra:
        if not isinstance(x, Tensor):
            raise ValueError(f"The initial state and constants of the layer {layer.name} must be symbolic tensors; "
                             f"received "
                             f"{x!r:.100}, a {type(x).__name__}. Make one by K.constant(array).")
    made = [K.is_keras_tensor(x) for x in extra]
    if any(made) and not all(made):
        raise ValueError("The initial state or constants of an RNN layer cannot be specified with a mix of Keras "
                         "tensors and non-Keras tensors (a \"Keras tensor\" is a tensor that was returned by a Keras "
                         "layer, or by `Input`)")
    if not any(made):
        if state:
            kwargs["initial_state"] = state
        if constants:
            kwargs["constants"] = constants
        return call(inputs, **kwargs)
    layer.input_spec = [*to_list(layer.input_spec), *[InputSpec(shape=K.int_shape(x)) for x in extra]]
    try:
        return call([inputs, *extra], **kwargs)
    finally:
        layer.input_spec = layer.input_spec[:1]


class RNN(Layer):
    """A cell run over the time axis.

    cell: has `call(inputs, states) -> (output, new states)` and `state_size` (int, or a list of them); a list of cells
    is stacked.  return_sequences: all outputs; return_state: the last states too; go_backwards: last step first;
    stateful: a batch starts with the states that the one before left; unroll: steps are written out.

    >>> from graphk.layers import Input, LSTMCell
    >>> RNN([LSTMCell(4), LSTMCell(3)], return_sequences=True)(Input((None, 2))).shape
    (None, None, 3)
    """

    def __init__(self, cell: Any, return_sequences: bool = False, return_state: bool = False,
                 go_backwards: bool = False, stateful: bool = False, unroll: bool = False, **kwargs: Any):
        if isinstance(cell, (list, tuple)):
            cell = StackedRNNCells(cell)
        _check_cell(cell)
        self.cell = cell
        self._init_sequence(return_sequences, return_state, go_backwards, stateful, unroll, kwargs)

    def _init_sequence(self, return_sequences: bool, return_state: bool, go_backwards: bool, stateful: bool,
                       unroll: bool, kwargs: dict[str, Any]) -> None:
        self.zero_output_for_mask = bool(kwargs.pop("zero_output_for_mask", False))
        length, dim = kwargs.pop("input_length", None), kwargs.pop("input_dim", None)
        if dim is not None and "input_shape" not in kwargs and "batch_input_shape" not in kwargs:
            kwargs["input_shape"] = (length, dim)
        super().__init__(**kwargs)
        self.return_sequences, self.return_state, self.go_backwards = return_sequences, return_state, go_backwards
        self.stateful, self.unroll = stateful, unroll
        self.supports_masking = True
        self.input_spec: Any = [InputSpec(ndim=3)]
        self.state_spec: Any = None
        self.constants_spec: Any = None
        self._states: Any = None
        self._num_constants: int | None = None

    # ---------------------------------------------------------------- states
    @property
    def states(self) -> list[Any]:
        """The variables of a stateful layer; else a None for each state."""
        return [None] * len(sizes(self.cell)) if self._states is None else self._states

    @states.setter
    def states(self, states: Any) -> None:
        self._states = states

    def get_initial_state(self, inputs: Tensor) -> list[Tensor]:
        """Zeros (samples, size) for each state."""
        batch = inputs.node.shape[0]
        return [Tensor(sh.broadcast_to(K.constant(0., dtype=inputs.dtype).node, (batch, n))) for n in sizes(self.cell)]

    def reset_states(self, states: Any = None) -> None:
        """Set the states of a stateful layer to `states` (arrays (samples, size)), or to zeros."""
        if not self.stateful:
            raise AttributeError(f"Layer must be stateful. The layer {self.name} was made with stateful=False.")
        batch = to_list(self.input_spec)[0].shape[0] if to_list(self.input_spec)[0].shape else None
        if not batch:
            raise ValueError(
                "If a RNN is stateful, it needs to know its batch size. Specify the batch size of your input tensors: "
                "\n- If using a Sequential model, specify the batch size by passing a `batch_input_shape` argument to "
                "your first layer.\n- If using the functional API, specify the batch size by passing a `batch_shape` "
                "argument to your Input layer.")
        shapes = [(batch, n) for n in sizes(self.cell)]
        if self._states is None or self._states[0] is None:
            self._states = [K.variable(np.zeros(s), dtype=K.floatx(), name=f"state_{i}") for i, s in enumerate(shapes)]
            if states is None:
                return
        values = [np.zeros(s) for s in shapes] if states is None else to_list(states, allow_tuple=True)
        if len(values) != len(shapes):
            raise ValueError("Layer " + self.name + " expects " + str(len(shapes)) + " states, but it received "
                             + str(len(values)) + " state values. Input received: " + str(values)[:300])
        for i, (value, shape) in enumerate(zip(values, shapes)):
            if np.shape(value) != shape:
                raise ValueError("State " + str(i) + " is incompatible with layer " + self.name + ": expected shape="
                                 + str(shape) + ", found shape=" + str(np.shape(value)))
        K.batch_set_value(list(zip(self._states, values)))

    # ---------------------------------------------------------------- shapes and masks
    def compute_output_shape(self, input_shape: Any) -> Any:
        if isinstance(input_shape, list):
            input_shape = input_shape[0]
        out = (output_size(self.cell),)
        shape = tuple(input_shape[:2]) + out if self.return_sequences else (input_shape[0],) + out
        return [shape, *[(input_shape[0], n) for n in sizes(self.cell)]] if self.return_state else shape

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask of the sequence if all outputs are returned; None for states."""
        mask = mask[0] if isinstance(mask, list) else mask
        mask = mask if self.return_sequences else None
        return [mask] + [None for _ in self.states] if self.return_state else mask

    # ---------------------------------------------------------------- calling
    def build(self, input_shape: Any) -> None:
        constants = [spec.shape for spec in self.constants_spec or []]
        if isinstance(input_shape, list):
            constants = input_shape[-self._num_constants:] if self._num_constants else []
            input_shape = input_shape[0]
        spec = InputSpec(shape=(input_shape[0] if self.stateful else None, None, *input_shape[2:]))
        self.input_spec = [spec, *self.input_spec[1:]]
        self._build_cell((input_shape[0],) + tuple(input_shape[2:]), constants)
        if self.state_spec is None:
            self.state_spec = [InputSpec(shape=(None, n)) for n in sizes(self.cell)]
        elif [s.shape[-1] for s in self.state_spec] != sizes(self.cell):
            raise ValueError("An `initial_state` was passed that is not compatible with `cell.state_size`. Received "
                             f"`state_spec`={self.state_spec}; However `cell.state_size` is {self.cell.state_size}")
        if self.stateful:
            self.reset_states()
        self.built = True

    def _build_cell(self, step_shape: Any, constants: list[Any]) -> None:
        if not isinstance(self.cell, Layer) or self.cell.built:
            return
        takes = constants and has_arg(self.cell.call, "constants")
        self.cell.build([step_shape, *constants] if takes else step_shape)
        self.cell.built = True

    def __call__(self, inputs: Any, initial_state: Any = None, constants: Any = None, **kwargs: Any) -> Any:
        inputs, initial_state, constants = standardize_args(inputs, initial_state, constants, self._num_constants)
        self.expect(initial_state, constants)
        return call_with_extra(super().__call__, self, inputs, initial_state, constants, kwargs)

    def expect(self, initial_state: list[Any] | None, constants: list[Any] | None) -> None:
        """Remember how many states and constants come with the sequence, and their shapes."""
        if initial_state:
            self.state_spec = [InputSpec(shape=K.int_shape(s)) for s in initial_state]
        if constants:
            self.constants_spec = [InputSpec(shape=K.int_shape(c)) for c in constants]
            self._num_constants = len(constants)

    def call(self, inputs: Any, mask: Any = None, training: Any = None, initial_state: Any = None,
             constants: Any = None) -> Any:
        """The output(s), and the last states if `return_state`."""
        call_inputs = inputs
        if isinstance(inputs, list):
            inputs, initial_state, constants = standardize_args(inputs, initial_state, constants, self._num_constants)
        initial_state = self._initial_state(inputs, initial_state)
        if self.unroll and K.int_shape(inputs)[1] is None:
            raise ValueError(
                "Cannot unroll a RNN if the time dimension is undefined. \n- If using a Sequential model, specify the "
                "time dimension by passing an `input_shape` or `batch_input_shape` argument to your first layer. If "
                "your first layer is an Embedding, you can also use the `input_length` argument.\n- If using the "
                "functional API, specify the time dimension by passing a `shape` or `batch_shape` argument to your "
                "Input layer.")
        if constants and not has_arg(self.cell.call, "constants"):
            raise ValueError("RNN cell does not support constants: the `call` of " + type(self.cell).__name__
                             + " takes no argument `constants`.")
        with one_sequence():
            mask = mask[0] if isinstance(mask, list) else mask
            last, outputs, states = self._recur(inputs, initial_state, constants, mask, training)
        if self.zero_output_for_mask and mask is not None and self.return_sequences:
            kept = K.cast(K.reverse(mask, 1) if self.go_backwards else mask, outputs.dtype)
            outputs = outputs * K.reshape(kept, (*kept.node.shape, *[1] * (outputs.ndim - kept.ndim)))
        if self.stateful:
            self.add_update([Update(v, s) for v, s in zip(self.states, states)], call_inputs)
        output = outputs if self.return_sequences else last
        return [output, *states] if self.return_state else output

    def _initial_state(self, inputs: Tensor, initial_state: Any) -> list[Any]:
        if not initial_state:
            return self.states if self.stateful else self.get_initial_state(inputs)
        initial_state = to_list(initial_state, allow_tuple=True)
        if len(initial_state) != len(self.states):
            raise ValueError("Layer has " + str(len(self.states)) + " states but was passed "
                             + str(len(initial_state)) + " initial states.")
        return initial_state

    def _recur(self, inputs: Tensor, initial_state: list[Any], constants: list[Any] | None, mask: Any, training: Any
               ) -> tuple[Tensor, Any, list[Tensor]]:
        """What needs no state is computed for all steps at once, the rest step by step."""
        from graphk.frontend.layers.whole import whole
        cell = self.cell
        stacked = isinstance(cell, StackedRNNCells) and type(cell).call is StackedRNNCells.call
        first = cell.cells[0] if stacked else cell
        ahead = hoists(first)
        n = len(initial_state)

        def step(x: Tensor, given: list[Any]) -> tuple[Tensor, Sequence[Tensor]]:
            if stacked:
                return cell.step(x, given[:n], given[n:], training, ahead)
            return call_cell(cell, x, given[:n], given[n:], training, ahead)
        return recur(step, inputs, initial_state, self.go_backwards, mask, constants, self.unroll,
                     K.int_shape(inputs)[1], self.return_sequences,
                     (lambda x: first.project(x, training)) if ahead else None, whole(cell, constants, mask, training))

    # ---------------------------------------------------------------- what the cell holds
    @property
    def trainable_weights(self) -> list[Any]:
        return self.cell.trainable_weights if self.trainable and isinstance(self.cell, Layer) else []

    @property
    def non_trainable_weights(self) -> list[Any]:
        if not isinstance(self.cell, Layer):
            return []
        return self.cell.non_trainable_weights if self.trainable else self.cell.weights

    @property
    def losses(self) -> list[Any]:
        return (self.cell.losses if isinstance(self.cell, Layer) else []) + super().losses

    def get_losses_for(self, inputs: Any = None) -> list[Any]:
        """The penalties of a call on `inputs`, or of the weights."""
        return (self.cell.get_losses_for(inputs) if isinstance(self.cell, Layer) else []) + \
            super().get_losses_for(inputs)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "return_sequences": self.return_sequences, "return_state": self.return_state,
                  "go_backwards": self.go_backwards, "stateful": self.stateful, "unroll": self.unroll}
        if self.zero_output_for_mask:                  # of a file of tf.keras or Keras 3: Keras 2 has no such key
            config["zero_output_for_mask"] = True
        if self._num_constants is not None:
            config["num_constants"] = self._num_constants
        return {**config, "cell": serialized(self.cell)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "RNN":
        from graphk.frontend.layers import deserialize
        config = config_of(cls, config, "cell")
        number = config.pop("num_constants", None)
        layer = cls(deserialize(config.pop("cell"), custom_objects=custom_objects), **config)
        layer._num_constants = number
        return layer
