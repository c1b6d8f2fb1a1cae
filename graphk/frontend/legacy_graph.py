"""Keras 1's Graph: a model made node by node, whose data are dicts by the names of its inputs and outputs.

In: inputs, nodes and outputs by name.  Out: a model.  What always holds: each name is one tensor, and the model is made
of all inputs and outputs, in their order, when it is compiled or first used.
"""
from __future__ import annotations

from typing import Any, Sequence

from graphk.frontend.engine.input_layer import Input
from graphk.frontend.engine.training import Model
from graphk.frontend.layers.merge import add, average, concatenate, dot, maximum, multiply
from graphk.frontend.utils.advice import advice
from graphk.frontend.utils.generic_utils import to_list


_PLAIN = {"sum": add, "mul": multiply, "ave": average, "max": maximum}


def _merged(tensors: list[Any], mode: str, concat_axis: int, dot_axes: Any) -> Any:
    if mode == "concat":
        return concatenate(tensors, axis=concat_axis)
    if mode in ("dot", "cos"):
        return dot(tensors, axes=dot_axes, normalize=mode == "cos")
    if mode not in _PLAIN:
        raise ValueError(f"Invalid merge mode: {mode!r}" + advice(mode, [*_PLAIN, "concat", "dot", "cos", "join"]))
    return _PLAIN[mode](tensors)


class Graph:
    """A model of named inputs, nodes and outputs; what it lacks, its `model`, made of them, has.

    >>> from graphk.layers import Dense
    >>> g = Graph()
    >>> g.add_input("x", input_shape=(3,))
    >>> g.add_node(Dense(2), "hidden", input="x")
    >>> g.add_output("y", input="hidden")
    >>> g.model.output_shape
    (None, 2)
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Any] = {}
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.nodes: dict[str, Any] = {}
        self._model: Any = None

    # ---------------------------------------------------------------- making it
    def _new(self, name: str) -> str:
        if name in self.tensors:
            raise ValueError(f"Duplicate node identifier: the Graph has a node `{name}` already. Choose another name.")
        self._model = None
        return name

    def _given(self, name: str, input: str | None, inputs: Sequence[str], merge_mode: str, concat_axis: int,
               dot_axes: Any) -> Any:
        """What a node reads: one tensor, or several that are merged."""
        names = [input] if input else list(inputs)
        for n in names:
            if n not in self.tensors:
                raise ValueError(f"The node `{name}` of the Graph reads `{n}`, which is none of its nodes"
                                 + advice(n, self.tensors))
        if not names:
            raise ValueError(f"The node `{name}` of the Graph reads nothing: pass input='name', or inputs=[…].")
        tensors = [self.tensors[n] for n in names]
        if len(tensors) == 1:
            return tensors[0]
        return tensors if merge_mode == "join" else _merged(tensors, merge_mode, concat_axis, dot_axes)

    def add_input(self, name: str, input_shape: Any = None, batch_input_shape: Any = None, dtype: str = "float32"
                  ) -> None:
        """An input; `input_shape` without the batch axis, or `batch_input_shape` with it."""
        self.tensors[self._new(name)] = Input(input_shape, batch_input_shape, name=name, dtype=dtype)
        self.inputs.append(name)

    def add_node(self, layer: Any, name: str, input: str | None = None, inputs: Sequence[str] = (),
                 merge_mode: str = "concat", concat_axis: int = -1, dot_axes: Any = -1, create_output: bool = False
                 ) -> None:
        """A layer called on one node, or on several that are merged; with create_output an output, too."""
        x = self._given(self._new(name), input, inputs, merge_mode, concat_axis, dot_axes)
        layer.name = name
        self.nodes[name], self.tensors[name] = layer, layer(x)
        if create_output:
            self.outputs.append(name)

    def add_shared_node(self, layer: Any, name: str, inputs: Sequence[str], merge_mode: str | None = None,
                        concat_axis: int = -1, dot_axes: Any = -1, outputs: Sequence[str] = (),
                        create_output: bool = False) -> None:
        """A layer called on each of several nodes: results named `outputs`, or merged into one, `name`."""
        layer.name = self._new(name)
        made = [layer(self._given(name, x, (), "", -1, -1)) for x in inputs]
        self.nodes[name] = layer
        if outputs:
            self.tensors.update(zip(map(self._new, outputs), made))
        self.tensors[name] = _merged(made, merge_mode, concat_axis, dot_axes) if merge_mode else made[-1]
        self.outputs += [name] if create_output else []

    def add_output(self, name: str, input: str | None = None, inputs: Sequence[str] = (), merge_mode: str = "concat",
                   concat_axis: int = -1, dot_axes: Any = -1) -> None:
        """An output: a node, or several merged, under another name."""
        from graphk.frontend.layers.core import Activation
        x = self._given(self._new(name), input, inputs, merge_mode, concat_axis, dot_axes)
        self.tensors[name] = Activation("linear", name=name)(x)
        self.outputs.append(name)

    @property
    def model(self) -> Any:
        """The model from all inputs to all outputs."""
        if self._model is None:
            if not self.outputs:
                raise ValueError("The Graph has no output: end it with add_output(name, input='…').")
            self._model = Model([self.tensors[n] for n in self.inputs], [self.tensors[n] for n in self.outputs])
        return self._model

    # ---------------------------------------------------------------- using it
    def _split(self, data: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        names = self.model.output_names
        return ({n: data[n] for n in self.inputs if n in data},
                {new: data[n] for n, new in zip(self.outputs, names) if n in data})

    def fit(self, data: dict[str, Any], **kwargs: Any) -> Any:
        """Train on arrays by the names of inputs and outputs."""
        if "validation_data" in kwargs and isinstance(kwargs["validation_data"], dict):
            kwargs["validation_data"] = self._split(kwargs["validation_data"])
        return self.model.fit(*self._split(data), **kwargs)

    def evaluate(self, data: dict[str, Any], **kwargs: Any) -> Any:
        """The loss over arrays by the names of inputs and outputs."""
        return self.model.evaluate(*self._split(data), **kwargs)

    def train_on_batch(self, data: dict[str, Any], **kwargs: Any) -> Any:
        """One step on arrays by the names of inputs and outputs."""
        return self.model.train_on_batch(*self._split(data), **kwargs)

    def test_on_batch(self, data: dict[str, Any], **kwargs: Any) -> Any:
        """The loss of one batch of arrays by the names of inputs and outputs."""
        return self.model.test_on_batch(*self._split(data), **kwargs)

    def predict(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """The outputs by name, for arrays by the names of inputs."""
        return dict(zip(self.outputs, to_list(self.model.predict(self._split(data)[0], **kwargs))))

    predict_on_batch = predict

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"'Graph' object has no attribute {name!r}")
        return getattr(self.model, name)
