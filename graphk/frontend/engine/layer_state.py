"""What a layer holds: weights, losses, updates, and access to its recorded calls.

In: what `build` and `call` add.  Out: the lists that models and optimizers read.  What always holds:
`weights` are the trainable ones, then the others; a frozen layer's weights all count as non-trainable;
losses and updates added with `inputs` belong to calls on those inputs only.
"""
from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from graphk.frontend import backend as K
from graphk.frontend.tensor import Tensor, Update, Variable
from graphk.frontend.utils.blame import naming
from graphk.frontend.utils.generic_utils import object_list_uid, to_list, unpack_singleton


_flag_changes = 0


def flag_changes() -> int:
    """How often the `trainable` flag of any layer was set: while it stays the same, no set of weights changes."""
    return _flag_changes


def check_listed(owner: Any, weights: Any) -> None:
    """TypeError naming `owner` unless `weights` is a sequence."""
    if not hasattr(weights, "__len__"):
        raise TypeError(f"set_weights of the layer {owner.name} takes a list of arrays; received {weights!r:.200}.")


class LayerState:
    """Weights, losses and updates of a layer."""

    name: str
    stateful: bool

    def _init_state(self) -> None:
        self.built = False
        self._trainable_weights: list[Variable] = []
        self._non_trainable_weights: list[Variable] = []
        self._losses: list[Any] = []
        self._updates: list[Any] = []
        self._added_metrics: list[tuple[str, Any]] = []
        self._per_input_losses: dict[str, list[Any]] = {}
        self._per_input_updates: dict[str, list[Any]] = {}
        self._inbound_nodes: list[Any] = []
        self._outbound_nodes: list[Any] = []

    # ---------------------------------------------------------------- weights
    @property
    def trainable(self) -> Any:
        """Whether training may change the weights."""
        return self.__dict__.get("_trainable", True)

    @trainable.setter
    def trainable(self, value: Any) -> None:
        global _flag_changes
        _flag_changes += 1
        self.__dict__["_trainable"] = value

    @property
    def trainable_weights(self) -> list[Variable]:
        """Weights that training changes; none if the layer is frozen."""
        return self._trainable_weights if getattr(self, "trainable", True) else []

    @trainable_weights.setter
    def trainable_weights(self, weights: list[Variable]) -> None:
        self._trainable_weights = weights

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """Weights that gradients do not change."""
        if getattr(self, "trainable", True):
            return self._non_trainable_weights
        return self._trainable_weights + self._non_trainable_weights

    @non_trainable_weights.setter
    def non_trainable_weights(self, weights: list[Variable]) -> None:
        self._non_trainable_weights = weights

    @property
    def weights(self) -> list[Variable]:
        """All weights, trainable ones first."""
        return self.trainable_weights + self.non_trainable_weights

    def get_weights(self) -> list[np.ndarray]:
        """The values of `weights`, as arrays."""
        return K.batch_get_value(self.weights)

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set the values of `weights`; ValueError naming the layer if count or shapes differ."""
        params = self.weights
        check_listed(self, weights)
        if len(params) != len(weights):
            raise ValueError(f'You called `set_weights(weights)` on layer "{self.name}" with a  weight list of length '
                             f"{len(weights)}, but the layer was expecting {len(params)} weights, of shapes "
                             f"{[p.node.shape for p in params]}. Provided weights: {str(weights)[:50]}..."
                             + ("" if self.built else " The layer has none before it is called."))
        K.batch_set_value(self._weight_values(weights))

    def _weight_values(self, weights: Sequence[Any]) -> list[tuple[Variable, np.ndarray]]:
        """Each weight with its new value; ValueError naming the layer if one does not fit."""
        pairs = []
        for p, w in zip(self.weights, weights):
            if p.node.shape != np.shape(w):
                raise ValueError(f"Layer weight shape {p.node.shape} not compatible with provided weight shape "
                                 f"{np.shape(w)} (weight `{p.name}` of layer {self.name})")
            with naming(self.name, lambda: f"for the weights of the layer `{self.name}`"):
                pairs.append((p, np.asarray(w, dtype=p.node.dtype)))
        return pairs

    def count_params(self) -> int:
        """How many numbers the weights hold; RuntimeError before `build`."""
        if not self.built:
            raise RuntimeError(f"You tried to call `count_params` on {self.name}, but the layer isn't built. You can "
                               f"build it manually via: `{self.name}.build(batch_input_shape)`.")
        return sum(K.count_params(p) for p in {id(w): w for w in self.weights}.values())

    # ---------------------------------------------------------------- losses and updates
    @property
    def losses(self) -> list[Any]:
        """Penalties that the layer adds to the loss."""
        return self._losses

    @property
    def updates(self) -> list[Any]:
        """Updates of the layer's state; none if it is frozen and not stateful."""
        return self._updates if self.trainable or self.stateful else []

    def add_loss(self, losses: Any, inputs: Any = None) -> None:
        """Add penalties to the loss; `inputs`: the tensors they were computed from, None if from weights only."""
        if losses is None or (isinstance(losses, list) and not losses):
            return
        losses = to_list(losses)
        for x in losses:
            if not isinstance(x, (Tensor, int, float, np.number)):
                raise TypeError(f"add_loss of the layer {self.name} takes tensors or numbers; received {x!r:.200}.")
        self._losses += losses
        self._per_input_losses.setdefault(_key(inputs), []).extend(losses)

    def add_metric(self, value: Any, name: str | None = None) -> None:
        """Report the mean of the tensor `value`, under `name`, with the metrics of models that have the layer."""
        if not isinstance(value, Tensor):
            raise TypeError(f"add_metric of the layer {self.name} takes a tensor; received {value!r:.200}.")
        self._added_metrics.append((name or f"{self.name}_metric", value))

    def add_update(self, updates: Any, inputs: Any = None) -> None:
        """Add updates (`K.update(…)`, or `(variable, value)` pairs) that each training step applies."""
        if updates is None or (isinstance(updates, list) and not updates):
            return
        updates = [Update(*u) if isinstance(u, tuple) and not isinstance(u, Update) else u for u in to_list(updates)]
        for u in updates:
            if not isinstance(u, Update):
                raise TypeError(f"add_update of the layer {self.name} takes what K.update and its kin return, or pairs "
                                f"(variable, new value); received {u!r:.200}.")
        self._updates += updates
        self._per_input_updates.setdefault(_key(inputs), []).extend(updates)

    def get_updates_for(self, inputs: Any) -> list[Any]:
        """The updates that belong to a call on `inputs` (None: to no call)."""
        if not self.trainable and not self.stateful:
            return []
        return self._per_input_updates.get(_key(inputs), [])

    def get_losses_for(self, inputs: Any) -> list[Any]:
        """The penalties that belong to a call on `inputs` (None: to no call)."""
        return self._per_input_losses.get(_key(inputs), [])


def _key(inputs: Any) -> str:
    if inputs is None or (isinstance(inputs, list) and not inputs):
        return "None"
    return object_list_uid(inputs)


class LayerAccessors:
    """`input`, `output`, their shapes and masks, by call."""

    name: str
    _inbound_nodes: list[Any]
    _outbound_nodes: list[Any]

    def _at(self, node_index: int, attr: str, what: str) -> Any:
        if not self._inbound_nodes:
            raise RuntimeError(f"The layer {self.name} has never been called and thus has no defined {what}.")
        if not -len(self._inbound_nodes) <= node_index < len(self._inbound_nodes):
            raise ValueError(f"Asked to get {what} at node {node_index}, but the layer {self.name} has only "
                             f"{len(self._inbound_nodes)} inbound nodes.")
        return unpack_singleton(getattr(self._inbound_nodes[node_index], attr))

    def _only(self, attr: str, what: str) -> Any:
        if not self._inbound_nodes:
            raise AttributeError(f"Layer {self.name} is not connected, no {what} to return. Call it on a tensor first; "
                                 "a Sequential model has one once its input shape is known.")
        if len(self._inbound_nodes) > 1:
            raise AttributeError(f'Layer {self.name} has multiple inbound nodes, hence the notion of "layer {what}" is '
                                 f"ill-defined. Use `get_{what.replace(' ', '_')}_at(node_index)` instead.")
        return self._at(0, attr, what)

    def get_input_at(self, node_index: int) -> Any:
        """The input tensor(s) of one call."""
        return self._at(node_index, "input_tensors", "input")

    def get_output_at(self, node_index: int) -> Any:
        """The output tensor(s) of one call."""
        return self._at(node_index, "output_tensors", "output")

    def get_input_shape_at(self, node_index: int) -> Any:
        """The input shape(s) of one call."""
        return self._at(node_index, "input_shapes", "input shape")

    def get_output_shape_at(self, node_index: int) -> Any:
        """The output shape(s) of one call."""
        return self._at(node_index, "output_shapes", "output shape")

    def get_input_mask_at(self, node_index: int) -> Any:
        """The input mask(s) of one call."""
        return self._at(node_index, "input_masks", "input mask")

    def get_output_mask_at(self, node_index: int) -> Any:
        """The output mask(s) of one call."""
        return self._at(node_index, "output_masks", "output mask")

    @property
    def inbound_nodes(self) -> list[Any]:
        """The calls of this layer, by the name that Keras had for them until 2.1."""
        return self._inbound_nodes

    @inbound_nodes.setter
    def inbound_nodes(self, nodes: list[Any]) -> None:
        self._inbound_nodes = nodes

    @property
    def outbound_nodes(self) -> list[Any]:
        """The calls that read what this layer gave, by Keras 2.1's name."""
        return self._outbound_nodes

    @outbound_nodes.setter
    def outbound_nodes(self, nodes: list[Any]) -> None:
        self._outbound_nodes = nodes

    @property
    def input(self) -> Any:
        """The input tensor(s) of the only call."""
        return self._only("input_tensors", "input")

    @property
    def output(self) -> Any:
        """The output tensor(s) of the only call."""
        return self._only("output_tensors", "output")

    @property
    def input_mask(self) -> Any:
        """The input mask(s) of the only call."""
        return self._only("input_masks", "input mask")

    @property
    def output_mask(self) -> Any:
        """The output mask(s) of the only call."""
        return self._only("output_masks", "output mask")

    @property
    def input_shape(self) -> Any:
        """The input shape(s), if all calls agree."""
        return self._agreed("input_shapes", "input shape")

    @property
    def output_shape(self) -> Any:
        """The output shape(s), if all calls agree."""
        return self._agreed("output_shapes", "output shape")

    def _agreed(self, attr: str, what: str) -> Any:
        if not self._inbound_nodes:
            raise AttributeError(f'The layer "{self.name}" has never been called and thus has no defined {what}.')
        shapes = {str(getattr(n, attr)) for n in self._inbound_nodes}
        if len(shapes) == 1:
            return self._at(0, attr, what)
        raise AttributeError(f'The layer "{self.name}" has multiple inbound nodes with different {what}s. Hence the '
                             f'notion of "{what}" is ill-defined for the layer. Use '
                             f"`get_{what.replace(' ', '_')}_at(node_index)` instead.")
